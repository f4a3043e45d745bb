//! Tests of the compiler's binding.

use super::*;
use crate::sources::HEADERS;

/// The compiler, or none with a note; `MINITORCH_REQUIRE=nvrtc` makes its absence a failure.
pub(crate) fn nvrtc() -> Option<Nvrtc> {
    match Nvrtc::find(None) {
        Ok(nvrtc) => Some(nvrtc),
        Err(why) => {
            let required = std::env::var("MINITORCH_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|name| name.trim() == "nvrtc"), "MINITORCH_REQUIRE: {why}");
            eprintln!("not checked: {why}");
            None
        }
    }
}

#[test]
fn a_snippet_sees_the_headers_and_the_offsets() {
    let params = "#include \"common.cuh\"\nstruct Params { u32 count; u64 address; };\n";
    let right = "static_assert(offsetof(Params, address) == 8 && sizeof(Params) == 16, \"Params\");";
    check(&format!("{params}{right}")).unwrap();
    if nvrtc().is_some() {
        let log = check(&format!("{params}static_assert(sizeof(Params) == 12, \"Params\");")).unwrap_err();
        assert!(first_error(&log).contains("check.cu(3)"), "{log}");
    }
}

#[test]
fn a_kernel_becomes_machine_code() {
    let Some(nvrtc) = nvrtc() else { return };
    let source = "#include \"common.cuh\"
        struct Params { float *x; u32 n; };
        extern \"C\" __global__ void try_double(Params p) {
            u32 i = blockIdx.x * blockDim.x + threadIdx.x;
            if (i < p.n) p.x[i] *= 2.0f;
        }";
    for capability in [(8, 0), (8, 6), (9, 0)] {
        let sm = nvrtc.architecture(capability).unwrap();
        let compiled = nvrtc.compile("try.cu", source, HEADERS, &nvrtc.options(sm)).unwrap();
        assert!(compiled.cubin.starts_with(b"\x7fELF"));
        let name = b"try_double";
        assert!(compiled.cubin.windows(name.len()).any(|window| window == name));
    }
}

#[test]
fn an_unknown_card_of_a_known_generation_gets_the_nearest_code() {
    let Some(nvrtc) = nvrtc() else { return };
    assert_eq!(nvrtc.architecture((8, 0)), Ok(80));
    assert_eq!(nvrtc.architecture((9, 9)), Ok(90));
    let why = nvrtc.architecture((5, 0)).unwrap_err();
    assert!(why.contains("compute capability 5.0") && why.lines().count() == 1, "{why}");
}

#[test]
fn the_first_error_is_found_in_a_log() {
    let log = "a.cu(1): warning #177-D: unused\n\na.cu(2): error: identifier \"y\" is undefined\n1 error detected";
    assert_eq!(first_error(log), "a.cu(2): error: identifier \"y\" is undefined");
    assert_eq!(first_error(""), "no log");
}

#[test]
fn a_missing_library_says_where_it_was_sought_and_how_to_get_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("libnvrtc.so.13");
    std::fs::write(&file, "not a library").unwrap();
    let search = || Search { candidates: vec![file.clone(), "no-such-nvrtc".into()], ..Search::default() };
    let why = Nvrtc::search(Search { places: vec!["CUDA_PATH".into()], ..search() }, Some((13, 0))).unwrap_err();
    assert!(why.contains("looked at: CUDA_PATH; found: "), "{why}");
    assert!(why.contains(&file.display().to_string()) && why.lines().count() == 1, "{why}");
    assert!(why.contains("`pip install nvidia-cuda-nvrtc`"), "{why}");
    let why = Nvrtc::search(search(), Some((12, 4))).unwrap_err();
    assert!(why.contains("`pip install nvidia-cuda-nvrtc-cu12`"), "{why}");
}

#[test]
fn a_compiler_newer_than_the_driver_is_refused_unless_it_was_chosen() {
    let Some(found) = nvrtc() else { return };
    let search = |chosen| Search { candidates: vec![found.path().to_owned()], chosen, ..Search::default() };
    let (major, minor) = found.version();
    assert!(Nvrtc::search(search(false), Some((major, minor))).is_ok());
    assert!(Nvrtc::search(search(false), Some((major + 1, 0))).is_ok());
    let why = Nvrtc::search(search(false), Some((major - 1, 9))).unwrap_err();
    assert!(why.contains("is newer than the driver's CUDA"), "{why}");
    assert!(Nvrtc::search(search(true), Some((major - 1, 9))).is_ok());
}
