//! Checking gradients against differences.

use crate::backend::Backend;
use crate::dtype::DType;
use crate::error::Result;
use crate::tensor::Tensor;
use half::f16;

/// What [`gradcheck`] found; its `Display` names the worst element.
#[derive(Clone, Debug, PartialEq)]
pub struct GradCheck {
    /// The input whose gradient is furthest off.
    pub input: usize,
    /// The element of it, row-major.
    pub element: usize,
    /// The gradient by the tape.
    pub analytic: f64,
    /// The gradient by central differences.
    pub numeric: f64,
    /// `|analytic - numeric| / (atol + rtol |numeric|)`: at most 1 passes.
    pub error: f64,
}

impl std::fmt::Display for GradCheck {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(
            f,
            "gradient of input {} at element {}: {} by the tape, {} by differences ({:.2} of the tolerance)",
            self.input, self.element, self.analytic, self.numeric, self.error
        )
    }
}

/// Compares the gradients of `f` with central differences at the inputs, element by element, and returns the worst.
///
/// The output is contracted with fixed weights of order 1 that differ from element to element (a plain sum would hide
/// gradients that cancel). With F64 inputs `rtol = 1e-6` is a fair demand away from kinks; differences in F32 are too
/// coarse for most purposes. The step is `1e-5 max(1, |x|)`, the tolerance `1e-7 + rtol |numeric|`.
///
/// ```
/// # use minitorch_conformance::doc::*;
/// let x = Tensor::new([0.3, -0.7], &device()).cast(DType::F64);
/// let worst = gradcheck(|[x]| (x * 3.0).tanh(), [&x], 1e-6)?;
/// assert!(worst.error <= 1.0, "{worst}");
/// # Ok::<(), Error>(())
/// ```
///
/// A function that calls [`grad`](Tensor::grad) itself has its own gradient checked: the second derivative.
///
/// ```
/// # use minitorch_conformance::doc::*;
/// let x = Tensor::new([0.3, -0.7], &device()).cast(DType::F64);
/// let slope = |[x]: [&Tensor<_>; 1]| {
///     let [slope] = x.tanh().grad([x]);
///     slope
/// };
/// assert!(gradcheck(slope, [&x], 1e-6)?.error <= 1.0);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// If the device failed.
///
/// # Panics
/// If an input is not of a float dtype.
#[track_caller]
pub fn gradcheck<B: Backend, const N: usize>(
    f: impl Fn([&Tensor<B>; N]) -> Tensor<B>,
    inputs: [&Tensor<B>; N],
    rtol: f64,
) -> Result<GradCheck> {
    let leaves: [Tensor<B>; N] = inputs.map(|x| x.contiguous().requires_grad());
    let objective = |inputs: [&Tensor<B>; N]| {
        let out = f(inputs);
        let weights: Vec<f64> = (0..out.numel()).map(|i| 0.5 + (i as f64 * 0.618_033_988_75).fract()).collect();
        let weights = weights_like(&out, &weights);
        (out * weights).sum(..)
    };
    let analytic = objective(leaves.each_ref()).grad(leaves.each_ref());
    let mut worst = GradCheck { input: 0, element: 0, analytic: 0.0, numeric: 0.0, error: 0.0 };
    for input in 0..N {
        let values = read(&leaves[input])?;
        let analytic = read(&analytic[input])?;
        for element in 0..values.len() {
            let step = 1e-5 * values[element].abs().max(1.0);
            let at = |shift: f64| -> Result<f64> {
                let mut moved = values.clone();
                moved[element] += shift;
                // A leaf, and recorded: `f` may itself take gradients, which makes this a check of second derivatives.
                let moved = weights_like(&leaves[input], &moved).requires_grad();
                let mut arguments = leaves.each_ref();
                arguments[input] = &moved;
                objective(arguments).item()
            };
            let numeric = (at(step)? - at(-step)?) / (2.0 * step);
            let error = (analytic[element] - numeric).abs() / (1e-7 + rtol * numeric.abs());
            let error = if error.is_nan() { f64::INFINITY } else { error };
            if error > worst.error {
                worst = GradCheck { input, element, analytic: analytic[element], numeric, error };
            }
        }
    }
    Ok(worst)
}

fn read<B: Backend>(x: &Tensor<B>) -> Result<Vec<f64>> {
    let x = x.detach();
    match x.dtype() {
        DType::F16 => Ok(x.to_vec::<f16>()?.into_iter().map(f64::from).collect()),
        DType::F64 => x.to_vec(),
        _ => Ok(x.to_vec::<f32>()?.into_iter().map(f64::from).collect()),
    }
}

fn weights_like<B: Backend>(x: &Tensor<B>, values: &[f64]) -> Tensor<B> {
    Tensor::from_f64(values.iter().copied(), *x.shape(), (x.device(), x.dtype()))
}
