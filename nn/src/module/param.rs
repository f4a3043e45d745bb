//! The tensors of a module: parameters, which are trained and saved, and buffers, which are only saved.

use minitorch_core::autodiff::{Node, Value};
use minitorch_core::{Backend, Operand, Rhs, Tensor, f16};
use std::fmt;
use std::ops::{Add, Deref, Div, Mul, Neg, Sub};
use std::sync::{Arc, RwLock};

/// A trained tensor of a module: a leaf of the tape. Dereferences to its [`Tensor`]. PyTorch: `nn.Parameter`.
///
/// The leaf is its identity, by which gradients and optimizer state are found; updates preserve it. A clone is a *new*
/// leaf with copy-on-write storage, so two models never share gradients.
///
/// To tie a weight, use one `Param` twice in `forward`, as in an embedding that is also the output layer: the gradients
/// of both uses are summed, an optimizer steps it once, and it is saved once.
///
/// A [frozen](Param::freeze) parameter is a constant.
///
/// A reference to it is an operand of all operators, at either side: `&w * &x`, `x + &w`, `2.0 * &w`, `-&w`.
pub struct Param<B: Backend> {
    /// On the tape at `leaf`, or off it while frozen.
    value: Tensor<B>,
    leaf: Arc<Node<Tensor<B>>>,
}

impl<B: Backend> Param<B> {
    /// A parameter with this value.
    ///
    /// # Panics
    /// If the dtype is not a float.
    #[track_caller]
    pub fn new(value: Tensor<B>) -> Self {
        assert!(value.dtype().is_float(), "Param: a trained tensor wants a float dtype, not {}", value.dtype());
        let leaf = Node::leaf(&value);
        Param { value: value.with_node(Some(leaf.clone())), leaf }
    }

    /// A unique number, which updates preserve.
    pub fn id(&self) -> u64 {
        self.leaf.id()
    }

    /// Makes it a constant until [`unfreeze`](Param::unfreeze): it gets no gradients, and optimizers skip it, even if
    /// gradients were computed before. It is still saved and loaded, and keeps its identity and its optimizer state.
    /// PyTorch: `requires_grad_(False)`.
    pub fn freeze(&mut self) {
        self.value = self.value.detach();
    }

    /// Reverses [`freeze`](Param::freeze).
    pub fn unfreeze(&mut self) {
        self.value = self.value.with_node(Some(self.leaf.clone()));
    }

    /// Whether it is frozen.
    pub fn is_frozen(&self) -> bool {
        !self.value.is_tracked()
    }

    /// Replaces the value; the identity is preserved.
    ///
    /// # Panics
    /// If shape, dtype or device change.
    #[track_caller]
    pub fn set(&mut self, value: Tensor<B>) {
        assert!(
            value.shape() == self.value.shape() && value.dtype() == self.value.dtype(),
            "Param::set: the parameter is {:?} of {}, the new value {:?} of {}",
            self.value.shape(),
            self.value.dtype(),
            value.shape(),
            value.dtype()
        );
        assert!(
            value.device() == self.value.device(),
            "Param::set: the parameter is on {:?}, the new value on {:?}",
            self.value.device(),
            value.device()
        );
        self.value = value.with_node(self.value.node().cloned());
    }

    /// Replaces the value by a function of it, off the tape; the identity is preserved.
    ///
    /// # Panics
    /// As [`set`](Param::set).
    #[track_caller]
    pub fn update(&mut self, f: impl FnOnce(Tensor<B>) -> Tensor<B>) {
        let new = minitorch_core::no_grad(|| f(self.value.detach()));
        self.set(new);
    }

    /// The storage for writing; see [`Tensor::storage_mut`].
    pub fn storage_mut(&mut self) -> (B, &mut B::Storage) {
        self.value.storage_mut()
    }
}

/// A new leaf; frozen if this one is.
impl<B: Backend> Clone for Param<B> {
    fn clone(&self) -> Self {
        let mut copy = Param::new(self.value.clone());
        if self.is_frozen() {
            copy.freeze();
        }
        copy
    }
}

impl<B: Backend> Deref for Param<B> {
    type Target = Tensor<B>;
    fn deref(&self) -> &Tensor<B> {
        &self.value
    }
}

impl<B: Backend> AsRef<Tensor<B>> for Param<B> {
    fn as_ref(&self) -> &Tensor<B> {
        &self.value
    }
}

impl<B: Backend> fmt::Debug for Param<B> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let frozen = if self.is_frozen() { ", frozen" } else { "" };
        write!(f, "Param({:?}, {}{frozen})", self.shape(), self.dtype())
    }
}

/// The value, as a tensor prints it: `{:.2}` sets the decimals.
impl<B: Backend> fmt::Display for Param<B> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(&self.value, f)
    }
}

/// Operators do not dereference; these make `&self.weight * x` and `1 - &self.bias` work. There are none that take a parameter by
/// value, since a clone of it, which the compiler would then suggest, is another leaf.
macro_rules! operators {
    ($($Op:ident $op:ident),*) => { $(
        impl<B: Backend, R: Operand<B>> $Op<R> for &Param<B> {
            type Output = Tensor<B>;
            #[track_caller]
            fn $op(self, rhs: R) -> Tensor<B> {
                (&self.value).$op(rhs)
            }
        }
        operators!(@left $Op $op f64);
        operators!(@left $Op $op i32);
        operators!(@left $Op $op f16);
    )* };
    (@left $Op:ident $op:ident $number:ty) => {
        impl<B: Backend> $Op<&Param<B>> for $number {
            type Output = Tensor<B>;
            #[track_caller]
            fn $op(self, param: &Param<B>) -> Tensor<B> {
                self.$op(&param.value)
            }
        }
    };
}
operators!(Add add, Sub sub, Mul mul, Div div);

impl<B: Backend> Neg for &Param<B> {
    type Output = Tensor<B>;
    #[track_caller]
    fn neg(self) -> Tensor<B> {
        -&self.value
    }
}

/// This makes `x + &self.bias` work.
impl<B: Backend> Operand<B> for &Param<B> {
    fn operand<'a>(self) -> Rhs<'a, B>
    where
        Self: 'a,
    {
        Rhs::Borrowed(&self.value)
    }
}

/// State that is saved but not trained, such as running statistics. It has interior mutability, since `forward` takes
/// `&self`.
#[derive(Debug)]
pub struct Buffer<B: Backend> {
    value: RwLock<Tensor<B>>,
}

impl<B: Backend> Buffer<B> {
    /// A buffer with this value, off the tape.
    pub fn new(value: Tensor<B>) -> Self {
        Buffer { value: RwLock::new(value.detach()) }
    }

    /// The value.
    pub fn get(&self) -> Tensor<B> {
        self.value.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone()
    }

    /// Replaces the value, off the tape.
    pub fn set(&self, value: Tensor<B>) {
        *self.value.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = value.detach();
    }
}

impl<B: Backend> Clone for Buffer<B> {
    fn clone(&self) -> Self {
        Buffer::new(self.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use minitorch_conformance::doc::{Plain, device};

    fn values(x: Tensor<Plain>) -> Vec<f32> {
        x.to_vec().expect("the tensor is of f32")
    }

    #[test]
    fn operators_take_a_parameter_at_either_side() {
        let (w, x) = (Param::new(Tensor::new([2.0, -4.0], &device())), Tensor::new([1.0, 8.0], &device()));
        for (y, want) in [
            (&w + &x, [3.0, 4.0]),
            (&x + &w, [3.0, 4.0]),
            (x.clone() + &w, [3.0, 4.0]),
            (&w + x.clone(), [3.0, 4.0]),
            (&w - 1, [1.0, -5.0]),
            (1 - &w, [-1.0, 5.0]),
            (2.0 * &w, [4.0, -8.0]),
            (&w * 2u8, [4.0, -8.0]),
            (8 / &w, [4.0, -2.0]),
            (&w / &w, [1.0, 1.0]),
            (f16::from_f32(0.5) * &w, [1.0, -2.0]),
            (-&w, [-2.0, 4.0]),
        ] {
            assert_eq!(values(y), want);
        }
        let grads = (&w * &x - &w / 2).sum(..).backward();
        assert_eq!(values(grads[&w].clone()), [0.5, 7.5]);
    }

    #[test]
    fn a_parameter_prints_as_its_value_does() {
        let w: Param<Plain> = Param::new(Tensor::new([0.25, 1.5], &device()));
        assert_eq!(w.to_string(), w.detach().to_string());
        assert_eq!(format!("{w:.2}"), "tensor([0.25, 1.50])");
        assert_eq!(format!("{w:?}"), "Param([2], float32)");
    }
}
