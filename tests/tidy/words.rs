//! The vocabulary of the field in comments, strings, names and documents: a list of words to avoid, and what to write for each.

use crate::source::{fail_if_any, files_where};
use std::collections::BTreeMap;

/// Words and phrases to avoid, separated by `|`, and what to write for them. They match whole words of comments, strings and names:
/// `TURNED_ROWS` and `TurnedRows` hold "turned" and "turned rows".
const BANNED: &[(&str, &str)] = &[
    ("house|houses|furniture", "crate, module, file, layer"),
    ("room|rooms", "crate, module, folder; for space: `room for`"),
    ("road|roads", "path, code path, call path"),
    ("lent|given away|gives away", "borrowed; owned or moved"),
    ("first cache|first caches", "L1"),
    ("second cache|second caches", "L2"),
    ("last cache|last caches|third cache", "LLC, L3"),
    ("past the cache|past the caches", "non-temporal (streaming)"),
    ("pass by|passes by|passed by|passing by", "stream through"),
    ("result starts from|results start from|sums start from|sum starts from", "initial value: beta, bias"),
    ("left side|left sides|right side|right sides", "operand A, operand B"),
    ("depths", "the k dimension"),
    ("whole vector|whole vectors", "full SIMD register, multiple of the vector width"),
    ("halves put together|put together from", "unaligned load"),
    ("instructions of x86", "x86-64 intrinsics"),
    (
        "largest of equals|first of equals|last of equals|smallest of equals|among equals|who wins|winner",
        "tie-breaking",
    ),
    ("taken from the system", "allocated from the OS"),
    ("made of", "composed of"),
    ("world|worlds", "I/O, device: a recoverable error"),
    ("misuse|misused|misuses", "API misuse: name the precondition that does not hold"),
    ("keeps its own", "queues the error for the next synchronize"),
    ("met", "reported, encountered, reached, visited"),
    ("turned|turning", "transposed, permuted, rotated"),
    ("per turn|each turn|every turn|turns of|in its turn|and turn", "iteration; round"),
    ("are meant", "active, valid"),
    ("card|cards", "GPU"),
    ("law|laws", "invariant, rule, contract"),
    ("piece|pieces", "chunk, part, block, tile"),
    ("joined", "fused, concatenated, combined, merged"),
    ("taken together", "fused, combined"),
    ("into words|so many words", "explicitly; as text"),
    ("stranger|strangers", "cold; foreign, unrelated"),
    ("same question", "name the shared computation"),
    ("truth", "correctness, validation; of labels: `ground truth`"),
    (
        "bits do not depend|bits depend|bits never depend|do not depend on threads",
        "results are bit-identical for any ..",
    ),
    ("as ever", "leave it out"),
];

/// Correct uses of them.
const ALLOWED: &[&str] = &[
    "room for",
    "room in",
    "no room",
    "by value",
    "by values",
    "by reference",
    "hello world",
    "real world",
    "is met",
    "are met",
    "be met",
    "turned into",
    "turned on",
    "turned off",
    "turning on",
    "turning off",
    "meant for",
    "meant to",
    "ground truth",
    "graphics card",
];

/// Files that are not checked: old entries of the change log, and this list.
const EXEMPT: &[&str] = &["CHANGELOG.md", "tests/tidy/words.rs"];

/// A word in lower case, its line, and whether it can continue a phrase: only spaces, comment markers, `_` and `-` are between it and the
/// word before.
struct Word {
    text: String,
    line: usize,
    continues: bool,
}

fn words(text: &str) -> Vec<Word> {
    let mut out: Vec<Word> = Vec::new();
    let (mut line, mut continues, mut before) = (1, true, ' ');
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let next_is_small = chars.peek().is_some_and(|next| next.is_lowercase());
        if c.is_alphanumeric() {
            // Camel case: `fooBar`, `FooBar` and the last letter before a small one in `HTTPServer`.
            let starts = !before.is_alphanumeric()
                || c.is_uppercase() && (before.is_lowercase() || before.is_numeric() || next_is_small);
            if starts {
                out.push(Word { text: String::new(), line, continues });
                continues = true;
            }
            if let Some(word) = out.last_mut() {
                word.text.extend(c.to_lowercase());
            }
        } else if !(c.is_whitespace() || "/!#*_-`".contains(c)) {
            continues = false;
        }
        line += (c == '\n') as usize;
        before = c;
    }
    out
}

/// Whether a phrase stands at a word.
fn stands(words: &[Word], at: usize, phrase: &[&str]) -> bool {
    words.len() - at >= phrase.len()
        && phrase
            .iter()
            .zip(&words[at..])
            .enumerate()
            .all(|(i, (want, word))| *want == word.text && (i == 0 || word.continues))
}

/// (line, phrase, what to write) for every banned phrase of a text.
fn banned(
    text: &str,
    rules: &BTreeMap<&str, Vec<(Vec<&'static str>, &'static str)>>,
) -> Vec<(usize, String, &'static str)> {
    let words = words(text);
    let allowed: Vec<Vec<&str>> = ALLOWED.iter().map(|phrase| phrase.split(' ').collect()).collect();
    let mut found = Vec::new();
    for (i, word) in words.iter().enumerate() {
        for (phrase, say) in rules.get(word.text.as_str()).into_iter().flatten() {
            if !stands(&words, i, phrase) {
                continue;
            }
            // A correct use that overlaps it.
            let near = i.saturating_sub(2)..i + phrase.len();
            let good = near.into_iter().any(|at| {
                allowed.iter().any(|good| at < words.len() && at + good.len() > i && stands(&words, at, good))
            });
            if !good {
                found.push((word.line, phrase.join(" "), *say));
            }
        }
    }
    found
}

fn rules() -> BTreeMap<&'static str, Vec<(Vec<&'static str>, &'static str)>> {
    let mut rules: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for (phrases, say) in BANNED {
        for phrase in phrases.split('|') {
            let phrase: Vec<&str> = phrase.split(' ').collect();
            rules.entry(phrase[0]).or_default().push((phrase, *say));
        }
    }
    rules
}

#[test]
fn no_banned_words() {
    let rules = rules();
    let extensions = ["rs", "cu", "cuh", "wgsl", "md", "py", "toml", "h", "c", "cpp"];
    let texts = files_where("", |name| match name.rsplit_once('.') {
        Some((_, extension)) => extensions.contains(&extension),
        None => !name.starts_with("LICENSE"),
    });
    let mut offenders = Vec::new();
    for (path, text) in texts.iter().filter(|(path, _)| !EXEMPT.contains(&path.as_str())) {
        let found = banned(text, &rules);
        if !found.is_empty() {
            println!("{:5} {path}", found.len());
        }
        offenders.extend(found.into_iter().map(|(line, phrase, say)| format!("{path}:{line}: \"{phrase}\" -> {say}")));
    }
    fail_if_any(&format!("{} words that CONTRIBUTING.md rules out", offenders.len()), offenders);
}

#[test]
fn the_list_of_words_is_precise() {
    let rules = rules();
    let phrases =
        |text: &str| -> Vec<String> { banned(text, &rules).into_iter().map(|(_, phrase, _)| phrase).collect() };
    for (text, want) in [
        ("// It stays in the first\n    // cache.", "first cache"),
        ("const PASSES_BY: bool", "passes by"),
        ("struct TurnedWeights;", "turned"),
        ("fn sliced_piece()", "piece"),
        ("the sum (of rooms)", "rooms"),
    ] {
        assert_eq!(phrases(text), [want], "{text}");
    }
    for text in [
        "taken by value",
        "pass by value",
        "room for one more",
        "wildcards",
        "an order that is met",
        "turned into a string",
        "the left-hand side",
        "in turn",
        "carded",
        "the first. Cache lines",
        "lawful",
        "print hello world",
    ] {
        assert_eq!(phrases(text), Vec::<String>::new(), "{text}");
    }
}
