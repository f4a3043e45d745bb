//! The gradient of the weights: a product whose depth is every output pixel of every image.
//!
//! ```text
//! gw[o][tap] = sum over sets of images ( sum over depth blocks ( gy[o][pixel] * frame[tap + pixel] ) )
//! ```
//! Images are joined until a product is deep enough to pay for reading and writing `gw`; the joined blocks are dealt to
//! at most [`SETS`] sets, whose partial sums are added in order. Both counts follow from the shape alone.

use super::Conv2d;
use super::depthwise;
use super::dots::{Dots, Segment, lanes};
use super::frame::Frame;
use super::{channels_and_taps, pixels};
use crate::kernels::gemm::{Indexed, Output, PARALLEL_WORK, Shape, Start, TASK_WORK, Tile, add_in_order, gemm_at};
use crate::kernels::{Float, Scratch, for_each};
use crate::launch::{self, report};
use crate::simd::Level;

/// Sets of images with a partial sum of their own, at most.
const SETS: usize = 16;

/// Elements of all partial sums, at most: a gradient so large that it allows no sets has enough blocks of its own.
const PARTIAL_ELEMENTS: usize = 2 << 20;

/// Pixels that make a product deep enough.
const DEPTH: usize = 512;

pub(super) fn grad_weight_at<T: Float>(level: Level, g: &Conv2d, x: &[T], gy: &[T], gw: &mut [T]) {
    g.check(x, gw, gy);
    if gw.is_empty() || gy.is_empty() {
        return gw.fill(T::ZERO);
    }
    if g.is_depthwise() {
        report(|| {
            let chunks = if g.work() >= PARALLEL_WORK { g.c_out } else { 1 };
            launch::on::<T>("conv2d_grad_weight", chunks).path("depthwise")
        });
        return depthwise::grad_weight(level, g, x, gy, gw);
    }
    let frame = g.input_frame();
    let (image, output) = (g.c_in * g.h * g.w, g.c_out * g.oh * g.ow);
    let (group_image, group_frame) = (g.group_in() * g.h * g.w, g.group_in() * frame.len());
    let is_image = frame.is_image();

    // The depth of one product: all pixels of `joined` images.
    let joined = DEPTH.div_ceil(g.oh * g.ow).min(g.n);
    let lane_taps = channels_and_taps(g.group_in(), frame.len(), &g.input_taps(&frame));
    let frame_pixels =
        channels_and_taps(joined, if is_image { image } else { group_frame }, &pixels([g.oh, g.ow], frame.size[1]));
    let segments = segments(g, lanes::<T>(level), &frame, [output, if is_image { image } else { group_frame }], joined);
    let output_rows: Vec<usize> = (0..g.group_out()).map(|o| o * g.oh * g.ow).collect();
    let output_pixels = channels_and_taps(joined, output, &(0..g.oh * g.ow).collect::<Vec<_>>());

    let blocks = g.n.div_ceil(joined);
    let sets = (g.work() / TASK_WORK).min(SETS).min(PARTIAL_ELEMENTS / gw.len()).clamp(1, blocks);
    let set_blocks = blocks.div_ceil(sets);
    let sets = blocks.div_ceil(set_blocks);

    let _launch = report(|| {
        let chunks = if g.work() >= PARALLEL_WORK { sets * g.groups } else { 1 };
        let (path, tile) = match segments {
            Some(_) => ("dot products over pixels", [0; 2]),
            None => ("implicit GEMM", [Tile::of::<T>(level).rows, Tile::of::<T>(level).columns]),
        };
        launch::on::<T>("conv2d_grad_weight", chunks).path(path).tile(tile)
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
            let mut framed = Scratch::new(if is_image { 0 } else { joined * group_frame });
            for block in set * set_blocks..blocks.min((set + 1) * set_blocks) {
                let images = block * joined..g.n.min((block + 1) * joined);
                let depth = images.len() * g.oh * g.ow;
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
                    let segments = &segments[..segments.len() / joined * images.len()];
                    let dots = Dots { gy, rows: &output_rows, frame: data, taps: &lane_taps, segments };
                    dots.run(level, sum, !first);
                    continue;
                }
                let rows = Indexed { data: gy, lanes: &output_rows, depths: &output_pixels[..depth] };
                let taps = Indexed { data, lanes: &lane_taps, depths: &frame_pixels[..depth] };
                let shape = Shape { m: g.group_out(), n: lane_taps.len(), k: depth };
                let start = if first { Start::Zero } else { Start::Accumulate };
                gemm_at(level, shape, &rows, &taps, &mut Output::new(sum, shape.m, shape.n, shape.n), start);
            }
        });
    }
    add_in_order(gw, &partials);
}

/// The output's pixels of `joined` images as segments of `lanes`, if its lines are of whole ones. `strides` are the
/// distances between images of the output and between framed ones.
fn segments(g: &Conv2d, lanes: usize, frame: &Frame, strides: [usize; 2], joined: usize) -> Option<Vec<Segment>> {
    let segment =
        |n, y, x| Segment { gy: n * strides[0] + y * g.ow + x, frame: n * strides[1] + y * frame.size[1] + x };
    let line = |n, y| (0..g.ow).step_by(lanes).map(move |x| segment(n, y, x));
    g.ow.is_multiple_of(lanes).then(|| (0..joined).flat_map(|n| (0..g.oh).flat_map(move |y| line(n, y))).collect())
}
