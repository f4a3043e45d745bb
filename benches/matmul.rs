//! Matrix products: squares, a transposed operand, batches, and the linear layer.

use crate::{Bench, Floor};
use minitorch::prelude::*;

pub(crate) fn bench<B: Backend>(bench: &mut Bench<'_, '_, B>) {
    for n in [64, 256, 1024] {
        let (a, b) = (bench.rand([n, n]), bench.rand([n, n]));
        bench.time(&format!("{n}"), Floor::Flops(2 * n * n * n), || a.matmul(&b));
    }
    let (a, b) = (bench.rand([512, 1024]), bench.rand([768, 512]));
    bench.time("transposed 1024x512x768", Floor::Flops(2 * 1024 * 512 * 768), || a.t().matmul(&b.t()));
    let (a, b) = (bench.rand([16, 128, 64]), bench.rand([16, 64, 128]));
    bench.time("batched 16x128x64x128", Floor::Flops(2 * 16 * 128 * 64 * 128), || a.matmul(&b));
    let (x, w, b) = (bench.rand([64, 784]), bench.rand([128, 784]), bench.rand([128]));
    bench.time("linear 64x784x128", Floor::Flops(2 * 64 * 784 * 128), || x.linear(&w, Some(&b)));
}
