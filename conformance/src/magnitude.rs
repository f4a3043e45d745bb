//! Derivatives at points from 1e-37 to 1e38. Where a derivative is a normal f32, no intermediate of its rule may overflow or
//! underflow; the oracle computes in f64, where none does.

use crate::check::assert_values;
use crate::close::{Tolerance, Values, read};
use crate::unary::{by_method, ops};
use crate::{On, Suite, binary};
use minitorch_core::backend::{Backend, BinaryOp, UnaryOp};
use minitorch_core::{DType, Tensor};

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    use UnaryOp::*;
    let more = [Rdiv(1.0), Rdiv(-3e30), Rdiv(7e-31), Pow(-1.0), Pow(-0.5), Pow(1.5), Pow(2.0), Div(-3e20), Mul(5e-20)];
    for op in ops().into_iter().map(|(op, ..)| op).chain(more) {
        suite.f32(format!("range_{op:?}"), 1000, move |on| of_one(on, op));
    }
    for op in BinaryOp::ALL {
        suite.f32(format!("range_{op}"), 10_000, move |on| of_two(on, op));
    }
    suite.floats("far_from_1", 10, |on| {
        // Powers of ten whose squares are out of range.
        let far = if on.dtype == DType::F64 { 200 } else { 20 };
        let ten = |power: i32| 10f64.powi(power);
        let exact = Tolerance { atol: 0.0, rtol: 8.0 };
        let a = on.list(&[ten(far), ten(-far), 0.0, -ten(far)], [4]).requires_grad();
        let b = on.list(&[ten(far), ten(-far), ten(-far), ten(far)], [4]).requires_grad();
        let grads = (&a / &b).sum(..).backward();
        assert_values(&grads[&a], &[ten(-far), ten(far), ten(far), ten(-far)], exact);
        assert_values(&grads[&b], &[-ten(-far), -ten(far), 0.0, ten(-far)], exact);
        let half = far / 2;
        let x = on.list(&[ten(-half), ten(half)], [2]).requires_grad();
        let second = |y: Tensor<B>| {
            let [first] = y.sum(..).grad([&x]);
            let [second] = first.sum(..).grad([&x]);
            second
        };
        assert_values(&second(x.recip()), &[2.0 * ten(3 * half), 2.0 * ten(-3 * half)], exact);
        assert_values(&second(3.0 / &x), &[6.0 * ten(3 * half), 6.0 * ten(-3 * half)], exact);
        assert_values(&second(x.atan()), &[-2.0 * ten(-half), -2.0 * ten(-3 * half)], exact);
    });
}

/// The part of the range that a device's arithmetic covers.
struct Ends {
    /// The largest and smallest magnitude that an operand may have.
    operands: [f64; 2],
    /// The distance of results from the ends of the range, as a factor.
    margin: f64,
}

impl Ends {
    /// A GPU may flush subnormal numbers to 0, also intermediates slightly below the result; and WGSL leaves the result of a division by
    /// more than 2^126, whose reciprocal is subnormal, open.
    fn of<B: Backend>(on: &On<B>) -> Self {
        let subnormal = on.list(&[1e-20], [1]) * 1e-19;
        match read(&subnormal).data[0] {
            0.0 => Ends { operands: [2f64.powi(126), 16.0 * f32::MIN_POSITIVE as f64], margin: 16.0 },
            _ => Ends { operands: [f64::INFINITY, 0.0], margin: 1.0 },
        }
    }

    /// Two numbers of every power of ten that a normal f32 can have, of both signs.
    fn points(&self, step: usize) -> Vec<f64> {
        let [largest, smallest] = self.operands;
        let sizes =
            (-37..=38).step_by(step).flat_map(|power| [1.0, 2.7].map(|x| (x * 10f64.powi(power)) as f32 as f64));
        sizes.filter(|&x| (smallest..=largest).contains(&x)).flat_map(|x| [x, -x]).collect()
    }
}

/// How far off a derivative of an op may be at x.
fn bound(op: UnaryOp, x: f64) -> Tolerance {
    use UnaryOp::*;
    match op {
        // From their outputs, which are rounded where they approach 1 or -1.
        Tanh | Expm1 | Softplus if x.abs() > 0.5 => Tolerance { atol: 8.0, rtol: 16.0 },
        Sigmoid => Tolerance { atol: 8.0, rtol: 16.0 },
        // Two terms that cancel.
        Gelu | GeluTanh | Silu | Hardswish if x.abs() > 0.5 => Tolerance { atol: 32.0, rtol: 16.0 },
        // The exponential of a square magnifies the square's rounding.
        Erf => Tolerance { atol: 0.0, rtol: 16.0 + 2.0 * x * x },
        Sin | Cos | Tan => Tolerance { atol: 4.0, rtol: 32.0 },
        _ => Tolerance { atol: 0.0, rtol: 32.0 },
    }
}

/// The first derivative by the kernel and by the composed rule, for output gradients of this size, and the second.
fn derivatives<B: Backend>(d: &On<B>, op: UnaryOp, points: &[f64], scale: f64) -> [Values; 3] {
    let x = d.list(points, points.len()).requires_grad();
    let g = x.detach().full_like(scale);
    let fused = by_method(op, &x).backward_with(&g).remove(&x).unwrap_or_else(|| x.detach().zeros_like());
    let [first] = by_method(op, &x).grad_with(&g, [&x]);
    let [second] = first.sum(..).grad([&x]);
    [read(&fused), read(&first), read(&second)]
}

fn of_one<B: Backend>(on: &On<B>, op: UnaryOp) {
    // Large angles are left out: their reduction is tested elsewhere.
    let angle = matches!(op, UnaryOp::Sin | UnaryOp::Cos | UnaryOp::Tan);
    let ends = Ends::of(on);
    let points: Vec<f64> = ends.points(1).into_iter().filter(|x| !angle || x.abs() < 1e3).collect();
    // The power without its constant factor must be a normal number too.
    let margin = if matches!(op, UnaryOp::Pow(_)) { 8.0 } else { 1.0 } * ends.margin;
    let own = derivatives(&on.oracle(), op, &points, 1.0);
    for scale in [1.0, 1e-15, 1e15] {
        let got = derivatives(on, op, &points, scale);
        let want = derivatives(&on.oracle(), op, &points, scale);
        for (order, name) in ["first derivative", "first derivative, composed", "second derivative"].iter().enumerate()
        {
            for (i, &x) in points.iter().enumerate() {
                // Each factor of the derivative must be a normal number.
                if order == 2 && !is_normal(own[0].data[i], margin) || !is_normal(own[order].data[i], margin) {
                    continue;
                }
                let about = format!("{name} of {op:?} at {x:e} times {scale:e}");
                let Tolerance { atol, rtol } = bound(op, x);
                let bound = Tolerance { atol: atol * scale, rtol };
                assert_normal(&about, got[order].data[i], want[order].data[i], bound, margin);
            }
        }
    }
}

/// All first and second derivatives in a and b.
fn all_derivatives<B: Backend>(d: &On<B>, op: BinaryOp, a: &[f64], b: &[f64]) -> [Values; 8] {
    let (a, b) = (d.list(a, a.len()).requires_grad(), d.list(b, b.len()).requires_grad());
    let mut plain = binary::apply(op, &a, &b).sum(..).backward();
    let [by_a, by_b] = [&a, &b].map(|x| plain.remove(x).unwrap_or_else(|| x.detach().zeros_like()));
    let [in_a, in_b] = binary::apply(op, &a, &b).sum(..).grad([&a, &b]);
    let [aa, ab] = in_a.sum(..).grad([&a, &b]);
    let [ba, bb] = in_b.sum(..).grad([&a, &b]);
    [by_a, by_b, in_a, in_b, aa, ab, ba, bb].map(|x| read(&x))
}

fn of_two<B: Backend>(on: &On<B>, op: BinaryOp) {
    // Exponents are small numbers; b a^(b-1) and a^b log a have a factor of up to 1e4 beside the power. Below 0 there is no
    // derivative in the exponent.
    let ends = Ends::of(on);
    let (firsts, seconds, margin): (Vec<f64>, Vec<f64>, f64) = match op {
        BinaryOp::Pow => {
            let exponents = vec![-3.0, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0];
            (ends.points(1).into_iter().filter(|&a| a > 0.0).collect(), exponents, 1e4)
        }
        _ => (ends.points(3), ends.points(5), 1.0),
    };
    let margin = margin * ends.margin;
    let pairs: Vec<(f64, f64)> = firsts.iter().flat_map(|&a| seconds.iter().map(move |&b| (a, b))).collect();
    let (a, b): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let (got, want) = (all_derivatives(on, op, &a, &b), all_derivatives(&on.oracle(), op, &a, &b));
    let names = ["a", "b", "a, composed", "b, composed", "a and a", "a and b", "b and a", "b and b"];
    for (which, name) in names.iter().enumerate() {
        for (i, (a, b)) in pairs.iter().enumerate() {
            // Each factor of the derivative must be a normal number.
            let first = if which < 4 { which } else { which / 2 };
            if is_normal(want[first].data[i], margin) {
                let about = format!("derivative of {op} in {name} at {a:e}, {b:e}");
                // a^(b-1) (1 + b log a) cancels near a = e^(-1 / b).
                let cancels = op == BinaryOp::Pow && matches!(which, 5 | 6);
                let bound = Tolerance { atol: if cancels { 32.0 * a.powf(b - 1.0) } else { 0.0 }, rtol: 32.0 };
                assert_normal(&about, got[which].data[i], want[which].data[i], bound, margin);
            }
        }
    }
}

/// Whether x is 0, NaN or a normal number of f32, this factor within the range.
fn is_normal(x: f64, margin: f64) -> bool {
    x.is_nan() || x == 0.0 || x.abs() >= margin * f32::MIN_POSITIVE as f64 && x.abs() <= f32::MAX as f64 / margin
}

/// Where `want` is such a number, `got` is it; where it is smaller, `got` is small too.
#[track_caller]
fn assert_normal(about: &str, got: f64, want: f64, bound: Tolerance, margin: f64) {
    let small = margin * f32::MIN_POSITIVE as f64;
    let right = if is_normal(want, margin) {
        got == want
            || got.is_nan() && want.is_nan()
            || (got - want).abs() <= f32::EPSILON as f64 * (bound.atol + bound.rtol * want.abs())
    } else {
        want.abs() > small || got.abs() <= 2.0 * small
    };
    assert!(right, "{about}: {got:e}, not {want:e}");
}
