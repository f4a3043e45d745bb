//! Comparisons: names for `kernels/compare.cu`.

use crate::device::{Cuda, name, suffix};
use crate::memory::Storage;
use minitorch_core::backend::{CompareOp, View};
use minitorch_core::{DType, Layout};

fn kernel(op: CompareOp) -> &'static str {
    match op {
        CompareOp::Eq => "eq",
        CompareOp::Ne => "ne",
        CompareOp::Lt => "lt",
        CompareOp::Le => "le",
        CompareOp::Gt => "gt",
        CompareOp::Ge => "ge",
    }
}

pub(crate) fn compare(device: &Cuda, op: CompareOp, a: View<'_, Storage>, b: View<'_, Storage>) -> Storage {
    let whole = Layout::contiguous(*a.layout.shape());
    let out = device.alloc("compare", DType::Bool, whole.numel());
    let at = (&out, DType::Bool, &whole);
    device.map(name!("compare_{}_{}", kernel(op), suffix(a.dtype)), at, [a, b], [0.0; 2]);
    out
}

/// `op(a, b)` against a number.
pub(crate) fn compare_scalar(device: &Cuda, op: CompareOp, a: View<'_, Storage>, b: f64) -> Storage {
    let whole = Layout::contiguous(*a.layout.shape());
    let out = device.alloc("compare_scalar", DType::Bool, whole.numel());
    let at = (&out, DType::Bool, &whole);
    device.map(name!("compare_scalar_{}_{}", kernel(op), suffix(a.dtype)), at, [a], [b, 0.0]);
    out
}
