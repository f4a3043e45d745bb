//! The wgpu backend: hand-written WGSL on whatever GPU Vulkan, Metal or Direct3D 12 reaches.
//!
//! ```text
//! lib.rs        impl Backend, each method one line into its room
//! device.rs     Wgpu, the device: adapters, failures       memory.rs   Storage, and the list of freed buffers
//! stream.rs     dispatches: pipelines, bind groups, the ring of parameters, submits
//! work.rs       how much is submitted at once
//! split.rs      tensors that are larger than one binding
//! shader.rs     which shader is run                        sources.rs  the shaders' text
//! params.rs     the structs that shaders take
//! unary.rs binary.rs reduce.rs matmul.rs ...               one file per family: geometry and entries; the maths is in shaders/
//! ```
//!
//! Elements take 32 bits; there is F16 where the adapter has it, and no F64: WGSL has none.

mod binary;
mod compare;
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
mod sources;
mod split;
mod stream;
mod unary;
mod work;

pub use device::{Adapter, Options, Wgpu};
pub use memory::Storage;

use minitorch_core::backend::{
    Activation, ArgReduceOp, BinaryOp, BinaryOps, CompareOp, CompareOps, ConvOps, CopyOps, Device, IndexOps, LossOps,
    MatmulOps, MemoryStats, NormOps, OptimOps, PoolOps, RandomOp, RandomOps, ReduceOp, ReduceOps, ScanOps, ScatterOp,
    SoftmaxOps, SortOps, StepRule, StepSlot, UnaryOp, UnaryOps, ViewOf,
};
use minitorch_core::ops::norm::NormOptions;
use minitorch_core::random::{DeviceRng, Draw};
use minitorch_core::{Conv2dOptions, DType, Error, HostData, HostSlice, Layout, Pool2dOptions, Result};

/// A tensor on a wgpu device.
type Tensor = minitorch_core::Tensor<Wgpu>;

impl Device for Wgpu {
    type Storage = Storage;

    fn supports(&self, dtype: DType) -> bool {
        match dtype {
            DType::F16 => self.0.device.features().contains(wgpu::Features::SHADER_F16),
            DType::F64 => false,
            _ => true,
        }
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

impl CopyOps for Wgpu {
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

impl UnaryOps for Wgpu {
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

impl BinaryOps for Wgpu {
    fn binary(&self, op: BinaryOp, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Storage {
        binary::binary(self, op, a, b)
    }

    fn binary_mut(&self, op: BinaryOp, a: &mut Storage, layout: &Layout, b: ViewOf<'_, Self>) {
        binary::binary_mut(self, op, a, layout, b);
    }
}

impl CompareOps for Wgpu {
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

impl ReduceOps for Wgpu {
    fn reduce(&self, op: ReduceOp, x: ViewOf<'_, Self>, dims: &[usize]) -> Storage {
        reduce::reduce(self, op, x, dims)
    }

    fn arg_reduce(&self, op: ArgReduceOp, x: ViewOf<'_, Self>, dim: usize) -> Storage {
        reduce::arg_reduce(self, op, x, dim)
    }
}

impl MatmulOps for Wgpu {
    fn matmul(&self, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Storage {
        matmul::matmul(self, a, b)
    }

    fn linear(&self, x: &Tensor, w: &Tensor, bias: Option<&Tensor>, activation: Option<Activation>) -> Tensor {
        matmul::linear(x, w, bias, activation)
    }
}

impl IndexOps for Wgpu {
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

impl RandomOps for Wgpu {
    fn random(&self, op: RandomOp, dtype: DType, len: usize, draw: Draw) -> Storage {
        random::random(self, op, dtype, len, draw)
    }

    fn dropout(&self, x: &Tensor, p: f64, draw: Draw) -> Tensor {
        random::dropout(x, p, draw)
    }
}

impl ConvOps for Wgpu {
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

    fn conv2d_grad_input(&self, g: &Tensor, w: &Tensor, size: [usize; 2], options: &Conv2dOptions) -> Tensor {
        conv::grad_input(g, w, size, options)
    }

    fn conv2d_grad_weight(&self, x: &Tensor, g: &Tensor, kernel: [usize; 2], options: &Conv2dOptions) -> Tensor {
        conv::grad_weight(x, g, kernel, options)
    }
}

impl PoolOps for Wgpu {
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

impl SoftmaxOps for Wgpu {
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

impl NormOps for Wgpu {
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

impl ScanOps for Wgpu {
    fn cumsum(&self, x: &Tensor, dim: usize, reverse: bool) -> Tensor {
        scan::cumsum(x, dim, reverse)
    }
}

impl SortOps for Wgpu {
    fn argsort(&self, x: &Tensor, dim: usize, descending: bool, k: usize) -> Tensor {
        sort::argsort(x, dim, descending, k)
    }
}

impl LossOps for Wgpu {
    fn cross_entropy(&self, logits: &Tensor, target: &Tensor) -> (Tensor, Tensor) {
        loss::cross_entropy(logits, target)
    }

    fn cross_entropy_grad(&self, g: &Tensor, logits: &Tensor, target: &Tensor, statistics: &Tensor) -> Tensor {
        loss::cross_entropy_grad(g, logits, target, statistics)
    }
}

impl OptimOps for Wgpu {
    fn optimizer_step(&self, rule: &StepRule, slots: &mut [StepSlot<'_, Self>], scalars: &mut Storage) {
        optim::optimizer_step(self, rule, slots, scalars);
    }
}
