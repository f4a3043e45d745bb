//! Batch, layer and group norm: values, statistics and gradients, fused against composed, and at the edges.

use crate::check::{assert_values, with_grads};
use crate::close::{Tolerance, eps, read};
use crate::on::Lay;
use crate::{On, Suite};
use minitorch_core::backend::Backend;
use minitorch_core::ops::composed;
use minitorch_core::ops::norm::NormOptions;
use minitorch_core::{Dims, Tensor};

const EPS: f64 = 1e-5;

/// Values of order 1 from a mean and a variance: a handful of roundings each.
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
        // By its own statistics it is what training computes.
        let x = on.uniform(-2.0, 2.0, [4, 3, 5, 2]);
        let [y, mean, var] = x.batch_norm(None, None, EPS);
        let again = x.batch_norm_with([&mean, &var], None, None, EPS);
        crate::close::assert_close("by its own statistics", &read(&again), &read(&y), BOUND);
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
        |[x, w, b]| x.layer_norm(4, Some(w), Some(b), EPS)
    );
    check!(suite, "group_norm", 2, |d| [d.uniform(-2.0, 2.0, [2, 4, 3]), d.uniform(0.5, 1.5, [4])], |[x, w]| x
        .group_norm(2, Some(w), None, EPS));
    check!(suite, "instance_norm", 2, |d| [d.uniform(-2.0, 2.0, [2, 4, 3])], |[x]| x.group_norm(4, None, None, EPS));
    suite.f32("nothing", 1, |on| {
        let x = on.mixed([0, 3]);
        assert_eq!(x.layer_norm(3, None, None, EPS).dims(), [0, 3]);
        assert_eq!(on.mixed([0, 4, 2]).group_norm(2, None, None, EPS).dims(), [0, 4, 2]);
    });
}

fn batch_norm<B: Backend>(on: &On<B>) {
    let shapes: [&[usize]; 7] =
        [&[8, 3], &[5, 2, 7], &[4, 3, 5, 5], &[2, 5, 1, 17], &[1, 3, 6, 6], &[2, 2, 2, 3, 2], &[9, 1, 3]];
    for shape in shapes {
        for lay in [Lay::Whole, Lay::Reversed, Lay::Sliced] {
            agree!(
                on,
                BOUND,
                |d| {
                    let c = shape[1];
                    let inputs = [d.laid(lay, -2.0, 2.0, shape), d.uniform(0.5, 1.5, [c]), d.uniform(-1.0, 1.0, [c])];
                    let mut statistics = inputs[0].batch_norm(None, None, EPS)[1..].to_vec();
                    statistics.extend(with_grads(d, inputs, |[x, w, b]| {
                        let [y, ..] = x.batch_norm(Some(w), Some(b), EPS);
                        y
                    }));
                    statistics
                },
                "batch_norm of {lay:?} {shape:?}"
            );
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
            agree!(
                on,
                BOUND.terms(4),
                |d| {
                    let of = &shape[shape.len() - last..];
                    let inputs = [d.laid(lay, -2.0, 2.0, shape), d.uniform(0.5, 1.5, of), d.uniform(-1.0, 1.0, of)];
                    with_grads(d, inputs, |[x, w, b]| x.layer_norm(of, Some(w), Some(b), EPS))
                },
                "layer_norm of {lay:?} {shape:?} over {last}"
            );
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
            agree!(
                on,
                BOUND,
                |d| {
                    let c = shape[1];
                    let inputs = [d.laid(lay, -2.0, 2.0, shape), d.uniform(0.5, 1.5, [c]), d.uniform(-1.0, 1.0, [c])];
                    with_grads(d, inputs, |[x, w, b]| x.group_norm(groups, Some(w), Some(b), EPS))
                },
                "group_norm of {lay:?} {shape:?} in {groups} groups"
            );
        }
    }
}

/// The device's own kernel against the composition on the same device, in every arrangement and in one that core does not
/// ask for.
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
        let (gx, affine) = on.device.normalize_grad(&g, &x, Some(&w), [&made[1], &made[2]], &options);
        let (want, want_affine) = composed::normalize_grad(&g, &x, Some(&w), [&made[1], &made[2]], &options);
        let (Some([gw, gb]), Some([want_gw, want_gb])) = (affine, want_affine) else {
            panic!("a weight was given, and no gradient of it came back")
        };
        let [y, mean, var] = fused;
        let [want_y, want_mean, want_var] = made;
        let pairs = [(y, want_y), (mean, want_mean), (var, want_var), (gx, want), (gw, want_gw), (gb, want_gb)];
        for (i, (got, want)) in pairs.iter().enumerate() {
            let about = format!("normalize of {shape:?} over {:?}, result {i}", &*dims);
            crate::close::assert_close(&about, &read(got), &read(want), BOUND);
        }
        let [_, mean, var] = on.device.normalize(&x, None, None, &options);
        assert!(on.device.normalize_grad(&g, &x, None, [&mean, &var], &options).1.is_none(), "no weight, no gradient");
    }
}
