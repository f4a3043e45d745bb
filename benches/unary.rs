//! Element-wise functions: memory-bound ones and transcendental ones.

use crate::{Bench, Floor};
use minitorch::prelude::*;

const N: usize = 1_000_000;

pub(crate) fn bench<B: Backend>(bench: &mut Bench<'_, '_, B>) {
    let x = bench.rand([N]);
    let floor = Floor::Bytes(2 * 4 * N);
    bench.time("relu 1M", floor, || x.relu());
    bench.time("exp 1M", floor, || x.exp());
    bench.time("tanh 1M", floor, || x.tanh());
    bench.time("gelu 1M", floor, || x.gelu());
    let one = bench.rand([1]);
    bench.time("relu 1", Floor::Items(1), || one.relu());
}
