//! Losses: cross-entropy with its fused gradient and its bad targets, and the composed losses.

use crate::check::{assert_values, reports_index_error, with_grads};
use crate::close::{EXACT, assert_close, eps, read};
use crate::on::Lay;
use crate::{On, Suite};
use minitorch_core::backend::Backend;
use minitorch_core::ops::composed;
use minitorch_core::{CrossEntropyOptions, Reduction, Tensor};

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.floats("cross_entropy", 3000, |on| {
        for (n, c) in [(7, 10), (1, 17), (33, 3), (40, 67), (5, 1), (1, 1)] {
            for lay in Lay::all(2) {
                agree!(
                    on,
                    eps(16.0),
                    |d| {
                        let target = d.ints(0, c as i32, [n]);
                        let x = d.laid(lay, -4.0, 4.0, [n, c]);
                        with_grads(d, [x], |[x]| x.cross_entropy(&target))
                    },
                    "cross_entropy of {lay:?} [{n}, {c}]"
                );
            }
        }
        agree!(on, eps(16.0), |d| {
            // Targets that are a view.
            let target = d.ints(0, 5, [9, 2]).t().slice(1);
            with_grads(d, [d.mixed([9, 5])], |[x]| x.cross_entropy(&target))
        });
    });
    suite.f32("cross_entropy_large", 300_000, |on| {
        for (n, c) in [(3, 100_003), (70_001, 3), (512, 257)] {
            agree!(
                on,
                eps(8.0).terms(c),
                |d| {
                    let target = d.ints(0, c as i32, [n]);
                    with_grads(d, [d.uniform(-4.0, 4.0, [n, c])], |[x]| x.cross_entropy(&target))
                },
                "cross_entropy of [{n}, {c}]"
            );
        }
    });
    suite.floats("cross_entropy_fused_against_composed", 600, fused);
    suite.floats("cross_entropy_far_out", 16, far_out);
    suite.floats("cross_entropy_bad_target", 20, bad_target);
    suite.floats("cross_entropy_of_no_rows_is_nan", 0, |on| {
        let x = on.mixed([0, 5]).requires_grad();
        let loss = x.cross_entropy(&Tensor::from_slice::<i32>(&[], [0], &on.device));
        assert_values(&loss, &[f64::NAN], EXACT);
        assert!(loss.backward()[&x].shape()[..] == [0, 5]);
    });
    suite.floats("bce_at_certainty", 16, |on| {
        // PyTorch: binary_cross_entropy of p = [1, 0, 0, 1, 0.5] and t = [1, 0, 1, 0, 1]: 0, 0, 100, 100, log 2, and its
        // gradient with the divisor p (1 - p) held at 1e-12.
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
        // Without an option it is the plain loss; a soft target that is hard as well.
        let (x, target) = (on.uniform(-3.0, 3.0, [6, 5]), on.ints(0, 5, [6]));
        let want = read(&x.cross_entropy(&target));
        assert_close("no option", &read(&x.cross_entropy_with(&target, &plain())), &want, eps(8.0));
        let soft = target.one_hot(5, on.dtype);
        assert_close("one-hot", &read(&x.cross_entropy_with(&soft, &plain())), &want, eps(8.0));
        // Nothing counts: the mean of nothing, and a sum of 0.
        let ignored = plain().ignore_index(9);
        let none = Tensor::from_slice(&[9, 9, 9, 9, 9, 9], [6], &on.device);
        assert_values(&x.cross_entropy_with(&none, &ignored), &[f64::NAN], EXACT);
        assert_values(&x.cross_entropy_with(&none, &ignored.reduction(Reduction::Sum)), &[0.0], EXACT);
        assert!(on.device.synchronize().is_ok(), "an ignored target is no bad index");
        let bad = Tensor::from_slice(&[0, 7, 1, 2, 3, 4], [6], &on.device);
        let _ = x.cross_entropy_with(&bad, &plain());
        assert!(on.device.synchronize().is_err(), "7 is no class of 5");
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
        // The logarithm is held at -100, so that certainty of the wrong answer stays finite.
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
    let ((loss, lse), (loss2, lse2)) = (on.device.cross_entropy(&x, &target), composed::cross_entropy(&x, &target));
    assert_close("the loss", &read(&loss), &read(&loss2), eps(16.0));
    assert_close("logsumexp", &read(&lse), &read(&lse2), eps(16.0));
    let fused = on.device.cross_entropy_grad(&g, &x, &target, &lse);
    assert_close(
        "the gradient",
        &read(&fused),
        &read(&composed::cross_entropy_grad(&g, &x, &target, &lse2)),
        eps(16.0),
    );
}

fn far_out<B: Backend>(on: &On<B>) {
    let rows = [[1000.0, -1000.0, 0.0], [-1000.0, 1000.0, 0.0], [-1000.0, -1000.0, -1000.0], [1000.0, 1000.0, 1000.0]];
    agree!(on, eps(8.0), |d| {
        let target = Tensor::from_slice(&[0, 0, 1, 2], [4], &d.device);
        with_grads(d, [d.list(rows.as_flattened(), [4, 3])], |[x]| x.cross_entropy(&target))
    });
    // -inf elsewhere than at the target is a class that cannot be.
    let inf = f64::INFINITY;
    let x = on.list(&[0.0, -inf, 0.0, -inf, 3.0, -inf], [2, 3]).requires_grad();
    let loss = x.cross_entropy(&Tensor::from_slice(&[0, 1], [2], &on.device));
    assert_values(&loss, &[std::f64::consts::LN_2 / 2.0], eps(4.0));
    assert_values(&loss.backward()[&x], &[-0.25, 0.0, 0.25, 0.0, 0.0, 0.0], eps(4.0));
}

/// A bad target's row counts as 0 in the loss and in the gradient, and is reported once.
fn bad_target<B: Backend>(on: &On<B>) {
    for bad in [-1, 5, i32::MAX, i32::MIN] {
        let x = on.mixed([4, 5]);
        let good = Tensor::from_slice(&[1, 4, 0, 2], [4], &on.device);
        let clean = on.list(&read(&x).data, [4, 5]);
        let rows = -clean.log_softmax(1).gather(1, &good.unsqueeze(1));
        let rows = read(&rows).data;
        let leaf = x.requires_grad();
        let loss = leaf.cross_entropy(&Tensor::from_slice(&[1, bad, 0, 2], [4], &on.device));
        let grads = loss.backward();
        reports_index_error(&on.device, &[bad as i64], 5);
        assert_values(&loss, &[(rows[0] + rows[2] + rows[3]) / 4.0], eps(8.0));
        let all_good = clean.requires_grad();
        let want = read(&all_good.cross_entropy(&good).backward()[&all_good]).data;
        let want: Vec<f64> = want.into_iter().enumerate().map(|(i, g)| if i / 5 == 1 { 0.0 } else { g }).collect();
        assert_values(&grads[&leaf], &want, eps(8.0));
        // All clean again: the gradient must not have reported a second time.
        assert!(on.device.synchronize().is_ok(), "the backward pass reported the bad target again");
    }
}
