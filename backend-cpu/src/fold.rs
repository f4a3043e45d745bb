//! Folds: the accumulator of a reduction, for every operation and element type.
//!
//! ```text
//! fold(x) = finish(add(.. add(add(identity, x[0]), x[1]) .., x[n - 1]))
//! ```
//! Accumulators of parts are merged by `combine`, which is associative up to rounding. Sums, means and products of f32 accumulate in
//! f64: the result is almost always the exact one, rounded once.

use crate::binary::{maximum, minimum};
use crate::memory::AnyBits;
use crate::simd::{Isa, LANES};

/// A reduction of elements of type `T`.
pub(crate) trait Fold<T: Copy>: Copy + Send + Sync {
    /// The accumulator.
    type Acc: AnyBits;
    /// The accumulator of no elements, neutral in `combine`.
    fn identity(self) -> Self::Acc;
    fn add(self, acc: Self::Acc, x: T) -> Self::Acc;
    /// [`add`](Self::add) per lane.
    #[inline(always)]
    fn add_lanes<I: Isa>(self, _: I, lanes: &mut [Self::Acc; LANES], x: &[T; LANES]) {
        for i in 0..LANES {
            lanes[i] = self.add(lanes[i], x[i]);
        }
    }
    fn combine(self, a: Self::Acc, b: Self::Acc) -> Self::Acc;
    fn finish(self, acc: Self::Acc) -> T;
}

#[derive(Clone, Copy)]
pub(crate) struct Sum;

#[derive(Clone, Copy)]
pub(crate) struct Mean {
    pub(crate) count: usize,
}

#[derive(Clone, Copy)]
pub(crate) struct Prod;

#[derive(Clone, Copy)]
pub(crate) struct Max;

#[derive(Clone, Copy)]
pub(crate) struct Min;

macro_rules! fold {
    ($Fold:ident of $($type:ty as $acc:ty),*: $identity:expr, $combine:expr) => {
        fold!($Fold of $($type as $acc),*: $identity, $combine, |_, acc| acc);
    };
    ($Fold:ident of $($type:ty as $acc:ty),*: $identity:expr, $combine:expr, $finish:expr) => { $(
        impl Fold<$type> for $Fold {
            type Acc = $acc;

            #[inline(always)]
            fn identity(self) -> $acc {
                $identity
            }

            #[inline(always)]
            fn add(self, acc: $acc, x: $type) -> $acc {
                <Self as Fold<$type>>::combine(self, acc, x as $acc)
            }

            #[inline(always)]
            fn combine(self, a: $acc, b: $acc) -> $acc {
                let combine: fn($acc, $acc) -> $acc = $combine;
                combine(a, b)
            }

            #[inline(always)]
            fn finish(self, acc: $acc) -> $type {
                let finish: fn(Self, $acc) -> $acc = $finish;
                finish(self, acc) as $type
            }
        }
    )* };
}
fold!(Sum of f64 as f64: 0.0, |a, b| a + b);
fold!(Sum of i32 as i32: 0, i32::wrapping_add);
fold!(Mean of f64 as f64: 0.0, |a, b| a + b, |mean, acc| acc / mean.count as f64);
fold!(Prod of f32 as f64, f64 as f64: 1.0, |a, b| a * b);
fold!(Prod of i32 as i32: 1, i32::wrapping_mul);
fold!(Max of f32 as f32: f32::NEG_INFINITY, maximum);
fold!(Max of f64 as f64: f64::NEG_INFINITY, maximum);
fold!(Max of i32 as i32: i32::MIN, maximum);
fold!(Max of u8 as u8: 0, maximum);
fold!(Min of f32 as f32: f32::INFINITY, minimum);
fold!(Min of f64 as f64: f64::INFINITY, minimum);
fold!(Min of i32 as i32: i32::MAX, minimum);
fold!(Min of u8 as u8: 1, minimum);

macro_rules! sum_f32 {
    ($Fold:ident, $finish:expr) => {
        impl Fold<f32> for $Fold {
            type Acc = f64;

            #[inline(always)]
            fn identity(self) -> f64 {
                0.0
            }

            #[inline(always)]
            fn add(self, acc: f64, x: f32) -> f64 {
                acc + x as f64
            }

            #[inline(always)]
            fn add_lanes<I: Isa>(self, isa: I, lanes: &mut [f64; LANES], x: &[f32; LANES]) {
                isa.add_wide(lanes, x);
            }

            #[inline(always)]
            fn combine(self, a: f64, b: f64) -> f64 {
                a + b
            }

            #[inline(always)]
            fn finish(self, acc: f64) -> f32 {
                let finish: fn(Self, f64) -> f64 = $finish;
                finish(self, acc) as f32
            }
        }
    };
}
sum_f32!(Sum, |_, acc| acc);
sum_f32!(Mean, |mean, acc| acc / mean.count as f64);
