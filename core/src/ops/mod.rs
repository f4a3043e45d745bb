//! The operations, one file per family: what the user calls, its documentation, its gradient right below, and for fused
//! methods the composed default. A file here has a namesake in every backend, in `conformance/` and in
//! `benches/`; one without a kernel of its own (`tests/tidy.rs` lists them) in `conformance/` only.

pub mod arrange;
pub mod binary;
pub mod compare;
pub mod conv;
pub mod copy;
pub mod einsum;
pub mod index;
pub mod loss;
pub mod matmul;
pub mod norm;
pub mod optim;
pub mod pool;
pub mod random;
pub mod reduce;
pub mod resize;
pub mod scan;
pub mod softmax;
pub mod sort;
pub mod unary;
pub mod view;

/// The fused methods as tensor operations: the trait's defaults, and what an override may fall back to for a case that
/// it does not cover.
pub mod composed {
    use crate::backend::{Backend, StepRule, StepSlot, UnaryOp};
    use crate::ops::conv::{Conv2dGrad, Conv2dOptions};
    use crate::ops::matmul::{Activation, LinearGrad};
    use crate::ops::{conv, loss, matmul, norm, optim, pool, random, scan, softmax, sort, unary};
    use crate::ops::{norm::NormOptions, pool::Pool2dOptions};
    use crate::random::Draw;
    use crate::tensor::Tensor;

    macro_rules! forward {
        ($($name:ident($($arg:ident: $type:ty),*) $(-> $out:ty)? = $to:path;)*) => { $(
            #[doc = concat!("[`Backend::", stringify!($name), "`] without a kernel of its own.")]
            pub fn $name<B: Backend>($($arg: $type),*) $(-> $out)? {
                $to($($arg),*)
            }
        )* };
    }
    forward! {
        unary_grad(op: UnaryOp, saved: &Tensor<B>, g: &Tensor<B>) -> Tensor<B> = unary::composed;
        linear(x: &Tensor<B>, w: &Tensor<B>, bias: Option<&Tensor<B>>, activation: Option<Activation>) -> Tensor<B>
            = matmul::composed_linear;
        linear_grad(g: &LinearGrad<'_, B>) -> [Option<Tensor<B>>; 3] = matmul::composed_linear_grad;
        conv2d(
            x: &Tensor<B>, w: &Tensor<B>, bias: Option<&Tensor<B>>, options: &Conv2dOptions, activation: Option<Activation>
        ) -> Tensor<B> = conv::composed_conv2d;
        conv2d_grad(g: &Conv2dGrad<'_, B>) -> [Option<Tensor<B>>; 3] = conv::composed_conv2d_grad;
        conv2d_grad_input(g: &Tensor<B>, w: &Tensor<B>, size: [usize; 2], options: &Conv2dOptions) -> Tensor<B>
            = conv::composed_grad_input;
        conv2d_grad_weight(x: &Tensor<B>, g: &Tensor<B>, kernel: [usize; 2], options: &Conv2dOptions) -> Tensor<B>
            = conv::composed_grad_weight;
        max_pool2d(x: &Tensor<B>, options: &Pool2dOptions) -> (Tensor<B>, Tensor<B>) = pool::composed_max_pool2d;
        max_pool2d_grad(g: &Tensor<B>, indices: &Tensor<B>, size: [usize; 2]) -> Tensor<B>
            = pool::composed_max_pool2d_grad;
        avg_pool2d(x: &Tensor<B>, options: &Pool2dOptions) -> Tensor<B> = pool::composed_avg_pool2d;
        avg_pool2d_grad(g: &Tensor<B>, size: [usize; 2], options: &Pool2dOptions) -> Tensor<B>
            = pool::composed_avg_pool2d_grad;
        softmax(x: &Tensor<B>, dim: usize) -> Tensor<B> = softmax::composed_softmax;
        softmax_grad(y: &Tensor<B>, g: &Tensor<B>, dim: usize) -> Tensor<B> = softmax::composed_softmax_grad;
        log_softmax(x: &Tensor<B>, dim: usize) -> Tensor<B> = softmax::composed_log_softmax;
        log_softmax_grad(y: &Tensor<B>, g: &Tensor<B>, dim: usize) -> Tensor<B> = softmax::composed_log_softmax_grad;
        normalize(x: &Tensor<B>, weight: Option<&Tensor<B>>, bias: Option<&Tensor<B>>, options: &NormOptions)
            -> [Tensor<B>; 2] = norm::composed_normalize;
        normalize_by(
            x: &Tensor<B>, weight: Option<&Tensor<B>>, bias: Option<&Tensor<B>>, statistics: &Tensor<B>, options: &NormOptions
        ) -> Tensor<B> = norm::composed_normalize_by;
        normalize_grad(
            g: &Tensor<B>, x: &Tensor<B>, weight: Option<&Tensor<B>>, statistics: &Tensor<B>, options: &NormOptions
        ) -> (Tensor<B>, Option<[Tensor<B>; 2]>) = norm::composed_normalize_grad;
        running_statistics(running: [&Tensor<B>; 2], statistics: &Tensor<B>, momentum: f64, unbiased: f64) -> [Tensor<B>; 2]
            = norm::composed_running_statistics;
        cumsum(x: &Tensor<B>, dim: usize, reverse: bool) -> Tensor<B> = scan::composed_cumsum;
        argsort(x: &Tensor<B>, dim: usize, descending: bool, k: usize) -> Tensor<B> = sort::composed_argsort;
        cross_entropy(logits: &Tensor<B>, target: &Tensor<B>) -> (Tensor<B>, Tensor<B>) = loss::composed_cross_entropy;
        cross_entropy_grad(g: &Tensor<B>, logits: &Tensor<B>, target: &Tensor<B>, statistics: &Tensor<B>) -> Tensor<B>
            = loss::composed_cross_entropy_grad;
        dropout(x: &Tensor<B>, p: f64, draw: Draw) -> Tensor<B> = random::composed_dropout;
        optimizer_step(device: &B, rule: &StepRule, slots: &mut [StepSlot<'_, B>], scalars: &mut B::Storage)
            = optim::composed_step;
    }
}
