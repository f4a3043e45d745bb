//! Softmax and log-softmax.

use crate::{Bench, Floor};
use minitorch::prelude::*;

pub(crate) fn bench<B: Backend>(bench: &mut Bench<'_, '_, B>) {
    let x = bench.rand([4096, 1024]);
    let floor = Floor::Bytes(2 * 4 * 4096 * 1024);
    bench.time("softmax 4096x1024", floor, || x.softmax(-1));
    bench.time("log_softmax 4096x1024", floor, || x.log_softmax(-1));
    bench.time("softmax columns 4096x1024", floor, || x.softmax(0));
}
