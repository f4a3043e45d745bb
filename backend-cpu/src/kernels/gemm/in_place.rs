//! Small products, which read A in place, and B too if its columns are adjacent in memory. Packing pays if a panel is read many
//! times; here it would cost as much as the arithmetic.
//!
//! ```text
//! for p in 0..k { for i in 0..MR { for j in 0..NR {
//!     tile[i][j] += a[i * stride + p * k_stride] * b[p * b_stride + j]
//! } } }
//! ```
//! The order of summation is that of `macro_kernel.rs`, so results are bit-identical to it.

use std::ops::Range;

use super::blocking::{PARALLEL_WORK, Shape, Tile, kc};
use super::for_each_block;
use super::micro::{Accumulators, Init, load_row, nr, rank1_update, store, zeros};
use super::output::{Epilogue, Output};
use super::pack::{PackSource, Panels, Strided, pack};
use crate::kernels::{Float, Scratch, end_of};
use crate::simd::{Isa, Kernel, Level};

/// Whether a product is small enough: few tiles read each panel of B.
pub(super) fn suits(shape: Shape) -> bool {
    shape.m <= 256 && shape.work() <= 1 << 24
}

/// B, `nr` columns at a time: element `(p, j)` is `data[j / nr * panel + p * stride + j % nr]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns<'a, T> {
    data: &'a [T],
    panel: usize,
    stride: usize,
}

impl<'a, T: Float> Columns<'a, T> {
    /// A matrix in place, if its columns are adjacent in memory and the last panel can be read at its full width.
    pub(super) fn of(matrix: &Strided<'a, T>, shape: Shape, tile: Tile) -> Option<Self> {
        let columns = Columns { data: matrix.data, panel: tile.nr, stride: matrix.k_stride };
        // Rows far apart, in particular by a power of two, would fall into few sets of L1.
        let near = matrix.k_stride < 1024 / size_of::<T>();
        (matrix.stride == 1 && near && columns.holds(shape.n, shape.k, tile)).then_some(columns)
    }

    fn packed(panels: &Panels<'a, T>) -> Self {
        let (data, width, k) = panels.parts();
        Columns { data, panel: width * k, stride: width }
    }

    /// The columns from `column` on, which must be the first of a panel.
    fn skip(self, column: usize, tile: Tile) -> Self {
        Columns { data: &self.data[column / tile.nr * self.panel..], ..self }
    }

    fn holds(&self, columns: usize, k: usize, tile: Tile) -> bool {
        let panels = columns.div_ceil(tile.nr);
        panels == 0 || k == 0 || end_of([(panels - 1, self.panel), (k - 1, self.stride)], tile.nr) <= self.data.len()
    }
}

/// `C = init + A B` over a range of k, with A in place; threads share blocks of C.
pub(super) fn product<T: Float>(
    level: Level,
    shape: Shape,
    k: Range<usize>,
    a: &Strided<T>,
    b: &impl PackSource<T>,
    out: &mut Output<T>,
    (init, epilogue): (Init<T>, Epilogue<T>),
) {
    let n = shape.n;
    let tile = Tile::of::<T>(level);
    let part = Shape { k: k.len(), ..shape };
    let parallel = part.work() >= PARALLEL_WORK;
    let skip = |matrix: &Strided<'_, T>, p| matrix.data.len().min(end_of([(p, matrix.k_stride)], 0));
    let a = Strided { data: &a.data[skip(a, k.start)..], ..*a };
    let in_place = b.as_strided().and_then(|b| {
        let first = skip(&b, k.start);
        Columns::of(&Strided { data: &b.data[first..], ..b }, part, tile)
    });
    let mut packed;
    let columns_of_b = match in_place {
        Some(columns) => columns,
        None => {
            packed = Scratch::new(n.next_multiple_of(tile.nr).saturating_mul(part.k));
            Columns::packed(&pack(parallel, b, n, k, tile.nr, &mut packed))
        }
    };
    for_each_block(parallel, part, tile, out, |rows, columns, out| {
        let a = Strided { data: &a.data[a.data.len().min(end_of([(rows.start, a.stride)], 0))..], ..a };
        let b = columns_of_b.skip(columns.start, tile);
        multiply(level, &a, b, part.k, out, init.block(rows, columns));
        epilogue(out);
    });
}

/// `C = init + A B`, on this thread.
fn multiply<T: Float>(level: Level, a: &Strided<T>, b: Columns<T>, k: usize, out: &mut Output<T>, init: Init<T>) {
    let (rows, columns) = (out.rows(), out.columns());
    if rows == 0 || columns == 0 {
        return;
    }
    let end = end_of([(rows - 1, a.stride), (k.saturating_sub(1), a.k_stride)], 1);
    assert!(k == 0 || end <= a.data.len(), "{rows} x {k} elements within {}", a.data.len());
    assert!(b.holds(columns, k, Tile::of::<T>(level)), "{columns} columns, k of {k} within {}", b.data.len());
    level.dispatch(InPlace { a: *a, b, k, out, init });
}

struct InPlace<'a, 'b, T> {
    a: Strided<'a, T>,
    b: Columns<'a, T>,
    k: usize,
    out: &'a mut Output<'b, T>,
    init: Init<'a, T>,
}

impl<T: Float> Kernel for InPlace<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        // `mr` as in `Tile::of`, and a smaller tile, two of which cover the last rows.
        match I::VECTOR_BYTES {
            64 => self.tiles::<I, 12, 8>(isa),
            32 => self.tiles::<I, 6, 4>(isa),
            _ => self.tiles::<I, 4, 3>(isa),
        }
    }
}

impl<T: Float> InPlace<'_, '_, T> {
    #[inline(always)]
    fn tiles<I: Isa, const MR: usize, const FEW: usize>(self, isa: I) {
        let InPlace { a, b, k, out, init } = self;
        let (rows, columns) = (out.rows(), out.columns());
        let (step, nr) = (kc::<T>(k), nr::<T, I>());
        // One iteration even for k = 0: C is then its initial value.
        for first in (0..k.max(1)).step_by(step) {
            let len = k.min(first + step) - first;
            let init = if first == 0 { init } else { Init::Accumulate };
            for column in (0..columns).step_by(nr) {
                let b_data = &b.data[(column / nr * b.panel + first * b.stride).min(b.data.len())..];
                let b_rows = (b_data.as_ptr(), b.stride);
                let mut row = 0;
                while row < rows {
                    let rest = rows - row;
                    let a_data = &a.data[(row * a.stride + first * a.k_stride).min(a.data.len())..];
                    // SAFETY: `multiply` has checked that every element of A and B with these rows, columns and k lies within its
                    // slice; rows beyond the last repeat the last.
                    row += unsafe {
                        if rest > 2 * FEW || (rest > FEW && rest <= MR) {
                            let tile = micro_kernel::<T, I, MR>(isa, a_data.as_ptr(), &a, rest, b_rows, len);
                            store::<T, I, _>(isa, &tile, row, column, out, init);
                            MR
                        } else {
                            let tile = micro_kernel::<T, I, FEW>(isa, a_data.as_ptr(), &a, rest, b_rows, len);
                            store::<T, I, _>(isa, &tile, row, column, out, init);
                            FEW
                        }
                    };
                }
            }
        }
    }
}

/// `R` rows of one tile.
///
/// # Safety
/// `a` can be read at `i * stride + p * k_stride` for the first `rows` rows, `b` at `p * b_stride + j` for each `j` of a tile's
/// columns, both for `p < k`.
#[inline(always)]
unsafe fn micro_kernel<T: Float, I: Isa, const R: usize>(
    isa: I,
    a: *const T,
    strides: &Strided<T>,
    rows: usize,
    (b, b_stride): (*const T, usize),
    k: usize,
) -> Accumulators<T, I, R> {
    let offsets: [usize; R] = std::array::from_fn(|i| i.min(rows - 1) * strides.stride);
    let mut tile = zeros::<T, I, R>(isa);
    for p in 0..k {
        // SAFETY: the caller has checked B's elements.
        let b = unsafe { load_row::<T, I>(isa, b.add(p * b_stride)) };
        // SAFETY: the caller has checked A's elements.
        rank1_update::<T, I, R>(isa, &mut tile, |i| unsafe { *a.add(offsets[i] + p * strides.k_stride) }, b);
    }
    tile
}
