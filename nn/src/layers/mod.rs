//! Layers: one short file each, with formula, shapes and PyTorch's name.

mod activation;
mod conv;
mod dropout;
mod linear;
mod pool;
mod resize;
mod sequential;

pub use activation::{Gelu, LeakyRelu, LogSoftmax, Relu, Sigmoid, Silu, Softmax, Tanh};
pub use conv::{Conv1d, Conv2d};
pub use dropout::Dropout;
pub use linear::Linear;
pub use pool::{AvgPool1d, AvgPool2d, Flatten, MaxPool1d, MaxPool2d};
pub use resize::{
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, ReflectionPad2d, ReplicationPad2d,
    Upsample, UpsampleMode, UpsampleSize, ZeroPad2d,
};
pub use sequential::Sequential;
