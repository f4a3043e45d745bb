//! Running sums along every dimension, and their gradients.

use crate::Suite;
use crate::check::{assert_values, with_grads};
use crate::close::{EXACT, assert_close, eps};
use crate::on::Lay;
use minitorch_core::backend::Backend;
use minitorch_core::ops::composed;
use minitorch_core::{DType, Tensor};

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.floats("layouts", 2000, |on| {
        let shapes: [&[usize]; 6] = [&[17], &[4, 33], &[3, 5, 4], &[2, 3, 1, 4], &[2, 2, 3, 2, 2, 3], &[3, 0, 2]];
        for shape in shapes {
            for lay in Lay::all(shape.len()) {
                for dim in 0..shape.len() as isize {
                    agree!(on, eps(4.0).terms(33), "cumsum along {dim} of {lay:?} {shape:?}", |d| {
                        with_grads(d, [d.laid(lay, -1.0, 1.0, shape)], |[x]| x.cumsum(dim))
                    });
                }
            }
        }
    });
    suite.floats("both_ways_against_composed", 4000, |on| {
        for (shape, dim) in [(&[1000, 4][..], 0), (&[4, 1000], 1), (&[3, 7, 5], 1), (&[1], 0), (&[4, 0], 1)] {
            for reverse in [false, true] {
                let x = on.uniform(-1.0, 1.0, shape);
                let (got, want) = (on.device.cumsum(&x, dim, reverse), composed::cumsum(&x, dim, reverse));
                let about = format!("cumsum along {dim} of {shape:?}, reverse {reverse}");
                assert_close(&about, &got, &want, eps(4.0).terms(1000));
            }
        }
        let x = on.list(&[1.0, 2.0, 3.0, 4.0], [4]);
        assert_values(&on.device.cumsum(&x, 0, true), &[10.0, 9.0, 7.0, 4.0], EXACT);
        assert_values(&on.device.cumsum(&x, 0, false), &[1.0, 3.0, 6.0, 10.0], EXACT);
    });
    suite.floats("every_length", 90_000, |on| {
        // One block per row, several blocks per row, and columns.
        let shapes: [(&[usize], isize); 8] = [
            (&[50_003], 0),
            (&[50_004], 0),
            (&[3, 20_000], 1),
            (&[5, 900], 1),
            (&[5, 901], 1),
            (&[10_000, 3], 0),
            (&[2, 150, 300], 1),
            (&[40, 2, 7], 0),
        ];
        for (shape, dim) in shapes {
            agree!(on, eps(4.0).terms(shape[dim as usize]), "cumsum along {dim} of {shape:?}", |d| {
                with_grads(d, [d.uniform(-1.0, 1.0, shape)], |[x]| x.cumsum(dim))
            });
            agree!(on, EXACT, "cumsum along {dim} of int32 {shape:?}", |d| d.ints(-99, 99, shape).cumsum(dim));
        }
    });
    suite.f32("long", 200_000, |on| {
        agree!(on, eps(4.0).terms(200_000), |d| [
            d.uniform(-1.0, 1.0, [200_003]).cumsum(0),
            d.uniform(-1.0, 1.0, [20_001, 10]).cumsum(0),
        ]);
    });
    suite.f32("integers_wrap", 100, |on| {
        agree!(on, EXACT, |d| [d.ints(i32::MIN, i32::MAX, [5, 17]).cumsum(1), d.ints(-9, 9, [5, 17]).t().cumsum(-1)]);
        let x = Tensor::from_slice(&[i32::MAX, 1, 1], [3], &on.device).cumsum(0);
        assert_values(&x, &[i32::MAX as f64, i32::MIN as f64, i32::MIN as f64 + 1.0], EXACT);
        assert_eq!(x.dtype(), DType::I32);
    });
    suite.f32("nan_reaches_what_follows", 10, |on| {
        let nan = f64::NAN;
        assert_values(&on.list(&[1.0, nan, 2.0], [3]).cumsum(0), &[1.0, nan, nan], EXACT);
    });
    check!(suite, "cumsum", 2, |d| [d.uniform(-1.0, 1.0, [3, 4])], |[x]| x.square().cumsum(1) * x.cumsum(0));
}
