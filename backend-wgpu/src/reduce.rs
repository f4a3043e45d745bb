//! Reductions over any dimensions: walks, pieces and entries for `shaders/reduce.wgsl`.

use crate::device::Wgpu;
use crate::memory::Storage;
use crate::params::{Operand, Walk, params};
use crate::shader::{Form, Shader};
use crate::stream::Bind;
use crate::{binary, compare, copy, split, unary};
use minitorch_core::backend::{ArgReduceOp, BinaryOp, CompareOp, ReduceOp, UnaryOp, View};
use minitorch_core::{DType, Layout};

params! {
    /// Mirrors `ReduceParams` in reduce.wgsl.
    ReduceParams in "reduce" {
        kept: Walk,
        reduced: Walk,
        x_kept: Operand,
        x_reduced: Operand,
        pieces: u32,
        piece: u32,
        divisor: f32,
        unused: u32,
    }
}

params! {
    /// Mirrors `ProductParams` in product.wgsl.
    ProductParams in "product" {
        kept: Walk,
        reduced: Walk,
        x_kept: Operand,
        x_reduced: Operand,
    }
}

/// Lines from this length on are reduced by a workgroup each; shorter ones by an invocation.
const SHORT: usize = 32;

/// Elements of a piece at the least, per workgroup of `rows`; and those of each of its lines for `tiles`.
const PIECE: usize = 4096;
const TALL: usize = 256;

/// Workgroups that keep a large GPU busy: eight of 256 invocations for each of 128 multiprocessors.
pub(crate) const BUSY: usize = 1024;

/// Neighbouring results of a workgroup of `tiles`.
const TILE: usize = 32;

/// The fold's number in fold.wgsl.
fn code(op: ReduceOp, dtype: DType) -> u32 {
    let float = dtype.is_float();
    match op {
        ReduceOp::Sum | ReduceOp::Mean if float => 0,
        ReduceOp::Sum | ReduceOp::Mean => 1,
        ReduceOp::Prod => 2,
        ReduceOp::Max if float => 3,
        ReduceOp::Min if float => 4,
        ReduceOp::Max => 5,
        ReduceOp::Min => 6,
    }
}

/// The layout with only the dimensions that are (or are not) reduced, merged.
fn part(layout: &Layout, dims: &[usize], reduced: bool) -> Layout {
    let rank = layout.shape().len();
    let dropped = (0..rank).rev().filter(|d| dims.contains(d) != reduced);
    let [merged] = Layout::merge([dropped.fold(*layout, |layout, d| layout.remove(d))]);
    merged
}

pub(crate) fn reduce(device: &Wgpu, op: ReduceOp, x: View<'_, Storage>, dims: &[usize]) -> Storage {
    let kept = part(x.layout, dims, false);
    let count: usize = dims.iter().map(|&d| x.layout.shape()[d]).product();
    let results = kept.numel();
    let out = device.alloc("reduce", x.dtype, results);
    if results == 0 {
        return out;
    }
    if x.storage.is_missing() {
        // There was no memory for it, which may be because it has more elements than a walk counts.
        out.miss();
        return out;
    }
    if count == 0 {
        // Over nothing; core refuses extremes of nothing.
        let value = match op {
            ReduceOp::Sum => 0.0,
            ReduceOp::Prod => 1.0,
            _ => f64::NAN,
        };
        copy::fill_part(device, &out, &Layout::contiguous([results]), x.dtype, value);
        return out;
    }
    if let Some(dim) = device.too_wide(x.storage, x.layout) {
        if x.dtype == DType::F16 {
            // Parts are not rounded.
            let (wide, layout) = (copy::cast(device, x, DType::F32), Layout::contiguous(*x.layout.shape()));
            let results = reduce(device, op, View { storage: &wide, layout: &layout, dtype: DType::F32 }, dims);
            let line = Layout::contiguous([kept.numel()]);
            return copy::cast(device, View { storage: &results, layout: &line, dtype: DType::F32 }, DType::F16);
        }
        return halved(device, op, x, dims, dim);
    }
    let window = device.window(x.storage, x.layout);
    let (inside, dtype) = (window.within(x.layout), x.dtype);
    let [kept, reduced] = [false, true].map(|reduced| part(&inside, dims, reduced));
    if op == ReduceOp::Prod && dtype.is_float() {
        product(device, dtype, window.read(), &out, [&kept, &reduced]);
        return out;
    }
    // Long lines, when they are too few for a card, are cut into pieces; a second reduction joins those.
    let (groups, least) = match tiled(&kept, &reduced) {
        true => (results.div_ceil(TILE), TALL),
        false => (results, PIECE),
    };
    let [pieces, piece] = pieces(groups, count, least);
    let divisor = if op == ReduceOp::Mean { count as f32 } else { 1.0 };
    if pieces == 1 {
        fold(device, op, [dtype; 2], window.read(), &out, [&kept, &reduced], [1, count], divisor);
        return out;
    }
    // Parts of F16 are F32.
    let part = if dtype == DType::F16 { DType::F32 } else { dtype };
    let parts = device.alloc("reduce", part, pieces * results);
    fold(device, op, [dtype, part], window.read(), &parts, [&kept, &reduced], [pieces, piece], 1.0);
    let (line, across) = (Layout::contiguous([results]), Layout::new([pieces], &[results], 0));
    fold(device, op, [part, dtype], Bind::Read(&parts), &out, [&line, &across], [1, pieces], divisor);
    out
}

/// Into how many pieces lines of so many elements are cut, if workgroups take so many lines each by itself, and elements of a piece:
/// `least` or more, and whole turns of a workgroup.
pub(crate) fn pieces(groups: usize, count: usize, least: usize) -> [usize; 2] {
    let pieces = (BUSY / groups.max(1)).min(count / least).max(1);
    let piece = if pieces == 1 { count } else { count.div_ceil(pieces).next_multiple_of(least.min(1024)) };
    [count.div_ceil(piece), piece]
}

/// Both halves of a tensor that one binding does not reach: side by side, or one folded with the other.
fn halved(device: &Wgpu, op: ReduceOp, x: View<'_, Storage>, dims: &[usize], dim: usize) -> Storage {
    let halves = split::halves(x.layout, dim);
    let all = Layout::contiguous(dims.iter().fold(*x.layout.shape(), |shape, &d| shape.with(d, 1)));
    let part = |op, half: usize| reduce(device, op, View { layout: &halves[half], ..x }, dims);
    if !dims.contains(&dim) {
        let mut out = device.alloc("reduce", x.dtype, all.numel());
        for (half, to) in split::halves(&all, dim).iter().enumerate() {
            let results = part(op, half);
            let layout = Layout::contiguous(*to.shape());
            copy::write(device, &mut out, to, View { storage: &results, layout: &layout, dtype: x.dtype });
        }
        return out;
    }
    let (sum, join) = match op {
        ReduceOp::Sum | ReduceOp::Mean => (ReduceOp::Sum, BinaryOp::Add),
        ReduceOp::Prod => (op, BinaryOp::Mul),
        ReduceOp::Max => (op, BinaryOp::Maximum),
        ReduceOp::Min => (op, BinaryOp::Minimum),
    };
    let (mut out, other) = (part(sum, 0), part(sum, 1));
    binary::binary_mut(device, join, &mut out, &all, View { storage: &other, layout: &all, dtype: x.dtype });
    if op == ReduceOp::Mean {
        let count: usize = dims.iter().map(|&d| x.layout.shape()[d]).product();
        unary::unary_mut(device, UnaryOp::Div(count as f64), &mut out, &all, x.dtype);
    }
    out
}

/// The product of floats, by product.wgsl.
fn product(device: &Wgpu, dtype: DType, x: Bind<'_>, out: &Storage, [kept, reduced]: [&Layout; 2]) {
    let params = ProductParams {
        kept: Walk::new(kept.shape()),
        reduced: Walk::new(reduced.shape()),
        x_kept: Operand::new(kept),
        x_reduced: Operand { offset: 0, ..Operand::new(reduced) },
    };
    let (entry, groups) = match reduced.numel() < SHORT {
        true => ("columns", device.walk_over(kept.numel())),
        false => ("rows", device.folded(kept.numel())),
    };
    device.dispatch(
        Shader::new("product", entry).form(Form::of(dtype, dtype)),
        groups,
        &params,
        &[Bind::Write(out), x],
    );
}

/// Whether neighbouring results, not the elements of a line, are neighbours in memory.
fn tiled(kept: &Layout, reduced: &Layout) -> bool {
    let inner = |layout: &Layout| layout.strides().last().copied().unwrap_or(usize::MAX);
    inner(kept) < inner(reduced) && kept.numel() >= TILE / 2
}

/// Whether elements can be read as whole vectors of four neighbours: the innermost reduced dimension is contiguous, and all else
/// moves by multiples of four.
pub(crate) fn by_fours(kept: &Layout, reduced: &Layout) -> bool {
    let four = |n: &usize| n.is_multiple_of(4);
    match (reduced.shape().last(), reduced.strides().split_last()) {
        (Some(size), Some((1, outer))) => {
            four(size) && outer.iter().chain(kept.strides()).all(four) && four(&kept.offset())
        }
        _ => false,
    }
}

/// One dispatch: `out[piece, kept] = fold(x[kept, piece of reduced]) / divisor`.
#[allow(clippy::too_many_arguments, reason = "one call's geometry")]
fn fold(
    device: &Wgpu,
    op: ReduceOp,
    [read, write]: [DType; 2],
    x: Bind<'_>,
    out: &Storage,
    [kept, reduced]: [&Layout; 2],
    [pieces, piece]: [usize; 2],
    divisor: f32,
) {
    let params = ReduceParams {
        kept: Walk::new(kept.shape()),
        reduced: Walk::new(reduced.shape()),
        x_kept: Operand::new(kept),
        // The offset counts once.
        x_reduced: Operand { offset: 0, ..Operand::new(reduced) },
        pieces: pieces as u32,
        piece: piece as u32,
        divisor,
        unused: 0,
    };
    let results = kept.numel() * pieces;
    let (entry, groups) = match tiled(kept, reduced) {
        _ if piece < SHORT => ("columns", device.walk_over(results)),
        true => ("tiles", device.folded(kept.numel().div_ceil(TILE) * pieces)),
        false if piece.is_multiple_of(4) && by_fours(kept, reduced) => ("rows_4", device.folded(results)),
        false => ("rows", device.folded(results)),
    };
    let shader = Shader::new("reduce", entry).op(code(op, read)).form(Form::of(read, write));
    device.dispatch(shader, groups, &params, &[Bind::Write(out), x]);
}

pub(crate) fn arg_reduce(device: &Wgpu, op: ArgReduceOp, x: View<'_, Storage>, dim: usize) -> Storage {
    let mut results = x.layout.narrow(dim, 0, 1);
    results = Layout::contiguous(*results.shape());
    let mut out = device.alloc("arg_reduce", DType::I32, results.numel());
    if results.numel() == 0 {
        return out;
    }
    match device.too_wide(x.storage, x.layout) {
        None => {}
        Some(along) if along == dim => return arg_of_halves(device, op, x, dim, &results),
        Some(along) => {
            for half in 0..2 {
                let [part, to] = [x.layout, &results].map(|layout| split::halves(layout, along)[half]);
                let found = arg_reduce(device, op, View { layout: &part, ..x }, dim);
                let layout = Layout::contiguous(*to.shape());
                copy::write(device, &mut out, &to, View { storage: &found, layout: &layout, dtype: DType::I32 });
            }
            return out;
        }
    }
    let window = device.window(x.storage, x.layout);
    let inside = window.within(x.layout);
    let [kept, reduced] = [false, true].map(|reduced| part(&inside, &[dim], reduced));
    let params = ReduceParams {
        kept: Walk::new(kept.shape()),
        reduced: Walk::new(reduced.shape()),
        x_kept: Operand::new(&kept),
        x_reduced: Operand { offset: 0, ..Operand::new(&reduced) },
        pieces: 1,
        piece: reduced.numel() as u32,
        divisor: 1.0,
        unused: 0,
    };
    let op = if op == ArgReduceOp::ArgMax { ReduceOp::Max } else { ReduceOp::Min };
    let (entry, groups) = match reduced.numel() < SHORT {
        true => ("arg_columns", device.walk_over(kept.numel())),
        false => ("arg_rows", device.folded(kept.numel())),
    };
    let shader = Shader::new("reduce", entry).op(code(op, x.dtype)).form(Form::of(x.dtype, DType::I32));
    device.dispatch(shader, groups, &params, &[Bind::Write(&out), window.read()]);
    out
}

/// The index of an extreme along a dimension of which one binding does not reach a line: the second half's if its extreme is the
/// better one, or the first NaN.
fn arg_of_halves(device: &Wgpu, op: ArgReduceOp, x: View<'_, Storage>, dim: usize, results: &Layout) -> Storage {
    let halves = split::halves(x.layout, dim);
    let half = |i: usize| View { layout: &halves[i], ..x };
    let (extreme, better) = match op {
        ArgReduceOp::ArgMax => (ReduceOp::Max, CompareOp::Gt),
        ArgReduceOp::ArgMin => (ReduceOp::Min, CompareOp::Lt),
    };
    fn view<'a>(storage: &'a Storage, layout: &'a Layout, dtype: DType) -> View<'a, Storage> {
        View { storage, layout, dtype }
    }
    let [first, second] = [0, 1].map(|i| reduce(device, extreme, half(i), &[dim]));
    let [first, second] = [&first, &second].map(|storage| view(storage, results, x.dtype));
    let truth = |storage| view(storage, results, DType::Bool);
    let is_better = compare::compare(device, better, second, first);
    let is_nan = compare::compare(device, CompareOp::Ne, second, second);
    let no_nan = compare::compare(device, CompareOp::Eq, first, first);
    let first_nan = binary::binary(device, BinaryOp::Minimum, truth(&is_nan), truth(&no_nan));
    let takes = binary::binary(device, BinaryOp::Maximum, truth(&is_better), truth(&first_nan));
    let [first, mut second] = [0, 1].map(|i| arg_reduce(device, op, half(i), dim));
    let before = halves[0].shape()[dim] as f64;
    unary::unary_mut(device, UnaryOp::Add(before), &mut second, results, DType::I32);
    let [second, first] = [&second, &first].map(|storage| view(storage, results, DType::I32));
    copy::where_cond(device, truth(&takes), second, first)
}
