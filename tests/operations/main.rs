//! `docs/ops.md`: the table of operations, made by asking. Each is called on a backend that writes down what it was asked
//! for, with every dtype, once with leaves and once without; PyTorch's names come from the methods' documentation.
//!
//! `MINITORCH_WRITE=1 cargo test --test operations` writes the table anew; without it the committed one must be right.

mod probes;
mod traced;

use minitorch_core::DType;
use probes::{OPERATORS, PROBES, Place, Probe};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use traced::Traced;

const DTYPES: [DType; 4] = [DType::F32, DType::F64, DType::I32, DType::Bool];

/// The trait's families; every other method is fused.
const FAMILIES: [&str; 17] = [
    "full",
    "upload",
    "copy",
    "write",
    "fill",
    "cast",
    "unary",
    "binary",
    "compare",
    "compare_scalar",
    "where_cond",
    "reduce",
    "arg_reduce",
    "matmul",
    "gather",
    "scatter",
    "random",
];

/// Where the files of the operations are, in the order of the table.
const FILES: [&str; 18] = [
    "unary", "binary", "compare", "reduce", "scan", "sort", "matmul", "einsum", "conv", "pool", "resize", "norm",
    "softmax", "loss", "index", "copy", "arrange", "view",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The public functions of a source file that name PyTorch's, with that name.
fn documented(text: &str) -> Vec<(String, String)> {
    let (mut found, mut doc) = (Vec::new(), String::new());
    for line in text.lines().map(str::trim) {
        if let Some(more) = line.strip_prefix("///") {
            doc += more.trim();
            doc.push(' ');
            continue;
        }
        if line.starts_with("#[") {
            continue;
        }
        let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        // A method, or a line of the reductions' macro: `Sum sum sum_keepdim;`.
        let of_macro = line.ends_with("_keepdim;").then(|| line.split(' ').nth(1).map(String::from)).flatten();
        if let Some(name) = line.strip_prefix("pub fn ").map(word).or(of_macro)
            && let Some(torch) = doc.split("PyTorch:").nth(1)
        {
            let torch = torch.split(". ").next().unwrap_or_default();
            found.push((name, torch.trim().trim_end_matches('.').to_string()));
        }
        doc.clear();
    }
    found
}

/// What asking an operation told.
struct Row {
    gradient: &'static str,
    made: String,
    dtypes: String,
}

fn ask(&(name, call): &Probe) -> Row {
    let place = |dtype, leaves| Place { device: Traced::new(), dtype, leaves, asked: Cell::new(false) };
    let (mut asked, mut of_dtype) = (None, false);
    let mut dtypes = Vec::new();
    for dtype in DTYPES {
        let place = place(dtype, None);
        let run = || {
            let y = call(&place);
            (place.device.take(), y.dtype())
        };
        // A dtype that the operation refuses, and one that its operands cannot have, both panic.
        if let Ok((names, out)) = catch_unwind(AssertUnwindSafe(run)) {
            asked.get_or_insert(names);
            of_dtype |= place.asked.get();
            dtypes.push((dtype, out));
        }
    }
    let Some(asked) = asked else { panic!("{name}: no dtype works") };
    let code = |names: &[&str]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let made = match asked[..] {
        [] => "a view".to_string(),
        [one] if FAMILIES.contains(&one) => format!("family {}", code(&asked)),
        [one] => format!("fused `{one}`"),
        _ => format!("composed of {}", code(&asked)),
    };
    Row {
        gradient: gradient(name, call, &place(DType::F32, Some(RefCell::default()))),
        made,
        dtypes: if of_dtype { list(&dtypes) } else { format!("to {:?}", dtypes[0].1).to_lowercase() },
    }
}

/// Whether a gradient reaches the operands: "yes", "0" or "none".
fn gradient(name: &str, call: fn(&Place) -> probes::Tensor, place: &Place) -> &'static str {
    let Ok(y) = catch_unwind(AssertUnwindSafe(|| call(place))) else { return "none" }; // not of floats
    if !y.is_tracked() {
        return "none";
    }
    // Weights that differ: the gradient of a sum of a softmax is 0.
    let weights: Vec<f32> = (0..y.numel()).map(|i| 0.5 + i as f32 * 0.25).collect();
    let weights = probes::Tensor::from_slice(&weights, *y.shape(), &place.device).cast(y.dtype());
    let grads = y.backward_with(&weights);
    let leaves = place.leaves.as_ref().map(|leaves| leaves.borrow().clone()).unwrap_or_default();
    let reached: Vec<_> = leaves.iter().filter_map(|leaf| grads.get(leaf)).collect();
    assert!(!reached.is_empty(), "{name} is on the tape and no gradient reaches its operands");
    let zero = |g: &&probes::Tensor| g.to_vec::<f32>().is_ok_and(|g| g.iter().all(|&x| x == 0.0));
    if reached.iter().all(zero) { "0" } else { "yes" }
}

/// `f32, f64`; with what comes out where that is another.
fn list(dtypes: &[(DType, DType)]) -> String {
    let kinds = |pick: fn(&(DType, DType)) -> DType| -> Vec<String> {
        dtypes.iter().map(|pair| format!("{:?}", pick(pair)).to_lowercase()).collect()
    };
    let (from, to) = (kinds(|pair| pair.0), kinds(|pair| pair.1));
    let same = from == to;
    let one = to.iter().all(|t| *t == to[0]);
    match (same, one) {
        (true, _) => from.join(", "),
        (_, true) => format!("{} to {}", from.join(", "), to[0]),
        _ => from.iter().zip(&to).map(|(a, b)| format!("{a} to {b}")).collect::<Vec<_>>().join(", "),
    }
}

fn table() -> String {
    let mut torch: BTreeMap<String, (usize, String)> = BTreeMap::new();
    let paths = FILES.iter().map(|file| format!("core/src/ops/{file}.rs"));
    let others = ["core/src/ops/random.rs", "core/src/create.rs"].map(String::from);
    for (at, path) in paths.chain(others).enumerate() {
        for (name, of) in documented(&read(&path)) {
            torch.insert(name, (at, of));
        }
    }
    for (name, of) in OPERATORS {
        torch.insert(name.into(), (if name.ends_with('x') { 0 } else { 1 }, format!("`{of}`")));
    }
    torch.insert("slice".into(), (17, "indexing".into()));
    torch.insert("detach".into(), (17, "`detach`".into()));

    let missing: Vec<_> = torch.keys().filter(|name| !PROBES.iter().any(|(probe, _)| probe == name)).collect();
    assert!(missing.is_empty(), "operations without a probe in tests/operations/probes.rs: {missing:?}");
    let mut sections: BTreeMap<usize, String> = BTreeMap::new();
    for probe in PROBES {
        let Some((at, of)) = torch.get(probe.0) else { panic!("{} is documented nowhere", probe.0) };
        let mut row = ask(probe);
        // Two whose types are the caller's to choose.
        match probe.0 {
            "cast" => row.dtypes = "any to any".into(),
            "from_slice" => row.dtypes = "to the slice's".into(),
            _ => {}
        }
        let line = format!("| `{}` | {of} | {} | {} | {} |\n", probe.0, row.gradient, row.made, row.dtypes);
        *sections.entry(*at).or_default() += &line;
    }
    let mut text = String::new();
    for (at, rows) in sections {
        let title = match FILES.get(at) {
            Some(file) => format!("[{file}](../core/src/ops/{file}.rs)"),
            None if at == FILES.len() => "[random](../core/src/ops/random.rs)".into(),
            None => "[creation](../core/src/create.rs)".into(),
        };
        text += &format!(
            "\n### {title}\n\n| operation | PyTorch | gradient | made of | dtypes |\n|---|---|---|---|---|\n{rows}"
        );
    }
    text
}

#[test]
fn the_table_of_operations_is_right() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {})); // refused dtypes are asked for by panics
    let table = catch_unwind(table);
    std::panic::set_hook(hook);
    let table = table.unwrap_or_else(|payload| match payload.downcast_ref::<String>() {
        Some(why) => panic!("{why}"),
        None => std::panic::resume_unwind(payload),
    });

    let (path, begin, end) = ("docs/ops.md", "<!-- generated: begin -->\n", "<!-- generated: end -->");
    let page = read(path);
    let parts = page.split_once(begin).and_then(|(head, rest)| Some((head, rest.split_once(end)?)));
    let Some((head, (held, tail))) = parts else { panic!("{path} has lost its marks") };
    if std::env::var_os("MINITORCH_WRITE").is_some() {
        std::fs::write(root().join(path), format!("{head}{begin}{table}{end}{tail}")).expect("docs/ops.md is writable");
        return;
    }
    let wrong = held.lines().zip(table.lines()).find(|(held, want)| held != want);
    assert!(
        held == table,
        "{path} is out of date: MINITORCH_WRITE=1 cargo test --test operations writes it. First difference: {wrong:?}"
    );
}

/// The gradients of many parts of one tensor are added to one buffer, and so are those of their gradients: nothing of the
/// whole's size is made or copied once per part.
#[test]
fn gradients_of_parts_share_one_buffer() {
    const PARTS: usize = 50;
    let device = Traced::new();
    let x = probes::Tensor::ones([PARTS, 3], &device).requires_grad();
    let joins: [fn(&probes::Tensor) -> probes::Tensor; 4] = [
        |x| probes::Tensor::stack(&x.unbind(0), 0),
        |x| probes::Tensor::cat(&x.split(1, 0), 0),
        |x| probes::Tensor::cat(&(0..PARTS).map(|i| x.narrow(0, i, 1)).collect::<Vec<_>>(), 0),
        |x| (0..PARTS).map(|i| x.slice(i)).reduce(|a, b| a + b).unwrap_or_else(|| x.clone()),
    ];
    let whole = |what: &str| {
        for method in ["full", "copy"] {
            assert!(device.count(method) <= 4, "{what}: {} calls of {method} for {PARTS} parts", device.count(method));
        }
        device.take();
    };
    for join in joins {
        let y = join(&x).square().sum(..);
        device.take();
        let [first] = y.grad([&x]);
        whole("the gradient under create_graph");
        let second = first.sum(..);
        device.take();
        drop(second.backward());
        whole("the second derivative");
        let y = join(&x).square().sum(..);
        device.take();
        drop(y.backward());
        whole("the gradient");
    }
}
