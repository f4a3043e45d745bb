//! A tensor in host memory: what files are read into and written from.

use crate::text::shown_shape;
use minitorch_core::{Backend, DType, Error, HostData, MAX_RANK, Result, Tensor};
use std::fmt;

/// A tensor in host memory, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// The sizes.
    pub shape: Vec<usize>,
    /// The elements; their number is the product of the sizes.
    pub data: HostData,
}

impl HostTensor {
    /// A tensor of this shape and data.
    ///
    /// # Panics
    /// If the number of elements is not that of the shape.
    #[track_caller]
    pub fn new(shape: impl Into<Vec<usize>>, data: HostData) -> Self {
        let tensor = HostTensor { shape: shape.into(), data };
        assert!(tensor.is_consistent(), "HostTensor: {} elements for the shape {:?}", tensor.len(), tensor.shape);
        tensor
    }

    /// A copy of a tensor. Waits for the device.
    ///
    /// # Errors
    /// If the device fails.
    pub fn read<B: Backend>(tensor: &Tensor<B>) -> Result<Self> {
        let data = tensor.device().download(tensor.view())?;
        Ok(HostTensor { shape: tensor.shape().to_vec(), data })
    }

    /// A copy on a device.
    ///
    /// # Errors
    /// If the device fails or has no memory for it. [`Error::Invalid`] if it does not support the dtype, the number of
    /// elements is not that of the shape, or there are more than [`MAX_RANK`] dimensions, which a file can have.
    pub fn to_tensor<B: Backend>(&self, device: &B) -> Result<Tensor<B>> {
        self.check_consistent("to_tensor: the tensor")?;
        let (shape, dtype) = (self.shape.as_slice(), self.dtype());
        if shape.len() > MAX_RANK {
            return Err(Error::Invalid(format!("to_tensor: {} is beyond {MAX_RANK} dimensions", shown_shape(shape))));
        }
        if !device.supports(dtype) {
            return Err(Error::Invalid(format!("to_tensor: {device:?} does not support {dtype}")));
        }
        match &self.data {
            HostData::F16(v) => Tensor::try_from_slice(v, shape, device),
            HostData::F32(v) => Tensor::try_from_slice(v, shape, device),
            HostData::F64(v) => Tensor::try_from_slice(v, shape, device),
            HostData::I32(v) => Tensor::try_from_slice(v, shape, device),
            HostData::Bool(v) => Tensor::try_from_slice(v, shape, device),
        }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.data.as_slice().dtype()
    }

    fn len(&self) -> usize {
        self.data.as_slice().len()
    }

    /// Whether the number of elements is that of the shape.
    fn is_consistent(&self) -> bool {
        let expected = self.shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
        expected == Some(self.len())
    }

    /// An error that begins with `what` if the number of elements is not that of the shape.
    pub(super) fn check_consistent(&self, what: &str) -> Result<()> {
        let (len, shape) = (self.len(), &self.shape);
        let reason = || Error::Invalid(format!("{what} has {len} elements for the shape {shape:?}"));
        self.is_consistent().then_some(()).ok_or_else(reason)
    }

    /// The elements, little-endian.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match &self.data {
            HostData::F16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            HostData::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            HostData::F64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            HostData::I32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            HostData::Bool(v) => v.iter().map(|&x| x as u8).collect(),
        }
    }

    /// The number of [`bytes`](Self::bytes).
    pub(super) fn bytes_len(&self) -> usize {
        self.len() * self.dtype().size()
    }

    /// Whether shape and dtype are equal to those of a tensor.
    pub(crate) fn fits<B: Backend>(&self, tensor: &Tensor<B>) -> bool {
        self.shape == **tensor.shape() && self.dtype() == tensor.dtype()
    }
}

/// Shape and dtype, such as `[2, 3] float32`.
impl fmt::Display for HostTensor {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:?} {}", self.shape, self.dtype())
    }
}
