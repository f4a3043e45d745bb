//! Cross-entropy and its gradient: geometry for `shaders/loss.wgsl`. Operands are made contiguous first.

use crate::Tensor;
use crate::index::IndexedOp;
use crate::params::params;
use crate::shader::Shader;
use crate::stream::Bind;
use minitorch_core::backend::{ReduceOp, ReduceOps};
use minitorch_core::{DType, Layout, backend::View};

params! {
    /// Mirrors `LossParams` in loss.wgsl.
    LossParams in "loss" {
        n: u32,
        c: u32,
        x: u32,
        target_: u32,
        statistics: u32,
        g: u32,
        op: u32,
    }
}

/// Logits up to which one workgroup makes rows and mean at once.
const FEW: usize = 64 * 1024;

/// Classes up to which an invocation makes a row.
const SHORT: usize = 64;

fn shader(entry: &'static str) -> Shader {
    Shader::new("loss", entry)
}

pub(crate) fn cross_entropy(logits: &Tensor, target: &Tensor) -> (Tensor, Tensor) {
    let device = logits.device();
    let [n, c] = logits.dims();
    let (x, target) = (logits.contiguous(), target.contiguous());
    if n * c == 0 {
        // No logit to bind.
        return minitorch_core::ops::composed::cross_entropy(&x, &target);
    }
    let params = LossParams {
        n: n as u32,
        c: c as u32,
        x: x.layout().offset() as u32,
        target_: target.layout().offset() as u32,
        statistics: 0,
        g: 0,
        op: IndexedOp::CrossEntropy as u32,
    };
    let statistics = device.alloc("cross_entropy", DType::F32, 2 * n);
    let (short, few) = (c <= SHORT, c <= SHORT && n * c <= FEW);
    let losses = device.alloc("cross_entropy", DType::F32, if few { 1 } else { n });
    let binds = [
        Bind::Write(&losses),
        Bind::Write(&statistics),
        Bind::BadIndex,
        Bind::Read(x.view().storage),
        Bind::Read(target.view().storage),
    ];
    let mean = if few {
        device.dispatch(shader("mean"), [1, 1, 1], &params, &binds);
        losses
    } else {
        let (entry, groups) = if short { ("rows", device.walk_over(n)) } else { ("wide", device.folded(n)) };
        device.dispatch(shader(entry), groups, &params, &binds);
        let line = Layout::contiguous([n]);
        device.reduce(ReduceOp::Mean, View { storage: &losses, layout: &line, dtype: DType::F32 }, &[0])
    };
    (Tensor::from_storage(device, mean, DType::F32, []), Tensor::from_storage(device, statistics, DType::F32, [n, 2]))
}

pub(crate) fn cross_entropy_grad(g: &Tensor, logits: &Tensor, target: &Tensor, statistics: &Tensor) -> Tensor {
    let device = logits.device();
    let [n, c] = logits.dims();
    let [g, x, target, statistics] = [g, logits, target, statistics].map(Tensor::contiguous);
    let out = device.alloc("cross_entropy_grad", DType::F32, n * c);
    if n * c > 0 {
        let offset = |x: &Tensor| x.layout().offset() as u32;
        let params = LossParams {
            n: n as u32,
            c: c as u32,
            x: offset(&x),
            target_: offset(&target),
            statistics: offset(&statistics),
            g: offset(&g),
            op: 0,
        };
        let operands = [&x, &target, &statistics, &g].map(|x| Bind::Read(x.view().storage));
        let [a, b, c_, d] = operands;
        device.dispatch(shader("grad"), device.walk_over(n * c), &params, &[Bind::Write(&out), a, b, c_, d]);
    }
    Tensor::from_storage(device, out, DType::F32, [n, c])
}
