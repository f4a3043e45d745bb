//! Average pooling and its gradient. Windows of more than [`SHORT`] elements are summed in f64.

use super::{Pool2d, Span};
use crate::kernels::Float;
use crate::launch::report;
use crate::parallel;

/// Terms whose sum is accurate enough in f32; converting each to f64 would cost more than the sum.
const SHORT: usize = 32;

/// `y` = means of the windows, `[planes, oh, ow]`, overwritten. With `count_include_pad` a window is divided by
/// all its positions, otherwise by those within the image.
pub fn avg_pool2d<T: Float>(g: &Pool2d, count_include_pad: bool, x: &[T], y: &mut [T]) {
    g.check(x, y);
    if y.is_empty() {
        return;
    }
    let (image, output) = (g.h * g.w, g.oh * g.ow);
    let (rows, columns) = (g.spans(0), g.spans(1));
    report(|| g.launch::<T>("avg_pool2d", if g.is_long() { "long windows" } else { "window by window" }));
    let plane = |(x, y): (&[T], &mut [T])| {
        for (rows, y) in rows.iter().zip(y.chunks_exact_mut(g.ow)) {
            for (columns, y) in columns.iter().zip(y) {
                if g.is_long() {
                    let rows_of_x = rows.coordinates().map(|row| &x[row * g.w + columns.first..][..columns.inside]);
                    *y = T::rounded(rows_of_x.map(sum).sum::<f64>() / count(g, count_include_pad, rows, columns));
                    continue;
                }
                let mut sum = T::ZERO;
                for row in rows.coordinates() {
                    columns.coordinates().for_each(|column| sum += x[row * g.w + column]);
                }
                *y = sum * share(g, count_include_pad, rows, columns);
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
    report(|| g.launch::<T>("avg_pool2d_grad", if g.is_long() { "long windows" } else { "window by window" }));
    let plane = |(gx, gy): (&mut [T], &[T])| {
        if g.is_long() {
            return long_grad(g, count_include_pad, [&rows, &columns], gy, gx);
        }
        gx.fill(T::ZERO);
        for (rows, gy) in rows.iter().zip(gy.chunks_exact(g.ow)) {
            for (columns, &gy) in columns.iter().zip(gy) {
                let part = gy * share(g, count_include_pad, rows, columns);
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

/// [`avg_pool2d_grad`] of one plane, separably: sums along each row, then down the columns, both in f64, as an element may lie
/// in as many windows as a window has elements.
fn long_grad<T: Float>(g: &Pool2d, count_include_pad: bool, [rows, columns]: [&[Span]; 2], gy: &[T], gx: &mut [T]) {
    let (mut line, mut sums) = (vec![0.0; g.w], vec![0.0; g.h * g.w]);
    for (rows, gy) in rows.iter().zip(gy.chunks_exact(g.ow)) {
        line.fill(0.0);
        for (columns, gy) in columns.iter().zip(gy) {
            let part = gy.widened() / count(g, count_include_pad, rows, columns);
            line[columns.first..][..columns.inside].iter_mut().for_each(|sum| *sum += part);
        }
        for row in rows.coordinates() {
            sums[row * g.w..][..g.w].iter_mut().zip(&line).for_each(|(sum, part)| *sum += part);
        }
    }
    gx.iter_mut().zip(sums).for_each(|(gx, sum)| *gx = T::rounded(sum));
}

/// The sum of a row, in independent lanes.
fn sum<T: Float>(line: &[T]) -> f64 {
    let (chunks, rest) = line.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, x)| *lane += x.widened());
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, x)| *lane += x.widened());
    lanes.iter().sum()
}

/// The divisor of a window.
fn count(g: &Pool2d, count_include_pad: bool, rows: &Span, columns: &Span) -> f64 {
    let [rows, columns] = if count_include_pad { g.kernel } else { [rows.inside, columns.inside] };
    // In f64: the product of a huge window's sizes could overflow.
    rows as f64 * columns as f64
}

/// One over [`count`].
fn share<T: Float>(g: &Pool2d, count_include_pad: bool, rows: &Span, columns: &Span) -> T {
    T::rounded(count(g, count_include_pad, rows, columns)).reciprocal()
}

impl Pool2d {
    fn is_long(&self) -> bool {
        self.kernel[0].saturating_mul(self.kernel[1]) > SHORT
    }
}
