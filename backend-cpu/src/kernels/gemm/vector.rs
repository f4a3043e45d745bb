//! Matrix times vector: no packing, since every element of the matrix is used once. Bound by memory.
//!
//! ```text
//! out[lane] = sum over d of matrix[lane][d] * vector[d]
//! ```
//! A row that is contiguous in depth is a dot product: [`SUMS`] interleaved chains, added in a fixed tree. A matrix
//! that is contiguous in lanes is a sum of scaled rows, kept in a local array of [`LANES`] elements, four rows at a
//! time for the sake of its loads and stores. Either way a lane's bits do not depend on the lanes computed beside it.
//! Four dot products at a time were tried and are slower: rows a power of two apart compete for the same places in L1.

use super::operand::Strided;
use crate::kernels::Float;
use crate::simd::{Isa, Kernel, Level};

/// Lanes per call of [`strip`]: an accumulator of 2 or 4 KiB that stays in L1.
pub(super) const LANES: usize = 512;

/// Rows scaled and added at the same time.
const ROWS: usize = 4;

/// Independent sums of a dot product: eight AVX2 vectors of f32, enough to hide the latency of the FMA.
const SUMS: usize = 64;

/// Whether [`strip`] has a fast loop for this matrix.
pub(super) fn is_supported<T>(matrix: &Strided<T>) -> bool {
    matrix.depth_stride == 1 || matrix.lane_stride == 1
}

/// `out[i] = matrix[first_lane + i] . vector` for up to [`LANES`] lanes.
pub(super) fn strip<T: Float>(level: Level, matrix: &Strided<T>, vector: &[T], first_lane: usize, out: &mut [T]) {
    level.dispatch(Strip { matrix, vector, first_lane, out });
}

struct Strip<'a, T> {
    matrix: &'a Strided<'a, T>,
    vector: &'a [T],
    first_lane: usize,
    out: &'a mut [T],
}

impl<T: Float> Kernel for Strip<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let Strip { matrix, vector, first_lane, out } = self;
        let row = |first: usize, len: usize| &matrix.data[first..][..len];
        if matrix.depth_stride == 1 {
            for (lane, out) in (first_lane..).zip(out) {
                *out = dot::<T, I>(row(lane * matrix.lane_stride, vector.len()), vector);
            }
        } else {
            out.fill(T::ZERO);
            let row = |d: usize, len: usize| row(first_lane + d * matrix.depth_stride, len);
            let (whole, rest) = vector.as_chunks::<ROWS>();
            for (d, factors) in (0..).step_by(ROWS).zip(whole) {
                let len = out.len();
                add_rows::<T, I, ROWS>([row(d, len), row(d + 1, len), row(d + 2, len), row(d + 3, len)], factors, out);
            }
            for (d, &factor) in (whole.len() * ROWS..).zip(rest) {
                add_rows::<T, I, 1>([row(d, out.len())], &[factor], out);
            }
        }
    }
}

/// `out += factors[0] * rows[0] + factors[1] * rows[1] + ...`, in this order for every element.
#[inline(always)]
fn add_rows<T: Float, I: Isa, const R: usize>(rows: [&[T]; R], factors: &[T; R], out: &mut [T]) {
    for (i, out) in out.iter_mut().enumerate() {
        for r in 0..R {
            *out = rows[r][i].multiply_add::<I>(factors[r], *out);
        }
    }
}

/// The dot product of two slices of the same length.
#[inline(always)]
fn dot<T: Float, I: Isa>(a: &[T], b: &[T]) -> T {
    let mut sums = [T::ZERO; SUMS];
    let ((a_blocks, a_rest), (b_blocks, b_rest)) = (a.as_chunks::<SUMS>(), b.as_chunks::<SUMS>());
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for i in 0..SUMS {
            sums[i] = a[i].multiply_add::<I>(b[i], sums[i]);
        }
    }
    for ((sum, &a), &b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum = a.multiply_add::<I>(b, *sum);
    }
    let mut half = SUMS / 2;
    while half > 0 {
        let (low, high) = sums.split_at_mut(half);
        low.iter_mut().zip(high).for_each(|(low, &mut high)| *low += high);
        half /= 2;
    }
    sums[0]
}
