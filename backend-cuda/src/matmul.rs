//! Matrix products: tiles, splits and reading modes for `kernels/matmul.cu`.

use crate::Tensor;
use crate::device::{Cuda, name, suffix};
use crate::driver::Address;
use crate::memory::Storage;
use crate::params::{Operand, Walk, data, params};
use crate::tiling::Tiling;
use crate::unary::unary_grad;
use minitorch_core::backend::{Activation, LinearGrad, View};
use minitorch_core::ops::composed;
use minitorch_core::{DType, Layout, MAX_RANK, Shape};

params! {
    /// What the tiles of a product take.
    MatmulParams in "matmul.cuh" {
        a: Address,
        b: Address,
        bias: Address,
        out: Address,
        sums: Address,
        mask: Address,
        parts: Address,
        counters: Address,
        m: u64,
        n: u64,
        k: u64,
        a_row: u64,
        a_k: u64,
        b_k: u64,
        b_column: u64,
        batch: Walk,
        a_batch: [u64; MAX_RANK],
        b_batch: [u64; MAX_RANK],
        a_mode: u32,
        b_mode: u32,
        splits: u32,
        activation: u32,
    }
}

params! {
    /// What a matrix times a vector takes.
    VectorParams in "matmul.cu" {
        x: Address,
        v: Address,
        bias: Address,
        out: Address,
        lines: u64,
        k: u64,
        line_stride: u64,
        k_stride: u64,
        v_stride: u64,
        activation: u32,
        unused: u32,
    }
}

/// Threads of a block of `gemm`.
pub(crate) const GEMM_THREADS: usize = 256;

/// One operand of a product: lines (m or n) of k elements, in a batch.
struct Matrix {
    /// Of the first element.
    data: Address,
    line_stride: usize,
    k_stride: usize,
    /// The batch dimensions.
    batch: Layout,
}

impl Matrix {
    /// A matrix of no batch.
    fn of(x: &Tensor, line_stride: usize, k_stride: usize) -> Self {
        Matrix { data: data(x), line_stride, k_stride, batch: Layout::contiguous([]) }
    }
}

/// As in gemm.cuh.
const ALONG_K: u32 = 1;
const PACKS: u32 = 2;

/// How the elements of an operand are best read: along the dimension in which they are neighbours, four at a time if every
/// line of every matrix of the batch begins at a multiple of four.
pub(crate) fn mode(dtype: DType, data: Address, line_stride: usize, k_stride: usize, batch: &[usize]) -> u32 {
    let pack = (4 * dtype.size()).min(16) as u64;
    // Packs of eight-byte elements are moved in two halves, so half of their alignment does.
    let whole = (pack / dtype.size() as u64) as usize;
    let aligned = |stride: usize| {
        data.is_multiple_of(pack) && stride.is_multiple_of(whole) && batch.iter().all(|s| s.is_multiple_of(whole))
    };
    match (line_stride, k_stride) {
        (_, 1) => ALONG_K | if aligned(line_stride) { PACKS } else { 0 },
        (1, _) => {
            if aligned(k_stride) {
                PACKS
            } else {
                0
            }
        }
        // Neither: the smaller step is the more likely to share a cache line.
        (line, k) => (k < line) as u32,
    }
}

pub(crate) fn matmul(device: &Cuda, a: View<'_, Storage>, b: View<'_, Storage>) -> Storage {
    let rank = a.layout.shape().len();
    let [m, k] = [a.layout.shape()[rank - 2], a.layout.shape()[rank - 1]];
    let n = b.layout.shape()[rank - 1];
    assert!(
        b.layout.shape().len() == rank
            && b.layout.shape()[..rank - 2] == a.layout.shape()[..rank - 2]
            && b.layout.shape()[rank - 2] == k,
        "matmul: {:?} x {:?}",
        a.layout.shape(),
        b.layout.shape()
    );
    let out_shape = a.layout.shape().with(rank - 1, n);
    let matrix = |x: View<'_, Storage>, line: usize, k: usize| Matrix {
        data: if x.layout.numel() == 0 { 0 } else { Operand::of(x.storage, x.dtype, x.layout).data },
        line_stride: x.layout.strides()[line],
        k_stride: x.layout.strides()[k],
        batch: x.layout.remove(rank - 1).remove(rank - 2),
    };
    let (a_matrix, b_matrix) = (matrix(a, rank - 2, rank - 1), matrix(b, rank - 1, rank - 2));
    let out = device.alloc("matmul", a.dtype, out_shape.numel());
    Product { device, dtype: a.dtype, sizes: [m, n, k], a: a_matrix, b: b_matrix, epilogue: Epilogue::default() }
        .run(&out);
    out
}

/// As in common.cuh.
pub(crate) const RELU: u32 = 1;

/// The activation that the kernels have in their epilogue.
pub(crate) fn code(activation: Option<Activation>) -> Option<u32> {
    match activation {
        None => Some(0),
        Some(Activation::Relu) => Some(RELU),
        Some(Activation::Sigmoid | Activation::Tanh) => None,
    }
}

/// `f(x wᵀ + b)`; relu is a part of the product, another activation is applied to its result in place.
pub(crate) fn linear(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, activation: Option<Activation>) -> Tensor {
    let Some(activation) = code(activation) else { return composed::linear(x, w, bias, activation) };
    let (device, dtype, x) = (x.device(), x.dtype(), x.contiguous());
    let rank = x.rank();
    let [n, k] = w.dims();
    let rows: usize = x.shape()[..rank - 1].iter().product();
    let out = device.alloc("linear", dtype, rows * n);
    let bias = bias.map(Tensor::contiguous);
    Product {
        device,
        dtype,
        sizes: [rows, n, k],
        a: Matrix::of(&x, k, 1),
        b: Matrix::of(w, w.layout().strides()[0], w.layout().strides()[1]),
        epilogue: Epilogue { bias: bias.as_ref().map_or(0, data), activation, ..Epilogue::default() },
    }
    .run(&out);
    Tensor::from_storage(device, out, dtype, x.shape().with(rank - 1, n))
}

/// A gradient and the mask that stands for a relu before it; the gradient of another activation is computed here.
pub(crate) fn unmasked(g: &Tensor, activated: Option<(Activation, &Tensor)>) -> (Tensor, Option<Tensor>) {
    match activated {
        None => (g.contiguous(), None),
        Some((Activation::Relu, y)) => (g.contiguous(), Some(y.contiguous())),
        Some((f, y)) => (unary_grad(f.op(), y, g).contiguous(), None),
    }
}

/// Two launches: `g w`, and `gᵀ x` with the sums of its rows.
pub(crate) fn linear_grad(of: &LinearGrad<'_, Cuda>) -> [Option<Tensor>; 3] {
    if of.g.numel() == 0 || of.x.is_some_and(|x| x.numel() == 0) {
        return composed::linear_grad(of);
    }
    let (device, dtype, rank) = (of.g.device(), of.g.dtype(), of.g.rank());
    let n = of.g.shape()[rank - 1];
    let rows = of.g.numel() / n;
    let (g, mask) = unmasked(of.g, of.activated);
    let mask = mask.as_ref().map_or(0, data);
    let gx = of.w.map(|w| {
        let k = w.shape()[1];
        let out = device.alloc("linear", dtype, rows * k);
        Product {
            device,
            dtype,
            sizes: [rows, k, n],
            a: Matrix::of(&g, n, 1),
            b: Matrix::of(w, w.layout().strides()[1], w.layout().strides()[0]),
            epilogue: Epilogue { mask, ..Epilogue::default() },
        }
        .run(&out);
        Tensor::from_storage(device, out, dtype, of.g.shape().with(rank - 1, k))
    });
    let Some(x) = of.x else {
        return [gx, None, of.bias.then(|| of.before_activation().reshape([rows, n]).sum(0))];
    };
    let (x, k) = (x.contiguous(), x.numel() / rows);
    let out = device.alloc("linear", dtype, n * k);
    let sums = of.bias.then(|| device.alloc("linear", dtype, n));
    Product {
        device,
        dtype,
        sizes: [n, k, rows],
        a: Matrix::of(&g, 1, n),
        b: Matrix::of(&x, 1, k),
        epilogue: Epilogue { mask, sums: sums.as_ref().map_or(0, Storage::address), ..Epilogue::default() },
    }
    .run(&out);
    let tensor = |storage, shape: Shape| Tensor::from_storage(device, storage, dtype, shape);
    [gx, Some(tensor(out, [n, k].into())), sums.map(|sums| tensor(sums, n.into()))]
}

/// What a product does beside multiplying; addresses of 0 for what it does not do.
#[derive(Clone, Copy, Default)]
struct Epilogue {
    /// `[n]`, added to every row.
    bias: Address,
    /// 0 or [`RELU`].
    activation: u32,
    /// The result of a relu of which operand a is the gradient, lying as a does.
    mask: Address,
    /// `[m]`: where the sums of a's rows go.
    sums: Address,
}

/// `a b`, `[m, k] x [k, n]`, in a batch.
struct Product<'a> {
    device: &'a Cuda,
    dtype: DType,
    /// m, n, k
    sizes: [usize; 3],
    a: Matrix,
    b: Matrix,
    epilogue: Epilogue,
}

impl Product<'_> {
    fn run(&self, out: &Storage) {
        let Product { device, dtype, sizes: [m, n, k], a, b, epilogue } = self;
        let (&dtype, &[m, n, k]) = (dtype, &[*m, *n, *k]);
        let [a_batch, b_batch] = Layout::merge([a.batch, b.batch]);
        let batch = a_batch.numel();
        if batch * m * n == 0 {
            return;
        }
        let grad = epilogue.mask != 0 || epilogue.sums != 0;
        if batch == 1 && !grad {
            if n == 1 && epilogue.bias == 0 {
                return self.vector([m, k], a, b, out);
            }
            if m == 1 {
                return self.vector([n, k], b, a, out);
            }
        }
        let Tiling { size, splits } = match batch {
            1 => Tiling::new(device, dtype, [m, n, k], 1, usize::MAX),
            _ => Tiling::whole(device, dtype, [m, n, k], batch),
        };
        let tiles = m.div_ceil(size) * n.div_ceil(size);
        let part = size * size + if grad { GEMM_THREADS } else { 0 };
        let parts = (splits > 1).then(|| device.alloc("matmul", dtype, tiles * splits * part));
        let strides = |layout: &Layout| {
            let mut strides = [0; MAX_RANK];
            strides.iter_mut().zip(layout.strides()).for_each(|(to, &stride)| *to = stride as u64);
            strides
        };
        let mut a_mode = mode(dtype, a.data, a.line_stride, a.k_stride, a_batch.strides());
        if epilogue.mask != 0 {
            // The mask is read in packs with a.
            a_mode &= mode(dtype, epilogue.mask, a.line_stride, a.k_stride, a_batch.strides());
        }
        let params = MatmulParams {
            a: a.data,
            b: b.data,
            bias: epilogue.bias,
            out: out.address(),
            sums: epilogue.sums,
            mask: epilogue.mask,
            parts: parts.as_ref().map_or(0, Storage::address),
            counters: device.0.counters(),
            m: m as u64,
            n: n as u64,
            k: k as u64,
            a_row: a.line_stride as u64,
            a_k: a.k_stride as u64,
            b_k: b.k_stride as u64,
            b_column: b.line_stride as u64,
            batch: Walk::new(a_batch.shape()),
            a_batch: strides(&a_batch),
            b_batch: strides(&b_batch),
            a_mode,
            b_mode: mode(dtype, b.data, b.line_stride, b.k_stride, b_batch.strides()),
            splits: splits as u32,
            activation: epilogue.activation,
        };
        // Batches beyond what a grid has in y go to z.
        let rows = batch.min(65_535);
        let grid = [tiles * splits, rows, batch.div_ceil(rows)];
        let kind = if grad { "grad" } else { "tile" };
        device.0.launch(name!("matmul_{kind}_{size}_{}", suffix(dtype)), grid, [GEMM_THREADS, 1, 1], 0, &params);
    }

    /// `out[line] = sum over k of x[line, k] v[k]`; v is the first line of the other operand.
    fn vector(&self, [lines, k]: [usize; 2], x: &Matrix, v: &Matrix, out: &Storage) {
        let params = VectorParams {
            x: x.data,
            v: v.data,
            bias: self.epilogue.bias,
            out: out.address(),
            lines: lines as u64,
            k: k as u64,
            line_stride: x.line_stride as u64,
            k_stride: x.k_stride as u64,
            v_stride: v.k_stride as u64,
            activation: self.epilogue.activation,
            unused: 0,
        };
        let (device, dtype) = (self.device, suffix(self.dtype));
        if x.line_stride < x.k_stride {
            device.0.launch(name!("matmul_columns_{dtype}"), [lines.div_ceil(32), 1, 1], [32, 8, 1], 0, &params);
        } else {
            device.0.launch(name!("matmul_vector_{dtype}"), [lines.div_ceil(8), 1, 1], [256, 1, 1], 0, &params);
        }
    }
}
