//! The engine through its smallest value.

use super::*;
use crate::no_grad;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// `(f(x + e) - f(x - e)) / 2e`.
fn central_difference(f: impl Fn(f64) -> f64, x: f64) -> f64 {
    (f(x + 1e-6) - f(x - 1e-6)) / 2e-6
}

/// A function, its name and its constructor.
type Case = (&'static str, fn(&Scalar) -> Scalar);

#[test]
fn first_and_second_derivatives_match_differences() {
    let cases: [Case; 9] = [
        ("exp", |x| x.exp()),
        ("log", |x| (x + 3.0).log()),
        ("sigmoid", |x| x.sigmoid()),
        ("tanh", |x| x.tanh()),
        ("relu", |x| (x * 2.0).relu() * x),
        ("neg", |x| -x * x),
        ("div", |x| x / (x * x + 1.0)),
        ("sub", |x| (1.0 - x) * (x - 0.5)),
        ("mixed", |x| (x * x).exp() / (x + 4.0) - x.tanh() * x.sigmoid()),
    ];
    for (name, f) in cases {
        for at in [0.7, -0.4, 1.3] {
            let x = Scalar::variable(at);
            let [first] = f(&x).grad([&x]);
            let [second] = first.grad([&x]);
            let by_tape = |at: f64| {
                let x = Scalar::variable(at);
                f(&x).backward().get(&x).map_or(0.0, Scalar::value)
            };
            let close = |a: f64, b: f64| (a - b).abs() < 1e-6 * (1.0 + b.abs());
            let numeric = central_difference(|v| f(&Scalar::from(v)).value(), at);
            assert!(close(first.value(), numeric), "{name} at {at}: {first} against {numeric}");
            let numeric = central_difference(by_tape, at);
            assert!(close(second.value(), numeric), "second of {name} at {at}: {second} against {numeric}");
        }
    }
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
