//! Small products, whose left side is read where it lies, and whose right side too if its rows are contiguous: packing pays where
//! a panel is read many times, and here it would cost as much as the arithmetic.
//!
//! ```text
//! for d in 0..depth { for i in 0..MR { for j in 0..NR {
//!     tile[i][j] += left[i * lane_stride + d * depth_stride] * right[d * stride + j]
//! } } }
//! ```
//! The order of the sums is that of `tile.rs`, so that the bits are the same on both roads.

use super::output::Output;
use super::right::pair;
use super::tile::{Start, Sums, Tile, add_product, depth_step, store, width, zeros};
use super::{Panels, Shape, Strided};
use crate::kernels::{Float, end_of};
use crate::simd::{Isa, Kernel, Level};

/// Whether a product is small enough: each panel of the right side is read by few tiles.
pub(super) fn suits(shape: Shape) -> bool {
    shape.m <= 256 && shape.work() <= 1 << 24
}

/// The right side, `NR` columns of a depth at a time: `data[j / NR * panel + d * stride + j % NR]` is column `j` at depth `d`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Columns<'a, T> {
    data: &'a [T],
    panel: usize,
    stride: usize,
}

impl<'a, T: Float> Columns<'a, T> {
    /// A matrix where it lies, if all columns of all panels lie within it.
    pub(super) fn of(matrix: &Strided<'a, T>, shape: Shape, tile: Tile) -> Option<Self> {
        let columns = Columns { data: matrix.data, panel: tile.columns, stride: matrix.depth_stride };
        // Rows a large power of two apart would compete for few places of the first cache.
        let near = matrix.depth_stride < 1024 / size_of::<T>();
        (matrix.lane_stride == 1 && near && columns.holds(shape.n, shape.k, tile)).then_some(columns)
    }

    /// What [`pack`](super::pack) made of the right side.
    pub(super) fn packed(panels: &Panels<'a, T>) -> Self {
        let (data, width, depth) = panels.parts();
        Columns { data, panel: width * depth, stride: width }
    }

    /// The same columns without those before column `column`, with which a panel starts.
    pub(super) fn skip(self, column: usize, tile: Tile) -> Self {
        Columns { data: &self.data[column / tile.columns * self.panel..], ..self }
    }

    fn holds(&self, columns: usize, depth: usize, tile: Tile) -> bool {
        let panels = columns.div_ceil(tile.columns);
        panels == 0
            || depth == 0
            || end_of([(panels - 1, self.panel), (depth - 1, self.stride)], tile.columns) <= self.data.len()
    }
}

/// `out = start + left right` of depth `depth`, on this thread.
pub(super) fn multiply<T: Float>(
    level: Level,
    left: &Strided<T>,
    right: Columns<T>,
    depth: usize,
    out: &mut Output<T>,
    start: Start<T>,
) {
    let (rows, columns) = (out.rows(), out.columns());
    if rows == 0 || columns == 0 {
        return;
    }
    let end = end_of([(rows - 1, left.lane_stride), (depth.saturating_sub(1), left.depth_stride)], 1);
    assert!(depth == 0 || end <= left.data.len(), "{rows} x {depth} elements within {}", left.data.len());
    assert!(
        right.holds(columns, depth, Tile::of::<T>(level)),
        "{columns} columns of {depth} within {}",
        right.data.len()
    );
    level.dispatch(Direct { left: *left, right, depth, out, start });
}

struct Direct<'a, 'b, T> {
    left: Strided<'a, T>,
    right: Columns<'a, T>,
    depth: usize,
    out: &'a mut Output<'b, T>,
    start: Start<'a, T>,
}

impl<T: Float> Kernel for Direct<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        // The table of `Tile::of`; the second number is a shorter tile, two of which are for the last rows.
        match I::VECTOR_BYTES {
            64 => self.tiles::<I, 12, 8>(),
            32 => self.tiles::<I, 6, 4>(),
            _ => self.tiles::<I, 4, 3>(),
        }
    }
}

impl<T: Float> Direct<'_, '_, T> {
    #[inline(always)]
    fn tiles<I: Isa, const MR: usize, const FEW: usize>(self) {
        let Direct { left, right, depth, out, start } = self;
        let (rows, columns) = (out.rows(), out.columns());
        let (step, width) = (depth_step::<T>(depth), width::<T, I>());
        // One turn even if there is nothing to sum: the result is then what it starts from.
        for first in (0..depth.max(1)).step_by(step) {
            let depths = depth.min(first + step) - first;
            let start = if first == 0 { start } else { Start::Accumulate };
            for column in (0..columns).step_by(width) {
                let right = &right.data[(column / width * right.panel + first * right.stride).min(right.data.len())..];
                let right = (right.as_ptr(), self.right.stride);
                let mut row = 0;
                while row < rows {
                    let rest = rows - row;
                    let left = &left.data[(row * left.lane_stride + first * left.depth_stride).min(left.data.len())..];
                    // SAFETY: `multiply` has seen that every element of both sides that these rows, columns and depths name lies
                    // within its slice; rows beyond the last are read as the last.
                    row += unsafe {
                        if rest > 2 * FEW || (rest > FEW && rest <= MR) {
                            let tile = tile::<T, I, MR>(left.as_ptr(), &self.left, rest, right, depths);
                            store::<T, I, _>(&tile, row, column, out, start);
                            MR
                        } else {
                            let tile = tile::<T, I, FEW>(left.as_ptr(), &self.left, rest, right, depths);
                            store::<T, I, _>(&tile, row, column, out, start);
                            FEW
                        }
                    };
                }
            }
        }
    }
}

/// `R` rows of the product, as wide as a tile.
///
/// # Safety
/// `left` can be read at `i * lane_stride + d * depth_stride` for the first `rows` rows, `right.0` at `d * right.1 + j` for each
/// `j` of a tile's width, both for `d < depth`.
#[inline(always)]
unsafe fn tile<T: Float, I: Isa, const R: usize>(
    left: *const T,
    strides: &Strided<T>,
    rows: usize,
    (right, stride): (*const T, usize),
    depth: usize,
) -> Sums<T, I, R> {
    let offsets: [usize; R] = std::array::from_fn(|i| i.min(rows - 1) * strides.lane_stride);
    let mut tile = zeros::<T, I, R>();
    for d in 0..depth {
        // SAFETY: as the caller says.
        let right = unsafe { pair::<T, I>(right.add(d * stride)) };
        // SAFETY: as above.
        add_product::<T, I, R>(&mut tile, |i| unsafe { *left.add(offsets[i] + d * strides.depth_stride) }, right);
    }
    tile
}
