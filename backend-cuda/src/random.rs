//! Random elements and dropout: names and numbers for `kernels/random.cu`.

use crate::Tensor;
use crate::device::{Cuda, name, suffix};
use crate::memory::Storage;
use crate::params::{Operand, Walk, params};
use minitorch_core::backend::RandomOp;
use minitorch_core::ops::random::threshold;
use minitorch_core::random::Draw;
use minitorch_core::{DType, Layout};

params! {
    /// What the kernels of random.cu take.
    RandomParams in "random.cu" {
        walk: Walk,
        out: Operand,
        x: Operand,
        seed: u64,
        draw: u64,
        threshold: u64,
        scale: f64,
    }
}

pub(crate) fn random(device: &Cuda, op: RandomOp, dtype: DType, len: usize, draw: Draw) -> Storage {
    let out = device.alloc("random", dtype, len);
    let (kernel, p) = match op {
        RandomOp::Bits => ("bits", 0.0),
        RandomOp::Uniform => ("uniform", 0.0),
        RandomOp::Keep(p) => ("keep", p),
    };
    let whole = Layout::contiguous([len]);
    launch(device, name!("random_{kernel}_{}", suffix(dtype)), (&out, dtype, &whole), Operand::NONE, p, draw);
    out
}

/// `x / (1 - p)` where the element's bits are at least the threshold, else 0.
pub(crate) fn dropout(x: &Tensor, p: f64, draw: Draw) -> Tensor {
    let (device, dtype, shape) = (x.device(), x.dtype(), *x.shape());
    let [layout] = Layout::merge([*x.layout()]);
    let whole = Layout::contiguous(*layout.shape());
    let out = device.alloc("dropout", dtype, whole.numel());
    let operand = Operand::of(x.view().storage, dtype, &layout);
    launch(device, name!("random_dropout_{}", suffix(dtype)), (&out, dtype, &whole), operand, p, draw);
    Tensor::from_storage(device, out, dtype, shape)
}

fn launch(
    device: &Cuda,
    kernel: &str,
    (out, dtype, whole): (&Storage, DType, &Layout),
    x: Operand,
    p: f64,
    draw: Draw,
) {
    if whole.numel() == 0 {
        return;
    }
    let params = RandomParams {
        walk: Walk::new(whole.shape()),
        out: Operand::of(out, dtype, whole),
        x,
        seed: draw.seed,
        draw: draw.index,
        threshold: threshold(p),
        // At p = 1 nothing is kept, whatever the factor.
        scale: if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 },
    };
    let (grid, block) = device.walk_over(whole.numel().div_ceil(4));
    device.0.launch(kernel, grid, block, 0, &params);
}
