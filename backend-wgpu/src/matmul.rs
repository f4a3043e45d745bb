//! Matrix products: tiles, splits and strides for `shaders/matmul.wgsl`.

use crate::Tensor;
use crate::device::Wgpu;
use crate::memory::Storage;
use crate::params::{Operand, Walk};
use crate::stream::{Bind, Shader};
use bytemuck::{Pod, Zeroable};
use minitorch_core::Layout;
use minitorch_core::backend::View;

/// Mirrors `MatmulParams` in matmul.wgsl.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct MatmulParams {
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
    tile: u32,
    has_bias: u32,
    bias_offset: u32,
    part: u32,
}

/// One operand of a product: lines (m or n) of k elements, in a batch.
struct Matrix<'a> {
    storage: &'a Storage,
    line: usize,
    k: usize,
    batch: Layout,
}

fn shader(entry: &'static str) -> Shader {
    Shader { file: "matmul", entry, op: None }
}

pub(crate) fn matmul(device: &Wgpu, a: View<'_, Storage>, b: View<'_, Storage>) -> Storage {
    let rank = a.layout.shape().len();
    let [m, k] = [a.layout.shape()[rank - 2], a.layout.shape()[rank - 1]];
    let n = b.layout.shape()[rank - 1];
    let batch = |x: &Layout| x.remove(rank - 1).remove(rank - 2);
    let (sa, sb) = (a.layout.strides(), b.layout.strides());
    let left = Matrix { storage: a.storage, line: sa[rank - 2], k: sa[rank - 1], batch: batch(a.layout) };
    let right = Matrix { storage: b.storage, line: sb[rank - 1], k: sb[rank - 2], batch: batch(b.layout) };
    product(device, "matmul", [m, n, k], left, right, None)
}

/// `x wᵀ + b`
pub(crate) fn linear(x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let (device, dtype, x) = (x.device(), x.dtype(), x.contiguous());
    let rank = x.rank();
    let [n, k] = w.dims();
    let rows: usize = x.shape()[..rank - 1].iter().product();
    let one = |x: &Tensor| Layout::new([], &[], x.layout().offset());
    let left = Matrix { storage: x.view().storage, line: k, k: 1, batch: one(&x) };
    let [line, step] = [w.layout().strides()[0], w.layout().strides()[1]];
    let right = Matrix { storage: w.view().storage, line, k: step, batch: one(w) };
    let bias = bias.map(Tensor::contiguous);
    let out = product(device, "linear", [rows, n, k], left, right, bias.as_ref());
    Tensor::from_storage(device, out, dtype, x.shape().with(rank - 1, n))
}

fn product(
    device: &Wgpu,
    op: &str,
    [m, n, k]: [usize; 3],
    a: Matrix<'_>,
    b: Matrix<'_>,
    bias: Option<&Tensor>,
) -> Storage {
    let [a_batch, b_batch] = Layout::merge([a.batch, b.batch]);
    let batch = a_batch.numel();
    let out = device.alloc(op, batch * m * n);
    if batch * m * n == 0 {
        return out;
    }
    if k == 0 {
        // Nothing to bind: the sum over nothing, and the bias.
        let zeros = device.alloc(op, 1);
        device.map(Shader { file: "copy", entry: "fill", op: None }, &zeros, &Layout::contiguous([1]), [], [0; 2]);
        let layout = Layout::new([batch, m, n], &[0, 0, 0], 0);
        let view = |storage| View { storage, layout: &layout, dtype: minitorch_core::DType::F32 };
        return match bias {
            None => crate::copy::copy(device, view(&zeros)),
            Some(bias) => {
                let repeated = Layout::new([batch, m, n], &[0, 0, 1], bias.layout().offset());
                crate::copy::copy(device, View { layout: &repeated, ..bias.view() })
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
        tile: 32,
        has_bias: bias.is_some() as u32,
        bias_offset: bias.map_or(0, |bias| bias.layout().offset()) as u32,
        part: (batch * m * n) as u32,
    };
    // What is not read is bound to something that may be.
    let bias_storage = bias.map_or(a.storage, |bias| bias.view().storage);
    if batch == 1 && (m == 1 || n == 1 && bias.is_none()) {
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
        let binds = [Bind::Write(&out), Bind::Read(lines.storage), Bind::Read(one.storage), Bind::Read(bias_storage)];
        device.dispatch(shader("vector"), device.folded(m.max(n)), &params, &binds);
        return out;
    }
    let tiles = |size: usize| m.div_ceil(size) * n.div_ceil(size);
    let tile = if m.min(n) > 32 && tiles(64) * batch >= 16 { 64 } else { 32 };
    // A long k over few tiles is split, so that more than a few workgroups have something to do.
    let splits = if batch == 1 { (64 / tiles(tile)).min(k / 512).max(1) } else { 1 };
    params.tile = tile as u32;
    params.splits = splits as u32;
    let [x, y, _] = device.folded(tiles(tile) * splits);
    let groups = [x, y, batch.min(65_535) as u32];
    let operands = [Bind::Read(a.storage), Bind::Read(b.storage), Bind::Read(bias_storage)];
    let run = |entry, to: &Storage, [a, b, bias]: [Bind<'_>; 3], groups| {
        device.dispatch(shader(entry), groups, &params, &[Bind::Write(to), a, b, bias]);
    };
    if splits == 1 {
        run("tile", &out, operands, groups);
        return out;
    }
    let parts = device.alloc(op, splits * m * n);
    run("tile", &parts, operands, groups);
    let [_, _, bias] = operands;
    run("join", &out, [Bind::Read(&parts), Bind::Read(&parts), bias], device.walk_over(m * n));
    out
}
