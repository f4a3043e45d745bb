//! Operands of element-wise operations: borrowed, or reusable in place.
//!
//! ```text
//! &a + &b      both borrowed: the result is a new storage
//! a + &b       a is owned: the result overwrites a's storage if nothing else holds it, the tape included
//! a += b       likewise
//! a + 2.0      a unary operation; nothing is uploaded
//! ```

use crate::backend::Backend;
use crate::tensor::Tensor;

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

/// What may stand at the right of an operator whose left operand is a tensor: a tensor, a reference to one, a parameter, or a
/// number.
///
/// With one generic impl per operator the output type is known before the operand's is, so that `(x * 2.0).relu()`, `x * 2` and
/// `x * lr` with an f32 all infer. With separate impls for `f64` and `f32` they would not.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be combined with a tensor",
    note = "use a Tensor, &Tensor, &Param, f64, f32, i32 or usize"
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
    Scalar(f64),
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
macro_rules! scalars {
    ($($type:ty),*) => { $(impl<B: Backend> Operand<B> for $type {
        fn operand<'a>(self) -> Rhs<'a, B>
        where
            Self: 'a,
        {
            Rhs::Scalar(self as f64)
        }
    })* };
}
scalars!(f64, f32, i32, usize);
