//! Matrix products and the linear map.

use crate::check::{assert_same, with_grads};
use crate::close::{Tolerance, assert_close, eps, read};
use crate::on::{Lay, pairs};
use crate::{On, Suite};
use minitorch_core::backend::Backend;
use minitorch_core::ops::composed;
use minitorch_core::{Activation, Tensor};

/// Per square root of the number of terms. A sum of k terms of order 1 and of both signs grows to sqrt(k) / 3 and is rounded k times: in
/// one chain of f32 additions that is 0.07 k epsilons in the mean, 50 at k = 784, and four times that for the worst of 10,000 sums;
/// 8 sqrt(784) = 224. Longer sums need blocking.
const BOUND: Tolerance = eps(8.0);

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.floats("shapes", 2000, shapes);
    suite.floats("layouts", 2000, layouts);
    suite.floats("batches", 2000, batches);
    suite.f32("large", 600_000, |on| {
        let sizes =
            [(512, 70, 130), (500, 257, 3), (601, 33, 1), (1, 300, 700), (1, 2000, 1), (129, 129, 129), (3, 70_001, 2)];
        for (m, k, n) in sizes {
            agree!(on, BOUND.terms(k), "{m} x {k} x {n}", |d| {
                d.uniform(-1.0, 1.0, [m, k]).matmul(&d.uniform(-1.0, 1.0, [k, n]))
            });
        }
        agree!(on, BOUND.terms(5), |d| d.uniform(-1.0, 1.0, [70_001, 5]).matmul(&d.uniform(-1.0, 1.0, [5, 2])));
        agree!(on, BOUND.terms(3), |d| {
            d.uniform(-1.0, 1.0, [66_000, 2, 3]).matmul(&d.uniform(-1.0, 1.0, [66_000, 3, 1]))
        });
    });
    suite.floats("nothing", 12, |on| {
        let sizes = [(0, 3, 2), (2, 0, 3), (2, 3, 0), (0, 0, 0), (1, 0, 1)];
        for (m, k, n) in sizes {
            agree!(on, eps(0.0), "{m} x {k} x {n}", |d| {
                with_grads(d, [d.mixed([m, k]), d.mixed([k, n])], |[a, b]| a.matmul(b))
            });
        }
        agree!(on, eps(0.0), |d| [d.mixed([0, 2, 3]).matmul(&d.mixed([3, 2])), d.mixed([0]).matmul(&d.mixed([0, 2]))]);
    });
    suite.floats("special_values", 12, |on| {
        // A row with a NaN or an infinity affects its own results only.
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        agree!(on, eps(2.0), |d| {
            d.list(&[1.0, 2.0, nan, 1.0, inf, 1.0, 3.0, 4.0], [4, 2])
                .matmul(&d.list(&[1.0, 0.5, 0.0, 2.0, 1.0, 1.0], [2, 3]))
        });
    });
    suite.floats("linear", 4000, linear);
    suite.floats("linear_activated", 4000, activations);
    check!(suite, "linear_sigmoid", 2, |d| of_linear(d), |[x, w, b]| {
        x.linear_activated(w, Some(b), Activation::Sigmoid)
    });
    check!(suite, "linear_tanh", 2, |d| of_linear(d), |[x, w, b]| x.linear_activated(w, Some(b), Activation::Tanh));
    suite.f32("linear_large", 300_000, |on| {
        for (rows, k, n) in [(64, 784, 128), (501, 67, 1), (1, 1000, 10), (70_000, 4, 3)] {
            agree!(on, BOUND.terms(k), "{rows} x {k} -> {n}", |d| {
                let (x, w, b) =
                    (d.uniform(-1.0, 1.0, [rows, k]), d.uniform(-1.0, 1.0, [n, k]), d.uniform(-1.0, 1.0, [n]));
                [x.linear(&w, Some(&b)), x.linear(&w, None)]
            });
        }
    });
}

fn product<B: Backend>(d: &On<B>, a: &[usize], b: &[usize]) -> Vec<Tensor<B>> {
    with_grads(d, [d.uniform(-1.0, 1.0, a), d.uniform(-1.0, 1.0, b)], |[a, b]| a.matmul(b))
}

fn shapes<B: Backend>(on: &On<B>) {
    for m in [1, 2, 7, 17, 33] {
        for k in [1, 3, 17, 33] {
            for n in [1, 2, 9, 17, 33] {
                agree!(on, BOUND.terms(33), "{m} x {k} x {n}", |d| product(d, &[m, k], &[k, n]));
            }
        }
    }
    let vectors: [(&[usize], &[usize]); 5] =
        [(&[17], &[17]), (&[5, 17], &[17]), (&[17], &[17, 4]), (&[2, 3, 17], &[17]), (&[17], &[2, 17, 4])];
    for (a, b) in vectors {
        agree!(on, BOUND.terms(33), "{a:?} x {b:?}", |d| product(d, a, b));
    }
}

fn layouts<B: Backend>(on: &On<B>) {
    for (m, k, n) in [(7, 17, 5), (33, 18, 40), (65, 70, 67), (1, 9, 20), (20, 9, 1)] {
        for a in Lay::all(2) {
            for b in Lay::all(2) {
                agree!(on, BOUND.terms(k), "{a:?} x {b:?}, {m} x {k} x {n}", |d| {
                    d.laid(a, -1.0, 1.0, [m, k]).matmul(&d.laid(b, -1.0, 1.0, [k, n]))
                });
                // A view against its copy on the same device, which checks Plain too.
                let (x, y) = (on.laid(a, -1.0, 1.0, [m, k]), on.laid(b, -1.0, 1.0, [k, n]));
                let copied = read(&x.contiguous().matmul(&y.contiguous()));
                assert_close(&format!("{a:?} x {b:?} and copies"), &x.matmul(&y), &copied, BOUND.terms(k));
            }
        }
    }
    let batches: [&[usize]; 3] = [&[3], &[2, 3], &[0]];
    for batch in batches {
        for (a, b) in pairs(Lay::all(2 + batch.len())) {
            agree!(on, BOUND.terms(6), "{batch:?} of {a:?} x {b:?}", |d| {
                let of = |rows, columns| [batch, &[rows, columns]].concat();
                let a = d.laid(a, -1.0, 1.0, of(4, 6).as_slice());
                a.matmul(&d.laid(b, -1.0, 1.0, of(6, 5).as_slice()))
            });
        }
    }
}

fn batches<B: Backend>(on: &On<B>) {
    let pairs: [(&[usize], &[usize]); 8] = [
        (&[3, 4, 5], &[3, 5, 2]),
        (&[2, 3, 4, 5], &[5, 6]),
        (&[4, 5], &[3, 5, 2]),
        (&[2, 1, 4, 5], &[3, 5, 2]),
        (&[1, 3, 4, 5], &[2, 1, 5, 6]),
        (&[2, 1, 3, 1, 4, 5], &[1, 2, 1, 2, 5, 3]),
        (&[40, 1, 17], &[40, 17, 1]),
        (&[3, 0, 4], &[3, 4, 2]),
    ];
    for (a, b) in pairs {
        agree!(on, BOUND.terms(60), "{a:?} x {b:?}", |d| product(d, a, b));
    }
}

fn of_linear<B: Backend>(d: &On<B>) -> [Tensor<B>; 3] {
    [d.uniform(-1.0, 1.0, [3, 4]), d.uniform(-1.0, 1.0, [2, 4]), d.uniform(-1.0, 1.0, [2])]
}

pub(crate) const ACTIVATIONS: [Activation; 3] = [Activation::Relu, Activation::Sigmoid, Activation::Tanh];

pub(crate) fn after<B: Backend>(f: Activation, y: &Tensor<B>) -> Tensor<B> {
    match f {
        Activation::Relu => y.relu(),
        Activation::Sigmoid => y.sigmoid(),
        Activation::Tanh => y.tanh(),
    }
}

/// The fused result is bit-identical to the activation of the linear map; gradients may differ by the order of sums, which on a GPU
/// may depend on the alignment of a buffer.
fn activated<B: Backend>(on: &On<B>, shape: &[usize], n: usize, f: Activation) {
    let k = shape[shape.len() - 1];
    let results = |at_once: bool| {
        let place = on.again();
        let inputs = [place.mixed(shape), place.mixed([n, k]), place.mixed([n])];
        with_grads(&place, inputs, |[x, w, b]| match at_once {
            true => x.linear_activated(w, Some(b), f),
            false => after(f, &x.linear(w, Some(b))),
        })
    };
    let (one, two) = (results(true), results(false));
    let about = format!("linear of {shape:?} to {n} and {f:?}");
    assert_same(&about, &one[0], &two[0]);
    for (one, two) in one.iter().zip(&two).skip(1) {
        assert_close(&format!("a gradient of the {about}"), one, two, BOUND.terms(k.max(n).max(70)));
    }
}

fn activations<B: Backend>(on: &On<B>) {
    // Blocked; a long k, split; one row; one column; k = 0; no rows.
    let sizes: [(&[usize], usize); 7] =
        [(&[70, 300], 130), (&[4, 3000], 6), (&[50], 40), (&[40, 50], 1), (&[2, 3, 5], 7), (&[5, 0], 3), (&[0, 4], 3)];
    for (shape, n) in sizes {
        for f in ACTIVATIONS {
            activated(on, shape, n, f);
        }
    }
    // NaN and infinities pass; a transposed weight is not copied first.
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let x = on.list(&[nan, 1.0, inf, 1.0, -inf, 1.0], [3, 2]);
    let w = on.list(&[1.0, 3.0, 0.5, 3.0], [2, 2]);
    for f in ACTIVATIONS {
        let y = x.linear_activated(&w.t(), None, f);
        assert_same(&format!("{f:?}"), &y, &after(f, &x.linear(&w.t(), None)));
        assert!(read(&y).data[0].is_nan(), "{f:?} of NaN");
    }
}

fn linear<B: Backend>(on: &On<B>) {
    let inputs: [&[usize]; 6] = [&[5, 17], &[1, 17], &[2, 3, 17], &[17], &[0, 17], &[40, 17]];
    for shape in inputs {
        for n in [1, 4, 33] {
            agree!(on, BOUND.terms(40), "linear of {shape:?} to {n}", |d| {
                let inputs = [d.uniform(-1.0, 1.0, shape), d.uniform(-1.0, 1.0, [n, 17]), d.uniform(-1.0, 1.0, [n])];
                with_grads(d, inputs, |[x, w, b]| x.linear(w, Some(b)))
            });
            agree!(on, BOUND.terms(40), "linear of {shape:?} to {n} without bias", |d| {
                let inputs = [d.uniform(-1.0, 1.0, shape), d.uniform(-1.0, 1.0, [n, 17])];
                with_grads(d, inputs, |[x, w]| x.linear(w, None))
            });
            let place = on.again();
            let (x, w, b) = (place.mixed(shape), place.mixed([n, 17]), place.mixed([n]));
            let fused = read(&x.device().linear(&x, &w, Some(&b), None));
            assert_close("linear and its composition", &fused, &composed::linear(&x, &w, Some(&b), None), eps(16.0));
        }
    }
    for (of_x, of_w) in pairs(Lay::all(2)) {
        for of_b in Lay::all(1) {
            agree!(on, BOUND.terms(18), "linear of {of_x:?}, {of_w:?} and {of_b:?}", |d| {
                let (x, w) = (d.laid(of_x, -1.0, 1.0, [6, 18]), d.laid(of_w, -1.0, 1.0, [7, 18]));
                [x.linear(&w, Some(&d.laid(of_b, -1.0, 1.0, [7]))), x.linear(&w, None)]
            });
        }
    }
}
