//! The index of an extreme: the fold of `reduce.rs`, then a search.

use super::fold::{Fold, Max, Min};
use super::{FoldRow, Folded, last_stride};
use crate::Cpu;
use crate::copy::{contiguous, start_of};
use crate::element::{Element, with_element};
use crate::launch::{self, report};
use crate::map::Source;
use crate::memory::Storage;
use crate::parallel;
use crate::simd::{Isa, Kernel, LANES};
use minitorch_core::Layout;
use minitorch_core::backend::{ArgReduceOp, View};

/// The place of the extreme of a contiguous row: the extreme first, then, out of the nearest cache, the first element that is it.
struct Place<'a, T, F> {
    data: &'a [T],
    row: &'a Layout,
    fold: F,
}

impl<T: Element, F: Fold<T, Acc = T>> Kernel for Place<'_, T, F> {
    type Output = i32;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> i32 {
        let Place { data, row, fold } = self;
        let best = fold.finish(FoldRow { data, layout: row, range: 0..data.len(), fold }.run(isa));
        let is_nan = |x: &T| x.partial_cmp(x).is_none();
        if is_nan(&best) {
            return data.iter().position(is_nan).map_or(0, |i| i as i32);
        }
        // Whole vectors until one holds it: a way out at every element would be one comparison at a time.
        let (chunks, _) = data.as_chunks::<LANES>();
        let holds = |chunk: &[T; LANES]| chunk.iter().fold(false, |any, &x| any | (x == best));
        let before = LANES * chunks.iter().position(holds).unwrap_or(chunks.len());
        let within = data[before..].iter().position(|&x| x == best);
        within.map_or(0, |i| (before + i) as i32)
    }
}

/// The first index of the extreme along `dim`: the extreme by [`reduce`]'s fold, then the first element that is it. Core
/// refuses bool.
pub(crate) fn arg_reduce(device: &Cpu, op: ArgReduceOp, x: View<'_, Storage>, dim: usize) -> Storage {
    fn arg<T: Element, F: Fold<T, Acc = T>>(device: &Cpu, fold: F, x: &Folded<T>) -> Storage {
        let (count, len) = (x.kept.numel(), x.reduced.numel());
        let mut out = device.alloc::<i32>("arg_reduce", count);
        if len == 0 {
            return Storage::I32(out); // and no output either: core refuses the extreme of nothing
        }
        let whole;
        let (data, kept, row) = if last_stride(&x.reduced).is_none_or(|stride| stride == 1) {
            (x.data, x.kept, x.reduced)
        } else {
            whole = contiguous(device, Source { data: x.data, layout: &x.joined() });
            (&whole[..], Layout::new([count], &[len], 0), Layout::contiguous([len]))
        };
        report(|| launch::pieces::<T>(&launch::named::<F>("arg_reduce"), count, 1, len).path("rows"));
        parallel::pieces(&mut out, 1, len, |first, out| {
            for (index, out) in (first..).zip(out) {
                let data = &data[start_of(&kept, index)..][..len];
                *out = T::dispatch(Place { data, row: &row, fold });
            }
        });
        Storage::I32(out)
    }
    with_element!(x.dtype, T => {
        let x = Folded::<T>::new(x, &[dim]);
        match op {
            ArgReduceOp::ArgMax => arg(device, Max, &x),
            ArgReduceOp::ArgMin => arg(device, Min, &x),
        }
    })
}
