//! Activations as layers, for [`Sequential`](crate::Sequential). The maths is at the tensor's methods.

use crate::Module;
use crate::module::Layer;
use crate::summary::observed;
use minitorch_core::{Backend, Tensor};

macro_rules! activations {
    ($($(#[$doc:meta])* $name:ident = $method:ident;)*) => { $(
        $(#[$doc])*
        #[derive(Module, Clone, Copy, Default, Debug)]
        pub struct $name;

        impl<B: Backend> Layer<B> for $name {
            fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
                observed(self, stringify!($name), 0, x.$method())
            }
        }
    )* };
}
activations! {
    /// [`Tensor::relu`]. PyTorch: `nn.ReLU`.
    Relu = relu;
    /// [`Tensor::tanh`]. PyTorch: `nn.Tanh`.
    Tanh = tanh;
    /// [`Tensor::sigmoid`]. PyTorch: `nn.Sigmoid`.
    Sigmoid = sigmoid;
    /// [`Tensor::gelu`]. PyTorch: `nn.GELU`.
    Gelu = gelu;
    /// [`Tensor::silu`]. PyTorch: `nn.SiLU`.
    Silu = silu;
    /// [`Tensor::hardswish`]. PyTorch: `nn.Hardswish`.
    Hardswish = hardswish;
    /// [`Tensor::softplus`]. PyTorch: `nn.Softplus`.
    Softplus = softplus;
    /// x itself. PyTorch: `nn.Identity`.
    Identity = clone;
}

/// [`Tensor::leaky_relu`]. PyTorch: `nn.LeakyReLU`.
#[derive(Module, Clone, Copy, Debug)]
pub struct LeakyRelu {
    /// The slope below 0.
    pub slope: f64,
}

impl Default for LeakyRelu {
    /// Slope 0.01.
    fn default() -> Self {
        LeakyRelu { slope: 0.01 }
    }
}

impl<B: Backend> Layer<B> for LeakyRelu {
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        observed(self, "LeakyRelu", 0, x.leaky_relu(self.slope))
    }
}

/// [`Tensor::elu`]. PyTorch: `nn.ELU`.
#[derive(Module, Clone, Copy, Debug)]
pub struct Elu {
    /// Minus the limit far below 0.
    pub alpha: f64,
}

impl Default for Elu {
    /// Alpha 1.
    fn default() -> Self {
        Elu { alpha: 1.0 }
    }
}

impl<B: Backend> Layer<B> for Elu {
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        observed(self, "Elu", 0, x.elu(self.alpha))
    }
}

/// [`Tensor::softmax`] along one dimension. PyTorch: `nn.Softmax`.
#[derive(Module, Clone, Copy, Debug)]
pub struct Softmax {
    /// The dimension.
    pub dim: isize,
}

impl<B: Backend> Layer<B> for Softmax {
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        observed(self, "Softmax", 0, x.softmax(self.dim))
    }
}

/// [`Tensor::log_softmax`] along one dimension. PyTorch: `nn.LogSoftmax`.
#[derive(Module, Clone, Copy, Debug)]
pub struct LogSoftmax {
    /// The dimension.
    pub dim: isize,
}

impl<B: Backend> Layer<B> for LogSoftmax {
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        observed(self, "LogSoftmax", 0, x.log_softmax(self.dim))
    }
}
