//! Element-wise functions of one tensor, and their gradients.
//!
//! ```text
//! y = f(x)      gx = g f'(x), from the input, the output or neither: the column `saves` of the table
//! ```

use crate::autodiff::{Value, parents, record, record_with_output, recording};
use crate::backend::{Backend, Device, View, ViewOf};
use crate::dtype::DType;
use crate::layout::Layout;
use crate::operand::TensorArg;
use crate::tensor::Tensor;
use crate::tensor::fused::in_f32;
use std::fmt;

/// The table of unary ops: name, element types and what the gradient saves.
macro_rules! unary_ops {
    (@f64 $number:ident) => { f64 };
    (@example $number:ident) => { 2.5 };
    (@numbers) => { [0.0; 2] };
    (@numbers $a:ident) => { [$a, 0.0] };
    (@numbers $a:ident, $b:ident) => { [$a, $b] };
    ($($(#[$doc:meta])* $Op:ident $(($($number:ident),+))? $name:literal $Types:ident $Saves:ident;)*) => {
        /// A function of one element. Numbers are fields of the op: `x * 2.0` uploads nothing. A number takes the
        /// tensor's dtype; core rejects a number that is not an I32 for an I32 tensor.
        ///
        /// The [`Tensor`] method of the same name states formula and edge cases.
        #[derive(Clone, Copy, PartialEq, Debug)]
        #[allow(missing_docs)] // documented at the methods
        pub enum UnaryOp {
            $($(#[$doc])* $Op $(($(unary_ops!(@f64 $number)),+))?,)*
        }

        impl UnaryOp {
            /// The method's name, and the kernel's; `rsub` and `rdiv` are a number minus or divided by the tensor.
            pub fn name(self) -> &'static str {
                match self { $(UnaryOp::$Op { .. } => $name,)* }
            }

            /// The numbers that the op carries, in the order of the variant's fields; 0 where it has fewer than two.
            pub fn numbers(self) -> [f64; 2] {
                match self { $(UnaryOp::$Op $(($($number),+))? => unary_ops!(@numbers $($($number),+)?),)* }
            }

            /// Whether the op is defined for elements of this type.
            pub fn accepts(self, dtype: DType) -> bool {
                match self { $(UnaryOp::$Op { .. } => Types::$Types,)* }.contain(dtype)
            }

            /// What the gradient needs, and the tape therefore keeps alive.
            pub fn saves(self) -> Saves {
                match self {
                    UnaryOp::Pow(0.0 | 1.0) => Saves::Nothing,
                    $(UnaryOp::$Op { .. } => Saves::$Saves,)*
                }
            }

            /// The names of all kernels of [`kernel`](Self::kernel). A backend that selects a kernel by number takes the position
            /// in this list.
            pub const KERNELS: &[&str] = &[$($name,)* "one", "identity", "cube"];

            /// Every op, with numbers that select the kernel of its own name.
            #[cfg(test)]
            fn all() -> Vec<UnaryOp> {
                vec![$(UnaryOp::$Op $(($(unary_ops!(@example $number)),+))?,)*]
            }
        }
    };
}

unary_ops! {
    Add(c) "add" Number Nothing;
    Mul(c) "mul" Number Nothing;
    /// `c - x`.
    Rsub(c) "rsub" Number Nothing;
    Neg "neg" Number Nothing;
    Abs "abs" Number Input;
    Sign "sign" Number Nothing;
    Remainder(c) "remainder" Number Nothing;
    Clamp(low, high) "clamp" Number Input;
    Div(c) "div" Float Nothing;
    /// `c / x`.
    Rdiv(c) "rdiv" Float Input;
    Square "square" Float Input;
    Pow(c) "powf" Float Input;
    Sqrt "sqrt" Float Output;
    Rsqrt "rsqrt" Float Output;
    Exp "exp" Float Output;
    Expm1 "expm1" Float Output;
    Log "log" Float Input;
    Log1p "log1p" Float Input;
    Log2 "log2" Float Input;
    Sin "sin" Float Input;
    Cos "cos" Float Input;
    Tan "tan" Float Output;
    Atan "atan" Float Input;
    Sinh "sinh" Float Input;
    Cosh "cosh" Float Input;
    Tanh "tanh" Float Output;
    Erf "erf" Float Input;
    Sigmoid "sigmoid" Float Output;
    Relu "relu" Float Output;
    LeakyRelu(slope) "leaky_relu" Float Input;
    Elu(alpha) "elu" Float Input;
    Gelu "gelu" Float Input;
    GeluTanh "gelu_tanh" Float Input;
    Silu "silu" Float Input;
    Hardswish "hardswish" Float Input;
    Softplus "softplus" Float Input;
    Floor "floor" Float Nothing;
    Ceil "ceil" Float Nothing;
    Round "round" Float Nothing;
    Trunc "trunc" Float Nothing;
    Not "logical_not" Bool Nothing;
}

super::display_by_name!(UnaryOp);

/// The element types that an op is defined for.
enum Types {
    Float,
    /// Floats and I32.
    Number,
    Bool,
}

impl Types {
    fn contain(&self, dtype: DType) -> bool {
        match self {
            Types::Float => dtype.is_float(),
            Types::Number => dtype != DType::Bool,
            Types::Bool => dtype == DType::Bool,
        }
    }
}

/// What the gradient of an op needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Saves {
    /// Neither: the derivative is a constant.
    Nothing,
    /// The input.
    Input,
    /// The output.
    Output,
}

impl UnaryOp {
    /// The name of the kernel that computes the op, one of [`KERNELS`](Self::KERNELS), and the kernel's scalar operands. It is
    /// the op's name, except for powers that are computed by multiplication and division.
    pub fn kernel(self) -> (&'static str, [f64; 2]) {
        match self {
            UnaryOp::Pow(0.0) => ("one", [0.0; 2]),
            UnaryOp::Pow(1.0) => ("identity", [0.0; 2]),
            UnaryOp::Pow(2.0) => ("square", [0.0; 2]),
            UnaryOp::Pow(3.0) => ("cube", [0.0; 2]),
            UnaryOp::Pow(-1.0) => ("rdiv", [1.0, 0.0]),
            op => (op.name(), op.numbers()),
        }
    }
}

/// Element-wise functions of one tensor. See the [contract](crate::backend).
pub trait UnaryOps: Device {
    /// `op(x)`, of x's dtype.
    fn unary(&self, op: UnaryOp, x: ViewOf<'_, Self>) -> Self::Storage;

    /// `x = op(x)` in place; the layout is contiguous and covers the whole storage.
    fn unary_mut(&self, op: UnaryOp, x: &mut Self::Storage, layout: &Layout, dtype: DType) {
        *x = self.unary(op, View { storage: x, layout, dtype });
    }

    /// The gradient of `op`, given its output's: `g op'`. `saved` is the input or the output, as [`UnaryOp::saves`] says.
    fn unary_grad(&self, op: UnaryOp, saved: &Tensor<Self>, g: &Tensor<Self>) -> Tensor<Self>
    where
        Self: Backend,
    {
        composed::unary_grad(op, saved, g)
    }
}

impl<B: Backend> Tensor<B> {
    /// `|x|`. The derivative at 0 is 0. The absolute value of the smallest I32 is itself. PyTorch: `abs`.
    #[track_caller]
    pub fn abs(&self) -> Self {
        unary(UnaryOp::Abs, self)
    }

    /// -1, 0 or 1 by the sign; NaN gives NaN. Its derivative is 0. PyTorch: `sign` (where NaN gives 0).
    #[track_caller]
    pub fn sign(&self) -> Self {
        unary(UnaryOp::Sign, self)
    }

    /// `x²`. PyTorch: `square`.
    #[track_caller]
    pub fn square(&self) -> Self {
        unary(UnaryOp::Square, self)
    }

    /// `1 / x`. PyTorch: `reciprocal`.
    #[track_caller]
    pub fn recip(&self) -> Self {
        unary_as("recip", UnaryOp::Rdiv(1.0), self)
    }

    /// `x^c` for a number c, as C's `pow` defines it: NaN for negative x unless c is an integer; `x^0` is 1, NaN
    /// included. PyTorch: `pow`.
    #[track_caller]
    pub fn powf(&self, exponent: f64) -> Self {
        unary(UnaryOp::Pow(exponent), self)
    }

    /// The square root; NaN below 0. The derivative at 0 is infinite. PyTorch: `sqrt`.
    #[track_caller]
    pub fn sqrt(&self) -> Self {
        unary(UnaryOp::Sqrt, self)
    }

    /// `1 / sqrt(x)`; infinite at 0, NaN below. PyTorch: `rsqrt`.
    #[track_caller]
    pub fn rsqrt(&self) -> Self {
        unary(UnaryOp::Rsqrt, self)
    }

    /// `e^x`. PyTorch: `exp`.
    #[track_caller]
    pub fn exp(&self) -> Self {
        unary(UnaryOp::Exp, self)
    }

    /// `e^x - 1`, accurate near 0. PyTorch: `expm1`.
    #[track_caller]
    pub fn expm1(&self) -> Self {
        unary(UnaryOp::Expm1, self)
    }

    /// The natural logarithm; -inf at 0, NaN below. PyTorch: `log`.
    #[track_caller]
    pub fn log(&self) -> Self {
        unary(UnaryOp::Log, self)
    }

    /// `log(1 + x)`, accurate near 0. PyTorch: `log1p`.
    #[track_caller]
    pub fn log1p(&self) -> Self {
        unary(UnaryOp::Log1p, self)
    }

    /// The logarithm to base 2; -inf at 0, NaN below. PyTorch: `log2`.
    #[track_caller]
    pub fn log2(&self) -> Self {
        unary(UnaryOp::Log2, self)
    }

    /// The sine of x in radians. PyTorch: `sin`.
    #[track_caller]
    pub fn sin(&self) -> Self {
        unary(UnaryOp::Sin, self)
    }

    /// The cosine of x in radians. PyTorch: `cos`.
    #[track_caller]
    pub fn cos(&self) -> Self {
        unary(UnaryOp::Cos, self)
    }

    /// The tangent of x in radians. PyTorch: `tan`.
    #[track_caller]
    pub fn tan(&self) -> Self {
        unary(UnaryOp::Tan, self)
    }

    /// The angle in [-pi/2, pi/2] whose tangent is x. PyTorch: `atan`.
    #[track_caller]
    pub fn atan(&self) -> Self {
        unary(UnaryOp::Atan, self)
    }

    /// The hyperbolic sine `(e^x - e^-x) / 2`. PyTorch: `sinh`.
    #[track_caller]
    pub fn sinh(&self) -> Self {
        unary(UnaryOp::Sinh, self)
    }

    /// The hyperbolic cosine `(e^x + e^-x) / 2`. PyTorch: `cosh`.
    #[track_caller]
    pub fn cosh(&self) -> Self {
        unary(UnaryOp::Cosh, self)
    }

    /// The hyperbolic tangent. PyTorch: `tanh`.
    #[track_caller]
    pub fn tanh(&self) -> Self {
        unary(UnaryOp::Tanh, self)
    }

    /// The error function `2 / sqrt(pi) * integral of exp(-t²) from 0 to x`. PyTorch: `erf`.
    #[track_caller]
    pub fn erf(&self) -> Self {
        unary(UnaryOp::Erf, self)
    }

    /// `1 / (1 + e^-x)`, without overflow for any x. PyTorch: `sigmoid`.
    #[track_caller]
    pub fn sigmoid(&self) -> Self {
        unary(UnaryOp::Sigmoid, self)
    }

    /// `max(x, 0)`; NaN stays NaN; the derivative at 0 is 0. PyTorch: `relu`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let x = Tensor::new([-1.0, 0.0, 2.0], &device).requires_grad();
    /// let y = x.relu();
    /// assert_eq!(y.to_vec::<f32>()?, [0.0, 0.0, 2.0]);
    /// assert_eq!(y.sum(..).backward()[&x].to_vec::<f32>()?, [0.0, 0.0, 1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn relu(&self) -> Self {
        unary(UnaryOp::Relu, self)
    }

    /// `x` above 0, else `slope x`; the derivative at 0 is `slope`. Panics unless the slope is finite. PyTorch: `leaky_relu`.
    #[track_caller]
    pub fn leaky_relu(&self, slope: f64) -> Self {
        unary(UnaryOp::LeakyRelu(crate::error::finite("leaky_relu: the slope", slope)), self)
    }

    /// `x` above 0, else `alpha (e^x - 1)`; the derivative at 0 is `alpha`. Clevert et al., "Fast and accurate deep
    /// network learning by exponential linear units", 2015. Panics unless alpha is finite. PyTorch: `elu`.
    #[track_caller]
    pub fn elu(&self, alpha: f64) -> Self {
        unary(UnaryOp::Elu(crate::error::finite("elu: alpha", alpha)), self)
    }

    /// `x Phi(x) = x/2 (1 + erf(x / sqrt 2))`. PyTorch: `gelu`.
    #[track_caller]
    pub fn gelu(&self) -> Self {
        unary(UnaryOp::Gelu, self)
    }

    /// `x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x³)))`. PyTorch: `gelu(approximate="tanh")`.
    #[track_caller]
    pub fn gelu_tanh(&self) -> Self {
        unary(UnaryOp::GeluTanh, self)
    }

    /// `x sigmoid(x)`, also called swish. PyTorch: `silu`.
    #[track_caller]
    pub fn silu(&self) -> Self {
        unary(UnaryOp::Silu, self)
    }

    /// `x min(max(x + 3, 0), 6) / 6`, a piecewise approximation of [`silu`](Self::silu). The derivative is 0 at -3 and 1
    /// at 3. Howard et al., "Searching for MobileNetV3", 2019. PyTorch: `hardswish`.
    #[track_caller]
    pub fn hardswish(&self) -> Self {
        unary(UnaryOp::Hardswish, self)
    }

    /// `log(1 + e^x)`, without overflow for any x. PyTorch: `softplus` (x itself above 20).
    #[track_caller]
    pub fn softplus(&self) -> Self {
        unary(UnaryOp::Softplus, self)
    }

    /// The largest integer not above x. Its derivative is 0. PyTorch: `floor`.
    #[track_caller]
    pub fn floor(&self) -> Self {
        unary(UnaryOp::Floor, self)
    }

    /// The smallest integer not below x. Its derivative is 0. PyTorch: `ceil`.
    #[track_caller]
    pub fn ceil(&self) -> Self {
        unary(UnaryOp::Ceil, self)
    }

    /// The nearest integer, halves to the even one. Its derivative is 0. PyTorch: `round`.
    #[track_caller]
    pub fn round(&self) -> Self {
        unary(UnaryOp::Round, self)
    }

    /// x without its fraction: rounded towards 0. Its derivative is 0. PyTorch: `trunc`.
    #[track_caller]
    pub fn trunc(&self) -> Self {
        unary(UnaryOp::Trunc, self)
    }

    /// `min(max(x, low), high)`; NaN stays NaN. The derivative is 1 between the bounds and 0 on them. For one bound alone, the
    /// other is infinite. PyTorch: `clamp`.
    ///
    /// # Panics
    /// If `low > high` or either is NaN.
    #[track_caller]
    pub fn clamp(&self, low: f64, high: f64) -> Self {
        assert!(low <= high, "clamp: the bounds {low} and {high} are not in order");
        unary(UnaryOp::Clamp(low, high), self)
    }

    /// True where x is false. Bool only. PyTorch: `logical_not`.
    #[track_caller]
    pub fn logical_not(&self) -> Self {
        unary(UnaryOp::Not, self)
    }
}

/// The entry point of every unary op. An operator that owns its input passes a `&mut`; the input's storage is then overwritten in
/// place unless something else, such as the tape, holds it.
#[track_caller]
pub(crate) fn unary<'a, B: Backend>(op: UnaryOp, x: impl Into<TensorArg<'a, B>>) -> Tensor<B> {
    apply(op.name(), op, x.into())
}

/// [`unary`] for the operation `name`, which its messages name instead of the op.
#[track_caller]
pub(crate) fn unary_as<'a, B: Backend>(name: &str, op: UnaryOp, x: impl Into<TensorArg<'a, B>>) -> Tensor<B> {
    apply(name, op, x.into())
}

#[track_caller]
fn apply<B: Backend>(name: &str, op: UnaryOp, mut x: TensorArg<B>) -> Tensor<B> {
    assert!(op.accepts(x.dtype()), "{name}: not defined for {}; cast the tensor first", x.dtype());
    if x.dtype() == DType::I32 {
        match op {
            UnaryOp::Add(c) | UnaryOp::Mul(c) | UnaryOp::Rsub(c) | UnaryOp::Remainder(c) => check_whole(name, c),
            // An infinite bound is no bound, and need not be a value of I32.
            UnaryOp::Clamp(low, high) => {
                check_whole(name, if low.is_infinite() { 0.0 } else { low });
                check_whole(name, if high.is_infinite() { 0.0 } else { high });
            }
            _ => {}
        }
    }
    let parents = parents([&*x]);
    let saved = (parents.is_some() && op.saves() == Saves::Input).then(|| x.clone());
    let out = match x.unique() {
        Some(x) => {
            let layout = Layout::contiguous(x.numel());
            if let Some((device, storage, dtype)) = x.unique_storage() {
                device.unary_mut(op, storage, &layout, dtype);
            }
            x.with_node(None)
        }
        None => {
            let storage = x.with_merged_view(|device, view| device.unary(op, view));
            Tensor::from_storage(x.device(), storage, x.dtype(), *x.shape())
        }
    };
    let Some(parents) = parents else { return out };
    match (op.saves(), saved) {
        (Saves::Output, _) => record_with_output(op.name(), out, parents, move |g, y, _| [Some(unary_grad(op, y, g))]),
        (_, Some(x)) => record(op.name(), out, parents, move |g, _| [Some(unary_grad(op, &x, g))]),
        _ => record(op.name(), out, parents, move |g, _| {
            [Some(match op {
                UnaryOp::Add(_) | UnaryOp::Remainder(_) | UnaryOp::Pow(1.0) => g.clone(),
                UnaryOp::Mul(c) => g * c,
                UnaryOp::Div(c) => g / c,
                UnaryOp::Neg | UnaryOp::Rsub(_) => -g,
                _ => g.zeros_like(), // step functions and x^0
            })]
        }),
    }
}

/// Panics unless a number beside I32 elements is an I32.
#[track_caller]
pub(crate) fn check_whole(op: impl fmt::Display, c: f64) {
    assert!(c == c as i32 as f64, "{op}: the tensor is of int32 and {c} is not; cast the tensor to a float first");
}

/// The gradient of a unary op: one kernel, or the differentiable form if the backward pass is recorded (`create_graph`).
pub(crate) fn unary_grad<B: Backend>(op: UnaryOp, saved: &Tensor<B>, g: &Tensor<B>) -> Tensor<B> {
    if recording() {
        composed::unary_grad(op, saved, g)
    } else {
        g.device().unary_grad(op, &saved.detach(), &g.detach())
    }
}

/// The default implementation.
pub mod composed {
    use super::*;

    /// [`UnaryOps::unary_grad`] as tensor operations; differentiable.
    pub fn unary_grad<B: Backend>(op: UnaryOp, saved: &Tensor<B>, g: &Tensor<B>) -> Tensor<B> {
        in_f32([saved, g], |[s, g]| gradient(op, s, g))
    }

    fn gradient<B: Backend>(op: UnaryOp, s: &Tensor<B>, g: &Tensor<B>) -> Tensor<B> {
        use UnaryOp::*;
        const FRAC_2_SQRT_PI: f64 = std::f64::consts::FRAC_2_SQRT_PI;
        match op {
            Abs => g * s.sign(),
            Square => g * s * 2.0,
            Pow(c) => g * (s.powf(c - 1.0) * c),
            Rdiv(c) => g * (-c / s / s),
            Sqrt => g * 0.5 / s,
            Rsqrt => g * (s * -0.5 * s.square()),
            Exp => g * s,
            Expm1 => g * (s + 1.0),
            Log => g / s,
            Log1p => g / (s + 1.0),
            Log2 => g * std::f64::consts::LOG2_E / s,
            Sin => g * s.cos(),
            Cos => g * -s.sin(),
            Tan => g * (s.square() + 1.0),
            // 1 / (1 + s²). For |s| > 1 it is t² / (1 + t²) with t = 1 / s: s² may overflow, and so does s⁴ in the second
            // derivative.
            Atan => {
                let large = s.abs().gt(1.0);
                let t = Tensor::where_cond(&large, &s.masked_fill(&!&large, 1.0).recip(), s);
                let small = g / (t.square() + 1.0);
                Tensor::where_cond(&large, &(&small * &t * &t), &small)
            }
            Sinh => g * s.cosh(),
            Cosh => g * s.sinh(),
            Tanh => g * (1.0 - s.square()),
            Erf => g * (-within(s, 40.0).square()).exp() * FRAC_2_SQRT_PI,
            Sigmoid => g * (s * (1.0 - s)),
            Relu => g.masked_fill(&s.le(0.0), 0.0), // y <= 0 means y == 0; NaN passes the gradient, as in PyTorch
            LeakyRelu(slope) => Tensor::where_cond(&s.gt(0.0), g, &(g * slope)),
            // exp of the negative elements only: exp of a large s is infinite, and its own gradient would be 0 times that.
            Elu(alpha) => {
                let above = s.gt(0.0);
                Tensor::where_cond(&above, g, &(g * s.masked_fill(&above, 0.0).exp() * alpha))
            }
            // Phi(x) + x phi(x), the normal distribution and its density.
            Gelu => {
                let s = &within(s, 40.0);
                let distribution = (s * std::f64::consts::FRAC_1_SQRT_2).erf() * 0.5 + 0.5;
                let density = (s.square() * -0.5).exp() * (0.5 * FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2);
                g * (distribution + s * density)
            }
            // u = k (x + c x³): 0.5 (1 + tanh u) + 0.5 x (1 - tanh² u) u'.
            GeluTanh => {
                let (k, c) = (FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2, 0.044_715);
                let s = &within(s, 40.0);
                let t = ((s + s.powf(3.0) * c) * k).tanh();
                let slope = (s.square() * (3.0 * c) + 1.0) * k;
                g * ((&t + 1.0) * 0.5 + s * 0.5 * (1.0 - t.square()) * slope)
            }
            Silu => {
                let s = &within(s, 1000.0);
                let y = s.sigmoid();
                g * (&y * (s * (1.0 - &y) + 1.0))
            }
            // 0, s/3 + 1/2, 1. The slope 1/3 is NaN where s is, so that the second derivative is NaN too.
            Hardswish => {
                let third = Tensor::where_cond(&s.isnan(), &s.detach(), &s.scalar_like(1.0 / 3.0));
                let middle = g * (s * third + 0.5);
                Tensor::where_cond(&s.ge(3.0), g, &middle.masked_fill(&s.le(-3.0), 0.0))
            }
            Softplus => g * s.sigmoid(),
            Clamp(low, high) => g.masked_fill(&!s.gt(low).logical_and(&s.lt(high)), 0.0),
            Add(_) | Mul(_) | Rsub(_) | Neg | Div(_) | Remainder(_) | Sign | Floor | Ceil | Round | Trunc | Not => {
                unreachable!("{op}: saves nothing, its gradient is in the rule")
            }
        }
    }

    /// x clamped to `[-bound, bound]`, outside of which a gated function rounds to x or 0. So the derivative is that at the
    /// bound, where an infinite x would give infinity times 0. Unlike `clamp`, it propagates the gradient at a NaN.
    fn within<B: Backend>(x: &Tensor<B>, bound: f64) -> Tensor<B> {
        x.masked_fill(&x.gt(bound), bound).masked_fill(&x.lt(-bound), -bound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_is_listed_once_and_used() {
        let powers = [0.0, 1.0, 2.0, 3.0, -1.0].map(UnaryOp::Pow);
        let used: Vec<&str> = UnaryOp::all().into_iter().chain(powers).map(|op| op.kernel().0).collect();
        for name in &used {
            assert_eq!(UnaryOp::KERNELS.iter().filter(|kernel| *kernel == name).count(), 1, "{name}");
        }
        for kernel in UnaryOp::KERNELS {
            assert!(used.contains(kernel), "no op uses the kernel {kernel}");
        }
        assert_eq!(UnaryOp::Clamp(1.0, 2.0).kernel(), ("clamp", [1.0, 2.0]));
        assert_eq!(UnaryOp::Pow(-1.0).kernel(), ("rdiv", [1.0, 0.0]));
    }
}
