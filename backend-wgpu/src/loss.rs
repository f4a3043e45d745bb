//! Cross-entropy and its gradient (`shaders/loss.wgsl`). Operands are made contiguous first.

use crate::Tensor;
use crate::device::Wgpu;
use crate::params::params;
use crate::shader::Shader;
use crate::stream::Bind;
use minitorch_core::backend::{Caller, LossOps, OutOfRange, ReduceOp, ReduceOps, View};
use minitorch_core::ops::composed;
use minitorch_core::{DType, Layout};

params! {
    /// Mirrors `LossParams` in loss.wgsl.
    LossParams in "loss" {
        n: u32,
        c: u32,
        x: u32,
        target_: u32,
        statistics: u32,
        g: u32,
        caller: u32,
    }
}

/// Logits up to which one workgroup computes all rows and their mean.
const MAX_ONE_WORKGROUP: usize = 64 * 1024;

/// Classes up to which an invocation handles a row; with more, a workgroup does.
const MAX_INVOCATION: usize = 64;

fn shader(entry: &'static str) -> Shader {
    Shader::new("loss", entry)
}

impl LossOps for Wgpu {
    fn cross_entropy(&self, logits: &Tensor, target: &Tensor, caller: Caller) -> Result<(Tensor, Tensor), OutOfRange> {
        let [n, c] = logits.dims();
        let (x, target) = (logits.contiguous(), target.contiguous());
        if n * c == 0 {
            // There are no logits to bind.
            return composed::cross_entropy(&x, &target, caller);
        }
        let params = LossParams {
            n: n as u32,
            c: c as u32,
            x: x.layout().offset() as u32,
            target_: target.layout().offset() as u32,
            statistics: 0,
            g: 0,
            caller: caller.id(),
        };
        let statistics = self.alloc("cross_entropy", DType::F32, 2 * n);
        let short = c <= MAX_INVOCATION;
        let few = short && n * c <= MAX_ONE_WORKGROUP;
        let losses = self.alloc("cross_entropy", DType::F32, if few { 1 } else { n });
        let binds = [
            Bind::Write(&losses),
            Bind::Write(&statistics),
            Bind::Read(x.view().storage),
            Bind::BadIndex,
            Bind::Read(target.view().storage),
        ];
        let mean = if few {
            self.dispatch(shader("mean"), [1, 1, 1], &params, &binds);
            losses
        } else {
            let (entry, groups) = if short { ("rows", self.grid_over(n)) } else { ("rows_workgroup", self.folded(n)) };
            self.dispatch(shader(entry), groups, &params, &binds);
            let layout = Layout::contiguous([n]);
            self.reduce(ReduceOp::Mean, View { storage: &losses, layout: &layout, dtype: DType::F32 }, &[0])
        };
        Ok((
            Tensor::from_storage(self, mean, DType::F32, []),
            Tensor::from_storage(self, statistics, DType::F32, [n, 2]),
        ))
    }

    fn cross_entropy_grad(&self, g: &Tensor, logits: &Tensor, target: &Tensor, statistics: &Tensor) -> Tensor {
        let [n, c] = logits.dims();
        let [g, x, target, statistics] = [g, logits, target, statistics].map(Tensor::contiguous);
        let out = self.alloc("cross_entropy_grad", DType::F32, n * c);
        if n * c > 0 {
            let offset = |x: &Tensor| x.layout().offset() as u32;
            let params = LossParams {
                n: n as u32,
                c: c as u32,
                x: offset(&x),
                target_: offset(&target),
                statistics: offset(&statistics),
                g: offset(&g),
                caller: 0,
            };
            let [x, target, statistics, g] = [&x, &target, &statistics, &g].map(|x| Bind::Read(x.view().storage));
            let binds = [Bind::Write(&out), x, target, statistics, g];
            self.dispatch(shader("grad"), self.grid_over(n * c), &params, &binds);
        }
        Tensor::from_storage(self, out, DType::F32, [n, c])
    }
}
