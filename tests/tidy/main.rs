//! The conventions that a test can check: `cargo test --test tidy`.

mod backends;
mod circles;
mod examples;
mod source;
mod unsafe_code;
mod words;

use source::{fail_if_any, rust_files, text, tokens};

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

/// The files of core that create tensors from numbers of the host: "core computes no tensor element on the host", these excepted.
const ON_HOST: &[(&str, &str)] = &[
    ("core/src/create.rs", "constructors, `arange`, `linspace`, `eye`, `randperm`"),
    ("core/src/gradcheck.rs", "points of a difference quotient"),
    ("core/src/ops/copy.rs", "transfer between devices"),
    ("core/src/ops/index.rs", "index vectors of `flip`, `roll` and `repeat_interleave`"),
    ("core/src/ops/random.rs", "`randn`, so that every backend has the same numbers"),
    ("core/src/ops/resize.rs", "indices and weights of interpolation and adaptive pooling"),
];

#[test]
fn core_computes_on_the_host_only_where_listed() {
    let from_host = |text: &str| {
        tokens(text).windows(3).any(|w| {
            let constructor = w[0].is("Tensor") && w[1].is("::") && w[2].text.starts_with("from_");
            // The functions of create.rs that these constructors call.
            let for_an_op = !w[0].is("::") && (w[1].is("from_vec") || w[1].is("from_f64")) && w[2].is("(");
            constructor && !w[2].is("from_storage") || for_an_op || w[0].is(".") && w[1].is("upload")
        })
    };
    let found: Vec<String> = rust_files("core/src")
        .into_iter()
        .filter(|(path, text)| {
            !path.ends_with("_tests.rs") && from_host(text.split("#[cfg(test)]").next().unwrap_or(text))
        })
        .map(|(path, _)| path)
        .collect();
    let listed: Vec<&str> = ON_HOST.iter().map(|(path, _)| *path).collect();
    assert_eq!(found, listed, "the files of core/src that call Tensor::from_.. or upload");
}
