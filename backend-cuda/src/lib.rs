//! The CUDA backend: kernels in `kernels/*.cu`, compiled at run time by NVRTC for the GPU at hand.
//!
//! ```text
//! device.rs       Cuda, the handle: impl Device, allocation, names of kernels
//! state.rs        what all handles of a device share: driver, queued error, cached buffers, launches
//! memory.rs       Storage, a buffer; out of memory
//! driver.rs       the interface to a device, with two implementations:
//!   gpu.rs          a GPU, through CUDA's driver API
//!   emulator.rs     the same kernels on the CPU, for tests
//! compiler.rs     compiles the kernels' source (sources.rs) by NVRTC (nvrtc.rs), or loads it from the cache on disk (cache.rs)
//! params.rs       the structs that kernels take
//! grid.rs         launch geometry;  tiling.rs  tiles and splits of matrix products;  elementwise.rs  element-wise launches
//! unary.rs, ...   one file per family of operations, named as in core: it implements the family's trait by launching the kernels
//!                 of the same name
//! ```
//!
//! Environment variables, read when a device is opened:
//!
//! | variable | effect |
//! |---|---|
//! | `MINITORCH_NVRTC` | the NVRTC library, or its folder |
//! | `MINITORCH_CACHE_DIR` | the folder of compiled kernels |
//! | `MINITORCH_SYNC=1` | synchronizes after every kernel, so that an error names the kernel that caused it |
//! | `MINITORCH_EXACT=1` | buffers of exactly the requested size, freed when they are dropped: for `compute-sanitizer` |

mod binary;
mod cache;
mod compare;
mod compiler;
mod conv;
mod copy;
mod device;
mod driver;
mod elementwise;
#[cfg(feature = "emulator")]
mod emulator;
mod gpu;
mod grid;
mod index;
mod loss;
mod matmul;
mod memory;
mod norm;
#[doc(hidden)] // for tests/compile.rs
pub mod nvrtc;
mod optim;
mod params;
mod pool;
mod random;
mod reduce;
mod scan;
mod softmax;
mod sort;
mod sources;
mod state;
mod tiling;
mod unary;

pub use compiler::KernelFile;
pub use device::Cuda;
#[cfg(feature = "emulator")]
pub use emulator::{EmulatorOptions, Order};
pub use memory::Storage;

/// A tensor on a CUDA device.
type Tensor = minitorch_core::Tensor<Cuda>;
