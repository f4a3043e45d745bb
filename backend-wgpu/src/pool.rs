//! Pooling and its gradients.

use crate::Tensor;
use minitorch_core::Pool2dOptions;
use minitorch_core::ops::composed;

pub(crate) fn max_pool2d(x: &Tensor, options: &Pool2dOptions) -> (Tensor, Tensor) {
    composed::max_pool2d(x, options)
}

pub(crate) fn max_pool2d_grad(g: &Tensor, indices: &Tensor, size: [usize; 2], options: &Pool2dOptions) -> Tensor {
    let _ = options;
    composed::max_pool2d_grad(g, indices, size)
}

pub(crate) fn avg_pool2d(x: &Tensor, options: &Pool2dOptions) -> Tensor {
    composed::avg_pool2d(x, options)
}

pub(crate) fn avg_pool2d_grad(g: &Tensor, size: [usize; 2], options: &Pool2dOptions) -> Tensor {
    composed::avg_pool2d_grad(g, size, options)
}
