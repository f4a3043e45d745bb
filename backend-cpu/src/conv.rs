//! Convolution and its two gradients: sizes and slices for `kernels/conv`, where the arithmetic is. Operands are made
//! contiguous first.

use crate::element::{Element, with_real};
use crate::kernels::conv::{self, Algorithm, Conv2d, Pass};
use crate::memory::Storage;
use crate::simd::Level;
use crate::{Cpu, Tensor};
use minitorch_core::backend::{Activation, Conv2dGrad, View};
use minitorch_core::ops::composed;
use minitorch_core::{Conv2dOptions, DType, Shape};

/// The elements of a contiguous tensor.
pub(crate) fn elements<T: Element>(x: &Tensor) -> &[T] {
    debug_assert!(x.layout().is_contiguous());
    let View { storage, layout, .. } = x.view();
    // An empty view may start anywhere.
    if layout.numel() == 0 { &[] } else { &T::read(storage)[layout.offset()..][..layout.numel()] }
}

/// x `[n, c_in, h, w]`, w `[c_out, c_in / groups, kh, kw]`.
fn sizes(x: [usize; 4], w: [usize; 4], o: &Conv2dOptions) -> Conv2d {
    let ([n, c_in, h, width], [c_out, _, kh, kw]) = (x, w);
    let Some([oh, ow]) = o.output_size([h, width], [kh, kw]) else {
        unreachable!("core checked that the kernel fits");
    };
    let Conv2dOptions { stride: [sy, sx], padding, dilation, groups } = *o;
    // The padded image is as large as `output_size` has counted.
    let stride = [sy.min(h + 2 * padding[0]), sx.min(width + 2 * padding[1])];
    Conv2d { n, c_in, h, w: width, c_out, kh, kw, stride, padding, dilation, groups, oh, ow }
}

pub(crate) fn conv2d(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    options: &Conv2dOptions,
    activation: Option<Activation>,
) -> Tensor {
    if activation.is_some() {
        return composed::conv2d(x, w, bias, options, activation);
    }
    let device: &Cpu = x.device();
    let g = sizes(x.dims(), w.dims(), options);
    let (x, w, bias) = (x.contiguous(), w.contiguous(), bias.map(Tensor::contiguous));
    let shape = Shape::from([g.n, g.c_out, g.oh, g.ow]);
    with_real!(x.dtype(), T => {
        let mut out = device.alloc::<T>("conv2d", shape.numel());
        let bias = bias.as_ref().map(elements::<T>);
        conv::forward(Level::best(), &g, elements::<T>(&x), elements::<T>(&w), bias, &mut out);
        Tensor::from_storage(device, T::wrap(out), T::DTYPE, shape)
    })
}

/// A tensor of this shape `[a, c, h, w]` from elements in the order `[a, h, w, c]`.
fn channels_last(device: &Cpu, data: Storage, dtype: DType, [a, c, h, w]: [usize; 4]) -> Tensor {
    Tensor::from_storage(device, data, dtype, Shape::from([a, h, w, c])).permute([0, 3, 1, 2])
}

/// Both gradients read g contiguous: it is copied once for them, if at all.
pub(crate) fn conv2d_grad(of: &Conv2dGrad<'_, Cpu>) -> [Option<Tensor>; 3] {
    let g = of.before_activation().contiguous();
    composed::conv2d_grad(&Conv2dGrad { g: &g, activated: None, ..*of })
}

pub(crate) fn grad_input(g: &Tensor, w: &Tensor, size: [usize; 2], options: &Conv2dOptions) -> Tensor {
    let device = g.device();
    let c_in = w.shape()[1].saturating_mul(options.groups);
    let dims = [g.shape()[0], c_in, size[0], size[1]];
    let (shape, sizes) = (Shape::from(dims), sizes(dims, w.dims(), options));
    let (g, w) = (g.contiguous(), w.contiguous());
    with_real!(g.dtype(), T => {
        let (mut out, level) = (device.alloc::<T>("conv2d_grad_input", shape.numel()), Level::best());
        let gy = elements::<T>(&g);
        if Algorithm::choose_gradient(level, Pass::GradInput, &sizes, gy, elements::<T>(&w)) == Algorithm::Sparse {
            let w = w.permute([0, 2, 3, 1]).contiguous();
            conv::sparse_grad_input(level, &sizes, gy, elements::<T>(&w), &mut out);
            return channels_last(device, T::wrap(out), T::DTYPE, dims);
        }
        conv::grad_input(level, &sizes, gy, elements::<T>(&w), &mut out);
        Tensor::from_storage(device, T::wrap(out), T::DTYPE, shape)
    })
}

pub(crate) fn grad_weight(x: &Tensor, g: &Tensor, kernel: [usize; 2], options: &Conv2dOptions) -> Tensor {
    let device = x.device();
    let dims = [g.shape()[1], x.shape()[1] / options.groups, kernel[0], kernel[1]];
    let (shape, sizes) = (Shape::from(dims), sizes(x.dims(), dims, options));
    let (x, g) = (x.contiguous(), g.contiguous());
    with_real!(x.dtype(), T => {
        let (mut out, level) = (device.alloc::<T>("conv2d_grad_weight", shape.numel()), Level::best());
        let gy = elements::<T>(&g);
        if Algorithm::choose_gradient(level, Pass::GradWeight, &sizes, gy, elements::<T>(&x)) == Algorithm::Sparse {
            let x = x.permute([0, 2, 3, 1]).contiguous();
            conv::sparse_grad_weight(level, &sizes, elements::<T>(&x), gy, &mut out);
            return channels_last(device, T::wrap(out), T::DTYPE, dims);
        }
        conv::grad_weight(level, &sizes, elements::<T>(&x), gy, &mut out);
        Tensor::from_storage(device, T::wrap(out), T::DTYPE, shape)
    })
}
