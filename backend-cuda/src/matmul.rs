//! Matrix products (`kernels/matmul.cu`, `kernels/matmul_grad.cu`): the choice of kernel, tiling and access modes.

use crate::Tensor;
use crate::device::{Cuda, name, suffix};
use crate::driver::Address;
use crate::grid::MAX_GRID_YZ;
use crate::memory::{Storage, data};
use crate::params::{Walk, pack_alignment, params, strides};
use crate::tiling::Tiling;
use minitorch_core::backend::{Activation, LinearGrad, MatmulOps, UnaryOps, View};
use minitorch_core::ops::composed;
use minitorch_core::{DType, Layout, MAX_RANK, Shape};

params! {
    /// The parameters of the tiled kernels.
    MatmulParams in "matmul.cuh" {
        a: Address,
        b: Address,
        bias: Address,
        out: Address,
        sums: Address,
        mask: Address,
        partials: Address,
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
    /// The parameters of the matrix-vector kernels.
    VectorParams in "matmul.cu" {
        x: Address,
        v: Address,
        bias: Address,
        out: Address,
        rows: u64,
        k: u64,
        row_stride: u64,
        k_stride: u64,
        v_stride: u64,
        activation: u32,
        unused: u32,
    }
}

/// Threads of a block of `gemm`.
pub(crate) const GEMM_THREADS: usize = 256;

/// Operand A (m x k) or B (n x k) of a product, in a batch. `mn` is the dimension that is not k.
struct Matrix {
    /// The address of the first element.
    data: Address,
    mn_stride: usize,
    k_stride: usize,
    /// The layout of the batch dimensions.
    batch: Layout,
}

impl Matrix {
    /// A single matrix.
    fn new(x: &Tensor, mn_stride: usize, k_stride: usize) -> Self {
        Matrix { data: data(x), mn_stride, k_stride, batch: Layout::contiguous([]) }
    }
}

// Access modes, as in gemm.cuh.
const K_MAJOR: u32 = 1;
const PACKED: u32 = 2;

/// How a kernel reads an operand: along its contiguous dimension (`K_MAJOR` if that is k), in packs of four if all rows of all
/// matrices of the batch are aligned for them.
pub(crate) fn mode(dtype: DType, data: Address, mn_stride: usize, k_stride: usize, batch: &[usize]) -> u32 {
    let alignment = pack_alignment(dtype);
    // A pack of eight-byte elements is two accesses of 16 bytes, so an alignment to two elements suffices.
    let multiple = (alignment / dtype.size() as u64) as usize;
    let packed = |stride: usize| {
        let aligned = data.is_multiple_of(alignment) && stride.is_multiple_of(multiple);
        if aligned && batch.iter().all(|s| s.is_multiple_of(multiple)) { PACKED } else { 0 }
    };
    match (mn_stride, k_stride) {
        (_, 1) => K_MAJOR | packed(mn_stride),
        (1, _) => packed(k_stride),
        // Neither is contiguous: adjacent elements along the smaller stride are more likely to share a cache line.
        (mn, k) => (k < mn) as u32,
    }
}

/// The code of the kernels' epilogue, as in common.cuh.
const RELU: u32 = 1;

/// The code of an activation that the kernels compute in their epilogue; `None` for the others.
pub(crate) fn code(activation: Option<Activation>) -> Option<u32> {
    match activation {
        None => Some(0),
        Some(Activation::Relu) => Some(RELU),
        Some(Activation::Sigmoid | Activation::Tanh) => None,
    }
}

/// A gradient with respect to an activation's input, as kernels read it: the gradient with respect to its output and, for relu,
/// the output itself as a mask. The gradient of another activation is computed here.
pub(crate) fn unmasked(g: &Tensor, activated: Option<(Activation, &Tensor)>) -> (Tensor, Option<Tensor>) {
    match activated {
        None => (g.contiguous(), None),
        Some((Activation::Relu, y)) => (g.contiguous(), Some(y.contiguous())),
        Some((f, y)) => (g.device().unary_grad(f.op(), y, g).contiguous(), None),
    }
}

impl MatmulOps for Cuda {
    fn matmul(&self, a: View<'_, Storage>, b: View<'_, Storage>) -> Storage {
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
        let matrix = |x: View<'_, Storage>, mn: usize, k: usize| Matrix {
            data: if x.layout.numel() == 0 { 0 } else { x.storage.tensor_ref(x.dtype, x.layout).data },
            mn_stride: x.layout.strides()[mn],
            k_stride: x.layout.strides()[k],
            batch: x.layout.remove(rank - 1).remove(rank - 2),
        };
        let (a_matrix, b_matrix) = (matrix(a, rank - 2, rank - 1), matrix(b, rank - 1, rank - 2));
        let out = self.alloc("matmul", a.dtype, out_shape.numel());
        let (dtype, epilogue) = (a.dtype, Epilogue::default());
        Product { device: self, dtype, sizes: [m, n, k], a: a_matrix, b: b_matrix, epilogue }.launch(&out);
        out
    }

    /// Relu is part of the epilogue; another activation is applied to the result in place.
    fn linear(&self, x: &Tensor, w: &Tensor, bias: Option<&Tensor>, activation: Option<Activation>) -> Tensor {
        let Some(activation) = code(activation) else { return composed::linear(x, w, bias, activation) };
        let (dtype, x) = (x.dtype(), x.contiguous());
        let rank = x.rank();
        let [n, k] = w.dims();
        let rows: usize = x.shape()[..rank - 1].iter().product();
        let out = self.alloc("linear", dtype, rows * n);
        let bias = bias.map(Tensor::contiguous);
        Product {
            device: self,
            dtype,
            sizes: [rows, n, k],
            a: Matrix::new(&x, k, 1),
            b: Matrix::new(w, w.layout().strides()[0], w.layout().strides()[1]),
            epilogue: Epilogue { bias: bias.as_ref().map_or(0, data), activation, ..Epilogue::default() },
        }
        .launch(&out);
        Tensor::from_storage(self, out, dtype, x.shape().with(rank - 1, n))
    }

    /// Two launches: `g w`, and `gᵀ x` together with the sums of the rows of `gᵀ`.
    fn linear_grad(&self, of: &LinearGrad<'_, Self>) -> [Option<Tensor>; 3] {
        if of.g.numel() == 0 || of.x.is_some_and(|x| x.numel() == 0) {
            return composed::linear_grad(of);
        }
        let (dtype, rank) = (of.g.dtype(), of.g.rank());
        let n = of.g.shape()[rank - 1];
        let rows = of.g.numel() / n;
        let (g, mask) = unmasked(of.g, of.activated);
        let mask = mask.as_ref().map_or(0, data);
        let gx = of.w.map(|w| {
            let k = w.shape()[1];
            let out = self.alloc("linear", dtype, rows * k);
            Product {
                device: self,
                dtype,
                sizes: [rows, k, n],
                a: Matrix::new(&g, n, 1),
                b: Matrix::new(w, w.layout().strides()[1], w.layout().strides()[0]),
                epilogue: Epilogue { mask, ..Epilogue::default() },
            }
            .launch(&out);
            Tensor::from_storage(self, out, dtype, of.g.shape().with(rank - 1, k))
        });
        let Some(x) = of.x else {
            return [gx, None, of.bias.then(|| of.before_activation().reshape([rows, n]).sum(0))];
        };
        let (x, k) = (x.contiguous(), x.numel() / rows);
        let out = self.alloc("linear", dtype, n * k);
        let sums = of.bias.then(|| self.alloc("linear", dtype, n));
        Product {
            device: self,
            dtype,
            sizes: [n, k, rows],
            a: Matrix::new(&g, 1, n),
            b: Matrix::new(&x, 1, k),
            epilogue: Epilogue { mask, sums: sums.as_ref().map_or(0, Storage::address), ..Epilogue::default() },
        }
        .launch(&out);
        let tensor = |storage, shape: Shape| Tensor::from_storage(self, storage, dtype, shape);
        [gx, Some(tensor(out, [n, k].into())), sums.map(|sums| tensor(sums, n.into()))]
    }
}

/// What a product computes besides the product itself. An address of 0 stands for nothing.
#[derive(Clone, Copy, Default)]
struct Epilogue {
    /// `[n]`, added to every row.
    bias: Address,
    /// 0 or [`RELU`].
    activation: u32,
    /// The output of a relu, with A's layout: A is masked where it is 0.
    mask: Address,
    /// `[m]`: receives the sums of A's rows.
    sums: Address,
}

/// The product A B of `[m, k]` and `[k, n]`, in a batch.
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
    fn launch(&self, out: &Storage) {
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
            _ => Tiling::unsplit(device, dtype, [m, n, k], batch),
        };
        let tiles = m.div_ceil(size) * n.div_ceil(size);
        let partial = size * size + if grad { GEMM_THREADS } else { 0 };
        let partials = (splits > 1).then(|| device.alloc("matmul", dtype, tiles * splits * partial));
        let mut a_mode = mode(dtype, a.data, a.mn_stride, a.k_stride, a_batch.strides());
        if epilogue.mask != 0 {
            // The mask is read in packs together with A.
            a_mode &= mode(dtype, epilogue.mask, a.mn_stride, a.k_stride, a_batch.strides());
        }
        let params = MatmulParams {
            a: a.data,
            b: b.data,
            bias: epilogue.bias,
            out: out.address(),
            sums: epilogue.sums,
            mask: epilogue.mask,
            partials: partials.as_ref().map_or(0, Storage::address),
            counters: device.0.counters(),
            m: m as u64,
            n: n as u64,
            k: k as u64,
            a_row: a.mn_stride as u64,
            a_k: a.k_stride as u64,
            b_k: b.k_stride as u64,
            b_column: b.mn_stride as u64,
            batch: Walk::new(a_batch.shape()),
            a_batch: strides(&a_batch),
            b_batch: strides(&b_batch),
            a_mode,
            b_mode: mode(dtype, b.data, b.mn_stride, b.k_stride, b_batch.strides()),
            splits: splits as u32,
            activation: epilogue.activation,
        };
        // A batch larger than the limit of y extends into z.
        let y = batch.min(MAX_GRID_YZ);
        let grid = [tiles * splits, y, batch.div_ceil(y)];
        let kind = if grad { "grad" } else { "tile" };
        device.0.launch(name!("matmul_{kind}_{size}_{}", suffix(dtype)), grid, [GEMM_THREADS, 1, 1], &params);
    }

    /// `out[row] = sum over k of x[row, k] v[k]`; v is the only row of the other operand.
    fn vector(&self, [rows, k]: [usize; 2], x: &Matrix, v: &Matrix, out: &Storage) {
        let params = VectorParams {
            x: x.data,
            v: v.data,
            bias: self.epilogue.bias,
            out: out.address(),
            rows: rows as u64,
            k: k as u64,
            row_stride: x.mn_stride as u64,
            k_stride: x.k_stride as u64,
            v_stride: v.k_stride as u64,
            activation: self.epilogue.activation,
            unused: 0,
        };
        let (device, dtype) = (self.device, suffix(self.dtype));
        if x.mn_stride < x.k_stride {
            device.0.launch(name!("matmul_columns_{dtype}"), [rows.div_ceil(32), 1, 1], [32, 8, 1], &params);
        } else {
            device.0.launch(name!("matmul_vector_{dtype}"), [rows.div_ceil(8), 1, 1], [256, 1, 1], &params);
        }
    }
}
