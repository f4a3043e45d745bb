//! Layers, with formula, shapes and PyTorch's name. Those in `activation`, `pool` and `resize` have no parameters.

mod activation;
mod conv;
mod debug;
mod dropout;
mod embedding;
mod linear;
mod norm;
mod pool;
mod resize;
mod sequential;

pub use activation::{
    Elu, Gelu, Hardswish, Identity, LeakyRelu, LogSoftmax, Relu, Sigmoid, Silu, Softmax, Softplus, Tanh,
};
pub use conv::{Conv1d, Conv2d, ConvTranspose2d};
pub use dropout::{Dropout, Dropout2d};
pub use embedding::Embedding;
pub use linear::Linear;
pub use norm::{BatchNorm1d, BatchNorm2d, GroupNorm, LayerNorm};
pub use pool::{AvgPool1d, AvgPool2d, Flatten, MaxPool1d, MaxPool2d};
pub use resize::{
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, ReflectionPad2d, ReplicationPad2d,
    Upsample, UpsampleMode, UpsampleSize, ZeroPad2d,
};
pub use sequential::{Closure, IntoLayer, IsClosure, IsLayer, Iter, IterMut, Sequential};

use crate::module::{Buffer, Layer};
use minitorch_core::{Backend, Tensor};

/// [`Layer`] for layers that have an inherent `forward`, which callers can use without the trait in scope.
macro_rules! layers {
    ($($layer:ty),* $(,)?) => { $(
        impl<B: Backend> Layer<B> for $layer {
            #[track_caller]
            fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
                self.forward(x)
            }
        }
    )* };
}
layers!(
    Conv1d<B>,
    Conv2d<B>,
    ConvTranspose2d<B>,
    Linear<B>,
    Embedding<B>,
    Sequential<B>,
    BatchNorm1d<B>,
    BatchNorm2d<B>,
    LayerNorm<B>,
    GroupNorm<B>,
    Dropout,
    Dropout2d,
);
