//! The engine of `correlation.rs` for lines that are not of whole vectors, where there are many output channels: the
//! pixels of several images, one after the other, are the columns of one product, and none is computed for a margin.
//!
//! ```text
//! for blocks of columns { for blocks of depth { pack taps x columns; sums += weights x packed }; sums to their images }
//! ```
//! A panel of columns is packed from runs, the lines or parts of lines that it covers: per tap a copy of a whole vector
//! for each, the next run over the end of the one before. That costs about 16 multiply-adds a column and tap, which is
//! why the margins have to cost more ([`Correlation::joins`]). 14 x 14 pixels of 256 channels gain a tenth.

use super::correlation::Correlation;
use crate::kernels::gemm::{Output, PARALLEL_WORK, Panels, Start, TASK_WORK, Tile, depth_step, multiply};
use crate::kernels::{Float, Scratch, for_each};
use crate::launch::report;

/// Columns of one block: packed for 256 taps of f32 they fill 128 KiB of L2.
const COLUMNS: usize = 128;

/// Images of one set, at most.
const IMAGES: usize = 16;

/// Multiply-adds that packing one column for one tap costs.
const PACKING: usize = 16;

/// Neighbouring pixels of a line: from lane `lane` of a panel on, read from `from` plus the tap's offset.
#[derive(Clone, Copy, Debug)]
struct Run {
    lane: usize,
    from: usize,
}

impl Correlation {
    /// How many images to join, if that costs less than computing the margins does.
    pub(super) fn joins<T: Float>(&self) -> Option<usize> {
        let [phase] = &self.phases[..] else { return None };
        let ([height, width], columns) = (phase.size, Tile::of::<T>(self.level).columns);
        let (pixels, rows) = (height * width, self.channels[1]);
        if self.step != [1, 1] || self.channels == [1, 1] || pixels == 0 {
            return None;
        }
        let windows = ((height - 1) * self.frame.size[1] + width).next_multiple_of(columns);
        let most = IMAGES.min(self.images).max(1);
        // The fewest images that leave a last panel nearly full.
        let waste = |n: &usize| (n * pixels).next_multiple_of(columns) - n * pixels;
        let set = (1..=most).find(|n| 50 * waste(n) <= n * pixels).unwrap_or(most);
        let joined = pixels * (rows + PACKING) + waste(&set) * rows / set;
        (joined < windows * rows).then_some(set)
    }

    /// [`Correlation::run`] for sets of `set` images, with the weights of each group packed.
    pub(super) fn run_joined<T: Float>(
        &self,
        set: usize,
        source: &[T],
        packed: &[T],
        bias: Option<&[T]>,
        out: &mut [T],
    ) {
        let ([inner, rows], tile) = (self.channels, Tile::of::<T>(self.level));
        let (phase, [height, width]) = (&self.phases[0], self.output);
        let (pixels, depth) = (height * width, phase.taps.len());
        let image = inner * self.frame.image[0] * self.frame.image[1];
        let (framed_len, pitch) = (inner * self.frame.len(), self.frame.size[1]);
        let out = Output::new(out, self.images * self.groups * rows, pixels, pixels);
        let sets = self.images.div_ceil(set);
        let parallel = self.images * self.groups * rows * pixels * depth >= PARALLEL_WORK;
        let _launch = report(|| {
            let columns = set.min(self.images) * pixels;
            let blocks = if rows * columns * depth >= 8 * TASK_WORK { columns.div_ceil(COLUMNS) } else { 1 };
            let tasks = if parallel { sets * self.groups } else { 1 };
            self.launch::<T>("implicit GEMM, joined images", tasks * blocks)
        });
        for_each(parallel, sets * self.groups, 1, |index| {
            let (group, first) = (index % self.groups, index / self.groups * set);
            let images = set.min(self.images - first);
            let start = bias.map_or(Start::Zero, |bias| Start::RowBias(&bias[group * rows..][..rows]));
            let weights = self.weights(packed, 0, group);
            let mut framed = Scratch::new(images * framed_len + tile.columns);
            for (n, to) in framed.chunks_exact_mut(framed_len).take(images).enumerate() {
                let from = &source[((first + n) * self.groups + group) * image..];
                self.frame.fill_channels(self.level, inner, from, to);
            }
            framed[images * framed_len..].fill(T::ZERO);
            let framed: &[T] = &framed;

            let columns = images * pixels;
            let parallel = rows * columns * depth >= 8 * TASK_WORK;
            for_each(parallel, columns.div_ceil(COLUMNS), 1, |block| {
                let block = block * COLUMNS..columns.min((block + 1) * COLUMNS);
                let whole = block.len().next_multiple_of(tile.columns);
                // Where column `c` lies in the framed images, and how many of its line begin with it.
                let place = |c: usize| {
                    let (n, y, x) = (c / pixels, c % pixels / width, c % width);
                    (n * framed_len + y * pitch + x, width - x)
                };
                let runs: Vec<Vec<Run>> = block
                    .clone()
                    .step_by(tile.columns)
                    .map(|c| runs(c..block.end.min(c + tile.columns), place))
                    .collect();
                let mut sums = Scratch::new(rows * whole);
                let mut sums = Output::new(&mut sums, rows, whole, whole);
                let step = depth_step::<T>(depth);
                let mut panels = Scratch::new(whole * step + tile.columns);
                for d in (0..depth).step_by(step) {
                    let taps = &phase.taps[d..depth.min(d + step)];
                    pack(tile.columns, framed, taps, &runs, &mut panels);
                    let right = Panels::new(&panels[..whole * taps.len()], tile.columns, taps.len());
                    let start = if d == 0 { start } else { Start::Accumulate };
                    multiply(self.level, weights.depths(d..d + taps.len()), right, &mut sums, start);
                }
                for row in 0..rows {
                    let mut at = block.start;
                    while at < block.end {
                        let (n, pixel) = (at / pixels, at % pixels);
                        let end = block.end.min((n + 1) * pixels);
                        let line = ((first + n) * self.groups + group) * rows + row;
                        // SAFETY: sets have different images, blocks of a set different pixels; each is visited once.
                        let mut out = unsafe { out.block(line..line + 1, pixel..pixel + end - at) };
                        let from = sums.row(row, at - block.start..end - block.start);
                        out.row(0, 0..end - at).copy_from_slice(from);
                        at = end;
                    }
                }
            });
        });
    }
}

/// The runs of one panel. `place` tells where a column lies and how many follow it in a line, itself counted.
fn runs(columns: std::ops::Range<usize>, place: impl Fn(usize) -> (usize, usize)) -> Vec<Run> {
    let (mut runs, mut column) = (Vec::new(), columns.start);
    while column < columns.end {
        let (from, len) = place(column);
        runs.push(Run { lane: column - columns.start, from });
        column += len;
    }
    runs
}

/// `to[panel][tap][lane]` for all panels and taps. What a copy writes beyond its run, the next one overwrites.
fn pack<T: Float>(width: usize, framed: &[T], taps: &[usize], runs: &[Vec<Run>], to: &mut [T]) {
    match width {
        4 => pack_panels::<4, T>(framed, taps, runs, to),
        8 => pack_panels::<8, T>(framed, taps, runs, to),
        16 => pack_panels::<16, T>(framed, taps, runs, to),
        32 => pack_panels::<32, T>(framed, taps, runs, to),
        other => panic!("no micro-kernel has panels of {other} columns"),
    }
}

fn pack_panels<const W: usize, T: Float>(framed: &[T], taps: &[usize], runs: &[Vec<Run>], to: &mut [T]) {
    for (panel, runs) in runs.iter().enumerate() {
        let to = &mut to[panel * W * taps.len()..][..W * taps.len() + W];
        for (d, &tap) in taps.iter().enumerate() {
            for run in runs {
                let from: &[T; W] = framed[run.from + tap..].first_chunk().expect("the frames end with a spare vector");
                to[d * W + run.lane..][..W].copy_from_slice(from);
            }
        }
    }
}
