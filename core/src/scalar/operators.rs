//! Operators of scalars with each other and with numbers, on both sides.

use super::Scalar;
use crate::autodiff::{parents, record, record_with_output, record_with_parents};
use std::iter::{Product, Sum};
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};

fn add(a: &Scalar, b: &Scalar) -> Scalar {
    let out = Scalar::from(a.value + b.value);
    match parents([a, b]) {
        Some(parents) => record("add", out, parents, |g, _| [Some(g.clone()), Some(g.clone())]),
        None => out,
    }
}

fn sub(a: &Scalar, b: &Scalar) -> Scalar {
    let out = Scalar::from(a.value - b.value);
    match parents([a, b]) {
        Some(parents) => record("sub", out, parents, |g, _| [Some(g.clone()), Some(-g)]),
        None => out,
    }
}

fn mul(a: &Scalar, b: &Scalar) -> Scalar {
    let out = Scalar::from(a.value * b.value);
    let Some(parents) = parents([a, b]) else { return out };
    // Only the numbers: the tape holds the nodes already, and reference counting dominates the cost of a scalar operation.
    let (a, b) = (a.value, b.value);
    record_with_parents("mul", out, parents, move |g, [of_a, of_b]| {
        [of_a.as_ref().map(|_| g * Scalar::input(b, of_b)), of_b.as_ref().map(|_| g * Scalar::input(a, of_a))]
    })
}

fn div(a: &Scalar, b: &Scalar) -> Scalar {
    let out = Scalar::from(a.value / b.value);
    let Some(parents) = parents([a, b]) else { return out };
    let b = b.clone();
    record_with_output("div", out, parents, move |g, y, wants| {
        // -a / b² as -(a / b) / b, since b² may overflow or underflow.
        [wants[0].then(|| g / &b), wants[1].then(|| -(g * (y / &b)))]
    })
}

fn neg(a: &Scalar) -> Scalar {
    let out = Scalar::from(-a.value);
    match parents([a]) {
        Some(parents) => record("neg", out, parents, |g, _| [Some(-g)]),
        None => out,
    }
}

/// The right operand of a scalar's operator: a scalar, a reference to one, or a number, which is a constant.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be combined with a Scalar",
    note = "use a Scalar, &Scalar, f64, f32 or i32"
)]
pub trait ScalarOperand {
    /// Calls `f` with the operand as a scalar.
    fn with<T>(self, f: impl FnOnce(&Scalar) -> T) -> T;
}

impl ScalarOperand for Scalar {
    fn with<T>(self, f: impl FnOnce(&Scalar) -> T) -> T {
        f(&self)
    }
}
impl ScalarOperand for &Scalar {
    fn with<T>(self, f: impl FnOnce(&Scalar) -> T) -> T {
        f(self)
    }
}

macro_rules! numbers {
    ($($number:ty)*) => { $(impl ScalarOperand for $number {
        fn with<T>(self, f: impl FnOnce(&Scalar) -> T) -> T {
            f(&Scalar::from(self))
        }
    })* };
}
numbers! { f64 f32 i32 }

macro_rules! operator {
    ($($Op:ident $op:ident $Assign:ident $assign:ident;)*) => { $(
        impl<R: ScalarOperand> $Op<R> for Scalar {
            type Output = Scalar;
            fn $op(self, rhs: R) -> Scalar {
                rhs.with(|rhs| $op(&self, rhs))
            }
        }
        impl<R: ScalarOperand> $Op<R> for &Scalar {
            type Output = Scalar;
            fn $op(self, rhs: R) -> Scalar {
                rhs.with(|rhs| $op(self, rhs))
            }
        }
        impl<R: ScalarOperand> $Assign<R> for Scalar {
            fn $assign(&mut self, rhs: R) {
                *self = rhs.with(|rhs| $op(self, rhs));
            }
        }
        // One float and one integer type as left operand, so that the type of a literal is known: `(1.0 - x).log()`.
        operator! { $Op $op: f64 i32 }
    )* };
    ($Op:ident $op:ident: $($number:ty)*) => { $(
        impl $Op<Scalar> for $number {
            type Output = Scalar;
            fn $op(self, rhs: Scalar) -> Scalar {
                $op(&Scalar::from(self), &rhs)
            }
        }
        impl $Op<&Scalar> for $number {
            type Output = Scalar;
            fn $op(self, rhs: &Scalar) -> Scalar {
                $op(&Scalar::from(self), rhs)
            }
        }
    )* };
}
operator! {
    Add add AddAssign add_assign;
    Sub sub SubAssign sub_assign;
    Mul mul MulAssign mul_assign;
    Div div DivAssign div_assign;
}

/// The sum of none is 0, a constant.
impl<S: Into<Scalar>> Sum<S> for Scalar {
    fn sum<I: Iterator<Item = S>>(terms: I) -> Scalar {
        terms.map(Into::into).reduce(|a, b| a + b).unwrap_or(Scalar::from(0.0))
    }
}

/// The product of none is 1, a constant.
impl<S: Into<Scalar>> Product<S> for Scalar {
    fn product<I: Iterator<Item = S>>(factors: I) -> Scalar {
        factors.map(Into::into).reduce(|a, b| a * b).unwrap_or(Scalar::from(1.0))
    }
}

impl Neg for Scalar {
    type Output = Scalar;
    fn neg(self) -> Scalar {
        neg(&self)
    }
}
impl Neg for &Scalar {
    type Output = Scalar;
    fn neg(self) -> Scalar {
        neg(self)
    }
}
