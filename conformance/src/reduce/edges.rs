//! Edge cases of reductions: gradients of products, rank 0, `any` and `all` of no elements.

use crate::check::assert_values;
use crate::close::{EXACT, Tolerance, eps};
use crate::{On, Suite};
use minitorch_core::backend::Backend;
use minitorch_core::{DType, Tensor};

pub(super) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.floats("gradients_of_products", 40, prod_gradients);
    // A rule with n² elements would need 100 GB.
    suite.floats("long_products_have_gradients", 200_000, |on| {
        agree!(on, eps(2000.0), |d| {
            let x = d.uniform(0.999, 1.001, [150_001]).requires_grad();
            let [first] = x.prod(..).grad([&x]);
            let [second] = (&first * d.uniform(-1.0, 1.0, [150_001])).sum(..).grad([&x]);
            [first.detach(), second]
        });
    });
    suite.f32("rank_0_has_one_dimension", 10, rank_0);
    suite.f32("any_and_all_of_nothing", 0, |on| {
        let none = Tensor::from_slice::<bool>(&[], [3, 0], &on.device);
        assert_values(&none.any(1), &[0.0; 3], EXACT);
        assert_values(&none.all(-1), &[1.0; 3], EXACT);
        assert_values(&none.any(..), &[0.0], EXACT);
        assert_values(&none.all(..), &[1.0], EXACT);
        assert!(none.any(0).dims() == [0] && none.all(0).dtype() == DType::Bool);
    });
}

/// The gradient of a product is the product of the other factors, also with zeros, infinities and NaN; not recorded and recorded.
fn prod_gradients<B: Backend>(on: &On<B>) {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let tiny = if on.dtype == DType::F64 { 1e-200 } else { 1e-30 };
    let rows = [
        ([tiny, tiny, 1.0, 1.0], [tiny, tiny, 0.0, 0.0]),
        ([inf, 1.0, 2.0, 3.0], [6.0, inf, inf, inf]),
        ([0.0, nan, 2.0, 3.0], [nan, 0.0, nan, nan]),
        ([0.0, 2.0, -3.0, 4.0], [-24.0, 0.0, 0.0, 0.0]),
        ([0.0, 2.0, 0.0, 4.0], [0.0; 4]),
        ([0.0, inf, 2.0, 1.0], [inf, 0.0, nan, nan]),
        ([2.0, 3.0, 5.0, -7.0], [-105.0, -70.0, -42.0, 30.0]),
    ];
    let (x, want) = (on.list(rows.map(|(x, _)| x).as_flattened(), [7, 4]).requires_grad(), rows.map(|(_, g)| g));
    assert_values(&x.prod(1).sum(..).backward()[&x], want.as_flattened(), eps(4.0));
    assert_values(&x.t().prod(0).sum(..).grad([&x])[0], want.as_flattened(), eps(4.0));
    // Intermediate products overflow f32, the result does not; likewise in the gradient.
    if on.dtype == DType::F32 {
        let x = on.list(&[1e30, 1e30, 1e-30, 1e-30], [4]).requires_grad();
        let want = [1e-30, 1e-30, 1e30, 1e30];
        let relative = Tolerance { atol: 0.0, rtol: 4.0 };
        assert_values(&x.prod(..).backward()[&x], &want, relative);
        assert_values(&x.prod(..).grad([&x])[0], &want, relative);
    }
    // The third derivative of a b c d in a, b and c is d; with three zeros all others are 0.
    let x = on.list(&[0.0, 0.0, 0.0, 5.0], [4]).requires_grad();
    let [first] = x.prod(..).grad([&x]);
    let [second] = first.narrow(0, 0, 1).sum(..).grad([&x]);
    let [third] = second.narrow(0, 1, 1).sum(..).grad([&x]);
    assert_values(&first, &[0.0; 4], EXACT);
    assert_values(&second, &[0.0; 4], EXACT);
    assert_values(&third, &[0.0, 0.0, 5.0, 0.0], EXACT);
    for shape in [[2, 0], [0, 3], [3, 1]] {
        let x = on.list(&[7.0; 3][..shape[0] * shape[1]], shape).requires_grad();
        assert_values(&x.prod(1).sum(..).backward()[&x], &vec![1.0; shape[0] * shape[1]], EXACT);
    }
}

/// Rank 0 has the dimensions 0 and -1, of size 1.
fn rank_0<B: Backend>(on: &On<B>) {
    let x = on.list(&[2.5], []);
    for dim in [0, -1] {
        for y in
            [x.sum(dim), x.mean(dim), x.prod(dim), x.max_keepdim(dim), x.min(dim), x.norm(2.0, dim), x.logsumexp(dim)]
        {
            assert!(y.rank() == 0);
            assert_values(&y, &[2.5], eps(2.0));
        }
        assert_values(&x.var(dim, 0.0), &[0.0], EXACT);
        assert_values(&x.std(dim, 1.0), &[f64::NAN], EXACT);
        assert_values(&x.argmax(dim), &[0.0], EXACT);
        let ((value, index), (sorted, order)) = (x.min_with_index(dim), x.sort(dim, true));
        let (best, at) = x.topk(1, dim, true);
        for (y, want) in [(value, 2.5), (sorted, 2.5), (best, 2.5), (x.cumsum(dim), 2.5), (x.softmax(dim), 1.0)] {
            assert!(y.rank() == 0);
            assert_values(&y, &[want], EXACT);
        }
        for y in [index, order, at, x.argmin(dim), x.argsort(dim, false), x.log_softmax(dim)] {
            assert!(y.rank() == 0);
            assert_values(&y, &[0.0], EXACT);
        }
        assert_values(&x.gt(0.0).any(dim), &[1.0], EXACT);
        assert_values(&x.gt(0.0).all(dim), &[1.0], EXACT);
        let leaf = x.requires_grad();
        let loss = leaf.sum(dim) + leaf.softmax(dim) + leaf.cumsum(dim) * 2.0 + leaf.sort(dim, false).0;
        assert_values(&loss.backward()[&leaf], &[4.0], EXACT);
    }
    panics!("sum", "dimension 1", "rank 0"; x.sum(1));
    panics!("sum", "twice"; x.sum([0, -1]));
    panics!("softmax", "dimension -2", "rank 0"; x.softmax(-2));
    panics!("argmax", "dimension 1", "rank 0"; x.argmax(1));
}
