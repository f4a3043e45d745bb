//! Networks for minitorch: modules and layers, initial weights, optimizers, data, and exchange with PyTorch through
//! safetensors. Everything is generic over the backend; nothing here names one.

// The derive writes paths through `::minitorch`, the facade that users depend on; inside this crate that is this crate.
extern crate self as minitorch;

#[doc(hidden)]
pub use minitorch_core::Backend;

pub mod data;
mod ema;
mod files;
pub mod init;
mod layers;
pub mod module;
mod optim;
mod schedule;
pub mod state;
mod summary;
mod text;

pub use ema::Ema;
pub use layers::*;
pub use minitorch_nn_derive::Module;
pub use module::{Buffer, Layer, Module, Param, Training};
pub use optim::{Adagrad, Adam, AdamW, Group, Optimizer, RmsProp, Sgd};
pub use schedule::{
    Constant, Cosine, CosineRestarts, ExponentialLr, MultiStepLr, OneCycle, Plateau, Schedule, StepLr, WarmUp,
};
pub use summary::{Row, Summary, summary};
