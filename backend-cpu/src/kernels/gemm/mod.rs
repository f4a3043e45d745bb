//! General matrix product: `out[m][n] = start + sum over k of a[m][k] * b[n][k]`, for f32 and f64, any strides.
//!
//! 1. Both sides are packed, once, into panels (`operand.rs`), a slab of depth at a time.
//! 2. Blocks of the result are computed from the panels (`tile.rs`), all threads taking blocks.
//!
//! Three cases leave that road: a product with a vector reads the matrix in place (`vector.rs`); a small result with a
//! great depth is cut along the depth and the partial results are added in order; and small products stay on the
//! calling thread. Which road is taken depends on sizes alone, never on threads, so bits do not either.
//!
//! Cost: `2 m n k` flops, `(m + n) k` elements packed, `m n ceil(k / slab)` elements written.

mod direct;
mod operand;
mod output;
mod pack;
mod report;
mod right;
mod tile;
mod vector;

#[cfg(test)]
mod tests;

use std::ops::Range;

pub use operand::{Indexed, Operand, Panels, Strided};
pub use output::Output;
pub(crate) use pack::pack;
pub use right::{Segments, Windows, segment};
pub(crate) use tile::depth_step;
pub use tile::{Start, Tile, multiply};

use self::pack::{Side, pack_both};
pub(crate) use self::report::batch;
use super::{Float, PARALLEL_ELEMENTS, Scratch, end_of, for_each, for_each_chunk};
use crate::caches::Caches;
use crate::launch::report;
use crate::simd::Level;

/// Multiply-adds below which a product stays on the calling thread: about 10 us of work, the price of waking others.
pub(crate) const PARALLEL_WORK: usize = 1 << 18;

/// Multiply-adds worth a task of its own.
pub(crate) const TASK_WORK: usize = 1 << 17;

/// Elements of packed panels alive at once (32 MiB of f32): more only displaces the caches and holds memory.
const SLAB_ELEMENTS: usize = 8 << 20;

/// Columns of one block of the result, at most: its right panels for a depth block take half of the second cache.
fn columns_for<T>(second: usize) -> usize {
    (second / 2 / (tile::depth_block::<T>() * size_of::<T>())).clamp(128, 1024) / 128 * 128
}

/// The sizes of a product: `m x k` times `k x n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

impl Shape {
    /// Multiply-adds; `usize::MAX` where that many cannot be counted.
    pub fn work(&self) -> usize {
        self.m.saturating_mul(self.n).saturating_mul(self.k)
    }
}

/// What happens to each block of the result once it is complete, on the thread that wrote it and while it is in that thread's caches.
pub type Finish<'a, T> = &'a (dyn Fn(&mut Output<T>) + Sync);

/// `out = start + a b`; row `i` of the result is `out[i * stride..][..n]`. `a` has `m` lanes, `b` has `n`, both have
/// depth `k`.
pub fn gemm<T: Float>(
    shape: Shape,
    a: &impl Operand<T>,
    b: &impl Operand<T>,
    out: &mut [T],
    stride: usize,
    start: Start<T>,
) {
    gemm_at(Level::best(), shape, a, b, &mut Output::new(out, shape.m, shape.n, stride), start);
}

/// [`gemm`] of a contiguous result, each block of which is finished.
pub fn gemm_finished<T: Float>(
    shape: Shape,
    a: &impl Operand<T>,
    b: &impl Operand<T>,
    out: &mut [T],
    start: Start<T>,
    finish: Finish<T>,
) {
    finished_at(Level::best(), shape, a, b, &mut Output::new(out, shape.m, shape.n, shape.n), start, finish);
}

/// `count` independent products of one shape, results one after the other in `out`; `operands(i)` gives the two sides
/// of product `i`.
pub fn batched<T: Float, A: Operand<T>, B: Operand<T>>(
    count: usize,
    shape: Shape,
    operands: impl Fn(usize) -> (A, B) + Sync,
    out: &mut [T],
    start: Start<T>,
) {
    batched_at(Level::best(), count, shape, operands, out, start);
}

pub(crate) fn batched_at<T: Float, A: Operand<T>, B: Operand<T>>(
    level: Level,
    count: usize,
    shape: Shape,
    operands: impl Fn(usize) -> (A, B) + Sync,
    out: &mut [T],
    start: Start<T>,
) {
    let Shape { m, n, .. } = shape;
    let out = Output::new(out, count, m * n, m * n);
    // A product that is large enough splits itself further inside `gemm_at`.
    let (parallel, grain) = batch_tasks(count, shape);
    let _launch = report(|| {
        let (a, b) = operands(0);
        batch("gemm", level, count, shape, &a, &b)
    });
    for_each(parallel, count, grain, |index| {
        // SAFETY: each index owns one row of this view, and each is visited once.
        let mut result = unsafe { out.block(index..index + 1, 0..m * n) };
        let mut result = Output::new(result.row(0, 0..m * n), m, n, n);
        let (a, b) = operands(index);
        gemm_at(level, shape, &a, &b, &mut result, start);
    });
}

/// Whether a batch is shared by threads, and how many products make a task.
fn batch_tasks(count: usize, shape: Shape) -> (bool, usize) {
    (count.saturating_mul(shape.work()) >= PARALLEL_WORK, TASK_WORK / shape.work().max(1) + 1)
}

/// [`gemm`] at a chosen level.
pub(crate) fn gemm_at<T: Float>(
    level: Level,
    shape: Shape,
    a: &impl Operand<T>,
    b: &impl Operand<T>,
    out: &mut Output<T>,
    start: Start<T>,
) {
    finished_at(level, shape, a, b, out, start, &|_| ());
}

pub(crate) fn finished_at<T: Float>(
    level: Level,
    shape: Shape,
    a: &impl Operand<T>,
    b: &impl Operand<T>,
    out: &mut Output<T>,
    start: Start<T>,
    finish: Finish<T>,
) {
    let Shape { m, n, k } = shape;
    if let Some(bias) = match start {
        Start::RowBias(bias) => Some((bias.len(), m)),
        Start::ColumnBias(bias) => Some((bias.len(), n)),
        Start::Zero | Start::Accumulate => None,
    } {
        assert_eq!(bias.0, bias.1, "gemm: length of the bias");
    }
    if m == 0 || n == 0 {
        return;
    }
    let _launch = report(|| batch("gemm", level, 1, shape, a, b));
    if let Some(matrix) = column_of_rows(shape, a) {
        matrix_vector(level, &matrix, [m, k], b, |lane| (lane, 0), out, start);
        return finish(out);
    }
    if let Some(matrix) = row_of_columns(shape, b) {
        matrix_vector(level, &matrix, [n, k], a, |lane| (0, lane), out, start);
        return finish(out);
    }
    let parts = depth_parts(shape);
    if parts > 1 {
        split_depth(level, shape, parts, a, b, out, start);
        finish(out);
    } else {
        blocked(level, shape, 0..k, a, b, out, (start, finish));
    }
}

/// A, if B is a vector and A can be read in place.
#[inline(always)]
fn column_of_rows<'a, T: Float>(shape: Shape, a: &'a impl Operand<T>) -> Option<Strided<'a, T>> {
    if shape.n == 1 { a.as_strided().filter(vector::is_supported) } else { None }
}

/// B, if A is a vector and B can be read in place.
#[inline(always)]
fn row_of_columns<'a, T: Float>(shape: Shape, b: &'a impl Operand<T>) -> Option<Strided<'a, T>> {
    if shape.m == 1 { b.as_strided().filter(vector::is_supported) } else { None }
}

/// A, if the product is small enough to read it in place.
#[inline(always)]
fn unpacked_left<'a, T: Float>(shape: Shape, a: &'a impl Operand<T>) -> Option<Strided<'a, T>> {
    a.as_strided().filter(|_| direct::suits(shape))
}

/// Packs and multiplies, one slab of depth after the other.
fn blocked<T: Float>(
    level: Level,
    shape: Shape,
    depth: Range<usize>,
    a: &impl Operand<T>,
    b: &impl Operand<T>,
    out: &mut Output<T>,
    (start, finish): (Start<T>, Finish<T>),
) {
    let Shape { m, n, .. } = shape;
    let tile = Tile::of::<T>(level);
    if let Some(a) = unpacked_left(shape, a) {
        return unpacked(level, shape, depth, &a, b, out, (start, finish));
    }
    let slab = depth.len().min((SLAB_ELEMENTS / (m + n)).next_multiple_of(tile::depth_block::<T>()));
    let mut left = Scratch::new(m.next_multiple_of(tile.rows) * slab);
    let mut right = Scratch::new(n.next_multiple_of(tile.columns) * slab);
    let parallel = Shape { k: depth.len(), ..shape }.work() >= PARALLEL_WORK;
    let (rows, columns) = block_size::<T>(shape, tile);
    let (row_blocks, column_blocks) = (m.div_ceil(rows), n.div_ceil(columns));
    for first in depth.clone().step_by(slab.max(1)).chain(depth.is_empty().then_some(depth.start)) {
        let depths = first..depth.end.min(first + slab);
        let start = if first == depth.start { start } else { Start::Accumulate };
        let is_last = depths.end == depth.end;
        let sides =
            (Side { operand: a, lanes: m, width: tile.rows }, Side { operand: b, lanes: n, width: tile.columns });
        let (left, right) = pack_both(parallel, sides, depths, &mut left, &mut right);
        for_each(parallel, row_blocks * column_blocks, 1, |block| {
            let (row, column) = (block % row_blocks * rows, block / row_blocks * columns);
            let (rows, columns) = (row..m.min(row + rows), column..n.min(column + columns));
            // SAFETY: different block numbers have different row or column ranges, and each is visited once.
            let mut out = unsafe { out.block(rows.clone(), columns.clone()) };
            multiply(level, left.skip_lanes(row), right.skip_lanes(column), &mut out, start.block(rows, columns));
            if is_last {
                finish(&mut out);
            }
        });
    }
}

/// Multiplies with the left side where it lies, and the right side too if it can be.
fn unpacked<T: Float>(
    level: Level,
    shape: Shape,
    depth: Range<usize>,
    a: &Strided<T>,
    b: &impl Operand<T>,
    out: &mut Output<T>,
    (start, finish): (Start<T>, Finish<T>),
) {
    let Shape { m, n, .. } = shape;
    let (tile, k) = (Tile::of::<T>(level), depth.len());
    let part = Shape { k, ..shape };
    let parallel = part.work() >= PARALLEL_WORK;
    let skip = |matrix: &Strided<'_, T>, depth| matrix.data.len().min(end_of([(depth, matrix.depth_stride)], 0));
    let a = Strided { data: &a.data[skip(a, depth.start)..], ..*a };
    let there = b.as_strided().and_then(|b| {
        let first = skip(&b, depth.start);
        direct::Columns::of(&Strided { data: &b.data[first..], ..b }, part, tile)
    });
    let mut packed;
    let right = match there {
        Some(right) => right,
        None => {
            packed = Scratch::new(n.next_multiple_of(tile.columns).saturating_mul(k));
            direct::Columns::packed(&pack(parallel, b, n, depth, tile.columns, &mut packed))
        }
    };
    let (rows, columns) = block_size::<T>(part, tile);
    let (row_blocks, column_blocks) = (m.div_ceil(rows), n.div_ceil(columns));
    for_each(parallel, row_blocks * column_blocks, 1, |block| {
        let (row, column) = (block % row_blocks * rows, block / row_blocks * columns);
        let (rows, columns) = (row..m.min(row + rows), column..n.min(column + columns));
        let left = Strided { data: &a.data[a.data.len().min(end_of([(row, a.lane_stride)], 0))..], ..a };
        // SAFETY: different block numbers have different row or column ranges, and each is visited once.
        let mut out = unsafe { out.block(rows.clone(), columns.clone()) };
        direct::multiply(level, &left, right.skip(column, tile), k, &mut out, start.block(rows, columns));
        finish(&mut out);
    });
}

/// Rows and columns of one block of the result: halved from the cache sizes until there are enough tasks for many
/// threads, or a task would not be worth waking a thread for.
fn block_size<T>(shape: Shape, tile: Tile) -> (usize, usize) {
    const TASKS: usize = 64;
    let Shape { m, n, k } = shape;
    let mut rows = m.min(tile::block_rows::<T>()).next_multiple_of(tile.rows);
    let mut columns = n.min(columns_for::<T>(Caches::get().second)).next_multiple_of(tile.columns);
    while m.div_ceil(rows) * n.div_ceil(columns) < TASKS && rows * columns * k >= 2 * TASK_WORK {
        if columns > rows && columns > tile.columns {
            columns = (columns / 2).next_multiple_of(tile.columns);
        } else if rows > tile.rows {
            rows = (rows / 2).next_multiple_of(tile.rows);
        } else {
            break;
        }
    }
    (rows, columns)
}

/// How many parts to cut the depth into: more than one where the result is too small to occupy many threads and the
/// depth is great. Part of the definition of the result's bits, so it may depend on nothing but the shape.
fn depth_parts(shape: Shape) -> usize {
    const FEW_ELEMENTS: usize = 48 * 1024;
    const PARTS: usize = 32;
    const DEPTH: usize = 256;
    let Shape { m, n, k } = shape;
    if m * n > FEW_ELEMENTS || k < 8 * DEPTH {
        return 1;
    }
    (shape.work() / (4 * TASK_WORK)).min(k / (2 * DEPTH)).clamp(1, PARTS)
}

/// Cuts the depth into `parts`, multiplies each into a partial result, and adds those in order.
fn split_depth<T: Float>(
    level: Level,
    shape: Shape,
    parts: usize,
    a: &impl Operand<T>,
    b: &impl Operand<T>,
    out: &mut Output<T>,
    start: Start<T>,
) {
    let Shape { m, n, k } = shape;
    let depth = k.div_ceil(parts).next_multiple_of(tile::depth_block::<T>());
    let mut partials = Scratch::new(k.div_ceil(depth) * m * n);
    for_each_chunk(true, &mut partials, m * n, |part, partial| {
        let depth = part * depth..k.min((part + 1) * depth);
        blocked(level, shape, depth, a, b, &mut Output::new(partial, m, n, n), (Start::Zero, &|_| ()));
    });
    let (sum, rest) = partials.split_at_mut(m * n);
    add_in_order(sum, rest);
    for row in 0..m {
        tile::store_row(&sum[row * n..][..n], row, 0, out.row(row, 0..n), start);
    }
}

/// `sum += part` for each of the parts in `parts`, first to last, per element.
pub(crate) fn add_in_order<T: Float>(sum: &mut [T], parts: &[T]) {
    const CHUNK: usize = PARALLEL_ELEMENTS / 8;
    let len = sum.len();
    for_each_chunk(sum.len() + parts.len() >= PARALLEL_ELEMENTS, sum, CHUNK, |index, sum| {
        for part in parts.chunks_exact(len) {
            let part = &part[index * CHUNK..][..sum.len()];
            sum.iter_mut().zip(part).for_each(|(sum, &part)| *sum += part);
        }
    });
}

/// Lanes of one task of a product with a vector. Contiguous lanes are read in wide strips: at a depth the next strip is a page or
/// more away.
fn strip_lanes<T>(matrix: &Strided<T>, depth: usize) -> usize {
    let least = if matrix.depth_stride == 1 { 4 } else { vector::LANES / 2 };
    (TASK_WORK / 4 / depth.max(1)).next_multiple_of(4).clamp(least, vector::LANES)
}

/// A product whose other side has one lane. `place(lane)` is where in `out` the lane's sum goes.
fn matrix_vector<T: Float>(
    level: Level,
    matrix: &Strided<T>,
    [lanes, depth]: [usize; 2],
    vector: &impl Operand<T>,
    place: impl Fn(usize) -> (usize, usize) + Sync,
    out: &mut Output<T>,
    start: Start<T>,
) {
    let mut packed = Scratch::new(depth);
    vector.pack(0..1, 0..depth, 1, &mut packed);
    let vector: &[T] = &packed;
    let strip = strip_lanes(matrix, depth);
    for_each(lanes * depth >= PARALLEL_WORK / 2, lanes.div_ceil(strip), 1, |index| {
        let first = index * strip;
        let mut sums = [T::ZERO; vector::LANES];
        let sums = &mut sums[..strip.min(lanes - first)];
        vector::strip(level, matrix, vector, first, sums);
        for (lane, sum) in (first..).zip(sums) {
            let (row, column) = place(lane);
            // SAFETY: every lane has a place of its own and is visited once.
            let mut out = unsafe { out.block(row..row + 1, column..column + 1) };
            tile::store_row(std::slice::from_ref(sum), row, column, out.row(0, 0..1), start);
        }
    });
}
