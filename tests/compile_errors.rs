//! What the compiler says where a program does not fit the library: its messages name what was wrong and what to write instead.
//!
//! Each case is compiled against the library that this test is linked to, and has to fail with the given lines. The programs of
//! the first test compile.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The folder of compiled crates, and the newest library of the facade in it.
fn library() -> (PathBuf, PathBuf) {
    let test = std::env::current_exe().expect("the test has a path");
    let folder = test.parent().expect("the test lies in a folder").to_path_buf();
    let is_library = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("libminitorch-") && name.ends_with(".rlib")
    };
    let entries = std::fs::read_dir(&folder).expect("the folder of the test is readable");
    let libraries = entries.flatten().map(|entry| entry.path()).filter(is_library);
    // Of several builds, with other features for example, the newest is of the present sources.
    let newest = libraries.max_by_key(|path| path.metadata().and_then(|of| of.modified()).ok());
    (folder, newest.expect("the library is built before its tests"))
}

/// Checks a program: `source` in a crate that depends on `minitorch` alone.
fn check(name: &str, source: &str) -> Output {
    let (folder, library) = library();
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let path = scratch.path().join(format!("{name}.rs"));
    std::fs::write(&path, source).expect("a temporary file is writable");
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
    rustc.args(["--edition=2024", "--crate-type=bin", "--emit=metadata", "--color=never", "-o"]);
    rustc.arg(scratch.path().join("out")).arg("--extern").arg(extern_of(&library));
    rustc.arg("-L").arg(format!("dependency={}", folder.display())).arg(&path);
    rustc.output().expect("rustc runs")
}

fn extern_of(library: &Path) -> String {
    format!("minitorch={}", library.display())
}

/// A program whose `main` has this body, after these items.
fn program(items: &str, body: &str) -> String {
    format!(
        "#![allow(dead_code, unused_variables)]\nuse minitorch::prelude::*;\n{items}\n\
         fn main() -> Result<()> {{\n    let device = Cpu::default();\n    let x = Tensor::zeros([2, 3], &device);\n    {body}\n    Ok(())\n}}\n"
    )
}

/// The program does not compile, and the messages contain every part, in this order.
#[track_caller]
fn refused(name: &str, source: &str, parts: &[&str]) {
    let output = check(name, source);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{name} compiles");
    let mut rest = &said[..];
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => panic!("{name}: the messages do not contain {part:?} (in this order):\n{said}"),
        }
    }
}

#[test]
fn what_users_write_compiles() {
    let source = program(
        "#[derive(Module)]
         struct Net<B: Backend> {
             fc: Linear<B>,
             gain: Param<B>,
             mean: Buffer<B>,
             #[module(skip)]
             device: B,
         }
         fn boxed() -> Result<(), Box<dyn std::error::Error>> { Ok(()) }
         fn read() -> Result<Vec<f64>> {
             let text = std::fs::read_to_string(\"numbers\")?;
             let first = text.lines().next().ok_or(\"the file is empty\")?;
             Ok(vec![first.parse()?, first.parse::<u8>()? as f64])
         }",
        "// Literals at either side infer, also where a method follows at once.
         let y = (1.0 - &x).relu() + (1 - &x).relu() * 2 - (&x * 2.0).exp() / 3u8;
         let lr = 0.1f32;
         let y = (&y * lr).abs() + 3usize - 1i64 + minitorch::f16::from_f32(0.5) * &x;
         let w = Param::new(Tensor::ones([3], &device));
         let y = &w * &x + &w - 2.0 * &w + (-&w) / 2 + (1 - &w) * &w;
         let _: String = format!(\"{w} {w:.1}\");
         // Shapes and dimensions.
         let (n, m) = (2usize, 3i64);
         let _ = Tensor::zeros((n, m), &device) + Tensor::zeros(vec![2, 3], &device) + Tensor::zeros(&[2u32, 3][..], &device);
         let _ = (Tensor::zeros([], &device), Tensor::zeros((), &device), Tensor::zeros(4, &device));
         let _ = x.reshape(-1).reshape([2, -1]).reshape((n, -1)).reshape(vec![3, 2]).reshape(&[6u8]).reshape(*x.shape());
         let _ = x.permute([1, 0]).permute((1, 0)).permute(vec![1usize, 0]).permute((0..2).rev());
         let _ = x.sum(0usize) + x.sum(vec![0]) + x.sum(..1) + x.sum(-2i64);
         let _ = (x.sum(..), x.sum(0..), x.mean(..=1), x.flatten(..), x.flatten(0..), x.softmax(1u32));
         let _ = x.expand((4, -1, 3)).expand(vec![4, 2, 3]);
         let mut z = x.clone();
         z.set((0, 1..), 1);
         z.set(.., Tensor::ones(3, &device));
         let _ = Tensor::new(vec![vec![1u8, 2], vec![3, 4]], &device) + Tensor::new(&[[1usize, 2], [3, 4]], &device);
         let _ = Tensor::arange(0..n, &device);
         boxed().ok();",
    );
    let output = check("accepted", &source);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn operands_that_are_none() {
    refused(
        "vector",
        &program("", "let y = &x + vec![1.0];"),
        &[
            "`Vec<{float}>` cannot be an operand beside a `Tensor<minitorch::Cpu>`",
            "a number, or a tensor or `&Param` of the backend `minitorch::Cpu`, is wanted here",
            "`Tensor::new(.., &device)`",
        ],
    );
    refused(
        "text",
        &program("", "let y = &x * \"2\";"),
        &["`&str` cannot be an operand beside a `Tensor<minitorch::Cpu>`"],
    );
    refused("left", &program("", "let y = \"a\" + &x;"), &["cannot add", "to `&str`"]);
    // The parameter must be borrowed: as a value it would be lost to the optimizer.
    let moved = "let w = Param::new(Tensor::ones([3], &device)); let y = &x * w;";
    refused("moved", &program("", moved), &["cannot be an operand beside a `Tensor<minitorch::Cpu>`", "`&Param`"]);
}

#[test]
fn backends_that_differ() {
    let source = "fn mixed<A: Backend, B: Backend>(a: Tensor<A>, b: Tensor<B>) -> Tensor<A> { a + b }";
    refused(
        "mixed",
        &program(source, ""),
        &[
            "`minitorch::Tensor<B>` cannot be an operand beside a `Tensor<A>`",
            "is wanted here",
            "a tensor of another backend is moved with `x.to(&device)?`",
        ],
    );
}

#[test]
fn fields_that_are_no_modules() {
    let of =
        |field: &str| format!("#[derive(Module)]\nstruct Net<B: Backend> {{\n    fc: Linear<B>,\n    {field},\n}}");
    let notes = [
        "is not a Module",
        "neither a module nor plain data",
        "a tensor that is trained is a `Param<B>`",
        "`Buffer<B>`",
        "#[derive(Module)]",
        "such as a device, is marked #[module(skip)]",
    ];
    refused("tensor", &program(&of("scale: Tensor<B>"), ""), &[&["`minitorch::Tensor<B>`"], &notes[..]].concat());
    refused("device", &program(&of("device: B"), ""), &[&["`B`"], &notes[..]].concat());
}

#[test]
fn shapes_and_dimensions_that_are_none() {
    let a_list = ["is no list of sizes or dimensions", "array, slice, `Vec` or tuple of integers"];
    refused("reshape", &program("", "let y = x.reshape(\"6\");"), &a_list);
    refused("permute", &program("", "let y = x.permute([1.0, 0.0]);"), &a_list);
    let dims = ["`{float}` names no dimensions of a tensor", "a list of integers, or a range such as `..`"];
    refused("sum", &program("", "let y = x.sum(1.5);"), &dims);
    let an_integer = ["`bool` is no dimension, size or position", "an integer of any type"];
    refused("softmax", &program("", "let y = x.softmax(true);"), &an_integer);
    let a_part = ["selects no part of a tensor", "an integer, a range, or a tuple"];
    refused("slice", &program("", "let y = x.slice((0, \"1\"));"), &a_part);
    refused("zeros", &program("", "let y = Tensor::zeros([1.5], &device);"), &["Shape", "[{float}; 1]"]);
    refused(
        "place",
        &program("", "let y: Tensor<Cpu> = Tensor::zeros([2], device);"),
        &["`minitorch::Cpu` is no place for a tensor", "consider borrowing here"],
    );
    refused(
        "element",
        &program("", "let y = x.to_vec::<i64>()?;"),
        &["`i64` is no element type of a tensor", "f16, f32, f64, i32 or bool"],
    );
    refused("literal", &program("", "let y = Tensor::new(\"1.0\", &device);"), &["is no literal of a tensor"]);
}

#[test]
fn results_that_are_dropped() {
    let source = "#![deny(unused_must_use)]\n".to_string() + &program("", "x.relu(); x.sum(..).backward();");
    refused(
        "dropped",
        &source,
        &["unused `minitorch::Tensor` that must be used", "unused `Gradients` that must be used"],
    );
}
