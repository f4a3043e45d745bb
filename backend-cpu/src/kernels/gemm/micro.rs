//! What the micro-kernels share: a register tile of C, its rank-1 update and its store.
//!
//! ```text
//! for p in 0..k { for i in 0..R { for j in 0..NR { tile[i][j] += a(i, p) * b[p][j] } } }
//! ```

use std::ops::Range;

use super::output::Output;
use crate::kernels::Float;
use crate::simd::{Isa, MAX_LANES, Vector};

/// The initial value of C.
#[derive(Clone, Copy, Debug)]
pub enum Init<'a, T> {
    /// `C = A B`
    Zero,
    /// `C += A B` (a beta of 1)
    Accumulate,
    /// `C[i][j] = (A B)[i][j] + bias[i]`
    RowBias(&'a [T]),
    /// `C[i][j] = (A B)[i][j] + bias[j]`
    ColumnBias(&'a [T]),
}

impl<'a, T> Init<'a, T> {
    /// The initial value of a block of C.
    pub(super) fn block(self, rows: Range<usize>, columns: Range<usize>) -> Self {
        match self {
            Init::RowBias(bias) => Init::RowBias(&bias[rows]),
            Init::ColumnBias(bias) => Init::ColumnBias(&bias[columns]),
            other => other,
        }
    }
}

/// A register tile: `R` rows of two registers.
pub(super) type Accumulators<T, I, const R: usize> = [[<T as Float>::Vector<I>; 2]; R];

/// Lanes of a register.
#[inline(always)]
pub(super) const fn lanes<T: Float, I: Isa>() -> usize {
    <T::Vector<I> as Vector<T, I>>::LANES
}

/// Columns of a tile.
#[inline(always)]
pub(super) const fn nr<T: Float, I: Isa>() -> usize {
    2 * lanes::<T, I>()
}

/// A tile of zeros.
#[inline(always)]
pub(super) fn zeros<T: Float, I: Isa, const R: usize>(isa: I) -> Accumulators<T, I, R> {
    [[T::Vector::<I>::splat(isa, T::ZERO); 2]; R]
}

/// Loads the two registers of one row of a tile from contiguous elements.
///
/// # Safety
/// `from` can be read for the elements of both.
#[inline(always)]
pub(super) unsafe fn load_row<T: Float, I: Isa>(isa: I, from: *const T) -> [T::Vector<I>; 2] {
    // SAFETY: the caller has checked the elements of both registers.
    unsafe { [T::Vector::<I>::load(isa, from), T::Vector::<I>::load(isa, from.add(lanes::<T, I>()))] }
}

/// The rank-1 update `tile[i] += a(i) * b`.
#[inline(always)]
pub(super) fn rank1_update<T: Float, I: Isa, const R: usize>(
    isa: I,
    tile: &mut Accumulators<T, I, R>,
    a: impl Fn(usize) -> T,
    b: [T::Vector<I>; 2],
) {
    for i in 0..R {
        let a = T::Vector::<I>::splat(isa, a(i));
        tile[i] = [a.multiply_add(b[0], tile[i][0]), a.multiply_add(b[1], tile[i][1])];
    }
}

/// `C = init + tile` for the part of the tile at `(row, column)` that lies within C.
#[inline(always)]
pub(super) fn store<T: Float, I: Isa, const R: usize>(
    isa: I,
    tile: &Accumulators<T, I, R>,
    row: usize,
    column: usize,
    out: &mut Output<T>,
    init: Init<T>,
) {
    let (lanes, nr) = (lanes::<T, I>(), nr::<T, I>());
    if row + R <= out.rows() && column + nr <= out.columns() {
        // One check and one branch for all rows, as the FMA units idle between two tiles.
        let (to, stride) = out.part(row..row + R, column..column + nr);
        macro_rules! write_all {
            (|$i:ident, $half:ident, $to:ident| $from:expr) => {
                for $i in 0..R {
                    for $half in 0..2 {
                        // SAFETY: `part` has checked that the tile's rows and columns lie within C; a column bias is a slice of
                        // `nr` elements.
                        unsafe {
                            let $to = to.add($i * stride + $half * lanes);
                            $from.store($to);
                        }
                    }
                }
            };
        }
        match init {
            Init::Zero => write_all!(|i, half, to| tile[i][half]),
            Init::Accumulate => write_all!(|i, half, to| T::Vector::<I>::load(isa, to).add(tile[i][half])),
            Init::RowBias(bias) => {
                let bias = &bias[row..][..R];
                write_all!(|i, half, to| T::Vector::<I>::splat(isa, bias[i]).add(tile[i][half]));
            }
            Init::ColumnBias(bias) => {
                let bias = bias[column..][..nr].as_ptr();
                write_all!(|i, half, to| T::Vector::<I>::load(isa, bias.add(half * lanes)).add(tile[i][half]));
            }
        }
        return;
    }
    let rows = out.rows().min(row + R) - row;
    let columns = column..out.columns().min(column + nr);
    for i in 0..R {
        if i == rows {
            break;
        }
        let mut sums = [T::ZERO; 2 * MAX_LANES];
        for (half, &sum) in tile[i].iter().enumerate() {
            // SAFETY: `sums` holds two registers of the longest kind.
            unsafe { sum.store(sums.as_mut_ptr().add(half * lanes)) };
        }
        store_row(&sums[..columns.len()], row + i, column, out.row(row + i, columns.clone()), init);
    }
}

/// `to = init + sums` for a row of C, or the part of it that begins at `(row, column)`.
#[inline(always)]
pub(super) fn store_row<T: Float>(sums: &[T], row: usize, column: usize, to: &mut [T], init: Init<T>) {
    match init {
        Init::Zero => to.copy_from_slice(sums),
        Init::Accumulate => to.iter_mut().zip(sums).for_each(|(to, &sum)| *to += sum),
        Init::RowBias(bias) => to.iter_mut().zip(sums).for_each(|(to, &sum)| *to = sum + bias[row]),
        Init::ColumnBias(bias) => {
            let bias = &bias[column..][..to.len()];
            to.iter_mut().zip(sums.iter().zip(bias)).for_each(|(to, (&sum, &bias))| *to = sum + bias);
        }
    }
}
