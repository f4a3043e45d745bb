//! The core of minitorch: [`Tensor`], generic over a [`Backend`] chosen at compile time; the contract that a backend implements;
//! and automatic differentiation, written once for scalars and tensors.
//!
//! Core names no backend, has no threads and no `unsafe`.
//!
//! Core computes no tensor element on the host, with these exceptions. Creation, so that every backend starts from the same
//! numbers:
//!
//! * [`randn`](Tensor::randn) and [`randperm`](Tensor::randperm);
//! * [`arange`](Tensor::arange), [`arange_step`](Tensor::arange_step), [`linspace`](Tensor::linspace), and
//!   [`from_f64`](Tensor::from_f64), which rounds to the dtype.
//!
//! Index tables, of the length of one dimension: [`flip`](Tensor::flip), [`pad_with`](Tensor::pad_with),
//! [`interpolate_nearest`](Tensor::interpolate_nearest), [`interpolate_bilinear`](Tensor::interpolate_bilinear) (which has a
//! table of shares too) and adaptive pooling ([`adaptive_avg_pool2d`](Tensor::adaptive_avg_pool2d) and its relatives).
//!
//! Diagnosis, of elements that it has read back: `Display`, [`explain`](Tensor::explain), the values in a [`Graph`], and
//! [`gradcheck`].
//!
//! [`Scalar`] is a number of the host and needs no device.

#![forbid(unsafe_code)]

// First, because its macros are in scope of the modules after it.
#[macro_use]
pub mod context;

pub mod autodiff;
pub mod backend;
mod caller;
mod create;
mod display;
mod dtype;
mod error;
mod explain;
mod function;
mod gradcheck;
mod graph;
mod index;
pub mod launch;
mod layout;
mod operand;
pub mod ops;
pub mod random;
mod scalar;
mod shape;
mod tensor;

pub use autodiff::{Gradients, no_grad, recording};
pub use backend::{Backend, Device};
pub use create::Literal;
pub use dtype::{DType, Element, HostData, HostSlice};
pub use error::{Error, Result};
pub use explain::Explanation;
pub use function::{Function, custom};
pub use gradcheck::{GradCheck, central_difference, derivative_check, gradcheck};
pub use graph::{Graph, GraphNode};
pub use half::f16;
pub use index::{Axis, AxisIndex, DimSet, Dims, Int, IntList, PerDim, SliceArg};
pub use launch::{Launch, launches};
pub use layout::{Layout, Positions};
pub use operand::{Number, Operand, Rhs};
pub use ops::arrange::{Indexing, PadMode};
pub use ops::conv::{Conv1dOptions, Conv2dOptions, ConvOptions};
pub use ops::index::RowGradient;
pub use ops::loss::{CrossEntropyOptions, Reduction};
pub use ops::matmul::Activation;
pub use ops::pool::{Pool1dOptions, Pool2dOptions, PoolOptions};
pub use scalar::{Scalar, ScalarOperand, ScalarSpec};
pub use shape::{MAX_RANK, Shape};
pub use tensor::{Placement, Tensor, TensorSpec};
