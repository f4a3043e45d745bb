//! Average pooling and its gradient.

use rayon::prelude::*;

use super::Pool2d;
use crate::kernels::Float;

/// `y` = means of the windows, `[planes, oh, ow]`, overwritten. With `count_include_pad` a window is divided by the
/// positions it has within the padded image, otherwise by those within the image.
pub fn avg_pool2d<T: Float>(g: &Pool2d, count_include_pad: bool, x: &[T], y: &mut [T]) {
    g.check(x, y);
    if y.is_empty() {
        return;
    }
    let (image, output) = (g.h * g.w, g.oh * g.ow);
    let plane = |(x, y): (&[T], &mut [T])| {
        for (i, y) in y.chunks_exact_mut(g.ow).enumerate() {
            for (j, y) in y.iter_mut().enumerate() {
                let mut sum = T::ZERO;
                for row in g.window(0, i) {
                    g.window(1, j).for_each(|column| sum += x[row * g.w + column]);
                }
                *y = sum * share(g, count_include_pad, i, j);
            }
        }
    };
    if g.is_parallel() {
        let planes = x.par_chunks_exact(image).zip(y.par_chunks_exact_mut(output));
        planes.with_min_len(g.grain()).for_each(plane);
    } else {
        x.chunks_exact(image).zip(y.chunks_exact_mut(output)).for_each(plane);
    }
}

/// `gx` = the gradient of the input, overwritten: each `gy` is shared equally among the elements of its window.
pub fn avg_pool2d_grad<T: Float>(g: &Pool2d, count_include_pad: bool, gy: &[T], gx: &mut [T]) {
    g.check(gx, gy);
    if gy.is_empty() || gx.is_empty() {
        return gx.fill(T::ZERO);
    }
    let (image, output) = (g.h * g.w, g.oh * g.ow);
    let plane = |(gx, gy): (&mut [T], &[T])| {
        gx.fill(T::ZERO);
        for (i, gy) in gy.chunks_exact(g.ow).enumerate() {
            for (j, &gy) in gy.iter().enumerate() {
                let part = gy * share(g, count_include_pad, i, j);
                for row in g.window(0, i) {
                    g.window(1, j).for_each(|column| gx[row * g.w + column] += part);
                }
            }
        }
    };
    if g.is_parallel() {
        let planes = gx.par_chunks_exact_mut(image).zip(gy.par_chunks_exact(output));
        planes.with_min_len(g.grain()).for_each(plane);
    } else {
        gx.chunks_exact_mut(image).zip(gy.chunks_exact(output)).for_each(plane);
    }
}

/// One over the number of elements that window `(i, j)` is divided by.
fn share<T: Float>(g: &Pool2d, count_include_pad: bool, i: usize, j: usize) -> T {
    let count = |axis: usize, index: usize, size: usize| {
        if count_include_pad {
            // A window that the stride lets hang over the end of the padded image is not counted beyond it.
            let end = size + 2 * g.padding[axis];
            (end - (index * g.stride[axis]).min(end)).div_ceil(g.dilation[axis]).min(g.kernel[axis])
        } else {
            g.window(axis, index).count()
        }
    };
    T::from_count(count(0, i, g.h) * count(1, j, g.w)).reciprocal()
}
