//! Reductions over any set of dimensions: geometry and names for `kernels/reduce.cu`. Always one launch.
//!
//! The dimensions are parted into kept and reduced ones, and both groups merged. Threads lie along whichever has neighbours
//! in memory:
//!
//! ```text
//! rows      reduced ones, few of them, or very many outputs    some threads of a warp per output
//! long      reduced ones, many                                 a block per output and piece
//! columns   kept ones                                          a block per group of outputs and piece
//! ```

use crate::device::{COUNTERS, Cuda, THREADS, name, suffix};
use crate::driver::Address;
use crate::memory::Storage;
use crate::params::{Operand, Walk, params};
use minitorch_core::backend::{ArgReduceOp, ReduceOp, View};
use minitorch_core::{DType, Layout, MAX_RANK, Shape};

params! {
    ReduceParams in "reduce.cu" {
        kept: Walk,
        reduced: Walk,
        kept_strides: [u64; MAX_RANK],
        reduced_strides: [u64; MAX_RANK],
        x: Address,
        out: Address,
        partial: Address,
        counters: Address,
        divisor: f64,
        chunk: u64,
        order: u32,
        team_log: u32,
        width_log: u32,
        unused: u32,
    }
}

/// Elements up to which the threads of a warp suffice for an output.
const SHORT: usize = 1024;
const WARP: usize = 32;

const CONTIGUOUS: u32 = 1;
const PACKED: u32 = 2;

pub(crate) fn reduce(device: &Cuda, op: ReduceOp, x: View<'_, Storage>, dims: &[usize]) -> Storage {
    let (kernel, mean) = match op {
        ReduceOp::Sum => ("sum", false),
        ReduceOp::Mean => ("sum", true),
        ReduceOp::Prod => ("prod", false),
        ReduceOp::Max => ("max", false),
        ReduceOp::Min => ("min", false),
    };
    run(device, kernel, x, dims, x.dtype, mean)
}

pub(crate) fn arg_reduce(device: &Cuda, op: ArgReduceOp, x: View<'_, Storage>, dim: usize) -> Storage {
    let kernel = match op {
        ArgReduceOp::ArgMax => "argmax",
        ArgReduceOp::ArgMin => "argmin",
    };
    run(device, kernel, x, &[dim], DType::I32, false)
}

/// The kept dimensions in their order with the layout's offset, and the reduced ones by falling stride: their order is
/// free, and so they merge best.
fn part(layout: &Layout, dims: &[usize]) -> [Layout; 2] {
    let pick = |reduced: bool, offset| {
        let (mut picked, mut rank) = ([(0, 0); MAX_RANK], 0);
        for (d, (&size, &stride)) in layout.shape().iter().zip(layout.strides()).enumerate() {
            if dims.contains(&d) == reduced {
                picked[rank] = (stride, size);
                rank += 1;
            }
        }
        if reduced {
            picked[..rank].sort_unstable_by(|a, b| b.cmp(a));
        }
        let (strides, sizes) = (picked.map(|(stride, _)| stride), picked.map(|(_, size)| size));
        let [merged] = Layout::merge([Layout::new(Shape::new(&sizes[..rank]), &strides[..rank], offset)]);
        merged
    };
    [pick(false, layout.offset()), pick(true, 0)]
}

fn run(device: &Cuda, kernel: &str, x: View<'_, Storage>, dims: &[usize], to: DType, mean: bool) -> Storage {
    let [kept, reduced] = part(x.layout, dims);
    let (outputs, len) = (kept.numel(), reduced.numel());
    x.storage.check(x.dtype, x.layout);
    let out = device.alloc("reduce", to, outputs);
    if outputs == 0 {
        return out;
    }
    let (kept_at, reduced_at) = (Operand::new(x.storage.address(), x.dtype, &kept), Operand::new(0, x.dtype, &reduced));
    let mut params = ReduceParams {
        kept: Walk::new(kept.shape()),
        reduced: Walk::new(reduced.shape()),
        kept_strides: kept_at.strides,
        reduced_strides: reduced_at.strides,
        x: kept_at.data,
        out: out.address(),
        partial: 0,
        counters: device.0.counters(),
        divisor: if mean { len as f64 } else { 1.0 },
        chunk: len.next_multiple_of(4) as u64,
        order: order(&kept, &reduced, kept_at.data, x.dtype),
        team_log: 0,
        width_log: 0,
        unused: 0,
    };
    let plan = plan(device, &kept, &reduced);
    let (blocks, threads) = match plan {
        Plan::Rows { .. } => (COUNTERS + 1, 1), // never in pieces
        Plan::Long => (outputs, THREADS),
        Plan::Columns { width } => (outputs.div_ceil(width), THREADS / width),
    };
    let (chunk, pieces) = pieces(device, blocks, len, threads);
    params.chunk = chunk as u64;
    // Any partial result has 16 bytes at most.
    let partial = device.alloc("reduce", DType::F64, if pieces > 1 { 2 * outputs * pieces } else { 0 });
    params.partial = partial.address();
    let (kind, grid) = match plan {
        Plan::Rows { team } => {
            params.team_log = team.trailing_zeros();
            ("rows", [(outputs * team).div_ceil(THREADS), 1, 1])
        }
        Plan::Long => ("long", [outputs, pieces, 1]),
        Plan::Columns { width } => {
            params.width_log = width.trailing_zeros();
            ("columns", [blocks, pieces, 1])
        }
    };
    device.0.launch(name!("reduce_{kind}_{kernel}_{}", suffix(x.dtype)), grid, [THREADS, 1, 1], 0, &params);
    out
}

/// How many elements a piece of a long reduction has, a multiple of 4, and how many pieces there are: enough to fill the card
/// with four blocks a multiprocessor, but each with 16 elements for every one of the `threads` that share an output's.
pub(crate) fn pieces(device: &Cuda, blocks: usize, len: usize, threads: usize) -> (usize, usize) {
    let most = if blocks <= COUNTERS { (4 * device.0.multiprocessors()).div_ceil(blocks) } else { 1 };
    let pieces = (len / (16 * threads)).clamp(1, most);
    let chunk = len.div_ceil(pieces).next_multiple_of(4).max(4);
    (chunk, len.div_ceil(chunk).max(1))
}

/// How many neighbouring columns of `len` elements a block takes: as many as there are, and fewer of them where a column's
/// elements can occupy the other threads.
pub(crate) fn column_width(device: &Cuda, columns: usize, len: usize) -> usize {
    let mut width = columns.next_power_of_two().min(THREADS);
    let few = |width| columns / width < 2 * device.0.multiprocessors();
    while width > WARP && (width > 64 || few(width)) && THREADS / width * 8 < len {
        width /= 2;
    }
    width
}

#[derive(Clone, Copy)]
enum Plan {
    Rows { team: usize },
    Long,
    Columns { width: usize },
}

fn plan(device: &Cuda, kept: &Layout, reduced: &Layout) -> Plan {
    let (outputs, len) = (kept.numel(), reduced.numel());
    // Neighbours of the walk that lie nearest; of a group without dimensions nothing does.
    let step = |layout: &Layout| layout.strides().last().copied().unwrap_or(usize::MAX);
    if len == 0 || step(reduced) > step(kept) || reduced.shape().is_empty() {
        return Plan::Columns { width: column_width(device, outputs, len) };
    }
    let crowded = outputs >= 32 * device.0.multiprocessors();
    if len <= SHORT / 4 || len <= SHORT && outputs > device.0.multiprocessors() || len <= 4 * SHORT && crowded {
        return Plan::Rows { team: len.div_ceil(4).next_power_of_two().min(WARP) };
    }
    Plan::Long
}

/// How the reduced elements of every output lie.
fn order(kept: &Layout, reduced: &Layout, data: Address, dtype: DType) -> u32 {
    if reduced.is_contiguous() {
        return CONTIGUOUS;
    }
    let (Some((&1, outer)), Some(&inner)) = (reduced.strides().split_last(), reduced.shape().last()) else { return 0 };
    let pack = (4 * dtype.size()).min(16) as u64;
    let whole = kept.strides().iter().chain(outer).chain([&inner]).all(|stride| stride.is_multiple_of(4));
    if whole && data.is_multiple_of(pack) { PACKED } else { 0 }
}
