//! The CUDA backend: raw kernels in `kernels/*.cu`, compiled at run time for the card that is there.
//!
//! ```text
//! lib.rs        impl Backend, each method one line into its room
//! device.rs     Cuda, the device: reports, launches        memory.rs   Storage, and the list of freed buffers
//! failure.rs    what failed, and was not reported yet
//! driver.rs     what is asked of the machine below         params.rs   the structs that kernels take
//! card.rs       a card, through CUDA's driver              emulator.rs the same kernels on the CPU, for tests
//! sources.rs compiler.rs nvrtc.rs cache.rs                 the kernels' text, machine code of it, the compiler, compiled files on disk
//! unary.rs binary.rs reduce.rs matmul.rs ...               one file per family: geometry and names; the maths is in kernels/
//! ```
//!
//! Environment variables, read when a device is opened:
//!
//! | variable | effect |
//! |---|---|
//! | `MINITORCH_NVRTC` | the file of NVRTC, or its folder |
//! | `MINITORCH_CACHE_DIR` | the folder of compiled kernels |
//! | `MINITORCH_SYNC=1` | waits after every kernel, so that a failure names the one that caused it |
//! | `MINITORCH_EXACT=1` | buffers of exactly the bytes asked for, freed where they are dropped: for `compute-sanitizer` |

mod binary;
mod cache;
mod card;
mod compare;
mod compiler;
mod conv;
mod copy;
mod device;
mod driver;
#[cfg(feature = "emulator")]
mod emulator;
mod failure;
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
mod tiling;
mod unary;

pub use compiler::KernelFile;
pub use device::Cuda;
#[cfg(feature = "emulator")]
pub use emulator::{EmulatorOptions, Order};
pub use memory::Storage;

use minitorch_core::backend::{
    Activation, ArgReduceOp, BinaryOp, BinaryOps, CompareOp, CompareOps, Conv2dGrad, ConvOps, CopyOps, Device,
    IndexOps, LinearGrad, LossOps, MatmulOps, MemoryStats, NormOps, OptimOps, PoolOps, RandomOp, RandomOps, ReduceOp,
    ReduceOps, ScanOps, ScatterOp, SoftmaxOps, SortOps, StepRule, StepSlot, UnaryOp, UnaryOps, ViewOf,
};
use minitorch_core::ops::norm::NormOptions;
use minitorch_core::random::{DeviceRng, Draw};
use minitorch_core::{Conv2dOptions, DType, Error, HostData, HostSlice, Layout, Pool2dOptions, Result};

/// A tensor on a CUDA device.
type Tensor = minitorch_core::Tensor<Cuda>;

impl Device for Cuda {
    type Storage = Storage;

    fn supports(&self, dtype: DType) -> bool {
        dtype != DType::F16
    }

    fn rng(&self) -> &DeviceRng {
        self.0.rng()
    }

    fn memory(&self) -> MemoryStats {
        self.0.memory()
    }

    fn reset_peak_memory(&self) {
        self.0.reset_peak();
    }

    fn synchronize(&self) -> Result<()> {
        self.0.report()
    }

    fn queue_error(&self, error: Error) {
        self.0.keep(error);
    }
}

impl CopyOps for Cuda {
    fn full(&self, dtype: DType, len: usize, value: f64) -> Result<Storage> {
        copy::full(self, dtype, len, value)
    }

    fn upload(&self, data: HostSlice<'_>) -> Result<Storage> {
        copy::upload(self, data)
    }

    fn download(&self, x: ViewOf<'_, Self>) -> Result<HostData> {
        copy::download(self, x)
    }

    fn copy(&self, x: ViewOf<'_, Self>) -> Storage {
        copy::copy(self, x)
    }

    fn write(&self, to: &mut Storage, at: &Layout, x: ViewOf<'_, Self>) {
        copy::write(self, to, at, x);
    }

    fn fill(&self, to: &mut Storage, at: &Layout, dtype: DType, value: f64) {
        copy::fill(self, to, at, dtype, value);
    }

    fn cast(&self, x: ViewOf<'_, Self>, to: DType) -> Storage {
        copy::cast(self, x, to)
    }
}

impl UnaryOps for Cuda {
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

impl BinaryOps for Cuda {
    fn binary(&self, op: BinaryOp, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Storage {
        binary::binary(self, op, a, b)
    }

    fn binary_mut(&self, op: BinaryOp, a: &mut Storage, layout: &Layout, b: ViewOf<'_, Self>) {
        binary::binary_mut(self, op, a, layout, b);
    }
}

impl CompareOps for Cuda {
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

impl ReduceOps for Cuda {
    fn reduce(&self, op: ReduceOp, x: ViewOf<'_, Self>, dims: &[usize]) -> Storage {
        reduce::reduce(self, op, x, dims)
    }

    fn arg_reduce(&self, op: ArgReduceOp, x: ViewOf<'_, Self>, dim: usize) -> Storage {
        reduce::arg_reduce(self, op, x, dim)
    }
}

impl MatmulOps for Cuda {
    fn matmul(&self, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Storage {
        matmul::matmul(self, a, b)
    }

    fn linear(&self, x: &Tensor, w: &Tensor, bias: Option<&Tensor>, activation: Option<Activation>) -> Tensor {
        matmul::linear(x, w, bias, activation)
    }

    fn linear_grad(&self, g: &LinearGrad<'_, Self>) -> [Option<Tensor>; 3] {
        matmul::linear_grad(g)
    }
}

impl IndexOps for Cuda {
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
        index::scatter(self, op, to, layout, dim, index, x);
    }
}

impl RandomOps for Cuda {
    fn random(&self, op: RandomOp, dtype: DType, len: usize, draw: Draw) -> Storage {
        random::random(self, op, dtype, len, draw)
    }

    fn dropout(&self, x: &Tensor, p: f64, draw: Draw) -> Tensor {
        random::dropout(x, p, draw)
    }
}

impl ConvOps for Cuda {
    fn conv2d(
        &self,
        x: &Tensor,
        w: &Tensor,
        bias: Option<&Tensor>,
        options: &Conv2dOptions,
        activation: Option<Activation>,
    ) -> Tensor {
        conv::conv2d(x, w, bias, options, activation)
    }

    fn conv2d_grad(&self, g: &Conv2dGrad<'_, Self>) -> [Option<Tensor>; 3] {
        conv::conv2d_grad(g)
    }

    fn conv2d_grad_input(&self, g: &Tensor, w: &Tensor, size: [usize; 2], options: &Conv2dOptions) -> Tensor {
        conv::grad_input(&conv::Gradient::new(g, None), w, size, options)
    }

    fn conv2d_grad_weight(&self, x: &Tensor, g: &Tensor, kernel: [usize; 2], options: &Conv2dOptions) -> Tensor {
        conv::grad_weight(x, &conv::Gradient::new(g, None), kernel, options, false).0
    }
}

impl PoolOps for Cuda {
    fn max_pool2d(&self, x: &Tensor, options: &Pool2dOptions) -> (Tensor, Tensor) {
        pool::max_pool2d(x, options)
    }

    fn max_pool2d_grad(&self, g: &Tensor, indices: &Tensor, size: [usize; 2], options: &Pool2dOptions) -> Tensor {
        pool::max_pool2d_grad(g, indices, size, options)
    }

    fn avg_pool2d(&self, x: &Tensor, options: &Pool2dOptions) -> Tensor {
        pool::avg_pool2d(x, options)
    }

    fn avg_pool2d_grad(&self, g: &Tensor, size: [usize; 2], options: &Pool2dOptions) -> Tensor {
        pool::avg_pool2d_grad(g, size, options)
    }
}

impl SoftmaxOps for Cuda {
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

impl NormOps for Cuda {
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

    fn running_statistics(
        &self,
        running: [&Tensor; 2],
        statistics: &Tensor,
        momentum: f64,
        unbiased: f64,
    ) -> [Tensor; 2] {
        norm::running_statistics(running, statistics, momentum, unbiased)
    }
}

impl ScanOps for Cuda {
    fn cumsum(&self, x: &Tensor, dim: usize, reverse: bool) -> Tensor {
        scan::cumsum(x, dim, reverse)
    }
}

impl SortOps for Cuda {
    fn argsort(&self, x: &Tensor, dim: usize, descending: bool, k: usize) -> Tensor {
        sort::argsort(x, dim, descending, k)
    }
}

impl LossOps for Cuda {
    fn cross_entropy(&self, logits: &Tensor, target: &Tensor) -> (Tensor, Tensor) {
        loss::cross_entropy(logits, target)
    }

    fn cross_entropy_grad(&self, g: &Tensor, logits: &Tensor, target: &Tensor, statistics: &Tensor) -> Tensor {
        loss::cross_entropy_grad(g, logits, target, statistics)
    }
}

impl OptimOps for Cuda {
    fn optimizer_step(&self, rule: &StepRule, slots: &mut [StepSlot<'_, Self>], scalars: &mut Storage) {
        optim::optimizer_step(self, rule, slots, scalars);
    }
}
