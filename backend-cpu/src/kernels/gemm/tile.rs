//! The arithmetic: packed panels times packed panels into a block of the result.
//!
//! ```text
//! for d in 0..depth { for i in 0..MR { for j in 0..NR { tile[i][j] += left[d][i] * right[d][j] } } }
//! ```
//! A tile is two registers wide. Tiles fill the register file but leave room for one row of `right` and one broadcast:
//!
//! | level    | registers | f32 tile | f64 tile | accumulators      | loads per FMA |
//! |----------|-----------|----------|----------|-------------------|---------------|
//! | avx512   | 32 x 64 B | 12 x 32  | 12 x 16  | 24 (14 x 32 spills) | 14 / 24     |
//! | avx2     | 16 x 32 B | 6 x 16   | 6 x 8    | 12                | 8 / 12        |
//! | baseline | 16 x 16 B | 4 x 8    | 4 x 4    | 8                 | 6 / 8         |
//!
//! Loops around it: depth in steps of [`depth_block`], then, where both sides are packed, panels of rows and panels of columns: a
//! `left` panel (384 x MR x 4 B = 18 KiB at most) stays in the first cache while the block's `right` panels pass by from the second.
//! A right side that is read where it lies stays in the first cache in its turn ([`Right::PASSES_BY`]), in steps of less than half the
//! depth, for it has more cache lines than it has vectors: rows in steps of [`block_rows`], panels of columns, panels of rows. The
//! depths are the same on every machine, for they decide in which order a sum is added.
//!
//! Law: every element is the sum, in this order, over depth blocks of a chain of multiply-adds from zero. Which block
//! or tile an element falls into changes nothing, so neither does the number of threads.

use std::ops::Range;

use super::operand::Panels;
use super::output::Output;
use super::right::Right;
use crate::caches::Caches;
use crate::kernels::Float;
use crate::simd::{Isa, Kernel, Level, Vector};

/// Depth of one block of panels, give or take a half.
pub(super) const fn depth_block<T>() -> usize {
    1536 / size_of::<T>()
}

/// Depth of each block when `depth` is cut into blocks of nearly equal size: a short last one would cost as many reads
/// and writes of the result as a whole one.
pub(crate) fn depth_step<T>(depth: usize) -> usize {
    step(depth, depth_block::<T>())
}

/// [`depth_step`] of a right side that is read where it lies.
fn short_step<T>(depth: usize) -> usize {
    step(depth, 640 / size_of::<T>())
}

/// The size of each of nearly equal blocks.
fn step(depth: usize, block: usize) -> usize {
    let blocks = ((depth + block / 2) / block).max(1);
    depth.div_ceil(blocks).max(1)
}

/// Rows of one block of the left side, a multiple of every MR: of these and [`depth_block`] it takes three eighths of the second cache.
pub(super) fn block_rows<T>() -> usize {
    rows_for::<T>(Caches::get().second)
}

/// [`block_rows`] for a second cache of so many bytes.
pub(super) fn rows_for<T>(second: usize) -> usize {
    const MULTIPLE: usize = 12;
    (second / 8 * 3 / (depth_block::<T>() * size_of::<T>()) / MULTIPLE).clamp(4, 64) * MULTIPLE
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

/// Columns of the widest tile.
const WIDEST: usize = 32;

/// A tile's rows, two registers each.
pub(super) type Sums<T, I, const R: usize> = [[<T as Float>::Vector<I>; 2]; R];

/// Columns of a tile.
#[inline(always)]
pub(super) const fn width<T: Float, I: Isa>() -> usize {
    2 * <T::Vector<I> as Vector<T>>::LANES
}

/// A tile of zeros.
#[inline(always)]
pub(super) fn zeros<T: Float, I: Isa, const R: usize>() -> Sums<T, I, R> {
    [[T::Vector::<I>::splat(T::ZERO); 2]; R]
}

/// `tile += left x right`, one depth. `left(i)` is row `i`'s element.
#[inline(always)]
pub(super) fn add_product<T: Float, I: Isa, const R: usize>(
    tile: &mut Sums<T, I, R>,
    left: impl Fn(usize) -> T,
    right: [T::Vector<I>; 2],
) {
    for i in 0..R {
        let left = T::Vector::<I>::splat(left(i));
        tile[i] = [left.multiply_add(right[0], tile[i][0]), left.multiply_add(right[1], tile[i][1])];
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
        // The same table as `Tile::of`, as constants, and two shorter tiles for the last rows: what powers of two leave.
        match I::VECTOR_BYTES {
            64 => self.blocks::<I, 12, 8, 4>(),
            32 => self.blocks::<I, 6, 4, 2>(),
            _ => self.blocks::<I, 4, 2, 1>(),
        }
    }
}

impl<T: Float, R: Right<T>> Multiply<'_, '_, T, R> {
    #[inline(always)]
    fn blocks<I: Isa, const MR: usize, const FEW: usize, const LEAST: usize>(self) {
        let Multiply { left, right, out, start, block_rows } = self;
        let (rows, columns, depth) = (out.rows(), out.columns(), left.depth());
        let step = if R::PASSES_BY { depth_step::<T>(depth) } else { short_step::<T>(depth) };
        // One turn even if there is nothing to sum: the result is then what it starts from.
        for first_depth in (0..depth.max(1)).step_by(step) {
            let depths = first_depth..depth.min(first_depth + step);
            let (left, right) = (left.depths(depths.clone()), right.depths(depths));
            let start = if first_depth == 0 { start } else { Start::Accumulate };
            if R::PASSES_BY {
                for row in (0..rows).step_by(MR) {
                    for column in (0..columns).step_by(width::<T, I>()) {
                        one::<T, I, R, MR, FEW, LEAST>(left, right, out, start, [row, rows], column);
                    }
                }
                continue;
            }
            for first_row in (0..rows).step_by(block_rows) {
                let last_row = rows.min(first_row + block_rows);
                for column in (0..columns).step_by(width::<T, I>()) {
                    for row in (first_row..last_row).step_by(MR) {
                        one::<T, I, R, MR, FEW, LEAST>(left, right, out, start, [row, last_row], column);
                    }
                }
            }
        }
    }
}

/// One tile, of `FEW` or `LEAST` rows if no more of them come before the last.
#[inline(always)]
fn one<T: Float, I: Isa, R: Right<T>, const MR: usize, const FEW: usize, const LEAST: usize>(
    left: Panels<T>,
    right: R,
    out: &mut Output<T>,
    start: Start<T>,
    [row, last_row]: [usize; 2],
    column: usize,
) {
    let (left, _) = left.panel(row / MR).as_chunks::<MR>();
    let rows = last_row - row;
    if rows > FEW {
        // SAFETY: `multiply` has checked all columns, the last panel's included.
        let tile = unsafe { right.tile::<I, MR, MR>(left, column) };
        store::<T, I, _>(&tile, row, column, out, start);
    } else if rows > LEAST {
        // SAFETY: as above.
        let tile = unsafe { right.tile::<I, FEW, MR>(left, column) };
        store::<T, I, _>(&tile, row, column, out, start);
    } else {
        // SAFETY: as above.
        let tile = unsafe { right.tile::<I, LEAST, MR>(left, column) };
        store::<T, I, _>(&tile, row, column, out, start);
    }
}

/// Writes the part of a tile that lies within the result.
#[inline(always)]
pub(super) fn store<T: Float, I: Isa, const R: usize>(
    tile: &Sums<T, I, R>,
    row: usize,
    column: usize,
    out: &mut Output<T>,
    start: Start<T>,
) {
    let (lanes, width) = (<T::Vector<I> as Vector<T>>::LANES, width::<T, I>());
    if row + R <= out.rows() && column + width <= out.columns() {
        // One check for all rows, and one jump: what stands between two tiles keeps the multipliers waiting.
        let (to, stride) = out.part(row..row + R, column..column + width);
        macro_rules! write_all {
            (|$i:ident, $half:ident, $to:ident| $from:expr) => {
                for $i in 0..R {
                    for $half in 0..2 {
                        // SAFETY: `part` has seen that the tile's rows and columns lie within the result; the bias is read from
                        // slices of a register's length or more.
                        unsafe {
                            let $to = to.add($i * stride + $half * lanes);
                            $from.store($to);
                        }
                    }
                }
            };
        }
        match start {
            Start::Zero => write_all!(|i, half, to| tile[i][half]),
            Start::Accumulate => write_all!(|i, half, to| T::Vector::<I>::load(to).add(tile[i][half])),
            Start::RowBias(bias) => {
                let bias = &bias[row..][..R];
                write_all!(|i, half, to| T::Vector::<I>::splat(bias[i]).add(tile[i][half]));
            }
            Start::ColumnBias(bias) => {
                let bias = bias[column..][..width].as_ptr();
                write_all!(|i, half, to| T::Vector::<I>::load(bias.add(half * lanes)).add(tile[i][half]));
            }
        }
        return;
    }
    let rows = out.rows().min(row + R) - row;
    let columns = column..out.columns().min(column + width);
    for i in 0..R {
        if i == rows {
            break;
        }
        let mut sums = [T::ZERO; WIDEST];
        for (half, &sum) in tile[i].iter().enumerate() {
            // SAFETY: two registers are no longer than the widest.
            unsafe { sum.store(sums.as_mut_ptr().add(half * lanes)) };
        }
        store_row(&sums[..columns.len()], row + i, column, out.row(row + i, columns.clone()), start);
    }
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
