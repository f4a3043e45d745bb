//! Matrix products: tiles, splits and strides for `shaders/matmul.wgsl`.

use crate::Tensor;
use crate::device::Wgpu;
use crate::memory::Storage;
use crate::params::{Operand, Walk, params};
use crate::shader::{Form, Shader};
use crate::stream::Bind;
use crate::{binary, copy, split};
use minitorch_core::backend::{Activation, BinaryOp, View};
use minitorch_core::ops::composed;
use minitorch_core::{DType, Layout};

params! {
    /// Mirrors `MatmulParams` in matmul.wgsl.
    MatmulParams in "matmul" {
        batch: Walk,
        a: Operand,
        b: Operand,
        m: u32,
        n: u32,
        k: u32,
        splits: u32,
        a_line: u32,
        a_k: u32,
        b_line: u32,
        b_k: u32,
        unused: u32,
        has_bias: u32,
        bias_offset: u32,
        part: u32,
    }
}

/// The k from which on a product of few tiles is split, so that it makes up for the dispatch that joins; the least k of a split;
/// and workgroups from which on nothing is.
const LONG: usize = 512;
const LEAST: usize = 128;
const ENOUGH: usize = 256;

/// Workgroups of the small tile up to which they take four times as many invocations.
const FEW: usize = 256;

/// One operand of a product: lines (m or n) of k elements, in a batch.
struct Matrix<'a> {
    bind: Bind<'a>,
    line: usize,
    k: usize,
    batch: Layout,
}

/// What a product is halved along when an operand or the result is more than one binding reaches.
#[derive(Clone, Copy, PartialEq)]
enum Along {
    Batch(usize),
    Rows,
    Columns,
    Sum,
}

impl Along {
    /// The meaning of a dimension, the last two of which are these.
    fn new(dim: usize, rank: usize, last: [Along; 2]) -> Self {
        if dim < rank - 2 { Along::Batch(dim) } else { last[dim + 2 - rank] }
    }
}

pub(crate) fn matmul(device: &Wgpu, a: View<'_, Storage>, b: View<'_, Storage>) -> Storage {
    use Along::{Columns, Rows, Sum};
    let rank = a.layout.shape().len();
    let [m, k] = [a.layout.shape()[rank - 2], a.layout.shape()[rank - 1]];
    let n = b.layout.shape()[rank - 1];
    let whole = Layout::contiguous(a.layout.shape().with(rank - 1, n));
    [a, b].iter().for_each(|x| x.storage.check(x.layout));
    let along =
        |x: View<'_, Storage>, last| device.too_wide(x.storage, x.layout).map(|dim| Along::new(dim, rank, last));
    let too_long =
        (!device.0.binds_whole(whole.numel())).then(|| Along::new(split::widest(&whole), rank, [Rows, Columns]));
    if let Some(along) = along(a, [Rows, Sum]).or(along(b, [Sum, Columns])).or(too_long) {
        if a.dtype == DType::F16 {
            // Sums of parts are not rounded.
            let wide = [a, b].map(|x| (copy::cast(device, x, DType::F32), Layout::contiguous(*x.layout.shape())));
            let [a, b] = [&wide[0], &wide[1]].map(|(storage, layout)| View { storage, layout, dtype: DType::F32 });
            let out = matmul(device, a, b);
            return copy::cast(device, View { storage: &out, layout: &whole, dtype: DType::F32 }, DType::F16);
        }
        return halved(device, a, b, along, &whole);
    }
    let (left, right) = (device.window(a.storage, a.layout), device.window(b.storage, b.layout));
    let batch = |x: &Layout| x.remove(rank - 1).remove(rank - 2);
    let (sa, sb) = (a.layout.strides(), b.layout.strides());
    let (line, step) = (sa[rank - 2], sa[rank - 1]);
    let left = Matrix { batch: batch(&left.within(a.layout)), bind: left.read(), line, k: step };
    let (line, step) = (sb[rank - 1], sb[rank - 2]);
    let right = Matrix { batch: batch(&right.within(b.layout)), bind: right.read(), line, k: step };
    product(device, ("matmul", a.dtype), [m, n, k], left, right, None)
}

/// The product of both halves: side by side, or their sum.
fn halved(device: &Wgpu, a: View<'_, Storage>, b: View<'_, Storage>, along: Along, whole: &Layout) -> Storage {
    let rank = whole.shape().len();
    let [of_a, of_b, of_result] = match along {
        Along::Batch(dim) => [Some(dim); 3],
        Along::Rows => [Some(rank - 2), None, Some(rank - 2)],
        Along::Columns => [None, Some(rank - 1), Some(rank - 1)],
        Along::Sum => [Some(rank - 1), Some(rank - 2), None],
    };
    let part = |half: usize| {
        let cut = |layout: &Layout, dim: Option<usize>| dim.map_or(*layout, |dim| split::halves(layout, dim)[half]);
        let (left, right) = (cut(a.layout, of_a), cut(b.layout, of_b));
        matmul(device, View { layout: &left, ..a }, View { layout: &right, ..b })
    };
    let Some(dim) = of_result else {
        let (mut sum, other) = (part(0), part(1));
        let other = View { storage: &other, layout: whole, dtype: DType::F32 };
        binary::binary_mut(device, BinaryOp::Add, &mut sum, whole, other);
        return sum;
    };
    let mut out = device.alloc("matmul", DType::F32, whole.numel());
    for (half, to) in split::halves(whole, dim).iter().enumerate() {
        let (results, layout) = (part(half), Layout::contiguous(*to.shape()));
        copy::write(device, &mut out, to, View { storage: &results, layout: &layout, dtype: DType::F32 });
    }
    out
}

/// `x wᵀ + b`
pub(crate) fn linear(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, activation: Option<Activation>) -> Tensor {
    if activation.is_some() {
        return composed::linear(x, w, bias, activation);
    }
    let (device, dtype, x) = (x.device(), x.dtype(), x.contiguous());
    let rank = x.rank();
    let [n, k] = w.dims();
    let rows: usize = x.shape()[..rank - 1].iter().product();
    if [x.view().storage.bytes(), w.view().storage.bytes(), rows as u64 * n as u64 * 4]
        .iter()
        .any(|&bytes| bytes > device.0.largest_binding())
    {
        return composed::linear(&x, w, bias, None);
    }
    let one = |x: &Tensor| Layout::new([], &[], x.layout().offset());
    let left = Matrix { bind: Bind::Read(x.view().storage), line: k, k: 1, batch: one(&x) };
    let [line, step] = [w.layout().strides()[0], w.layout().strides()[1]];
    let right = Matrix { bind: Bind::Read(w.view().storage), line, k: step, batch: one(w) };
    let bias = bias.map(Tensor::contiguous);
    let out = product(device, ("linear", dtype), [rows, n, k], left, right, bias.as_ref());
    Tensor::from_storage(device, out, dtype, x.shape().with(rank - 1, n))
}

fn product(
    device: &Wgpu,
    (op, dtype): (&str, DType),
    [m, n, k]: [usize; 3],
    a: Matrix<'_>,
    b: Matrix<'_>,
    bias: Option<&Tensor>,
) -> Storage {
    let [a_batch, b_batch] = Layout::merge([a.batch, b.batch]);
    let batch = a_batch.numel();
    let out = device.alloc(op, dtype, batch * m * n);
    if batch * m * n == 0 {
        return out;
    }
    if k == 0 {
        // Nothing to bind: the sum over nothing, and the bias.
        let zeros = device.alloc(op, dtype, 1);
        copy::fill_part(device, &zeros, &Layout::contiguous([1]), dtype, 0.0);
        let layout = Layout::new([batch, m, n], &[0, 0, 0], 0);
        let view = |storage| View { storage, layout: &layout, dtype };
        return match bias {
            None => copy::copy(device, view(&zeros)),
            Some(bias) => {
                let repeated = Layout::new([batch, m, n], &[0, 0, 1], bias.layout().offset());
                copy::copy(device, View { layout: &repeated, ..bias.view() })
            }
        };
    }
    let mut params = MatmulParams {
        batch: Walk::new(a_batch.shape()),
        a: Operand::new(&a_batch),
        b: Operand::new(&b_batch),
        m: m as u32,
        n: n as u32,
        k: k as u32,
        splits: 1,
        a_line: a.line as u32,
        a_k: a.k as u32,
        b_line: b.line as u32,
        b_k: b.k as u32,
        unused: 0,
        has_bias: bias.is_some() as u32,
        bias_offset: bias.map_or(0, |bias| bias.layout().offset()) as u32,
        part: (batch * m * n) as u32,
    };
    // What is not read is bound to something that may be.
    let bias = bias.map_or(a.bind, |bias| Bind::Read(bias.view().storage));
    if batch == 1 && (m == 1 || n == 1 && params.has_bias == 0) {
        let (lines, one) = if m == 1 { (&b, &a) } else { (&a, &b) };
        if m == 1 {
            params = MatmulParams {
                a: params.b,
                b: params.a,
                m: n as u32,
                a_line: params.b_line,
                a_k: params.b_k,
                b_line: params.a_line,
                b_k: params.a_k,
                ..params
            };
        }
        let binds = [Bind::Write(&out), lines.bind, one.bind, bias];
        let shader = Shader::new("matmul", "vector").form(Form::of(dtype, dtype));
        device.dispatch(shader, device.folded(m.max(n)), &params, &binds);
        return out;
    }
    let tiles = |size: usize| m.div_ceil(size) * n.div_ceil(size);
    let tile = if m.min(n) > 32 && tiles(64) * batch >= 16 { 64 } else { 32 };
    // A long k over few tiles is split, so that more than a few workgroups have something to do.
    let splits = if batch == 1 && k >= LONG { (ENOUGH / tiles(tile)).min(k / LEAST).max(1) } else { 1 };
    let splits = if device.0.binds_whole(splits * m * n) { splits } else { 1 };
    let entry = match tile {
        64 => "tile_64",
        // Where tiles are few, invocations share the steps of k.
        _ if tiles(tile) * splits * batch <= FEW && k > 32 => "tile_32_sliced",
        _ => "tile_32",
    };
    params.splits = splits as u32;
    let [x, y, _] = device.folded(tiles(tile) * splits);
    let groups = [x, y, batch.min(device.largest_grid()) as u32];
    let operands = [a.bind, b.bind, bias];
    let run = |entry, [read, write]: [DType; 2], to: &Storage, [a, b, bias]: [Bind<'_>; 3], groups| {
        let shader = Shader::new("matmul", entry).form(Form::of(read, write));
        let operations = if entry == "join" { 0 } else { 2 * (batch * m * n) as u64 * k as u64 };
        device.dispatch_heavy(shader, groups, &params, &[Bind::Write(to), a, b, bias], operations);
    };
    if splits == 1 {
        run(entry, [dtype; 2], &out, operands, groups);
        return out;
    }
    let parts = device.alloc(op, DType::F32, splits * m * n);
    run(entry, [dtype, DType::F32], &parts, operands, groups);
    let [_, _, bias] = operands;
    run("join", [DType::F32, dtype], &out, [Bind::Read(&parts), Bind::Read(&parts), bias], device.walk_over(m * n));
    out
}
