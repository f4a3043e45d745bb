//! The tape, tested with scalars.

use super::*;
use crate::{custom, derivative_check, no_grad};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A function and its name.
type Case = (&'static str, fn(&Scalar) -> Scalar);

#[test]
fn first_and_second_derivatives_match_differences() {
    let cases: [Case; 18] = [
        ("exp", |x| x.exp()),
        ("log", |x| (x + 3.0).log()),
        ("sigmoid", |x| x.sigmoid()),
        ("tanh", |x| x.tanh()),
        ("relu", |x| (x * 2.0).relu() * x),
        ("neg", |x| -x * x),
        ("div", |x| x / (x * x + 1.0)),
        ("sub", |x| (1.0 - x) * (x - 0.5)),
        ("recip", |x| (x + 3).recip()),
        ("square", |x| x.square() * x),
        ("powf", |x| (x + 2.0f32).powf(-1.5)),
        ("sqrt", |x| (2 + x).sqrt()),
        ("sin", |x| (3 * x).sin()),
        ("cos", |x| (x / 2).cos()),
        ("abs", |x| x.abs() * x),
        ("maximum", |x| (x * x).maximum(x + 1)),
        ("minimum", |x| (x * x).minimum(x + 1)),
        ("mixed", |x| (x * x).exp() / (x + 4.0) - x.tanh() * x.sigmoid()),
    ];
    for (name, f) in cases {
        for at in [0.7, -0.4, 1.3, 1.9] {
            let worst = derivative_check(|[x]| f(x), [at], 1e-6);
            assert!(worst.error <= 1.0, "{name} at {at}: {worst}");
            let slope = |[x]: [&Scalar; 1]| {
                let [slope] = f(x).grad([x]);
                slope
            };
            let worst = derivative_check(slope, [at], 1e-6);
            assert!(worst.error <= 1.0, "second of {name} at {at}: {worst}");
            // The check fails where the derivative is wrong.
            let wrong = custom("wrong", [&Scalar::variable(at)], |[x]| f(x), |g, _, _| [Some(7.77 * g)]);
            assert_eq!(wrong.value(), f(&Scalar::from(at)).value());
            let worst =
                derivative_check(|[x]| custom("wrong", [x], |[x]| f(x), |g, _, _| [Some(7.77 * g)]), [at], 1e-6);
            assert!(worst.error > 1.0, "{name}: {worst}");
        }
    }
}

#[test]
fn numbers_are_operands_on_both_sides_and_of_assignments() {
    let x = Scalar::variable(4.0);
    assert_eq!(
        [x.clone() + 1, 1 + &x, &x - 1.5f32, 1.5 - x.clone(), 2 * &x, &x / 2.0, 2.0 / &x].map(f64::from),
        [5.0, 5.0, 2.5, -2.5, 8.0, 2.0, 0.5]
    );
    let mut y = x.clone();
    y += 1;
    y *= &x;
    y -= x.clone();
    y /= 2.0; // (x^2 + x - x) / 2
    assert_eq!((y.value(), y.backward()[&x].value()), (8.0, 4.0));
    let terms = [&x, &x, &x];
    let (sum, product): (Scalar, Scalar) = (terms.into_iter().sum(), terms.into_iter().product());
    assert_eq!((sum.value(), product.value()), (12.0, 64.0));
    assert_eq!((sum.backward()[&x].value(), product.backward()[&x].value()), (3.0, 48.0));
    let (zero, one): (Scalar, Scalar) = (std::iter::empty::<f64>().sum(), std::iter::empty::<f64>().product());
    assert_eq!((zero.value(), one.value()), (0.0, 1.0));
}

#[test]
fn comparisons_are_constants_and_extremes_share_ties() {
    let (x, y) = (Scalar::variable(2.0), Scalar::variable(3.0));
    assert_eq!([x.lt(&y), y.lt(&x), x.gt(1), x.eq(2), x.eq(&y)].map(f64::from), [1.0, 0.0, 1.0, 1.0, 0.0]);
    assert!(x.lt(&y).backward().is_empty());
    assert!(x < y && x != y && x.is_close(2.005, 1e-2) && !x.is_close(2.01001, 1e-2) && !x.is_close(f64::NAN, 1.0));
    let slopes = |z: Scalar, x: &Scalar, y: &Scalar| z.grad([x, y]).map(f64::from);
    assert_eq!(slopes(x.maximum(&y), &x, &y), [0.0, 1.0]);
    assert_eq!(slopes(x.minimum(&y), &x, &y), [1.0, 0.0]);
    let same = Scalar::variable(2.0);
    assert_eq!(slopes(x.maximum(&same), &x, &same), [0.5, 0.5]);
    let nan = Scalar::variable(f64::NAN);
    assert!(x.maximum(&nan).value().is_nan() && nan.minimum(&x).value().is_nan());
    assert_eq!(slopes(x.maximum(&nan), &x, &nan), [1.0, 1.0]);
    let (inf, least) = (Scalar::variable(f64::INFINITY), Scalar::variable(f64::NEG_INFINITY));
    assert_eq!((inf.maximum(&inf).value(), inf.maximum(&least).value()), (f64::INFINITY, f64::INFINITY));
    let [slope] = Scalar::from(0.0).abs().grad([&x]);
    assert_eq!(slope.value(), 0.0);
    let zero = Scalar::variable(0.0);
    let ([abs], [power]) = (zero.abs().grad([&zero]), zero.powf(0.0).grad([&zero]));
    assert_eq!((abs.value(), power.value()), (0.0, 0.0));
}

#[test]
fn derivatives_far_from_1_are_right() {
    let close = |got: f64, want: f64| assert!((got - want).abs() <= 1e-12 * want.abs(), "{got:e}, not {want:e}");
    for far in [1e200, 1e-200] {
        let (a, b) = (Scalar::variable(far), Scalar::variable(far));
        let [ga, gb] = (&a / &b).grad([&a, &b]);
        close(ga.value(), 1.0 / far);
        close(gb.value(), -1.0 / far);
        let x = Scalar::variable(far.sqrt());
        for (y, want) in [(1.0 / &x, 2.0 / x.value() / far), (x.log(), -1.0 / far)] {
            let [first] = y.grad([&x]);
            let [second] = first.grad([&x]);
            close(second.value(), want);
        }
    }
}

#[test]
fn nan_and_the_sign_of_zero_stay() {
    let nan = Scalar::variable(f64::NAN);
    assert!(nan.relu().value().is_nan() && nan.sigmoid().value().is_nan() && nan.tanh().value().is_nan());
    let [slope] = nan.relu().grad([&nan]);
    assert_eq!(slope.value(), 1.0); // as the tensors' relu has it
    let zero = Scalar::from(0.0);
    assert!((-&zero).value().is_sign_negative() && (-(-zero)).value().is_sign_positive());
    assert_eq!(Scalar::from(-1.0).relu().value(), 0.0);
}

#[test]
fn a_diamond_sums_its_branches() {
    let x = Scalar::variable(3.0);
    let y = &x * 2.0;
    let z = &y * &y + &y; // dz/dx = (2y + 1) 2
    assert_eq!(z.backward()[&x].value(), 26.0);
}

#[test]
fn an_independent_or_constant_value_has_no_gradient() {
    let (x, unused) = (Scalar::variable(1.0), Scalar::variable(2.0));
    let y = &x * 3.0;
    let [zero] = y.grad([&unused]);
    assert_eq!(zero.value(), 0.0);
    let grads = y.backward();
    assert!(grads.get(&unused).is_none() && grads.get(&Scalar::from(1.0)).is_none());
    assert_eq!(grads.len(), 1);
    assert!(no_grad(|| &x * 3.0).backward().is_empty());
}

#[test]
fn a_consumed_tape_says_so() {
    let x = Scalar::variable(1.0);
    let y = &x * &x;
    let _kept = y.grad([&x]);
    assert_eq!(y.backward()[&x].value(), 2.0);
    let message = match catch_unwind(AssertUnwindSafe(|| y.backward())) {
        Ok(_) => String::new(),
        Err(payload) => payload.downcast_ref::<String>().cloned().unwrap_or_default(),
    };
    assert!(message.contains("consumed") && message.contains("grad"), "{message}");
}

#[test]
fn a_million_operations_run_backward_and_drop() {
    for run_backward in [true, false] {
        let x = Scalar::variable(1.0);
        let mut y = x.clone();
        for _ in 0..500_000 {
            y = (&y + 1.0) * 0.5;
        }
        if run_backward {
            assert_eq!(y.backward()[&x].value(), 0.0); // 0.5^500000
        }
    }
}

#[test]
fn a_panic_inside_no_grad_restores_recording() {
    let x = Scalar::variable(1.0);
    let _ = catch_unwind(AssertUnwindSafe(|| no_grad(|| panic!("on purpose"))));
    assert_eq!((&x * 2.0).backward().len(), 1);
}
