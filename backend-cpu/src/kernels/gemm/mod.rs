//! Matrix product after BLIS (Van Zee & van de Geijn, 2015): `C[m][n] = init + sum over k of A[m][k] * B[n][k]`, for f32 and
//! f64, any strides. B is indexed by column of C first.
//!
//! ```text
//! for each slab of k:
//!   pack A and B into panels (parallel)
//!   for each block of C (parallel):
//!     for each kc, mr rows, nr columns: micro-kernel
//!     after the last slab: epilogue(block)
//! ```
//! Three kinds of products take other paths (`path.rs`): a product with a vector reads the matrix in place (`gemv.rs`); a small
//! product packs at most B (`in_place.rs`); a small C with a large k is split along k, and the parts are added in order.
//!
//! Cost: `2 m n k` flops, `(m + n) k` elements packed, `m n ceil(k / kc)` elements of C written.

mod blocking;
mod gemv;
mod in_place;
mod macro_kernel;
mod micro;
mod operand_b;
mod output;
mod pack;
mod path;

#[cfg(test)]
mod tests;

use std::ops::Range;

pub(crate) use blocking::{PARALLEL_WORK, TASK_WORK, kc};
pub use blocking::{Shape, Tile};
pub use macro_kernel::multiply;
pub use micro::Init;
pub use operand_b::{Segments, Windows, segment};
pub use output::{Epilogue, Output};
pub(crate) use pack::pack;
pub use pack::{Indexed, PackSource, Panels, Strided};
pub(crate) use path::launch_of_batch;

use super::{Float, PARALLEL_ELEMENTS, Scratch, for_each, for_each_chunk};
use crate::launch::report;
use crate::simd::Level;
use blocking::{batch_tasks, nominal_kc, task_block};
use pack::{PackJob, pack_both};
use path::Path;

/// Elements of the packed panels of one slab, about (32 MiB of f32). Larger slabs would take memory and hardly save passes over
/// C.
const SLAB_ELEMENTS: usize = 8 << 20;

/// `C = init + A B` into a contiguous C, with an epilogue. A has `m` rows, B has `n`, both have `k` columns.
pub fn gemm<T: Float>(
    shape: Shape,
    a: &impl PackSource<T>,
    b: &impl PackSource<T>,
    out: &mut [T],
    init: Init<T>,
    epilogue: Epilogue<T>,
) {
    gemm_at(Level::best(), shape, a, b, &mut Output::new(out, shape.m, shape.n, shape.n), init, epilogue);
}

/// `count` independent products of one shape, results one after the other in `out`; `operands(i)` are A and B of product `i`.
pub(crate) fn batched<T: Float, A: PackSource<T>, B: PackSource<T>>(
    level: Level,
    count: usize,
    shape: Shape,
    operands: impl Fn(usize) -> (A, B) + Sync,
    out: &mut [T],
    init: Init<T>,
) {
    let Shape { m, n, .. } = shape;
    let out = Output::new(out, count, m * n, m * n);
    // A product that is large enough is split further inside `gemm_at`.
    let (parallel, grain) = batch_tasks(count, shape);
    let _launch = report(|| {
        let (a, b) = operands(0);
        launch_of_batch("gemm", level, count, shape, &a, &b)
    });
    for_each(parallel, count, grain, |index| {
        // SAFETY: each index owns one row of this view and is visited once.
        let mut result = unsafe { out.block(index..index + 1, 0..m * n) };
        let mut result = Output::new(result.row(0, 0..m * n), m, n, n);
        let (a, b) = operands(index);
        gemm_at(level, shape, &a, &b, &mut result, init, &|_| ());
    });
}

/// [`gemm`] with a given instruction set, into any C.
pub(crate) fn gemm_at<T: Float>(
    level: Level,
    shape: Shape,
    a: &impl PackSource<T>,
    b: &impl PackSource<T>,
    out: &mut Output<T>,
    init: Init<T>,
    epilogue: Epilogue<T>,
) {
    let Shape { m, n, k } = shape;
    match init {
        Init::RowBias(bias) => assert_eq!(bias.len(), m, "gemm: length of the bias"),
        Init::ColumnBias(bias) => assert_eq!(bias.len(), n, "gemm: length of the bias"),
        Init::Zero | Init::Accumulate => {}
    }
    if m == 0 || n == 0 {
        return;
    }
    let _launch = report(|| launch_of_batch("gemm", level, 1, shape, a, b));
    match Path::choose(shape, a, b) {
        Path::MatrixVector(matrix) => {
            gemv::product(level, &matrix, [m, k], b, |i| (i, 0), out, init);
            epilogue(out);
        }
        Path::VectorMatrix(matrix) => {
            gemv::product(level, &matrix, [n, k], a, |j| (0, j), out, init);
            epilogue(out);
        }
        Path::SplitK(parts) => {
            split_k(level, shape, parts, a, b, out, init);
            epilogue(out);
        }
        Path::InPlace(a) => in_place::product(level, shape, 0..k, &a, b, out, (init, epilogue)),
        Path::Packed => packed(level, shape, 0..k, a, b, out, (init, epilogue)),
    }
}

/// Packs and multiplies, one slab of k after the other.
fn packed<T: Float>(
    level: Level,
    shape: Shape,
    k: Range<usize>,
    a: &impl PackSource<T>,
    b: &impl PackSource<T>,
    out: &mut Output<T>,
    (init, epilogue): (Init<T>, Epilogue<T>),
) {
    let Shape { m, n, .. } = shape;
    let tile = Tile::of::<T>(level);
    let slab = k.len().min((SLAB_ELEMENTS / (m + n)).next_multiple_of(nominal_kc::<T>()));
    let mut a_panels = Scratch::new(m.next_multiple_of(tile.mr) * slab);
    let mut b_panels = Scratch::new(n.next_multiple_of(tile.nr) * slab);
    let parallel = Shape { k: k.len(), ..shape }.work() >= PARALLEL_WORK;
    for first in k.clone().step_by(slab.max(1)).chain(k.is_empty().then_some(k.start)) {
        let slab = first..k.end.min(first + slab);
        let init = if first == k.start { init } else { Init::Accumulate };
        let is_last = slab.end == k.end;
        let jobs = (PackJob { operand: a, rows: m, width: tile.mr }, PackJob { operand: b, rows: n, width: tile.nr });
        let (a, b) = pack_both(parallel, jobs, slab, &mut a_panels, &mut b_panels);
        for_each_block(parallel, shape, tile, out, |rows, columns, out| {
            multiply(level, a.skip_rows(rows.start), b.skip_rows(columns.start), out, init.block(rows, columns));
            if is_last {
                epilogue(out);
            }
        });
    }
}

/// Calls `body(rows, columns, block)` for each block of C that is worth a task: in order, or on all threads.
fn for_each_block<T: Float>(
    parallel: bool,
    shape: Shape,
    tile: Tile,
    out: &Output<T>,
    body: impl Fn(Range<usize>, Range<usize>, &mut Output<T>) + Sync,
) {
    let Shape { m, n, .. } = shape;
    let (rows, columns) = task_block::<T>(shape, tile);
    let (row_blocks, column_blocks) = (m.div_ceil(rows), n.div_ceil(columns));
    for_each(parallel, row_blocks * column_blocks, 1, |block| {
        let (row, column) = (block % row_blocks * rows, block / row_blocks * columns);
        let (rows, columns) = (row..m.min(row + rows), column..n.min(column + columns));
        // SAFETY: different block numbers have different row or column ranges, and each is visited once.
        let mut out = unsafe { out.block(rows.clone(), columns.clone()) };
        body(rows, columns, &mut out);
    });
}

/// Splits k into `parts`, multiplies each into a partial C, and adds those in order.
fn split_k<T: Float>(
    level: Level,
    shape: Shape,
    parts: usize,
    a: &impl PackSource<T>,
    b: &impl PackSource<T>,
    out: &mut Output<T>,
    init: Init<T>,
) {
    let Shape { m, n, k } = shape;
    let len = k.div_ceil(parts).next_multiple_of(nominal_kc::<T>());
    let mut partials = Scratch::new(k.div_ceil(len) * m * n);
    for_each_chunk(true, &mut partials, m * n, |part, partial| {
        let (k, out) = (part * len..k.min((part + 1) * len), &mut Output::new(partial, m, n, n));
        match Path::without_split(shape, a) {
            Path::InPlace(a) => in_place::product(level, shape, k, &a, b, out, (Init::Zero, &|_| ())),
            _ => packed(level, shape, k, a, b, out, (Init::Zero, &|_| ())),
        }
    });
    let (sum, rest) = partials.split_at_mut(m * n);
    add_in_order(sum, rest);
    for row in 0..m {
        micro::store_row(&sum[row * n..][..n], row, 0, out.row(row, 0..n), init);
    }
}

/// `sum += part` for each part in `parts`, first to last, per element.
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
