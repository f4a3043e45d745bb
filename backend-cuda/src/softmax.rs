//! Softmax, log-softmax and their gradients (`kernels/softmax.cu`): one launch each.

use crate::Tensor;
use crate::device::{Cuda, name, suffix};
use crate::driver::Address;
use crate::grid::{LONG, THREADS, WARP, column_width, lanes};
use crate::memory::tensor_ref;
use crate::params::{PACKED, params};
use minitorch_core::backend::SoftmaxOps;

params! {
    #[derive(Default)]
    SoftmaxParams in "softmax.cu" {
        x: Address,
        g: Address,
        out: Address,
        outer: u64,
        n: u64,
        inner: u64,
        team_log: u32,
        width_log: u32,
        packed: u32,
        unused: u32,
    }
}

impl SoftmaxOps for Cuda {
    fn softmax(&self, x: &Tensor, dim: usize) -> Tensor {
        launch("forward", x, None, dim)
    }

    fn softmax_grad(&self, y: &Tensor, g: &Tensor, dim: usize) -> Tensor {
        launch("grad", y, Some(g), dim)
    }

    fn log_softmax(&self, x: &Tensor, dim: usize) -> Tensor {
        launch("log", x, None, dim)
    }

    fn log_softmax_grad(&self, y: &Tensor, g: &Tensor, dim: usize) -> Tensor {
        launch("loggrad", y, Some(g), dim)
    }
}

/// `x` is the input or, for a gradient, the output.
fn launch(op: &str, x: &Tensor, g: Option<&Tensor>, dim: usize) -> Tensor {
    let (device, dtype, shape) = (x.device(), x.dtype(), *x.shape());
    let out = device.alloc("softmax", dtype, shape.numel());
    if shape.numel() == 0 {
        return Tensor::from_storage(device, out, dtype, shape);
    }
    let (x, g) = (x.contiguous(), g.map(Tensor::contiguous));
    let (x, g) = (tensor_ref(&x), g.as_ref().map(tensor_ref));
    let (outer, n): (usize, usize) = (shape[..dim].iter().product(), shape[dim]);
    let inner: usize = shape[dim + 1..].iter().product();
    let packed = n.is_multiple_of(4) && [Some(x), g].iter().flatten().all(|x| x.order == PACKED);
    let mut params = SoftmaxParams {
        x: x.data,
        g: g.map_or(0, |g| g.data),
        out: out.address(),
        outer: outer as u64,
        n: n as u64,
        inner: inner as u64,
        packed: packed as u32,
        ..SoftmaxParams::default()
    };
    // The "row" kernels hold 128 bytes of a row in the registers of each lane, the "small" ones four elements.
    let (kind, blocks, threads) = if inner > 1 {
        let columns = outer * inner;
        let width = column_width(device, columns, n);
        params.width_log = width.trailing_zeros();
        ("columns", columns.div_ceil(width), THREADS)
    } else if n <= WARP * (128 / dtype.size()) {
        let (kind, team) = if n <= 4 * WARP { ("small", lanes(n)) } else { ("row", WARP) };
        params.team_log = team.trailing_zeros();
        (kind, (outer * team).div_ceil(THREADS), THREADS)
    } else {
        ("long", outer, LONG)
    };
    device.0.launch(name!("softmax_{op}_{kind}_{}", suffix(dtype)), [blocks, 1, 1], [threads, 1, 1], &params);
    Tensor::from_storage(device, out, dtype, shape)
}
