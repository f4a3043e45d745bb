//! The arithmetic: packed panels times packed panels into a block of the result.
//!
//! ```text
//! for d in 0..depth { for i in 0..MR { for j in 0..NR { tile[i][j] += left[d][i] * right[d][j] } } }
//! ```
//! A tile is a plain array; LLVM keeps it in registers and turns the inner loops into broadcast + FMA. Tiles fill the
//! register file but leave room for one row of `right` and one broadcast:
//!
//! | level    | registers | f32 tile | f64 tile | accumulators      | loads per FMA |
//! |----------|-----------|----------|----------|-------------------|---------------|
//! | avx512   | 32 x 64 B | 12 x 32  | 12 x 16  | 24 (14 x 32 spills) | 14 / 24     |
//! | avx2     | 16 x 32 B | 6 x 16   | 6 x 8    | 12                | 8 / 12        |
//! | baseline | 16 x 16 B | 4 x 8    | 4 x 4    | 8                 | 6 / 8         |
//!
//! Loops around it (the order of BLIS): depth in steps of [`DEPTH`], rows in steps of [`block_rows`], panels of columns,
//! panels of rows. One `right` panel (DEPTH x NR x 4 B = 16 KiB, half of L1) is reused by all row panels of the block;
//! a block of `left` (192 x DEPTH x 4 B = 192 KiB for an L2 of 512 KiB) by all column panels. The depth is the same on
//! every machine, for it decides in which order a sum is added.
//!
//! Law: every element is the sum, in this order, over depth blocks of a chain of multiply-adds from zero. Which block
//! or tile an element falls into changes nothing, so neither does the number of threads.

use std::ops::Range;

use super::operand::Panels;
use super::output::Output;
use super::right::Right;
use crate::caches::Caches;
use crate::kernels::Float;
use crate::simd::{Isa, Kernel, Level};

/// Depth of one block of panels, give or take a half.
pub(super) const DEPTH: usize = 256;

/// Depth of each block when `depth` is cut into blocks of nearly equal size: a short last one would cost as many reads
/// and writes of the result as a whole one.
pub(crate) fn depth_step(depth: usize) -> usize {
    let blocks = ((depth + DEPTH / 2) / DEPTH).max(1);
    depth.div_ceil(blocks).max(1)
}

/// Rows of one block of the left side, a multiple of every MR: of these and [`DEPTH`] it takes three eighths of the second cache.
pub(super) fn block_rows<T>() -> usize {
    rows_for::<T>(Caches::get().second)
}

/// [`block_rows`] for a second cache of so many bytes.
pub(super) fn rows_for<T>(second: usize) -> usize {
    const MULTIPLE: usize = 12;
    (second / 8 * 3 / (DEPTH * size_of::<T>()) / MULTIPLE).clamp(4, 64) * MULTIPLE
}

/// What the result starts from.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a, T> {
    /// `out = a b`
    Zero,
    /// `out += a b`
    Accumulate,
    /// `out[i][j] = (a b)[i][j] + bias[i]`
    RowBias(&'a [T]),
    /// `out[i][j] = (a b)[i][j] + bias[j]`
    ColumnBias(&'a [T]),
}

impl<'a, T> Start<'a, T> {
    /// What a block of the result starts from.
    pub(crate) fn block(self, rows: Range<usize>, columns: Range<usize>) -> Self {
        match self {
            Start::RowBias(bias) => Start::RowBias(&bias[rows]),
            Start::ColumnBias(bias) => Start::ColumnBias(&bias[columns]),
            other => other,
        }
    }
}

/// Rows and columns of a tile, which are the panel widths of the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    pub rows: usize,
    pub columns: usize,
}

impl Tile {
    pub const fn of<T>(level: Level) -> Tile {
        match level {
            Level::Avx512(_) => Tile { rows: 12, columns: 128 / size_of::<T>() },
            Level::Avx2(_) => Tile { rows: 6, columns: 64 / size_of::<T>() },
            Level::Baseline(_) => Tile { rows: 4, columns: 32 / size_of::<T>() },
        }
    }
}

/// `tile += left x right`, one depth.
#[inline(always)]
pub(super) fn add_product<T: Float, I: Isa, const R: usize, const MR: usize, const NR: usize>(
    tile: &mut [[T; NR]; R],
    left: &[T; MR],
    right: &[T; NR],
) {
    for i in 0..R {
        T::add_scaled::<I, NR>(&mut tile[i], left[i], right);
    }
}

/// `out = start + left right`, on this thread.
pub fn multiply<T: Float>(level: Level, left: Panels<T>, right: impl Right<T>, out: &mut Output<T>, start: Start<T>) {
    multiply_in_blocks(level, left, right, out, start, block_rows::<T>());
}

/// [`multiply`] in blocks of so many rows, a multiple of every MR.
pub(super) fn multiply_in_blocks<T: Float>(
    level: Level,
    left: Panels<T>,
    right: impl Right<T>,
    out: &mut Output<T>,
    start: Start<T>,
    block_rows: usize,
) {
    assert_eq!(left.depth(), right.depth(), "depth of the two sides");
    let tile = Tile::of::<T>(level);
    assert_eq!(left.parts().1, tile.rows, "width of the left panels");
    right.check(out.columns().next_multiple_of(tile.columns));
    level.dispatch(Multiply { left, right, out, start, block_rows });
}

struct Multiply<'a, 'b, T, R> {
    left: Panels<'a, T>,
    right: R,
    out: &'a mut Output<'b, T>,
    start: Start<'a, T>,
    block_rows: usize,
}

impl<T: Float, R: Right<T>> Kernel for Multiply<'_, '_, T, R> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        // The same table as `Tile::of`, as constants; the second number is a shorter tile for the last rows.
        match (I::VECTOR_BYTES, size_of::<T>()) {
            (64, 4) => self.blocks::<I, 12, 6, 32>(),
            (64, _) => self.blocks::<I, 12, 6, 16>(),
            (32, 4) => self.blocks::<I, 6, 4, 16>(),
            (32, _) => self.blocks::<I, 6, 4, 8>(),
            (_, 4) => self.blocks::<I, 4, 2, 8>(),
            _ => self.blocks::<I, 4, 2, 4>(),
        }
    }
}

impl<T: Float, R: Right<T>> Multiply<'_, '_, T, R> {
    #[inline(always)]
    fn blocks<I: Isa, const MR: usize, const FEW: usize, const NR: usize>(self) {
        let Multiply { left, right, out, start, block_rows } = self;
        let (rows, columns, depth) = (out.rows(), out.columns(), left.depth());
        let step = depth_step(depth);
        // One turn even if there is nothing to sum: the result is then what it starts from.
        for first_depth in (0..depth.max(1)).step_by(step) {
            let depths = first_depth..depth.min(first_depth + step);
            let (left, right) = (left.depths(depths.clone()), right.depths(depths));
            let start = if first_depth == 0 { start } else { Start::Accumulate };
            for first_row in (0..rows).step_by(block_rows) {
                let last_row = rows.min(first_row + block_rows);
                for column in (0..columns).step_by(NR) {
                    for row in (first_row..last_row).step_by(MR) {
                        let (left, _) = left.panel(row / MR).as_chunks::<MR>();
                        if last_row - row <= FEW {
                            // SAFETY: `multiply` has checked all columns, the last panel's included.
                            let tile = unsafe { right.tile::<I, FEW, MR, NR>(left, column) };
                            store(&tile, row, column, out, start);
                        } else {
                            // SAFETY: as above.
                            let tile = unsafe { right.tile::<I, MR, MR, NR>(left, column) };
                            store(&tile, row, column, out, start);
                        }
                    }
                }
            }
        }
    }
}

/// Writes the part of a tile that lies within the result.
#[inline(always)]
pub(super) fn store<T: Float, const R: usize, const NR: usize>(
    tile: &[[T; NR]; R],
    row: usize,
    column: usize,
    out: &mut Output<T>,
    start: Start<T>,
) {
    let last_column = out.columns().min(column + NR);
    let rows = out.rows().min(row + R) - row;
    for (row, sums) in (row..).zip(&tile[..rows]) {
        let to = out.row(row, column..last_column);
        if let Some(to) = to.first_chunk_mut::<NR>() {
            store_whole(sums, row, column, to, start);
        } else {
            store_row(&sums[..to.len()], row, column, to, start);
        }
    }
}

/// [`store_row`] of a whole row of a tile. What is read is read before anything is written, in arrays: the compiler does not know
/// that they lie apart, and would go from number to number.
#[inline(always)]
fn store_whole<T: Float, const NR: usize>(
    sums: &[T; NR],
    row: usize,
    column: usize,
    to: &mut [T; NR],
    start: Start<T>,
) {
    let other: [T; NR] = match start {
        Start::Zero => {
            *to = *sums;
            return;
        }
        Start::Accumulate => *to,
        Start::RowBias(bias) => [bias[row]; NR],
        Start::ColumnBias(bias) => std::array::from_fn(|j| bias[column..][..NR][j]),
    };
    *to = std::array::from_fn(|j| sums[j] + other[j]);
}

/// `to = start + sums` for one row of the result, or a piece of it that begins at `(row, column)`.
#[inline(always)]
pub(super) fn store_row<T: Float>(sums: &[T], row: usize, column: usize, to: &mut [T], start: Start<T>) {
    match start {
        Start::Zero => to.copy_from_slice(sums),
        Start::Accumulate => to.iter_mut().zip(sums).for_each(|(to, &sum)| *to += sum),
        Start::RowBias(bias) => to.iter_mut().zip(sums).for_each(|(to, &sum)| *to = sum + bias[row]),
        Start::ColumnBias(bias) => {
            let bias = &bias[column..][..to.len()];
            to.iter_mut().zip(sums.iter().zip(bias)).for_each(|(to, (&sum, &bias))| *to = sum + bias);
        }
    }
}
