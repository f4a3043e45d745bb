//! The tensors of a module: parameters, which are trained and saved, and buffers, which are only saved.

use minitorch_core::autodiff::{Node, Value};
use minitorch_core::{Backend, Operand, Rhs, Tensor};
use std::fmt;
use std::ops::Deref;
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

/// Operators do not dereference; this makes `x + &self.bias` work.
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
