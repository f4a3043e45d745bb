//! Cross-entropy of logits and class indices, and its gradient. With max and rest of a row as in `softmax::max_and_rest`:
//!
//! ```text
//! loss     = mean over rows of log1p(rest) + max - x[target]
//! gradient = (e^(x - max) / (1 + rest) - onehot(target)) g / n
//! ```
//! Cost: one read of the logits and one exponential per element in each direction. The softmax is not stored.

use crate::element::{Element, Real, with_real};
use crate::launch::{self, report};
use crate::simd::{Isa, Kernel, LANES};
use crate::softmax::max_and_rest;
use crate::view::elements;
use crate::{Cpu, Tensor, parallel};
use minitorch_core::backend::{Caller, LossOps, OutOfRange};
use std::cell::Cell;

/// Work of a logit: an exponential and some arithmetic.
const WORK: usize = 12;

impl LossOps for Cpu {
    /// The mean loss, and the maximum and the rest of each row, `[n, 2]`.
    fn cross_entropy(&self, logits: &Tensor, target: &Tensor, _: Caller) -> Result<(Tensor, Tensor), OutOfRange> {
        let [n, c] = logits.dims();
        let (logits, target) = (logits.contiguous(), target.contiguous());
        let operands = [logits.view().storage, target.view().storage];
        with_real!(logits.dtype(), T => {
            let (mut mean, mut statistics) = (self.output::<T>(1, &operands), self.output::<T>(2 * n, &operands));
            if let (Some(mean), Some(statistics)) = (&mut mean, &mut statistics) {
                mean[0] = mean_loss(elements::<T>(&logits), elements::<i32>(&target), [n, c], statistics)?;
            }
            Ok((
                Tensor::from_storage(self, T::wrap(mean), T::DTYPE, []),
                Tensor::from_storage(self, T::wrap(statistics), T::DTYPE, [n, 2]),
            ))
        })
    }

    fn cross_entropy_grad(&self, g: &Tensor, logits: &Tensor, target: &Tensor, statistics: &Tensor) -> Tensor {
        let [n, c] = logits.dims();
        let operands = [g, logits, target, statistics].map(Tensor::contiguous);
        let [g, logits, target, statistics] = &operands;
        with_real!(logits.dtype(), T => {
            let mut out = self.output::<T>(n * c, &operands.each_ref().map(|x| x.view().storage));
            if let Some(out) = &mut out {
                let (x, statistics) = (elements::<T>(logits), elements::<T>(statistics));
                let scale = elements::<T>(g)[0] / T::from_f64(n as f64);
                // The inherent `exp` of f32 or f64, which takes precedence over `Real::exp`: one element per row, so accuracy
                // matters more than vectorisation.
                gradient(x, elements::<i32>(target), statistics, scale, T::exp, out);
            }
            Tensor::from_storage(self, T::wrap(out), T::DTYPE, [n, c])
        })
    }
}

fn mean_loss<T: Real>(x: &[T], targets: &[i32], [n, c]: [usize; 2], statistics: &mut [T]) -> Result<T, OutOfRange> {
    let work = (WORK * c / 2).max(1);
    report(|| launch::split::<T>("cross_entropy", 2 * n, 2, work).path("rows"));
    parallel::split(statistics, 2, work, |first, out| {
        for (row, out) in (first / 2..).zip(out.chunks_exact_mut(2)) {
            let (max, rest) = T::compute(Statistics(&x[row * c..][..c]));
            out.copy_from_slice(&[max, rest]);
        }
    });
    let bad = Cell::new(None);
    let target_logit = |row: usize| {
        let class = class(targets[row], c);
        if class.is_none() && bad.get().is_none() {
            bad.set(Some(OutOfRange { index: targets[row] as i64, bound: c as u64 }));
        }
        class.map(|class| x[row * c + class])
    };
    let total = T::compute(Losses { statistics, target_logit: &target_logit });
    bad.get().map_or(Ok(T::from_f64(total / n as f64)), Err)
}

fn gradient<T: Real>(x: &[T], targets: &[i32], statistics: &[T], scale: T, exp: impl Fn(T) -> T + Sync, out: &mut [T]) {
    let c = x.len() / targets.len().max(1);
    report(|| launch::split::<T>("cross_entropy_grad", out.len(), c, WORK).path("rows"));
    parallel::split(out, c, WORK, |first, out| {
        for (row, out) in (first / c.max(1)..).zip(out.chunks_exact_mut(c.max(1))) {
            let Some(class) = class(targets[row], c) else {
                out.fill(T::ZERO); // the forward pass returned the error
                continue;
            };
            let (x, max, rest) = (&x[row * c..][..c], statistics[2 * row], statistics[2 * row + 1]);
            let share = T::of(1.0) / (T::of(1.0) + rest);
            T::compute(ScaledExp { x, max, scale: share * scale, out });
            // softmax - 1 of the target, without the cancellation where it is the likely class, and before the scale rounds it.
            let less_one = if x[class] == max { -rest * share } else { exp(x[class] - max) * share - T::of(1.0) };
            out[class] = less_one * scale;
        }
    });
}

/// [`max_and_rest`] of a row.
struct Statistics<'a, T>(&'a [T]);

impl<T: Real> Kernel for Statistics<'_, T> {
    type Output = (T, T);

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> (T, T) {
        max_and_rest(isa, self.0)
    }
}

/// The sum of the rows' losses `log1p(rest) + (max - x[target])`, in order, in f64.
struct Losses<'a, T> {
    /// `[n, 2]`
    statistics: &'a [T],
    /// The logit of a row's target; `None` if the target is no class.
    target_logit: &'a dyn Fn(usize) -> Option<T>,
}

impl<T: Real> Kernel for Losses<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run<I: Isa>(self, _: I) -> f64 {
        let mut total = 0.0;
        for (i, rows) in self.statistics.chunks(2 * LANES).enumerate() {
            // The logarithms of a chunk vectorise; the sum in order does not.
            let mut logs = [T::ZERO; LANES];
            for (log, row) in logs.iter_mut().zip(rows.chunks_exact(2)) {
                *log = row[1].ln_1p();
            }
            for (k, (log, row)) in logs.iter().zip(rows.chunks_exact(2)).enumerate() {
                if let Some(x) = (self.target_logit)(i * LANES + k) {
                    total += log.to_f64() + (row[0].to_f64() - x.to_f64());
                }
            }
        }
        total
    }
}

/// The class of a target, if it is in range.
fn class(target: i32, classes: usize) -> Option<usize> {
    usize::try_from(target).ok().filter(|&t| t < classes)
}

/// `exp(x - max) scale`
struct ScaledExp<'a, T> {
    x: &'a [T],
    max: T,
    scale: T,
    out: &'a mut [T],
}

impl<T: Real> Kernel for ScaledExp<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let ScaledExp { x, max, scale, out } = self;
        for (out, &x) in out.iter_mut().zip(x) {
            *out = (x - max).exp_below::<I>() * scale;
        }
    }
}
