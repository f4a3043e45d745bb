//! Two-dimensional convolution (cross-correlation, as the field means it) and its two gradients. Layouts: images
//! `[n, channels, height, width]`, weights `[c_out, c_in / groups, kh, kw]`, all contiguous.
//!
//! ```text
//! forward      out[o][i,j]  = bias[o] + sum over c,y,x of w[o][c][y,x] * in[c][i sy + y dy - py, j sx + x dx - px]
//! grad_input   gx[c][p]     = sum over o,y,x of w[o][c][y,x] * gy[o][the (i,j) that reads p through (y,x), if any]
//! grad_weight  gw[o][c][y,x] = sum over images, i,j of gy[o][i,j] * in[c][i sy + y dy - py, ...]
//! ```
//! All three are matrix products per image and group whose im2col side is virtual: the image is copied once into a
//! padded frame (`frame.rs`), after which the address of an im2col element is the sum of a tap's offset and a pixel's.
//!
//! | kernel      | rows       | columns     | depth          | parallel over                        |
//! |-------------|------------|-------------|----------------|--------------------------------------|
//! | forward     | c_out / g  | oh ow       | c_in / g kh kw | images, groups, columns              |
//! | grad_input  | c_in / g   | h w / phase | c_out / g taps | images, groups, columns              |
//! | grad_weight | c_out / g  | c_in/g kh kw | images oh ow  | groups, sets of images, blocks       |
//!
//! A strided convolution's `grad_input` falls apart into `sy * sx` phases: the pixels `p` with the same remainder are
//! reached by the same taps only, and for them it is an ordinary convolution of `gy` with those taps. `grad_weight`
//! sums over images; the sets are fixed by the shape and their partial sums added in order. Where lines of the output
//! are of whole vectors it needs no panels at all (`dots.rs`). A 1 x 1 convolution with nothing to pad or skip is a
//! batch of products. Where 3 x 3 taps meet many channels, `forward` and `grad_input` compute tiles of pixels with fewer
//! multiplications (`winograd.rs`). Depthwise convolution (one channel per group) has no reuse for a product to find and runs as
//! plain loops over the same frames (`depthwise.rs`). Where most of `gy` is zero, the gradients are sums over the rest (`sparse.rs`).

mod correlation;
mod depthwise;
mod dots;
mod frame;
mod grad_weight;
mod joined;
pub(crate) mod sparse;
mod winograd;

#[cfg(test)]
mod tests;

use super::gemm::{Shape, Start, Strided, batch, batched_at};
use super::{Float, end_of};
use crate::launch::{Launch, report};
use crate::simd::Level;
use correlation::{Correlation, Phase};
use frame::Frame;

/// The sizes of a convolution. `oh` and `ow` are the output's: `(h + 2 padding - dilation (kh - 1) - 1) / stride + 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2d {
    pub n: usize,
    pub c_in: usize,
    pub h: usize,
    pub w: usize,
    pub c_out: usize,
    pub kh: usize,
    pub kw: usize,
    /// At most the size of the padded image: a lone window has no neighbour that would lie a stride away.
    pub stride: [usize; 2],
    pub padding: [usize; 2],
    pub dilation: [usize; 2],
    pub groups: usize,
    pub oh: usize,
    pub ow: usize,
}

impl Conv2d {
    fn group_in(&self) -> usize {
        self.c_in / self.groups
    }

    fn group_out(&self) -> usize {
        self.c_out / self.groups
    }

    fn taps(&self) -> usize {
        self.kh * self.kw
    }

    fn is_depthwise(&self) -> bool {
        self.group_in() == 1 && self.group_out() == 1
    }

    /// Whether this is a matrix product per image as it stands: 1 x 1, nothing skipped, nothing padded.
    fn is_pointwise(&self) -> bool {
        [self.kh, self.kw, self.groups] == [1; 3]
            && self.stride == [1, 1]
            && self.padding == [0, 0]
            && [self.oh, self.ow] == [self.h, self.w]
    }

    /// Multiply-adds of any of the three kernels (an upper bound where padding is not skipped).
    fn work(&self) -> usize {
        (self.n * self.c_out * self.oh * self.ow).saturating_mul(self.group_in() * self.taps())
    }

    /// The elements of more than every frame and table of this convolution (`frame.rs`), if they can be counted: then no product
    /// of sizes, steps and channels in these files overflows.
    fn framed(&self) -> Option<usize> {
        let side = |size: usize, padding: usize| 4_usize.checked_mul(padding.checked_mul(2)?.checked_add(size)? + 1);
        let image = side(self.h, self.padding[0])?.checked_mul(side(self.w, self.padding[1])?)?;
        let channels = self.c_in.checked_add(self.c_out)?.max(1);
        image.checked_mul(channels)?.checked_mul(self.n.max(1))?.checked_mul(size_of::<f64>())
    }

    /// Panics unless the sizes are possible and the slices hold what they say.
    fn check<T>(&self, input: &[T], weight: &[T], output: &[T]) {
        assert!(
            self.groups > 0 && self.c_in.is_multiple_of(self.groups) && self.c_out.is_multiple_of(self.groups),
            "groups of {self:?}"
        );
        assert!(self.stride[0] > 0 && self.stride[1] > 0 && self.dilation[0] > 0 && self.dilation[1] > 0, "{self:?}");
        assert!(self.framed().is_some_and(|bytes| bytes <= isize::MAX as usize), "{self:?} is too large");
        let fits = |out: usize, kernel: usize, stride, dilation, size, padding| {
            let padded = size + 2 * padding;
            out == 0
                || kernel > 0 && stride <= padded && end_of([(out - 1, stride), (kernel - 1, dilation)], 1) <= padded
        };
        assert!(fits(self.oh, self.kh, self.stride[0], self.dilation[0], self.h, self.padding[0]), "oh of {self:?}");
        assert!(fits(self.ow, self.kw, self.stride[1], self.dilation[1], self.w, self.padding[1]), "ow of {self:?}");
        assert_eq!(input.len(), self.n * self.c_in * self.h * self.w, "input of {self:?}");
        assert_eq!(weight.len(), self.c_out * self.group_in() * self.taps(), "weight of {self:?}");
        assert_eq!(output.len(), self.n * self.c_out * self.oh * self.ow, "output of {self:?}");
    }

    /// The frame in which `forward` and `grad_weight` read the input.
    fn input_frame(&self) -> Frame {
        let extent = |out: usize, kernel, stride, dilation| (out - 1) * stride + (kernel - 1) * dilation + 1;
        let extent = [
            extent(self.oh, self.kh, self.stride[0], self.dilation[0]),
            extent(self.ow, self.kw, self.stride[1], self.dilation[1]),
        ];
        let whole = Frame::new([self.h, self.w], self.padding, self.stride, extent);
        // Cutting an image that needs no padding saves nothing and would cost the copy.
        if self.padding == [0, 0] && self.stride == [1, 1] { Frame { size: [self.h, self.w], ..whole } } else { whole }
    }

    /// The offset of every tap `(y, x)` of one channel in the input's frame.
    fn input_taps(&self, frame: &Frame) -> Vec<usize> {
        let mut taps = Vec::with_capacity(self.taps());
        for y in 0..self.kh {
            taps.extend((0..self.kw).map(|x| frame.offset(y * self.dilation[0], x * self.dilation[1])));
        }
        taps
    }
}

/// `out = conv(x, w) + bias`; `x` is `[n, c_in, h, w]`, `out` is `[n, c_out, oh, ow]`.
pub fn forward<T: Float>(g: &Conv2d, x: &[T], w: &[T], bias: Option<&[T]>, out: &mut [T]) {
    forward_at(Level::best(), g, x, w, bias, out);
}

/// `gx` = the gradient of the input, overwritten.
pub fn grad_input<T: Float>(g: &Conv2d, gy: &[T], w: &[T], gx: &mut [T]) {
    grad_input_at(Level::best(), g, gy, w, gx);
}

/// `gw` = the gradient of the weights, overwritten.
pub fn grad_weight<T: Float>(g: &Conv2d, x: &[T], gy: &[T], gw: &mut [T]) {
    grad_weight::grad_weight_at(Level::best(), g, x, gy, gw);
}

pub(crate) fn forward_at<T: Float>(level: Level, g: &Conv2d, x: &[T], w: &[T], bias: Option<&[T]>, out: &mut [T]) {
    g.check(x, w, out);
    assert!(bias.is_none_or(|bias| bias.len() == g.c_out), "bias of {g:?}");
    if out.is_empty() {
        return;
    }
    if w.is_empty() {
        // No channel comes in.
        let biases = (0..g.c_out).map(|channel| bias.map_or(T::ZERO, |bias| bias[channel])).cycle();
        return out.chunks_exact_mut(g.oh * g.ow).zip(biases).for_each(|(out, bias)| out.fill(bias));
    }
    if g.is_pointwise() {
        let pixels = g.h * g.w;
        let shape = Shape { m: g.c_out, n: pixels, k: g.c_in };
        let w = Strided { data: w, lane_stride: g.c_in, depth_stride: 1 };
        let image = |n: usize| Strided { data: &x[n * g.c_in * pixels..], lane_stride: 1, depth_stride: pixels };
        let start = bias.map_or(Start::Zero, Start::RowBias);
        let _launch = report(|| pointwise(batch("conv2d", level, g.n, shape, &w, &image(0))));
        return batched_at(level, g.n, shape, |n| (w, image(n)), out, start);
    }
    let frame = g.input_frame();
    let group_weights = g.group_in() * g.taps();
    let phase = Phase {
        first: [0, 0],
        size: [g.oh, g.ow],
        taps: channels_and_taps(g.group_in(), frame.len(), &g.input_taps(&frame)),
        weights: (0..group_weights).collect(),
    };
    let correlation = Correlation {
        kernel: "conv2d",
        level,
        images: g.n,
        groups: g.groups,
        channels: [g.group_in(), g.group_out()],
        frame,
        output: [g.oh, g.ow],
        step: [1, 1],
        weight_rows: (0..g.group_out()).map(|o| o * group_weights).collect(),
        phases: vec![phase],
    };
    correlation.run(x, w, bias, out);
}

pub(crate) fn grad_input_at<T: Float>(level: Level, g: &Conv2d, gy: &[T], w: &[T], gx: &mut [T]) {
    g.check(gx, w, gy);
    if gy.is_empty() {
        gx.fill(T::ZERO);
    }
    if gy.is_empty() || gx.is_empty() {
        return;
    }
    if g.is_pointwise() {
        let pixels = g.h * g.w;
        let shape = Shape { m: g.c_in, n: pixels, k: g.c_out };
        let w = Strided { data: w, lane_stride: 1, depth_stride: g.c_in };
        let image = |n: usize| Strided { data: &gy[n * g.c_out * pixels..], lane_stride: 1, depth_stride: pixels };
        let _launch = report(|| pointwise(batch("conv2d_grad_input", level, g.n, shape, &w, &image(0))));
        return batched_at(level, g.n, shape, |n| (w, image(n)), gx, Start::Zero);
    }
    // Along one axis, input pixel `p` is read by output pixel `(p + padding - tap dilation) / stride`, if that is
    // whole. The frame has a margin so that the smallest such index is 0, and ends with the largest.
    let margin = |axis: usize, kernel: usize| {
        ((kernel - 1) * g.dilation[axis]).saturating_sub(g.padding[axis]).div_ceil(g.stride[axis])
    };
    let margin = [margin(0, g.kh), margin(1, g.kw)];
    let extent = |axis: usize, size: usize| margin[axis] + (size - 1 + g.padding[axis]) / g.stride[axis] + 1;
    let frame = Frame::new([g.oh, g.ow], margin, [1, 1], [extent(0, g.h), extent(1, g.w)]);
    // The taps that reach the pixels of one phase, each with the frame's index for the first of those pixels.
    let reaching = |axis: usize, kernel: usize, phase: usize| -> Vec<(usize, usize)> {
        let (stride, ahead) = (g.stride[axis], phase + g.padding[axis] + margin[axis] * g.stride[axis]);
        let index = |tap: usize| (tap, ahead - tap * g.dilation[axis]);
        (0..kernel).map(index).filter(|(_, at)| at % stride == 0).map(|(tap, at)| (tap, at / stride)).collect()
    };
    let mut phases = Vec::new();
    for first_y in 0..g.stride[0].min(g.h) {
        for first_x in 0..g.stride[1].min(g.w) {
            let size = [(g.h - first_y).div_ceil(g.stride[0]), (g.w - first_x).div_ceil(g.stride[1])];
            let (mut taps, mut weights) = (Vec::new(), Vec::new());
            for (y, row) in reaching(0, g.kh, first_y) {
                for (x, column) in reaching(1, g.kw, first_x) {
                    taps.push(frame.offset(row, column));
                    weights.push(y * g.kw + x);
                }
            }
            phases.push(Phase {
                first: [first_y, first_x],
                size,
                taps: channels_and_taps(g.group_out(), frame.len(), &taps),
                weights: channels_and_taps(g.group_out(), g.group_in() * g.taps(), &weights),
            });
        }
    }
    let correlation = Correlation {
        kernel: "conv2d_grad_input",
        level,
        images: g.n,
        groups: g.groups,
        channels: [g.group_out(), g.group_in()],
        frame,
        output: [g.h, g.w],
        step: g.stride,
        weight_rows: (0..g.group_in()).map(|c| c * g.taps()).collect(),
        phases,
    };
    correlation.run(gy, w, None, gx);
}

/// What a 1 x 1 convolution reports: its products.
fn pointwise(products: Launch) -> Launch {
    let path = format!("pointwise, {}", products.path);
    products.path(path)
}

/// `c * channel + offset` for all channels `c` and all offsets, the channel being the slower.
fn channels_and_taps(channels: usize, channel: usize, offsets: &[usize]) -> Vec<usize> {
    (0..channels).flat_map(|c| offsets.iter().map(move |offset| c * channel + offset)).collect()
}

/// `row * stride + column` for all pixels of a grid.
fn pixels([rows, columns]: [usize; 2], stride: usize) -> Vec<usize> {
    (0..rows).flat_map(|row| (0..columns).map(move |column| row * stride + column)).collect()
}
