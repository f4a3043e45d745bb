//! Normalization and its gradient. With mean and variance over the normalized dimensions, `h = (x - mean) / sqrt(var + eps)`:
//!
//! ```text
//! forward    y  = h w + b
//! gradient   gx = (g w - mean(g w) - h mean(g w h)) / sqrt(var + eps),   gw = sum(g h),   gb = sum(g)
//! ```
//! Cost: two reads of the operands in each direction, one for the sums and one for the result. Three layouts have loops:
//!
//! ```text
//! planes     batch and group norm: planes of contiguous elements, one channel each; mean, factor and term of a plane are scalars
//! rows       layer norm: rows of d elements with one mean each; weight and bias are indexed by the position in the row
//! channels   batch norm of an F32 matrix [n, c]: rows of one element per channel; the gradient is composed
//! ```
//! Any other layout takes the composed form. The order of summation does not vary with the number of threads. `moments.rs` has
//! the statistics, `loops.rs` the loops over one row or plane.
//!
//! A mean is `mean + rest`, where the rest is its rounding error in the element type. The rest costs the loops nothing: in
//! `(x - mean - rest) factor + b` it is part of the constant `b - rest factor`. There is no cancellation in that constant: the
//! rest is of the order of the distances between elements, or 0 if all are equal.

mod loops;
mod moments;

use crate::element::{Element, Real, with_real};
use crate::launch::{self, report};
use crate::memory::{AlignedBuffer, AnyBits};
use crate::view::elements;
use crate::{Cpu, Tensor, parallel};
use loops::{AddAffineGrad, MapSlices, NormalizeChannels, NormalizeRow, TwoSums};
use minitorch_core::backend::NormOps;
use minitorch_core::ops::composed;
use minitorch_core::ops::norm::{FIELDS, NormKind, NormOptions};
use minitorch_core::{DType, Shape};
use moments::{Statistics, channel_moments, moments};

/// Elements of a block of rows, which one thread sums.
const BLOCK: usize = 16 * 1024;

impl NormOps for Cpu {
    fn normalize(&self, x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>, o: &NormOptions) -> [Tensor; 2] {
        let Some(plan) = plan(x, w, b, o) else { return composed::normalize(x, w, b, o) };
        let x = x.contiguous();
        let means = o.means(x.shape()).numel();
        with_real!(x.dtype(), T => {
            let result = normalize::<T>(self, &plan, &x, w, b, o.eps, means);
            let (out, statistics) = result.unzip();
            [
                Tensor::from_storage(self, T::wrap(out), T::DTYPE, *x.shape()),
                Tensor::from_storage(self, T::wrap(statistics), T::DTYPE, [means, FIELDS]),
            ]
        })
    }

    fn normalize_by(
        &self,
        x: &Tensor,
        w: Option<&Tensor>,
        b: Option<&Tensor>,
        statistics: &Tensor,
        o: &NormOptions,
    ) -> Tensor {
        let by_channel = plan(x, w, b, o).filter(|plan| !matches!(plan, Plan::Rows { .. }));
        let Some(plan) = by_channel else { return composed::normalize_by(x, w, b, statistics, o) };
        let (x, statistics) = (x.contiguous(), statistics.contiguous());
        with_real!(x.dtype(), T => {
            let out = normalize_by::<T>(self, &plan, &x, w, b, &statistics);
            Tensor::from_storage(self, T::wrap(out), T::DTYPE, *x.shape())
        })
    }

    fn normalize_grad(
        &self,
        g: &Tensor,
        x: &Tensor,
        w: Option<&Tensor>,
        statistics: &Tensor,
        o: &NormOptions,
    ) -> (Tensor, Option<[Tensor; 2]>) {
        let plan = plan(x, w, None, o).filter(|plan| !matches!(plan, Plan::Channels { .. }));
        let Some(plan) = plan else { return composed::normalize_grad(g, x, w, statistics, o) };
        let (g, x, statistics) = (g.contiguous(), x.contiguous(), statistics.contiguous());
        with_real!(x.dtype(), T => {
            let result = normalize_grad::<T>(self, &plan, [&g, &x, &statistics], w);
            let (gx, affine) = result.unzip();
            let tensor = |out, shape: &Shape| Tensor::from_storage(self, T::wrap(out), T::DTYPE, *shape);
            let affine = w.map(|w| {
                let [gw, gb] = affine.map_or([None, None], |affine| affine.map(Some));
                [gw, gb].map(|out| tensor(out, w.shape()))
            });
            (tensor(gx, x.shape()), affine)
        })
    }
}

/// A layout that has loops of its own; see the header.
#[derive(Clone, Copy)]
enum Plan {
    Planes(Planes),
    Rows { rows: usize, d: usize },
    Channels { channels: usize },
}

impl Plan {
    /// The length of weight and bias.
    fn affine_len(&self) -> usize {
        match *self {
            Plan::Planes(p) => p.channels,
            Plan::Rows { d, .. } => d,
            Plan::Channels { channels } => channels,
        }
    }

    /// The report of a kernel; its chunks are those of the pass that writes the result.
    fn launch<T>(&self, kernel: &str, len: usize, work: usize) -> launch::Launch {
        let (path, unit) = match *self {
            Plan::Planes(p) => ("planes", p.size),
            Plan::Rows { d, .. } => ("rows", d),
            Plan::Channels { channels } => ("columns", channels),
        };
        launch::split::<T>(kernel, len, unit, work).path(path)
    }
}

/// Planes of `size` contiguous elements. Plane p belongs to channel `p % channels`.
#[derive(Clone, Copy)]
struct Planes {
    count: usize,
    size: usize,
    channels: usize,
    /// The number of groups: sets of planes with a common mean.
    groups: usize,
    grouping: Grouping,
}

#[derive(Clone, Copy)]
enum Grouping {
    /// Batch norm: a group is a channel of all images.
    Channel,
    /// Group norm: a group is this many consecutive planes.
    Consecutive(usize),
}

impl Planes {
    /// The group of a plane.
    fn group(&self, plane: usize) -> usize {
        match self.grouping {
            Grouping::Channel => plane % self.channels,
            Grouping::Consecutive(n) => plane / n,
        }
    }

    /// The planes of a group.
    fn members(&self, group: usize) -> impl Iterator<Item = usize> + use<> {
        match self.grouping {
            Grouping::Channel => (group..self.count).step_by(self.channels),
            Grouping::Consecutive(n) => (group * n..(group + 1) * n).step_by(1),
        }
    }

    /// The elements of a group.
    fn group_len(&self) -> f64 {
        (self.count / self.groups * self.size) as f64
    }

    /// Factor and term of a plane, in `(x - mean) factor + term`.
    fn affine<T: Real>(&self, plane: usize, of: Statistics<T>, w: &[T], b: &[T]) -> [T; 2] {
        let factor = of.root * w[plane % self.channels];
        [factor, b[plane % self.channels] - of.rest * factor]
    }

    /// The elements of a plane.
    fn range(&self, plane: usize) -> std::ops::Range<usize> {
        plane * self.size..(plane + 1) * self.size
    }
}

/// The plan of a call; `None` if it takes the composed form.
fn plan(x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>, o: &NormOptions) -> Option<Plan> {
    let (kind, [n, g, k, size]) = o.kind(x, w, b)?;
    Some(match kind {
        NormKind::Batch if size == 1 && x.dtype() == DType::F32 => Plan::Channels { channels: g },
        NormKind::Batch => {
            Plan::Planes(Planes { count: n * g, size, channels: g, groups: g, grouping: Grouping::Channel })
        }
        NormKind::Group => {
            let grouping = Grouping::Consecutive(k);
            Plan::Planes(Planes { count: n * g * k, size, channels: g * k, groups: n * g, grouping })
        }
        NormKind::Layer => Plan::Rows { rows: g, d: size },
    })
}

/// The result and the statistics. `None` if an operand is missing or there is no memory.
fn normalize<T: Real>(
    device: &Cpu,
    plan: &Plan,
    x: &Tensor,
    w: Option<&Tensor>,
    b: Option<&Tensor>,
    eps: f64,
    means: usize,
) -> Option<(AlignedBuffer<T>, AlignedBuffer<T>)> {
    let (w, b) = (Affine::<T>::new(device, w, 1.0, plan)?, Affine::<T>::new(device, b, 0.0, plan)?);
    let (w, b) = (w.elements(), b.elements());
    let mut out = device.output::<T>(x.numel(), &[x.view().storage])?;
    let mut statistics = device.workspace::<T>(FIELDS * means)?;
    let data = elements::<T>(x);
    let _launch = report(|| plan.launch::<T>("normalize", data.len(), 4));
    match *plan {
        Plan::Planes(p) => {
            parallel::split(&mut statistics, FIELDS, 2 * data.len() / (FIELDS * p.groups), |first, statistics| {
                for (group, to) in (first / FIELDS..).zip(statistics.chunks_exact_mut(FIELDS)) {
                    let planes = || p.members(group).map(|plane| &data[p.range(plane)]);
                    moments(p.group_len(), eps, planes).write(to);
                }
            });
            normalize_planes(&p, data, [w, b], &statistics, &mut out);
        }
        Plan::Rows { d, .. } => {
            // The second pass reads a row from L1. The moments of the next row are computed before this row is written, so that
            // the latency of their reduction, division and square root overlaps with the writes.
            parallel::split_rows(&mut out, d, (&mut statistics, FIELDS), 4, |first, out, statistics| {
                let x = |row: usize| &data[(first + row) * d..][..d];
                let moments = |row: usize| moments(d as f64, eps, || std::iter::once(x(row)));
                let mut next = moments(0);
                let last = statistics.len() / FIELDS - 1;
                for (row, (out, to)) in out.chunks_exact_mut(d).zip(statistics.chunks_exact_mut(FIELDS)).enumerate() {
                    let of = next;
                    next = if row < last { moments(row + 1) } else { next };
                    of.write(to);
                    T::compute(NormalizeRow { out, x: x(row), w, b, of });
                }
            });
        }
        Plan::Channels { channels } => {
            channel_moments(device, data, channels, eps, &mut statistics)?;
            normalize_channels(device, data, [w, b], &statistics, &mut out)?;
        }
    }
    Some((out, statistics))
}

/// The result. `None` if an operand is missing or there is no memory.
fn normalize_by<T: Real>(
    device: &Cpu,
    plan: &Plan,
    x: &Tensor,
    w: Option<&Tensor>,
    b: Option<&Tensor>,
    statistics: &Tensor,
) -> Option<AlignedBuffer<T>> {
    let (w, b) = (Affine::<T>::new(device, w, 1.0, plan)?, Affine::<T>::new(device, b, 0.0, plan)?);
    let affine = [w.elements(), b.elements()];
    let mut out = device.output::<T>(x.numel(), &[x.view().storage, statistics.view().storage])?;
    let (data, statistics) = (elements::<T>(x), elements::<T>(statistics));
    let _launch = report(|| plan.launch::<T>("normalize_by", data.len(), 2));
    match plan {
        Plan::Planes(p) => normalize_planes(p, data, affine, statistics, &mut out),
        _ => normalize_channels(device, data, affine, statistics, &mut out)?,
    }
    Some(out)
}

fn normalize_planes<T: Real>(p: &Planes, x: &[T], [w, b]: [&[T]; 2], statistics: &[T], out: &mut [T]) {
    parallel::split(out, p.size, 2, |first, out| {
        for (plane, out) in (first / p.size..).zip(out.chunks_exact_mut(p.size)) {
            let of = Statistics::read(statistics, p.group(plane));
            let [factor, term] = p.affine(plane, of, w, b);
            let (x, mean) = (&x[p.range(plane)], of.mean);
            T::compute(MapSlices { out, a: x, b: x, c: x, f: move |x, _, _| (x - mean) * factor + term });
        }
    });
}

/// Rows of one element per channel. `None` if there is no memory for the channels' factors.
fn normalize_channels<T: Real>(
    device: &Cpu,
    x: &[T],
    [w, b]: [&[T]; 2],
    statistics: &[T],
    out: &mut [T],
) -> Option<()> {
    let channels = w.len();
    let mut means = device.workspace::<T>(channels)?;
    let mut factors = device.workspace::<T>(channels)?;
    let mut terms = device.workspace::<T>(channels)?;
    for channel in 0..channels {
        let of = Statistics::<T>::read(statistics, channel);
        let factor = of.root * w[channel];
        (means[channel], factors[channel], terms[channel]) = (of.mean, factor, b[channel] - of.rest * factor);
    }
    parallel::split(out, channels, 2, |first, out| {
        for (x, out) in x[first..].chunks_exact(channels).zip(out.chunks_exact_mut(channels)) {
            T::compute(NormalizeChannels { out, x, means: &means, factors: &factors, terms: &terms });
        }
    });
    Some(())
}

/// The gradients of x and of weight and bias. `None` if an operand is missing or there is no memory.
fn normalize_grad<T: Real>(
    device: &Cpu,
    plan: &Plan,
    operands: [&Tensor; 3],
    weight: Option<&Tensor>,
) -> Option<(AlignedBuffer<T>, [AlignedBuffer<T>; 2])> {
    let w = Affine::<T>::new(device, weight, 1.0, plan)?;
    let w = w.elements();
    let mut out = device.output::<T>(operands[1].numel(), &operands.map(|x| x.view().storage))?;
    let mut affine = [device.workspace::<T>(w.len())?, device.workspace::<T>(w.len())?];
    let [g, x, statistics] = operands.map(elements::<T>);
    let _launch = report(|| plan.launch::<T>("normalize_grad", x.len(), 6));
    match *plan {
        Plan::Planes(p) => planes_grad(device, &p, [g, x, statistics, w], &mut out, &mut affine)?,
        Plan::Rows { rows, d } => {
            parallel::split(&mut out, d, 6, |first, out| {
                for (row, out) in (first / d..).zip(out.chunks_exact_mut(d)) {
                    let of = Statistics::<T>::read(statistics, row);
                    let Statistics { mean, root, .. } = of;
                    let (g, x) = (&g[row * d..(row + 1) * d], &x[row * d..(row + 1) * d]);
                    let f = move |g: T, x: T, w: T| [g * w, g * w * ((x - mean) * root)];
                    let [sum, sum_h] = T::compute(TwoSums { a: g, b: x, c: w, f });
                    let [shift, slope] = of.line(sum / d as f64, sum_h / d as f64);
                    let f = move |g: T, x: T, w: T| (g * w - shift - (x - mean) * root * slope) * root;
                    T::compute(MapSlices { out, a: g, b: x, c: w, f });
                }
            });
            if weight.is_some() {
                affine_grad_of_rows(device, [rows, d], [g, x, statistics], &mut affine)?;
            }
        }
        Plan::Channels { .. } => unreachable!("the gradient of channels is composed"),
    }
    Some((out, affine))
}

fn planes_grad<T: Real>(
    device: &Cpu,
    p: &Planes,
    [g, x, statistics, w]: [&[T]; 4],
    out: &mut [T],
    affine: &mut [AlignedBuffer<T>; 2],
) -> Option<()> {
    let of_plane = |plane: usize| Statistics::<T>::read(statistics, p.group(plane));
    // Per plane: the sums of g and of g h.
    let mut sum_g = device.workspace::<f64>(p.count)?;
    let mut sum_gh = device.workspace::<f64>(p.count)?;
    parallel::split_slices([&mut sum_g, &mut sum_gh], 2 * p.size, |first, [sum_g, sum_gh]| {
        for (plane, (sum_g, sum_gh)) in (first..).zip(sum_g.iter_mut().zip(sum_gh)) {
            let (g, x, of) = (&g[p.range(plane)], &x[p.range(plane)], of_plane(plane));
            let (mean, root) = (of.mean, of.root);
            let f = move |g: T, x: T, _| [g, g * ((x - mean) * root)];
            let [a, b] = T::compute(TwoSums { a: g, b: x, c: x, f });
            (*sum_g, *sum_gh) = (a, b + of.offset() * a);
        }
    });
    let [gw, gb] = affine;
    for channel in 0..p.channels {
        let total = |sums: &[f64]| T::of((channel..p.count).step_by(p.channels).map(|plane| sums[plane]).sum());
        (gw[channel], gb[channel]) = (total(&sum_gh), total(&sum_g));
    }
    // Per group: the means of g w and of g w h.
    let mut mean_g = device.workspace::<f64>(p.groups)?;
    let mut mean_gh = device.workspace::<f64>(p.groups)?;
    for group in 0..p.groups {
        let weighted = |plane: usize, sums: &[f64]| w[plane % p.channels].to_f64() * sums[plane];
        let total = |sums: &[f64]| p.members(group).map(|plane| weighted(plane, sums)).sum::<f64>();
        (mean_g[group], mean_gh[group]) = (total(&sum_g) / p.group_len(), total(&sum_gh) / p.group_len());
    }
    parallel::split(out, p.size, 3, |first, out| {
        for (plane, out) in (first / p.size..).zip(out.chunks_exact_mut(p.size)) {
            let (g, x, of) = (&g[p.range(plane)], &x[p.range(plane)], of_plane(plane));
            let (mean, root, group) = (of.mean, of.root, p.group(plane));
            // (g w - mean_g - h mean_gh) root, with h = (x - mean) root + offset
            let slope = mean_gh[group];
            let shift = T::of(mean_g[group] + of.offset() * slope) * root;
            let (slope, factor) = (T::of(slope) * root, w[plane % p.channels] * root);
            let f = move |g: T, x: T, _| g * factor - (x - mean) * root * slope - shift;
            T::compute(MapSlices { out, a: g, b: x, c: x, f });
        }
    });
    Some(())
}

/// The gradients of weight and bias: the sums over rows of g h and of g.
fn affine_grad_of_rows<T: Real>(
    device: &Cpu,
    [rows, d]: [usize; 2],
    [g, x, statistics]: [&[T]; 3],
    affine: &mut [AlignedBuffer<T>; 2],
) -> Option<()> {
    let sums = sum_rows(device, [rows, d], |row, gh, sum_g| {
        let of = Statistics::<T>::read(statistics, row);
        let (g, x) = (&g[row * d..(row + 1) * d], &x[row * d..(row + 1) * d]);
        T::compute(AddAffineGrad { gh, sum_g, g, x, of });
    })?;
    for (affine, sums) in affine.iter_mut().zip(sums.chunks_exact(d)) {
        affine.iter_mut().zip(sums).for_each(|(a, &sum)| *a = T::of(sum));
    }
    Some(())
}

/// Two sums per column over rows of `d` elements, `[2][d]` at the front of the result; `add(row, first, second)` adds a row to both.
/// Blocks of rows are summed on all threads, then added in order. `None` if there is no memory for the sums.
fn sum_rows(
    device: &Cpu,
    [rows, d]: [usize; 2],
    add: impl Fn(usize, &mut [f64], &mut [f64]) + Sync,
) -> Option<AlignedBuffer<f64>> {
    let per_block = (BLOCK / d).max(1);
    let mut sums = device.workspace::<f64>(rows.div_ceil(per_block) * 2 * d)?;
    parallel::split(&mut sums, 2 * d, per_block, |at, sums| {
        for (block, sums) in (at / (2 * d)..).zip(sums.chunks_exact_mut(2 * d)) {
            sums.fill(0.0);
            let (first, second) = sums.split_at_mut(d);
            for row in block * per_block..rows.min((block + 1) * per_block) {
                add(row, first, second);
            }
        }
    });
    let (total, rest) = sums.split_at_mut(2 * d);
    for block in rest.chunks_exact(2 * d) {
        total.iter_mut().zip(block).for_each(|(a, b)| *a += b);
    }
    Some(sums)
}

/// A weight or a bias: a tensor, or a constant.
enum Affine<T: AnyBits> {
    Tensor(Tensor),
    Constant(AlignedBuffer<T>),
}

impl<T: Real> Affine<T> {
    /// The tensor, or `default` everywhere. `None` if the tensor is missing or there is no memory.
    fn new(device: &Cpu, tensor: Option<&Tensor>, default: f64, plan: &Plan) -> Option<Self> {
        if let Some(tensor) = tensor {
            let tensor = tensor.contiguous();
            return (!tensor.view().storage.is_missing()).then_some(Affine::Tensor(tensor));
        }
        let mut constant = device.workspace::<T>(plan.affine_len())?;
        constant.fill(T::of(default));
        Some(Affine::Constant(constant))
    }

    fn elements(&self) -> &[T] {
        match self {
            Affine::Tensor(w) => elements(w),
            Affine::Constant(w) => w,
        }
    }
}
