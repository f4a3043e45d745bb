//! Comparisons and selection (`kernels/compare.cu`).

use crate::device::{Cuda, name, suffix};
use crate::memory::Storage;
use minitorch_core::backend::{CompareOp, CompareOps, View};
use minitorch_core::{DType, Layout};

/// The op's name within those of kernels.
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

impl CompareOps for Cuda {
    fn compare(&self, op: CompareOp, a: View<'_, Storage>, b: View<'_, Storage>) -> Storage {
        let layout = Layout::contiguous(*a.layout.shape());
        let out = self.alloc("compare", DType::Bool, layout.numel());
        let to = (&out, DType::Bool, &layout);
        self.elementwise(name!("compare_{}_{}", kernel(op), suffix(a.dtype)), to, [a, b], [0.0; 2]);
        out
    }

    fn compare_scalar(&self, op: CompareOp, a: View<'_, Storage>, b: f64) -> Storage {
        let layout = Layout::contiguous(*a.layout.shape());
        let out = self.alloc("compare_scalar", DType::Bool, layout.numel());
        let to = (&out, DType::Bool, &layout);
        self.elementwise(name!("compare_scalar_{}_{}", kernel(op), suffix(a.dtype)), to, [a], [b, 0.0]);
        out
    }

    fn where_cond(&self, condition: View<'_, Storage>, a: View<'_, Storage>, b: View<'_, Storage>) -> Storage {
        let layout = Layout::contiguous(*a.layout.shape());
        let out = self.alloc("where", a.dtype, layout.numel());
        let to = (&out, a.dtype, &layout);
        self.elementwise(name!("compare_where_{}", a.dtype.size()), to, [condition, a, b], [0.0; 2]);
        out
    }
}
