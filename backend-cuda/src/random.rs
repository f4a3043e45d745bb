//! Random elements and dropout (`kernels/random.cu`).

use crate::Tensor;
use crate::device::{Cuda, name, suffix};
use crate::grid::grid_stride;
use crate::memory::Storage;
use crate::params::{TensorRef, Walk, params};
use minitorch_core::backend::{RandomOp, RandomOps};
use minitorch_core::ops::random::threshold;
use minitorch_core::random::Draw;
use minitorch_core::{DType, Layout};

params! {
    /// The parameters of the kernels of random.cu.
    RandomParams in "random.cu" {
        walk: Walk,
        out: TensorRef,
        x: TensorRef,
        seed: u64,
        draw: u64,
        threshold: u64,
        scale: f64,
    }
}

impl RandomOps for Cuda {
    fn random(&self, op: RandomOp, dtype: DType, len: usize, draw: Draw) -> Storage {
        let out = self.alloc("random", dtype, len);
        let (kernel, p) = match op {
            RandomOp::Bits => ("bits", 0.0),
            RandomOp::Uniform => ("uniform", 0.0),
            RandomOp::Keep(p) => ("keep", p),
        };
        let layout = Layout::contiguous([len]);
        let kernel = name!("random_{kernel}_{}", suffix(dtype));
        launch(self, kernel, (&out, dtype, &layout), TensorRef::NONE, p, draw);
        out
    }

    fn dropout(&self, x: &Tensor, p: f64, draw: Draw) -> Tensor {
        let (dtype, shape) = (x.dtype(), *x.shape());
        let [layout] = Layout::merge([*x.layout()]);
        let contiguous = Layout::contiguous(*layout.shape());
        let out = self.alloc("dropout", dtype, contiguous.numel());
        let x = x.view().storage.tensor_ref(dtype, &layout);
        launch(self, name!("random_dropout_{}", suffix(dtype)), (&out, dtype, &contiguous), x, p, draw);
        Tensor::from_storage(self, out, dtype, shape)
    }
}

fn launch(
    device: &Cuda,
    kernel: &str,
    (out, dtype, layout): (&Storage, DType, &Layout),
    x: TensorRef,
    p: f64,
    draw: Draw,
) {
    if layout.numel() == 0 {
        return;
    }
    let params = RandomParams {
        walk: Walk::new(layout.shape()),
        out: out.tensor_ref(dtype, layout),
        x,
        seed: draw.seed,
        draw: draw.index,
        threshold: threshold(p),
        // At p = 1 every element is dropped, and 1 / 0 is not used.
        scale: if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 },
    };
    let (grid, block) = grid_stride(device, layout.numel().div_ceil(4));
    device.0.launch(kernel, grid, block, &params);
}
