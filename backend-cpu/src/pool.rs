//! Pooling of tensors: sizes, contiguous operands and outputs for `kernels/pool`.

use crate::Tensor;
use crate::element::{Element, with_real};
use crate::kernels::pool::{self, Pool2d};
use crate::memory::Storage;
use crate::view::elements;
use minitorch_core::{DType, Pool2dOptions, Shape};

impl PoolOps for Cpu {
    fn max_pool2d(&self, x: &Tensor, options: &Pool2dOptions) -> (Tensor, Tensor) {
        let (sizes, shape) = sizes(x.dims(), options);
        let x = x.contiguous();
        with_real!(x.dtype(), T => {
            let len = shape.numel();
            let (mut out, mut indices) = (self.alloc::<T>("max_pool2d", len), self.alloc::<i32>("max_pool2d", len));
            pool::max_pool2d(&sizes, elements::<T>(&x), &mut out, &mut indices);
            (
                Tensor::from_storage(self, T::wrap(out), T::DTYPE, shape),
                Tensor::from_storage(self, Storage::I32(indices), DType::I32, shape),
            )
        })
    }

    fn max_pool2d_grad(&self, g: &Tensor, indices: &Tensor, size: [usize; 2], options: &Pool2dOptions) -> Tensor {
        let (sizes, shape) = grad_sizes(g, size, options);
        let (g, indices) = (g.contiguous(), indices.contiguous());
        with_real!(g.dtype(), T => {
            let mut out = self.alloc::<T>("max_pool2d_grad", shape.numel());
            pool::max_pool2d_grad(&sizes, elements::<T>(&g), elements::<i32>(&indices), &mut out);
            Tensor::from_storage(self, T::wrap(out), T::DTYPE, shape)
        })
    }

    fn avg_pool2d(&self, x: &Tensor, options: &Pool2dOptions) -> Tensor {
        let (sizes, shape) = sizes(x.dims(), options);
        let x = x.contiguous();
        with_real!(x.dtype(), T => {
            let mut out = self.alloc::<T>("avg_pool2d", shape.numel());
            pool::avg_pool2d(&sizes, options.count_include_pad, elements::<T>(&x), &mut out);
            Tensor::from_storage(self, T::wrap(out), T::DTYPE, shape)
        })
    }

    fn avg_pool2d_grad(&self, g: &Tensor, size: [usize; 2], options: &Pool2dOptions) -> Tensor {
        let (sizes, shape) = grad_sizes(g, size, options);
        let g = g.contiguous();
        with_real!(g.dtype(), T => {
            let mut out = self.alloc::<T>("avg_pool2d_grad", shape.numel());
            pool::avg_pool2d_grad(&sizes, options.count_include_pad, elements::<T>(&g), &mut out);
            Tensor::from_storage(self, T::wrap(out), T::DTYPE, shape)
        })
    }
}

/// The geometry of x `[n, c, h, w]`, and the output's shape `[n, c, oh, ow]`.
fn sizes([n, c, h, w]: [usize; 4], options: &Pool2dOptions) -> (Pool2d, Shape) {
    let Some([oh, ow]) = options.output_size([h, w]) else {
        unreachable!("core checked that the window fits");
    };
    let Pool2dOptions { kernel, stride, padding, dilation, .. } = *options;
    (Pool2d { planes: n * c, h, w, kernel, stride, padding, dilation, oh, ow }, Shape::from([n, c, oh, ow]))
}

/// The geometry of a gradient, and its shape `[n, c, h, w]`.
fn grad_sizes(g: &Tensor, [h, w]: [usize; 2], options: &Pool2dOptions) -> (Pool2d, Shape) {
    let [n, c, ..] = g.dims::<4>();
    let shape = Shape::from([n, c, h, w]);
    (sizes([n, c, h, w], options).0, shape)
}
