//! Pooling and its gradients: sizes and slices for `kernels/pool`, where the arithmetic is. Operands are made contiguous
//! first; a gradient's storage is new and overwritten.

use crate::Tensor;
use crate::conv::elements;
use crate::element::{Element, with_real};
use crate::kernels::pool::{self, Pool2d};
use crate::memory::Storage;
use minitorch_core::{DType, Pool2dOptions, Shape};

/// `[n, c, h, w]` and the output's `[n, c, oh, ow]`.
fn sizes([n, c, h, w]: [usize; 4], options: &Pool2dOptions) -> (Pool2d, Shape) {
    let Some([oh, ow]) = options.output_size([h, w]) else {
        unreachable!("core checked that the window fits");
    };
    let Pool2dOptions { kernel, stride, padding, dilation, .. } = *options;
    (Pool2d { planes: n * c, h, w, kernel, stride, padding, dilation, oh, ow }, Shape::from([n, c, oh, ow]))
}

/// The sizes of a gradient's input from the output's shape.
fn grad_sizes(g: &Tensor, [h, w]: [usize; 2], options: &Pool2dOptions) -> (Pool2d, Shape) {
    let [n, c, ..] = g.dims::<4>();
    let shape = Shape::from([n, c, h, w]);
    (sizes([n, c, h, w], options).0, shape)
}

pub(crate) fn max_pool2d(x: &Tensor, options: &Pool2dOptions) -> (Tensor, Tensor) {
    let device = x.device();
    let (sizes, shape) = sizes(x.dims(), options);
    let x = x.contiguous();
    with_real!(x.dtype(), T => {
        let len = shape.numel();
        let (mut out, mut indices) = (device.alloc::<T>("max_pool2d", len), device.alloc::<i32>("max_pool2d", len));
        pool::max_pool2d(&sizes, elements::<T>(&x), &mut out, &mut indices);
        (
            Tensor::from_storage(device, T::wrap(out), T::DTYPE, shape),
            Tensor::from_storage(device, Storage::I32(indices), DType::I32, shape),
        )
    })
}

pub(crate) fn max_pool2d_grad(g: &Tensor, indices: &Tensor, size: [usize; 2], options: &Pool2dOptions) -> Tensor {
    let device = g.device();
    let (sizes, shape) = grad_sizes(g, size, options);
    let (g, indices) = (g.contiguous(), indices.contiguous());
    with_real!(g.dtype(), T => {
        let mut out = device.alloc::<T>("max_pool2d_grad", shape.numel());
        pool::max_pool2d_grad(&sizes, elements::<T>(&g), elements::<i32>(&indices), &mut out);
        Tensor::from_storage(device, T::wrap(out), T::DTYPE, shape)
    })
}

pub(crate) fn avg_pool2d(x: &Tensor, options: &Pool2dOptions) -> Tensor {
    let device = x.device();
    let (sizes, shape) = sizes(x.dims(), options);
    let x = x.contiguous();
    with_real!(x.dtype(), T => {
        let mut out = device.alloc::<T>("avg_pool2d", shape.numel());
        pool::avg_pool2d(&sizes, options.count_include_pad, elements::<T>(&x), &mut out);
        Tensor::from_storage(device, T::wrap(out), T::DTYPE, shape)
    })
}

pub(crate) fn avg_pool2d_grad(g: &Tensor, size: [usize; 2], options: &Pool2dOptions) -> Tensor {
    let device = g.device();
    let (sizes, shape) = grad_sizes(g, size, options);
    let g = g.contiguous();
    with_real!(g.dtype(), T => {
        let mut out = device.alloc::<T>("avg_pool2d_grad", shape.numel());
        pool::avg_pool2d_grad(&sizes, options.count_include_pad, elements::<T>(&g), &mut out);
        Tensor::from_storage(device, T::wrap(out), T::DTYPE, shape)
    })
}
