//! Lesson 07: convolutions and pools, written from their formulas and called from the library, with equal results.
//!
//! A kernel of k weights slides over a sequence: at position t it reads the elements t to t + k - 1. The course pads
//! the end with zeros, so that the output is as long as the input. The library's convolution pads both ends equally, so
//! `pad` adds the zeros here.

use crate::args::Device;
use crate::backends::{Program, run_on};
use crate::cli::say;
use minitorch::prelude::*;

pub(crate) fn run(options: Device) -> Result<()> {
    run_on(Some(&options.backend), Lesson)
}

struct Lesson;

impl Program for Lesson {
    type Output = ();

    fn run<B: Backend>(self, device: &B) -> Result<()> {
        let (x, w) = (Tensor::new([[[0.0, 1.0, 2.0, 3.0]]], device), Tensor::new([[[1.0, 2.0, 3.0]]], device));
        let y = same_length(&x, &w);
        say(&format!("A convolution as long as its input:\n  {x}\n  by {w}\n  is {y}"));
        equal("values", &y, &[8.0, 14.0, 8.0, 3.0])?;

        // Each weight multiplies every element, and every element is multiplied by k weights: both gradients are
        // convolutions too.
        let (x, w) = (x.requires_grad(), w.requires_grad());
        let g = Tensor::new([[[1.0, 2.0, 3.0, 4.0]]], device);
        let grads = same_length(&x, &w).backward_with(&g);
        let of_x = reversed(&g, &w.detach().transpose(0, 1));
        say(&format!("From the gradient {g} of the output,\n  the input's is  {}", grads[&x]));
        say(&format!("  the kernel the other way round gives {of_x}"));
        equal("the input's gradient", &grads[&x], &of_x.to_vec::<f32>()?)?;
        let of_w = same_length(&x.detach().transpose(0, 1), &g.transpose(0, 1)).narrow(2, 0, 3);
        say(&format!("  the weight's is {}\n  the input by the gradient gives {of_w}", grads[&w]));
        equal("the weight's gradient", &grads[&w], &of_w.to_vec::<f32>()?)?;

        // An image: the same, in two directions.
        let image = Tensor::arange(0..16, device).cast(DType::F32).remainder(4.0).reshape([1, 1, 4, 4]);
        let sums = same_size(&image, &Tensor::ones([1, 1, 2, 2], device));
        say(&format!("Sums over 2 x 2 windows of\n{}\nare\n{}", image.slice((0, 0)), sums.slice((0, 0))));
        equal("sums", &sums, &formula(&image.to_vec()?, 4, 2))?;

        // A pool reads windows that do not overlap: a reshape splits both dimensions, a permutation makes each window
        // contiguous.
        let image = Tensor::new([[[[1.0, 2.0, 7.0, 7.0], [3.0, 4.0, 7.0, 5.0]]]], device).requires_grad();
        let tiles = tile(&image, [2, 2]);
        say(&format!("The windows of\n{}\nare, one a line,\n{}", image.slice((0, 0)), tiles.slice((0, 0, 0))));
        equal("the mean of tiles", &tiles.mean(-1), &image.avg_pool2d(2).to_vec::<f32>()?)?;
        equal("the largest of tiles", &tiles.max(-1), &image.max_pool2d(2).to_vec::<f32>()?)?;

        // Tie-breaking: three sevens are equal. The course multiplies the gradient by a mask with several ones, so each
        // of them gets all of it. Here a pool gives it to the first, and a maximum divides it among them; either
        // preserves its sum.
        let ones = Tensor::ones([1, 1, 1, 2], device);
        let mask = tiles.detach().eq(tiles.detach().max_keepdim(-1)).cast(DType::F32);
        let first = image.max_pool2d(2).backward_with(&ones).remove(&image);
        let each = (tile(&image, [2, 2]) * mask).sum(-1).backward_with(&ones).remove(&image);
        let shared = tiles.max(-1).backward_with(&ones).remove(&image);
        for (rule, gradient, sum) in [("the first", first, 2.0), ("shares", shared, 2.0), ("each", each, 4.0)] {
            let Some(gradient) = gradient else { return Err(Error::Invalid(format!("{rule}: no gradient"))) };
            say(&format!("Equal ones, {rule}:\n{}", gradient.slice((0, 0))));
            equal(rule, &gradient.sum(..), &[sum])?;
        }

        // The maximum as a one-hot vector; as a softmax, which is differentiable; and its logarithm, without overflow.
        let scores = Tensor::new([1.0, 3.0, 2.0], device);
        say(&format!("Of {scores}\n  one-hot {}", scores.argmax(0).one_hot(3, DType::F32)));
        let exps = scores.exp();
        equal("softmax", &scores.softmax(0), &(&exps / exps.sum(..)).to_vec::<f32>()?)?;
        say(&format!("  softmax {}\n  its log {}", scores.softmax(0), scores.log_softmax(0)));
        say(&format!("  of scores a thousand larger: {}", (&scores + 1000.0).log_softmax(0)));
        equal("log-softmax far from 0", &(&scores + 1000.0).log_softmax(0), &scores.log_softmax(0).to_vec::<f32>()?)
    }
}

/// `y[b, o, t] = sum over c, k of x[b, c, t + k] w[o, c, k]`, where x is 0 after its end.
fn same_length<B: Backend>(x: &Tensor<B>, w: &Tensor<B>) -> Tensor<B> {
    let [_, _, k] = w.dims();
    x.pad([(0, k - 1)], 0.0).conv1d(w, None, Conv1dOptions::default())
}

/// `y[b, o, t] = sum over c, k of x[b, c, t - k] w[o, c, k]`, where x is 0 before its start: padded at the
/// start, with a flipped kernel.
fn reversed<B: Backend>(x: &Tensor<B>, w: &Tensor<B>) -> Tensor<B> {
    let [_, _, k] = w.dims();
    x.pad([(k - 1, 0)], 0.0).conv1d(&w.flip(2), None, Conv1dOptions::default())
}

/// [`same_length`] of images: zeros at the right and at the bottom.
fn same_size<B: Backend>(x: &Tensor<B>, w: &Tensor<B>) -> Tensor<B> {
    let [_, _, kh, kw] = w.dims();
    x.pad([(0, kh - 1), (0, kw - 1)], 0.0).conv2d(w, None, Conv2dOptions::default())
}

/// The sums over windows of k x k of an image of n x n, by their formula.
fn formula(image: &[f32], n: usize, k: usize) -> Vec<f32> {
    let at = |y: usize, x: usize| if y < n && x < n { image[y * n + x] } else { 0.0 };
    let sum = |y: usize, x: usize| (0..k * k).map(|i| at(y + i / k, x + i % k)).sum();
    (0..n * n).map(|i| sum(i / n, i % n)).collect()
}

/// Windows `[b, c, h / kh, w / kw, kh kw]` of images `[b, c, h, w]`.
fn tile<B: Backend>(x: &Tensor<B>, [kh, kw]: [usize; 2]) -> Tensor<B> {
    let [b, c, h, w] = x.dims();
    let cut = x.reshape([b, c, h / kh, kh, w / kw, kw]);
    cut.permute([0, 1, 2, 4, 3, 5]).reshape([b, c, h / kh, w / kw, kh * kw])
}

/// An error unless the tensor has these elements, to 1e-5.
fn equal<B: Backend>(what: &str, got: &Tensor<B>, want: &[f32]) -> Result<()> {
    let got: Vec<f32> = got.to_vec()?;
    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * b.abs().max(1.0);
    if got.len() == want.len() && got.iter().zip(want).all(close) {
        return Ok(());
    }
    Err(Error::Invalid(format!("{what}: {got:?} are not {want:?}")))
}
