//! Losses: the mean over the batch, one number.
//!
//! ```text
//! cross_entropy(x, t) = mean over rows of  log(sum(exp(x))) - x[t]        gx = (softmax(x) - onehot(t)) g / n
//! ```
//!
//! Value and gradient are computed so that nothing cancels where the loss of a row is small: `rest` is the sum of `exp(x - max)`
//! without the maximum's own 1, the loss is `log1p(rest) + (max - x[t])`, and `softmax - 1` at the maximum is `-rest / (1 +
//! rest)`.

use crate::backend::{Backend, Caller, Device, OutOfRange};
use crate::dtype::DType;
use crate::ops::index::gather;
use crate::ops::reduce::max_and_rest;
use crate::shape::{MAX_RANK, Shape};
use crate::tensor::Tensor;
use crate::tensor::fused::{Save, Saved, fused, in_f32, present, try_fused_with, try_in_f32_with};

/// How the losses of the rows are reduced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reduction {
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// Not at all: one loss per row.
    None,
}

/// How [`Tensor::cross_entropy_with`] differs from the plain loss:
/// `CrossEntropyOptions::default().label_smoothing(0.1).ignore_index(-100)`.
#[must_use]
#[derive(Clone, Debug)]
pub struct CrossEntropyOptions<B: Backend> {
    /// A factor per class, `[c]`.
    pub weight: Option<Tensor<B>>,
    /// Rows with this target do not count. `None` by default; PyTorch's default is -100.
    pub ignore_index: Option<i32>,
    /// The share of the target that is spread evenly over all classes, in [0, 1]. Szegedy et al., "Rethinking the Inception
    /// architecture", 2015.
    pub label_smoothing: f64,
    /// How the losses of the rows are reduced.
    pub reduction: Reduction,
}

impl<B: Backend> Default for CrossEntropyOptions<B> {
    fn default() -> Self {
        CrossEntropyOptions { weight: None, ignore_index: None, label_smoothing: 0.0, reduction: Reduction::Mean }
    }
}

impl<B: Backend> CrossEntropyOptions<B> {
    /// Sets the class weights.
    pub fn weight(self, weight: &Tensor<B>) -> Self {
        CrossEntropyOptions { weight: Some(weight.clone()), ..self }
    }

    /// Ignores the rows that have this target.
    pub fn ignore_index(self, index: i32) -> Self {
        CrossEntropyOptions { ignore_index: Some(index), ..self }
    }

    /// Sets the share of the target that is spread over all classes.
    pub fn label_smoothing(self, share: f64) -> Self {
        CrossEntropyOptions { label_smoothing: share, ..self }
    }

    /// Sets the reduction.
    pub fn reduction(self, reduction: Reduction) -> Self {
        CrossEntropyOptions { reduction, ..self }
    }
}

/// Losses. See the [contract](crate::backend).
pub trait LossOps: Device {
    /// The mean over n rows of `log1p(rest) + (max - logits[target])`, and the statistics `[n, 2]` that the gradient
    /// needs: each row's maximum and its rest, the sum of `exp(logits - max)` over all classes except one of the
    /// largest. The rest of a row with an infinite maximum is NaN. Logits `[n, c]`, target `[n]` of I32. A target
    /// outside `0..c` is an index out of range (see the [contract](crate::backend)), and the loss of its row is 0.
    ///
    /// # Errors
    /// The first such target, if the result is computed on return.
    fn cross_entropy(
        &self,
        logits: &Tensor<Self>,
        target: &Tensor<Self>,
        caller: Caller,
    ) -> Result<(Tensor<Self>, Tensor<Self>), OutOfRange>
    where
        Self: Backend,
    {
        composed::cross_entropy(logits, target, caller)
    }

    /// The gradient of [`cross_entropy`](LossOps::cross_entropy): `(softmax(logits) - onehot(target)) g / n`, and 0 in the
    /// row of a target outside `0..c`. Softmax is `exp(logits - max) / (1 + rest)`, and less 1 at the maximum
    /// `-rest / (1 + rest)`.
    fn cross_entropy_grad(
        &self,
        g: &Tensor<Self>,
        logits: &Tensor<Self>,
        target: &Tensor<Self>,
        statistics: &Tensor<Self>,
    ) -> Tensor<Self>
    where
        Self: Backend,
    {
        composed::cross_entropy_grad(g, logits, target, statistics)
    }
}

impl<B: Backend> Tensor<B> {
    /// The mean over rows of `-log_softmax(self)[target]`: `self` holds logits `[n, c]`, `target` class indices `[n]`
    /// (I32). One pass forward and one backward. The mean of no rows is NaN, and so is the loss of a row that holds NaN or
    /// +inf, or only -inf. Value and gradient keep their digits for large logits and for confident rows: for `[20, 0]`
    /// and class 0 they are 2.06e-9 and -2.06e-9, where PyTorch returns 0. PyTorch: `cross_entropy`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices do not match. On the CPU, if a target is outside `0..c`; on a GPU the loss of its
    /// row is 0, and reads of the device fail with [`Error::IndexOutOfRange`](crate::Error) until
    /// [`take_error`](crate::Device::take_error).
    #[track_caller]
    pub fn cross_entropy(&self, target: &Self) -> Self {
        let caller = Caller::of("cross_entropy");
        self.check_classes(caller.op, target);
        let target = target.detach();
        let forward = |inputs: [Option<&Self>; 1]| {
            let [logits] = present(inputs);
            logits.device().cross_entropy(logits, &target, caller)
        };
        let kept = target.clone();
        let gradient = move |of: Saved<'_, B, Self, 1>| {
            let (g, [logits]) = (of.g, present(of.inputs));
            [Some(if of.recording {
                // The composed loss is differentiated instead, and its gradient is differentiable.
                let loss = caller.must(nll_loss(&logits.log_softmax(1), &kept, caller));
                let [gradient] = loss.grad_with(g, [logits]);
                gradient
            } else {
                g.device().cross_entropy_grad(g, logits, &kept, of.extra)
            })]
        };
        caller.must(try_fused_with(caller.op, [Some(self)], Save::INPUTS, forward, gradient)).0
    }

    /// The mean over rows of `-self[target]`: `self` holds log-probabilities `[n, c]`, `target` class indices `[n]`
    /// (I32). PyTorch: `nll_loss`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices do not match. On the CPU, if a target is outside `0..c`; on a GPU the loss of its
    /// row is 0, and reads of the device fail with [`Error::IndexOutOfRange`](crate::Error) until
    /// [`take_error`](crate::Device::take_error).
    #[track_caller]
    pub fn nll_loss(&self, target: &Self) -> Self {
        let caller = Caller::of("nll_loss");
        self.check_classes(caller.op, target);
        caller.must(nll_loss(self, target, caller))
    }

    /// [`cross_entropy`](Self::cross_entropy) with class weights w, rows to ignore, label smoothing e, soft targets and
    /// a choice of reduction. `self` holds logits `[n, c]` or `[n, c, ..]`, where every position is a row. With
    /// `l = log_softmax(self, 1)`, the loss of a row is
    /// * for a class index t (I32; `[n]` or `[n, ..]`): `-(1 - e) w[t] l[t] - e / c sum(w l)`; the mean divides by the sum of
    ///   `w[t]` over the rows that count, and is NaN if none does;
    /// * for probabilities p (float, of the logits' shape): `-sum(w ((1 - e) p + e / c) l)`; the mean divides by the number
    ///   of rows.
    ///
    /// [`Reduction::None`] returns the losses in the shape of the positions, `[n]` or `[n, ..]`. A class whose weight or
    /// probability is 0 adds nothing even where its logit is -inf and PyTorch gives NaN. No index is ignored unless
    /// [`ignore_index`](CrossEntropyOptions::ignore_index) says so; PyTorch ignores -100.
    ///
    /// PyTorch: `cross_entropy(weight=, ignore_index=, reduction=, label_smoothing=)`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices do not match, the smoothing is outside [0, 1], or rows of soft targets are to be
    /// ignored. On the CPU, if a target that is not ignored is outside `0..c`; on a GPU reads of the device fail with
    /// [`Error::IndexOutOfRange`](crate::Error) until [`take_error`](crate::Device::take_error).
    #[track_caller]
    pub fn cross_entropy_with(&self, target: &Self, options: &CrossEntropyOptions<B>) -> Self {
        const OP: &str = "cross_entropy_with";
        let caller = Caller::of(OP);
        self.check_float(OP);
        let e = options.label_smoothing;
        assert!((0.0..=1.0).contains(&e), "{OP}: the label smoothing {e} is not in [0, 1]");
        assert!(self.rank() >= 2, "{OP}: wants logits [n, c, ..], not {:?}", self.shape());
        let (c, places) = (self.shape()[1], self.shape().remove(1));
        if let Some(w) = &options.weight {
            assert!(**w.shape() == [c], "{OP}: the weight is {:?} for {c} classes", w.shape());
            self.check_same(OP, w);
        }
        let soft = target.dtype() != DType::I32;
        if soft {
            assert!(
                target.shape() == self.shape(),
                "{OP}: soft targets are {:?} for logits {:?}",
                target.shape(),
                self.shape()
            );
            self.check_same(OP, target);
            assert!(options.ignore_index.is_none(), "{OP}: rows of soft targets have no index to ignore");
        } else {
            assert!(*target.shape() == places, "{OP}: targets {:?} for logits {:?}", target.shape(), self.shape());
            self.check_device(OP, target);
        }
        caller.must(try_in_f32_with([Some(self), Some(target), options.weight.as_ref()], |inputs| {
            let [Some(logits), Some(target), weight] = inputs else { unreachable!("both are given") };
            cross_entropy_with(logits, target, weight, options, caller)
        }))
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
        self.loss("mse_loss", target, |x, t| (x - t).square().mean(..))
    }

    /// The mean of `|self - target|`; its derivative is 0 where they are equal. PyTorch: `l1_loss`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices differ.
    #[track_caller]
    pub fn l1_loss(&self, target: &Self) -> Self {
        self.loss("l1_loss", target, |x, t| (x - t).abs().mean(..))
    }

    /// The mean of `d² / 2` where `d = |self - target|` is at most `delta`, else of `delta (d - delta / 2)`. Huber, "Robust
    /// estimation of a location parameter", 1964. PyTorch: `huber_loss`; divided by `delta` it is `smooth_l1_loss`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices differ, or delta is not above 0.
    #[track_caller]
    pub fn huber_loss(&self, target: &Self, delta: f64) -> Self {
        assert!(delta > 0.0, "huber_loss: delta must be above 0, not {delta}");
        // With d = self - target clamped to +-delta as m, both cases are m (d - m / 2). The absolute value of d would have
        // another second derivative at 0.
        self.loss("huber_loss", target, |x, t| {
            let d = x - t;
            let near = d.clamp(-delta, delta);
            (&near * (d - &near * 0.5)).mean(..)
        })
    }

    /// The Kullback-Leibler divergence of probabilities t from log-probabilities self: the sum of `t (log t - self)`
    /// divided by the first dimension. 0 log 0 is 0, and so is 0 times a log-probability of -inf, where PyTorch returns
    /// NaN. Where a target is 0, the gradient with respect to it leaves out the infinite `log 0`; PyTorch's is NaN
    /// there. PyTorch: `kl_div(reduction="batchmean")`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices differ, or the rank is 0.
    #[track_caller]
    pub fn kl_div_loss(&self, target: &Self) -> Self {
        assert!(self.rank() > 0, "kl_div_loss: wants a batch, not a tensor of rank 0");
        self.loss("kl_div_loss", target, |x, t| {
            let log_t = t.masked_fill(&t.eq(0.0), 1.0).log();
            (t * (log_t - possible(t, x))).sum(..) / x.shape()[0] as f64
        })
    }

    /// The mean of `-t log p - (1 - t) log(1 - p)` of probabilities p and targets t in [0, 1]. Logarithms are clamped
    /// to at least -100, and the divisor `p (1 - p)` of the gradient to at least 1e-12, as in PyTorch, so that value
    /// and gradient stay finite at p = 0 and p = 1. A p outside [0, 1] gives NaN, where PyTorch raises an error.
    /// PyTorch: `binary_cross_entropy`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices differ.
    #[track_caller]
    pub fn bce_loss(&self, target: &Self) -> Self {
        self.loss("bce_loss", target, |p, t| {
            let held = |log: Self| log.clamp(-100.0, f64::INFINITY);
            // log1p(-p), since 1 - p rounds a small p away.
            let logs = move |p: &Self| [held(p.log()), held((-p).log1p())];
            let forward = |[p, t]: [&Self; 2]| {
                let [log_p, log_rest] = logs(p);
                -(t * log_p + (1.0 - t) * log_rest).mean(..)
            };
            fused("bce_loss", [p, t], Save::INPUTS, forward, move |of| {
                let [p, t] = present(of.inputs);
                let share = of.g / p.numel() as f64;
                // (p - t) / (p (1 - p)), whose divisor is at least 1e-12: a saturated p has a large gradient and not NaN.
                let slope = || (p - t) / (p * (1.0 - p)).clamp(1e-12, f64::INFINITY);
                let in_target = || {
                    let [log_p, log_rest] = logs(p);
                    (log_rest - log_p) * &share
                };
                [of.wants[0].then(|| slope() * &share), of.wants[1].then(in_target)]
            })
        })
    }

    /// [`bce_loss`](Self::bce_loss) of `sigmoid(self)`, safe from overflow: the mean of `softplus(x) - t x`. Value and
    /// gradient keep their digits at both ends: at x = 20 and t = 1 they are 2.06e-9 and -2.06e-9. 0 times an infinite
    /// x counts as 0, where PyTorch returns NaN, so the loss of an infinite x that agrees with its target is 0.
    /// PyTorch: `binary_cross_entropy_with_logits`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices differ.
    #[track_caller]
    pub fn bce_with_logits_loss(&self, target: &Self) -> Self {
        self.loss("bce_with_logits_loss", target, |x, t| {
            // The loss of (x, t) is that of (-x, 1 - t). With the one whose x is at most 0, neither term of softplus(x) - t x is
            // below 0, and nothing cancels.
            let mirrored = |x: &Self, t: &Self| {
                let above = x.gt(0.0);
                [Tensor::where_cond(&above, &-x, x), Tensor::where_cond(&above, &(1.0 - t), t), above]
            };
            let forward = |[x, t]: [&Self; 2]| {
                let [x, t, _] = mirrored(x, t);
                (x.softplus() - (&t * &x).masked_fill(&t.eq(0.0), 0.0)).mean(..)
            };
            fused("bce_with_logits_loss", [x, t], Save::INPUTS, forward, move |of| {
                let [x, t] = present(of.inputs);
                let share = of.g / x.numel() as f64;
                // sigmoid(x) - t, negated where x was mirrored.
                let slope = || {
                    let [x, t, above] = mirrored(x, t);
                    let slope = x.sigmoid() - t;
                    Tensor::where_cond(&above, &-&slope, &slope)
                };
                [of.wants[0].then(|| slope() * &share), of.wants[1].then(|| -x * &share)]
            })
        })
    }

    /// `f` of self and a target of one shape, dtype and device. F16 is computed in F32.
    #[track_caller]
    fn loss(&self, op: &str, target: &Self, f: impl FnOnce(&Self, &Self) -> Self) -> Self {
        assert!(
            self.shape() == target.shape(),
            "{op}: the input is {:?}, the target {:?}",
            self.shape(),
            target.shape()
        );
        self.check_same(op, target);
        self.check_float(op);
        in_f32([self, target], |[x, t]| f(x, t))
    }
}

/// [`Tensor::nll_loss`] of checked arguments.
fn nll_loss<B: Backend>(log_p: &Tensor<B>, target: &Tensor<B>, caller: Caller) -> Result<Tensor<B>, OutOfRange> {
    Ok(-gather(log_p, 1, &target.unsqueeze(1), caller)?.mean(..))
}

/// [`Tensor::cross_entropy_with`] of checked arguments in F32 or F64.
fn cross_entropy_with<B: Backend>(
    logits: &Tensor<B>,
    target: &Tensor<B>,
    weight: Option<&Tensor<B>>,
    options: &CrossEntropyOptions<B>,
    caller: Caller,
) -> Result<Tensor<B>, OutOfRange> {
    let log_p = logits.log_softmax(1);
    let (c, places, e) = (logits.shape()[1], logits.shape().remove(1), options.label_smoothing);
    let broadcast = |w: &Tensor<B>| w.reshape(Shape::new(&[1; MAX_RANK][..logits.rank()]).with(1, c));
    let class_weight = weight.map(broadcast);
    if target.dtype() != DType::I32 {
        let mut share = if e > 0.0 { target * (1.0 - e) + e / c as f64 } else { target.clone() };
        if let Some(w) = &class_weight {
            share *= w;
        }
        let losses = -(&share * possible(&share, &log_p)).sum(1);
        return Ok(match options.reduction {
            Reduction::Mean => losses.mean(..),
            Reduction::Sum => losses.sum(..),
            Reduction::None => losses,
        });
    }
    let ignored = options.ignore_index.map(|index| target.eq(index));
    let counts = |x: Tensor<B>| match &ignored {
        Some(ignored) => x.masked_fill(ignored, 0.0),
        None => x,
    };
    // An ignored target need not be a class.
    let class = match &ignored {
        Some(ignored) => Tensor::where_cond(ignored, &target.scalar_like(0.0), target),
        None => target.clone(),
    };
    let of_class = gather(&log_p, 1, &class.unsqueeze(1), caller)?.squeeze(1);
    let (mut losses, weights) = match weight {
        Some(w) => {
            let w = gather(w, 0, &class.flatten(..), caller)?.reshape(places);
            (-(&w * possible(&w, &of_class)), w)
        }
        None => (-of_class, log_p.scalar_like(1.0).expand(places)),
    };
    if e > 0.0 {
        let all = match &class_weight {
            Some(w) => (w * possible(w, &log_p)).sum(1),
            None => log_p.sum(1),
        };
        losses = losses * (1.0 - e) - all * (e / c as f64);
    }
    let losses = counts(losses);
    Ok(match options.reduction {
        Reduction::Mean => losses.sum(..) / counts(weights).sum(..),
        Reduction::Sum => losses.sum(..),
        Reduction::None => losses,
    })
}

/// Log-probabilities as factors of shares: -inf becomes 0 where the share is 0, since 0 times infinity would be NaN.
/// Other elements stay, also where the share is 0, so that the gradient with respect to the share is right.
fn possible<B: Backend>(share: &Tensor<B>, log_p: &Tensor<B>) -> Tensor<B> {
    log_p.masked_fill(&share.eq(0.0).logical_and(&log_p.eq(f64::NEG_INFINITY)), 0.0)
}

/// The default implementation.
pub mod composed {
    use super::*;

    /// [`LossOps::cross_entropy`] as tensor operations.
    pub fn cross_entropy<B: Backend>(
        logits: &Tensor<B>,
        target: &Tensor<B>,
        caller: Caller,
    ) -> Result<(Tensor<B>, Tensor<B>), OutOfRange> {
        let [max, rest] = max_and_rest(logits, 1);
        let column = target.unsqueeze(1);
        // Neither term is below 0.
        let rows = rest.log1p() + (&max - gather(logits, 1, &column, caller)?);
        let bad = column.lt(0.0).logical_or(&column.ge(logits.shape()[1] as f64));
        Ok((rows.masked_fill(&bad, 0.0).mean(..), Tensor::cat(&[max, rest], 1)))
    }

    /// [`LossOps::cross_entropy_grad`] as tensor operations.
    pub fn cross_entropy_grad<B: Backend>(
        g: &Tensor<B>,
        logits: &Tensor<B>,
        target: &Tensor<B>,
        statistics: &Tensor<B>,
    ) -> Tensor<B> {
        let [n, c] = logits.dims();
        if c == 0 {
            return logits.clone();
        }
        let (max, rest) = (statistics.narrow(1, 0, 1), statistics.narrow(1, 1, 1));
        let column = target.unsqueeze(1);
        let bad = column.lt(0.0).logical_or(&column.ge(c as f64));
        let of_class = column.eq(Tensor::arange(0..c as i32, logits.device()));
        let sum = &rest + 1.0;
        let softmax = (logits - &max).exp() / &sum;
        // softmax - 1 without cancellation where the class has the maximum.
        let at_top = of_class.logical_and(&logits.eq(&max));
        let less_one = Tensor::where_cond(&at_top, &-(rest / sum), &(&softmax - 1.0));
        // The row of a bad target, which the forward pass reported, is 0.
        (Tensor::where_cond(&of_class, &less_one, &softmax) * (g / n as f64)).masked_fill(&bad, 0.0)
    }
}
