//! What comes from a file, in a message: escaped, so that a terminal only shows it, and short.

use std::fmt::Display;

/// Characters of a name that a message shows.
const LONGEST_NAME: usize = 100;

/// Characters of a sentence that a message shows.
const LONGEST_SENTENCE: usize = 300;

/// Sizes of a shape that a message shows.
const MOST_SIZES: usize = 8;

/// Names in a list that a message shows.
const MOST_NAMES: usize = 40;

/// A name, or any other text that a file holds: as it is if it is short and of letters, digits and the usual signs, else in
/// quotes, escaped, its end left out.
pub(crate) fn shown(text: &str) -> String {
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+/:()[]<>|=".contains(&byte);
    if !text.is_empty() && text.len() <= LONGEST_NAME && text.bytes().all(usual) {
        return text.into();
    }
    let head: String = text.chars().take(LONGEST_NAME).collect();
    let quoted = format!("\"{}\"", head.escape_debug());
    if head.len() == text.len() { quoted } else { format!("{quoted}.. ({} bytes)", text.len()) }
}

/// What another crate says of a file, which may hold parts of it.
pub(crate) fn said(reason: impl Display) -> String {
    let text = reason.to_string();
    let escape = |c: char| match c {
        '"' | '\'' | '\\' => c.to_string(),
        _ => c.escape_debug().to_string(),
    };
    let head: String = text.chars().take(LONGEST_SENTENCE).map(escape).collect();
    if text.chars().nth(LONGEST_SENTENCE).is_none() { head } else { head + ".." }
}

/// A shape.
pub(crate) fn shown_shape(shape: &[usize]) -> String {
    match shape.get(..MOST_SIZES) {
        Some(head) if shape.len() > MOST_SIZES => {
            let head: Vec<String> = head.iter().map(usize::to_string).collect();
            format!("[{}, ..] of {} dimensions", head.join(", "), shape.len())
        }
        _ => format!("{shape:?}"),
    }
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
    fn usual_names_are_shown_as_they_are() {
        for name in ["fc.weight", "layers.0/exp_avg", "<f4", "BF16", "a-b:c"] {
            assert_eq!(shown(name), name);
        }
    }

    #[test]
    fn all_else_is_quoted_escaped_and_short() {
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
