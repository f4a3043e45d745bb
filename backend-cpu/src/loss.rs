//! Cross-entropy of logits and class indices, and its gradient. Cost: one read of the logits each way, one exponential per
//! element; no softmax is stored.

use crate::conv::elements;
use crate::element::{Element, Real, with_real};
use crate::launch::{self, report};
use crate::simd::{Isa, Kernel, LANES, Wide};
use crate::softmax::max_and_rest;
use crate::{Tensor, parallel};

/// Work of one logit: an exponential and some arithmetic.
const WORK: usize = 12;

/// [`max_and_rest`] of a row.
struct Statistics<'a, T>(&'a [T]);

impl<T: Real> Kernel for Statistics<'_, T> {
    type Output = (T, T);

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> (T, T) {
        max_and_rest(isa, self.0)
    }
}

/// The sum of the rows' losses `log1p(rest) + (max - x[target])`, in order and in f64.
struct Losses<'a, T> {
    /// `[n, 2]`
    statistics: &'a [T],
    /// For each row the logit of its class, or `None` for no class.
    of_class: &'a dyn Fn(usize) -> Option<T>,
}

impl<T: Real> Kernel for Losses<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn run<I: Isa>(self, _: I) -> f64 {
        let mut total = 0.0;
        for (i, rows) in self.statistics.chunks(2 * LANES).enumerate() {
            // All logarithms of a chunk first: they vectorise.
            let mut logs = [T::ZERO; LANES];
            for (log, row) in logs.iter_mut().zip(rows.chunks_exact(2)) {
                *log = row[1].ln_1p();
            }
            for (k, (log, row)) in logs.iter().zip(rows.chunks_exact(2)).enumerate() {
                if let Some(x) = (self.of_class)(i * LANES + k) {
                    total += log.to_f64() + (row[0].to_f64() - x.to_f64());
                }
            }
        }
        total
    }
}

/// The class of a row, if there is such a class.
fn class(target: i32, classes: usize) -> Option<usize> {
    usize::try_from(target).ok().filter(|&t| t < classes)
}

/// The mean loss, and each row's maximum and rest, `[n, 2]`.
pub(crate) fn cross_entropy(logits: &Tensor, target: &Tensor) -> (Tensor, Tensor) {
    let device = logits.device();
    let [n, c] = logits.dims();
    let (logits, target) = (logits.contiguous(), target.contiguous());
    let targets = elements::<i32>(&target);
    with_real!(logits.dtype(), T => {
        let x = elements::<T>(&logits);
        let mut statistics = device.alloc::<T>("cross_entropy", 2 * n);
        let work = (WORK * c / 2).max(1);
        report(|| launch::pieces::<T>("cross_entropy", 2 * n, 2, work).path("rows"));
        parallel::pieces(&mut statistics, 2, work, |first, out| {
            for (row, out) in (first / 2..).zip(out.chunks_exact_mut(2)) {
                let (max, rest) = T::compute(Statistics(&x[row * c..][..c]));
                out.copy_from_slice(&[max, rest]);
            }
        });
        let of_class = |row: usize| {
            let class = class(targets[row], c);
            if class.is_none() {
                device.bad_index("cross_entropy", targets[row], c);
            }
            class.map(|class| x[row * c + class])
        };
        let total = T::compute(Losses { statistics: &statistics[..], of_class: &of_class });
        let mut mean = device.alloc::<T>("cross_entropy", 1);
        mean[0] = T::from_f64(total / n as f64);
        (
            Tensor::from_storage(device, T::wrap(mean), T::DTYPE, []),
            Tensor::from_storage(device, T::wrap(statistics), T::DTYPE, [n, 2]),
        )
    })
}

/// `(softmax(x) - onehot(target)) g / n`
pub(crate) fn cross_entropy_grad(g: &Tensor, logits: &Tensor, target: &Tensor, statistics: &Tensor) -> Tensor {
    let device = logits.device();
    let [n, c] = logits.dims();
    let [g, logits, target, statistics] = [g, logits, target, statistics].map(Tensor::contiguous);
    let targets = elements::<i32>(&target);
    with_real!(logits.dtype(), T => {
        let (x, statistics) = (elements::<T>(&logits), elements::<T>(&statistics));
        let scale = elements::<T>(&g)[0] / T::from_f64(n as f64);
        let mut out = device.alloc::<T>("cross_entropy_grad", n * c);
        report(|| launch::pieces::<T>("cross_entropy_grad", n * c, c, WORK).path("rows"));
        parallel::pieces(&mut out, c, WORK, |first, out| {
            for (row, out) in (first / c.max(1)..).zip(out.chunks_exact_mut(c.max(1))) {
                let Some(class) = class(targets[row], c) else {
                    out.fill(0.0); // reported by the forward pass
                    continue;
                };
                let (x, max, rest) = (&x[row * c..][..c], statistics[2 * row], statistics[2 * row + 1]);
                let share = T::of(1.0) / (T::of(1.0) + rest);
                T::compute(Row { x, max, scale: share * scale, out });
                // softmax - 1, which would cancel where the class is the likely one; before the scale, which would round it.
                let less_one =
                    if x[class] == max { -rest * share } else { (x[class] - max).exp() * share - T::of(1.0) };
                out[class] = less_one * scale;
            }
        });
        Tensor::from_storage(device, T::wrap(out), T::DTYPE, [n, c])
    })
}

/// `exp(x - max) scale`
struct Row<'a, T> {
    x: &'a [T],
    max: T,
    scale: T,
    out: &'a mut [T],
}

impl<T: Real> Kernel for Row<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let Row { x, max, scale, out } = self;
        for (out, &x) in out.iter_mut().zip(x) {
            *out = (x - max).exp_below::<I>() * scale;
        }
    }
}
