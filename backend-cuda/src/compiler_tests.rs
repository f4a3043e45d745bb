//! What is compiled, what is cached, and under which key.

use super::*;
use crate::nvrtc::tests::nvrtc;
use std::fs;

fn kernel(name: &str) -> String {
    format!("#include \"common.cuh\"\nextern \"C\" __global__ void {name}(u32 *x) {{ *x = 1; }}")
}

/// The files of a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn a_file_is_compiled_once_and_errors_name_the_file_in_one_line() {
    let Some(nvrtc) = nvrtc() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (kernel("one_k"), kernel("two_k"));
    let sources = [("one.cu", &*one), ("bad.cu", "\nint f() { return x; }"), ("two.cu", &*two)];
    let compiler = Compiler::new(nvrtc, Cache::at(folder.path()), Architecture::new(80), &sources, HEADERS);
    assert_eq!(compiler.stems().collect::<Vec<_>>(), ["one", "bad", "two"]);
    let first = compiler.image(0).unwrap();
    assert!(!first.cached && first.cubin.starts_with(b"\x7fELF"));
    assert_eq!(files(folder.path()).len(), 1, "only the requested file is compiled");
    assert_eq!(compiler.image(0).unwrap(), Image { cached: true, ..first });
    assert!(!compiler.recompile(0).unwrap().cached);
    compiler.discard(0);
    assert!(files(folder.path()).is_empty());
    let why = compiler.image(1).unwrap_err();
    assert!(why.starts_with("kernels/bad.cu does not compile for sm_80 by NVRTC"), "{why}");
    assert!(why.contains("bad.cu(2): error: ") && why.lines().count() == 1, "{why}");
    let mut seen = Vec::new();
    assert_eq!(compiler.ensure_all_cached(|file| seen.push(file.name)), Err(why));
    assert!(!seen.contains(&"bad.cu".to_owned()));
}

#[test]
fn damaged_machine_code_is_recompiled() {
    let Some(nvrtc) = nvrtc() else { return };
    let folder = tempfile::tempdir().unwrap();
    let one = kernel("one_k");
    let sources = [("one.cu", &*one)];
    let compiler = Compiler::new(nvrtc, Cache::at(folder.path()), Architecture::new(80), &sources, HEADERS);
    let good = compiler.image(0).unwrap().cubin;
    let file = files(folder.path()).remove(0);
    let whole = fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for bad in [&whole[..whole.len() / 2], &flipped, b""] {
        fs::write(&file, bad).unwrap();
        let image = compiler.image(0).unwrap();
        assert!(!image.cached && image.cubin == good);
        assert!(fs::read(&file).unwrap() == whole, "the file is replaced");
    }
}

#[test]
fn the_key_covers_all_that_the_code_depends_on() {
    let Some(_) = nvrtc() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (kernel("one_k"), kernel("one_j"));
    let with = |source: &str, architecture: u32, header: &str| {
        let (sources, headers) = ([("one.cu", source)], [HEADERS[0], ("extra.cuh", header)]);
        let architecture = Architecture::new(architecture);
        let cache = Cache::at(folder.path());
        let compiler = Compiler::new(nvrtc().unwrap(), cache, architecture, &sources, &headers);
        compiler.image(0).unwrap().cached
    };
    assert!(!with(&one, 80, ""));
    for (source, architecture, header) in [(&one, 90, ""), (&one, 80, "// changed"), (&other, 80, "")] {
        assert!(!with(source, architecture, header), "{architecture} {header:?}");
        assert!(with(source, architecture, header));
    }
    assert!(with(&one, 80, ""));
    // The compiler's version and its options.
    let nvrtc = nvrtc().unwrap();
    let (sources, version) = ([("one.cu", &*one)], nvrtc.version);
    let mut compiler = Compiler::new(nvrtc, Cache::at(folder.path()), Architecture::new(80), &sources, HEADERS);
    let entry = |compiler: &Compiler<'_>| format!("{:?}", compiler.entry(0));
    let ours = entry(&compiler);
    compiler.nvrtc.version = (version.0, version.1 + 1);
    assert_ne!(entry(&compiler), ours);
    compiler.nvrtc.version = version;
    assert_eq!(entry(&compiler), ours);
    compiler.options.push("--use_fast_math".to_owned());
    assert_ne!(entry(&compiler), ours);
}

#[test]
fn compile_kernels_fails_if_the_folder_cannot_be_written() {
    let Some(nvrtc) = nvrtc() else { return };
    let file = tempfile::NamedTempFile::new().unwrap();
    let one = kernel("one_k");
    let sources = [("one.cu", &*one)];
    let cache = Cache::at(file.path().join("cache"));
    let compiler = Compiler::new(nvrtc, cache, Architecture::new(80), &sources, HEADERS);
    assert!(compiler.image(0).is_ok(), "and none of a start");
    let why = compiler.ensure_all_cached(|_| ()).unwrap_err();
    assert!(why.starts_with("kernels/one.cu is compiled and cannot be kept in ") && why.lines().count() == 1, "{why}");
}

#[test]
fn unknown_architectures_are_errors_of_one_line() {
    let Some(_) = nvrtc() else { return };
    let folder = tempfile::tempdir().unwrap();
    let why = |name: &str| compile_into(name, Cache::at(folder.path()), |_| ()).unwrap_err();
    assert_eq!(why("90"), "\"90\" is no GPU architecture; sm_80, sm_90 and sm_90a are");
    assert_eq!(why("sm_90a"), "a GPU of sm_90a is given code for sm_90, which is what to compile for");
    assert!(why("sm_99").ends_with(" does not know sm_99; such a GPU is given code for sm_90"), "{}", why("sm_99"));
    assert!(why("sm_50").contains("does not know compute capability 5.0"), "{}", why("sm_50"));
    assert!(["90", "sm_99", "sm_50"].iter().all(|name| why(name).lines().count() == 1));
    assert!(files(folder.path()).is_empty());
}
