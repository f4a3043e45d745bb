//! Batch norm, forward and with its gradient, and layer norm.

use crate::{Bench, Floor};
use minitorch::prelude::*;

pub(crate) fn bench<B: Backend>(bench: &mut Bench<'_, '_, B>) {
    let x = bench.rand([64, 32, 28, 28]);
    let (w, b) = (bench.rand([1, 32]).reshape([32]), bench.rand([1, 32]).reshape([32]));
    let bytes = 4 * x.numel();
    // Two reads and one write: the mean precedes the first result.
    bench.time("batch_norm 64x32x28x28", Floor::Bytes(3 * bytes), || x.batch_norm(Some(&w), Some(&b), 1e-5));
    let leaf = x.requires_grad();
    bench.time("batch_norm and gradient 64x32x28x28", Floor::Bytes(8 * bytes), || {
        let [y, ..] = leaf.batch_norm(Some(&w), Some(&b), 1e-5);
        y.backward_with(&x)
    });
    let x = bench.rand([4096, 512]);
    let w = bench.rand([1, 512]).reshape([512]);
    bench.time("layer_norm 4096x512", Floor::Bytes(2 * 4 * 4096 * 512), || x.layer_norm(512, Some(&w), Some(&w), 1e-5));
}
