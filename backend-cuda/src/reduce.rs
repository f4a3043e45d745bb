//! Reductions over any set of dimensions (`kernels/reduce.cu`): one launch each.
//!
//! The dimensions are split into kept and reduced ones, and each group is merged. Adjacent threads read along the group with the
//! smaller stride, so that accesses coalesce:
//!
//! ```text
//! kernel    adjacent threads along    used for                                  work of a block
//! rows      reduced dimensions        short rows, or very many outputs          several outputs, 2^k lanes of a warp each
//! long      reduced dimensions        long rows                                 one chunk of one output
//! columns   kept dimensions           everything else                           one chunk of a group of adjacent outputs
//! ```

use crate::device::{Cuda, name, suffix};
use crate::driver::Address;
use crate::grid::{THREADS, chunks, column_width, lanes};
use crate::memory::Storage;
use crate::params::{CONTIGUOUS, PACKED, STRIDED, TensorRef, Walk, pack_alignment, params, strides};
use crate::state::COUNTERS;
use minitorch_core::backend::{ArgReduceOp, ReduceOp, ReduceOps, View};
use minitorch_core::{DType, Layout, MAX_RANK, Shape};

params! {
    #[derive(Default)]
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

/// The longest row for which the lanes of a warp suffice.
const SHORT: usize = 1024;

impl ReduceOps for Cuda {
    fn reduce(&self, op: ReduceOp, x: View<'_, Storage>, dims: &[usize]) -> Storage {
        let mean = op == ReduceOp::Mean;
        let kernel = if mean { ReduceOp::Sum } else { op }.name();
        launch(self, kernel, x, dims, x.dtype, mean)
    }

    fn arg_reduce(&self, op: ArgReduceOp, x: View<'_, Storage>, dim: usize) -> Storage {
        let kernel = match op {
            ArgReduceOp::ArgMax => "argmax",
            ArgReduceOp::ArgMin => "argmin",
        };
        launch(self, kernel, x, &[dim], DType::I32, false)
    }
}

/// The kept dimensions in their order, with the layout's offset, and the reduced ones by descending stride: the order of reduced
/// elements is free, and this one merges most.
fn split_dims(layout: &Layout, dims: &[usize]) -> [Layout; 2] {
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

fn launch(device: &Cuda, kernel: &str, x: View<'_, Storage>, dims: &[usize], to: DType, mean: bool) -> Storage {
    let [kept, reduced] = split_dims(x.layout, dims);
    let (outputs, len) = (kept.numel(), reduced.numel());
    x.storage.check(x.dtype, x.layout);
    let out = device.alloc("reduce", to, outputs);
    if outputs == 0 {
        return out;
    }
    let kept_ref = TensorRef::new(x.storage.address(), x.dtype, &kept);
    let mut params = ReduceParams {
        kept: Walk::new(kept.shape()),
        reduced: Walk::new(reduced.shape()),
        kept_strides: kept_ref.strides,
        reduced_strides: strides(&reduced),
        x: kept_ref.data,
        out: out.address(),
        counters: device.0.counters(),
        divisor: if mean { len as f64 } else { 1.0 },
        chunk: len.next_multiple_of(4) as u64,
        order: order(&kept, &reduced, kept_ref.data, x.dtype),
        ..ReduceParams::default()
    };
    let algorithm = Algorithm::choose(device, &kept, &reduced);
    let (blocks, threads) = match algorithm {
        Algorithm::Rows { .. } => (COUNTERS + 1, 1), // never split into chunks
        Algorithm::Long => (outputs, THREADS),
        Algorithm::Columns { width } => (outputs.div_ceil(width), THREADS / width),
    };
    let (chunk, chunks) = chunks(device, blocks, len, threads);
    params.chunk = chunk as u64;
    // A partial result has at most 16 bytes.
    let partial = device.alloc("reduce", DType::F64, if chunks > 1 { 2 * outputs * chunks } else { 0 });
    params.partial = partial.address();
    let (kind, grid) = match algorithm {
        Algorithm::Rows { team } => {
            params.team_log = team.trailing_zeros();
            ("rows", [(outputs * team).div_ceil(THREADS), 1, 1])
        }
        Algorithm::Long => ("long", [outputs, chunks, 1]),
        Algorithm::Columns { width } => {
            params.width_log = width.trailing_zeros();
            ("columns", [blocks, chunks, 1])
        }
    };
    device.0.launch(name!("reduce_{kind}_{kernel}_{}", suffix(x.dtype)), grid, [THREADS, 1, 1], &params);
    out
}

#[derive(Clone, Copy)]
enum Algorithm {
    /// `team` lanes of a warp per output.
    Rows { team: usize },
    /// A block per output and chunk.
    Long,
    /// A block per `width` adjacent outputs and chunk.
    Columns { width: usize },
}

impl Algorithm {
    fn choose(device: &Cuda, kept: &Layout, reduced: &Layout) -> Self {
        let (outputs, len) = (kept.numel(), reduced.numel());
        // The innermost stride; a group without dimensions has no adjacent elements.
        let stride = |layout: &Layout| layout.strides().last().copied().unwrap_or(usize::MAX);
        if len == 0 || stride(reduced) > stride(kept) || reduced.shape().is_empty() {
            return Algorithm::Columns { width: column_width(device, outputs, len) };
        }
        let many_outputs = outputs >= 32 * device.0.multiprocessors();
        if len <= SHORT / 4 || len <= SHORT && outputs > device.0.multiprocessors() || len <= 4 * SHORT && many_outputs
        {
            return Algorithm::Rows { team: lanes(len) };
        }
        Algorithm::Long
    }
}

/// How the reduced elements of every output are laid out; see `ReduceParams` in reduce.cu.
fn order(kept: &Layout, reduced: &Layout, data: Address, dtype: DType) -> u32 {
    if reduced.is_contiguous() {
        return CONTIGUOUS;
    }
    let (Some((&1, outer)), Some(&inner)) = (reduced.strides().split_last(), reduced.shape().last()) else {
        return STRIDED;
    };
    let aligned = kept.strides().iter().chain(outer).chain([&inner]).all(|stride| stride.is_multiple_of(4));
    if aligned && data.is_multiple_of(pack_alignment(dtype)) { PACKED } else { STRIDED }
}
