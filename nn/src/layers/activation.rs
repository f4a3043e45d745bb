//! Activations as layers, for [`Sequential`](crate::Sequential). The formulas are at the methods of `Tensor`.

use crate::Module;
use crate::module::Layer;
use crate::observe::observe;
use crate::place;
use minitorch_core::{Backend, Tensor};

macro_rules! activations {
    ($($(#[$doc:meta])* $name:ident = $method:ident;)*) => { $(
        $(#[$doc])*
        #[derive(Module, Clone, Copy, Default, Debug)]
        pub struct $name;

        impl<B: Backend> Layer<B> for $name {
            #[track_caller]
            fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
                let _running = place::layer(self);
                observe(self, x.$method())
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
    /// x. PyTorch: `nn.Identity`.
    Identity = clone;
}

/// [`Tensor::leaky_relu`]. PyTorch: `nn.LeakyReLU`.
#[derive(Module, Clone, Copy)]
pub struct LeakyRelu {
    /// The slope for x below 0.
    pub slope: f64,
}

impl Default for LeakyRelu {
    /// Slope 0.01.
    fn default() -> Self {
        LeakyRelu { slope: 0.01 }
    }
}

impl<B: Backend> Layer<B> for LeakyRelu {
    #[track_caller]
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let _running = place::layer(self);
        observe(self, x.leaky_relu(self.slope))
    }
}

/// [`Tensor::elu`]. PyTorch: `nn.ELU`.
#[derive(Module, Clone, Copy)]
pub struct Elu {
    /// The limit for x towards minus infinity is `-alpha`.
    pub alpha: f64,
}

impl Default for Elu {
    /// Alpha 1.
    fn default() -> Self {
        Elu { alpha: 1.0 }
    }
}

impl<B: Backend> Layer<B> for Elu {
    #[track_caller]
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let _running = place::layer(self);
        observe(self, x.elu(self.alpha))
    }
}

/// [`Tensor::softmax`] along one dimension. PyTorch: `nn.Softmax`.
#[derive(Module, Clone, Copy)]
pub struct Softmax {
    /// The dimension.
    pub dim: isize,
}

impl<B: Backend> Layer<B> for Softmax {
    #[track_caller]
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let _running = place::layer(self);
        observe(self, x.softmax(self.dim))
    }
}

/// [`Tensor::log_softmax`] along one dimension. PyTorch: `nn.LogSoftmax`.
#[derive(Module, Clone, Copy)]
pub struct LogSoftmax {
    /// The dimension.
    pub dim: isize,
}

impl<B: Backend> Layer<B> for LogSoftmax {
    #[track_caller]
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let _running = place::layer(self);
        observe(self, x.log_softmax(self.dim))
    }
}
