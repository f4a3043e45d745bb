//! Examples as columns: the values that examples consist of, and the tensors of a batch.
//!
//! ```text
//! example  = a value, or a tuple of values: ([0.5, 1.0], 3)
//! column   = the same value of many examples, row-major: [n, 2] of F32, [n] of I32
//! batch    = a tensor, or a tuple of tensors: one per column
//! ```

use crate::text::shown_shape;
use minitorch_core::{Backend, Element, Error, HostData, MAX_RANK, Result, Tensor, f16};
use std::convert::identity;
use std::sync::{Arc, Mutex, PoisonError};

/// One value of many examples, in host memory.
#[derive(Clone, Default, Debug)]
pub struct Column {
    /// Of one value: set by the first.
    shape: Vec<usize>,
    rows: usize,
    data: Option<HostData>,
}

/// The element types of a [`Column`].
pub trait Stored: Element {
    #[doc(hidden)]
    fn wrap(elements: Vec<Self>) -> HostData;
    #[doc(hidden)]
    fn elements_mut(data: &mut HostData) -> Option<&mut Vec<Self>>;
}

macro_rules! stored {
    ($($type:ty => $variant:ident),*) => { $(impl Stored for $type {
        fn wrap(elements: Vec<Self>) -> HostData {
            HostData::$variant(elements)
        }
        fn elements_mut(data: &mut HostData) -> Option<&mut Vec<Self>> {
            if let HostData::$variant(elements) = data { Some(elements) } else { None }
        }
    })* };
}
stored!(f16 => F16, f32 => F32, f64 => F64, i32 => I32, bool => Bool);

/// An expression over the elements, of whichever type.
macro_rules! with_elements {
    ($data:expr, $elements:ident => $body:expr) => {
        match $data {
            HostData::F16($elements) => $body,
            HostData::F32($elements) => $body,
            HostData::F64($elements) => $body,
            HostData::I32($elements) => $body,
            HostData::Bool($elements) => $body,
        }
    };
}

impl Column {
    /// The number of values.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Removes the values and keeps their memory.
    fn clear(&mut self) {
        self.rows = 0;
        if let Some(data) = &mut self.data {
            with_elements!(data, elements => elements.clear());
        }
    }

    /// The elements, if they are of this type, or there are none.
    fn elements_mut<T: Stored>(&mut self) -> Option<&mut Vec<T>> {
        let is_other = self.data.as_ref().is_none_or(|data| data.as_slice().dtype() != T::DTYPE);
        if is_other && self.rows == 0 {
            self.data = Some(T::wrap(Vec::new()));
        }
        T::elements_mut(self.data.as_mut()?)
    }

    /// Appends a value, whose elements and sizes `write` appends. On an error the column is unchanged.
    fn append<T: Stored>(&mut self, write: impl FnOnce(&mut Vec<T>, &mut Vec<usize>) -> Result<()>) -> Result<()> {
        let (rows, mut shape) = (self.rows, Vec::new());
        let Some(elements) = self.elements_mut::<T>() else { return Err(self.differs(format!("of {}", T::DTYPE))) };
        let len = elements.len();
        let written = write(elements, &mut shape);
        if written.is_ok() && (rows == 0 || shape == self.shape) {
            self.shape = shape;
            self.rows += 1;
            return Ok(());
        }
        if let Some(elements) = self.elements_mut::<T>() {
            elements.truncate(len);
        }
        written.and_then(|()| Err(self.differs(format!("{} of {}", shown_shape(&shape), T::DTYPE))))
    }

    /// Appends a value of this shape.
    fn append_all<T: Stored>(&mut self, mut values: Vec<T>, sizes: &[usize]) -> Result<()> {
        self.append(|elements: &mut Vec<T>, shape| {
            elements.append(&mut values);
            shape.extend_from_slice(sizes);
            Ok(())
        })
    }

    /// The error of a value that is not like those before it.
    fn differs(&self, value: String) -> Error {
        let dtype = self.data.as_ref().map_or(String::new(), |data| format!(" of {}", data.as_slice().dtype()));
        let shape = shown_shape(&self.shape);
        Error::Invalid(format!("a value is {value}, those before it are {shape}{dtype}"))
    }

    /// The rows of a column that holds one value, of shape `[n, ..]`.
    pub(super) fn into_rows(self) -> Result<Column> {
        let Some((&rows, shape)) = self.shape.split_first() else {
            return Err(Error::Invalid("a single number has no dimension of examples".into()));
        };
        Ok(Column { shape: shape.to_vec(), rows, data: self.data })
    }

    /// Replaces the values by those of some rows of another column.
    pub(super) fn gather(&mut self, from: &Column, rows: impl Iterator<Item = usize>) {
        self.clear();
        self.shape.clone_from(&from.shape);
        if let Some(data) = &from.data {
            with_elements!(data, elements => self.extend(elements, rows));
        }
    }

    fn extend<T: Stored>(&mut self, from: &[T], rows: impl Iterator<Item = usize>) {
        let width: usize = self.shape.iter().product();
        let mut count = 0;
        let Some(elements) = self.elements_mut::<T>() else { return };
        for row in rows {
            elements.extend_from_slice(&from[row * width..][..width]);
            count += 1;
        }
        self.rows = count;
    }

    /// The values on a device, `[rows, ..]`.
    fn upload<B: Backend>(&self, device: &B) -> Result<Tensor<B>> {
        let Some(data) = &self.data else { return Err(Error::Invalid("a batch without values".into())) };
        let (shape, dtype) = ([&[self.rows], self.shape.as_slice()].concat(), data.as_slice().dtype());
        if shape.len() > MAX_RANK {
            return Err(Error::Invalid(format!("a batch {} is beyond {MAX_RANK} dimensions", shown_shape(&shape))));
        }
        if !device.supports(dtype) {
            return Err(Error::Invalid(format!("{device:?} does not support {dtype}, the type of the examples")));
        }
        with_elements!(data, elements => Tensor::try_from_slice(elements, shape.as_slice(), device))
    }
}

/// Numbers, and arrays and `Vec`s of them, nested to any depth: floats become F32 (so do `f64`, as in [`Tensor::new`]),
/// integers I32, booleans Bool.
pub trait Nested {
    /// The type of the elements.
    type Elem: Stored;
    /// Appends the elements, and the sizes from dimension `depth` on.
    ///
    /// # Errors
    /// If lists of one dimension differ in length, or an integer does not fit I32.
    #[doc(hidden)]
    fn flatten(self, into: &mut Vec<Self::Elem>, shape: &mut Vec<usize>, depth: usize) -> Result<()>;
}

macro_rules! numbers {
    ($($type:ty => $elem:ty: $convert:expr;)*) => { $(impl Nested for $type {
        type Elem = $elem;
        fn flatten(self, into: &mut Vec<$elem>, _: &mut Vec<usize>, _: usize) -> Result<()> {
            let convert: fn($type) -> Option<$elem> = $convert;
            let wide = || Error::Invalid(format!("the integer {self} does not fit I32"));
            into.push(convert(self).ok_or_else(wide)?);
            Ok(())
        }
    })* };
}
numbers! {
    f16 => f16: Some;
    f32 => f32: Some;
    f64 => f32: |x| Some(x as f32);
    bool => bool: Some;
    i32 => i32: Some;
    i8 => i32: |x| Some(x.into());
    u8 => i32: |x| Some(x.into());
    i16 => i32: |x| Some(x.into());
    u16 => i32: |x| Some(x.into());
    u32 => i32: |x| x.try_into().ok();
    i64 => i32: |x| x.try_into().ok();
    u64 => i32: |x| x.try_into().ok();
    isize => i32: |x| x.try_into().ok();
    usize => i32: |x| x.try_into().ok();
}

/// Appends a list and its length.
fn flatten_list<L: Nested>(
    list: impl ExactSizeIterator<Item = L>,
    into: &mut Vec<L::Elem>,
    shape: &mut Vec<usize>,
    depth: usize,
) -> Result<()> {
    let n = list.len();
    match shape.get(depth) {
        None => shape.push(n),
        Some(&before) if before == n => {}
        Some(before) => {
            return Err(Error::Invalid(format!(
                "a list of {n} beside lists of {before}: the sizes of a tensor are equal"
            )));
        }
    }
    for inner in list {
        inner.flatten(into, shape, depth + 1)?;
    }
    Ok(())
}

macro_rules! lists {
    ($([$($generics:tt)*] $type:ty, $list:ident => $iter:expr;)*) => { $(impl<$($generics)*> Nested for $type {
        type Elem = L::Elem;
        fn flatten(self, into: &mut Vec<L::Elem>, shape: &mut Vec<usize>, depth: usize) -> Result<()> {
            let $list = self;
            flatten_list($iter, into, shape, depth)
        }
    })* };
}
lists! {
    [L: Nested] Vec<L>, list => list.into_iter();
    [L: Nested + Clone] &[L], list => list.iter().cloned();
    [L: Nested, const K: usize] [L; K], list => list.into_iter();
}

/// What an example consists of: [`Nested`] numbers, or a tensor.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no value of an example",
    note = "numbers, arrays and `Vec`s of them, and tensors are; an example is a value or a tuple of up to six"
)]
pub trait Value {
    /// Appends the value to a column.
    ///
    /// # Errors
    /// If its shape or type is not that of the values before it, or the device of a tensor fails.
    #[doc(hidden)]
    fn append_to(self, column: &mut Column) -> Result<()>;
}

impl<N: Nested> Value for N {
    fn append_to(self, column: &mut Column) -> Result<()> {
        column.append(|elements, shape| self.flatten(elements, shape, 0))
    }
}

impl<B: Backend> Value for &Tensor<B> {
    fn append_to(self, column: &mut Column) -> Result<()> {
        let data = self.device().download(self.view())?;
        with_elements!(data, values => column.append_all(values, self.shape()))
    }
}

impl<B: Backend> Value for Tensor<B> {
    fn append_to(self, column: &mut Column) -> Result<()> {
        (&self).append_to(column)
    }
}

/// One example: a [`Value`] or a tuple of up to six, or a `Result` of it. N is the number of values.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an example",
    note = "an example is a value or a tuple of up to six: numbers, arrays and `Vec`s of them, tensors; or a `Result` of it"
)]
pub trait Example<const N: usize> {
    /// Appends each value to its column.
    ///
    /// # Errors
    /// As [`Value`], or the error that it is.
    #[doc(hidden)]
    fn write_to(self, columns: &mut [Column]) -> Result<()>;
}

impl<V: Value> Example<1> for V {
    fn write_to(self, columns: &mut [Column]) -> Result<()> {
        columns.first_mut().map_or(Ok(()), |column| self.append_to(column))
    }
}

impl<E: Example<N>, const N: usize> Example<N> for Result<E> {
    fn write_to(self, columns: &mut [Column]) -> Result<()> {
        self?.write_to(columns)
    }
}

/// The types of batches by the number of columns: `[(); 2]` stands for pairs.
pub trait Columns {
    /// A `T` per column: `T`, `(T, T)` and so on.
    type Of<T>;
    /// One of each column, in order.
    ///
    /// # Errors
    /// The first error of `next`.
    #[doc(hidden)]
    fn collect<T>(next: impl FnMut() -> Result<T>) -> Result<Self::Of<T>>;
}

impl Columns for [(); 1] {
    type Of<T> = T;
    fn collect<T>(mut next: impl FnMut() -> Result<T>) -> Result<T> {
        next()
    }
}

macro_rules! tuples {
    ($($n:literal: $($value:ident $one:ident),*;)*) => { $(
        impl<$($value: Value),*> Example<$n> for ($($value,)*) {
            #[allow(non_snake_case)] // a value is called like its type
            fn write_to(self, columns: &mut [Column]) -> Result<()> {
                let ($($value,)*) = self;
                let mut columns = columns.iter_mut();
                $(if let Some(column) = columns.next() {
                    $value.append_to(column)?;
                })*
                Ok(())
            }
        }
        impl Columns for [(); $n] {
            type Of<T> = ($($one<T>,)*);
            fn collect<T>(mut next: impl FnMut() -> Result<T>) -> Result<Self::Of<T>> {
                Ok(($(identity::<$one<T>>(next()?),)*))
            }
        }
    )* };
}

/// Repeats a type in a macro.
type One<T> = T;

tuples! {
    2: V0 One, V1 One;
    3: V0 One, V1 One, V2 One;
    4: V0 One, V1 One, V2 One, V3 One;
    5: V0 One, V1 One, V2 One, V3 One, V4 One;
    6: V0 One, V1 One, V2 One, V3 One, V4 One, V5 One;
}

/// The host buffers of a batch, by column.
#[derive(Default, Debug)]
pub struct ColumnBatch {
    columns: Vec<Column>,
    /// Why an example could not be made.
    error: Mutex<Option<Error>>,
}

impl ColumnBatch {
    /// `n` columns without values, in the memory of earlier ones.
    pub(super) fn begin(&mut self, n: usize) -> &mut [Column] {
        *self.error.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
        self.columns.resize_with(n, Column::default);
        self.columns.iter_mut().for_each(Column::clear);
        &mut self.columns
    }

    /// Makes [`upload`](ColumnBatch::upload) fail.
    pub(super) fn fail(&mut self, error: Error) {
        *self.error.get_mut().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    /// The columns on a device.
    pub(super) fn upload<B: Backend, C: Columns>(&self, device: &B) -> Result<C::Of<Tensor<B>>> {
        if let Some(error) = self.error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        let mut columns = self.columns.iter();
        let missing = || Err(Error::Invalid("a batch without columns".into()));
        C::collect(|| columns.next().map_or_else(missing, |column| column.upload(device)))
    }
}

/// Some of the examples of a set: all, or a list of their numbers. A selection of a selection copies no
/// examples.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    n: usize,
    rows: Option<Arc<[usize]>>,
}

impl Selection {
    /// All of n examples.
    pub(super) fn all(n: usize) -> Self {
        Selection { n, rows: None }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.as_ref().map_or(self.n, |rows| rows.len())
    }

    /// The number of a selected example in the set.
    ///
    /// # Panics
    /// If there is no such example.
    #[track_caller]
    pub(super) fn row(&self, i: usize) -> usize {
        assert!(i < self.len(), "example {i} of a set of {}", self.len());
        self.rows.as_ref().map_or(i, |rows| rows[i])
    }

    /// These examples of the selected ones, in this order.
    ///
    /// # Panics
    /// If there is no such example.
    #[track_caller]
    pub(super) fn select(&self, indices: &[usize]) -> Self {
        let mut rows = Vec::with_capacity(indices.len());
        for &i in indices {
            rows.push(self.row(i));
        }
        Selection { n: self.n, rows: Some(rows.into()) }
    }
}
