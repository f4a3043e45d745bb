//! Matrix products and linear maps (`shaders/matmul.wgsl`): `C[m, n] = sum over k of A[m, k] B[k, n]` over a batch, any strides.

use crate::Tensor;
use crate::device::Wgpu;
use crate::memory::Storage;
use crate::params::{Strides, Walk, params};
use crate::shader::{Form, Shader};
use crate::split;
use crate::stream::Bind;
use minitorch_core::backend::{Activation, BinaryOp, BinaryOps, CopyOps, MatmulOps, View, ViewOf};
use minitorch_core::ops::composed;
use minitorch_core::{DType, Layout};

params! {
    /// Mirrors `MatmulParams` in matmul.wgsl.
    MatmulParams in "matmul" {
        batch: Walk,
        a: Strides,
        b: Strides,
        m: u32,
        n: u32,
        k: u32,
        splits: u32,
        a_stride: u32,
        a_stride_k: u32,
        b_stride: u32,
        b_stride_k: u32,
        unused: u32,
        has_bias: u32,
        bias_offset: u32,
        split_numel: u32,
    }
}

/// The k from which a product of few tiles is split: below, the second dispatch costs more than the split saves. The least k of a
/// split, and the number of tiles from which nothing is split.
const MIN_SPLIT_K: usize = 512;
const MIN_K: usize = 128;
const MAX_SPLIT_TILES: usize = 256;

/// Tiles of 32 x 32 up to which a workgroup has 256 invocations, in four slices along k, instead of 64.
const MAX_SLICED_TILES: usize = 256;

/// Operand A or B: the stride between its rows (A) or columns (B), the stride along k, and the batch.
struct Matrix<'a> {
    bind: Bind<'a>,
    stride: usize,
    stride_k: usize,
    batch: Layout,
}

/// The dimension along which a product is halved when an operand or the result does not fit a binding.
#[derive(Clone, Copy, PartialEq)]
enum Along {
    Batch(usize),
    M,
    N,
    K,
}

impl Along {
    /// Dimension `dim` of a tensor whose last two dimensions are `last`.
    fn new(dim: usize, rank: usize, last: [Along; 2]) -> Self {
        if dim < rank - 2 { Along::Batch(dim) } else { last[dim + 2 - rank] }
    }
}

impl MatmulOps for Wgpu {
    fn matmul(&self, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Storage {
        use Along::{K, M, N};
        let rank = a.layout.shape().len();
        let [m, k] = [a.layout.shape()[rank - 2], a.layout.shape()[rank - 1]];
        let n = b.layout.shape()[rank - 1];
        let result = Layout::contiguous(a.layout.shape().with(rank - 1, n));
        [a, b].iter().for_each(|x| x.storage.check(x.layout));
        let along =
            |x: View<'_, Storage>, last| self.too_wide(x.storage, x.layout).map(|dim| Along::new(dim, rank, last));
        let too_long =
            (!self.0.context.fits_binding(result.numel())).then(|| Along::new(split::widest(&result), rank, [M, N]));
        if let Some(along) = along(a, [M, K]).or(along(b, [K, N])).or(too_long) {
            if a.dtype == DType::F16 {
                // In F32, so that only the result is rounded.
                let wide = [a, b].map(|x| (self.cast(x, DType::F32), Layout::contiguous(*x.layout.shape())));
                let [a, b] = [&wide[0], &wide[1]].map(|(storage, layout)| View { storage, layout, dtype: DType::F32 });
                let out = self.matmul(a, b);
                return self.cast(View { storage: &out, layout: &result, dtype: DType::F32 }, DType::F16);
            }
            return matmul_halves(self, a, b, along, &result);
        }
        let windows = [a, b].map(|x| self.window(x.storage, x.layout));
        let batch = |x: Layout| x.remove(rank - 1).remove(rank - 2);
        let [batch_a, batch_b] = [batch(windows[0].within(a.layout)), batch(windows[1].within(b.layout))];
        let (sa, sb) = (a.layout.strides(), b.layout.strides());
        let a_matrix = Matrix { bind: windows[0].read(), stride: sa[rank - 2], stride_k: sa[rank - 1], batch: batch_a };
        let b_matrix = Matrix { bind: windows[1].read(), stride: sb[rank - 1], stride_k: sb[rank - 2], batch: batch_b };
        product(self, ("matmul", a.dtype), [m, n, k], a_matrix, b_matrix, None)
    }

    fn linear(&self, x: &Tensor, w: &Tensor, bias: Option<&Tensor>, activation: Option<Activation>) -> Tensor {
        if activation.is_some() {
            return composed::linear(x, w, bias, activation);
        }
        let (dtype, x) = (x.dtype(), x.contiguous());
        let rank = x.rank();
        let [n, k] = w.dims();
        let rows: usize = x.shape()[..rank - 1].iter().product();
        if [x.view().storage.bytes(), w.view().storage.bytes(), rows as u64 * n as u64 * 4]
            .iter()
            .any(|&bytes| bytes > self.0.context.largest_binding())
        {
            return composed::linear(&x, w, bias, None);
        }
        let no_batch = |x: &Tensor| Layout::new([], &[], x.layout().offset());
        let a = Matrix { bind: Bind::Read(x.view().storage), stride: k, stride_k: 1, batch: no_batch(&x) };
        // B is w transposed.
        let [stride, stride_k] = [w.layout().strides()[0], w.layout().strides()[1]];
        let b = Matrix { bind: Bind::Read(w.view().storage), stride, stride_k, batch: no_batch(w) };
        let bias = bias.map(Tensor::contiguous);
        let out = product(self, ("linear", dtype), [rows, n, k], a, b, bias.as_ref());
        Tensor::from_storage(self, out, dtype, x.shape().with(rank - 1, n))
    }
}

/// The products of both halves along a dimension: concatenated, or added for k.
fn matmul_halves(device: &Wgpu, a: View<'_, Storage>, b: View<'_, Storage>, along: Along, result: &Layout) -> Storage {
    let rank = result.shape().len();
    let [dim_a, dim_b, dim_result] = match along {
        Along::Batch(dim) => [Some(dim); 3],
        Along::M => [Some(rank - 2), None, Some(rank - 2)],
        Along::N => [None, Some(rank - 1), Some(rank - 1)],
        Along::K => [Some(rank - 1), Some(rank - 2), None],
    };
    let product = |half: usize| {
        let cut = |layout: &Layout, dim: Option<usize>| dim.map_or(*layout, |dim| split::halves(layout, dim)[half]);
        let (layout_a, layout_b) = (cut(a.layout, dim_a), cut(b.layout, dim_b));
        device.matmul(View { layout: &layout_a, ..a }, View { layout: &layout_b, ..b })
    };
    let Some(dim) = dim_result else {
        let (mut sum, other) = (product(0), product(1));
        let other = View { storage: &other, layout: result, dtype: DType::F32 };
        device.binary_mut(BinaryOp::Add, &mut sum, result, other);
        return sum;
    };
    let mut out = device.alloc("matmul", DType::F32, result.numel());
    for (half, to) in split::halves(result, dim).iter().enumerate() {
        let (results, layout) = (product(half), Layout::contiguous(*to.shape()));
        device.write(&mut out, to, View { storage: &results, layout: &layout, dtype: DType::F32 });
    }
    out
}

/// `C = A B (+ bias)`: the choice of the shader, the tile and the splits of k, and the dispatches.
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
    let mut out = device.alloc(op, dtype, batch * m * n);
    if batch * m * n == 0 {
        return out;
    }
    if k == 0 {
        // There are no elements of A and B to bind: the result is 0, or the bias in every row.
        match bias {
            None => device.fill(&mut out, &Layout::contiguous([batch * m * n]), dtype, 0.0),
            Some(bias) => {
                let repeated = Layout::new([batch, m, n], &[0, 0, 1], bias.layout().offset());
                let rows = Layout::contiguous([batch, m, n]);
                device.write(&mut out, &rows, View { layout: &repeated, ..bias.view() });
            }
        }
        return out;
    }
    let mut params = MatmulParams {
        batch: Walk::new(a_batch.shape()),
        a: Strides::new(&a_batch),
        b: Strides::new(&b_batch),
        m: m as u32,
        n: n as u32,
        k: k as u32,
        splits: 1,
        a_stride: a.stride as u32,
        a_stride_k: a.stride_k as u32,
        b_stride: b.stride as u32,
        b_stride_k: b.stride_k as u32,
        unused: 0,
        has_bias: bias.is_some() as u32,
        bias_offset: bias.map_or(0, |bias| bias.layout().offset()) as u32,
        split_numel: (batch * m * n) as u32,
    };
    // Without a bias, its binding is not read: any buffer will do.
    let bias = bias.map_or(a.bind, |bias| Bind::Read(bias.view().storage));
    if batch == 1 && (m == 1 || n == 1 && params.has_bias == 0) {
        let (matrix, vector) = if m == 1 { (&b, &a) } else { (&a, &b) };
        if m == 1 {
            params = MatmulParams {
                a: params.b,
                b: params.a,
                m: n as u32,
                a_stride: params.b_stride,
                a_stride_k: params.b_stride_k,
                b_stride: params.a_stride,
                b_stride_k: params.a_stride_k,
                ..params
            };
        }
        let binds = [Bind::Write(&out), matrix.bind, vector.bind, bias];
        let shader = Shader::new("matmul", "matrix_vector").form(Form::of(dtype, dtype));
        device.dispatch(shader, device.folded(m.max(n)), &params, &binds);
        return out;
    }
    let tiles = |size: usize| m.div_ceil(size) * n.div_ceil(size);
    let tile = if m.min(n) > 32 && tiles(64) * batch >= 16 { 64 } else { 32 };
    // A long k over few tiles is split, so that more workgroups have work.
    let splits = if batch == 1 && k >= MIN_SPLIT_K { (MAX_SPLIT_TILES / tiles(tile)).min(k / MIN_K).max(1) } else { 1 };
    let splits = if device.0.context.fits_binding(splits * m * n) { splits } else { 1 };
    let entry = match tile {
        64 => "tile_64",
        _ if tiles(tile) * splits * batch <= MAX_SLICED_TILES && k > 32 => "tile_32_sliced",
        _ => "tile_32",
    };
    params.splits = splits as u32;
    let [x, y, _] = device.folded(tiles(tile) * splits);
    let groups = [x, y, batch.min(device.largest_grid()) as u32];
    let operands = [a.bind, b.bind, bias];
    let run = |entry, [read, write]: [DType; 2], to: &Storage, [a, b, bias]: [Bind<'_>; 3], groups| {
        let shader = Shader::new("matmul", entry).form(Form::of(read, write));
        let operations = if entry == "sum_splits" { 0 } else { 2 * (batch * m * n) as u64 * k as u64 };
        device.dispatch_heavy(shader, groups, &params, &[Bind::Write(to), a, b, bias], operations);
    };
    if splits == 1 {
        run(entry, [dtype; 2], &out, operands, groups);
        return out;
    }
    let partials = device.alloc(op, DType::F32, splits * m * n);
    run(entry, [dtype, DType::F32], &partials, operands, groups);
    let [_, _, bias] = operands;
    let operands = [Bind::Read(&partials), Bind::Read(&partials), bias];
    run("sum_splits", [DType::F32, dtype], &out, operands, device.grid_over(m * n));
    out
}
