//! Winograd's convolution F(2 x 2, 3 x 3) for `forward` and `grad_input`: four pixels of the output for 16
//! multiplications where the plain sum takes 36 (Lavin & Gray, 2015, arXiv:1509.09308).
//!
//! ```text
//! U[o][c] = G w[o][c] Gᵀ                 4 x 4, once for each pair of channels
//! V[c][t] = Bᵀ patch[c][t] B             4 x 4, for each tile t: the patch of the frame that its 2 x 2 pixels read
//! M[o][t] = sum over c of U[o][c] V[c][t]     element by element of the 4 x 4: 16 products of matrices
//! out[o][t] = bias[o] + Aᵀ M[o][t] A     2 x 2
//! ```
//! `U` stays packed for the whole call. A block of tiles takes the lines that it reads (`winograd/lines.rs`), transforms them into
//! packed panels, multiplies those for some output channels at a time and transforms the sums back
//! (`winograd/transform.rs`), all within the second cache. The tiles of several images follow each other in the
//! columns, so that small images fill whole panels; which block a tile falls into changes no bit.
//!
//! Cost: `16 / 9 / 4` of the plain flops, and per channel and tile 32 additions on the way in and 24 on the way out.
//! That pays from [`CHANNELS`] channels on either side.
//!
//! Accuracy: a pixel's error is a few roundings of its *patch* instead of its window, which may be one pixel wider. A patch
//! of numbers that are not finite, or that overflow, would spread them to all its pixels: if any result is not
//! finite, [`Winograd::run`] says so, and the caller computes the plain sums instead.

mod lines;
mod transform;

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::correlation::Correlation;
use crate::caches::Caches;
use crate::kernels::gemm::{Output, PARALLEL_WORK, Panels, Start, TASK_WORK, Tile, multiply};
use crate::kernels::{Float, Scratch, for_each};
use lines::{Fill, Lines};
use transform::{Patches, Results, Weights};

/// Fewest channels on either side: below, the transforms cost more than the products save.
const CHANNELS: usize = 32;

/// Fewest tiles: the weights are transformed for them, and blocks of them are what threads share.
const TILES: usize = 256;

/// Most tiles of one block.
const BLOCK: usize = 256;

/// Output channels multiplied at a time, about: a multiple of every micro-kernel's rows.
const ROWS: usize = 72;

/// A [`Correlation`] of 3 x 3 taps, seen as tiles.
#[derive(Debug)]
pub(super) struct Winograd<'a> {
    conv: &'a Correlation,
    /// Which of a channel's taps is the one at `(i / 3, i % 3)`.
    order: [usize; 9],
    /// Tiles of an image, down and across. The last ones may hang over the edge.
    tiles: [usize; 2],
}

impl<'a> Winograd<'a> {
    /// The tiles of a correlation that they suit. Decided by sizes alone.
    pub fn of(conv: &'a Correlation) -> Option<Self> {
        let ([phase], [inner, rows]) = (&conv.phases[..], conv.channels) else { return None };
        let (pitch, tiles) = (conv.frame.size[1], phase.size.map(|size| size.div_ceil(2)));
        let enough = inner.min(rows) >= CHANNELS && conv.images * tiles[0] * tiles[1] >= TILES;
        if !enough || conv.step != [1, 1] || phase.taps.len() != 9 * inner || pitch < 3 {
            return None;
        }
        let mut order = [0; 9];
        for (at, order) in order.iter_mut().enumerate() {
            *order = phase.taps[..9].iter().position(|&tap| tap == at / 3 * pitch + at % 3)?;
        }
        Some(Winograd { conv, order, tiles })
    }

    /// [`Correlation::run`], with the weights of each group packed. Returns whether all results are finite: if not, they are
    /// not those of the plain sums.
    #[must_use]
    pub fn run<T: Float>(&self, source: &[T], packed: &[T], bias: Option<&[T]>, out: &mut [T]) -> bool {
        let Correlation { images, groups, channels: [_, rows], .. } = *self.conv;
        let transformed = self.transform_weights(packed);
        let [height, width] = self.conv.output;
        let out = Output::new(out, images * groups * rows, height * width, height * width);
        let is_finite = AtomicBool::new(true);
        let tiles = images * self.tiles[0] * self.tiles[1];
        let block = self.block::<T>(tiles);
        let blocks = tiles.div_ceil(block);
        for_each(true, groups * blocks, 1, |index| {
            let (group, at) = (index / blocks, index % blocks * block);
            let bias = bias.map(|bias| &bias[group * rows..][..rows]);
            let sets = transformed.len() / groups;
            let weights = &transformed[group * sets..][..sets];
            if !self.compute(group, at..tiles.min(at + block), source, weights, bias, &out) {
                is_finite.store(false, Ordering::Relaxed);
            }
        });
        is_finite.into_inner()
    }

    /// Blocks that threads share.
    pub fn tasks<T>(&self) -> usize {
        let tiles = self.conv.images * self.tiles[0] * self.tiles[1];
        self.conv.groups * tiles.div_ceil(self.block::<T>(tiles))
    }

    /// Tiles of one block: transformed, its patches take a third of the second cache; and there are enough blocks for many threads.
    fn block<T>(&self, tiles: usize) -> usize {
        let columns = Tile::of::<T>(self.conv.level).columns;
        let fits = Caches::get().second / 3 / (16 * self.conv.channels[0] * size_of::<T>());
        fits.min(tiles / 16).clamp(columns, BLOCK) / columns * columns
    }

    /// `U[group][16][panel][c][lane]` from `packed[group][panel][c, tap][lane]`.
    fn transform_weights<T: Float>(&self, packed: &[T]) -> Scratch<T> {
        let Correlation { level, groups, channels: [inner, rows], .. } = *self.conv;
        let width = Tile::of::<T>(level).rows;
        let (panels, panel) = (rows.div_ceil(width), inner * width);
        let mut to = Scratch::new(groups * 16 * panels * panel);
        let out = Output::new(&mut to, groups * 16, panels * panel, panels * panel);
        let grain = TASK_WORK / (16 * panel) + 1;
        for_each(groups * panels * 16 * panel >= PARALLEL_WORK, groups * panels, grain, |index| {
            let (group, at) = (index / panels, index % panels * panel);
            // SAFETY: each panel of each group has columns of its own, and is visited once.
            let to = unsafe { out.block(group * 16..(group + 1) * 16, at..at + panel) };
            let from = &packed[index * 9 * panel..][..9 * panel];
            level.dispatch(Weights { from, order: self.order, to });
        });
        to
    }

    /// One block of tiles of one group. Returns whether all results are finite.
    fn compute<T: Float>(
        &self,
        group: usize,
        block: Range<usize>,
        source: &[T],
        weights: &[T],
        bias: Option<&[T]>,
        out: &Output<T>,
    ) -> bool {
        let Correlation { level, groups, channels: [inner, rows], .. } = *self.conv;
        let tile = Tile::of::<T>(level);
        let whole = block.len().next_multiple_of(tile.columns);
        let lanes = tile.columns / 2;
        let lines = Lines::new(self.tiles, block, whole / lanes, lanes);
        let image = inner * self.conv.frame.image[0] * self.conv.frame.image[1];
        // The last patches are read in whole registers.
        let mut framed = Scratch::new(inner * lines.channel + 2 * tile.columns);
        level.dispatch(Fill {
            lines: &lines,
            frame: &self.conv.frame,
            source,
            first: group * image,
            image: groups * image,
            channels: inner,
            to: &mut framed,
        });
        // Not a power of two apart, lest all 16 compete for one place in the caches.
        let (side, spare) = (whole * inner, 16);
        let mut patches = Scratch::new(16 * (side + spare));
        level.dispatch(Patches {
            framed: &framed,
            channels: inner,
            lines: &lines,
            to: &mut patches,
            stride: side + spare,
        });
        let panels = rows.div_ceil(tile.rows);
        let set = panels * tile.rows * inner;
        let chunk = panels.div_ceil((panels * tile.rows).div_ceil(ROWS)) * tile.rows;
        let mut sums = Scratch::new(16 * (chunk * whole + spare));
        let mut is_finite = true;
        for row in (0..rows).step_by(chunk) {
            let count = chunk.min(rows - row);
            for (number, sums) in sums.chunks_exact_mut(chunk * whole + spare).enumerate() {
                let left = Panels::new(&weights[number * set..][..set], tile.rows, inner).skip_lanes(row);
                let right = &patches[number * (side + spare)..][..side];
                let right = Panels::new(right, tile.columns, inner);
                multiply(level, left, right, &mut Output::new(sums, count, whole, whole), Start::Zero);
            }
            is_finite &= level.dispatch(Results {
                sums: &sums,
                stride: chunk * whole + spare,
                columns: whole,
                rows: row..row + count,
                bias,
                runs: &lines.runs,
                size: self.conv.output,
                place: |image, row| (image * groups + group) * rows + row,
                out,
            });
        }
        is_finite
    }
}
