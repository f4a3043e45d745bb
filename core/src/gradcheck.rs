//! Derivatives by central differences, and checks of the tape's derivatives against them.

use crate::backend::Backend;
use crate::error::Result;
use crate::scalar::Scalar;
use crate::tensor::Tensor;

/// The derivative of f with respect to argument `arg` by central differences:
/// `(f(.., x + e, ..) - f(.., x - e, ..)) / 2e`. f takes numbers or [`Scalar`]s. The error is about `e^2` times the
/// third derivative plus rounding, `1e-16 |f| / e`: an `e` of 1e-5 or 1e-6 suits x and f of order 1.
///
/// ```
/// use minitorch::prelude::*;
///
/// let product = |[x, y]: [f64; 2]| x * y;
/// assert!((central_difference(product, [5.0, 10.0], 0, 1e-6) - 10.0).abs() < 1e-6);
/// let power = |[x]: [Scalar; 1]| x.exp();
/// assert!((central_difference(power, [2.0], 0, 1e-6) - 2f64.exp()).abs() < 1e-6);
/// ```
///
/// # Panics
/// If there is no argument `arg`.
#[track_caller]
pub fn central_difference<T: From<f64> + Into<f64>, const N: usize>(
    f: impl Fn([T; N]) -> T,
    at: [f64; N],
    arg: usize,
    epsilon: f64,
) -> f64 {
    assert!(arg < N, "central_difference: there is no argument {arg} among {N}");
    let f_at = |shift: f64| -> f64 {
        let mut moved = at;
        moved[arg] += shift;
        f(moved.map(T::from)).into()
    };
    (f_at(epsilon) - f_at(-epsilon)) / (2.0 * epsilon)
}

/// Compares the derivatives of `f`, a function of scalars, with central differences at a point, argument by argument, and returns
/// the worst. The step is `1e-6 max(1, |x|)`, the tolerance `1e-7 + rtol |numeric|`. Away from kinks and jumps, `rtol = 1e-6` is
/// realistic. For tensors: [`gradcheck`].
///
/// ```
/// use minitorch::prelude::*;
///
/// let worst = derivative_check(|[x, y]| (x * y).sigmoid() + x / y, [0.3, -1.7], 1e-6);
/// assert!(worst.error <= 1.0, "{worst}");
/// ```
pub fn derivative_check<const N: usize>(f: impl Fn([&Scalar; N]) -> Scalar, at: [f64; N], rtol: f64) -> GradCheck {
    let variables = at.map(Scalar::variable);
    let analytic = f(variables.each_ref()).grad(variables.each_ref());
    let mut worst = GradCheck::none();
    for (input, &x) in at.iter().enumerate() {
        // Variables, so that f itself may call `grad`.
        let value = |at: [f64; N]| f(at.map(Scalar::variable).each_ref()).value();
        let numeric = central_difference(value, at, input, 1e-6 * x.abs().max(1.0));
        worst.compare(input, 0, analytic[input].value(), numeric, rtol);
    }
    worst
}

/// The result of [`gradcheck`] or [`derivative_check`]; its `Display` names the worst element.
#[derive(Clone, Debug, PartialEq)]
pub struct GradCheck {
    /// The input with the largest error.
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

impl GradCheck {
    /// Nothing compared.
    fn none() -> Self {
        GradCheck { input: 0, element: 0, analytic: 0.0, numeric: 0.0, error: 0.0 }
    }

    /// Records another comparison if it is worse.
    fn compare(&mut self, input: usize, element: usize, analytic: f64, numeric: f64, rtol: f64) {
        let error = (analytic - numeric).abs() / (1e-7 + rtol * numeric.abs());
        let error = if error.is_nan() { f64::INFINITY } else { error };
        if error > self.error {
            *self = GradCheck { input, element, analytic, numeric, error };
        }
    }
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
/// The output is multiplied by fixed weights of order 1, one per element, and summed; in a plain sum gradients may cancel. With
/// F64 inputs `rtol = 1e-6` is realistic away from kinks; F32 is too coarse for differences. The step is `1e-5 max(1, |x|)`, the
/// tolerance `1e-7 + rtol |numeric|`.
///
/// ```
/// use minitorch::prelude::*;
///
/// let device = Cpu::default();
/// let x = Tensor::new([0.3, -0.7], &device).cast(DType::F64);
/// let worst = gradcheck(|[x]| (x * 3.0).tanh(), [&x], 1e-6)?;
/// assert!(worst.error <= 1.0, "{worst}");
/// # Ok::<(), Error>(())
/// ```
///
/// A function that calls [`grad`](Tensor::grad) itself has its own gradient checked: the second derivative.
///
/// ```
/// use minitorch::prelude::*;
///
/// let device = Cpu::default();
/// let x = Tensor::new([0.3, -0.7], &device).cast(DType::F64);
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
    let mut worst = GradCheck::none();
    for input in 0..N {
        let values = read(&leaves[input])?;
        let analytic = read(&analytic[input])?;
        for element in 0..values.len() {
            let step = 1e-5 * values[element].abs().max(1.0);
            let at = |shift: f64| -> Result<f64> {
                let mut moved = values.clone();
                moved[element] += shift;
                // A leaf, so that f itself may call `grad`: then this checks second derivatives.
                let moved = weights_like(&leaves[input], &moved).requires_grad();
                let mut arguments = leaves.each_ref();
                arguments[input] = &moved;
                objective(arguments).item()
            };
            let numeric = (at(step)? - at(-step)?) / (2.0 * step);
            worst.compare(input, element, analytic[element], numeric, rtol);
        }
    }
    Ok(worst)
}

fn read<B: Backend>(x: &Tensor<B>) -> Result<Vec<f64>> {
    Ok(x.device().download(x.view())?.into_f64())
}

fn weights_like<B: Backend>(x: &Tensor<B>, values: &[f64]) -> Tensor<B> {
    Tensor::from_f64(values.iter().copied(), *x.shape(), (x.device(), x.dtype()))
}
