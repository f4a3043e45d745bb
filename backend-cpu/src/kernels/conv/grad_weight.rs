//! The gradient of the weights as matrix products whose k dimension is every output pixel of every image.
//!
//! ```text
//! gw[o][tap] = sum over sets of images ( sum over blocks of images ( gy[o][pixel] * frame[tap + pixel] ) )
//! ```
//! Images form blocks, each large enough to amortize reading and writing `gw`. Consecutive blocks form at most [`SETS`] sets,
//! whose partial sums are added in order. Both counts follow from the shape alone.
//!
//! A block is computed in one of two ways: if output rows consist of full SIMD registers, as dot products of rows in place
//! (`dots.rs`); else as a packed product (`gemm`) of `gy` and the im2col matrix, which is packed directly from the frame.

use super::dots::{Dots, Segment, lanes};
use super::frame::Frame;
use super::geometry::{Conv2d, Pass, channels_and_taps};
use crate::kernels::gemm::{Indexed, Init, Output, PARALLEL_WORK, Shape, TASK_WORK, Tile, add_in_order, gemm_at};
use crate::kernels::{Float, Scratch, for_each};
use crate::launch::{self, report};
use crate::simd::Level;

/// Sets of images with a partial sum of their own, at most.
const SETS: usize = 16;

/// Elements of all partial sums, at most. A larger gradient has a single set, and is itself large enough to occupy all threads.
const PARTIAL_ELEMENTS: usize = 2 << 20;

/// Pixels of a block, about.
const PIXELS: usize = 512;

/// The gradient, by dot products if `by_dots`, which requires output rows of full registers at this level.
pub(super) fn run<T: Float>(level: Level, by_dots: bool, g: &Conv2d, x: &[T], gy: &[T], gw: &mut [T]) {
    let frame = g.frame(Pass::GradWeight);
    let (image, output) = (g.c_in * g.h * g.w, g.c_out * g.oh * g.ow);
    let (group_image, group_frame) = (g.group_in() * g.h * g.w, g.group_in() * frame.len());
    let is_image = frame.is_image();
    let framed_image = if is_image { image } else { group_frame };

    // Images of one block.
    let batch = PIXELS.div_ceil(g.oh * g.ow).min(g.n);
    let tap_offsets = channels_and_taps(g.group_in(), frame.len(), &g.input_taps(&frame));
    let frame_pixels = channels_and_taps(batch, framed_image, &pixels([g.oh, g.ow], frame.size[1]));
    let segments = by_dots.then(|| segments(g, lanes::<T>(level), &frame, [output, framed_image], batch));
    let output_rows: Vec<usize> = (0..g.group_out()).map(|o| o * g.oh * g.ow).collect();
    let output_pixels = channels_and_taps(batch, output, &(0..g.oh * g.ow).collect::<Vec<_>>());

    let blocks = g.n.div_ceil(batch);
    let sets = (g.work() / TASK_WORK).min(SETS).min(PARTIAL_ELEMENTS / gw.len()).clamp(1, blocks);
    let set_blocks = blocks.div_ceil(sets);
    let sets = blocks.div_ceil(set_blocks);

    let _launch = report(|| {
        let chunks = if g.work() >= PARALLEL_WORK { sets * g.groups } else { 1 };
        let (path, tile) = match segments {
            Some(_) => ("dot products over pixels", [0; 2]),
            None => ("implicit GEMM", [Tile::of::<T>(level).mr, Tile::of::<T>(level).nr]),
        };
        launch::on::<T>(Pass::GradWeight.kernel(), chunks).path(path).tile(tile)
    });
    let (len, group_len) = (gw.len(), gw.len() / g.groups);
    let mut partials = Scratch::new((sets - 1) * len);
    {
        let first = Output::new(gw, g.groups, group_len, group_len);
        let others = Output::new(&mut partials, (sets - 1) * g.groups, group_len, group_len);
        for_each(g.work() >= PARALLEL_WORK, sets * g.groups, 1, |index| {
            let (set, group) = (index / g.groups, index % g.groups);
            // SAFETY: each index owns one row of one of the two views, and each is visited once.
            let mut sum = unsafe {
                if set == 0 {
                    first.block(group..group + 1, 0..group_len)
                } else {
                    others.block(index - g.groups..index - g.groups + 1, 0..group_len)
                }
            };
            let sum = sum.row(0, 0..group_len);
            let mut framed = Scratch::new(if is_image { 0 } else { batch * group_frame });
            for block in set * set_blocks..blocks.min((set + 1) * set_blocks) {
                let images = block * batch..g.n.min((block + 1) * batch);
                let k = images.len() * g.oh * g.ow;
                let source = &x[images.start * image + group * group_image..];
                let data: &[T] = if is_image {
                    source
                } else {
                    for (n, to) in framed.chunks_exact_mut(group_frame).take(images.len()).enumerate() {
                        frame.fill_channels(level, g.group_in(), &source[n * image..], to);
                    }
                    &framed
                };
                let gy = &gy[images.start * output + group * output / g.groups..];
                let first = block == set * set_blocks;
                if let Some(segments) = &segments {
                    let segments = &segments[..segments.len() / batch * images.len()];
                    let dots = Dots { gy, rows: &output_rows, frame: data, taps: &tap_offsets, segments };
                    dots.run(level, sum, !first);
                    continue;
                }
                let rows = Indexed { data: gy, offsets: &output_rows, k_offsets: &output_pixels[..k] };
                let taps = Indexed { data, offsets: &tap_offsets, k_offsets: &frame_pixels[..k] };
                let shape = Shape { m: g.group_out(), n: tap_offsets.len(), k };
                let init = if first { Init::Zero } else { Init::Accumulate };
                let mut out = Output::new(sum, shape.m, shape.n, shape.n);
                gemm_at(level, shape, &rows, &taps, &mut out, init, &|_| ());
            }
        });
    }
    add_in_order(gw, &partials);
}

/// `row * pitch + column` for all pixels of a grid.
fn pixels([rows, columns]: [usize; 2], pitch: usize) -> Vec<usize> {
    (0..rows).flat_map(|row| (0..columns).map(move |column| row * pitch + column)).collect()
}

/// The output pixels of `batch` images in segments of `lanes`. `strides` are the distances between images of `gy` and between
/// framed ones.
fn segments(g: &Conv2d, lanes: usize, frame: &Frame, strides: [usize; 2], batch: usize) -> Vec<Segment> {
    assert!(g.ow.is_multiple_of(lanes), "output rows of {} in segments of {lanes}", g.ow);
    let segment =
        |n, y, x| Segment { gy: n * strides[0] + y * g.ow + x, frame: n * strides[1] + y * frame.size[1] + x };
    let row = |n, y| (0..g.ow).step_by(lanes).map(move |x| segment(n, y, x));
    (0..batch).flat_map(|n| (0..g.oh).flat_map(move |y| row(n, y))).collect()
}
