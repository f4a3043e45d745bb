//! Comparisons and selection (`kernels/compare.cu`).

use crate::device::{Cuda, name, suffix};
use crate::memory::Storage;
use minitorch_core::DType;
use minitorch_core::backend::{CompareOp, CompareOps, View};

impl CompareOps for Cuda {
    fn compare(&self, op: CompareOp, a: View<'_, Storage>, b: View<'_, Storage>) -> Storage {
        let kernel = name!("compare_{}_{}", op.name(), suffix(a.dtype));
        self.elementwise_new(("compare", DType::Bool), kernel, [a, b], [0.0; 2])
    }

    fn compare_scalar(&self, op: CompareOp, a: View<'_, Storage>, b: f64) -> Storage {
        let kernel = name!("compare_scalar_{}_{}", op.name(), suffix(a.dtype));
        self.elementwise_new(("compare_scalar", DType::Bool), kernel, [a], [b, 0.0])
    }

    fn where_cond(&self, condition: View<'_, Storage>, a: View<'_, Storage>, b: View<'_, Storage>) -> Storage {
        let kernel = name!("compare_where_{}", a.dtype.size());
        self.elementwise_new(("where", a.dtype), kernel, [condition, a, b], [0.0; 2])
    }
}
