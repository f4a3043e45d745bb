//! 1 x 1 convolution without stride and padding: one matrix product per image, all operands in place.
//!
//! ```text
//! forward     out[n] = w x[n] + bias     [c_out, c_in] x [c_in, h w]
//! grad_input  gx[n]  = wᵀ gy[n]          [c_in, c_out] x [c_out, h w]
//! ```

use super::geometry::{Conv2d, Pass};
use crate::kernels::Float;
use crate::kernels::gemm::{Init, Shape, Strided, batched, launch_of_batch};
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
    let [stride, k_stride] = if pass == Pass::GradInput { [1, g.c_in] } else { [g.c_in, 1] };
    let w = Strided { data: w, stride, k_stride };
    let image = |n: usize| Strided { data: &source[n * k * pixels..], stride: 1, k_stride: pixels };
    let _launch = report(|| {
        let products = launch_of_batch(pass.kernel(), level, g.n, shape, &w, &image(0));
        let path = format!("pointwise, {}", products.path);
        products.path(path)
    });
    let init = bias.map_or(Init::Zero, Init::RowBias);
    batched(level, g.n, shape, |n| (w, image(n)), out, init);
}
