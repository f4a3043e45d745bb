//! Operands of element-wise operations: borrowed, or reusable in place.
//!
//! ```text
//! &a + &b      both borrowed: the result is a new storage
//! a + &b       a is owned: the result overwrites a's storage if nothing else holds it, the tape included
//! a += b       likewise
//! a + 2        a unary operation; nothing is uploaded
//! ```

use crate::backend::Backend;
use crate::dtype::DType;
use crate::tensor::Tensor;
use half::f16;
use std::fmt::Display;

/// A tensor argument of an element-wise operation.
pub(crate) enum TensorArg<'a, B: Backend> {
    Borrowed(&'a Tensor<B>),
    /// The caller does not need the value any more: its storage may be overwritten if nothing else holds it.
    Reusable(&'a mut Tensor<B>),
}

impl<'a, B: Backend> From<&'a Tensor<B>> for TensorArg<'a, B> {
    fn from(x: &'a Tensor<B>) -> Self {
        TensorArg::Borrowed(x)
    }
}

impl<'a, B: Backend> From<&'a mut Tensor<B>> for TensorArg<'a, B> {
    fn from(x: &'a mut Tensor<B>) -> Self {
        TensorArg::Reusable(x)
    }
}

impl<B: Backend> std::ops::Deref for TensorArg<'_, B> {
    type Target = Tensor<B>;

    fn deref(&self) -> &Tensor<B> {
        match self {
            TensorArg::Borrowed(x) => x,
            TensorArg::Reusable(x) => x,
        }
    }
}

impl<B: Backend> TensorArg<'_, B> {
    /// The tensor, if its storage may be overwritten.
    pub(crate) fn unique(&mut self) -> Option<&mut Tensor<B>> {
        match self {
            TensorArg::Borrowed(_) => None,
            TensorArg::Reusable(x) => x.is_unique().then_some(x),
        }
    }
}

/// What may stand at the right of an operator whose left operand is a tensor: a tensor, a reference to one, a reference to a
/// parameter, or a number of any primitive type or [`struct@f16`].
///
/// A number takes the tensor's dtype. As a literal or a variable of a float type does, an integer rounds to the nearest element of
/// a float dtype, so that `sum / count` works for any count; an integer that the dtype cannot hold (for I32 any beyond 32 bits,
/// for F16 one of 65520 or more), or that an f64 does not hold exactly (some beyond 2^53), panics.
///
/// With one generic impl per operator the output type is known before the operand's is, so that `(x * 2.0).relu()`, `x * 2` and
/// `x * lr` with an f32 all infer. With separate impls for `f64` and `f32` they would not. At the *left* of an operator Rust
/// permits no generic impl, and infers `(1.0 - &x).relu()` and `(1 - &x).relu()` only while one float and one integer type may
/// stand there: `f64` and `i32`, the types of bare literals (and [`struct@f16`], which has no literals). A number of another type
/// is converted, `f64::from(lr) * &x`, or stands at the right, `&x * lr`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an operand beside a `Tensor<{B}>`",
    label = "a number, or a tensor or `&Param` of the backend `{B}`, is wanted here",
    note = "a tensor of another backend is moved with `x.to(&device)?`, host data become a tensor with `Tensor::new(.., &device)`"
)]
pub trait Operand<B: Backend> {
    /// The operand.
    fn operand<'a>(self) -> Rhs<'a, B>
    where
        Self: 'a;
}

/// The right operand of an operator.
pub enum Rhs<'a, B: Backend> {
    /// A tensor that the operator consumes; overwritten in place if nothing else holds its storage.
    Owned(Tensor<B>),
    /// A tensor that stays as it is.
    Borrowed(&'a Tensor<B>),
    /// A number; it takes the tensor's dtype.
    Number(Number),
}

/// A number beside a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Of a float type.
    Float(f64),
    /// Of an integer type.
    Integer(i128),
}

impl Number {
    /// The number for a tensor of this dtype.
    ///
    /// # Panics
    /// If it is an integer that f64 does not hold exactly, or that becomes infinite in the dtype.
    #[track_caller]
    pub(crate) fn value(self, op: impl Display, dtype: DType) -> f64 {
        let integer = match self {
            Number::Float(value) => return value,
            Number::Integer(integer) => integer,
        };
        let magnitude = integer.unsigned_abs();
        let digits = || u128::BITS - magnitude.leading_zeros() - magnitude.trailing_zeros();
        assert!(
            magnitude == 0 || digits() <= f64::MANTISSA_DIGITS,
            "{op}: the integer {integer} is beyond 2^53 and not exact as an f64; round it, or use a tensor of integers"
        );
        let value = integer as f64;
        let overflows = dtype == DType::F16 && f16::from_f64(value).is_infinite();
        assert!(!overflows, "{op}: the integer {integer} is beyond {dtype}; cast the tensor first");
        value
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Number::Float(value)
    }
}
impl From<f16> for Number {
    fn from(value: f16) -> Self {
        Number::Float(value.to_f64())
    }
}
impl From<i32> for Number {
    fn from(value: i32) -> Self {
        Number::Integer(value.into())
    }
}

impl<B: Backend> Operand<B> for Tensor<B> {
    fn operand<'a>(self) -> Rhs<'a, B>
    where
        Self: 'a,
    {
        Rhs::Owned(self)
    }
}
impl<B: Backend> Operand<B> for &Tensor<B> {
    fn operand<'a>(self) -> Rhs<'a, B>
    where
        Self: 'a,
    {
        Rhs::Borrowed(self)
    }
}
macro_rules! numbers {
    ($($type:ty => $variant:ident as $wide:ty),* $(,)?) => { $(impl<B: Backend> Operand<B> for $type {
        fn operand<'a>(self) -> Rhs<'a, B>
        where
            Self: 'a,
        {
            Rhs::Number(Number::$variant(<$wide>::from(self)))
        }
    })* };
}
numbers!(
    f64 => Float as f64, f32 => Float as f64, f16 => Float as f64,
    i8 => Integer as i128, i16 => Integer as i128, i32 => Integer as i128, i64 => Integer as i128,
    u8 => Integer as i128, u16 => Integer as i128, u32 => Integer as i128, u64 => Integer as i128,
);
macro_rules! lossless {
    ($($type:ty)*) => { $(impl<B: Backend> Operand<B> for $type {
        fn operand<'a>(self) -> Rhs<'a, B>
        where
            Self: 'a,
        {
            // No conversion of std, as these may have any width; none has more than 64 bits.
            Rhs::Number(Number::Integer(self as i128))
        }
    })* };
}
lossless!(isize usize);
