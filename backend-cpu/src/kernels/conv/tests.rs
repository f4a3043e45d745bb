//! The three passes against plain loops in f64, at every level, over a grid of shapes; bit-identity for any thread count; the choice
//! of the algorithm.

use super::*;
use crate::kernels::testing::{check_close, numbers, on_threads};

#[allow(clippy::too_many_arguments)] // one line per case below
fn conv(
    n: usize,
    c_in: usize,
    size: [usize; 2],
    c_out: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
) -> Conv2d {
    let out =
        |axis: usize| (size[axis] + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1) / stride[axis] + 1;
    let ([h, w], [kh, kw]) = (size, kernel);
    Conv2d { n, c_in, h, w, c_out, kh, kw, stride, padding, dilation, groups, oh: out(0), ow: out(1) }
}

/// Calls `visit(input index, weight index, output index, output channel)` for every multiply-add of the convolution.
fn visit(g: &Conv2d, mut visit: impl FnMut(usize, usize, usize, usize)) {
    let (group_in, group_out) = (g.c_in / g.groups, g.c_out / g.groups);
    for n in 0..g.n {
        for o in 0..g.c_out {
            for i in 0..g.oh {
                for j in 0..g.ow {
                    for c in 0..group_in {
                        for y in 0..g.kh {
                            for x in 0..g.kw {
                                let row = (i * g.stride[0] + y * g.dilation[0]).wrapping_sub(g.padding[0]);
                                let column = (j * g.stride[1] + x * g.dilation[1]).wrapping_sub(g.padding[1]);
                                if row < g.h && column < g.w {
                                    let channel = o / group_out * group_in + c;
                                    let input = ((n * g.c_in + channel) * g.h + row) * g.w + column;
                                    let weight = ((o * group_in + c) * g.kh + y) * g.kw + x;
                                    let output = ((n * g.c_out + o) * g.oh + i) * g.ow + j;
                                    visit(input, weight, output, o);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn cases() -> Vec<Conv2d> {
    let mut cases = vec![
        conv(2, 1, [28, 28], 6, [5, 5], [1, 1], [2, 2], [1, 1], 1),
        conv(3, 6, [14, 14], 16, [5, 5], [1, 1], [0, 0], [1, 1], 1),
        conv(1, 3, [9, 11], 4, [3, 3], [1, 1], [1, 1], [1, 1], 1),
        conv(1, 1, [1, 1], 1, [1, 1], [1, 1], [0, 0], [1, 1], 1),
        // 1 x 1, with and without stride: the image is its own frame, or one phase of it.
        conv(2, 5, [7, 6], 3, [1, 1], [1, 1], [0, 0], [1, 1], 1),
        conv(2, 5, [7, 6], 3, [1, 1], [2, 3], [0, 0], [1, 1], 1),
        // Stride beyond the kernel: no window reads some pixels.
        conv(2, 3, [13, 12], 4, [2, 1], [3, 4], [0, 0], [1, 1], 1),
        // Padding beyond the kernel: some outputs read only zeros, and the gradient's frame is cut.
        conv(1, 2, [4, 5], 3, [2, 2], [1, 1], [3, 2], [1, 1], 1),
        conv(1, 2, [4, 5], 3, [1, 1], [2, 1], [2, 3], [1, 1], 1),
        // Dilation that shares a factor with the stride, and one that does not.
        conv(1, 2, [15, 16], 3, [3, 3], [2, 2], [2, 2], [2, 2], 1),
        conv(2, 2, [15, 16], 3, [3, 2], [2, 3], [1, 2], [3, 2], 1),
        // A last row and column that the stride never reaches.
        conv(1, 2, [8, 10], 3, [3, 3], [2, 3], [0, 0], [1, 1], 1),
        // Groups, channel multiplier, depthwise.
        conv(2, 6, [9, 9], 4, [3, 3], [1, 1], [1, 1], [1, 1], 2),
        conv(2, 3, [9, 8], 6, [3, 3], [2, 2], [1, 1], [1, 1], 3),
        conv(2, 5, [10, 45], 5, [3, 3], [1, 1], [1, 1], [1, 1], 5),
        conv(1, 4, [11, 37], 4, [3, 2], [2, 2], [1, 0], [2, 1], 4),
        // Large enough for several blocks of k, bands and threads.
        conv(1, 40, [20, 30], 20, [3, 3], [1, 1], [1, 1], [1, 1], 1),
        conv(6, 10, [5, 5], 33, [3, 3], [2, 2], [1, 1], [1, 1], 1),
        conv(40, 3, [4, 4], 8, [3, 3], [1, 1], [1, 1], [1, 1], 1),
        // Output rows of full registers: one band and several, a last panel that is not full, rows and taps that fill no
        // tile, blocks of images with a remainder, an image that is its own frame, a frame that is cut.
        conv(21, 5, [5, 8], 7, [3, 3], [1, 1], [1, 1], [1, 1], 1),
        conv(2, 4, [33, 32], 6, [5, 5], [1, 1], [2, 2], [1, 1], 2),
        conv(3, 3, [8, 16], 9, [1, 3], [1, 1], [0, 1], [1, 1], 1),
        conv(2, 3, [7, 18], 4, [3, 3], [1, 1], [0, 0], [1, 1], 1),
        conv(2, 3, [7, 48], 4, [3, 1], [1, 1], [1, 0], [1, 1], 1),
        conv(1, 2, [6, 10], 4, [2, 2], [1, 1], [3, 4], [1, 1], 1),
        // The same with strides: of the output, and of the grids of the input's gradient.
        conv(5, 3, [9, 32], 6, [3, 3], [2, 2], [1, 1], [1, 1], 1),
        conv(2, 4, [16, 48], 6, [3, 3], [1, 3], [1, 1], [2, 2], 2),
        // Batched columns: batches with a remainder, several blocks of k, groups, one output row.
        conv(5, 64, [7, 7], 70, [3, 3], [1, 1], [1, 1], [1, 1], 1),
        conv(3, 128, [7, 5], 130, [2, 2], [1, 1], [0, 1], [1, 1], 2),
        conv(9, 20, [1, 40], 100, [1, 3], [1, 1], [0, 0], [1, 1], 1),
        // Nothing to do.
        conv(0, 3, [4, 4], 8, [3, 3], [1, 1], [1, 1], [1, 1], 1),
        conv(2, 0, [4, 4], 3, [3, 3], [1, 1], [1, 1], [1, 1], 1),
        conv(2, 3, [0, 4], 2, [3, 3], [1, 1], [2, 1], [1, 1], 1),
    ];
    for stride in [1, 2, 3] {
        for padding in [0, 1, 2] {
            for dilation in [1, 2] {
                for kernel in [[1, 3], [3, 2], [4, 4]] {
                    cases.push(conv(2, 2, [9, 10], 3, kernel, [stride; 2], [padding; 2], [dilation; 2], 1));
                }
            }
        }
    }
    cases
}

/// Many channels and 3 x 3 taps, for Winograd's tiles: images of even and odd sizes; without padding, with padding, and with more of
/// it than the kernel reaches; rows of less than a register and of several; groups; output channels of several chunks.
fn tiled_cases() -> Vec<Conv2d> {
    vec![
        conv(9, 32, [12, 12], 33, [3, 3], [1, 1], [1, 1], [1, 1], 1),
        conv(17, 40, [7, 9], 36, [3, 3], [1, 1], [1, 1], [1, 1], 1),
        conv(1, 33, [35, 41], 35, [3, 3], [1, 1], [0, 0], [1, 1], 1),
        conv(2, 32, [2, 300], 32, [3, 3], [1, 1], [2, 2], [1, 1], 1),
        conv(3, 64, [17, 21], 64, [3, 3], [1, 1], [1, 0], [1, 1], 2),
        conv(4, 34, [16, 16], 32, [3, 3], [1, 1], [3, 3], [1, 1], 1),
        conv(5, 32, [14, 15], 80, [3, 3], [1, 1], [1, 1], [1, 1], 1),
        // As large, but no correlation of neighbouring pixels: a dilation equal to the stride, a stride over one output row.
        conv(5, 32, [30, 31], 32, [3, 3], [2, 2], [2, 2], [2, 2], 1),
        conv(8, 32, [3, 70], 32, [3, 3], [2, 1], [0, 0], [1, 1], 1),
    ]
}

/// The algorithms of the three passes. The weights' gradient takes dot products where output rows consist of full registers,
/// whose lanes depend on the level: up to `lanes` of f32, 0 for none.
#[test]
fn algorithms_of_known_layers() {
    use Algorithm::{BatchedColumns, Depthwise, DotProducts, ImplicitGemm, Pointwise, Winograd};
    let same = |n, channels: [usize; 2], size, kernel: usize| {
        conv(n, channels[0], [size; 2], channels[1], [kernel; 2], [1, 1], [kernel / 2; 2], [1, 1], 1)
    };
    let strided = |n, channels: [usize; 2], size, kernel: usize| Conv2d {
        stride: [2, 2],
        oh: size / 2,
        ow: size / 2,
        ..same(n, channels, size, kernel)
    };
    let text = |n, kernel| conv(n, 100, [1, 59], 100, [1, kernel], [1, 1], [0, 0], [1, 1], 1);
    let dilated = |n| conv(n, 64, [28, 28], 64, [3, 3], [1, 1], [2, 2], [2, 2], 1);
    let depthwise = |stride| conv(16, 32, [16, 16], 32, [3, 3], [stride; 2], [1, 1], [1, 1], 32);
    for (g, forward, grad_input, lanes) in [
        // LeNet.
        (same(64, [1, 6], 28, 5), ImplicitGemm, ImplicitGemm, 4),
        (conv(64, 6, [14, 14], 16, [5, 5], [1, 1], [0, 0], [1, 1], 1), ImplicitGemm, ImplicitGemm, 0),
        // ResNet-20: the first layer, the three stages, the transitions between them.
        (same(64, [3, 16], 32, 3), ImplicitGemm, ImplicitGemm, 16),
        (same(64, [16, 16], 32, 3), ImplicitGemm, ImplicitGemm, 16),
        (same(64, [32, 32], 16, 3), Winograd, Winograd, 16),
        (same(64, [64, 64], 8, 3), Winograd, Winograd, 8),
        (strided(64, [16, 32], 32, 3), ImplicitGemm, ImplicitGemm, 16),
        (strided(64, [32, 64], 16, 3), ImplicitGemm, ImplicitGemm, 8),
        (strided(64, [32, 64], 16, 1), ImplicitGemm, ImplicitGemm, 8),
        // One image: too few tiles for Winograd, until images are large.
        (same(1, [32, 32], 16, 3), ImplicitGemm, ImplicitGemm, 16),
        (same(1, [64, 64], 28, 3), ImplicitGemm, ImplicitGemm, 4),
        (same(1, [64, 64], 56, 3), Winograd, Winograd, 8),
        // Many output channels and rows of no full segments.
        (conv(16, 64, [15, 14], 256, [2, 2], [1, 1], [0, 0], [1, 1], 1), BatchedColumns, ImplicitGemm, 0),
        // 1 x 1.
        (same(16, [64, 64], 8, 1), Pointwise, Pointwise, 8),
        (same(1, [16, 32], 7, 1), Pointwise, Pointwise, 0),
        // Sentences.
        (text(64, 3), ImplicitGemm, ImplicitGemm, 0),
        (text(64, 4), ImplicitGemm, ImplicitGemm, 8),
        // Dilation; a stride of 2 with as much dilation; padding beyond the taps.
        (dilated(16), ImplicitGemm, ImplicitGemm, 4),
        (Conv2d { stride: [2, 2], oh: 14, ow: 14, ..dilated(16) }, ImplicitGemm, ImplicitGemm, 0),
        (conv(16, 64, [16, 16], 64, [3, 3], [1, 1], [3, 3], [1, 1], 1), Winograd, ImplicitGemm, 4),
    ] {
        for level in Level::supported() {
            let got = [Pass::Forward, Pass::GradInput, Pass::GradWeight]
                .map(|pass| Algorithm::choose::<f32>(level, pass, &g));
            let by_dots = lanes >= dots::lanes::<f32>(level);
            let grad_weight = if by_dots { DotProducts } else { ImplicitGemm };
            assert_eq!(got, [forward, grad_input, grad_weight], "{} {g:?}", level.name());
        }
    }
    for level in Level::supported() {
        for pass in [Pass::Forward, Pass::GradInput, Pass::GradWeight] {
            for stride in [1, 2] {
                assert_eq!(Algorithm::choose::<f32>(level, pass, &depthwise(stride)), Depthwise);
            }
        }
    }
}

/// Compares the kernels with plain loops, `grad_weight` if its sums are short enough for the bound.
fn check<T: Float + Into<f64>>(g: &Conv2d, from: fn(f64) -> T, is_short: bool) {
    let convert = |numbers: Vec<f64>| -> Vec<T> { numbers.into_iter().map(from).collect() };
    let x = convert(numbers(1, g.n * g.c_in * g.h * g.w));
    let w = convert(numbers(2, g.c_out * g.c_in / g.groups * g.kh * g.kw));
    let gy = convert(numbers(3, g.n * g.c_out * g.oh * g.ow));
    let bias = convert(numbers(4, g.c_out));

    let mut out = vec![0.0; gy.len()];
    for (index, out) in out.iter_mut().enumerate() {
        *out = bias[index / (g.oh * g.ow) % g.c_out].into();
    }
    let (mut gx, mut gw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
    visit(g, |input, weight, output, _| {
        out[output] += x[input].into() * w[weight].into();
        gx[input] += gy[output].into() * w[weight].into();
        gw[weight] += gy[output].into() * x[input].into();
    });

    let epsilon = if size_of::<T>() == 4 { 1e-5 } else { 1e-13 };
    let compare = |what: &str, level: Level, got: &[T], expected: &[f64]| {
        for (index, (&got, &expected)) in got.iter().zip(expected).enumerate() {
            check_close(got.into(), expected, epsilon, &format!("{what} {} [{index}] of {g:?}", level.name()));
        }
    };
    for level in Level::supported() {
        // Outputs are overwritten, whatever they held.
        let (mut a, mut b, mut c) = (vec![from(7.0); out.len()], vec![from(7.0); gx.len()], vec![from(7.0); gw.len()]);
        forward(level, g, &x, &w, Some(&bias), &mut a);
        compare("forward", level, &a, &out);
        grad_input(level, g, &gy, &w, &mut b);
        compare("grad_input", level, &b, &gx);
        if is_short {
            grad_weight(level, g, &x, &gy, &mut c);
            compare("grad_weight", level, &c, &gw);
        }
    }
}

#[test]
fn f32_equals_plain_loops() {
    cases().iter().for_each(|g| check::<f32>(g, |x| x as f32, true));
    tiled_cases().iter().for_each(|g| check::<f32>(g, |x| x as f32, false));
}

#[test]
fn f64_equals_plain_loops() {
    cases().iter().chain(&tiled_cases()).for_each(|g| check::<f64>(g, |x| x, true));
}

#[test]
fn results_are_bit_identical_for_any_thread_count() {
    for g in [
        conv(8, 6, [14, 14], 16, [5, 5], [1, 1], [0, 0], [1, 1], 1),
        conv(1, 16, [30, 30], 32, [3, 3], [1, 1], [1, 1], [1, 1], 1),
        conv(9, 8, [20, 20], 8, [3, 3], [2, 2], [1, 1], [1, 1], 8),
        conv(17, 100, [7, 7], 100, [3, 3], [1, 1], [1, 1], [1, 1], 1),
        conv(30, 16, [16, 16], 24, [3, 3], [1, 1], [1, 1], [1, 1], 1),
        conv(20, 8, [12, 12], 8, [3, 3], [2, 2], [1, 1], [1, 1], 2),
        conv(11, 64, [15, 15], 160, [3, 3], [1, 1], [1, 1], [1, 1], 2),
    ] {
        let convert = |numbers: Vec<f64>| -> Vec<f32> { numbers.into_iter().map(|x| x as f32).collect() };
        let x = convert(numbers(1, g.n * g.c_in * g.h * g.w));
        let w = convert(numbers(2, g.c_out * g.c_in / g.groups * g.kh * g.kw));
        let gy = convert(numbers(3, g.n * g.c_out * g.oh * g.ow));
        let run = || {
            let (mut out, mut gx, mut gw) = (vec![0.0; gy.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
            let level = Level::best();
            forward(level, &g, &x, &w, None, &mut out);
            grad_input(level, &g, &gy, &w, &mut gx);
            grad_weight(level, &g, &x, &gy, &mut gw);
            (out, gx, gw)
        };
        let one = on_threads(1, run);
        for threads in [2, 3] {
            assert!(one == on_threads(threads, run), "{g:?} on {threads} threads");
        }
    }
}

/// `[a, c, h, w]` as `[a, h, w, c]`.
fn channels_last<T: Copy>(x: &[T], [a, c, h, w]: [usize; 4]) -> Vec<T> {
    let at = |i: usize| {
        let (channel, pixel, image) = (i % c, i / c % (h * w), i / (c * h * w));
        x[(image * c + channel) * h * w + pixel]
    };
    (0..a * c * h * w).map(at).collect()
}

#[test]
fn sparse_gradients_equal_plain_loops() {
    for g in [
        conv(5, 64, [1, 20], 18, [1, 3], [1, 1], [0, 0], [1, 1], 1),
        conv(50, 100, [1, 40], 100, [1, 5], [1, 1], [0, 0], [1, 1], 1),
        conv(3, 40, [9, 11], 20, [3, 2], [2, 3], [0, 0], [1, 1], 1),
        conv(2, 70, [13, 12], 12, [2, 1], [1, 1], [0, 0], [1, 1], 1),
    ] {
        let (x, w) = (numbers(1, g.n * g.c_in * g.h * g.w), numbers(2, g.c_out * g.c_in * g.kh * g.kw));
        let mut gy = numbers(3, g.n * g.c_out * g.oh * g.ow);
        gy.iter_mut().enumerate().filter(|(i, _)| i % 11 > 0).for_each(|(_, gy)| *gy = 0.0);
        let (mut gx, mut gw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
        visit(&g, |input, weight, output, _| {
            gx[input] += gy[output] * w[weight];
            gw[weight] += gy[output] * x[input];
        });
        let (images, filters) = ([g.n, g.c_in, g.h, g.w], [g.c_out, g.c_in, g.kh, g.kw]);
        let (gx, gw) = (channels_last(&gx, images), channels_last(&gw, filters));
        let (x, w) = (channels_last(&x, images), channels_last(&w, filters));
        for level in Level::supported() {
            let long_enough = gy.len() > 1024;
            assert_eq!(sparse::suits(level, &g, &gy), long_enough, "{g:?}");
            let run = || {
                let (mut a, mut b) = (vec![7.0; gx.len()], vec![7.0; gw.len()]);
                sparse::grad_input(level, &g, &gy, &w, &mut a);
                sparse::grad_weight(level, &g, &x, &gy, &mut b);
                [a, b]
            };
            let got = run();
            for (what, got, expected) in [("grad_input", &got[0], &gx), ("grad_weight", &got[1], &gw)] {
                for (index, (&got, &expected)) in got.iter().zip(expected).enumerate() {
                    check_close(got, expected, 1e-13, &format!("{what} {} [{index}] of {g:?}", level.name()));
                }
            }
            for threads in [1, 2, 3] {
                assert!(got == on_threads(threads, run), "{g:?} on {threads} threads");
            }
        }
    }
}

#[test]
fn zeros_are_skipped_only_if_most_and_beside_finite_numbers() {
    let g = conv(5, 64, [1, 20], 18, [1, 3], [1, 1], [0, 0], [1, 1], 1);
    for level in Level::supported() {
        let mut gy = vec![0.0f32; g.n * g.c_out * g.ow];
        assert!(sparse::suits(level, &g, &gy));
        assert!(sparse::all_finite(level, &[f32::MAX, -0.0, f32::MIN_POSITIVE]));
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!sparse::all_finite(level, &[&[1.0; 999][..], &[odd, f32::MAX]].concat()));
        }
        let last = gy.len() / 8 + 1;
        gy.iter_mut().rev().take(last).for_each(|gy| *gy = f32::NAN);
        assert!(!sparse::suits(level, &g, &gy), "one more than an eighth");
        gy.iter_mut().rev().take(2).for_each(|gy| *gy = 0.0);
        assert!(sparse::suits(level, &g, &gy));
    }
}

/// A number that is not finite reaches the pixels whose window holds it and no others, and numbers that overflow in a
/// transform do not overflow here.
#[test]
fn tiles_do_not_spread_infinities() {
    let g = conv(5, 32, [15, 15], 33, [3, 3], [1, 1], [1, 1], [1, 1], 1);
    let w = vec![1.0; g.c_out * g.c_in * 9];
    for (odd, expected) in [(f32::INFINITY, f32::INFINITY), (f32::NAN, f32::NAN), (f32::MAX, f32::MAX)] {
        for level in Level::supported() {
            let mut x = vec![0.0; g.n * g.c_in * g.h * g.w];
            // Image 2, channel 3, pixel (6, 7).
            x[((2 * g.c_in + 3) * g.h + 6) * g.w + 7] = odd;
            let mut out = vec![7.0; g.n * g.c_out * g.oh * g.ow];
            forward(level, &g, &x, &w, None, &mut out);
            for (index, &out) in out.iter().enumerate() {
                let (image, y, x) = (index / (g.c_out * g.oh * g.ow), index / g.ow % g.oh, index % g.ow);
                let reads = image == 2 && y.abs_diff(6) <= 1 && x.abs_diff(7) <= 1;
                let expected = if reads { expected } else { 0.0 };
                assert!(out == expected || out.is_nan() && expected.is_nan(), "{odd} at {image}, {y}, {x}: {out}");
            }
        }
    }
}
