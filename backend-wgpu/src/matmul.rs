//! Matrix products.

use crate::Tensor;
use crate::device::Wgpu;
use crate::memory::Storage;
use minitorch_core::backend::View;
use minitorch_core::ops::composed;

pub(crate) fn matmul(device: &Wgpu, a: View<'_, Storage>, b: View<'_, Storage>) -> Storage {
    let _ = (device, a, b);
    todo!()
}

pub(crate) fn linear(x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Tensor {
    composed::linear(x, w, bias)
}
