//! Pooling against plain loops over the padded image; ties, NaN and thread counts by hand.

use super::*;
use crate::kernels::testing::{check_close, numbers, on_threads};
use crate::simd::Level;

fn pool(planes: usize, [h, w]: [usize; 2], kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Pool2d {
    dilated(planes, [h, w], kernel, stride, padding, [1, 1])
}

fn dilated(
    planes: usize,
    [h, w]: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
) -> Pool2d {
    let out = |axis: usize, size: usize| {
        (size + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1) / stride[axis] + 1
    };
    Pool2d { planes, h, w, kernel, stride, padding, dilation, oh: out(0, h), ow: out(1, w) }
}

fn cases() -> Vec<Pool2d> {
    let mut cases = vec![
        pool(3, [8, 10], [2, 2], [2, 2], [0, 0]),
        pool(3, [9, 11], [2, 2], [2, 2], [0, 0]),
        pool(0, [4, 4], [2, 2], [2, 2], [0, 0]),
        pool(5, [1, 1], [1, 1], [1, 1], [0, 0]),
        pool(2, [13, 12], [2, 3], [4, 5], [0, 0]),
        pool(64, [28, 28], [3, 3], [2, 2], [1, 1]),
        // Padding beyond what some taps reach, strides with a loop of their own, rows longer than a register.
        pool(2, [6, 40], [5, 5], [1, 1], [2, 2]),
        pool(2, [6, 41], [3, 4], [3, 4], [1, 2]),
        dilated(2, [12, 15], [3, 2], [2, 1], [1, 1], [2, 3]),
        // ceil mode: the last windows hang over the edge.
        Pool2d { oh: 3, ow: 4, ..pool(2, [5, 7], [2, 2], [2, 2], [0, 0]) },
        Pool2d { oh: 4, ..pool(2, [7, 8], [3, 3], [2, 2], [1, 1]) },
    ];
    for stride in [1, 2, 3] {
        for padding in [0, 1] {
            cases.push(pool(2, [7, 9], [3, 2], [stride, stride], [padding, padding]));
        }
    }
    cases
}

/// The elements of window `(i, j)`, in order, and its positions within the padded image.
fn window(g: &Pool2d, i: usize, j: usize) -> (Vec<usize>, usize) {
    let (mut elements, mut positions) = (Vec::new(), 0);
    for a in 0..g.kernel[0] {
        for b in 0..g.kernel[1] {
            let (row, column) = (i * g.stride[0] + a * g.dilation[0], j * g.stride[1] + b * g.dilation[1]);
            positions += usize::from(row < g.h + 2 * g.padding[0] && column < g.w + 2 * g.padding[1]);
            let (row, column) = (row.wrapping_sub(g.padding[0]), column.wrapping_sub(g.padding[1]));
            if row < g.h && column < g.w {
                elements.push(row * g.w + column);
            }
        }
    }
    (elements, positions)
}

#[test]
fn equals_plain_loops() {
    for g in cases() {
        let (image, output) = (g.h * g.w, g.oh * g.ow);
        // Few distinct values, so that ties are common.
        let x: Vec<f64> = numbers(1, g.planes * image).into_iter().map(|x| (x * 4.0).round()).collect();
        let gy = numbers(2, g.planes * output);
        let (mut y, mut indices, mut gx) = (vec![7.0; gy.len()], vec![7; gy.len()], vec![7.0; x.len()]);
        max_pool2d(&g, &x, &mut y, &mut indices);
        for level in Level::supported() {
            let (mut other, mut places) = (vec![7.0; gy.len()], vec![7; gy.len()]);
            max::max_pool2d_at(level, &g, &x, &mut other, &mut places);
            assert!((&other, &places) == (&y, &indices), "{} differs in {g:?}", level.name());
        }
        max_pool2d_grad(&g, &gy, &indices, &mut gx);
        let mut expected_gx = vec![0.0; x.len()];
        for at in 0..gy.len() {
            let (plane, i, j) = (at / output, at % output / g.ow, at % g.ow);
            let elements = window(&g, i, j).0;
            let first =
                elements.iter().copied().reduce(|a, b| if x[plane * image + b] > x[plane * image + a] { b } else { a });
            let first = first.expect("a window with an element");
            assert_eq!((indices[at] as usize, y[at]), (first, x[plane * image + first]), "[{at}] of {g:?}");
            expected_gx[plane * image + first] += gy[at];
        }
        assert_eq!(gx, expected_gx, "{g:?}");

        for count_include_pad in [true, false] {
            let (mut y, mut gx) = (vec![7.0; gy.len()], vec![7.0; x.len()]);
            avg_pool2d(&g, count_include_pad, &x, &mut y);
            avg_pool2d_grad(&g, count_include_pad, &gy, &mut gx);
            let mut expected_gx = vec![0.0; x.len()];
            for at in 0..gy.len() {
                let (plane, i, j) = (at / output, at % output / g.ow, at % g.ow);
                let (elements, positions) = window(&g, i, j);
                let count = if count_include_pad { positions } else { elements.len() } as f64;
                let sum: f64 = elements.iter().map(|at| x[plane * image + at]).sum();
                check_close(y[at], sum / count, 1e-14, &format!("mean [{at}] of {g:?}"));
                elements.iter().for_each(|element| expected_gx[plane * image + element] += gy[at] / count);
            }
            for (at, (&got, expected)) in gx.iter().zip(expected_gx).enumerate() {
                check_close(got, expected, 1e-14, &format!("gradient [{at}] of {g:?}"));
            }
        }
    }
}

#[test]
fn ties_go_to_the_first_and_nan_is_the_maximum() {
    let nan = f32::NAN;
    #[rustfmt::skip]
    let x = [
        1.0, nan,   3.0, 3.0,    f32::NEG_INFINITY, f32::NEG_INFINITY,
        nan, 2.0,   3.0, 1.0,    f32::NEG_INFINITY, f32::NEG_INFINITY,
    ];
    // The same windows by the fast path and, with another stride, by the general one.
    for g in [pool(1, [2, 6], [2, 2], [2, 2], [0, 0]), pool(1, [2, 6], [2, 2], [3, 2], [0, 0])] {
        let (mut y, mut indices) = ([0.0; 3], [0; 3]);
        max_pool2d(&g, &x, &mut y, &mut indices);
        assert!(y[0].is_nan());
        assert_eq!((y[1], y[2]), (3.0, f32::NEG_INFINITY));
        assert_eq!(indices, [1, 2, 4]);
    }
}

#[test]
fn results_are_bit_identical_for_any_thread_count() {
    let g = pool(100, [28, 28], [3, 3], [2, 2], [1, 1]);
    let x: Vec<f32> = numbers(3, 100 * 28 * 28).into_iter().map(|x| x as f32).collect();
    let gy: Vec<f32> = numbers(4, 100 * g.oh * g.ow).into_iter().map(|x| x as f32).collect();
    let run = || {
        let (mut max, mut indices, mut mean) = (gy.clone(), vec![0; gy.len()], gy.clone());
        let (mut max_grad, mut mean_grad) = (x.clone(), x.clone());
        max_pool2d(&g, &x, &mut max, &mut indices);
        max_pool2d_grad(&g, &gy, &indices, &mut max_grad);
        avg_pool2d(&g, true, &x, &mut mean);
        avg_pool2d_grad(&g, true, &gy, &mut mean_grad);
        (max, indices, mean, max_grad, mean_grad)
    };
    let one = on_threads(1, run);
    for threads in [2, 3] {
        assert!(one == on_threads(threads, run), "{threads} threads");
    }
}
