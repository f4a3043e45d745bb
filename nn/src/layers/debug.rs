//! How layers print with `{:?}`: one line with sizes, and with the settings that differ from the defaults, such as
//! `Conv2d(3 -> 16, kernel 5, padding 2)`.

use super::norm::EPS;
use super::*;
use minitorch_core::{ConvOptions, PoolOptions};
use std::fmt;

/// The parts of a line between the parentheses.
struct Parts(Vec<String>);

impl Parts {
    fn new(first: impl fmt::Display) -> Self {
        Parts(vec![first.to_string()])
    }

    /// A part that is printed under a condition.
    fn when(mut self, condition: bool, part: impl fmt::Display) -> Self {
        if condition {
            self.0.push(part.to_string());
        }
        self
    }

    /// A setting per dimension, unless it is the default.
    fn setting<const N: usize>(self, name: &str, value: [usize; N], default: [usize; N]) -> Self {
        self.when(value != default, format_args!("{name} {}", per_dim(value)))
    }

    fn conv<const N: usize>(self, options: ConvOptions<N>) -> Self {
        let ConvOptions { stride, padding, dilation, groups } = options;
        self.setting("stride", stride, [1; N])
            .setting("padding", padding, [0; N])
            .setting("dilation", dilation, [1; N])
            .when(groups != 1, format_args!("groups {groups}"))
    }

    fn norm(self, eps: f64, affine: bool) -> Self {
        self.when(eps != EPS, format_args!("eps {eps:?}")).when(!affine, "no affine")
    }

    fn write(self, f: &mut fmt::Formatter, kind: &str) -> fmt::Result {
        write!(f, "{kind}({})", self.0.join(", "))
    }
}

/// One number if all are equal.
fn per_dim<const N: usize>(sizes: [usize; N]) -> String {
    match sizes.as_slice() {
        [first, rest @ ..] if rest.iter().all(|size| size == first) => first.to_string(),
        _ => format!("{sizes:?}"),
    }
}

/// PyTorch's default for the weight of a batch in running statistics.
const MOMENTUM: f64 = 0.1;

macro_rules! debug {
    ($([$($generics:tt)*] $type:ty, $name:literal, $layer:ident => $parts:expr;)*) => { $(
        impl<$($generics)*> fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                let $layer = self;
                $parts.write(f, $name)
            }
        }
    )* };
}
debug! {
    [B: Backend] Linear<B>, "Linear", layer => {
        let size = |d: usize| layer.weight.shape()[d];
        Parts::new(format_args!("{} -> {}", size(1), size(0))).when(layer.bias.is_none(), "no bias")
    };
    [B: Backend] Conv1d<B>, "Conv1d", layer => convolution(&layer.weight, layer.bias.is_some(), layer.options);
    [B: Backend] Conv2d<B>, "Conv2d", layer => convolution(&layer.weight, layer.bias.is_some(), layer.options);
    [B: Backend] ConvTranspose2d<B>, "ConvTranspose2d", layer => {
        let [inputs, outputs, kh, kw] = layer.weight.dims();
        Parts::new(format_args!("{inputs} -> {}, kernel {}", outputs * layer.options.groups, per_dim([kh, kw])))
            .conv(layer.options)
            .setting("output padding", layer.output_padding, [0; 2])
            .when(layer.bias.is_none(), "no bias")
    };
    [B: Backend] Embedding<B>, "Embedding", layer => {
        let [rows, dim] = layer.weight.dims();
        Parts::new(format_args!("{rows}, {dim}"))
    };
    [B: Backend] BatchNorm1d<B>, "BatchNorm1d", layer => {
        batch_norm(&layer.running_mean, layer.momentum, layer.eps, layer.weight.is_some())
    };
    [B: Backend] BatchNorm2d<B>, "BatchNorm2d", layer => {
        batch_norm(&layer.running_mean, layer.momentum, layer.eps, layer.weight.is_some())
    };
    [B: Backend] LayerNorm<B>, "LayerNorm", layer => {
        Parts::new(format_args!("{:?}", layer.shape)).norm(layer.eps, layer.weight.is_some())
    };
    [B: Backend] GroupNorm<B>, "GroupNorm", layer => {
        let channels = layer.weight.iter().map(|weight| format!(", {} channels", weight.numel())).collect::<String>();
        Parts::new(format_args!("{} groups{channels}", layer.groups)).norm(layer.eps, layer.weight.is_some())
    };
    [] Dropout, "Dropout", layer => Parts::new(layer.p);
    [] Dropout2d, "Dropout2d", layer => Parts::new(layer.p);
    [] MaxPool1d, "MaxPool1d", layer => pooling(layer.options);
    [] MaxPool2d, "MaxPool2d", layer => pooling(layer.options);
    [] AvgPool1d, "AvgPool1d", layer => pooling(layer.options);
    [] AvgPool2d, "AvgPool2d", layer => pooling(layer.options);
    [] AdaptiveAvgPool1d, "AdaptiveAvgPool1d", layer => Parts::new(per_dim(layer.size));
    [] AdaptiveAvgPool2d, "AdaptiveAvgPool2d", layer => Parts::new(per_dim(layer.size));
    [] AdaptiveMaxPool1d, "AdaptiveMaxPool1d", layer => Parts::new(per_dim(layer.size));
    [] AdaptiveMaxPool2d, "AdaptiveMaxPool2d", layer => Parts::new(per_dim(layer.size));
    [] ZeroPad2d, "ZeroPad2d", layer => around(layer.around);
    [] ReflectionPad2d, "ReflectionPad2d", layer => around(layer.around);
    [] ReplicationPad2d, "ReplicationPad2d", layer => around(layer.around);
    [] Upsample, "Upsample", layer => {
        let size = match layer.size {
            UpsampleSize::Size(size) => format!("size {}", per_dim(size)),
            UpsampleSize::Scale(factor) => format!("scale {}", per_dim(factor)),
        };
        let mode = match layer.mode {
            UpsampleMode::Nearest => "nearest",
            UpsampleMode::Bilinear { align_corners: false } => "bilinear",
            UpsampleMode::Bilinear { align_corners: true } => "bilinear, align corners",
        };
        Parts::new(format_args!("{size}, {mode}"))
    };
    [] LeakyRelu, "LeakyRelu", layer => Parts::new(layer.slope);
    [] Elu, "Elu", layer => Parts::new(layer.alpha);
    [] Softmax, "Softmax", layer => Parts::new(format_args!("dim {}", layer.dim));
    [] LogSoftmax, "LogSoftmax", layer => Parts::new(format_args!("dim {}", layer.dim));
}

/// A weight is `[outputs, inputs / groups, kernel..]`.
fn convolution<B: Backend, const N: usize>(weight: &Tensor<B>, bias: bool, options: ConvOptions<N>) -> Parts {
    let shape = weight.shape();
    let kernel: [usize; N] = std::array::from_fn(|d| shape[2 + d]);
    Parts::new(format_args!("{} -> {}, kernel {}", shape[1] * options.groups, shape[0], per_dim(kernel)))
        .conv(options)
        .when(!bias, "no bias")
}

fn batch_norm<B: Backend>(mean: &Buffer<B>, momentum: f64, eps: f64, affine: bool) -> Parts {
    let momentum_differs = momentum != MOMENTUM;
    Parts::new(mean.get().numel()).when(momentum_differs, format_args!("momentum {momentum}")).norm(eps, affine)
}

fn pooling<const N: usize>(options: PoolOptions<N>) -> Parts {
    let PoolOptions { kernel, stride, padding, dilation, count_include_pad } = options;
    Parts::new(format_args!("kernel {}", per_dim(kernel)))
        .setting("stride", stride, kernel)
        .setting("padding", padding, [0; N])
        .setting("dilation", dilation, [1; N])
        .when(!count_include_pad, "padding not counted")
}

/// Rows above and below, columns left and right.
fn around(around: [(usize, usize); 2]) -> Parts {
    let [(top, bottom), (left, right)] = around;
    let text = match top == bottom && left == right {
        true => per_dim([top, left]),
        false => format!("top {top}, bottom {bottom}, left {left}, right {right}"),
    };
    Parts::new(text)
}
