//! Maximum pooling: values and, for the gradient, where each maximum was found.

use super::{Pool2d, Span};
use crate::kernels::Float;
use crate::parallel;

/// `y` = maxima, `indices` = their places in the plane, `row * w + column`; both `[planes, oh, ow]`, overwritten.
pub fn max_pool2d<T: Float>(g: &Pool2d, x: &[T], y: &mut [T], indices: &mut [i32]) {
    g.check(x, y);
    g.check(x, indices);
    assert!(i32::try_from(g.h * g.w).is_ok(), "planes of {g:?} exceed i32 indices");
    if y.is_empty() {
        return;
    }
    let (image, output) = (g.h * g.w, g.oh * g.ow);
    let (rows, columns) = (g.spans(0), g.spans(1));
    let plane = |((x, y), indices): ((&[T], &mut [T]), &mut [i32])| {
        if g.is_halving() { halve(g, x, y, indices) } else { general(g, [&rows, &columns], x, y, indices) }
    };
    if g.is_parallel() {
        parallel::each_chunk2((y, output), (indices, output), g.grain(), |i, y, indices| {
            plane(((&x[i * image..][..image], y), indices));
        });
    } else {
        x.chunks_exact(image).zip(y.chunks_exact_mut(output)).zip(indices.chunks_exact_mut(output)).for_each(plane);
    }
}

/// Whether `candidate` replaces `best`: greater, or the first NaN.
#[inline(always)]
fn wins<T: Float>(candidate: T, best: T) -> bool {
    (candidate > best) | (candidate.is_nan() & !best.is_nan())
}

fn general<T: Float>(g: &Pool2d, [rows, columns]: [&[Span]; 2], x: &[T], y: &mut [T], indices: &mut [i32]) {
    let outputs = y.chunks_exact_mut(g.ow).zip(indices.chunks_exact_mut(g.ow));
    for (rows, (y, indices)) in rows.iter().zip(outputs) {
        for (columns, (y, index)) in columns.iter().zip(y.iter_mut().zip(indices)) {
            assert!(rows.inside > 0 && columns.inside > 0, "a window of {g:?} touches no element");
            let first = rows.first * g.w + columns.first;
            let mut best = (x[first], first);
            for row in rows.coordinates() {
                for at in columns.coordinates().map(|column| row * g.w + column) {
                    best = if wins(x[at], best.0) { (x[at], at) } else { best };
                }
            }
            (*y, *index) = (best.0, best.1 as i32);
        }
    }
}

/// 2 x 2 windows side by side, branch-free: each of three comparisons is a select of value and place.
fn halve<T: Float>(g: &Pool2d, x: &[T], y: &mut [T], indices: &mut [i32]) {
    for ((i, y), indices) in y.chunks_exact_mut(g.ow).enumerate().zip(indices.chunks_exact_mut(g.ow)) {
        let first = 2 * i * g.w;
        let upper = x[first..][..2 * g.ow].as_chunks::<2>().0;
        let lower = x[first + g.w..][..2 * g.ow].as_chunks::<2>().0;
        let width = g.w as i32;
        let mut at = first as i32;
        for (((upper, lower), y), index) in upper.iter().zip(lower).zip(y).zip(indices) {
            let mut best = (upper[0], at);
            for candidate in [(upper[1], at + 1), (lower[0], at + width), (lower[1], at + width + 1)] {
                best = if wins(candidate.0, best.0) { candidate } else { best };
            }
            (*y, *index) = best;
            at += 2;
        }
    }
}

/// `gx` = the gradient of the input, overwritten: each `gy` goes to where its maximum was.
pub fn max_pool2d_grad<T: Float>(g: &Pool2d, gy: &[T], indices: &[i32], gx: &mut [T]) {
    g.check(gx, gy);
    g.check(gx, indices);
    if gy.is_empty() || gx.is_empty() {
        return gx.fill(T::ZERO);
    }
    let (image, output) = (g.h * g.w, g.oh * g.ow);
    let plane = |((gx, gy), indices): ((&mut [T], &[T]), &[i32])| {
        gx.fill(T::ZERO);
        for (&gy, &index) in gy.iter().zip(indices) {
            gx[index as usize] += gy;
        }
    };
    if g.is_parallel() {
        parallel::each_chunk(gx, image * g.grain(), |run, gx| {
            for (i, gx) in (run * g.grain()..).zip(gx.chunks_exact_mut(image)) {
                plane(((gx, &gy[i * output..][..output]), &indices[i * output..][..output]));
            }
        });
    } else {
        gx.chunks_exact_mut(image).zip(gy.chunks_exact(output)).zip(indices.chunks_exact(output)).for_each(plane);
    }
}
