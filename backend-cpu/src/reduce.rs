//! Reductions over any set of dimensions. Cost: one read per element.
//!
//! The kept dimensions are moved to the front and both groups merged; then there are two loops:
//!
//! ```text
//! rows      the reduced elements are contiguous:  out[o] = fold(x[o][..])              independent lanes, then a tree
//! columns   the kept elements are contiguous:     out[o][..] = fold(out[o][..], x[r])  a strip of columns in L1
//! ```
//! Anything else is first copied into the order of `rows`.
//!
//! Sums, means and products of f32 accumulate in f64, which costs nothing where memory is the limit: the result is the
//! exact sum rounded once, as good as always. Long folds are cut into groups of a fixed size whose partial results are joined
//! in order, so the bits do not depend on threads.

mod arg;
mod fold;

use crate::Cpu;
use crate::copy::{contiguous, start_of};
use crate::element::{Element, Real};
use crate::launch::{self, report};
use crate::map::{Rows, Source};
use crate::memory::{AnyBits, Storage};
use crate::parallel;
use crate::simd::{Isa, Kernel, LANES};
pub(crate) use arg::arg_reduce;
pub(crate) use fold::{Fold, Sum};
use fold::{Max, Mean, Min, Prod};
use minitorch_core::backend::{ReduceOp, View};
use minitorch_core::{DType, Layout, MAX_RANK, Shape};

/// Elements that one group of a long fold holds, about: as many as give [`GROUPS`] groups, within these bounds.
const GROUP: std::ops::RangeInclusive<usize> = 16 * 1024..=64 * 1024;
const GROUPS: usize = 64;

/// Chunks of [`LANES`] elements from which a row is read in four streams.
const STREAMS: usize = 256;

/// Columns that are folded at once: a strip of 8 KiB of f64 stays in L1.
const STRIP: usize = 1024;

pub(crate) fn reduce(device: &Cpu, op: ReduceOp, x: View<'_, Storage>, dims: &[usize]) -> Storage {
    match x.dtype {
        DType::F16 => unreachable!("core asks `supports` first"),
        DType::F32 => real::<f32>(device, op, x, dims),
        DType::F64 => real::<f64>(device, op, x, dims),
        DType::I32 => {
            let x = Folded::<i32>::new(x, dims);
            match op {
                ReduceOp::Sum => x.run(device, Sum),
                ReduceOp::Prod => x.run(device, Prod),
                ReduceOp::Max => x.run(device, Max),
                ReduceOp::Min => x.run(device, Min),
                ReduceOp::Mean => unreachable!("core does not admit the mean on int32"),
            }
        }
        DType::Bool => {
            let x = Folded::<u8>::new(x, dims);
            match op {
                ReduceOp::Max => x.run(device, Max),
                ReduceOp::Min => x.run(device, Min),
                other => unreachable!("core does not admit {other} on bool"),
            }
        }
    }
}

fn real<T: Real>(device: &Cpu, op: ReduceOp, x: View<'_, Storage>, dims: &[usize]) -> Storage
where
    Sum: Fold<T>,
    Mean: Fold<T>,
    Prod: Fold<T>,
    Max: Fold<T>,
    Min: Fold<T>,
{
    let x = Folded::<T>::new(x, dims);
    match op {
        ReduceOp::Sum => x.run(device, Sum),
        ReduceOp::Mean => {
            let count = x.reduced.numel();
            x.run(device, Mean { count })
        }
        ReduceOp::Prod => x.run(device, Prod),
        ReduceOp::Max => x.run(device, Max),
        ReduceOp::Min => x.run(device, Min),
    }
}

/// A tensor whose dimensions are parted into kept and reduced ones.
struct Folded<'a, T> {
    data: &'a [T],
    /// The kept dimensions in their order, merged; with the tensor's offset.
    kept: Layout,
    /// The reduced dimensions, merged; offset 0.
    reduced: Layout,
}

impl<'a, T: Element> Folded<'a, T> {
    fn new(x: View<'a, Storage>, dims: &[usize]) -> Self {
        let part = |of_dims: bool, offset| {
            let (mut sizes, mut strides, mut rank) = ([0; MAX_RANK], [0; MAX_RANK], 0);
            for (d, (&size, &stride)) in x.layout.shape().iter().zip(x.layout.strides()).enumerate() {
                if dims.contains(&d) == of_dims {
                    (sizes[rank], strides[rank]) = (size, stride);
                    rank += 1;
                }
            }
            let [merged] = Layout::merge([Layout::new(Shape::new(&sizes[..rank]), &strides[..rank], offset)]);
            merged
        };
        Folded { data: T::read(x.storage), kept: part(false, x.layout.offset()), reduced: part(true, 0) }
    }

    fn run<F: Fold<T>>(self, device: &Cpu, fold: F) -> Storage
    where
        F::Acc: AnyBits,
    {
        let mut out = device.alloc::<T>("reduce", self.kept.numel());
        if self.reduced.numel() == 0 {
            out.fill(fold.finish(fold.start()));
        } else if out.is_empty() {
            // Nothing is asked for.
        } else if last_stride(&self.reduced) == Some(1) || self.reduced.numel() == 1 && self.kept.numel() == 1 {
            self.rows(device, fold, &mut out);
        } else if last_stride(&self.kept) == Some(1) {
            self.columns(device, fold, &mut out);
        } else {
            let whole = contiguous(device, Source { data: self.data, layout: &self.joined() });
            let (outer, inner) = (self.kept.numel(), self.reduced.numel());
            let kept = Layout::new([outer], &[inner], 0);
            Folded { data: &whole, kept, reduced: Layout::contiguous([inner]) }.rows(device, fold, &mut out);
        }
        T::wrap(out)
    }

    /// The kept dimensions, then the reduced ones. Both were parts of one layout, so their ranks fit together.
    fn joined(&self) -> Layout {
        let (a, b) = (self.kept.shape().len(), self.reduced.shape().len());
        let (mut sizes, mut strides) = ([0; MAX_RANK], [0; MAX_RANK]);
        sizes[..a].copy_from_slice(self.kept.shape());
        sizes[a..a + b].copy_from_slice(self.reduced.shape());
        strides[..a].copy_from_slice(self.kept.strides());
        strides[a..a + b].copy_from_slice(self.reduced.strides());
        Layout::new(Shape::new(&sizes[..a + b]), &strides[..a + b], self.kept.offset())
    }

    /// Reduced elements are contiguous, at least in pieces.
    fn rows<F: Fold<T>>(&self, device: &Cpu, fold: F, out: &mut [T])
    where
        F::Acc: AnyBits,
    {
        let (len, width) = (self.reduced.numel(), self.reduced.shape().last().copied().unwrap_or(1));
        // A group is a whole number of rows, or one piece of a very long row.
        let group = (len / GROUPS).clamp(*GROUP.start(), *GROUP.end());
        let group = if width > group { group } else { (group / width).max(1) * width };
        let groups = len.div_ceil(group);
        let one = |index: usize, group_index: usize| {
            let range = group_index * group..len.min((group_index + 1) * group);
            let data = &self.data[start_of(&self.kept, index)..];
            T::dispatch(FoldRow { data, layout: &self.reduced, range, fold })
        };
        if groups == 1 && len == width && self.kept.shape().len() <= 1 {
            // Rows at equal distances: many of them in one call.
            let stride = last_stride(&self.kept).unwrap_or(0);
            report(|| launch::pieces::<T>(&launch::named::<F>("reduce"), out.len(), 1, len).path("rows"));
            return parallel::pieces(out, 1, len, |first, out| {
                let data = &self.data[self.kept.offset() + first * stride..];
                T::dispatch(FoldRows { data, stride, len, fold, out });
            });
        }
        if groups == 1 {
            report(|| launch::pieces::<T>(&launch::named::<F>("reduce"), out.len(), 1, len).path("rows in parts"));
            return parallel::pieces(out, 1, len, |first, out| {
                for (index, out) in (first..).zip(out) {
                    *out = fold.finish(one(index, 0));
                }
            });
        }
        let mut partial = device.alloc::<F::Acc>("reduce", out.len() * groups);
        report(|| {
            let launch = launch::pieces::<T>(&launch::named::<F>("reduce"), partial.len(), 1, group);
            launch.path(format!("rows, split in {groups}"))
        });
        parallel::pieces(&mut partial, 1, group, |first, partial| {
            for (at, partial) in (first..).zip(partial) {
                *partial = one(at / groups, at % groups);
            }
        });
        for (out, partial) in out.iter_mut().zip(partial.chunks_exact(groups)) {
            *out = fold.finish(partial.iter().fold(fold.start(), |a, &b| fold.join(a, b)));
        }
    }

    /// Kept elements are contiguous, at least in rows of `width`: strips of them are folded element by element.
    fn columns<F: Fold<T>>(&self, device: &Cpu, fold: F, out: &mut [T])
    where
        F::Acc: AnyBits,
    {
        let (len, width) = (self.reduced.numel(), self.kept.shape().last().copied().unwrap_or(1));
        let group = (GROUP.end() / width.min(STRIP)).max(64);
        let groups = len.div_ceil(group);
        let fold_strip = |at: usize, count: usize, group_index: usize, sums: &mut [F::Acc; STRIP]| {
            let range = group_index * group..len.min((group_index + 1) * group);
            let data = &self.data[start_of(&self.kept, at)..];
            T::dispatch(FoldStrip { data, layout: &self.reduced, range, fold, sums: &mut sums[..count] });
        };
        if groups == 1 {
            report(|| {
                let launch = launch::pieces::<T>(&launch::named::<F>("reduce"), out.len(), width.min(STRIP), len);
                launch.path("columns").tile([1, width.min(STRIP)])
            });
            return parallel::pieces(out, width.min(STRIP), len, |first, out| {
                let mut sums = [fold.start(); STRIP];
                let mut done = 0;
                while done < out.len() {
                    let at = first + done;
                    let count = STRIP.min(width - at % width).min(out.len() - done);
                    fold_strip(at, count, 0, &mut sums);
                    for (out, &sum) in out[done..done + count].iter_mut().zip(&sums) {
                        *out = fold.finish(sum);
                    }
                    done += count;
                }
            });
        }
        // partial[row of out][group][column]
        let mut partial = device.alloc::<F::Acc>("reduce", out.len() * groups);
        let strips = width.div_ceil(STRIP);
        report(|| {
            let launch = launch::pieces::<T>(&launch::named::<F>("reduce"), partial.len(), width, group);
            launch.path(format!("columns, split in {groups}")).tile([1, width.min(STRIP)])
        });
        parallel::pieces(&mut partial, width, group, |first, partial| {
            let mut sums = [fold.start(); STRIP];
            for (line, partial) in (first / width..).zip(partial.chunks_exact_mut(width)) {
                for (strip, partial) in (0..strips).zip(partial.chunks_mut(STRIP)) {
                    fold_strip(line / groups * width + strip * STRIP, partial.len(), line % groups, &mut sums);
                    partial.copy_from_slice(&sums[..partial.len()]);
                }
            }
        });
        for (out, partial) in out.chunks_exact_mut(width).zip(partial.chunks_exact_mut(groups * width)) {
            let (sum, rest) = partial.split_at_mut(width);
            for part in rest.chunks_exact(width) {
                sum.iter_mut().zip(part).for_each(|(a, &b)| *a = fold.join(*a, b));
            }
            out.iter_mut().zip(sum).for_each(|(out, sum)| *out = fold.finish(*sum));
        }
    }
}

fn last_stride(layout: &Layout) -> Option<usize> {
    layout.strides().last().copied()
}

/// Folds the elements `range` of a layout with contiguous rows.
struct FoldRow<'a, T, F> {
    data: &'a [T],
    layout: &'a Layout,
    range: std::ops::Range<usize>,
    fold: F,
}

impl<T: Element, F: Fold<T>> Kernel for FoldRow<'_, T, F> {
    type Output = F::Acc;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> F::Acc {
        let FoldRow { data, layout, range, fold } = self;
        let mut rows = Rows::new([layout], range);
        let mut state = State::new(fold);
        while let Some((place, [start])) = rows.next() {
            state.add(isa, &data[start..][..place.len()]);
        }
        state.finish()
    }
}

/// Folds contiguous rows of `len` elements, `stride` apart, to a number each.
struct FoldRows<'a, T, F> {
    data: &'a [T],
    stride: usize,
    len: usize,
    fold: F,
    out: &'a mut [T],
}

impl<T: Element, F: Fold<T>> Kernel for FoldRows<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let FoldRows { data, stride, len, fold, out } = self;
        for (row, out) in out.iter_mut().enumerate() {
            let mut state = State::new(fold);
            state.add(isa, &data[row * stride..][..len]);
            *out = fold.finish(state.finish());
        }
    }
}

/// A fold under way: lanes that do not wait for one another, and one for what is left of a row.
struct State<T: Copy, F: Fold<T>> {
    fold: F,
    lanes: [F::Acc; LANES],
    single: F::Acc,
    any: bool,
}

impl<T: Copy, F: Fold<T>> State<T, F> {
    #[inline(always)]
    fn new(fold: F) -> Self {
        State { fold, lanes: [fold.start(); LANES], single: fold.start(), any: false }
    }

    #[inline(always)]
    fn add<I: Isa>(&mut self, isa: I, row: &[T]) {
        let (chunks, rest) = row.as_chunks::<LANES>();
        // A long row is read at four places at once: four streams keep more of memory busy than one.
        let quarter = if chunks.len() >= STREAMS { chunks.len() / 4 } else { 0 };
        let (first, tail) = chunks.split_at(quarter);
        let (second, tail) = tail.split_at(quarter);
        let (third, tail) = tail.split_at(quarter);
        let (fourth, tail) = tail.split_at(quarter);
        for (((a, b), c), d) in first.iter().zip(second).zip(third).zip(fourth) {
            for chunk in [a, b, c, d] {
                self.fold.add_lanes(isa, &mut self.lanes, chunk);
            }
        }
        for chunk in tail {
            self.fold.add_lanes(isa, &mut self.lanes, chunk);
        }
        self.any |= !chunks.is_empty();
        for &x in rest {
            self.single = self.fold.add(self.single, x);
        }
    }

    #[inline(always)]
    fn finish(mut self) -> F::Acc {
        if self.any { self.fold.join(tree(self.fold, &mut self.lanes), self.single) } else { self.single }
    }
}

/// Joins lanes, halves with halves.
#[inline(always)]
fn tree<T: Copy, F: Fold<T>>(fold: F, lanes: &mut [F::Acc; LANES]) -> F::Acc {
    let mut half = LANES / 2;
    while half > 0 {
        let (low, high) = lanes.split_at_mut(half);
        low.iter_mut().zip(high).for_each(|(a, b)| *a = fold.join(*a, *b));
        half /= 2;
    }
    lanes[0]
}

/// Folds the entries `range` of a layout, each of which begins a contiguous strip, into `sums`; overwrites those.
struct FoldStrip<'a, T: Copy, F: Fold<T>> {
    data: &'a [T],
    layout: &'a Layout,
    range: std::ops::Range<usize>,
    fold: F,
    sums: &'a mut [F::Acc],
}

impl<T: Element, F: Fold<T>> Kernel for FoldStrip<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let FoldStrip { data, layout, range, fold, sums } = self;
        let n = sums.len();
        sums.fill(fold.start());
        let mut rows = Rows::new([layout], range);
        let [stride] = rows.inner;
        while let Some((place, [start])) = rows.next() {
            // Four entries in one pass over the sums, in their order.
            let (count, mut at, mut done) = (place.len(), start, 0);
            while done + 4 <= count {
                let [a, b, c, d] = [0, 1, 2, 3].map(|i| &data[at + i * stride..][..n]);
                for i in 0..n {
                    sums[i] = fold.add(fold.add(fold.add(fold.add(sums[i], a[i]), b[i]), c[i]), d[i]);
                }
                (at, done) = (at + 4 * stride, done + 4);
            }
            while done < count {
                sums.iter_mut().zip(&data[at..][..n]).for_each(|(sum, &x)| *sum = fold.add(*sum, x));
                (at, done) = (at + stride, done + 1);
            }
        }
    }
}
