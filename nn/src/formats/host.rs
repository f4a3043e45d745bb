//! A tensor in host memory: what files are read into and written from.

use super::elements::{Elements, Kind};
use crate::text::shown_shape;
use minitorch_core::{Backend, DType, Element, Error, HostData, MAX_RANK, Result, Tensor};
use std::fmt;

/// A tensor in host memory, row-major, with the element type of the file that it comes from.
///
/// ```
/// use minitorch::prelude::*;
/// use minitorch::nn::state::HostTensor;
///
/// let counts = HostTensor::new([2], vec![7i64, 1 << 40]);
/// assert_eq!(counts.to_vec::<f32>()?, [7.0, 1.0995116e12]);
/// let error = counts.to_vec::<i32>().unwrap_err();
/// assert_eq!(error.to_string(), "the value 1099511627776 of int64 does not fit int32");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// The sizes.
    pub shape: Vec<usize>,
    /// The elements; their number is the product of the sizes.
    pub data: Elements,
}

impl HostTensor {
    /// A tensor of this shape and data: a `Vec` of numbers, or [`HostData`].
    ///
    /// # Panics
    /// If the number of elements is not that of the shape.
    #[track_caller]
    pub fn new(shape: impl Into<Vec<usize>>, data: impl Into<Elements>) -> Self {
        let tensor = HostTensor { shape: shape.into(), data: data.into() };
        let elements = tensor.data.len();
        assert!(tensor.is_consistent(), "HostTensor: {elements} elements for the shape {:?}", tensor.shape);
        tensor
    }

    /// A copy of a tensor. Waits for the device.
    ///
    /// # Errors
    /// If the device fails.
    pub fn read<B: Backend>(tensor: &Tensor<B>) -> Result<Self> {
        let data = tensor.device().download(tensor.view())?;
        Ok(HostTensor { shape: tensor.shape().to_vec(), data: data.into() })
    }

    /// A copy on a device, of the dtype that [`dtype`](HostTensor::dtype) returns, or of F32 instead of F16 where the
    /// device does not support F16.
    ///
    /// # Errors
    /// If the device fails or has no memory for it. [`Error::Invalid`] if it does not support the dtype, an integer does
    /// not fit I32, the number of elements is not that of the shape, or there are more than [`MAX_RANK`] dimensions.
    pub fn to_tensor<B: Backend>(&self, device: &B) -> Result<Tensor<B>> {
        let dtype = match self.dtype() {
            DType::F16 if !device.supports(DType::F16) => DType::F32,
            dtype => dtype,
        };
        self.to_tensor_of(dtype, device)
    }

    /// A copy on a device, of a dtype.
    pub(crate) fn to_tensor_of<B: Backend>(&self, dtype: DType, device: &B) -> Result<Tensor<B>> {
        self.check_consistent("the tensor")?;
        let shape = self.shape.as_slice();
        check_shape(shape).map_err(Error::Invalid)?;
        if !device.supports(dtype) {
            return Err(Error::Invalid(format!("{device:?} does not support {dtype}")));
        }
        match (&self.data, dtype) {
            (Elements::F16(v), DType::F16) => Tensor::try_from_slice(v, shape, device),
            (Elements::F32(v), DType::F32) => Tensor::try_from_slice(v, shape, device),
            (Elements::F64(v), DType::F64) => Tensor::try_from_slice(v, shape, device),
            (Elements::I32(v), DType::I32) => Tensor::try_from_slice(v, shape, device),
            (Elements::Bool(v), DType::Bool) => Tensor::try_from_slice(v, shape, device),
            (data, _) => match data.convert(dtype).map_err(Error::Invalid)? {
                HostData::F16(v) => Tensor::try_from_slice(&v, shape, device),
                HostData::F32(v) => Tensor::try_from_slice(&v, shape, device),
                HostData::F64(v) => Tensor::try_from_slice(&v, shape, device),
                HostData::I32(v) => Tensor::try_from_slice(&v, shape, device),
                HostData::Bool(v) => Tensor::try_from_slice(&v, shape, device),
            },
        }
    }

    /// The elements, row-major, converted as by [`to_dtype`](HostTensor::to_dtype).
    ///
    /// # Errors
    /// As [`to_dtype`](HostTensor::to_dtype).
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        let data = self.data.convert(T::DTYPE).map_err(Error::Invalid)?;
        // The conversion has this dtype.
        Ok(T::from_host(data).unwrap_or_default())
    }

    /// The tensor in another dtype. Every value is rounded once, to nearest, ties to even.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the first value that does not fit: an integer outside of the range of I32, a number with
    /// a fraction for I32, a number but 0 and 1 for Bool, a finite number that would become infinite.
    pub fn to_dtype(&self, dtype: DType) -> Result<HostTensor> {
        let data = self.data.convert(dtype).map_err(Error::Invalid)?;
        Ok(HostTensor { shape: self.shape.clone(), data: data.into() })
    }

    /// The dtype of a tensor that holds the values: F32 for bfloat16, I32 for all integers.
    pub fn dtype(&self) -> DType {
        self.data.kind().dtype()
    }

    /// Whether the number of elements is that of the shape.
    fn is_consistent(&self) -> bool {
        let expected = self.shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
        // A size of 0 makes the product 0, even if it overflows before.
        expected.or(self.shape.contains(&0).then_some(0)) == Some(self.data.len())
    }

    /// An error that begins with `what` if the number of elements is not that of the shape.
    pub(super) fn check_consistent(&self, what: &str) -> Result<()> {
        let (len, shape) = (self.data.len(), shown_shape(&self.shape));
        let reason = || Error::Invalid(format!("{what} has {len} elements for the shape {shape}"));
        self.is_consistent().then_some(()).ok_or_else(reason)
    }

    /// The number of bytes of the elements.
    pub(super) fn bytes_len(&self) -> usize {
        self.data.len() * self.data.kind().size()
    }
}

/// Shape and element type, such as `[2, 3] float32`.
impl fmt::Display for HostTensor {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {}", shown_shape(&self.shape), self.data.kind())
    }
}

/// An error unless tensors can have the shape. With a size of 0 the product is 0, whatever the other sizes are: they are
/// checked without it.
pub(super) fn check_shape(shape: &[usize]) -> std::result::Result<(), String> {
    let elements = shape.iter().filter(|&&size| size != 0).try_fold(1usize, |n, &size| n.checked_mul(size));
    match elements {
        Some(n) if shape.len() <= MAX_RANK && n <= isize::MAX as usize / 8 => Ok(()),
        _ => Err(format!("the shape {} is beyond {MAX_RANK} dimensions or the address space", shown_shape(shape))),
    }
}

/// Elements at `start + index . strides`, all counted in elements, for every index of the shape in row-major order. The
/// caller has checked that they are within the data.
pub(super) fn gather(data: &[u8], kind: Kind, shape: &[usize], strides: &[usize], start: usize) -> Vec<u8> {
    let (size, count) = (kind.size(), shape.iter().product::<usize>());
    let mut rows = Vec::with_capacity(count * size);
    let (mut index, mut at) = (vec![0; shape.len()], start);
    for _ in 0..count {
        rows.extend_from_slice(&data[at * size..][..size]);
        // Increment the index: the last dimension first, with carry.
        for dim in (0..shape.len()).rev() {
            (index[dim], at) = (index[dim] + 1, at + strides[dim]);
            if index[dim] < shape[dim] {
                break;
            }
            at -= shape[dim] * strides[dim];
            index[dim] = 0;
        }
    }
    rows
}
