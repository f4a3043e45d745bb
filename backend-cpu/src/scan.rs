//! Cumulative sums along a dimension. Cost: one read and one write per element.
//!
//! A tensor is `[outer, n, inner]`. Sums of f32 accumulate in f64, as in `reduce`.

use crate::element::Element;
use crate::fold::{Fold, Sum};
use crate::launch::{self, report};
use crate::view::elements;
use crate::{Cpu, Tensor, parallel};
use minitorch_core::DType;
use minitorch_core::backend::ScanOps;

impl ScanOps for Cpu {
    fn cumsum(&self, x: &Tensor, dim: usize, reverse: bool) -> Tensor {
        let (shape, x) = (*x.shape(), x.contiguous());
        let (n, inner) = (shape[dim], shape[dim + 1..].iter().product::<usize>());
        match x.dtype() {
            DType::F32 => cumsum::<f32>(self, &x, [n, inner], reverse),
            DType::F64 => cumsum::<f64>(self, &x, [n, inner], reverse),
            DType::I32 => cumsum::<i32>(self, &x, [n, inner], reverse),
            DType::F16 | DType::Bool => unreachable!("core does not admit {}", x.dtype()),
        }
    }
}

fn cumsum<T: Element>(device: &Cpu, x: &Tensor, [n, inner]: [usize; 2], reverse: bool) -> Tensor
where
    Sum: Fold<T>,
{
    let mut out = device.output::<T>(x.numel(), &[x.view().storage]);
    if let Some(out) = &mut out {
        let data = elements::<T>(x);
        report(|| {
            let launch = launch::split::<T>("cumsum", data.len(), n * inner, 4);
            launch.path(if inner == 1 { "rows" } else { "columns" })
        });
        parallel::split(out, n * inner, 4, |first, out| {
            let mut sums = vec![Sum.identity(); inner];
            for (at, out) in (first..).step_by(n * inner).zip(out.chunks_exact_mut(n * inner)) {
                sums.fill(Sum.identity());
                let x = &data[at..][..n * inner];
                if inner == 1 {
                    let mut sum = Sum.identity();
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
    }
    Tensor::from_storage(device, T::wrap(out), T::DTYPE, *x.shape())
}
