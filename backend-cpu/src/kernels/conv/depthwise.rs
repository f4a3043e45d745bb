//! Depthwise convolution, one channel per group: each output row is a sum of scaled rows of the frame.
//!
//! ```text
//! out[i][j] = bias + sum over taps of w[tap] * frame[offset of the tap + i * pitch + j]
//! gw[c][tap] = sum over images and pixels of gy[image][c][i][j] * frame[image][c][offset of the tap + i * pitch + j]
//! ```
//! Channels share no operand, so a matrix product would have no reuse. Instead a strip of an output row stays in registers while
//! all taps are added to it. Cost: one load and one FMA per tap and register.

use super::correlation::{Correlation, OutputGrid};
use super::geometry::{Conv2d, Pass};
use crate::kernels::gemm::{Output, PARALLEL_WORK, TASK_WORK};
use crate::kernels::{Float, Scratch, end_of, for_each, for_each_chunk};
use crate::launch::{self, report};
use crate::simd::{Isa, Kernel, Level};

/// Pixels of a strip: four AVX2 registers of f32, enough to hide the latency of the FMA.
const STRIP: usize = 32;

/// Pixels of a strip in rows shorter than [`STRIP`].
const SHORT: usize = 8;

/// `forward` and `grad_input`; images and channels are the tasks.
pub(super) fn run<T: Float>(c: &Correlation, source: &[T], w: &[T], bias: Option<&[T]>, out: &mut [T]) {
    let (pixels, image, work) = (c.output[0] * c.output[1], c.source_len(), c.work());
    let (planes, grain) = (c.images * c.groups, TASK_WORK / work.max(1) + 1);
    let parallel = planes.saturating_mul(work) >= PARALLEL_WORK;
    let _launch = report(|| c.launch::<T>("depthwise", if parallel { planes.div_ceil(grain) } else { 1 }, [0; 2]));
    let taps = w.len() / c.groups;
    let out = Output::new(out, planes, pixels, pixels);
    for_each(parallel, planes, grain, |plane| {
        let channel = plane % c.groups;
        let mut copy = None;
        let framed = c.frame.framed(c.level, 1, &source[plane * image..], 0, &mut copy);
        let w = &w[channel * taps..][..taps];
        let bias = bias.map_or(T::ZERO, |bias| bias[channel]);
        for grid in c.grids.iter().filter(|grid| grid.pixels() > 0) {
            if c.step == [1, 1] {
                // SAFETY: each index owns one row of `out` and is visited once.
                let mut out = unsafe { out.block(plane..plane + 1, 0..pixels) };
                plane_of_grid(c, grid, framed, w, bias, out.row(0, 0..pixels));
            } else {
                let mut dense = Scratch::new(grid.pixels());
                plane_of_grid(c, grid, framed, w, bias, &mut dense);
                // SAFETY: as above; grids are computed one after the other.
                unsafe { c.place(grid, 0..grid.size[0], &dense, grid.size[1], &out, plane) };
            }
        }
    });
}

/// One grid of one channel into `out`, which holds the grid's pixels densely.
fn plane_of_grid<T: Float>(c: &Correlation, grid: &OutputGrid, framed: &[T], w: &[T], bias: T, out: &mut [T]) {
    let [pitch, width] = [c.frame.size[1], grid.size[1]];
    let row = end_of([(grid.size[0] - 1, pitch)], width);
    let end = grid.taps.iter().max().map_or(0, |tap| tap.saturating_add(row));
    assert!(end <= framed.len(), "taps end at {end}, the frame at {}", framed.len());
    let mut weights = Scratch::new(grid.taps.len());
    for (weight, &at) in weights.iter_mut().zip(&grid.weights) {
        *weight = w[at];
    }
    c.level.dispatch(Plane { pitch, width, taps: &grid.taps, weights: &weights, framed, bias, out });
}

struct Plane<'a, T> {
    pitch: usize,
    width: usize,
    taps: &'a [usize],
    weights: &'a [T],
    framed: &'a [T],
    bias: T,
    out: &'a mut [T],
}

impl<T: Float> Kernel for Plane<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(mut self, _: I) {
        let out = std::mem::take(&mut self.out);
        for (row, out) in out.chunks_exact_mut(self.width).enumerate() {
            let row = row * self.pitch;
            match self.width {
                STRIP.. => self.strips::<I, STRIP>(row, out),
                SHORT.. => self.strips::<I, SHORT>(row, out),
                _ => self.strips::<I, 1>(row, out),
            }
        }
    }
}

impl<T: Float> Plane<'_, T> {
    /// A row of at least `N` pixels. The last strip overlaps the one before, and repeats some of its sums.
    #[inline(always)]
    fn strips<I: Isa, const N: usize>(&self, row: usize, out: &mut [T]) {
        for column in (0..out.len()).step_by(N) {
            self.strip::<I, N>(row, column.min(out.len() - N), out);
        }
    }

    #[inline(always)]
    fn strip<I: Isa, const N: usize>(&self, row: usize, column: usize, out: &mut [T]) {
        let mut sums = [self.bias; N];
        for (&tap, &weight) in self.taps.iter().zip(self.weights) {
            // The zeros are never used, as `plane_of_grid` has checked the bounds. A panic instead of them would be a second exit
            // of the loop, and the compiler would not keep the sums in registers.
            let from = self.framed.get(tap + row + column..).and_then(|rest| rest.first_chunk());
            let from: [T; N] = from.map_or([T::ZERO; N], |from| *from);
            for j in 0..N {
                sums[j] = from[j].multiply_add::<I>(weight, sums[j]);
            }
        }
        out[column..][..N].copy_from_slice(&sums);
    }
}

/// The weights' gradient. Channels are the tasks; within a channel, images are summed in order.
pub(super) fn grad_weight<T: Float>(level: Level, g: &Conv2d, x: &[T], gy: &[T], gw: &mut [T]) {
    let parallel = g.work() >= PARALLEL_WORK;
    report(|| launch::on::<T>(Pass::GradWeight.kernel(), if parallel { g.c_out } else { 1 }).path("depthwise"));
    let frame = g.frame(Pass::GradWeight);
    let taps = g.input_taps(&frame);
    let (image, pixels) = (g.h * g.w, g.oh * g.ow);
    for_each_chunk(parallel, gw, taps.len(), |channel, gw| {
        let mut framed = Scratch::new(frame.len());
        let mut sums = Scratch::new(taps.len() * STRIP);
        sums.fill(T::ZERO);
        for n in 0..g.n {
            let plane = n * g.c_in + channel;
            frame.fill_channels(level, 1, &x[plane * image..], &mut framed);
            let gy = &gy[plane * pixels..][..pixels];
            let (pitch, framed) = (frame.size[1], &framed[..]);
            level.dispatch(TapSums { pitch, width: g.ow, taps: &taps, framed, gy, sums: &mut sums });
        }
        for (gw, sums) in gw.iter_mut().zip(sums.as_chunks::<STRIP>().0) {
            *gw = sums.iter().fold(T::ZERO, |sum, &part| sum + part);
        }
    });
}

/// The products of one plane, added to [`STRIP`] partial sums per tap.
struct TapSums<'a, T> {
    pitch: usize,
    width: usize,
    taps: &'a [usize],
    framed: &'a [T],
    gy: &'a [T],
    sums: &'a mut [T],
}

impl<T: Float> Kernel for TapSums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        for (&tap, sums) in self.taps.iter().zip(self.sums.as_chunks_mut::<STRIP>().0) {
            let rows = self.gy.chunks_exact(self.width).zip(self.framed[tap..].chunks(self.pitch));
            for (gy, from) in rows {
                let from = &from[..self.width];
                let ((strips, gy), (from_strips, from)) = (gy.as_chunks::<STRIP>(), from.as_chunks::<STRIP>());
                add::<T, I, STRIP>(sums, strips, from_strips);
                let ((strips, gy), (from_strips, from)) = (gy.as_chunks::<SHORT>(), from.as_chunks::<SHORT>());
                let (short, _) = sums.split_first_chunk_mut::<SHORT>().expect("SHORT < STRIP");
                add::<T, I, SHORT>(short, strips, from_strips);
                for ((sum, &gy), &from) in short.iter_mut().zip(gy).zip(from) {
                    *sum = gy.multiply_add::<I>(from, *sum);
                }
            }
        }
    }
}

/// `sums[i] += a[strip][i] * b[strip][i]` over the strips.
#[inline(always)]
fn add<T: Float, I: Isa, const N: usize>(sums: &mut [T; N], a: &[[T; N]], b: &[[T; N]]) {
    let mut local = *sums;
    for (a, b) in a.iter().zip(b) {
        for i in 0..N {
            local[i] = a[i].multiply_add::<I>(b[i], local[i]);
        }
    }
    *sums = local;
}
