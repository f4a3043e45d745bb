//! The `gemm` crate: matrix products only.

use crate::data::fill;
use crate::rows::Work;
use crate::serve::Prepared;
use gemm::{Parallelism, gemm};
use std::hint::black_box;

pub fn prepare(work: &Work) -> Option<Prepared> {
    let Work::Matmul { batch, m, k, n, transposed } = *work else { return None };
    let count = batch.max(1);
    let (a, b) = (fill(count * m * k, 1), fill(count * k * n, 2));
    let strides = if transposed { [1, m] } else { [k, 1] };
    let run = move || {
        let mut out = vec![0f32; count * m * n];
        for i in 0..count {
            let (out, a, b) = (&mut out[i * m * n..][..m * n], &a[i * m * k..][..m * k], &b[i * k * n..][..k * n]);
            let threads = Parallelism::Rayon(0);
            // SAFETY: `out`, `a` and `b` hold m x n, m x k and k x n elements, and the strides are those of these sizes.
            unsafe {
                #[rustfmt::skip]
                gemm(
                    m, n, k,
                    out.as_mut_ptr(), 1, n as isize, false,
                    a.as_ptr(), strides[1] as isize, strides[0] as isize,
                    b.as_ptr(), 1, n as isize,
                    0.0, 1.0, false, false, false, threads,
                );
            }
        }
        out
    };
    let again = run.clone();
    Some(Prepared { run: Box::new(move || drop(black_box(run()))), result: Box::new(again) })
}
