//! The fully connected layer.

use crate::Module;
use crate::init;
use crate::module::Param;
use crate::observe::observe_flops;
use crate::place;
use minitorch_core::{Activation, Backend, Tensor};

/// `y = x wᵀ + b`: x `[.., inputs]`, y `[.., outputs]`. PyTorch: `nn.Linear`.
///
/// Initial weight and bias are uniform within `±1 / sqrt(inputs)`, as in PyTorch.
///
/// ```
/// use minitorch::prelude::*;
///
/// let device = Cpu::default();
/// let layer = Linear::new(3, 2, &device);
/// let y = layer.forward(&Tensor::ones([5, 3], &device));
/// assert_eq!(y.dims(), [5, 2]);
/// ```
#[must_use]
#[derive(Module, Clone)]
pub struct Linear<B: Backend> {
    /// `[outputs, inputs]`.
    pub weight: Param<B>,
    /// `[outputs]`.
    pub bias: Option<Param<B>>,
}

impl<B: Backend> Linear<B> {
    /// A layer with a bias.
    pub fn new(inputs: usize, outputs: usize, device: &B) -> Self {
        let (weight, bias) = init::layer_default([outputs, inputs], outputs, device);
        Linear { weight, bias }
    }

    /// The layer without its bias. PyTorch: `bias=False`.
    pub fn without_bias(self) -> Self {
        Linear { bias: None, ..self }
    }

    /// `x wᵀ + b`.
    ///
    /// # Panics
    /// If the last dimension of x is not `inputs`.
    #[track_caller]
    pub fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let _running = place::layer(self);
        self.observe(x.linear(&self.weight, self.bias.as_deref()))
    }

    /// [`forward`](Self::forward) with the activation fused into its epilogue; results are identical. See
    /// [`Tensor::linear_activated`].
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let layer = Linear::new(3, 2, &device);
    /// let x = Tensor::ones([5, 3], &device);
    /// let y = layer.forward_activated(&x, Activation::Relu);
    /// assert_eq!(y.to_vec::<f32>()?, layer.forward(&x).relu().to_vec::<f32>()?);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If the last dimension of x is not `inputs`.
    #[track_caller]
    pub fn forward_activated(&self, x: &Tensor<B>, activation: Activation) -> Tensor<B> {
        let _running = place::layer(self);
        self.observe(x.linear_activated(&self.weight, self.bias.as_deref(), activation))
    }

    fn observe(&self, y: Tensor<B>) -> Tensor<B> {
        let [outputs, inputs] = self.weight.dims();
        let rows = y.numel() / outputs.max(1);
        observe_flops(self, (2 * rows * outputs).saturating_mul(inputs) as u64, y)
    }
}
