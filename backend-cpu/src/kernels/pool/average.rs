//! Average pooling and its gradient.

use super::{Pool2d, Span};
use crate::kernels::Float;
use crate::parallel;

/// `y` = means of the windows, `[planes, oh, ow]`, overwritten. With `count_include_pad` a window is divided by the
/// positions it has within the padded image, otherwise by those within the image.
pub fn avg_pool2d<T: Float>(g: &Pool2d, count_include_pad: bool, x: &[T], y: &mut [T]) {
    g.check(x, y);
    if y.is_empty() {
        return;
    }
    let (image, output) = (g.h * g.w, g.oh * g.ow);
    let (rows, columns) = (g.spans(0), g.spans(1));
    let plane = |(x, y): (&[T], &mut [T])| {
        for (rows, y) in rows.iter().zip(y.chunks_exact_mut(g.ow)) {
            for (columns, y) in columns.iter().zip(y) {
                let mut sum = T::ZERO;
                for row in rows.coordinates() {
                    columns.coordinates().for_each(|column| sum += x[row * g.w + column]);
                }
                *y = sum * share(count_include_pad, rows, columns);
            }
        }
    };
    if g.is_parallel() {
        parallel::each_chunk(y, output * g.grain(), |run, y| {
            let x = x[run * g.grain() * image..].chunks_exact(image);
            x.zip(y.chunks_exact_mut(output)).for_each(plane);
        });
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
    let (rows, columns) = (g.spans(0), g.spans(1));
    let plane = |(gx, gy): (&mut [T], &[T])| {
        gx.fill(T::ZERO);
        for (rows, gy) in rows.iter().zip(gy.chunks_exact(g.ow)) {
            for (columns, &gy) in columns.iter().zip(gy) {
                let part = gy * share(count_include_pad, rows, columns);
                for row in rows.coordinates() {
                    columns.coordinates().for_each(|column| gx[row * g.w + column] += part);
                }
            }
        }
    };
    if g.is_parallel() {
        parallel::each_chunk(gx, image * g.grain(), |run, gx| {
            let gy = gy[run * g.grain() * output..].chunks_exact(output);
            gx.chunks_exact_mut(image).zip(gy).for_each(plane);
        });
    } else {
        gx.chunks_exact_mut(image).zip(gy.chunks_exact(output)).for_each(plane);
    }
}

/// One over the number of elements that a window is divided by. A window that hangs over the end of the padded image
/// (`ceil_mode`) is not counted beyond it.
fn share<T: Float>(count_include_pad: bool, rows: &Span, columns: &Span) -> T {
    let [rows, columns] = if count_include_pad { [rows.padded, columns.padded] } else { [rows.inside, columns.inside] };
    // Padding alone may make a window of more positions than can be counted.
    let count = rows.checked_mul(columns).map(T::from_count);
    count.unwrap_or_else(|| T::from_count(rows) * T::from_count(columns)).reciprocal()
}
