//! Cross-entropy and its gradient: geometry and names for `kernels/loss.cu`. One launch each.

use crate::Tensor;
use crate::device::{IndexedOp, THREADS, name, suffix};
use crate::driver::Address;
use crate::params::{Operand, Walk, params};
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
        op: u32,
        team_log: u32,
    }
}

params! {
    LossGradParams in "loss.cu" {
        walk: Walk,
        x: Operand,
        out: Operand,
        target: Address,
        statistics: Address,
        g: Address,
    }
}

/// Classes up to which the threads of a warp suffice for a row.
const SHORT: usize = 1024;
const WARP: usize = 32;

fn operand(x: &Tensor) -> Operand {
    Operand::of(x.view().storage, x.dtype(), x.layout())
}

/// The mean loss, and each row's maximum and rest, `[n, 2]`.
pub(crate) fn cross_entropy(logits: &Tensor, target: &Tensor) -> (Tensor, Tensor) {
    let (device, dtype) = (logits.device(), logits.dtype());
    let [n, c] = logits.dims();
    let (logits, target) = (logits.contiguous(), target.contiguous());
    let mean = device.alloc("cross_entropy", dtype, 1);
    let statistics = device.alloc("cross_entropy", dtype, 2 * n);
    let (kind, team, blocks) = if c <= SHORT {
        let team = c.div_ceil(4).next_power_of_two().min(WARP);
        ("rows", team, (n * team).div_ceil(THREADS).max(1)) // of no rows the mean is NaN, which a block says
    } else if n > 0 {
        ("long", WARP, n)
    } else {
        ("rows", WARP, 1)
    };
    let partial = device.alloc("cross_entropy", DType::F64, blocks);
    let params = LossParams {
        x: operand(&logits).data,
        target: operand(&target).data,
        statistics: statistics.address(),
        mean: mean.address(),
        partial: partial.address(),
        counter: device.0.counters(),
        bad_index: device.0.bad_index(),
        n: n as u64,
        c: c as u64,
        op: IndexedOp::CrossEntropy as u32,
        team_log: team.trailing_zeros(),
    };
    device.0.launch(name!("loss_{kind}_{}", suffix(dtype)), [blocks, 1, 1], [THREADS, 1, 1], 0, &params);
    (Tensor::from_storage(device, mean, dtype, []), Tensor::from_storage(device, statistics, dtype, [n, 2]))
}

/// `(softmax(x) - onehot(target)) g / n`
pub(crate) fn cross_entropy_grad(g: &Tensor, logits: &Tensor, target: &Tensor, statistics: &Tensor) -> Tensor {
    let (device, dtype) = (logits.device(), logits.dtype());
    let [n, c] = logits.dims();
    let out = device.alloc("cross_entropy_grad", dtype, n * c);
    if n * c > 0 {
        let [g, logits, target, statistics] = [g, logits, target, statistics].map(Tensor::contiguous);
        let params = LossGradParams {
            walk: Walk::new(&[n, c]),
            x: operand(&logits),
            out: Operand::of(&out, dtype, &Layout::contiguous([n, c])),
            target: operand(&target).data,
            statistics: operand(&statistics).data,
            g: operand(&g).data,
        };
        let (grid, block) = device.walk_over((n * c).div_ceil(4));
        device.0.launch(name!("loss_grad_{}", suffix(dtype)), grid, block, 0, &params);
    }
    Tensor::from_storage(device, out, dtype, [n, c])
}
