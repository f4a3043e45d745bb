//! Reductions over one dimension and over all.

use crate::{Bench, Floor};
use minitorch::prelude::*;

pub(crate) fn bench<B: Backend>(bench: &mut Bench<'_, '_, B>) {
    let x = bench.rand([1000, 1000]);
    let floor = Floor::Bytes(4_000_000);
    bench.time("sum all 1000x1000", floor, || x.sum(..));
    bench.time("sum rows 1000x1000", floor, || x.sum(1));
    bench.time("sum columns 1000x1000", floor, || x.sum(0));
    bench.time("max rows 1000x1000", floor, || x.max(1));
    bench.time("argmax rows 1000x1000", floor, || x.argmax(1));
}
