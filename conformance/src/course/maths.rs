//! The course's table of functions of one and two arguments: values and derivatives.
//!
//! Arguments of order 1 are among those of every function, where the derivatives of the course's own arguments vanish; its bounds
//! would accept a derivative of 0 there. Poles, kinks and jumps are not near. Values at jumps and kinks have families of their
//! own.

use super::host::{Array, equals};
use crate::close::eps;
use crate::on::Lay;
use crate::{On, Suite};
use minitorch_core::{Backend, Shape, Tensor};

type OneArgument<B> = fn(&Tensor<B>) -> Tensor<B>;
type TwoArguments<B> = fn(&Tensor<B>, &Tensor<B>) -> Tensor<B>;

/// A function of one argument, its derivative, and the ranges that arguments come from.
struct One<B: Backend> {
    name: &'static str,
    ranges: &'static [(f64, f64)],
    value: fn(f64) -> f64,
    slope: fn(f64) -> f64,
    tensor: OneArgument<B>,
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn step(x: f64) -> f64 {
    if x > 0.0 { 1.0 } else { 0.0 }
}

const ALL: (f64, f64) = (-100.0, 100.0);

/// `log(sigmoid(relu(relu(2 x + 1) 0.6 - 0.5) - 2))`: the nesting of the course's `complex`, which is 0 to the last bit
/// everywhere, with constants that leave something of it.
fn nested(x: f64) -> f64 {
    sigmoid(((2.0 * x + 1.0).max(0.0) * 0.6 - 0.5).max(0.0) - 2.0).ln()
}

fn nested_slope(x: f64) -> f64 {
    let (first, second) = (2.0 * x + 1.0, (2.0 * x + 1.0).max(0.0) * 0.6 - 0.5);
    step(first) * 1.2 * step(second) * (1.0 - sigmoid(second.max(0.0) - 2.0))
}

fn one_argument<B: Backend>() -> [One<B>; 16] {
    let one = |name, ranges, value, slope, tensor| One { name, ranges, value, slope, tensor };
    [
        one("neg", &[ALL], |x| -x, |_| -1.0, |x| -x),
        one("addConstant", &[ALL], |x| 5.0 + x, |_| 1.0, |x| 5.0 + x),
        one("square", &[ALL, (-2.0, 2.0)], |x| x * x, |x| 2.0 * x, |x| x * x),
        one("cube", &[ALL, (-2.0, 2.0)], |x| x * x * x, |x| 3.0 * x * x, |x| x * x * x),
        one("subConstant", &[ALL], |x| x - 5.0, |_| 1.0, |x| x - 5.0),
        one("multConstant", &[ALL], |x| 5.0 * x, |_| 5.0, |x| 5.0 * x),
        one("div", &[ALL], |x| x / 5.0, |_| 0.2, |x| x / 5.0),
        one(
            "inv",
            &[(-100.0, -4.0), (-3.0, 100.0), (-3.0, -2.0)],
            |x| 1.0 / (x + 3.5),
            |x| -1.0 / (x + 3.5) / (x + 3.5),
            |x| 1.0 / (x + 3.5),
        ),
        one("sig", &[ALL, (-4.0, 4.0)], sigmoid, |x| sigmoid(x) * (1.0 - sigmoid(x)), |x| x.sigmoid()),
        one(
            "log",
            &[ALL, (-99_999.5, -99_997.0)],
            |x| (x + 100_000.0).ln(),
            |x| 1.0 / (x + 100_000.0),
            |x| (x + 100_000.0).log(),
        ),
        one(
            "relu",
            &[(-100.0, -5.6), (-5.4, 100.0), (-5.4, -4.0)],
            |x| (x + 5.5).max(0.0),
            |x| step(x + 5.5),
            |x| (x + 5.5).relu(),
        ),
        one("exp", &[ALL, (198.0, 202.0)], |x| (x - 200.0).exp(), |x| (x - 200.0).exp(), |x| (x - 200.0).exp()),
        one(
            "explog",
            &[ALL, (198.0, 202.0), (-99_999.5, -99_997.0)],
            |x| (x + 100_000.0).ln() + (x - 200.0).exp(),
            |x| 1.0 / (x + 100_000.0) + (x - 200.0).exp(),
            |x| (x + 100_000.0).log() + (x - 200.0).exp(),
        ),
        one(
            "complex",
            &[ALL],
            |_| 0.0,
            |_| 0.0,
            |x| (((((x * 10.0 + 7.0).relu() * 6.0 + 5.0).relu()) * 10.0).sigmoid().log()) / 50.0,
        ),
        one("nested", &[(0.0, 2.0), (-0.4, -0.15), (-2.0, -0.6), (-0.05, 0.5)], nested, nested_slope, |x| {
            (((x * 2.0 + 1.0).relu() * 0.6 - 0.5).relu() - 2.0).sigmoid().log()
        }),
        one("reflected", &[(0.5, 3.0)], |x| (1.0 - x) / x, |x| -1.0 / x / x, |x| (1.0 - x) / x),
    ]
}

/// A function of two arguments, the derivatives in both, and the ranges of both in quarters.
struct Two<B: Backend> {
    name: &'static str,
    a: (i32, i32),
    b: &'static [(i32, i32)],
    value: fn(f64, f64) -> f64,
    slopes: fn(f64, f64) -> [f64; 2],
    tensor: TwoArguments<B>,
    /// Whether it has derivatives: comparisons are of bool.
    differentiable: bool,
}

fn indicator(it_is: bool) -> f64 {
    it_is as u8 as f64
}

/// Arguments are multiples of 1/4, whose sums are exact: comparisons are at least 0.05 from their jumps, `eq2` is often true, and
/// `div2` stays away from its pole at -5.5, also for sums of three arguments.
fn two_arguments<B: Backend>() -> [Two<B>; 6] {
    let two = |name, a, b, value, slopes, tensor| Two { name, a, b, value, slopes, tensor, differentiable: true };
    let comparison =
        |name, a, b, value, tensor| Two { differentiable: false, ..two(name, a, b, value, |_, _| [0.0, 0.0], tensor) };
    [
        two("add2", (-10, 10), &[(-10, 10)], |a, b| a + b, |_, _| [1.0, 1.0], |a, b| a + b),
        two("mul2", (-10, 10), &[(-10, 10)], |a, b| a * b, |a, b| [b, a], |a, b| a * b),
        two(
            "div2",
            (-10, 10),
            &[(-80, -30), (0, 80)],
            |a, b| a / (b + 5.5),
            |a, b| [1.0 / (b + 5.5), -a / (b + 5.5) / (b + 5.5)],
            |a, b| a / (b + 5.5),
        ),
        comparison("gt2", (-6, 6), &[(-6, 6)], |a, b| indicator(a + 1.2 > b), |a, b| (a + 1.2).gt(b).cast(a.dtype())),
        comparison("lt2", (-6, 6), &[(-6, 6)], |a, b| indicator(a + 1.2 < b), |a, b| (a + 1.2).lt(b).cast(a.dtype())),
        comparison("eq2", (20, 26), &[(-2, 4)], |a, b| indicator(a == b + 5.5), |a, b| a.eq(b + 5.5).cast(a.dtype())),
    ]
}

const SHAPES: [&[usize]; 5] = [&[3], &[2, 3], &[3, 1, 2], &[2, 3, 1, 2], &[67]];
const LAYS: [Lay; 4] = [Lay::Whole, Lay::Reversed, Lay::Sliced, Lay::Stepped];

/// Each function with each range, over all shapes and layouts in rotation.
fn each_argument<B: Backend>(on: &On<B>, f: impl Fn(&One<B>, &Tensor<B>)) {
    for (i, function) in one_argument().iter().enumerate() {
        for (j, &(low, high)) in function.ranges.iter().enumerate() {
            for k in 0..3 {
                let turn = i + j + k;
                let shape = SHAPES[(turn + k) % SHAPES.len()];
                f(function, &on.laid(LAYS[turn % LAYS.len()], low, high, shape));
            }
        }
    }
}

fn quarters<B: Backend>(on: &On<B>, lay: Lay, (low, high): (i32, i32), shape: &[usize]) -> Tensor<B> {
    lay.view(Shape::new(shape), |shape| on.whole(low, high, shape) * 0.25)
}

/// Weights of order 1, so that gradients differ from element to element; and the gradients of `f(..) * weights`.
#[track_caller]
fn weighted<B: Backend, const N: usize>(
    on: &On<B>,
    inputs: [&Tensor<B>; N],
    f: impl Fn([&Tensor<B>; N]) -> Tensor<B>,
) -> (Array, [Tensor<B>; N]) {
    let leaves = inputs.map(|x| x.requires_grad());
    let out = f(leaves.each_ref());
    let weights = on.uniform(0.5, 1.5, *out.shape());
    let grads = out.backward_with(&weights);
    (Array::of(&weights), leaves.each_ref().map(|x| grads[x].clone()))
}

pub(super) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.floats("test_one_args", 500, |on| {
        each_argument(on, |function, x| {
            let want = Array::of(x).map(function.value);
            equals(&format!("{} of {:?}", function.name, x.layout()), &(function.tensor)(x), &want, eps(8.0));
        });
    });
    suite.floats("test_one_derivative", 500, |on| {
        each_argument(on, |function, x| {
            let (weights, [got]) = weighted(on, [x], |[x]| (function.tensor)(x));
            let want = Array::of(x).zip(&weights, |x, w| (function.slope)(x) * w);
            equals(&format!("derivative of {}", function.name), &got, &want, eps(16.0));
        });
    });
    suite.floats("test_two_args", 500, |on| {
        for (i, function) in two_arguments().iter().enumerate() {
            for (j, &range) in function.b.iter().enumerate() {
                for (k, shape) in SHAPES.into_iter().enumerate() {
                    let a = quarters(on, LAYS[(i + k) % 4], function.a, shape);
                    let b = quarters(on, LAYS[(j + k / 2) % 4], range, shape);
                    let want = Array::of(&a).zip(&Array::of(&b), function.value);
                    equals(function.name, &(function.tensor)(&a, &b), &want, eps(4.0));
                }
            }
        }
    });
    suite.floats("test_two_derivative", 500, |on| each_pair(on, |_, a, b| (a.clone(), b.clone())));
    suite.floats("test_two_grad", 500, |on| {
        // Of one size, as the course's; the shapes' elements in different layouts.
        for function in two_arguments().iter().filter(|function| function.differentiable) {
            for lay in LAYS {
                let a = quarters(on, lay, function.a, &[2, 3, 2]);
                let b = quarters(on, Lay::Reversed, function.b[0], &[2, 3, 2]);
                gradients_of_both(on, function, &a, &b);
            }
        }
    });
    suite.floats("test_two_grad_broadcast", 500, |on| {
        each_pair(on, |k, a, b| match k % 2 {
            0 => (a.sum_keepdim(0), b.clone()),
            _ => (a.clone(), b.sum_keepdim(0)),
        });
        // Dimensions that one operand lacks, and sizes of 1 in both.
        for function in two_arguments().iter().filter(|function| function.differentiable) {
            for (a, b) in [(&[2, 3, 1, 2][..], &[4, 1][..]), (&[3, 1], &[2, 1, 5]), (&[1], &[7, 3]), (&[7, 3], &[])] {
                let a = quarters(on, Lay::Whole, function.a, a);
                let b = quarters(on, Lay::Whole, function.b[0], b);
                gradients_of_both(on, function, &a, &b);
            }
        }
    });
}

/// The gradients of each function in the arguments that `make` derives from two of each shape.
fn each_pair<B: Backend>(on: &On<B>, make: impl Fn(usize, &Tensor<B>, &Tensor<B>) -> (Tensor<B>, Tensor<B>)) {
    for function in two_arguments() {
        for &range in function.b {
            for (k, shape) in SHAPES[..4].iter().enumerate() {
                let (a, b) = (quarters(on, LAYS[k], function.a, shape), quarters(on, LAYS[k / 2], range, shape));
                for k in 0..2 {
                    let (a, b) = make(k, &a, &b);
                    gradients_of_both(on, &function, &a, &b);
                }
            }
        }
    }
}

/// Both gradients against the formula's, summed over what was broadcast.
#[track_caller]
fn gradients_of_both<B: Backend>(on: &On<B>, function: &Two<B>, a: &Tensor<B>, b: &Tensor<B>) {
    let name = function.name;
    if !function.differentiable {
        let out = (function.tensor)(&a.requires_grad(), &b.requires_grad());
        assert!(!out.is_tracked(), "{name}: a comparison has no derivative");
        return;
    }
    let (weights, got) = weighted(on, [a, b], |[a, b]| (function.tensor)(a, b));
    let hosts = [Array::of(a), Array::of(b)];
    let mut want = hosts.each_ref().map(Array::zeros_like);
    Array::by(&weights.shape, |index| {
        let slopes = (function.slopes)(hosts[0].spread(index), hosts[1].spread(index));
        for (side, slope) in slopes.into_iter().enumerate() {
            *want[side].at_mut(&hosts[side].folded(index)) += slope * weights.at(index);
        }
        0.0
    });
    for (side, (got, want)) in got.iter().zip(&want).enumerate() {
        // Sums of up to 24 terms.
        equals(
            &format!("{name}: gradient {side} of {:?} and {:?}", a.shape(), b.shape()),
            got,
            want,
            eps(8.0).terms(24),
        );
    }
}
