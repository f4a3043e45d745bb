//! The engine: local derivatives, and their way back through a graph. All equalities are exact.

use minitorch::prelude::*;

/// `x + y + 10`.
#[derive(Clone, Copy)]
struct Function1;

impl Function<Scalar, 2> for Function1 {
    const NAME: &'static str = "function1";
    fn forward(&self, [x, y]: [&Scalar; 2]) -> Scalar {
        x + y + 10
    }
    fn backward(&self, grad: &Scalar, _: [&Scalar; 2], _: &Scalar) -> [Option<Scalar>; 2] {
        [Some(grad.clone()), Some(grad.clone())]
    }
}

/// `x y + x`.
#[derive(Clone, Copy)]
struct Function2;

impl Function<Scalar, 2> for Function2 {
    const NAME: &'static str = "function2";
    fn forward(&self, [x, y]: [&Scalar; 2]) -> Scalar {
        x * y + x
    }
    fn backward(&self, grad: &Scalar, [x, y]: [&Scalar; 2], _: &Scalar) -> [Option<Scalar>; 2] {
        [Some(grad * (y + 1)), Some(grad * x)]
    }
}

/// The derivatives that a function gives its inputs, from one of its output.
fn local<F: Function<Scalar, 2> + Copy>(f: F, inputs: [Scalar; 2], grad: f64) -> [f64; 2] {
    let output = f.apply(inputs.each_ref());
    let derivatives = f.backward(&grad.into(), inputs.each_ref(), &output);
    derivatives.map(|derivative| derivative.map_or(f64::NAN, |derivative| derivative.value()))
}

#[test]
fn chain_rule1() {
    let inputs = [Scalar::from(0.0), Scalar::from(0.0)];
    assert_eq!(local(Function1, inputs, 5.0).len(), 2, "one derivative for each input, constants too");
    assert_eq!(Function1.apply([&0.0.into(), &0.0.into()]).value(), 10.0);
}

#[test]
fn chain_rule2() {
    let inputs = [Scalar::variable(0.0), Scalar::variable(0.0)];
    assert_eq!(local(Function1, inputs, 5.0), [5.0, 5.0]);
}

#[test]
fn chain_rule3() {
    let (constant, variable) = (Scalar::from(10.0), Scalar::variable(5.0));
    assert_eq!(local(Function2, [constant.clone(), variable.clone()], 5.0), [30.0, 50.0]);
    let grads = (Function2.apply([&constant, &variable]) * 5).backward();
    assert_eq!((grads[&variable].value(), grads.get(&constant).is_none()), (50.0, true));
}

#[test]
fn chain_rule4() {
    let inputs = [Scalar::variable(5.0), Scalar::variable(10.0)];
    assert_eq!(local(Function2, inputs, 5.0), [55.0, 25.0]);
}

#[test]
fn backprop1() {
    let (constant, variable) = (Scalar::from(0.0), Scalar::variable(0.0));
    let out = Function1.apply([&constant, &variable]);
    assert_eq!((out * 5).backward()[&variable].value(), 5.0);
}

#[test]
fn backprop2() {
    let variable = Scalar::variable(0.0);
    let first = Function1.apply([&0.0.into(), &variable]);
    let second = Function1.apply([&0.0.into(), &first]);
    let grads = (second * 5).backward();
    assert_eq!(grads[&variable].value(), 5.0);
    assert!(grads.get(&first).is_none(), "what is computed keeps no derivative");
}

#[test]
fn backprop3() {
    // A diamond: two functions of one variable, and a function of both.
    let variable = Scalar::variable(0.0);
    let left = Function1.apply([&0.0.into(), &variable]);
    let right = Function1.apply([&0.0.into(), &variable]);
    assert_eq!((Function1.apply([&left, &right]) * 5).backward()[&variable].value(), 10.0);
}

#[test]
fn backprop4() {
    // One function whose result is used twice: it is visited once, after both.
    let variable = Scalar::variable(0.0);
    let shared = Function1.apply([&0.0.into(), &variable]);
    let left = Function1.apply([&0.0.into(), &shared]);
    let right = Function1.apply([&0.0.into(), &shared]);
    let out = Function1.apply([&left, &right]) * 5;
    let order: Vec<&str> = out.graph().nodes().iter().map(|node| node.op).collect();
    assert_eq!(order, ["leaf", "function1", "function1", "function1", "function1", "mul"]);
    assert_eq!(out.backward()[&variable].value(), 10.0);
}
