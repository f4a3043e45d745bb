//! Random elements and dropout: numbers for `shaders/random.wgsl`.

use crate::Tensor;
use crate::device::Wgpu;
use crate::memory::Storage;
use crate::params::{Operand, Walk, params};
use crate::shader::Shader;
use crate::stream::Bind;
use bytemuck::Zeroable;
use minitorch_core::backend::{RandomOp, View};
use minitorch_core::ops::random::threshold;
use minitorch_core::random::Draw;
use minitorch_core::{DType, Layout};

params! {
    /// What random.wgsl takes.
    RandomParams in "random" {
        walk: Walk,
        x: Operand,
        seed: [u32; 2],
        draw: [u32; 2],
        threshold: u32,
        none: u32,
        scale: f32,
        unused: u32,
    }
}

/// Elements of one Philox block, which one invocation makes.
const BLOCK: usize = 4;

pub(crate) fn random(device: &Wgpu, op: RandomOp, _: DType, len: usize, draw: Draw) -> Storage {
    let out = device.alloc("random", DType::F32, len);
    let (entry, p) = match op {
        RandomOp::Bits => ("random_bits", 0.0),
        RandomOp::Uniform => ("random_uniform", 0.0),
        RandomOp::Keep(p) => ("random_keep", p),
    };
    launch(device, entry, &out, &Layout::contiguous([len]), None, p, draw);
    out
}

/// `x / (1 - p)` where the element's bits are at least the threshold, else 0.
pub(crate) fn dropout(x: &Tensor, p: f64, draw: Draw) -> Tensor {
    let (device, dtype, shape) = (x.device(), x.dtype(), *x.shape());
    let [layout] = Layout::merge([*x.layout()]);
    let whole = Layout::contiguous(*layout.shape());
    let out = device.alloc("dropout", DType::F32, whole.numel());
    launch(device, "dropout", &out, &whole, Some(View { layout: &layout, ..x.view() }), p, draw);
    Tensor::from_storage(device, out, dtype, shape)
}

fn launch(
    device: &Wgpu,
    entry: &'static str,
    out: &Storage,
    whole: &Layout,
    x: Option<View<'_, Storage>>,
    p: f64,
    draw: Draw,
) {
    if whole.numel() == 0 {
        return;
    }
    let words = |number: u64| [number as u32, (number >> 32) as u32];
    let [threshold, none] = words(threshold(p)); // of 32 bits, but may be 2^32
    let params = RandomParams {
        walk: Walk::new(whole.shape()),
        x: x.map_or_else(Operand::zeroed, |x| Operand::new(x.layout)),
        seed: words(draw.seed),
        draw: words(draw.index),
        threshold,
        none,
        // At p = 1 nothing is kept, whatever the factor.
        scale: if p < 1.0 { (1.0 / (1.0 - p)) as f32 } else { 0.0 },
        unused: 0,
    };
    let binds: Vec<_> = [Bind::Write(out)].into_iter().chain(x.map(|x| Bind::Read(x.storage))).collect();
    let shader = Shader::new("random", entry);
    device.dispatch(shader, device.walk_over(whole.numel().div_ceil(BLOCK)), &params, &binds);
}
