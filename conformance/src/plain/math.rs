//! The functions of elements of [`Plain`](super::Plain), in f64; i32 arithmetic wraps.

use minitorch_core::DType;
use minitorch_core::backend::{BinaryOp, CompareOp, UnaryOp};
use std::cmp::Ordering;

/// A scalar operand of a tensor of floats is rounded to the dtype that the operation computes in (F32 for F16); of other dtypes it stays
/// f64.
pub(super) fn in_dtype(c: f64, dtype: DType) -> f64 {
    match dtype {
        DType::F16 | DType::F32 => c as f32 as f64,
        DType::F64 | DType::I32 | DType::Bool => c,
    }
}

pub(super) fn with_scalars_of(op: UnaryOp, dtype: DType) -> UnaryOp {
    use UnaryOp::*;
    let c = |c| in_dtype(c, dtype);
    match op {
        Add(a) => Add(c(a)),
        Mul(a) => Mul(c(a)),
        Rsub(a) => Rsub(c(a)),
        Div(a) => Div(c(a)),
        Rdiv(a) => Rdiv(c(a)),
        Pow(a) => Pow(c(a)),
        LeakyRelu(a) => LeakyRelu(c(a)),
        Elu(a) => Elu(c(a)),
        Remainder(a) => Remainder(c(a)),
        Clamp(a, b) => Clamp(c(a), c(b)),
        other => other,
    }
}

pub(super) fn unary(op: UnaryOp, x: f64) -> f64 {
    use UnaryOp::*;
    match op {
        Add(c) => x + c,
        Mul(c) => x * c,
        Rsub(c) => c - x,
        Neg => -x,
        Abs => x.abs(),
        Sign if x == 0.0 || x.is_nan() => x, // f64::signum(0) is 1
        Sign => x.signum(),
        Div(c) => x / c,
        Rdiv(c) => c / x,
        Square => x * x,
        Pow(c) => x.powf(c),
        Sqrt => x.sqrt(),
        Rsqrt => 1.0 / x.sqrt(),
        Exp => x.exp(),
        Expm1 => x.exp_m1(),
        Log => x.ln(),
        Log1p => x.ln_1p(),
        Log2 => x.log2(),
        Sin => x.sin(),
        Cos => x.cos(),
        Tan => x.tan(),
        Atan => x.atan(),
        Sinh => x.sinh(),
        Cosh => x.cosh(),
        Tanh => x.tanh(),
        Erf => erf(x),
        Sigmoid => sigmoid(x),
        Relu if x <= 0.0 => 0.0, // a NaN is not <= 0 and passes
        Relu => x,
        LeakyRelu(slope) => {
            if x > 0.0 {
                x
            } else {
                slope * x
            }
        }
        Elu(_) if x > 0.0 => x,
        Elu(alpha) => alpha * x.exp_m1(),
        Gelu | GeluTanh | Silu if x == f64::NEG_INFINITY => 0.0, // the limit: -inf * 0 is NaN
        Gelu => 0.5 * x * erfc(-x * std::f64::consts::FRAC_1_SQRT_2),
        GeluTanh => {
            let k = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2; // sqrt(2 / pi)
            0.5 * x * (1.0 + (k * (x + 0.044_715 * x * x * x)).tanh())
        }
        Silu => x * sigmoid(x),
        Hardswish if x <= -3.0 => 0.0,
        Hardswish => x * (x + 3.0).clamp(0.0, 6.0) / 6.0,
        Softplus if x.is_nan() => x, // f64::max ignores NaN
        Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        Floor => x.floor(),
        Ceil => x.ceil(),
        Round => x.round_ties_even(),
        Trunc => x.trunc(),
        Remainder(c) => remainder(x, c),
        Clamp(low, high) => x.clamp(low, high),
        Not => (x == 0.0) as u8 as f64,
    }
}

pub(super) fn unary_i32(op: UnaryOp, x: i32) -> i32 {
    use UnaryOp::*;
    match op {
        Add(c) => x.wrapping_add(c as i32),
        Mul(c) => x.wrapping_mul(c as i32),
        Rsub(c) => (c as i32).wrapping_sub(x),
        Neg => x.wrapping_neg(),
        Abs => x.wrapping_abs(),
        Sign => x.signum(),
        Remainder(c) => remainder_i32(x, c as i32),
        Clamp(low, high) => x.clamp(low as i32, high as i32),
        other => unreachable!("{other} of int32: core asks UnaryOp::accepts first"),
    }
}

/// On bool, which is 0 or 1, the maximum is "or" and the minimum "and".
pub(super) fn binary(op: BinaryOp, a: f64, b: f64) -> f64 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Pow => a.powf(b),
        BinaryOp::Remainder => remainder(a, b),
        BinaryOp::Maximum | BinaryOp::Minimum if a.is_nan() || b.is_nan() => f64::NAN, // f64::max ignores NaN
        BinaryOp::Maximum => a.max(b),
        BinaryOp::Minimum => a.min(b),
    }
}

pub(super) fn binary_i32(op: BinaryOp, a: i32, b: i32) -> i32 {
    match op {
        BinaryOp::Add => a.wrapping_add(b),
        BinaryOp::Sub => a.wrapping_sub(b),
        BinaryOp::Mul => a.wrapping_mul(b),
        BinaryOp::Remainder => remainder_i32(a, b),
        BinaryOp::Maximum => a.max(b),
        BinaryOp::Minimum => a.min(b),
        other => unreachable!("{other} of int32: core asks BinaryOp::accepts first"),
    }
}

/// With a NaN all are false but `!=`, as the contract says.
pub(super) fn compare(op: CompareOp, a: f64, b: f64) -> bool {
    match op {
        CompareOp::Eq => a == b,
        CompareOp::Ne => a != b,
        CompareOp::Lt => a < b,
        CompareOp::Le => a <= b,
        CompareOp::Gt => a > b,
        CompareOp::Ge => a >= b,
    }
}

/// The order of a sort: NaN after every number, and equal to itself.
pub(super) fn nan_last(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// `%` is exact and has the sign of a; adding b where the signs differ gives the sign of b.
fn remainder(a: f64, b: f64) -> f64 {
    let rest = a % b;
    if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
}

fn remainder_i32(a: i32, b: i32) -> i32 {
    let rest = if b == 0 { 0 } else { a.wrapping_rem(b) };
    if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }
}

/// For very negative x the exponential is infinite and the quotient 0.
fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The error function, within 4 ulp: below 1.5 a series of positive terms, without cancellation (Abramowitz and Stegun 7.1.6); above,
/// from its complement.
fn erf(x: f64) -> f64 {
    if x.is_nan() {
        x
    } else if x.abs() < 1.5 {
        // 2/sqrt(pi) e^(-x²) (x + 2 x³ / 3 + 4 x⁵ / (3 5) + ..)
        let (mut term, mut sum) = (x, x);
        for n in 1..60 {
            term *= 2.0 * x * x / (2 * n + 1) as f64;
            sum += term;
        }
        std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
    } else {
        (1.0 - erfc(x.abs())).copysign(x)
    }
}

/// `1 - erf(x)`, above 1.5 by the continued fraction (Abramowitz and Stegun 7.1.14), evaluated from the innermost term; below, where
/// the difference does not cancel, directly.
fn erfc(x: f64) -> f64 {
    if x < 1.5 || x.is_nan() {
        return 1.0 - erf(x);
    }
    // e^(-x²) / sqrt(pi) / (x + (1/2) / (x + (2/2) / (x + (3/2) / ..)))
    let fraction = (1..=100).rev().fold(x, |inner, n| x + 0.5 * n as f64 / inner);
    0.5 * std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() / fraction
}
