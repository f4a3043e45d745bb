//! Comparisons, whose results are bool and have no gradient; and selection by a mask.

use crate::autodiff::{parents, record};
use crate::backend::{Backend, Device, View, ViewOf};
use crate::dtype::DType;
use crate::error::Result;
use crate::layout::Layout;
use crate::operand::{Operand, Rhs};
use crate::ops::unary::check_whole;
use crate::shape::misfit;
use crate::tensor::Tensor;

super::op_table! {
    /// A comparison of two elements of one dtype. With a NaN all are false except `Ne`, which is true.
    CompareOp {
        /// `a == b`
        Eq "eq",
        /// `a != b`
        Ne "ne",
        /// `a < b`
        Lt "lt",
        /// `a <= b`
        Le "le",
        /// `a > b`
        Gt "gt",
        /// `a >= b`
        Ge "ge",
    }
}

/// Comparisons and selection. See the [contract](crate::backend).
pub trait CompareOps: Device {
    /// `op(a, b)` as bool.
    fn compare(&self, op: CompareOp, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Self::Storage;

    /// `op(a, b)` as bool, against a number: converted to a's dtype if that is a float, else compared exactly.
    fn compare_scalar(&self, op: CompareOp, a: ViewOf<'_, Self>, b: f64) -> Self::Storage;

    /// `condition ? a : b`; the condition is bool, a and b have one dtype.
    fn where_cond(&self, condition: ViewOf<'_, Self>, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Self::Storage;
}

/// With a tensor (broadcasting) or a number; the result is bool and has no gradient.
impl<B: Backend> Tensor<B> {
    /// `self == other`. PyTorch: `eq`.
    #[track_caller]
    pub fn eq(&self, other: impl Operand<B>) -> Self {
        compare(CompareOp::Eq, self, other)
    }

    /// `self != other`; true with a NaN. PyTorch: `ne`.
    #[track_caller]
    pub fn ne(&self, other: impl Operand<B>) -> Self {
        compare(CompareOp::Ne, self, other)
    }

    /// `self < other`. PyTorch: `lt`.
    #[track_caller]
    pub fn lt(&self, other: impl Operand<B>) -> Self {
        compare(CompareOp::Lt, self, other)
    }

    /// `self <= other`. PyTorch: `le`.
    #[track_caller]
    pub fn le(&self, other: impl Operand<B>) -> Self {
        compare(CompareOp::Le, self, other)
    }

    /// `self > other`. PyTorch: `gt`.
    #[track_caller]
    pub fn gt(&self, other: impl Operand<B>) -> Self {
        compare(CompareOp::Gt, self, other)
    }

    /// `self >= other`. PyTorch: `ge`.
    #[track_caller]
    pub fn ge(&self, other: impl Operand<B>) -> Self {
        compare(CompareOp::Ge, self, other)
    }

    /// True where x is NaN. PyTorch: `isnan`.
    #[track_caller]
    pub fn isnan(&self) -> Self {
        self.ne(self)
    }

    /// True where x is an infinity of either sign. Floats only. PyTorch: `isinf`.
    #[track_caller]
    pub fn isinf(&self) -> Self {
        assert!(self.dtype().is_float(), "isinf: wants a float dtype, not {}", self.dtype());
        self.detach().abs().eq(f64::INFINITY)
    }

    /// True where x is neither infinite nor NaN. Floats only. PyTorch: `isfinite`.
    #[track_caller]
    pub fn isfinite(&self) -> Self {
        assert!(self.dtype().is_float(), "isfinite: wants a float dtype, not {}", self.dtype());
        self.detach().abs().lt(f64::INFINITY)
    }

    /// True where the two are equal, or finite and `|self - other| <= atol + rtol |other|`, with broadcasting; false beside a NaN.
    /// Floats only; F16 is compared in F32. PyTorch: `isclose`. Its defaults are `rtol = 1e-5` and `atol = 1e-8`.
    ///
    /// # Panics
    /// If a tolerance is negative or NaN, the dtype is not a float, the shapes do not broadcast, or dtypes or devices differ.
    #[track_caller]
    pub fn isclose(&self, other: &Self, rtol: f64, atol: f64) -> Self {
        self.is_within("isclose", other, rtol, atol)
    }

    /// Whether [`isclose`](Self::isclose) is true everywhere, as PyTorch's `allclose`. Waits for the device.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let x = Tensor::new([0.1, 0.2], &device);
    /// assert!((&x * 3 / 3).allclose(&x, 1e-5, 1e-8)?);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// If the device failed.
    ///
    /// # Panics
    /// As [`isclose`](Self::isclose).
    #[track_caller]
    pub fn allclose(&self, other: &Self, rtol: f64, atol: f64) -> Result<bool> {
        Ok(self.is_within("allclose", other, rtol, atol).all(..).item()? != 0.0)
    }

    #[track_caller]
    fn is_within(&self, op: &str, other: &Self, rtol: f64, atol: f64) -> Self {
        assert!(rtol >= 0.0 && atol >= 0.0, "{op}: the tolerances must be at least 0, not {rtol} and {atol}");
        assert!(self.dtype().is_float(), "{op}: wants a float dtype, not {}", self.dtype());
        let equal = compare_as(op, CompareOp::Eq, self, other);
        let (x, y) = (self.detach().widened(), other.detach().widened());
        let apart = (x - &y).abs();
        // An infinite bound beside an infinite `other` would admit every finite number.
        let within = apart.le(y.abs() * rtol + atol).logical_and(&apart.lt(f64::INFINITY));
        equal.logical_or(&within)
    }

    /// `condition ? a : b`, element by element; the three broadcast. The gradient of a is 0 where b is selected, and
    /// vice versa. PyTorch: `where`.
    ///
    /// # Panics
    /// If the condition is not bool, the shapes do not broadcast, or dtypes or devices differ.
    #[track_caller]
    pub fn where_cond(condition: &Self, a: &Self, b: &Self) -> Self {
        const OP: &str = "where_cond";
        assert!(condition.dtype() == DType::Bool, "{OP}: the condition is {}, not bool", condition.dtype());
        let shape = a.shape().broadcast(b.shape()).and_then(|s| s.broadcast(condition.shape()));
        let Some(shape) = shape else {
            let shapes = [condition, a, b].map(Tensor::shape);
            let why = misfit([("condition", shapes[0]), ("a", shapes[1]), ("b", shapes[2])]);
            panic!("{OP}: the shapes {:?}, {:?} and {:?} {why}", shapes[0], shapes[1], shapes[2])
        };
        a.check_same(OP, b);
        a.check_device(OP, condition);
        let [lc, la, lb] = Layout::merge([condition, a, b].map(|t| t.layout().expand(shape)));
        let storage = a.device().where_cond(
            View { layout: &lc, ..condition.view() },
            View { layout: &la, ..a.view() },
            View { layout: &lb, ..b.view() },
        );
        let out = Tensor::from_storage(a.device(), storage, a.dtype(), shape);
        let Some(parents) = parents([a, b]) else { return out };
        let (condition, sa, sb) = (condition.detach(), *a.shape(), *b.shape());
        record(OP, out, parents, move |g, wants| {
            let zero = g.zeros_like();
            [
                wants[0].then(|| Tensor::where_cond(&condition, g, &zero).sum_to_shape(sa)),
                wants[1].then(|| Tensor::where_cond(&condition, &zero, g).sum_to_shape(sb)),
            ]
        })
    }

    /// `value` where the mask is true, else x; the mask broadcasts. The gradient is 0 where the mask is true.
    /// PyTorch: `masked_fill`.
    #[track_caller]
    pub fn masked_fill(&self, mask: &Self, value: f64) -> Self {
        const OP: &str = "masked_fill";
        assert!(mask.dtype() == DType::Bool, "{OP}: the mask is {}, not bool", mask.dtype());
        if self.shape().broadcast(mask.shape()).is_none() {
            let why = misfit([("self", self.shape()), ("mask", mask.shape())]);
            panic!("{OP}: the shapes {:?} and {:?} {why}", self.shape(), mask.shape())
        }
        self.check_device(OP, mask);
        if self.dtype() == DType::I32 {
            check_whole(OP, value);
        }
        Tensor::where_cond(mask, &self.scalar_like(value), self)
    }
}

#[track_caller]
fn compare<B: Backend>(op: CompareOp, a: &Tensor<B>, b: impl Operand<B>) -> Tensor<B> {
    compare_as(op.name(), op, a, b)
}

/// The comparison for the operation `name`, which messages name.
#[track_caller]
pub(crate) fn compare_as<B: Backend>(name: &str, op: CompareOp, a: &Tensor<B>, b: impl Operand<B>) -> Tensor<B> {
    assert!(
        a.dtype() != DType::Bool || matches!(op, CompareOp::Eq | CompareOp::Ne),
        "{name}: bool has no order; use eq or ne"
    );
    let operand = b.operand();
    let b = match &operand {
        Rhs::Owned(b) => b,
        Rhs::Borrowed(b) => *b,
        Rhs::Number(number) => {
            let c = number.value(name, a.dtype());
            let storage = a.with_merged_view(|device, view| device.compare_scalar(op, view, c));
            return Tensor::from_storage(a.device(), storage, DType::Bool, *a.shape());
        }
    };
    let Some(shape) = a.shape().broadcast(b.shape()) else {
        let why = misfit([("left", a.shape()), ("right", b.shape())]);
        panic!("{name}: the shapes {:?} and {:?} {why}", a.shape(), b.shape())
    };
    a.check_same(name, b);
    let [la, lb] = Layout::merge([a.layout().expand(shape), b.layout().expand(shape)]);
    let (va, vb) = (View { layout: &la, ..a.view() }, View { layout: &lb, ..b.view() });
    Tensor::from_storage(a.device(), a.device().compare(op, va, vb), DType::Bool, shape)
}
