//! Random elements and dropout (`shaders/random.wgsl`).

use crate::Tensor;
use crate::device::Wgpu;
use crate::memory::Storage;
use crate::params::{Strides, Walk, params};
use crate::shader::Shader;
use crate::stream::Bind;
use bytemuck::Zeroable;
use minitorch_core::backend::{RandomOp, RandomOps, View};
use minitorch_core::ops::random::threshold;
use minitorch_core::random::Draw;
use minitorch_core::{DType, Layout};

params! {
    /// Mirrors `RandomParams` in random.wgsl.
    RandomParams in "random" {
        walk: Walk,
        x: Strides,
        seed: [u32; 2],
        draw: [u32; 2],
        threshold: u32,
        drop_all: u32,
        scale: f32,
        unused: u32,
    }
}

/// Words of a Philox block: elements that one invocation computes.
const WORDS: usize = 4;

impl RandomOps for Wgpu {
    fn random(&self, op: RandomOp, _: DType, len: usize, draw: Draw) -> Storage {
        let out = self.alloc("random", DType::F32, len);
        // `OP` as in random.wgsl.
        let (op, p) = match op {
            RandomOp::Bits => (0, 0.0),
            RandomOp::Uniform => (1, 0.0),
            RandomOp::Keep(p) => (2, p),
        };
        launch(self, Shader::new("random", "random").op(op), &out, &Layout::contiguous([len]), None, p, draw);
        out
    }

    fn dropout(&self, x: &Tensor, p: f64, draw: Draw) -> Tensor {
        let (dtype, shape) = (x.dtype(), *x.shape());
        let [layout] = Layout::merge([*x.layout()]);
        let to = Layout::contiguous(*layout.shape());
        let out = self.alloc("dropout", DType::F32, to.numel());
        launch(self, Shader::new("random", "dropout"), &out, &to, Some(View { layout: &layout, ..x.view() }), p, draw);
        Tensor::from_storage(self, out, dtype, shape)
    }
}

fn launch(
    device: &Wgpu,
    shader: Shader,
    out: &Storage,
    layout: &Layout,
    x: Option<View<'_, Storage>>,
    p: f64,
    draw: Draw,
) {
    if layout.numel() == 0 {
        return;
    }
    let words = |number: u64| [number as u32, (number >> 32) as u32];
    let [threshold, drop_all] = words(threshold(p)); // of 32 bits, or 2^32
    let params = RandomParams {
        walk: Walk::new(layout.shape()),
        x: x.map_or_else(Strides::zeroed, |x| Strides::new(x.layout)),
        seed: words(draw.seed),
        draw: words(draw.index),
        threshold,
        drop_all,
        // At p = 1 every element is dropped, whatever the factor.
        scale: if p < 1.0 { (1.0 / (1.0 - p)) as f32 } else { 0.0 },
        unused: 0,
    };
    let binds: Vec<_> = [Bind::Write(out)].into_iter().chain(x.map(|x| Bind::Read(x.storage))).collect();
    device.dispatch(shader, device.grid_over(layout.numel().div_ceil(WORDS)), &params, &binds);
}
