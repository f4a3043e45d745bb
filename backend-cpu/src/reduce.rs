//! Reductions over any set of dimensions, and arg-reductions. Cost: one read per element.
//!
//! The dimensions are divided into kept and reduced ones, and each group is merged as far as the strides allow. With o an index
//! of the kept and r of the reduced dimensions:
//!
//! ```text
//! rows      reduced elements are contiguous:  out[o]    = fold(x[o][..])               lanes, then a tree; see `lanes`
//! columns   kept elements are contiguous:     out[o..]  = fold over r of x[r][o..]     a strip of accumulators in L1
//! ```
//! Any other layout is first copied to that of `rows`. A long fold is split: the parts, whose length depends on the shape alone,
//! are folded on all threads and combined in order, so results are bit-identical for any number of threads.

use crate::Cpu;
use crate::copy::contiguous;
use crate::element::{Element, Real, with_element};
use crate::fold::{Fold, Max, Mean, Min, Prod, Sum};
use crate::launch::{self, report};
use crate::memory::{AnyBits, Storage};
use crate::simd::{Isa, Kernel, LANES};
use crate::view::{Rows, Source, position};
use crate::{lanes, parallel};
use minitorch_core::backend::{ArgReduceOp, ReduceOp, ReduceOps, View};
use minitorch_core::{DType, Layout, MAX_RANK, Shape};

/// The least and the most elements of a part of a split fold, which has about [`PARTS`] parts within these bounds.
const PART: std::ops::RangeInclusive<usize> = 16 * 1024..=64 * 1024;
const PARTS: usize = 64;

/// A row of at least this many chunks of [`LANES`] elements is read as four streams, for which the prefetcher reaches a higher
/// bandwidth than for one.
const MIN_STREAMED: usize = 256;

/// Columns of a strip: 8 KiB of f64, which stay in L1.
const STRIP: usize = 1024;

impl ReduceOps for Cpu {
    fn reduce(&self, op: ReduceOp, x: View<'_, Storage>, dims: &[usize]) -> Storage {
        match x.dtype {
            _ if x.storage.is_missing() => Storage::Missing(x.dtype),
            DType::F16 => unreachable!("core checks `supports`"),
            DType::F32 => real::<f32>(self, op, Reduction::new(x, dims)),
            DType::F64 => real::<f64>(self, op, Reduction::new(x, dims)),
            DType::I32 => {
                let x = Reduction::<i32>::new(x, dims);
                match op {
                    ReduceOp::Sum => x.fold(self, Sum),
                    ReduceOp::Prod => x.fold(self, Prod),
                    ReduceOp::Max => x.fold(self, Max),
                    ReduceOp::Min => x.fold(self, Min),
                    ReduceOp::Mean => unreachable!("core does not admit the mean on int32"),
                }
            }
            DType::Bool => {
                let x = Reduction::<u8>::new(x, dims);
                match op {
                    ReduceOp::Max => x.fold(self, Max),
                    ReduceOp::Min => x.fold(self, Min),
                    other => unreachable!("core does not admit {other} on bool"),
                }
            }
        }
    }

    fn arg_reduce(&self, op: ArgReduceOp, x: View<'_, Storage>, dim: usize) -> Storage {
        if x.storage.is_missing() {
            return Storage::Missing(DType::I32);
        }
        with_element!(x.dtype, T => {
            let x = Reduction::<T>::new(x, &[dim]);
            match op {
                ArgReduceOp::ArgMax => x.index_of(self, Max),
                ArgReduceOp::ArgMin => x.index_of(self, Min),
            }
        })
    }
}

fn real<T: Real>(device: &Cpu, op: ReduceOp, x: Reduction<T>) -> Storage
where
    Sum: Fold<T>,
    Mean: Fold<T>,
    Prod: Fold<T>,
    Max: Fold<T>,
    Min: Fold<T>,
{
    match op {
        ReduceOp::Sum => x.fold(device, Sum),
        ReduceOp::Mean => {
            let count = x.reduced.numel();
            x.fold(device, Mean { count })
        }
        ReduceOp::Prod => x.fold(device, Prod),
        ReduceOp::Max => x.fold(device, Max),
        ReduceOp::Min => x.fold(device, Min),
    }
}

/// A tensor with its dimensions divided into kept and reduced ones.
struct Reduction<'a, T> {
    data: &'a [T],
    /// The kept dimensions, merged, with the offset of the tensor.
    kept: Layout,
    /// The reduced dimensions, merged, with offset 0.
    reduced: Layout,
}

impl<'a, T: Element> Reduction<'a, T> {
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
        Reduction { data: T::read(x.storage), kept: part(false, x.layout.offset()), reduced: part(true, 0) }
    }

    fn fold<F: Fold<T>>(self, device: &Cpu, fold: F) -> Storage
    where
        F::Acc: AnyBits,
    {
        let mut out = device.workspace::<T>(self.kept.numel());
        let done = out.as_mut().and_then(|out| self.fold_into(device, fold, out));
        T::wrap(done.and(out))
    }

    /// `None` if there is no memory for intermediate results.
    fn fold_into<F: Fold<T>>(self, device: &Cpu, fold: F, out: &mut [T]) -> Option<()>
    where
        F::Acc: AnyBits,
    {
        if self.reduced.numel() == 0 {
            out.fill(fold.finish(fold.identity()));
            Some(())
        } else if out.is_empty() {
            Some(())
        } else if last_stride(&self.reduced) == Some(1) || self.reduced.numel() == 1 && self.kept.numel() == 1 {
            self.rows(device, fold, out)
        } else if last_stride(&self.kept) == Some(1) {
            self.columns(device, fold, out)
        } else {
            let copy = contiguous(device, Source { data: self.data, layout: &self.kept_then_reduced() })?;
            let (outer, inner) = (self.kept.numel(), self.reduced.numel());
            let kept = Layout::new([outer], &[inner], 0);
            Reduction { data: &copy, kept, reduced: Layout::contiguous([inner]) }.rows(device, fold, out)
        }
    }

    /// The layout with the kept dimensions before the reduced ones; its rank is at most the tensor's.
    fn kept_then_reduced(&self) -> Layout {
        let (a, b) = (self.kept.shape().len(), self.reduced.shape().len());
        let (mut sizes, mut strides) = ([0; MAX_RANK], [0; MAX_RANK]);
        sizes[..a].copy_from_slice(self.kept.shape());
        sizes[a..a + b].copy_from_slice(self.reduced.shape());
        strides[..a].copy_from_slice(self.kept.strides());
        strides[a..a + b].copy_from_slice(self.reduced.strides());
        Layout::new(Shape::new(&sizes[..a + b]), &strides[..a + b], self.kept.offset())
    }

    /// For a last reduced dimension of stride 1: folds contiguous rows of `width` elements.
    fn rows<F: Fold<T>>(&self, device: &Cpu, fold: F, out: &mut [T]) -> Option<()>
    where
        F::Acc: AnyBits,
    {
        let (len, width) = (self.reduced.numel(), self.reduced.shape().last().copied().unwrap_or(1));
        // A part is a multiple of a row, or a section of a very long row.
        let part = (len / PARTS).clamp(*PART.start(), *PART.end());
        let part = if width > part { part } else { (part / width).max(1) * width };
        let parts = len.div_ceil(part);
        let fold_part = |index: usize, number: usize| {
            let range = number * part..len.min((number + 1) * part);
            let data = &self.data[position(&self.kept, index)..];
            T::dispatch(FoldRow { data, layout: &self.reduced, range, fold })
        };
        if parts == 1 && len == width && self.kept.shape().len() <= 1 {
            // Rows at equal distances: one dispatch for many.
            let stride = last_stride(&self.kept).unwrap_or(0);
            report(|| launch::split::<T>(&launch::named::<F>("reduce"), out.len(), 1, len).path("rows"));
            parallel::split(out, 1, len, |first, out| {
                let data = &self.data[self.kept.offset() + first * stride..];
                T::dispatch(FoldRows { data, stride, len, fold, out });
            });
            return Some(());
        }
        if parts == 1 {
            report(|| launch::split::<T>(&launch::named::<F>("reduce"), out.len(), 1, len).path("rows in parts"));
            parallel::split(out, 1, len, |first, out| {
                for (index, out) in (first..).zip(out) {
                    *out = fold.finish(fold_part(index, 0));
                }
            });
            return Some(());
        }
        let mut partial = device.workspace::<F::Acc>(out.len() * parts)?;
        report(|| {
            let launch = launch::split::<T>(&launch::named::<F>("reduce"), partial.len(), 1, part);
            launch.path(format!("rows, split in {parts}"))
        });
        parallel::split(&mut partial, 1, part, |first, partial| {
            for (at, partial) in (first..).zip(partial) {
                *partial = fold_part(at / parts, at % parts);
            }
        });
        for (out, partial) in out.iter_mut().zip(partial.chunks_exact(parts)) {
            *out = fold.finish(partial.iter().fold(fold.identity(), |a, &b| fold.combine(a, b)));
        }
        Some(())
    }

    /// For a last kept dimension of stride 1 and size `width`: folds strips of it, one accumulator per column.
    fn columns<F: Fold<T>>(&self, device: &Cpu, fold: F, out: &mut [T]) -> Option<()>
    where
        F::Acc: AnyBits,
    {
        let (len, width) = (self.reduced.numel(), self.kept.shape().last().copied().unwrap_or(1));
        let part = (PART.end() / width.min(STRIP)).max(64);
        let parts = len.div_ceil(part);
        let fold_strip = |at: usize, count: usize, number: usize, accs: &mut [F::Acc; STRIP]| {
            let range = number * part..len.min((number + 1) * part);
            let data = &self.data[position(&self.kept, at)..];
            T::dispatch(FoldStrip { data, layout: &self.reduced, range, fold, accs: &mut accs[..count] });
        };
        if parts == 1 {
            report(|| {
                let launch = launch::split::<T>(&launch::named::<F>("reduce"), out.len(), width.min(STRIP), len);
                launch.path("columns").tile([1, width.min(STRIP)])
            });
            parallel::split(out, width.min(STRIP), len, |first, out| {
                let mut accs = [fold.identity(); STRIP];
                let mut done = 0;
                while done < out.len() {
                    let at = first + done;
                    let count = STRIP.min(width - at % width).min(out.len() - done);
                    fold_strip(at, count, 0, &mut accs);
                    for (out, &acc) in out[done..done + count].iter_mut().zip(&accs) {
                        *out = fold.finish(acc);
                    }
                    done += count;
                }
            });
            return Some(());
        }
        // partial[row of out][part][column]
        let mut partial = device.workspace::<F::Acc>(out.len() * parts)?;
        let strips = width.div_ceil(STRIP);
        report(|| {
            let launch = launch::split::<T>(&launch::named::<F>("reduce"), partial.len(), width, part);
            launch.path(format!("columns, split in {parts}")).tile([1, width.min(STRIP)])
        });
        parallel::split(&mut partial, width, part, |first, partial| {
            let mut accs = [fold.identity(); STRIP];
            for (row, partial) in (first / width..).zip(partial.chunks_exact_mut(width)) {
                for (strip, partial) in (0..strips).zip(partial.chunks_mut(STRIP)) {
                    fold_strip(row / parts * width + strip * STRIP, partial.len(), row % parts, &mut accs);
                    partial.copy_from_slice(&accs[..partial.len()]);
                }
            }
        });
        for (out, partial) in out.chunks_exact_mut(width).zip(partial.chunks_exact_mut(parts * width)) {
            let (accs, rest) = partial.split_at_mut(width);
            for part in rest.chunks_exact(width) {
                accs.iter_mut().zip(part).for_each(|(a, &b)| *a = fold.combine(*a, b));
            }
            out.iter_mut().zip(accs).for_each(|(out, acc)| *out = fold.finish(*acc));
        }
        Some(())
    }

    /// For each kept index, the first reduced index of the extreme that `fold` finds. Core does not admit bool.
    fn index_of<F: Fold<T, Acc = T>>(self, device: &Cpu, fold: F) -> Storage {
        let (count, len) = (self.kept.numel(), self.reduced.numel());
        let Some(mut out) = device.workspace::<i32>(count) else { return Storage::Missing(DType::I32) };
        if len == 0 {
            return Storage::I32(out); // the output is empty too: core does not admit the extreme of no elements
        }
        let copy;
        let (data, kept, row) = if last_stride(&self.reduced).is_none_or(|stride| stride == 1) {
            (self.data, self.kept, self.reduced)
        } else {
            copy = contiguous(device, Source { data: self.data, layout: &self.kept_then_reduced() });
            let Some(copy) = &copy else { return Storage::Missing(DType::I32) };
            (&copy[..], Layout::new([count], &[len], 0), Layout::contiguous([len]))
        };
        report(|| launch::split::<T>(&launch::named::<F>("arg_reduce"), count, 1, len).path("rows"));
        parallel::split(&mut out, 1, len, |first, out| {
            for (index, out) in (first..).zip(out) {
                let data = &data[position(&kept, index)..][..len];
                *out = T::dispatch(IndexOf { data, row: &row, fold });
            }
        });
        Storage::I32(out)
    }
}

fn last_stride(layout: &Layout) -> Option<usize> {
    layout.strides().last().copied()
}

/// Folds the elements `range` of a layout whose rows are contiguous.
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
        let mut state = RowFold::new(fold);
        while let Some((place, [start])) = rows.next() {
            state.add(isa, &data[start..][..place.len()]);
        }
        state.finish()
    }
}

/// Folds each contiguous row of `len` elements; the rows are `stride` apart.
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
            let mut state = RowFold::new(fold);
            state.add(isa, &data[row * stride..][..len]);
            *out = fold.finish(state.finish());
        }
    }
}

/// The accumulators of a row: one per lane, and one for the elements after the last chunk of [`LANES`].
struct RowFold<T: Copy, F: Fold<T>> {
    fold: F,
    lanes: [F::Acc; LANES],
    remainder: F::Acc,
    /// Whether the lanes have elements.
    any: bool,
}

impl<T: Copy, F: Fold<T>> RowFold<T, F> {
    #[inline(always)]
    fn new(fold: F) -> Self {
        RowFold { fold, lanes: [fold.identity(); LANES], remainder: fold.identity(), any: false }
    }

    #[inline(always)]
    fn add<I: Isa>(&mut self, isa: I, row: &[T]) {
        let (chunks, rest) = row.as_chunks::<LANES>();
        // A long row is read as four streams, its quarters.
        let quarter = if chunks.len() >= MIN_STREAMED { chunks.len() / 4 } else { 0 };
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
            self.remainder = self.fold.add(self.remainder, x);
        }
    }

    #[inline(always)]
    fn finish(self) -> F::Acc {
        let fold = self.fold;
        if self.any {
            fold.combine(lanes::combine(self.lanes, |a, b| fold.combine(a, b)), self.remainder)
        } else {
            self.remainder
        }
    }
}

/// `accs[i]` = the fold of column i over the elements `range` of a layout, each of which is the start of a contiguous strip.
struct FoldStrip<'a, T: Copy, F: Fold<T>> {
    data: &'a [T],
    layout: &'a Layout,
    range: std::ops::Range<usize>,
    fold: F,
    accs: &'a mut [F::Acc],
}

impl<T: Element, F: Fold<T>> Kernel for FoldStrip<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let FoldStrip { data, layout, range, fold, accs } = self;
        let n = accs.len();
        accs.fill(fold.identity());
        let mut rows = Rows::new([layout], range);
        let [stride] = rows.inner;
        while let Some((place, [start])) = rows.next() {
            // Four elements of the layout, in order, per pass over the accumulators.
            let (count, mut at, mut done) = (place.len(), start, 0);
            while done + 4 <= count {
                let [a, b, c, d] = [0, 1, 2, 3].map(|i| &data[at + i * stride..][..n]);
                for i in 0..n {
                    accs[i] = fold.add(fold.add(fold.add(fold.add(accs[i], a[i]), b[i]), c[i]), d[i]);
                }
                (at, done) = (at + 4 * stride, done + 4);
            }
            while done < count {
                accs.iter_mut().zip(&data[at..][..n]).for_each(|(acc, &x)| *acc = fold.add(*acc, x));
                (at, done) = (at + stride, done + 1);
            }
        }
    }
}

/// The index of the extreme of a contiguous row, or of the first NaN if there is one. A first pass finds the extreme, and a
/// second, in the cache, its first occurrence.
struct IndexOf<'a, T, F> {
    data: &'a [T],
    row: &'a Layout,
    fold: F,
}

impl<T: Element, F: Fold<T, Acc = T>> Kernel for IndexOf<'_, T, F> {
    type Output = i32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> i32 {
        let IndexOf { data, row, fold } = self;
        let best = fold.finish(FoldRow { data, layout: row, range: 0..data.len(), fold }.run(isa));
        let is_nan = |x: &T| x.partial_cmp(x).is_none();
        if is_nan(&best) {
            return data.iter().position(is_nan).map_or(0, |i| i as i32);
        }
        // Tests a chunk at a time: an exit at every element would not vectorise.
        let (chunks, _) = data.as_chunks::<LANES>();
        let holds = |chunk: &[T; LANES]| chunk.iter().fold(false, |any, &x| any | (x == best));
        let before = LANES * chunks.iter().position(holds).unwrap_or(chunks.len());
        let within = data[before..].iter().position(|&x| x == best);
        within.map_or(0, |i| (before + i) as i32)
    }
}
