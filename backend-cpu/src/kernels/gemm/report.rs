//! What a product reports of itself: its code path, its tile and in how many chunks threads share it.

use super::{
    Operand, PARALLEL_WORK, Shape, Strided, Tile, batch_tasks, block_size, column_of_rows, depth_parts, direct,
    row_of_columns, strip_lanes, unpacked_left,
};
use crate::kernels::Float;
use crate::launch::{self, Launch};
use crate::simd::Level;
use std::borrow::Cow;

/// A batch of products, whose operands are like these.
pub(crate) fn batch<T: Float>(
    kernel: &str,
    level: Level,
    count: usize,
    shape: Shape,
    a: &impl Operand<T>,
    b: &impl Operand<T>,
) -> Launch {
    let (mut path, mut chunks) = path(level, shape, a, b);
    // A product with a vector has no tile.
    let tile = if path.contains("vector") { [0; 2] } else { [Tile::of::<T>(level).rows, Tile::of::<T>(level).columns] };
    if count > 1 {
        path = format!("batch of {count}, {path}").into();
        let (parallel, grain) = batch_tasks(count, shape);
        chunks = if parallel && count > grain { count.div_ceil(grain) } else { chunks };
    }
    launch::on::<T>(kernel, chunks).path(path).tile(tile)
}

/// The code path of a product, and its chunks.
fn path<T: Float>(level: Level, shape: Shape, a: &impl Operand<T>, b: &impl Operand<T>) -> (Cow<'static, str>, usize) {
    let Shape { m, n, k } = shape;
    let strips = |matrix: Strided<T>, lanes: usize| {
        if lanes * k >= PARALLEL_WORK / 2 { lanes.div_ceil(strip_lanes(&matrix, k)) } else { 1 }
    };
    if let Some(matrix) = column_of_rows(shape, a) {
        return ("matrix x vector".into(), strips(matrix, m));
    }
    if let Some(matrix) = row_of_columns(shape, b) {
        return ("vector x matrix".into(), strips(matrix, n));
    }
    let parts = depth_parts(shape);
    if parts > 1 {
        return (format!("split k in {parts}").into(), parts);
    }
    let tile = Tile::of::<T>(level);
    let (rows, columns) = block_size::<T>(shape, tile);
    let blocks = if shape.work() >= PARALLEL_WORK { m.div_ceil(rows) * n.div_ceil(columns) } else { 1 };
    if unpacked_left(shape, a).is_none() {
        return ("packed".into(), blocks);
    }
    let in_place = b.as_strided().is_some_and(|b| direct::Columns::of(&b, shape, tile).is_some());
    (if in_place { "in place" } else { "A in place, B packed" }.into(), blocks)
}
