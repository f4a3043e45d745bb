//! Random numbers and dropout.

use crate::{Bench, Floor};
use minitorch::prelude::*;

pub(crate) fn bench<B: Backend>(bench: &mut Bench<'_, '_, B>) {
    let device = bench.device.clone();
    bench.time("rand 1M", Floor::Bytes(4_000_000), || Tensor::rand([1_000_000], &device));
    let x = bench.rand([1_000_000]);
    bench.time("dropout 1M", Floor::Bytes(8_000_000), || x.dropout(0.5));
}
