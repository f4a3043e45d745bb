//! Element-wise functions of two tensors: names for `kernels/binary.cu`.

use crate::device::{Cuda, name, suffix};
use crate::memory::Storage;
use minitorch_core::Layout;
use minitorch_core::backend::{BinaryOp, View};

/// `op(a, b)` in a buffer of its own.
pub(crate) fn binary(device: &Cuda, op: BinaryOp, a: View<'_, Storage>, b: View<'_, Storage>) -> Storage {
    let whole = Layout::contiguous(*a.layout.shape());
    let out = device.alloc("binary", a.dtype, whole.numel());
    let at = (&out, a.dtype, &whole);
    device.map(name!("binary_{}_{}", op.name(), suffix(a.dtype)), at, [a, b], [0.0; 2]);
    out
}

/// `a = op(a, b)`.
pub(crate) fn binary_mut(device: &Cuda, op: BinaryOp, a: &mut Storage, layout: &Layout, b: View<'_, Storage>) {
    let (out, a) = ((&*a, b.dtype, layout), View { storage: &*a, layout, dtype: b.dtype });
    device.map(name!("binary_{}_{}", op.name(), suffix(b.dtype)), out, [a, b], [0.0; 2]);
}
