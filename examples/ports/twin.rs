//! What a program and its twin for PyTorch share: pseudo-random numbers by a formula, initial weights, and the printed
//! lines. The same in Python: `twin.py`.

use crate::cli::say;
use minitorch::Shape;
use minitorch::prelude::*;

/// Uniform in [-1, 1), multiples of 2^-23: the upper 24 bits of `x = 1664525 x + 1013904223 mod 2^32`.
fn uniform(seed: u32) -> impl Iterator<Item = f64> {
    let mut x = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    std::iter::repeat_with(move || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(x >> 8) / f64::from(1 << 23) - 1.0
    })
}

/// Uniform numbers in [-1, 1).
pub(crate) fn noise<B: Backend>(seed: u32, shape: impl Into<Shape>, device: &B) -> Tensor<B> {
    let shape = shape.into();
    Tensor::from_f64(uniform(seed).take(shape.numel()), shape, device)
}

/// Numbers of mean 0 and variance 1, almost normal: sums of twelve uniform ones, halved.
pub(crate) fn normal<B: Backend>(seed: u32, shape: impl Into<Shape>, device: &B) -> Tensor<B> {
    let (shape, mut numbers) = (shape.into(), uniform(seed));
    let sums = (0..shape.numel()).map(|_| numbers.by_ref().take(12).sum::<f64>() / 2.0);
    Tensor::from_f64(sums, shape, device)
}

/// Sets each parameter to [`uniform`] numbers, seeded by its name (FNV-1a): matrices and kernels within
/// `1 / sqrt(fan_in)`, biases within 0.1, and the weights of norms within 0.1 of 1.
pub(crate) fn same_weights<B: Backend>(model: &mut impl Module<B>) {
    for (name, param) in model.named_parameters_mut() {
        let seed =
            name.bytes().fold(2_166_136_261, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619));
        let shape = *param.shape();
        let (scale, shift) = match shape.len() {
            0 | 1 if name.ends_with("weight") => (0.1, 1.0),
            0 | 1 => (0.1, 0.0),
            _ => (1.0 / (shape[1..].iter().product::<usize>() as f64).sqrt(), 0.0),
        };
        let numbers = uniform(seed).take(shape.numel()).map(|x| x * scale + shift);
        param.set(Tensor::from_f64(numbers, shape, param.device()));
    }
}

/// Prints `name: 1.500000 -0.250000`, a line that the test compares with PyTorch's.
pub(crate) fn show(name: &str, values: &[f64]) {
    let values: Vec<String> = values.iter().map(|value| format!("{value:.6}")).collect();
    say(&format!("{name}: {}", values.join(" ")));
}

/// [`show`] of the elements of a tensor.
pub(crate) fn show_tensor<B: Backend>(name: &str, x: &Tensor<B>) -> Result<()> {
    let values: Vec<f64> = x.to_vec::<f32>()?.into_iter().map(f64::from).collect();
    show(name, &values);
    Ok(())
}
