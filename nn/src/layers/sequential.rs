//! Layers one after another.

use crate::module::{Entry, Layer, Module, Path, Visit, VisitMut};
use minitorch_core::{Backend, Tensor};

/// Layers applied in order; their parameters are named by position (`0.weight`), as PyTorch's `nn.Sequential` does.
///
/// ```
/// # use minitorch_conformance::doc::*;
/// # use minitorch_nn::{Linear, Module, Relu, Sequential};
/// let device = device();
/// let mlp = Sequential::new().push(Linear::new(2, 8, &device)).push(Relu).push(Linear::new(8, 1, &device));
/// assert_eq!(mlp.forward(&Tensor::zeros([4, 2], &device)).dims(), [4, 1]);
/// assert_eq!(mlp.num_parameters(), 33);
/// ```
pub struct Sequential<B: Backend> {
    layers: Vec<Box<dyn Layer<B>>>,
}

impl<B: Backend> Sequential<B> {
    /// No layers: the identity.
    pub fn new() -> Self {
        Sequential { layers: Vec::new() }
    }

    /// With one more layer at the end.
    pub fn push(mut self, layer: impl Layer<B> + 'static) -> Self {
        self.layers.push(Box::new(layer));
        self
    }

    /// The layers in order.
    pub fn layers(&self) -> &[Box<dyn Layer<B>>] {
        &self.layers
    }

    /// The last layer of the first layer's ... of x.
    pub fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let Some((first, rest)) = self.layers.split_first() else { return x.clone() };
        rest.iter().fold(first.forward(x), |x, layer| layer.forward(&x))
    }
}

impl<B: Backend> Default for Sequential<B> {
    fn default() -> Self {
        Sequential::new()
    }
}

/// By hand: the layers' positions stand directly under the module's own name, without a `layers.` between.
impl<B: Backend> Module<B> for Sequential<B> {
    fn visit<'m>(&'m self, path: &mut Path, f: Visit<'_, 'm, B>) {
        f(path.as_str(), Entry::Module { kind: "Sequential", address: std::ptr::from_ref(self).addr() });
        self.layers.visit(path, f);
    }
    fn visit_mut<'m>(&'m mut self, path: &mut Path, f: VisitMut<'_, 'm, B>) {
        self.layers.visit_mut(path, f);
    }
}

impl<B: Backend> Layer<B> for Sequential<B> {
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        self.forward(x)
    }
}
