//! User-defined functions of scalars; conformance tests those of tensors.

use super::*;
use crate::Scalar;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// `x^2 y` with its derivatives by hand.
struct SquareTimes;

impl Function<Scalar, 2> for SquareTimes {
    const NAME: &'static str = "square_times";
    fn forward(&self, [x, y]: [&Scalar; 2]) -> Scalar {
        x * x * y
    }
    fn backward(&self, grad: &Scalar, [x, y]: [&Scalar; 2], _: &Scalar) -> [Option<Scalar>; 2] {
        [Some(2 * x * y * grad), Some(x * x * grad)]
    }
}

#[test]
fn a_function_of_two_scalars_is_differentiable_twice() {
    let (x, y) = (Scalar::variable(3.0), Scalar::variable(5.0));
    let z = SquareTimes.apply([&x, &y]);
    assert_eq!(z.value(), 45.0);
    let [dx, dy] = z.grad([&x, &y]);
    assert_eq!((dx.value(), dy.value()), (30.0, 9.0));
    let [dxx, dxy] = dx.grad([&x, &y]);
    assert_eq!((dxx.value(), dxy.value()), (10.0, 6.0));
    // The intermediate values of forward are not on the tape.
    assert_eq!(z.graph().nodes().iter().map(|node| node.op).collect::<Vec<_>>(), ["leaf", "leaf", "square_times"]);
}

#[test]
fn the_output_passed_to_backward_is_on_the_tape() {
    let x = Scalar::variable(0.7);
    let exp = custom("my_exp", [&x], |[x]| Scalar::from(x.value().exp()), |g, _, y| [Some(g * y)]);
    let [first] = exp.grad([&x]);
    let [second] = first.grad([&x]);
    let [third] = second.grad([&x]);
    assert_eq!(third.value(), 0.7f64.exp());
}

#[test]
fn constants_and_no_grad_record_nothing() {
    let x = Scalar::variable(2.0);
    let double = |x: &Scalar| custom("double", [x], |[x]| x * 2, |g, _, _| [Some(2 * g)]);
    assert!(double(&Scalar::from(2.0)).node().is_none());
    assert!(no_grad(|| double(&x)).node().is_none());
    // A forward that returns its input is recorded too.
    let same = custom("identity", [&x], |[x]| x.clone(), |g, _, _| [Some(g * 10)]);
    assert_eq!(same.backward()[&x].value(), 10.0);
}

#[test]
fn an_input_without_a_gradient_has_none() {
    let (x, y) = (Scalar::variable(2.0), Scalar::variable(3.0));
    let z = custom("first", [&x, &y], |[x, _]| x.clone(), |g, _, _| [Some(g.clone()), None]);
    let grads = z.backward();
    assert_eq!(grads[&x].value(), 1.0);
    assert!(grads.get(&y).is_none());
}

#[test]
fn a_panic_in_forward_restores_recording() {
    let x = Scalar::variable(2.0);
    let panics = catch_unwind(AssertUnwindSafe(|| custom("bad", [&x], |_| panic!("on purpose"), |_, _, _| [None])));
    assert!(panics.is_err());
    assert_eq!((&x * 2).backward()[&x].value(), 2.0);
}
