//! The conventions that a test can check: `cargo test --test tidy`.

mod backends;
mod circles;
mod source;
mod unsafe_code;
mod words;

use source::{fail_if_any, files_where, rust_files, text};

#[test]
fn every_file_opens_with_what_it_is() {
    let offenders = rust_files("")
        .into_iter()
        .filter(|(_, text)| !text.trim_start().starts_with("//!") && !text.trim_start().starts_with("#!"))
        .map(|(path, _)| path)
        .collect();
    fail_if_any("a file starts with a //! comment that says what it is", offenders);
}

#[test]
fn dependencies_point_one_way() {
    let dependencies = |folder: &str| {
        let manifest = text(&format!("{folder}/Cargo.toml"));
        let section = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        section.split("\n[").next().unwrap_or_default().to_string()
    };
    for (folder, forbidden) in [
        ("core", &["minitorch-"][..]),
        ("nn", &["minitorch-cpu", "minitorch-cuda", "minitorch-wgpu", "minitorch-conformance"]),
        ("backend-cpu", &["minitorch-nn", "minitorch-cuda", "minitorch-wgpu"]),
        ("backend-cuda", &["minitorch-nn", "minitorch-cpu", "minitorch-wgpu"]),
        ("backend-wgpu", &["minitorch-nn", "minitorch-cpu", "minitorch-cuda"]),
        ("conformance", &["minitorch-cpu", "minitorch-cuda", "minitorch-wgpu"]),
    ] {
        let found = dependencies(folder);
        assert!(!found.is_empty(), "{folder}/Cargo.toml has no [dependencies]");
        for name in forbidden {
            assert!(!found.contains(name), "{folder} must not depend on {name}..");
        }
    }
}

/// Prints lines by crate and the longest files: `cargo test --test tidy sizes -- --nocapture`.
#[test]
fn sizes() {
    let sources =
        |name: &str| [".rs", ".cu", ".cuh", ".wgsl", ".h", ".c", ".cpp", ".py"].iter().any(|e| name.ends_with(e));
    let mut files: Vec<(usize, String)> =
        files_where("", sources).into_iter().map(|(path, text)| (text.lines().count(), path)).collect();
    let mut crates = std::collections::BTreeMap::<&str, (usize, usize)>::new();
    for (lines, path) in &files {
        let of = crates.entry(path.split('/').next().unwrap_or(path)).or_default();
        *of = (of.0 + lines, of.1 + 1);
    }
    for (name, (lines, count)) in &crates {
        println!("{lines:7} lines in {count:3} files  {name}");
    }
    println!("{:7} lines in {:3} files", files.iter().map(|(lines, _)| lines).sum::<usize>(), files.len());
    files.sort_by(|a, b| b.cmp(a));
    for (lines, path) in files.iter().take(10) {
        println!("{lines:7} {path}");
    }
}
