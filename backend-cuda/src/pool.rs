//! Pooling and its gradients (`kernels/pool.cu`). Operands are made contiguous first.

use crate::Tensor;
use crate::device::{Cuda, name, suffix};
use crate::driver::Address;
use crate::grid::{THREADS, WARP};
use crate::memory::{Storage, data};
use crate::params::{Divisor, params};
use minitorch_core::backend::PoolOps;
use minitorch_core::{DType, Pool2dOptions};

params! {
    /// The parameters of the kernels of pool.cu.
    PoolParams in "pool.cu" {
        r#in: Address,
        out: Address,
        indices: Address,
        items: u64,
        plane: Divisor,
        row: Divisor,
        wide: u32,
        h: i32,
        w: i32,
        oh: i32,
        ow: i32,
        kernel: [i32; 2],
        padding: [i32; 2],
        dilation: [i32; 2],
        stride: [Divisor; 2],
        include_pad: u32,
    }
}

/// The least width of a window that is given to a warp.
const WIDE: usize = 16;

/// The passes, which differ in what an item of the launch is.
#[derive(Clone, Copy, PartialEq)]
enum Pass {
    Forward,
    Gradient,
}

/// The sizes of a pooling of `[n, c, h, w]`.
struct Pooling {
    planes: usize,
    size: [usize; 2],
    out: [usize; 2],
    options: Pool2dOptions,
}

impl Pooling {
    fn new(planes: usize, size: [usize; 2], options: &Pool2dOptions) -> Self {
        let out = options.output(size);
        // The kernels' coordinates have 31 bits.
        assert!(
            size.iter().chain(&options.kernel).chain(&options.padding).all(|&n| n < 1 << 29),
            "pooling: {options:?} of {size:?} reaches beyond the 2^29 rows and columns that the CUDA backend's kernels count"
        );
        let (mut size, mut options) = (size, *options);
        // A window that covers the whole plane is a window over one row.
        if options.kernel == size && options.padding == [0; 2] && options.dilation == [1; 2] {
            size = [1, size[0] * size[1]];
            options.kernel = size;
        }
        Pooling { planes, size, out, options }
    }

    /// Whether the windows are 2 x 2 with stride 2 and cover all columns; for a gradient, all cells.
    fn is_halving(&self, pass: Pass, dtype: DType, x: Address) -> bool {
        let Pooling { size: [h, w], out: [oh, ow], options: o, .. } = self;
        let exact = *w == 2 * ow && (pass == Pass::Forward || *h == 2 * oh);
        let windows = o.kernel == [2, 2] && o.stride == [2, 2] && o.padding == [0, 0] && o.dilation == [1, 1];
        windows && exact && x.is_multiple_of(2 * dtype.size() as u64)
    }

    fn launch(&self, kind: &str, pass: Pass, dtype: DType, x: &Tensor, out: &Storage, indices: Address) {
        let Pooling { planes, size: [h, w], out: [oh, ow], options: o } = *self;
        let device = x.device();
        let input = data(x);
        let paired = match pass {
            Pass::Forward => input,
            Pass::Gradient => out.address(),
        };
        let halving = self.is_halving(pass, dtype, paired);
        let wide = pass == Pass::Forward && o.kernel[1] >= WIDE;
        // Items are windows, or cells of the input for a gradient that is not `halving`.
        let [rows, row] = if pass == Pass::Forward || halving { [oh, ow] } else { [h, w] };
        let items = planes * rows * row;
        if items == 0 {
            return;
        }
        // A step beyond the plane has the effect of any other: there is one window, or one cell within the plane.
        let clamped = |n: usize| n.min(1 << 30);
        let params = PoolParams {
            r#in: input,
            out: out.address(),
            indices,
            items: items as u64,
            plane: Divisor::new(rows * row),
            row: Divisor::new(row),
            wide: (items >= 1 << 31) as u32,
            h: h as i32,
            w: w as i32,
            oh: oh as i32,
            ow: ow as i32,
            kernel: o.kernel.map(|n| n as i32),
            padding: o.padding.map(|n| n as i32),
            dilation: o.dilation.map(|n| clamped(n) as i32),
            stride: o.stride.map(|n| Divisor::new(clamped(n))),
            include_pad: o.count_include_pad as u32,
        };
        let grad = if pass == Pass::Gradient { "_grad" } else { "" };
        let variant = match (halving, wide) {
            (true, _) => "_halve",
            (_, true) => "_wide",
            _ => "",
        };
        let blocks = (if wide { WARP * items } else { items }).div_ceil(THREADS);
        // A grid-stride loop.
        let grid = [blocks.min(32 * device.0.multiprocessors()), 1, 1];
        device.0.launch(name!("pool_{kind}{grad}{variant}_{}", suffix(dtype)), grid, [THREADS, 1, 1], &params);
    }
}

impl PoolOps for Cuda {
    fn max_pool2d(&self, x: &Tensor, options: &Pool2dOptions) -> (Tensor, Tensor) {
        let (dtype, [n, c, h, w]) = (x.dtype(), x.dims());
        let pooling = Pooling::new(n * c, [h, w], options);
        let shape = [n, c, pooling.out[0], pooling.out[1]];
        let len = shape.iter().product();
        let (out, indices) = (self.alloc("max_pool2d", dtype, len), self.alloc("max_pool2d", DType::I32, len));
        pooling.launch("max", Pass::Forward, dtype, &x.contiguous(), &out, indices.address());
        let out = Tensor::from_storage(self, out, dtype, shape);
        (out, Tensor::from_storage(self, indices, DType::I32, shape))
    }

    fn max_pool2d_grad(&self, g: &Tensor, indices: &Tensor, [h, w]: [usize; 2], options: &Pool2dOptions) -> Tensor {
        let (dtype, [n, c, ..]) = (g.dtype(), g.dims::<4>());
        let out = self.alloc("max_pool2d_grad", dtype, n * c * h * w);
        let indices = indices.contiguous();
        let pooling = Pooling::new(n * c, [h, w], options);
        pooling.launch("max", Pass::Gradient, dtype, &g.contiguous(), &out, data(&indices));
        Tensor::from_storage(self, out, dtype, [n, c, h, w])
    }

    fn avg_pool2d(&self, x: &Tensor, options: &Pool2dOptions) -> Tensor {
        let (dtype, [n, c, h, w]) = (x.dtype(), x.dims());
        let pooling = Pooling::new(n * c, [h, w], options);
        let shape = [n, c, pooling.out[0], pooling.out[1]];
        let out = self.alloc("avg_pool2d", dtype, shape.iter().product());
        pooling.launch("avg", Pass::Forward, dtype, &x.contiguous(), &out, 0);
        Tensor::from_storage(self, out, dtype, shape)
    }

    fn avg_pool2d_grad(&self, g: &Tensor, [h, w]: [usize; 2], options: &Pool2dOptions) -> Tensor {
        let (dtype, [n, c, ..]) = (g.dtype(), g.dims::<4>());
        let out = self.alloc("avg_pool2d_grad", dtype, n * c * h * w);
        Pooling::new(n * c, [h, w], options).launch("avg", Pass::Gradient, dtype, &g.contiguous(), &out, 0);
        Tensor::from_storage(self, out, dtype, [n, c, h, w])
    }
}
