//! Matrix times vector, without packing, as every element of the matrix is used once. Bound by memory.
//!
//! ```text
//! out[i] = init + sum over p of matrix[i][p] * vector[p]
//! ```
//! If rows are contiguous in p, each result is a dot product: [`SUMS`] independent partial sums, added as a fixed tree. If the
//! stride between rows is 1 (column-major), a strip of at most [`MAX_STRIP`] results is a sum of scaled columns in a local array,
//! four columns per pass to save loads and stores of the array. A row's result does not depend on the rows beside it.
//!
//! Dot products are computed one at a time, as rows that are a power of two apart would share few sets of L1.

use super::blocking::{PARALLEL_WORK, TASK_WORK};
use super::micro::{Init, store_row};
use super::output::Output;
use super::pack::{PackSource, Strided};
use crate::kernels::{Float, Scratch, for_each};
use crate::lanes;
use crate::simd::{Isa, Kernel, Level};

/// Rows of a strip, at most: an array of 2 or 4 KiB that stays in L1.
const MAX_STRIP: usize = 512;

/// Columns that are scaled and added at the same time.
const COLUMNS: usize = 4;

/// Independent sums of a dot product: eight AVX2 registers of f32, enough to hide the latency of the FMA.
const SUMS: usize = 64;

/// Whether there is a fast loop for this matrix.
pub(super) fn is_supported<T>(matrix: &Strided<T>) -> bool {
    matrix.k_stride == 1 || matrix.stride == 1
}

/// Rows of one task. If the stride between rows is 1 a strip has many: for each p it reads one run, and the run of the next p may
/// be a page away.
fn strip_rows<T>(matrix: &Strided<T>, k: usize) -> usize {
    let least = if matrix.k_stride == 1 { 4 } else { MAX_STRIP / 2 };
    (TASK_WORK / 4 / k.max(1)).next_multiple_of(4).clamp(least, MAX_STRIP)
}

/// Tasks of a product with a matrix of `rows` rows.
pub(super) fn tasks<T>(matrix: &Strided<T>, rows: usize, k: usize) -> usize {
    if is_parallel(rows, k) { rows.div_ceil(strip_rows(matrix, k)) } else { 1 }
}

fn is_parallel(rows: usize, k: usize) -> bool {
    rows * k >= PARALLEL_WORK / 2
}

/// The product of a `rows x k` matrix and a vector. `place(i)` is the row and column of C for element `i`.
pub(super) fn product<T: Float>(
    level: Level,
    matrix: &Strided<T>,
    [rows, k]: [usize; 2],
    vector: &impl PackSource<T>,
    place: impl Fn(usize) -> (usize, usize) + Sync,
    out: &mut Output<T>,
    init: Init<T>,
) {
    let mut packed = Scratch::new(k);
    vector.pack(0..1, 0..k, 1, &mut packed);
    let vector: &[T] = &packed;
    let strip = strip_rows(matrix, k);
    for_each(is_parallel(rows, k), rows.div_ceil(strip), 1, |index| {
        let first_row = index * strip;
        let mut sums = [T::ZERO; MAX_STRIP];
        let sums = &mut sums[..strip.min(rows - first_row)];
        level.dispatch(Strip { matrix, vector, first_row, out: sums });
        for (i, sum) in (first_row..).zip(sums) {
            let (row, column) = place(i);
            // SAFETY: every element has a place of its own and is visited once.
            let mut out = unsafe { out.block(row..row + 1, column..column + 1) };
            store_row(std::slice::from_ref(sum), row, column, out.row(0, 0..1), init);
        }
    });
}

/// `out[i] = matrix[first_row + i] . vector`
struct Strip<'a, T> {
    matrix: &'a Strided<'a, T>,
    vector: &'a [T],
    first_row: usize,
    out: &'a mut [T],
}

impl<T: Float> Kernel for Strip<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let Strip { matrix, vector, first_row, out } = self;
        let run = |first: usize, len: usize| &matrix.data[first..][..len];
        if matrix.k_stride == 1 {
            for (i, out) in (first_row..).zip(out) {
                *out = dot::<T, I>(run(i * matrix.stride, vector.len()), vector);
            }
        } else {
            out.fill(T::ZERO);
            let column = |p: usize, len: usize| run(first_row + p * matrix.k_stride, len);
            let (fours, rest) = vector.as_chunks::<COLUMNS>();
            for (p, factors) in (0..).step_by(COLUMNS).zip(fours) {
                let len = out.len();
                let columns = [column(p, len), column(p + 1, len), column(p + 2, len), column(p + 3, len)];
                add_scaled::<T, I, COLUMNS>(columns, factors, out);
            }
            for (p, &factor) in (fours.len() * COLUMNS..).zip(rest) {
                add_scaled::<T, I, 1>([column(p, out.len())], &[factor], out);
            }
        }
    }
}

/// `out += factors[0] * columns[0] + factors[1] * columns[1] + ...`, in this order for every element.
#[inline(always)]
fn add_scaled<T: Float, I: Isa, const N: usize>(columns: [&[T]; N], factors: &[T; N], out: &mut [T]) {
    for (i, out) in out.iter_mut().enumerate() {
        for c in 0..N {
            *out = columns[c][i].multiply_add::<I>(factors[c], *out);
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
    lanes::combine(sums, |a, b| a + b)
}
