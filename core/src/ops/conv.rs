//! Convolution (cross-correlation, as in every framework) in one and two dimensions.
//!
//! ```text
//! y[n, o, i, j]  = b[o] + sum over c, p, q of w[o, c, p, q] x[n, c, i s + p d - pad, j s + q d - pad]
//! ```
//!
//! The forward map `(x, w)`, the gradient in x `(g, w)` and the gradient in w `(x, g)` are bilinear, and the derivative of each
//! in either argument is one of the three. So derivatives of any order need no further kernel.
//!
//! [`Tensor::conv2d`] is the method, [`ConvOps::conv2d`] the backend's contract, [`composed::conv2d`] the default (im2col and a
//! matrix product), and the function `conv2d` of this file records the gradient.

use crate::backend::{Backend, Device};
use crate::index::PerDim;
use crate::layout::output_size;
use crate::ops::matmul::{Activation, before_activation, node_name};
use crate::ops::unary::unary;
use crate::shape::Shape;
use crate::tensor::Tensor;
use crate::tensor::fused::{Save, Saved, fused, fused_with, in_f32_with, present};

/// Stride, padding, dilation and groups of a convolution with N spatial dimensions.
///
/// ```
/// use minitorch::prelude::*;
/// use minitorch::ConvOptions;
///
/// let options = ConvOptions::<2>::default().stride(2).padding([1, 0]);
/// assert_eq!(options.output_size([28, 28], [3, 3]), Some([14, 13]));
/// ```
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConvOptions<const N: usize> {
    /// Distance of neighbouring windows; at least 1.
    pub stride: [usize; N],
    /// Zeros added on both sides of each spatial dimension.
    pub padding: [usize; N],
    /// Distance between neighbouring kernel taps; at least 1.
    pub dilation: [usize; N],
    /// Independent groups of channels; at least 1.
    pub groups: usize,
}

/// [`ConvOptions`] of `conv1d`.
pub type Conv1dOptions = ConvOptions<1>;
/// [`ConvOptions`] of `conv2d`.
pub type Conv2dOptions = ConvOptions<2>;

impl<const N: usize> Default for ConvOptions<N> {
    /// Stride 1, no padding, dilation 1, one group.
    fn default() -> Self {
        ConvOptions { stride: [1; N], padding: [0; N], dilation: [1; N], groups: 1 }
    }
}

impl<const N: usize> ConvOptions<N> {
    /// Sets the stride.
    pub fn stride(self, stride: impl PerDim<N>) -> Self {
        ConvOptions { stride: stride.per_dim(), ..self }
    }

    /// Sets the padding.
    pub fn padding(self, padding: impl PerDim<N>) -> Self {
        ConvOptions { padding: padding.per_dim(), ..self }
    }

    /// Sets the dilation.
    pub fn dilation(self, dilation: impl PerDim<N>) -> Self {
        ConvOptions { dilation: dilation.per_dim(), ..self }
    }

    /// Sets the number of groups.
    pub fn groups(self, groups: usize) -> Self {
        ConvOptions { groups, ..self }
    }

    /// `(size + 2 padding - dilation (kernel - 1) - 1) / stride + 1`; `None` when the kernel does not fit, is empty, or the
    /// stride is 0.
    pub fn output_size(&self, size: [usize; N], kernel: [usize; N]) -> Option<[usize; N]> {
        output_size(size, kernel, self.stride, self.padding, self.dilation)
    }

    /// [`output_size`](Self::output_size) for a kernel that was checked to fit.
    pub fn output(&self, size: [usize; N], kernel: [usize; N]) -> [usize; N] {
        match self.output_size(size, kernel) {
            Some(out) => out,
            None => unreachable!("convolution: the kernel was checked to fit"),
        }
    }

    #[track_caller]
    fn check(&self, op: &str, x: &[usize], w: &[usize], bias: Option<&[usize]>) {
        let of = |dims: &[usize]| Some((*dims.first_chunk::<2>()?, <[usize; N]>::try_from(&dims[2..]).ok()?));
        let (Some(([n, c_in], size)), Some(([c_out, c_group], kernel))) = (of(x), of(w)) else {
            panic!("{op}: wants an input and a weight of rank {}, not {x:?} and {w:?}", N + 2)
        };
        assert!(self.stride.iter().chain(&self.dilation).all(|&s| s > 0), "{op}: stride and dilation must not be 0");
        assert!(self.groups > 0, "{op}: groups must not be 0");
        assert!(
            c_group.checked_mul(self.groups) == Some(c_in),
            "{op}: a weight {w:?} in {} groups wants {} input channels, the input has {c_in}: {x:?}",
            self.groups,
            c_group.saturating_mul(self.groups)
        );
        assert!(
            c_out.is_multiple_of(self.groups),
            "{op}: {} groups do not divide the {c_out} output channels of a weight {w:?}",
            self.groups
        );
        if let Some(b) = bias {
            assert!(b == [c_out], "{op}: a bias {b:?} for {c_out} output channels");
        }
        let Some(out) = self.output_size(size, kernel) else {
            panic!(
                "{op}: a kernel {kernel:?} (dilation {:?}) does not fit an input {size:?} padded by {:?}",
                self.dilation, self.padding
            )
        };
        let mut shape = [n, c_out, 1, 1];
        shape[2..2 + N].copy_from_slice(&out);
        assert!(
            Shape::try_new(&shape).is_some(),
            "{op}: {x:?} under a weight {w:?} has an output {out:?} of too many elements"
        );
    }
}

/// The arguments of [`ConvOps::conv2d_grad`].
pub struct Conv2dGrad<'a, B: Backend> {
    /// The gradient of the result, `[n, co, oh, ow]`.
    pub g: &'a Tensor<B>,
    /// The input `[n, ci, h, w]`, if the weight's gradient is wanted.
    pub x: Option<&'a Tensor<B>>,
    /// The weight `[co, ci / groups, kh, kw]`, if the input's gradient is wanted.
    pub w: Option<&'a Tensor<B>>,
    /// Whether the bias's gradient `[co]` is wanted.
    pub bias: bool,
    /// `[h, w]`.
    pub size: [usize; 2],
    /// `[kh, kw]`.
    pub kernel: [usize; 2],
    /// Stride, padding, dilation and groups.
    pub options: Conv2dOptions,
    /// The activation and its output, if there is one: `g` is then the gradient of that output.
    pub activated: Option<(Activation, &'a Tensor<B>)>,
}

impl<B: Backend> Conv2dGrad<'_, B> {
    /// The gradient of the activation's argument; `g` if there is no activation.
    pub fn before_activation(&self) -> Tensor<B> {
        before_activation(self.g, self.activated)
    }
}

/// Convolution and its gradients. See the [contract](crate::backend).
pub trait ConvOps: Device {
    /// Cross-correlation, and an activation if there is one: x `[n, ci, h, w]`, w `[co, ci / groups, kh, kw]`, b `[co]` ->
    /// `[n, co, oh, ow]`. Here and in the gradient of w, the zeros of the padding are multiplied like elements: times NaN or
    /// infinity they give NaN.
    fn conv2d(
        &self,
        x: &Tensor<Self>,
        w: &Tensor<Self>,
        bias: Option<&Tensor<Self>>,
        options: &Conv2dOptions,
        activation: Option<Activation>,
    ) -> Tensor<Self>
    where
        Self: Backend,
    {
        composed::conv2d(x, w, bias, options, activation)
    }

    /// The gradients of [`conv2d`](ConvOps::conv2d) in x, w and b; `None` for those that are not wanted.
    fn conv2d_grad(&self, g: &Conv2dGrad<'_, Self>) -> [Option<Tensor<Self>>; 3]
    where
        Self: Backend,
    {
        composed::conv2d_grad(g)
    }

    /// The gradient of [`conv2d`](ConvOps::conv2d) in x, whose height and width are `size`. If w holds NaN or infinity, the
    /// gradient may be NaN even at elements that no window reads.
    fn conv2d_grad_input(
        &self,
        g: &Tensor<Self>,
        w: &Tensor<Self>,
        size: [usize; 2],
        options: &Conv2dOptions,
    ) -> Tensor<Self>
    where
        Self: Backend,
    {
        composed::conv2d_grad_input(g, w, size, options)
    }

    /// The gradient of [`conv2d`](ConvOps::conv2d) in w, whose height and width are `kernel`.
    fn conv2d_grad_weight(
        &self,
        x: &Tensor<Self>,
        g: &Tensor<Self>,
        kernel: [usize; 2],
        options: &Conv2dOptions,
    ) -> Tensor<Self>
    where
        Self: Backend,
    {
        composed::conv2d_grad_weight(x, g, kernel, options)
    }
}

impl<B: Backend> Tensor<B> {
    /// `out[n, o, y, x] = b[o] + sum over c, i, j of w[o, c, i, j] * self[n, c, y s + i d - p, x s + j d - p]`, zero
    /// outside the input. Self `[n, c_in, h, w]`, weight `[c_out, c_in / groups, kh, kw]`, bias `[c_out]`; the result is
    /// `[n, c_out, oh, ow]`. PyTorch: `conv2d`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices do not match, or the kernel does not fit the padded input.
    #[track_caller]
    pub fn conv2d(&self, weight: &Self, bias: Option<&Self>, options: Conv2dOptions) -> Self {
        self.check_conv2d("conv2d", weight, bias, options);
        conv2d(self, weight, bias, options, None)
    }

    /// `f(conv2d(self, w) + b)`: [`conv2d`](Self::conv2d) with the activation f in its epilogue. The numbers and gradients are
    /// those of `x.conv2d(..)` and the activation after it. PyTorch: `conv2d` and the activation, which `torch.compile` fuses.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let x = Tensor::new([[[[1.0, -2.0]]]], &device);
    /// let w = Tensor::new([[[[3.0]]]], &device);
    /// let y = x.conv2d_activated(&w, None, Conv2dOptions::default(), Activation::Relu);
    /// assert_eq!(y.to_vec::<f32>()?, [3.0, 0.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// As [`conv2d`](Self::conv2d).
    #[track_caller]
    pub fn conv2d_activated(
        &self,
        weight: &Self,
        bias: Option<&Self>,
        options: Conv2dOptions,
        activation: Activation,
    ) -> Self {
        self.check_conv2d("conv2d_activated", weight, bias, options);
        conv2d(self, weight, bias, options, Some(activation))
    }

    #[track_caller]
    fn check_conv2d(&self, op: &str, weight: &Self, bias: Option<&Self>, options: Conv2dOptions) {
        options.check(op, self.shape(), weight.shape(), bias.map(|b| &**b.shape()));
        self.check_conv(op, weight, bias);
    }

    #[track_caller]
    fn check_conv(&self, op: &str, weight: &Self, bias: Option<&Self>) {
        self.check_same(op, weight);
        if let Some(bias) = bias {
            self.check_same(op, bias);
        }
        assert!(self.dtype().is_float(), "{op}: wants a float dtype, not {}", self.dtype());
    }

    /// [`conv2d`](Self::conv2d) over one dimension: self `[n, c_in, t]`, weight `[c_out, c_in / groups, k]`, bias
    /// `[c_out]`; the result is `[n, c_out, ot]`. PyTorch: `conv1d`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices do not match, or the kernel does not fit the padded input.
    #[track_caller]
    pub fn conv1d(&self, weight: &Self, bias: Option<&Self>, options: Conv1dOptions) -> Self {
        options.check("conv1d", self.shape(), weight.shape(), bias.map(|b| &**b.shape()));
        self.check_conv("conv1d", weight, bias);
        let flat = Conv2dOptions {
            stride: [1, options.stride[0]],
            padding: [0, options.padding[0]],
            dilation: [1, options.dilation[0]],
            groups: options.groups,
        };
        self.unsqueeze(2).conv2d(&weight.unsqueeze(2), bias, flat).squeeze(2)
    }
}

impl<B: Backend> Tensor<B> {
    /// Transposed convolution, the gradient of [`conv2d`](Self::conv2d) in its input: each element of self times the kernel is
    /// added to the window of its position. Self `[n, c_in, h, w]`, weight `[c_in, c_out / groups, kh, kw]`, bias `[c_out]`;
    /// the result is `[n, c_out, oh, ow]` with `oh = (h - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1`. With a
    /// stride above 1 several sizes are possible; `output_padding` selects one. Elements that no input reaches equal the bias.
    /// PyTorch: `conv_transpose2d`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices do not match, the stride is 0, the output would be empty, or the output padding reaches both
    /// the stride and the dilation.
    #[track_caller]
    pub fn conv_transpose2d(
        &self,
        weight: &Self,
        bias: Option<&Self>,
        options: Conv2dOptions,
        output_padding: impl PerDim<2>,
    ) -> Self {
        const OP: &str = "conv_transpose2d";
        let (extra, o) = (output_padding.per_dim(), options);
        assert!(
            self.rank() == 4 && weight.rank() == 4,
            "{OP}: wants an input and a weight of rank 4, not {:?} and {:?}",
            self.shape(),
            weight.shape()
        );
        let ([n, c_in, h, w], [rows, group, kh, kw]) = (self.dims::<4>(), weight.dims::<4>());
        assert!(
            rows == c_in
                && o.groups > 0
                && c_in.is_multiple_of(o.groups)
                && o.stride.iter().chain(&o.dilation).all(|&s| s > 0),
            "{OP}: {c_in} input channels and a weight {:?} do not fit {o:?}",
            weight.shape()
        );
        let Some(c_out) = group.checked_mul(o.groups) else {
            panic!("{OP}: {} groups of a weight {:?} have too many channels", o.groups, weight.shape())
        };
        if let Some(b) = bias {
            assert!(**b.shape() == [c_out], "{OP}: a bias {:?} for {c_out} channels", b.shape());
        }
        self.check_conv(OP, weight, bias);
        assert!(
            (0..2).all(|d| extra[d] < o.stride[d].max(o.dilation[d])),
            "{OP}: the output padding {extra:?} must be below the stride {:?} or the dilation {:?}",
            o.stride,
            o.dilation
        );
        let reach = |d: usize, size: usize, kernel: usize| {
            let (steps, taps) = (size.checked_sub(1)?, kernel.checked_sub(1)?);
            let (steps, taps) = (steps.checked_mul(o.stride[d])?, taps.checked_mul(o.dilation[d])?);
            let whole = steps.checked_add(taps)?.checked_add(extra[d])?.checked_add(1)?;
            whole.checked_sub(o.padding[d].checked_mul(2)?).filter(|&out| out > 0)
        };
        let (Some(oh), Some(ow)) = (reach(0, h, kh), reach(1, w, kw)) else {
            panic!(
                "{OP}: an input {:?} under a kernel {:?} leaves no output, or too large a one",
                self.shape(),
                [kh, kw]
            )
        };
        assert!(
            Shape::try_new(&[n, c_out, oh, ow]).is_some(),
            "{OP}: an output [{n}, {c_out}, {oh}, {ow}] has too many elements"
        );
        let size = [oh, ow];
        in_f32_with([Some(self), Some(weight), bias], |inputs| {
            let [Some(x), Some(w), bias] = inputs else { unreachable!("both are given") };
            let y = if (0..2).all(|d| extra[d] < o.stride[d]) {
                grad_input(x, w, size, o)
            } else {
                // A convolution over an input of this size would have more windows than self has elements. So the part that self
                // reaches is computed without padding, extended by zeros at the end, and narrowed.
                let full = [0, 1].map(|d| size[d] + 2 * o.padding[d] - extra[d]);
                let y = grad_input(x, w, full, Conv2dOptions { padding: [0, 0], ..o });
                let y = y.pad(extra.map(|extra| (0, extra)), 0.0);
                y.narrow(2, o.padding[0], size[0]).narrow(3, o.padding[1], size[1])
            };
            match bias {
                Some(b) => y + b.reshape([b.numel(), 1, 1]),
                None => y,
            }
        })
    }
}

/// The height and the width of an image or of a kernel.
pub fn spatial<B: Backend>(x: &Tensor<B>) -> [usize; 2] {
    [x.shape()[2], x.shape()[3]]
}

/// [`Tensor::conv2d`] of checked arguments: the backend's forward method and the gradient rule. Each operand is saved for the
/// gradient of the other. While the backward pass is recorded, the gradient is the two differentiable operations below; otherwise
/// it is one call of [`ConvOps::conv2d_grad`].
fn conv2d<B: Backend>(
    x: &Tensor<B>,
    w: &Tensor<B>,
    bias: Option<&Tensor<B>>,
    o: Conv2dOptions,
    activation: Option<Activation>,
) -> Tensor<B> {
    let (size, kernel) = (spatial(x), spatial(w));
    let save = Save { inputs: [w.is_tracked(), x.is_tracked(), false], output: activation.is_some() };
    let forward = |inputs: [Option<&Tensor<B>>; 3]| {
        let [Some(x), Some(w), bias] = inputs else { unreachable!("both are given") };
        (x.device().conv2d(x, w, bias, &o, activation), ())
    };
    let gradient = move |of: Saved<'_, B, (), 3>| {
        let ([x, w, _], bias) = (of.inputs, of.wants[2]);
        let activated = activation.zip(of.output);
        if of.recording {
            let g = before_activation(of.g, activated);
            return [
                w.map(|w| grad_input(&g, w, size, o)),
                x.map(|x| grad_weight(x, &g, kernel, o)),
                bias.then(|| g.sum([0, 2, 3])),
            ];
        }
        let (g, options) = (of.g, o);
        g.device().conv2d_grad(&Conv2dGrad { g, x, w, bias, size, kernel, options, activated })
    };
    fused_with(node_name!("conv2d", activation), [Some(x), Some(w), bias], save, forward, gradient).0
}

/// [`ConvOps::conv2d_grad_input`] on the tape.
fn grad_input<B: Backend>(g: &Tensor<B>, w: &Tensor<B>, size: [usize; 2], o: Conv2dOptions) -> Tensor<B> {
    let forward = |[g, w]: [&Tensor<B>; 2]| g.device().conv2d_grad_input(g, w, size, &o);
    fused("conv2d_grad_input", [g, w], Save::INPUTS, forward, move |of| {
        let ([g, w], gx) = (present(of.inputs), of.g);
        [of.wants[0].then(|| conv2d(gx, w, None, o, None)), of.wants[1].then(|| grad_weight(gx, g, spatial(w), o))]
    })
}

/// [`ConvOps::conv2d_grad_weight`] on the tape.
fn grad_weight<B: Backend>(x: &Tensor<B>, g: &Tensor<B>, kernel: [usize; 2], o: Conv2dOptions) -> Tensor<B> {
    let forward = |[x, g]: [&Tensor<B>; 2]| x.device().conv2d_grad_weight(x, g, kernel, &o);
    fused("conv2d_grad_weight", [x, g], Save::INPUTS, forward, move |of| {
        let ([x, g], gw) = (present(of.inputs), of.g);
        [of.wants[0].then(|| grad_input(g, gw, spatial(x), o)), of.wants[1].then(|| conv2d(x, gw, None, o, None))]
    })
}

/// The default implementation.
pub mod composed {
    use super::*;

    /// [`ConvOps::conv2d`] as tensor operations: every window becomes a column (im2col), one product per group. The activation is
    /// applied in place.
    pub fn conv2d<B: Backend>(
        x: &Tensor<B>,
        w: &Tensor<B>,
        bias: Option<&Tensor<B>>,
        o: &Conv2dOptions,
        activation: Option<Activation>,
    ) -> Tensor<B> {
        if let Some(f) = activation {
            return unary(f.op(), &mut x.device().conv2d(x, w, bias, o, None));
        }
        let ([n, ..], [c_out, c_group, kh, kw]) = (x.dims::<4>(), w.dims());
        let (columns, [oh, ow]) = columns(x, [kh, kw], o);
        let per_group = c_out / o.groups;
        let parts: Vec<_> = (0..o.groups)
            .map(|i| {
                let columns = columns.narrow(1, i * c_group, c_group).reshape([n, c_group * kh * kw, oh * ow]);
                w.narrow(0, i * per_group, per_group).reshape([per_group, c_group * kh * kw]).matmul(&columns)
            })
            .collect();
        let out = Tensor::cat(&parts, 1).reshape([n, c_out, oh, ow]);
        match bias {
            Some(b) => out + b.reshape([c_out, 1, 1]),
            None => out,
        }
    }

    /// [`ConvOps::conv2d_grad`] by one method per gradient.
    pub fn conv2d_grad<B: Backend>(of: &Conv2dGrad<'_, B>) -> [Option<Tensor<B>>; 3] {
        let (g, device) = (of.before_activation(), of.g.device());
        [
            of.w.map(|w| device.conv2d_grad_input(&g, w, of.size, &of.options)),
            of.x.map(|x| device.conv2d_grad_weight(x, &g, of.kernel, &of.options)),
            of.bias.then(|| g.sum([0, 2, 3])),
        ]
    }

    /// [`ConvOps::conv2d_grad_input`] as tensor operations: the gradient of the columns, added to the pixels that they were read
    /// from (col2im).
    pub fn conv2d_grad_input<B: Backend>(
        g: &Tensor<B>,
        w: &Tensor<B>,
        size: [usize; 2],
        o: &Conv2dOptions,
    ) -> Tensor<B> {
        let ([n, c_out, oh, ow], [_, c_group, kh, kw]) = (g.dims(), w.dims());
        let per_group = c_out / o.groups;
        let parts: Vec<_> = (0..o.groups)
            .map(|i| {
                let g = g.narrow(1, i * per_group, per_group).reshape([n, per_group, oh * ow]);
                let w = w.narrow(0, i * per_group, per_group).reshape([per_group, c_group * kh * kw]);
                w.transpose(0, 1).matmul(&g).reshape([n, c_group, kh, kw, oh, ow])
            })
            .collect();
        Tensor::cat(&parts, 1).fold(size, o.stride, o.padding, o.dilation)
    }

    /// [`ConvOps::conv2d_grad_weight`] as tensor operations: `g` times the transposed columns, summed over images.
    pub fn conv2d_grad_weight<B: Backend>(
        x: &Tensor<B>,
        g: &Tensor<B>,
        kernel: [usize; 2],
        o: &Conv2dOptions,
    ) -> Tensor<B> {
        let ([n, c_in, ..], [_, c_out, oh, ow]) = (x.dims::<4>(), g.dims());
        let (columns, _) = columns(x, kernel, o);
        let ([kh, kw], c_group, per_group) = (kernel, c_in / o.groups, c_out / o.groups);
        let parts: Vec<_> = (0..o.groups)
            .map(|i| {
                let columns = columns.narrow(1, i * c_group, c_group).reshape([n, c_group * kh * kw, oh * ow]);
                let g = g.narrow(1, i * per_group, per_group).reshape([n, per_group, oh * ow]);
                g.matmul(&columns.transpose(1, 2)).sum(0).reshape([per_group, c_group, kh, kw])
            })
            .collect();
        Tensor::cat(&parts, 0)
    }

    /// The im2col view `[n, c, kh, kw, oh, ow]` of the padded input; and `[oh, ow]`.
    fn columns<B: Backend>(x: &Tensor<B>, kernel: [usize; 2], o: &Conv2dOptions) -> (Tensor<B>, [usize; 2]) {
        let out = o.output(spatial(x), kernel);
        let padded = x.pad2d(o.padding, 0.0);
        (padded.windows(out, kernel, o.stride, o.dilation).permute([0, 1, 4, 5, 2, 3]), out)
    }
}
