//! The wgpu backend: hand-written WGSL on any GPU that Vulkan, Metal or Direct3D 12 reaches.
//!
//! ```text
//! context.rs    the wgpu device: adapters, options, limits, the queued error
//! memory.rs     Storage, and the caching allocator of buffers
//! shader.rs     which shader a dispatch runs, and its WGSL text
//! params.rs     the structs of parameters that Rust and WGSL share
//! stream.rs     dispatches: pipelines, bind groups, parameters, submissions      work.rs   how much one submission holds
//! device.rs     Wgpu, the handle: allocation, grids, impl Device
//! split.rs      tensors that are larger than one binding                         map.rs    element-wise dispatches
//! copy.rs unary.rs binary.rs compare.rs reduce.rs ...    one file per family: geometry; the arithmetic is in shaders/
//! ```
//!
//! A file uses those above it. Elements have 32 bits, and 16 for F16, where the adapter supports it. There is no F64, as WGSL has
//! none.

mod binary;
mod compare;
mod context;
mod conv;
mod copy;
mod device;
mod index;
mod loss;
mod map;
mod matmul;
mod memory;
mod norm;
mod optim;
mod params;
mod pool;
mod random;
mod reduce;
mod scan;
mod shader;
mod softmax;
mod sort;
mod split;
mod stream;
mod unary;
mod work;

pub use context::{Adapter, Options};
pub use device::Wgpu;
pub use memory::Storage;

/// A tensor on a wgpu device.
type Tensor = minitorch_core::Tensor<Wgpu>;
