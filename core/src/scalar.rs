//! `Scalar`: one f64 on the same tape as tensors. The smallest value to learn automatic differentiation from, and the
//! engine's own test value.

use crate::autodiff::{self, Gradients, Node, Value, parents, record, record_with_output};
use std::cmp::Ordering;
use std::fmt;
use std::ops::{Add, Div, Mul, Neg, Sub};
use std::sync::Arc;

/// A number that remembers how it was computed.
///
/// ```
/// # use minitorch_core::Scalar;
/// let (x, y) = (Scalar::variable(2.0), Scalar::variable(3.0));
/// let z = &x * &y + x.exp();
/// let [dz_dx] = z.grad([&x]); // y + e^x
/// assert!((dz_dx.value() - (3.0 + 2f64.exp())).abs() < 1e-12);
/// let [d2z_dx2] = dz_dx.grad([&x]); // e^x
/// assert!((d2z_dx2.value() - 2f64.exp()).abs() < 1e-12);
/// assert_eq!(z.backward()[&y].value(), 2.0);
/// ```
#[derive(Clone)]
pub struct Scalar {
    value: f64,
    node: Option<Arc<Node<Scalar>>>,
}

impl Value for Scalar {
    fn node(&self) -> Option<&Arc<Node<Self>>> {
        self.node.as_ref()
    }
    fn with_node(&self, node: Option<Arc<Node<Self>>>) -> Self {
        Scalar { value: self.value, node }
    }
    fn accumulate(self, more: Self) -> Self {
        self + more
    }
}

impl From<f64> for Scalar {
    /// A constant.
    fn from(value: f64) -> Self {
        Scalar { value, node: None }
    }
}

impl From<&Scalar> for Scalar {
    fn from(scalar: &Scalar) -> Self {
        scalar.clone()
    }
}

impl fmt::Debug for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Scalar({})", self.value)
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl PartialOrd for Scalar {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.value.partial_cmp(&other.value)
    }
}

/// `f(x)` whose derivative is `df(x, y)`, both as scalars, so that it can be differentiated again.
fn unary(x: &Scalar, value: f64, df: fn(&Scalar, &Scalar) -> Scalar) -> Scalar {
    let out = Scalar::from(value);
    let Some(parents) = parents([x]) else { return out };
    let x = x.clone();
    record_with_output(out, parents, move |g, y, _| [Some(g * df(&x, y))])
}

impl Scalar {
    /// A variable: a leaf whose derivative [`backward`](Self::backward) finds.
    pub fn variable(value: f64) -> Self {
        Scalar { value, node: Some(Node::leaf()) }
    }

    /// The number.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// `e^x`.
    pub fn exp(&self) -> Scalar {
        unary(self, self.value.exp(), |_, y| y.clone())
    }

    /// The natural logarithm.
    pub fn log(&self) -> Scalar {
        unary(self, self.value.ln(), |x, _| 1.0 / x)
    }

    /// `1 / (1 + e^-x)`, in two branches so that neither overflows.
    pub fn sigmoid(&self) -> Scalar {
        let x = self.value;
        let y = if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) };
        unary(self, y, |_, y| y * (1.0 - y))
    }

    /// `max(x, 0)`; NaN stays NaN. The derivative at 0 is 0, at NaN 1.
    pub fn relu(&self) -> Scalar {
        // `f64::max` would drop a NaN.
        let y = if self.value <= 0.0 { 0.0 } else { self.value };
        unary(self, y, |x, _| Scalar::from(if x.value <= 0.0 { 0.0 } else { 1.0 }))
    }

    /// The hyperbolic tangent.
    pub fn tanh(&self) -> Scalar {
        unary(self, self.value.tanh(), |_, y| 1.0 - y * y)
    }

    /// Derivatives of this value in every variable it depends on. Consumes the tape.
    ///
    /// # Panics
    /// If an earlier `backward` consumed it.
    #[track_caller]
    pub fn backward(&self) -> Gradients<Scalar> {
        autodiff::backward(self, Scalar::from(1.0))
    }

    /// Derivatives in the named values, 0 where this value does not depend on them. The tape stays and the result is
    /// differentiable.
    ///
    /// # Panics
    /// If an earlier `backward` consumed the tape.
    #[track_caller]
    pub fn grad<const N: usize>(&self, of: [&Scalar; N]) -> [Scalar; N] {
        let found = autodiff::grad(self, Scalar::from(1.0), of);
        of.map(|x| found.get(x).cloned().unwrap_or(Scalar::from(0.0)))
    }
}

fn add(a: Scalar, b: Scalar) -> Scalar {
    let out = Scalar::from(a.value + b.value);
    match parents([&a, &b]) {
        Some(parents) => record(out, parents, |g, _| [Some(g.clone()), Some(g.clone())]),
        None => out,
    }
}

fn sub(a: Scalar, b: Scalar) -> Scalar {
    let out = Scalar::from(a.value - b.value);
    match parents([&a, &b]) {
        Some(parents) => record(out, parents, |g, _| [Some(g.clone()), Some(-g)]),
        None => out,
    }
}

fn mul(a: Scalar, b: Scalar) -> Scalar {
    let out = Scalar::from(a.value * b.value);
    match parents([&a, &b]) {
        Some(parents) => record(out, parents, move |g, _| [Some(g * &b), Some(g * &a)]),
        None => out,
    }
}

fn div(a: Scalar, b: Scalar) -> Scalar {
    let out = Scalar::from(a.value / b.value);
    match parents([&a, &b]) {
        // -a / b² as -(a / b) / b: b² might overflow or vanish.
        Some(parents) => record_with_output(out, parents, move |g, y, _| [Some(g / &b), Some(-(g * (y / &b)))]),
        None => out,
    }
}

fn neg(a: &Scalar) -> Scalar {
    let out = Scalar::from(-a.value);
    match parents([a]) {
        Some(parents) => record(out, parents, |g, _| [Some(-g)]),
        None => out,
    }
}

macro_rules! operator {
    ($($Op:ident $op:ident;)*) => { $(
        impl<R: Into<Scalar>> $Op<R> for Scalar {
            type Output = Scalar;
            fn $op(self, rhs: R) -> Scalar {
                $op(self, rhs.into())
            }
        }
        impl<R: Into<Scalar>> $Op<R> for &Scalar {
            type Output = Scalar;
            fn $op(self, rhs: R) -> Scalar {
                $op(self.clone(), rhs.into())
            }
        }
        impl $Op<Scalar> for f64 {
            type Output = Scalar;
            fn $op(self, rhs: Scalar) -> Scalar {
                $op(Scalar::from(self), rhs)
            }
        }
        impl $Op<&Scalar> for f64 {
            type Output = Scalar;
            fn $op(self, rhs: &Scalar) -> Scalar {
                $op(Scalar::from(self), rhs.clone())
            }
        }
    )* };
}
operator! { Add add; Sub sub; Mul mul; Div div; }

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

#[cfg(test)]
#[path = "scalar_tests.rs"]
mod tests;
