//! Sort and top-k.

use crate::{Bench, Floor};
use minitorch::prelude::*;

pub(crate) fn bench<B: Backend>(bench: &mut Bench<'_, '_, B>) {
    let x = bench.rand([256, 4096]);
    let floor = Floor::Items(256 * 4096);
    bench.time("sort rows 256x4096", floor, || x.sort(-1, false));
    bench.time("topk 5 of rows 256x4096", floor, || x.topk(5, -1, true));
}
