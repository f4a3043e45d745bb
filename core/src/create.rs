//! Creation of tensors: from literals, slices and constants.

use crate::backend::Backend;
use crate::dtype::{DType, Element};
use crate::error::{Result, must};
use crate::index::{Int, PerDim};
use crate::layout::Layout;
use crate::shape::Shape;
use crate::tensor::{Placement, Tensor, check_support, device_must};
use half::f16;
use std::ops::Range;

/// What [`Tensor::new`] takes: a number or a flag, or nested arrays, slices and `Vec`s of them: `1.0`, `[1.0, 2.0]`,
/// `vec![vec![1, 2], vec![3, 4]]`.
///
/// `f64` and `f32` become F32 (so that an f64 literal does not create an F64 tensor by accident), [`struct@f16`] F16, integers of any
/// type I32, `bool` Bool.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no literal of a tensor",
    label = "a number, a bool, or nested arrays, slices or `Vec`s of one of them is wanted here",
    note = "for F64 use `Tensor::from_slice` or `Tensor::from_f64`"
)]
pub trait Literal {
    /// The tensor's element type.
    type Elem: Element;
    /// Appends the elements and notes the sizes.
    ///
    /// # Panics
    /// If the lists of one level differ in length, or an integer is not an i32.
    fn flatten(&self, into: &mut Nested<Self::Elem>);
}

/// The elements and sizes of nested lists, while [`Tensor::new`] reads them.
pub struct Nested<E> {
    elements: Vec<E>,
    shape: Vec<usize>,
    /// The position in the list of each level that is being read.
    path: Vec<usize>,
}

impl<E> Nested<E> {
    /// Reads one list.
    #[track_caller]
    fn list<L: Literal<Elem = E>>(&mut self, items: &[L]) {
        match self.shape.get(self.path.len()) {
            None => self.shape.push(items.len()),
            Some(&size) if size == items.len() => {}
            Some(size) => {
                panic!("new: the list at {} has {} elements, those before it have {size}", self.place(), items.len())
            }
        }
        self.path.push(0);
        for (i, item) in items.iter().enumerate() {
            if let Some(at) = self.path.last_mut() {
                *at = i;
            }
            item.flatten(self);
        }
        self.path.pop();
    }

    /// Where the reading is: `[1][0]`.
    fn place(&self) -> String {
        self.path.iter().map(|i| format!("[{i}]")).collect()
    }
}

macro_rules! literals {
    ($($type:ty => $elem:ty),*) => { $(impl Literal for $type {
        type Elem = $elem;
        fn flatten(&self, into: &mut Nested<$elem>) {
            into.elements.push(*self as $elem);
        }
    })* };
}
literals!(f64 => f32, f32 => f32, f16 => f16, i8 => i32, i16 => i32, i32 => i32, u8 => i32, u16 => i32, bool => bool);

macro_rules! wide_literals {
    ($($type:ty),*) => { $(impl Literal for $type {
        type Elem = i32;
        #[track_caller]
        fn flatten(&self, into: &mut Nested<i32>) {
            match i32::try_from(*self) {
                Ok(value) => into.elements.push(value),
                Err(_) => panic!("new: integers become I32, which does not hold the {self} at {}", into.place()),
            }
        }
    })* };
}
wide_literals!(i64, isize, u32, u64, usize);

impl<L: Literal> Literal for [L] {
    type Elem = L::Elem;
    #[track_caller]
    fn flatten(&self, into: &mut Nested<L::Elem>) {
        into.list(self);
    }
}

impl<L: Literal, const N: usize> Literal for [L; N] {
    type Elem = L::Elem;
    #[track_caller]
    fn flatten(&self, into: &mut Nested<L::Elem>) {
        into.list(self);
    }
}

impl<L: Literal> Literal for Vec<L> {
    type Elem = L::Elem;
    #[track_caller]
    fn flatten(&self, into: &mut Nested<L::Elem>) {
        into.list(self);
    }
}

impl<L: Literal + ?Sized> Literal for &L {
    type Elem = L::Elem;
    #[track_caller]
    fn flatten(&self, into: &mut Nested<L::Elem>) {
        (**self).flatten(into);
    }
}

/// `len` elements that the host computes for an operation. If the iterator yields more, one extra element is kept, so
/// that the caller's check of the length fails.
///
/// # Panics
/// If the host has no memory for them, before the first one is computed.
#[track_caller]
pub(crate) fn on_host<T>(op: &str, elements: impl IntoIterator<Item = T>, len: usize) -> Vec<T> {
    let (mut out, most) = (Vec::new(), len.saturating_add(1));
    if out.try_reserve_exact(most).is_err() {
        panic!("{op}: the host has no memory for {len} elements of {} bytes", size_of::<T>());
    }
    out.extend(elements.into_iter().take(most));
    out
}

impl<B: Backend> Tensor<B> {
    /// A tensor of literals: a number or a flag, or nested arrays, slices and `Vec`s of them, all of one length at each level. Floats
    /// become F32, integers of any type I32, flags Bool. PyTorch: `tensor`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let x = Tensor::new([[1.0, 2.0], [3.0, 4.0]], &device);
    /// assert_eq!((x.dtype(), x.dims()), (DType::F32, [2, 2]));
    /// let rows: Vec<Vec<u8>> = vec![vec![1, 2, 3], vec![4, 5, 6]];
    /// let y = Tensor::new(&rows, &device);
    /// assert_eq!((y.dtype(), y.dims()), (DType::I32, [2, 3]));
    /// ```
    ///
    /// # Panics
    /// If the lists of one level differ in length, or an integer does not fit I32 (the message names the place); if there are more
    /// than [`MAX_RANK`](crate::MAX_RANK) levels; or the device does not support the dtype or has no memory for it.
    #[track_caller]
    pub fn new(literal: impl Literal, device: &B) -> Self {
        let mut nested = Nested { elements: Vec::new(), shape: Vec::new(), path: Vec::new() };
        literal.flatten(&mut nested);
        device_must("new", uploaded("new", &nested.elements, Shape::new(&nested.shape), device))
    }

    /// A tensor with these elements, row-major, of their type. PyTorch: `tensor(..).reshape(..)`.
    ///
    /// # Panics
    /// If the number of elements is not the shape's, the device does not support the dtype or has no memory for it.
    #[track_caller]
    pub fn from_slice<T: Element>(elements: &[T], shape: impl Into<Shape>, device: &B) -> Self {
        device_must("from_slice", uploaded("from_slice", elements, shape.into(), device))
    }

    /// [`from_slice`](Self::from_slice) of a vector that is not needed afterwards. The elements are copied here too: storages are
    /// aligned to cache lines (on the CPU) or lie on the device, and a `Vec`'s memory is neither.
    ///
    /// # Panics
    /// As [`from_slice`](Self::from_slice).
    #[track_caller]
    pub fn from_vec<T: Element>(elements: Vec<T>, shape: impl Into<Shape>, device: &B) -> Self {
        from_vec("from_vec", elements, shape, device)
    }

    /// [`from_slice`](Self::from_slice) that returns an error of the device.
    ///
    /// # Errors
    /// If the device failed or has no memory for it.
    ///
    /// # Panics
    /// If the number of elements is not the shape's, or the device does not support the dtype.
    #[track_caller]
    pub fn try_from_slice<T: Element>(elements: &[T], shape: impl Into<Shape>, device: &B) -> Result<Self> {
        uploaded("try_from_slice", elements, shape.into(), device)
    }

    /// All elements `value`: `Tensor::full([2, 3], 0.5, &device)` of F32, `Tensor::full([2], 7.0, (&device, DType::I32))` of I32.
    /// PyTorch: `full`.
    ///
    /// # Panics
    /// If the device does not support the dtype or has no memory for it.
    #[track_caller]
    pub fn full(shape: impl Into<Shape>, value: f64, place: impl Placement<B>) -> Self {
        filled("full", shape, value, place)
    }

    /// [`full`](Self::full) that returns an error of the device.
    ///
    /// # Errors
    /// If the device failed or has no memory for it.
    #[track_caller]
    pub fn try_full(shape: impl Into<Shape>, value: f64, place: impl Placement<B>) -> Result<Self> {
        let (device, dtype) = place.place("try_full");
        let shape = shape.into();
        let storage = device.full(dtype, shape.numel(), value)?;
        Ok(Tensor::from_storage(&device, storage, dtype, shape))
    }

    /// All elements 0. PyTorch: `zeros`.
    #[track_caller]
    pub fn zeros(shape: impl Into<Shape>, place: impl Placement<B>) -> Self {
        filled("zeros", shape, 0.0, place)
    }

    /// All elements 1. PyTorch: `ones`.
    #[track_caller]
    pub fn ones(shape: impl Into<Shape>, place: impl Placement<B>) -> Self {
        filled("ones", shape, 1.0, place)
    }

    /// The integers of a range of any integer type, as I32. PyTorch: `arange`.
    ///
    /// # Panics
    /// If an end of the range does not fit I32, or the host or the device has no memory for the integers.
    #[track_caller]
    pub fn arange(range: Range<impl Int>, device: &B) -> Self {
        let range = i32_range("arange", range);
        let len = (range.end as i64 - range.start as i64).max(0) as usize;
        from_vec("arange", on_host("arange", range, len), len, device)
    }

    /// `start`, `start + step`, .. up to, not including, `end`: `ceil((end - start) / step)` of them, none if start is
    /// end. Each is computed in f64 on the host and rounded once, so that all backends have the same. F32 unless the
    /// placement has another dtype; I32 requires integers. PyTorch: `arange(start, end, step)`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// assert_eq!(Tensor::arange_step(1.0, 2.0, 0.5, &device).to_vec::<f32>()?, [1.0, 1.5]);
    /// assert_eq!(Tensor::arange_step(7.0, 0.0, -3.0, (&device, DType::I32)).to_vec::<i32>()?, [7, 4, 1]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If the step is 0 or leads away from `end`, a number is not finite or, for I32, not an integer of 32 bits, the
    /// dtype is bool or unsupported, or there is no memory for so many numbers.
    #[track_caller]
    pub fn arange_step(start: f64, end: f64, step: f64, place: impl Placement<B>) -> Self {
        let (device, dtype) = place.place("arange_step");
        assert!(dtype != DType::Bool, "arange_step: wants numbers, not bool");
        let finite = start.is_finite() && end.is_finite() && step.is_finite();
        assert!(
            finite && step != 0.0 && (start == end || (end > start) == (step > 0.0)),
            "arange_step: {start} does not reach {end} in steps of {step}"
        );
        let whole = |x: f64| x == x.trunc() && x >= i32::MIN as f64 && x <= i32::MAX as f64;
        assert!(
            dtype != DType::I32 || whole(start) && whole(end) && whole(step),
            "arange_step: int32 wants whole numbers, not {start}, {end}, {step}"
        );
        let len = ((end - start) / step).ceil() as usize;
        from_f64("arange_step", (0..len).map(|i| start + i as f64 * step), len, &device, dtype)
    }

    /// `steps` numbers from `start` to `end`, both included and exact, at equal distances; one step is `start`. Each is
    /// computed in f64 on the host, from the nearer end, and rounded once: computed in F32, the last one would not equal
    /// `end`. PyTorch: `linspace`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// assert_eq!(Tensor::linspace(0.0, 1.0, 5, &device).to_vec::<f32>()?, [0.0, 0.25, 0.5, 0.75, 1.0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If the dtype is not a float or unsupported, or there is no memory for so many numbers.
    #[track_caller]
    pub fn linspace(start: f64, end: f64, steps: usize, place: impl Placement<B>) -> Self {
        let (device, dtype) = place.place("linspace");
        assert!(dtype.is_float(), "linspace: wants a float dtype, not {dtype}");
        let step = (end - start) / steps.saturating_sub(1).max(1) as f64;
        let at =
            |i: usize| if i <= (steps - 1) / 2 { start + i as f64 * step } else { end - (steps - 1 - i) as f64 * step };
        from_f64("linspace", (0..steps).map(at), steps, &device, dtype)
    }

    /// A tensor of f64 numbers, each rounded once to the placement's dtype: `Tensor::from_f64([0.1, 0.2], 2, &device)`. For code
    /// that is generic over dtypes; [`from_vec`](Self::from_vec) takes elements of the dtype's own type.
    ///
    /// # Panics
    /// If the number of values is not the shape's, the dtype is bool, or the device does not support it or has no
    /// memory.
    #[track_caller]
    pub fn from_f64(values: impl IntoIterator<Item = f64>, shape: impl Into<Shape>, place: impl Placement<B>) -> Self {
        let (device, dtype) = place.place("from_f64");
        from_f64("from_f64", values, shape, &device, dtype)
    }

    /// 1 on the main diagonal of a matrix, 0 elsewhere: `Tensor::eye(3, &device)`, `Tensor::eye([2, 3], &device)`.
    /// PyTorch: `eye`.
    ///
    /// # Panics
    /// If the device does not support the dtype or has no memory for it.
    #[track_caller]
    pub fn eye(size: impl PerDim<2>, place: impl Placement<B>) -> Self {
        let (device, dtype) = place.place("eye");
        let mut out = filled("eye", size.per_dim(), 0.0, (&device, dtype));
        let diagonal = Layout::contiguous(*out.shape()).diagonal(0, 0, 1);
        let (device, storage) = out.storage_mut();
        device.fill(storage, &diagonal, dtype, 1.0);
        out
    }

    /// A tensor filled with `value`, with this tensor's shape, dtype and device; a view of one element. PyTorch:
    /// `full_like`.
    #[track_caller]
    pub fn full_like(&self, value: f64) -> Self {
        self.scalar_like(value).expand(*self.shape())
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

    /// Zeros of this tensor's dtype and device, in a new storage.
    pub(crate) fn zeros_of(&self, shape: Shape) -> Self {
        Tensor::full(shape, 0.0, (self.device(), self.dtype()))
    }

    /// A random permutation of `0..n` as I32, drawn from the device's random state. PyTorch: `randperm`.
    ///
    /// # Panics
    /// If I32 does not hold the numbers, or the host or the device has no memory for them.
    #[track_caller]
    pub fn randperm(n: usize, device: &B) -> Self {
        use rand::seq::SliceRandom;
        assert!(n <= i32::MAX as usize, "randperm: I32 does not hold the numbers up to {n}");
        let mut order = on_host("randperm", 0..n as i32, n);
        order.shuffle(&mut device.rng().draw().generator());
        from_vec("randperm", order, n, device)
    }
}

/// The elements on the device; messages name the operation `op`.
#[track_caller]
fn uploaded<B: Backend, T: Element>(op: &str, elements: &[T], shape: Shape, device: &B) -> Result<Tensor<B>> {
    assert!(elements.len() == shape.numel(), "{op}: {} elements for the shape {shape:?}", elements.len());
    check_support(op, device, T::DTYPE);
    let storage = device.upload(T::as_host(elements))?;
    Ok(Tensor::from_storage(device, storage, T::DTYPE, shape))
}

/// [`Tensor::from_vec`] for the operation `op`.
#[track_caller]
pub(crate) fn from_vec<B: Backend, T: Element>(
    op: &str,
    elements: Vec<T>,
    shape: impl Into<Shape>,
    device: &B,
) -> Tensor<B> {
    device_must(op, uploaded(op, &elements, shape.into(), device))
}

/// [`Tensor::full`] for the operation `op`.
#[track_caller]
pub(crate) fn filled<B: Backend>(op: &str, shape: impl Into<Shape>, value: f64, place: impl Placement<B>) -> Tensor<B> {
    let (device, dtype) = place.place(op);
    let shape = shape.into();
    let storage = device_must(op, device.full(dtype, shape.numel(), value));
    Tensor::from_storage(&device, storage, dtype, shape)
}

/// A range whose ends are I32.
#[track_caller]
pub(crate) fn i32_range(op: &str, range: Range<impl Int>) -> Range<i32> {
    let end = |end: isize| i32::try_from(end).map_err(|_| format!("{op}: I32 does not hold {end}"));
    must(end(range.start.get()))..must(end(range.end.get()))
}

/// A tensor of f64 numbers, each rounded once to the dtype.
#[track_caller]
pub(crate) fn from_f64<B: Backend>(
    op: &str,
    values: impl IntoIterator<Item = f64>,
    shape: impl Into<Shape>,
    device: &B,
    dtype: DType,
) -> Tensor<B> {
    let (values, shape) = (values.into_iter(), shape.into());
    let len = shape.numel();
    match dtype {
        DType::F16 => from_vec(op, on_host(op, values.map(f16::from_f64), len), shape, device),
        DType::F32 => from_vec(op, on_host(op, values.map(|x| x as f32), len), shape, device),
        DType::F64 => from_vec(op, on_host(op, values, len), shape, device),
        DType::I32 => from_vec(op, on_host(op, values.map(|x| x as i32), len), shape, device),
        DType::Bool => panic!("{op}: wants numbers, not bool"),
    }
}
