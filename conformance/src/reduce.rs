//! Reductions over any set of dimensions, and the index of an extreme.

mod edges;
mod ranges;

use crate::check::{assert_values, with_grads};
use crate::close::{EXACT, Tolerance, eps};
use crate::on::Lay;
use crate::{On, Suite};
use minitorch_core::backend::{ArgReduceOp, Backend, ReduceOp};
use minitorch_core::{DType, Shape, Tensor};

/// The method of the trait: `dims` sorted, kept as size 1.
fn family<B: Backend>(op: ReduceOp, x: &Tensor<B>, dims: &[usize]) -> Tensor<B> {
    let kept = dims.iter().fold(*x.shape(), |s: Shape, &d| s.with(d, 1));
    Tensor::from_storage(x.device(), x.device().reduce(op, x.view(), dims), x.dtype(), kept)
}

fn arg<B: Backend>(op: ArgReduceOp, x: &Tensor<B>, dim: isize) -> Tensor<B> {
    match op {
        ArgReduceOp::ArgMax => x.argmax(dim),
        ArgReduceOp::ArgMin => x.argmin(dim),
    }
}

/// All sets of the dimensions of a rank.
fn subsets(rank: usize) -> Vec<Vec<usize>> {
    (0..1usize << rank).map(|bits| (0..rank).filter(|d| bits >> d & 1 == 1).collect()).collect()
}

fn bound(op: ReduceOp, terms: usize) -> Tolerance {
    match op {
        ReduceOp::Max | ReduceOp::Min => EXACT,
        // The factors are near 1: see `low_high`.
        _ => eps(4.0).terms(terms),
    }
}

/// A range whose product of many neither underflows nor overflows.
fn low_high(op: ReduceOp) -> (f64, f64) {
    if op == ReduceOp::Prod { (0.9, 1.1) } else { (-1.0, 1.0) }
}

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    for op in ReduceOp::ALL {
        suite.floats(format!("layouts_{op}"), 700, move |on| layouts(on, op));
        suite.f32(format!("wide_and_tall_{op}"), 300_000, move |on| wide_and_tall(on, op));
    }
    suite.floats("std_of_equals_has_gradient_0", 4, |on| {
        let x = on.list(&[2.0, 2.0, 1.0, 3.0], [2, 2]).requires_grad();
        let std = x.std(1, 0.0);
        assert_values(&std, &[0.0, 1.0], EXACT);
        assert_values(&std.sum(..).backward()[&x], &[0.0, 0.0, -0.5, 0.5], EXACT);
    });
    // In f32 an intermediate product of the first two would be infinite or 0.
    suite.f32("products_return", 12, |on| {
        let x = on.list(&[1e30, 1e30, 1e-30, 1e-30, 1e-30, -1e-30, 1e30, 1e30, 3.0, 5.0, 7.0, -11.0], [3, 4]);
        assert_values(&x.prod(1), &[1.0, -1.0, -1155.0], eps(4.0));
        let x = on.list(
            &[0.0, f64::INFINITY, 2.0, f64::NAN, -2.0, f64::INFINITY, 1e30, 1e30, -1e30, 1e-30, 1e-30, 0.0],
            [6, 2],
        );
        assert_values(&x.prod(1), &[f64::NAN, f64::NAN, f64::NEG_INFINITY, f64::INFINITY, -1.0, 0.0], eps(4.0));
    });
    suite.floats("nothing", 0, nothing);
    suite.floats("nan", 300, nan);
    suite.floats("positive_sums", 1_000_000, |on| {
        // Terms of one sign: a tree or a blocked sum is within the bound, a running f32 sum of 10^6 terms is not.
        agree!(on, eps(64.0), |d| {
            let x = d.uniform(0.0, 1.0, [1_000_000]);
            [x.sum(..), x.mean(..), x.reshape([1000, 1000]).sum(0)]
        });
    });
    // Within 2.5 epsilons of the exact sum, whatever the number of terms.
    suite.f32("sums_of_many", 10_000_000, |on| {
        let values: Vec<f64> = (0..10_000_000).map(|i| (0.1 + (i % 7) as f32 * 0.01) as f64).collect();
        let (x, sum) = (on.list(&values, [values.len()]), values.iter().sum::<f64>());
        for x in [x.clone(), x.reshape([1_000_000, 10]).sum(0), x.reshape([10, 1_000_000]).sum(1)] {
            assert_values(&x.sum(..), &[sum], eps(2.5));
        }
    });
    suite.floats("every_split", 100_000, every_split);
    suite.f32("integers", 1000, integers);
    suite.f32("any_and_all", 700, |on| {
        for dims in subsets(3) {
            agree!(on, EXACT, "any and all over {dims:?}", |d| {
                let x = d.mask([3, 7, 33]);
                // Rarely and mostly true, so that both results occur.
                let (rare, most) = (x.logical_and(&d.mask([7, 33])), x.logical_or(&d.mask([7, 33])));
                [
                    family(ReduceOp::Max, &rare, &dims),
                    family(ReduceOp::Min, &most, &dims),
                    x.any(1),
                    x.all(-1),
                    x.any(..),
                ]
            });
        }
    });
    suite.floats("with_index", 12, |on| {
        let x = on.list(&[1.0, 5.0, 5.0, 7.0, 2.0, 3.0, 0.0, f64::NAN, -1.0, -2.0, -2.0, -2.0], [4, 3]).requires_grad();
        let (value, index) = x.max_with_index(-1);
        assert_values(&value, &[5.0, 7.0, f64::NAN, -2.0], EXACT);
        assert_values(&index, &[1.0, 0.0, 1.0, 0.0], EXACT);
        // The element at the index has all of the gradient; ties do not share it.
        let grad = value.backward_with(&on.list(&[1.0, 2.0, 3.0, 4.0], [4]));
        assert_values(&grad[&x], &[0.0, 1.0, 0.0, 2.0, 0.0, 0.0, 0.0, 3.0, 0.0, 4.0, 0.0, 0.0], EXACT);
        let (value, index) = x.min_with_index(0);
        assert_values(&value, &[-2.0, f64::NAN, -2.0], EXACT);
        assert_values(&index, &[3.0, 2.0, 3.0], EXACT);
    });
    for op in ArgReduceOp::ALL {
        suite.floats(format!("{op}"), 300_000, move |on| arg_reduce(on, op));
    }
    suite.floats("keepdim_and_negative_dims", 60, |on| {
        agree!(on, eps(16.0), |d| {
            let x = d.uniform(0.5, 1.5, [3, 4, 5]);
            [
                x.sum(-1),
                x.sum_keepdim(-1),
                x.mean([0, -1]),
                x.mean_keepdim([2, 0]),
                x.prod(..),
                x.prod_keepdim(..),
                x.max(1),
                x.max_keepdim(1),
                x.min([0, 1]),
                x.min_keepdim(..),
                x.sum([] as [i32; 0]),
            ]
        })
    });
    suite.floats("sum_to_shape", 200, |on| {
        let shapes: [&[usize]; 6] = [&[], &[5], &[4, 1], &[3, 1, 5], &[1, 1, 1], &[3, 4, 5]];
        for shape in shapes {
            agree!(on, eps(16.0), "to {shape:?}", |d| d.uniform(-1.0, 1.0, [3, 4, 5]).sum_to_shape(shape));
        }
    });
    suite.floats("norm", 500, |on| {
        for p in [0.0, 0.5, 1.0, 2.0, 3.0, -1.0, f64::INFINITY, f64::NEG_INFINITY] {
            agree!(on, eps(32.0), "p = {p}", |d| [
                d.uniform(0.5, 3.0, [5, 17]).norm(p, 1),
                d.uniform(-3.0, -0.5, [5, 17]).norm(p, ..)
            ]);
        }
        // The gradient at 0 is 0.
        for p in [0.5, 1.0, 2.0, 3.0] {
            let x = on.list(&[0.0, 0.0, 0.0, 1.0], [2, 2]).requires_grad();
            let grads = x.norm(p, 1).sum(..).backward();
            assert_values(&grads[&x], &[0.0, 0.0, 0.0, 1.0], eps(4.0));
        }
        // For a negative p a zero makes the norm 0, and the gradients of its row are 0.
        for p in [-0.5, -1.0, -2.0, f64::NEG_INFINITY] {
            let x = on.list(&[0.0, 0.0, 0.0, 1.0, 2.0, f64::INFINITY], [3, 2]).requires_grad();
            let y = x.norm(p, 1);
            assert_values(&y, &[0.0, 0.0, 2.0], eps(4.0));
            assert_values(&y.sum(..).backward()[&x], &[0.0, 0.0, 0.0, 0.0, 1.0, 0.0], eps(4.0));
        }
        assert_values(&on.list(&[f64::NAN, 0.0], [2]).norm(-1.0, ..), &[f64::NAN], EXACT);
        assert_values(&on.list(&[3.0, -4.0, 0.0], [3]).norm(0.0, ..), &[2.0], EXACT);
        assert_values(&on.list(&[], [0]).norm(2.0, ..), &[0.0], EXACT);
    });
    edges::cases(suite);
    ranges::cases(suite);
    suite.floats("statistics", 2000, |on| {
        agree!(on, eps(32.0), |d| {
            let x = d.uniform(-2.0, 3.0, [5, 67]);
            [x.var(1, 1.0), x.var(0, 0.0), x.std(.., 1.0), x.logsumexp(1), x.logsumexp(..), (x + 100.0).var(1, 1.0)]
        });
        agree!(on, eps(64.0), |d| {
            with_grads(d, [d.uniform(-2.0, 3.0, [5, 17])], |[x]| x.var(1, 1.0) + x.logsumexp(-1))
        });
        let inf = f64::INFINITY;
        let x = on.list(&[-inf, -inf, 0.0, inf, 1000.0, 1000.0, -1000.0, -1000.0], [4, 2]);
        let ln2 = std::f64::consts::LN_2;
        assert_values(&x.logsumexp(1), &[-inf, inf, 1000.0 + ln2, -1000.0 + ln2], eps(2.0));
        // A row of -inf, as from a mask, has a gradient of 0; over no elements the result is -inf.
        let x = on.list(&[-inf, -inf, -inf, 0.0], [2, 2]).requires_grad();
        assert_values(&x.logsumexp(1).backward_with(&on.list(&[1.0, 1.0], [2]))[&x], &[0.0, 0.0, 0.0, 1.0], EXACT);
        let x = on.list(&[inf, 100.0, inf, inf], [2, 2]).requires_grad();
        let y = x.logsumexp(1);
        assert_values(&y, &[inf, inf], EXACT);
        let nan = f64::NAN;
        assert_values(&y.backward_with(&on.list(&[1.0, 1.0], [2]))[&x], &[nan, 0.0, nan, nan], EXACT);
        assert_values(&on.list(&[], [2, 0]).logsumexp(1), &[-inf; 2], EXACT);
        assert!(on.list(&[], [2, 0]).logsumexp(0).numel() == 0);
        // A correction above the count divides by 0, not by a negative number.
        let x = on.list(&[1.0, 2.0, 3.0, 3.0], [2, 2]);
        assert_values(&x.var(1, 3.0), &[inf, f64::NAN], EXACT);
        assert_values(&x.std(1, 1.0), &[0.5f64.sqrt(), 0.0], eps(2.0));
    });
}

fn layouts<B: Backend>(on: &On<B>, op: ReduceOp) {
    let (low, high) = low_high(op);
    let shapes: [&[usize]; 6] = [&[], &[17], &[7, 33], &[3, 5, 4], &[2, 1, 3, 2], &[2, 3, 1, 2, 3, 2]];
    for shape in shapes {
        for lay in Lay::all(shape.len()) {
            for dims in subsets(shape.len()) {
                let terms = dims.iter().map(|&d| shape[d]).product();
                agree!(on, bound(op, terms), "{op} over {dims:?} of {lay:?} {shape:?}", |d| {
                    family(op, &d.laid(lay, low, high, shape), &dims)
                });
            }
        }
    }
    for (dims, keep) in [(0, false), (1, true), (-1, false)] {
        agree!(on, eps(64.0), "{op} and its gradient over {dims}", |d| {
            // Ties share the gradient of an extreme; a product's zeros have one too.
            let x = if op == ReduceOp::Prod { d.mixed([3, 4, 5]) } else { d.whole(-2, 3, [3, 4, 5]) };
            with_grads(d, [x], |[x]| match (op, keep) {
                (ReduceOp::Sum, false) => x.sum(dims),
                (ReduceOp::Sum, true) => x.sum_keepdim(dims),
                (ReduceOp::Mean, false) => x.mean(dims),
                (ReduceOp::Mean, true) => x.mean_keepdim(dims),
                (ReduceOp::Prod, false) => x.prod(dims),
                (ReduceOp::Prod, true) => x.prod_keepdim(dims),
                (ReduceOp::Max, false) => x.max(dims),
                (ReduceOp::Max, true) => x.max_keepdim(dims),
                (ReduceOp::Min, false) => x.min(dims),
                (ReduceOp::Min, true) => x.min_keepdim(dims),
            })
        });
    }
}

/// Rows of more than 100,000 elements, and more than 65,535 rows.
fn wide_and_tall<B: Backend>(on: &On<B>, op: ReduceOp) {
    let shapes: [(&[usize], &[usize]); 7] = [
        (&[2, 100_003], &[1]),
        (&[100_003, 2], &[0]),
        (&[70_001, 3], &[1]),
        (&[3, 70_001], &[0]),
        (&[200_003], &[0]),
        (&[40_001, 1, 5], &[0, 2]),
        (&[3, 20_011, 2], &[1]),
    ];
    for (shape, dims) in shapes {
        let terms: usize = dims.iter().map(|&d| shape[d]).product();
        // 100,000 factors: even in [1 - 1/K, 1 + 1/K) their product stays near 1.
        let (low, high) = if op == ReduceOp::Prod { (0.9999, 1.0001) } else { (-1.0, 1.0) };
        agree!(on, bound(op, terms), "{op} over {dims:?} of {shape:?}", |d| {
            family(op, &d.uniform(low, high, shape), dims)
        });
    }
}

/// Shapes and dimensions that take each way of a GPU backend to split a reduction: a thread, a warp or a block per result, columns,
/// several blocks per result; contiguous, shifted so that no vector load is aligned, and with gaps.
fn every_split<B: Backend>(on: &On<B>) {
    let shapes: [(&[usize], &[&[usize]]); 13] = [
        (&[50_003], &[&[0]]),
        (&[3, 20_000], &[&[1], &[0], &[0, 1]]),
        (&[150, 601], &[&[1], &[0]]),
        (&[40, 700], &[&[1]]),
        (&[1000, 7], &[&[1], &[0]]),
        (&[300, 4], &[&[1], &[]]),
        (&[20_000, 3], &[&[0]]),
        (&[1000, 70], &[&[0]]),
        (&[7, 1000], &[&[0]]),
        (&[8, 16, 20, 20], &[&[0, 2, 3], &[1], &[1, 3], &[0, 2]]),
        (&[8, 5, 7, 7], &[&[0, 2, 3], &[2, 3], &[0]]),
        (&[300, 2, 3], &[&[0, 2], &[1]]),
        (&[200, 6, 4], &[&[0, 2]]),
    ];
    for (shape, sets) in shapes {
        let n: usize = shape.iter().product();
        for &dims in sets {
            let terms = dims.iter().map(|&d| shape[d]).product();
            let about = format!("over {dims:?} of {shape:?}");
            agree!(on, eps(4.0).terms(terms), "{about}", |d| {
                let x = d.uniform(-1.0, 1.0, shape);
                let shifted = d.uniform(-1.0, 1.0, [n + 3]).narrow(0, 3, n).reshape(Shape::new(shape));
                let gaps = d.uniform(-1.0, 1.0, [n, 2]).narrow(1, 1, 1).reshape(Shape::new(shape));
                let near_1 = &x * (1.0 / n as f64) + 1.0;
                let mut all = vec![family(ReduceOp::Mean, &x, dims), family(ReduceOp::Prod, &near_1, dims)];
                all.extend([&x, &shifted, &gaps].map(|x| family(ReduceOp::Sum, x, dims)));
                all
            });
            agree!(on, EXACT, "exact, {about}", |d| {
                let x = d.whole(-9, 9, shape);
                let shifted = d.whole(-9, 9, [n + 3]).narrow(0, 3, n).reshape(Shape::new(shape));
                let gaps = d.whole(-9, 9, [n, 2]).narrow(1, 1, 1).reshape(Shape::new(shape));
                let mut all = [&x, &shifted, &gaps].map(|x| family(ReduceOp::Max, x, dims)).to_vec();
                all.push(family(ReduceOp::Sum, &x.cast(DType::I32), dims));
                all.push(family(ReduceOp::Max, &x.gt(8.0), dims));
                if let &[dim] = dims {
                    all.extend([x.argmax(dim as isize), x.argmin(dim as isize)]);
                }
                all
            });
        }
    }
}

/// Over no elements a sum is 0, a product 1 and a mean NaN; an extreme panics (see `panics`).
fn nothing<B: Backend>(on: &On<B>) {
    let x = on.uniform(0.0, 1.0, [3, 0]);
    assert_values(&x.sum(1), &[0.0; 3], EXACT);
    assert_values(&x.prod(1), &[1.0; 3], EXACT);
    assert_values(&x.mean(1), &[f64::NAN; 3], EXACT);
    assert_values(&x.sum(..), &[0.0], EXACT);
    assert_values(&x.mean(..), &[f64::NAN], EXACT);
    for op in ReduceOp::ALL {
        let empty = family(op, &x, &[0]);
        assert!(empty.shape()[..] == [1, 0] && crate::close::read(&empty).data.is_empty());
    }
    assert!(x.max(0).numel() == 0 && x.argmax(0).numel() == 0, "an extreme of no columns is empty");
    let ints = Tensor::from_slice::<i32>(&[], [0, 2], &on.device);
    assert_values(&ints.sum(0), &[0.0; 2], EXACT);
    assert_values(&ints.prod(0), &[1.0; 2], EXACT);
    let leaf = x.requires_grad();
    let grad = leaf.sum(..).backward();
    assert!(grad[&leaf].shape() == leaf.shape());
}

/// One NaN at any position makes every reduction NaN.
fn nan<B: Backend>(on: &On<B>) {
    for at in [0, 1, 16, 31, 32, 130, 256] {
        let mut values = crate::close::read(&on.uniform(-1.0, 1.0, [257])).data;
        values[at] = f64::NAN;
        for op in ReduceOp::ALL {
            assert_values(&family(op, &on.list(&values, [257]), &[0]), &[f64::NAN], EXACT);
            // As a column beside a clean one.
            let columns: Vec<f64> = values.iter().flat_map(|&v| [v, 1.0]).collect();
            let both = crate::close::read(&family(op, &on.list(&columns, [257, 2]), &[0])).data;
            assert!(both[0].is_nan() && !both[1].is_nan(), "{op} of columns with a NaN at {at}: {both:?}");
        }
    }
    let inf = f64::INFINITY;
    let x = on.list(&[-inf, -inf, inf, 1.0], [2, 2]);
    assert_values(&x.max(1), &[-inf, inf], EXACT);
    assert_values(&x.min(1), &[-inf, 1.0], EXACT);
    assert_values(&x.sum(1), &[-inf, inf], EXACT);
}

fn integers<B: Backend>(on: &On<B>) {
    for op in ReduceOp::ALL.into_iter().filter(|op| op.accepts(DType::I32)) {
        for dims in subsets(3) {
            agree!(on, EXACT, "{op} over {dims:?}", |d| family(op, &d.ints(i32::MIN, i32::MAX, [4, 9, 33]), &dims));
        }
    }
    for lay in Lay::all(3) {
        for dims in subsets(3) {
            agree!(on, EXACT, "over {dims:?} of {lay:?}", |d| {
                let x = lay.view([3, 5, 17].into(), |s| d.ints(-99, 99, s));
                [ReduceOp::Sum, ReduceOp::Max, ReduceOp::Min].map(|op| family(op, &x, &dims))
            });
        }
    }
    agree!(on, EXACT, |d| {
        let x = d.ints(-3, 4, [5, 67]);
        [x.argmax(1), x.argmin(0), x.sum(..), x.t().max(0)]
    });
}

fn arg_reduce<B: Backend>(on: &On<B>, op: ArgReduceOp) {
    let shapes: [&[usize]; 5] = [&[17], &[7, 33], &[3, 5, 4], &[2, 1, 3, 2], &[1, 1]];
    for shape in shapes {
        for lay in Lay::all(shape.len()) {
            for dim in 0..shape.len() as isize {
                agree!(on, EXACT, "{op} along {dim} of {lay:?} {shape:?}", |d| {
                    let lies = |lay: Lay| lay.view(shape.into(), |s| d.whole(-2, 2, s));
                    // Ties in the first, in all likelihood none in the second.
                    [arg(op, &lies(lay), dim), arg(op, &d.laid(lay, -1.0, 1.0, shape), dim)]
                });
            }
        }
    }
    let wide: [(&[usize], isize); 4] = [(&[2, 100_003], 1), (&[100_003, 2], 0), (&[70_001, 3], 1), (&[300_001], 0)];
    for (shape, dim) in wide {
        agree!(on, EXACT, "{op} along {dim} of {shape:?}", |d| [
            arg(op, &d.uniform(-1.0, 1.0, shape), dim),
            arg(op, &d.whole(-3, 3, shape), dim)
        ]);
    }
    // The index of the first of two NaNs, at any position of a long row.
    for len in [1, 5, 40, 100, 5000] {
        for at in [0, len / 2, len - 1] {
            let mut values = crate::close::read(&on.uniform(-1.0, 1.0, [len])).data;
            (values[at], values[len - 1]) = (f64::NAN, f64::NAN);
            assert_values(&arg(op, &on.list(&values, [len]), 0), &[at as f64], EXACT);
        }
    }
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let rows = [
        [1.0, nan, 5.0, nan], // the first NaN, before every number
        [nan, 1.0, 2.0, 0.0],
        [inf, inf, 1.0, inf],
        [-inf, -inf, -inf, -inf],
        [0.0, -0.0, 0.0, -0.0], // equal: the first
        [3.0, 1.0, 2.0, nan],
    ];
    let x = on.list(rows.as_flattened(), [6, 4]);
    let want = match op {
        ArgReduceOp::ArgMax => [1.0, 0.0, 0.0, 0.0, 0.0, 3.0],
        ArgReduceOp::ArgMin => [1.0, 0.0, 2.0, 0.0, 0.0, 3.0],
    };
    assert_values(&arg(op, &x, 1), &want, EXACT);
    assert_values(&arg(op, &x.t().contiguous().t(), -1), &want, EXACT);
}
