//! The engine of `forward` and `grad_input`: weights times taps of a framed image, phase by phase.
//!
//! ```text
//! out[image][group][m][first + step * (i, j)] = bias[group][m]
//!     + sum over d of w[group][weight_rows[m] + weights[d]] * frame[image][group][taps[d] + i * pitch + j]
//! ```
//! Per phase a product of `channels[1]` rows, one column per pixel, depth `taps`. The weights are packed once for all
//! images. The image side is not packed at all: neighbouring pixels are neighbours in the frame, so a tile reads it in
//! place. If lines are of whole vectors, a tile picks its columns line by line ([`Segments`]) and writes them where they
//! belong. Otherwise it reads on through the margins ([`Windows`]), at the price of a column for every pixel of the
//! frame's lines, `pitch` of them where `width` mean something, a share of `(kw - 1) dilation / pitch`. Under many output
//! channels packing costs less than that, and `joined.rs` takes over.
//!
//! Images and groups are independent tasks; large ones are cut further into bands of lines.

use std::ops::Range;

use super::depthwise;
use super::frame::Frame;
use super::winograd::Winograd;
use crate::kernels::gemm::{
    Indexed, Output, PARALLEL_WORK, Panels, Segments, Start, TASK_WORK, Tile, Windows, multiply, pack, segment,
};
use crate::kernels::{Float, Scratch, for_each};
use crate::launch::{self, Launch, report};
use crate::simd::Level;

/// Columns of one band, if a line is not longer: its result, at 64 channels of f32, fills 128 KiB of L2.
const COLUMNS: usize = 512;

/// The output pixels `first + step * (0 .. size)`, and the sum that each of them is.
#[derive(Debug)]
pub(super) struct Phase {
    pub first: [usize; 2],
    pub size: [usize; 2],
    /// The frame offset of each term, channel by channel.
    pub taps: Vec<usize>,
    /// The weight of each term, counted from its row.
    pub weights: Vec<usize>,
}

impl Phase {
    fn pixels(&self) -> usize {
        self.size[0] * self.size[1]
    }

    /// Where each segment of the pixels begins in a frame whose lines are `pitch` apart, followed by as many more as a
    /// tile may read; nothing if a line is not of whole segments.
    fn segments<T: Float>(&self, pitch: usize, tile: Tile) -> Vec<usize> {
        let [lines, width] = self.size;
        if !width.is_multiple_of(segment::<T>()) {
            return Vec::new();
        }
        let mut firsts: Vec<usize> =
            (0..lines).flat_map(|line| (0..width).step_by(segment::<T>()).map(move |at| line * pitch + at)).collect();
        let spare = firsts.last().map_or(0, |_| tile.columns / segment::<T>());
        firsts.extend(std::iter::repeat_n(0, spare));
        firsts
    }
}

#[derive(Debug)]
pub(super) struct Correlation {
    /// What it is reported as.
    pub kernel: &'static str,
    pub level: Level,
    pub images: usize,
    pub groups: usize,
    /// Channels per group of the source and of the output.
    pub channels: [usize; 2],
    pub frame: Frame,
    /// Height and width of the output.
    pub output: [usize; 2],
    /// Distance between neighbouring pixels of one phase.
    pub step: [usize; 2],
    /// Where the weights of each output channel of a group begin.
    pub weight_rows: Vec<usize>,
    pub phases: Vec<Phase>,
}

impl Correlation {
    pub fn run<T: Float>(&self, source: &[T], w: &[T], bias: Option<&[T]>, out: &mut [T]) {
        let [inner, rows] = self.channels;
        let pixels = self.output[0] * self.output[1];
        let image = inner * self.frame.image[0] * self.frame.image[1];
        let tile = Tile::of::<T>(self.level);
        let segments: Vec<_> = self.phases.iter().map(|phase| phase.segments::<T>(self.frame.size[1], tile)).collect();
        let work = self.phases.iter().map(|phase| (rows * phase.pixels()).saturating_mul(phase.taps.len()));
        let work = work.fold(0, usize::saturating_add);
        let parallel = (self.images * self.groups).saturating_mul(work) >= PARALLEL_WORK;
        let is_depthwise = self.channels == [1, 1];
        let packed = if is_depthwise { None } else { Some(self.pack_weights(parallel, w)) };
        let group_weights = w.len() / self.groups;
        if let Some(packed) = &packed
            && let Some(winograd) = Winograd::of(self)
        {
            let _launch = report(|| self.launch::<T>("Winograd 2 x 2", winograd.tasks::<T>()));
            if winograd.run(source, packed, bias, out) {
                return;
            }
        }
        if let Some(packed) = &packed
            && segments[0].is_empty()
            && let Some(set) = self.joins::<T>()
        {
            return self.run_joined(set, source, packed, bias, out);
        }
        // The last panel of columns reads beyond its last pixel.
        let slack = tile.columns;
        let needed = inner * self.frame.len() + slack;

        let (tasks, grain) = (self.images * self.groups, TASK_WORK / work.max(1) + 1);
        let _launch = report(|| {
            let bands = |phase: &Phase, line: usize| {
                let (band, parallel) = self.band(phase, line);
                if parallel { phase.size[0].div_ceil(band) } else { 1 }
            };
            let (path, bands) = match (is_depthwise, segments[0].is_empty()) {
                (true, _) => ("depthwise", 1),
                (_, true) => ("implicit GEMM, with margins", bands(&self.phases[0], self.frame.size[1])),
                (_, false) => ("implicit GEMM, whole vectors", bands(&self.phases[0], self.phases[0].size[1])),
            };
            self.launch::<T>(path, bands * if parallel { tasks.div_ceil(grain) } else { 1 })
        });
        let out = Output::new(out, tasks, rows * pixels, rows * pixels);
        for_each(parallel, tasks, grain, |index| {
            let group = index % self.groups;
            // SAFETY: each index owns one row of this view, and each is visited once.
            let mut out = unsafe { out.block(index..index + 1, 0..rows * pixels) };
            let out = Output::new(out.row(0, 0..rows * pixels), rows, pixels, pixels);

            let source = &source[index * image..];
            let in_place = self.frame.is_image() && source.len() >= needed;
            let mut copy = Scratch::new(if in_place { 0 } else { needed });
            let framed: &[T] = if in_place {
                source
            } else {
                self.frame.fill_channels(self.level, inner, source, &mut copy);
                copy[inner * self.frame.len()..].fill(T::ZERO);
                &copy
            };
            for (number, phase) in self.phases.iter().enumerate() {
                if let Some(packed) = &packed {
                    let start = bias.map_or(Start::Zero, |bias| Start::RowBias(&bias[group * rows..][..rows]));
                    let weights = self.weights(packed, number, group);
                    self.bands(phase, &segments[number], weights, framed, start, &out);
                } else if phase.pixels() > 0 {
                    let w = &w[group * group_weights..][..group_weights];
                    let start = bias.map_or(T::ZERO, |bias| bias[group]);
                    let compute =
                        |out: &mut [T]| depthwise::plane(self.level, &self.frame, phase, framed, w, start, out);
                    if self.step == [1, 1] {
                        // SAFETY: this task alone holds `out`.
                        let mut out = unsafe { out.block(0..1, 0..pixels) };
                        compute(out.row(0, 0..pixels));
                    } else {
                        let mut dense = Scratch::new(phase.pixels());
                        compute(&mut dense);
                        // SAFETY: this task alone holds `out`, and computes one phase after the other.
                        unsafe { self.place(phase, 0..phase.size[0], &dense, phase.size[1], &out, 0) };
                    }
                }
            }
        });
    }

    /// What a path of this convolution reports.
    pub(super) fn launch<T: Float>(&self, path: &'static str, chunks: usize) -> Launch {
        let tile = if self.channels == [1, 1] { [0; 2] } else { self.tile::<T>() };
        launch::on::<T>(self.kernel, chunks).path(path).tile(tile)
    }

    fn tile<T: Float>(&self) -> [usize; 2] {
        let tile = Tile::of::<T>(self.level);
        [tile.rows, tile.columns]
    }

    /// Lines of a band of a phase, of so many columns each, and whether threads share the bands of an image.
    fn band(&self, phase: &Phase, line: usize) -> (usize, bool) {
        let parallel = self.channels[1] * phase.pixels() * phase.taps.len() >= 8 * TASK_WORK;
        ((COLUMNS / line.max(1)).clamp(1, phase.size[0].max(1)), parallel)
    }

    /// One phase of one image and group, band by band. Where lines are of whole segments, a column stands for a pixel;
    /// elsewhere one is computed for every pixel of the frame's rows, those in the margin included, and the columns that
    /// mean something are put in their place.
    fn bands<T: Float>(
        &self,
        phase: &Phase,
        segments: &[usize],
        weights: Panels<T>,
        framed: &[T],
        start: Start<T>,
        out: &Output<T>,
    ) {
        let ([height, width], pitch) = (phase.size, self.frame.size[1]);
        if phase.pixels() == 0 {
            return;
        }
        let rows = self.channels[1];
        // From the first column of one line to that of the next.
        let line = if segments.is_empty() { pitch } else { width };
        let multiply = |first: usize, out: &mut Output<T>| {
            let offsets = &phase.taps;
            let firsts = segments.get(first * width / segment::<T>()..).unwrap_or_default();
            if firsts.is_empty() {
                let right = Windows { data: &framed[first * pitch..], offsets };
                multiply(self.level, weights, right, out, start);
            } else {
                multiply(self.level, weights, Segments { data: framed, offsets, firsts }, out, start);
            }
        };
        let (band, parallel) = self.band(phase, line);
        for_each(parallel, height.div_ceil(band), 1, |index| {
            let lines = index * band..height.min((index + 1) * band);
            if self.step == [1, 1] && line == width {
                // Columns follow each other in the output as well.
                // SAFETY: bands have different lines, and no other task holds `out`.
                let mut out = unsafe { out.block(0..rows, lines.start * width..lines.end * width) };
                return multiply(lines.start, &mut out);
            }
            let columns = ((lines.len() - 1) * line + width).next_multiple_of(Tile::of::<T>(self.level).columns);
            let mut dense = Scratch::new(rows * columns);
            multiply(lines.start, &mut Output::new(&mut dense, rows, columns, columns));
            for (channel, dense) in dense.chunks_exact(columns).enumerate() {
                // SAFETY: bands have different lines, phases are computed one after the other, and no other task
                // holds `out`.
                unsafe { self.place(phase, lines.clone(), dense, line, out, channel) };
            }
        });
    }

    /// Puts lines of a phase, which lie `pitch` apart in `dense`, where they belong in a channel of the output.
    ///
    /// # Safety
    /// No other thread uses these lines of this channel.
    unsafe fn place<T: Float>(
        &self,
        phase: &Phase,
        lines: Range<usize>,
        dense: &[T],
        pitch: usize,
        out: &Output<T>,
        channel: usize,
    ) {
        let width = self.output[1];
        for (line, from) in lines.zip(dense.chunks(pitch)) {
            let first = (phase.first[0] + line * self.step[0]) * width;
            // SAFETY: the line is one of those that the caller answers for.
            let mut to = unsafe { out.block(channel..channel + 1, first..first + width) };
            let (to, from) = (to.row(0, 0..width), &from[..phase.size[1]]);
            if self.step[1] == 1 {
                to.copy_from_slice(from);
            } else {
                let to = to[phase.first[1]..].iter_mut().step_by(self.step[1]);
                to.zip(from).for_each(|(to, &from)| *to = from);
            }
        }
    }

    /// Elements of the packed weights of one group of one phase.
    fn packed_len<T: Float>(&self, phase: usize) -> usize {
        self.channels[1].next_multiple_of(Tile::of::<T>(self.level).rows) * self.phases[phase].taps.len()
    }

    /// The weights of all phases and, within a phase, all groups.
    fn pack_weights<T: Float>(&self, parallel: bool, w: &[T]) -> Scratch<T> {
        let tile = Tile::of::<T>(self.level);
        let total = (0..self.phases.len()).map(|phase| self.groups * self.packed_len::<T>(phase)).sum();
        let mut packed = Scratch::new(total);
        let mut rest: &mut [T] = &mut packed;
        for (number, phase) in self.phases.iter().enumerate() {
            for group in 0..self.groups {
                let to = rest.split_off_mut(..self.packed_len::<T>(number)).expect("as long as the sum of all");
                let data = &w[group * (w.len() / self.groups)..];
                let operand = Indexed { data, lanes: &self.weight_rows, depths: &phase.weights };
                pack(parallel, &operand, self.channels[1], 0..phase.weights.len(), tile.rows, to);
            }
        }
        packed
    }

    /// The part of the packed weights that belongs to one phase and group.
    pub(super) fn weights<'a, T: Float>(&self, packed: &'a [T], phase: usize, group: usize) -> Panels<'a, T> {
        let before: usize = (0..phase).map(|phase| self.groups * self.packed_len::<T>(phase)).sum();
        let len = self.packed_len::<T>(phase);
        let packed = &packed[before + group * len..][..len];
        Panels::new(packed, Tile::of::<T>(self.level).rows, self.phases[phase].taps.len())
    }
}
