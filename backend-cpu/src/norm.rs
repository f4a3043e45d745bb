//! Normalisation and its gradient: two passes over memory forward (sums, then the map), two backward.
//!
//! Three arrangements cover what core asks for:
//!
//! ```text
//! planes   batch and group norm: runs of `size` contiguous elements, one channel each; every number of a run (mean,
//!          factor, term) is one scalar
//! rows     layer norm: rows of d elements with one mean each; weight and bias run along the row
//! columns  batch norm of F32 vectors: rows of one element per channel; its gradient takes the composed form
//! ```
//! How the moments keep their digits is at [`moments`]. Every sum is computed by one thread in one order. Any other arrangement
//! takes the composed form.
//!
//! What the mean's rounding left, `rest`, costs the loops over elements nothing: in `(x - mean - rest) factor + b` it is part of
//! the constant `b - rest factor`. That is no difference of large terms: a mean's rounding is of the order of the distances of
//! the elements, if they are not all equal, and 0 if they are.

mod loops;
mod moments;

use crate::conv::elements;
use crate::element::{Element, Real, with_real};
use crate::launch::{self, report};
use crate::memory::Buffer;
use crate::simd::Wide;
use crate::{Cpu, Tensor, parallel};
use loops::{AddColumns, Map, MapColumns, MapRow, Sum};
use minitorch_core::DType;
use minitorch_core::ops::composed;
use minitorch_core::ops::norm::NormOptions;
use moments::{FIELDS, Statistics, column_moments, moments};

/// Rows whose contribution to the gradients of weight and bias is summed by one thread, in elements.
const BLOCK: usize = 16 * 1024;

#[derive(Clone, Copy)]
enum Plan {
    Planes(Planes),
    Rows { rows: usize, d: usize },
    Columns { channels: usize },
}

impl Plan {
    /// A report of a kernel that follows this plan; the chunks are those of the pass over the result.
    fn launch<T>(&self, kernel: &str, len: usize, work: usize) -> launch::Launch {
        let (path, unit) = match *self {
            Plan::Planes(p) => ("planes", p.size),
            Plan::Rows { d, .. } => ("rows", d),
            Plan::Columns { channels } => ("columns", channels),
        };
        launch::pieces::<T>(kernel, len, unit, work).path(path)
    }
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

    /// The numbers of a run: a factor and a term of `(x - mean) factor + term`.
    fn affine<T: Real>(&self, run: usize, of: Statistics<T>, w: &[T], b: &[T]) -> [T; 2] {
        let factor = of.root * w[run % self.channels];
        [factor, b[run % self.channels] - of.rest * factor]
    }

    fn range(&self, run: usize) -> std::ops::Range<usize> {
        run * self.size..(run + 1) * self.size
    }
}

/// `None` for what takes the composed form.
fn plan(x: &Tensor, w: Option<&Tensor>, o: &NormOptions) -> Option<Plan> {
    let w = w.map(|w| &**w.shape());
    let plan = match (&**x.shape(), &*o.dims) {
        (&[_, channels, 1], [0, 2]) if x.dtype() == DType::F32 && w.is_none_or(|w| *w == [1, channels, 1]) => {
            Plan::Columns { channels }
        }
        (&[n, c, size], [0, 2]) if w.is_none_or(|w| *w == [1, c, 1]) => {
            Plan::Planes(Planes { runs: n * c, size, channels: c, groups: c, together: None })
        }
        (&[n, g, k, size], [2, 3]) if w.is_none_or(|w| *w == [1, g, k, 1]) => {
            Plan::Planes(Planes { runs: n * g * k, size, channels: g * k, groups: n * g, together: Some(k) })
        }
        (&[rows, d], [1]) if w.is_none_or(|w| *w == [1, d]) => Plan::Rows { rows, d },
        _ => return None,
    };
    (x.numel() > 0).then_some(plan)
}

/// [`plan`] with a bias, which has the weight's shape, or the composed form broadcasts it.
fn forward_plan(x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>, o: &NormOptions) -> Option<Plan> {
    plan(x, w, o).filter(|_| b.is_none_or(|b| w.is_some_and(|w| w.shape() == b.shape())))
}

pub(crate) fn normalize(x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>, o: &NormOptions) -> [Tensor; 2] {
    let Some(plan) = forward_plan(x, w, b, o) else { return composed::normalize(x, w, b, o) };
    let (device, x) = (x.device(), x.contiguous());
    let means = o.dims.iter().fold(*x.shape(), |shape, &d| shape.with(d, 1)).numel();
    with_real!(x.dtype(), T => {
        let data = elements::<T>(&x);
        let (w, b) = (Affine::<T>::new(device, w, 1.0, &plan), Affine::<T>::new(device, b, 0.0, &plan));
        let (w, b) = (w.get(), b.get());
        let mut out = device.alloc::<T>("normalize", data.len());
        let mut statistics = device.alloc::<T>("normalize", FIELDS * means);
        let _launch = report(|| plan.launch::<T>("normalize", data.len(), 4));
        match plan {
            Plan::Planes(p) => {
                parallel::pieces(&mut statistics, FIELDS, 2 * data.len() / (FIELDS * p.groups), |first, statistics| {
                    for (group, to) in (first / FIELDS..).zip(statistics.chunks_exact_mut(FIELDS)) {
                        let sets = || p.members(group).map(|run| &data[p.range(run)]);
                        moments(p.count(), o.eps, sets).write(to);
                    }
                });
                planes_map(&p, data, [w, b], &statistics, &mut out);
            }
            Plan::Rows { d, .. } => {
                // A row is still in L1 when it is read again. The moments of the next one are computed before this one is written:
                // adding up lanes, a division and a root take as long as half a row.
                parallel::rows(&mut out, d, (&mut statistics, FIELDS), 4, |first, out, statistics| {
                    let x = |row: usize| &data[(first + row) * d..][..d];
                    let moments = |row: usize| moments(d as f64, o.eps, || std::iter::once(x(row)));
                    let mut next = moments(0);
                    let last = statistics.len() / FIELDS - 1;
                    for (row, (out, to)) in out.chunks_exact_mut(d).zip(statistics.chunks_exact_mut(FIELDS)).enumerate() {
                        let of = next;
                        next = if row < last { moments(row + 1) } else { next };
                        of.write(to);
                        T::compute(MapRow { out, x: x(row), w, b, of });
                    }
                });
            }
            Plan::Columns { channels } => {
                column_moments(device, data, channels, o.eps, &mut statistics);
                columns_map(device, data, [w, b], &statistics, &mut out);
            }
        }
        [
            Tensor::from_storage(device, T::wrap(out), T::DTYPE, *x.shape()),
            Tensor::from_storage(device, T::wrap(statistics), T::DTYPE, [means, FIELDS]),
        ]
    })
}

pub(crate) fn normalize_by(
    x: &Tensor,
    w: Option<&Tensor>,
    b: Option<&Tensor>,
    statistics: &Tensor,
    o: &NormOptions,
) -> Tensor {
    let by_channel = forward_plan(x, w, b, o).filter(|plan| !matches!(plan, Plan::Rows { .. }));
    let Some(plan) = by_channel else { return composed::normalize_by(x, w, b, statistics, o) };
    let (device, x, statistics) = (x.device(), x.contiguous(), statistics.contiguous());
    with_real!(x.dtype(), T => {
        let (data, statistics) = (elements::<T>(&x), elements::<T>(&statistics));
        let (w, b) = (Affine::<T>::new(device, w, 1.0, &plan), Affine::<T>::new(device, b, 0.0, &plan));
        let mut out = device.alloc::<T>("normalize_by", data.len());
        let _launch = report(|| plan.launch::<T>("normalize_by", data.len(), 2));
        match plan {
            Plan::Planes(p) => planes_map(&p, data, [w.get(), b.get()], statistics, &mut out),
            _ => columns_map(device, data, [w.get(), b.get()], statistics, &mut out),
        }
        Tensor::from_storage(device, T::wrap(out), T::DTYPE, *x.shape())
    })
}

fn planes_map<T: Real>(p: &Planes, x: &[T], [w, b]: [&[T]; 2], statistics: &[T], out: &mut [T]) {
    parallel::pieces(out, p.size, 2, |first, out| {
        for (run, out) in (first / p.size..).zip(out.chunks_exact_mut(p.size)) {
            let of = Statistics::read(statistics, p.group(run));
            let [factor, term] = p.affine(run, of, w, b);
            let (x, mean) = (&x[p.range(run)], of.mean);
            T::compute(Map { out, a: x, b: x, c: x, f: move |x, _, _| (x - mean) * factor + term });
        }
    });
}

/// Rows of one element per channel.
fn columns_map<T: Real>(device: &Cpu, x: &[T], [w, b]: [&[T]; 2], statistics: &[T], out: &mut [T]) {
    let channels = w.len();
    let [mut means, mut factors, mut terms] = [0; 3].map(|_| device.alloc::<T>("normalize", channels));
    for channel in 0..channels {
        let of = Statistics::<T>::read(statistics, channel);
        let factor = of.root * w[channel];
        (means[channel], factors[channel], terms[channel]) = (of.mean, factor, b[channel] - of.rest * factor);
    }
    parallel::pieces(out, channels, 2, |first, out| {
        for (x, out) in x[first..].chunks_exact(channels).zip(out.chunks_exact_mut(channels)) {
            T::compute(MapColumns { out, x, means: &means, factors: &factors, terms: &terms });
        }
    });
}

pub(crate) fn normalize_grad(
    g: &Tensor,
    x: &Tensor,
    weight: Option<&Tensor>,
    statistics: &Tensor,
    o: &NormOptions,
) -> (Tensor, Option<[Tensor; 2]>) {
    let plan = plan(x, weight, o).filter(|plan| !matches!(plan, Plan::Columns { .. }));
    let Some(plan) = plan else { return composed::normalize_grad(g, x, weight, statistics, o) };
    let (device, shape) = (x.device(), *x.shape());
    let (g, x, statistics) = (g.contiguous(), x.contiguous(), statistics.contiguous());
    with_real!(x.dtype(), T => {
        let [g, x, statistics] = [&g, &x, &statistics].map(elements::<T>);
        let w = Affine::<T>::new(device, weight, 1.0, &plan);
        let w = w.get();
        let mut out = device.alloc::<T>("normalize_grad", x.len());
        let mut affine = [0, 1].map(|_| device.alloc::<T>("normalize_grad", w.len()));
        let _launch = report(|| plan.launch::<T>("normalize_grad", x.len(), 6));
        match plan {
            Plan::Planes(p) => planes_grad(device, &p, [g, x, statistics, w], &mut out, &mut affine),
            Plan::Rows { rows, d } => {
                parallel::pieces(&mut out, d, 6, |first, out| {
                    for (row, out) in (first / d..).zip(out.chunks_exact_mut(d)) {
                        let of = Statistics::<T>::read(statistics, row);
                        let Statistics { mean, root, .. } = of;
                        let (g, x) = (&g[row * d..(row + 1) * d], &x[row * d..(row + 1) * d]);
                        let f = move |g: T, x: T, w: T| [g * w, g * w * ((x - mean) * root)];
                        let [sum, sum_h] = T::compute(Sum { a: g, b: x, c: w, f });
                        let [shift, slope] = of.line(sum / d as f64, sum_h / d as f64);
                        let f = move |g: T, x: T, w: T| (g * w - shift - (x - mean) * root * slope) * root;
                        T::compute(Map { out, a: g, b: x, c: w, f });
                    }
                });
                if weight.is_some() {
                    columns(device, [rows, d], [g, x, statistics], &mut affine);
                }
            }
            Plan::Columns { .. } => unreachable!("columns take the composed form"),
        }
        let affine = weight.map(|w| affine.map(|a| Tensor::from_storage(device, T::wrap(a), T::DTYPE, *w.shape())));
        (Tensor::from_storage(device, T::wrap(out), T::DTYPE, shape), affine)
    })
}

fn planes_grad<T: Real>(
    device: &Cpu,
    p: &Planes,
    [g, x, statistics, w]: [&[T]; 4],
    out: &mut [T],
    affine: &mut [Buffer<T>; 2],
) {
    let of_run = |run: usize| Statistics::<T>::read(statistics, p.group(run));
    // Of each run: the sum of g and of g h, h being the normalised x.
    let mut sums = [0, 1].map(|_| device.alloc::<f64>("normalize_grad", p.runs));
    let [sum_g, sum_gh] = &mut sums;
    parallel::pieces2((sum_g, sum_gh), 2 * p.size, |first, sum_g, sum_gh| {
        for (run, (sum_g, sum_gh)) in (first..).zip(sum_g.iter_mut().zip(sum_gh)) {
            let (g, x, of) = (&g[p.range(run)], &x[p.range(run)], of_run(run));
            let (mean, root) = (of.mean, of.root);
            let f = move |g: T, x: T, _| [g, g * ((x - mean) * root)];
            let [a, b] = T::compute(Sum { a: g, b: x, c: x, f });
            (*sum_g, *sum_gh) = (a, b + of.offset() * a);
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
            let (g, x, of) = (&g[p.range(run)], &x[p.range(run)], of_run(run));
            let (mean, root, group) = (of.mean, of.root, p.group(run));
            // (g w - shift - h slope) root, with h = (x - mean) root + offset
            let slope = means[1][group];
            let shift = T::of(means[0][group] + of.offset() * slope) * root;
            let (slope, factor) = (T::of(slope) * root, w[run % p.channels] * root);
            let f = move |g: T, x: T, _| g * factor - (x - mean) * root * slope - shift;
            T::compute(Map { out, a: g, b: x, c: x, f });
        }
    });
}

/// The sums over rows of g h and of g, in blocks of rows that are joined in order.
fn columns<T: Real>(device: &Cpu, [rows, d]: [usize; 2], [g, x, statistics]: [&[T]; 3], affine: &mut [Buffer<T>; 2]) {
    let per_block = (BLOCK / d).max(1);
    let mut sums = device.alloc::<f64>("normalize_grad", rows.div_ceil(per_block) * 2 * d);
    parallel::pieces(&mut sums, 2 * d, per_block, |first, sums| {
        for (block, sums) in (first / (2 * d)..).zip(sums.chunks_exact_mut(2 * d)) {
            sums.fill(0.0);
            let (gh, sum_g) = sums.split_at_mut(d);
            for row in block * per_block..rows.min((block + 1) * per_block) {
                let of = Statistics::<T>::read(statistics, row);
                let (g, x) = (&g[row * d..(row + 1) * d], &x[row * d..(row + 1) * d]);
                T::compute(AddColumns { gh, sum_g, g, x, of });
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
            Plan::Columns { channels } => *channels,
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
