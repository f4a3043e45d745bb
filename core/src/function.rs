//! User-defined differentiable functions: a forward and a backward.

use crate::autodiff::{Value, no_grad, parents, record_with_output};

/// A differentiable function of N tensors or scalars, defined by `forward` and `backward`.
/// PyTorch: `torch.autograd.Function`. For a function that needs no type of its own there is [`custom`].
///
/// ```
/// use minitorch::prelude::*;
///
/// let device = Cpu::default();
/// /// Clips to `-limit..=limit`, with the gradient of the identity, so that elements out of range are still trained.
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
/// let x = Tensor::new([0.5, 7.0], &device).requires_grad();
/// let y = SoftClip { limit: 1.0 }.apply([&x]);
/// assert_eq!(y.to_vec::<f32>()?, [0.5, 1.0]);
/// assert_eq!(y.sum(..).backward()[&x].to_vec::<f32>()?, [1.0, 1.0]);
/// # Ok::<(), Error>(())
/// ```
pub trait Function<V: Value, const N: usize>: Sized + Send + Sync + 'static {
    /// Its name in messages and [graphs](crate::Graph).
    const NAME: &'static str;

    /// The output. Runs without recording.
    fn forward(&self, inputs: [&V; N]) -> V;

    /// The gradients with respect to the inputs, each of its input's shape and dtype, given the gradient with respect
    /// to the output; `None` for an input without a gradient, such as an index. `grad`, `inputs` and `output` are on
    /// the tape. If the result is composed of differentiable operations of them, gradients of gradients are right too.
    fn backward(&self, grad: &V, inputs: [&V; N], output: &V) -> [Option<V>; N];

    /// The function of these values, on the tape if one of them is.
    ///
    /// # Panics
    /// In `backward` of the result, if the function's `backward` returns a gradient whose shape or dtype is not its
    /// input's.
    fn apply(self, inputs: [&V; N]) -> V {
        let output = no_grad(|| self.forward(inputs));
        recorded(Self::NAME, inputs, output, move |grad, inputs, output| self.backward(grad, inputs, output))
    }
}

/// A differentiable function of N values, defined by two closures: `forward(inputs)` and
/// `backward(grad, inputs, output)`, as in [`Function`].
///
/// The straight-through estimator rounds, with the gradient of the identity. Bengio, Léonard and Courville, "Estimating or
/// propagating gradients through stochastic neurons", 2013.
///
/// ```
/// use minitorch::prelude::*;
///
/// let device = Cpu::default();
/// let x = Tensor::new([0.4, 2.6], &device).requires_grad();
/// let rounded = custom("round_through", [&x], |[x]| x.round(), |grad, _, _| [Some(grad.clone())]);
/// assert_eq!(rounded.to_vec::<f32>()?, [0.0, 3.0]);
/// let [slope] = rounded.square().sum(..).grad([&x]); // 2 round(x), through the rounding
/// assert_eq!(slope.to_vec::<f32>()?, [0.0, 6.0]);
/// let [curvature] = slope.sum(..).grad([&x]); // twice: backward consists of operations
/// assert_eq!(curvature.to_vec::<f32>()?, [2.0, 2.0]);
/// # Ok::<(), Error>(())
/// ```
///
/// A cube of scalars with an explicit derivative:
///
/// ```
/// use minitorch::prelude::*;
///
/// let x = Scalar::variable(2.0);
/// let cube = custom("cube", [&x], |[x]| x * x * x, |grad, [x], _| [Some(3.0 * x * x * grad)]);
/// let [first] = cube.grad([&x]);
/// let [second] = first.grad([&x]);
/// assert_eq!((cube.value(), first.value(), second.value()), (8.0, 12.0, 12.0));
/// ```
///
/// # Panics
/// In `backward` of the result, if the closure returns a gradient whose shape or dtype is not its input's.
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
    // A forward that returns one of its inputs returns that input's node too.
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
