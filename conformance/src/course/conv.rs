//! The course's convolutions, by ours: as long as their input, the kernel anchored at its first element, zeros beyond the end.
//!
//! `out[b, o, t] = sum over c, k of x[b, c, t + k] w[o, c, k]` is our convolution of an input that is padded by `k - 1` zeros at
//! the end. The course's reversed form reads `x[b, c, t - k]`: the padding is at the start, and the kernel flipped. With the
//! channels of the weight exchanged it is the gradient in the input; the gradient in the weight is again a convolution, of the
//! input by the gradient, with batch and channels exchanged.

use super::host::{Array, equals};
use crate::close::{EXACT, Tolerance, eps};
use crate::on::Lay;
use crate::{On, Suite};
use minitorch_core::{Backend, Conv1dOptions, Conv2dOptions, Tensor};

fn conv1d<B: Backend>(x: &Tensor<B>, w: &Tensor<B>) -> Tensor<B> {
    let [_, _, k] = w.dims();
    x.pad([(0, k - 1)], 0.0).conv1d(w, None, Conv1dOptions::default())
}

fn conv1d_reversed<B: Backend>(x: &Tensor<B>, w: &Tensor<B>) -> Tensor<B> {
    let [_, _, k] = w.dims();
    x.pad([(k - 1, 0)], 0.0).conv1d(&w.flip(2), None, Conv1dOptions::default())
}

fn conv2d<B: Backend>(x: &Tensor<B>, w: &Tensor<B>) -> Tensor<B> {
    let [_, _, kh, kw] = w.dims();
    x.pad([(0, kh - 1), (0, kw - 1)], 0.0).conv2d(w, None, Conv2dOptions::default())
}

fn conv2d_reversed<B: Backend>(x: &Tensor<B>, w: &Tensor<B>) -> Tensor<B> {
    let [_, _, kh, kw] = w.dims();
    x.pad([(kh - 1, 0), (kw - 1, 0)], 0.0).conv2d(&w.flip([2, 3]), None, Conv2dOptions::default())
}

pub(super) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.floats("test_conv1d_simple", 4, |on| {
        let (x, w) = (on.list(&[0.0, 1.0, 2.0, 3.0], [1, 1, 4]), on.list(&[1.0, 2.0, 3.0], [1, 1, 3]));
        equals("forward", &conv1d(&x, &w), &Array { shape: vec![1, 1, 4], data: vec![8.0, 14.0, 8.0, 3.0] }, EXACT);
        let want = Array { shape: vec![1, 1, 4], data: vec![0.0, 1.0, 4.0, 10.0] };
        equals("reversed", &conv1d_reversed(&x, &w), &want, EXACT);
    });
    suite.floats("test_conv1d", 6, |on| check1d(on, [1, 1, 6], [1, 1, 4]));
    suite.floats("test_conv1d_channel", 24, |on| {
        check1d(on, [2, 2, 6], [3, 2, 2]);
        check1d(on, [3, 1, 5], [2, 1, 5]);
        check1d(on, [1, 3, 2], [2, 3, 4]); // a kernel longer than the input
        let (x, w) = (on.mixed([1, 2, 6]), on.mixed([3, 4, 2]));
        panics!("conv1d", "4 input channels"; x.conv1d(&w, None, Conv1dOptions::default()));
    });
    suite.floats("test_conv", 36, |on| check2d(on, [1, 1, 6, 6], [1, 1, 2, 4]));
    suite.floats("test_conv_batch", 72, |on| check2d(on, [2, 1, 6, 6], [1, 1, 2, 4]));
    suite.floats("test_conv_channel", 150, |on| {
        check2d(on, [2, 2, 6, 6], [3, 2, 2, 4]);
        check2d(on, [2, 3, 5, 4], [2, 3, 3, 3]);
        check2d(on, [1, 2, 2, 3], [2, 2, 4, 5]);
    });
    suite.floats("test_conv2", 16, |on| {
        // The values by hand: rows of 0 1 2 3, a kernel of ones, zeros beyond the right and the bottom.
        let x = on.list(&[0.0, 1.0, 2.0, 3.0].repeat(4), [1, 1, 4, 4]).requires_grad();
        let w = on.list(&[1.0; 4], [1, 1, 2, 2]).requires_grad();
        let rows = [[2.0, 6.0, 10.0, 6.0], [2.0, 6.0, 10.0, 6.0], [2.0, 6.0, 10.0, 6.0], [1.0, 3.0, 5.0, 3.0]];
        let out = conv2d(&x, &w);
        equals("values", &out, &Array { shape: vec![1, 1, 4, 4], data: rows.concat() }, EXACT);
        let grads = out.sum(..).backward();
        let rows = [[1.0, 2.0, 2.0, 2.0], [2.0, 4.0, 4.0, 4.0], [2.0, 4.0, 4.0, 4.0], [2.0, 4.0, 4.0, 4.0]];
        equals("gradient in x", &grads[&x], &Array { shape: vec![1, 1, 4, 4], data: rows.concat() }, EXACT);
        let want = Array { shape: vec![1, 1, 2, 2], data: vec![24.0, 24.0, 18.0, 18.0] };
        equals("gradient in w", &grads[&w], &want, EXACT);
    });
    // The sizes of the optional exercise on GPUs, values of order 1000 included.
    suite.f32("test_conv1d_large", 3000, |on| {
        values1d(on, 1000.0, [20, 15, 10], [4, 15, 6]);
        values1d(on, 1000.0, [5, 40, 6], [3, 40, 3]);
    });
    suite.f32("test_conv2d_large", 20_000, |on| values2d(on, 1000.0, [5, 20, 25, 8], [5, 20, 8, 6]));
}

/// For a sum of products of numbers up to `scale`.
fn bound(scale: f64, terms: usize) -> Tolerance {
    let relative = eps(4.0).terms(terms);
    Tolerance { atol: relative.atol * scale * scale, ..relative }
}

/// One dimension of a convolution as two, so that one definition serves.
fn flat(shape: [usize; 3]) -> [usize; 4] {
    [shape[0], shape[1], 1, shape[2]]
}

/// The definition. Forward reads ahead of an output, reversed behind it.
fn definition(x: &Array, w: &Array, reversed: bool) -> Array {
    let [n, ci, co] = [x.shape[0], x.shape[1], w.shape[0]];
    let (size, kernel) = ([x.shape[2], x.shape[3]], [w.shape[2], w.shape[3]]);
    let place = |t: usize, k: usize| if reversed { t.wrapping_sub(k) } else { t + k };
    Array::by(&[n, co, size[0], size[1]], |index| {
        let &[b, o, y, t] = index else { unreachable!("an index of four") };
        let mut sum = 0.0;
        for c in 0..ci {
            for i in 0..kernel[0] {
                for j in 0..kernel[1] {
                    sum += x.padded(&[b, c, place(y, i), place(t, j)]) * w.at(&[o, c, i, j]);
                }
            }
        }
        sum
    })
}

/// The gradients of [`definition`], forward.
fn gradients(x: &Array, w: &Array, g: &Array) -> [Array; 2] {
    let (mut gx, mut gw) = (x.zeros_like(), w.zeros_like());
    Array::by(&g.shape, |index| {
        let &[b, o, y, t] = index else { unreachable!("an index of four") };
        Array::by(&w.shape[1..], |tap| {
            let (from, at) = ([b, tap[0], y + tap[1], t + tap[2]], [o, tap[0], tap[1], tap[2]]);
            if from[2] < x.shape[2] && from[3] < x.shape[3] {
                *gx.at_mut(&from) += g.at(index) * w.at(&at);
                *gw.at_mut(&at) += g.at(index) * x.at(&from);
            }
            0.0
        });
        0.0
    });
    [gx, gw]
}

fn host<B: Backend>(x: &Tensor<B>) -> Array {
    let x = Array::of(x);
    match *x.shape {
        [n, c, t] => Array { shape: vec![n, c, 1, t], ..x },
        _ => x,
    }
}

/// Values of both forms.
#[track_caller]
fn values1d<B: Backend>(on: &On<B>, scale: f64, x: [usize; 3], w: [usize; 3]) {
    let (x, w) = (on.uniform(-scale, scale, x), on.uniform(-scale, scale, w));
    let close = bound(scale, w.shape()[1] * w.shape()[2]);
    equals("forward", &conv1d(&x, &w).unsqueeze(2), &definition(&host(&x), &host(&w), false), close);
    equals("reversed", &conv1d_reversed(&x, &w).unsqueeze(2), &definition(&host(&x), &host(&w), true), close);
}

#[track_caller]
fn values2d<B: Backend>(on: &On<B>, scale: f64, x: [usize; 4], w: [usize; 4]) {
    let (x, w) = (on.uniform(-scale, scale, x), on.uniform(-scale, scale, w));
    let close = bound(scale, w.numel() / w.shape()[0]);
    equals("forward", &conv2d(&x, &w), &definition(&host(&x), &host(&w), false), close);
}

/// Values, gradients by the tape, and both gradients once more as convolutions, in one dimension.
#[track_caller]
fn check1d<B: Backend>(on: &On<B>, x: [usize; 3], w: [usize; 3]) {
    values1d(on, 1.0, x, w);
    check2d(on, flat(x), flat(w));
    let (x, w) = (on.laid(Lay::Reversed, -1.0, 1.0, x).requires_grad(), on.uniform(-1.0, 1.0, w).requires_grad());
    let out = conv1d(&x, &w);
    let g = on.uniform(-1.0, 1.0, *out.shape());
    let [gx, gw] = gradients(&host(&x), &host(&w), &host(&g));
    let close = bound(1.0, g.numel());
    let grads = out.backward_with(&g);
    equals("gradient in x", &grads[&x].unsqueeze(2), &gx, close);
    equals("gradient in w", &grads[&w].unsqueeze(2), &gw, close);
    let (x, w) = (x.detach(), w.detach());
    equals("gradient in x, reversed", &conv1d_reversed(&g, &w.transpose(0, 1)).unsqueeze(2), &gx, close);
    let whole = conv1d(&x.transpose(0, 1), &g.transpose(0, 1));
    let k = w.shape()[2];
    if k <= x.shape()[2] {
        equals("gradient in w, forward", &whole.narrow(2, 0, k).transpose(0, 1).unsqueeze(2), &gw, close);
    }
}

/// The same in two dimensions.
#[track_caller]
fn check2d<B: Backend>(on: &On<B>, x: [usize; 4], w: [usize; 4]) {
    for lay in [Lay::Whole, Lay::Reversed] {
        let (x, w) = (on.laid(lay, -1.0, 1.0, x).requires_grad(), on.laid(lay, -1.0, 1.0, w).requires_grad());
        let (hx, hw) = (host(&x), host(&w));
        let out = conv2d(&x, &w);
        equals("values", &out, &definition(&hx, &hw, false), bound(1.0, w.numel()));
        equals("values, reversed", &conv2d_reversed(&x, &w), &definition(&hx, &hw, true), bound(1.0, w.numel()));
        let g = on.uniform(-1.0, 1.0, *out.shape());
        let [gx, gw] = gradients(&hx, &hw, &host(&g));
        let close = bound(1.0, g.numel());
        let grads = out.backward_with(&g);
        equals("gradient in x", &grads[&x], &gx, close);
        equals("gradient in w", &grads[&w], &gw, close);
        let (x, w) = (x.detach(), w.detach());
        equals("gradient in x, reversed", &conv2d_reversed(&g, &w.transpose(0, 1)), &gx, close);
        let [_, _, kh, kw] = w.dims();
        if kh <= x.shape()[2] && kw <= x.shape()[3] {
            let whole = conv2d(&x.transpose(0, 1), &g.transpose(0, 1));
            let want = whole.narrow(2, 0, kh).narrow(3, 0, kw).transpose(0, 1);
            equals("gradient in w, forward", &want, &gw, close);
        }
    }
}
