//! Convolution of tensors: sizes, contiguous operands and outputs for `kernels/conv`, which chooses the algorithm.

use crate::element::{Element, with_real};
use crate::kernels::conv::{self, Conv2d, sparse};
use crate::memory::Storage;
use crate::simd::Level;
use crate::view::elements;
use crate::{Cpu, Tensor};
use minitorch_core::backend::{Activation, Conv2dGrad, ConvOps};
use minitorch_core::ops::composed;
use minitorch_core::{Conv2dOptions, DType, Shape};

impl ConvOps for Cpu {
    fn conv2d(
        &self,
        x: &Tensor,
        w: &Tensor,
        bias: Option<&Tensor>,
        options: &Conv2dOptions,
        activation: Option<Activation>,
    ) -> Tensor {
        if activation.is_some() {
            return composed::conv2d(x, w, bias, options, activation);
        }
        let g = sizes(x.dims(), w.dims(), options);
        let (x, w, bias) = (x.contiguous(), w.contiguous(), bias.map(Tensor::contiguous));
        let shape = Shape::from([g.n, g.c_out, g.oh, g.ow]);
        with_real!(x.dtype(), T => {
            let operands = [Some(&x), Some(&w), bias.as_ref()].map(|x| x.unwrap_or(&w).view().storage);
            let mut out = self.output::<T>(shape.numel(), &operands);
            if let Some(out) = &mut out {
                let bias = bias.as_ref().map(elements::<T>);
                conv::forward(Level::best(), &g, elements::<T>(&x), elements::<T>(&w), bias, out);
            }
            Tensor::from_storage(self, T::wrap(out), T::DTYPE, shape)
        })
    }

    /// The default, except that g is made contiguous once for both gradients.
    fn conv2d_grad(&self, of: &Conv2dGrad<'_, Cpu>) -> [Option<Tensor>; 3] {
        let g = of.before_activation().contiguous();
        composed::conv2d_grad(&Conv2dGrad { g: &g, activated: None, ..*of })
    }

    fn conv2d_grad_input(&self, g: &Tensor, w: &Tensor, size: [usize; 2], options: &Conv2dOptions) -> Tensor {
        let c_in = w.shape()[1].saturating_mul(options.groups);
        let dims = [g.shape()[0], c_in, size[0], size[1]];
        let (shape, sizes) = (Shape::from(dims), sizes(dims, w.dims(), options));
        let g = g.contiguous();
        with_real!(g.dtype(), T => {
            let Some(mut out) = self.output::<T>(shape.numel(), &[g.view().storage, w.view().storage]) else {
                return missing(self, T::DTYPE, shape);
            };
            let level = Level::best();
            let gy = elements::<T>(&g);
            if sparse::suits(level, &sizes, gy) {
                let w = w.permute([0, 2, 3, 1]).contiguous();
                if w.view().storage.is_missing() {
                    return missing(self, T::DTYPE, shape);
                }
                if sparse::all_finite(level, elements::<T>(&w)) {
                    sparse::grad_input(level, &sizes, gy, elements::<T>(&w), &mut out);
                    return channels_last(self, T::wrap(out), T::DTYPE, dims);
                }
            }
            let w = w.contiguous();
            if w.view().storage.is_missing() {
                return missing(self, T::DTYPE, shape);
            }
            conv::grad_input(level, &sizes, gy, elements::<T>(&w), &mut out);
            Tensor::from_storage(self, T::wrap(out), T::DTYPE, shape)
        })
    }

    fn conv2d_grad_weight(&self, x: &Tensor, g: &Tensor, kernel: [usize; 2], options: &Conv2dOptions) -> Tensor {
        let dims = [g.shape()[1], x.shape()[1] / options.groups, kernel[0], kernel[1]];
        let (shape, sizes) = (Shape::from(dims), sizes(x.dims(), dims, options));
        let g = g.contiguous();
        with_real!(x.dtype(), T => {
            let Some(mut out) = self.output::<T>(shape.numel(), &[x.view().storage, g.view().storage]) else {
                return missing(self, T::DTYPE, shape);
            };
            let level = Level::best();
            let gy = elements::<T>(&g);
            if sparse::suits(level, &sizes, gy) {
                // A view if x is a permuted embedding: so x must not be made contiguous before.
                let x = x.permute([0, 2, 3, 1]).contiguous();
                if x.view().storage.is_missing() {
                    return missing(self, T::DTYPE, shape);
                }
                if sparse::all_finite(level, elements::<T>(&x)) {
                    sparse::grad_weight(level, &sizes, elements::<T>(&x), gy, &mut out);
                    return channels_last(self, T::wrap(out), T::DTYPE, dims);
                }
            }
            let x = x.contiguous();
            if x.view().storage.is_missing() {
                return missing(self, T::DTYPE, shape);
            }
            conv::grad_weight(level, &sizes, elements::<T>(&x), gy, &mut out);
            Tensor::from_storage(self, T::wrap(out), T::DTYPE, shape)
        })
    }
}

/// The geometry of x `[n, c_in, h, w]` and w `[c_out, c_in / groups, kh, kw]`.
fn sizes(x: [usize; 4], w: [usize; 4], o: &Conv2dOptions) -> Conv2d {
    let ([n, c_in, h, width], [c_out, _, kh, kw]) = (x, w);
    let [oh, ow] = o.output([h, width], [kh, kw]);
    let Conv2dOptions { stride: [sy, sx], padding, dilation, groups } = *o;
    // Core has checked the size of the padded image. With a stride beyond that size there is a single window, so the stride may
    // be reduced to it.
    let stride = [sy.min(h + 2 * padding[0]), sx.min(width + 2 * padding[1])];
    Conv2d { n, c_in, h, w: width, c_out, kh, kw, stride, padding, dilation, groups, oh, ow }
}

/// A tensor of shape `[a, c, h, w]` from elements in the order `[a, h, w, c]`.
fn channels_last(device: &Cpu, data: Storage, dtype: DType, [a, c, h, w]: [usize; 4]) -> Tensor {
    Tensor::from_storage(device, data, dtype, Shape::from([a, h, w, c])).permute([0, 3, 1, 2])
}

/// The result of an operation that has no memory or a missing operand.
fn missing(device: &Cpu, dtype: DType, shape: Shape) -> Tensor {
    Tensor::from_storage(device, Storage::Missing(dtype), dtype, shape)
}
