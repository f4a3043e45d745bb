//! Reductions over any dimensions (`shaders/reduce.wgsl`, `shaders/product.wgsl`). The shape is split into the kept and the reduced
//! dimensions, each merged. Long reductions of few results are cut into chunks, which a second dispatch reduces; tensors that are
//! larger than a binding are reduced by halves.

use crate::device::Wgpu;
use crate::memory::Storage;
use crate::params::{Strides, Walk, params};
use crate::shader::{FOLDS, Form, Shader, code};
use crate::split;
use crate::stream::Bind;
use minitorch_core::backend::{
    ArgReduceOp, BinaryOp, BinaryOps, CompareOp, CompareOps, CopyOps, ReduceOp, ReduceOps, UnaryOp, UnaryOps, View,
    ViewOf,
};
use minitorch_core::{DType, Layout};

params! {
    /// Mirrors `ReduceParams` in reduce.wgsl.
    ReduceParams in "reduce" {
        kept: Walk,
        reduced: Walk,
        x_kept: Strides,
        x_reduced: Strides,
        chunks: u32,
        chunk: u32,
        divisor: f32,
        unused: u32,
    }
}

params! {
    /// Mirrors `ProductParams` in product.wgsl.
    ProductParams in "product" {
        kept: Walk,
        reduced: Walk,
        x_kept: Strides,
        x_reduced: Strides,
    }
}

/// Reduced elements per result from which a workgroup makes a result; below, an invocation does.
const MIN_WORKGROUP: usize = 32;

/// The least elements of a chunk: of a workgroup of `rows`, and of each result of `tiles`.
const MIN_CHUNK: usize = 4096;
const MIN_CHUNK_TILED: usize = 256;

/// Workgroups that occupy a large GPU: eight of 256 invocations for each of 128 multiprocessors.
pub(crate) const BUSY: usize = 1024;

/// Results of a workgroup of `tiles`.
const TILE: usize = 32;

/// The `OP` of a reduction: its position in [`FOLDS`]. A mean is a sum that is divided at the end.
fn fold_op(op: ReduceOp, dtype: DType) -> u32 {
    let name = match (op, dtype.is_float()) {
        (ReduceOp::Sum | ReduceOp::Mean, true) => "SUM_F32",
        (ReduceOp::Sum | ReduceOp::Mean, false) => "SUM_I32",
        (ReduceOp::Prod, _) => "PRODUCT_I32",
        (ReduceOp::Max, true) => "MAX_F32",
        (ReduceOp::Min, true) => "MIN_F32",
        (ReduceOp::Max, false) => "MAX_I32",
        (ReduceOp::Min, false) => "MIN_I32",
    };
    code(FOLDS, name)
}

/// The dimensions for which `keep` holds, of layouts of one shape, merged.
pub(crate) fn part<const N: usize>(layouts: [Layout; N], keep: impl Fn(usize) -> bool) -> [Layout; N] {
    let rank = layouts[0].shape().len();
    let dropped: Vec<usize> = (0..rank).rev().filter(|&d| !keep(d)).collect();
    Layout::merge(layouts.map(|layout| dropped.iter().fold(layout, |layout, &d| layout.remove(d))))
}

/// The kept and the reduced dimensions of a layout, each merged.
fn split_dims(layout: &Layout, dims: &[usize]) -> [Layout; 2] {
    [false, true].map(|reduced| {
        let [merged] = part([*layout], |d| dims.contains(&d) == reduced);
        merged
    })
}

impl ReduceOps for Wgpu {
    fn reduce(&self, op: ReduceOp, x: ViewOf<'_, Self>, dims: &[usize]) -> Storage {
        let [kept, _] = split_dims(x.layout, dims);
        let results = kept.numel();
        let count: usize = dims.iter().map(|&d| x.layout.shape()[d]).product();
        let mut out = self.alloc("reduce", x.dtype, results);
        if results == 0 {
            return out;
        }
        if x.storage.is_missing() {
            // Before the layout is converted to parameters: it may have more elements than those count.
            out.mark_missing();
            return out;
        }
        if count == 0 {
            // Core refuses extremes of nothing.
            let value = match op {
                ReduceOp::Sum => 0.0,
                ReduceOp::Prod => 1.0,
                _ => f64::NAN,
            };
            self.fill(&mut out, &Layout::contiguous([results]), x.dtype, value);
            return out;
        }
        if let Some(dim) = self.too_wide(x.storage, x.layout) {
            if x.dtype == DType::F16 {
                // In F32, so that only the result is rounded.
                let (wide, layout) = (self.cast(x, DType::F32), Layout::contiguous(*x.layout.shape()));
                let sums = self.reduce(op, View { storage: &wide, layout: &layout, dtype: DType::F32 }, dims);
                let layout = Layout::contiguous([results]);
                return self.cast(View { storage: &sums, layout: &layout, dtype: DType::F32 }, DType::F16);
            }
            return reduce_halves(self, op, x, dims, dim);
        }
        let window = self.window(x.storage, x.layout);
        let (inside, dtype) = (window.within(x.layout), x.dtype);
        let [kept, reduced] = split_dims(&inside, dims);
        if op == ReduceOp::Prod && dtype.is_float() {
            product(self, dtype, window.read(), &out, [&kept, &reduced]);
            return out;
        }
        let (groups, least) = match tiled(&kept, &reduced) {
            true => (results.div_ceil(TILE), MIN_CHUNK_TILED),
            false => (results, MIN_CHUNK),
        };
        let [chunks, chunk] = chunks(groups, count, least);
        let divisor = if op == ReduceOp::Mean { count as f32 } else { 1.0 };
        if chunks == 1 {
            fold(self, op, [dtype; 2], window.read(), &out, [&kept, &reduced], [1, count], divisor);
            return out;
        }
        // Partial results of F16 are F32.
        let partial = if dtype == DType::F16 { DType::F32 } else { dtype };
        let partials = self.alloc("reduce", partial, chunks * results);
        fold(self, op, [dtype, partial], window.read(), &partials, [&kept, &reduced], [chunks, chunk], 1.0);
        let (kept, reduced) = (Layout::contiguous([results]), Layout::new([chunks], &[results], 0));
        fold(self, op, [partial, dtype], Bind::Read(&partials), &out, [&kept, &reduced], [1, chunks], divisor);
        out
    }

    fn arg_reduce(&self, op: ArgReduceOp, x: ViewOf<'_, Self>, dim: usize) -> Storage {
        let results = Layout::contiguous(x.layout.shape().with(dim, 1));
        let mut out = self.alloc("arg_reduce", DType::I32, results.numel());
        if results.numel() == 0 {
            return out;
        }
        match self.too_wide(x.storage, x.layout) {
            None => {}
            Some(along) if along == dim => return arg_reduce_halves(self, op, x, dim, &results),
            Some(along) => {
                for half in 0..2 {
                    let [part, to] = [x.layout, &results].map(|layout| split::halves(layout, along)[half]);
                    let found = self.arg_reduce(op, View { layout: &part, ..x }, dim);
                    let layout = Layout::contiguous(*to.shape());
                    self.write(&mut out, &to, View { storage: &found, layout: &layout, dtype: DType::I32 });
                }
                return out;
            }
        }
        let window = self.window(x.storage, x.layout);
        let inside = window.within(x.layout);
        let [kept, reduced] = split_dims(&inside, &[dim]);
        let params = reduce_params([&kept, &reduced], [1, reduced.numel()], 1.0);
        let op = if op == ArgReduceOp::ArgMax { ReduceOp::Max } else { ReduceOp::Min };
        let (entry, groups) = match reduced.numel() < MIN_WORKGROUP {
            true => ("arg_columns", self.grid_over(kept.numel())),
            false => ("arg_rows", self.folded(kept.numel())),
        };
        let shader = Shader::new("reduce", entry).op(fold_op(op, x.dtype)).form(Form::of(x.dtype, DType::I32));
        self.dispatch(shader, groups, &params, &[Bind::Write(&out), window.read()]);
        out
    }
}

/// Into how many chunks reductions of `count` elements are cut, where one chunk of all results takes `groups` workgroups; and the
/// elements of a chunk: at least `least`, and a multiple of a workgroup's iteration.
pub(crate) fn chunks(groups: usize, count: usize, least: usize) -> [usize; 2] {
    let chunks = (BUSY / groups.max(1)).min(count / least).max(1);
    let chunk = if chunks == 1 { count } else { count.div_ceil(chunks).next_multiple_of(least.min(1024)) };
    [count.div_ceil(chunk), chunk]
}

/// The reduction of a tensor that does not fit a binding: of both halves along `dim`, which are concatenated, or combined if `dim` is
/// reduced.
fn reduce_halves(device: &Wgpu, op: ReduceOp, x: View<'_, Storage>, dims: &[usize], dim: usize) -> Storage {
    let halves = split::halves(x.layout, dim);
    let all = Layout::contiguous(dims.iter().fold(*x.layout.shape(), |shape, &d| shape.with(d, 1)));
    let half = |op, half: usize| device.reduce(op, View { layout: &halves[half], ..x }, dims);
    if !dims.contains(&dim) {
        let mut out = device.alloc("reduce", x.dtype, all.numel());
        for (i, to) in split::halves(&all, dim).iter().enumerate() {
            let results = half(op, i);
            let layout = Layout::contiguous(*to.shape());
            device.write(&mut out, to, View { storage: &results, layout: &layout, dtype: x.dtype });
        }
        return out;
    }
    let (op_of_half, combine) = match op {
        ReduceOp::Sum | ReduceOp::Mean => (ReduceOp::Sum, BinaryOp::Add),
        ReduceOp::Prod => (op, BinaryOp::Mul),
        ReduceOp::Max => (op, BinaryOp::Maximum),
        ReduceOp::Min => (op, BinaryOp::Minimum),
    };
    let (mut out, other) = (half(op_of_half, 0), half(op_of_half, 1));
    device.binary_mut(combine, &mut out, &all, View { storage: &other, layout: &all, dtype: x.dtype });
    if op == ReduceOp::Mean {
        let count: usize = dims.iter().map(|&d| x.layout.shape()[d]).product();
        device.unary_mut(UnaryOp::Div(count as f64), &mut out, &all, x.dtype);
    }
    out
}

/// The product of floats, by product.wgsl.
fn product(device: &Wgpu, dtype: DType, x: Bind<'_>, out: &Storage, [kept, reduced]: [&Layout; 2]) {
    let params = ProductParams {
        kept: Walk::new(kept.shape()),
        reduced: Walk::new(reduced.shape()),
        x_kept: Strides::new(kept),
        x_reduced: Strides::without_offset(reduced),
    };
    let (entry, groups) = match reduced.numel() < MIN_WORKGROUP {
        true => ("columns", device.grid_over(kept.numel())),
        false => ("rows", device.folded(kept.numel())),
    };
    let shader = Shader::new("product", entry).form(Form::of(dtype, dtype));
    device.dispatch(shader, groups, &params, &[Bind::Write(out), x]);
}

/// Whether consecutive results, rather than the reduced elements of one, are close in memory.
fn tiled(kept: &Layout, reduced: &Layout) -> bool {
    let inner = |layout: &Layout| layout.strides().last().copied().unwrap_or(usize::MAX);
    inner(kept) < inner(reduced) && kept.numel() >= TILE / 2
}

/// Whether reduced elements can be read as vec4: the innermost reduced dimension is contiguous, and its size, all other strides and
/// the offset are multiples of 4.
pub(crate) fn is_vec4(kept: &Layout, reduced: &Layout) -> bool {
    let aligned = |n: &usize| n.is_multiple_of(4);
    match (reduced.shape().last(), reduced.strides().split_last()) {
        (Some(size), Some((1, outer))) => {
            aligned(size) && outer.iter().chain(kept.strides()).all(aligned) && aligned(&kept.offset())
        }
        _ => false,
    }
}

fn reduce_params([kept, reduced]: [&Layout; 2], [chunks, chunk]: [usize; 2], divisor: f32) -> ReduceParams {
    ReduceParams {
        kept: Walk::new(kept.shape()),
        reduced: Walk::new(reduced.shape()),
        x_kept: Strides::new(kept),
        x_reduced: Strides::without_offset(reduced),
        chunks: chunks as u32,
        chunk: chunk as u32,
        divisor,
        unused: 0,
    }
}

/// One dispatch: `out[c, kept] = fold(x[kept, chunk c of reduced]) / divisor`.
#[allow(clippy::too_many_arguments, reason = "the geometry of one dispatch")]
fn fold(
    device: &Wgpu,
    op: ReduceOp,
    [read, write]: [DType; 2],
    x: Bind<'_>,
    out: &Storage,
    [kept, reduced]: [&Layout; 2],
    [chunks, chunk]: [usize; 2],
    divisor: f32,
) {
    let params = reduce_params([kept, reduced], [chunks, chunk], divisor);
    let results = kept.numel() * chunks;
    let (entry, groups) = match tiled(kept, reduced) {
        _ if chunk < MIN_WORKGROUP => ("columns", device.grid_over(results)),
        true => ("tiles", device.folded(kept.numel().div_ceil(TILE) * chunks)),
        false if chunk.is_multiple_of(4) && is_vec4(kept, reduced) => ("rows_vec4", device.folded(results)),
        false => ("rows", device.folded(results)),
    };
    let shader = Shader::new("reduce", entry).op(fold_op(op, read)).form(Form::of(read, write));
    device.dispatch(shader, groups, &params, &[Bind::Write(out), x]);
}

/// The index of an extreme along a dimension that does not fit a binding: the second half's if its extreme is the better one or the
/// first NaN, else the first half's.
fn arg_reduce_halves(device: &Wgpu, op: ArgReduceOp, x: View<'_, Storage>, dim: usize, results: &Layout) -> Storage {
    fn view<'a>(storage: &'a Storage, layout: &'a Layout, dtype: DType) -> View<'a, Storage> {
        View { storage, layout, dtype }
    }
    let halves = split::halves(x.layout, dim);
    let half = |i: usize| View { layout: &halves[i], ..x };
    let (extreme, better) = match op {
        ArgReduceOp::ArgMax => (ReduceOp::Max, CompareOp::Gt),
        ArgReduceOp::ArgMin => (ReduceOp::Min, CompareOp::Lt),
    };
    let [first, second] = [0, 1].map(|i| device.reduce(extreme, half(i), &[dim]));
    let [first, second] = [&first, &second].map(|storage| view(storage, results, x.dtype));
    let mask = |storage| view(storage, results, DType::Bool);
    let is_better = device.compare(better, second, first);
    let is_nan = device.compare(CompareOp::Ne, second, second);
    let no_nan_before = device.compare(CompareOp::Eq, first, first);
    let is_first_nan = device.binary(BinaryOp::Minimum, mask(&is_nan), mask(&no_nan_before));
    let takes_second = device.binary(BinaryOp::Maximum, mask(&is_better), mask(&is_first_nan));
    let [first, mut second] = [0, 1].map(|i| device.arg_reduce(op, half(i), dim));
    let before = halves[0].shape()[dim] as f64;
    device.unary_mut(UnaryOp::Add(before), &mut second, results, DType::I32);
    let [second, first] = [&second, &first].map(|storage| view(storage, results, DType::I32));
    device.where_cond(mask(&takes_second), second, first)
}
