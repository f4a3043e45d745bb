//! Convolutional layers.

use crate::Module;
use crate::init;
use crate::module::Param;
use crate::observe::observe_flops;
use crate::place;
use minitorch_core::{Activation, Backend, Conv1dOptions, Conv2dOptions, PerDim, Tensor};

/// Convolution of images: x `[n, inputs, h, w]`, y `[n, outputs, oh, ow]`; see [`Tensor::conv2d`]. PyTorch:
/// `nn.Conv2d`.
///
/// Initial weight and bias are uniform within `±1 / sqrt(fan_in)`, as in PyTorch.
///
/// ```
/// use minitorch::prelude::*;
///
/// let device = Cpu::default();
/// let conv = Conv2d::with_options(1, 6, 5, Conv2dOptions::default().padding(2), &device);
/// let y = conv.forward(&Tensor::zeros([2, 1, 28, 28], &device));
/// assert_eq!(y.dims(), [2, 6, 28, 28]);
/// ```
#[must_use]
#[derive(Module, Clone)]
pub struct Conv2d<B: Backend> {
    /// `[outputs, inputs / groups, kernel height, kernel width]`.
    pub weight: Param<B>,
    /// `[outputs]`.
    pub bias: Option<Param<B>>,
    /// Stride, padding, dilation and groups.
    pub options: Conv2dOptions,
}

impl<B: Backend> Conv2d<B> {
    /// Stride 1, no padding, with a bias. The kernel is square (`5`) or `[height, width]`.
    pub fn new(inputs: usize, outputs: usize, kernel: impl PerDim<2>, device: &B) -> Self {
        Conv2d::with_options(inputs, outputs, kernel, Conv2dOptions::default(), device)
    }

    /// A layer with these options and a bias.
    ///
    /// # Panics
    /// If `groups` does not divide both numbers of channels.
    #[track_caller]
    pub fn with_options(
        inputs: usize,
        outputs: usize,
        kernel: impl PerDim<2>,
        options: Conv2dOptions,
        device: &B,
    ) -> Self {
        let ([kh, kw], group) = (kernel.per_dim(), inputs_per_group("Conv2d", inputs, outputs, options.groups));
        let (weight, bias) = init::layer_default([outputs, group, kh, kw], outputs, device);
        Conv2d { weight, bias, options }
    }

    /// The layer without its bias. PyTorch: `bias=False`.
    pub fn without_bias(self) -> Self {
        Conv2d { bias: None, ..self }
    }

    /// Applies the convolution.
    ///
    /// # Panics
    /// As [`Tensor::conv2d`].
    #[track_caller]
    pub fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let _running = place::layer(self);
        let y = x.conv2d(&self.weight, self.bias.as_deref(), self.options);
        observe_flops(self, flops(&self.weight, y.numel()), y)
    }

    /// [`forward`](Self::forward) with the activation fused into its epilogue; results are identical. See
    /// [`Tensor::conv2d_activated`].
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let layer = Conv2d::new(1, 2, 3, &device);
    /// let x = Tensor::ones([1, 1, 4, 4], &device);
    /// let y = layer.forward_activated(&x, Activation::Relu);
    /// assert_eq!(y.to_vec::<f32>()?, layer.forward(&x).relu().to_vec::<f32>()?);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// As [`Tensor::conv2d`].
    #[track_caller]
    pub fn forward_activated(&self, x: &Tensor<B>, activation: Activation) -> Tensor<B> {
        let _running = place::layer(self);
        let y = x.conv2d_activated(&self.weight, self.bias.as_deref(), self.options, activation);
        observe_flops(self, flops(&self.weight, y.numel()), y)
    }
}

/// Convolution of sequences: x `[n, inputs, t]`, y `[n, outputs, ot]`; see [`Tensor::conv1d`]. PyTorch: `nn.Conv1d`.
///
/// Initial weight and bias are uniform within `±1 / sqrt(fan_in)`, as in PyTorch.
#[must_use]
#[derive(Module, Clone)]
pub struct Conv1d<B: Backend> {
    /// `[outputs, inputs / groups, kernel]`.
    pub weight: Param<B>,
    /// `[outputs]`.
    pub bias: Option<Param<B>>,
    /// Stride, padding, dilation and groups.
    pub options: Conv1dOptions,
}

impl<B: Backend> Conv1d<B> {
    /// Stride 1, no padding, with a bias.
    pub fn new(inputs: usize, outputs: usize, kernel: usize, device: &B) -> Self {
        Conv1d::with_options(inputs, outputs, kernel, Conv1dOptions::default(), device)
    }

    /// A layer with these options and a bias.
    ///
    /// # Panics
    /// If `groups` does not divide both numbers of channels.
    #[track_caller]
    pub fn with_options(inputs: usize, outputs: usize, kernel: usize, options: Conv1dOptions, device: &B) -> Self {
        let group = inputs_per_group("Conv1d", inputs, outputs, options.groups);
        let (weight, bias) = init::layer_default([outputs, group, kernel], outputs, device);
        Conv1d { weight, bias, options }
    }

    /// The layer without its bias. PyTorch: `bias=False`.
    pub fn without_bias(self) -> Self {
        Conv1d { bias: None, ..self }
    }

    /// Applies the convolution.
    ///
    /// # Panics
    /// As [`Tensor::conv1d`].
    #[track_caller]
    pub fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let _running = place::layer(self);
        let y = x.conv1d(&self.weight, self.bias.as_deref(), self.options);
        observe_flops(self, flops(&self.weight, y.numel()), y)
    }
}

/// Transposed convolution, the gradient of a convolution with respect to its input: a layer that upsamples images. x
/// `[n, inputs, h, w]`, y `[n, outputs, oh, ow]`; see [`Tensor::conv_transpose2d`]. PyTorch: `nn.ConvTranspose2d`.
///
/// Initial weight and bias are uniform within `±1 / sqrt(fan_in)`, `fan_in` being the product of the weight's
/// dimensions but the first, as in PyTorch.
///
/// ```
/// use minitorch::prelude::*;
///
/// let device = Cpu::default();
/// let up = ConvTranspose2d::with_options(8, 4, 2, Conv2dOptions::default().stride(2), &device);
/// assert_eq!(up.forward(&Tensor::zeros([1, 8, 14, 14], &device)).dims(), [1, 4, 28, 28]);
/// ```
#[must_use]
#[derive(Module, Clone)]
pub struct ConvTranspose2d<B: Backend> {
    /// `[inputs, outputs / groups, kernel height, kernel width]`.
    pub weight: Param<B>,
    /// `[outputs]`.
    pub bias: Option<Param<B>>,
    /// Stride, padding, dilation and groups.
    pub options: Conv2dOptions,
    /// Rows and columns added at the end; each less than the stride or the dilation.
    pub output_padding: [usize; 2],
}

impl<B: Backend> ConvTranspose2d<B> {
    /// Stride 1, no padding, with a bias.
    pub fn new(inputs: usize, outputs: usize, kernel: impl PerDim<2>, device: &B) -> Self {
        ConvTranspose2d::with_options(inputs, outputs, kernel, Conv2dOptions::default(), device)
    }

    /// A layer with these options and a bias.
    ///
    /// # Panics
    /// If `groups` does not divide both numbers of channels.
    #[track_caller]
    pub fn with_options(
        inputs: usize,
        outputs: usize,
        kernel: impl PerDim<2>,
        options: Conv2dOptions,
        device: &B,
    ) -> Self {
        let group = inputs_per_group("ConvTranspose2d", outputs, inputs, options.groups);
        let [kh, kw] = kernel.per_dim();
        let (weight, bias) = init::layer_default([inputs, group, kh, kw], outputs, device);
        ConvTranspose2d { weight, bias, options, output_padding: [0, 0] }
    }

    /// The layer with rows and columns added at the end, which chooses among the output sizes that a stride allows.
    pub fn output_padding(self, output_padding: impl PerDim<2>) -> Self {
        ConvTranspose2d { output_padding: output_padding.per_dim(), ..self }
    }

    /// The layer without its bias. PyTorch: `bias=False`.
    pub fn without_bias(self) -> Self {
        ConvTranspose2d { bias: None, ..self }
    }

    /// Applies the transposed convolution.
    ///
    /// # Panics
    /// As [`Tensor::conv_transpose2d`].
    #[track_caller]
    pub fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let _running = place::layer(self);
        let y = x.conv_transpose2d(&self.weight, self.bias.as_deref(), self.options, self.output_padding);
        observe_flops(self, flops(&self.weight, x.numel()), y)
    }
}

/// A multiplication and an addition per element of a filter, for each of `pixels` output elements (input elements of a
/// transposed convolution).
fn flops<B: Backend>(weight: &Tensor<B>, pixels: usize) -> u64 {
    (2 * weight.shape()[1..].iter().product::<usize>()).saturating_mul(pixels) as u64
}

#[track_caller]
fn inputs_per_group(layer: &str, inputs: usize, outputs: usize, groups: usize) -> usize {
    assert!(
        groups > 0 && inputs.is_multiple_of(groups) && outputs.is_multiple_of(groups),
        "{layer}: {groups} groups do not divide {inputs} input and {outputs} output channels"
    );
    inputs / groups
}
