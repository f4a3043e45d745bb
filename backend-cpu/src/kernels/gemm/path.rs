//! The code path of a product, which depends on sizes and strides alone, and its launch report.

use super::blocking::{PARALLEL_WORK, Shape, Tile, batch_tasks, k_parts, task_block};
use super::pack::{PackSource, Strided};
use super::{gemv, in_place};
use crate::kernels::Float;
use crate::launch::{self, Launch};
use crate::simd::Level;
use std::borrow::Cow;

/// The code path of a product.
pub(super) enum Path<'a, T> {
    /// B is a vector, A is read in place.
    MatrixVector(Strided<'a, T>),
    /// A is a vector, B is read in place.
    VectorMatrix(Strided<'a, T>),
    /// C is small and k large: parts of k are multiplied one by one and their results added in order.
    SplitK(usize),
    /// The product is small: packing A would cost as much as the arithmetic.
    InPlace(Strided<'a, T>),
    /// Both operands are packed.
    Packed,
}

impl<'a, T: Float> Path<'a, T> {
    #[inline(always)]
    pub(super) fn choose(shape: Shape, a: &'a impl PackSource<T>, b: &'a impl PackSource<T>) -> Self {
        if shape.n == 1
            && let Some(matrix) = a.as_strided().filter(gemv::is_supported)
        {
            return Path::MatrixVector(matrix);
        }
        if shape.m == 1
            && let Some(matrix) = b.as_strided().filter(gemv::is_supported)
        {
            return Path::VectorMatrix(matrix);
        }
        match k_parts(shape) {
            1 => Path::without_split(shape, a),
            parts => Path::SplitK(parts),
        }
    }

    /// The path of a product whose k is not split, or of one part of it.
    #[inline(always)]
    pub(super) fn without_split(shape: Shape, a: &'a impl PackSource<T>) -> Self {
        match a.as_strided() {
            Some(a) if in_place::suits(shape) => Path::InPlace(a),
            _ => Path::Packed,
        }
    }
}

/// The report of a batch of products with operands like these.
pub(crate) fn launch_of_batch<T: Float>(
    kernel: &str,
    level: Level,
    count: usize,
    shape: Shape,
    a: &impl PackSource<T>,
    b: &impl PackSource<T>,
) -> Launch {
    let tile = Tile::of::<T>(level);
    let blocks = || {
        let (rows, columns) = task_block::<T>(shape, tile);
        if shape.work() >= PARALLEL_WORK { shape.m.div_ceil(rows) * shape.n.div_ceil(columns) } else { 1 }
    };
    let mut registers = [tile.mr, tile.nr];
    let (mut path, mut chunks): (Cow<'static, str>, usize) = match Path::choose(shape, a, b) {
        Path::MatrixVector(matrix) => {
            registers = [0; 2];
            ("matrix x vector".into(), gemv::tasks(&matrix, shape.m, shape.k))
        }
        Path::VectorMatrix(matrix) => {
            registers = [0; 2];
            ("vector x matrix".into(), gemv::tasks(&matrix, shape.n, shape.k))
        }
        Path::SplitK(parts) => (format!("split k in {parts}").into(), parts),
        Path::InPlace(_) => {
            let in_place = b.as_strided().is_some_and(|b| in_place::Columns::of(&b, shape, tile).is_some());
            (if in_place { "in place" } else { "A in place, B packed" }.into(), blocks())
        }
        Path::Packed => ("packed".into(), blocks()),
    };
    if count > 1 {
        path = format!("batch of {count}, {path}").into();
        let (parallel, grain) = batch_tasks(count, shape);
        chunks = if parallel && count > grain { count.div_ceil(grain) } else { chunks };
    }
    launch::on::<T>(kernel, chunks).path(path).tile(registers)
}
