//! Reductions, also of many more elements than the 1024 threads of a block: `test_reduce`, and the exercises in sums of the GPU
//! module.

use super::host::{Array, equals};
use crate::close::{EXACT, Tolerance, eps};
use crate::on::Lay;
use crate::{On, Suite};
use minitorch_core::{Backend, Tensor};

pub(super) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.floats("test_reduce_forward_one_dim", 6, |on| {
        equals("sum(0)", &table(on).sum_keepdim(0), &Array { shape: vec![1, 2], data: vec![11.0, 16.0] }, EXACT);
    });
    suite.floats("test_reduce_forward_one_dim_2", 6, |on| {
        let want = Array { shape: vec![3, 1], data: vec![5.0, 10.0, 12.0] };
        equals("sum(1)", &table(on).sum_keepdim(1), &want, EXACT);
    });
    suite.floats("test_reduce_forward_all_dims", 6, |on| {
        equals("sum", &table(on).sum(..), &Array { shape: vec![], data: vec![27.0] }, EXACT);
        equals("sum of a view", &table(on).t().sum(..), &Array { shape: vec![], data: vec![27.0] }, EXACT);
        equals(
            "product",
            &table(on).prod(..),
            &Array { shape: vec![], data: vec![2.0 * 3.0 * 4.0 * 6.0 * 35.0] },
            EXACT,
        );
        let nonzero = table(on).ne(0.0);
        equals("all", &nonzero.all(..), &Array { shape: vec![], data: vec![1.0] }, EXACT);
        equals("all of a view", &table(on).t().ne(7.0).all(..), &Array { shape: vec![], data: vec![0.0] }, EXACT);
    });
    suite.floats("test_reduce", 20_000, |on| {
        for (shape, dim) in [
            (&[3][..], 0),
            (&[2, 3], 0),
            (&[3, 1, 2], 0),
            (&[2, 3, 1, 2], 0),
            (&[2, 3, 1, 2], 3),
            (&[2, 3, 1, 2], 2),
            (&[1025, 3], 0),
            (&[3, 2049], 1),
            (&[5, 1500, 2], 1),
        ] {
            for lay in [Lay::Whole, Lay::Reversed, Lay::Sliced] {
                reduced(on, &on.laid(lay, -1.0, 1.0, shape), dim);
            }
        }
    });
    suite.f32("test_grad_reduce", 100_000, |on| {
        // Whole numbers: every partial sum is exact, so that a lost or doubled part shows.
        for n in [1023, 1024, 1025, 2048, 3000, 70_001] {
            let x = on.whole(-8, 8, [n]).requires_grad();
            let want: f64 = Array::of(&x).data.iter().sum();
            equals("sum", &x.sum(..), &Array { shape: vec![], data: vec![want] }, EXACT);
            equals("sum(0)", &x.sum_keepdim(0), &Array { shape: vec![1], data: vec![want] }, EXACT);
            let grads = x.mean(..).backward();
            equals(
                "gradient of a mean",
                &grads[&x],
                &Array { shape: vec![n], data: vec![1.0 / n as f64; n] },
                eps(1.0),
            );
        }
        let x = on.whole(-8, 8, [2, 40_000]);
        equals("sum(1)", &x.sum_keepdim(1), &Array::of(&x).sum(1), EXACT);
        let x = on.whole(-8, 8, [9000, 3]);
        equals("sum(0)", &x.sum_keepdim(0), &Array::of(&x).sum(0), EXACT);
    });
    // The course asks for one sum per block of 32 threads; here a sum is one number, whatever the number of blocks.
    suite.f32("test_sum_practice", 16, |on| practice(on, 16));
    suite.f32("test_sum_practice2", 64, |on| practice(on, 64));
    suite.f32("test_sum_practice3", 48, |on| practice(on, 48));
    suite.f32("test_sum_practice4", 32, |on| practice(on, 32));
    suite.f32("test_sum_practice5", 500, |on| practice(on, 500));
    suite.f32("test_sum_practice_other_dims", 512, |on| {
        let x = Tensor::from_f64((0..512).map(f64::from), [16, 32], &on.device);
        equals("rows", &x.sum_keepdim(1), &Array::of(&x).sum(1), EXACT);
        equals("columns", &x.sum_keepdim(0), &Array::of(&x).sum(0), EXACT);
        equals("columns of a view", &x.t().sum_keepdim(1), &Array::of(&x).permuted(&[1, 0]).sum(1), EXACT);
    });
}

fn table<B: Backend>(on: &On<B>) -> Tensor<B> {
    on.list(&[2.0, 3.0, 4.0, 6.0, 5.0, 7.0], [3, 2])
}

/// `0 + 1 + .. + (n - 1)`, and each half by itself.
fn practice<B: Backend>(on: &On<B>, n: usize) {
    let x = Tensor::from_f64((0..n).map(|i| i as f64), [n], &on.device);
    let sum = |from: usize, to: usize| Array { shape: vec![1], data: vec![(from..to).map(|i| i as f64).sum()] };
    equals("the whole", &x.sum_keepdim(0), &sum(0, n), EXACT);
    equals("the first half", &x.slice(..n / 2).sum_keepdim(0), &sum(0, n / 2), EXACT);
    equals("the second half", &x.slice(n / 2..).sum_keepdim(0), &sum(n / 2, n), EXACT);
}

/// Sum and mean over a dimension and the mean of all: values, and gradients from weights of the result's shape.
#[track_caller]
fn reduced<B: Backend>(on: &On<B>, x: &Tensor<B>, dim: usize) {
    let host = Array::of(x);
    let (n, all) = (x.shape()[dim], x.numel());
    let bound = |terms: usize| -> Tolerance { eps(4.0).terms(terms) };
    let about = format!("{:?} over {dim}", x.layout());
    let x = x.requires_grad();

    let sum = host.sum(dim);
    let mean = sum.map(|x| x / n as f64);
    equals(&about, &x.sum_keepdim(dim), &sum, bound(n));
    equals(&about, &x.mean_keepdim(dim), &mean, bound(n));
    let total: f64 = host.data.iter().sum();
    equals(&about, &x.mean(..), &Array { shape: vec![], data: vec![total / all as f64] }, bound(1));

    let weights = on.uniform(0.5, 1.5, sum.shape.as_slice());
    let of_weights = Array::of(&weights);
    let spread = Array::by(&host.shape, |index| of_weights.spread(index));
    equals(&about, &x.sum_keepdim(dim).backward_with(&weights)[&x], &spread, EXACT);
    equals(&about, &x.mean_keepdim(dim).backward_with(&weights)[&x], &spread.map(|w| w / n as f64), eps(2.0));
    let of_mean = Array { shape: host.shape.clone(), data: vec![3.0 / all as f64; all] };
    equals(&about, &(x.mean(..) * 3.0).backward()[&x], &of_mean, eps(2.0));
}
