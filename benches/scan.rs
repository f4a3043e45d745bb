//! Cumulative sums.

use crate::{Bench, Floor};
use minitorch::prelude::*;

pub(crate) fn bench<B: Backend>(bench: &mut Bench<'_, '_, B>) {
    let x = bench.rand([4096, 1024]);
    let floor = Floor::Bytes(2 * 4 * 4096 * 1024);
    bench.time("cumsum rows 4096x1024", floor, || x.cumsum(-1));
    bench.time("cumsum columns 4096x1024", floor, || x.cumsum(0));
}
