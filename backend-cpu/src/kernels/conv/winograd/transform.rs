//! The three transforms of Winograd's convolution, for a register of tiles (or of weights) at a time.
//!
//! ```text
//!      | 1  0 -1  0 |        | 1    0    0  |
//! Bᵀ = | 0  1  1  0 |    G = | 1/2  1/2  1/2|    Aᵀ = | 1  1  1  0 |
//!      | 0 -1  1  0 |        | 1/2 -1/2  1/2|         | 0  1 -1 -1 |
//!      | 0  1  0 -1 |        | 0    0    1  |
//! ```
//! Element `(r, s)` of a transformed 4 x 4 has number `4 r + s`.

use std::ops::Range;

use super::rows::{BlockFrame, TileRun};
use crate::kernels::gemm::Output;
use crate::kernels::{Float, end_of};
use crate::simd::{Isa, Kernel, MAX_LANES, Vector};

/// `to[4 r + s][c][lane] = (G w Gᵀ)[r][s]` for one panel of weights `from[c][tap][lane]`.
pub(super) struct Weights<'a, 'b, T> {
    pub from: &'a [T],
    /// The position of each of the 3 x 3 taps among those of a channel.
    pub order: [usize; 9],
    pub to: Output<'b, T>,
}

impl<T: Float> Kernel for Weights<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        // The rows of the micro-kernels, as constants.
        match I::VECTOR_BYTES {
            64 => self.panel::<12>(),
            32 => self.panel::<6>(),
            _ => self.panel::<4>(),
        }
    }
}

impl<T: Float> Weights<'_, '_, T> {
    #[inline(always)]
    fn panel<const MR: usize>(self) {
        let Weights { from, order, mut to } = self;
        let half = T::from_count(2).reciprocal();
        for (c, from) in from.as_chunks::<MR>().0.as_chunks::<9>().0.iter().enumerate() {
            let mut transformed = [[T::ZERO; MR]; 16];
            for lane in 0..MR {
                let w = |i: usize| from[order[i]][lane];
                // G w: four rows of three.
                let mut rows = [[T::ZERO; 3]; 4];
                for s in 0..3 {
                    let (top, middle, bottom) = (w(s), w(3 + s), w(6 + s));
                    let outer = top + bottom;
                    rows[0][s] = top;
                    rows[1][s] = half * (outer + middle);
                    rows[2][s] = half * (outer - middle);
                    rows[3][s] = bottom;
                }
                for r in 0..4 {
                    let [left, middle, right] = rows[r];
                    let outer = left + right;
                    transformed[4 * r][lane] = left;
                    transformed[4 * r + 1][lane] = half * (outer + middle);
                    transformed[4 * r + 2][lane] = half * (outer - middle);
                    transformed[4 * r + 3][lane] = right;
                }
            }
            for (number, transformed) in transformed.iter().enumerate() {
                to.row(number, c * MR..(c + 1) * MR).copy_from_slice(transformed);
            }
        }
    }
}

/// `to[4 r + s][panel][c][lane] = (Bᵀ patch B)[r][s]`, panels of two registers.
pub(super) struct Patches<'a, 'b, T> {
    /// The block's frame.
    pub framed: &'a [T],
    pub channels: usize,
    pub block: &'a BlockFrame,
    pub to: &'b mut [T],
    /// From one of the 16 to the next.
    pub stride: usize,
}

impl<T: Float> Kernel for Patches<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Patches { framed, channels, block: &BlockFrame { channel, pitch, ref runs, .. }, to, stride } = self;
        let lanes = <T::Vector<I> as Vector<T, I>>::LANES;
        let panels = end_of([(runs.len().div_ceil(2), 2 * lanes)], 0);
        assert!(end_of([(15, stride), (channels, panels)], 0) <= to.len());
        for (number, runs) in runs.iter().enumerate() {
            for run in runs {
                let end = end_of([(1, run.from), (channels - 1, channel), (3, pitch)], 2 + 2 * lanes);
                assert!(end <= framed.len() && run.lane < lanes, "{run:?}");
            }
            // Lanes without a tile are filled with zeros.
            let taken: usize = runs.iter().map(|run| run.len).sum();
            // For each row of the patches: its columns 0 and 1, tile after tile, then its columns 2 and 3.
            let mut gathered = [[[T::ZERO; 4 * MAX_LANES]; 2]; 4];
            for c in 0..channels {
                let frame = framed[c * channel..].as_ptr();
                let (first, row, second) = if let ([run], true) = (&runs[..], taken == lanes) {
                    // SAFETY: the frame holds the run's patches, as checked above.
                    (unsafe { frame.add(run.from) }, pitch, 2)
                } else {
                    for (row, gathered) in gathered.iter_mut().enumerate() {
                        for (pair, gathered) in gathered.iter_mut().enumerate() {
                            for run in runs {
                                // The next run overwrites what exceeds this one.
                                // SAFETY: the reads were checked above. `run.lane` is less than a register's lanes, so two
                                // registers written from `2 * run.lane` on end within four.
                                unsafe {
                                    let from = frame.add(run.from + row * pitch + 2 * pair);
                                    let to = gathered.as_mut_ptr().add(2 * run.lane);
                                    T::Vector::<I>::load(isa, from).store(to);
                                    T::Vector::<I>::load(isa, from.add(lanes)).store(to.add(lanes));
                                }
                            }
                            gathered[2 * taken..][..2 * (lanes - taken)].fill(T::ZERO);
                        }
                    }
                    (gathered.as_ptr().cast(), 2 * 4 * MAX_LANES, 4 * MAX_LANES)
                };
                let mut rows = [[T::Vector::<I>::splat(isa, T::ZERO); 4]; 4];
                for (r, transformed) in rows.iter_mut().enumerate() {
                    // SAFETY: within the frame, as checked above, or within `gathered`.
                    let [a, b, c, d] = unsafe {
                        let (left, right) = (first.add(r * row), first.add(r * row + second));
                        [
                            T::Vector::<I>::load(isa, left),
                            T::Vector::<I>::load(isa, left.add(lanes)),
                            T::Vector::<I>::load(isa, right),
                            T::Vector::<I>::load(isa, right.add(lanes)),
                        ]
                    };
                    let ([zero, one], [two, three]) = (a.deinterleave(b), c.deinterleave(d));
                    *transformed = patch_row::<T, I>([zero, one, two, three]);
                }
                let at = (number / 2 * channels + c) * 2 * lanes + number % 2 * lanes;
                for s in 0..4 {
                    let column = patch_row::<T, I>([rows[0][s], rows[1][s], rows[2][s], rows[3][s]]);
                    for (r, element) in column.into_iter().enumerate() {
                        // SAFETY: `at` plus a register is within the panels of each of the 16, as checked above.
                        unsafe { element.store(to.as_mut_ptr().add((4 * r + s) * stride + at)) };
                    }
                }
            }
        }
    }
}

/// `Bᵀ x`
#[inline(always)]
fn patch_row<T: Float, I: Isa>([a, b, c, d]: [T::Vector<I>; 4]) -> [T::Vector<I>; 4] {
    [a.sub(c), b.add(c), c.sub(b), b.sub(d)]
}

/// `Aᵀ x`
#[inline(always)]
fn result_row<T: Float, I: Isa>([a, b, c, d]: [T::Vector<I>; 4]) -> [T::Vector<I>; 2] {
    [a.add(b).add(c), b.sub(c).sub(d)]
}

/// Stores the pixels of some output channels, `bias + Aᵀ sums A`. Returns whether all are finite.
pub(super) struct Results<'a, T, P> {
    /// `[4 r + s][row][column]`: the 16 matrices are `stride` apart, their rows `columns`.
    pub sums: &'a [T],
    pub stride: usize,
    pub columns: usize,
    pub rows: Range<usize>,
    pub bias: Option<&'a [T]>,
    /// The tiles of each register.
    pub runs: &'a [Vec<TileRun>],
    /// Height and width of an image.
    pub size: [usize; 2],
    /// The row of `out` that holds channel `row` of an image.
    pub plane: P,
    pub out: &'a Output<'a, T>,
}

impl<T: Float, P: Fn(usize, usize) -> usize> Kernel for Results<'_, T, P> {
    type Output = bool;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> bool {
        let Results { sums, stride, columns, rows, bias, runs, size: [height, width], plane, out } = self;
        let lanes = <T::Vector<I> as Vector<T, I>>::LANES;
        assert!(end_of([(15, stride), (rows.len(), columns)], 0) <= sums.len());
        assert!(end_of([(runs.len(), lanes)], 0) <= columns);
        let zero = T::Vector::<I>::splat(isa, T::ZERO);
        // The sum of zero times each result: NaN if any of them is not finite.
        let mut zeros = zero;
        for (number, row) in rows.enumerate() {
            let bias = T::Vector::<I>::splat(isa, bias.map_or(T::ZERO, |bias| bias[row]));
            for (register, runs) in runs.iter().enumerate() {
                let mut half = [[zero; 2]; 4];
                for (r, half) in half.iter_mut().enumerate() {
                    let mut x = [zero; 4];
                    for (s, x) in x.iter_mut().enumerate() {
                        let at = (4 * r + s) * stride + number * columns + register * lanes;
                        // SAFETY: within the sums, as checked above.
                        *x = unsafe { T::Vector::<I>::load(isa, sums.as_ptr().add(at)) };
                    }
                    *half = result_row::<T, I>(x);
                }
                let [top_left, bottom_left] = result_row::<T, I>([half[0][0], half[1][0], half[2][0], half[3][0]]);
                let [top_right, bottom_right] = result_row::<T, I>([half[0][1], half[1][1], half[2][1], half[3][1]]);
                let mut pixels = [[T::ZERO; 2 * MAX_LANES]; 2];
                let mut registers = [[zero; 2]; 2];
                for (y, [left, right]) in [[top_left, top_right], [bottom_left, bottom_right]].into_iter().enumerate() {
                    let (left, right) = (left.add(bias), right.add(bias));
                    zeros = right.multiply_add(zero, left.multiply_add(zero, zeros));
                    registers[y] = left.interleave(right);
                }
                let is_full =
                    matches!(runs[..], [TileRun { len, column, .. }] if len == lanes && 2 * (column + len) <= width);
                if !is_full {
                    for (pixels, registers) in pixels.iter_mut().zip(registers) {
                        // SAFETY: `pixels` holds two registers of the longest kind.
                        unsafe {
                            registers[0].store(pixels.as_mut_ptr());
                            registers[1].store(pixels.as_mut_ptr().add(lanes));
                        }
                    }
                }
                for run in runs {
                    let plane = plane(run.image, row);
                    let len = (2 * run.len).min(width - 2 * run.column);
                    for (y, (pixels, registers)) in (2 * run.row..height).zip(pixels.iter().zip(&registers)) {
                        let at = y * width + 2 * run.column;
                        // SAFETY: tiles do not share pixels, and each is visited once per output channel.
                        let mut to = unsafe { out.block(plane..plane + 1, at..at + len) };
                        let to = to.row(0, 0..len);
                        if is_full {
                            debug_assert_eq!(to.len(), 2 * lanes);
                            // SAFETY: `is_full` says that the run has a register of tiles, so `to` is two registers long.
                            unsafe {
                                registers[0].store(to.as_mut_ptr());
                                registers[1].store(to.as_mut_ptr().add(lanes));
                            }
                        } else {
                            to.copy_from_slice(&pixels[2 * run.lane..][..len]);
                        }
                    }
                }
            }
        }
        let mut lanes = [T::ZERO; MAX_LANES];
        // SAFETY: the array holds the longest register.
        unsafe { zeros.store(lanes.as_mut_ptr()) };
        !lanes.iter().any(|lane| lane.is_nan())
    }
}
