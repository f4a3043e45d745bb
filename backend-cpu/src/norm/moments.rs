//! Mean and variance.
//!
//! One pass sums `x - origin` and its square in f64, origin being one of the elements. Differences of f32 are exact there. The
//! variance is at least `(origin - mean)² / n`, so that what the subtraction of the squared mean cancels costs f32 no digit,
//! wherever the origin lies; and no square of a difference of f32 overflows or vanishes. Elements of f64 take a second pass around
//! the mean if the first was far from it.

use crate::Cpu;
use crate::element::Real;
use crate::kernels::Float;
use crate::parallel;
use crate::simd::{Isa, Kernel};

/// Numbers that are kept of a mean: see [`Backend::normalize`](minitorch_core::Backend::normalize).
pub(super) const FIELDS: usize = 4;

/// Lanes of a sum: with a sum of squares beside it, eight registers of AVX2.
const SUMS: usize = 16;

/// Elements whose sums of columns one thread computes.
const BLOCK: usize = 16 * 1024;

/// One row of the statistics.
#[derive(Clone, Copy)]
pub(super) struct Statistics<T> {
    /// The mean is the sum of these two.
    pub(super) mean: T,
    pub(super) rest: T,
    pub(super) var: T,
    /// `1 / sqrt(var + eps)`
    pub(super) root: T,
}

impl<T: Real> Statistics<T> {
    /// From sums around `origin`.
    fn new(count: f64, eps: f64, origin: f64, [sum, squares]: [f64; 2]) -> Self {
        let shift = sum / count;
        // A maximum drops NaN, a product with 0 brings it back.
        let var = (squares / count - shift * shift).max(0.0) + 0.0 * shift;
        let mean = T::of(origin + shift);
        let rest = T::of((origin - mean.to_f64()) + shift);
        Statistics { mean, rest, var: T::of(var), root: T::of(1.0 / (var + eps).sqrt()) }
    }

    pub(super) fn write(self, to: &mut [T]) {
        to.copy_from_slice(&[self.mean, self.rest, self.var, self.root]);
    }

    pub(super) fn read(rows: &[T], at: usize) -> Self {
        let row = &rows[FIELDS * at..][..FIELDS];
        Statistics { mean: row[0], rest: row[1], var: row[2], root: row[3] }
    }

    /// What `(x - mean) root` lacks to the normalised x.
    pub(super) fn offset(self) -> f64 {
        -self.rest.to_f64() * self.root.to_f64()
    }

    /// `shift + h slope` as a line in `u = (x - mean) root`: its constant and its slope, from the means of g and of g u.
    pub(super) fn line(self, mean_g: f64, mean_gu: f64) -> [T; 2] {
        let slope = mean_gu + self.offset() * mean_g;
        [T::of(mean_g + self.offset() * slope), T::of(slope)]
    }
}

/// Of the elements of several slices, the first of which is not empty.
pub(super) fn moments<'a, T: Real, S: Iterator<Item = &'a [T]>>(
    count: f64,
    eps: f64,
    sets: impl Fn() -> S,
) -> Statistics<T> {
    let around = |origin: f64| {
        sets().fold([0.0; 2], |[s, q], x| {
            let [sum, squares] = T::compute(Around { x, origin });
            [s + sum, q + squares]
        })
    };
    let mut origin = sets().next().map_or(f64::NAN, |set| set[0].to_f64());
    let mut sums = around(origin);
    let [shift, square] = sums.map(|sum| sum / count);
    if size_of::<T>() == size_of::<f64>() && shift * shift > 0.5 * square {
        origin += shift;
        sums = around(origin);
    }
    Statistics::new(count, eps, origin, sums)
}

/// The sums of `x - origin` and of its square.
struct Around<'a, T> {
    x: &'a [T],
    origin: f64,
}

impl<T: Real> Kernel for Around<'_, T> {
    type Output = [f64; 2];

    #[inline(always)]
    fn run<I: Isa>(self, _: I) -> [f64; 2] {
        let Around { x, origin } = self;
        let (mut sums, mut squares) = ([0.0; SUMS], [0.0; SUMS]);
        let (chunks, rest) = x.as_chunks::<SUMS>();
        for chunk in chunks {
            for i in 0..SUMS {
                let d = chunk[i].to_f64() - origin;
                sums[i] += d;
                squares[i] = d.multiply_add::<I>(d, squares[i]);
            }
        }
        for (i, x) in rest.iter().enumerate() {
            let d = x.to_f64() - origin;
            sums[i] += d;
            squares[i] = d.multiply_add::<I>(d, squares[i]);
        }
        [sums, squares].map(|mut lanes| {
            let mut half = SUMS / 2;
            while half > 0 {
                for i in 0..half {
                    lanes[i] += lanes[i + half];
                }
                half /= 2;
            }
            lanes[0]
        })
    }
}

/// The statistics of the columns of `x`, of F32, in a single pass. Blocks of rows are reduced separately and added in order.
pub(super) fn column_moments<T: Real>(device: &Cpu, x: &[T], channels: usize, eps: f64, statistics: &mut [T]) {
    let rows = x.len() / channels;
    let per_block = (BLOCK / channels).max(1);
    let mut sums = device.alloc::<f64>("normalize", rows.div_ceil(per_block) * 2 * channels);
    let origin = &x[..channels];
    parallel::pieces(&mut sums, 2 * channels, per_block, |first, sums| {
        for (block, sums) in (first / (2 * channels)..).zip(sums.chunks_exact_mut(2 * channels)) {
            sums.fill(0.0);
            let (sums, squares) = sums.split_at_mut(channels);
            let block = &x[block * per_block * channels..rows.min((block + 1) * per_block) * channels];
            for x in block.chunks_exact(channels) {
                T::compute(AddRow { sums, squares, x, origin });
            }
        }
    });
    let (first, rest) = sums.split_at_mut(2 * channels);
    for block in rest.chunks_exact(2 * channels) {
        first.iter_mut().zip(block).for_each(|(a, b)| *a += b);
    }
    for (channel, to) in statistics.chunks_exact_mut(FIELDS).enumerate() {
        let sums = [first[channel], first[channels + channel]];
        Statistics::new(rows as f64, eps, origin[channel].to_f64(), sums).write(to);
    }
}

/// `sums += x - origin`, `squares += (x - origin)²`, per column.
struct AddRow<'a, T> {
    sums: &'a mut [f64],
    squares: &'a mut [f64],
    x: &'a [T],
    origin: &'a [T],
}

impl<T: Real> Kernel for AddRow<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let AddRow { sums, squares, x, origin } = self;
        for (((sum, square), &x), &origin) in sums.iter_mut().zip(squares).zip(x).zip(origin) {
            let d = x.to_f64() - origin.to_f64();
            *sum += d;
            *square = d.multiply_add::<I>(d, *square);
        }
    }
}
