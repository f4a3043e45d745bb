//! Making tensors: from literals, slices and constants.

use crate::backend::Backend;
use crate::dtype::{DType, Element};
use crate::error::Result;
use crate::shape::Shape;
use crate::tensor::{Placement, Tensor, check_support, device_must};
use std::ops::Range;

/// Nested arrays of literals: `1.0`, `[1.0, 2.0]`, `[[1, 2], [3, 4]]`.
///
/// Floats make F32 (an f64 literal does not make an F64 tensor by accident), integers I32, booleans Bool.
pub trait Literal {
    /// The tensor's element type.
    type Elem: Element;
    /// Appends the elements to `into` and the sizes to `shape`.
    fn flatten(self, into: &mut Vec<Self::Elem>, shape: &mut Vec<usize>, depth: usize);
}

macro_rules! literals {
    ($($type:ty => $elem:ty),*) => { $(impl Literal for $type {
        type Elem = $elem;
        fn flatten(self, into: &mut Vec<$elem>, _: &mut Vec<usize>, _: usize) {
            into.push(self as $elem);
        }
    })* };
}
literals!(f64 => f32, f32 => f32, i32 => i32, bool => bool);

impl<L: Literal, const N: usize> Literal for [L; N] {
    type Elem = L::Elem;
    fn flatten(self, into: &mut Vec<L::Elem>, shape: &mut Vec<usize>, depth: usize) {
        if shape.len() == depth {
            shape.push(N);
        }
        self.into_iter().for_each(|inner| inner.flatten(into, shape, depth + 1));
    }
}

impl<B: Backend> Tensor<B> {
    /// A tensor of literals.
    ///
    /// ```
    /// # use minitorch_conformance::doc::*;
    /// let x = Tensor::new([[1.0, 2.0], [3.0, 4.0]], &device());
    /// assert_eq!((x.dtype(), x.dims()), (DType::F32, [2, 2]));
    /// ```
    ///
    /// # Panics
    /// If the device does not support the dtype.
    #[track_caller]
    pub fn new(literal: impl Literal, device: &B) -> Self {
        let (mut flat, mut shape) = (Vec::new(), Vec::new());
        literal.flatten(&mut flat, &mut shape, 0);
        Tensor::from_slice(&flat, shape.as_slice(), device)
    }

    /// A tensor with these elements, row-major; keeps their type. PyTorch: `tensor(..).reshape(..)`.
    ///
    /// # Panics
    /// If the number of elements is not the shape's, the device does not support the dtype or has no memory for it.
    #[track_caller]
    pub fn from_slice<T: Element>(elements: &[T], shape: impl Into<Shape>, device: &B) -> Self {
        device_must("from_slice", Tensor::try_from_slice(elements, shape, device))
    }

    /// [`from_slice`](Self::from_slice) of an owned vector.
    ///
    /// # Panics
    /// As [`from_slice`](Self::from_slice).
    #[track_caller]
    pub fn from_vec<T: Element>(elements: Vec<T>, shape: impl Into<Shape>, device: &B) -> Self {
        Tensor::from_slice(&elements, shape, device)
    }

    /// [`from_slice`](Self::from_slice) that returns a failure of the device.
    ///
    /// # Errors
    /// If the device failed or has no memory for it.
    ///
    /// # Panics
    /// If the number of elements is not the shape's, or the device does not support the dtype.
    #[track_caller]
    pub fn try_from_slice<T: Element>(elements: &[T], shape: impl Into<Shape>, device: &B) -> Result<Self> {
        let shape = shape.into();
        assert!(elements.len() == shape.numel(), "from_slice: {} elements for the shape {shape:?}", elements.len());
        check_support("from_slice", device, T::DTYPE);
        let storage = device.upload(T::as_host(elements))?;
        Ok(Tensor::from_storage(device, storage, T::DTYPE, shape))
    }

    /// All elements `value`. `Tensor::full([2, 3], 0.5, &device)` is F32, `(&device, DType::I32)` says otherwise.
    /// PyTorch: `full`.
    ///
    /// # Panics
    /// If the device does not support the dtype or has no memory for it.
    #[track_caller]
    pub fn full(shape: impl Into<Shape>, value: f64, place: impl Placement<B>) -> Self {
        let (device, dtype) = place.place("full");
        let shape = shape.into();
        let storage = device_must("full", device.full(dtype, shape.numel(), value));
        Tensor::from_storage(&device, storage, dtype, shape)
    }

    /// [`full`](Self::full) that returns a failure of the device.
    ///
    /// # Errors
    /// If the device failed or has no memory for it.
    #[track_caller]
    pub fn try_full(shape: impl Into<Shape>, value: f64, place: impl Placement<B>) -> Result<Self> {
        let (device, dtype) = place.place("full");
        let shape = shape.into();
        let storage = device.full(dtype, shape.numel(), value)?;
        Ok(Tensor::from_storage(&device, storage, dtype, shape))
    }

    /// All elements 0. PyTorch: `zeros`.
    #[track_caller]
    pub fn zeros(shape: impl Into<Shape>, place: impl Placement<B>) -> Self {
        Tensor::full(shape, 0.0, place)
    }

    /// All elements 1. PyTorch: `ones`.
    #[track_caller]
    pub fn ones(shape: impl Into<Shape>, place: impl Placement<B>) -> Self {
        Tensor::full(shape, 1.0, place)
    }

    /// The whole numbers of a range, I32. PyTorch: `arange`.
    #[track_caller]
    pub fn arange(range: Range<i32>, device: &B) -> Self {
        let elements: Vec<i32> = range.collect();
        Tensor::from_slice(&elements, elements.len(), device)
    }

    /// Zeros of this tensor's shape, dtype and device; a view of one zero. PyTorch: `zeros_like`.
    pub fn zeros_like(&self) -> Self {
        self.scalar_like(0.0).expand(*self.shape())
    }

    /// Ones of this tensor's shape, dtype and device; a view of one 1. PyTorch: `ones_like`.
    pub fn ones_like(&self) -> Self {
        self.scalar_like(1.0).expand(*self.shape())
    }

    /// A tensor of rank 0 of this tensor's dtype and device.
    pub(crate) fn scalar_like(&self, value: f64) -> Self {
        Tensor::full([], value, (self.device(), self.dtype()))
    }

    /// Zeros of this tensor's dtype and device, with memory of their own.
    pub(crate) fn zeros_of(&self, shape: Shape) -> Self {
        Tensor::full(shape, 0.0, (self.device(), self.dtype()))
    }

    /// A random permutation of `0..n` as I32, drawn from the device's random state. PyTorch: `randperm`.
    pub fn randperm(n: usize, device: &B) -> Self {
        use rand::seq::SliceRandom;
        let mut order: Vec<i32> = (0..n as i32).collect();
        order.shuffle(&mut device.rng().draw().generator());
        Tensor::from_slice(&order, n, device)
    }

    /// This tensor converted to another dtype; itself when it already has it. Between float dtypes the gradient is
    /// converted back; to others there is none. PyTorch: `to(dtype)`.
    ///
    /// # Panics
    /// If the device does not support the dtype.
    #[track_caller]
    pub fn cast(&self, dtype: DType) -> Self {
        if dtype == self.dtype() {
            return self.clone();
        }
        check_support("cast", self.device(), dtype);
        let storage = self.with_merged_view(|device, view| device.cast(view, dtype));
        let out = Tensor::from_storage(self.device(), storage, dtype, *self.shape());
        let from = self.dtype();
        let parents = if dtype.is_float() { crate::autodiff::parents([self]) } else { None };
        out.recorded(parents, move |g| g.cast(from))
    }
}
