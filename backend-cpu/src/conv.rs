//! Convolution of tensors: sizes, contiguous operands and outputs for `kernels/conv`, which chooses the algorithm.

use crate::element::{Element, with_real};
use crate::kernels::conv::{self, Algorithm, Conv2d, Pass};
use crate::memory::Storage;
use crate::simd::Level;
use crate::view::elements;
use crate::{Cpu, Tensor};
use minitorch_core::backend::{Activation, Conv2dGrad};
use minitorch_core::ops::composed;
use minitorch_core::{Conv2dOptions, DType, Shape};

/// x `[n, c_in, h, w]`, w `[c_out, c_in / groups, kh, kw]`.
fn sizes(x: [usize; 4], w: [usize; 4], o: &Conv2dOptions) -> Conv2d {
    let ([n, c_in, h, width], [c_out, _, kh, kw]) = (x, w);
    let Some([oh, ow]) = o.output_size([h, width], [kh, kw]) else {
        unreachable!("core checked that the kernel fits");
    };
    let Conv2dOptions { stride: [sy, sx], padding, dilation, groups } = *o;
    // Core has checked the size of the padded image. A stride beyond it has one window.
    let stride = [sy.min(h + 2 * padding[0]), sx.min(width + 2 * padding[1])];
    Conv2d { n, c_in, h, w: width, c_out, kh, kw, stride, padding, dilation, groups, oh, ow }
}

/// A tensor of shape `[a, c, h, w]` from elements in the order `[a, h, w, c]`.
fn channels_last(device: &Cpu, data: Storage, dtype: DType, [a, c, h, w]: [usize; 4]) -> Tensor {
    Tensor::from_storage(device, data, dtype, Shape::from([a, h, w, c])).permute([0, 3, 1, 2])
}
