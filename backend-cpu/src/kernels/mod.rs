//! Numeric kernels on slices: no tensor, no layout, no dtype enum. `matmul.rs`, `conv.rs` and `pool.rs` bind them to the
//! `Backend` trait.
//!
//! Two invariants:
//! * **Results are bit-identical for any thread count.** Where a sum is split, the parts and the order in which they are added
//!   follow from the shape alone.
//! * **Outputs are overwritten**, except with [`gemm::Init::Accumulate`].

pub mod conv;
pub mod gemm;
pub mod pool;
mod scratch;
#[cfg(test)]
pub(crate) mod testing;

use crate::parallel;
use crate::simd::{Isa, LANES, Vector, transpose_f32};
use scratch::Pooled;
pub use scratch::Scratch;
use std::ops::{Add, AddAssign, Mul, Sub};

/// `more` plus the sum of `count * stride`, saturating at `usize::MAX`: the end of a range of accesses that are not checked one
/// by one. No slice has `usize::MAX` elements, so comparing the end with a length also excludes overflow.
pub(crate) fn end_of<const N: usize>(terms: [(usize, usize); N], more: usize) -> usize {
    terms.iter().fold(more, |end, &(count, stride)| end.saturating_add(count.saturating_mul(stride)))
}

/// The element types of these kernels: `f32` and `f64`.
pub trait Float:
    Pooled + PartialOrd + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> + AddAssign + Sync + std::fmt::Debug
{
    const ZERO: Self;
    const NEG_INFINITY: Self;

    /// `self * factor + addend`, rounded once if the instruction set has a fused multiply-add, else twice.
    fn multiply_add<I: Isa>(self, factor: Self, addend: Self) -> Self;

    /// A register of the instruction set.
    type Vector<I: Isa>: Vector<Self, I>;

    /// `lanes += x`, each as f64.
    fn add_wide<I: Isa>(isa: I, lanes: &mut [f64; LANES], x: &[Self; LANES]);

    /// `result[i][j] = block[j][i]`
    fn transpose(block: [[Self; 4]; 4]) -> [[Self; 4]; 4];

    /// The nearest value to `count`.
    fn from_count(count: usize) -> Self;

    /// The value as f64, exactly.
    fn widened(self) -> f64;

    /// The nearest value to `x`.
    fn rounded(x: f64) -> Self;

    /// `1 / self`.
    fn reciprocal(self) -> Self;

    fn is_nan(self) -> bool;
}

macro_rules! float {
    ($type:ident, $vector:ident, $transpose:path, $add_wide:expr) => {
        impl Float for $type {
            type Vector<I: Isa> = I::$vector;
            const ZERO: Self = 0.0;
            const NEG_INFINITY: Self = $type::NEG_INFINITY;

            #[inline(always)]
            fn multiply_add<I: Isa>(self, factor: Self, addend: Self) -> Self {
                if I::FMA { self.mul_add(factor, addend) } else { self * factor + addend }
            }

            #[inline(always)]
            fn add_wide<I: Isa>(isa: I, lanes: &mut [f64; LANES], x: &[Self; LANES]) {
                let add_wide: fn(I, &mut [f64; LANES], &[Self; LANES]) = $add_wide;
                add_wide(isa, lanes, x);
            }

            #[inline(always)]
            fn transpose(block: [[Self; 4]; 4]) -> [[Self; 4]; 4] {
                $transpose(block)
            }

            fn from_count(count: usize) -> Self {
                count as Self
            }

            #[inline(always)]
            fn widened(self) -> f64 {
                self as f64
            }

            #[inline(always)]
            fn rounded(x: f64) -> Self {
                x as Self
            }

            fn reciprocal(self) -> Self {
                self.recip()
            }

            #[inline(always)]
            fn is_nan(self) -> bool {
                $type::is_nan(self)
            }
        }
    };
}

float!(f32, F32, transpose_f32, I::add_wide);
// For f64, transposition by scalar moves is as fast as the arithmetic.
float!(f64, F64, transpose_scalar, |_, lanes, x| lanes.iter_mut().zip(x).for_each(|(lane, x)| *lane += x));

#[inline(always)]
fn transpose_scalar<T: Copy>(block: [[T; 4]; 4]) -> [[T; 4]; 4] {
    std::array::from_fn(|i| block.map(|row| row[i]))
}

/// A loop that moves fewer elements than this stays on the calling thread: waking a worker costs about as much as moving this
/// many.
const PARALLEL_ELEMENTS: usize = 32 * 1024;

/// Calls `body(0)` ... `body(count - 1)`: in order on this thread, or on all threads in chunks of at least `grain`.
fn for_each(parallel: bool, count: usize, grain: usize, body: impl Fn(usize) + Sync) {
    if parallel && count > grain {
        parallel::each(count, grain, body);
    } else {
        (0..count).for_each(body);
    }
}

/// Calls `body(index, chunk)` for the chunks of `data`, `chunk` elements each: in order on this thread, or on all.
fn for_each_chunk<T: Send>(parallel: bool, data: &mut [T], chunk: usize, body: impl Fn(usize, &mut [T]) + Sync) {
    if parallel && data.len() > chunk {
        parallel::each_chunk(data, chunk, body);
    } else {
        data.chunks_mut(chunk.max(1)).enumerate().for_each(|(index, chunk)| body(index, chunk));
    }
}
