//! Operand B in the forms that a micro-kernel reads: packed ([`Panels`]), or in place ([`Windows`], [`Segments`]). Each form
//! has its micro-kernel; A is packed in all of them.

use std::ops::Range;

use super::micro::{Accumulators, lanes, load_row, nr, rank1_update, zeros};
use super::pack::Panels;
use crate::kernels::{Float, end_of};
use crate::simd::{Isa, Vector};

/// Operand B, read the columns of one tile at a time.
pub trait OperandB<T: Float>: Copy {
    /// True: B streams through L1 while one panel of A stays there. False: the columns of one tile of B stay while panels of A
    /// stream. The prefetchers hide the latency of packed panels, which are read front to back, but not that of B in place.
    const STREAMS_B: bool;

    /// The k of the product.
    fn k(&self) -> usize;

    /// The same columns, restricted to a range of k.
    fn k_range(self, k: Range<usize>) -> Self;

    /// Panics unless `columns` columns, a multiple of a tile's, can be read for all k.
    fn check(&self, columns: usize);

    /// The micro-kernel: the first `R` rows of the tile that a panel of A makes with the columns from `column` on.
    /// Implementations are `#[inline(always)]`.
    ///
    /// # Safety
    /// [`OperandB::check`] has returned, on these data, for all columns of that tile.
    unsafe fn micro_kernel<I: Isa, const R: usize, const MR: usize>(
        &self,
        isa: I,
        a: &[[T; MR]],
        column: usize,
    ) -> Accumulators<T, I, R>;
}

impl<T: Float> OperandB<T> for Panels<'_, T> {
    const STREAMS_B: bool = true;

    fn k(&self) -> usize {
        Panels::k(self)
    }

    fn k_range(self, k: Range<usize>) -> Self {
        Panels::k_range(self, k)
    }

    fn check(&self, columns: usize) {
        let (data, width, k) = self.parts();
        assert_eq!(columns % width, 0, "panels of {width} columns");
        assert!(end_of([(columns, k)], 0) <= data.len(), "{columns} columns, k of {k}");
    }

    // SAFETY: no precondition is used; every access is checked.
    #[inline(always)]
    unsafe fn micro_kernel<I: Isa, const R: usize, const MR: usize>(
        &self,
        isa: I,
        a: &[[T; MR]],
        column: usize,
    ) -> Accumulators<T, I, R> {
        let mut tile = zeros::<T, I, R>(isa);
        let nr = nr::<T, I>();
        let b = self.panel(column / nr);
        assert_eq!(a.len() * nr, b.len(), "k of the two operands");
        // Unrolled by four, as the loop's counters compete with the FMAs for issue slots.
        let (a, a_rest) = a.as_chunks::<4>();
        let mut fours = b.chunks_exact(4 * nr);
        for (a, b) in a.iter().zip(&mut fours) {
            for (a, b) in a.iter().zip(b.chunks_exact(nr)) {
                // SAFETY: `b` has `nr` elements.
                rank1_update::<T, I, R>(isa, &mut tile, |i| a[i], unsafe { load_row::<T, I>(isa, b.as_ptr()) });
            }
        }
        for (a, b) in a_rest.iter().zip(fours.remainder().chunks_exact(nr)) {
            // SAFETY: `b` has `nr` elements.
            rank1_update::<T, I, R>(isa, &mut tile, |i| a[i], unsafe { load_row::<T, I>(isa, b.as_ptr()) });
        }
        tile
    }
}

/// Columns in place: element `(p, j)` is `data[offsets[p] + j]`. The last tile reads up to `nr - 1` elements beyond the last
/// column.
#[derive(Clone, Copy, Debug)]
pub struct Windows<'a, T> {
    pub data: &'a [T],
    pub offsets: &'a [usize],
}

impl<T: Float> OperandB<T> for Windows<'_, T> {
    const STREAMS_B: bool = false;

    fn k(&self) -> usize {
        self.offsets.len()
    }

    fn k_range(self, k: Range<usize>) -> Self {
        Windows { offsets: &self.offsets[k], ..self }
    }

    fn check(&self, columns: usize) {
        let end = self.offsets.iter().max().map_or(0, |offset| offset.saturating_add(columns));
        assert!(end <= self.data.len(), "{columns} columns end at {end}, the data at {}", self.data.len());
    }

    // SAFETY: as the trait asks.
    #[inline(always)]
    unsafe fn micro_kernel<I: Isa, const R: usize, const MR: usize>(
        &self,
        isa: I,
        a: &[[T; MR]],
        column: usize,
    ) -> Accumulators<T, I, R> {
        let mut tile = zeros::<T, I, R>(isa);
        // Of equal length, so that the loop has one counter.
        let a = &a[..self.offsets.len()];
        for (a, &offset) in a.iter().zip(self.offsets) {
            // No bounds check here: a second exit of the loop makes the compiler spill the tile.
            // SAFETY: the caller has had `check` cover the tile's columns, which ends beyond every offset.
            let b = unsafe { load_row::<T, I>(isa, self.data.as_ptr().add(offset + column)) };
            rank1_update::<T, I, R>(isa, &mut tile, |i| a[i], b);
        }
        tile
    }
}

/// Bytes of a segment: an AVX2 register, which divides every tile's row.
const SEGMENT_BYTES: usize = 32;

/// Elements of a segment.
pub const fn segment<T>() -> usize {
    SEGMENT_BYTES / size_of::<T>()
}

/// Columns in place, in segments of `P` = [`segment`] adjacent elements: element `(p, s * P + j)`, with `j < P`, is
/// `data[offsets[p] + firsts[s] + j]`.
#[derive(Clone, Copy, Debug)]
pub struct Segments<'a, T> {
    pub data: &'a [T],
    pub offsets: &'a [usize],
    /// One offset per segment, with spare ones that fill the last tile.
    pub firsts: &'a [usize],
}

impl<T: Float> OperandB<T> for Segments<'_, T> {
    const STREAMS_B: bool = false;

    fn k(&self) -> usize {
        self.offsets.len()
    }

    fn k_range(self, k: Range<usize>) -> Self {
        Segments { offsets: &self.offsets[k], ..self }
    }

    fn check(&self, columns: usize) {
        let firsts = &self.firsts[..columns.div_ceil(segment::<T>())];
        let max = |offsets: &[usize]| offsets.iter().max().copied();
        if let (Some(offset), Some(first)) = (max(self.offsets), max(firsts)) {
            let end = offset.saturating_add(first).saturating_add(segment::<T>());
            assert!(end <= self.data.len(), "{columns} columns end at {end}, the data at {}", self.data.len());
        }
    }

    // SAFETY: as the trait asks.
    #[inline(always)]
    unsafe fn micro_kernel<I: Isa, const R: usize, const MR: usize>(
        &self,
        isa: I,
        a: &[[T; MR]],
        column: usize,
    ) -> Accumulators<T, I, R> {
        let (segment, lanes) = (segment::<T>(), lanes::<T, I>());
        let place = |column: usize| self.data.as_ptr().wrapping_add(self.firsts[column / segment] + column % segment);
        // A register holds one segment (AVX2), half of one (baseline), or two (AVX-512).
        let holds_two = lanes > segment;
        let low = [place(column), place(column + lanes)];
        let high = if holds_two { [place(column + segment), place(column + lanes + segment)] } else { low };
        let mut tile = zeros::<T, I, R>(isa);
        // Of equal length, so that the loop has one counter.
        let a = &a[..self.offsets.len()];
        for (a, &offset) in a.iter().zip(self.offsets) {
            // SAFETY: the caller has had `check` cover the tile's columns: the data reach a segment beyond every sum of an offset
            // and a first.
            let b = unsafe {
                if holds_two {
                    [
                        T::Vector::<I>::load_halves(isa, low[0].add(offset), high[0].add(offset)),
                        T::Vector::<I>::load_halves(isa, low[1].add(offset), high[1].add(offset)),
                    ]
                } else {
                    [T::Vector::<I>::load(isa, low[0].add(offset)), T::Vector::<I>::load(isa, low[1].add(offset))]
                }
            };
            rank1_update::<T, I, R>(isa, &mut tile, |i| a[i], b);
        }
        tile
    }
}
