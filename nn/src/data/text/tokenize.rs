//! Tokenizes text like the Penn Treebank tokenizer, which GloVe's corpus was made with.

/// Clitics, which become tokens of their own.
const CLITICS: [&str; 6] = ["'s", "'m", "'d", "'re", "'ve", "'ll"];
/// The clitic that takes a letter of the word: do n't.
const NOT: &str = "n't";

/// The most letters of an abbreviation.
const MOST_INITIALS: usize = 8;

/// The words and punctuation marks of a text, lower-cased, by the conventions of the Penn Treebank, as GloVe's corpus
/// (Pennington, Socher and Manning, 2014):
///
/// - contractions are split: `do n't`, `it 's`, `we 'll`; other apostrophes and hyphens within a word stay: `o'neill`,
///   `well-made`;
/// - numbers stay whole: `1,000`, `3.5`, `10:30`; so do initials: `j.r.r.`, `u.s.`;
/// - other marks are single tokens, except `...` (two or more dots, or the one character) and `--` (two or more
///   hyphens, or a dash);
/// - double quotes of every kind (`''`, two backticks and curly ones) become `"`, curly single quotes `'`, the
///   treebank's `-lrb-` and `-rrb-` parentheses;
/// - control characters count as blanks; soft hyphens and zero-width characters are removed.
///
/// The function is idempotent on tokens separated by blanks, so text that is already tokenized, as GLUE's is, does not
/// change.
///
/// ```
/// use minitorch::prelude::*;
/// use minitorch::nn::data::tokenize;
///
/// assert_eq!(tokenize("Don't miss J.R.R. Tolkien's ''Rings''...").join(" "), r#"do n't miss j.r.r. tolkien 's " rings " ..."#);
/// assert_eq!(tokenize("a 3-hour, well-made film"), ["a", "3-hour", ",", "well-made", "film"]);
/// ```
pub fn tokenize(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    for chunk in normalize(text).split_whitespace() {
        let chars: Vec<char> = chunk.chars().collect();
        let mut rest = chars.as_slice();
        while !rest.is_empty() {
            let (token, after) = rest.split_at(next(rest));
            push(token.iter().collect(), &mut tokens);
            rest = after;
        }
    }
    tokens
}

/// Lower case, with one character for each kind of quote, dash and ellipsis.
fn normalize(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{2018}' | '\u{2019}' | '\u{201b}' => out.push('\''),
            '\u{201c}' | '\u{201d}' | '\u{201e}' => out.push('"'),
            '\u{2013}' | '\u{2014}' | '\u{2015}' => out.push_str("--"),
            '\u{2010}' | '\u{2011}' => out.push('-'),
            '\u{2026}' => out.push_str("..."),
            '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' => {}
            c if c.is_control() => out.push(' '),
            c => out.extend(c.to_lowercase()),
        }
    }
    for (from, to) in [("''", "\""), ("``", "\""), ("-lrb-", "("), ("-rrb-", ")")] {
        if out.contains(from) {
            out = out.replace(from, to);
        }
    }
    out
}

/// The length of the first token. `chars` is not empty and contains no white space.
fn next(chars: &[char]) -> usize {
    let at = |i: usize| chars.get(i).copied().unwrap_or(' ');
    let run = |of: char| chars.iter().take_while(|&&c| c == of).count();
    match at(0) {
        c if is_word(c) => match initials(chars) {
            0 => word(chars),
            n => n,
        },
        '\'' => {
            let n = 1 + chars[1..].iter().take_while(|&&c| is_word(c)).count();
            let end: String = chars[..n].iter().collect();
            if CLITICS.contains(&end.as_str()) { n } else { 1 }
        }
        c @ ('.' | '-') => run(c),
        _ => 1,
    }
}

/// Letters, digits, and combining accents.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || ('\u{300}'..='\u{36f}').contains(&c)
}

/// The length of two to [`MOST_INITIALS`] letters, each followed by a dot, up to the end of the word; 0 if there are
/// none.
fn initials(chars: &[char]) -> usize {
    let pairs = chars.chunks_exact(2).take(MOST_INITIALS);
    let pairs = pairs.take_while(|pair| pair[0].is_alphabetic() && pair[1] == '.').count();
    let dots_follow = chars.get(2 * pairs).is_some_and(|&c| is_word(c) || c == '.');
    if pairs < 2 || dots_follow { 0 } else { 2 * pairs }
}

/// The length of a word or number, including the marks within it.
fn word(chars: &[char]) -> usize {
    let mut n = 1;
    while n < chars.len() {
        let (before, after) = (chars[n - 1], chars.get(n + 1).copied().unwrap_or(' '));
        let inside = match chars[n] {
            c if is_word(c) => true,
            '\'' | '-' => is_word(before) && is_word(after),
            '.' | ',' | ':' => before.is_ascii_digit() && after.is_ascii_digit(),
            '&' => before.is_alphabetic() && after.is_alphabetic(),
            _ => false,
        };
        if !inside {
            break;
        }
        n += 1;
    }
    n
}

/// Appends a token, and its clitics as further tokens.
fn push(mut token: String, tokens: &mut Vec<String>) {
    let mut ends = Vec::new();
    while let Some(end) = CLITICS.iter().chain([&NOT]).find(|end| {
        let stem = token.strip_suffix(**end).and_then(|stem| stem.chars().next_back());
        stem.is_some_and(is_word)
    }) {
        ends.push(end.to_string());
        token.truncate(token.len() - end.len());
    }
    match token.as_str() {
        ".." => token = "...".into(),
        dots if dots.len() > 3 && dots.starts_with('.') => token.truncate(3),
        dashes if dashes.starts_with("--") => token.truncate(2),
        _ => {}
    }
    tokens.push(token);
    tokens.extend(ends.into_iter().rev());
}

#[cfg(test)]
#[path = "tokenize_tests.rs"]
mod tests;
