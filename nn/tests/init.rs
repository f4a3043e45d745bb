//! Initial weights: bounds and standard deviations of their papers, and reproducibility by seed.

use minitorch_conformance::Plain;
use minitorch_core::backend::Device;
use minitorch_core::{DType, Tensor};
use minitorch_nn::init::{self, Gain};
use minitorch_nn::{Conv2d, Linear, Module};

/// Mean, standard deviation and largest magnitude.
fn spread(x: &Tensor<Plain>) -> (f64, f64, f64) {
    let read = |x: Tensor<Plain>| x.item().unwrap_or(f64::NAN);
    (read(x.mean(..)), read(x.std(.., 1.0)), read(x.abs().max(..)))
}

#[test]
fn bounds_and_deviations_follow_the_formulas() {
    let device = Plain::new();
    let place = (&device, DType::F64);
    let shape = [64, 32, 3, 3]; // fan in 288, fan out 576, 18,432 numbers
    let (fan_in, fan_out): (f64, f64) = (288.0, 576.0);
    let uniform_std = |bound: f64| bound / 3f64.sqrt();
    let he = 2f64.sqrt() / fan_in.sqrt();
    let glorot = (5.0 / 3.0) * (2.0 / (fan_in + fan_out)).sqrt();
    let cases = [
        ("kaiming_uniform", init::kaiming_uniform(shape, Gain::Relu, place), he, Some(he * 3f64.sqrt())),
        ("kaiming_normal", init::kaiming_normal(shape, Gain::Relu, place), he, None),
        ("xavier_uniform", init::xavier_uniform(shape, Gain::Tanh, place), glorot, Some(glorot * 3f64.sqrt())),
        ("xavier_normal", init::xavier_normal(shape, Gain::Tanh, place), glorot, None),
        ("uniform", init::uniform(shape, -0.5, 0.5, place), uniform_std(0.5), Some(0.5)),
        ("normal", init::normal(shape, 0.0, 2.0, place), 2.0, None),
    ];
    for (name, x, std, bound) in cases {
        let (mean, found, largest) = spread(&x);
        // The standard error of a mean of n numbers is std / sqrt(n), of a standard deviation about std / sqrt(2n).
        let n = x.numel() as f64;
        assert!(mean.abs() < 5.0 * std / n.sqrt(), "{name}: mean {mean}");
        assert!((found - std).abs() < 5.0 * std / (2.0 * n).sqrt(), "{name}: deviation {found}, {std} expected");
        if let Some(bound) = bound {
            assert!(largest <= bound && largest > 0.99 * bound, "{name}: {largest} of {bound}");
        }
    }
}

#[test]
fn layers_are_initialised_within_one_over_the_root_of_the_fan_in() {
    let device = Plain::new();
    let layer = Linear::new(100, 50, &device);
    let (_, _, weight) = spread(&layer.weight);
    assert!(weight <= 0.1 && weight > 0.099, "{weight}");
    let conv = Conv2d::new(4, 8, 5, &device);
    let (_, _, weight) = spread(&conv.weight);
    assert!(weight <= 0.1 && weight > 0.097, "{weight}");
    assert!(conv.bias.is_some_and(|bias| spread(&bias).2 <= 0.1));
}

#[test]
fn the_seed_determines_the_weights() {
    let weights = |seed: u64| {
        let device = Plain::new();
        device.rng().seed(seed);
        let layer = Linear::new(3, 4, &device);
        layer.named_parameters().iter().map(|(_, p)| p.to_vec::<f32>().unwrap_or_default()).collect::<Vec<_>>()
    };
    assert_eq!(weights(1), weights(1));
    assert_ne!(weights(1), weights(2));
}
