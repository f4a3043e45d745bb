//! The CPU backend: vectorised loops on rayon's threads, and a packed matrix product.
//!
//! ```text
//! device.rs       Cpu: random state, error queue, out of memory        settings.rs     environment variables
//! memory.rs       Storage, AlignedBuffer, the cache of freed memory
//! element.rs      element types and dispatch on dtype                  approx.rs erf.rs   elementary functions
//! view.rs         strided operands, iteration by rows                  fold.rs lanes.rs   accumulators of reductions
//! parallel.rs     loops on several threads                             simd.rs         instruction sets, selected at run time
//! elementwise.rs  out[i] = f(a[i], b[i], ..)                           launch.rs       reports of launched loops
//! unary.rs binary.rs compare.rs reduce.rs ..                           one file per family, named as in core/src/ops
//! kernels/        products, convolutions and pools, on slices
//! ```
//!
//! Results are bit-identical for any number of threads. They differ between instruction sets, some of which have no fused
//! multiply-add.
//!
//! `MINITORCH_NUM_THREADS` sizes rayon's global pool, which the backend uses unless it is called inside
//! `rayon::ThreadPool::install`. Empty or 0 means rayon's default; the limit is 64 threads or 4 per core, whichever is more.
//! `MINITORCH_ISA` caps the instruction set. An invalid value is reported once on stderr and ignored.

mod approx;
mod binary;
mod caches;
mod compare;
mod conv;
mod copy;
mod device;
mod element;
mod elementwise;
mod erf;
mod fold;
mod index;
#[allow(unreachable_pub, missing_docs, reason = "a library of its own; the crate decides what it exports")]
mod kernels;
mod lanes;
mod launch;
mod loss;
mod matmul;
mod memory;
mod norm;
mod optim;
mod parallel;
mod pool;
mod random;
mod reduce;
mod scan;
mod settings;
#[allow(unreachable_pub, missing_docs, reason = "as `kernels`")]
mod simd;
mod softmax;
mod sort;
mod unary;
mod view;

pub use device::Cpu;
pub use memory::{AlignedBuffer, Storage};

/// A tensor on the CPU.
type Tensor = minitorch_core::Tensor<Cpu>;
