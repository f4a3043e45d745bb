//! Two-dimensional convolution (cross-correlation, as in every framework) and its two gradients. Layouts: images
//! `[n, channels, height, width]`, weights `[c_out, c_in / groups, kh, kw]`, all contiguous.
//!
//! ```text
//! forward      out[o][i,j]  = bias[o] + sum over c,y,x of w[o][c][y,x] * in[c][i sy + y dy - py, j sx + x dx - px]
//! grad_input   gx[c][p]     = sum over o,y,x of w[o][c][y,x] * gy[o][the (i,j) that reads p through (y,x), if any]
//! grad_weight  gw[o][c][y,x] = sum over images, i,j of gy[o][i,j] * in[c][i sy + y dy - py, ...]
//! ```
//! [`Algorithm::choose`] selects the algorithm by the sizes and the instruction set, before anything is copied or packed. Gradients
//! of a `gy` that is mostly zero have functions of their own ([`sparse`]). The general case, `ImplicitGemm`, is a matrix product per
//! image and group whose im2col operand is never stored: the image is copied into a padded frame (`frame.rs`), and the address of an
//! im2col element is the sum of an offset of the tap and one of the pixel. With g groups:
//!
//! | pass        | rows       | columns       | k              | parallel over                |
//! |-------------|------------|---------------|----------------|------------------------------|
//! | forward     | c_out / g  | oh ow         | c_in / g kh kw | images, groups, bands        |
//! | grad_input  | c_in / g   | h w / (sy sx) | c_out / g taps | images, groups, bands        |
//! | grad_weight | c_out / g  | c_in / g kh kw | images oh ow  | groups, sets of images       |
//!
//! `geometry.rs`, `frame.rs` and `correlation.rs` hold what the algorithms share; each algorithm has a file of its own.

mod batched_columns;
mod correlation;
mod depthwise;
mod dots;
mod frame;
mod geometry;
mod grad_weight;
mod implicit_gemm;
mod pointwise;
pub mod sparse;
mod winograd;

#[cfg(test)]
mod tests;

use super::Float;
use crate::simd::Level;
use correlation::Correlation;
pub use geometry::{Conv2d, Pass};

/// How a convolution or a gradient of it is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// One matrix product per image, in place. `pointwise.rs`
    Pointwise,
    /// Sums of scaled rows, without a matrix product. `depthwise.rs`
    Depthwise,
    /// F(2 x 2, 3 x 3). `winograd.rs`
    Winograd,
    /// A matrix product over packed columns of several images. `batched_columns.rs`
    BatchedColumns,
    /// A matrix product whose im2col operand is read from the frame. `implicit_gemm.rs`; `grad_weight.rs`
    ImplicitGemm,
    /// Dot products of rows of `gy` and rows of the frame, both read in place. `grad_weight.rs`, `dots.rs`
    DotProducts,
}

impl Algorithm {
    /// The algorithm of a pass.
    pub fn choose<T: Float>(level: Level, pass: Pass, g: &Conv2d) -> Algorithm {
        Algorithm::suiting::<T>(level, pass, g).next().unwrap_or(Algorithm::ImplicitGemm)
    }

    /// The algorithms that suit a pass, fastest first.
    fn suiting<T: Float>(level: Level, pass: Pass, g: &Conv2d) -> impl Iterator<Item = Algorithm> {
        use Algorithm::{BatchedColumns, Depthwise, DotProducts, ImplicitGemm, Pointwise, Winograd};
        let candidates: &[Algorithm] = match pass {
            Pass::Forward | Pass::GradInput => &[Pointwise, Depthwise, Winograd, BatchedColumns, ImplicitGemm],
            Pass::GradWeight => &[Depthwise, DotProducts, ImplicitGemm],
        };
        candidates.iter().copied().filter(move |algorithm| algorithm.suits::<T>(level, pass, g))
    }

    /// Whether the algorithm can compute the pass, and is expected to be faster than those after it.
    fn suits<T: Float>(self, level: Level, pass: Pass, g: &Conv2d) -> bool {
        match self {
            // The image is the im2col matrix: no frame is needed.
            Algorithm::Pointwise => g.is_pointwise(),
            // A matrix product with a single row has no reuse.
            Algorithm::Depthwise => g.is_depthwise(),
            // With 32 channels or more, the saved multiplications outweigh the transforms.
            Algorithm::Winograd => winograd::suits(pass, g),
            // If output rows are not full segments, `ImplicitGemm` also computes columns in the margins. Packing avoids them, and
            // costs less if there are many output channels.
            Algorithm::BatchedColumns => batched_columns::images::<T>(level, pass, g).is_some(),
            Algorithm::ImplicitGemm => true,
            // Rows of full registers are multiplied in place; packing panels would transpose both operands.
            Algorithm::DotProducts => g.ow.is_multiple_of(dots::lanes::<T>(level)),
        }
    }
}

/// `out = conv(x, w) + bias`; `x` is `[n, c_in, h, w]`, `out` is `[n, c_out, oh, ow]`.
pub fn forward<T: Float>(level: Level, g: &Conv2d, x: &[T], w: &[T], bias: Option<&[T]>, out: &mut [T]) {
    g.check(x, w, out);
    assert!(bias.is_none_or(|bias| bias.len() == g.c_out), "bias of {g:?}");
    if w.is_empty() && !out.is_empty() {
        // No input channels.
        let biases = (0..g.c_out).map(|channel| bias.map_or(T::ZERO, |bias| bias[channel])).cycle();
        return out.chunks_exact_mut(g.oh * g.ow).zip(biases).for_each(|(out, bias)| out.fill(bias));
    }
    correlate(level, Pass::Forward, g, x, w, bias, out);
}

/// `gx` = the gradient of the input, overwritten.
pub fn grad_input<T: Float>(level: Level, g: &Conv2d, gy: &[T], w: &[T], gx: &mut [T]) {
    g.check(gx, w, gy);
    if gy.is_empty() {
        return gx.fill(T::ZERO);
    }
    correlate(level, Pass::GradInput, g, gy, w, None, gx);
}

/// `gw` = the gradient of the weights, overwritten.
pub fn grad_weight<T: Float>(level: Level, g: &Conv2d, x: &[T], gy: &[T], gw: &mut [T]) {
    g.check(x, gw, gy);
    if gw.is_empty() || gy.is_empty() {
        return gw.fill(T::ZERO);
    }
    match Algorithm::choose::<T>(level, Pass::GradWeight, g) {
        Algorithm::Depthwise => depthwise::grad_weight(level, g, x, gy, gw),
        algorithm => grad_weight::run(level, algorithm == Algorithm::DotProducts, g, x, gy, gw),
    }
}

/// `forward` or `grad_input`, by the first algorithm that suits; Winograd may decline after its run.
fn correlate<T: Float>(level: Level, pass: Pass, g: &Conv2d, source: &[T], w: &[T], bias: Option<&[T]>, out: &mut [T]) {
    if out.is_empty() {
        return;
    }
    for algorithm in Algorithm::suiting::<T>(level, pass, g) {
        if algorithm == Algorithm::Pointwise {
            return pointwise::run(level, pass, g, source, w, bias, out);
        }
        let c = Correlation::new(level, pass, g);
        match algorithm {
            Algorithm::Depthwise => depthwise::run(&c, source, w, bias, out),
            Algorithm::BatchedColumns => batched_columns::run(&c, g, source, w, bias, out),
            // If a result is not finite, the next algorithm recomputes all.
            Algorithm::Winograd if !winograd::run(&c, source, w, bias, out) => continue,
            Algorithm::Winograd => {}
            // `ImplicitGemm`, which suits every geometry.
            _ => implicit_gemm::run(&c, source, w, bias, out),
        }
        return;
    }
}
