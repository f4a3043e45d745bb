//! Convolution as a matrix product whose im2col operand is read from the frame: `c_out / groups` rows, one column per output
//! pixel, one k per tap and channel. It suits every geometry.
//!
//! ```text
//! for each image, group (parallel): frame the image
//!   for each output grid, band of output rows (parallel): C[band] = bias + packed weights x im2col[band]
//! ```
//! The weights are packed once for all images. The im2col operand is not packed: neighbouring pixels are neighbours in the
//! frame, so the micro-kernel loads them in place, in one of two ways per grid:
//! * Output rows that consist of full [`segment`]s: the columns are exactly the pixels, segment by segment ([`Segments`]). With
//!   step 1, results are written directly to the output.
//! * Other rows: the columns are consecutive elements of the frame, margins included ([`Windows`]). Results go to a temporary
//!   block, from which the pixels are copied. Of each `pitch` columns `width` are used; the others, for `forward` with stride 1
//!   `(kw - 1) dilation` of them, are wasted work.

use super::correlation::{Correlation, OutputGrid};
use crate::kernels::gemm::{
    Init, Output, PARALLEL_WORK, Panels, Segments, TASK_WORK, Tile, Windows, multiply, segment,
};
use crate::kernels::{Float, Scratch, for_each};
use crate::launch::report;

/// Columns of one band, or one output row if that is longer. At 64 channels of f32 the result of a band has 128 KiB, for L2.
const COLUMNS: usize = 512;

pub(super) fn run<T: Float>(c: &Correlation, source: &[T], w: &[T], bias: Option<&[T]>, out: &mut [T]) {
    let [inner, rows] = c.channels;
    let (pixels, image, work) = (c.output[0] * c.output[1], c.source_len(), c.work());
    let tile = Tile::of::<T>(c.level);
    let segments: Vec<_> = c.grids.iter().map(|grid| segments::<T>(grid, c.frame.size[1], tile)).collect();
    let (tasks, grain) = (c.images * c.groups, TASK_WORK / work.max(1) + 1);
    let parallel = tasks.saturating_mul(work) >= PARALLEL_WORK;
    let packed = c.pack_weights(parallel, w);
    let _launch = report(|| {
        let grid = &c.grids[0];
        let (path, line) = match segments[0].is_empty() {
            true => ("implicit GEMM, with margins", c.frame.size[1]),
            false => ("implicit GEMM, full registers", grid.size[1]),
        };
        let (band, shared) = band(c, grid, line);
        let bands = if shared { grid.size[0].div_ceil(band) } else { 1 };
        c.launch::<T>(path, bands * if parallel { tasks.div_ceil(grain) } else { 1 }, [tile.mr, tile.nr])
    });
    let out = Output::new(out, tasks, rows * pixels, rows * pixels);
    for_each(parallel, tasks, grain, |index| {
        let group = index % c.groups;
        // SAFETY: each index owns one row of this view and is visited once.
        let mut out = unsafe { out.block(index..index + 1, 0..rows * pixels) };
        let out = Output::new(out.row(0, 0..rows * pixels), rows, pixels, pixels);
        let mut copy = None;
        // The last panel of columns reads up to a tile beyond its last pixel.
        let framed = c.frame.framed(c.level, inner, &source[index * image..], tile.nr, &mut copy);
        let init = bias.map_or(Init::Zero, |bias| Init::RowBias(&bias[group * rows..][..rows]));
        for (number, grid) in c.grids.iter().enumerate().filter(|(_, grid)| grid.pixels() > 0) {
            let weights = c.packed_weights(&packed, number, group);
            bands(c, grid, &segments[number], weights, framed, init, &out);
        }
    });
}

/// The frame offset of each segment of the grid's pixels, followed by zeros for the segments that the last tile reads beyond
/// them; empty if a row does not consist of full segments.
fn segments<T: Float>(grid: &OutputGrid, pitch: usize, tile: Tile) -> Vec<usize> {
    let [rows, width] = grid.size;
    if !width.is_multiple_of(segment::<T>()) {
        return Vec::new();
    }
    let row = |row: usize| (0..width).step_by(segment::<T>()).map(move |at| row * pitch + at);
    let mut firsts: Vec<usize> = (0..rows).flat_map(row).collect();
    let spare = firsts.last().map_or(0, |_| tile.nr / segment::<T>());
    firsts.extend(std::iter::repeat_n(0, spare));
    firsts
}

/// Rows of a band, given the columns per row, and whether threads share the bands of one image.
fn band(c: &Correlation, grid: &OutputGrid, columns: usize) -> (usize, bool) {
    let parallel = c.channels[1] * grid.pixels() * grid.taps.len() >= 8 * TASK_WORK;
    ((COLUMNS / columns.max(1)).clamp(1, grid.size[0].max(1)), parallel)
}

/// One grid of one image and group, band by band.
fn bands<T: Float>(
    c: &Correlation,
    grid: &OutputGrid,
    segments: &[usize],
    weights: Panels<T>,
    framed: &[T],
    init: Init<T>,
    out: &Output<T>,
) {
    let (channels, [height, width], pitch) = (c.channels[1], grid.size, c.frame.size[1]);
    // Columns from one output row to the next.
    let line = if segments.is_empty() { pitch } else { width };
    let offsets = &grid.taps;
    let product = |first: usize, out: &mut Output<T>| {
        if segments.is_empty() {
            multiply(c.level, weights, Windows { data: &framed[first * pitch..], offsets }, out, init);
        } else {
            let firsts = &segments[first * width / segment::<T>()..];
            multiply(c.level, weights, Segments { data: framed, offsets, firsts }, out, init);
        }
    };
    let (band, parallel) = band(c, grid, line);
    for_each(parallel, height.div_ceil(band), 1, |index| {
        let rows = index * band..height.min((index + 1) * band);
        if c.step == [1, 1] && line == width {
            // The band's pixels are contiguous in the output as well.
            // SAFETY: bands have different rows, and no other task holds `out`.
            let mut out = unsafe { out.block(0..channels, rows.start * width..rows.end * width) };
            return product(rows.start, &mut out);
        }
        let columns = ((rows.len() - 1) * line + width).next_multiple_of(Tile::of::<T>(c.level).nr);
        let mut dense = Scratch::new(channels * columns);
        product(rows.start, &mut Output::new(&mut dense, channels, columns, columns));
        for (channel, dense) in dense.chunks_exact(columns).enumerate() {
            // SAFETY: bands have different rows, grids are computed one after the other, and no other task holds `out`.
            unsafe { c.place(grid, rows.clone(), dense, line, out, channel) };
        }
    });
}
