//! Element-wise functions of two tensors (`kernels/binary.cu`).

use crate::device::{Cuda, name, suffix};
use crate::memory::Storage;
use minitorch_core::Layout;
use minitorch_core::backend::{BinaryOp, BinaryOps, View};

impl BinaryOps for Cuda {
    fn binary(&self, op: BinaryOp, a: View<'_, Storage>, b: View<'_, Storage>) -> Storage {
        let kernel = name!("binary_{}_{}", op.name(), suffix(a.dtype));
        self.elementwise_new(("binary", a.dtype), kernel, [a, b], [0.0; 2])
    }

    fn binary_mut(&self, op: BinaryOp, a: &mut Storage, layout: &Layout, b: View<'_, Storage>) {
        let (out, a) = ((&*a, b.dtype, layout), View { storage: &*a, layout, dtype: b.dtype });
        self.elementwise(name!("binary_{}_{}", op.name(), suffix(b.dtype)), out, [a, b], [0.0; 2]);
    }
}
