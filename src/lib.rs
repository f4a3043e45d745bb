//! A deep-learning framework whose tensors are generic over a compile-time backend.
//!
//! ```
//! use minitorch::prelude::*;
//!
//! #[derive(Module)]
//! struct Mlp<B: Backend> {
//!     fc1: Linear<B>,
//!     fc2: Linear<B>,
//! }
//!
//! impl<B: Backend> Mlp<B> {
//!     fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
//!         self.fc2.forward(&self.fc1.forward(x).relu())
//!     }
//! }
//!
//! fn main() -> Result<()> {
//!     let device = Cpu::default();
//!     let mut model = Mlp { fc1: Linear::new(2, 16, &device), fc2: Linear::new(16, 2, &device) };
//!     let mut optimizer = Adam::new(0.05);
//!     let x = Tensor::new([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], &device);
//!     let xor = Tensor::new([0, 1, 1, 0], &device);
//!     for _ in 0..200 {
//!         let loss = model.forward(&x).cross_entropy(&xor);
//!         optimizer.step(&mut model, &loss.backward());
//!     }
//!     assert_eq!(model.forward(&x).argmax(-1).to_vec::<i32>()?, [0, 1, 1, 0]);
//!     Ok(())
//! }
//! ```
//!
//! This crate only re-exports: [`Tensor`] and the [`Backend`] contract live in `minitorch-core`, the [`Cpu`] backend in
//! `minitorch-cpu`, layers, optimizers and data in `minitorch-nn` ([`nn`]).

pub use minitorch_core::*;
pub use minitorch_cpu::Cpu;
pub use minitorch_nn as nn;
#[doc(hidden)] // where #[derive(Module)] finds it
pub use minitorch_nn::module;
pub use minitorch_nn::{Module, Param};

/// All that a program of this crate usually names: `use minitorch::prelude::*;`.
pub mod prelude {
    pub use minitorch_core::{
        Backend, Conv1dOptions, Conv2dOptions, CrossEntropyOptions, DType, Error, Gradients, Indexing, PadMode,
        Pool1dOptions, Pool2dOptions, Result, Tensor, no_grad,
    };
    pub use minitorch_cpu::Cpu;
    pub use minitorch_nn::data::Dataset;
    pub use minitorch_nn::{
        Adagrad, Adam, AdamW, AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AvgPool1d,
        AvgPool2d, BatchNorm1d, BatchNorm2d, Buffer, Constant, Conv1d, Conv2d, ConvTranspose2d, Cosine, CosineRestarts,
        Dropout, Dropout2d, Elu, Ema, Embedding, ExponentialLr, Flatten, Gelu, Group, GroupNorm, Hardswish, Identity,
        Layer, LayerNorm, LeakyRelu, Linear, LogSoftmax, MaxPool1d, MaxPool2d, Module, MultiStepLr, OneCycle,
        Optimizer, Param, Plateau, ReflectionPad2d, Relu, ReplicationPad2d, RmsProp, Schedule, Sequential, Sgd,
        Sigmoid, Silu, Softmax, Softplus, StepLr, Tanh, Training, Upsample, WarmUp, ZeroPad2d, summary,
    };
}
