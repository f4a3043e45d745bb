//! Reductions over any set of dimensions, arg-reductions, and statistics that are composed of them.
//!
//! ```text
//! sum    y = sum x          gx = g
//! mean   y = sum x / n      gx = g / n
//! max    y = max x          gx = g / ties where x == y, else 0
//! prod   y = prod x         gx = g times the product of all other elements
//! ```
//!
//! Here a tensor of rank 0 counts as having one dimension, 0 or -1, of size 1, as in PyTorch.

use crate::autodiff::{parents, record, record_with_output};
use crate::backend::{Backend, Device, MAX_WORK, ViewOf};
use crate::dtype::DType;
use crate::error::{finite, must};
use crate::index::{DimSet, Dims, Int, wrap_dim};
use crate::shape::{Shape, misfit_to};
use crate::tensor::Tensor;
use crate::tensor::fused::in_f32;

super::op_table! {
    /// How a reduction combines elements.
    ReduceOp {
        /// The sum; 0 of no elements. I32 wraps.
        Sum "sum",
        /// The mean; NaN of no elements. Floats only.
        Mean "mean",
        /// The product; 1 of no elements. I32 wraps.
        Prod "prod",
        /// The largest; NaN if any is NaN. On bool: any.
        Max "max",
        /// The smallest; NaN if any is NaN. On bool: all.
        Min "min",
    }
}

impl ReduceOp {
    /// Whether the op is defined for elements of this type.
    pub fn accepts(self, dtype: DType) -> bool {
        use ReduceOp::*;
        match dtype {
            DType::F16 | DType::F32 | DType::F64 => true,
            DType::I32 => self != Mean,
            DType::Bool => matches!(self, Max | Min),
        }
    }
}

super::op_table! {
    /// Which extreme element an arg-reduction finds.
    ArgReduceOp {
        /// The largest.
        ArgMax "argmax",
        /// The smallest.
        ArgMin "argmin",
    }
}

/// Reductions over dimensions. See the [contract](crate::backend).
pub trait ReduceOps: Device {
    /// Reduces over `dims` (sorted, no repeats, maybe none), keeping them as size 1. Of no elements the sum is 0, the
    /// product 1 and the mean NaN; core rejects the maximum and minimum of no elements.
    fn reduce(&self, op: ReduceOp, x: ViewOf<'_, Self>, dims: &[usize]) -> Self::Storage;

    /// The index (I32) of the largest or smallest element along `dim`, keeping it as size 1: of several the first, and of the
    /// first NaN if there is one.
    fn arg_reduce(&self, op: ArgReduceOp, x: ViewOf<'_, Self>, dim: usize) -> Self::Storage;
}

macro_rules! reductions {
    ($($(#[$doc:meta])* $op:ident $name:ident $keepdim:ident;)*) => {
        impl<B: Backend> Tensor<B> { $(
            $(#[$doc])*
            #[track_caller]
            pub fn $name(&self, dims: impl Dims) -> Self {
                let dims = must(dims.resolve(stringify!($name), self.rank()));
                reduce(ReduceOp::$op, self, dims, false)
            }

            #[doc = concat!("[`", stringify!($name), "`](Self::", stringify!($name), ") that keeps the reduced dimensions as size 1.")]
            #[track_caller]
            pub fn $keepdim(&self, dims: impl Dims) -> Self {
                let dims = must(dims.resolve(stringify!($keepdim), self.rank()));
                reduce_as(stringify!($keepdim), ReduceOp::$op, self, dims, true)
            }
        )* }
    };
}
reductions! {
    /// The sum over `dims`: one (`x.sum(-1)`), several (`x.sum([0, 2])`) or all (`x.sum(..)`); 0 of no elements.
    /// PyTorch: `sum`.
    Sum sum sum_keepdim;
    /// The mean over `dims`; NaN of no elements. PyTorch: `mean`.
    Mean mean mean_keepdim;
    /// The product over `dims`; 1 of no elements. The gradient of an element is the product of the others, also if
    /// these hold zeros, infinities or NaN, and to any order of differentiation. PyTorch: `prod`.
    Prod prod prod_keepdim;
    /// The largest element over `dims`; NaN if any is. Equal ones share the gradient. PyTorch: `amax`.
    ///
    /// # Panics
    /// If there are no elements to choose from.
    Max max max_keepdim;
    /// The smallest element over `dims`; NaN if any is. Equal ones share the gradient. PyTorch: `amin`.
    ///
    /// # Panics
    /// If there are no elements to choose from.
    Min min min_keepdim;
}

impl<B: Backend> Tensor<B> {
    #[track_caller]
    fn arg_reduce(&self, name: &str, op: ArgReduceOp, dim: impl Int) -> Self {
        if let Some(vector) = self.as_vector(dim) {
            return vector.arg_reduce(name, op, dim);
        }
        let dim = must(wrap_dim(name, dim, self.rank()));
        assert!(self.dtype() != DType::Bool, "{name}: not defined for bool; cast the tensor first");
        let kept = kept_shape(self.shape(), &[dim]);
        assert!(self.numel() <= MAX_WORK, "{name}: {:?} has more than 2^56 elements", self.shape());
        assert!(self.shape()[dim] != 0 || kept.numel() == 0, "{name}: no element to choose from in {:?}", self.shape());
        let storage = self.device().arg_reduce(op, self.view(), dim);
        Tensor::from_storage(self.device(), storage, DType::I32, self.shape().remove(dim))
    }

    /// The index (I32) of the largest element along `dim`, which is dropped. On ties the first; if there is a NaN, the first NaN.
    /// PyTorch: `argmax`.
    ///
    /// # Panics
    /// If there are no elements to choose from.
    #[track_caller]
    pub fn argmax(&self, dim: impl Int) -> Self {
        self.arg_reduce("argmax", ArgReduceOp::ArgMax, dim)
    }

    /// The index (I32) of the smallest element along `dim`, which is dropped. On ties the first; if there is a NaN, the first NaN.
    /// PyTorch: `argmin`.
    ///
    /// # Panics
    /// If there are no elements to choose from.
    #[track_caller]
    pub fn argmin(&self, dim: impl Int) -> Self {
        self.arg_reduce("argmin", ArgReduceOp::ArgMin, dim)
    }

    /// The largest element along `dim`, which is dropped, and its index (I32) as [`argmax`](Tensor::argmax) finds it. Only that
    /// element has a gradient, where [`max`](Tensor::max) shares it among ties. PyTorch: `max(dim)`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let x = Tensor::new([[1.0, 5.0, 5.0], [7.0, 2.0, 3.0]], &device);
    /// let (value, index) = x.max_with_index(1);
    /// assert_eq!(value.to_vec::<f32>()?, [5.0, 7.0]);
    /// assert_eq!(index.to_vec::<i32>()?, [1, 0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If there are no elements to choose from.
    #[track_caller]
    pub fn max_with_index(&self, dim: impl Int) -> (Self, Self) {
        self.with_index(dim, self.arg_reduce("max_with_index", ArgReduceOp::ArgMax, dim))
    }

    /// The smallest element along `dim` and its index (I32), see [`max_with_index`](Tensor::max_with_index). PyTorch: `min(dim)`.
    ///
    /// # Panics
    /// If there are no elements to choose from.
    #[track_caller]
    pub fn min_with_index(&self, dim: impl Int) -> (Self, Self) {
        self.with_index(dim, self.arg_reduce("min_with_index", ArgReduceOp::ArgMin, dim))
    }

    #[track_caller]
    fn with_index(&self, dim: impl Int, index: Self) -> (Self, Self) {
        if let Some(vector) = self.as_vector(dim) {
            return vector.with_index(dim, index);
        }
        // `dim` has been checked; below it is an index into the shape that keeps the dimension.
        let dim = if dim.get() < 0 { dim.get() + self.rank() as isize } else { dim.get() };
        let value = self.gather(dim, &index.unsqueeze(dim)).squeeze(dim);
        (value, index)
    }

    /// True if any element over `dims` is true; false if there are none. Bool only. PyTorch: `any`.
    #[track_caller]
    pub fn any(&self, dims: impl Dims) -> Self {
        self.any_or_all("any", ReduceOp::Max, dims)
    }

    /// True if every element over `dims` is true, also if there are none. Bool only. PyTorch: `all`.
    #[track_caller]
    pub fn all(&self, dims: impl Dims) -> Self {
        self.any_or_all("all", ReduceOp::Min, dims)
    }

    #[track_caller]
    fn any_or_all(&self, name: &str, op: ReduceOp, dims: impl Dims) -> Self {
        assert!(self.dtype() == DType::Bool, "{name}: wants bool, not {}", self.dtype());
        let dims = must(dims.resolve(name, self.rank()));
        if dims.iter().any(|&d| self.shape()[d] == 0) {
            let of_nothing = (op == ReduceOp::Min) as u8 as f64;
            return Tensor::full(dropped_shape(self.shape(), &dims), of_nothing, (self.device(), DType::Bool));
        }
        reduce_as(name, op, self, dims, false)
    }

    /// Undoes broadcasting: sums over the dimensions that `shape` lacks or has as 1. The tensor itself when the shapes
    /// agree. PyTorch: `sum_to_size`.
    ///
    /// # Panics
    /// If `shape` does not broadcast to this tensor's.
    #[track_caller]
    pub fn sum_to_shape(&self, shape: impl Into<Shape>) -> Self {
        let (from, shape) = (*self.shape(), shape.into());
        if from == shape {
            return self.clone();
        }
        let fits = shape.broadcast(&from) == Some(from);
        assert!(fits, "sum_to_shape: {shape:?} does not broadcast to {from:?}{}", misfit_to(&shape, &from));
        let pad = from.len() - shape.len();
        let dims: DimSet = (0..from.len()).filter(|&d| d < pad || shape[d - pad] != from[d]).collect();
        reduce_as("sum_to_shape", ReduceOp::Sum, self, dims, true).reshape(shape)
    }

    /// The variance over `dims`: the sum of squared deviations divided by `n - correction`. The correction is 1 for a sample
    /// (PyTorch's default), 0 for a population. PyTorch: `var`.
    ///
    /// # Panics
    /// If the correction is not finite.
    #[track_caller]
    pub fn var(&self, dims: impl Dims, correction: f64) -> Self {
        finite("var: the correction", correction);
        self.check_float("var");
        let dims = must(dims.resolve("var", self.rank()));
        let [centred, ..] = centred(self, dims);
        reduce(ReduceOp::Mean, &centred.square(), dims, false) * self.bessel(&dims, correction)
    }

    /// The square root of [`var`](Self::var), correct also where the variance overflows or underflows. Where it is 0 its gradient
    /// is 0. PyTorch: `std`.
    ///
    /// # Panics
    /// If the correction is not finite.
    #[track_caller]
    pub fn std(&self, dims: impl Dims, correction: f64) -> Self {
        finite("std: the correction", correction);
        self.check_float("std");
        let dims = must(dims.resolve("std", self.rank()));
        let [centred, ..] = centred(self, dims);
        let scale = magnitude(ReduceOp::Max, &centred, dims);
        let var = reduce(ReduceOp::Mean, &(centred / &scale).square(), dims, true) * self.bessel(&dims, correction);
        (but_at_zero(&var, &|var| var.sqrt()) * scale).reshape(dropped_shape(self.shape(), &dims))
    }

    /// The factor from the mean of squares to the variance: `n / (n - correction)`, infinite if n is at most the correction.
    fn bessel(&self, dims: &[usize], correction: f64) -> f64 {
        let n = dims.iter().map(|&d| self.shape()[d]).product::<usize>() as f64;
        n / (n - correction).max(0.0)
    }

    /// The p-norm over `dims`: `(sum |x|^p)^(1/p)`, correct also where the sum overflows or underflows; for p =
    /// infinity the largest magnitude, for -infinity the smallest, for 0 the number of nonzero elements. Where the norm
    /// has no derivative, at 0, the gradient is 0. PyTorch: `linalg.vector_norm`.
    ///
    /// # Panics
    /// If p is NaN, or p is infinite and there are no elements.
    #[track_caller]
    pub fn norm(&self, p: f64, dims: impl Dims) -> Self {
        assert!(!p.is_nan(), "norm: p is NaN");
        self.check_float("norm");
        let dims = must(dims.resolve("norm", self.rank()));
        let over = |op, x: &Self| reduce(op, x, dims, false);
        assert!(
            !p.is_infinite() || self.numel() > 0 || kept_shape(self.shape(), &dims).numel() == 0,
            "norm: no element to choose from in {:?} over dimensions {:?}",
            self.shape(),
            &*dims
        );
        let scaled = |root: Self, scale: Self| (root * scale).reshape(dropped_shape(self.shape(), &dims));
        if p == f64::INFINITY {
            over(ReduceOp::Max, &self.abs())
        } else if p == f64::NEG_INFINITY {
            over(ReduceOp::Min, &self.abs())
        } else if p == 0.0 {
            over(ReduceOp::Sum, &self.ne(0.0).cast(self.dtype()))
        } else if p == 1.0 {
            over(ReduceOp::Sum, &self.abs())
        } else if p == 2.0 {
            let scale = magnitude(ReduceOp::Max, self, dims);
            let sum = reduce(ReduceOp::Sum, &(self / &scale).square(), dims, true);
            scaled(but_at_zero(&sum, &|sum| sum.sqrt()), scale)
        } else if p > 0.0 {
            let scale = magnitude(ReduceOp::Max, self, dims);
            let powers = but_at_zero(&(self / &scale).abs(), &|x| x.powf(p));
            let sum = reduce(ReduceOp::Sum, &powers, dims, true);
            scaled(but_at_zero(&sum, &|sum| sum.powf(1.0 / p)), scale)
        } else {
            // A single zero makes the norm 0, as its power is infinite.
            let zero = self.eq(0.0);
            let x = self.masked_fill(&zero, 1.0).abs();
            let scale = magnitude(ReduceOp::Min, &x, dims);
            let powers = (x / &scale).powf(p).masked_fill(&zero, f64::INFINITY);
            scaled(reduce(ReduceOp::Sum, &powers, dims, true).powf(1.0 / p), scale)
        }
    }

    /// `log(sum(exp(x)))` over `dims`, safe from overflow. It is -inf of no elements and if all are -inf; the gradient
    /// is then 0, where PyTorch's is NaN. With an element of +inf it is +inf, and the gradient is NaN at that element
    /// and 0 at finite ones, as in PyTorch. PyTorch: `logsumexp`.
    #[track_caller]
    pub fn logsumexp(&self, dims: impl Dims) -> Self {
        self.check_float("logsumexp");
        let dims = must(dims.resolve("logsumexp", self.rank()));
        in_f32([self], |[x]| logsumexp(x, dims)).reshape(dropped_shape(self.shape(), &dims))
    }
}

/// The shape with the reduced dimensions kept as 1.
pub(crate) fn kept_shape(shape: &Shape, dims: &[usize]) -> Shape {
    dims.iter().fold(*shape, |s, &d| s.with(d, 1))
}

/// The shape without the reduced dimensions.
fn dropped_shape(shape: &Shape, dims: &[usize]) -> Shape {
    dims.iter().rev().fold(*shape, |s, &d| s.remove(d))
}

/// The entry point of every reduction.
#[track_caller]
pub(crate) fn reduce<B: Backend>(op: ReduceOp, x: &Tensor<B>, dims: DimSet, keepdim: bool) -> Tensor<B> {
    reduce_as(op.name(), op, x, dims, keepdim)
}

/// [`reduce`] for the operation `name`, which messages name.
#[track_caller]
fn reduce_as<B: Backend>(name: &str, op: ReduceOp, x: &Tensor<B>, dims: DimSet, keepdim: bool) -> Tensor<B> {
    assert!(op.accepts(x.dtype()), "{name}: not defined for {}; cast the tensor first", x.dtype());
    let (from, kept) = (*x.shape(), kept_shape(x.shape(), &dims));
    assert!(x.numel() <= MAX_WORK, "{name}: {from:?} has more than 2^56 elements");
    if matches!(op, ReduceOp::Max | ReduceOp::Min) {
        let empty = dims.iter().any(|&d| from[d] == 0) && kept.numel() != 0;
        assert!(!empty, "{name}: no element to choose from in {from:?} over dimensions {:?}", &*dims);
    }
    let storage = x.device().reduce(op, x.view(), &dims);
    let shape = if keepdim { kept } else { dropped_shape(&from, &dims) };
    let out = Tensor::from_storage(x.device(), storage, x.dtype(), shape);
    let Some(parents) = parents([x]) else { return out };
    let name = op.name();
    let count: usize = dims.iter().map(|&d| from[d]).product();
    match op {
        ReduceOp::Sum => record(name, out, parents, move |g, _| [Some(g.reshape(kept).expand(from))]),
        ReduceOp::Mean => record(name, out, parents, move |g, _| [Some((g / count as f64).reshape(kept).expand(from))]),
        // Equal elements share the gradient, as PyTorch's amax and amin do.
        ReduceOp::Max | ReduceOp::Min => {
            let x = x.clone();
            record_with_output(name, out, parents, move |g, y, _| {
                let ties = x.eq(y.reshape(kept)).cast(g.dtype());
                let shares = g.reshape(kept) / reduce(ReduceOp::Sum, &ties, dims, true);
                [Some(ties * shares)]
            })
        }
        ReduceOp::Prod => {
            let x = x.clone();
            record_with_output(name, out, parents, move |g, y, _| {
                let (y, g) = (y.detach().reshape(kept), g.reshape(kept));
                [Some(in_f32([&x, &y, &g], |[x, y, g]| prod_grad(x, y, g, dims)))]
            })
        }
    }
}

/// `g` times the product of all other elements.
///
/// Where the product y of all elements is a normal number, it is computed as y / x: backends compute y without intermediate
/// overflow, whereas a product of some of the elements may overflow. Elsewhere, and if this gradient is itself differentiated, it
/// is the product of the [others], which is correct beside zeros, infinities and NaN too.
fn prod_grad<B: Backend>(x: &Tensor<B>, y: &Tensor<B>, g: &Tensor<B>, dims: DimSet) -> Tensor<B> {
    let kept = (0..x.rank()).filter(|d| !dims.contains(d));
    let order: DimSet = dims.iter().copied().chain(kept).collect();
    let inverse: DimSet = (0..x.rank()).filter_map(|d| order.iter().position(|&from| from == d)).collect();
    let first = x.permute_dims(&order);
    let n: usize = dims.iter().map(|&d| x.shape()[d]).product();
    let products = others(&first.reshape([n, x.numel() / n.max(1)])).reshape(*first.shape()).permute_dims(&inverse);

    let smallest = if x.dtype() == DType::F64 { f64::MIN_POSITIVE } else { f32::MIN_POSITIVE as f64 };
    let normal = y.abs().ge(smallest).logical_and(&y.isfinite());
    let value = Tensor::where_cond(&normal, &(y / x.detach()), &products.detach());
    g * value.recorded("prod_grad", parents([&products]), |g| g.clone())
}

/// For each row of `[n, columns]` the product of all other rows, without a division.
///
/// Recursion over pairs of rows: `others(row) = others(pair of the row) * (the other row of the pair)`. Work and memory are
/// linear in n, and so are those of every derivative.
fn others<B: Backend>(x: &Tensor<B>) -> Tensor<B> {
    let n = x.shape()[0];
    if n < 2 {
        return x.full_like(1.0);
    }
    // Rows i and half + i are a pair; if n is odd, the middle row has no partner.
    let (pairs, half) = (n / 2, n.div_ceil(2));
    let part = |x: &Tensor<B>, start, len| x.narrow(0, start, len);
    let (left, right) = (part(x, 0, pairs), part(x, half, pairs));
    let products = &left * &right;
    let of_pairs = others(&if pairs == half { products } else { Tensor::cat(&[products, part(x, pairs, 1)], 0) });
    let (paired, alone) = (part(&of_pairs, 0, pairs), part(&of_pairs, pairs, half - pairs));
    Tensor::cat(&[&paired * right, alone, paired * left], 0)
}

/// `f(x)`; where x is 0, both the value and the derivative are 0.
fn but_at_zero<B: Backend>(x: &Tensor<B>, f: &dyn Fn(Tensor<B>) -> Tensor<B>) -> Tensor<B> {
    let zero = x.eq(0.0);
    f(x.masked_fill(&zero, 1.0)).masked_fill(&zero, 0.0)
}

/// [`Tensor::logsumexp`] that keeps its dimensions. The gradient is computed from `exp(x - max)` and its sum, so that it is as
/// accurate for large x as for small ones.
fn logsumexp<B: Backend>(x: &Tensor<B>, dims: DimSet) -> Tensor<B> {
    let shift = if dims.iter().any(|&d| x.shape()[d] == 0) {
        x.scalar_like(0.0)
    } else {
        // Clamped, since an infinite maximum would give inf - inf. Finite elements beside +inf become exp of a huge negative
        // number: 0.
        let largest = if x.dtype() == DType::F64 { f64::MAX } else { f32::MAX as f64 };
        reduce(ReduceOp::Max, &x.detach(), dims, true).clamp(-largest, largest)
    };
    let sum = reduce(ReduceOp::Sum, &(x - &shift).exp(), dims, true);
    // In rows of nothing but -inf the sum is 0, and the infinite derivative of its logarithm would make the gradient NaN.
    let nothing = sum.eq(0.0);
    (sum.masked_fill(&nothing, 1.0).log() + shift).masked_fill(&nothing, f64::NEG_INFINITY)
}

/// The maximum along `dim`, and the rest: the sum of `exp(x - max)` over all elements except one maximum. Both keep the dimension
/// as size 1.
///
/// The excluded element contributes exactly 1, so the full sum is `1 + rest` and its logarithm `log1p(rest)`, which is accurate
/// where the rest is small. An infinite maximum makes the rest NaN. Without elements, both are 0.
pub(crate) fn max_and_rest<B: Backend>(x: &Tensor<B>, dim: usize) -> [Tensor<B>; 2] {
    if x.shape()[dim] == 0 {
        let zeros = x.zeros_of(x.shape().with(dim, 1));
        return [zeros.clone(), zeros];
    }
    let max = x.max_keepdim(dim);
    let top = x.eq(&max);
    let below = (x - &max).exp().masked_fill(&top, 0.0).sum_keepdim(dim);
    let ties = top.cast(x.dtype()).sum_keepdim(dim) - 1.0;
    let rest = below + ties + &max * 0.0;
    [max, rest]
}

/// `[x - mean - rest, mean, rest]` over `dims`, where `rest` is the rounding error of the mean. Differentiable; `rest` is a
/// constant.
///
/// If the mean is large, its rounding error may be as large as the deviations from it. The differences `x - mean` are exact then,
/// so their own mean is that error.
pub(crate) fn centred<B: Backend>(x: &Tensor<B>, dims: DimSet) -> [Tensor<B>; 3] {
    let mean = reduce(ReduceOp::Mean, x, dims, true);
    let around = x - &mean;
    let rest = reduce(ReduceOp::Mean, &around.detach(), dims, true);
    [around - &rest, mean, rest]
}

/// The largest or smallest magnitude over `dims`, which are kept as 1. Values divided by it can be raised to a power
/// without overflow or underflow. A constant; 1 where the magnitude is 0 or infinite, and of no elements.
pub(crate) fn magnitude<B: Backend>(op: ReduceOp, x: &Tensor<B>, dims: DimSet) -> Tensor<B> {
    if x.numel() == 0 {
        return x.scalar_like(1.0);
    }
    let extreme = reduce(op, &x.detach().abs(), dims, true);
    let useless = extreme.eq(0.0).logical_or(&extreme.eq(f64::INFINITY));
    extreme.masked_fill(&useless, 1.0)
}
