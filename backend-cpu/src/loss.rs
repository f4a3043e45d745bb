//! Cross-entropy of logits and class indices, and its gradient. Cost: one read of the logits each way, one exponential per
//! element; no softmax is stored.

use crate::conv::elements;
use crate::element::{Element, Real, with_real};
use crate::simd::{Isa, Kernel, Wide};
use crate::softmax::log_sum_exp;
use crate::{Tensor, parallel};

/// Work of one logit: an exponential and some arithmetic.
const WORK: usize = 12;

/// `log(sum(exp(x)))`
struct LogSumExp<'a, T>(&'a [T]);

impl<T: Real> Kernel for LogSumExp<'_, T> {
    type Output = T;

    #[inline(always)]
    fn run<I: Isa>(self, _: I) -> T {
        log_sum_exp::<I, T>(self.0)
    }
}

/// The class of a row, if there is such a class.
fn class(target: i32, classes: usize) -> Option<usize> {
    usize::try_from(target).ok().filter(|&t| t < classes)
}

/// The mean loss and each row's `logsumexp`.
pub(crate) fn cross_entropy(logits: &Tensor, target: &Tensor) -> (Tensor, Tensor) {
    let device = logits.device();
    let [n, c] = logits.dims();
    let (logits, target) = (logits.contiguous(), target.contiguous());
    let targets = elements::<i32>(&target);
    with_real!(logits.dtype(), T => {
        let x = elements::<T>(&logits);
        let mut logsumexp = device.alloc::<T>("cross_entropy", n);
        parallel::pieces(&mut logsumexp, 1, WORK * c.max(1), |first, out| {
            for (row, out) in (first..).zip(out) {
                *out = T::compute(LogSumExp(&x[row * c..][..c]));
            }
        });
        // In order and in f64: the rows are few beside the logits.
        let mut total = 0.0;
        for ((row, &target), &logsumexp) in targets.iter().enumerate().zip(&logsumexp[..]) {
            match class(target, c) {
                Some(class) => total += logsumexp.to_f64() - x[row * c + class].to_f64(),
                None => device.bad_index("cross_entropy", target, c),
            }
        }
        let mut mean = device.alloc::<T>("cross_entropy", 1);
        mean[0] = T::from_f64(total / n as f64);
        (
            Tensor::from_storage(device, T::wrap(mean), T::DTYPE, []),
            Tensor::from_storage(device, T::wrap(logsumexp), T::DTYPE, [n]),
        )
    })
}

/// `(softmax(x) - onehot(target)) g / n`
pub(crate) fn cross_entropy_grad(g: &Tensor, logits: &Tensor, target: &Tensor, logsumexp: &Tensor) -> Tensor {
    let device = logits.device();
    let [n, c] = logits.dims();
    let [g, logits, target, logsumexp] = [g, logits, target, logsumexp].map(Tensor::contiguous);
    let targets = elements::<i32>(&target);
    with_real!(logits.dtype(), T => {
        let (x, logsumexp) = (elements::<T>(&logits), elements::<T>(&logsumexp));
        let scale = elements::<T>(&g)[0] / T::from_f64(n as f64);
        let mut out = device.alloc::<T>("cross_entropy_grad", n * c);
        parallel::pieces(&mut out, c, WORK, |first, out| {
            for (row, out) in (first / c.max(1)..).zip(out.chunks_exact_mut(c.max(1))) {
                let Some(class) = class(targets[row], c) else {
                    out.fill(0.0); // reported by the forward pass
                    continue;
                };
                T::compute(Row { x: &x[row * c..][..c], shift: logsumexp[row], scale, out });
                // Before the scale, as the formula says: 1 - softmax must not lose digits to a product.
                out[class] = ((x[row * c + class] - logsumexp[row]).exp() - T::of(1.0)) * scale;
            }
        });
        Tensor::from_storage(device, T::wrap(out), T::DTYPE, [n, c])
    })
}

struct Row<'a, T> {
    x: &'a [T],
    shift: T,
    scale: T,
    out: &'a mut [T],
}

impl<T: Real> Kernel for Row<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let Row { x, shift, scale, out } = self;
        // The shift is no less than any x, so their differences lie below 0.
        for (out, &x) in out.iter_mut().zip(x) {
            *out = (x - shift).exp_below::<I>() * scale;
        }
    }
}
