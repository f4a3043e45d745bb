//! Element types, and host data of any of them.

use half::f16;
use std::fmt;

/// The type of a tensor's elements.
///
/// There is no promotion: the tensors of an operation must have one dtype, else it panics; a Rust scalar takes the tensor's
/// dtype. A backend need not support all of them ([`Device::supports`](crate::Device::supports)).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DType {
    /// IEEE 754 binary16: half the memory. Operations compute in F32 and round their result, once, to nearest.
    F16,
    /// IEEE 754 binary32; the default.
    F32,
    /// IEEE 754 binary64.
    F64,
    /// Signed 32-bit integers: indices and labels. Arithmetic wraps.
    I32,
    /// Booleans: masks.
    Bool,
}

impl DType {
    /// All element types, in the order of their declaration.
    pub const ALL: [DType; 5] = [DType::F16, DType::F32, DType::F64, DType::I32, DType::Bool];

    /// Whether tensors of this type can have gradients.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F16 | DType::F32 | DType::F64)
    }

    /// Bytes of one element on the host. A backend may store it differently.
    pub fn size(self) -> usize {
        match self {
            DType::F16 => 2,
            DType::F32 | DType::I32 => 4,
            DType::F64 => 8,
            DType::Bool => 1,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            DType::F16 => "float16",
            DType::F32 => "float32",
            DType::F64 => "float64",
            DType::I32 => "int32",
            DType::Bool => "bool",
        })
    }
}

/// Owned host data of any dtype, row-major: the result of `download`.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the variants are the dtypes
pub enum HostData {
    F16(Vec<f16>),
    F32(Vec<f32>),
    F64(Vec<f64>),
    I32(Vec<i32>),
    Bool(Vec<bool>),
}

/// Borrowed host data of any dtype, row-major: the argument of `upload`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs)] // the variants are the dtypes
pub enum HostSlice<'a> {
    F16(&'a [f16]),
    F32(&'a [f32]),
    F64(&'a [f64]),
    I32(&'a [i32]),
    Bool(&'a [bool]),
}

impl HostData {
    /// The same data, borrowed.
    pub fn as_slice(&self) -> HostSlice<'_> {
        match self {
            HostData::F16(v) => HostSlice::F16(v),
            HostData::F32(v) => HostSlice::F32(v),
            HostData::F64(v) => HostSlice::F64(v),
            HostData::I32(v) => HostSlice::I32(v),
            HostData::Bool(v) => HostSlice::Bool(v),
        }
    }

    /// The elements as f64; true is 1.
    pub(crate) fn into_f64(self) -> Vec<f64> {
        match self {
            HostData::F16(v) => v.into_iter().map(f64::from).collect(),
            HostData::F32(v) => v.into_iter().map(f64::from).collect(),
            HostData::F64(v) => v,
            HostData::I32(v) => v.into_iter().map(f64::from).collect(),
            HostData::Bool(v) => v.into_iter().map(|x| u8::from(x) as f64).collect(),
        }
    }
}

impl HostSlice<'_> {
    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            HostSlice::F16(_) => DType::F16,
            HostSlice::F32(_) => DType::F32,
            HostSlice::F64(_) => DType::F64,
            HostSlice::I32(_) => DType::I32,
            HostSlice::Bool(_) => DType::Bool,
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            HostSlice::F16(v) => v.len(),
            HostSlice::F32(v) => v.len(),
            HostSlice::F64(v) => v.len(),
            HostSlice::I32(v) => v.len(),
            HostSlice::Bool(v) => v.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

mod sealed {
    pub trait Sealed {}
}

/// Rust types that are tensor elements: [`struct@f16`], `f32`, `f64`, `i32`, `bool`. Sealed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no element type of a tensor",
    label = "f16, f32, f64, i32 or bool is wanted here",
    note = "a tensor is converted with `x.cast(DType::F32)`; `Tensor::new` takes integers of any type"
)]
pub trait Element: sealed::Sealed + Copy + PartialEq + fmt::Debug + Send + Sync + 'static {
    /// The dtype of a tensor of this type.
    const DTYPE: DType;
    /// Wraps borrowed elements.
    fn as_host(slice: &[Self]) -> HostSlice<'_>;
    /// Unwraps owned elements; `None` if they are of another dtype.
    fn from_host(data: HostData) -> Option<Vec<Self>>;
}

macro_rules! element {
    ($($type:ty => $dtype:ident),*) => { $(
        impl sealed::Sealed for $type {}
        impl Element for $type {
            const DTYPE: DType = DType::$dtype;
            fn as_host(slice: &[Self]) -> HostSlice<'_> {
                HostSlice::$dtype(slice)
            }
            fn from_host(data: HostData) -> Option<Vec<Self>> {
                if let HostData::$dtype(v) = data { Some(v) } else { None }
            }
        }
    )* };
}
element!(f16 => F16, f32 => F32, f64 => F64, i32 => I32, bool => Bool);
