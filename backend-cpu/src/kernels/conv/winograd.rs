//! Winograd's convolution F(2 x 2, 3 x 3) for `forward` and `grad_input`: four output pixels for 16 multiplications where
//! the plain sum takes 36 (Lavin & Gray, 2015, arXiv:1509.09308).
//!
//! ```text
//! U[o][c] = G w[o][c] Gᵀ                 4 x 4, once for each pair of channels
//! V[c][t] = Bᵀ patch[c][t] B             4 x 4, for each tile t: the patch of the frame that its 2 x 2 pixels read
//! M[o][t] = sum over c of U[o][c] V[c][t]     element by element of the 4 x 4: 16 matrix products
//! out[o][t] = bias[o] + Aᵀ M[o][t] A     2 x 2
//! ```
//! `U` is computed and packed once per call. The tiles of all images form one sequence, cut into blocks that threads share, so
//! that small images fill panels too. A block copies the rows that it reads (`winograd/rows.rs`), transforms them into packed
//! panels, multiplies those for some output channels at a time and transforms the sums back (`winograd/transform.rs`). The
//! working set of a block fits L2. A tile's result does not depend on its block.
//!
//! Cost: 4 / 9 of the multiplications of the plain sum, and per channel and tile 32 additions for `V` and 24 for the result.
//!
//! Accuracy: the rounding error of a pixel scales with the largest magnitude in its 4 x 4 patch, not in its 3 x 3 window. An
//! infinity, a NaN or an overflow in a transform spreads to all pixels of the tile; if any result is not finite, [`run`] returns
//! false and the caller computes the plain sums instead.

mod rows;
mod transform;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::correlation::Correlation;
use super::geometry::{Conv2d, Pass};
use crate::caches::Caches;
use crate::kernels::gemm::{Init, Output, PARALLEL_WORK, Panels, TASK_WORK, Tile, multiply};
use crate::kernels::{Float, Scratch, for_each};
use crate::launch::report;
use rows::{BlockFrame, Fill};
use transform::{Patches, Results, Weights};

/// The fewest input and output channels per group: with fewer, the transforms cost more than the products save.
const CHANNELS: usize = 32;

/// The fewest tiles: with fewer, the transform of the weights costs more than is saved, and there are too few blocks for the
/// threads.
const TILES: usize = 256;

/// The most tiles of one block.
const BLOCK: usize = 256;

/// Output channels multiplied at a time, about: a multiple of every `mr`.
const ROWS: usize = 72;

/// Whether the geometry is a 3 x 3 correlation of neighbouring pixels with enough channels and tiles.
pub(super) fn suits(pass: Pass, g: &Conv2d) -> bool {
    let is_dense = [g.kh, g.kw] == [3, 3] && g.stride == [1, 1] && g.dilation == [1, 1];
    // With a padding above 2 the frame of `gy` has no margin, and the first tap reads beyond its first pixel.
    let is_whole = pass == Pass::Forward || g.padding.iter().all(|&padding| padding <= 2);
    let enough = || {
        let [down, across] = tiles(g.output(pass));
        g.channels(pass).iter().all(|&channels| channels >= CHANNELS) && g.n * down * across >= TILES
    };
    is_dense && is_whole && enough()
}

/// Tiles of an image, down and across. The last ones may extend beyond the edge.
fn tiles(output: [usize; 2]) -> [usize; 2] {
    output.map(|size| size.div_ceil(2))
}

/// The convolution. Returns whether all results are finite: if not, they are not those of the plain sums.
#[must_use]
pub(super) fn run<T: Float>(c: &Correlation, source: &[T], w: &[T], bias: Option<&[T]>, out: &mut [T]) -> bool {
    let Correlation { images, groups, channels: [_, rows], .. } = *c;
    let [down, across] = tiles(c.output);
    let tiles = images * down * across;
    let block = block_size::<T>(c, tiles);
    let blocks = tiles.div_ceil(block);
    let tile = Tile::of::<T>(c.level);
    let _launch = report(|| c.launch::<T>("Winograd 2 x 2", groups * blocks, [tile.mr, tile.nr]));
    let transformed = {
        let parallel = (images * groups).saturating_mul(c.work()) >= PARALLEL_WORK;
        transform_weights(c, &c.pack_weights(parallel, w))
    };
    let [height, width] = c.output;
    let out = Output::new(out, images * groups * rows, height * width, height * width);
    let is_finite = AtomicBool::new(true);
    for_each(true, groups * blocks, 1, |index| {
        let (group, at) = (index / blocks, index % blocks * block);
        let bias = bias.map(|bias| &bias[group * rows..][..rows]);
        let group_weights = transformed.len() / groups;
        let weights = &transformed[group * group_weights..][..group_weights];
        if !run_block(c, group, at..tiles.min(at + block), source, weights, bias, &out) {
            is_finite.store(false, Ordering::Relaxed);
        }
    });
    is_finite.into_inner()
}

/// Tiles of one block: at most as many as have their transformed patches in a third of L2, and few enough for at least 16 blocks.
fn block_size<T>(c: &Correlation, tiles: usize) -> usize {
    let columns = Tile::of::<T>(c.level).nr;
    let fits = Caches::get().l2 / 3 / (16 * c.channels[0] * size_of::<T>());
    fits.min(tiles / 16).clamp(columns, BLOCK) / columns * columns
}

/// `U[group][16][panel][c][lane]` from `packed[group][panel][c, tap][lane]`.
fn transform_weights<T: Float>(c: &Correlation, packed: &[T]) -> Scratch<T> {
    let Correlation { level, groups, channels: [inner, rows], .. } = *c;
    // The input's gradient reads its taps in reverse order.
    let order = std::array::from_fn(|tap| if c.pass == Pass::GradInput { 8 - tap } else { tap });
    let width = Tile::of::<T>(level).mr;
    let (panels, panel) = (rows.div_ceil(width), inner * width);
    let mut to = Scratch::new(groups * 16 * panels * panel);
    let out = Output::new(&mut to, groups * 16, panels * panel, panels * panel);
    let grain = TASK_WORK / (16 * panel) + 1;
    for_each(groups * panels * 16 * panel >= PARALLEL_WORK, groups * panels, grain, |index| {
        let (group, at) = (index / panels, index % panels * panel);
        // SAFETY: each panel of each group has columns of its own and is visited once.
        let to = unsafe { out.block(group * 16..(group + 1) * 16, at..at + panel) };
        let from = &packed[index * 9 * panel..][..9 * panel];
        level.dispatch(Weights { from, order, to });
    });
    to
}

/// One block of tiles of one group. Returns whether all results are finite.
fn run_block<T: Float>(
    c: &Correlation,
    group: usize,
    block: Range<usize>,
    source: &[T],
    weights: &[T],
    bias: Option<&[T]>,
    out: &Output<T>,
) -> bool {
    let Correlation { level, groups, channels: [inner, rows], .. } = *c;
    let tile = Tile::of::<T>(level);
    let columns = block.len().next_multiple_of(tile.nr);
    let lanes = tile.nr / 2;
    let block = BlockFrame::new(tiles(c.output), block, columns / lanes, lanes);
    // The last patches are read in full registers.
    let mut framed = Scratch::new(inner * block.channel + 2 * tile.nr);
    let (first, image) = (group * c.source_len(), groups * c.source_len());
    let fill = Fill { block: &block, frame: &c.frame, source, first, image, channels: inner, to: &mut framed };
    level.dispatch(fill);
    // The spare elements keep the 16 matrices from being a power of two apart, where equal elements would share a cache set.
    let (matrix, spare) = (columns * inner, 16);
    let mut patches = Scratch::new(16 * (matrix + spare));
    let (to, stride) = (&mut patches[..], matrix + spare);
    level.dispatch(Patches { framed: &framed, channels: inner, block: &block, to, stride });
    let panels = rows.div_ceil(tile.mr);
    let element_weights = panels * tile.mr * inner;
    let chunk = panels.div_ceil((panels * tile.mr).div_ceil(ROWS)) * tile.mr;
    let stride = chunk * columns + spare;
    let mut sums = Scratch::new(16 * stride);
    let mut is_finite = true;
    for row in (0..rows).step_by(chunk) {
        let count = chunk.min(rows - row);
        for (number, sums) in sums.chunks_exact_mut(stride).enumerate() {
            let a = &weights[number * element_weights..][..element_weights];
            let a = Panels::new(a, tile.mr, inner).skip_rows(row);
            let b = Panels::new(&patches[number * (matrix + spare)..][..matrix], tile.nr, inner);
            multiply(level, a, b, &mut Output::new(sums, count, columns, columns), Init::Zero);
        }
        is_finite &= level.dispatch(Results {
            sums: &sums,
            stride,
            columns,
            rows: row..row + count,
            bias,
            runs: &block.runs,
            size: c.output,
            plane: |image, row| (image * groups + group) * rows + row,
            out,
        });
    }
    is_finite
}
