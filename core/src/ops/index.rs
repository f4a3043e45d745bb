//! Reads and writes at indices held by another tensor: gather, scatter, selection of rows.

mod rows;

pub use rows::RowGradient;

use crate::autodiff::{Addend, parents, record, record_rows};
use crate::backend::{Backend, Caller, Device, MAX_WORK, OutOfRange, View, ViewOf};
use crate::create::{filled, from_vec, on_host};
use crate::dtype::DType;
use crate::error::must;
use crate::index::{Int, wrap_dim};
use crate::layout::Layout;
use crate::shape::{MAX_RANK, Shape};
use crate::tensor::Tensor;

super::op_table! {
    /// How scattering combines an element with the one it is written to.
    ScatterOp {
        /// Adds it; I32 wraps, no bool. The order of the sum, and with it rounding, may vary between backends.
        Add "scatter_add",
        /// Writes it. If several write to one place, the last along the dimension stays, on every backend.
        Set "scatter",
    }
}

/// The elements of a dimension that an index names, and who asks for them.
pub struct AtIndex<'a, S> {
    /// The dimension.
    pub dim: usize,
    /// Positions along it, of I32.
    pub index: View<'a, S>,
    /// The operation as the user called it, which the error of a bad index names.
    pub caller: Caller,
}

// Not derived, as that would require `S: Copy`.
impl<S> Clone for AtIndex<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<S> Copy for AtIndex<'_, S> {}

/// An [`AtIndex`] of a backend's storage.
pub type AtIndexOf<'a, B> = AtIndex<'a, <B as Device>::Storage>;

/// A backend's check of the shapes of [`IndexOps::gather`] and [`scatter`](IndexOps::scatter): the entries, which are the index and what
/// is scattered, have one shape, which is that of the indexed tensor except in `dim`.
#[track_caller]
pub fn check_index(op: &str, indexed: &Layout, dim: usize, entries: &[&Layout]) {
    let fits = |entry: &Layout| entry.shape().with(dim, indexed.shape()[dim]) == *indexed.shape();
    assert!(
        entries.iter().all(|entry| fits(entry) && entry.shape() == entries[0].shape()),
        "{op}: {:?} at dimension {dim} of {:?}",
        entries.iter().map(|entry| entry.shape()).collect::<Vec<_>>(),
        indexed.shape()
    );
}

/// Reads and writes at indices held by another tensor. "Indices" in the [contract](crate::backend) says what becomes of one
/// outside its dimension.
pub trait IndexOps: Device {
    /// `out[i.., k, j..] = x[i.., index[i.., k, j..], j..]` with k at `dim`; the result has the index's shape, which
    /// equals x's except in `dim`.
    ///
    /// # Errors
    /// The first index outside the dimension, if the result is computed on return.
    fn gather(&self, x: ViewOf<'_, Self>, at: AtIndexOf<'_, Self>) -> Result<Self::Storage, OutOfRange>;

    /// Adds or sets `to[i.., index[i.., k, j..], j..]` by `x[i.., k, j..]`, see [`ScatterOp`]. `to` is a whole storage,
    /// row-major in the layout's shape; x and the index have one shape, which equals `to`'s except in `dim`.
    ///
    /// # Errors
    /// The first index outside the dimension, if the work is done on return. All other elements have been scattered.
    fn scatter(
        &self,
        op: ScatterOp,
        to: &mut Self::Storage,
        layout: &Layout,
        at: AtIndexOf<'_, Self>,
        x: ViewOf<'_, Self>,
    ) -> Result<(), OutOfRange>;
}

impl<B: Backend> Tensor<B> {
    /// `out[i.., k, j..] = self[i.., index[i.., k, j..], j..]`, k at `dim`. The index (I32) has this tensor's shape
    /// except in `dim`. PyTorch: `gather`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices do not match. On the CPU, if an index is out of range, as negative ones are; on a
    /// GPU such an index reads 0, and reads of the device fail with [`Error::IndexOutOfRange`](crate::Error) until
    /// [`take_error`](crate::Device::take_error).
    #[track_caller]
    pub fn gather(&self, dim: impl Int, index: &Self) -> Self {
        let caller = Caller::of("gather");
        let d = self.check_index(caller.op, dim, index);
        caller.must(gather(self, d, index, caller))
    }

    /// This tensor with `x` added at an index: `out[i.., index[i.., k, j..], j..] += x[i.., k, j..]`, k at `dim`. The
    /// index (I32) and x have one shape, this tensor's except in `dim`. PyTorch: `scatter_add`.
    ///
    /// # Panics
    /// If shapes, dtypes or devices do not match. On the CPU, if an index is out of range; on a GPU such an index is
    /// skipped, and reads of the device fail with [`Error::IndexOutOfRange`](crate::Error) until
    /// [`take_error`](crate::Device::take_error).
    #[track_caller]
    pub fn scatter_add(&self, dim: impl Int, index: &Self, x: &Self) -> Self {
        self.scatter_with(ScatterOp::Add, dim, index, x)
    }

    /// This tensor with `x` set at an index: `out[i.., index[i.., k, j..], j..] = x[i.., k, j..]`, k at `dim`. The
    /// index (I32) and x have one shape, this tensor's except in `dim`. If several are written to one place, the last
    /// one stays, on every backend, and it alone gets a gradient. PyTorch: `scatter` (which leaves open which one stays,
    /// and gives the gradient to all).
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let index = Tensor::new([2, 0, 2], &device);
    /// let x = Tensor::new([1.0, 2.0, 3.0], &device);
    /// let out = Tensor::zeros([4], &device).scatter(0, &index, &x);
    /// assert_eq!(out.to_vec::<f32>()?, [2.0, 0.0, 3.0, 0.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If shapes, dtypes or devices do not match. On the CPU, if an index is out of range; on a GPU such an index is
    /// skipped, and reads of the device fail with [`Error::IndexOutOfRange`](crate::Error) until
    /// [`take_error`](crate::Device::take_error).
    #[track_caller]
    pub fn scatter(&self, dim: impl Int, index: &Self, x: &Self) -> Self {
        self.scatter_with(ScatterOp::Set, dim, index, x)
    }

    #[track_caller]
    fn scatter_with(&self, op: ScatterOp, dim: impl Int, index: &Self, x: &Self) -> Self {
        let name = op.name();
        let d = self.check_index(name, dim, index);
        self.check_same(name, x);
        assert!(
            index.shape() == x.shape(),
            "{name}: the index is {:?}, what is scattered {:?}",
            index.shape(),
            x.shape()
        );
        assert!(
            self.dtype() != DType::Bool || op == ScatterOp::Set,
            "{name}: bool cannot be added; cast the tensors first"
        );
        assert!(x.numel() <= MAX_WORK, "{name}: {:?} has more than 2^56 elements", x.shape());
        let caller = Caller::of(name);
        caller.must(scatter(op, self.clone(), d, index, x, caller))
    }

    /// The entries of one dimension that a vector of indices (I32) names, in its order; repeats are allowed. PyTorch:
    /// `index_select`.
    ///
    /// # Panics
    /// If the index is not a vector of I32 or the dimension is out of range. On the CPU, if an index is out of range;
    /// on a GPU such an index gives zeros, and reads of the device fail with [`Error::IndexOutOfRange`](crate::Error)
    /// until [`take_error`](crate::Device::take_error).
    #[track_caller]
    pub fn index_select(&self, dim: impl Int, index: &Self) -> Self {
        self.selected(Caller::of("index_select"), dim, index)
    }

    /// The rows of this table `[rows, ..]` that indices (I32) `[i..]` name, `[i.., ..]`. The gradient of a row is the sum
    /// over its uses, and row-sparse; see [`Gradients::rows`](crate::Gradients::rows). PyTorch: `embedding`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let table = Tensor::new([[0.0, 0.0], [1.0, 2.0], [3.0, 4.0]], &device);
    /// let words = Tensor::new([[2, 1]], &device);
    /// let rows = table.embedding(&words);
    /// assert_eq!((rows.dims(), rows.to_vec::<f32>()?), ([1, 2, 2], vec![3.0, 4.0, 1.0, 2.0]));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If the table has rank 0, the indices are not I32 or the result's rank is above the largest. On the CPU, if an
    /// index is out of range; on a GPU such an index gives zeros, and reads of the device fail with
    /// [`Error::IndexOutOfRange`](crate::Error) until [`take_error`](crate::Device::take_error).
    #[track_caller]
    pub fn embedding(&self, indices: &Self) -> Self {
        const OP: &str = "embedding";
        assert!(self.rank() > 0, "{OP}: wants a table [rows, ..], not a tensor of rank 0");
        let rank = indices.rank() + self.rank() - 1;
        assert!(
            rank <= MAX_RANK,
            "{OP}: rows of {:?} at indices {:?} make {rank} dimensions, of at most {MAX_RANK}",
            self.shape(),
            indices.shape()
        );
        let rows = self.selected(Caller::of(OP), 0, &indices.reshape([indices.numel()]));
        let shape: Vec<usize> = indices.shape().iter().chain(&self.shape()[1..]).copied().collect();
        rows.reshape(Shape::new(&shape))
    }

    #[track_caller]
    fn selected(&self, caller: Caller, dim: impl Int, index: &Self) -> Self {
        let op = caller.op;
        assert!(index.rank() == 1, "{op}: wants a vector of indices, not {:?}", index.shape());
        let d = must(wrap_dim(op, dim, self.rank()));
        let Some(shape) = self.shape().try_with(d, index.numel()) else {
            panic!("{op}: {} entries of dimension {d} of {:?} are too many", index.numel(), self.shape())
        };
        assert!(index.dtype() == DType::I32, "{op}: wants I32 indices, not {}", index.dtype());
        self.check_device(op, index);
        let index = index.detach();
        let out = caller.must(gather(&self.detach(), d, &spread(&index, d, shape), caller));
        let Some([Some(parent)]) = parents([self]) else { return out };
        let whole = *self.shape();
        record_rows(op, out, parent, move |g, in_rows| {
            if in_rows && d == 0 && RowGradient::<B>::is_smaller(&whole, index.numel()) {
                return Addend::Rows(RowGradient::new(whole, index.clone(), g.clone(), caller));
            }
            let index = spread(&index, d, shape);
            Addend::Whole(caller.must(scatter(ScatterOp::Add, g.zeros_of(whole), d, &index, g, caller)))
        })
    }

    /// Appends a dimension of `classes` entries: 1 at the index `self[i..]`, 0 elsewhere. PyTorch: `one_hot`.
    ///
    /// # Panics
    /// If the tensor is not I32, or the dtype is bool or unsupported, or the result has too many elements. On the CPU, if an index is outside `0..classes`;
    /// on a GPU such an index gives a row of zeros, and reads of the device fail with
    /// [`Error::IndexOutOfRange`](crate::Error) until [`take_error`](crate::Device::take_error).
    #[track_caller]
    pub fn one_hot(&self, classes: usize, dtype: DType) -> Self {
        let caller = Caller::of("one_hot");
        assert!(self.dtype() == DType::I32, "one_hot: wants I32 indices, not {}", self.dtype());
        assert!(self.rank() < crate::MAX_RANK, "one_hot: {:?} has no room for another dimension", self.shape());
        let Some(shape) = self.shape().insert(self.rank(), 1).try_with(self.rank(), classes) else {
            panic!("one_hot: {classes} classes for {:?} are too many elements", self.shape())
        };
        assert!(dtype != DType::Bool, "one_hot: wants a dtype of numbers, not bool");
        let zeros = filled("one_hot", shape, 0.0, (self.device(), dtype));
        let ones = filled("one_hot", [], 1.0, (self.device(), dtype));
        let index = self.unsqueeze(-1);
        caller.must(scatter(ScatterOp::Add, zeros, self.rank(), &index, &ones.expand(*index.shape()), caller))
    }

    /// [`index_select`](Self::index_select) by `len` indices that the host computes, after the sizes are checked.
    #[track_caller]
    pub(crate) fn select_computed(&self, op: &str, d: usize, order: impl Iterator<Item = usize>, len: usize) -> Self {
        assert!(
            self.shape()[d] <= i32::MAX as usize,
            "{op}: dimension {d} of {:?} is larger than an I32 index reaches",
            self.shape()
        );
        assert!(
            self.shape().try_with(d, len).is_some(),
            "{op}: {:?} with a dimension {d} of {len} has too many elements",
            self.shape()
        );
        let order = on_host(op, order.map(|i| i as i32), len);
        self.index_select(d, &from_vec(op, order, len, self.device()))
    }

    /// Panics unless the index is of I32 on this tensor's device.
    #[track_caller]
    fn check_index_kind(&self, op: &str, index: &Self) {
        assert!(index.dtype() == DType::I32, "{op}: wants I32 indices, not {}", index.dtype());
        self.check_device(op, index);
    }

    #[track_caller]
    fn check_index(&self, op: &str, dim: impl Int, index: &Self) -> usize {
        let d = must(wrap_dim(op, dim, self.rank()));
        self.check_index_kind(op, index);
        assert!(
            index.shape().equals_but_for(d, self.shape()),
            "{op}: the tensor {:?} and the index {:?} differ in more than dimension {d}",
            self.shape(),
            index.shape()
        );
        d
    }
}

/// A vector expanded to `shape`, along whose dimension `d` it lies.
pub(crate) fn spread<B: Backend>(vector: &Tensor<B>, d: usize, shape: Shape) -> Tensor<B> {
    vector.reshape(Shape::new(&[1; MAX_RANK][..shape.len()]).with(d, shape[d])).expand(shape)
}

/// The checked operation.
pub(crate) fn gather<B: Backend>(
    x: &Tensor<B>,
    dim: usize,
    index: &Tensor<B>,
    caller: Caller,
) -> Result<Tensor<B>, OutOfRange> {
    let storage = x.device().gather(x.view(), AtIndex { dim, index: index.view(), caller })?;
    let out = Tensor::from_storage(x.device(), storage, x.dtype(), *index.shape());
    let Some(parents) = parents([x]) else { return Ok(out) };
    let (shape, index) = (*x.shape(), index.detach());
    Ok(record("gather", out, parents, move |g, _| {
        [Some(caller.must(scatter(ScatterOp::Add, g.zeros_of(shape), dim, &index, g, caller)))]
    }))
}

/// The checked operation, in place if nothing else holds the storage of `base`.
pub(crate) fn scatter<B: Backend>(
    op: ScatterOp,
    base: Tensor<B>,
    dim: usize,
    index: &Tensor<B>,
    x: &Tensor<B>,
    caller: Caller,
) -> Result<Tensor<B>, OutOfRange> {
    let parents = parents([&base, x]);
    let mut out = base.detach();
    drop(base);
    let shape = *out.shape();
    let (device, storage) = out.storage_mut();
    let at = AtIndex { dim, index: index.view(), caller };
    device.scatter(op, storage, &Layout::contiguous(shape), at, x.view())?;
    let Some(parents) = parents else { return Ok(out) };
    let index = index.detach();
    Ok(record(op.name(), out, parents, move |g, wants| {
        let gather = |x: &Tensor<B>| caller.must(gather(x, dim, &index, caller));
        let set = |base: &Tensor<B>, x: &Tensor<B>| {
            caller.must(scatter(ScatterOp::Set, base.clone(), dim, &index, x, caller))
        };
        match op {
            ScatterOp::Add => [wants[0].then(|| g.clone()), wants[1].then(|| gather(g))],
            // Replaced elements of `base` have no gradient. Nor have elements of x that a later one replaced: each writes its
            // number at its place, and those that read their own number back have stayed.
            ScatterOp::Set => [
                wants[0].then(|| set(g, &g.scalar_like(0.0).expand(*index.shape()))),
                wants[1].then(|| {
                    let count = index.numel();
                    assert!(
                        count <= i32::MAX as usize,
                        "scatter: I32 does not number the {count} elements of the index"
                    );
                    let numbers = Tensor::arange(0..count as i32, index.device()).reshape(*index.shape());
                    let stayed = set(&index.scalar_like(-1.0).expand(shape), &numbers);
                    gather(g).masked_fill(&gather(&stayed).ne(&numbers), 0.0)
                }),
            ],
        }
    }))
}
