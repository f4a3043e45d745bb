//! Comparisons, and selection by a mask.

use crate::check::{assert_values, with_grads};
use crate::close::{EXACT, eps};
use crate::on::{Lay, pairs};
use crate::{On, Suite};
use minitorch_core::backend::{Backend, CompareOp};
use minitorch_core::{DType, Operand, Tensor};

fn apply<B: Backend>(op: CompareOp, a: &Tensor<B>, b: impl Operand<B>) -> Tensor<B> {
    match op {
        CompareOp::Eq => a.eq(b),
        CompareOp::Ne => a.ne(b),
        CompareOp::Lt => a.lt(b),
        CompareOp::Le => a.le(b),
        CompareOp::Gt => a.gt(b),
        CompareOp::Ge => a.ge(b),
    }
}

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    for op in CompareOp::ALL {
        suite.floats(format!("layouts_{op}"), 200, move |on| layouts(on, op));
    }
    suite.floats("nan", 36, |on| {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        let values = [nan, -inf, -1.0, 0.0, -0.0, 1.0, inf];
        for op in CompareOp::ALL {
            agree!(on, EXACT, "{op} of every pair of {values:?}", |d| {
                let x = d.list(&values, [7]);
                [apply(op, &x.reshape([7, 1]), &x), apply(op, &x, 0.0), apply(op, &x, nan), apply(op, &x, inf)]
            });
        }
        let x = on.list(&[1.0, nan, inf, -inf, 0.0], [5]);
        assert_values(&x.isnan(), &[0.0, 1.0, 0.0, 0.0, 0.0], EXACT);
        assert_values(&x.isinf(), &[0.0, 0.0, 1.0, 1.0, 0.0], EXACT);
        assert_values(&x.isfinite(), &[1.0, 0.0, 0.0, 0.0, 1.0], EXACT);
    });
    suite.f32("integers_of_every_layout", 600, |on| {
        for (a, b) in pairs(Lay::all(2)) {
            agree!(on, EXACT, "{a:?} and {b:?} int32", |d| {
                let lies = |lay: Lay| lay.view([17, 33].into(), |s| d.ints(-2, 2, s));
                [lies(a).ge(lies(b)), lies(a).lt(0.5)]
            });
        }
    });
    suite.f32("integers_and_bool", 100, |on| {
        for op in CompareOp::ALL {
            agree!(on, EXACT, "{op}", |d| {
                // Large integers that are equal in f32, against each other and against scalars between them.
                let big = Tensor::from_slice(&[i32::MAX, i32::MAX - 1, 16_777_217, 16_777_216], [4], &d.device);
                let x = d.ints(-3, 3, [6, 33]);
                let exact = [0.5, -0.5, 1e12, -f64::INFINITY, f64::NAN].map(|c| apply(op, &x, c));
                let pairs = [apply(op, &x, d.ints(-3, 3, [33])), apply(op, &big.reshape([4, 1]), &big)];
                let by_number = [apply(op, &x, 1.0), apply(op, &big, 2_147_483_646.5), apply(op, &big, 16_777_216.5)];
                exact.into_iter().chain(pairs).chain(by_number).collect::<Vec<_>>()
            });
        }
        agree!(on, EXACT, |d| {
            let (a, b) = (d.mask([3, 17]), d.mask([17]));
            [a.eq(&b), a.ne(&b), a.eq(1.0), a.ne(0.0)]
        });
    });
    suite.floats("numbers_of_every_type", 10, |on| {
        let x = on.list(&[1.0, 2.0, 3.0], [3]);
        for mask in [x.eq(2), x.eq(2.0), x.eq(2.0f32), x.eq(2u8), x.eq(2i64), x.eq(2usize), x.eq(2i8), x.eq(2u64)] {
            assert_values(&mask, &[0.0, 1.0, 0.0], EXACT);
        }
        assert_values(&x.lt(60_000u64), &[1.0; 3], EXACT);
        let i = Tensor::new([1, i32::MAX], &on.device);
        assert_values(&i.ge(1i64 << 31), &[0.0; 2], EXACT); // compared exactly, beyond I32 too
    });
    suite.floats("isclose", 10, |on| {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        let x = on.list(&[1.0, 1.0, 1.0, 0.0, nan, inf, inf, 1.0, -inf], [9]);
        let y = on.list(&[1.0, 1.125, 1.25, 0.5, nan, inf, -inf, inf, -inf], [9]);
        assert_values(&x.isclose(&y, 0.1, 0.0), &[1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0], EXACT);
        assert_values(&x.isclose(&y, 0.0, 0.25), &[1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0], EXACT);
        // The tolerance is relative to the second tensor.
        let (one, two) = (on.list(&[1.0], ()), on.list(&[2.0, 2.0], [2]));
        assert!(one.allclose(&two, 0.5, 0.0).is_ok_and(|close| close));
        assert!(two.allclose(&one, 0.5, 0.0).is_ok_and(|close| !close));
    });
    suite.floats("where", 300, where_cond);
    suite.floats("where_keeps_nan_out", 4, |on| {
        let mask = Tensor::from_slice(&[true, false], [2], &on.device);
        let bad = on.list(&[f64::NAN, f64::INFINITY], [2]);
        let good = on.list(&[1.0, 2.0], [2]);
        assert_values(&Tensor::where_cond(&mask, &good, &bad), &[1.0, f64::INFINITY], EXACT);
        assert_values(&bad.masked_fill(&mask, 7.0), &[7.0, f64::INFINITY], EXACT);
    });
}

fn layouts<B: Backend>(on: &On<B>, op: CompareOp) {
    let shapes: [&[usize]; 5] = [&[], &[17], &[0, 2], &[4, 33], &[2, 3, 4]];
    for shape in shapes {
        for a in Lay::all(shape.len()) {
            for b in Lay::all(shape.len()) {
                agree!(on, EXACT, "{op} of {a:?} and {b:?} {shape:?}", |d| {
                    // Integers: equal pairs are frequent.
                    let (a, b) =
                        (a.view(shape.into(), |s| d.whole(-2, 2, s)), b.view(shape.into(), |s| d.whole(-2, 2, s)));
                    [apply(op, &a, &b), apply(op, &a, 1.0)]
                });
            }
        }
    }
    agree!(on, EXACT, |d| apply(op, &d.whole(0, 3, [4, 1, 5]), d.whole(0, 3, [3, 1])));
}

fn where_cond<B: Backend>(on: &On<B>) {
    for lay in Lay::all(2) {
        agree!(on, EXACT, "where with a {lay:?} mask", |d| {
            let mask = lay.view([5, 17].into(), |s| d.mask(s));
            let (a, b) = (d.laid(lay, -1.0, 1.0, [5, 17]), d.laid(Lay::Reversed, -1.0, 1.0, [5, 17]));
            [
                Tensor::where_cond(&mask, &a, &b),
                Tensor::where_cond(&mask.t(), &b.t(), &a.t()),
                a.masked_fill(&mask, -2.5),
            ]
        });
    }
    for shape in [&[17][..], &[17, 33], &[2, 3, 4]] {
        for (a, b) in pairs(Lay::all(shape.len())) {
            for c in [Lay::Whole, Lay::Reversed, Lay::Broadcast(0)] {
                agree!(on, EXACT, "where of {c:?}, {a:?} and {b:?} {shape:?}", |d| {
                    let mask = c.view(shape.into(), |s| d.mask(s));
                    Tensor::where_cond(&mask, &d.laid(a, -1.0, 1.0, shape), &d.laid(b, -1.0, 1.0, shape))
                });
            }
        }
    }
    let shapes: [[&[usize]; 3]; 6] = [
        [&[4, 5], &[4, 5], &[4, 5]],
        [&[4, 1], &[5], &[]],
        [&[], &[4, 1], &[3, 1, 5]],
        [&[3, 1, 1], &[], &[2]],
        [&[0, 2], &[1, 2], &[2]],
        [&[], &[], &[]],
    ];
    for [c, a, b] in shapes {
        agree!(on, eps(8.0), "where of {c:?}, {a:?}, {b:?}", |d| {
            let mask = d.mask(c);
            with_grads(d, [d.mixed(a), d.mixed(b)], |[a, b]| Tensor::where_cond(&mask, a, b))
        });
    }
    agree!(on, eps(8.0), |d| {
        let mask = d.mask([4, 1, 3]);
        with_grads(d, [d.mixed([2, 3])], |[x]| x.masked_fill(&mask, -2.5))
    });
    agree!(on, EXACT, |d| {
        let mask = d.mask([4, 9]);
        let x = Tensor::where_cond(&mask, &d.ints(-9, 9, [4, 9]), &d.ints(-9, 9, [9]));
        [x.masked_fill(&mask, 5.0), mask.masked_fill(&x.gt(0.0), 1.0)]
    });
    // f64 passes with all its bits.
    if on.dtype == DType::F64 {
        let third = on.list(&[1.0 / 3.0, 0.1], [2]);
        let mask = Tensor::from_slice(&[true, false], [2], &on.device);
        assert_values(&Tensor::where_cond(&mask, &third, &(-&third)), &[1.0 / 3.0, -0.1], EXACT);
    }
}
