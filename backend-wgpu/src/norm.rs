//! Normalisation and its gradient.

use crate::Tensor;
use minitorch_core::ops::composed;
use minitorch_core::ops::norm::NormOptions;

pub(crate) fn normalize(x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>, options: &NormOptions) -> [Tensor; 3] {
    composed::normalize(x, w, b, options)
}

pub(crate) fn normalize_grad(
    g: &Tensor,
    x: &Tensor,
    w: Option<&Tensor>,
    statistics: [&Tensor; 2],
    options: &NormOptions,
) -> (Tensor, Option<[Tensor; 2]>) {
    composed::normalize_grad(g, x, w, statistics, options)
}
