//! Cross-entropy with its gradient.

use crate::{Bench, Floor};
use minitorch::prelude::*;

pub(crate) fn bench<B: Backend>(bench: &mut Bench<'_, '_, B>) {
    for (rows, classes) in [(64, 10), (1024, 1000)] {
        let logits = bench.rand([rows, classes]).requires_grad();
        let labels: Vec<i32> = (0..rows).map(|i| (i * 7 % classes) as i32).collect();
        let target = Tensor::from_vec(labels, rows, &bench.device);
        let floor = Floor::Bytes(3 * 4 * rows * classes);
        bench.time(&format!("cross_entropy {rows}x{classes} forward + backward"), floor, || {
            logits.cross_entropy(&target).backward()
        });
    }
}
