//! Tensors on the tape: leaves, `backward` and `grad`, the graph.

use super::Tensor;
use crate::autodiff::{self, Gradients, Node, Value};
use crate::backend::Backend;
use crate::dtype::DType;
use crate::graph::Graph;
use crate::ops::index::RowGradient;
use crate::shape::Shape;
use std::fmt::{self, Display};
use std::sync::Arc;

/// What the tape records of a tensor.
#[derive(Clone, Copy, PartialEq)]
pub struct TensorSpec {
    /// The sizes.
    pub shape: Shape,
    /// The element type.
    pub dtype: DType,
}

/// The shape, and the dtype if it is not F32: `[2, 3]`, `[2, 3] float64`.
impl Display for TensorSpec {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:?}", self.shape)?;
        if self.dtype == DType::F32 { Ok(()) } else { write!(f, " {}", self.dtype) }
    }
}

impl<B: Backend> Value for Tensor<B> {
    type Spec = TensorSpec;
    type Rows = RowGradient<B>;
    fn spec(&self) -> TensorSpec {
        TensorSpec { shape: *self.shape(), dtype: self.dtype() }
    }
    fn node(&self) -> Option<&Arc<Node<Self>>> {
        self.node.as_ref()
    }
    fn with_node(&self, node: Option<Arc<Node<Self>>>) -> Self {
        Tensor { data: self.data.clone(), layout: self.layout, node }
    }
    fn accumulate(self, more: Self) -> Self {
        self + more
    }
    fn ones(&self) -> Self {
        self.scalar_like(1.0).expand(*self.shape())
    }
    fn brief(&self) -> String {
        self.in_brief()
    }
}

impl<B: Backend> Tensor<B> {
    /// The same data as a new leaf: operations on it are recorded, and [`backward`](Self::backward) computes its
    /// gradient. The tensor itself does not change.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let x = Tensor::new([1.0, 2.0, 3.0], &device).requires_grad();
    /// let loss = (&x * &x).sum(..);
    /// let grads = loss.backward();
    /// assert_eq!(grads[&x].to_vec::<f32>()?, [2.0, 4.0, 6.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If the dtype is not a float.
    #[track_caller]
    #[must_use = "the leaf is the result; the tensor itself does not change"]
    pub fn requires_grad(&self) -> Self {
        assert!(self.dtype().is_float(), "requires_grad: a gradient wants a float dtype, not {}", self.dtype());
        self.with_node(Some(Node::leaf(self)))
    }

    /// The same data off the tape: a constant. PyTorch: `detach`.
    pub fn detach(&self) -> Self {
        self.with_node(None)
    }

    /// Whether the tensor is on the tape.
    pub fn is_tracked(&self) -> bool {
        self.node.is_some()
    }

    /// The gradients of this tensor, a loss of one element, with respect to every leaf that it depends on. Consumes the
    /// tape and frees the tensors that it held, so a tensor that shares operations with this one cannot call `backward`
    /// afterwards; [`grad`](Self::grad) keeps the tape.
    ///
    /// # Panics
    /// If there is not exactly one element, the tensor depends on no leaf, or an earlier `backward` consumed the tape.
    #[track_caller]
    pub fn backward(&self) -> Gradients<Self> {
        assert!(self.numel() == 1, "backward: wants a loss of one element, the shape is {:?}", self.shape());
        autodiff::check_tracked("backward", self);
        autodiff::backward(self, self.ones())
    }

    /// [`backward`](Self::backward) of a tensor of any shape, given the gradient with respect to it: a vector-Jacobian
    /// product.
    ///
    /// # Panics
    /// If the shapes or dtypes differ, the tensor depends on no leaf, or an earlier `backward` consumed the tape.
    #[track_caller]
    pub fn backward_with(&self, gradient: &Self) -> Gradients<Self> {
        self.check_seed("backward_with", gradient);
        autodiff::check_tracked("backward_with", self);
        autodiff::backward(self, gradient.detach())
    }

    /// The gradients of this tensor's sum with respect to the tensors `of`; zeros where it does not depend on them. The
    /// tape is kept, and the result is differentiable: `let [g] = y.grad([&x]); let [h] = g.grad([&x]);`. PyTorch:
    /// `autograd.grad(create_graph=True)`.
    ///
    /// # Panics
    /// If an earlier `backward` consumed the tape.
    #[track_caller]
    pub fn grad<const N: usize>(&self, of: [&Self; N]) -> [Self; N] {
        self.grad_with(&self.ones(), of)
    }

    /// [`grad`](Self::grad), given the gradient with respect to this tensor, which may itself be on the tape.
    ///
    /// # Panics
    /// If the shapes or dtypes differ, or an earlier `backward` consumed the tape.
    #[track_caller]
    pub fn grad_with<const N: usize>(&self, gradient: &Self, of: [&Self; N]) -> [Self; N] {
        self.check_seed("grad_with", gradient);
        let found = autodiff::grad(self, gradient.clone(), of);
        of.map(|x| found.get(x).cloned().unwrap_or_else(|| x.zeros_like()))
    }

    /// The operations that computed this tensor, as data and as a picture; see [`Graph`]. Call it before `backward`, which
    /// consumes the tape.
    pub fn graph(&self) -> Graph<Self> {
        Graph::of(self)
    }

    #[track_caller]
    fn check_seed(&self, op: &str, gradient: &Self) {
        assert!(
            self.shape() == gradient.shape(),
            "{op}: the tensor is {:?}, its gradient {:?}",
            self.shape(),
            gradient.shape()
        );
        self.check_same(op, gradient);
    }

    /// This output of an operation of one input on the tape, by a rule that keeps no tensor.
    pub(crate) fn recorded(
        self,
        op: &'static str,
        parents: Option<autodiff::Parents<Self, 1>>,
        rule: impl Fn(&Self) -> Self + Send + Sync + 'static,
    ) -> Self {
        match parents {
            Some(parents) => autodiff::record(op, self, parents, move |g, _| [Some(rule(g))]),
            None => self,
        }
    }
}
