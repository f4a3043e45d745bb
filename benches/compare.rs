//! Comparisons and selection.

use crate::{Bench, Floor};
use minitorch::prelude::*;

pub(crate) fn bench<B: Backend>(bench: &mut Bench<'_, '_, B>) {
    let (a, b) = (bench.rand([1_000_000]), bench.rand([1_000_000]));
    let mask = a.gt(&b);
    bench.time("gt 1M", Floor::Bytes(9_000_000), || a.gt(&b));
    bench.time("gt number 1M", Floor::Bytes(5_000_000), || a.gt(0.0));
    bench.time("where 1M", Floor::Bytes(13_000_000), || Tensor::where_cond(&mask, &a, &b));
}
