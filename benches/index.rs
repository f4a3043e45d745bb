//! Gather and scatter.

use crate::{Bench, Floor};
use minitorch::prelude::*;

pub(crate) fn bench<B: Backend>(bench: &mut Bench<'_, '_, B>) {
    let table = bench.rand([10_000, 64]);
    let ids: Vec<i32> = (0..4096).map(|i| i * 2_654_435_761u64 as i64 % 10_000).map(|i| i as i32).collect();
    let index = Tensor::from_vec(ids, 4096, &bench.device);
    bench.time("index_select 4096 of 10000x64", Floor::Bytes(2 * 4 * 4096 * 64), || table.index_select(0, &index));
    let rows = bench.rand([4096, 64]);
    let wide = index.unsqueeze(1).expand([4096, 64]);
    bench
        .time("scatter_add 4096 into 10000x64", Floor::Bytes(3 * 4 * 4096 * 64), || table.scatter_add(0, &wide, &rows));
}
