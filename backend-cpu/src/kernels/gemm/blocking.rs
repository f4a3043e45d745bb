//! Blocking of a product: register tiles, blocks that fit the caches, and tasks for threads.
//!
//! | level    | registers | f32 tile | f64 tile | accumulators | loads per FMA |
//! |----------|-----------|----------|----------|--------------|---------------|
//! | avx512   | 32 x 64 B | 12 x 32  | 12 x 16  | 24           | 14 / 24       |
//! | avx2     | 16 x 32 B | 6 x 16   | 6 x 8    | 12           | 8 / 12        |
//! | baseline | 16 x 16 B | 4 x 8    | 4 x 4    | 8            | 6 / 8         |
//!
//! A tile is two registers wide. Tiles fill the register file but leave room for one row of B and one broadcast of A; 14 rows
//! with AVX-512 would spill.
//!
//! `kc` determines the order of summation, so it is the same on every machine; `mc` and `nc` follow the sizes of the caches.

use crate::caches::Caches;
use crate::simd::Level;

/// Multiply-adds below which a product stays on the calling thread: about 10 us of work, which is what waking other threads
/// costs.
pub(crate) const PARALLEL_WORK: usize = 1 << 18;

/// Multiply-adds worth a task of its own.
pub(crate) const TASK_WORK: usize = 1 << 17;

/// The sizes of a product: `m x k` times `k x n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

impl Shape {
    /// Multiply-adds; `usize::MAX` if they overflow.
    pub fn work(&self) -> usize {
        self.m.saturating_mul(self.n).saturating_mul(self.k)
    }
}

/// The rows and columns of C that a micro-kernel computes: the panel widths of A and B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    pub mr: usize,
    pub nr: usize,
}

impl Tile {
    pub const fn of<T>(level: Level) -> Tile {
        match level {
            Level::Avx512(_) => Tile { mr: 12, nr: 128 / size_of::<T>() },
            Level::Avx2(_) => Tile { mr: 6, nr: 64 / size_of::<T>() },
            Level::Baseline(_) => Tile { mr: 4, nr: 32 / size_of::<T>() },
        }
    }
}

/// The target for the k of one block of packed panels; [`kc`] divides k into equal blocks of about this size.
pub(super) const fn nominal_kc<T>() -> usize {
    1536 / size_of::<T>()
}

/// The k of each block when `k` is cut into blocks of nearly equal size: a short last one would cost as many reads and writes
/// of C as a full one.
pub(crate) fn kc<T>(k: usize) -> usize {
    equal_blocks(k, nominal_kc::<T>())
}

/// [`kc`] for an operand B that is read in place. Its rows are cache lines far apart, so fewer of them fit L1.
pub(super) fn kc_in_place<T>(k: usize) -> usize {
    equal_blocks(k, 640 / size_of::<T>())
}

/// The size of nearly equal blocks of about `block`.
fn equal_blocks(k: usize, block: usize) -> usize {
    let blocks = ((k + block / 2) / block).max(1);
    k.div_ceil(blocks).max(1)
}

/// Rows of A in one block, a multiple of every `mr`: with [`nominal_kc`] they take three eighths of L2.
pub(super) fn mc<T>() -> usize {
    mc_for::<T>(Caches::get().l2)
}

/// [`mc`] for an L2 of `l2` bytes.
pub(super) fn mc_for<T>(l2: usize) -> usize {
    const MULTIPLE: usize = 12;
    (l2 / 8 * 3 / (nominal_kc::<T>() * size_of::<T>()) / MULTIPLE).clamp(4, 64) * MULTIPLE
}

/// Columns of one block of C, at most, for an L2 of `l2` bytes: the panels of B for one `kc` take half of it.
pub(super) fn nc_for<T>(l2: usize) -> usize {
    (l2 / 2 / (nominal_kc::<T>() * size_of::<T>())).clamp(128, 1024) / 128 * 128
}

/// Rows and columns of one task's block of C: [`mc`] and [`nc_for`], halved until there are enough tasks for many threads or
/// a task would not be worth waking a thread for.
pub(super) fn task_block<T>(shape: Shape, tile: Tile) -> (usize, usize) {
    const TASKS: usize = 64;
    let Shape { m, n, k } = shape;
    let mut rows = m.min(mc::<T>()).next_multiple_of(tile.mr);
    let mut columns = n.min(nc_for::<T>(Caches::get().l2)).next_multiple_of(tile.nr);
    while m.div_ceil(rows) * n.div_ceil(columns) < TASKS && rows * columns * k >= 2 * TASK_WORK {
        if columns > rows && columns > tile.nr {
            columns = (columns / 2).next_multiple_of(tile.nr);
        } else if rows > tile.mr {
            rows = (rows / 2).next_multiple_of(tile.mr);
        } else {
            break;
        }
    }
    (rows, columns)
}

/// Whether threads share a batch of products, and how many products make a task.
pub(super) fn batch_tasks(count: usize, shape: Shape) -> (bool, usize) {
    (count.saturating_mul(shape.work()) >= PARALLEL_WORK, TASK_WORK / shape.work().max(1) + 1)
}

/// The number of parts into which k is split: more than one if C is too small to occupy many threads and k is large. The parts
/// determine the order of summation, so they depend on the shape alone.
pub(super) fn k_parts(shape: Shape) -> usize {
    const FEW_ELEMENTS: usize = 48 * 1024;
    const PARTS: usize = 32;
    const K: usize = 256;
    let Shape { m, n, k } = shape;
    if m * n > FEW_ELEMENTS || k < 8 * K {
        return 1;
    }
    (shape.work() / (4 * TASK_WORK)).min(k / (2 * K)).clamp(1, PARTS)
}
