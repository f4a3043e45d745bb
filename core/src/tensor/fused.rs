//! Records a backend's fused methods on the tape.
//!
//! A fused method of a backend takes tensors that are off the tape, of F32 or F64. [`fused`] wraps it as an operation on the
//! tape:
//!
//! ```text
//! F16:       y = cast(fused(cast(inputs, F32)), F16), with the casts on the tape
//! forward:   y, extra = forward(detached inputs)
//! recording: a node that keeps the inputs and the output that `Save` selects, and `extra`
//! backward:  gradients of the inputs = gradient(g, what the node keeps)
//! ```

use super::Tensor;
use crate::autodiff::{optional_parents, record, record_with_output, recording};
use crate::backend::Backend;
use crate::dtype::DType;
use std::convert::Infallible;

/// Which tensors the tape keeps alive for a gradient.
#[derive(Clone, Copy)]
pub(crate) struct Save<const N: usize> {
    pub(crate) inputs: [bool; N],
    pub(crate) output: bool,
}

impl<const N: usize> Save<N> {
    /// None: the operation is linear.
    pub(crate) const NOTHING: Self = Save { inputs: [false; N], output: false };
    /// All inputs.
    pub(crate) const INPUTS: Self = Save { inputs: [true; N], output: false };
    /// The output alone.
    pub(crate) const OUTPUT: Self = Save { inputs: [false; N], output: true };
}

/// What the gradient of a fused method is computed from.
///
/// If the backward pass is recorded (`recording`, PyTorch's `create_graph`), the tensors are on the tape, and the gradient must
/// consist of differentiable operations. Otherwise they are detached, and a fused method may compute the gradient.
pub(crate) struct Saved<'a, B: Backend, T, const N: usize> {
    /// The gradient of the output.
    pub(crate) g: &'a Tensor<B>,
    /// The inputs; `None` if absent or not kept.
    pub(crate) inputs: [Option<&'a Tensor<B>>; N],
    /// The output; `None` if not kept.
    pub(crate) output: Option<&'a Tensor<B>>,
    /// What forward returned beside the output.
    pub(crate) extra: &'a T,
    /// Which inputs need a gradient.
    pub(crate) wants: [bool; N],
    pub(crate) recording: bool,
}

/// `forward(inputs)` with its gradient on the tape under the name `op`. See the [module](self).
pub(crate) fn fused<B: Backend, const N: usize>(
    op: &'static str,
    inputs: [&Tensor<B>; N],
    save: Save<N>,
    forward: impl FnOnce([&Tensor<B>; N]) -> Tensor<B>,
    gradient: impl Fn(Saved<'_, B, (), N>) -> [Option<Tensor<B>>; N] + Send + Sync + 'static,
) -> Tensor<B> {
    fused_with(op, inputs.map(Some), save, |inputs| (forward(present(inputs)), ()), gradient).0
}

/// [`fused`] with inputs of which all but the first may be absent, and an `extra` result that is kept for the gradient.
pub(crate) fn fused_with<B: Backend, T: Clone + Send + Sync + 'static, const N: usize>(
    op: &'static str,
    inputs: [Option<&Tensor<B>>; N],
    save: Save<N>,
    forward: impl FnOnce([Option<&Tensor<B>>; N]) -> (Tensor<B>, T),
    gradient: impl Fn(Saved<'_, B, T, N>) -> [Option<Tensor<B>>; N] + Send + Sync + 'static,
) -> (Tensor<B>, T) {
    let Ok(out) = try_fused_with(op, inputs, save, |inputs| Ok::<_, Infallible>(forward(inputs)), gradient);
    out
}

/// [`fused_with`] of a `forward` that may fail.
pub(crate) fn try_fused_with<B: Backend, T: Clone + Send + Sync + 'static, E, const N: usize>(
    op: &'static str,
    inputs: [Option<&Tensor<B>>; N],
    save: Save<N>,
    forward: impl FnOnce([Option<&Tensor<B>>; N]) -> Result<(Tensor<B>, T), E>,
    gradient: impl Fn(Saved<'_, B, T, N>) -> [Option<Tensor<B>>; N] + Send + Sync + 'static,
) -> Result<(Tensor<B>, T), E> {
    widening(inputs, |inputs| {
        let detached = inputs.map(|x| x.map(Tensor::detach));
        let (out, extra) = forward(detached.each_ref().map(Option::as_ref))?;
        let Some(parents) = optional_parents(inputs) else { return Ok((out, extra)) };
        let kept: [_; N] = std::array::from_fn(|i| inputs[i].filter(|_| save.inputs[i]).cloned());
        let kept_extra = extra.clone();
        let rule = move |g: &Tensor<B>, output: Option<&Tensor<B>>, wants| {
            let (inputs, extra) = (kept.each_ref().map(Option::as_ref), &kept_extra);
            if recording() {
                return gradient(Saved { g, inputs, output, extra, wants, recording: true });
            }
            let (g, inputs, output) = (g.detach(), inputs.map(|x| x.map(Tensor::detach)), output.map(Tensor::detach));
            let (g, inputs, output) = (&g, inputs.each_ref().map(Option::as_ref), output.as_ref());
            gradient(Saved { g, inputs, output, extra, wants, recording: false })
        };
        let out = if save.output {
            record_with_output(op, out, parents, move |g, y, wants| rule(g, Some(y), wants))
        } else {
            record(op, out, parents, move |g, wants| rule(g, None, wants))
        };
        Ok((out, extra))
    })
}

/// [`fused`] for an operation that is linear in its one input: `gradient` maps the gradient of the output to that of the input.
pub(crate) fn linear_map<B: Backend>(
    op: &'static str,
    x: &Tensor<B>,
    forward: impl FnOnce(&Tensor<B>) -> Tensor<B>,
    gradient: impl Fn(&Tensor<B>) -> Tensor<B> + Send + Sync + 'static,
) -> Tensor<B> {
    fused(op, [x], Save::NOTHING, |[x]| forward(x), move |of| [Some(gradient(of.g))])
}

/// Unwraps inputs of which none is absent.
pub(crate) fn present<B: Backend, const N: usize>(inputs: [Option<&Tensor<B>>; N]) -> [&Tensor<B>; N] {
    inputs.map(|x| match x {
        Some(x) => x,
        None => unreachable!("an input that the operation requires is absent"),
    })
}

/// `f(inputs)`. F16 is computed in F32, and the result rounded once.
pub(crate) fn in_f32<B: Backend, const N: usize>(
    inputs: [&Tensor<B>; N],
    f: impl FnOnce([&Tensor<B>; N]) -> Tensor<B>,
) -> Tensor<B> {
    in_f32_with(inputs.map(Some), |inputs| f(present(inputs)))
}

/// [`in_f32`] with inputs of which all but the first may be absent.
pub(crate) fn in_f32_with<B: Backend, const N: usize>(
    inputs: [Option<&Tensor<B>>; N],
    f: impl FnOnce([Option<&Tensor<B>>; N]) -> Tensor<B>,
) -> Tensor<B> {
    let Ok(out) = try_in_f32_with(inputs, |inputs| Ok::<_, Infallible>(f(inputs)));
    out
}

/// [`in_f32_with`] of a function that may fail.
pub(crate) fn try_in_f32_with<B: Backend, E, const N: usize>(
    inputs: [Option<&Tensor<B>>; N],
    f: impl FnOnce([Option<&Tensor<B>>; N]) -> Result<Tensor<B>, E>,
) -> Result<Tensor<B>, E> {
    widening(inputs, |inputs| f(inputs).map(|out| (out, ()))).map(|(out, ())| out)
}

/// `f(inputs)` if the first input is not of F16; else `f` of all F16 inputs in F32, and its first result rounded to F16.
fn widening<B: Backend, T, E, const N: usize>(
    inputs: [Option<&Tensor<B>>; N],
    f: impl FnOnce([Option<&Tensor<B>>; N]) -> Result<(Tensor<B>, T), E>,
) -> Result<(Tensor<B>, T), E> {
    if !inputs[0].is_some_and(Tensor::is_half) {
        return f(inputs);
    }
    let wide = inputs.map(|x| x.map(Tensor::widened));
    let (out, extra) = f(wide.each_ref().map(Option::as_ref))?;
    Ok((out.cast(DType::F16), extra))
}

impl<B: Backend> Tensor<B> {
    pub(crate) fn is_half(&self) -> bool {
        self.dtype() == DType::F16
    }

    /// F16 as F32, on the tape; other dtypes as they are.
    pub(crate) fn widened(&self) -> Self {
        if self.is_half() { self.cast(DType::F32) } else { self.clone() }
    }
}
