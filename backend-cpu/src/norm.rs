//! Normalisation and its gradient: two passes over memory forward (sums, then the map), two backward.
//!
//! Two arrangements cover what core asks for:
//!
//! ```text
//! planes   batch and group norm: runs of `size` contiguous elements, one channel each; every number of a run (mean,
//!          factor, term) is one scalar
//! rows     layer norm: rows of d elements with one mean each; weight and bias run along the row
//! ```
//! Sums are kept in f64 around the first element of each mean's set, so that neither a large mean nor many elements cost
//! digits of the variance. Every sum is made by one thread in one order. Any other arrangement, and planes of a single
//! element, take the composed form.

use crate::conv::elements;
use crate::element::{Element, Real, with_real};
use crate::memory::Buffer;
use crate::simd::{Isa, Kernel, LANES, Wide};
use crate::softmax::total;
use crate::{Cpu, Tensor, parallel};
use minitorch_core::ops::composed;
use minitorch_core::ops::norm::NormOptions;

/// Rows whose contribution to the gradients of weight and bias is summed by one thread, in elements.
const BLOCK: usize = 16 * 1024;

#[derive(Clone, Copy)]
enum Plan {
    Planes(Planes),
    Rows { rows: usize, d: usize },
}

/// Runs of `size` elements. Run r belongs to channel `r % channels`.
#[derive(Clone, Copy)]
struct Planes {
    runs: usize,
    size: usize,
    channels: usize,
    /// Means.
    groups: usize,
    /// How many neighbouring runs a group is; `None` if it is a channel of all images.
    together: Option<usize>,
}

impl Planes {
    fn group(&self, run: usize) -> usize {
        match self.together {
            Some(k) => run / k,
            None => run % self.channels,
        }
    }

    /// The runs of one group.
    fn members(&self, group: usize) -> impl Iterator<Item = usize> + use<> {
        match self.together {
            Some(k) => (group * k..(group + 1) * k).step_by(1),
            None => (group..self.runs).step_by(self.channels),
        }
    }

    fn count(&self) -> f64 {
        (self.runs / self.groups * self.size) as f64
    }

    fn range(&self, run: usize) -> std::ops::Range<usize> {
        run * self.size..(run + 1) * self.size
    }
}

/// `None` for what takes the composed form.
fn plan(x: &Tensor, w: Option<&Tensor>, o: &NormOptions) -> Option<Plan> {
    let w = w.map(|w| &**w.shape());
    let plan = match (&**x.shape(), &*o.dims) {
        (&[n, c, size], [0, 2]) if w.is_none_or(|w| *w == [1, c, 1]) => {
            Plan::Planes(Planes { runs: n * c, size, channels: c, groups: c, together: None })
        }
        (&[n, g, k, size], [2, 3]) if w.is_none_or(|w| *w == [1, g, k, 1]) => {
            Plan::Planes(Planes { runs: n * g * k, size, channels: g * k, groups: n * g, together: Some(k) })
        }
        (&[rows, d], [1]) if w.is_none_or(|w| *w == [1, d]) => Plan::Rows { rows, d },
        _ => return None,
    };
    let single = matches!(plan, Plan::Planes(Planes { size: 1, .. }));
    (x.numel() > 0 && !single).then_some(plan)
}

pub(crate) fn normalize(x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>, o: &NormOptions) -> [Tensor; 3] {
    // The bias has the weight's shape, or the composed form broadcasts it.
    let plan = plan(x, w, o).filter(|_| b.is_none_or(|b| w.is_some_and(|w| w.shape() == b.shape())));
    let Some(plan) = plan else { return composed::normalize(x, w, b, o) };
    let (device, x) = (x.device(), x.contiguous());
    let kept = o.dims.iter().fold(*x.shape(), |shape, &d| shape.with(d, 1));
    with_real!(x.dtype(), T => {
        let data = elements::<T>(&x);
        let (w, b) = (Affine::<T>::new(device, w, 1.0, &plan), Affine::<T>::new(device, b, 0.0, &plan));
        let (w, b) = (w.get(), b.get());
        let mut out = device.alloc::<T>("normalize", data.len());
        let mut mean = device.alloc::<T>("normalize", kept.numel());
        let mut var = device.alloc::<T>("normalize", kept.numel());
        match plan {
            Plan::Planes(p) => {
                parallel::pieces2((&mut mean, &mut var), 2 * data.len() / p.groups, |first, mean, var| {
                    for (group, (mean, var)) in (first..).zip(mean.iter_mut().zip(var)) {
                        let sets = || p.members(group).map(|run| &data[p.range(run)]);
                        [*mean, *var] = moments(p.count(), sets);
                    }
                });
                parallel::pieces(&mut out, p.size, 2, |first, out| {
                    for (run, out) in (first / p.size..).zip(out.chunks_exact_mut(p.size)) {
                        let (group, channel) = (p.group(run), run % p.channels);
                        let (mean, factor) = (mean[group], root(var[group], o.eps) * w[channel]);
                        let (x, b) = (&data[p.range(run)], b[channel]);
                        T::compute(Map { out, a: x, b: x, c: x, f: move |x, _, _| (x - mean) * factor + b });
                    }
                });
            }
            Plan::Rows { d, .. } => {
                // A row is still in the nearest cache when it is read again. The moments of the next one are asked for before
                // this one is written: adding up lanes, a division and a root take as long as half a row.
                parallel::rows2(&mut out, d, (&mut mean, &mut var), 4, |first, out, mean, var| {
                    let x = |row: usize| &data[(first + row) * d..][..d];
                    let moments = |row: usize| moments(d as f64, || std::iter::once(x(row)));
                    let mut next = moments(0);
                    let last = mean.len() - 1;
                    for (row, out) in out.chunks_exact_mut(d).enumerate() {
                        let ([center, variance], x) = (next, x(row));
                        next = if row < last { moments(row + 1) } else { next };
                        (mean[row], var[row]) = (center, variance);
                        let root = root(variance, o.eps);
                        T::compute(Map { out, a: x, b: w, c: b, f: move |x, w, b| (x - center) * root * w + b });
                    }
                });
            }
        }
        let statistics = [mean, var].map(|s| Tensor::from_storage(device, T::wrap(s), T::DTYPE, kept));
        let [mean, var] = statistics;
        [Tensor::from_storage(device, T::wrap(out), T::DTYPE, *x.shape()), mean, var]
    })
}

pub(crate) fn normalize_grad(
    g: &Tensor,
    x: &Tensor,
    weight: Option<&Tensor>,
    statistics: [&Tensor; 2],
    o: &NormOptions,
) -> (Tensor, Option<[Tensor; 2]>) {
    let Some(plan) = plan(x, weight, o) else { return composed::normalize_grad(g, x, weight, statistics, o) };
    let (device, shape) = (x.device(), *x.shape());
    let (g, x, [mean, var]) = (g.contiguous(), x.contiguous(), statistics.map(Tensor::contiguous));
    with_real!(x.dtype(), T => {
        let [g, x, mean, var] = [&g, &x, &mean, &var].map(elements::<T>);
        let w = Affine::<T>::new(device, weight, 1.0, &plan);
        let w = w.get();
        let mut out = device.alloc::<T>("normalize_grad", x.len());
        let mut affine = [0, 1].map(|_| device.alloc::<T>("normalize_grad", w.len()));
        match plan {
            Plan::Planes(p) => planes_grad(device, &p, [g, x, mean, var, w], o.eps, &mut out, &mut affine),
            Plan::Rows { rows, d } => {
                parallel::pieces(&mut out, d, 6, |first, out| {
                    for (row, out) in (first / d..).zip(out.chunks_exact_mut(d)) {
                        let (mean, root) = (mean[row], root(var[row], o.eps));
                        let (g, x) = (&g[row * d..(row + 1) * d], &x[row * d..(row + 1) * d]);
                        let f = move |g: T, x: T, w: T| [g * w, g * w * ((x - mean) * root)];
                        let [shift, slope] = T::compute(Sum { a: g, b: x, c: w, f }).map(|s| T::of(s / d as f64));
                        let f = move |g: T, x: T, w: T| (g * w - shift - (x - mean) * root * slope) * root;
                        T::compute(Map { out, a: g, b: x, c: w, f });
                    }
                });
                if weight.is_some() {
                    columns(device, [rows, d], [g, x, mean, var], o.eps, &mut affine);
                }
            }
        }
        let affine = weight.map(|w| affine.map(|a| Tensor::from_storage(device, T::wrap(a), T::DTYPE, *w.shape())));
        (Tensor::from_storage(device, T::wrap(out), T::DTYPE, shape), affine)
    })
}

fn planes_grad<T: Real>(
    device: &Cpu,
    p: &Planes,
    [g, x, mean, var, w]: [&[T]; 5],
    eps: f64,
    out: &mut [T],
    affine: &mut [Buffer<T>; 2],
) {
    // Of each run: the sum of g and of g h, h being the normalised x.
    let mut sums = [0, 1].map(|_| device.alloc::<f64>("normalize_grad", p.runs));
    let [sum_g, sum_gh] = &mut sums;
    parallel::pieces2((sum_g, sum_gh), 2 * p.size, |first, sum_g, sum_gh| {
        for (run, (sum_g, sum_gh)) in (first..).zip(sum_g.iter_mut().zip(sum_gh)) {
            let (g, x, mean) = (&g[p.range(run)], &x[p.range(run)], mean[p.group(run)]);
            let f = move |g: T, x: T, _| [g, g * (x - mean)];
            let [a, b] = T::compute(Sum { a: g, b: x, c: x, f });
            (*sum_g, *sum_gh) = (a, b * root(var[p.group(run)], eps).to_f64());
        }
    });
    let [sum_g, sum_gh] = &sums;
    let [gw, gb] = affine;
    for channel in 0..p.channels {
        let of = |sums: &[f64]| T::of((channel..p.runs).step_by(p.channels).map(|run| sums[run]).sum());
        (gw[channel], gb[channel]) = (of(sum_gh), of(sum_g));
    }
    // Of each group: the means of g w and of g w h.
    let mut means = [0, 1].map(|_| device.alloc::<f64>("normalize_grad", p.groups));
    for group in 0..p.groups {
        let of = |sums: &[f64]| p.members(group).map(|run| w[run % p.channels].to_f64() * sums[run]).sum::<f64>();
        (means[0][group], means[1][group]) = (of(sum_g) / p.count(), of(sum_gh) / p.count());
    }
    parallel::pieces(out, p.size, 3, |first, out| {
        for (run, out) in (first / p.size..).zip(out.chunks_exact_mut(p.size)) {
            let (group, root) = (p.group(run), root(var[p.group(run)], eps));
            let (g, x, mean) = (&g[p.range(run)], &x[p.range(run)], mean[group]);
            // (g w - shift - (x - mean) root slope) root, with the constants multiplied out
            let (shift, slope) = (T::of(means[0][group]) * root, T::of(means[1][group]) * root * root);
            let factor = w[run % p.channels] * root;
            T::compute(Map { out, a: g, b: x, c: x, f: move |g, x, _| g * factor - (x - mean) * slope - shift });
        }
    });
}

/// The sums over rows of g h and of g, in blocks of rows that are joined in order.
fn columns<T: Real>(
    device: &Cpu,
    [rows, d]: [usize; 2],
    [g, x, mean, var]: [&[T]; 4],
    eps: f64,
    affine: &mut [Buffer<T>; 2],
) {
    let per_block = (BLOCK / d).max(1);
    let mut sums = device.alloc::<f64>("normalize_grad", rows.div_ceil(per_block) * 2 * d);
    parallel::pieces(&mut sums, 2 * d, per_block, |first, sums| {
        for (block, sums) in (first / (2 * d)..).zip(sums.chunks_exact_mut(2 * d)) {
            sums.fill(0.0);
            let (gh, sum_g) = sums.split_at_mut(d);
            for row in block * per_block..rows.min((block + 1) * per_block) {
                let (mean, root) = (mean[row], root(var[row], eps));
                let (g, x) = (&g[row * d..(row + 1) * d], &x[row * d..(row + 1) * d]);
                T::compute(AddColumns { gh, sum_g, g, x, mean, root });
            }
        }
    });
    let (first, rest) = sums.split_at_mut(2 * d);
    for block in rest.chunks_exact(2 * d) {
        first.iter_mut().zip(block).for_each(|(a, b)| *a += b);
    }
    for (affine, sums) in affine.iter_mut().zip(first.chunks_exact(d)) {
        affine.iter_mut().zip(sums).for_each(|(a, &sum)| *a = T::of(sum));
    }
}

/// `1 / sqrt(var + eps)`
fn root<T: Real>(var: T, eps: f64) -> T {
    T::of(1.0) / (var + T::of(eps)).sqrt()
}

/// Mean and biased variance of the elements of several slices, the first of which is not empty.
fn moments<'a, T: Real, S: Iterator<Item = &'a [T]>>(count: f64, sets: impl Fn() -> S) -> [T; 2] {
    // Around any of the elements the squares do not cancel.
    let Some(origin) = sets().next().map(|set| set[0]) else { return [T::of(f64::NAN); 2] };
    let f = move |x: T, _, _| {
        let d = x - origin;
        [d, d * d]
    };
    let [sum, squares] = sets().fold([0.0; 2], |[s, q], x| {
        let [sum, squares] = T::compute(Sum { a: x, b: x, c: x, f });
        [s + sum, q + squares]
    });
    let shift = sum / count;
    [T::of(origin.to_f64() + shift), T::of((squares / count - shift * shift).max(0.0) + 0.0 * shift)]
}

/// Weight or bias: given, or the same number everywhere.
enum Affine<T: crate::memory::AnyBits> {
    Given(Tensor),
    Constant(Buffer<T>),
}

impl<T: Real> Affine<T> {
    fn new(device: &Cpu, given: Option<&Tensor>, value: f64, plan: &Plan) -> Self {
        let len = match plan {
            Plan::Planes(p) => p.channels,
            Plan::Rows { d, .. } => *d,
        };
        match given {
            Some(w) => Affine::Given(w.contiguous()),
            None => {
                let mut constant = device.alloc::<T>("normalize", len);
                constant.fill(T::of(value));
                Affine::Constant(constant)
            }
        }
    }

    fn get(&self) -> &[T] {
        match self {
            Affine::Given(w) => elements::<T>(w),
            Affine::Constant(w) => w,
        }
    }
}

/// `out[i] = f(a[i], b[i], c[i])`; an operand that `f` ignores costs nothing.
struct Map<'a, T, F> {
    out: &'a mut [T],
    a: &'a [T],
    b: &'a [T],
    c: &'a [T],
    f: F,
}

impl<T: Real, F: Fn(T, T, T) -> T> Kernel for Map<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let Map { out, a, b, c, f } = self;
        for (((out, &a), &b), &c) in out.iter_mut().zip(a).zip(b).zip(c) {
            *out = f(a, b, c);
        }
    }
}

/// Two sums over three operands at once, of terms of the elements' type in f64. Terms are added in pairs first, a rounding like those
/// within the terms, for half the price of widening them.
struct Sum<'a, T, F> {
    a: &'a [T],
    b: &'a [T],
    c: &'a [T],
    f: F,
}

impl<T: Real, F: Fn(T, T, T) -> [T; 2]> Kernel for Sum<'_, T, F> {
    type Output = [f64; 2];

    #[inline(always)]
    fn run<I: Isa>(self, _: I) -> [f64; 2] {
        let Sum { a, b, c, f } = self;
        const PAIR: usize = 2 * LANES;
        let ((a, a_rest), (b, b_rest), (c, c_rest)) =
            (a.as_chunks::<PAIR>(), b.as_chunks::<PAIR>(), c.as_chunks::<PAIR>());
        let mut lanes = [[0.0; LANES]; 2];
        for ((a, b), c) in a.iter().zip(b).zip(c) {
            let mut terms = [[T::ZERO; LANES]; 2];
            for i in 0..LANES {
                let ([p, q], [r, s]) = (f(a[i], b[i], c[i]), f(a[LANES + i], b[LANES + i], c[LANES + i]));
                [terms[0][i], terms[1][i]] = [p + r, q + s];
            }
            for (lanes, terms) in lanes.iter_mut().zip(&terms) {
                T::add_wide::<I>(lanes, terms);
            }
        }
        for (i, ((&a, &b), &c)) in a_rest.iter().zip(b_rest).zip(c_rest).enumerate() {
            let [x, y] = f(a, b, c);
            lanes[0][i % LANES] += x.to_f64();
            lanes[1][i % LANES] += y.to_f64();
        }
        lanes.map(total)
    }
}

/// `gh += g (x - mean) root`, `sum_g += g`
struct AddColumns<'a, T> {
    gh: &'a mut [f64],
    sum_g: &'a mut [f64],
    g: &'a [T],
    x: &'a [T],
    mean: T,
    root: T,
}

impl<T: Real> Kernel for AddColumns<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let AddColumns { gh, sum_g, g, x, mean, root } = self;
        for (((gh, sum_g), &g), &x) in gh.iter_mut().zip(sum_g).zip(g).zip(x) {
            *gh += (g * ((x - mean) * root)).to_f64();
            *sum_g += g.to_f64();
        }
    }
}
