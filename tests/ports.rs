//! The ports example: ten programs print the numbers that PyTorch printed for their twins, on every backend of the
//! build; and they are short and name no crate but the facade.

#[path = "common/cli.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod cli;
#[cfg(feature = "wgpu")]
#[path = "common/require.rs"]
mod require;

use cli::{example, fails};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

/// Names of results, with their numbers, in order.
type Lines = Vec<(String, Vec<f64>)>;

fn run(arguments: &str) -> Output {
    example("ports").args(arguments.split_whitespace()).output().expect("the example starts")
}

/// Parses lines `name: 1.5 -0.25`.
fn lines(output: &Output) -> Lines {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let parse = |line: &str| {
        let (name, numbers) = line.split_once(": ")?;
        Some((name.to_string(), numbers.split(' ').map(|x| x.parse().ok()).collect::<Option<_>>()?))
    };
    text.lines().map(|line| parse(line).unwrap_or_else(|| panic!("not numbers: {line}"))).collect()
}

/// What PyTorch printed, by program; see scripts/goldens_ports.py.
fn recorded() -> BTreeMap<String, Lines> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ports.json");
    let text = std::fs::read_to_string(path).expect("the recorded numbers");
    serde_json::from_str(&text).expect("JSON")
}

/// The largest allowed error as a multiple of `1 + |y|`. PyTorch's own numbers in f32 differ from the recorded ones,
/// which are f64, by at most a quarter of it; goldens_ports.py checks that.
const TOLERANCE: f64 = 1e-5;

#[track_caller]
fn check(program: &str, backend: &str) {
    let got = lines(&run(&format!("{program} --backend {backend}")));
    let want = &recorded()[program];
    let names = |lines: &Lines| lines.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&got), names(want), "{program}: the lines");
    for ((name, got), (_, want)) in got.iter().zip(want) {
        assert_eq!(got.len(), want.len(), "{program}, {name}: {got:?}, PyTorch: {want:?}");
        for (x, y) in got.iter().zip(want) {
            let error = (x - y).abs() / (1.0 + y.abs());
            assert!(error <= TOLERANCE, "{program} on {backend}, {name}: {x}, PyTorch: {y}; all: {got:?}, {want:?}");
        }
    }
}

macro_rules! programs {
    ($($test:ident $name:literal)*) => {
        const PROGRAMS: &[&str] = &[$($name),*];

        $(#[test]
        fn $test() {
            check($name, "cpu");
        })*

        /// The same on the CUDA kernels.
        #[cfg(feature = "cuda-emu")]
        mod cuda_emu {
            $(#[test]
            fn $test() {
                super::check($name, "cuda-emu");
            })*
        }
    };
}
programs! {
    regression "regression"
    autoencoder "autoencoder"
    vae "vae"
    gan "gan"
    gru "gru"
    attention "attention"
    resnet18 "resnet18"
    resume "resume"
    own_operation "own-operation"
    threads "threads"
}

/// Those with most kinds of operations, since software Vulkan compiles their shaders anew in each process. Without an
/// adapter a failure if MINITORCH_REQUIRE names wgpu, else nothing.
#[cfg(feature = "wgpu")]
#[test]
fn on_wgpu() {
    match minitorch::Wgpu::new() {
        Ok(_) => {
            ["autoencoder", "resnet18", "resume", "own-operation"].iter().for_each(|program| check(program, "wgpu"))
        }
        Err(error) => require::absent("wgpu", &error.to_string()),
    }
}

#[test]
fn the_list_names_all_programs() {
    let text = String::from_utf8_lossy(&run("--list").stdout).into_owned();
    assert!(run("").stdout == text.as_bytes(), "without a name");
    let listed: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(listed, PROGRAMS, "{text}");
    assert!(recorded().keys().all(|name| PROGRAMS.contains(&name.as_str())), "ports.json has a program too many");
}

#[test]
fn arguments_are_checked() {
    fails(2, &run("diffusion"), &["invalid value 'diffusion'"]);
    fails(2, &run("vae --backend tpu"), &["no such backend"]);
}

/// Each module of a program, by its path.
#[test]
fn programs_are_short_and_use_the_facade_alone() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/ports");
    for program in PROGRAMS {
        let module = program.replace('-', "_");
        let text = std::fs::read_to_string(folder.join(&module).with_extension("rs")).expect("a module");
        assert!(text.lines().count() < 80, "{module}.rs has {} lines", text.lines().count());
        for inner in ["minitorch_", "backends", "unwrap", "expect("] {
            assert!(!text.contains(inner), "{module}.rs says {inner}");
        }
        assert!(folder.join(&module).with_extension("py").exists(), "{module}.rs has no twin");
    }
}
