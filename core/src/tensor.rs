//! `Tensor<B>`: shared storage, an inline layout, and a place on the tape.

pub(crate) mod fused;
mod gradients;
mod tape;

pub use tape::TensorSpec;

use crate::autodiff::{Node, Value};
use crate::backend::{Backend, View, ViewOf};
use crate::dtype::DType;
use crate::error::{Result, must};
use crate::explain::Explanation;
use crate::layout::Layout;
use crate::shape::Shape;
use std::fmt::Display;
use std::sync::Arc;

/// An n-dimensional array on a device of backend `B`.
///
/// Cloning is cheap and shares the storage. Views (transpose, slice, expand, reshape of a contiguous tensor) share it
/// too. A shared storage is never written to: an operator that owns its operand reuses the storage only if nothing else holds
/// it. So sharing cannot be observed.
///
/// Shapes, dtypes or devices that do not match panic at the caller's line, and the message names the operation and its
/// arguments. Recoverable errors (of reading back, or out of memory in `try_` functions) are `Result`s.
///
#[doc = include_str!("tensor/methods.md")]
#[must_use]
pub struct Tensor<B: Backend> {
    data: Arc<TensorData<B>>,
    layout: Layout,
    node: Option<Arc<Node<Tensor<B>>>>,
}

/// A storage with its device and dtype, so that cloning a tensor does not clone the device handle.
struct TensorData<B: Backend> {
    device: B,
    dtype: DType,
    len: usize,
    storage: B::Storage,
}

impl<B: Backend> Clone for Tensor<B> {
    fn clone(&self) -> Self {
        Tensor { data: self.data.clone(), layout: self.layout, node: self.node.clone() }
    }
}

/// Where a new tensor goes: `&device` for F32, `(&device, DType::F64)` for another dtype.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no place for a tensor",
    label = "`&device`, or `(&device, DType::F64)` for another dtype than F32, is wanted here"
)]
pub trait Placement<B: Backend> {
    /// The device and the dtype.
    ///
    /// # Panics
    /// If the device does not support the dtype; the message names `op`.
    fn place(self, op: &str) -> (B, DType);
}

impl<B: Backend> Placement<B> for &B {
    #[track_caller]
    fn place(self, op: &str) -> (B, DType) {
        (self, DType::F32).place(op)
    }
}

impl<B: Backend> Placement<B> for (&B, DType) {
    #[track_caller]
    fn place(self, op: &str) -> (B, DType) {
        check_support(op, self.0, self.1);
        (self.0.clone(), self.1)
    }
}

#[track_caller]
pub(crate) fn check_support<B: Backend>(op: impl Display, device: &B, dtype: DType) {
    assert!(device.supports(dtype), "{op}: {device:?} does not support {dtype}");
}

// ---- properties ----
impl<B: Backend> Tensor<B> {
    /// The size of every dimension.
    pub fn shape(&self) -> &Shape {
        self.layout.shape()
    }

    /// The number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape().len()
    }

    /// The number of elements.
    pub fn numel(&self) -> usize {
        self.shape().numel()
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.data.dtype
    }

    /// The device that holds the data.
    pub fn device(&self) -> &B {
        &self.data.device
    }

    /// How the elements lie in the storage, as text; of a small tensor every element is listed. [`Explanation::to_svg`]
    /// draws it. Waits for the device.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let x = Tensor::new([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &device);
    /// let y = x.t();
    /// assert!(x.shares_storage(&y));
    /// let text = y.explain().to_string();
    /// assert!(text.contains("strides     [1, 3]"), "{text}");
    /// assert!(text.contains("contiguous  no: dimension 1 has stride 3, row-major order wants 1"), "{text}");
    /// println!("{text}");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn explain(&self) -> Explanation {
        Explanation::of(self)
    }

    /// Shape, strides and offset.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The sizes as an array: `let [n, c, h, w] = x.dims();`.
    ///
    /// # Panics
    /// If the rank is not N.
    #[track_caller]
    pub fn dims<const N: usize>(&self) -> [usize; N] {
        match (**self.shape()).try_into() {
            Ok(dims) => dims,
            Err(_) => panic!("dims: {N} dimensions were expected, the shape is {:?}", self.shape()),
        }
    }

    /// Calls `f` with the device and the view whose layout is merged to the smallest rank.
    pub(crate) fn with_merged_view<R>(&self, f: impl FnOnce(&B, ViewOf<'_, B>) -> R) -> R {
        let [layout] = Layout::merge([self.layout]);
        f(self.device(), View { layout: &layout, ..self.view() })
    }

    /// The storage seen through the layout: the argument of a backend's methods.
    pub fn view(&self) -> ViewOf<'_, B> {
        View { storage: &self.data.storage, layout: &self.layout, dtype: self.data.dtype }
    }

    /// Panics unless `other` has this tensor's dtype and device.
    #[track_caller]
    pub(crate) fn check_same(&self, op: impl Display, other: &Self) {
        assert!(
            self.dtype() == other.dtype(),
            "{op}: the dtypes {} and {} differ; cast one of the tensors",
            self.dtype(),
            other.dtype()
        );
        self.check_device(op, other);
    }

    /// Panics unless the dtype is a float.
    #[track_caller]
    pub(crate) fn check_float(&self, op: impl Display) {
        assert!(self.dtype().is_float(), "{op}: wants a float dtype, not {}", self.dtype());
    }

    /// Panics unless `other` is on this tensor's device.
    #[track_caller]
    pub(crate) fn check_device(&self, op: impl Display, other: &Self) {
        assert!(
            self.device() == other.device(),
            "{op}: one tensor is on {:?} and the other on {:?}; move one with to()",
            self.device(),
            other.device()
        );
    }
}

// ---- storage: the functions that access it ----
impl<B: Backend> Tensor<B> {
    /// A tensor from a whole, row-major storage: the way in which backends create their results.
    pub fn from_storage(device: &B, storage: B::Storage, dtype: DType, shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        let data = Arc::new(TensorData { device: device.clone(), dtype, len: shape.numel(), storage });
        Tensor { data, layout: Layout::contiguous(shape), node: None }
    }

    /// The same storage through another layout, off the tape.
    pub(crate) fn with_layout(&self, layout: Layout) -> Self {
        debug_assert!(layout.end() <= self.data.len);
        Tensor { data: self.data.clone(), layout, node: None }
    }

    /// Whether the two share one storage, even if they show different parts of it.
    pub fn shares_storage(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.data, &other.data)
    }

    /// The whole storage as a tensor of one dimension, off the tape.
    pub(crate) fn whole_storage(&self) -> Self {
        self.with_layout(Layout::contiguous(self.data.len))
    }

    /// The address of the storage's descriptor, which identifies it, and the number of tensors that hold it.
    pub(crate) fn storage_identity(&self) -> (usize, usize) {
        (Arc::as_ptr(&self.data).addr(), Arc::strong_count(&self.data))
    }

    fn is_whole(&self) -> bool {
        self.layout.offset() == 0 && self.data.len == self.numel() && self.layout.is_contiguous()
    }

    /// Whether nothing else holds the storage and the layout shows all of it in order: the condition for writing in place. By
    /// `&mut self`, so that no other thread can clone the tensor meanwhile.
    pub(crate) fn is_unique(&mut self) -> bool {
        // The count decides most cases, at the cost of a load.
        Arc::strong_count(&self.data) == 1 && self.is_whole() && Arc::get_mut(&mut self.data).is_some()
    }

    /// The storage, device and dtype for writing, under the condition of [`Tensor::is_unique`].
    pub(crate) fn unique_storage(&mut self) -> Option<(&B, &mut B::Storage, DType)> {
        if !self.is_unique() {
            return None;
        }
        let TensorData { device, storage, dtype, .. } = Arc::get_mut(&mut self.data)?;
        Some((device, storage, *dtype))
    }

    /// Overwrites this tensor's unique storage by `f` of it and of `other` broadcast to its shape.
    pub(crate) fn zip_storage(
        &mut self,
        other: &Self,
        f: impl FnOnce(&B, &mut B::Storage, &Layout, ViewOf<'_, B>),
    ) -> Self {
        let [layout, other_layout] = Layout::aligned([&self.layout, &other.layout], self.shape());
        let Some(TensorData { device, storage, .. }) = Arc::get_mut(&mut self.data) else {
            unreachable!("the caller checked is_unique")
        };
        f(device, storage, &layout, View { layout: &other_layout, ..other.view() });
        self.with_node(None)
    }

    /// Writes `x` into the part of this tensor that `at` shows; copy on write.
    pub(crate) fn write_at(&mut self, at: Layout, x: &Self) {
        let [at, from] = Layout::merge([at, *x.layout()]);
        let (device, storage) = self.storage_mut();
        device.write(storage, &at, View { layout: &from, ..x.view() });
    }

    /// The storage for writing, whole and row-major. Copy on write: a storage that something else holds (a tape, a cloned model) is
    /// replaced by a copy first.
    pub fn storage_mut(&mut self) -> (B, &mut B::Storage) {
        if !self.is_unique() {
            let storage = self.with_merged_view(|device, view| device.copy(view));
            let node = self.node.take();
            *self = Tensor { node, ..Tensor::from_storage(self.device(), storage, self.dtype(), *self.shape()) };
        }
        match Arc::get_mut(&mut self.data) {
            Some(buffer) => (buffer.device.clone(), &mut buffer.storage),
            None => unreachable!("the storage is unique here"),
        }
    }
}

/// The value of a device's `Result`, in functions that panic with the error. See "Out of memory" in the
/// [contract](crate::backend).
#[track_caller]
pub(crate) fn device_must<T>(op: &str, result: Result<T>) -> T {
    must(result.map_err(|e| format!("{op}: {e}")))
}
