//! GEMM with packed im2col columns: the output pixels of several images, one image after the other, are the columns of one
//! product. Unlike in `implicit_gemm.rs`, no column is a margin.
//!
//! ```text
//! for each block of columns (parallel): for each block of k: pack taps x columns; sums += weights x packed
//!                                       copy the sums to their images
//! ```
//! A panel is packed from row runs, the parts of output rows that it covers. For each tap, each run is copied at the full width
//! of a panel, and the next run overwrites the excess of the one before. Packing one column for one tap costs about as much as
//! [`PACKING`] multiply-adds; [`images`] compares this with the cost of the margins in `implicit_gemm.rs`.

use super::correlation::Correlation;
use super::geometry::{Conv2d, Pass};
use crate::kernels::gemm::{Init, Output, PARALLEL_WORK, Panels, TASK_WORK, Tile, kc, multiply, segment};
use crate::kernels::{Float, Scratch, for_each};
use crate::launch::report;
use crate::simd::Level;

/// Columns of one block: packed for a k of 256 in f32 they have 128 KiB, for L2.
const COLUMNS: usize = 128;

/// Images of one batch, at most.
const IMAGES: usize = 16;

/// Multiply-adds that packing one column for one tap costs.
const PACKING: usize = 16;

/// The images per batch, if output rows do not consist of full segments and packing costs less than computing the margins.
pub(super) fn images<T: Float>(level: Level, pass: Pass, g: &Conv2d) -> Option<usize> {
    let ([height, width], columns) = (g.output(pass), Tile::of::<T>(level).nr);
    let is_one_grid = pass == Pass::Forward || g.stride == [1, 1];
    if !is_one_grid || width.is_multiple_of(segment::<T>()) {
        return None;
    }
    let (pixels, [_, rows]) = (height * width, g.channels(pass));
    let windows = ((height - 1) * g.frame(pass).size[1] + width).next_multiple_of(columns);
    let most = IMAGES.min(g.n).max(1);
    // The fewest images that leave the last panel nearly full.
    let waste = |n: &usize| (n * pixels).next_multiple_of(columns) - n * pixels;
    let images = (1..=most).find(|n| 50 * waste(n) <= n * pixels).unwrap_or(most);
    let cost = pixels * (rows + PACKING) + waste(&images) * rows / images;
    (cost < windows * rows).then_some(images)
}

/// Neighbouring pixels of an output row, in the columns from `lane` on of a panel; read at `from` plus the tap's offset.
#[derive(Clone, Copy, Debug)]
struct RowRun {
    lane: usize,
    from: usize,
}

pub(super) fn run<T: Float>(c: &Correlation, g: &Conv2d, source: &[T], w: &[T], bias: Option<&[T]>, out: &mut [T]) {
    let ([inner, rows], tile) = (c.channels, Tile::of::<T>(c.level));
    let batch = images::<T>(c.level, c.pass, g).unwrap_or(1);
    let (grid, [height, width]) = (&c.grids[0], c.output);
    let (pixels, k) = (height * width, grid.taps.len());
    let (framed_len, pitch) = (inner * c.frame.len(), c.frame.size[1]);
    let out = Output::new(out, c.images * c.groups * rows, pixels, pixels);
    let batches = c.images.div_ceil(batch);
    let parallel = (c.images * c.groups).saturating_mul(c.work()) >= PARALLEL_WORK;
    let packed = c.pack_weights(parallel, w);
    let _launch = report(|| {
        let columns = batch.min(c.images) * pixels;
        let blocks = if rows * columns * k >= 8 * TASK_WORK { columns.div_ceil(COLUMNS) } else { 1 };
        let tasks = if parallel { batches * c.groups } else { 1 };
        c.launch::<T>("implicit GEMM, batched images", tasks * blocks, [tile.mr, tile.nr])
    });
    for_each(parallel, batches * c.groups, 1, |index| {
        let (group, first_image) = (index % c.groups, index / c.groups * batch);
        let images = batch.min(c.images - first_image);
        let init = bias.map_or(Init::Zero, |bias| Init::RowBias(&bias[group * rows..][..rows]));
        let weights = c.packed_weights(&packed, 0, group);
        let mut framed = Scratch::new(images * framed_len + tile.nr);
        for (n, to) in framed.chunks_exact_mut(framed_len).take(images).enumerate() {
            let from = &source[((first_image + n) * c.groups + group) * c.source_len()..];
            c.frame.fill_channels(c.level, inner, from, to);
        }
        framed[images * framed_len..].fill(T::ZERO);
        let framed: &[T] = &framed;

        let columns = images * pixels;
        let parallel = rows * columns * k >= 8 * TASK_WORK;
        for_each(parallel, columns.div_ceil(COLUMNS), 1, |block| {
            let block = block * COLUMNS..columns.min((block + 1) * COLUMNS);
            let padded = block.len().next_multiple_of(tile.nr);
            // The offset of column `at` in the framed images, and how many pixels its output row has from there on.
            let place = |at: usize| {
                let (n, y, x) = (at / pixels, at % pixels / width, at % width);
                (n * framed_len + y * pitch + x, width - x)
            };
            let runs: Vec<Vec<RowRun>> =
                block.clone().step_by(tile.nr).map(|at| runs(at..block.end.min(at + tile.nr), place)).collect();
            let mut sums = Scratch::new(rows * padded);
            let mut sums = Output::new(&mut sums, rows, padded, padded);
            let step = kc::<T>(k);
            let mut panels = Scratch::new(padded * step + tile.nr);
            for first in (0..k).step_by(step) {
                let taps = &grid.taps[first..k.min(first + step)];
                pack(tile.nr, framed, taps, &runs, &mut panels);
                let b = Panels::new(&panels[..padded * taps.len()], tile.nr, taps.len());
                let init = if first == 0 { init } else { Init::Accumulate };
                multiply(c.level, weights.k_range(first..first + taps.len()), b, &mut sums, init);
            }
            for row in 0..rows {
                let mut at = block.start;
                while at < block.end {
                    let (n, pixel) = (at / pixels, at % pixels);
                    let end = block.end.min((n + 1) * pixels);
                    let plane = ((first_image + n) * c.groups + group) * rows + row;
                    // SAFETY: batches have different images, blocks of a batch different pixels; each is visited once.
                    let mut out = unsafe { out.block(plane..plane + 1, pixel..pixel + end - at) };
                    let from = sums.row(row, at - block.start..end - block.start);
                    out.row(0, 0..end - at).copy_from_slice(from);
                    at = end;
                }
            }
        });
    });
}

/// The runs of one panel. `place` returns a column's offset and how many pixels its output row has from there on.
fn runs(columns: std::ops::Range<usize>, place: impl Fn(usize) -> (usize, usize)) -> Vec<RowRun> {
    let (mut runs, mut column) = (Vec::new(), columns.start);
    while column < columns.end {
        let (from, len) = place(column);
        runs.push(RowRun { lane: column - columns.start, from });
        column += len;
    }
    runs
}

/// `to[panel][tap][lane]` for all panels and taps. A copy may exceed its run; the next one overwrites the excess.
fn pack<T: Float>(width: usize, framed: &[T], taps: &[usize], runs: &[Vec<RowRun>], to: &mut [T]) {
    match width {
        4 => pack_panels::<4, T>(framed, taps, runs, to),
        8 => pack_panels::<8, T>(framed, taps, runs, to),
        16 => pack_panels::<16, T>(framed, taps, runs, to),
        32 => pack_panels::<32, T>(framed, taps, runs, to),
        other => panic!("no micro-kernel has panels of {other} columns"),
    }
}

fn pack_panels<const W: usize, T: Float>(framed: &[T], taps: &[usize], runs: &[Vec<RowRun>], to: &mut [T]) {
    for (panel, runs) in runs.iter().enumerate() {
        let to = &mut to[panel * W * taps.len()..][..W * taps.len() + W];
        for (d, &tap) in taps.iter().enumerate() {
            for run in runs {
                let from: &[T; W] =
                    framed[run.from + tap..].first_chunk().expect("the frames end with a spare panel row");
                to[d * W + run.lane..][..W].copy_from_slice(from);
            }
        }
    }
}
