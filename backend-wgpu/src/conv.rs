//! Convolution and its gradients.

use crate::Tensor;
use minitorch_core::Conv2dOptions;
use minitorch_core::ops::composed;

pub(crate) fn conv2d(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, options: &Conv2dOptions) -> Tensor {
    composed::conv2d(x, w, bias, options)
}

pub(crate) fn grad_input(g: &Tensor, w: &Tensor, size: [usize; 2], options: &Conv2dOptions) -> Tensor {
    composed::conv2d_grad_input(g, w, size, options)
}

pub(crate) fn grad_weight(x: &Tensor, g: &Tensor, kernel: [usize; 2], options: &Conv2dOptions) -> Tensor {
    composed::conv2d_grad_weight(x, g, kernel, options)
}
