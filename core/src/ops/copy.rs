//! Copies: allocation, transfers between host and device, copies to row-major order, conversions between dtypes.

use crate::autodiff::parents;
use crate::backend::{Backend, Device, ViewOf};
use crate::dtype::{DType, Element, HostData, HostSlice};
use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::tensor::{Tensor, check_support};

/// Allocation, transfers, copies, fills and conversions. See the [contract](crate::backend).
pub trait CopyOps: Device {
    /// A buffer of `len` elements, all `value` (converted as by [`cast`](CopyOps::cast)).
    fn full(&self, dtype: DType, len: usize, value: f64) -> Result<Self::Storage>;

    /// A buffer with the host's data.
    fn upload(&self, data: HostSlice<'_>) -> Result<Self::Storage>;

    /// The view's elements, in the order of its shape; reports failures as [`synchronize`](Device::synchronize) does.
    fn download(&self, x: ViewOf<'_, Self>) -> Result<HostData>;

    /// The view's elements, row-major in a new buffer.
    fn copy(&self, x: ViewOf<'_, Self>) -> Self::Storage;

    /// Writes `x` into the part of `to` that `at` shows; both have one dtype and one shape.
    fn write(&self, to: &mut Self::Storage, at: &Layout, x: ViewOf<'_, Self>);

    /// Sets the part of `to` that `at` shows to `value`.
    fn fill(&self, to: &mut Self::Storage, at: &Layout, dtype: DType, value: f64);

    /// Converts. Float to float rounds to nearest; float to integer truncates towards zero and saturates, NaN becomes 0;
    /// to bool is "not equal to 0" (NaN is true); bool becomes 0 or 1.
    fn cast(&self, x: ViewOf<'_, Self>, to: DType) -> Self::Storage;
}

impl<B: Backend> Tensor<B> {
    /// The elements in row-major order: `let v: Vec<f32> = x.to_vec()?;`. Waits for the device.
    ///
    /// # Errors
    /// If the device failed or has a queued error: an operation of any thread had no memory for its result, or, on a GPU,
    /// found an index out of range. The error stays queued until [`take_error`](crate::Device::take_error).
    ///
    /// # Panics
    /// If the dtype is not `T`'s.
    #[track_caller]
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        assert!(
            T::DTYPE == self.dtype(),
            "to_vec: the tensor is of {}, {} was asked for; cast it first",
            self.dtype(),
            T::DTYPE
        );
        let data = self.device().download(self.view())?;
        T::from_host(data).ok_or_else(|| Error::Device {
            device: format!("{:?}", self.device()),
            reason: "the data read back are of another dtype".into(),
        })
    }

    /// The only element, as f64 (true is 1). Waits for the device.
    ///
    /// # Errors
    /// As [`to_vec`](Self::to_vec).
    ///
    /// # Panics
    /// If there is not exactly one element.
    #[track_caller]
    pub fn item(&self) -> Result<f64> {
        assert!(self.numel() == 1, "item: wants exactly one element, the shape is {:?}", self.shape());
        use HostData::*;
        Ok(match self.device().download(self.view())? {
            F16(v) => v[0].to_f64(),
            F32(v) => v[0] as f64,
            F64(v) => v[0],
            I32(v) => v[0] as f64,
            Bool(v) => v[0] as u8 as f64,
        })
    }

    /// A copy on another device, of this or another backend, through the host; off the tape.
    ///
    /// # Errors
    /// As [`to_vec`](Self::to_vec), for either device.
    #[track_caller]
    pub fn to<C: Backend>(&self, device: &C) -> Result<Tensor<C>> {
        check_support("to", device, self.dtype());
        let data = self.device().download(self.view())?;
        let storage = device.upload(data.as_slice())?;
        Ok(Tensor::from_storage(device, storage, self.dtype(), *self.shape()))
    }

    /// This tensor converted to another dtype; itself if it already has that dtype. Between float dtypes the gradient is
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
        let parents = if dtype.is_float() { parents([self]) } else { None };
        out.recorded("cast", parents, move |g| g.cast(from))
    }

    /// The elements in row-major order: a copy, or the tensor itself if it is contiguous. PyTorch: `contiguous`.
    pub fn contiguous(&self) -> Self {
        if self.layout().is_contiguous() { self.clone() } else { self.copied() }
    }

    /// A copy in row-major order.
    pub(crate) fn copied(&self) -> Self {
        let storage = self.with_merged_view(|device, view| device.copy(view));
        let out = Tensor::from_storage(self.device(), storage, self.dtype(), *self.shape());
        out.recorded("contiguous", parents([self]), |g| g.clone())
    }
}
