//! Softmax, its logarithm, and their gradients: geometry for `shaders/softmax.wgsl`. Operands are made contiguous first.

use crate::Tensor;
use crate::params::params;
use crate::shader::Shader;
use crate::stream::Bind;
use minitorch_core::DType;

params! {
    /// Mirrors `SoftmaxParams` in softmax.wgsl.
    SoftmaxParams in "softmax" {
        lines: u32,
        n: u32,
        inner: u32,
        x: u32,
        g: u32,
    }
}

/// Lines from this length on are worth a workgroup each.
const SHORT: usize = 64;

fn run(name: &str, op: u32, x: &Tensor, g: Option<&Tensor>, dim: usize) -> Tensor {
    let (device, shape) = (x.device(), *x.shape());
    let (x, g) = (x.contiguous(), g.map(Tensor::contiguous));
    let out = device.alloc(name, DType::F32, shape.numel());
    if shape.numel() > 0 {
        let (n, inner) = (shape[dim], shape[dim + 1..].iter().product::<usize>());
        let lines = shape.numel() / n;
        let params = SoftmaxParams {
            lines: lines as u32,
            n: n as u32,
            inner: inner as u32,
            x: x.layout().offset() as u32,
            g: g.as_ref().map_or(0, |g| g.layout().offset()) as u32,
        };
        let columns = n < SHORT || inner >= 32;
        let (entry, groups) =
            if columns { ("columns", device.walk_over(lines)) } else { ("rows", device.folded(lines)) };
        // What is not read is bound to something that may be.
        let other = g.as_ref().unwrap_or(&x);
        let binds = [Bind::Write(&out), Bind::Read(x.view().storage), Bind::Read(other.view().storage)];
        device.dispatch(Shader::new("softmax", entry).op(op), groups, &params, &binds);
    }
    Tensor::from_storage(device, out, DType::F32, shape)
}

pub(crate) fn softmax(x: &Tensor, dim: usize) -> Tensor {
    run("softmax", 0, x, None, dim)
}

pub(crate) fn softmax_grad(y: &Tensor, g: &Tensor, dim: usize) -> Tensor {
    run("softmax_grad", 2, y, Some(g), dim)
}

pub(crate) fn log_softmax(x: &Tensor, dim: usize) -> Tensor {
    run("log_softmax", 1, x, None, dim)
}

pub(crate) fn log_softmax_grad(y: &Tensor, g: &Tensor, dim: usize) -> Tensor {
    run("log_softmax_grad", 3, y, Some(g), dim)
}
