//! Pooling of tensors: sizes, contiguous operands and outputs for `kernels/pool`.

use crate::element::{Element, with_real};
use crate::kernels::pool::{self, Pool2d};
use crate::view::elements;
use crate::{Cpu, Tensor};
use minitorch_core::backend::PoolOps;
use minitorch_core::{DType, Pool2dOptions, Shape};

impl PoolOps for Cpu {
    fn max_pool2d(&self, x: &Tensor, options: &Pool2dOptions) -> (Tensor, Tensor) {
        let (sizes, shape) = sizes(x.dims(), options);
        let x = x.contiguous();
        with_real!(x.dtype(), T => {
            let (len, operands) = (shape.numel(), [x.view().storage]);
            let (mut out, mut indices) = (self.output::<T>(len, &operands), self.output::<i32>(len, &operands));
            if let (Some(out), Some(indices)) = (&mut out, &mut indices) {
                pool::max_pool2d(&sizes, elements::<T>(&x), out, indices);
            }
            (
                Tensor::from_storage(self, T::wrap(out), T::DTYPE, shape),
                Tensor::from_storage(self, i32::wrap(indices), DType::I32, shape),
            )
        })
    }

    fn max_pool2d_grad(&self, g: &Tensor, indices: &Tensor, size: [usize; 2], options: &Pool2dOptions) -> Tensor {
        let (sizes, shape) = grad_sizes(g, size, options);
        let (g, indices) = (g.contiguous(), indices.contiguous());
        with_real!(g.dtype(), T => {
            let mut out = self.output::<T>(shape.numel(), &[g.view().storage, indices.view().storage]);
            if let Some(out) = &mut out {
                pool::max_pool2d_grad(&sizes, elements::<T>(&g), elements::<i32>(&indices), out);
            }
            Tensor::from_storage(self, T::wrap(out), T::DTYPE, shape)
        })
    }

    fn avg_pool2d(&self, x: &Tensor, options: &Pool2dOptions) -> Tensor {
        let (sizes, shape) = sizes(x.dims(), options);
        let x = x.contiguous();
        with_real!(x.dtype(), T => {
            let mut out = self.output::<T>(shape.numel(), &[x.view().storage]);
            if let Some(out) = &mut out {
                pool::avg_pool2d(&sizes, options.count_include_pad, elements::<T>(&x), out);
            }
            Tensor::from_storage(self, T::wrap(out), T::DTYPE, shape)
        })
    }

    fn avg_pool2d_grad(&self, g: &Tensor, size: [usize; 2], options: &Pool2dOptions) -> Tensor {
        let (sizes, shape) = grad_sizes(g, size, options);
        let g = g.contiguous();
        with_real!(g.dtype(), T => {
            let mut out = self.output::<T>(shape.numel(), &[g.view().storage]);
            if let Some(out) = &mut out {
                pool::avg_pool2d_grad(&sizes, options.count_include_pad, elements::<T>(&g), out);
            }
            Tensor::from_storage(self, T::wrap(out), T::DTYPE, shape)
        })
    }
}

/// The geometry of x `[n, c, h, w]`, and the output's shape `[n, c, oh, ow]`.
fn sizes([n, c, h, w]: [usize; 4], options: &Pool2dOptions) -> (Pool2d, Shape) {
    let [oh, ow] = options.output([h, w]);
    let Pool2dOptions { kernel, stride, padding, dilation, .. } = *options;
    (Pool2d { planes: n * c, h, w, kernel, stride, padding, dilation, oh, ow }, Shape::from([n, c, oh, ow]))
}

/// The geometry of a gradient, and its shape `[n, c, h, w]`.
fn grad_sizes(g: &Tensor, [h, w]: [usize; 2], options: &Pool2dOptions) -> (Pool2d, Shape) {
    let [n, c, ..] = g.dims::<4>();
    let shape = Shape::from([n, c, h, w]);
    (sizes([n, c, h, w], options).0, shape)
}
