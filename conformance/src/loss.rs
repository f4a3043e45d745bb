//! Losses: cross-entropy with its fused gradient and its bad targets, and the composed losses.

use crate::check::{assert_values, with_grads};
use crate::close::{EXACT, Tolerance, assert_close, eps, read};
use crate::on::Lay;
use crate::{On, Suite};
use minitorch_core::backend::{Backend, Caller};
use minitorch_core::ops::composed;
use minitorch_core::random::Draw;
use minitorch_core::{CrossEntropyOptions, Reduction, Tensor};

/// A relative error only: small results are accurate too.
const DIGITS: Tolerance = Tolerance { atol: 0.0, rtol: 16.0 };

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.floats("cross_entropy", 3000, |on| {
        for (n, c) in [(7, 10), (1, 17), (33, 3), (40, 67), (5, 1), (1, 1)] {
            for lay in Lay::all(2) {
                agree!(on, eps(16.0), "cross_entropy of {lay:?} [{n}, {c}]", |d| {
                    let target = d.ints(0, c as i32, [n]);
                    let x = d.laid(lay, -4.0, 4.0, [n, c]);
                    with_grads(d, [x], |[x]| x.cross_entropy(&target))
                });
            }
        }
        agree!(on, eps(16.0), |d| {
            // A view as the target.
            let target = d.ints(0, 5, [9, 2]).t().slice(1);
            with_grads(d, [d.mixed([9, 5])], |[x]| x.cross_entropy(&target))
        });
    });
    suite.floats("cross_entropy_every_length", 20_000, |on| {
        for (n, c) in [(700, 10), (1, 3), (3, 1000), (20, 1000), (9, 1028), (9, 2001)] {
            agree!(on, eps(8.0).terms(c), "cross_entropy of [{n}, {c}]", |d| {
                let target = d.ints(0, c as i32, [n]);
                with_grads(d, [d.uniform(-5.0, 5.0, [n, c])], |[x]| x.cross_entropy(&target))
            });
        }
    });
    suite.f32("cross_entropy_large", 300_000, |on| {
        for (n, c) in [(3, 100_003), (70_001, 3), (512, 257)] {
            agree!(on, eps(8.0).terms(c), "cross_entropy of [{n}, {c}]", |d| {
                let target = d.ints(0, c as i32, [n]);
                with_grads(d, [d.uniform(-4.0, 4.0, [n, c])], |[x]| x.cross_entropy(&target))
            });
        }
    });
    suite.floats("cross_entropy_fused_against_composed", 600, fused);
    suite.floats("cross_entropy_far_out", 16, far_out);
    suite.floats("cross_entropy_bad_target", 20, bad_target);
    suite.floats("cross_entropy_at_both_ends", 3000, cross_entropy_at_both_ends);
    suite.floats("bce_at_both_ends", 1, bce_at_both_ends);
    suite.floats("distances_at_both_ends", 1, distances_at_both_ends);
    suite.floats("zero_times_infinity", 12, zero_times_infinity);
    suite.floats("order_of_dimensions", 200, order_of_dimensions);
    suite.floats("cross_entropy_of_no_rows_is_nan", 0, |on| {
        let x = on.mixed([0, 5]).requires_grad();
        let loss = x.cross_entropy(&Tensor::from_slice::<i32>(&[], [0], &on.device));
        assert_values(&loss, &[f64::NAN], EXACT);
        assert!(loss.backward()[&x].shape()[..] == [0, 5]);
    });
    suite.floats("bce_at_certainty", 16, |on| {
        // PyTorch: binary_cross_entropy of p = [1, 0, 0, 1, 0.5] and t = [1, 0, 1, 0, 1]: 0, 0, 100, 100, log 2, and its
        // gradient with the divisor p (1 - p) clamped to 1e-12.
        let p = on.list(&[1.0, 0.0, 0.0, 1.0, 0.5], [5]).requires_grad();
        let t = on.list(&[1.0, 0.0, 1.0, 0.0, 1.0], [5]);
        let loss = p.bce_loss(&t);
        assert_values(&loss, &[(200.0 + 2f64.ln()) / 5.0], eps(4.0));
        assert_values(&loss.backward()[&p], &[0.0, 0.0, -2e11, 2e11, -0.4], eps(8.0));
        let x = on.list(&[40.0], [1]).requires_grad();
        let grads = x.sigmoid().bce_loss(&on.list(&[1.0], [1])).backward();
        assert_values(&grads[&x], &[0.0], eps(4.0));
    });
    suite.floats("cross_entropy_with_options", 600, |on| {
        let plain = CrossEntropyOptions::default;
        agree!(on, eps(16.0), |d| {
            let (x, w) = (d.uniform(-3.0, 3.0, [2, 5, 3, 4]), d.uniform(0.5, 2.0, [5]));
            let target = d.ints(-1, 5, [2, 3, 4]);
            let options = CrossEntropyOptions::default().weight(&w).ignore_index(-1).label_smoothing(0.2);
            let mut all = with_grads(d, [x.clone()], |[x]| x.cross_entropy_with(&target, &options));
            all.push(x.cross_entropy_with(&target, &options.clone().reduction(Reduction::None)));
            all.push(x.cross_entropy_with(&target, &options.reduction(Reduction::Sum)));
            all
        });
        // Without options, and with one-hot probabilities, it equals the plain loss.
        let (x, target) = (on.uniform(-3.0, 3.0, [6, 5]), on.ints(0, 5, [6]));
        let want = read(&x.cross_entropy(&target));
        assert_close("no option", &x.cross_entropy_with(&target, &plain()), &want, eps(8.0));
        let soft = target.one_hot(5, on.dtype);
        assert_close("one-hot", &x.cross_entropy_with(&soft, &plain()), &want, eps(8.0));
        // All targets ignored: the mean is NaN, the sum 0.
        let ignored = plain().ignore_index(9);
        let none = Tensor::from_slice(&[9, 9, 9, 9, 9, 9], [6], &on.device);
        assert_values(&x.cross_entropy_with(&none, &ignored), &[f64::NAN], EXACT);
        assert_values(&x.cross_entropy_with(&none, &ignored.reduction(Reduction::Sum)), &[0.0], EXACT);
        assert!(on.device.synchronize().is_ok(), "an ignored target is no bad index");
        let bad = Tensor::from_slice(&[0, 7, 1, 2, 3, 4], [6], &on.device);
        drop(bad_index!(on.device, "cross_entropy_with", [7], 5; x.cross_entropy_with(&bad, &plain())));
    });
    suite.floats("l1_huber_kl", 200, |on| {
        agree!(on, eps(16.0), |d| {
            let inputs = || [d.mixed([5, 7]), d.mixed([5, 7])];
            let mut all = with_grads(d, inputs(), |[x, t]| x.l1_loss(t));
            all.extend(with_grads(d, inputs(), |[x, t]| x.huber_loss(t, 0.8)));
            let p = [d.uniform(-3.0, 0.0, [5, 7]), d.uniform(0.1, 1.0, [5, 7])];
            all.extend(with_grads(d, p, |[x, t]| x.kl_div_loss(t)));
            all
        });
        let (x, t) = (on.list(&[-1.0, -2.0], [1, 2]), on.list(&[0.0, 1.0], [1, 2]));
        assert_values(&x.kl_div_loss(&t), &[2.0], EXACT); // 0 log 0 is 0
        // Huber at the target, within delta, at it and beyond: the first derivative and the second.
        let x = on.list(&[0.0, 0.5, -0.5, 1.0, 3.0, -3.0], [6]).requires_grad();
        let loss = x.huber_loss(&x.zeros_like(), 1.0) * 6.0;
        assert_values(&loss, &[0.25 + 0.5 + 5.0], eps(4.0));
        let [first] = loss.grad([&x]);
        assert_values(&first, &[0.0, 0.5, -0.5, 1.0, 1.0, -1.0], eps(4.0));
        let [second] = first.slice(..3).sum(..).grad([&x]);
        assert_values(&second, &[1.0, 1.0, 1.0, 0.0, 0.0, 0.0], eps(4.0));
        let x = on.list(&[1.0, 1.0], [2]).requires_grad();
        let grads = x.l1_loss(&on.list(&[1.0, 0.0], [2])).backward();
        assert_values(&grads[&x], &[0.0, 0.5], EXACT);
    });
    suite.floats("nll_loss", 100, |on| {
        agree!(on, eps(8.0), |d| {
            let target = d.ints(0, 10, [7]);
            with_grads(d, [d.mixed([7, 10])], |[x]| x.nll_loss(&target))
        });
    });
    suite.floats("mse_bce", 200, |on| {
        agree!(on, eps(16.0), |d| {
            let mut all = with_grads(d, [d.mixed([5, 17]), d.mixed([5, 17])], |[x, t]| x.mse_loss(t));
            all.extend(with_grads(d, [d.uniform(0.05, 0.95, [5, 17]), d.uniform(0.0, 1.0, [5, 17])], |[x, t]| {
                x.bce_loss(t)
            }));
            let inputs = [d.uniform(-9.0, 9.0, [5, 17]), d.uniform(0.0, 1.0, [5, 17])];
            all.extend(with_grads(d, inputs, |[x, t]| x.bce_with_logits_loss(t)));
            all
        });
        // The logarithm is clamped to -100.
        let (p, t) = (on.list(&[0.0, 1.0, 1.0, 0.0], [4]), on.list(&[1.0, 0.0, 1.0, 0.0], [4]));
        assert_values(&p.bce_loss(&t), &[50.0], eps(2.0));
        let (x, t) = (on.list(&[1000.0, -1000.0], [2]), on.list(&[0.0, 0.0], [2]));
        assert_values(&x.bce_with_logits_loss(&t), &[500.0], eps(2.0));
    });
}

fn fused<B: Backend>(on: &On<B>) {
    let x = on.uniform(-9.0, 9.0, [33, 17]);
    let target = on.ints(0, 17, [33]);
    let g = on.uniform(-1.0, 1.0, []);
    let caller = Caller::of("cross_entropy");
    let (Ok((loss, statistics)), Ok((loss2, statistics2))) =
        (on.device.cross_entropy(&x, &target, caller), composed::cross_entropy(&x, &target, caller))
    else {
        panic!("the targets are classes")
    };
    assert_close("the loss", &loss, &loss2, eps(16.0));
    assert_close("maximum and rest", &statistics, &statistics2, eps(16.0));
    let fused = on.device.cross_entropy_grad(&g, &x, &target, &statistics);
    assert_close("the gradient", &fused, &composed::cross_entropy_grad(&g, &x, &target, &statistics2), eps(16.0));
}

fn far_out<B: Backend>(on: &On<B>) {
    let rows = [[1000.0, -1000.0, 0.0], [-1000.0, 1000.0, 0.0], [-1000.0, -1000.0, -1000.0], [1000.0, 1000.0, 1000.0]];
    agree!(on, eps(8.0), |d| {
        let target = Tensor::from_slice(&[0, 0, 1, 2], [4], &d.device);
        with_grads(d, [d.list(rows.as_flattened(), [4, 3])], |[x]| x.cross_entropy(&target))
    });
    // A logit of -inf, not at the target, is a class of probability 0.
    let inf = f64::INFINITY;
    let x = on.list(&[0.0, -inf, 0.0, -inf, 3.0, -inf], [2, 3]).requires_grad();
    let loss = x.cross_entropy(&Tensor::from_slice(&[0, 1], [2], &on.device));
    assert_values(&loss, &[std::f64::consts::LN_2 / 2.0], eps(4.0));
    assert_values(&loss.backward()[&x], &[-0.25, 0.0, 0.25, 0.0, 0.0, 0.0], eps(4.0));
    // A row without a distribution and its gradient are NaN; other rows are not affected.
    for bad in [[f64::NAN, 0.0], [inf, 0.0], [inf, inf], [-inf, -inf]] {
        let x = on.list(&[0.0, 0.0, bad[0], bad[1]], [2, 2]).requires_grad();
        let loss = x.cross_entropy(&Tensor::from_slice(&[0, 1], [2], &on.device));
        assert_values(&loss, &[f64::NAN], EXACT);
        assert_values(&loss.backward()[&x], &[-0.25, 0.25, f64::NAN, f64::NAN], eps(4.0));
    }
}

/// `log(1 + e^x)` and its derivative, without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}
fn sigmoid(x: f64) -> f64 {
    let e = (-x.abs()).exp();
    if x > 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}

/// The value and the gradient of `f` at one element and its target, against references in f64.
#[track_caller]
fn at_point<B: Backend>(
    on: &On<B>,
    [x, t]: [f64; 2],
    [value, slope]: [f64; 2],
    f: impl Fn(&Tensor<B>, &Tensor<B>) -> Tensor<B>,
) {
    let (x, t) = (on.list(&[x], [1]).requires_grad(), on.list(&[t], [1]));
    let loss = f(&x, &t);
    assert_values(&loss, &[value], DIGITS);
    assert_values(&loss.backward()[&x], &[slope], DIGITS);
}

/// Probabilities near 1 and 0 of the target, also with large logits: no cancellation in the value or in the gradient.
fn cross_entropy_at_both_ends<B: Backend>(on: &On<B>) {
    for base in [0.0, 100.0, 1e4, 1e5, -1e5] {
        for far in [0.0, 1.0, 5.0, 20.0, 40.0, 80.0] {
            for (class, d, sign) in [(1, -far, -1.0), (0, far, 1.0)] {
                let x = on.list(&[base, base + far], [1, 2]).requires_grad();
                let target = Tensor::from_slice(&[class], [1], &on.device);
                let loss = x.cross_entropy(&target);
                assert_values(&loss, &[softplus(d)], DIGITS);
                assert_values(&loss.backward()[&x], &[-sign * sigmoid(d), sign * sigmoid(d)], DIGITS);
                assert_values(&x.log_softmax(1).nll_loss(&target), &[softplus(d)], DIGITS);
                assert_values(&x.cross_entropy_with(&target, &CrossEntropyOptions::default()), &[softplus(d)], DIGITS);
            }
        }
    }
    // One class above many that are equal, with row lengths of every kernel.
    for c in [3, 17, 70, 300, 1500] {
        let top = c / 2;
        let row: Vec<f64> = (0..c).map(|i| if i == top { 1020.0 } else { 1000.0 }).collect();
        let (e, rest) = ((-20f64).exp(), (c - 1) as f64 * (-20f64).exp());
        let x = on.list(&row, [1, c]).requires_grad();
        let loss = x.cross_entropy(&Tensor::from_slice(&[top as i32], [1], &on.device));
        let relative = DIGITS.terms(c);
        assert_values(&loss, &[rest.ln_1p()], relative);
        let want: Vec<f64> = (0..c).map(|i| if i == top { -rest } else { e } / (1.0 + rest)).collect();
        assert_values(&loss.backward()[&x], &want, relative);
    }
}

fn bce_at_both_ends<B: Backend>(on: &On<B>) {
    for x in [0.0, 0.5, 3.0, 10.0, 15.0, 17.0, 20.0, 40.0, 80.0, 1e4].into_iter().flat_map(|x| [x, -x]) {
        // Targets of 0 and 1, and one between.
        at_point(on, [x, 1.0], [softplus(-x), -sigmoid(-x)], |x, t| x.bce_with_logits_loss(t));
        at_point(on, [x, 0.0], [softplus(x), sigmoid(x)], |x, t| x.bce_with_logits_loss(t));
        let between = [softplus(-x.abs()) + x.abs() * if x > 0.0 { 0.75 } else { 0.25 }, sigmoid(x) - 0.25];
        at_point(on, [x, 0.25], between, |x, t| x.bce_with_logits_loss(t));
        at_point(on, [x, 0.0], [softplus(x), sigmoid(x)], |x, _| x.softplus().sum(..));
    }
    // Probabilities that are exact in both dtypes. The gradient's divisor p (1 - p) is clamped to 1e-12.
    for p in [0.5f64, 2f64.powi(-10), 2f64.powi(-30), 2f64.powi(-100), 1.0 - 2f64.powi(-10), 1.0 - 2f64.powi(-24)] {
        let divisor = (p * (1.0 - p)).max(1e-12);
        at_point(on, [p, 0.0], [-(-p).ln_1p(), p / divisor], |x, t| x.bce_loss(t));
        at_point(on, [p, 1.0], [-p.ln(), (p - 1.0) / divisor], |x, t| x.bce_loss(t));
        let (x, t) = (on.list(&[p], [1]), on.list(&[0.25], [1]).requires_grad());
        assert_values(&x.bce_loss(&t).backward()[&t], &[(-p).ln_1p() - p.ln()], DIGITS);
    }
}

fn distances_at_both_ends<B: Backend>(on: &On<B>) {
    for d in [2f64.powi(-60), 2f64.powi(-20), 0.75, 1.0, 1.5, 1e3, 1e18].into_iter().flat_map(|d| [d, -d]) {
        at_point(on, [d, 0.0], [d * d, 2.0 * d], |x, t| x.mse_loss(t));
        at_point(on, [d, 0.0], [d.abs(), d.signum()], |x, t| x.l1_loss(t));
        for delta in [2f64.powi(-10), 1.0, 1024.0] {
            let value = if d.abs() <= delta { d * d / 2.0 } else { delta * (d.abs() - delta / 2.0) };
            at_point(on, [d, 0.0], [value, d.clamp(-delta, delta)], |x, t| x.huber_loss(t, delta));
        }
    }
    for t in [2f64.powi(-100), 2f64.powi(-10), 0.25, 1.0] {
        for x in [-200.0, -20.0, -2f64.powi(-20)] {
            at_point(on, [x, t], [t * (t.ln() - x), -t], |x, t| x.kl_div_loss(t));
        }
    }
}

/// A weight of 0 times a loss of infinity is 0.
fn zero_times_infinity<B: Backend>(on: &On<B>) {
    let inf = f64::INFINITY;
    let (x, t) = (on.list(&[-inf, -2.0, -inf], [1, 3]), on.list(&[0.0, 0.5, 0.0], [1, 3]));
    let (x, t) = (x.requires_grad(), t.requires_grad());
    let loss = x.kl_div_loss(&t);
    assert_values(&loss, &[0.5 * (0.5f64.ln() + 2.0)], eps(4.0));
    let grads = loss.backward();
    assert_values(&grads[&x], &[0.0, -0.5, 0.0], EXACT);
    assert_values(&grads[&t].slice((0, 1)), &[0.5f64.ln() + 3.0], eps(4.0));
    // One-hot targets with masked logits, as probabilities and as indices.
    let x = on.list(&[1.5, -inf, 0.5, -inf, 2.0, -1.0, 3.0, 0.25, -inf], [3, 3]).requires_grad();
    let index = Tensor::from_slice(&[2, 1, 1], [3], &on.device);
    let plain = CrossEntropyOptions::default;
    let want = (1f64.exp().ln_1p() + (-3f64).exp().ln_1p() + 2.75f64.exp().ln_1p()) / 3.0;
    let grads = x.cross_entropy(&index).backward();
    for target in [index.clone(), index.one_hot(3, on.dtype)] {
        let loss = x.cross_entropy_with(&target, &plain());
        assert_values(&loss, &[want], eps(4.0));
        assert_close("the gradient", &loss.backward()[&x], &grads[&x], eps(4.0));
    }
    // A class of weight 0 with a masked logit: as the target, and beside others.
    let w = on.list(&[1.0, 0.0, 2.0], [3]);
    let masked = x.slice(..1);
    let (of_two, target) = (1f64.exp().ln_1p(), Tensor::from_slice(&[1], [1], &on.device));
    let sum = plain().weight(&w).reduction(Reduction::Sum);
    let loss = masked.cross_entropy_with(&target, &sum);
    assert_values(&loss, &[0.0], EXACT);
    assert_values(&loss.backward()[&x].slice(0), &[0.0; 3], EXACT);
    let even = on.list(&[0.25, 0.5, 0.25], [1, 3]);
    assert_values(&masked.cross_entropy_with(&even, &sum), &[0.25 * (of_two - 1.0) + 0.5 * of_two], eps(8.0));
    let smooth = sum.label_smoothing(0.3);
    assert_values(&masked.cross_entropy_with(&target, &smooth), &[0.1 * (of_two - 1.0 + 2.0 * of_two)], eps(8.0));
    // An infinite logit that agrees with its target, and ones that do not.
    for (x, t, value, slope) in [
        (inf, 1.0, 0.0, 0.0),
        (-inf, 0.0, 0.0, 0.0),
        (-inf, 1.0, inf, -1.0),
        (inf, 0.0, inf, 1.0),
        (inf, 0.5, inf, 0.5),
    ] {
        at_point(on, [x, t], [value, slope], |x, t| x.bce_with_logits_loss(t));
    }
}

/// Classes and channels are dimension 1; any number of dimensions follow, whose order is kept.
fn order_of_dimensions<B: Backend>(on: &On<B>) {
    let shapes: [&[usize]; 5] = [&[2, 3], &[2, 4, 3], &[2, 4, 3, 2], &[1, 2, 2, 3, 4], &[2, 4, 1, 2, 3, 2]];
    for shape in shapes {
        let (c, rank) = (shape[1], shape.len() as isize);
        let x = on.uniform(-3.0, 3.0, shape);
        // [n, c, ..] as [n * .., c].
        let rows = |x: &Tensor<B>| x.movedim(1, -1).reshape((-1, c));
        let places = x.shape().remove(1);
        let (index, soft) = (on.ints(-1, c as i32, places), on.uniform(0.0, 1.0, shape));
        let w = on.uniform(0.5, 2.0, [c]);
        for reduction in [Reduction::None, Reduction::Mean, Reduction::Sum] {
            let about = format!("{reduction:?} of {shape:?}");
            let options = CrossEntropyOptions::default().weight(&w).label_smoothing(0.2).reduction(reduction);
            let got = x.cross_entropy_with(&soft, &options);
            let want = rows(&x).cross_entropy_with(&rows(&soft), &options).reshape(*got.shape());
            assert!(reduction != Reduction::None || *got.shape() == places, "{about}");
            assert_close(&about, &got, &want, eps(16.0));
            let options = options.ignore_index(-1);
            let got = x.cross_entropy_with(&index, &options);
            let want = rows(&x).cross_entropy_with(&index.flatten(..), &options).reshape(*got.shape());
            assert!(reduction != Reduction::None || *got.shape() == places, "{about}");
            assert_close(&about, &got, &want, eps(16.0));
        }
        if rank == 2 {
            continue;
        }
        // Other operations on dimension 1, with the further dimensions as they are and flattened.
        let (mean, var) = (on.mixed([c]), on.uniform(0.5, 2.0, [c]));
        let dropped = |x: &Tensor<B>| {
            x.device().rng().restore(Draw { seed: 3, index: 5 });
            x.dropout2d(0.5)
        };
        let all = |x: &Tensor<B>| {
            let [y, ..] = x.batch_norm(Some(&w), Some(&mean), 1e-5);
            let fixed = x.batch_norm_with([&mean, &var], Some(&w), Some(&mean), 1e-5);
            let group = x.group_norm(c / 2, Some(&w), Some(&mean), 1e-5);
            [y, fixed, group, dropped(x), x.softmax(1), x.log_softmax(1), x.cumsum(1)]
        };
        for (i, (got, want)) in all(&x).iter().zip(&all(&x.flatten(2..))).enumerate() {
            assert_close(&format!("{i} of {shape:?}"), got, &want.reshape(*got.shape()), eps(16.0));
        }
    }
}

/// A row with a target out of range is 0 in the loss and in the gradient, which does not report it again.
fn bad_target<B: Backend>(on: &On<B>) {
    for bad in [-1, 5, i32::MAX, i32::MIN] {
        let x = on.mixed([4, 5]);
        let good = Tensor::from_slice(&[1, 4, 0, 2], [4], &on.device);
        let clean = on.list(&read(&x).data, [4, 5]);
        let rows = -clean.log_softmax(1).gather(1, &good.unsqueeze(1));
        let rows = read(&rows).data;
        let leaf = x.requires_grad();
        let target = Tensor::from_slice(&[1, bad, 0, 2], [4], &on.device);
        let loss = bad_index!(on.device, "cross_entropy", [bad as i64], 5; leaf.cross_entropy(&target));
        let Some(loss) = loss else { continue };
        let grads = loss.backward();
        assert_values(&loss, &[(rows[0] + rows[2] + rows[3]) / 4.0], eps(8.0));
        let all_good = clean.requires_grad();
        let want = read(&all_good.cross_entropy(&good).backward()[&all_good]).data;
        let want: Vec<f64> = want.into_iter().enumerate().map(|(i, g)| if i / 5 == 1 { 0.0 } else { g }).collect();
        assert_values(&grads[&leaf], &want, eps(8.0));
    }
}
