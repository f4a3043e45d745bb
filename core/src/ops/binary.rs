//! Element-wise functions of two tensors, their gradients, and Rust's operators.
//!
//! ```text
//! y = f(a, b) with a and b broadcast to one shape      ga = g df/da summed over the dimensions that a broadcasts, gb likewise
//! ```
//!
//! The tape keeps an operand only if the gradient needs it: none for a sum, the other operand for a product.

use crate::autodiff::{parents, record, record_with_output, recording};
use crate::backend::{Backend, Device, View, ViewOf};
use crate::dtype::DType;
use crate::layout::Layout;
use crate::operand::{Number, Operand, Rhs, TensorArg};
use crate::ops::compare::{CompareOp, compare_as};
use crate::ops::unary::{UnaryOp, check_whole, unary, unary_as};
use crate::shape::{Shape, misfit};
use crate::tensor::Tensor;
use half::f16;
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Not, Sub, SubAssign};

super::op_table! {
    /// A function of two elements of one dtype.
    BinaryOp {
        /// `a + b`; I32 wraps.
        Add "add",
        /// `a - b`; I32 wraps.
        Sub "sub",
        /// `a b`; I32 wraps.
        Mul "mul",
        /// `a / b`; floats only.
        Div "div",
        /// `a^b` as C's `pow`; floats only.
        Pow "pow",
        /// `a - b floor(a / b)`, computed exactly before the last rounding; it has the sign of b. For b = 0 it is NaN, on I32 0.
        Remainder "remainder",
        /// The larger; NaN if either is NaN. On bool: or.
        Maximum "maximum",
        /// The smaller; NaN if either is NaN. On bool: and.
        Minimum "minimum",
    }
}

impl BinaryOp {
    /// Whether the op is defined for elements of this type.
    pub fn accepts(self, dtype: DType) -> bool {
        use BinaryOp::*;
        match dtype {
            DType::F16 | DType::F32 | DType::F64 => true,
            DType::I32 => !matches!(self, Div | Pow),
            DType::Bool => matches!(self, Maximum | Minimum),
        }
    }

    fn commutes(self) -> bool {
        !matches!(self, BinaryOp::Sub | BinaryOp::Div | BinaryOp::Pow | BinaryOp::Remainder)
    }
}

/// Element-wise functions of two tensors. See the [contract](crate::backend).
pub trait BinaryOps: Device {
    /// `op(a, b)`, of their dtype.
    fn binary(&self, op: BinaryOp, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Self::Storage;

    /// `a = op(a, b)` in place; the layout has b's shape, is contiguous and covers the whole storage.
    fn binary_mut(&self, op: BinaryOp, a: &mut Self::Storage, layout: &Layout, b: ViewOf<'_, Self>) {
        *a = self.binary(op, View { storage: a, layout, dtype: b.dtype }, b);
    }
}

impl<B: Backend> Tensor<B> {
    /// `self^exponent`, element by element with broadcasting, as C's `pow` defines it. `0^0` is 1, and both its derivatives are
    /// 0. The derivative of `0^b` with respect to the exponent is 0 for b above 0 and -inf for b below. PyTorch: `pow`.
    #[track_caller]
    pub fn pow(&self, exponent: &Self) -> Self {
        binary(BinaryOp::Pow, self, exponent)
    }

    /// The larger of each pair, with broadcasting; NaN if either is NaN. On ties each gets half of the gradient; if
    /// either is NaN, both get all of it. PyTorch: `maximum`.
    #[track_caller]
    pub fn maximum(&self, other: &Self) -> Self {
        binary(BinaryOp::Maximum, self, other)
    }

    /// The smaller of each pair, with broadcasting; NaN if either is NaN. On ties each gets half of the gradient; if
    /// either is NaN, both get all of it. PyTorch: `minimum`.
    #[track_caller]
    pub fn minimum(&self, other: &Self) -> Self {
        binary(BinaryOp::Minimum, self, other)
    }

    /// `a - b floor(a / b)`, by a tensor (broadcasting) or a number; it has the sign of b. NaN if b is 0 or a infinite;
    /// for I32 and b = 0 it is 0. The derivative with respect to a is 1, with respect to b `-floor(a / b)`: infinite
    /// for b = 0; for an infinite b it is 0, or 1 if a has the other sign. (Rust's `%` has the sign of a, so it is not
    /// this operator.) PyTorch: `remainder`.
    #[track_caller]
    pub fn remainder(&self, divisor: impl Operand<B>) -> Self {
        operate(BinaryOp::Remainder, UnaryOp::Remainder, self.into(), divisor.operand())
    }

    /// And, with broadcasting. Bool only. PyTorch: `logical_and`.
    #[track_caller]
    pub fn logical_and(&self, other: &Self) -> Self {
        assert!(self.dtype() == DType::Bool, "logical_and: wants bool, not {}", self.dtype());
        apply("logical_and", BinaryOp::Minimum, self.into(), other.into())
    }

    /// Or, with broadcasting. Bool only. PyTorch: `logical_or`.
    #[track_caller]
    pub fn logical_or(&self, other: &Self) -> Self {
        assert!(self.dtype() == DType::Bool, "logical_or: wants bool, not {}", self.dtype());
        apply("logical_or", BinaryOp::Maximum, self.into(), other.into())
    }

    /// Exclusive or, with broadcasting. Bool only. PyTorch: `logical_xor`.
    #[track_caller]
    pub fn logical_xor(&self, other: &Self) -> Self {
        assert!(self.dtype() == DType::Bool, "logical_xor: wants bool, not {}", self.dtype());
        compare_as("logical_xor", CompareOp::Ne, self, other)
    }
}

macro_rules! operator {
    // A number at the left. One float and one integer type with literals, see `Operand`.
    (@left $number:ty, $Op:ident $op:ident, $scalar:expr) => {
        impl<B: Backend> $Op<Tensor<B>> for $number {
            type Output = Tensor<B>;
            #[track_caller]
            fn $op(self, mut x: Tensor<B>) -> Tensor<B> {
                let c = Number::from(self).value(BinaryOp::$Op, x.dtype());
                unary_as(BinaryOp::$Op.name(), $scalar(c), &mut x)
            }
        }
        impl<B: Backend> $Op<&Tensor<B>> for $number {
            type Output = Tensor<B>;
            #[track_caller]
            fn $op(self, x: &Tensor<B>) -> Tensor<B> {
                let c = Number::from(self).value(BinaryOp::$Op, x.dtype());
                unary_as(BinaryOp::$Op.name(), $scalar(c), x)
            }
        }
    };
    ($Op:ident $op:ident $Assign:ident $assign:ident, $scalar_right:expr, $scalar_left:expr) => {
        impl<B: Backend, R: Operand<B>> $Op<R> for Tensor<B> {
            type Output = Tensor<B>;
            #[track_caller]
            fn $op(mut self, rhs: R) -> Tensor<B> {
                operate(BinaryOp::$Op, $scalar_right, TensorArg::Reusable(&mut self), rhs.operand())
            }
        }
        impl<B: Backend, R: Operand<B>> $Op<R> for &Tensor<B> {
            type Output = Tensor<B>;
            #[track_caller]
            fn $op(self, rhs: R) -> Tensor<B> {
                operate(BinaryOp::$Op, $scalar_right, TensorArg::Borrowed(self), rhs.operand())
            }
        }
        operator!(@left f64, $Op $op, $scalar_left);
        operator!(@left i32, $Op $op, $scalar_left);
        operator!(@left f16, $Op $op, $scalar_left);
        impl<B: Backend, R: Operand<B>> $Assign<R> for Tensor<B> {
            #[track_caller]
            fn $assign(&mut self, rhs: R) {
                *self = operate(BinaryOp::$Op, $scalar_right, TensorArg::Reusable(self), rhs.operand());
            }
        }
    };
}
operator!(Add add AddAssign add_assign, UnaryOp::Add, UnaryOp::Add);
operator!(Sub sub SubAssign sub_assign, |c: f64| UnaryOp::Add(-c), UnaryOp::Rsub);
operator!(Mul mul MulAssign mul_assign, UnaryOp::Mul, UnaryOp::Mul);
operator!(Div div DivAssign div_assign, UnaryOp::Div, UnaryOp::Rdiv);

impl<B: Backend> Neg for Tensor<B> {
    type Output = Self;
    #[track_caller]
    fn neg(mut self) -> Self {
        unary(UnaryOp::Neg, &mut self)
    }
}
impl<B: Backend> Neg for &Tensor<B> {
    type Output = Tensor<B>;
    #[track_caller]
    fn neg(self) -> Tensor<B> {
        unary(UnaryOp::Neg, self)
    }
}
impl<B: Backend> Not for Tensor<B> {
    type Output = Self;
    #[track_caller]
    fn not(mut self) -> Self {
        unary(UnaryOp::Not, &mut self)
    }
}
impl<B: Backend> Not for &Tensor<B> {
    type Output = Tensor<B>;
    #[track_caller]
    fn not(self) -> Tensor<B> {
        self.logical_not()
    }
}

/// The entry point of every binary op. A `&mut` operand may be overwritten in place, as in [`unary`].
#[track_caller]
pub(crate) fn binary<'a, B: Backend>(
    op: BinaryOp,
    a: impl Into<TensorArg<'a, B>>,
    b: impl Into<TensorArg<'a, B>>,
) -> Tensor<B> {
    apply(op.name(), op, a.into(), b.into())
}

/// The binary op of two tensors; of a tensor and a number c the unary op `scalar(c)`.
#[track_caller]
fn operate<B: Backend>(op: BinaryOp, scalar: impl FnOnce(f64) -> UnaryOp, a: TensorArg<B>, b: Rhs<B>) -> Tensor<B> {
    let number = match b {
        Rhs::Owned(mut b) => return apply(op.name(), op, a, TensorArg::Reusable(&mut b)),
        Rhs::Borrowed(b) => return apply(op.name(), op, a, TensorArg::Borrowed(b)),
        Rhs::Number(number) => number,
    };
    let c = number.value(op, a.dtype());
    if a.dtype() == DType::I32 {
        check_whole(op, c);
        if op == BinaryOp::Sub && c == i32::MIN as f64 {
            // -i32::MIN overflows. Subtracting i32::MIN is the same as adding it, as both wrap.
            return unary_as(op.name(), UnaryOp::Add(c), a);
        }
    }
    unary_as(op.name(), scalar(c), a)
}

/// The op for the operation `name`, which messages name.
#[track_caller]
fn apply<B: Backend>(name: &str, op: BinaryOp, mut a: TensorArg<B>, mut b: TensorArg<B>) -> Tensor<B> {
    let (sa, sb, dtype) = (*a.shape(), *b.shape(), a.dtype());
    let Some(shape) = sa.broadcast(&sb) else {
        panic!("{name}: the shapes {sa:?} and {sb:?} {}", misfit([("left", &sa), ("right", &sb)]))
    };
    a.check_same(name, &b);
    assert!(op.accepts(dtype), "{name}: not defined for {dtype}; cast the tensors first");
    let Some(parents) = parents([&*a, &*b]) else { return forward(op, &mut a, &mut b, shape) };
    // Operands that the gradient needs are cloned before `forward`: a storage with two holders is not overwritten.
    let wants = parents.each_ref().map(Option::is_some);
    use BinaryOp::*;
    let [keep_a, keep_b] = match op {
        Add | Sub => [false; 2],
        Mul => [wants[1], wants[0]],
        Div => [false, wants[0] || wants[1]],
        Pow | Maximum | Minimum => [wants[0] || wants[1]; 2],
        Remainder => [wants[1]; 2],
    };
    let (saved_a, saved_b) = (keep_a.then(|| Tensor::clone(&a)), keep_b.then(|| Tensor::clone(&b)));
    let out = forward(op, &mut a, &mut b, shape);
    let rule = move |a: Option<&Tensor<B>>, g: &Tensor<B>, wants| {
        let [ga, gb] = grad(op, a, saved_b.as_ref(), g, wants);
        [ga.map(|g| g.sum_to_shape(sa)), gb.map(|g| g.sum_to_shape(sb))]
    };
    if op == Div && wants[1] {
        return record_with_output(op.name(), out, parents, move |g, y, wants| rule(Some(y), g, wants));
    }
    record(op.name(), out, parents, move |g, wants| rule(saved_a.as_ref(), g, wants))
}

/// The op without the tape, in place if an operand may be overwritten. The shapes broadcast to `shape`.
fn forward<B: Backend>(op: BinaryOp, a: &mut TensorArg<B>, b: &mut TensorArg<B>, shape: Shape) -> Tensor<B> {
    if *a.shape() == shape
        && let Some(a) = a.unique()
    {
        return a.zip_storage(b, |device, storage, layout, other| device.binary_mut(op, storage, layout, other));
    }
    if op.commutes()
        && *b.shape() == shape
        && let Some(b) = b.unique()
    {
        return b.zip_storage(a, |device, storage, layout, other| device.binary_mut(op, storage, layout, other));
    }
    let [la, lb] = Layout::aligned([a.layout(), b.layout()], &shape);
    let (va, vb) = (a.view(), b.view());
    let storage = a.device().binary(op, View { layout: &la, ..va }, View { layout: &lb, ..vb });
    Tensor::from_storage(a.device(), storage, a.dtype(), shape)
}

/// The gradients with respect to a and b, of the broadcast shape. For `Div`, `a` is the quotient instead.
fn grad<B: Backend>(
    op: BinaryOp,
    a: Option<&Tensor<B>>,
    b: Option<&Tensor<B>>,
    g: &Tensor<B>,
    wants: [bool; 2],
) -> [Option<Tensor<B>>; 2] {
    use BinaryOp::*;
    match (op, a, b) {
        (Add, ..) => [wants[0].then(|| g.clone()), wants[1].then(|| g.clone())],
        (Sub, ..) => [wants[0].then(|| g.clone()), wants[1].then(|| -g)],
        (Mul, a, b) => [b.filter(|_| wants[0]).map(|b| g * b), a.filter(|_| wants[1]).map(|a| g * a)],
        // -a / b² as -(a / b) / b, since b² may overflow or underflow.
        (Div, y, Some(b)) => [wants[0].then(|| g / b), y.filter(|_| wants[1]).map(|y| -(g * (y / b)))],
        (Pow, Some(a), Some(b)) => [
            wants[0].then(|| pow_grad_base(a, b, g)),
            wants[1].then(|| {
                // a^b log a, which is 0 where a is 0 and b is not negative. a is replaced by the constant 1 there, so that the
                // second derivative is 0 too and not 0 times infinity.
                let zero = a.eq(0.0).logical_and(&b.ge(0.0));
                let a = a.masked_fill(&zero, 1.0);
                (g * (a.pow(b) * a.log())).masked_fill(&zero, 0.0)
            }),
        ],
        // 1 and -floor(a / b), as floor is a step function.
        (Remainder, a, b) => [
            wants[0].then(|| g.clone()),
            a.zip(b).filter(|_| wants[1]).map(|(a, b)| {
                let (a, b) = (a.detach(), b.detach());
                // The quotient a / b is rounded, and may lie on the wrong side of an integer. So it is moved by a
                // quarter towards the middle of its step [q, q + 1); the remainder tells which half it lies in. If b is
                // infinite and of the other sign than a, the remainder is b, the upper half, and q is -1.
                let upper = a.remainder(&b).abs().ge(b.abs() * 0.5).cast(g.dtype());
                -(g * (a / b + (0.25 - upper * 0.5)).floor())
            }),
        ],
        // The selected element receives the gradient; on ties each receives half. If either is NaN both receive all of it.
        (Maximum | Minimum, Some(a), Some(b)) => {
            let share = Tensor::where_cond(&a.eq(b), &(g * 0.5), g);
            let loses = |x: &Tensor<B>, other| if op == Maximum { x.lt(other) } else { x.gt(other) };
            [
                wants[0].then(|| share.masked_fill(&loses(a, b), 0.0)),
                wants[1].then(|| share.masked_fill(&loses(b, a), 0.0)),
            ]
        }
        _ => unreachable!("{op}: the rule saved what its gradient needs"),
    }
}

/// The gradient of `a^b` with respect to a, `b a^(b-1)`; 0 where b is 0, whatever a is.
fn pow_grad_base<B: Backend>(a: &Tensor<B>, b: &Tensor<B>, g: &Tensor<B>) -> Tensor<B> {
    let (less, zero) = (b - 1.0, b.eq(0.0));
    if !recording() {
        return (g * (b * a.pow(&less))).masked_fill(&zero, 0.0);
    }
    // Where b is 0, `b a^-1` is 0 for every a, but its derivative in a would be 0 times infinity where a^-2 overflows. There the
    // constant 1 / a replaces the power, or 0 if 1 / a is not finite.
    let inverse = a.detach().recip();
    let steep = zero.logical_and(&!inverse.square().isfinite());
    let inverse = inverse.masked_fill(&!inverse.isfinite(), 0.0);
    g * (b * Tensor::where_cond(&steep, &inverse, &a.pow(&less.masked_fill(&steep, 0.0))))
}
