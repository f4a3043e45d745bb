//! Element types: what loops require of them, and dispatch from a run-time dtype to a type parameter.
//!
//! ```text
//! Element   f32, f64, i32, and u8 for bool (0 or 1): conversion, sum, access to a storage
//! Real      f32 and f64: the functions of std's floats; f32 takes those of `approx` where they vectorise
//! ```

use crate::kernels::Float;
use crate::memory::{AlignedBuffer, AnyBits, Storage};
use crate::simd::{Isa, Wide};
use crate::{approx, erf};
use minitorch_core::DType;
use std::ops::{Div, Neg, Sub};

/// A type of tensor elements: `f32`, `f64`, `i32`, and `u8` that is 0 or 1 for bool.
pub(crate) trait Element: AnyBits + Wide + PartialEq + PartialOrd {
    const DTYPE: DType;

    /// The conversion of [`CopyOps::cast`](minitorch_core::backend::CopyOps::cast).
    fn from_f64(value: f64) -> Self;

    /// The value as f64, exactly.
    fn to_f64(self) -> f64;

    /// The sum. I32 wraps; bool is the logical or.
    fn sum(self, other: Self) -> Self;

    /// A storage of this type; a missing one for `None`.
    fn wrap(buffer: impl Into<Option<AlignedBuffer<Self>>>) -> Storage;

    /// The elements of a storage of this type.
    ///
    /// # Panics
    /// If the storage has another type or is missing.
    fn read(storage: &Storage) -> &[Self];

    /// As [`read`](Self::read), mutably.
    fn write(storage: &mut Storage) -> &mut [Self];
}

macro_rules! element {
    ($type:ty, $dtype:ident, $from:expr, $sum:expr) => {
        impl Element for $type {
            const DTYPE: DType = DType::$dtype;

            #[inline(always)]
            fn from_f64(value: f64) -> Self {
                let from: fn(f64) -> $type = $from;
                from(value)
            }

            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }

            #[inline(always)]
            fn sum(self, other: Self) -> Self {
                let sum: fn($type, $type) -> $type = $sum;
                sum(self, other)
            }

            fn wrap(buffer: impl Into<Option<AlignedBuffer<Self>>>) -> Storage {
                buffer.into().map_or(Storage::Missing(DType::$dtype), Storage::$dtype)
            }

            fn read(storage: &Storage) -> &[Self] {
                match storage {
                    Storage::$dtype(buffer) => buffer,
                    other => type_mismatch(DType::$dtype, other),
                }
            }

            fn write(storage: &mut Storage) -> &mut [Self] {
                match storage {
                    Storage::$dtype(buffer) => buffer,
                    other => type_mismatch(DType::$dtype, other),
                }
            }
        }
    };
}
element!(f32, F32, |value| value as f32, |a, b| a + b);
element!(f64, F64, |value| value, |a, b| a + b);
element!(i32, I32, |value| value as i32, i32::wrapping_add); // truncates and saturates; NaN is 0
element!(u8, Bool, |value| (value != 0.0) as u8, |a, b| a | b);

#[cold]
fn type_mismatch(expected: DType, storage: &Storage) -> ! {
    let missing = if storage.is_missing() { ", missing" } else { "" };
    unreachable!("the view says {expected}, the storage is {}{missing}", storage.dtype())
}

/// Evaluates `$body` with `$T` as the element type of a dtype.
macro_rules! with_element {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            ::minitorch_core::DType::F32 => {
                type $T = f32;
                $body
            }
            ::minitorch_core::DType::F64 => {
                type $T = f64;
                $body
            }
            ::minitorch_core::DType::I32 => {
                type $T = i32;
                $body
            }
            ::minitorch_core::DType::Bool => {
                type $T = u8;
                $body
            }
            ::minitorch_core::DType::F16 => unreachable!("core checks `supports`"),
        }
    };
}
pub(crate) use with_element;

/// [`with_element`] for operations that core restricts to floats.
macro_rules! with_real {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            ::minitorch_core::DType::F32 => {
                type $T = f32;
                $body
            }
            ::minitorch_core::DType::F64 => {
                type $T = f64;
                $body
            }
            other => unreachable!("core admits floats only, this is {other}"),
        }
    };
}
pub(crate) use with_real;

/// A floating-point element, with functions named as in std.
pub(crate) trait Real:
    Element + Float + Remainder + Sub<Output = Self> + Div<Output = Self> + Neg<Output = Self>
{
    fn abs(self) -> Self;
    fn sqrt(self) -> Self;
    fn exp(self) -> Self;
    /// [`Real::exp`] for arguments up to 60 and NaN.
    fn exp_below<I: Isa>(self) -> Self;
    fn exp_m1(self) -> Self;
    fn ln(self) -> Self;
    fn ln_1p(self) -> Self;
    fn log2(self) -> Self;
    fn sin(self) -> Self;
    fn cos(self) -> Self;
    fn tan(self) -> Self;
    fn atan(self) -> Self;
    fn sinh(self) -> Self;
    fn cosh(self) -> Self;
    fn tanh(self) -> Self;
    fn powf(self, exponent: Self) -> Self;
    fn floor(self) -> Self;
    fn ceil(self) -> Self;
    fn round_ties_even(self) -> Self;
    fn trunc(self) -> Self;
    /// The error function.
    fn erf(self) -> Self;
    /// `1 - erf(self)`, without cancellation.
    fn erfc(self) -> Self;

    /// A constant, rounded to this type.
    #[inline(always)]
    fn of(value: f64) -> Self {
        Self::from_f64(value)
    }

    /// `1 / (1 + e^-x)`, as `e^x / (1 + e^x)` for negative x: the exponential's argument is never positive, so it does not overflow
    /// and a small result has full relative accuracy.
    #[inline(always)]
    fn sigmoid(self) -> Self {
        let (one, e) = (Self::of(1.0), (-self.abs()).exp());
        (if self >= Self::ZERO { one } else { e }) / (one + e)
    }

    /// `log(1 + e^x)`, as `max(x, 0) + log(1 + e^-|x|)`, which does not overflow.
    #[inline(always)]
    fn softplus(self) -> Self {
        let positive = if self > Self::ZERO { self } else { Self::ZERO };
        positive + (-self.abs()).exp().ln_1p()
    }
}

macro_rules! real {
    ($type:ident: std $($name:ident)*; $($own:ident = $function:path),*; exp_below = $exp_below:expr) => {
        impl Real for $type {
            #[inline(always)]
            fn exp_below<I: Isa>(self) -> Self {
                $exp_below(self)
            }
            $(#[inline(always)]
            fn $name(self) -> Self {
                $type::$name(self)
            })*
            $(#[inline(always)]
            fn $own(self) -> Self {
                $function(self)
            })*
            #[inline(always)]
            fn powf(self, exponent: Self) -> Self {
                $type::powf(self, exponent)
            }
        }
    };
}
real!(
    f32: std abs sqrt sin cos tan atan sinh cosh floor ceil round_ties_even trunc;
    exp = approx::exp, exp_m1 = approx::expm1, ln = approx::log, ln_1p = approx::log1p, log2 = approx::log2,
    tanh = approx::tanh, erf = approx::erf, erfc = approx::erfc;
    exp_below = approx::exp_below::<I>
);
real!(
    f64: std abs sqrt exp exp_m1 ln ln_1p log2 sin cos tan atan sinh cosh tanh floor ceil round_ties_even trunc;
    erf = erf::erf, erfc = erf::erfc;
    exp_below = f64::exp
);

/// The remainder of floored division; see [`BinaryOp::Remainder`](minitorch_core::backend::BinaryOp::Remainder).
pub(crate) trait Remainder: Copy {
    fn remainder(self, divisor: Self) -> Self;
}

macro_rules! remainders {
    ($($type:ty, $rest:expr);*) => { $(impl Remainder for $type {
        #[inline(always)]
        fn remainder(self, divisor: Self) -> Self {
            let rest: fn($type, $type) -> $type = $rest;
            let (rest, zero) = (rest(self, divisor), 0 as $type);
            // `%` has the sign of the dividend; floored division has the divisor's.
            if rest != zero && (rest < zero) != (divisor < zero) { rest + divisor } else { rest }
        }
    })* };
}
remainders!(f32, |a, b| a % b; f64, |a, b| a % b; i32, |a, b| if b == 0 { 0 } else { a.wrapping_rem(b) });
