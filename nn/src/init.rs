//! Initial weights. Uniform ones are computed on the host in f64 and rounded once, so that they are identical on all
//! backends for one seed.

use crate::module::Param;
use minitorch_core::random::Philox;
use minitorch_core::{Backend, Placement, Shape, Tensor};
use rand::Rng;

/// The factor of the initial weights that an activation needs to preserve the variance. PyTorch: `calculate_gain`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Gain {
    /// 1: no activation, sigmoid, convolution.
    Linear,
    /// sqrt 2.
    Relu,
    /// sqrt(2 / (1 + slope²)).
    LeakyRelu(f64),
    /// 5/3.
    Tanh,
}

impl Gain {
    /// The factor.
    pub fn value(self) -> f64 {
        match self {
            Gain::Linear => 1.0,
            Gain::Relu => 2f64.sqrt(),
            Gain::LeakyRelu(slope) => (2.0 / (1.0 + slope * slope)).sqrt(),
            Gain::Tanh => 5.0 / 3.0,
        }
    }
}

/// `(fan_in, fan_out)` of a weight `[out, in, kernel..]`.
///
/// # Panics
/// If the rank is below 2.
#[track_caller]
pub fn fans(shape: &Shape) -> (usize, usize) {
    assert!(shape.len() >= 2, "init: a weight has at least 2 dimensions, not {shape:?}");
    let kernel: usize = shape[2..].iter().product();
    (shape[1] * kernel, shape[0] * kernel)
}

/// Uniform numbers in [low, high).
///
/// # Panics
/// If the bounds are not finite or not in order.
#[track_caller]
pub fn uniform<B: Backend>(shape: impl Into<Shape>, low: f64, high: f64, place: impl Placement<B>) -> Tensor<B> {
    let bounds = low.is_finite() && high.is_finite() && low <= high;
    assert!(bounds, "init: the bounds {low} and {high} are not finite, or not in order");
    let unit = |generator: &mut Philox| (generator.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
    filled(shape.into(), place, |generator| low + (high - low) * unit(generator))
}

/// Normal numbers with this mean and standard deviation.
///
/// # Panics
/// If the mean is not finite, or the deviation is not finite and at least 0.
#[track_caller]
pub fn normal<B: Backend>(shape: impl Into<Shape>, mean: f64, std: f64, place: impl Placement<B>) -> Tensor<B> {
    let finite = mean.is_finite() && std.is_finite() && std >= 0.0;
    assert!(finite, "init: the mean {mean} or the deviation {std} is not finite, or that is below 0");
    Tensor::randn(shape, place) * std + mean
}

/// He's uniform initialisation by fan-in: bound `gain sqrt(3 / fan_in)`. He et al., "Delving deep into
/// rectifiers", 2015. PyTorch: `kaiming_uniform_`.
#[track_caller]
pub fn kaiming_uniform<B: Backend>(shape: impl Into<Shape>, gain: Gain, place: impl Placement<B>) -> Tensor<B> {
    let shape = shape.into();
    let bound = gain.value() * (3.0 / fans(&shape).0.max(1) as f64).sqrt();
    uniform(shape, -bound, bound, place)
}

/// He's normal initialisation by fan-in: standard deviation `gain / sqrt(fan_in)`. PyTorch: `kaiming_normal_`.
#[track_caller]
pub fn kaiming_normal<B: Backend>(shape: impl Into<Shape>, gain: Gain, place: impl Placement<B>) -> Tensor<B> {
    let shape = shape.into();
    let std = gain.value() / (fans(&shape).0.max(1) as f64).sqrt();
    normal(shape, 0.0, std, place)
}

/// Glorot's uniform initialisation: bound `gain sqrt(6 / (fan_in + fan_out))`. Glorot and Bengio, "Understanding the
/// difficulty of training deep feedforward neural networks", 2010. PyTorch: `xavier_uniform_`.
#[track_caller]
pub fn xavier_uniform<B: Backend>(shape: impl Into<Shape>, gain: Gain, place: impl Placement<B>) -> Tensor<B> {
    let shape = shape.into();
    let (fan_in, fan_out) = fans(&shape);
    let bound = gain.value() * (6.0 / (fan_in + fan_out).max(1) as f64).sqrt();
    uniform(shape, -bound, bound, place)
}

/// Glorot's normal initialisation: standard deviation `gain sqrt(2 / (fan_in + fan_out))`. PyTorch: `xavier_normal_`.
#[track_caller]
pub fn xavier_normal<B: Backend>(shape: impl Into<Shape>, gain: Gain, place: impl Placement<B>) -> Tensor<B> {
    let shape = shape.into();
    let (fan_in, fan_out) = fans(&shape);
    let std = gain.value() * (2.0 / (fan_in + fan_out).max(1) as f64).sqrt();
    normal(shape, 0.0, std, place)
}

/// Weight and bias of a linear or convolutional layer, PyTorch's default: uniform within `±1 / sqrt(fan_in)`.
#[track_caller]
pub(crate) fn layer_default<B: Backend>(
    weight: impl Into<Shape>,
    outputs: usize,
    device: &B,
) -> (Param<B>, Option<Param<B>>) {
    let weight = weight.into();
    let bound = 1.0 / (fans(&weight).0.max(1) as f64).sqrt();
    let param = |shape: Shape| Param::new(uniform(shape, -bound, bound, device));
    (param(weight), Some(param(outputs.into())))
}

#[track_caller]
fn filled<B: Backend>(shape: Shape, place: impl Placement<B>, next: impl Fn(&mut Philox) -> f64) -> Tensor<B> {
    let (device, dtype) = place.place("init");
    assert!(dtype.is_float(), "init: wants a float dtype, not {dtype}");
    let mut generator = device.rng().draw().generator();
    let values = std::iter::repeat_with(|| next(&mut generator)).take(shape.numel());
    Tensor::from_f64(values, shape, (&device, dtype))
}
