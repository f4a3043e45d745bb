//! Tokens of sample texts, and idempotence.

use super::tokenize;
use crate::data::sst2;
use minitorch_core::random::Draw;
use rand::Rng;
use std::path::Path;

#[test]
fn words_and_marks() {
    for (text, tokens) in [
        ("", ""),
        (" \t\r\n", ""),
        ("A Good FILM.", "a good film ."),
        (
            "Isn't it? I'd say we'll see; they've won't can't",
            "is n't it ? i 'd say we 'll see ; they 've wo n't ca n't",
        ),
        ("wouldn't've", "would n't 've"),
        ("It's the actors' film, O'Neill's and D'Artagnan's", "it 's the actors ' film , o'neill 's and d'artagnan 's"),
        ("it\u{2019}s don\u{2019}t \u{2018}quoted\u{2019}", "it 's do n't ' quoted '"),
        (
            "''Conan'' ``Rings'' \u{201c}curly\u{201d} \"straight\"",
            "\" conan \" \" rings \" \" curly \" \" straight \"",
        ),
        ("what `you don't see' is", "what ` you do n't see ' is"),
        ("1970's, '70s and 1,000.50 at 10:30.", "1970 's , ' 70s and 1,000.50 at 10:30 ."),
        ("one,two 1,a a.b", "one , two 1 , a a . b"),
        ("J.R.R. Tolkien, U.S. troops. A.I.", "j.r.r. tolkien , u.s. troops . a.i."),
        ("P.O.D..", "p . o . d ..."),
        ("S&M, PB& J and AT&T", "s&m , pb & j and at&t"),
        ("well-made -- 3-hour - film", "well-made -- 3-hour - film"),
        ("heck\u{2013}few\u{2014}and --- more", "heck -- few -- and -- more"),
        ("so...another .. and\u{2026} end....", "so ... another ... and ... end ..."),
        ("writer/director (sic) 100% $5 #9 **1/2", "writer / director ( sic ) 100 % $ 5 # 9 * * 1 / 2"),
        ("-LRB- sic -rrb-", "( sic )"),
        ("CLICHÉ ÀÉ naïve Müller \u{130}", "cliché àé naïve müller i\u{307}"),
        ("cliche\u{301}s a\u{ad}b zero\u{200b}width \u{feff}mark", "cliche\u{301}s ab zerowidth mark"),
        ("a\u{0}b\u{1b}[31mred\u{7f}", "a b [ 31mred"),
        ("日本 😀👍 x", "日本 😀 👍 x"),
        ("' '' ''' 's 'so", "' \" \" ' 's ' so"),
    ] {
        assert_eq!(tokenize(text).join(" "), tokens, "{text:?}");
    }
}

fn check_stable(text: &str) {
    let tokens = tokenize(text);
    assert!(
        tokens.iter().all(|token| !token.is_empty() && !token.contains(char::is_whitespace)),
        "{text:?}: {tokens:?}"
    );
    assert_eq!(tokenize(&tokens.join(" ")), tokens, "{text:?}");
    for token in &tokens {
        assert_eq!(tokenize(token), [token.as_str()], "{text:?}");
    }
}

#[test]
fn tokenizing_is_idempotent() {
    let parts: Vec<&str> =
        "' ' '' ` `` . . .. , - - -- n't 's 'll 'd t s n x A É \u{301} 1 23 & & : / ( -lrb- -rrb- \u{2019} \u{201d} \u{2026} \
         \u{2014} \u{2011} \u{ad} \u{200b} \u{130} Σ ß ½ 😀 don't u.s. l lrb"
            .split(' ')
            .chain([" ", " ", "\u{1b}", "\u{a0}"])
            .collect();
    let mut generator = Draw { seed: 3, index: 0 }.generator();
    for _ in 0..100_000 {
        let count = 1 + generator.next_u32() as usize % 8;
        let part = |_| parts[generator.next_u32() as usize % parts.len()];
        check_stable(&(0..count).map(part).collect::<String>());
    }
}

#[test]
fn all_sentences_of_the_repository_are_tokenized() -> minitorch_core::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/sentiment");
    let reviews = sst2(folder)?;
    assert_eq!([reviews.train.len(), reviews.validation.len(), reviews.test.len()], [8436, 1066, 1066]);
    let mut tokens = 0;
    for sentence in reviews.train.iter().chain(&reviews.validation).chain(&reviews.test) {
        check_stable(&sentence.text);
        let letters = |text: &str| text.to_lowercase().chars().filter(|c| c.is_alphanumeric()).collect::<String>();
        let found = tokenize(&sentence.text);
        assert_eq!(letters(&found.concat()), letters(&sentence.text), "no letter is lost");
        tokens += found.len();
    }
    assert_eq!(tokens, 229_612);
    Ok(())
}

#[test]
fn long_texts_take_linear_time() {
    let initials = "a.".repeat(500_000);
    let texts =
        ["word ".repeat(200_000), "'".repeat(1_000_001), "n't".repeat(300_000), initials.clone() + "b", initials];
    for text in texts {
        let tokens = tokenize(&text);
        assert_eq!(tokenize(&tokens.join(" ")), tokens);
    }
}
