//! `forward` and `grad_input` as one problem: weights times the taps of a framed image, on one or more grids of output
//! pixels.
//!
//! ```text
//! out[image][group][m][first + step * (i, j)] = bias[group][m]
//!     + sum over d of w[group][weight_rows[m] + weights[d]] * frame[image][group][taps[d] + i * pitch + j]
//! ```
//! `forward` has one grid, all output pixels. `grad_input` of a convolution with stride `(sy, sx)` has `sy sx` grids, one per
//! remainder of the input pixel's position modulo the stride: the same taps read all pixels of a grid, and there the gradient is
//! a convolution of `gy` with those taps and stride 1.
//!
//! This file has the geometry, packs the weights and places results. The algorithms are in files of their own.

use std::ops::Range;

use super::frame::Frame;
use super::geometry::{Conv2d, Pass, channels_and_taps};
use crate::kernels::gemm::{Indexed, Output, Panels, Tile, pack};
use crate::kernels::{Float, Scratch};
use crate::launch::{self, Launch};
use crate::simd::Level;

/// The output pixels `first + step * (0 .. size)`, and the terms of the sum that each of them is.
#[derive(Debug)]
pub(super) struct OutputGrid {
    pub first: [usize; 2],
    pub size: [usize; 2],
    /// The frame offset of each term, channel by channel.
    pub taps: Vec<usize>,
    /// The weight of each term, relative to its output channel's first.
    pub weights: Vec<usize>,
}

impl OutputGrid {
    pub fn pixels(&self) -> usize {
        self.size[0] * self.size[1]
    }
}

#[derive(Debug)]
pub(super) struct Correlation {
    pub pass: Pass,
    pub level: Level,
    pub images: usize,
    pub groups: usize,
    /// Channels per group of the source and of the output.
    pub channels: [usize; 2],
    pub frame: Frame,
    /// Height and width of the output.
    pub output: [usize; 2],
    /// Distance between neighbouring pixels of one grid.
    pub step: [usize; 2],
    /// The first weight of each output channel of a group.
    weight_rows: Vec<usize>,
    pub grids: Vec<OutputGrid>,
}

impl Correlation {
    pub fn new(level: Level, pass: Pass, g: &Conv2d) -> Self {
        let frame = g.frame(pass);
        let group_weights = g.group_in() * g.taps();
        let (step, weight_row, grids) = match pass {
            Pass::GradInput => (g.stride, g.taps(), gradient_grids(g, &frame)),
            Pass::Forward | Pass::GradWeight => {
                let grid = OutputGrid {
                    first: [0, 0],
                    size: [g.oh, g.ow],
                    taps: channels_and_taps(g.group_in(), frame.len(), &g.input_taps(&frame)),
                    weights: (0..group_weights).collect(),
                };
                ([1, 1], group_weights, vec![grid])
            }
        };
        let channels = g.channels(pass);
        Correlation {
            pass,
            level,
            images: g.n,
            groups: g.groups,
            channels,
            frame,
            output: g.output(pass),
            step,
            weight_rows: (0..channels[1]).map(|m| m * weight_row).collect(),
            grids,
        }
    }

    /// Multiply-adds per image and group; `usize::MAX` if they overflow.
    pub fn work(&self) -> usize {
        let grid = |grid: &OutputGrid| (self.channels[1] * grid.pixels()).saturating_mul(grid.taps.len());
        self.grids.iter().map(grid).fold(0, usize::saturating_add)
    }

    /// Elements of one group of one image of the source.
    pub fn source_len(&self) -> usize {
        self.channels[0] * self.frame.image[0] * self.frame.image[1]
    }

    /// The launch report of an algorithm; the register tile is `[0, 0]` if it has none.
    pub fn launch<T: Float>(&self, path: &'static str, chunks: usize, tile: [usize; 2]) -> Launch {
        launch::on::<T>(self.pass.kernel(), chunks).path(path).tile(tile)
    }

    /// Copies rows `rows` of a grid, which lie `pitch` apart in `dense`, to their pixels in a channel of the output.
    ///
    /// # Safety
    /// No other thread accesses these rows of this channel.
    pub unsafe fn place<T: Float>(
        &self,
        grid: &OutputGrid,
        rows: Range<usize>,
        dense: &[T],
        pitch: usize,
        out: &Output<T>,
        channel: usize,
    ) {
        let width = self.output[1];
        for (row, from) in rows.zip(dense.chunks(pitch)) {
            let first = (grid.first[0] + row * self.step[0]) * width;
            // SAFETY: the row is one of those that no other thread accesses, as the caller guarantees.
            let mut to = unsafe { out.block(channel..channel + 1, first..first + width) };
            let (to, from) = (to.row(0, 0..width), &from[..grid.size[1]]);
            if self.step[1] == 1 {
                to.copy_from_slice(from);
            } else {
                let to = to[grid.first[1]..].iter_mut().step_by(self.step[1]);
                to.zip(from).for_each(|(to, &from)| *to = from);
            }
        }
    }

    /// Elements of the packed weights of one group of one grid.
    fn packed_len<T: Float>(&self, grid: usize) -> usize {
        self.channels[1].next_multiple_of(Tile::of::<T>(self.level).mr) * self.grids[grid].taps.len()
    }

    /// The weights of all grids and, within a grid, all groups, as panels of operand A.
    pub fn pack_weights<T: Float>(&self, parallel: bool, w: &[T]) -> Scratch<T> {
        let tile = Tile::of::<T>(self.level);
        let total = (0..self.grids.len()).map(|grid| self.groups * self.packed_len::<T>(grid)).sum();
        let mut packed = Scratch::new(total);
        let mut rest: &mut [T] = &mut packed;
        for (number, grid) in self.grids.iter().enumerate() {
            for group in 0..self.groups {
                let to = rest.split_off_mut(..self.packed_len::<T>(number)).expect("as long as the sum of all");
                let data = &w[group * (w.len() / self.groups)..];
                let operand = Indexed { data, offsets: &self.weight_rows, k_offsets: &grid.weights };
                pack(parallel, &operand, self.channels[1], 0..grid.weights.len(), tile.mr, to);
            }
        }
        packed
    }

    /// The packed weights of one grid and group.
    pub fn packed_weights<'a, T: Float>(&self, packed: &'a [T], grid: usize, group: usize) -> Panels<'a, T> {
        let before: usize = (0..grid).map(|grid| self.groups * self.packed_len::<T>(grid)).sum();
        let len = self.packed_len::<T>(grid);
        let packed = &packed[before + group * len..][..len];
        Panels::new(packed, Tile::of::<T>(self.level).mr, self.grids[grid].taps.len())
    }
}

/// The grids of the input's gradient, one per remainder of the pixel's position modulo the stride.
fn gradient_grids(g: &Conv2d, frame: &Frame) -> Vec<OutputGrid> {
    // Along one axis: the taps that read the pixels of one remainder, each with the frame's index for the first of those pixels.
    let reaching = |axis: usize, kernel: usize, remainder: usize| -> Vec<(usize, usize)> {
        let (stride, ahead) = (g.stride[axis], remainder + g.padding[axis] + frame.margin[axis] * g.stride[axis]);
        let index = |tap: usize| (tap, ahead - tap * g.dilation[axis]);
        (0..kernel).map(index).filter(|(_, at)| at % stride == 0).map(|(tap, at)| (tap, at / stride)).collect()
    };
    let mut grids = Vec::new();
    for first_y in 0..g.stride[0].min(g.h) {
        for first_x in 0..g.stride[1].min(g.w) {
            let size = [(g.h - first_y).div_ceil(g.stride[0]), (g.w - first_x).div_ceil(g.stride[1])];
            let (mut taps, mut weights) = (Vec::new(), Vec::new());
            for (y, row) in reaching(0, g.kh, first_y) {
                for (x, column) in reaching(1, g.kw, first_x) {
                    taps.push(frame.offset(row, column));
                    weights.push(y * g.kw + x);
                }
            }
            grids.push(OutputGrid {
                first: [first_y, first_x],
                size,
                taps: channels_and_taps(g.group_out(), frame.len(), &taps),
                weights: channels_and_taps(g.group_out(), g.group_in() * g.taps(), &weights),
            });
        }
    }
    grids
}
