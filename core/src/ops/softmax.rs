//! Softmax and log-softmax along one dimension.
//!
//! ```text
//! y = exp(x - max) / sum(exp(x - max))            gx = y (g - sum(g y))
//! y = (x - max) - log(sum(exp(x - max)))          gx = g - exp(y) sum(g)
//! ```

use crate::backend::{Backend, Device};
use crate::error::must;
use crate::index::{Int, wrap_dim};
use crate::ops::reduce::max_and_rest;
use crate::tensor::Tensor;
use crate::tensor::fused::{Save, fused, present};

/// Softmax, log-softmax and their gradients. See the [contract](crate::backend).
pub trait SoftmaxOps: Device {
    /// `exp(x) / sum(exp(x))` along `dim`, safe from overflow.
    fn softmax(&self, x: &Tensor<Self>, dim: usize) -> Tensor<Self>
    where
        Self: Backend,
    {
        composed::softmax(x, dim)
    }

    /// The gradient of [`softmax`](SoftmaxOps::softmax) from its output y: `y (g - sum(g y))`.
    fn softmax_grad(&self, y: &Tensor<Self>, g: &Tensor<Self>, dim: usize) -> Tensor<Self>
    where
        Self: Backend,
    {
        composed::softmax_grad(y, g, dim)
    }

    /// `(x - max) - log(sum(exp(x - max)))` along `dim`. The logarithm is `log1p` of the sum without one largest element, whose
    /// exponential is 1: it keeps its digits where the others are small.
    fn log_softmax(&self, x: &Tensor<Self>, dim: usize) -> Tensor<Self>
    where
        Self: Backend,
    {
        composed::log_softmax(x, dim)
    }

    /// The gradient of [`log_softmax`](SoftmaxOps::log_softmax) from its output y: `g - exp(y) sum(g)`.
    fn log_softmax_grad(&self, y: &Tensor<Self>, g: &Tensor<Self>, dim: usize) -> Tensor<Self>
    where
        Self: Backend,
    {
        composed::log_softmax_grad(y, g, dim)
    }
}

impl<B: Backend> Tensor<B> {
    /// `exp(x) / sum(exp(x))` along `dim`, computed from `x - max(x)` and so safe from overflow. A row that holds NaN or
    /// +inf, or only -inf, is NaN. PyTorch: `softmax`.
    ///
    /// # Panics
    /// If the dimension is out of range (for rank 0 all are; PyTorch takes 0 and -1) or the dtype is not a float.
    #[track_caller]
    pub fn softmax(&self, dim: impl Int) -> Self {
        if let Some(vector) = self.as_vector(dim) {
            return vector.softmax(dim).squeeze(0);
        }
        let d = self.check_softmax("softmax", dim);
        fused(
            "softmax",
            [self],
            Save::OUTPUT,
            |[x]| x.device().softmax(x, d),
            move |of| {
                let (g, [y]) = (of.g, present([of.output]));
                [Some(if of.recording { composed::softmax_grad(y, g, d) } else { g.device().softmax_grad(y, g, d) })]
            },
        )
    }

    /// `log(softmax(x))` along `dim`, computed as `(x - max(x)) - log(sum(exp(x - max(x))))`: safe from overflow, from
    /// the logarithm of 0, and as exact for large x as for small ones. Where one x is far above the others its result
    /// keeps its digits too: for `[20, 0]` it is -2.06e-9, where PyTorch returns 0. A row that holds NaN or +inf, or
    /// only -inf, is NaN. PyTorch: `log_softmax`.
    ///
    /// # Panics
    /// If the dimension is out of range (for rank 0 all are; PyTorch takes 0 and -1) or the dtype is not a float.
    #[track_caller]
    pub fn log_softmax(&self, dim: impl Int) -> Self {
        if let Some(vector) = self.as_vector(dim) {
            return vector.log_softmax(dim).squeeze(0);
        }
        let d = self.check_softmax("log_softmax", dim);
        fused(
            "log_softmax",
            [self],
            Save::OUTPUT,
            |[x]| x.device().log_softmax(x, d),
            move |of| {
                let (g, [y]) = (of.g, present([of.output]));
                [Some(if of.recording {
                    composed::log_softmax_grad(y, g, d)
                } else {
                    g.device().log_softmax_grad(y, g, d)
                })]
            },
        )
    }

    #[track_caller]
    fn check_softmax(&self, op: &str, dim: impl Int) -> usize {
        assert!(self.dtype().is_float(), "{op}: wants a float dtype, not {}", self.dtype());
        must(wrap_dim(op, dim, self.rank()))
    }
}

/// The default implementation.
pub mod composed {
    use super::*;

    /// x less its maximum along `dim`; an empty x has none.
    fn shifted<B: Backend>(x: &Tensor<B>, dim: usize) -> Tensor<B> {
        if x.numel() == 0 { x.clone() } else { x - x.detach().max_keepdim(dim) }
    }

    /// [`SoftmaxOps::softmax`] as tensor operations.
    pub fn softmax<B: Backend>(x: &Tensor<B>, dim: usize) -> Tensor<B> {
        let e = shifted(x, dim).exp();
        let sum = e.sum_keepdim(dim);
        e / sum
    }

    /// [`SoftmaxOps::softmax_grad`] as tensor operations; differentiable, since y is the recorded output.
    pub fn softmax_grad<B: Backend>(y: &Tensor<B>, g: &Tensor<B>, dim: usize) -> Tensor<B> {
        y * (g - (g * y).sum_keepdim(dim))
    }

    /// [`SoftmaxOps::log_softmax`] as tensor operations.
    pub fn log_softmax<B: Backend>(x: &Tensor<B>, dim: usize) -> Tensor<B> {
        let [max, rest] = max_and_rest(x, dim);
        x - max - rest.log1p()
    }

    /// [`SoftmaxOps::log_softmax_grad`] as tensor operations; differentiable, since y is the recorded output.
    pub fn log_softmax_grad<B: Backend>(y: &Tensor<B>, g: &Tensor<B>, dim: usize) -> Tensor<B> {
        g - y.exp() * g.sum_keepdim(dim)
    }
}
