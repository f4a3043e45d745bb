//! Maximum pooling: values and, for the gradient, their indices.

use super::{Pool2d, Span};
use crate::kernels::Float;
use crate::launch::report;
use crate::parallel;
use crate::simd::{Isa, Kernel, Level};
use std::ops::Range;

/// `y` = maxima, `indices` = their indices in the plane, `row * w + column`; both `[planes, oh, ow]`, overwritten.
pub fn max_pool2d<T: Float>(g: &Pool2d, x: &[T], y: &mut [T], indices: &mut [i32]) {
    max_pool2d_at(Level::best(), g, x, y, indices);
}

pub(super) fn max_pool2d_at<T: Float>(level: Level, g: &Pool2d, x: &[T], y: &mut [T], indices: &mut [i32]) {
    g.check(x, y);
    g.check(x, indices);
    assert!(i32::try_from(g.h * g.w).is_ok(), "planes of {g:?} exceed i32 indices");
    if y.is_empty() {
        return;
    }
    let (image, output) = (g.h * g.w, g.oh * g.ow);
    let (rows, columns, reached) = (g.spans(0), g.spans(1), reached(g));
    report(|| g.launch::<T>("max_pool2d", if g.is_halving() { "2 x 2 side by side" } else { "tap by tap" }));
    let plane = |((x, y), indices): ((&[T], &mut [T]), &mut [i32])| {
        if g.is_halving() {
            halve(g, x, y, indices);
        } else {
            let (rows, columns, reached) = (&rows[..], &columns[..], &reached[..]);
            level.dispatch(General { g, rows, columns, reached, x, y, indices });
        }
    };
    if g.is_parallel() {
        parallel::each_chunk2((y, output), (indices, output), g.grain(), |i, y, indices| {
            plane(((&x[i * image..][..image], y), indices));
        });
    } else {
        x.chunks_exact(image).zip(y.chunks_exact_mut(output)).zip(indices.chunks_exact_mut(output)).for_each(plane);
    }
}

/// Whether `candidate` replaces `best`: it is greater, or the first NaN.
#[inline(always)]
fn replaces<T: Float>(candidate: T, best: T) -> bool {
    (candidate > best) | (candidate.is_nan() & !best.is_nan())
}

/// Any windows of one plane, tap by tap: the windows whose tap lies within the image are contiguous, and the loop over them
/// selects value and index without branches, so it vectorises.
struct General<'a, T> {
    g: &'a Pool2d,
    rows: &'a [Span],
    columns: &'a [Span],
    /// The taps of a row, each with the windows whose tap lies within the image.
    reached: &'a [(usize, Range<usize>)],
    x: &'a [T],
    y: &'a mut [T],
    indices: &'a mut [i32],
}

impl<T: Float> Kernel for General<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let General { g, rows, columns, reached, x, y, indices } = self;
        for (rows, (y, indices)) in rows.iter().zip(y.chunks_exact_mut(g.ow).zip(indices.chunks_exact_mut(g.ow))) {
            for (columns, (y, index)) in columns.iter().zip(y.iter_mut().zip(&mut *indices)) {
                assert!(rows.inside > 0 && columns.inside > 0, "a window of {g:?} touches no element");
                // Every element replaces this, except -inf, which is the first element's index already.
                (*y, *index) = (T::NEG_INFINITY, (rows.first * g.w + columns.first) as i32);
            }
            for row in rows.coordinates() {
                for (tap, windows) in reached.iter().filter(|(_, windows)| !windows.is_empty()) {
                    let stride = g.stride[1];
                    let first = row * g.w + windows.start * stride + *tap * g.dilation[1] - g.padding[1];
                    let (y, indices) = (&mut y[windows.clone()], &mut indices[windows.clone()]);
                    match stride {
                        1 => update::<1, T>(&x[first..], first, y, indices),
                        2 => update::<2, T>(&x[first..], first, y, indices),
                        3 => update::<3, T>(&x[first..], first, y, indices),
                        _ => {
                            for (j, (y, index)) in y.iter_mut().zip(indices).enumerate() {
                                let at = first + j * stride;
                                (*y, *index) = if replaces(x[at], *y) { (x[at], at as i32) } else { (*y, *index) };
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Compares `x[j * S]`, element `first + j * S` of the plane, with the maximum of window `j`.
#[inline(always)]
fn update<const S: usize, T: Float>(x: &[T], first: usize, y: &mut [T], indices: &mut [i32]) {
    let mut done = 0;
    update_chunks::<S, 8, T>(x, first, y, indices, &mut done);
    update_chunks::<S, 4, T>(x, first, y, indices, &mut done);
    for j in done..y.len() {
        let x = x[j * S];
        if replaces(x, y[j]) {
            (y[j], indices[j]) = (x, (first + j * S) as i32);
        }
    }
}

/// [`update`] for chunks of `N` windows from window `done` on; advances `done`.
#[inline(always)]
fn update_chunks<const S: usize, const N: usize, T: Float>(
    x: &[T],
    first: usize,
    y: &mut [T],
    indices: &mut [i32],
    done: &mut usize,
) {
    let x = x[*done * S..].as_chunks::<S>().0.as_chunks::<N>().0;
    let windows = y[*done..].as_chunks_mut::<N>().0.iter_mut().zip(indices[*done..].as_chunks_mut::<N>().0);
    // Through arrays: a conditional store would compile to a branch instead of a select.
    for (x, (y, index)) in x.iter().zip(windows) {
        let (mut best, mut indices, at) = (*y, *index, first + *done * S);
        for lane in 0..N {
            let is_new = replaces(x[lane][0], best[lane]);
            best[lane] = if is_new { x[lane][0] } else { best[lane] };
            indices[lane] = if is_new { (at + lane * S) as i32 } else { indices[lane] };
        }
        (*y, *index) = (best, indices);
        *done += N;
    }
}

/// For each tap of a row the windows whose tap lies within the image, from the first tap that has any to the last. The other taps are
/// omitted, as a huge padding may have more of them than fit in memory.
fn reached(g: &Pool2d) -> Vec<(usize, Range<usize>)> {
    let (stride, padding) = (g.stride[1], g.padding[1]);
    let range = |tap: usize| {
        let ahead = tap * g.dilation[1];
        let start = padding.saturating_sub(ahead).div_ceil(stride).min(g.ow);
        start..(g.w + padding).saturating_sub(ahead).div_ceil(stride).clamp(start, g.ow)
    };
    let first = padding.saturating_sub((g.ow - 1) * stride).div_ceil(g.dilation[1]);
    let last = (g.w + padding).div_ceil(g.dilation[1]).min(g.kernel[1]);
    (first..last).map(|tap| (tap, range(tap))).collect()
}

/// 2 x 2 windows with stride 2, without branches: each of three comparisons selects value and index.
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
                best = if replaces(candidate.0, best.0) { candidate } else { best };
            }
            (*y, *index) = best;
            at += 2;
        }
    }
}

/// `gx` = the gradient of the input, overwritten: each `gy` is added at the index of its maximum.
pub fn max_pool2d_grad<T: Float>(g: &Pool2d, gy: &[T], indices: &[i32], gx: &mut [T]) {
    g.check(gx, gy);
    g.check(gx, indices);
    if gy.is_empty() || gx.is_empty() {
        return gx.fill(T::ZERO);
    }
    let (image, output) = (g.h * g.w, g.oh * g.ow);
    report(|| g.launch::<T>("max_pool2d_grad", "by index"));
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
