//! Pooling and its gradients: sizes and entries for `shaders/pool.wgsl`. Operands are made contiguous first.

use crate::Tensor;
use crate::memory::Storage;
use crate::params::params;
use crate::shader::Shader;
use crate::stream::Bind;
use minitorch_core::{DType, Pool2dOptions};

params! {
    /// What pool.wgsl takes.
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

/// Elements of a window from which a mean is a workgroup's work.
const WIDE: usize = 512;

/// The sizes of a pooling of `[n, c, h, w]`.
struct Pooling {
    planes: usize,
    size: [usize; 2],
    out_size: [usize; 2],
    options: Pool2dOptions,
}

impl Pooling {
    fn new(planes: usize, size: [usize; 2], options: &Pool2dOptions) -> Self {
        let Some(out_size) = options.output_size(size) else {
            unreachable!("core checked that the window fits");
        };
        Pooling { planes, size, out_size, options: *options }
    }

    /// One invocation per element of `out`, or a workgroup; `indices` are bound after what is read, and begin at `index_offset`.
    fn launch(
        &self,
        entry: &'static str,
        from: &Tensor,
        out: &Storage,
        indices: Option<Bind<'_>>,
        index_offset: usize,
    ) {
        let Pooling { planes, size, out_size, options: o } = *self;
        let [rows, row] = if entry.ends_with("grad") { size } else { out_size };
        let items = planes * rows * row;
        if items == 0 {
            return;
        }
        // Windows further apart than the plane is long are one window.
        let steps = |n: [usize; 2]| n.map(|n| n.min(1 << 30) as i32);
        let params = PoolParams {
            kernel: steps(o.kernel),
            padding: steps(o.padding),
            dilation: steps(o.dilation),
            stride: steps(o.stride),
            size: steps(size),
            out_size: steps(out_size),
            items: items as u32,
            offset: from.view().layout.offset() as u32,
            index_offset: index_offset as u32,
            include_pad: o.count_include_pad as u32,
        };
        let binds: Vec<_> = [Bind::Write(out), Bind::Read(from.view().storage)].into_iter().chain(indices).collect();
        let device = from.device();
        let reach = o.kernel[0].min(size[0]).saturating_mul(o.kernel[1].min(size[1]));
        let (entry, grid) = match entry {
            "avg_pool" if reach >= WIDE => ("avg_pool_wide", device.folded(items)),
            entry => (entry, device.walk_over(items)),
        };
        // A cell of a window takes some operations, and a gradient asks as many windows at most.
        let operations = 8 * items as u64 * reach as u64;
        device.dispatch_heavy(Shader::new("pool", entry), grid, &params, &binds, operations);
    }
}

pub(crate) fn max_pool2d(x: &Tensor, options: &Pool2dOptions) -> (Tensor, Tensor) {
    let (device, dtype, [n, c, h, w]) = (x.device(), x.dtype(), x.dims());
    let pooling = Pooling::new(n * c, [h, w], options);
    let shape = [n, c, pooling.out_size[0], pooling.out_size[1]];
    let len = shape.iter().product();
    let (out, indices) = (device.alloc("max_pool2d", DType::F32, len), device.alloc("max_pool2d", DType::F32, len));
    pooling.launch("max_pool", &x.contiguous(), &out, Some(Bind::Write(&indices)), 0);
    let out = Tensor::from_storage(device, out, dtype, shape);
    (out, Tensor::from_storage(device, indices, DType::I32, shape))
}

pub(crate) fn max_pool2d_grad(g: &Tensor, indices: &Tensor, [h, w]: [usize; 2], options: &Pool2dOptions) -> Tensor {
    let (device, dtype, [n, c, ..]) = (g.device(), g.dtype(), g.dims::<4>());
    let out = device.alloc("max_pool2d_grad", DType::F32, n * c * h * w);
    let (pooling, indices) = (Pooling::new(n * c, [h, w], options), indices.contiguous());
    let view = indices.view();
    pooling.launch("max_pool_grad", &g.contiguous(), &out, Some(Bind::Read(view.storage)), view.layout.offset());
    Tensor::from_storage(device, out, dtype, [n, c, h, w])
}

pub(crate) fn avg_pool2d(x: &Tensor, options: &Pool2dOptions) -> Tensor {
    let (device, dtype, [n, c, h, w]) = (x.device(), x.dtype(), x.dims());
    let pooling = Pooling::new(n * c, [h, w], options);
    let shape = [n, c, pooling.out_size[0], pooling.out_size[1]];
    let out = device.alloc("avg_pool2d", DType::F32, shape.iter().product());
    pooling.launch("avg_pool", &x.contiguous(), &out, None, 0);
    Tensor::from_storage(device, out, dtype, shape)
}

pub(crate) fn avg_pool2d_grad(g: &Tensor, [h, w]: [usize; 2], options: &Pool2dOptions) -> Tensor {
    let (device, dtype, [n, c, ..]) = (g.device(), g.dtype(), g.dims::<4>());
    let out = device.alloc("avg_pool2d_grad", DType::F32, n * c * h * w);
    Pooling::new(n * c, [h, w], options).launch("avg_pool_grad", &g.contiguous(), &out, None, 0);
    Tensor::from_storage(device, out, dtype, [n, c, h, w])
}
