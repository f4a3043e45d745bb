//! Depthwise convolution, one channel per group: each output row is a sum of scaled rows of the frame.
//!
//! ```text
//! out[i][j] = start + sum over taps of w[tap] * frame[offset of the tap + i * columns + j]
//! ```
//! There is no reuse across channels, so no matrix product: a strip of a row stays in registers while all taps are
//! added to it. Cost: one load and one FMA per tap and vector, about `kh kw / 8` cycles per f32 pixel with AVX2.

use super::Conv2d;
use super::correlation::Phase;
use super::frame::Frame;
use crate::kernels::gemm::PARALLEL_WORK;
use crate::kernels::{Float, Scratch, end_of, for_each_chunk};
use crate::simd::{Isa, Kernel, Level};

/// Pixels of a strip: four AVX2 vectors of f32, enough to hide the latency of the FMA.
const STRIP: usize = 32;

/// Pixels of a strip of a row that is shorter than that.
const SHORT: usize = 8;

/// One phase of one channel into `out`, which holds the phase's pixels densely.
pub(super) fn plane<T: Float>(
    level: Level,
    frame: &Frame,
    phase: &Phase,
    framed: &[T],
    w: &[T],
    start: T,
    out: &mut [T],
) {
    let row = end_of([(phase.size[0] - 1, frame.size[1])], phase.size[1]);
    let last = phase.taps.iter().max().map_or(0, |tap| tap.saturating_add(row));
    assert!(last <= framed.len(), "taps end at {last}, the frame at {}", framed.len());
    let mut weights = Scratch::new(phase.taps.len());
    for (weight, &at) in weights.iter_mut().zip(&phase.weights) {
        *weight = w[at];
    }
    let [columns, width] = [frame.size[1], phase.size[1]];
    level.dispatch(Plane { columns, width, taps: &phase.taps, weights: &weights, framed, start, out });
}

struct Plane<'a, T> {
    columns: usize,
    width: usize,
    taps: &'a [usize],
    weights: &'a [T],
    framed: &'a [T],
    start: T,
    out: &'a mut [T],
}

impl<T: Float> Kernel for Plane<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(mut self, _: I) {
        let out = std::mem::take(&mut self.out);
        for (row, out) in out.chunks_exact_mut(self.width).enumerate() {
            let row = row * self.columns;
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
        let mut sums = [self.start; N];
        for (&tap, &weight) in self.taps.iter().zip(self.weights) {
            // Zeros never happen, as `plane` has seen; a second way out of this loop would cost it its registers.
            let from = self.framed.get(tap + row + column..).and_then(|rest| rest.first_chunk());
            let from: [T; N] = from.map_or([T::ZERO; N], |from| *from);
            for j in 0..N {
                sums[j] = from[j].multiply_add::<I>(weight, sums[j]);
            }
        }
        out[column..][..N].copy_from_slice(&sums);
    }
}

/// `gw[c][tap] = sum over images and pixels of gy[image][c][i][j] * frame[image][c][offset of the tap + (i, j)]`.
/// Channels are the tasks; a channel's sum runs over the images in order.
pub(super) fn grad_weight<T: Float>(level: Level, g: &Conv2d, x: &[T], gy: &[T], gw: &mut [T]) {
    let frame = g.input_frame();
    let taps = g.input_taps(&frame);
    let (image, pixels) = (g.h * g.w, g.oh * g.ow);
    for_each_chunk(g.work() >= PARALLEL_WORK, gw, taps.len(), |channel, gw| {
        let mut framed = Scratch::new(frame.len());
        let mut sums = Scratch::new(taps.len() * STRIP);
        sums.fill(T::ZERO);
        for n in 0..g.n {
            let plane = n * g.c_in + channel;
            frame.fill_channels(level, 1, &x[plane * image..], &mut framed);
            let gy = &gy[plane * pixels..][..pixels];
            level.dispatch(TapSums {
                columns: frame.size[1],
                width: g.ow,
                taps: &taps,
                framed: &framed,
                gy,
                sums: &mut sums,
            });
        }
        for (gw, sums) in gw.iter_mut().zip(sums.as_chunks::<STRIP>().0) {
            *gw = sums.iter().fold(T::ZERO, |sum, &part| sum + part);
        }
    });
}

struct TapSums<'a, T> {
    columns: usize,
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
            let rows = self.gy.chunks_exact(self.width).zip(self.framed[tap..].chunks(self.columns));
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
