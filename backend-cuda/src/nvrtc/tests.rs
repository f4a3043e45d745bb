//! Tests of the bindings to NVRTC.

use super::*;
use crate::sources::HEADERS;

/// NVRTC, or `None` with a note. `MINITORCH_REQUIRE=nvrtc` turns its absence into a failure.
pub(crate) fn nvrtc() -> Option<Nvrtc> {
    match Nvrtc::find(None, None) {
        Ok(nvrtc) => Some(nvrtc),
        Err(why) => {
            assert!(!required(), "MINITORCH_REQUIRE: {why}");
            eprintln!("not checked: {why}");
            None
        }
    }
}

/// Whether `MINITORCH_REQUIRE` contains `nvrtc`.
pub(crate) fn required() -> bool {
    let required = std::env::var("MINITORCH_REQUIRE").unwrap_or_default();
    required.split(',').any(|name| name.trim() == "nvrtc")
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
fn a_kernel_is_compiled_to_machine_code() {
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
fn the_first_error_is_found_in_a_log() {
    let log = "a.cu(1): warning #177-D: unused\n\na.cu(2): error: identifier \"y\" is undefined\n1 error detected";
    assert_eq!(first_error(log), "a.cu(2): error: identifier \"y\" is undefined");
    assert_eq!(first_error(""), "no log");
}

/// The script compiles kernels without the crate; with the same options it counts the instructions that a GPU runs.
#[test]
fn the_script_that_counts_instructions_has_the_same_options() {
    let Some(nvrtc) = nvrtc() else { return };
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/sass");
    let script = std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let list = script.split_once("\nOPTIONS = [").unwrap().1.split_once(']').unwrap().0;
    let options: Vec<String> = list.split(", ").map(|o| o.trim_matches('"').replace("{arch}", "sm_90")).collect();
    assert_eq!(options, nvrtc.options(Architecture::new(90)));
}
