//! Softmax and log-softmax along every dimension, their gradients, large inputs and special values.

use crate::check::{assert_values, with_grads};
use crate::close::{EXACT, Tolerance, assert_close, eps};
use crate::on::Lay;
use crate::{On, Suite};
use minitorch_core::Tensor;
use minitorch_core::backend::Backend;
use minitorch_core::ops::composed;

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.floats("layouts", 1000, layouts);
    suite.floats("fused_against_composed", 1000, fused);
    suite.f32("wide_and_tall", 300_000, |on| {
        let shapes: [(&[usize], isize); 5] =
            [(&[2, 100_003], 1), (&[100_003, 2], 0), (&[70_001, 3], 1), (&[3, 10_007, 5], 1), (&[200_003], 0)];
        for (shape, dim) in shapes {
            // A probability is about 1/K: relative, with the errors of the exponential and of a sum of K terms.
            let terms = shape[dim as usize];
            let relative = Tolerance { atol: 1e-9, rtol: 16.0 }.terms(terms);
            agree!(on, relative, "softmax along {dim} of {shape:?}", |d| d.uniform(-4.0, 4.0, shape).softmax(dim));
            agree!(on, eps(8.0).terms(terms), "log_softmax along {dim} of {shape:?}", |d| {
                with_grads(d, [d.uniform(-4.0, 4.0, shape)], |[x]| x.log_softmax(dim))
            });
            agree!(on, eps(8.0).terms(terms), "softmax and gradient along {dim} of {shape:?}", |d| {
                with_grads(d, [d.uniform(-4.0, 4.0, shape)], |[x]| x.softmax(dim))
            });
        }
    });
    suite.floats("every_length", 20_000, |on| {
        // A thread, a warp or a block per row; rows that are and are not a multiple of 16 bytes; columns.
        let shapes: [(&[usize], isize); 13] = [
            (&[300, 10], 1),
            (&[300, 12], 1),
            (&[30, 129], 1),
            (&[30, 500], 1),
            (&[9, 1024], 1),
            (&[9, 1023], 1),
            (&[5, 3000], 1),
            (&[5, 3001], 1),
            (&[4, 300, 6], 1),
            (&[2, 21, 300], 1),
            (&[1500, 3], 0),
            (&[1, 70], 0),
            (&[17, 1], 1),
        ];
        for (shape, dim) in shapes {
            let terms = shape[dim as usize];
            agree!(on, eps(8.0).terms(terms), "along {dim} of {shape:?}", |d| {
                let mut all = with_grads(d, [d.uniform(-9.0, 9.0, shape)], |[x]| x.softmax(dim));
                all.extend(with_grads(d, [d.uniform(-9.0, 9.0, shape)], |[x]| x.log_softmax(dim)));
                all
            });
        }
    });
    suite.floats("far_out", 100, far_out);
    suite.floats("keeps_digits", 3000, keeps_digits);
    suite.floats("nothing_and_one", 4, |on| {
        agree!(on, EXACT, |d| {
            let x = d.mixed([4, 1]);
            [
                x.softmax(1),
                x.log_softmax(1),
                d.mixed([0, 3]).softmax(1),
                d.mixed([3, 0]).softmax(1),
                d.mixed([3, 0]).log_softmax(0),
            ]
        })
    });
    suite.floats("rows_sum_to_one", 2000, |on| {
        let x = on.uniform(-30.0, 30.0, [33, 67]);
        for (p, dim, len) in [(x.softmax(1), 1, 33), (x.softmax(0), 0, 67), (x.log_softmax(1).exp(), 1, 33)] {
            // log p near -60 carries 60 epsilons / 2 into p, but only where p is tiny.
            assert_values(&p.sum(dim), &vec![1.0; len], eps(64.0));
        }
    });
}

fn layouts<B: Backend>(on: &On<B>) {
    let shapes: [&[usize]; 5] = [&[17], &[7, 33], &[3, 5, 4], &[2, 3, 1, 4], &[2, 2, 3, 2, 2, 3]];
    for shape in shapes {
        for lay in Lay::all(shape.len()) {
            for dim in 0..shape.len() as isize {
                agree!(on, eps(16.0), "along {dim} of {lay:?} {shape:?}", |d| {
                    let x = d.laid(lay, -4.0, 4.0, shape);
                    let mut all = with_grads(d, [x.detach()], |[x]| x.softmax(dim));
                    all.extend(with_grads(d, [x], |[x]| x.log_softmax(dim)));
                    all
                });
            }
        }
    }
}

fn fused<B: Backend>(on: &On<B>) {
    for dim in 0..3 {
        for lay in Lay::all(3) {
            let x = on.laid(lay, -6.0, 6.0, [5, 7, 17]);
            let g = on.laid(lay, -1.0, 1.0, [5, 7, 17]);
            let d = &on.device;
            let (y, log) = (composed::softmax(&x, dim), composed::log_softmax(&x, dim));
            let pairs = [
                (d.softmax(&x, dim), y.clone()),
                (d.log_softmax(&x, dim), log.clone()),
                (d.softmax_grad(&y, &g, dim), composed::softmax_grad(&y, &g, dim)),
                (d.log_softmax_grad(&log, &g, dim), composed::log_softmax_grad(&log, &g, dim)),
            ];
            for (i, (fused, composed)) in pairs.iter().enumerate() {
                assert_close(&format!("method {i} along {dim}, {lay:?}"), fused, composed, eps(32.0));
            }
        }
    }
}

fn far_out<B: Backend>(on: &On<B>) {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let rows = [
        [1000.0, 1000.0, -1000.0, 0.0],
        [-1000.0, -1000.0, -1000.0, -1000.0],
        [1000.0, 999.0, 998.0, 997.0],
        [-inf, 0.0, -inf, 0.0],
        [-inf, -inf, -inf, 5.0],
        [1e30, -1e30, 1e30, 0.0],
    ];
    for transposed in [false, true] {
        agree!(on, eps(8.0), |d| {
            let x = d.list(rows.as_flattened(), [6, 4]);
            let (x, dim) = if transposed { (x.t().contiguous(), 0) } else { (x, 1) };
            // exp(-inf) is 0, so the gradient has no inf - inf.
            let mut all = vec![x.softmax(dim), x.log_softmax(dim)];
            all.extend(with_grads(d, [x], |[x]| x.softmax(dim)));
            all
        });
    }
    // A row with NaN or +inf, or of -inf only, is NaN; other rows are not affected.
    for bad in [[nan, 1.0, 2.0], [-inf, -inf, -inf], [0.0, inf, 1.0], [inf, inf, 0.0]] {
        let x = on.list(&[0.0, 0.0, 0.0, bad[0], bad[1], bad[2], 0.0, 0.0, 0.0], [3, 3]);
        for (y, fine) in [
            (x.softmax(1), 1.0 / 3.0),
            (x.log_softmax(1), -(3f64.ln())),
            (x.t().softmax(0).t(), 1.0 / 3.0),
            (x.t().log_softmax(0).t(), -(3f64.ln())),
        ] {
            let want: Vec<f64> = (0..9).map(|i| if (3..6).contains(&i) { nan } else { fine }).collect();
            assert_values(&y, &want, eps(8.0));
        }
    }
}

/// One element far above many equal ones, also with large values: small results and gradients are accurate to a relative error.
fn keeps_digits<B: Backend>(on: &On<B>) {
    for c in [2, 17, 70, 300, 1500] {
        for base in [0.0, 1e5] {
            let top = c / 2;
            let lines = |at_top: f64, beside: f64| -> Vec<f64> {
                (0..2 * c).map(|i| if i % c == top { at_top } else { beside }).collect()
            };
            let (e, rest) = ((-20f64).exp(), (c - 1) as f64 * (-20f64).exp());
            let log_sum = rest.ln_1p();
            let relative = Tolerance { atol: 0.0, rtol: 16.0 }.terms(c);
            let x = on.list(&lines(base + 20.0, base), [2, c]);
            // Rows, strided rows, and contiguous columns.
            for (x, dim) in [(x.clone(), 1), (x.t(), 0), (x.t().contiguous(), 0)] {
                let back = |y: Tensor<B>| if dim == 0 { y.t() } else { y };
                assert_values(&back(x.softmax(dim)), &lines(1.0 / (1.0 + rest), e / (1.0 + rest)), relative);
                assert_values(&back(x.log_softmax(dim)), &lines(-log_sum, -20.0 - log_sum), relative);
                let leaf = x.detach().requires_grad();
                let grads = leaf.logsumexp(dim).sum(..).backward();
                assert_values(&back(grads[&leaf].clone()), &lines(1.0 / (1.0 + rest), e / (1.0 + rest)), relative);
            }
        }
    }
    // Gradients do not depend on a constant added to the logits.
    let g = on.list(&[0.5, -2.0, 1.0], [1, 3]);
    let gradients = |base: f64| {
        let x = on.list(&[base, base + 1.0, base + 3.0], [1, 3]).requires_grad();
        let all = [x.softmax(1), x.log_softmax(1), x.logsumexp(1).unsqueeze(1) * &g];
        Tensor::cat(&all.map(|y| y.backward_with(&g)[&x].clone()), 0)
    };
    assert_close("beside 1e5", &gradients(1e5), &gradients(0.0), Tolerance { atol: 0.0, rtol: 16.0 });
}
