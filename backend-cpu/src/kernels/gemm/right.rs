//! The right side of a product, in the forms in which the micro-kernel can read it: packed ([`Panels`]), or where it lies
//! ([`Windows`], [`Segments`]).

use std::ops::Range;

use super::operand::Panels;
use super::tile::add_product;
use crate::kernels::Float;
use crate::simd::Isa;

/// The right side of a product, read one panel of `NR` columns at a time.
pub trait Right<T>: Copy {
    /// Terms of each sum.
    fn depth(&self) -> usize;

    /// The same columns, restricted to some depths.
    fn depths(self, depth: Range<usize>) -> Self;

    /// Panics unless all depths of `columns` columns, a multiple of `NR`, can be read.
    fn check(&self, columns: usize);

    /// The micro-kernel: the first `R` rows of the tile that a left panel makes with columns `column .. column + NR`.
    /// Implementations are `#[inline(always)]`.
    ///
    /// # Safety
    /// [`Right::check`] has returned, on these data, for `column + NR` columns or more.
    unsafe fn tile<I: Isa, const R: usize, const MR: usize, const NR: usize>(
        &self,
        left: &[[T; MR]],
        column: usize,
    ) -> [[T; NR]; R];
}

impl<T: Float> Right<T> for Panels<'_, T> {
    fn depth(&self) -> usize {
        Panels::depth(self)
    }

    fn depths(self, depth: Range<usize>) -> Self {
        Panels::depths(self, depth)
    }

    fn check(&self, columns: usize) {
        let (data, width, depth) = self.parts();
        assert_eq!(columns % width, 0, "panels of {width} columns");
        assert!(columns * depth <= data.len(), "{columns} columns of {depth} depths");
    }

    // SAFETY: nothing is asked of the caller here, for every access is checked.
    #[inline(always)]
    unsafe fn tile<I: Isa, const R: usize, const MR: usize, const NR: usize>(
        &self,
        left: &[[T; MR]],
        column: usize,
    ) -> [[T; NR]; R] {
        let mut tile = [[T::ZERO; NR]; R];
        let right = self.panel(column / NR).as_chunks::<NR>().0;
        // One length for both, or the loop counts twice.
        let left = &left[..right.len()];
        // Four depths a turn: what counts the loop takes turns of the multipliers, 6 % of them at one depth a turn.
        let ((left, left_rest), (right, right_rest)) = (left.as_chunks::<4>(), right.as_chunks::<4>());
        for (left, right) in left.iter().zip(right) {
            for (left, right) in left.iter().zip(right) {
                add_product::<T, I, R, MR, NR>(&mut tile, left, right);
            }
        }
        for (left, right) in left_rest.iter().zip(right_rest) {
            add_product::<T, I, R, MR, NR>(&mut tile, left, right);
        }
        tile
    }
}

/// Columns that need no packing, because depth `d` of column `j` is `data[offsets[d] + j]`. The last panel reads up to
/// `NR - 1` elements beyond its last column.
#[derive(Clone, Copy, Debug)]
pub struct Windows<'a, T> {
    pub data: &'a [T],
    pub offsets: &'a [usize],
}

impl<T: Float> Right<T> for Windows<'_, T> {
    fn depth(&self) -> usize {
        self.offsets.len()
    }

    fn depths(self, depth: Range<usize>) -> Self {
        Windows { offsets: &self.offsets[depth], ..self }
    }

    fn check(&self, columns: usize) {
        let last = self.offsets.iter().max().map_or(0, |offset| offset + columns);
        assert!(last <= self.data.len(), "{columns} columns end at {last}, the data at {}", self.data.len());
    }

    // SAFETY: the caller has had `check` pass over every column up to `column + NR`, which is what the reads below rest on.
    #[inline(always)]
    unsafe fn tile<I: Isa, const R: usize, const MR: usize, const NR: usize>(
        &self,
        left: &[[T; MR]],
        column: usize,
    ) -> [[T; NR]; R] {
        let mut tile = [[T::ZERO; NR]; R];
        // One length for both, or the loop counts twice.
        let left = &left[..self.offsets.len()];
        for (left, &offset) in left.iter().zip(self.offsets) {
            // A way out of this loop would cost it half of its speed.
            // SAFETY: `check` has seen that the data reach `column + NR` beyond every offset, as the caller says.
            let right = unsafe { &*self.data.as_ptr().add(offset + column).cast::<[T; NR]>() };
            add_product::<T, I, R, MR, NR>(&mut tile, left, right);
        }
        tile
    }
}

/// Bytes of a segment: what a vector of AVX2 holds, a whole part of every tile's row.
const SEGMENT_BYTES: usize = 32;

/// Elements of a segment.
pub const fn segment<T>() -> usize {
    SEGMENT_BYTES / size_of::<T>()
}

/// Columns that need no packing, because they come in short runs: depth `d` of column `s * P + j`, with `j < P`, is
/// `data[offsets[d] + firsts[s] + j]`. `P` is [`segment`] of `T`.
#[derive(Clone, Copy, Debug)]
pub struct Segments<'a, T, const P: usize> {
    pub data: &'a [T],
    pub offsets: &'a [usize],
    /// As many as fill the last panel.
    pub firsts: &'a [usize],
}

/// Segments of the widest row of a tile: 128 bytes.
const MOST_SEGMENTS: usize = 4;

impl<T: Float, const P: usize> Right<T> for Segments<'_, T, P> {
    fn depth(&self) -> usize {
        self.offsets.len()
    }

    fn depths(self, depth: Range<usize>) -> Self {
        Segments { offsets: &self.offsets[depth], ..self }
    }

    fn check(&self, columns: usize) {
        let firsts = &self.firsts[..columns.div_ceil(P)];
        let last = |places: &[usize]| places.iter().max().copied();
        if let (Some(offset), Some(first)) = (last(self.offsets), last(firsts)) {
            let end = offset + first + P;
            assert!(end <= self.data.len(), "{columns} columns end at {end}, the data at {}", self.data.len());
        }
    }

    // SAFETY: the caller has had `check` pass over every column up to `column + NR`, which is what the reads below rest on.
    #[inline(always)]
    unsafe fn tile<I: Isa, const R: usize, const MR: usize, const NR: usize>(
        &self,
        left: &[[T; MR]],
        column: usize,
    ) -> [[T; NR]; R] {
        assert!(NR.is_multiple_of(P) && NR / P <= MOST_SEGMENTS, "a row of {NR} in segments of {P}");
        let firsts = &self.firsts[column / P..][..NR / P];
        let places: [*const T; MOST_SEGMENTS] = std::array::from_fn(|piece| {
            let first = if piece < NR / P { firsts[piece] } else { firsts[0] };
            self.data.as_ptr().wrapping_add(first)
        });
        let mut tile = [[T::ZERO; NR]; R];
        // One length for both, or the loop counts twice.
        let left = &left[..self.offsets.len()];
        for (left, &offset) in left.iter().zip(self.offsets) {
            // SAFETY: `check` has seen that the data reach `P` beyond every sum of an offset and a first.
            let right: [&[T; P]; MOST_SEGMENTS] =
                std::array::from_fn(|i| unsafe { &*places[i].add(offset).cast::<[T; P]>() });
            add_product::<T, I, R, MR, NR>(&mut tile, left, &std::array::from_fn(|j| right[j / P][j % P]));
        }
        tile
    }
}
