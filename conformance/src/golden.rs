//! PyTorch's results: values and gradients of every case in `goldens/ops.safetensors`, in F32.

use crate::close::{Tolerance, Values, assert_close, eps};
use crate::{On, Suite};
use minitorch_core::backend::Backend;
use minitorch_core::{DType, Tensor};
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

mod arrange;
mod ops;

use ops::{Options, apply, optimizer};

/// The file's tensors by case and role.
type Roles = BTreeMap<String, Values>;

static GOLDENS: LazyLock<BTreeMap<String, Roles>> = LazyLock::new(|| {
    let bytes = include_bytes!("../goldens/ops.safetensors");
    let file = match SafeTensors::deserialize(bytes) {
        Ok(file) => file,
        Err(error) => panic!("goldens/ops.safetensors: {error}"),
    };
    let mut cases: BTreeMap<String, Roles> = BTreeMap::new();
    for (name, tensor) in file.tensors() {
        let Some((case, role)) = name.split_once('/') else { panic!("a golden without a role: {name}") };
        let words = tensor.data().chunks_exact(4).map(|c| [c[0], c[1], c[2], c[3]]);
        let (dtype, data) = match tensor.dtype() {
            Dtype::F32 => (DType::F32, words.map(|w| f32::from_le_bytes(w) as f64).collect()),
            Dtype::I32 => (DType::I32, words.map(|w| i32::from_le_bytes(w) as f64).collect()),
            other => panic!("{name} is of {other:?}"),
        };
        cases.entry(case.into()).or_default().insert(role.into(), Values::new(tensor.shape(), dtype, data));
    }
    cases
});

/// Goldens of operations that core does not have.
const SKIPPED: [&str; 0] = [];

/// The goldens are f64 results rounded to f32. PyTorch's f32 results are within 3.6e-6 (1 + |y|) of them; 84 epsilons are 1e-5.
const BOUND: Tolerance = eps(84.0);

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    for (name, roles) in GOLDENS.iter().filter(|(name, _)| !SKIPPED.contains(&name.as_str())) {
        suite.f32(name, 200, move |on| match name.strip_prefix("optim_") {
            Some(rule) => optimizer(on, rule, roles, BOUND),
            None => compare(on, name, roles),
        });
    }
    // goldens/README.md lists the cases: the list and the file must be equal.
    suite.f32("all_are_run_or_named", 0, |_| {
        let page = include_str!("../goldens/README.md").split("\n## Cases").nth(1).unwrap_or_default();
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let listed: BTreeSet<&str> = rows.collect();
        let held: BTreeSet<&str> = GOLDENS.keys().map(String::as_str).collect();
        assert!(listed.len() >= 256 && listed == held, "not in both: {:?}", listed.symmetric_difference(&held));
        let skipped: BTreeSet<&str> = SKIPPED.into_iter().filter(|name| held.contains(name)).collect();
        println!("{} goldens skipped, as core has no such operation: {skipped:?}", skipped.len());
        assert!(skipped.len() == SKIPPED.len(), "skipped and no golden: {SKIPPED:?}");
    });
}

/// A golden tensor on the device.
pub(crate) fn upload<B: Backend>(on: &On<B>, values: &Values) -> Tensor<B> {
    match values.dtype {
        DType::I32 => {
            let ints: Vec<i32> = values.data.iter().map(|&v| v as i32).collect();
            Tensor::from_slice(&ints, values.shape, &on.device)
        }
        _ => on.list(&values.data, values.shape),
    }
}

fn compare<B: Backend>(on: &On<B>, name: &str, roles: &Roles) {
    // An input is a leaf if its gradient is among the goldens.
    let results = ["y", "cot", "indices"];
    let is_input = |role: &str| !results.contains(&role) && !role.starts_with('g');
    let inputs: BTreeMap<&str, Tensor<B>> = roles
        .iter()
        .filter(|(role, _)| is_input(role))
        .map(|(role, values)| {
            let x = upload(on, values);
            (role.as_str(), if roles.contains_key(&format!("g{role}")) { x.requires_grad() } else { x })
        })
        .collect();
    let (y, indices) = apply(name, &Options::parse(name), &inputs);
    assert_close(&format!("{name}: y"), &y, &roles["y"], BOUND);
    assert!(indices.is_some() == roles.contains_key("indices"));
    if let Some(indices) = indices {
        assert_close(&format!("{name}: indices"), &indices, &roles["indices"], eps(0.0));
    }
    let leaves: Vec<_> = inputs.iter().filter(|(_, x)| x.is_tracked()).collect();
    if leaves.is_empty() {
        return;
    }
    let grads = match roles.get("cot") {
        Some(cot) => y.backward_with(&upload(on, cot)),
        None => y.backward(),
    };
    for (role, x) in leaves {
        let found = grads.get(x).cloned().unwrap_or_else(|| x.detach().zeros_like());
        assert_close(&format!("{name}: gradient of {role}"), &found, &roles[&format!("g{role}")], BOUND);
    }
}
