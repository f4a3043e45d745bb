//! Differentiable functions of a program's own, by their forward and backward.

use crate::autodiff::{Value, no_grad, parents, record_with_output};

/// A differentiable function of N values that its author gives by `forward` and `backward`, of tensors or of scalars.
/// PyTorch: `torch.autograd.Function`. For a function that needs no type of its own there is [`custom`].
///
/// ```
/// # use minitorch_conformance::doc::*;
/// /// Clips to `-limit..=limit`; its gradient flows as if it were the identity, so that what is out of range comes back.
/// struct SoftClip {
///     limit: f64,
/// }
///
/// impl<B: Backend> Function<Tensor<B>, 1> for SoftClip {
///     const NAME: &'static str = "soft_clip";
///     fn forward(&self, [x]: [&Tensor<B>; 1]) -> Tensor<B> {
///         x.clamp(-self.limit, self.limit)
///     }
///     fn backward(&self, grad: &Tensor<B>, _: [&Tensor<B>; 1], _: &Tensor<B>) -> [Option<Tensor<B>>; 1] {
///         [Some(grad.clone())]
///     }
/// }
///
/// let x = Tensor::new([0.5, 7.0], &device()).requires_grad();
/// let y = SoftClip { limit: 1.0 }.apply([&x]);
/// assert_eq!(y.to_vec::<f32>()?, [0.5, 1.0]);
/// assert_eq!(y.sum(..).backward()[&x].to_vec::<f32>()?, [1.0, 1.0]);
/// # Ok::<(), Error>(())
/// ```
pub trait Function<V: Value, const N: usize>: Sized + Send + Sync + 'static {
    /// What messages and [graphs](crate::Graph) call it.
    const NAME: &'static str;

    /// The output. Runs without recording, whatever it calls.
    fn forward(&self, inputs: [&V; N]) -> V;

    /// The gradients in the inputs, each of its input's shape and dtype, from the gradient in the output; `None` for an input
    /// that has none, as an index. Composed of differentiable operations of `grad`, `inputs` and `output`, which stand at their
    /// places on the tape, it can itself be differentiated, and gradients of gradients are right.
    fn backward(&self, grad: &V, inputs: [&V; N], output: &V) -> [Option<V>; N];

    /// The function of these values, on the tape if one of them is.
    ///
    /// # Panics
    /// In `backward` of the result, if the function's own gives a gradient that has not its input's shape and dtype.
    fn apply(self, inputs: [&V; N]) -> V {
        let output = no_grad(|| self.forward(inputs));
        recorded(Self::NAME, inputs, output, move |grad, inputs, output| self.backward(grad, inputs, output))
    }
}

/// A differentiable function of N values by two closures: `forward(inputs)` and `backward(grad, inputs, output)`, as in
/// [`Function`], which says what they may do.
///
/// The straight-through estimator rounds, and passes the gradient as if it did not. Bengio, Léonard and Courville, "Estimating
/// or propagating gradients through stochastic neurons", 2013.
///
/// ```
/// # use minitorch_conformance::doc::*;
/// let x = Tensor::new([0.4, 2.6], &device()).requires_grad();
/// let rounded = custom("round_through", [&x], |[x]| x.round(), |grad, _, _| [Some(grad.clone())]);
/// assert_eq!(rounded.to_vec::<f32>()?, [0.0, 3.0]);
/// let [slope] = rounded.square().sum(..).grad([&x]); // 2 round(x), through the rounding
/// assert_eq!(slope.to_vec::<f32>()?, [0.0, 6.0]);
/// let [curvature] = slope.sum(..).grad([&x]); // twice: backward consists of operations
/// assert_eq!(curvature.to_vec::<f32>()?, [2.0, 2.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// Of scalars, a cube with its derivative by hand:
///
/// ```
/// # use minitorch_core::{Scalar, custom};
/// let x = Scalar::variable(2.0);
/// let cube = custom("cube", [&x], |[x]| x * x * x, |grad, [x], _| [Some(3.0 * x * x * grad)]);
/// let [first] = cube.grad([&x]);
/// let [second] = first.grad([&x]);
/// assert_eq!((cube.value(), first.value(), second.value()), (8.0, 12.0, 12.0));
/// ```
///
/// # Panics
/// In `backward` of the result, if the closure gives a gradient that has not its input's shape and dtype.
pub fn custom<V: Value, const N: usize>(
    name: &'static str,
    inputs: [&V; N],
    forward: impl FnOnce([&V; N]) -> V,
    backward: impl Fn(&V, [&V; N], &V) -> [Option<V>; N] + Send + Sync + 'static,
) -> V {
    let output = no_grad(|| forward(inputs));
    recorded(name, inputs, output, backward)
}

/// `output` on the tape, if one of the inputs is.
fn recorded<V: Value, const N: usize>(
    name: &'static str,
    inputs: [&V; N],
    output: V,
    backward: impl Fn(&V, [&V; N], &V) -> [Option<V>; N] + Send + Sync + 'static,
) -> V {
    // A forward that returns one of its inputs returns it with that input's node.
    let output = output.with_node(None);
    let Some(parents) = parents(inputs) else { return output };
    let kept = inputs.map(V::clone);
    record_with_output(name, output, parents, move |grad, output, _| {
        let gradients = backward(grad, kept.each_ref(), output);
        for (number, (gradient, input)) in gradients.iter().zip(&kept).enumerate() {
            let Some(gradient) = gradient else { continue };
            assert!(
                gradient.spec() == input.spec(),
                "{name}: its backward gave a gradient of {} for input {number}, which is {}",
                gradient.spec(),
                input.spec()
            );
        }
        gradients
    })
}

#[cfg(test)]
#[path = "function_tests.rs"]
mod tests;
