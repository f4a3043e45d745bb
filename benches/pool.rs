//! Pooling, forward and with its gradient.

use crate::{Bench, Floor};
use minitorch::prelude::*;

pub(crate) fn bench<B: Backend>(bench: &mut Bench<'_, '_, B>) {
    let x = bench.rand([64, 6, 28, 28]);
    let bytes = 4 * 64 * 6 * 28 * 28;
    bench.time("max 2x2 64x6x28x28", Floor::Bytes(bytes * 5 / 4), || x.max_pool2d(2));
    bench.time("avg 2x2 64x6x28x28", Floor::Bytes(bytes * 5 / 4), || x.avg_pool2d(2));
    let overlapping = Pool2dOptions::new(3).stride(2).padding(1);
    bench.time("max 3x3 stride 2 64x6x28x28", Floor::Bytes(bytes * 5 / 4), || x.max_pool2d(overlapping));
    let leaf = x.requires_grad();
    bench.time("max 2x2 forward + backward", Floor::Bytes(bytes * 5 / 2), || leaf.max_pool2d(2).sum(..).backward());
}
