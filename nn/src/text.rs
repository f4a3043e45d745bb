//! Text for messages. Text that comes from a file is escaped, so that it cannot control a terminal, and truncated.

use std::fmt::Display;

/// Limits of a message: characters of a name,
const LONGEST_NAME: usize = 100;

/// characters of a sentence,
const LONGEST_SENTENCE: usize = 300;

/// sizes of a shape,
const MOST_SIZES: usize = 8;

/// and names in a list.
const MOST_NAMES: usize = 40;

/// A name, or any other text from a file: unchanged if it is short and consists of letters, digits and the usual
/// punctuation, else quoted, escaped and truncated.
pub(crate) fn shown(text: &str) -> String {
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+/:()[]<>|=".contains(&byte);
    if !text.is_empty() && text.len() <= LONGEST_NAME && text.bytes().all(usual) {
        return text.into();
    }
    let head: String = text.chars().take(LONGEST_NAME).collect();
    let quoted = format!("\"{}\"", head.escape_debug());
    if head.len() == text.len() { quoted } else { format!("{quoted}.. ({} bytes)", text.len()) }
}

/// The message of another crate about a file, which can contain parts of the file.
pub(crate) fn said(reason: impl Display) -> String {
    let text = reason.to_string();
    let escape = |c: char| match c {
        '"' | '\'' | '\\' => c.to_string(),
        _ => c.escape_debug().to_string(),
    };
    let head: String = text.chars().take(LONGEST_SENTENCE).map(escape).collect();
    if text.chars().nth(LONGEST_SENTENCE).is_none() { head } else { head + ".." }
}

/// A shape, truncated.
pub(crate) fn shown_shape(shape: &[usize]) -> String {
    match shape.get(..MOST_SIZES) {
        Some(head) if shape.len() > MOST_SIZES => {
            let head: Vec<String> = head.iter().map(usize::to_string).collect();
            format!("[{}, ..] of {} dimensions", head.join(", "), shape.len())
        }
        _ => format!("{shape:?}"),
    }
}

/// A number with its noun: "1 word", "2 words".
pub(crate) fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// Names that are fit to be shown, separated by commas.
pub(crate) fn list(names: &[String]) -> String {
    let (head, rest) = names.split_at(names.len().min(MOST_NAMES));
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    head.join(", ") + &more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_names_are_shown_unchanged() {
        for name in ["fc.weight", "layers.0/exp_avg", "<f4", "BF16", "a-b:c"] {
            assert_eq!(shown(name), name);
        }
    }

    #[test]
    fn everything_else_is_quoted_escaped_and_truncated() {
        for (name, text) in [
            ("", r#""""#),
            ("a b", r#""a b""#),
            ("\u{1b}[2J\r\n", r#""\u{1b}[2J\r\n""#),
            ("say \"x\"", r#""say \"x\"""#),
            ("left\u{202e}right\u{9b}0m", r#""left\u{202e}right\u{9b}0m""#),
            ("größe", "\"größe\""),
        ] {
            assert_eq!(shown(name), text);
        }
        assert_eq!(shown(&"x".repeat(65_000)), format!("\"{}\".. (65000 bytes)", "x".repeat(100)));
        assert!(shown(&"\u{10fffe}".repeat(65_000)).len() < 1200);
        assert_eq!(said("expected `\"a\"`, not \u{1b}[31m"), "expected `\"a\"`, not \\u{1b}[31m");
        assert!(said("\u{1b}".repeat(1 << 20)).len() < 2000);
        assert_eq!(shown_shape(&[2, 3]), "[2, 3]");
        assert_eq!(shown_shape(&[1; 1000]), "[1, 1, 1, 1, 1, 1, 1, 1, ..] of 1000 dimensions");
        let names: Vec<String> = (0..100).map(|i| i.to_string()).collect();
        assert!(list(&names).ends_with("38, 39 and 60 more") && list(&names[..2]) == "0, 1");
    }
}
