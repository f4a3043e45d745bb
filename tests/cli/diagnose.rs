//! The diagnose example as a program: a row for every operation on every available backend, within 140 columns; the
//! chart of products; errors.

#[path = "../../examples/diagnose/ops.rs"]
#[allow(dead_code, reason = "this test needs the names only")]
mod ops;

use crate::cli::{example, fails, names};
use minitorch::Cpu;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;
use tempfile::tempdir;

/// Runs with arguments separated by blanks, and further ones.
fn run(arguments: &str, more: &[&Path]) -> Output {
    example("diagnose").args(arguments.split_whitespace()).args(more).output().expect("the example starts")
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// The backends of this build that have a device, without GPUs.
fn backends() -> Vec<&'static str> {
    let mut backends = vec!["cpu"];
    if cfg!(feature = "cuda-emu") {
        backends.push("cuda-emu");
    }
    #[cfg(feature = "wgpu")]
    if minitorch::Wgpu::new().is_ok() {
        backends.push("wgpu");
    }
    backends
}

#[test]
fn every_operation_has_a_row_on_every_backend() {
    let folder = tempdir().expect("a temporary folder");
    for backend in backends() {
        let json = folder.path().join(format!("{backend}.json"));
        let output = run(&format!("--toy --backend {backend} --json"), &[&json]);
        let table = text(&output);
        for line in table.lines().filter(|line| !line.contains(": ")) {
            assert!(line.chars().count() <= 140, "{line}");
        }
        let value: Value = serde_json::from_slice(&fs::read(&json).expect("a file")).expect("JSON");
        let rows = value["backends"][0]["rows"].as_array().expect("rows").clone();
        let list = ops::list::<Cpu>();
        assert_eq!(rows.len(), list.len());
        for ((name, _), row) in list.iter().zip(&rows) {
            assert!(
                table.lines().any(|line| line.starts_with(&format!("{name} "))),
                "{backend}: no row {name}\n{table}"
            );
            assert_eq!(row["operation"], *name);
            assert!(row["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{row}");
            let kernel = row["launches"][0]["kernel"].as_str().expect("a kernel");
            assert!(table.lines().any(|line| line.starts_with("    ") && line.contains(kernel)), "{backend}: {kernel}");
            let of = if backend == "cpu" { "threads" } else { "grid" };
            assert!(!row["launches"][0][of].is_null(), "{row}");
        }
        let first = table.lines().next().unwrap_or_default();
        assert_eq!(
            first.contains("say nothing about a GPU"),
            backend == "cuda-emu" || value["backends"][0]["emulated"] == true
        );
    }
}

#[test]
fn a_filter_selects_the_operations_with_the_text() {
    let table = text(&run("--toy --backend cpu --op matmul", &[]));
    let rows: Vec<&str> =
        table.lines().filter(|line| line.contains(" memory") || line.contains(" arithmetic")).collect();
    let named = ops::list::<Cpu>().iter().filter(|(name, _)| name.contains("matmul")).count();
    assert_eq!(rows.len(), named, "{table}");
    assert!(rows.iter().all(|row| row.starts_with("matmul")), "{table}");
}

#[test]
fn products_are_a_table_and_a_chart() {
    let folder = tempdir().expect("a temporary folder");
    let out = folder.path().join("chart");
    let table = text(&run("--matmul --toy --backend cpu --out", &[&out]));
    for word in ["naive loop", "cpu", "GFLOP/s", "\n64  "] {
        assert!(table.contains(word), "`{word}` is not in: {table}");
    }
    assert_eq!(names(&out), ["matmul.svg"]);
    let svg = fs::read_to_string(out.join("matmul.svg")).expect("a file");
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert_eq!(svg.matches("<polyline").count(), 2);
    assert!(svg.contains(">naive loop</text>") && svg.contains(">cpu</text>"));
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    for (arguments, reasons) in [
        ("--backend abacus", ["abacus", "there are cpu, cuda"]),
        ("--backend cpu,abacus", ["abacus", "no such backend"]),
        ("--op abacus", ["abacus", "matmul, square"]),
        ("--op matmul --matmul", ["--op", "--matmul"]),
        ("--speed 9", ["--speed", ""]),
        ("--json", ["--json", ""]),
        ("surprise", ["surprise", ""]),
    ] {
        fails(2, &run(arguments, &[]), &reasons);
    }
    let help = run("--help", &[]);
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("--matmul"));
}

#[test]
fn a_file_that_cannot_be_written_is_exit_code_1() {
    let output = run("--toy --backend cpu --op matmul --json /no/such/folder/a.json", &[]);
    fails(1, &output, &["/no/such/folder/a.json"]);
}
