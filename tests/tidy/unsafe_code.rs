//! Where `unsafe` may stand, and that each one says why it is sound.

use crate::source::{fail_if_any, rust_files, text, tokens};

/// Every file that may hold `unsafe`: (crate, module, why). A module is a file of that name, or a folder.
const UNSAFE: &[(&str, &str, &str)] = &[
    ("backend-cpu/src", "elementwise", "SIMD registers of the element-wise loops"),
    ("backend-cpu/src", "kernels", "SIMD registers of matrix products, convolutions and pooling"),
    ("backend-cpu/src", "memory", "buffers without initial values"),
    ("backend-cpu/src", "parallel", "disjoint chunks of one buffer, written by several threads"),
    ("backend-cpu/src", "simd", "intrinsics"),
    ("backend-cuda/src", "cache", "the process id"),
    ("backend-cuda/src", "gpu", "the driver"),
    ("backend-cuda/src", "copy", "the driver"),
    ("backend-cuda/src", "device_tests", "launches"),
    ("backend-cuda/src", "driver", "the driver"),
    ("backend-cuda/src", "emulator", "the emulator, which is C++"),
    ("backend-cuda/src", "emulator_tests", "the emulator"),
    ("backend-cuda/src", "memory", "host buffers that copies fill"),
    ("backend-cuda/src", "nvrtc", "NVRTC, a C library"),
    ("backend-cuda/src", "params", "structs as bytes"),
    ("backend-cuda/src", "state", "launches"),
    ("backend-wgpu/src", "stream", "shaders without wgpu's bounds checks, where asked for"),
    ("benches/peers/src", "ceilings", "streaming stores"),
    ("benches/peers/src", "gemm_peer", "another library"),
    ("examples/diagnose", "fma", "fused multiply-adds"),
    ("tests", "allocations", "the environment"),
    ("tests", "common", "a global allocator that counts"),
];

/// The lines of a source with the keyword in code.
fn unsafe_lines(text: &str) -> Vec<usize> {
    let tokens = tokens(text);
    let opens = ["{", "fn", "impl", "extern", "trait"];
    tokens.windows(2).filter(|w| w[0].is("unsafe") && opens.contains(&w[1].text.as_str())).map(|w| w[0].line).collect()
}

/// Whether an entry of [`UNSAFE`] covers a file.
fn covers((folder, module, _): &(&str, &str, &str), path: &str) -> bool {
    let rest =
        path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')).and_then(|rest| rest.strip_prefix(module));
    rest.is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

#[test]
fn unsafe_code_says_why_it_is_sound() {
    let mut offenders = Vec::new();
    for (path, text) in rust_files("") {
        let lines: Vec<&str> = text.lines().collect();
        for line in unsafe_lines(&text) {
            let near = &lines[line.saturating_sub(9)..line];
            if !near.iter().any(|line| line.contains("SAFETY") || line.contains("# Safety")) {
                offenders.push(format!("{path}:{line}"));
            }
        }
    }
    fail_if_any("a SAFETY sentence stands above", offenders);
}

#[test]
fn unsafe_code_stands_where_it_is_listed() {
    let with: Vec<String> =
        rust_files("").into_iter().filter(|(_, text)| !unsafe_lines(text).is_empty()).map(|(path, _)| path).collect();
    let mut offenders: Vec<String> =
        with.iter().filter(|path| !UNSAFE.iter().any(|entry| covers(entry, path))).cloned().collect();
    for entry in UNSAFE.iter().filter(|entry| !with.iter().any(|path| covers(entry, path))) {
        offenders.push(format!("{}/{} is listed and has none", entry.0, entry.1));
    }
    fail_if_any("unsafe code stands in the files of UNSAFE, in each of them, and in no other", offenders);
    for path in ["core/src/lib.rs", "nn/src/lib.rs"] {
        assert!(text(path).contains("#![forbid(unsafe_code)]"), "{path} forbids unsafe code");
    }
}

/// README's row on safety names the same modules.
#[test]
fn the_readme_says_where_unsafe_code_stands() {
    let readme = text("README.md");
    let row = readme.lines().find(|line| line.starts_with("| **Safety**")).unwrap_or_default();
    let missing = |(folder, module, _): &&(&str, &str, &str)| {
        folder.starts_with("backend-") && !module.ends_with("_tests") && !row.contains(&format!("`{module}`"))
    };
    let missing = UNSAFE.iter().filter(missing).map(|(folder, module, why)| format!("{folder}: `{module}` ({why})"));
    fail_if_any("README's row \"Safety\" names every module of a backend that holds unsafe code", missing.collect());
}
