//! Documentation examples can be pasted into a crate that depends on `minitorch` alone.
//!
//! That they compile is what documentation tests check; this checks that they say all that they need, and need nothing else.

use crate::source::{fail_if_any, files_where};

/// An example: the lines of a fenced block of Rust, and the line of its fence.
struct Example {
    line: usize,
    code: Vec<String>,
}

/// The examples of a text: of its `///` and `//!` comments if it is Rust source, where a fence without a language is Rust, and
/// of its fences `rust` if it is Markdown.
fn examples(text: &str, is_source: bool) -> Vec<Example> {
    let is_rust = |info: &str| match info {
        "" => is_source,
        info => info.split(',').all(|word| {
            ["rust", "no_run", "ignore", "should_panic", "compile_fail", "edition2024"].contains(&word.trim())
        }),
    };
    let mut found: Vec<Example> = Vec::new();
    // The block that the line is in: whether it is Rust.
    let mut block: Option<bool> = None;
    for (number, line) in text.lines().enumerate() {
        let line = match line.trim_start() {
            line if !is_source => line,
            line => match line.strip_prefix("///").or_else(|| line.strip_prefix("//!")) {
                Some(comment) => comment.strip_prefix(' ').unwrap_or(comment),
                None => continue,
            },
        };
        match (line.trim_start().strip_prefix("```"), block) {
            (Some(_), Some(_)) => block = None,
            (Some(info), None) => {
                block = Some(is_rust(info.trim()));
                if is_rust(info.trim()) {
                    found.push(Example { line: number + 1, code: Vec::new() });
                }
            }
            (None, Some(true)) => found.last_mut().expect("a block is open").code.push(line.to_string()),
            (None, _) => {}
        }
    }
    found
}

/// What keeps an example from being pasted.
fn fault(example: &Example) -> Option<String> {
    let first = example.code.iter().find(|line| !line.trim().is_empty() && !line.starts_with("//"));
    if first.is_none_or(|line| line != "use minitorch::prelude::*;") {
        return Some("does not begin with `use minitorch::prelude::*;`".to_string());
    }
    let internal = |line: &&String| line.contains("minitorch_");
    if let Some(line) = example.code.iter().find(internal) {
        return Some(format!("names an internal crate: {line}"));
    }
    // Hidden lines may give the example a result and a scratch folder, not a device or names.
    let hidden = |line: &&String| line.starts_with("# ") && (line.contains("use ") || line.contains("evice"));
    example.code.iter().find(hidden).map(|line| format!("hides what a reader needs: {line}"))
}

#[test]
fn examples_need_the_facade_alone() {
    let mut count = 0;
    let mut offenders = Vec::new();
    for (path, text) in files_where("", |name| name.ends_with(".rs") || name.ends_with(".md")) {
        let is_source = path.ends_with(".rs");
        // Sources whose documentation is not a user's, and the history.
        if is_source && !["core/src", "nn/src", "backend-", "src/"].iter().any(|folder| path.starts_with(folder))
            || path == "CHANGELOG.md"
        {
            continue;
        }
        for example in examples(&text, is_source) {
            count += 1;
            offenders.extend(fault(&example).map(|why| format!("{path}:{}: {why}", example.line)));
        }
    }
    assert!(count > 80, "only {count} examples were found");
    fail_if_any("an example begins with the prelude and needs no other crate", offenders);
}

#[test]
fn examples_are_told_apart() {
    let source =
        "/// ```\n/// a\n/// ```\n/// ```text\n/// b\n/// ```\n//! ```no_run\n//! c\n//! ```\nlet x = \"```\";";
    let found: Vec<_> = examples(source, true).into_iter().map(|example| (example.line, example.code)).collect();
    assert_eq!(found, [(1, vec!["a".to_string()]), (7, vec!["c".to_string()])]);
    assert_eq!(examples("```sh\na\n```\n```rust\nb\n```\n```\nc\n```", false).len(), 1);

    let example = |code: &str| Example { line: 1, code: code.lines().map(String::from).collect() };
    assert_eq!(fault(&example("// why\nuse minitorch::prelude::*;\n\n# Ok::<(), Error>(())")), None);
    for bad in [
        "let x = 1;",
        "use minitorch::prelude::*;\nuse minitorch_nn::Linear;",
        "use minitorch::prelude::*;\n# let device = Cpu::default();",
        "# use minitorch::prelude::*;",
    ] {
        assert!(fault(&example(bad)).is_some(), "{bad}");
    }
}
