//! Sorting along a dimension, and the first k elements of the order.

use crate::backend::{Backend, Device};
use crate::dtype::DType;
use crate::error::must;
use crate::index::{Int, wrap_dim};
use crate::tensor::Tensor;

/// Sorting. See the [contract](crate::backend).
pub trait SortOps: Device {
    /// The indices (I32) of the first k elements along `dim` in ascending or descending order. The order is stable, and NaN is
    /// larger than every number. Floats and I32.
    fn argsort(&self, x: &Tensor<Self>, dim: usize, descending: bool, k: usize) -> Tensor<Self>
    where
        Self: Backend,
    {
        composed::argsort(x, dim, descending, k)
    }
}

impl<B: Backend> Tensor<B> {
    /// The elements along `dim` in ascending (or descending) order, and the index (I32) of each in self. Equal elements keep
    /// their order; NaN is larger than every number. PyTorch: `sort(stable=True)`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let (values, indices) = Tensor::new([3.0, 1.0, 2.0], &device).sort(0, true);
    /// assert_eq!(values.to_vec::<f32>()?, [3.0, 2.0, 1.0]);
    /// assert_eq!(indices.to_vec::<i32>()?, [0, 2, 1]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If the dimension is out of range, or the tensor is bool.
    #[track_caller]
    pub fn sort(&self, dim: impl Int, descending: bool) -> (Self, Self) {
        if let Some(vector) = self.as_vector(dim) {
            let (values, indices) = vector.sort(dim, descending);
            return (values.squeeze(0), indices.squeeze(0));
        }
        let d = must(wrap_dim("sort", dim, self.rank()));
        self.ordered("sort", d, descending, self.shape()[d])
    }

    /// The indices (I32) that [`sort`](Self::sort) returns. PyTorch: `argsort(stable=True)`.
    ///
    /// # Panics
    /// As [`sort`](Self::sort).
    #[track_caller]
    pub fn argsort(&self, dim: impl Int, descending: bool) -> Self {
        if let Some(vector) = self.as_vector(dim) {
            return vector.argsort(dim, descending).squeeze(0);
        }
        let d = must(wrap_dim("argsort", dim, self.rank()));
        self.order("argsort", d, descending, self.shape()[d])
    }

    /// The k largest (or smallest) elements along `dim`, in order, and the index (I32) of each in self: the first k of
    /// [`sort`](Self::sort). PyTorch: `topk` (which leaves the order of equal elements open).
    ///
    /// # Panics
    /// If there are fewer than k, the dimension is out of range, or the tensor is bool.
    #[track_caller]
    pub fn topk(&self, k: usize, dim: impl Int, largest: bool) -> (Self, Self) {
        if k == 1
            && let Some(vector) = self.as_vector(dim)
        {
            let (values, indices) = vector.topk(k, dim, largest);
            return (values.squeeze(0), indices.squeeze(0));
        }
        let d = must(wrap_dim("topk", dim, self.rank()));
        assert!(k <= self.shape()[d], "topk: {k} were asked for, dimension {d} of {:?} has fewer", self.shape());
        self.ordered("topk", d, largest, k)
    }

    #[track_caller]
    fn ordered(&self, op: &str, d: usize, descending: bool, k: usize) -> (Self, Self) {
        let indices = self.order(op, d, descending, k);
        (self.gather(d as isize, &indices), indices)
    }

    #[track_caller]
    fn order(&self, op: &str, d: usize, descending: bool, k: usize) -> Self {
        assert!(self.dtype() != DType::Bool, "{op}: not defined for bool; cast the tensor first");
        self.device().argsort(&self.detach().widened(), d, descending, k)
    }
}

/// The default implementation.
pub mod composed {
    use super::*;

    /// [`SortOps::argsort`] as tensor operations: the rank of an element is the number of elements that come before it. n²
    /// comparisons for n elements, in tables of bounded size.
    pub fn argsort<B: Backend>(x: &Tensor<B>, dim: usize, descending: bool, k: usize) -> Tensor<B> {
        /// Elements of one table, approximately.
        const PART: usize = 1 << 22;
        let (n, last) = (x.shape()[dim], x.rank() as isize - 1);
        let moved = x.transpose(dim as isize, last);
        let rows = moved.reshape([x.numel() / n.max(1), n]);
        let (all, numbers) = (rows.unsqueeze(1), Tensor::arange(0..n as i32, x.device()));
        let all_nan = all.isnan();
        // The number of elements of a row that come before each of its elements `first..first + len`.
        let places = |first: usize, len: usize| {
            let own = rows.narrow(1, first, len).unsqueeze(2);
            let own_nan = own.isnan();
            // NaN compares as larger than every number.
            let less = match descending {
                false => all.lt(&own).logical_or(&own_nan.logical_and(&!&all_nan)),
                true => all.gt(&own).logical_or(&all_nan.logical_and(&!&own_nan)),
            };
            let equal = all.eq(&own).logical_or(&own_nan.logical_and(&all_nan));
            let earlier = numbers.lt(numbers.narrow(0, first, len).unsqueeze(1));
            less.logical_or(&equal.logical_and(&earlier)).cast(DType::I32).sum(2)
        };
        let step = (PART / rows.numel().max(1)).clamp(1, n.max(1));
        let parts: Vec<_> = (0..n.max(1)).step_by(step).map(|first| places(first, step.min(n - first))).collect();
        let place = Tensor::cat(&parts, 1);
        let order = place.scatter(1, &place, &numbers.expand(*place.shape()));
        order.reshape(*moved.shape()).transpose(dim as isize, last).narrow(dim as isize, 0, k).contiguous()
    }
}
