//! Matrix products: tiles, splits and reading modes for `kernels/matmul.cu`.

use crate::Tensor;
use crate::device::{COUNTERS, Cuda, name, suffix};
use crate::driver::Address;
use crate::memory::Storage;
use crate::params::{Operand, Walk, params};
use minitorch_core::backend::{Activation, View};
use minitorch_core::ops::composed;
use minitorch_core::{DType, Layout, MAX_RANK};

params! {
    /// What the tiles of a product take.
    MatmulParams in "matmul.cu" {
        a: Address,
        b: Address,
        bias: Address,
        out: Address,
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
        unused: u32,
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
    product(device, a.dtype, [m, n, k], a_matrix, b_matrix, 0, &out);
    out
}

/// `x wᵀ + b`
pub(crate) fn linear(x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let (device, dtype, x) = (x.device(), x.dtype(), x.contiguous());
    let rank = x.rank();
    let [n, k] = w.dims();
    let rows: usize = x.shape()[..rank - 1].iter().product();
    let out = device.alloc("linear", dtype, rows * n);
    let data = |x: &Tensor| if x.numel() == 0 { 0 } else { Operand::of(x.view().storage, dtype, x.layout()).data };
    let none = Layout::contiguous([]);
    let a = Matrix { data: data(&x), line_stride: k, k_stride: 1, batch: none };
    let [w_line, w_k] = [w.layout().strides()[0], w.layout().strides()[1]];
    let b = Matrix { data: data(w), line_stride: w_line, k_stride: w_k, batch: none };
    let bias = bias.map(Tensor::contiguous);
    product(device, dtype, [rows, n, k], a, b, bias.as_ref().map_or(0, data), &out);
    Tensor::from_storage(device, out, dtype, x.shape().with(rank - 1, n))
}

/// `f(x wᵀ + b)`; the activation passes over the result in place.
pub(crate) fn linear_activated(x: &Tensor, w: &Tensor, bias: Option<&Tensor>, activation: Activation) -> Tensor {
    composed::linear_activated(x, w, bias, activation)
}

fn product(device: &Cuda, dtype: DType, [m, n, k]: [usize; 3], a: Matrix, b: Matrix, bias: Address, out: &Storage) {
    let [a_batch, b_batch] = Layout::merge([a.batch, b.batch]);
    let batch = a_batch.numel();
    if batch * m * n == 0 {
        return;
    }
    if batch == 1 && n == 1 && bias == 0 {
        return vector(device, dtype, [m, k], &a, &b, 0, out);
    }
    if batch == 1 && m == 1 {
        return vector(device, dtype, [n, k], &b, &a, bias, out);
    }
    let Tiling { size, splits } = Tiling::new(device, dtype, [m, n, k], batch);
    let tiles = m.div_ceil(size) * n.div_ceil(size);
    let parts = (splits > 1).then(|| device.alloc("matmul", dtype, tiles * splits * size * size));
    let strides = |layout: &Layout| {
        let mut strides = [0; MAX_RANK];
        strides.iter_mut().zip(layout.strides()).for_each(|(to, &stride)| *to = stride as u64);
        strides
    };
    let params = MatmulParams {
        a: a.data,
        b: b.data,
        bias,
        out: out.address(),
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
        a_mode: mode(dtype, a.data, a.line_stride, a.k_stride, a_batch.strides()),
        b_mode: mode(dtype, b.data, b.line_stride, b.k_stride, b_batch.strides()),
        splits: splits as u32,
        unused: 0,
    };
    // Batches beyond what a grid has in y go to z.
    let rows = batch.min(65_535);
    let grid = [tiles * splits, rows, batch.div_ceil(rows)];
    device.0.launch(name!("matmul_tile_{size}_{}", suffix(dtype)), grid, [GEMM_THREADS, 1, 1], 0, &params);
}

/// `out[line] = sum over k of x[line, k] v[k]`; v is the first line of the other operand.
fn vector(device: &Cuda, dtype: DType, [lines, k]: [usize; 2], x: &Matrix, v: &Matrix, bias: Address, out: &Storage) {
    let params = VectorParams {
        x: x.data,
        v: v.data,
        bias,
        out: out.address(),
        lines: lines as u64,
        k: k as u64,
        line_stride: x.line_stride as u64,
        k_stride: x.k_stride as u64,
        v_stride: v.k_stride as u64,
    };
    if x.line_stride < x.k_stride {
        let grid = [lines.div_ceil(32), 1, 1];
        device.0.launch(name!("matmul_columns_{}", suffix(dtype)), grid, [32, 8, 1], 0, &params);
    } else {
        let grid = [lines.div_ceil(8), 1, 1];
        device.0.launch(name!("matmul_vector_{}", suffix(dtype)), grid, [256, 1, 1], 0, &params);
    }
}

/// The size of the tiles of a product, and over how many blocks each is split along k.
pub(crate) struct Tiling {
    pub(crate) size: usize,
    pub(crate) splits: usize,
}

impl Tiling {
    /// The largest tile of which there are enough for all multiprocessors; and if there are too few of the smallest, splits.
    pub(crate) fn new(device: &Cuda, dtype: DType, [m, n, k]: [usize; 3], batch: usize) -> Self {
        let sizes: &[usize] = if dtype == DType::F32 { &[128, 64, 32] } else { &[64, 32] };
        let multiprocessors = device.0.multiprocessors();
        let tiles = |size: usize| m.div_ceil(size) * n.div_ceil(size) * batch;
        let fits = |&&size: &&usize| tiles(size) >= multiprocessors && m.min(n) > size / 2;
        let size = *sizes.iter().find(fits).unwrap_or(&32);
        // A split should have some hundred steps of k to be worth its part of the join.
        let wanted = (2 * multiprocessors).div_ceil(tiles(size)).min(k / 256).max(1);
        let splits = if batch == 1 && tiles(size) <= COUNTERS { wanted } else { 1 };
        Tiling { size, splits }
    }
}
