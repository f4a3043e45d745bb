//! The conventions that a test can check: the mirror rule, file sizes, unsafe code, the width of the trait, and what
//! each crate may know.

mod circles;
mod source;
mod words;

use std::fs;
use std::path::{Path, PathBuf};

/// A file longer than this must say why in a line that holds [`LONG`].
const BUDGET: usize = 400;
const LIMIT: usize = 500;
const LONG: &str = "longer than most because";

/// Families of core/src/ops without a kernel: layout arithmetic, and compositions of other families. They need cases,
/// but no backend and no bench knows them.
const NO_KERNEL: &[&str] = &[
    "arrange", // views, joins and gathers
    "einsum",  // views and matrix products
    "resize",  // gathers and pooling
    "view",
];

/// Crates that must not hold `unsafe`.
const SAFE: [&str; 4] = ["core", "nn", "conformance", "src"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files of these kinds under a folder of the repository, with their text.
fn files(under: &str, extensions: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(under)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" && name != "runs" {
                    folders.push(path);
                }
            } else if extensions.iter().any(|e| name.ends_with(&format!(".{e}"))) {
                let text = fs::read_to_string(&path).unwrap_or_default();
                found.push((path.strip_prefix(root()).map(Path::to_path_buf).unwrap_or(path), text));
            }
        }
    }
    assert!(!found.is_empty() || extensions != ["rs"], "no files under {under}: the check looks in the wrong place");
    found.sort();
    found
}

fn fail_if_any(rule: &str, offenders: Vec<String>) {
    assert!(offenders.is_empty(), "{rule}:\n  {}", offenders.join("\n  "));
}

fn families() -> Vec<String> {
    let names: Vec<String> = files("core/src/ops", &["rs"])
        .iter()
        // A folder holds the parts of the family that it is called after.
        .filter(|(path, _)| path.parent().is_some_and(|folder| folder.ends_with("ops")))
        .filter_map(|(path, _)| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .filter(|name| name != "mod" && !name.ends_with("_tests"))
        .collect();
    assert!(names.len() > 10, "only {names:?} found in core/src/ops");
    names
}

#[test]
fn every_family_has_its_file_in_every_room() {
    let cases = "conformance/src".to_string();
    let mut rooms = vec![(cases.clone(), "rs"), ("benches".into(), "rs")];
    for entry in fs::read_dir(root()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        match name.as_str() {
            "kernels" => rooms.push((name, "cu")),
            "shaders" => rooms.push((name, "wgsl")),
            _ if name.starts_with("backend-") => rooms.push((format!("{name}/src"), "rs")),
            _ => {}
        }
    }
    let known = families();
    let mut missing: Vec<String> = NO_KERNEL
        .iter()
        .filter(|name| !known.iter().any(|f| f == *name))
        .map(|name| format!("core/src/ops/{name}.rs"))
        .collect();
    for family in known {
        let no_kernel = NO_KERNEL.contains(&family.as_str());
        for (room, extension) in rooms.iter().filter(|(room, _)| *room == cases || !no_kernel) {
            let path = format!("{room}/{family}.{extension}");
            if !root().join(&path).exists() {
                missing.push(path);
            }
        }
    }
    fail_if_any("each family of core/src/ops has a file of its name in every room (CONTRIBUTING.md)", missing);
}

#[test]
fn files_fit_one_sitting() {
    let offenders = files("", &["rs", "cu", "cuh", "wgsl"])
        .into_iter()
        .filter_map(|(path, text)| {
            let lines = text.lines().count();
            let allowed = if text.contains(LONG) { LIMIT } else { BUDGET };
            (lines > allowed).then(|| format!("{}: {lines} lines, {allowed} are allowed", path.display()))
        })
        .collect();
    fail_if_any(&format!("at most {BUDGET} lines, or {LIMIT} with a line saying that it is \"{LONG} ...\""), offenders);
}

#[test]
fn every_file_opens_with_what_it_is() {
    let offenders = files("", &["rs"])
        .into_iter()
        .filter(|(_, text)| !text.trim_start().starts_with("//!") && !text.trim_start().starts_with("#!"))
        .map(|(path, _)| path.display().to_string())
        .collect();
    fail_if_any("a file starts with a //! comment that says what it is", offenders);
}

/// Lines with the keyword outside comments and strings, near enough.
fn unsafe_lines(text: &str) -> Vec<usize> {
    let keyword = concat!("un", "safe");
    text.lines()
        .enumerate()
        .filter(|(_, line)| {
            let code = line.split("//").next().unwrap_or_default();
            let starts = |rest: &str| [" {", " fn", " impl", " extern", " trait"].iter().any(|s| rest.starts_with(s));
            code.match_indices(keyword).any(|(at, _)| starts(&code[at + keyword.len()..]))
        })
        .map(|(i, _)| i)
        .collect()
}

#[test]
fn unsafe_code_says_why_it_is_sound() {
    let mut offenders = Vec::new();
    for (path, text) in files("", &["rs"]) {
        let lines: Vec<&str> = text.lines().collect();
        for i in unsafe_lines(&text) {
            let reasons = ["SAFETY", "# Safety"];
            let near = &lines[i.saturating_sub(8)..=i];
            if !near.iter().any(|line| reasons.iter().any(|reason| line.contains(reason))) {
                offenders.push(format!("{}:{}", path.display(), i + 1));
            }
        }
    }
    fail_if_any("a SAFETY sentence stands above", offenders);
}

#[test]
fn safe_crates_stay_safe() {
    let mut offenders = Vec::new();
    for folder in SAFE {
        for (path, text) in files(folder, &["rs"]) {
            offenders.extend(unsafe_lines(&text).iter().map(|i| format!("{}:{}", path.display(), i + 1)));
        }
    }
    fail_if_any("no unsafe code here", offenders);
    assert!(
        fs::read_to_string(root().join("core/src/lib.rs")).is_ok_and(|text| text.contains("#![forbid(unsafe_code)]")),
        "core forbids unsafe code"
    );
}

#[test]
fn the_backend_trait_stays_small() {
    let text = fs::read_to_string(root().join("core/src/backend.rs")).unwrap_or_default();
    let body = text.split("pub trait Backend").nth(1).unwrap_or_default();
    let body = body.split("\n}\n").next().unwrap_or_default();
    let methods = body.lines().filter(|line| line.starts_with("    fn ")).count();
    assert!((30..=60).contains(&methods), "the trait has {methods} methods; at most 60 are allowed");
}

/// Where a backend calls the composed form of a fused method, with the reason.
const COMPOSED: &[(&str, &str)] = &[
    ("backend-cpu/src/norm.rs", "arrangements that core does not ask for"),
    ("backend-cuda/src/norm.rs", "arrangements that core does not ask for"),
    ("backend-wgpu/src/loss.rs", "no logits"),
    ("backend-cuda/src/matmul.rs", "activations but relu are applied to the result in place; gradients of nothing"),
    ("backend-cuda/src/conv.rs", "activations but relu are applied to the result in place"),
    ("backend-cpu/src/conv.rs", "activations are applied to the result in place"),
    ("backend-wgpu/src/conv.rs", "activations are applied to the result in place"),
    ("backend-wgpu/src/matmul.rs", "the same; and a linear map that one binding does not reach: its parts are split"),
    ("backend-wgpu/src/optim.rs", "F16: a step of F32 copies, which is its own kernel again"),
    ("backend-wgpu/src/norm.rs", "arrangements that core does not ask for"),
];

/// Methods that fuse launches, which these backends leave apart.
const APART: &[(&str, &str, &str)] = &[
    ("backend-cpu", "linear_grad", "each gradient is a loop of its own; there are no launches to save"),
    ("backend-cpu", "conv2d_grad", "as linear_grad"),
    ("backend-cpu", "running_statistics", "a few numbers per channel"),
    ("backend-wgpu", "linear_grad", "each gradient is a dispatch of its own"),
    ("backend-wgpu", "conv2d_grad", "as linear_grad"),
    ("backend-wgpu", "running_statistics", "as linear_grad"),
];

#[test]
fn backends_have_kernels_for_all_methods() {
    let text = fs::read_to_string(root().join("core/src/backend.rs")).unwrap_or_default();
    let body = text.split("pub trait Backend").nth(1).unwrap_or_default();
    let methods: Vec<&str> = body
        .lines()
        .filter_map(|line| line.strip_prefix("    fn "))
        .filter_map(|line| line.split(['(', '<']).next())
        .collect();
    let mut offenders = Vec::new();
    for backend in ["backend-cpu", "backend-cuda", "backend-wgpu"] {
        let text = fs::read_to_string(root().join(backend).join("src/lib.rs")).unwrap_or_default();
        offenders.extend(
            methods
                .iter()
                .filter(|name| !text.contains(&format!("\n    fn {name}(")))
                .filter(|name| !APART.iter().any(|(of, method, _)| *of == backend && method == *name))
                .map(|name| format!("{backend}: {name}")),
        );
        for (path, text) in files(&format!("{backend}/src"), &["rs"]) {
            let path = path.display().to_string();
            let calls = text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains("composed::"));
            if calls && !COMPOSED.iter().any(|(listed, _)| *listed == path) {
                offenders.push(format!("{path} calls a composed form"));
            }
        }
    }
    fail_if_any(
        "a backend of ours leaves no method on its default, unless it is listed here with its reason",
        offenders,
    );
}

#[test]
fn dependencies_point_one_way() {
    let manifest = |folder: &str| fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap_or_default();
    let dependencies = |folder: &str| {
        let text = manifest(folder);
        let section = text.split("[dependencies]").nth(1).unwrap_or_default();
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
