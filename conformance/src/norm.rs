//! Batch, layer and group norm: values, statistics and gradients, fused against composed, and at the edges.

use crate::check::{assert_same, assert_values, with_grads};
use crate::close::{Tolerance, Values, eps, read};
use crate::on::Lay;
use crate::{On, Suite};
use minitorch_core::backend::Backend;
use minitorch_core::ops::composed;
use minitorch_core::ops::norm::NormOptions;
use minitorch_core::{Dims, Tensor};

const EPS: f64 = 1e-5;

/// Values of order 1 from a mean and a variance: a few roundings each.
const BOUND: Tolerance = eps(32.0);

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.floats("batch_norm", 4000, batch_norm);
    suite.floats("layer_norm", 4000, layer_norm);
    suite.floats("group_norm", 4000, group_norm);
    suite.floats("fused_against_composed", 4000, fused);
    suite.f32("many_elements", 300_000, |on| {
        // Sums of this many terms, each about 1, divided by as many.
        let bound = BOUND.terms(64);
        agree!(on, bound, |d| {
            let x = d.uniform(-2.0, 2.0, [16, 8, 48, 48]);
            with_grads(d, [x, d.uniform(0.5, 1.5, [8]), d.uniform(-1.0, 1.0, [8])], |[x, w, b]| {
                let [y, ..] = x.batch_norm(Some(w), Some(b), EPS);
                y
            })
        });
        agree!(on, bound.terms(16), |d| {
            let x = d.uniform(-2.0, 2.0, [3000, 100]);
            with_grads(d, [x, d.uniform(0.5, 1.5, [100]), d.uniform(-1.0, 1.0, [100])], |[x, w, b]| {
                x.layer_norm(100, Some(w), Some(b), EPS)
            })
        });
    });
    suite.floats("every_split", 60_000, every_split);
    suite.floats("batch_norm_tracked", 4000, |on| {
        for (shape, momentum) in
            [(vec![4, 3, 5, 2], 0.1), (vec![2, 300], 1.0), (vec![3, 1, 7], 0.0), (vec![2, 0, 3], 0.5)]
        {
            let c = shape[1];
            let m = (shape.iter().product::<usize>() / c.max(1)) as f64;
            agree!(on, BOUND, |d| {
                let x = d.uniform(-2.0, 2.0, shape.as_slice());
                let running = [d.uniform(-1.0, 1.0, [c]), d.uniform(0.5, 1.5, [c])];
                x.batch_norm_tracked(None, None, EPS, running.each_ref(), momentum)
            });
            // Against the definition, from the statistics of the batch.
            let x = on.uniform(-2.0, 2.0, shape.as_slice());
            let old = [on.uniform(-1.0, 1.0, [c]), on.uniform(0.5, 1.5, [c])];
            let [y, mean, var] = x.batch_norm(None, None, EPS);
            let [tracked, new_mean, new_var] = x.batch_norm_tracked(None, None, EPS, old.each_ref(), momentum);
            assert_same("the normalised tensor", &tracked, &y);
            for (old, batch, new, factor) in [(&old[0], mean, new_mean, 1.0), (&old[1], var, new_var, m / (m - 1.0))] {
                let want: Vec<f64> = (read(old).data.iter().zip(&read(&batch).data))
                    .map(|(old, batch)| old * (1.0 - momentum) + batch * factor * momentum)
                    .collect();
                assert_values(&new, &want, BOUND);
            }
            on.advance();
        }
    });
    suite.floats("a_far_mean_costs_the_variance_no_digits", 4000, |on| {
        // 1000 + noise of variance 1/12: E[x²] - E[x]² in the input's own precision would keep two digits of it.
        let x = on.uniform(1000.0, 1001.0, [4, 2, 16, 16]);
        let [y, mean, var] = x.batch_norm(None, None, 0.0);
        let exact = read(&x).data;
        for channel in 0..2 {
            let of = |n: usize| &exact[(n * 2 + channel) * 256..][..256];
            let all: Vec<f64> = (0..4).flat_map(of).copied().collect();
            let m = all.iter().sum::<f64>() / 1024.0;
            let v = all.iter().map(|x| (x - m) * (x - m)).sum::<f64>() / 1024.0;
            let close =
                |got: f64, want: f64, bound: f64| assert!((got - want).abs() <= bound * want, "{got}, not {want}");
            let epsilon = if on.dtype == minitorch_core::DType::F32 { 2f64.powi(-23) } else { 2f64.powi(-50) };
            close(read(&mean).data[channel], m, 4.0 * epsilon);
            close(read(&var).data[channel], v, 64.0 * epsilon);
        }
        // x - mean is 0.5 at most, with an error of 1000 epsilons of either.
        assert_values(&y.square().mean(..), &[1.0], eps(16_000.0));
    });
    suite.floats("exact_far_from_0_and_1", 60_000, |on| {
        let noise = |i: usize| ((i * 7919) % 1000) as f64 / 1000.0;
        type Set<'a> = (&'a str, usize, f64, &'a dyn Fn(usize) -> f64);
        let sets: [Set; 8] = [
            ("neighbours of 10000", 4, 1e-5, &|i| 10_000.0 + 0.01 * i as f64),
            ("a mean that f32 does not have", 6, 0.0, &|i| [16_777_216.0, 16_777_218.0][i % 2]),
            ("squares beyond f32", 4, 1e-5, &|i| [2e19, -2e19, 4e19, 0.0][i]),
            ("squares far beyond f32", 100, 1e-5, &|i| 1e30 * noise(i)),
            ("squares below f32", 100, 0.0, &|i| 1e-25 * noise(i)),
            ("a variance far below eps", 100, 1e-5, &|i| 1e-20 * noise(i)),
            ("the first far from the others", 3000, 1e-5, &|i| if i == 0 { 1e6 } else { noise(i) }),
            ("many near 1000", 5000, 1e-5, &|i| 1000.0 + noise(i)),
        ];
        for (about, n, eps, value) in sets {
            let rows: Vec<f64> =
                (0..3).flat_map(|row| (0..n).map(move |i| value(if row == 1 { n - 1 - i } else { i }))).collect();
            exact(on, about, &on.list(&rows, [3, n]), eps);
        }
    });
    suite.floats("evaluation_far_from_0", 600, |on| {
        let one = |value: f64| on.list(&[value], [1]);
        // 1 / sqrt(1.1e-4) of the distance; folded into one factor and one term it would be 0.75 in f32.
        let x = on.list(&[10_000.0078125, 10_000.0, 9999.9921875], [3, 1]);
        let y = x.batch_norm_with([&one(1e4), &one(1e-4)], Some(&one(2.0)), Some(&one(0.5)), 1e-5);
        let h = 0.0078125 / 1.1e-4f64.sqrt();
        assert_values(&y, &[2.0 * h + 0.5, 0.5, 0.5 - 2.0 * h], eps(4.0));
        // With the batch's own statistics it equals training mode, if the mean is exact in the dtype.
        let far: Vec<f64> = (0..128).map(|i| 1.7e6 + (i % 64) as f64 + (i / 64) as f64).collect();
        for shape in [&[128, 1][..], &[2, 1, 64], &[8, 1, 4, 4]] {
            let x = on.list(&far, shape);
            let [y, mean, var] = x.batch_norm(None, None, EPS);
            let again = x.batch_norm_with([&mean, &var], None, None, EPS);
            crate::close::assert_close("far away, by its own statistics", &again, &y, BOUND);
        }
    });
    suite.floats("constant_input_gives_the_bias", 100, |on| {
        let x = Tensor::full([2, 3, 4], 7.0, (&on.device, on.dtype)).requires_grad();
        let (w, b) = (on.list(&[1.0, 2.0, 3.0], [3]), on.list(&[0.5, -0.5, 0.25], [3]));
        let [y, mean, var] = x.batch_norm(Some(&w), Some(&b), EPS);
        assert_values(&y.slice((0, .., 0)), &[0.5, -0.5, 0.25], eps(1.0));
        assert_values(&mean, &[7.0; 3], eps(1.0));
        assert_values(&var, &[0.0; 3], eps(1.0));
        let grads = y.square().sum(..).backward();
        assert_values(&grads[&x].square().sum(..), &[0.0], eps(64.0));
    });
    suite.floats("nan_stays_in_its_channel", 100, |on| {
        let mut values = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
        values[1] = f64::NAN;
        let [y, mean, var] = on.list(&values, [2, 2, 2]).batch_norm(None, None, EPS);
        let nan = |x: &Tensor<B>| read(&x.isnan()).data;
        assert_eq!(nan(&y), [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
        assert_eq!((nan(&mean), nan(&var)), (vec![1.0, 0.0], vec![1.0, 0.0]));
    });
    suite.floats("evaluation", 1000, |on| {
        agree!(on, BOUND, |d| {
            let statistics = [d.uniform(-1.0, 1.0, [3]), d.uniform(0.5, 2.0, [3])];
            let inputs = [d.uniform(-2.0, 2.0, [4, 3, 5]), d.uniform(0.5, 1.5, [3]), d.uniform(-1.0, 1.0, [3])];
            with_grads(d, inputs, |[x, w, b]| x.batch_norm_with(statistics.each_ref(), Some(w), Some(b), EPS))
        });
        // The statistics are constants, also when they are on the tape.
        let x = on.uniform(-2.0, 2.0, [4, 3, 5]);
        let [mean, var] = [on.uniform(-1.0, 1.0, [3]), on.uniform(0.5, 2.0, [3])].map(|s| s.requires_grad());
        let y = x.batch_norm_with([&mean, &var], None, None, EPS);
        assert!(!y.is_tracked(), "a gradient would reach the running statistics");
        // With the batch's own statistics it equals training mode.
        let x = on.uniform(-2.0, 2.0, [4, 3, 5, 2]);
        let [y, mean, var] = x.batch_norm(None, None, EPS);
        let again = x.batch_norm_with([&mean, &var], None, None, EPS);
        crate::close::assert_close("by its own statistics", &again, &y, BOUND);
    });
    check!(
        suite,
        "batch_norm",
        2,
        |d| [d.uniform(-2.0, 2.0, [3, 2, 4]), d.uniform(0.5, 1.5, [2]), d.uniform(-1.0, 1.0, [2])],
        |[x, w, b]| {
            let [y, ..] = x.batch_norm(Some(w), Some(b), EPS);
            y
        }
    );
    check!(
        suite,
        "layer_norm",
        2,
        |d| [d.uniform(-2.0, 2.0, [3, 4]), d.uniform(0.5, 1.5, [4]), d.uniform(-1.0, 1.0, [4])],
        |[x, w, b]| { x.layer_norm(4, Some(w), Some(b), EPS) }
    );
    check!(suite, "group_norm", 2, |d| [d.uniform(-2.0, 2.0, [2, 4, 3]), d.uniform(0.5, 1.5, [4])], |[x, w]| {
        x.group_norm(2, Some(w), None, EPS)
    });
    check!(suite, "instance_norm", 2, |d| [d.uniform(-2.0, 2.0, [2, 4, 3])], |[x]| x.group_norm(4, None, None, EPS));
    suite.f32("nothing", 1, |on| {
        let x = on.mixed([0, 3]);
        assert_eq!(x.layer_norm(3, None, None, EPS).dims(), [0, 3]);
        assert_eq!(on.mixed([0, 4, 2]).group_norm(2, None, None, EPS).dims(), [0, 4, 2]);
    });
}

/// Shapes that take each way of a GPU backend to split a norm: a warp or a block per statistic, several blocks, and columns.
fn every_split<B: Backend>(on: &On<B>) {
    let shapes: [(&[usize], usize); 8] = [
        (&[16, 3, 20, 20], 3),
        (&[16, 6, 7, 7], 2),
        (&[2, 8, 10, 10], 2),
        (&[1, 2, 100, 100], 1),
        (&[2000, 6], 1),
        (&[3, 300], 50),
        (&[60, 70], 7),
        (&[1, 1, 40_000], 1),
    ];
    for (shape, groups) in shapes {
        let c = shape[1];
        let terms = shape.iter().product::<usize>() / c;
        agree!(on, BOUND.terms(terms / 64), "batch_norm and group_norm of {shape:?} in {groups} groups", |d| {
            let inputs = || [d.uniform(2.0, 4.0, shape), d.uniform(0.5, 1.5, [c]), d.uniform(-1.0, 1.0, [c])];
            let mut all = inputs()[0].batch_norm(None, None, EPS).to_vec();
            all.extend(with_grads(d, inputs(), |[x, w, b]| {
                let [y, ..] = x.batch_norm(Some(w), Some(b), EPS);
                y
            }));
            all.extend(with_grads(d, inputs(), |[x, w, b]| x.group_norm(groups, Some(w), Some(b), EPS)));
            let [x, ..] = inputs();
            all.extend(with_grads(d, [x], |[x]| x.group_norm(groups, None, None, EPS)));
            all
        });
    }
    for [rows, n] in [[50, 64], [50, 63], [20, 700], [20, 701], [3, 3000], [3, 3001], [2000, 8], [1, 5]] {
        agree!(on, BOUND.terms(rows.max(n) / 64), "layer_norm of {rows} rows of {n}", |d| {
            let inputs = [d.uniform(2.0, 4.0, [rows, n]), d.uniform(0.5, 1.5, [n]), d.uniform(-1.0, 1.0, [n])];
            with_grads(d, inputs, |[x, w, b]| x.layer_norm([n], Some(w), Some(b), EPS))
        });
    }
}

fn batch_norm<B: Backend>(on: &On<B>) {
    let shapes: [&[usize]; 7] =
        [&[8, 3], &[5, 2, 7], &[4, 3, 5, 5], &[2, 5, 1, 17], &[1, 3, 6, 6], &[2, 2, 2, 3, 2], &[9, 1, 3]];
    for shape in shapes {
        for lay in [Lay::Whole, Lay::Reversed, Lay::Sliced] {
            agree!(on, BOUND, "batch_norm of {lay:?} {shape:?}", |d| {
                let c = shape[1];
                let inputs = [d.laid(lay, -2.0, 2.0, shape), d.uniform(0.5, 1.5, [c]), d.uniform(-1.0, 1.0, [c])];
                let mut statistics = inputs[0].batch_norm(None, None, EPS)[1..].to_vec();
                statistics.extend(with_grads(d, inputs, |[x, w, b]| {
                    let [y, ..] = x.batch_norm(Some(w), Some(b), EPS);
                    y
                }));
                statistics
            });
        }
        agree!(on, BOUND, |d| {
            let [plain, ..] = d.uniform(-2.0, 2.0, shape).batch_norm(None, None, EPS);
            let [scaled, ..] =
                d.uniform(-2.0, 2.0, shape).batch_norm(Some(&d.uniform(0.5, 1.5, [shape[1]])), None, EPS);
            [plain, scaled]
        });
    }
}

fn layer_norm<B: Backend>(on: &On<B>) {
    let shapes: [(&[usize], usize); 6] =
        [(&[5, 17], 1), (&[17], 1), (&[2, 3, 33], 1), (&[3, 4, 5], 2), (&[4, 5], 2), (&[300, 7], 1)];
    for (shape, last) in shapes {
        for lay in [Lay::Whole, Lay::Reversed, Lay::Sliced] {
            agree!(on, BOUND.terms(4), "layer_norm of {lay:?} {shape:?} over {last}", |d| {
                let of = &shape[shape.len() - last..];
                let inputs = [d.laid(lay, -2.0, 2.0, shape), d.uniform(0.5, 1.5, of), d.uniform(-1.0, 1.0, of)];
                with_grads(d, inputs, |[x, w, b]| x.layer_norm(of, Some(w), Some(b), EPS))
            });
        }
        agree!(on, BOUND, |d| {
            with_grads(d, [d.uniform(-2.0, 2.0, shape)], |[x]| {
                x.layer_norm(&shape[shape.len() - last..], None, None, EPS)
            })
        });
    }
}

fn group_norm<B: Backend>(on: &On<B>) {
    for (shape, groups) in
        [(&[3, 6, 5][..], 3), (&[2, 4, 3, 3], 1), (&[2, 4, 3, 3], 4), (&[4, 6], 2), (&[1, 2, 2, 2, 2], 2)]
    {
        for lay in [Lay::Whole, Lay::Reversed, Lay::Sliced] {
            agree!(on, BOUND, "group_norm of {lay:?} {shape:?} in {groups} groups", |d| {
                let c = shape[1];
                let inputs = [d.laid(lay, -2.0, 2.0, shape), d.uniform(0.5, 1.5, [c]), d.uniform(-1.0, 1.0, [c])];
                with_grads(d, inputs, |[x, w, b]| x.group_norm(groups, Some(w), Some(b), EPS))
            });
        }
    }
}

/// The fused methods against the composed ones on the same device, for every arrangement of dimensions that core uses, and another.
fn fused<B: Backend>(on: &On<B>) {
    let arrangements: [(&[usize], &[isize], &[usize]); 5] = [
        (&[3, 4, 7], &[0, 2], &[1, 4, 1]),
        (&[5, 33], &[1], &[1, 33]),
        (&[2, 3, 2, 9], &[2, 3], &[1, 3, 2, 1]),
        (&[5, 6], &[0], &[1, 6]),
        (&[2, 3, 4], &[0, 1, 2], &[1, 1, 4]),
    ];
    for (shape, dims, affine) in arrangements {
        let dims = match *dims {
            [a] => a.resolve("dims", shape.len()),
            [a, b] => [a, b].resolve("dims", shape.len()),
            _ => (..).resolve("dims", shape.len()),
        };
        let Ok(dims) = dims else { panic!("the case's dims are wrong") };
        let options = NormOptions { dims, eps: 1e-3 };
        let (x, g) = (on.uniform(-2.0, 2.0, shape), on.uniform(-1.0, 1.0, shape));
        let (w, b) = (on.uniform(0.5, 1.5, affine), on.uniform(-1.0, 1.0, affine));
        let fused = on.device.normalize(&x, Some(&w), Some(&b), &options);
        let made = composed::normalize(&x, Some(&w), Some(&b), &options);
        let (gx, affine) = on.device.normalize_grad(&g, &x, Some(&w), &made[1], &options);
        let (want, want_affine) = composed::normalize_grad(&g, &x, Some(&w), &made[1], &options);
        let (Some([gw, gb]), Some([want_gw, want_gb])) = (affine, want_affine) else {
            panic!("a weight was given, and no gradient of it came back")
        };
        let by = on.device.normalize_by(&x, Some(&w), Some(&b), &made[1], &options);
        let [y, of] = fused;
        let [want_y, want_of] = made;
        // The mean, whichever way its parts are rounded, the variance and the root.
        let parts = |of: &Tensor<B>| [of.narrow(1, 0, 2).sum(1), of.narrow(1, 2, 1), of.narrow(1, 3, 1)];
        let ([mean, var, root], [want_mean, want_var, want_root]) = (parts(&of), parts(&want_of));
        let pairs = [
            (by, want_y.clone()),
            (y, want_y),
            (mean, want_mean),
            (var, want_var),
            (root, want_root),
            (gx, want),
            (gw, want_gw),
            (gb, want_gb),
        ];
        for (i, (got, want)) in pairs.iter().enumerate() {
            let about = format!("normalize of {shape:?} over {:?}, result {i}", &*dims);
            crate::close::assert_close(&about, got, want, BOUND);
        }
        let [_, of] = on.device.normalize(&x, None, None, &options);
        assert!(on.device.normalize_grad(&g, &x, None, &of, &options).1.is_none(), "no weight, no gradient");
    }
}

/// Values and gradients of every norm, each with the rows of `x` as its sets of one mean, against the formula in f64.
fn exact<B: Backend>(on: &On<B>, about: &str, x: &Tensor<B>, eps: f64) {
    let (n, g) = (x.shape()[1], on.uniform(-1.0, 1.0, *x.shape()));
    let (of_x, of_g) = (read(x).data, read(&g).data);
    let mut want = [vec![], vec![]];
    let mut deviations = vec![];
    for (x, g) in of_x.chunks(n).zip(of_g.chunks(n)) {
        let mean = |f: &dyn Fn(usize) -> f64| (0..n).map(f).sum::<f64>() / n as f64;
        // Around the middle element f64 loses no digit.
        let around = |i: usize| x[i] - x[n / 2];
        let middle = mean(&around);
        let centred = |i: usize| around(i) - middle;
        let root = 1.0 / (mean(&|i| centred(i) * centred(i)) + eps).sqrt();
        let h = |i: usize| centred(i) * root;
        let (shift, slope) = (mean(&|i| g[i]), mean(&|i| g[i] * h(i)));
        want[0].extend((0..n).map(h));
        // Times the deviation: of order 1.
        want[1].extend((0..n).map(|i| g[i] - shift - h(i) * slope));
        deviations.push(1.0 / root);
    }
    type Form<'a, B> = (&'a str, &'a dyn Fn(&Tensor<B>) -> Tensor<B>);
    let by_batch = |x: &Tensor<B>| {
        let [y, ..] = x.batch_norm(None, None, eps);
        y
    };
    let forms: [Form<B>; 5] = [
        ("layer", &|x| x.layer_norm(n, None, None, eps)),
        ("group", &|x| x.reshape([3, 2, n / 2]).group_norm(1, None, None, eps).reshape([3, n])),
        ("vectors", &|x| by_batch(&x.t()).t()),
        ("image", &|x| by_batch(&x.reshape([1, 3, n])).reshape([3, n])),
        ("images", &|x| by_batch(&x.reshape([3, 2, n / 2]).transpose(0, 1)).transpose(0, 1).reshape([3, n])),
    ];
    for (form, f) in forms {
        let leaf = x.requires_grad();
        let y = f(&leaf);
        let [composed] = y.grad_with(&g, [&leaf]);
        let fused = y.backward_with(&g)[&leaf].clone();
        for (which, got, want) in [("y", y, &want[0]), ("fused", fused, &want[1]), ("composed", composed, &want[1])] {
            let mut got = read(&got);
            if which != "y" {
                got.data.iter_mut().enumerate().for_each(|(i, g)| *g *= deviations[i / n]);
            }
            let want = Values::new(got.shape, got.dtype, want.clone());
            crate::close::assert_close(&format!("{about}, {form}, {which}"), &got, &want, BOUND.terms(4));
        }
    }
}
