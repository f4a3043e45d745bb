//! Neural networks for minitorch: modules and layers, initial weights, optimizers, schedules, data, and exchange with
//! PyTorch through files. Everything is generic over the backend; nothing here names one.

#![forbid(unsafe_code)]

// `derive(Module)` generates paths through `::minitorch`, the facade that users depend on; in this crate that is the
// crate.
extern crate self as minitorch;

#[doc(hidden)]
pub use minitorch_core::Backend;

mod check;
pub mod data;
mod differences;
mod ema;
mod files;
mod formats;
mod gzip;
pub mod init;
mod layers;
pub mod module;
mod observe;
mod optim;
mod place;
mod schedule;
pub mod state;
mod summary;
mod text;

pub use ema::Ema;
pub use layers::*;
pub use minitorch_nn_derive::Module;
pub use module::{Buffer, Layer, Module, Param, Training};
pub use optim::{
    Adagrad, Adam, AdamSettings, AdamW, Group, Lion, LionConfig, NAdam, NAdamConfig, Optimizer, RAdam, RAdamConfig,
    RmsProp, Rule, RuleOptimizer, Sgd, StepAt,
};
pub use schedule::{
    Constant, Cosine, CosineRestarts, ExponentialLr, MultiStepLr, OneCycle, Plateau, Schedule, StepLr, WarmUp,
};
pub use summary::{Row, Summary, summary};
