//! Launch geometry that several families share.

use crate::device::Cuda;
use crate::state::COUNTERS;

/// Threads of a block, unless a kernel says otherwise; as in common.cuh.
pub(crate) const THREADS: usize = 256;

/// Threads of a block that has a row to itself; as in rows.cuh.
pub(crate) const LONG: usize = 512;

/// Threads of a warp.
pub(crate) const WARP: usize = 32;

/// CUDA's limit for the y and z dimensions of a grid.
pub(crate) const MAX_GRID_YZ: usize = 65_535;

/// Grid and block of a grid-stride loop over `items`: at most eight blocks per multiprocessor, which is full occupancy.
pub(crate) fn grid_stride(device: &Cuda, items: usize) -> ([usize; 3], [usize; 3]) {
    ([items.div_ceil(THREADS).clamp(1, 8 * device.0.multiprocessors()), 1, 1], [THREADS, 1, 1])
}

/// Lanes of a warp that share a row of `n` elements, four each: a power of two.
pub(crate) fn lanes(n: usize) -> usize {
    n.div_ceil(4).next_power_of_two().min(WARP)
}

/// The length, a multiple of 4, and the number of the chunks that a long reduction is split into: enough chunks for four blocks
/// per multiprocessor, but at least 16 elements for each of the `threads` that share an output. There are `blocks` blocks per
/// chunk.
pub(crate) fn chunks(device: &Cuda, blocks: usize, len: usize, threads: usize) -> (usize, usize) {
    let max_chunks = if blocks <= COUNTERS { (4 * device.0.multiprocessors()).div_ceil(blocks) } else { 1 };
    let chunks = (len / (16 * threads)).clamp(1, max_chunks);
    let chunk = len.div_ceil(chunks).next_multiple_of(4).max(4);
    (chunk, len.div_ceil(chunk).max(1))
}

/// The number of adjacent columns of `len` elements that a block reduces: all of them, or fewer if the elements of a column can
/// occupy the other threads.
pub(crate) fn column_width(device: &Cuda, columns: usize, len: usize) -> usize {
    let mut width = columns.next_power_of_two().min(THREADS);
    let few_blocks = |width| columns / width < 2 * device.0.multiprocessors();
    while width > WARP && (width > 64 || few_blocks(width)) && THREADS / width * 8 < len {
        width /= 2;
    }
    width
}
