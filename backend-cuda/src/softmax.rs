//! Softmax, its logarithm and their gradients: geometry and names for `kernels/softmax.cu`. One launch each.

use crate::Tensor;
use crate::device::{THREADS, name, suffix};
use crate::driver::Address;
use crate::params::{Operand, params};
use crate::reduce::column_width;

params! {
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

const WARP: usize = 32;
/// Elements of a row that a thread keeps in registers: few, or 128 bytes.
const FEW: usize = 4;
/// Threads of a block that has a row to itself.
const LONG: usize = 512;

pub(crate) fn softmax(x: &Tensor, dim: usize) -> Tensor {
    run("forward", x, None, dim)
}

pub(crate) fn log_softmax(x: &Tensor, dim: usize) -> Tensor {
    run("log", x, None, dim)
}

pub(crate) fn softmax_grad(y: &Tensor, g: &Tensor, dim: usize) -> Tensor {
    run("grad", y, Some(g), dim)
}

pub(crate) fn log_softmax_grad(y: &Tensor, g: &Tensor, dim: usize) -> Tensor {
    run("loggrad", y, Some(g), dim)
}

/// `x` is the input or, for a gradient, the output.
fn run(map: &str, x: &Tensor, g: Option<&Tensor>, dim: usize) -> Tensor {
    let (device, dtype, shape) = (x.device(), x.dtype(), *x.shape());
    let out = device.alloc("softmax", dtype, shape.numel());
    if shape.numel() == 0 {
        return Tensor::from_storage(device, out, dtype, shape);
    }
    // What has gaps is copied first: rows are then read in packs, and the kernels have one index.
    let (x, g) = (x.contiguous(), g.map(Tensor::contiguous));
    let operand = |x: &Tensor| Operand::of(x.view().storage, dtype, x.layout());
    let (x, g) = (operand(&x), g.as_ref().map(operand));
    let (outer, n): (usize, usize) = (shape[..dim].iter().product(), shape[dim]);
    let inner: usize = shape[dim + 1..].iter().product();
    let packed = n.is_multiple_of(4) && [Some(x), g].iter().flatten().all(|x| x.order == 2);
    let mut params = SoftmaxParams {
        x: x.data,
        g: g.map_or(0, |g| g.data),
        out: out.address(),
        outer: outer as u64,
        n: n as u64,
        inner: inner as u64,
        team_log: 0,
        width_log: 0,
        packed: packed as u32,
        unused: 0,
    };
    let (kind, blocks, threads) = if inner > 1 {
        let columns = outer * inner;
        let width = column_width(device, columns, n);
        params.width_log = width.trailing_zeros();
        ("columns", columns.div_ceil(width), THREADS)
    } else if n <= WARP * (128 / dtype.size()) {
        let (kind, team) = if n <= WARP * FEW { ("small", n.div_ceil(FEW).next_power_of_two()) } else { ("row", WARP) };
        params.team_log = team.trailing_zeros();
        (kind, (outer * team).div_ceil(THREADS), THREADS)
    } else {
        ("long", outer, LONG)
    };
    device.0.launch(name!("softmax_{map}_{kind}_{}", suffix(dtype)), [blocks, 1, 1], [threads, 1, 1], 0, &params);
    Tensor::from_storage(device, out, dtype, shape)
}
