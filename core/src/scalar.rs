//! `Scalar`: one f64 on the same tape as tensors. The simplest value to learn automatic differentiation with, and the one that
//! tests the tape.

mod operators;

pub use operators::ScalarOperand;

use crate::autodiff::{self, Gradients, Node, Value, parents, record, record_with_output, recording};
use crate::display::brief_number;
use crate::graph::Graph;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// A number on the tape.
///
/// ```
/// use minitorch::prelude::*;
///
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

/// What the tape records of a scalar: nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ScalarSpec;

impl fmt::Display for ScalarSpec {
    fn fmt(&self, _: &mut fmt::Formatter) -> fmt::Result {
        Ok(())
    }
}

impl Value for Scalar {
    type Spec = ScalarSpec;
    type Rows = std::convert::Infallible;
    fn spec(&self) -> ScalarSpec {
        ScalarSpec
    }
    fn node(&self) -> Option<&Arc<Node<Self>>> {
        self.node.as_ref()
    }
    fn with_node(&self, node: Option<Arc<Node<Self>>>) -> Self {
        Scalar { value: self.value, node }
    }
    fn accumulate(self, more: Self) -> Self {
        self + more
    }
    fn ones(&self) -> Self {
        Scalar::from(1.0)
    }
    fn brief(&self) -> String {
        brief_number(self.value, 4)
    }
}

macro_rules! constant {
    ($($number:ty),*) => { $(impl From<$number> for Scalar {
        /// A constant.
        fn from(value: $number) -> Self {
            Scalar { value: value.into(), node: None }
        }
    })* };
}
constant!(f64, f32, i32);

impl From<Scalar> for f64 {
    /// The number, off the tape.
    fn from(scalar: Scalar) -> f64 {
        scalar.value
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
fn unary(
    op: &'static str,
    x: &Scalar,
    value: f64,
    df: impl Fn(&Scalar, &Scalar) -> Scalar + Send + Sync + 'static,
) -> Scalar {
    let out = Scalar::from(value);
    let Some(parents) = parents([x]) else { return out };
    let x = x.clone();
    record_with_output(op, out, parents, move |g, y, _| [Some(g * df(&x, y))])
}

impl Scalar {
    /// A variable: a leaf whose derivative [`backward`](Self::backward) computes.
    pub fn variable(value: f64) -> Self {
        Scalar { value, node: None }.with_leaf()
    }

    /// The number.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// An input whose number a rule kept: at its node while recording, else a constant.
    fn input(value: f64, node: &Option<Arc<Node<Scalar>>>) -> Self {
        Scalar { value, node: if recording() { node.clone() } else { None } }
    }

    fn with_leaf(self) -> Self {
        let node = Node::leaf(&self);
        Scalar { node: Some(node), ..self }
    }

    /// The same number off the tape: a constant.
    pub fn detach(&self) -> Scalar {
        Scalar::from(self.value)
    }

    /// `e^x`.
    pub fn exp(&self) -> Scalar {
        unary("exp", self, self.value.exp(), |_, y| y.clone())
    }

    /// The natural logarithm; -inf at 0 and NaN below.
    pub fn log(&self) -> Scalar {
        unary("log", self, self.value.ln(), |x, _| 1.0 / x)
    }

    /// `1 / x`.
    pub fn recip(&self) -> Scalar {
        unary("recip", self, 1.0 / self.value, |_, y| -(y * y))
    }

    /// `x^2`.
    pub fn square(&self) -> Scalar {
        unary("square", self, self.value * self.value, |x, _| 2.0 * x)
    }

    /// `x^exponent` as C's `pow`. The derivative of `x^0` is 0.
    pub fn powf(&self, exponent: f64) -> Scalar {
        unary("powf", self, self.value.powf(exponent), move |x, _| match exponent {
            0.0 => Scalar::from(0.0),
            _ => exponent * x.powf(exponent - 1.0),
        })
    }

    /// The square root; NaN below 0. The derivative at 0 is infinite.
    pub fn sqrt(&self) -> Scalar {
        unary("sqrt", self, self.value.sqrt(), |_, y| 0.5 / y)
    }

    /// The sine, of radians.
    pub fn sin(&self) -> Scalar {
        unary("sin", self, self.value.sin(), |x, _| x.cos())
    }

    /// The cosine, of radians.
    pub fn cos(&self) -> Scalar {
        unary("cos", self, self.value.cos(), |x, _| -x.sin())
    }

    /// The hyperbolic tangent.
    pub fn tanh(&self) -> Scalar {
        unary("tanh", self, self.value.tanh(), |_, y| 1.0 - y * y)
    }

    /// `1 / (1 + e^-x)`, in two branches so that neither overflows.
    pub fn sigmoid(&self) -> Scalar {
        let x = self.value;
        let y = if x >= 0.0 { 1.0 / (1.0 + (-x).exp()) } else { x.exp() / (1.0 + x.exp()) };
        unary("sigmoid", self, y, |_, y| y * (1.0 - y))
    }

    /// `max(x, 0)`; NaN stays NaN. The derivative at 0 is 0, at NaN 1.
    pub fn relu(&self) -> Scalar {
        // `f64::max` would drop a NaN.
        let y = if self.value <= 0.0 { 0.0 } else { self.value };
        unary("relu", self, y, |x, _| Scalar::from(if x.value <= 0.0 { 0.0 } else { 1.0 }))
    }

    /// `|x|`. The derivative at 0 is 0.
    pub fn abs(&self) -> Scalar {
        let sign = |x: f64| if x == 0.0 { 0.0 } else { x.signum() };
        unary("abs", self, self.value.abs(), move |x, _| Scalar::from(sign(x.value)))
    }

    /// The larger of the two; NaN if either is NaN. On ties each gets half of the gradient, as with tensors.
    pub fn maximum(&self, other: impl Into<Scalar>) -> Scalar {
        extreme("maximum", self.clone(), other.into(), |a, b| a > b)
    }

    /// The smaller of the two; NaN if either is NaN. On ties each gets half of the gradient, as with tensors.
    pub fn minimum(&self, other: impl Into<Scalar>) -> Scalar {
        extreme("minimum", self.clone(), other.into(), |a, b| a < b)
    }

    /// 1 if this value is less than the other, else 0: a constant, as its derivative is 0 wherever it exists. `a < b` is a bool.
    pub fn lt(&self, other: impl Into<Scalar>) -> Scalar {
        indicator(self.value < other.into().value)
    }

    /// 1 if this value is greater than the other, else 0: a constant.
    pub fn gt(&self, other: impl Into<Scalar>) -> Scalar {
        indicator(self.value > other.into().value)
    }

    /// 1 if the two are equal, else 0: a constant.
    pub fn eq(&self, other: impl Into<Scalar>) -> Scalar {
        indicator(self.value == other.into().value)
    }

    /// Whether the two differ by less than `tolerance`; false if either is NaN.
    pub fn is_close(&self, other: impl Into<Scalar>, tolerance: f64) -> bool {
        (self.value - other.into().value).abs() < tolerance
    }

    /// The operations that computed this value, as data and as a picture; see [`Graph`].
    pub fn graph(&self) -> Graph<Scalar> {
        Graph::of(self)
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

fn indicator(is: bool) -> Scalar {
    Scalar::from(u8::from(is) as f64)
}

/// The value that is `better`. If neither is, they are equal and share the derivative, or one is NaN and both have all of it.
fn extreme(op: &'static str, a: Scalar, b: Scalar, better: fn(f64, f64) -> bool) -> Scalar {
    let (a_better, b_better) = (better(a.value, b.value), better(b.value, a.value));
    // NaN plus anything is NaN.
    let value = match (a_better, b_better) {
        (true, _) => a.value,
        (_, true) => b.value,
        _ if a.value == b.value => a.value,
        _ => a.value + b.value,
    };
    let share = match (a_better, b_better) {
        (true, _) => [1.0, 0.0],
        (_, true) => [0.0, 1.0],
        _ if a.value == b.value => [0.5, 0.5],
        _ => [1.0, 1.0],
    };
    match parents([&a, &b]) {
        Some(parents) => record(op, Scalar::from(value), parents, move |g, _| share.map(|share| Some(g * share))),
        None => Scalar::from(value),
    }
}

#[cfg(test)]
#[path = "scalar_tests.rs"]
mod tests;
