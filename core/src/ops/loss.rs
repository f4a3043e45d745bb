//! Losses: one number, the mean over the batch.

use crate::autodiff::{self, parents, record, recording};
use crate::backend::Backend;
use crate::dtype::DType;
use crate::tensor::Tensor;

/// What becomes of the losses of the rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reduction {
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// Nothing: one loss per row.
    None,
}

/// How [`Tensor::cross_entropy_with`] differs from the plain loss:
/// `CrossEntropyOptions::default().label_smoothing(0.1).ignore_index(-100)`.
#[derive(Clone, Debug)]
pub struct CrossEntropyOptions<B: Backend> {
    /// A factor per class, `[c]`.
    pub weight: Option<Tensor<B>>,
    /// A target whose rows do not count.
    pub ignore_index: Option<i32>,
    /// The share of the target that is spread evenly over all classes, in [0, 1]. Szegedy et al., "Rethinking the Inception
    /// architecture", 2015.
    pub label_smoothing: f64,
    /// What becomes of the rows' losses.
    pub reduction: Reduction,
}

impl<B: Backend> Default for CrossEntropyOptions<B> {
    fn default() -> Self {
        CrossEntropyOptions { weight: None, ignore_index: None, label_smoothing: 0.0, reduction: Reduction::Mean }
    }
}

impl<B: Backend> CrossEntropyOptions<B> {
    /// With these factors of the classes.
    pub fn weight(self, weight: &Tensor<B>) -> Self {
        CrossEntropyOptions { weight: Some(weight.clone()), ..self }
    }

    /// With rows of this target left out.
    pub fn ignore_index(self, index: i32) -> Self {
        CrossEntropyOptions { ignore_index: Some(index), ..self }
    }

    /// With this share of the target spread over all classes.
    pub fn label_smoothing(self, share: f64) -> Self {
        CrossEntropyOptions { label_smoothing: share, ..self }
    }

    /// With this reduction.
    pub fn reduction(self, reduction: Reduction) -> Self {
        CrossEntropyOptions { reduction, ..self }
    }
}

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
        if self.is_half() {
            return self.widened().cross_entropy(target).cast(DType::F16);
        }
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

    /// [`cross_entropy`](Self::cross_entropy) with class weights w, rows to ignore, label smoothing e, soft targets and a
    /// choice of reduction. Self are logits `[n, c]` or `[n, c, ..]`, every place a row of its own. With
    /// `l = log_softmax(self)`, the loss of a row is
    /// * for a class index t (I32; `[n]` or `[n, ..]`): `-(1 - e) w[t] l[t] - e / c sum(w l)`; the mean divides by the sum of
    ///   `w[t]` over the rows that count, and is NaN if none does;
    /// * for probabilities p (float, of the logits' shape): `-sum(w ((1 - e) p + e / c) l)`; the mean divides by the number
    ///   of rows.
    ///
    /// PyTorch: `cross_entropy(weight=, ignore_index=, reduction=, label_smoothing=)`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices do not fit, the smoothing is outside [0, 1], or rows of soft targets are to be ignored.
    #[track_caller]
    pub fn cross_entropy_with(&self, target: &Self, options: &CrossEntropyOptions<B>) -> Self {
        const OP: &str = "cross_entropy";
        let e = options.label_smoothing;
        assert!((0.0..=1.0).contains(&e), "{OP}: the label smoothing {e} is not in [0, 1]");
        assert!(self.rank() >= 2, "{OP}: wants logits [n, c, ..], not {:?}", self.shape());
        let c = self.shape()[1];
        if let Some(w) = &options.weight {
            assert!(**w.shape() == [c], "{OP}: the weight is {:?} for {c} classes", w.shape());
            self.check_same(OP, w);
        }
        // Classes last, and every place a row.
        let rows = |x: &Self| x.transpose(1, -1).reshape([x.numel() / c.max(1), c]);
        let losses = rows(self).log_softmax(1);
        let weighted = options.weight.as_ref().map_or_else(|| losses.clone(), |w| &losses * w);
        let places = self.shape().remove(1);
        // The transposed places: [n, last, .., first of the others].
        let transposed = self.shape().swap(1, self.rank() - 1);
        let transposed = transposed.remove(self.rank() - 1);
        if target.dtype() != DType::I32 {
            assert!(
                target.shape() == self.shape(),
                "{OP}: soft targets are {:?} for logits {:?}",
                target.shape(),
                self.shape()
            );
            self.check_same(OP, target);
            assert!(options.ignore_index.is_none(), "{OP}: rows of soft targets have no index to ignore");
            let soft = rows(target) * (1.0 - e) + e / c as f64;
            let losses = -(weighted * soft).sum(1);
            return match options.reduction {
                Reduction::Mean => losses.mean(..),
                Reduction::Sum => losses.sum(..),
                Reduction::None => back(&losses, transposed),
            };
        }
        assert!(*target.shape() == places, "{OP}: targets {:?} for logits {:?}", target.shape(), self.shape());
        self.check_device(OP, target);
        let target = if target.rank() > 1 { target.transpose(1, -1) } else { target.clone() };
        let target = target.reshape([losses.shape()[0]]);
        let ignored = options.ignore_index.map(|index| target.eq(index));
        let counts = |x: Self| match &ignored {
            Some(ignored) => x.masked_fill(ignored, 0.0),
            None => x,
        };
        // An ignored target may be no class at all.
        let column = match &ignored {
            Some(ignored) => Tensor::where_cond(ignored, &target.scalar_like(0.0), &target),
            None => target,
        };
        let weights = match &options.weight {
            Some(w) => w.index_select(0, &column),
            None => losses.scalar_like(1.0).expand(*column.shape()),
        };
        let mut losses = -weighted.gather(1, &column.unsqueeze(1)).squeeze(1);
        if e > 0.0 {
            losses = losses * (1.0 - e) - weighted.sum(1) * (e / c as f64);
        }
        let losses = counts(losses);
        match options.reduction {
            Reduction::Mean => losses.sum(..) / counts(weights).sum(..),
            Reduction::Sum => losses.sum(..),
            Reduction::None => back(&losses, transposed),
        }
    }

    #[track_caller]
    fn check_classes(&self, op: &str, target: &Self) {
        assert!(
            self.rank() == 2 && target.rank() == 1 && self.shape()[0] == target.shape()[0],
            "{op}: wants scores [n, c] and targets [n], not {:?} and {:?} (cross_entropy_with takes soft and spatial ones)",
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

    /// The mean of `|self - target|`; its derivative is 0 where they are equal. PyTorch: `l1_loss`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices differ.
    #[track_caller]
    pub fn l1_loss(&self, target: &Self) -> Self {
        self.check_targets("l1_loss", target);
        (self - target).abs().mean(..)
    }

    /// The mean of `d² / 2` where `d = |self - target|` is at most `delta`, else of `delta (d - delta / 2)`. Huber, "Robust
    /// estimation of a location parameter", 1964. PyTorch: `huber_loss`; divided by `delta` it is `smooth_l1_loss`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices differ, or delta is not above 0.
    #[track_caller]
    pub fn huber_loss(&self, target: &Self, delta: f64) -> Self {
        self.check_targets("huber_loss", target);
        assert!(delta > 0.0, "huber_loss: delta must be above 0, not {delta}");
        // With m the part of self - target within delta both cases are m (self - target - m / 2), on either side. No absolute
        // value: its second derivative at 0 is not the loss's.
        let d = self - target;
        let near = d.clamp(-delta, delta);
        (&near * (d - &near * 0.5)).mean(..)
    }

    /// The Kullback-Leibler divergence of probabilities t from log-probabilities self: the sum of `t (log t - self)` divided
    /// by the first dimension. 0 log 0 is 0. PyTorch: `kl_div(reduction="batchmean")`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices differ, or the rank is 0.
    #[track_caller]
    pub fn kl_div_loss(&self, target: &Self) -> Self {
        self.check_targets("kl_div_loss", target);
        assert!(self.rank() > 0, "kl_div_loss: wants a batch, not a tensor of rank 0");
        let zero = target.eq(0.0);
        let entropy = target * target.masked_fill(&zero, 1.0).log();
        (entropy - target * self).sum(..) / self.shape()[0] as f64
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

/// One loss per place, whose dimensions 1 and last were exchanged for the rows.
fn back<B: Backend>(losses: &Tensor<B>, transposed: crate::Shape) -> Tensor<B> {
    let losses = losses.reshape(transposed);
    if transposed.len() > 1 { losses.transpose(1, -1) } else { losses }
}

/// [`Backend::cross_entropy`] as tensor operations.
pub(crate) fn composed_cross_entropy<B: Backend>(logits: &Tensor<B>, target: &Tensor<B>) -> (Tensor<B>, Tensor<B>) {
    let logsumexp = logits.logsumexp(1);
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
