//! Views: the same elements through another layout.
//!
//! The gradient of a view is a view too, or, for a part of a tensor, an addition into the part of the whole's gradient. So the
//! cost of a slice and of its gradient is proportional to the slice, not to the tensor that it was cut from.

use crate::autodiff::{parents, record, record_part};
use crate::backend::Backend;
use crate::error::must;
use crate::index::{Axis, DimSet, Dims, Int, IntList, SliceArg, resolve_expand, resolve_reshape, wrap_dim};
use crate::layout::Layout;
use crate::shape::{MAX_RANK, Shape};
use crate::tensor::Tensor;

/// The part that checked axes select from a layout of the shape that they were checked for.
pub(crate) fn selected(axes: [Axis; MAX_RANK]) -> impl Fn(&Layout) -> Layout + Copy + Send + Sync + 'static {
    move |layout| must(layout.slice(&axes[..layout.shape().len()]))
}

impl<B: Backend> Tensor<B> {
    /// The same elements in row-major order under another shape: integers of any type as an array, a tuple, a slice or a `Vec`, or
    /// one integer for a vector. One size may be -1. A view when the layout allows it, else a copy. PyTorch: `reshape`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let x = Tensor::arange(0..6, &device);
    /// assert_eq!(x.reshape((2, -1)).dims(), [2, 3]);
    /// assert_eq!(x.reshape(vec![1, 2, 3]).reshape(-1).dims(), [6]);
    /// ```
    ///
    /// # Panics
    /// If the number of elements changes.
    #[track_caller]
    pub fn reshape(&self, sizes: impl IntList) -> Self {
        let from = *self.shape();
        let to = must(sizes.with(|sizes| resolve_reshape(from, sizes)));
        if to == from {
            return self.clone();
        }
        match self.layout().reshape(to) {
            Some(layout) => self.with_layout(layout).recorded("reshape", parents([self]), move |g| g.reshape(from)),
            None => self.copied().reshape(to),
        }
    }

    /// Merges neighbouring dimensions into one: `x.flatten(1..)`, `x.flatten(..)`. PyTorch: `flatten`.
    ///
    /// # Panics
    /// If a dimension is out of range, or those named are not neighbours.
    #[track_caller]
    pub fn flatten(&self, dims: impl Dims) -> Self {
        let dims = must(dims.resolve("flatten", self.rank()));
        if self.rank() == 0 {
            return self.reshape(1);
        }
        let [first, .., last] = dims[..] else { return self.clone() };
        assert!(last - first + 1 == dims.len(), "flatten: the dimensions {:?} are not neighbours", &*dims);
        let merged: usize = dims.iter().map(|&d| self.shape()[d]).product();
        let shape = (first + 1..=last).rev().fold(*self.shape(), |shape, d| shape.remove(d));
        self.reshape(shape.with(first, merged))
    }

    /// Dimension `d` of the result is dimension `order[d]` of this tensor; a view. The order is an array, a tuple, a slice or a
    /// `Vec` of any integers. PyTorch: `permute`.
    ///
    /// # Panics
    /// If `order` does not name every dimension once.
    #[track_caller]
    pub fn permute(&self, order: impl IntList) -> Self {
        let (mut checked, rank) = ([0; MAX_RANK], self.rank());
        must(order.with(|order| {
            if order.len() != rank {
                return Err(format!("permute: {} dimensions were named, the shape is {:?}", order.len(), self.shape()));
            }
            for (d, &from) in order.iter().enumerate() {
                checked[d] = wrap_dim("permute", from, rank)?;
                if checked[..d].contains(&checked[d]) {
                    return Err(format!("permute: dimension {} is named twice in {order:?}", checked[d]));
                }
            }
            Ok(())
        }));
        self.permute_dims(&checked[..rank])
    }

    /// [`permute`](Self::permute) of a checked order.
    pub(crate) fn permute_dims(&self, order: &[usize]) -> Self {
        let inverse: DimSet = (0..order.len()).filter_map(|d| order.iter().position(|&from| from == d)).collect();
        let out = self.with_layout(self.layout().permute(order));
        out.recorded("permute", parents([self]), move |g| g.permute_dims(&inverse))
    }

    /// Exchanges two dimensions; a view. PyTorch: `transpose`.
    ///
    /// # Panics
    /// If either is out of range.
    #[track_caller]
    pub fn transpose(&self, a: impl Int, b: impl Int) -> Self {
        let (a, b) = (must(wrap_dim("transpose", a, self.rank())), must(wrap_dim("transpose", b, self.rank())));
        let out = self.with_layout(self.layout().transpose(a, b));
        out.recorded("transpose", parents([self]), move |g| g.transpose(a as isize, b as isize))
    }

    /// The transpose of a matrix; a view. PyTorch: `t`.
    ///
    /// # Panics
    /// If the rank is not 2.
    #[track_caller]
    pub fn t(&self) -> Self {
        assert!(self.rank() == 2, "t: wants a matrix, not {:?}; use transpose", self.shape());
        self.transpose(0, 1)
    }

    /// Repeats dimensions of size 1 (and adds leading ones) to reach these sizes, of which -1 keeps a dimension as it is; a view.
    /// PyTorch: `expand`.
    ///
    /// # Panics
    /// If the shape does not broadcast to the sizes.
    #[track_caller]
    pub fn expand(&self, sizes: impl IntList) -> Self {
        let from = *self.shape();
        let to = must(sizes.with(|sizes| resolve_expand(from, sizes)));
        if to == from {
            return self.clone();
        }
        self.with_layout(self.layout().expand(to)).recorded("expand", parents([self]), move |g| g.sum_to_shape(from))
    }

    /// A part of the tensor: one index or range per leading dimension, negative numbers counting from the end. An index drops its
    /// dimension. A view. `x.slice(3)`, `x.slice(1..)`, `x.slice((0..2, .., -1))`, `x.slice([0..2, 1..3])`. (Clippy takes `1..-1`
    /// for an empty range; `..-1` and `1..n - 1` pass.) [`set`](Self::set) writes to such a part. PyTorch: `x[0:2, :, -1]`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let x = Tensor::new([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &device);
    /// assert_eq!(x.slice((.., -1)).to_vec::<f32>()?, [3.0, 6.0]);
    /// assert_eq!(x.slice((1, ..2)).to_vec::<f32>()?, [4.0, 5.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If an index or a range is outside its dimension, or there are more of them than dimensions.
    #[track_caller]
    pub fn slice(&self, at: impl SliceArg) -> Self {
        self.part(selected(self.selection("slice", at)))
    }

    /// One axis per dimension, all of it where none is given.
    #[track_caller]
    pub(crate) fn selection(&self, op: &str, at: impl SliceArg) -> [Axis; MAX_RANK] {
        let mut axes = [Axis::Range(0, None); MAX_RANK];
        must(at.with(|given| {
            self.layout().slice(given).map_err(|why| format!("{op}: {why}"))?;
            axes[..given.len()].copy_from_slice(given);
            Ok::<_, String>(())
        }));
        axes
    }

    /// Entries `start..start + len` of one dimension; a view. PyTorch: `narrow`.
    ///
    /// # Panics
    /// If the range is outside the dimension.
    #[track_caller]
    pub fn narrow(&self, dim: impl Int, start: usize, len: usize) -> Self {
        let d = must(wrap_dim("narrow", dim, self.rank()));
        assert!(
            start.checked_add(len).is_some_and(|end| end <= self.shape()[d]),
            "narrow: {start}..{start} + {len} is outside dimension {d} of {:?}",
            self.shape()
        );
        if len == self.shape()[d] {
            return self.clone();
        }
        self.part(move |layout| layout.narrow(d, start, len))
    }

    /// A tensor of rank 0 as a vector of one element, if `dim` is 0 or -1: operations along a dimension accept it, as PyTorch does.
    pub(crate) fn as_vector(&self, dim: impl Int) -> Option<Self> {
        (self.rank() == 0 && matches!(dim.get(), 0 | -1)).then(|| self.reshape(1))
    }

    /// The part that `select` takes from a layout of this shape. It shows each element once at most.
    pub(crate) fn part(&self, select: impl Fn(&Layout) -> Layout + Copy + Send + Sync + 'static) -> Self {
        let (out, shape) = (self.with_layout(select(self.layout())), *self.shape());
        match parents([self]) {
            Some([Some(parent)]) => record_part("slice", out, parent, move |g, sum| match sum {
                Some(sum) => sum.add_part(g, select),
                None => g.embed(shape, select),
            }),
            _ => out,
        }
    }

    /// Zeros of `shape` with this tensor written at the part that `select` takes. Part and embed are each other's gradient.
    fn embed(&self, shape: Shape, select: impl Fn(&Layout) -> Layout + Copy + Send + Sync + 'static) -> Self {
        let mut out = self.zeros_of(shape);
        out.write_at(select(&Layout::contiguous(shape)), self);
        out.recorded("embed", parents([self]), move |g| g.part(select))
    }

    /// This tensor with x added at the part that `select` takes; in place if nothing else holds its storage. The rule keeps no
    /// tensor, so that the reuse is safe under `create_graph` too.
    fn add_part(mut self, x: &Self, select: impl Fn(&Layout) -> Layout + Copy + Send + Sync + 'static) -> Self {
        let parents = parents([&self, x]);
        self.storage_mut(); // unique and row-major from here on
        let at = select(self.layout());
        let sum = self.with_layout(at) + x.detach();
        self.write_at(at, &sum);
        match parents {
            Some(parents) => record("add_part", self, parents, move |g, wants| {
                [wants[0].then(|| g.clone()), wants[1].then(|| g.part(select))]
            }),
            None => self,
        }
    }

    /// Inserts a dimension of size 1 before `dim`; -1 appends. A view. PyTorch: `unsqueeze`.
    ///
    /// # Panics
    /// If `dim` is outside `-(rank + 1)..=rank`, or the rank would exceed [`MAX_RANK`](crate::MAX_RANK).
    #[track_caller]
    pub fn unsqueeze(&self, dim: impl Int) -> Self {
        assert!(self.rank() < MAX_RANK, "unsqueeze: {:?} has no room for another dimension", self.shape());
        let d = must(wrap_dim("unsqueeze", dim, self.rank() + 1));
        let out = self.with_layout(self.layout().unsqueeze(d));
        out.recorded("unsqueeze", parents([self]), move |g| g.squeeze(d as isize))
    }

    /// Removes dimension `dim`, of size 1; a view. PyTorch: `squeeze(dim)` (which leaves larger ones alone).
    ///
    /// # Panics
    /// If the dimension is out of range or of another size.
    #[track_caller]
    pub fn squeeze(&self, dim: impl Int) -> Self {
        let d = must(wrap_dim("squeeze", dim, self.rank()));
        assert!(self.shape()[d] == 1, "squeeze: dimension {d} of {:?} is not 1", self.shape());
        let out = self.with_layout(self.layout().remove(d));
        out.recorded("squeeze", parents([self]), move |g| g.unsqueeze(d as isize))
    }

    /// All windows over the last two dimensions as a view, off the tape; see [`Layout::windows`].
    pub(crate) fn windows(
        &self,
        out: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
        dilation: [usize; 2],
    ) -> Self {
        self.with_layout(self.layout().windows(out, kernel, stride, dilation))
    }

    /// The sum of columns `[n, c, kh, kw, oh, ow]` over the pixels of the planes `[n, c, h, w]` that their windows were read from
    /// (col2im).
    pub(crate) fn fold(&self, size: [usize; 2], stride: [usize; 2], padding: [usize; 2], dilation: [usize; 2]) -> Self {
        let [n, c, kh, kw, oh, ow] = self.dims();
        let padded = [0, 1].map(|d| size[d] + 2 * padding[d]);
        let shape = Shape::new(&[n, c, padded[0], padded[1]]);
        let mut planes = self.zeros_of(shape);
        let windows = planes.layout().windows([oh, ow], [kh, kw], stride, dilation);
        for i in 0..kh {
            for j in 0..kw {
                // The pixels of one tap of all windows are distinct: one write.
                let at = windows.narrow(4, i, 1).narrow(5, j, 1).remove(5).remove(4);
                let sum = planes.with_layout(at) + self.narrow(2, i, 1).narrow(3, j, 1).reshape([n, c, oh, ow]);
                planes.write_at(at, &sum);
            }
        }
        planes.narrow(2, padding[0], size[0]).narrow(3, padding[1], size[1]).contiguous()
    }
}
