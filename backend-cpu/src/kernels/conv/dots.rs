//! Dot products over pixels, for gradients of weights whose output rows consist of full SIMD registers.
//!
//! ```text
//! sum[o][t] (+)= sum over segments, lanes of gy[rows[o] + segment.gy + lane] * frame[taps[t] + segment.frame + lane]
//! ```
//! Both operands are contiguous in pixels, the k dimension, and are loaded in place; a packed product would transpose both. A
//! tile is `ROWS x TAPS` dot products, each with a register of partial sums. A segment takes one load per row and per tap: 7
//! loads for 12 multiply-adds with AVX2, 10 for 24 with AVX-512. The lanes of a register are added pairwise once, after all
//! segments.
//!
//! The taps of a tile are consecutive: mostly neighbours in a kernel row, which read overlapping elements. The rows of `gy` of a
//! tile stay in L1 while all taps stream through.

use crate::kernels::gemm::{PARALLEL_WORK, TASK_WORK, Tile};
use crate::kernels::{Float, end_of, for_each_chunk};
use crate::lanes::combine_slice;
use crate::simd::{Isa, Kernel, Level, MAX_LANES, Vector};

/// Elements of a segment: the lanes of a register at this level.
pub(super) fn lanes<T>(level: Level) -> usize {
    Tile::of::<T>(level).nr / 2
}

/// A register of output pixels: their offset in a row of `gy`, and in the frame relative to a tap's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub gy: usize,
    pub frame: usize,
}

/// The operands of one block of images.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dots<'a, T> {
    pub gy: &'a [T],
    /// The offset of each output channel.
    pub rows: &'a [usize],
    pub frame: &'a [T],
    /// The offset of each tap of each channel.
    pub taps: &'a [usize],
    /// Segments of [`lanes`] pixels each.
    pub segments: &'a [Segment],
}

/// Rows of a tile.
const ROWS: usize = 4;

impl<T: Float> Dots<'_, T> {
    /// `sum = dots` or `sum += dots`; `sum` is `[rows][taps]`.
    pub fn run(&self, level: Level, sum: &mut [T], accumulate: bool) {
        assert_eq!(sum.len(), self.rows.len() * self.taps.len(), "sums of {self:?}");
        let max = |offsets: &[usize]| offsets.iter().max().copied().unwrap_or(0);
        let end = |at: fn(&Segment) -> usize| {
            self.segments.iter().map(at).max().map_or(0, |at| at.saturating_add(lanes::<T>(level)))
        };
        let (gy, frame) = (end(|s| s.gy), end(|s| s.frame));
        let ends = |offsets, end| end_of([(max(offsets), 1)], end);
        assert!(gy == 0 || ends(self.rows, gy) <= self.gy.len(), "rows within {}", self.gy.len());
        assert!(frame == 0 || ends(self.taps, frame) <= self.frame.len(), "taps within {}", self.frame.len());
        let row = self.taps.len() * self.segments.len() * lanes::<T>(level);
        let rows = ROWS * (TASK_WORK / (ROWS * row).max(1) + 1);
        for_each_chunk(self.rows.len() * row >= PARALLEL_WORK, sum, rows * self.taps.len(), |index, sum| {
            let rows = &self.rows[index * rows..][..sum.len() / self.taps.len()];
            level.dispatch(DotTiles { dots: Dots { rows, ..*self }, sum, accumulate });
        });
    }
}

/// [`Dots::run`] on one thread, after its checks.
struct DotTiles<'a, 'b, T> {
    dots: Dots<'a, T>,
    sum: &'b mut [T],
    accumulate: bool,
}

impl<T: Float> Kernel for DotTiles<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        match I::VECTOR_BYTES {
            64 => self.tiles::<I, 6>(isa),
            32 => self.tiles::<I, 3>(isa),
            _ => self.tiles::<I, 2>(isa),
        }
    }
}

impl<T: Float> DotTiles<'_, '_, T> {
    #[inline(always)]
    fn tiles<I: Isa, const TAPS: usize>(self, isa: I) {
        let DotTiles { dots, sum, accumulate } = self;
        let width = dots.taps.len();
        for (rows, sum) in dots.rows.chunks(ROWS).zip(sum.chunks_mut(ROWS * width)) {
            for (taps, first) in dots.taps.chunks(TAPS).zip((0..).step_by(TAPS)) {
                // SAFETY: `Dots::run` has checked the reads of all rows, taps and segments.
                let tile = unsafe { dots.tile::<I, TAPS>(isa, rows, taps) };
                for (tile, sum) in tile.iter().zip(sum.chunks_exact_mut(width)) {
                    for (&dot, sum) in tile.iter().zip(&mut sum[first..][..taps.len()]) {
                        *sum = if accumulate { *sum + dot } else { dot };
                    }
                }
            }
        }
    }
}

impl<T: Float> Dots<'_, T> {
    /// The dot products of up to `ROWS` rows and up to `TAPS` taps. Missing rows and taps repeat the last.
    ///
    /// # Safety
    /// Each of the rows plus each segment's `gy` plus [`lanes`] lies within `gy`; taps and the frame likewise.
    #[inline(always)]
    unsafe fn tile<I: Isa, const TAPS: usize>(&self, isa: I, rows: &[usize], taps: &[usize]) -> [[T; TAPS]; ROWS] {
        let rows: [*const T; ROWS] =
            std::array::from_fn(|i| self.gy.as_ptr().wrapping_add(rows[i.min(rows.len() - 1)]));
        let taps: [*const T; TAPS] =
            std::array::from_fn(|i| self.frame.as_ptr().wrapping_add(taps[i.min(taps.len() - 1)]));
        let mut sums = [[T::Vector::<I>::splat(isa, T::ZERO); TAPS]; ROWS];
        for segment in self.segments {
            // SAFETY: the caller has checked the segment's reads.
            let pixels: [T::Vector<I>; TAPS] =
                std::array::from_fn(|i| unsafe { T::Vector::<I>::load(isa, taps[i].add(segment.frame)) });
            for i in 0..ROWS {
                // SAFETY: the caller has checked the segment's reads.
                let gy = unsafe { T::Vector::<I>::load(isa, rows[i].add(segment.gy)) };
                for j in 0..TAPS {
                    sums[i][j] = gy.multiply_add(pixels[j], sums[i][j]);
                }
            }
        }
        let mut dots = [[T::ZERO; TAPS]; ROWS];
        for i in 0..ROWS {
            for j in 0..TAPS {
                dots[i][j] = sum_lanes::<T, I>(sums[i][j]);
            }
        }
        dots
    }
}

/// The sum of the lanes.
#[inline(always)]
fn sum_lanes<T: Float, I: Isa>(sums: T::Vector<I>) -> T {
    let mut lanes = [T::ZERO; MAX_LANES];
    // SAFETY: the array holds the longest register.
    unsafe { sums.store(lanes.as_mut_ptr()) };
    combine_slice(&mut lanes[..<T::Vector<I> as Vector<T, I>>::LANES], |a, b| a + b)
}
