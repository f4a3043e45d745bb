//! The files and methods that each family of operations has in core, the backends, the kernels and the suites.

use crate::source::{fail_if_any, files_where, root, rust_files, text};
use std::fs;

/// Families of core/src/ops without a trait and without kernels: they rearrange layouts, or compose other families. Only the
/// conformance suite has a file for each.
const NO_KERNEL: &[(&str, &str)] = &[
    ("arrange", "views, concatenation and gathers"),
    ("einsum", "views and matrix products"),
    ("resize", "gathers and pooling"),
    ("view", "views"),
];

/// Methods that the traits have at most.
const MAX_METHODS: usize = 60;

/// The files in which a backend calls the composed form of a fused method, and why.
const COMPOSED: &[(&str, &str)] = &[
    ("backend-cpu/src/norm.rs", "arrangements of dimensions that core does not use"),
    ("backend-cuda/src/norm.rs", "arrangements of dimensions that core does not use"),
    ("backend-wgpu/src/loss.rs", "logits without elements"),
    (
        "backend-cuda/src/matmul.rs",
        "activations but relu are applied to the result in place; gradients without elements",
    ),
    ("backend-cuda/src/conv.rs", "activations but relu are applied to the result in place"),
    ("backend-cpu/src/conv.rs", "activations are applied to the result in place"),
    ("backend-wgpu/src/conv.rs", "activations are applied to the result in place"),
    (
        "backend-wgpu/src/matmul.rs",
        "activations, as in conv; a linear map over the limit of one binding is composed of products, which are split",
    ),
    ("backend-wgpu/src/optim.rs", "F16: the step of F32 copies"),
    ("backend-wgpu/src/norm.rs", "arrangements of dimensions that core does not use"),
];

/// Methods that fuse several launches into one, which these backends do not override, and why.
const NOT_FUSED: &[(&str, &str, &str)] = &[
    ("backend-cpu", "linear_grad", "one loop per gradient; there are no launches to save"),
    ("backend-cpu", "conv2d_grad", "as linear_grad"),
    ("backend-cpu", "running_statistics", "a few elements per channel"),
    ("backend-wgpu", "linear_grad", "one dispatch per gradient"),
    ("backend-wgpu", "conv2d_grad", "as linear_grad"),
    ("backend-wgpu", "running_statistics", "as linear_grad"),
];

/// The families of core/src/ops, each with its source.
fn families() -> Vec<(String, String)> {
    let found: Vec<(String, String)> = rust_files("core/src/ops")
        .into_iter()
        .filter_map(|(path, text)| Some((path.strip_prefix("core/src/ops/")?.strip_suffix(".rs")?.to_string(), text)))
        // A folder has the parts of the family of its name.
        .filter(|(name, _)| name != "mod" && !name.contains('/') && !name.ends_with("_tests"))
        .collect();
    assert!(found.len() > 10, "few families in core/src/ops: {found:?}");
    found
}

/// The trait that a family declares, and its methods.
fn methods(source: &str) -> Option<(&str, Vec<&str>)> {
    source.split("\npub trait ").skip(1).find_map(|rest| {
        let (name, rest) = rest.split_once(':')?;
        let body = rest.split("\n}\n").next()?;
        let methods = body
            .lines()
            .filter_map(|line| line.strip_prefix("    fn "))
            .filter_map(|line| line.split(['(', '<']).next());
        (name.ends_with("Ops") || name == "Device").then(|| (name, methods.collect()))
    })
}

/// "The mirror rule": a family's file has one name in core, in every backend, among the kernels, the shaders, the benches and the
/// conformance cases.
#[test]
fn every_family_has_its_file_in_every_folder() {
    let cases = "conformance/src".to_string();
    let mut folders =
        vec![(cases.clone(), "rs"), ("benches".into(), "rs"), ("kernels".into(), "cu"), ("shaders".into(), "wgsl")];
    for entry in fs::read_dir(root()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("backend-") {
            folders.push((format!("{name}/src"), "rs"));
        }
    }
    let families = families();
    let mut offenders = Vec::new();
    for (name, source) in &families {
        let no_kernel = NO_KERNEL.iter().any(|(listed, _)| listed == name);
        if no_kernel == methods(source).is_some() {
            offenders.push(format!("core/src/ops/{name}.rs: a trait, and a line in NO_KERNEL, or neither"));
        }
        for (folder, extension) in folders.iter().filter(|(folder, _)| *folder == cases || !no_kernel) {
            let path = format!("{folder}/{name}.{extension}");
            if !root().join(&path).exists() {
                offenders.push(format!("{path} is missing"));
            }
        }
    }
    // A file of kernels has the name of its family, or begins with it.
    for (path, _) in files_where("kernels", |name| name.ends_with(".cu")) {
        let name = path.trim_start_matches("kernels/").trim_end_matches(".cu");
        if !families.iter().any(|(family, _)| name == family || name.starts_with(&format!("{family}_"))) {
            offenders.push(format!("{path} belongs to no family"));
        }
    }
    fail_if_any("each family of core/src/ops has a file of its name in every folder (CONTRIBUTING.md)", offenders);
}

#[test]
fn the_backend_trait_stays_small() {
    let device = text("core/src/backend.rs");
    let families = families();
    let traits = families.iter().filter_map(|(_, source)| methods(source)).chain(methods(&device));
    let count: usize = traits.map(|(_, methods)| methods.len()).sum();
    assert!((30..=MAX_METHODS).contains(&count), "the traits have {count} methods; at most {MAX_METHODS} are allowed");
}

#[test]
fn backends_have_kernels_for_all_methods() {
    let mut offenders = Vec::new();
    for backend in ["backend-cpu", "backend-cuda", "backend-wgpu"] {
        for (family, source) in families() {
            let Some((name, methods)) = methods(&source) else { continue };
            let path = format!("{backend}/src/{family}.rs");
            let implementation = text(&path);
            let Some((_, body)) = implementation.split_once(&format!("\nimpl {name} for ")) else {
                offenders.push(format!("{path} has no `impl {name} for`"));
                continue;
            };
            let body = body.split("\n}\n").next().unwrap_or_default();
            offenders.extend(
                methods
                    .iter()
                    .filter(|name| !body.contains(&format!("\n    fn {name}(")))
                    .filter(|name| !NOT_FUSED.iter().any(|(of, method, _)| *of == backend && method == *name))
                    .map(|name| format!("{path}: no {name}")),
            );
        }
        for (path, text) in rust_files(&format!("{backend}/src")) {
            let calls = text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains("composed::"));
            if calls && !COMPOSED.iter().any(|(listed, _)| *listed == path) {
                offenders.push(format!("{path} calls a composed form and is not listed"));
            }
        }
    }
    fail_if_any("each backend overrides every method, except those that are listed with a reason", offenders);
}
