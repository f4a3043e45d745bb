//! 1 x 1 convolution without stride and padding: one matrix product per image, all operands in place.
//!
//! ```text
//! forward     out[n] = w x[n] + bias     [c_out, c_in] x [c_in, h w]
//! grad_input  gx[n]  = wᵀ gy[n]          [c_in, c_out] x [c_out, h w]
//! ```

use super::geometry::{Conv2d, Pass};
use crate::kernels::Float;
use crate::kernels::gemm::{Shape, Start, Strided, batch, batched_at};
use crate::launch::report;
use crate::simd::Level;

pub(super) fn run<T: Float>(
    level: Level,
    pass: Pass,
    g: &Conv2d,
    source: &[T],
    w: &[T],
    bias: Option<&[T]>,
    out: &mut [T],
) {
    let ([k, m], pixels) = (g.channels(pass), g.h * g.w);
    let shape = Shape { m, n: pixels, k };
    let [lane_stride, depth_stride] = if pass == Pass::GradInput { [1, g.c_in] } else { [g.c_in, 1] };
    let w = Strided { data: w, lane_stride, depth_stride };
    let image = |n: usize| Strided { data: &source[n * k * pixels..], lane_stride: 1, depth_stride: pixels };
    let _launch = report(|| {
        let products = batch(pass.kernel(), level, g.n, shape, &w, &image(0));
        let path = format!("pointwise, {}", products.path);
        products.path(path)
    });
    let start = bias.map_or(Start::Zero, Start::RowBias);
    batched_at(level, g.n, shape, |n| (w, image(n)), out, start);
}
