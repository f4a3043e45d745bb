//! Softmax and its gradients.

use crate::Tensor;
use minitorch_core::ops::composed;

pub(crate) fn softmax(x: &Tensor, dim: usize) -> Tensor {
    composed::softmax(x, dim)
}

pub(crate) fn softmax_grad(y: &Tensor, g: &Tensor, dim: usize) -> Tensor {
    composed::softmax_grad(y, g, dim)
}

pub(crate) fn log_softmax(x: &Tensor, dim: usize) -> Tensor {
    composed::log_softmax(x, dim)
}

pub(crate) fn log_softmax_grad(y: &Tensor, g: &Tensor, dim: usize) -> Tensor {
    composed::log_softmax_grad(y, g, dim)
}
