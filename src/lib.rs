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
//! # A complete training loop
//!
//! ```
//! use minitorch::prelude::*;
//!
//! # fn main() -> Result<()> {
//! let device = Cpu::default();
//! device.rng().seed(7);
//! let mut model = Sequential::new()
//!     .push(Conv2d::new(1, 4, 3, &device))
//!     .push(BatchNorm2d::new(4, &device))
//!     .push(Relu)
//!     .push(Flatten)
//!     .push(Linear::new(4 * 6 * 6, 3, &device));
//! println!("{}", summary(&model, |model| model.forward(&Tensor::zeros([1, 1, 8, 8], &device))));
//!
//! // Norms and biases are not decayed; the rate warms up for ten steps, then follows a cosine.
//! let bare = |_: &str, param: &Tensor<Cpu>| param.rank() == 1;
//! let mut optimizer = AdamW::new(1e-3).weight_decay(0.05).group(bare, Group::new().weight_decay(0.0));
//! let schedule = WarmUp::new(10, 0.1, Cosine::new(1e-3, 100));
//! let mut averages = Ema::new(&model, 0.99);
//! let options = CrossEntropyOptions::default().label_smoothing(0.1);
//!
//! for step in 0..20 {
//!     optimizer.set_lr(schedule.lr(step));
//!     let mut grads = Gradients::default();
//!     for _ in 0..2 {
//!         // two micro-batches of one step
//!         let (images, labels) = (Tensor::randn([8, 1, 8, 8], &device), Tensor::arange(0..8, &device).remainder(3));
//!         let loss = model.forward(&images).cross_entropy_with(&labels, &options) / 2.0;
//!         grads += loss.backward();
//!     }
//!     let (grads, _norm) = grads.clip_norm(1.0);
//!     optimizer.step(&mut model, &grads);
//!     averages.update(&model);
//! }
//!
//! averages.swap(&mut model); // evaluate the averaged weights
//! model.eval();
//! let scores = no_grad(|| model.forward(&Tensor::zeros([5, 1, 8, 8], &device)));
//! let (_, best) = scores.topk(2, 1, true);
//! assert_eq!(best.dims(), [5, 2]);
//! # let folder = std::env::temp_dir();
//! # let path = |name: &str| folder.join(format!("minitorch-doc-{}-{name}.safetensors", std::process::id()));
//! model.save(path("model"))?;
//! optimizer.save(&model, path("optimizer"))?; // to resume later
//! # std::fs::remove_file(path("model")).and_then(|()| std::fs::remove_file(path("optimizer"))).ok();
//! # Ok(())
//! # }
//! ```
//!
//! This crate only re-exports: [`Tensor`] and the [`Backend`] trait are in `minitorch-core`, the [`Cpu`] backend in
//! `minitorch-cpu`, `Cuda` (feature `cuda`) in `minitorch-cuda`, `Wgpu` (feature `wgpu`) in `minitorch-wgpu`, and
//! layers, optimizers and data in `minitorch-nn` ([`nn`]).

pub use minitorch_core::*;
pub use minitorch_cpu::Cpu;
#[cfg(feature = "cuda")]
pub use minitorch_cuda::{self as cuda, Cuda};
pub use minitorch_nn as nn;
#[doc(hidden)] // for the code that derive(Module) generates
pub use minitorch_nn::module;
pub use minitorch_nn::{Module, Param};
#[cfg(feature = "wgpu")]
pub use minitorch_wgpu::{self as wgpu, Wgpu};

/// The names that most programs use: `use minitorch::prelude::*;`.
pub mod prelude {
    pub use minitorch_core::{
        Activation, Backend, Conv1dOptions, Conv2dOptions, CrossEntropyOptions, DType, Device, Error, Function,
        Gradients, Graph, Indexing, PadMode, Pool1dOptions, Pool2dOptions, Result, Scalar, Shape, Tensor,
        central_difference, custom, derivative_check, gradcheck, no_grad, random::Draw,
    };
    pub use minitorch_cpu::Cpu;
    #[cfg(feature = "cuda")]
    pub use minitorch_cuda::Cuda;
    pub use minitorch_nn::data::{Dataset, FnDataset, Loader, Sampler, Split, TensorDataset, mnist};
    pub use minitorch_nn::state::{StateDict, Strict};
    pub use minitorch_nn::{
        Adagrad, Adam, AdamW, AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AvgPool1d,
        AvgPool2d, BatchNorm1d, BatchNorm2d, Buffer, Constant, Conv1d, Conv2d, ConvTranspose2d, Cosine, CosineRestarts,
        Dropout, Dropout2d, Elu, Ema, Embedding, ExponentialLr, Flatten, Gelu, Group, GroupNorm, Hardswish, Identity,
        Layer, LayerNorm, LeakyRelu, Linear, Lion, LogSoftmax, MaxPool1d, MaxPool2d, Module, MultiStepLr, NAdam,
        OneCycle, Optimizer, Param, Plateau, RAdam, ReflectionPad2d, Relu, ReplicationPad2d, RmsProp, Schedule,
        Sequential, Sgd, Sigmoid, Silu, Softmax, Softplus, StepLr, Tanh, Training, Upsample, WarmUp, ZeroPad2d,
        summary,
    };
    #[cfg(feature = "wgpu")]
    pub use minitorch_wgpu::Wgpu;
}

/// The programs in docs, run as documentation tests.
#[cfg(doctest)]
mod guide {
    macro_rules! pages {
        ($($page:ident $file:literal)*) => { $(#[doc = include_str!(concat!("../docs/guide/", $file))] mod $page {})* };
    }
    pages! {
        from_pytorch "from-pytorch.md"
        your_own_program "your-own-program.md"
        save_and_load "save-and-load.md"
        dataset "dataset.md"
        operation "operation.md"
        serving "serving.md"
        debugging "debugging.md"
        diagnose "../diagnose.md"
        sentiment "../sentiment.md"
    }
}
