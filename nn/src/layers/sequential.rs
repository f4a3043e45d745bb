//! A chain of layers.

use crate::module::{Layer, Module, Path, Visit, VisitMut};
use minitorch_core::{Backend, Tensor};

/// A chain of layers. Parameters are named by position (`0.weight`). PyTorch: `nn.Sequential`.
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

    /// Appends a layer.
    pub fn push(mut self, layer: impl Layer<B> + 'static) -> Self {
        self.layers.push(Box::new(layer));
        self
    }

    /// The layers in order.
    pub fn layers(&self) -> &[Box<dyn Layer<B>>] {
        &self.layers
    }

    /// Applies the layers in order.
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

/// By hand, because the positions follow the module's own name directly, without `layers.` between.
impl<B: Backend> Module<B> for Sequential<B> {
    fn visit<'m>(&'m self, path: &mut Path, f: Visit<'_, 'm, B>) {
        path.module(self);
        self.layers.visit(path, f);
    }
    fn visit_mut<'m>(&'m mut self, path: &mut Path, f: VisitMut<'_, 'm, B>) {
        self.layers.visit_mut(path, f);
    }
}
