//! Copies: transposition, concatenation, padding, type conversion.

use crate::{Bench, Floor};
use minitorch::prelude::*;

pub(crate) fn bench<B: Backend>(bench: &mut Bench<'_, '_, B>) {
    let x = bench.rand([1000, 1000]);
    let floor = Floor::Bytes(2 * 4_000_000);
    bench.time("transpose 1000x1000", floor, || x.t().contiguous());
    bench.time("cat 2 x 1000x1000", Floor::Bytes(4 * 4_000_000), || Tensor::cat(&[x.clone(), x.clone()], 0));
    bench.time("pad 1000x1000", floor, || x.pad([(1, 1), (1, 1)], 0.0));
    bench.time("cast to I32 1000x1000", floor, || x.cast(DType::I32));
}
