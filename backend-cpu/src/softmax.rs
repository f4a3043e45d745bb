//! Softmax, its logarithm and their gradients along any dimension.
//!
//! ```text
//! softmax           y = e^(x - max) / sum(e^(x - max))           gradient: y (g - sum(g y))
//! log_softmax       y = x - max - log(sum(e^(x - max)))          gradient: g - e^y sum(g)
//! ```
//! A tensor is viewed as `[outer, c, inner]` with c the dimension. If inner is 1, a row is read from memory once and then from
//! the cache. Otherwise each pass over c processes a strip of `inner` at once, so that it reads contiguous memory. Cost: one
//! read, one write and one exponential per element (softmax's gradient: none).

use crate::element::{Element, Real, with_real};
use crate::launch::{self, report};
use crate::simd::{Isa, Kernel, LANES, Wide};
use crate::view::elements;
use crate::{Cpu, Tensor, lanes, parallel};
use minitorch_core::backend::SoftmaxOps;

/// Columns of a strip: their maxima and sums stay in L1.
const STRIP: usize = 256;

/// Work of an element: an exponential and some arithmetic.
const WORK: usize = 12;

impl SoftmaxOps for Cpu {
    fn softmax(&self, x: &Tensor, dim: usize) -> Tensor {
        evaluate(Function::Softmax, x, None, dim)
    }

    fn log_softmax(&self, x: &Tensor, dim: usize) -> Tensor {
        evaluate(Function::LogSoftmax, x, None, dim)
    }

    fn softmax_grad(&self, y: &Tensor, g: &Tensor, dim: usize) -> Tensor {
        evaluate(Function::SoftmaxGrad, y, Some(g), dim)
    }

    fn log_softmax_grad(&self, y: &Tensor, g: &Tensor, dim: usize) -> Tensor {
        evaluate(Function::LogSoftmaxGrad, y, Some(g), dim)
    }
}

#[derive(Clone, Copy)]
enum Function {
    Softmax,
    /// `x - max - log1p(rest)`, see [`max_and_rest`].
    LogSoftmax,
    SoftmaxGrad,
    LogSoftmaxGrad,
}

/// `x` is the operation's input or, for a gradient, its output.
fn evaluate(function: Function, x: &Tensor, g: Option<&Tensor>, dim: usize) -> Tensor {
    let (device, dtype, shape) = (x.device(), x.dtype(), *x.shape());
    let (c, inner) = (shape[dim], shape[dim + 1..].iter().product::<usize>());
    let (x, g) = (x.contiguous(), g.map(Tensor::contiguous));
    let g = g.as_ref().unwrap_or(&x);
    with_real!(dtype, T => {
        let mut out = device.output::<T>(shape.numel(), &[x.view().storage, g.view().storage]);
        if let Some(out) = &mut out {
            let (x, g) = (elements::<T>(&x), elements::<T>(g));
            report(|| {
                let name = match function {
                    Function::Softmax => "softmax",
                    Function::LogSoftmax => "log_softmax",
                    Function::SoftmaxGrad => "softmax_grad",
                    Function::LogSoftmaxGrad => "log_softmax_grad",
                };
                let path = if inner == 1 { "rows" } else { "strips of columns" };
                launch::split::<T>(name, out.len(), c * inner, WORK).path(path)
            });
            parallel::split(out, c * inner, WORK, |first, out| {
                let range = first..first + out.len();
                T::compute(Planes { function, x: &x[range.clone()], g: &g[range], out, c, inner });
            });
        }
        Tensor::from_storage(device, T::wrap(out), T::DTYPE, shape)
    })
}

/// [`Function`] of `[c, inner]` planes.
struct Planes<'a, T> {
    function: Function,
    x: &'a [T],
    g: &'a [T],
    out: &'a mut [T],
    c: usize,
    inner: usize,
}

impl<T: Real> Kernel for Planes<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Planes { function, x, g, out, c, inner } = self;
        let plane = c * inner;
        for ((x, g), out) in x.chunks_exact(plane).zip(g.chunks_exact(plane)).zip(out.chunks_exact_mut(plane)) {
            if inner == 1 {
                row(isa, function, x, g, out);
            } else {
                for first in (0..inner).step_by(STRIP) {
                    strip::<I, T>(function, x, g, out, inner, first..inner.min(first + STRIP));
                }
            }
        }
    }
}

/// The sum of `f(a[i], b[i])`, accumulated in f64.
#[inline(always)]
fn sum<I: Isa, T: Real>(isa: I, a: &[T], b: &[T], f: impl Fn(T, T) -> T) -> T {
    let mut lanes = [0.0; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        let mut terms = [T::ZERO; LANES];
        for i in 0..LANES {
            terms[i] = f(a[i], b[i]);
        }
        T::add_wide(isa, &mut lanes, &terms);
    }
    for ((lane, &a), &b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane += f(a, b).to_f64();
    }
    T::of(lanes::sum(lanes))
}

/// Terms that are summed in the element type before the sum is converted to f64. They are positive, so the rounding error is
/// small, whereas converting every term would cost a third of an exponential.
const PARTIAL: usize = 4 * LANES;

/// Writes `exp(x - max)`, where `max` is the largest x, and returns the sum.
#[inline(always)]
fn exponentials<I: Isa, T: Real>(isa: I, x: &[T], max: T, out: &mut [T]) -> T {
    let mut lanes = [0.0; LANES];
    // Not `for_each`: a closure that is not inlined is compiled for the baseline.
    for (x, out) in x.chunks(PARTIAL).zip(out.chunks_mut(PARTIAL)) {
        let mut sums = [T::ZERO; LANES];
        let ((x, x_rest), (out, out_rest)) = (x.as_chunks::<LANES>(), out.as_chunks_mut::<LANES>());
        for (x, out) in x.iter().zip(out) {
            for i in 0..LANES {
                out[i] = (x[i] - max).exp_below::<I>();
                sums[i] += out[i];
            }
        }
        for ((sum, &x), out) in sums.iter_mut().zip(x_rest).zip(out_rest) {
            *out = (x - max).exp_below::<I>();
            *sum += *out;
        }
        T::add_wide(isa, &mut lanes, &sums);
    }
    T::of(lanes::sum(lanes))
}

/// The sums, one per lane, of `f(exp(x - max), x)` over up to [`PARTIAL`] elements.
#[inline(always)]
fn partial<I: Isa, T: Real>(x: &[T], max: T, f: impl Fn(T, T) -> T) -> [T; LANES] {
    let mut sums = [T::ZERO; LANES];
    let (x, x_rest) = x.as_chunks::<LANES>();
    for x in x {
        for i in 0..LANES {
            sums[i] += f((x[i] - max).exp_below::<I>(), x[i]);
        }
    }
    for (sum, &x) in sums.iter_mut().zip(x_rest) {
        *sum += f((x - max).exp_below::<I>(), x);
    }
    sums
}

/// The maximum, and `rest`: the sum of `exp(x - max)` over all elements except one maximum.
///
/// The excluded element contributes exactly 1, so the logarithm of the full sum is `log1p(rest)`, which is accurate where the
/// rest is small. An infinite maximum makes the rest NaN.
#[inline(always)]
pub(crate) fn max_and_rest<I: Isa, T: Real>(isa: I, x: &[T]) -> (T, T) {
    let max = largest(x);
    // Added to the 1 of the maximum, small terms would be lost. So chunks with a partial sum of at least 1 are accumulated
    // separately, in `high`. If the rest is small, the only such chunk is that of the maximum, `top`: it is summed again without
    // the maximum.
    let (mut low, mut high, mut top) = ([0.0; LANES], [0.0; LANES], &x[..0]);
    for x in x.chunks(PARTIAL) {
        let sums = partial::<I, T>(x, max, |e, _| e);
        if sums.iter().fold(false, |any, &sum| any | (sum >= T::of(1.0))) {
            T::add_wide(isa, &mut high, &sums);
            top = x;
        } else {
            T::add_wide(isa, &mut low, &sums);
        }
    }
    let low = lanes::sum(low);
    let mut sum = low + (lanes::sum(high) - 1.0);
    if sum < 0.5 {
        let below = partial::<I, T>(top, max, |e, x| if x == max { T::ZERO } else { e });
        sum = low + lanes::sum(below.map(T::to_f64));
    }
    (max, rest(T::of(sum), max))
}

/// An element's contribution to the sum of the exponentials below the maximum, and to the number of elements equal to it.
#[inline(always)]
fn below_and_tie<I: Isa, T: Real>(x: T, max: T) -> (T, T) {
    let e = (x - max).exp_below::<I>();
    if x == max { (T::ZERO, T::of(1.0)) } else { (e, T::ZERO) }
}

/// The sum, or NaN if the maximum is infinite.
#[inline(always)]
fn rest<T: Real>(sum: T, max: T) -> T {
    sum + max * T::ZERO
}

/// The larger, in one instruction; b if either is NaN. Even if the maximum misses a NaN, the exponentials propagate it to the
/// result.
#[inline(always)]
fn larger<T: Real>(a: T, b: T) -> T {
    if a > b { a } else { b }
}

/// The largest element; unspecified if one is NaN.
#[inline(always)]
fn largest<T: Real>(x: &[T]) -> T {
    let mut lanes = [T::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] = larger(lanes[i], chunk[i]);
        }
    }
    lanes.iter().chain(rest).fold(T::NEG_INFINITY, |a, &b| larger(a, b))
}

/// Applies [`Function`] to a row.
#[inline(always)]
fn row<I: Isa, T: Real>(isa: I, function: Function, x: &[T], g: &[T], out: &mut [T]) {
    let n = out.len();
    let (x, g) = (&x[..n], &g[..n]);
    match function {
        Function::Softmax => {
            let max = largest(x);
            let scale = T::of(1.0) / exponentials(isa, x, max, out);
            out.iter_mut().for_each(|out| *out = *out * scale);
        }
        Function::LogSoftmax => {
            let (max, rest) = max_and_rest(isa, x);
            let log_sum = rest.ln_1p();
            out.iter_mut().zip(x).for_each(|(out, &x)| *out = x - max - log_sum);
        }
        Function::SoftmaxGrad => {
            let dot = sum(isa, g, x, |g, x| g * x);
            out.iter_mut().enumerate().for_each(|(i, out)| *out = x[i] * (g[i] - dot));
        }
        Function::LogSoftmaxGrad => {
            let total = sum(isa, g, g, |g, _| g);
            for i in 0..n {
                out[i] = g[i] - x[i].exp_below::<I>() * total;
            }
        }
    }
}

/// Applies [`Function`] to the given columns of a `[c, inner]` plane.
#[inline(always)]
fn strip<I: Isa, T: Real>(
    function: Function,
    x: &[T],
    g: &[T],
    out: &mut [T],
    inner: usize,
    columns: std::ops::Range<usize>,
) {
    let n = columns.len();
    let (mut top, mut total) = ([T::NEG_INFINITY; STRIP], [T::ZERO; STRIP]);
    let (top, total) = (&mut top[..n], &mut total[..n]);
    let rows = || (columns.start..x.len()).step_by(inner);
    for at in rows() {
        let (x, g) = (&x[at..][..n], &g[at..][..n]);
        for i in 0..n {
            match function {
                Function::Softmax | Function::LogSoftmax => top[i] = larger(top[i], x[i]),
                Function::SoftmaxGrad => total[i] += g[i] * x[i],
                Function::LogSoftmaxGrad => total[i] += g[i],
            }
        }
    }
    if let Function::Softmax = function {
        for at in rows() {
            let (x, out) = (&x[at..][..n], &mut out[at..][..n]);
            for i in 0..n {
                out[i] = (x[i] - top[i]).exp_below::<I>();
                total[i] += out[i];
            }
        }
        total.iter_mut().for_each(|total| *total = T::of(1.0) / *total);
    }
    if let Function::LogSoftmax = function {
        let mut ties = [T::of(-1.0); STRIP];
        for at in rows() {
            let x = &x[at..][..n];
            for i in 0..n {
                let (below, tie) = below_and_tie::<I, T>(x[i], top[i]);
                total[i] += below;
                ties[i] += tie;
            }
        }
        for i in 0..n {
            total[i] = rest(total[i] + ties[i], top[i]).ln_1p();
        }
    }
    for at in rows() {
        let (x, g, out) = (&x[at..][..n], &g[at..][..n], &mut out[at..][..n]);
        for i in 0..n {
            out[i] = match function {
                Function::Softmax => out[i] * total[i],
                Function::LogSoftmax => x[i] - top[i] - total[i],
                Function::SoftmaxGrad => x[i] * (g[i] - total[i]),
                Function::LogSoftmaxGrad => g[i] - x[i].exp_below::<I>() * total[i],
            };
        }
    }
}
