//! Softmax, its logarithm, and their gradients (`shaders/softmax.wgsl`). Operands are made contiguous first.

use crate::Tensor;
use crate::device::Wgpu;
use crate::params::params;
use crate::shader::Shader;
use crate::stream::Bind;
use minitorch_core::DType;
use minitorch_core::backend::SoftmaxOps;

params! {
    /// Mirrors `SoftmaxParams` in softmax.wgsl.
    SoftmaxParams in "softmax" {
        rows: u32,
        n: u32,
        inner: u32,
        x: u32,
        g: u32,
    }
}

/// Elements of a row from which a workgroup handles it; below, an invocation does.
const MIN_WORKGROUP: usize = 64;

/// Runs the shader; `op` is its `OP`.
fn run(name: &str, op: u32, x: &Tensor, g: Option<&Tensor>, dim: usize) -> Tensor {
    let (device, shape) = (x.device(), *x.shape());
    let (x, g) = (x.contiguous(), g.map(Tensor::contiguous));
    let out = device.alloc(name, DType::F32, shape.numel());
    if shape.numel() > 0 {
        let (n, inner) = (shape[dim], shape[dim + 1..].iter().product::<usize>());
        let rows = shape.numel() / n;
        let params = SoftmaxParams {
            rows: rows as u32,
            n: n as u32,
            inner: inner as u32,
            x: x.layout().offset() as u32,
            g: g.as_ref().map_or(0, |g| g.layout().offset()) as u32,
        };
        let (entry, groups) = match n < MIN_WORKGROUP || inner >= 32 {
            true => ("columns", device.grid_over(rows)),
            false => ("rows", device.folded(rows)),
        };
        // Without a gradient, its binding is not read: any buffer will do.
        let other = g.as_ref().unwrap_or(&x);
        let binds = [Bind::Write(&out), Bind::Read(x.view().storage), Bind::Read(other.view().storage)];
        device.dispatch(Shader::new("softmax", entry).op(op), groups, &params, &binds);
    }
    Tensor::from_storage(device, out, DType::F32, shape)
}

impl SoftmaxOps for Wgpu {
    fn softmax(&self, x: &Tensor, dim: usize) -> Tensor {
        run("softmax", 0, x, None, dim)
    }

    fn softmax_grad(&self, y: &Tensor, g: &Tensor, dim: usize) -> Tensor {
        run("softmax_grad", 2, y, Some(g), dim)
    }

    fn log_softmax(&self, x: &Tensor, dim: usize) -> Tensor {
        run("log_softmax", 1, x, None, dim)
    }

    fn log_softmax_grad(&self, y: &Tensor, g: &Tensor, dim: usize) -> Tensor {
        run("log_softmax_grad", 3, y, Some(g), dim)
    }
}
