//! Compares the structs of `params.rs` and of the family files with those of `kernels/`.

use super::*;
use std::path::Path;

/// Returns the size and alignment of a struct by name.
type Structs<'a> = &'a dyn Fn(&str) -> Option<(usize, usize)>;

/// A field: name, type as Rust writes it, offset.
type Field = (String, String, usize);

/// The size and alignment of a C type of the kernels, and its name in Rust.
fn c_type(name: &str, structs: Structs<'_>) -> (usize, usize, String) {
    match name {
        "u32" => (4, 4, "u32".into()),
        "i32" => (4, 4, "i32".into()),
        "float" => (4, 4, "f32".into()),
        "u64" => (8, 8, "u64".into()),
        "i64" => (8, 8, "i64".into()),
        "double" => (8, 8, "f64".into()),
        pointer if pointer.ends_with('*') => (8, 8, "Address".into()),
        other => {
            let Some((size, align)) = structs(other) else { panic!("{other}: not a type of a kernel's parameters") };
            (size, align, other.into())
        }
    }
}

/// The fields of `struct name` in C source, and the struct's size and alignment.
fn parse(text: &str, name: &str) -> Option<(Vec<Field>, usize, usize)> {
    let all = format!("{}\n{text}", kernel_text("common.cuh"));
    let body = text.split_once(&format!("\nstruct {name} {{\n"))?.1.split_once("\n};")?.0;
    let (mut fields, mut at, mut align) = (Vec::new(), 0usize, 1);
    for line in body.lines().map(|line| line.split("//").next().unwrap_or_default().trim()) {
        let Some(declaration) = line.strip_suffix(';') else {
            assert!(line.is_empty(), "struct {name}: one field a line, not `{line}`");
            continue;
        };
        let (kind, field) = declaration.rsplit_once(' ').expect("a type and a name");
        let kind = kind.trim_start_matches("const ").trim();
        let (field, counts) = field.split_once('[').map_or((field, ""), |(field, counts)| (field, counts));
        let structs = |of: &str| parse(&all, of).map(|(_, size, align)| (size, align));
        let (size, field_align, mut rust) = c_type(kind, &structs);
        let mut count = 1;
        for n in counts.split('[').map(|n| n.trim_end_matches(']')).filter(|n| !n.is_empty()) {
            let value = if n == "MAX_RANK" { MAX_RANK } else { constant(&all, n) };
            count *= value;
            rust = format!("[{rust}; {n}]");
        }
        at = at.next_multiple_of(field_align);
        fields.push((field.to_string(), rust, at));
        at += size * count;
        align = align.max(field_align);
    }
    Some((fields, at.next_multiple_of(align), align))
}

/// A number, or the value of a `#define`.
fn constant(text: &str, name: &str) -> usize {
    let define = format!("\n#define {name} ");
    let value = text.split_once(&define).map_or(name, |(_, rest)| rest.lines().next().unwrap_or_default());
    value.trim().parse().unwrap_or_else(|_| panic!("{name} is no number"))
}

fn kernel_text(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn check<P: Params>() {
    let (file, name) = (P::FILE, P::NAME);
    let Some((fields, size, align)) = parse(&kernel_text(file), name) else {
        panic!("kernels/{file}: no struct {name}")
    };
    let short = |kind: &str| kind.replace("std::mem::", "").replace("r#", "");
    let ours: Vec<Field> = P::fields()
        .into_iter()
        .map(|(field, kind, at)| (field.trim_start_matches("r#").to_string(), short(kind), at))
        .collect();
    for (ours, theirs) in ours.iter().zip(&fields) {
        assert_eq!((&ours.0, ours.2), (&theirs.0, theirs.2), "{name}: Rust on the left, kernels/{file} on the right");
        // Array lengths may be constants on one side; comparing offsets covers them.
        let element = |kind: &str| kind.trim_start_matches('[').split(';').next().unwrap_or_default().to_string();
        assert_eq!(element(&ours.1), element(&theirs.1), "{name}.{}: the types differ", ours.0);
    }
    assert_eq!(ours.len(), fields.len(), "{name}: not as many fields as kernels/{file} has");
    assert_eq!((size_of::<P>(), align_of::<P>()), (size, align), "{name}: size and alignment");
    assert!(size_of::<P>() <= 4096, "{name}: a kernel takes 4096 bytes at most, not {}", size_of::<P>());
}

#[test]
fn structs_match_those_of_the_kernels() {
    check::<Walk>();
    check::<TensorRef>();
    check::<crate::elementwise::ElementwiseParams>();
    check::<crate::state::BadIndex>();
    check::<crate::sort::SortParams>();
    check::<Divisor>();
    check::<crate::conv::ConvParams>();
    check::<crate::matmul::MatmulParams>();
    check::<crate::matmul::VectorParams>();
    check::<crate::reduce::ReduceParams>();
    check::<crate::scan::ScanParams>();
    check::<crate::norm::NormParams>();
    check::<crate::norm::RunningParams>();
    check::<crate::loss::LossParams>();
    check::<crate::loss::LossGradParams>();
    check::<crate::softmax::SoftmaxParams>();
    check::<crate::pool::PoolParams>();
    check::<crate::optim::SlotParams>();
    check::<crate::optim::OptimParams>();
    check::<crate::random::RandomParams>();
    check::<crate::index::IndexParams>();
    check::<crate::index::SortedParams>();
}

#[test]
fn multiplication_by_magic_divides() {
    let divide = |x: u64, size: u64| {
        let (magic, shift) = magic(size);
        (((x * magic as u64) >> 32) + x) >> shift
    };
    let sizes = (1..200).chain([255, 256, 257, 65_535, 65_536, 1_000_003, (1 << 30) + 1, (1 << 31) - 1]);
    for size in sizes {
        let around = (0..5u64).map(|k| k * size).chain([(1 << 31) - 1, (1 << 31) / size * size, 1 << 20]);
        for x in around.flat_map(|x: u64| [x.saturating_sub(1), x, x + 1]).filter(|&x| x < 1 << 31) {
            assert_eq!(divide(x, size), x / size, "{x} / {size}");
        }
    }
}
