//! `Given`: how an element-wise operation gets its operands.

use crate::backend::Backend;
use crate::tensor::Tensor;

/// An operand: lent, or given away. What is given away may be overwritten in place if nobody else holds its storage.
pub(crate) enum Given<'a, B: Backend> {
    Lent(&'a Tensor<B>),
    Away(&'a mut Tensor<B>),
}

impl<'a, B: Backend> From<&'a Tensor<B>> for Given<'a, B> {
    fn from(x: &'a Tensor<B>) -> Self {
        Given::Lent(x)
    }
}

impl<'a, B: Backend> From<&'a mut Tensor<B>> for Given<'a, B> {
    fn from(x: &'a mut Tensor<B>) -> Self {
        Given::Away(x)
    }
}

impl<B: Backend> std::ops::Deref for Given<'_, B> {
    type Target = Tensor<B>;

    fn deref(&self) -> &Tensor<B> {
        match self {
            Given::Lent(x) => x,
            Given::Away(x) => x,
        }
    }
}

impl<B: Backend> Given<'_, B> {
    /// The tensor, if it may be overwritten.
    pub(crate) fn unique(&mut self) -> Option<&mut Tensor<B>> {
        match self {
            Given::Lent(_) => None,
            Given::Away(x) => x.is_unique().then_some(x),
        }
    }
}
