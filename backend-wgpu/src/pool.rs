//! Pooling and its gradients (`shaders/pool.wgsl`). Operands are made contiguous first.

use crate::Tensor;
use crate::device::Wgpu;
use crate::memory::Storage;
use crate::params::params;
use crate::shader::Shader;
use crate::stream::Bind;
use minitorch_core::backend::PoolOps;
use minitorch_core::{DType, Pool2dOptions};

params! {
    /// Mirrors `PoolParams` in pool.wgsl.
    PoolParams in "pool" {
        kernel: [i32; 2],
        padding: [i32; 2],
        dilation: [i32; 2],
        stride: [i32; 2],
        size: [i32; 2],
        out_size: [i32; 2],
        items: u32,
        offset: u32,
        index_offset: u32,
        include_pad: u32,
    }
}

/// Elements of a window from which a workgroup computes a mean; below, an invocation does.
const MIN_WORKGROUP: usize = 512;

/// The sizes of a pooling of `[n, c, h, w]`.
struct Pooling {
    planes: usize,
    size: [usize; 2],
    out_size: [usize; 2],
    options: Pool2dOptions,
}

impl Pooling {
    fn new(planes: usize, size: [usize; 2], options: &Pool2dOptions) -> Self {
        Pooling { planes, size, out_size: options.output(size), options: *options }
    }

    /// Runs an entry point that writes `out`; `indices` are bound last and begin at `index_offset`.
    fn launch(
        &self,
        entry: &'static str,
        from: &Tensor,
        out: &Storage,
        indices: Option<Bind<'_>>,
        index_offset: usize,
    ) {
        let Pooling { planes, size, out_size, options: o } = *self;
        let [h, w] = if entry.ends_with("grad") { size } else { out_size };
        let items = planes * h * w;
        if items == 0 {
            return;
        }
        // A distance beyond any plane's size is cut to an i32: it skips the plane all the same.
        let clamped = |n: [usize; 2]| n.map(|n| n.min(1 << 30) as i32);
        let params = PoolParams {
            kernel: clamped(o.kernel),
            padding: clamped(o.padding),
            dilation: clamped(o.dilation),
            stride: clamped(o.stride),
            size: clamped(size),
            out_size: clamped(out_size),
            items: items as u32,
            offset: from.view().layout.offset() as u32,
            index_offset: index_offset as u32,
            include_pad: o.count_include_pad as u32,
        };
        let binds: Vec<_> = [Bind::Write(out), Bind::Read(from.view().storage)].into_iter().chain(indices).collect();
        let device = from.device();
        let window = o.kernel[0].min(size[0]).saturating_mul(o.kernel[1].min(size[1]));
        let (entry, grid) = match entry {
            "avg_pool" if window >= MIN_WORKGROUP => ("avg_pool_workgroup", device.folded(items)),
            entry => (entry, device.grid_over(items)),
        };
        // Some operations per element of a window; a gradient visits as many windows per element, at most.
        let operations = 8 * items as u64 * window as u64;
        device.dispatch_heavy(Shader::new("pool", entry), grid, &params, &binds, operations);
    }
}

impl PoolOps for Wgpu {
    fn max_pool2d(&self, x: &Tensor, options: &Pool2dOptions) -> (Tensor, Tensor) {
        let (dtype, [n, c, h, w]) = (x.dtype(), x.dims());
        let pooling = Pooling::new(n * c, [h, w], options);
        let shape = [n, c, pooling.out_size[0], pooling.out_size[1]];
        let len = shape.iter().product();
        let (out, indices) = (self.alloc("max_pool2d", DType::F32, len), self.alloc("max_pool2d", DType::F32, len));
        pooling.launch("max_pool", &x.contiguous(), &out, Some(Bind::Write(&indices)), 0);
        let out = Tensor::from_storage(self, out, dtype, shape);
        (out, Tensor::from_storage(self, indices, DType::I32, shape))
    }

    fn max_pool2d_grad(&self, g: &Tensor, indices: &Tensor, [h, w]: [usize; 2], options: &Pool2dOptions) -> Tensor {
        let (dtype, [n, c, ..]) = (g.dtype(), g.dims::<4>());
        let out = self.alloc("max_pool2d_grad", DType::F32, n * c * h * w);
        let (pooling, indices) = (Pooling::new(n * c, [h, w], options), indices.contiguous());
        let view = indices.view();
        pooling.launch("max_pool_grad", &g.contiguous(), &out, Some(Bind::Read(view.storage)), view.layout.offset());
        Tensor::from_storage(self, out, dtype, [n, c, h, w])
    }

    fn avg_pool2d(&self, x: &Tensor, options: &Pool2dOptions) -> Tensor {
        let (dtype, [n, c, h, w]) = (x.dtype(), x.dims());
        let pooling = Pooling::new(n * c, [h, w], options);
        let shape = [n, c, pooling.out_size[0], pooling.out_size[1]];
        let out = self.alloc("avg_pool2d", DType::F32, shape.iter().product());
        pooling.launch("avg_pool", &x.contiguous(), &out, None, 0);
        Tensor::from_storage(self, out, dtype, shape)
    }

    fn avg_pool2d_grad(&self, g: &Tensor, [h, w]: [usize; 2], options: &Pool2dOptions) -> Tensor {
        let (dtype, [n, c, ..]) = (g.dtype(), g.dims::<4>());
        let out = self.alloc("avg_pool2d_grad", DType::F32, n * c * h * w);
        Pooling::new(n * c, [h, w], options).launch("avg_pool_grad", &g.contiguous(), &out, None, 0);
        Tensor::from_storage(self, out, dtype, [n, c, h, w])
    }
}
