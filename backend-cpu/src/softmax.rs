//! Softmax, its logarithm and their gradients along any dimension.
//!
//! A tensor is `[outer, c, inner]` with c the dimension. Rows (inner = 1) are read twice from the cache: maximum, then
//! exponentials and their sum, then the quotient in place. Otherwise a strip of `inner` is treated at once, so that every
//! pass over c reads contiguous memory. Cost: one read and one write of memory, one exponential per element.

use crate::conv::elements;
use crate::element::{Element, Real, with_real};
use crate::launch::{self, report};
use crate::simd::{Isa, Kernel, LANES, Wide};
use crate::{Tensor, parallel};

/// Columns of one strip: their maxima and sums stay in L1.
const STRIP: usize = 256;

/// Work of one element: an exponential and some arithmetic.
const WORK: usize = 12;

/// The four maps, on one row or a strip of columns.
#[derive(Clone, Copy)]
enum Map {
    /// `exp(x - max) / sum`
    Softmax,
    /// `x - max - log1p(rest)`, see [`max_and_rest`]
    LogSoftmax,
    /// `y (g - sum(g y))`
    SoftmaxGrad,
    /// `g - exp(y) sum(g)`
    LogSoftmaxGrad,
}

pub(crate) fn softmax(x: &Tensor, dim: usize) -> Tensor {
    run(Map::Softmax, x, None, dim)
}

pub(crate) fn log_softmax(x: &Tensor, dim: usize) -> Tensor {
    run(Map::LogSoftmax, x, None, dim)
}

pub(crate) fn softmax_grad(y: &Tensor, g: &Tensor, dim: usize) -> Tensor {
    run(Map::SoftmaxGrad, y, Some(g), dim)
}

pub(crate) fn log_softmax_grad(y: &Tensor, g: &Tensor, dim: usize) -> Tensor {
    run(Map::LogSoftmaxGrad, y, Some(g), dim)
}

/// `x` is the input or, for a gradient, the output.
fn run(map: Map, x: &Tensor, g: Option<&Tensor>, dim: usize) -> Tensor {
    let (device, shape) = (x.device(), *x.shape());
    let (c, inner) = (shape[dim], shape[dim + 1..].iter().product::<usize>());
    let (x, g) = (x.contiguous(), g.map(Tensor::contiguous));
    with_real!(x.dtype(), T => {
        let mut out = device.alloc::<T>("softmax", shape.numel());
        let x_data = elements::<T>(&x);
        let g_data = g.as_ref().map_or(x_data, elements::<T>);
        report(|| {
            let name = match map {
                Map::Softmax => "softmax",
                Map::LogSoftmax => "log_softmax",
                Map::SoftmaxGrad => "softmax_grad",
                Map::LogSoftmaxGrad => "log_softmax_grad",
            };
            let path = if inner == 1 { "rows" } else { "strips of columns" };
            launch::pieces::<T>(name, out.len(), c * inner, WORK).path(path)
        });
        parallel::pieces(&mut out, c * inner, WORK, |first, out| {
            let range = first..first + out.len();
            T::compute(Planes { map, x: &x_data[range.clone()], g: &g_data[range], out, c, inner });
        });
        Tensor::from_storage(device, T::wrap(out), T::DTYPE, shape)
    })
}

struct Planes<'a, T> {
    map: Map,
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
        let Planes { map, x, g, out, c, inner } = self;
        let plane = c * inner;
        for ((x, g), out) in x.chunks_exact(plane).zip(g.chunks_exact(plane)).zip(out.chunks_exact_mut(plane)) {
            if inner == 1 {
                row(isa, map, x, g, out);
            } else {
                for first in (0..inner).step_by(STRIP) {
                    strip::<I, T>(map, x, g, out, inner, first..inner.min(first + STRIP));
                }
            }
        }
    }
}

/// The sum of `f(a[i], b[i])`, in lanes of f64 that do not wait for one another.
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
    T::of(total(lanes))
}

/// Terms that are added as they are before their sum goes to f64: all are positive, so little is lost, and the conversion
/// costs as much as a third of an exponential.
const PARTIAL: usize = 4 * LANES;

/// Writes `exp(x - max)`, where `max` is the largest x, and returns the sum.
#[inline(always)]
fn exponentials<I: Isa, T: Real>(isa: I, x: &[T], max: T, out: &mut [T]) -> T {
    let mut lanes = [0.0; LANES];
    // Not for_each: a closure that is not inlined would lose the vector unit.
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
    T::of(total(lanes))
}

/// The sums over lanes of `f(exp(x - max), x)` of up to `PARTIAL` elements.
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

/// The maximum, and the sum of `exp(x - max)` over all elements but one that is the maximum.
///
/// The element left out contributes exactly 1, so the whole sum is `1 + rest` and its logarithm `log1p(rest)`, which keeps its
/// digits where the rest is small. An infinite maximum makes the rest NaN.
#[inline(always)]
pub(crate) fn max_and_rest<I: Isa, T: Real>(isa: I, x: &[T]) -> (T, T) {
    let max = largest(x);
    // The 1 of the maximum rounds what is small beside it. So partial sums that reach 1 are added apart. If the rest is small,
    // one chunk has such sums, that of the one maximum, and it is summed again without it.
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
    let low = total(low);
    let mut sum = low + (total(high) - 1.0);
    if sum < 0.5 {
        let below = partial::<I, T>(top, max, |e, x| if x == max { T::ZERO } else { e });
        sum = low + total(below.map(T::to_f64));
    }
    (max, rest(T::of(sum), max))
}

/// What an element adds to the sum of exponentials below the maximum, and to the number of elements that are the maximum.
#[inline(always)]
fn below_and_tie<I: Isa, T: Real>(x: T, max: T) -> (T, T) {
    let e = (x - max).exp_below::<I>();
    if x == max { (T::ZERO, T::of(1.0)) } else { (e, T::ZERO) }
}

/// The rest that was summed, or NaN if the maximum is infinite.
#[inline(always)]
fn rest<T: Real>(sum: T, max: T) -> T {
    sum + max * T::ZERO
}

/// The sum of the lanes, halves with halves.
#[inline(always)]
pub(crate) fn total(mut lanes: [f64; LANES]) -> f64 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// The larger, in one instruction. If one is NaN it is `b`: the sums of exponentials find every NaN, a maximum need not.
#[inline(always)]
fn larger<T: Real>(a: T, b: T) -> T {
    if a > b { a } else { b }
}

/// The largest element; if some are NaN, any element.
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

#[inline(always)]
fn row<I: Isa, T: Real>(isa: I, map: Map, x: &[T], g: &[T], out: &mut [T]) {
    let n = out.len();
    let (x, g) = (&x[..n], &g[..n]);
    match map {
        Map::Softmax => {
            let max = largest(x);
            let scale = T::of(1.0) / exponentials(isa, x, max, out);
            out.iter_mut().for_each(|out| *out = *out * scale);
        }
        Map::LogSoftmax => {
            let (max, rest) = max_and_rest(isa, x);
            let log_sum = rest.ln_1p();
            out.iter_mut().zip(x).for_each(|(out, &x)| *out = x - max - log_sum);
        }
        Map::SoftmaxGrad => {
            let dot = sum(isa, g, x, |g, x| g * x);
            out.iter_mut().enumerate().for_each(|(i, out)| *out = x[i] * (g[i] - dot));
        }
        Map::LogSoftmaxGrad => {
            let total = sum(isa, g, g, |g, _| g);
            for i in 0..n {
                out[i] = g[i] - x[i].exp_below::<I>() * total;
            }
        }
    }
}

/// [`row`] for some columns of a `[c, inner]` plane.
#[inline(always)]
fn strip<I: Isa, T: Real>(map: Map, x: &[T], g: &[T], out: &mut [T], inner: usize, columns: std::ops::Range<usize>) {
    let n = columns.len();
    let (mut top, mut total) = ([T::NEG_INFINITY; STRIP], [T::ZERO; STRIP]);
    let (top, total) = (&mut top[..n], &mut total[..n]);
    let rows = || (columns.start..x.len()).step_by(inner);
    for at in rows() {
        let (x, g) = (&x[at..][..n], &g[at..][..n]);
        for i in 0..n {
            match map {
                Map::Softmax | Map::LogSoftmax => top[i] = larger(top[i], x[i]),
                Map::SoftmaxGrad => total[i] += g[i] * x[i],
                Map::LogSoftmaxGrad => total[i] += g[i],
            }
        }
    }
    if let Map::Softmax = map {
        for at in rows() {
            let (x, out) = (&x[at..][..n], &mut out[at..][..n]);
            for i in 0..n {
                out[i] = (x[i] - top[i]).exp_below::<I>();
                total[i] += out[i];
            }
        }
        total.iter_mut().for_each(|total| *total = T::of(1.0) / *total);
    }
    if let Map::LogSoftmax = map {
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
            out[i] = match map {
                Map::Softmax => out[i] * total[i],
                Map::LogSoftmax => x[i] - top[i] - total[i],
                Map::SoftmaxGrad => x[i] * (g[i] - total[i]),
                Map::LogSoftmaxGrad => g[i] - x[i].exp_below::<I>() * total[i],
            };
        }
    }
}
