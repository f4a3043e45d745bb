//! Softmax and its logarithm along one dimension.

use crate::autodiff::{parents, record_with_output, recording};
use crate::backend::{Backend, Device};
use crate::dtype::DType;
use crate::error::must;
use crate::index::wrap_dim;
use crate::tensor::Tensor;

/// Softmax, log-softmax and their gradients. See the [contract](crate::backend).
pub trait SoftmaxOps: Device {
    /// `exp(x) / sum(exp(x))` along `dim`, safe from overflow.
    fn softmax(&self, x: &Tensor<Self>, dim: usize) -> Tensor<Self>
    where
        Self: Backend,
    {
        composed_softmax(x, dim)
    }

    /// The gradient of [`softmax`](SoftmaxOps::softmax) from its output y: `y (g - sum(g y))`.
    fn softmax_grad(&self, y: &Tensor<Self>, g: &Tensor<Self>, dim: usize) -> Tensor<Self>
    where
        Self: Backend,
    {
        composed_softmax_grad(y, g, dim)
    }

    /// `(x - max) - log(sum(exp(x - max)))` along `dim`. The logarithm is `log1p` of the sum without one largest element, whose
    /// exponential is 1: it keeps its digits where the others are small.
    fn log_softmax(&self, x: &Tensor<Self>, dim: usize) -> Tensor<Self>
    where
        Self: Backend,
    {
        composed_log_softmax(x, dim)
    }

    /// The gradient of [`log_softmax`](SoftmaxOps::log_softmax) from its output y: `g - exp(y) sum(g)`.
    fn log_softmax_grad(&self, y: &Tensor<Self>, g: &Tensor<Self>, dim: usize) -> Tensor<Self>
    where
        Self: Backend,
    {
        composed_log_softmax_grad(y, g, dim)
    }
}

impl<B: Backend> Tensor<B> {
    /// `exp(x) / sum(exp(x))` along `dim`, computed from `x - max(x)` and so safe from overflow. A row that holds NaN or
    /// +inf, or only -inf, is NaN. PyTorch: `softmax`.
    ///
    /// # Panics
    /// If the dimension is outside the rank (of rank 0 every one is; PyTorch takes 0 and -1) or the dtype is not a float.
    #[track_caller]
    pub fn softmax(&self, dim: isize) -> Self {
        if let Some(line) = self.as_line(dim) {
            return line.softmax(dim).squeeze(0);
        }
        let d = self.check_softmax("softmax", dim);
        if self.is_half() {
            return self.widened().softmax(dim).cast(DType::F16);
        }
        let out = self.device().softmax(&self.detach(), d);
        let Some(parents) = parents([self]) else { return out };
        record_with_output("softmax", out, parents, move |g, y, _| {
            [Some(if recording() {
                composed_softmax_grad(y, g, d)
            } else {
                g.device().softmax_grad(&y.detach(), &g.detach(), d)
            })]
        })
    }

    /// `log(softmax(x))` along `dim`, computed as `(x - max(x)) - log(sum(exp(x - max(x))))`: safe from overflow, from the
    /// logarithm of 0, and as exact beside large x as beside small ones. Where one x is far above the others its result
    /// keeps its digits too: of `[20, 0]` it is -2.06e-9, where PyTorch says 0. A row that holds NaN or +inf, or only
    /// -inf, is NaN. PyTorch: `log_softmax`.
    ///
    /// # Panics
    /// If the dimension is outside the rank (of rank 0 every one is; PyTorch takes 0 and -1) or the dtype is not a float.
    #[track_caller]
    pub fn log_softmax(&self, dim: isize) -> Self {
        if let Some(line) = self.as_line(dim) {
            return line.log_softmax(dim).squeeze(0);
        }
        let d = self.check_softmax("log_softmax", dim);
        if self.is_half() {
            return self.widened().log_softmax(dim).cast(DType::F16);
        }
        let out = self.device().log_softmax(&self.detach(), d);
        let Some(parents) = parents([self]) else { return out };
        record_with_output("log_softmax", out, parents, move |g, y, _| {
            [Some(if recording() {
                composed_log_softmax_grad(y, g, d)
            } else {
                g.device().log_softmax_grad(&y.detach(), &g.detach(), d)
            })]
        })
    }

    #[track_caller]
    fn check_softmax(&self, op: &str, dim: isize) -> usize {
        assert!(self.dtype().is_float(), "{op}: wants a float dtype, not {}", self.dtype());
        must(wrap_dim(op, dim, self.rank()))
    }
}

/// The rows' maximum, which every term is shifted by; nothing to shift in an empty row.
fn shifted<B: Backend>(x: &Tensor<B>, dim: usize) -> Tensor<B> {
    if x.numel() == 0 { x.clone() } else { x - x.detach().max_keepdim(dim) }
}

/// [`SoftmaxOps::softmax`] as tensor operations.
pub fn composed_softmax<B: Backend>(x: &Tensor<B>, dim: usize) -> Tensor<B> {
    let e = shifted(x, dim).exp();
    let sum = e.sum_keepdim(dim);
    e / sum
}

/// [`SoftmaxOps::softmax_grad`] as tensor operations; differentiable, since y is the recorded output.
pub fn composed_softmax_grad<B: Backend>(y: &Tensor<B>, g: &Tensor<B>, dim: usize) -> Tensor<B> {
    y * (g - (g * y).sum_keepdim(dim))
}

/// The maximum along `dim`, and the sum of `exp(x - max)` over all elements but one that is the maximum; both keep the
/// dimension as size 1.
///
/// The element left out contributes exactly 1, so the whole sum is `1 + rest` and its logarithm `log1p(rest)`, which keeps its
/// digits where the rest is small. An infinite maximum makes the rest NaN. Zeros of no elements.
pub(crate) fn max_and_rest<B: Backend>(x: &Tensor<B>, dim: usize) -> [Tensor<B>; 2] {
    if x.shape()[dim] == 0 {
        let zeros = x.zeros_of(x.shape().with(dim, 1));
        return [zeros.clone(), zeros];
    }
    let max = x.max_keepdim(dim);
    let top = x.eq(&max);
    let below = (x - &max).exp().masked_fill(&top, 0.0).sum_keepdim(dim);
    let ties = top.cast(x.dtype()).sum_keepdim(dim) - 1.0;
    let rest = below + ties + &max * 0.0;
    [max, rest]
}

/// [`SoftmaxOps::log_softmax`] as tensor operations.
pub fn composed_log_softmax<B: Backend>(x: &Tensor<B>, dim: usize) -> Tensor<B> {
    let [max, rest] = max_and_rest(x, dim);
    x - max - rest.log1p()
}

/// [`SoftmaxOps::log_softmax_grad`] as tensor operations; differentiable, since y is the recorded output.
pub fn composed_log_softmax_grad<B: Backend>(y: &Tensor<B>, g: &Tensor<B>, dim: usize) -> Tensor<B> {
    g - y.exp() * g.sum_keepdim(dim)
}
