//! A text CNN (Kim, 2014) as the sentiment example computes it: a loss and its gradients in vectors and weights.

use crate::check::with_grads;
use crate::close::eps;
use crate::{On, Suite};
use minitorch_core::Tensor;
use minitorch_core::backend::{Backend, Device};

/// Sentences, words of the longest, vector size, channels per width.
const SIZES: [usize; 4] = [5, 12, 24, 20];
/// Rows of the table.
const WORDS: usize = 3000;
const WIDTHS: [usize; 3] = [3, 4, 5];

/// Ids `[n, t]`: sentences of 12, 1, 4, 9 and 12 words, then zeros.
fn sentences<B: Backend>(on: &On<B>) -> Tensor<B> {
    let [n, t, ..] = SIZES;
    let length = Tensor::new([12, 1, 4, 9, 12], &on.device).reshape([n, 1]);
    let inside = Tensor::arange(0..t as i32, &on.device).lt(&length);
    on.ints(1, WORDS as i32, [n, t]).masked_fill(&inside.logical_not(), 0.0)
}

fn logits<B: Backend>(
    ids: &Tensor<B>,
    [table, linear, bias]: [&Tensor<B>; 3],
    convs: [[&Tensor<B>; 2]; 3],
) -> Tensor<B> {
    let padding = ids.eq(0);
    let words = table.embedding(ids);
    let words = words.masked_fill(&padding.unsqueeze(-1), 0.0);
    let maxima = [0, 1, 2].map(|branch| {
        let [weight, bias] = convs[branch];
        let y = words.transpose(1, 2).conv1d(weight, Some(bias), Default::default()).transpose(1, 2);
        let windows = y.shape()[1];
        let first = Tensor::arange(0..windows as i32, ids.device()).eq(0);
        let outside = padding.narrow(1, WIDTHS[branch] - 1, windows).logical_and(&first.logical_not()).unsqueeze(-1);
        let zeros = Tensor::zeros(*outside.shape(), (table.device(), table.dtype()));
        let mask = zeros.masked_fill(&outside, f64::NEG_INFINITY);
        (y + mask).max(1)
    });
    Tensor::cat(&maxima, 1).relu().dropout(0.5).linear(linear, Some(bias))
}

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.floats("step", 80_000, |on| {
        let [n, _, dim, maps] = SIZES;
        agree!(on, eps(16.0).terms(500), |d| {
            d.device.rng().seed(5);
            let ids = sentences(d);
            let target = d.ints(0, 2, [n]);
            let convs = WIDTHS.map(|width| [d.uniform(-0.3, 0.3, [maps, dim, width]), d.uniform(-0.3, 0.3, [maps])]);
            let [[w3, b3], [w4, b4], [w5, b5]] = convs;
            let inputs = [
                d.uniform(-1.0, 1.0, [WORDS, dim]),
                d.uniform(-0.3, 0.3, [2, 3 * maps]),
                d.uniform(-0.3, 0.3, [2]),
                w3,
                b3,
                w4,
                b4,
                w5,
                b5,
            ];
            with_grads(d, inputs, |[table, linear, bias, w3, b3, w4, b4, w5, b5]| {
                logits(&ids, [table, linear, bias], [[w3, b3], [w4, b4], [w5, b5]]).cross_entropy(&target)
            })
        });
    });
}
