//! Launches of element-wise kernels (`kernels/elementwise.cuh`).

use crate::device::Cuda;
use crate::grid::grid_stride;
use crate::memory::Storage;
use crate::params::{TensorRef, Walk, params};
use minitorch_core::backend::View;
use minitorch_core::{DType, Layout};

params! {
    /// The parameters of element-wise kernels.
    ElementwiseParams in "elementwise.cuh" {
        walk: Walk,
        out: TensorRef,
        r#in: [TensorRef; 3],
        a: f64,
        b: f64,
    }
}

impl Cuda {
    /// `f(inputs[i] ..)` in a new contiguous buffer of the inputs' shape.
    pub(crate) fn elementwise_new<const N: usize>(
        &self,
        (op, dtype): (&str, DType),
        kernel: &str,
        inputs: [View<'_, Storage>; N],
        numbers: [f64; 2],
    ) -> Storage {
        let layout = Layout::contiguous(*inputs[0].layout.shape());
        let out = self.alloc(op, dtype, layout.numel());
        self.elementwise(kernel, (&out, dtype, &layout), inputs, numbers);
        out
    }

    /// Launches an element-wise kernel over the shape of `out`. `a` and `b` are the numbers that the function uses.
    ///
    /// # Panics
    /// If an input has another shape, or a layout reaches beyond its storage.
    pub(crate) fn elementwise<const N: usize>(
        &self,
        kernel: &str,
        (storage, dtype, layout): (&Storage, DType, &Layout),
        inputs: [View<'_, Storage>; N],
        [a, b]: [f64; 2],
    ) {
        if layout.numel() == 0 {
            return;
        }
        let mut r#in = [TensorRef::NONE; 3];
        for (to, x) in r#in.iter_mut().zip(inputs) {
            assert!(x.layout.shape() == layout.shape(), "{kernel}: {:?} and {:?}", x.layout.shape(), layout.shape());
            *to = x.storage.tensor_ref(x.dtype, x.layout);
        }
        let out = storage.tensor_ref(dtype, layout);
        let params = ElementwiseParams { walk: Walk::new(layout.shape()), out, r#in, a, b };
        let (grid, block) = grid_stride(self, layout.numel().div_ceil(4));
        self.0.launch(kernel, grid, block, &params);
    }
}
