//! The right side of a product, in the forms in which the micro-kernel can read it: packed ([`Panels`]), or where it lies
//! ([`Windows`], [`Segments`]).

use std::ops::Range;

use super::operand::Panels;
use super::tile::{Sums, add_product, width, zeros};
use crate::kernels::{Float, end_of};
use crate::simd::{Isa, Vector};

/// The right side of a product, read the columns of one tile at a time.
pub trait Right<T: Float>: Copy {
    /// Whether the panels pass by while one left panel stays in the first cache, or stay there while left panels pass by.
    /// Panels of one's own are read front to back, which costs nothing; what lies elsewhere had better stay.
    const PASSES_BY: bool;

    /// Terms of each sum.
    fn depth(&self) -> usize;

    /// The same columns, restricted to some depths.
    fn depths(self, depth: Range<usize>) -> Self;

    /// Panics unless all depths of `columns` columns, a multiple of a tile's, can be read.
    fn check(&self, columns: usize);

    /// The micro-kernel: the first `R` rows of the tile that a left panel makes with the columns from `column` on.
    /// Implementations are `#[inline(always)]`.
    ///
    /// # Safety
    /// [`Right::check`] has returned, on these data, for all columns of that tile.
    unsafe fn tile<I: Isa, const R: usize, const MR: usize>(&self, left: &[[T; MR]], column: usize) -> Sums<T, I, R>;
}

/// Two registers of neighbours.
///
/// # Safety
/// `from` can be read for the elements of both.
#[inline(always)]
pub(super) unsafe fn pair<T: Float, I: Isa>(from: *const T) -> [T::Vector<I>; 2] {
    // SAFETY: as the caller says.
    unsafe { [T::Vector::<I>::load(from), T::Vector::<I>::load(from.add(<T::Vector<I> as Vector<T>>::LANES))] }
}

impl<T: Float> Right<T> for Panels<'_, T> {
    const PASSES_BY: bool = true;

    fn depth(&self) -> usize {
        Panels::depth(self)
    }

    fn depths(self, depth: Range<usize>) -> Self {
        Panels::depths(self, depth)
    }

    fn check(&self, columns: usize) {
        let (data, width, depth) = self.parts();
        assert_eq!(columns % width, 0, "panels of {width} columns");
        assert!(end_of([(columns, depth)], 0) <= data.len(), "{columns} columns of {depth} depths");
    }

    // SAFETY: nothing is asked of the caller here, for every access is checked.
    #[inline(always)]
    unsafe fn tile<I: Isa, const R: usize, const MR: usize>(&self, left: &[[T; MR]], column: usize) -> Sums<T, I, R> {
        let mut tile = zeros::<T, I, R>();
        let width = width::<T, I>();
        let right = self.panel(column / width);
        assert_eq!(left.len() * width, right.len(), "depth of the two sides");
        // Four depths a turn: what counts the loop takes turns of the multipliers, 6 % of them at one depth a turn.
        let (left, left_rest) = left.as_chunks::<4>();
        let mut turns = right.chunks_exact(4 * width);
        for (left, right) in left.iter().zip(&mut turns) {
            for (left, right) in left.iter().zip(right.chunks_exact(width)) {
                // SAFETY: `right` is the tile's columns at one depth.
                add_product::<T, I, R>(&mut tile, |i| left[i], unsafe { pair::<T, I>(right.as_ptr()) });
            }
        }
        for (left, right) in left_rest.iter().zip(turns.remainder().chunks_exact(width)) {
            // SAFETY: as above.
            add_product::<T, I, R>(&mut tile, |i| left[i], unsafe { pair::<T, I>(right.as_ptr()) });
        }
        tile
    }
}

/// Columns that need no packing, because depth `d` of column `j` is `data[offsets[d] + j]`. The last panel reads up to
/// a tile's width less one beyond its last column.
#[derive(Clone, Copy, Debug)]
pub struct Windows<'a, T> {
    pub data: &'a [T],
    pub offsets: &'a [usize],
}

impl<T: Float> Right<T> for Windows<'_, T> {
    const PASSES_BY: bool = false;

    fn depth(&self) -> usize {
        self.offsets.len()
    }

    fn depths(self, depth: Range<usize>) -> Self {
        Windows { offsets: &self.offsets[depth], ..self }
    }

    fn check(&self, columns: usize) {
        let last = self.offsets.iter().max().map_or(0, |offset| offset.saturating_add(columns));
        assert!(last <= self.data.len(), "{columns} columns end at {last}, the data at {}", self.data.len());
    }

    // SAFETY: the caller has had `check` pass over every column of the tile, which is what the reads below rest on.
    #[inline(always)]
    unsafe fn tile<I: Isa, const R: usize, const MR: usize>(&self, left: &[[T; MR]], column: usize) -> Sums<T, I, R> {
        let mut tile = zeros::<T, I, R>();
        // One length for both, or the loop counts twice.
        let left = &left[..self.offsets.len()];
        for (left, &offset) in left.iter().zip(self.offsets) {
            // A way out of this loop would cost it half of its speed.
            // SAFETY: `check` has seen that the data reach the tile's last column beyond every offset, as the caller says.
            let right = unsafe { pair::<T, I>(self.data.as_ptr().add(offset + column)) };
            add_product::<T, I, R>(&mut tile, |i| left[i], right);
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
pub struct Segments<'a, T> {
    pub data: &'a [T],
    pub offsets: &'a [usize],
    /// As many as fill the last panel.
    pub firsts: &'a [usize],
}

impl<T: Float> Right<T> for Segments<'_, T> {
    const PASSES_BY: bool = false;

    fn depth(&self) -> usize {
        self.offsets.len()
    }

    fn depths(self, depth: Range<usize>) -> Self {
        Segments { offsets: &self.offsets[depth], ..self }
    }

    fn check(&self, columns: usize) {
        let firsts = &self.firsts[..columns.div_ceil(segment::<T>())];
        let last = |places: &[usize]| places.iter().max().copied();
        if let (Some(offset), Some(first)) = (last(self.offsets), last(firsts)) {
            let end = offset.saturating_add(first).saturating_add(segment::<T>());
            assert!(end <= self.data.len(), "{columns} columns end at {end}, the data at {}", self.data.len());
        }
    }

    // SAFETY: the caller has had `check` pass over every column of the tile, which is what the reads below rest on.
    #[inline(always)]
    unsafe fn tile<I: Isa, const R: usize, const MR: usize>(&self, left: &[[T; MR]], column: usize) -> Sums<T, I, R> {
        let (segment, lanes) = (segment::<T>(), <T::Vector<I> as Vector<T>>::LANES);
        let place = |column: usize| self.data.as_ptr().wrapping_add(self.firsts[column / segment] + column % segment);
        // A register is a segment, or half of one, or two.
        let halves = lanes > segment;
        let low = [place(column), place(column + lanes)];
        let high = if halves { [place(column + segment), place(column + lanes + segment)] } else { low };
        let mut tile = zeros::<T, I, R>();
        // One length for both, or the loop counts twice.
        let left = &left[..self.offsets.len()];
        for (left, &offset) in left.iter().zip(self.offsets) {
            // SAFETY: `check` has seen that the data reach a segment beyond every sum of an offset and a first.
            let right = unsafe {
                if halves {
                    [
                        T::Vector::<I>::load_halves(low[0].add(offset), high[0].add(offset)),
                        T::Vector::<I>::load_halves(low[1].add(offset), high[1].add(offset)),
                    ]
                } else {
                    [T::Vector::<I>::load(low[0].add(offset)), T::Vector::<I>::load(low[1].add(offset))]
                }
            };
            add_product::<T, I, R>(&mut tile, |i| left[i], right);
        }
        tile
    }
}
