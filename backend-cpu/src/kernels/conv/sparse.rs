//! Gradients of a convolution whose `gy` is mostly zero, as behind a maximum over time: then one window per image and output
//! channel has a gradient.
//!
//! ```text
//! for each n, o, i, j with gy[n][o][i,j] != 0:
//!   gw[o]    += gy[n][o][i,j] * window      window = x[n] at rows i sy .. + kh, columns j sx .. + kw, all channels
//!   gx[n]    += gy[n][o][i,j] * w[o]        at the same place
//! ```
//! Channels come last here: images `[n, h, w, c_in]`, weights `[c_out, kh, kw, c_in]`, so that a row of a window is one
//! contiguous run of `kw c_in` elements; the caller permutes. Cost: per nonzero element one load of the window, one load and one store of the sum.
//! Terms are added in order: `gw` over images, then pixels; `gx` over output channels, then pixels.
//!
//! Zeros may be skipped only if the other operand is finite, as zero times infinity is NaN.

use super::geometry::{Conv2d, Pass};
use crate::kernels::gemm::PARALLEL_WORK;
use crate::kernels::{Float, for_each_chunk};
use crate::launch::{self, report};
use crate::simd::{Isa, Kernel, Level};

/// At most one of this many elements may be nonzero: a nonzero element costs about as much here as this many in a matrix product.
const SHARE: usize = 8;

/// The shortest run that is worth a loop of its own.
const MIN_RUN: usize = 64;

/// Elements that are counted first, as they suffice to reject most gradients.
const SAMPLE: usize = 1024;

impl Conv2d {
    /// Elements of one row of a window.
    fn row_len(&self) -> usize {
        self.kw * self.c_in
    }

    /// The offset of each row of the window of output pixel `at`: in the window and in the image.
    fn window_rows(&self, at: usize) -> impl Iterator<Item = (usize, usize)> {
        let corner = [at / self.ow * self.stride[0], at % self.ow * self.stride[1]];
        (0..self.kh).map(move |y| (y * self.row_len(), ((corner[0] + y) * self.w + corner[1]) * self.c_in))
    }
}

/// Whether the geometry suits these loops, and few enough elements of `gy` are nonzero. The operand beside `gy` must be
/// [finite](all_finite) too.
pub fn suits<T: Float>(level: Level, g: &Conv2d, gy: &[T]) -> bool {
    g.groups == 1
        && g.padding == [0, 0]
        && g.dilation == [1, 1]
        && g.row_len() >= MIN_RUN
        && gy.len() > SAMPLE
        && level.dispatch(Count { x: &gy[..SAMPLE], predicate: |x| x != T::ZERO }) <= SAMPLE / SHARE
        && level.dispatch(Count { x: gy, predicate: |x| x != T::ZERO }) <= gy.len() / SHARE
}

/// Whether all elements are finite: only then may zeros of `gy` be skipped, as zero times infinity is NaN.
pub fn all_finite<T: Float>(level: Level, x: &[T]) -> bool {
    level.dispatch(Count { x, predicate: |x: T| x * T::ZERO != T::ZERO }) == 0
}

/// `gw[c_out, kh, kw, c_in]`, overwritten, from `x[n, h, w, c_in]` and `gy[n, c_out, oh, ow]`.
pub fn grad_weight<T: Float>(level: Level, g: &Conv2d, x: &[T], gy: &[T], gw: &mut [T]) {
    report(|| launch::on::<T>(Pass::GradWeight.kernel(), g.c_out).path("sparse"));
    let (pixels, image) = (g.oh * g.ow, g.h * g.w * g.c_in);
    for_each_chunk(g.work() / SHARE >= PARALLEL_WORK, gw, g.kh * g.row_len(), |o, gw| {
        gw.fill(T::ZERO);
        for n in 0..g.n {
            let gy = &gy[(n * g.c_out + o) * pixels..][..pixels];
            level.dispatch(Sums::<_, false> { g, gy, from: &x[n * image..][..image], to: gw });
        }
    });
}

/// `gx[n, h, w, c_in]`, overwritten, from `gy[n, c_out, oh, ow]` and `w[c_out, kh, kw, c_in]`.
pub fn grad_input<T: Float>(level: Level, g: &Conv2d, gy: &[T], w: &[T], gx: &mut [T]) {
    report(|| launch::on::<T>(Pass::GradInput.kernel(), g.n).path("sparse"));
    let (pixels, window) = (g.oh * g.ow, g.kh * g.row_len());
    for_each_chunk(g.work() / SHARE >= PARALLEL_WORK, gx, g.h * g.w * g.c_in, |n, gx| {
        gx.fill(T::ZERO);
        for o in 0..g.c_out {
            let gy = &gy[(n * g.c_out + o) * pixels..][..pixels];
            level.dispatch(Sums::<_, true> { g, gy, from: &w[o * window..][..window], to: gx });
        }
    });
}

/// The number of elements that satisfy a predicate.
struct Count<'a, T, F> {
    x: &'a [T],
    predicate: F,
}

impl<T: Float, F: Fn(T) -> bool> Kernel for Count<'_, T, F> {
    type Output = usize;

    #[inline(always)]
    fn run<I: Isa>(self, _: I) -> usize {
        // Counts of 32 bits, so that a register has as many lanes of them as of f32.
        let count = |x: &[T]| x.iter().map(|&x| (self.predicate)(x) as u32).sum::<u32>() as usize;
        self.x.chunks(1 << 16).map(count).sum()
    }
}

/// Adds the scaled windows of one image to the gradient of one filter, or the scaled filter to the gradient of the image.
struct Sums<'a, T, const TO_IMAGE: bool> {
    g: &'a Conv2d,
    gy: &'a [T],
    from: &'a [T],
    to: &'a mut [T],
}

impl<T: Float, const TO_IMAGE: bool> Kernel for Sums<'_, T, TO_IMAGE> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let len = self.g.row_len();
        for (at, &gy) in self.gy.iter().enumerate().filter(|(_, gy)| **gy != T::ZERO) {
            for (window, image) in self.g.window_rows(at) {
                let (to, from) = if TO_IMAGE { (image, window) } else { (window, image) };
                add_scaled::<T, I>(&mut self.to[to..][..len], gy, &self.from[from..][..len]);
            }
        }
    }
}

/// `to += factor * from`.
#[inline(always)]
fn add_scaled<T: Float, I: Isa>(to: &mut [T], factor: T, from: &[T]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = from.multiply_add::<I>(factor, *to);
    }
}
