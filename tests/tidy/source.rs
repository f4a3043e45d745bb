//! The files of the repository, and Rust source as tokens.

use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// The text of a file, with its path relative to the root of the repository.
pub(crate) fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}

/// All files below a folder whose name `wanted` accepts, with their text, sorted by path. Hidden folders, build outputs and files
/// that are not UTF-8 are skipped.
pub(crate) fn files_where(under: &str, wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(under)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                continue; // backend-cuda/kernels is a link to kernels
            }
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" && name != "runs" {
                    folders.push(path);
                }
            } else if wanted(&name)
                && let Ok(text) = fs::read_to_string(&path)
            {
                let path = path.strip_prefix(root()).map(Path::to_path_buf).unwrap_or(path);
                found.push((path.display().to_string(), text));
            }
        }
    }
    found.sort();
    found
}

/// All Rust files below a folder.
pub(crate) fn rust_files(under: &str) -> Vec<(String, String)> {
    let found = files_where(under, |name| name.ends_with(".rs"));
    assert!(!found.is_empty(), "no files below {under}: the check looks in the wrong place");
    found
}

/// Fails with the rule and its offenders, if there are any.
#[track_caller]
pub(crate) fn fail_if_any(rule: &str, offenders: Vec<String>) {
    assert!(offenders.is_empty(), "{rule}:\n  {}", offenders.join("\n  "));
}

/// A token of Rust source: an identifier, keyword or number; `::`; a string literal with its opening quote; or one character of
/// punctuation. Comments, lifetimes and character literals are left out.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

impl Token {
    pub(crate) fn is(&self, text: &str) -> bool {
        self.text == text
    }

    pub(crate) fn is_name(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut out, mut i, mut line) = (Vec::new(), 0, 1);
    while i < chars.len() {
        let start = i;
        let mut token = None;
        match chars[i] {
            '/' if at(i + 1) == '/' => {
                while i < chars.len() && chars[i] != '\n' {
                    i += 1;
                }
            }
            '/' if at(i + 1) == '*' => {
                let mut depth = 0;
                loop {
                    match (at(i), at(i + 1)) {
                        ('/', '*') => (depth, i) = (depth + 1, i + 2),
                        ('*', '/') => (depth, i) = (depth - 1, i + 2),
                        _ => i += 1,
                    }
                    if depth == 0 || i >= chars.len() {
                        break;
                    }
                }
            }
            '"' => {
                i += 1;
                while i < chars.len() && chars[i] != '"' {
                    i += if chars[i] == '\\' { 2 } else { 1 };
                }
                token = Some(chars[start..i.min(chars.len())].iter().collect());
                i += 1;
            }
            'r' if at(i + 1) == '"' || at(i + 1) == '#' && matches!(at(i + 2), '"' | '#') => {
                let hashes = chars[i + 1..].iter().take_while(|&&c| c == '#').count();
                let ends = |i: usize| at(i) == '"' && (1..=hashes).all(|h| at(i + h) == '#');
                i += hashes + 2;
                let open = i;
                while i < chars.len() && !ends(i) {
                    i += 1;
                }
                token = Some(format!("\"{}", chars[open..i].iter().collect::<String>()));
                i += hashes + 1;
            }
            '\'' if at(i + 1) == '\\' => {
                i += 3;
                while i < chars.len() && chars[i] != '\'' {
                    i += 1;
                }
                i += 1;
            }
            '\'' if at(i + 2) == '\'' => i += 3,
            '\'' => {
                i += 1;
                while word(at(i)) {
                    i += 1;
                }
            }
            ':' if at(i + 1) == ':' => {
                i += 2;
                token = Some("::".to_string());
            }
            c if word(c) => {
                while word(at(i)) {
                    i += 1;
                }
                token = Some(chars[start..i].iter().collect());
            }
            c => {
                i += 1;
                token = (!c.is_whitespace()).then(|| c.to_string());
            }
        }
        out.extend(token.map(|text| Token { text, line }));
        line += chars[start..i.min(chars.len())].iter().filter(|&&c| c == '\n').count();
    }
    out
}
