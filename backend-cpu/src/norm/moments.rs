//! Mean and variance.
//!
//! ```text
//! one pass:   s = sum(x - origin),  q = sum((x - origin)²)     in f64, origin being the first element
//! shift = s / n,   mean = origin + shift,   var = q / n - shift²
//! ```
//! For f32 the subtraction is accurate: as the origin is an element, `var >= shift² / n`, so at most about log2(n) bits cancel,
//! fewer than f64 has beyond f32. The square of a difference of f32 neither overflows nor underflows in f64. For elements of f64
//! a second pass has the mean as its origin, if the shift of the first was large.

use super::sum_rows;
use crate::element::Real;
use crate::kernels::Float;
use crate::simd::{Isa, Kernel};
use crate::{Cpu, lanes};
use minitorch_core::ops::norm::FIELDS;

/// Lanes of a sum. With those of the squares they take eight AVX2 registers.
const SUMS: usize = 16;

/// One row of the statistics: a mean with its variance.
#[derive(Clone, Copy)]
pub(super) struct Statistics<T> {
    /// The mean is `mean + rest`: its value in the element type, and the rounding error of that.
    pub(super) mean: T,
    pub(super) rest: T,
    pub(super) var: T,
    /// `1 / sqrt(var + eps)`
    pub(super) root: T,
}

impl<T: Real> Statistics<T> {
    /// From the sums of `x - origin` and of its square.
    fn new(count: f64, eps: f64, origin: f64, [sum, squares]: [f64; 2]) -> Self {
        let shift = sum / count;
        // `max` drops NaN; the product with 0 restores it.
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

    /// The difference of the normalised x and `(x - mean) root`.
    pub(super) fn offset(self) -> f64 {
        -self.rest.to_f64() * self.root.to_f64()
    }

    /// `mean_g + h mean_gh` as a linear function of `u = (x - mean) root`: its constant and its slope, given the means of g and g
    /// u.
    pub(super) fn line(self, mean_g: f64, mean_gu: f64) -> [T; 2] {
        let slope = mean_gu + self.offset() * mean_g;
        [T::of(mean_g + self.offset() * slope), T::of(slope)]
    }
}

/// The statistics of the elements of several slices, `count` in all. The first slice is not empty.
pub(super) fn moments<'a, T: Real, S: Iterator<Item = &'a [T]>>(
    count: f64,
    eps: f64,
    slices: impl Fn() -> S,
) -> Statistics<T> {
    let around = |origin: f64| {
        slices().fold([0.0; 2], |[s, q], x| {
            let [sum, squares] = T::compute(Around { x, origin });
            [s + sum, q + squares]
        })
    };
    let mut origin = slices().next().map_or(f64::NAN, |slice| slice[0].to_f64());
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
        [sums, squares].map(lanes::sum)
    }
}

/// The statistics of each column of x, which is F32, in one pass. `None` if there is no memory for the sums.
pub(super) fn channel_moments<T: Real>(
    device: &Cpu,
    x: &[T],
    channels: usize,
    eps: f64,
    statistics: &mut [T],
) -> Option<()> {
    let (rows, origin) = (x.len() / channels, &x[..channels]);
    let sums = sum_rows(device, [rows, channels], |row, sums, squares| {
        T::compute(AddRow { sums, squares, x: &x[row * channels..][..channels], origin });
    })?;
    for (channel, to) in statistics.chunks_exact_mut(FIELDS).enumerate() {
        let sums = [sums[channel], sums[channels + channel]];
        Statistics::new(rows as f64, eps, origin[channel].to_f64(), sums).write(to);
    }
    Some(())
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
