//! What a reduction does with one more element, for every op and element type.

use crate::binary::{maximum, minimum};
use crate::memory::AnyBits;
use crate::simd::{Isa, LANES};

/// A reduction of elements `T`.
pub(crate) trait Fold<T: Copy>: Copy + Send + Sync {
    /// The state: f64 where f32 are summed.
    type Acc: AnyBits;
    /// The state before the first element; joining it changes nothing.
    fn start(self) -> Self::Acc;
    fn add(self, acc: Self::Acc, x: T) -> Self::Acc;
    /// Adds to each lane.
    #[inline(always)]
    fn add_lanes<I: Isa>(self, _: I, lanes: &mut [Self::Acc; LANES], x: &[T; LANES]) {
        for i in 0..LANES {
            lanes[i] = self.add(lanes[i], x[i]);
        }
    }
    fn join(self, a: Self::Acc, b: Self::Acc) -> Self::Acc;
    fn finish(self, acc: Self::Acc) -> T;
}

#[derive(Clone, Copy)]
pub(crate) struct Sum;

#[derive(Clone, Copy)]
pub(super) struct Mean {
    pub(super) count: usize,
}

#[derive(Clone, Copy)]
pub(super) struct Prod;

#[derive(Clone, Copy)]
pub(super) struct Max;

#[derive(Clone, Copy)]
pub(super) struct Min;

macro_rules! fold {
    ($Fold:ident of $($type:ty as $acc:ty),*: $start:expr, $join:expr) => {
        fold!($Fold of $($type as $acc),*: $start, $join, |_, acc| acc);
    };
    ($Fold:ident of $($type:ty as $acc:ty),*: $start:expr, $join:expr, $finish:expr) => { $(
        impl Fold<$type> for $Fold {
            type Acc = $acc;

            #[inline(always)]
            fn start(self) -> $acc {
                $start
            }

            #[inline(always)]
            fn add(self, acc: $acc, x: $type) -> $acc {
                <Self as Fold<$type>>::join(self, acc, x as $acc)
            }

            #[inline(always)]
            fn join(self, a: $acc, b: $acc) -> $acc {
                let join: fn($acc, $acc) -> $acc = $join;
                join(a, b)
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
            fn start(self) -> f64 {
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
            fn join(self, a: f64, b: f64) -> f64 {
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
