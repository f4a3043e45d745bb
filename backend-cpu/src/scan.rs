//! Running sums along one dimension. Cost: one read and one write per element.
//!
//! A tensor is `[outer, n, inner]`. Sums of f32 are kept in f64, as in `reduce`.

use crate::conv::elements;
use crate::element::Element;
use crate::launch::{self, report};
use crate::reduce::{Fold, Sum};
use crate::{Tensor, parallel};
use minitorch_core::DType;

pub(crate) fn cumsum(x: &Tensor, dim: usize, reverse: bool) -> Tensor {
    match x.dtype() {
        DType::F32 => run::<f32>(x, dim, reverse),
        DType::F64 => run::<f64>(x, dim, reverse),
        DType::I32 => run::<i32>(x, dim, reverse),
        DType::F16 | DType::Bool => unreachable!("core does not admit {}", x.dtype()),
    }
}

fn run<T: Element>(x: &Tensor, dim: usize, reverse: bool) -> Tensor
where
    Sum: Fold<T>,
{
    let (device, shape) = (x.device(), *x.shape());
    let (n, inner) = (shape[dim], shape[dim + 1..].iter().product::<usize>());
    let x = x.contiguous();
    let data = elements::<T>(&x);
    let mut out = device.alloc::<T>("cumsum", data.len());
    report(|| {
        let launch = launch::pieces::<T>("cumsum", data.len(), n * inner, 4);
        launch.path(if inner == 1 { "rows" } else { "columns" })
    });
    parallel::pieces(&mut out, n * inner, 4, |first, out| {
        let mut sums = vec![Sum.start(); inner];
        for (at, out) in (first..).step_by(n * inner).zip(out.chunks_exact_mut(n * inner)) {
            sums.fill(Sum.start());
            let x = &data[at..][..n * inner];
            if inner == 1 {
                let mut sum = Sum.start();
                for i in 0..n {
                    let i = if reverse { n - 1 - i } else { i };
                    sum = Sum.add(sum, x[i]);
                    out[i] = Sum.finish(sum);
                }
                continue;
            }
            for i in 0..n {
                let k = if reverse { n - 1 - i } else { i } * inner;
                for ((out, &x), sum) in out[k..][..inner].iter_mut().zip(&x[k..]).zip(&mut sums) {
                    *sum = Sum.add(*sum, x);
                    *out = Sum.finish(*sum);
                }
            }
        }
    });
    Tensor::from_storage(device, T::wrap(out), T::DTYPE, shape)
}
