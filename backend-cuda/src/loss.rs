//! Cross-entropy and its gradient (`kernels/loss.cu`): one launch each.

use crate::Tensor;
use crate::device::{Cuda, name, suffix};
use crate::driver::Address;
use crate::grid::{THREADS, WARP, grid_stride, lanes};
use crate::memory::{data, tensor_ref};
use crate::params::{TensorRef, Walk, params};
use minitorch_core::backend::{Caller, LossOps, OutOfRange};
use minitorch_core::{DType, Layout};

params! {
    LossParams in "loss.cu" {
        x: Address,
        target: Address,
        statistics: Address,
        mean: Address,
        partial: Address,
        counter: Address,
        bad_index: Address,
        n: u64,
        c: u64,
        caller: u32,
        team_log: u32,
    }
}

params! {
    LossGradParams in "loss.cu" {
        walk: Walk,
        x: TensorRef,
        out: TensorRef,
        target: Address,
        statistics: Address,
        g: Address,
    }
}

/// The most classes of a row that lanes of a warp share; longer rows have a block each.
const SHORT: usize = 1024;

impl LossOps for Cuda {
    fn cross_entropy(&self, logits: &Tensor, target: &Tensor, caller: Caller) -> Result<(Tensor, Tensor), OutOfRange> {
        let dtype = logits.dtype();
        let [n, c] = logits.dims();
        let (logits, target) = (logits.contiguous(), target.contiguous());
        let mean = self.alloc("cross_entropy", dtype, 1);
        let statistics = self.alloc("cross_entropy", dtype, 2 * n);
        let (kind, team, blocks) = if c <= SHORT {
            let team = lanes(c);
            ("rows", team, (n * team).div_ceil(THREADS).max(1)) // without rows, one block writes the mean, NaN
        } else if n > 0 {
            ("long", WARP, n)
        } else {
            ("rows", WARP, 1)
        };
        let partial = self.alloc("cross_entropy", DType::F64, blocks);
        let params = LossParams {
            x: data(&logits),
            target: data(&target),
            statistics: statistics.address(),
            mean: mean.address(),
            partial: partial.address(),
            counter: self.0.counters(),
            bad_index: self.0.bad_index(),
            n: n as u64,
            c: c as u64,
            caller: caller.id(),
            team_log: team.trailing_zeros(),
        };
        self.0.launch_checked(name!("loss_{kind}_{}", suffix(dtype)), [blocks, 1, 1], [THREADS, 1, 1], &params);
        Ok((Tensor::from_storage(self, mean, dtype, []), Tensor::from_storage(self, statistics, dtype, [n, 2])))
    }

    fn cross_entropy_grad(&self, g: &Tensor, logits: &Tensor, target: &Tensor, statistics: &Tensor) -> Tensor {
        let dtype = logits.dtype();
        let [n, c] = logits.dims();
        let out = self.alloc("cross_entropy_grad", dtype, n * c);
        if n * c > 0 {
            let [g, logits, target, statistics] = [g, logits, target, statistics].map(Tensor::contiguous);
            let params = LossGradParams {
                walk: Walk::new(&[n, c]),
                x: tensor_ref(&logits),
                out: out.tensor_ref(dtype, &Layout::contiguous([n, c])),
                target: data(&target),
                statistics: data(&statistics),
                g: data(&g),
            };
            let (grid, block) = grid_stride(self, (n * c).div_ceil(4));
            self.0.launch(name!("loss_grad_{}", suffix(dtype)), grid, block, &params);
        }
        Tensor::from_storage(self, out, dtype, [n, c])
    }
}
