//! The CPU backend: vectorised loops over rayon's threads, and a packed matrix product.
//!
//! ```text
//! lib.rs        Cpu, the device; impl Backend, each method one line into its room
//! memory.rs     Storage, and the cache of buffers behind it
//! element.rs    the four element types          parallel.rs   when to use threads
//! map.rs        the element-wise engine         simd.rs       one body, every vector unit
//! unary.rs binary.rs compare.rs reduce.rs ...   one file per family, named as in core/src/ops
//! kernels/      the products, convolutions and pools, on slices
//! ```
//!
//! Bits depend on the machine's vector unit (fused multiply-add or not), never on the number of threads.
//! `MINITORCH_NUM_THREADS` sizes rayon's global pool, which the backend uses unless it is called inside
//! `rayon::ThreadPool::install`; empty or 0 means rayon's own number, and more than 64 threads, or 4 for each core if that is
//! more, are cut to that. `MINITORCH_ISA` caps the vector unit. What makes no sense is told once on stderr and ignored.

mod approx;
mod binary;
mod caches;
mod compare;
mod conv;
mod copy;
mod device;
mod element;
mod erf;
mod index;
#[allow(unreachable_pub, missing_docs, reason = "a room of its own; the crate decides what leaves it")]
mod kernels;
mod launch;
mod loss;
mod map;
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

pub use device::Cpu;
pub use memory::{Buffer, Storage};

use minitorch_core::backend::{
    ArgReduceOp, BinaryOp, BinaryOps, CompareOp, CompareOps, CopyOps, Device, IndexOps, LossOps, MemoryStats, NormOps,
    OptimOps, RandomOp, RandomOps, ReduceOp, ReduceOps, ScanOps, ScatterOp, SoftmaxOps, SortOps, StepRule, StepSlot,
    UnaryOp, UnaryOps, ViewOf,
};
use minitorch_core::ops::norm::NormOptions;
use minitorch_core::random::{DeviceRng, Draw};
use minitorch_core::{DType, Error, HostData, HostSlice, Layout, Result};

/// A tensor on the CPU.
type Tensor = minitorch_core::Tensor<Cpu>;

impl Device for Cpu {
    type Storage = Storage;

    fn supports(&self, dtype: DType) -> bool {
        dtype != DType::F16
    }

    fn rng(&self) -> &DeviceRng {
        self.random_state()
    }

    fn memory(&self) -> MemoryStats {
        memory::stats()
    }

    fn reset_peak_memory(&self) {
        memory::reset_peak();
    }

    fn synchronize(&self) -> Result<()> {
        self.report()
    }

    fn queue_error(&self, error: Error) {
        self.fail(error);
    }
}

impl CopyOps for Cpu {
    fn full(&self, dtype: DType, len: usize, value: f64) -> Result<Storage> {
        copy::full(self, dtype, len, value)
    }

    fn upload(&self, data: HostSlice<'_>) -> Result<Storage> {
        copy::upload(self, data)
    }

    fn download(&self, x: ViewOf<'_, Self>) -> Result<HostData> {
        self.report()?;
        copy::download(self, x)
    }

    fn copy(&self, x: ViewOf<'_, Self>) -> Storage {
        copy::copy(self, x)
    }

    fn write(&self, to: &mut Storage, at: &Layout, x: ViewOf<'_, Self>) {
        copy::write(to, at, x);
    }

    fn fill(&self, to: &mut Storage, at: &Layout, dtype: DType, value: f64) {
        copy::fill(to, at, dtype, value);
    }

    fn cast(&self, x: ViewOf<'_, Self>, to: DType) -> Storage {
        copy::cast(self, x, to)
    }
}

impl UnaryOps for Cpu {
    fn unary(&self, op: UnaryOp, x: ViewOf<'_, Self>) -> Storage {
        unary::unary(self, op, x)
    }

    fn unary_mut(&self, op: UnaryOp, x: &mut Storage, layout: &Layout, dtype: DType) {
        unary::unary_mut(self, op, x, layout, dtype);
    }

    fn unary_grad(&self, op: UnaryOp, saved: &Tensor, g: &Tensor) -> Tensor {
        unary::unary_grad(op, saved, g)
    }
}

impl BinaryOps for Cpu {
    fn binary(&self, op: BinaryOp, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Storage {
        binary::binary(self, op, a, b)
    }

    fn binary_mut(&self, op: BinaryOp, a: &mut Storage, layout: &Layout, b: ViewOf<'_, Self>) {
        binary::binary_mut(self, op, a, layout, b);
    }
}

impl CompareOps for Cpu {
    fn compare(&self, op: CompareOp, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Storage {
        compare::compare(self, op, a, b)
    }

    fn compare_scalar(&self, op: CompareOp, a: ViewOf<'_, Self>, b: f64) -> Storage {
        compare::compare_scalar(self, op, a, b)
    }

    fn where_cond(&self, condition: ViewOf<'_, Self>, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Storage {
        copy::where_cond(self, condition, a, b)
    }
}

impl ReduceOps for Cpu {
    fn reduce(&self, op: ReduceOp, x: ViewOf<'_, Self>, dims: &[usize]) -> Storage {
        reduce::reduce(self, op, x, dims)
    }

    fn arg_reduce(&self, op: ArgReduceOp, x: ViewOf<'_, Self>, dim: usize) -> Storage {
        reduce::arg_reduce(self, op, x, dim)
    }
}

impl IndexOps for Cpu {
    fn gather(&self, x: ViewOf<'_, Self>, dim: usize, index: ViewOf<'_, Self>) -> Storage {
        index::gather(self, x, dim, index)
    }

    fn scatter(
        &self,
        op: ScatterOp,
        to: &mut Storage,
        layout: &Layout,
        dim: usize,
        index: ViewOf<'_, Self>,
        x: ViewOf<'_, Self>,
    ) {
        match op {
            ScatterOp::Add => index::scatter::<true>(self, to, layout, dim, index, x),
            ScatterOp::Set => index::scatter::<false>(self, to, layout, dim, index, x),
        }
    }
}

impl RandomOps for Cpu {
    fn random(&self, op: RandomOp, dtype: DType, len: usize, draw: Draw) -> Storage {
        random::random(self, op, dtype, len, draw)
    }

    fn dropout(&self, x: &Tensor, p: f64, draw: Draw) -> Tensor {
        random::dropout(x, p, draw)
    }
}

impl SoftmaxOps for Cpu {
    fn softmax(&self, x: &Tensor, dim: usize) -> Tensor {
        softmax::softmax(x, dim)
    }

    fn softmax_grad(&self, y: &Tensor, g: &Tensor, dim: usize) -> Tensor {
        softmax::softmax_grad(y, g, dim)
    }

    fn log_softmax(&self, x: &Tensor, dim: usize) -> Tensor {
        softmax::log_softmax(x, dim)
    }

    fn log_softmax_grad(&self, y: &Tensor, g: &Tensor, dim: usize) -> Tensor {
        softmax::log_softmax_grad(y, g, dim)
    }
}

impl NormOps for Cpu {
    fn normalize(&self, x: &Tensor, w: Option<&Tensor>, b: Option<&Tensor>, options: &NormOptions) -> [Tensor; 2] {
        norm::normalize(x, w, b, options)
    }

    fn normalize_by(
        &self,
        x: &Tensor,
        w: Option<&Tensor>,
        b: Option<&Tensor>,
        statistics: &Tensor,
        options: &NormOptions,
    ) -> Tensor {
        norm::normalize_by(x, w, b, statistics, options)
    }

    fn normalize_grad(
        &self,
        g: &Tensor,
        x: &Tensor,
        w: Option<&Tensor>,
        statistics: &Tensor,
        options: &NormOptions,
    ) -> (Tensor, Option<[Tensor; 2]>) {
        norm::normalize_grad(g, x, w, statistics, options)
    }
}

impl ScanOps for Cpu {
    fn cumsum(&self, x: &Tensor, dim: usize, reverse: bool) -> Tensor {
        scan::cumsum(x, dim, reverse)
    }
}

impl SortOps for Cpu {
    fn argsort(&self, x: &Tensor, dim: usize, descending: bool, k: usize) -> Tensor {
        sort::argsort(x, dim, descending, k)
    }
}

impl LossOps for Cpu {
    fn cross_entropy(&self, logits: &Tensor, target: &Tensor) -> (Tensor, Tensor) {
        loss::cross_entropy(logits, target)
    }

    fn cross_entropy_grad(&self, g: &Tensor, logits: &Tensor, target: &Tensor, statistics: &Tensor) -> Tensor {
        loss::cross_entropy_grad(g, logits, target, statistics)
    }
}

impl OptimOps for Cpu {
    fn optimizer_step(&self, rule: &StepRule, slots: &mut [StepSlot<'_, Self>], scalars: &mut Storage) {
        optim::optimizer_step(self, rule, slots, scalars);
    }
}
