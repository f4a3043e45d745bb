//! Matrix products of tensors: their strides as operands of `kernels/gemm`.
//!
//! No operand is copied, as transposed and broadcast matrices are strides. A batch that shares B is one product of all rows.

use crate::element::{Element, Real, with_real};
use crate::kernels::gemm::{Init, Shape, Strided, batched, gemm};
use crate::memory::{AlignedBuffer, Storage};
use crate::simd::Level;
use crate::view::{elements, in_bounds, position};
use crate::{Cpu, Tensor, unary};
use minitorch_core::Layout;
use minitorch_core::backend::{Activation, MAX_WORK, MatmulOps, View};

impl MatmulOps for Cpu {
    fn matmul(&self, a: View<'_, Storage>, b: View<'_, Storage>) -> Storage {
        with_real!(a.dtype, T => T::wrap(product::<T>(self, a, b)))
    }

    /// The bias is C's initial value, the activation its epilogue.
    fn linear(&self, x: &Tensor, w: &Tensor, bias: Option<&Tensor>, activation: Option<Activation>) -> Tensor {
        let rank = x.rank();
        let [n, k] = w.dims();
        let lead = x.layout().remove(rank - 1);
        let m = lead.numel();
        let [rows] = Layout::merge([lead]);
        // Copying a view without elements does not change its strides; none is read.
        if rows.shape().len() > 1 && x.numel() > 0 {
            return self.linear(&x.contiguous(), w, bias, activation);
        }
        let shape = x.shape().with(rank - 1, n);
        with_real!(x.dtype(), T => {
            let bias = bias.map(Tensor::contiguous);
            let operands = [Some(x), Some(w), bias.as_ref()].map(|x| x.unwrap_or(w).view().storage);
            let Some(mut out) = self.output::<T>(m * n, &operands) else {
                return Tensor::from_storage(self, Storage::Missing(T::DTYPE), T::DTYPE, shape);
            };
            let init = match &bias {
                Some(bias) => Init::ColumnBias(elements::<T>(bias)),
                None => Init::Zero,
            };
            let x = Strided {
                data: from(in_bounds("linear", x.view()), x.layout().offset()),
                stride: rows.strides().first().copied().unwrap_or(0),
                k_stride: x.layout().strides()[rank - 1],
            };
            let [stride, k_stride] = [w.layout().strides()[0], w.layout().strides()[1]];
            let w = Strided { data: from(in_bounds("linear", w.view()), w.layout().offset()), stride, k_stride };
            gemm(Shape { m, n, k }, &x, &w, &mut out, init, &|block| {
                let Some(f) = activation else { return };
                for row in 0..block.rows() {
                    unary::activate(f, block.row(row, 0..block.columns()));
                }
            });
            Tensor::from_storage(self, T::wrap(out), T::DTYPE, shape)
        })
    }
}

/// `[.., m, k] x [.., k, n]`. `None` if an operand is missing or there is no memory.
fn product<T: Real>(device: &Cpu, a: View<'_, Storage>, b: View<'_, Storage>) -> Option<AlignedBuffer<T>> {
    let rank = a.layout.shape().len();
    let [m, k] = [a.layout.shape()[rank - 2], a.layout.shape()[rank - 1]];
    let n = b.layout.shape()[rank - 1];
    let count = a.layout.shape()[..rank - 2].iter().product::<usize>();
    let mut out = device.output::<T>(a.layout.shape().with(rank - 1, n).numel(), &[a.storage, b.storage])?;
    if out.is_empty() {
        return Some(out);
    }
    let shape = Shape { m, n, k };
    assert!(count.saturating_mul(shape.work()) <= MAX_WORK, "matmul: {count} products of {shape:?} would never end");
    if k == 0 {
        out.fill(T::ZERO);
        return Some(out);
    }
    let (a_data, b_data) = (in_bounds::<T>("matmul", a), in_bounds::<T>("matmul", b));
    let [a_row, a_k] = [a.layout.strides()[rank - 2], a.layout.strides()[rank - 1]];
    let [b_k, b_column] = [b.layout.strides()[rank - 2], b.layout.strides()[rank - 1]];
    let a_at = |at| Strided { data: &a_data[at..], stride: a_row, k_stride: a_k };
    let b_at = |at| Strided { data: &b_data[at..], stride: b_column, k_stride: b_k };
    if rank == 2 {
        gemm(shape, &a_at(a.layout.offset()), &b_at(b.layout.offset()), &mut out, Init::Zero, &|_| ());
        return Some(out);
    }
    let batch = |l: &Layout| l.remove(rank - 1).remove(rank - 2);
    let (batch_a, batch_b) = (batch(a.layout), batch(b.layout));
    // Rows of all batches as one dimension, if a is laid out like that and b is the same for all.
    let [rows] = Layout::merge([a.layout.remove(rank - 1)]);
    let shared = batch_b.strides().iter().zip(&batch_b.shape()[..]).all(|(&stride, &size)| stride == 0 || size == 1);
    if shared && rows.shape().len() <= 1 {
        let a = Strided { stride: rows.strides().first().copied().unwrap_or(0), ..a_at(rows.offset()) };
        gemm(Shape { m: count * m, ..shape }, &a, &b_at(b.layout.offset()), &mut out, Init::Zero, &|_| ());
    } else {
        let operands = |i| (a_at(position(&batch_a, i)), b_at(position(&batch_b, i)));
        batched(Level::best(), count, shape, operands, &mut out, Init::Zero);
    }
    Some(out)
}

/// The elements from `start` on. The offset of an empty matrix may lie past the end.
fn from<T>(data: &[T], start: usize) -> &[T] {
    data.get(start..).unwrap_or(&[])
}
