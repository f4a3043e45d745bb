//! The gradients of a convolution where most of the output's gradient is zero, as it is behind a maximum over time: of every map and
//! image one window won.
//!
//! ```text
//! for each n, o, i, j with gy[n][o][i,j] != 0:
//!   gw[o]    += gy[n][o][i,j] * window      window = in[n] at rows i sy .. + kh, columns j sx .. + kw, all channels
//!   gx[n]    += gy[n][o][i,j] * w[o]        at the same place
//! ```
//! Channels come last here: images `[n, h, w, c_in]`, weights `[c_out, kh, kw, c_in]`, so that a row of a window is one run of
//! `kw c_in` elements. Cost: one load of the window, one load and one store of the sum per nonzero element; the products that
//! `grad_weight.rs` and `correlation.rs` form go through all elements. A sum runs over images, then pixels, in order.
//!
//! Zeros may only be left out where they add zero: not beside infinity or NaN, see [`all_finite`].

use super::Conv2d;
use crate::kernels::gemm::PARALLEL_WORK;
use crate::kernels::{Float, for_each_chunk};
use crate::launch::{self, report};
use crate::simd::{Isa, Kernel, Level};

/// At most one of so many elements may be nonzero: a nonzero element costs about as much as so many of a product.
const SHARE: usize = 8;

/// The shortest run that is worth a loop of its own.
const RUN: usize = 64;

/// The elements that are looked at first: most gradients are refused by these.
const FIRST: usize = 1024;

impl Conv2d {
    /// The elements of a row of a window.
    fn run(&self) -> usize {
        self.kw * self.c_in
    }

    /// The first elements of the runs of a window, in the window and in the image, for the output's pixel `at`.
    fn runs(&self, at: usize) -> impl Iterator<Item = (usize, usize)> {
        let corner = [at / self.ow * self.stride[0], at % self.ow * self.stride[1]];
        (0..self.kh).map(move |y| (y * self.run(), ((corner[0] + y) * self.w + corner[1]) * self.c_in))
    }
}

/// Whether the geometry and a gradient of the output suit these loops.
pub(crate) fn suits<T: Float>(level: Level, g: &Conv2d, gy: &[T]) -> bool {
    g.groups == 1
        && g.padding == [0, 0]
        && g.dilation == [1, 1]
        && g.run() >= RUN
        && gy.len() > FIRST
        && level.dispatch(Count { x: &gy[..FIRST], what: |x| x != T::ZERO }) <= FIRST / SHARE
        && level.dispatch(Count { x: gy, what: |x| x != T::ZERO }) <= gy.len() / SHARE
}

/// Whether zero times each of these is zero.
pub(crate) fn all_finite<T: Float>(level: Level, x: &[T]) -> bool {
    level.dispatch(Count { x, what: |x: T| x * T::ZERO != T::ZERO }) == 0
}

/// `gw[c_out, kh, kw, c_in]`, overwritten, from `x[n, h, w, c_in]` and `gy[n, c_out, oh, ow]`.
pub(crate) fn grad_weight<T: Float>(level: Level, g: &Conv2d, x: &[T], gy: &[T], gw: &mut [T]) {
    report(|| launch::on::<T>("conv2d_grad_weight", g.c_out).path("sparse"));
    let (pixels, image) = (g.oh * g.ow, g.h * g.w * g.c_in);
    for_each_chunk(g.work() / SHARE >= PARALLEL_WORK, gw, g.kh * g.run(), |o, gw| {
        gw.fill(T::ZERO);
        for n in 0..g.n {
            let gy = &gy[(n * g.c_out + o) * pixels..][..pixels];
            level.dispatch(Sums::<_, false> { g, gy, from: &x[n * image..][..image], to: gw });
        }
    });
}

/// `gx[n, h, w, c_in]`, overwritten, from `gy[n, c_out, oh, ow]` and `w[c_out, kh, kw, c_in]`.
pub(crate) fn grad_input<T: Float>(level: Level, g: &Conv2d, gy: &[T], w: &[T], gx: &mut [T]) {
    report(|| launch::on::<T>("conv2d_grad_input", g.n).path("sparse"));
    let (pixels, window) = (g.oh * g.ow, g.kh * g.run());
    for_each_chunk(g.work() / SHARE >= PARALLEL_WORK, gx, g.h * g.w * g.c_in, |n, gx| {
        gx.fill(T::ZERO);
        for o in 0..g.c_out {
            let gy = &gy[(n * g.c_out + o) * pixels..][..pixels];
            level.dispatch(Sums::<_, true> { g, gy, from: &w[o * window..][..window], to: gx });
        }
    });
}

/// How many elements are so.
struct Count<'a, T, F> {
    x: &'a [T],
    what: F,
}

impl<T: Float, F: Fn(T) -> bool> Kernel for Count<'_, T, F> {
    type Output = usize;

    #[inline(always)]
    fn run<I: Isa>(self, _: I) -> usize {
        // Few enough for 32 bits: as many lanes as elements of a vector of f32.
        let of = |x: &[T]| x.iter().map(|&x| (self.what)(x) as u32).sum::<u32>() as usize;
        self.x.chunks(1 << 16).map(of).sum()
    }
}

/// The windows of one image, added to the gradient of one filter; or the filter, added to the gradient of the image.
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
        let run = self.g.run();
        for (at, &gy) in self.gy.iter().enumerate().filter(|(_, gy)| **gy != T::ZERO) {
            for (window, image) in self.g.runs(at) {
                let (to, from) = if TO_IMAGE { (image, window) } else { (window, image) };
                add_scaled::<T, I>(&mut self.to[to..][..run], gy, &self.from[from..][..run]);
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
