//! Sorting, its tie-breaking and NaN, and the first k.

use crate::Suite;
use crate::check::{assert_same, assert_values, with_grads};
use crate::close::{EXACT, read};
use crate::on::Lay;
use minitorch_core::Tensor;
use minitorch_core::backend::Backend;
use minitorch_core::ops::composed;

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.floats("layouts", 2000, |on| {
        let shapes: [&[usize]; 6] = [&[17], &[4, 33], &[3, 5, 4], &[2, 3, 1, 4], &[2, 2, 3, 2, 2, 3], &[3, 0, 2]];
        for shape in shapes {
            for lay in Lay::all(shape.len()) {
                for dim in 0..shape.len() as isize {
                    for descending in [false, true] {
                        agree!(on, EXACT, "sort along {dim} of {lay:?} {shape:?}, descending {descending}", |d| {
                            // Integers repeat: the indices show the tie-breaking.
                            let x = lay.view(minitorch_core::Shape::new(shape), |s| d.whole(-3, 3, s));
                            let (values, indices) = x.sort(dim, descending);
                            [values, indices, x.argsort(dim, descending)]
                        });
                    }
                }
            }
        }
    });
    suite.floats("gradient_goes_back", 200, |on| {
        agree!(on, EXACT, |d| {
            with_grads(d, [d.uniform(-1.0, 1.0, [5, 17])], |[x]| x.sort(0, true).0 - x.topk(5, 0, false).0)
        });
    });
    suite.floats("nan_is_above_all_and_zeros_are_equal", 20, |on| {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        let x = on.list(&[1.0, nan, -inf, 0.0, -0.0, inf, -1.0, nan], [8]);
        let (values, indices) = x.sort(0, false);
        assert_values(&indices, &[2.0, 6.0, 3.0, 4.0, 0.0, 5.0, 1.0, 7.0], EXACT);
        assert_values(&values, &[-inf, -1.0, 0.0, 0.0, 1.0, inf, nan, nan], EXACT);
        assert_values(&x.argsort(0, true), &[1.0, 7.0, 5.0, 0.0, 3.0, 4.0, 6.0, 2.0], EXACT);
        // The sign of a NaN, which arithmetic leaves open, has no effect on the order.
        let x = on.list(&[1.0, -nan, inf, nan, -inf, -nan], [6]);
        assert_values(&x.argsort(0, false), &[4.0, 0.0, 2.0, 1.0, 3.0, 5.0], EXACT);
        assert_values(&x.argsort(0, true), &[1.0, 3.0, 5.0, 2.0, 0.0, 4.0], EXACT);
        let order = composed::argsort(&x, 0, false, 4);
        assert_values(&order, &[4.0, 0.0, 2.0, 1.0], EXACT);
    });
    suite.f32("integers", 100, |on| {
        agree!(on, EXACT, |d| {
            let x = d.ints(i32::MIN, i32::MAX, [5, 33]);
            [x.sort(1, false).0, x.sort(1, true).1, x.topk(3, 0, true).0, d.ints(-2, 2, [40]).argsort(0, true)]
        });
        let edges = Tensor::from_slice(&[i32::MAX, 0, i32::MIN, -1], [4], &on.device);
        assert_values(&edges.argsort(0, false), &[2.0, 3.0, 1.0, 0.0], EXACT);
    });
    suite.floats("topk", 200, |on| {
        for (k, dim) in [(0, 0), (1, 1), (4, 0), (5, 0), (17, 1), (9, -1)] {
            for largest in [false, true] {
                let x = on.whole(-4, 4, [5, 17]);
                let ((values, indices), (all, order)) = (x.topk(k, dim, largest), x.sort(dim, largest));
                let about = format!("topk({k}, {dim}, {largest})");
                assert_same(&about, &values, &all.narrow(dim, 0, k));
                assert_same(&about, &indices, &order.narrow(dim, 0, k));
            }
        }
    });
    suite.floats("fused_against_composed", 500, |on| {
        for (shape, dim, k) in
            [(&[33, 4][..], 0, 33), (&[4, 33], 1, 5), (&[3, 7, 2], 1, 7), (&[1], 0, 1), (&[2, 0], 1, 0)]
        {
            for descending in [false, true] {
                let x = on.whole(-5, 5, shape);
                let (got, want) =
                    (on.device.argsort(&x, dim, descending, k), composed::argsort(&x, dim, descending, k));
                assert_same(&format!("argsort along {dim} of {shape:?}"), &got, &want);
            }
        }
    });
    suite.f32("many", 3000, |on| {
        let x = on.uniform(-1.0, 1.0, [3001]);
        let sorted = read(&x.sort(0, false).0).data;
        let mut want = read(&x).data;
        want.sort_by(f64::total_cmp);
        assert!(sorted == want, "a sorted vector");
        let (largest, at) = x.topk(10, 0, true);
        assert!(read(&largest).data.iter().eq(want.iter().rev().take(10)), "the ten largest");
        assert_same("and where they are", &x.index_select(0, &at), &largest);
    });
    // Rows that are longer than a workgroup sorts in its memory, of few values.
    suite.floats("long_rows", 30_000, |on| {
        for (shape, dim) in [([1, 2049], 1), ([2048, 2], 0), ([4501, 2], 0), ([2, 10_001], 1), ([5000, 3], 0)] {
            for descending in [false, true] {
                agree!(on, EXACT, "the order along {dim} of {shape:?}, descending {descending}", |d| {
                    let x = d.whole(-50, 50, shape);
                    let (x, integers) = (x.masked_fill(&x.eq(7.0), f64::NAN), d.ints(-300, 300, shape));
                    [
                        x.argsort(dim, descending),
                        x.t().argsort(1 - dim, descending),
                        integers.argsort(dim, descending),
                        x.topk(9, dim, descending).1,
                    ]
                });
            }
        }
    });
    suite.f32("a_row_of_100_003", 100_003, |on| {
        agree!(on, EXACT, |d| {
            let x = d.whole(-500, 500, [100_003]);
            [x.argsort(0, false), x.argsort(0, true), x.topk(9, 0, true).1]
        });
    });
    // A table of more elements than the composed form has in one part.
    suite.f32("composed_in_parts", 1 << 22, |on| {
        let x = on.whole(-50, 50, [2100]);
        let order = composed::argsort(&x, 0, true, 2100);
        assert_same("the order of 2100 elements", &on.device.argsort(&x, 0, true, 2100), &order);
    });
    check!(suite, "sort", 2, |d| [d.uniform(-1.0, 1.0, [3, 4])], |[x]| {
        x.square().sort(1, true).0 * x.topk(1, 1, true).0
    });
}
