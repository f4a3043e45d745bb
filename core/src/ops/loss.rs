//! Losses: one number, the mean over the batch.

use crate::autodiff::{self, parents, record, recording};
use crate::backend::Backend;
use crate::dtype::DType;
use crate::tensor::Tensor;

impl<B: Backend> Tensor<B> {
    /// The mean over rows of `-log_softmax(self)[target]`: self are logits `[n, c]`, target class indices `[n]` (I32).
    /// One pass forward and one backward. An index outside `0..c` counts as 0 and is an error at the next read.
    /// The mean of no rows is NaN. PyTorch: `cross_entropy`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices do not fit.
    #[track_caller]
    pub fn cross_entropy(&self, target: &Self) -> Self {
        self.check_classes("cross_entropy", target);
        let (loss, logsumexp) = self.device().cross_entropy(&self.detach(), &target.detach());
        let Some(parents) = parents([self]) else { return loss };
        let (logits, target) = (self.clone(), target.detach());
        record(loss, parents, move |g, _| {
            [Some(if recording() {
                // Under create_graph: the composed loss is differentiated instead, and its gradient is differentiable.
                let loss = logits.log_softmax(1).nll_loss(&target);
                let [gradient] = loss.grad_with(g, [&logits]);
                gradient
            } else {
                g.device().cross_entropy_grad(&g.detach(), &logits.detach(), &target, &logsumexp)
            })]
        })
    }

    /// The mean over rows of `-self[target]`: self are log-probabilities `[n, c]`, target class indices `[n]` (I32).
    /// PyTorch: `nll_loss`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices do not fit.
    #[track_caller]
    pub fn nll_loss(&self, target: &Self) -> Self {
        self.check_classes("nll_loss", target);
        -self.gather(1, &target.unsqueeze(1)).mean(..)
    }

    #[track_caller]
    fn check_classes(&self, op: &str, target: &Self) {
        assert!(
            self.rank() == 2 && target.rank() == 1 && self.shape()[0] == target.shape()[0],
            "{op}: wants scores [n, c] and targets [n], not {:?} and {:?}",
            self.shape(),
            target.shape()
        );
        assert!(self.dtype().is_float(), "{op}: the scores must be of a float dtype, not {}", self.dtype());
        assert!(target.dtype() == DType::I32, "{op}: the targets must be I32 indices, not {}", target.dtype());
        self.check_device(op, target);
    }

    /// The mean of `(self - target)²`. PyTorch: `mse_loss`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices differ.
    #[track_caller]
    pub fn mse_loss(&self, target: &Self) -> Self {
        self.check_targets("mse_loss", target);
        (self - target).square().mean(..)
    }

    /// The mean of `-t log p - (1 - t) log(1 - p)` of probabilities p and targets t in [0, 1]. Logarithms are held at
    /// -100 or above, and the divisor `p (1 - p)` of the gradient at 1e-12 or above, so that p = 0 and p = 1 stay finite,
    /// as PyTorch does. PyTorch: `binary_cross_entropy`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices differ.
    #[track_caller]
    pub fn bce_loss(&self, target: &Self) -> Self {
        self.check_targets("bce_loss", target);
        let log = |x: &Self| x.log().clamp(-100.0, f64::INFINITY);
        let loss = autodiff::no_grad(|| -(target * log(self) + (1.0 - target) * log(&(1.0 - self))).mean(..));
        let Some(parents) = parents([self, target]) else { return loss };
        let (p, t, n) = (self.clone(), target.clone(), self.numel() as f64);
        record(loss, parents, move |g, wants| {
            let share = g / n;
            // (p - t) / (p (1 - p)), whose divisor is held above 0: a saturated p has a large gradient and not NaN.
            let slope = || (&p - &t) / (&p * (1.0 - &p)).clamp(1e-12, f64::INFINITY);
            [wants[0].then(|| slope() * &share), wants[1].then(|| (log(&(1.0 - &p)) - log(&p)) * &share)]
        })
    }

    /// [`bce_loss`](Self::bce_loss) of `sigmoid(self)`, safe from overflow: the mean of `softplus(x) - t x`.
    /// PyTorch: `binary_cross_entropy_with_logits`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices differ.
    #[track_caller]
    pub fn bce_with_logits_loss(&self, target: &Self) -> Self {
        self.check_targets("bce_with_logits_loss", target);
        (self.softplus() - target * self).mean(..)
    }

    #[track_caller]
    fn check_targets(&self, op: &str, target: &Self) {
        assert!(
            self.shape() == target.shape(),
            "{op}: the input is {:?}, the target {:?}",
            self.shape(),
            target.shape()
        );
        self.check_same(op, target);
    }
}

/// [`Backend::cross_entropy`] as tensor operations.
pub(crate) fn composed_cross_entropy<B: Backend>(logits: &Tensor<B>, target: &Tensor<B>) -> (Tensor<B>, Tensor<B>) {
    let logsumexp = if logits.shape()[1] == 0 {
        logits.zeros_of([logits.shape()[0]].into()) + f64::NEG_INFINITY
    } else {
        logits.logsumexp(1)
    };
    let column = target.unsqueeze(1);
    let rows = logsumexp.unsqueeze(1) - logits.gather(1, &column);
    let bad = column.lt(0.0).logical_or(&column.ge(logits.shape()[1] as f64));
    (rows.masked_fill(&bad, 0.0).mean(..), logsumexp)
}

/// [`Backend::cross_entropy_grad`] as tensor operations.
pub(crate) fn composed_cross_entropy_grad<B: Backend>(
    g: &Tensor<B>,
    logits: &Tensor<B>,
    target: &Tensor<B>,
    logsumexp: &Tensor<B>,
) -> Tensor<B> {
    let [n, c] = logits.dims();
    let column = target.unsqueeze(1);
    let bad = column.lt(0.0).logical_or(&column.ge(c as f64));
    // A bad target was reported by the forward pass; its row is 0 and must not be reported again.
    let safe = Tensor::where_cond(&bad, &column.scalar_like(0.0), &column).squeeze(1);
    let softmax = (logits - logsumexp.unsqueeze(1)).exp();
    let rows = if c == 0 { softmax } else { softmax - safe.one_hot(c, logits.dtype()) };
    (rows * (g / n as f64)).masked_fill(&bad, 0.0)
}
