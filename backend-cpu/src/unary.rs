//! Element-wise functions of one tensor and their gradients. Cost: one read and one write per element, two reads for a gradient,
//! and the function itself.
//!
//! ```text
//! unary        out = f(x)       unary_mut    x = f(x)       unary_grad   out = g * f'(saved)
//! ```
//! The number before each closure is its work per element in the unit of `parallel`. `run` is a vectorised loop, `slow` a scalar one
//! for functions that call the maths library.

use crate::element::{Element, Real, Remainder as _, with_element, with_real};
use crate::elementwise::{map0, map1, map2, slow1, slow2};
use crate::launch::{self, report};
use crate::memory::{AnyBits, Storage};
use crate::simd::Wide;
use crate::view::{Source, source};
use crate::{Cpu, Tensor, parallel};
use minitorch_core::backend::{Activation, UnaryOp, UnaryOps, View};
use minitorch_core::{DType, Layout};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, LOG2_E};

/// Work of the functions that call the maths library.
const LIBRARY: usize = 32;

/// Work of the functions in `approx`, which vectorise.
const APPROX: usize = 8;

impl UnaryOps for Cpu {
    fn unary(&self, op: UnaryOp, x: View<'_, Storage>) -> Storage {
        with_element!(x.dtype, T => {
            let mut out = self.output::<T>(x.layout.numel(), &[x.storage]);
            if let Some(out) = &mut out {
                Apply::apply(op, OutOfPlace { out, x: source::<T>(x) });
            }
            T::wrap(out)
        })
    }

    // In place for F32 only: each further type is one more copy of every loop to compile.
    fn unary_mut(&self, op: UnaryOp, x: &mut Storage, layout: &Layout, dtype: DType) {
        match x {
            Storage::F32(x) => Apply::apply(op, InPlace(&mut x[..layout.numel()])),
            storage => *storage = self.unary(op, View { storage, layout, dtype }),
        }
    }

    fn unary_grad(&self, op: UnaryOp, saved: &Tensor, g: &Tensor) -> Tensor {
        let [saved_layout, g_layout] = Layout::merge([*saved.layout(), *g.layout()]);
        let (saved, shape, g) = (saved.view().storage, *g.shape(), g.view());
        with_real!(g.dtype, T => {
            let mut out = self.output::<T>(shape.numel(), &[saved, g.storage]);
            if let Some(out) = &mut out {
                let saved = Source { data: T::read(saved), layout: &saved_layout };
                let g = Source { data: T::read(g.storage), layout: &g_layout };
                real_grad(op, Gradient { out, saved, g });
            }
            Tensor::from_storage(self, T::wrap(out), T::DTYPE, shape)
        })
    }
}

/// `x = f(x)`, on the calling thread.
pub(crate) fn activate<T: Real>(f: Activation, x: &mut [T]) {
    // A loop of work 0 never uses more than one thread.
    match f {
        Activation::Relu => map0(0, x, relu),
        Activation::Sigmoid => map0(0, x, |x| x.sigmoid()),
        Activation::Tanh => map0(0, x, |x| x.tanh()),
    }
}

/// `max(x, 0)`; NaN stays NaN.
#[inline(always)]
fn relu<T: Real>(x: T) -> T {
    if x < T::ZERO { T::ZERO } else { x }
}

/// An operand, and the place of the result.
trait Target {
    type Elem: AnyBits;
    fn run(self, work: usize, f: impl Fn(Self::Elem) -> Self::Elem + Copy + Sync);
    /// As `run`, for functions that call the maths library.
    fn slow(self, work: usize, f: impl Fn(Self::Elem) -> Self::Elem + Sync);
}

struct OutOfPlace<'a, T> {
    out: &'a mut [T],
    x: Source<'a, T>,
}

impl<T: AnyBits + Wide> Target for OutOfPlace<'_, T> {
    type Elem = T;
    fn run(self, work: usize, f: impl Fn(T) -> T + Copy + Sync) {
        map1(work, self.out, self.x, f);
    }
    fn slow(self, work: usize, f: impl Fn(T) -> T + Sync) {
        slow1(work, self.out, self.x, f);
    }
}

struct InPlace<'a, T>(&'a mut [T]);

impl<T: AnyBits + Wide> Target for InPlace<'_, T> {
    type Elem = T;
    fn run(self, work: usize, f: impl Fn(T) -> T + Copy + Sync) {
        map0(work, self.0, f);
    }
    fn slow(self, work: usize, f: impl Fn(T) -> T + Sync) {
        report(|| launch::split::<T>("slow0", self.0.len(), 1, work).path("in place"));
        parallel::split(self.0, 1, work, |_, x| x.iter_mut().for_each(|x| *x = f(*x)));
    }
}

/// The functions of one element type.
trait Apply: AnyBits {
    fn apply(op: UnaryOp, to: impl Target<Elem = Self>);
}

impl<T: Real> Apply for T {
    fn apply(op: UnaryOp, to: impl Target<Elem = T>) {
        real(op, to);
    }
}

fn real<T: Real>(op: UnaryOp, to: impl Target<Elem = T>) {
    use UnaryOp::*;
    let (zero, one, half) = (T::ZERO, T::of(1.0), T::of(0.5));
    match op {
        Add(c) => with(T::of(c), |c| to.run(1, move |x| x + c)),
        Mul(c) => with(T::of(c), |c| to.run(1, move |x| x * c)),
        Rsub(c) => with(T::of(c), |c| to.run(1, move |x| c - x)),
        Div(c) => with(T::of(c), |c| to.run(2, move |x| x / c)),
        Rdiv(c) => with(T::of(c), |c| to.run(2, move |x| c / x)),
        Neg => to.run(1, |x| -x),
        Abs => to.run(1, |x| x.abs()),
        Sign => to.run(1, sign),
        Square => to.run(1, |x| x * x),
        Pow(c) => pow(c, to),
        Sqrt => to.run(2, |x| x.sqrt()),
        Rsqrt => to.run(4, move |x| one / x.sqrt()),
        Exp => to.run(APPROX, |x| x.exp()),
        Expm1 => to.run(APPROX, |x| x.exp_m1()),
        Log => to.run(APPROX, |x| x.ln()),
        Log1p => to.run(APPROX, |x| x.ln_1p()),
        Log2 => to.run(APPROX, |x| x.log2()),
        Sin => to.slow(LIBRARY, |x| x.sin()),
        Cos => to.slow(LIBRARY, |x| x.cos()),
        Tan => to.slow(2 * LIBRARY, |x| x.tan()),
        Atan => to.slow(LIBRARY, |x| x.atan()),
        Sinh => to.slow(LIBRARY, |x| x.sinh()),
        Cosh => to.slow(LIBRARY, |x| x.cosh()),
        Tanh => to.run(APPROX, |x| x.tanh()),
        Erf => to.run(2 * APPROX, |x| x.erf()),
        Sigmoid => to.run(APPROX, |x| x.sigmoid()),
        Relu => to.run(1, relu),
        LeakyRelu(slope) => with(T::of(slope), |slope| to.run(1, move |x| if x > zero { x } else { slope * x })),
        Elu(alpha) => with(T::of(alpha), |alpha| {
            to.run(APPROX, move |x| if x > zero { x } else { alpha * x.exp_m1() });
        }),
        // x Phi(x), with Phi(x) = erfc(-x / sqrt(2)) / 2: no cancellation where Phi is small.
        Gelu => to.run(2 * APPROX, move |x| gated(x, half * (-x * T::of(FRAC_1_SQRT_2)).erfc())),
        GeluTanh => to.run(2 * APPROX, move |x| gated(x, half * (one + gelu_inner(x).tanh()))),
        Silu => to.run(APPROX, |x| gated(x, x.sigmoid())),
        Hardswish => to.run(4, move |x| gated(x, clamp(x + T::of(3.0), zero, T::of(6.0)) / T::of(6.0))),
        Softplus => to.run(2 * APPROX, |x| x.softplus()),
        Floor => to.run(1, |x| x.floor()),
        Ceil => to.run(1, |x| x.ceil()),
        Round => to.run(1, |x| x.round_ties_even()),
        Trunc => to.run(1, |x| x.trunc()),
        Remainder(c) => with(T::of(c), |c| to.slow(LIBRARY, move |x| x.remainder(c))),
        Clamp(low, high) => {
            let (low, high) = (T::of(low), T::of(high));
            to.run(1, move |x| clamp(x, low, high));
        }
        Not => unreachable!("core admits `not` on bool only"),
    }
}

/// A `let` within an expression.
#[inline(always)]
fn with<C, R>(c: C, f: impl FnOnce(C) -> R) -> R {
    f(c)
}

/// `min(max(x, low), high)`; NaN stays NaN.
#[inline(always)]
fn clamp<T: PartialOrd>(x: T, low: T, high: T) -> T {
    if x < low {
        low
    } else if x > high {
        high
    } else {
        x
    }
}

/// -1, 0 or 1; NaN stays NaN.
#[inline(always)]
fn sign<T: Real>(x: T) -> T {
    // The sum turns -0 into 0.
    if x > T::ZERO {
        T::of(1.0)
    } else if x < T::ZERO {
        T::of(-1.0)
    } else {
        x + T::ZERO
    }
}

/// `x * gate`, but 0 where the gate is 0, which is the limit: `-inf * 0` is NaN.
#[inline(always)]
fn gated<T: Real>(x: T, gate: T) -> T {
    if gate == T::ZERO { T::ZERO } else { x * gate }
}

/// `sqrt(2 / pi) (x + 0.044715 x³)`
#[inline(always)]
fn gelu_inner<T: Real>(x: T) -> T {
    T::of(GELU_SCALE) * (x + T::of(GELU_CUBIC) * (x * x * x))
}

const GELU_SCALE: f64 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
const GELU_CUBIC: f64 = 0.044_715;

fn pow<T: Real>(c: f64, to: impl Target<Elem = T>) {
    // Exponents for which multiplication and division give the result of C's pow.
    if c == 0.0 {
        to.run(1, |_| T::of(1.0));
    } else if c == 1.0 {
        to.run(1, |x| x);
    } else if c == 2.0 {
        to.run(1, |x| x * x);
    } else if c == 3.0 {
        to.run(1, |x| x * x * x);
    } else if c == -1.0 {
        to.run(2, |x| T::of(1.0) / x);
    } else {
        let c = T::of(c);
        to.slow(2 * LIBRARY, move |x| x.powf(c));
    }
}

impl Apply for i32 {
    fn apply(op: UnaryOp, to: impl Target<Elem = i32>) {
        use UnaryOp::*;
        // Core admits int32 scalars only.
        match op {
            Add(c) => with(c as i32, |c| to.run(1, move |x| x.wrapping_add(c))),
            Mul(c) => with(c as i32, |c| to.run(1, move |x| x.wrapping_mul(c))),
            Rsub(c) => with(c as i32, |c| to.run(1, move |x| c.wrapping_sub(x))),
            Neg => to.run(1, i32::wrapping_neg),
            Abs => to.run(1, i32::wrapping_abs),
            Sign => to.run(1, i32::signum),
            Remainder(c) => with(c as i32, |c| to.slow(8, move |x| x.remainder(c))),
            Clamp(low, high) => with((low as i32, high as i32), |(low, high)| to.run(1, move |x| clamp(x, low, high))),
            other => unreachable!("core does not admit {other} on int32"),
        }
    }
}

impl Apply for u8 {
    fn apply(op: UnaryOp, to: impl Target<Elem = u8>) {
        match op {
            UnaryOp::Not => to.run(1, |x| x ^ 1),
            other => unreachable!("core does not admit {other} on bool"),
        }
    }
}

struct Gradient<'a, T> {
    out: &'a mut [T],
    saved: Source<'a, T>,
    g: Source<'a, T>,
}

impl<T: AnyBits + Wide> Gradient<'_, T> {
    /// `out = f(s, g)`
    fn run(self, work: usize, f: impl Fn(T, T) -> T + Copy + Sync) {
        map2(work, self.out, self.saved, self.g, f);
    }

    fn slow(self, work: usize, f: impl Fn(T, T) -> T + Sync) {
        slow2(work, self.out, self.saved, self.g, f);
    }
}

/// `s` is the operation's input or output, as `UnaryOp::saves` says.
fn real_grad<T: Real>(op: UnaryOp, to: Gradient<T>) {
    use UnaryOp::*;
    let (zero, one, half) = (T::ZERO, T::of(1.0), T::of(0.5));
    match op {
        // Of the input.
        Abs => to.run(1, |s, g| g * sign(s)),
        Square => to.run(1, |s, g| (s + s) * g),
        Pow(c) => pow_grad(c, to),
        // -c / s², without s², which may overflow or underflow.
        Rdiv(c) => with(T::of(-c), |c| {
            to.run(2, move |s, g| {
                let r = one / s;
                g * (c * r * r)
            });
        }),
        Log => to.run(2, |s, g| g / s),
        Log1p => to.run(2, move |s, g| g / (s + one)),
        Log2 => to.run(2, |s, g| g * T::of(LOG2_E) / s),
        Sin => to.slow(LIBRARY, |s, g| g * s.cos()),
        Cos => to.slow(LIBRARY, |s, g| g * -s.sin()),
        Atan => to.run(2, move |s, g| g / (s * s + one)),
        Sinh => to.slow(LIBRARY, |s, g| g * s.cosh()),
        Cosh => to.slow(LIBRARY, |s, g| g * s.sinh()),
        Erf => to.run(APPROX, |s, g| g * T::of(FRAC_2_SQRT_PI) * (-(s * s)).exp()),
        LeakyRelu(slope) => with(T::of(slope), |slope| to.run(1, move |s, g| if s > zero { g } else { g * slope })),
        Elu(alpha) => with(T::of(alpha), |alpha| {
            to.run(APPROX, move |s, g| if s > zero { g } else { g * alpha * s.exp() });
        }),
        // Phi(s) + s phi(s)
        Gelu => to.run(3 * APPROX, move |s, g| {
            let density = T::of(0.5 * GELU_SCALE) * (-half * s * s).exp();
            g * (half * (-s * T::of(FRAC_1_SQRT_2)).erfc() + gated(s, density))
        }),
        // (1 + t) / 2 + s / 2 (1 - t²) u' with t = tanh(u), u = k (s + c s³)
        GeluTanh => to.run(2 * APPROX, move |s, g| {
            let t = gelu_inner(s).tanh();
            let slope = T::of(GELU_SCALE) * (one + T::of(3.0 * GELU_CUBIC) * (s * s));
            g * half * (one + t + gated(s * slope, one - t * t))
        }),
        // y (1 + s (1 - y))
        Silu => to.run(APPROX, move |s, g| {
            let y = s.sigmoid();
            g * gated(one + gated(s, one - y), y)
        }),
        Hardswish => to.run(2, move |s, g| {
            let three = T::of(3.0);
            let slope = if s >= three { one } else { s * T::of(1.0 / 3.0) + half };
            if s <= -three { zero } else { g * slope }
        }),
        Softplus => to.run(APPROX, |s, g| g * s.sigmoid()),
        Clamp(low, high) => {
            let (low, high) = (T::of(low), T::of(high));
            to.run(1, move |s, g| if s > low && s < high { g } else { zero });
        }
        // Of the output.
        Sqrt => to.run(2, move |s, g| half * g / s),
        Rsqrt => to.run(1, move |s, g| g * (-half * s * s * s)),
        Exp => to.run(1, |s, g| g * s),
        Expm1 => to.run(1, move |s, g| g * (s + one)),
        Tan => to.run(1, move |s, g| g * (s * s + one)),
        Tanh => to.run(1, move |s, g| g * (one - s * s)),
        Sigmoid => to.run(1, move |s, g| g * (s * (one - s))),
        Relu => to.run(1, move |s, g| if s <= zero { zero } else { g }),
        Add(_) | Mul(_) | Rsub(_) | Neg | Div(_) | Remainder(_) | Sign | Floor | Ceil | Round | Trunc | Not => {
            unreachable!("core computes the gradient of {op} from other operations")
        }
    }
}

fn pow_grad<T: Real>(c: f64, to: Gradient<T>) {
    // Core computes those of 0 and 1 from other operations.
    if c == 2.0 {
        to.run(1, |s, g| (s + s) * g);
    } else if c == 3.0 {
        to.run(1, |s, g| T::of(3.0) * s * s * g);
    } else {
        let (c, less) = (T::of(c), T::of(c - 1.0));
        to.slow(2 * LIBRARY, move |s, g| g * (s.powf(less) * c));
    }
}
