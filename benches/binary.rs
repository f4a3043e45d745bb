//! Arithmetic of two tensors: contiguous, broadcast and transposed.

use crate::{Bench, Floor};
use minitorch::prelude::*;

pub(crate) fn bench<B: Backend>(bench: &mut Bench<'_, '_, B>) {
    let (a, b) = (bench.rand([1000, 1000]), bench.rand([1000, 1000]));
    let row = bench.rand([1000]);
    bench.time("add 1000x1000", Floor::Bytes(3 * 4_000_000), || &a + &b);
    bench.time("add in place 1000x1000", Floor::Bytes(3 * 4_000_000), || {
        let mut sum = &a + &b;
        sum += &b;
        sum
    });
    bench.time("add row 1000x1000", Floor::Bytes(2 * 4_000_000), || &a + &row);
    bench.time("add transposed 1000x1000", Floor::Bytes(3 * 4_000_000), || &a + b.t());
    let (x, y) = (bench.rand([1]), bench.rand([1]));
    bench.time("add 1", Floor::Items(1), || &x + &y);
}
