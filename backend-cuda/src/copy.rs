//! Creation, transfer, copies and casts (`kernels/copy.cu`).

use crate::device::{Cuda, name, suffix};
use crate::elementwise::ElementwiseParams;
use crate::grid::MAX_GRID_YZ;
use crate::memory::Storage;
use crate::params::{TensorRef, Walk};
use minitorch_core::backend::{CopyOps, View};
use minitorch_core::{DType, HostData, HostSlice, Layout, Result};

impl CopyOps for Cuda {
    fn full(&self, dtype: DType, len: usize, value: f64) -> Result<Storage> {
        if self.0.is_halted() {
            // The error is queued. It is not returned, as the caller may be inside of another operation, such as `backward`,
            // which begins with a gradient of 1.
            return Ok(self.alloc("full", dtype, len));
        }
        let out = self.try_alloc(dtype, len)?;
        fill(self, (&out, dtype, &Layout::contiguous([len])), value);
        Ok(out)
    }

    fn upload(&self, data: HostSlice<'_>) -> Result<Storage> {
        match upload(self, data) {
            // As in `full`.
            Err(_) if self.0.is_halted() && self.0.queued_error().is_err() => {
                Ok(self.alloc("upload", data.dtype(), data.len()))
            }
            uploaded => uploaded,
        }
    }

    fn download(&self, x: View<'_, Storage>) -> Result<HostData> {
        self.0.synchronize()?;
        let len = x.layout.numel();
        if len > 0 && x.storage.is_missing() {
            return Err(self.0.error("what is read was never computed: there was no memory for it"));
        }
        if len == 0 || x.layout.is_contiguous() {
            return read(self, x.storage.tensor_ref(x.dtype, x.layout).data, x.dtype, len);
        }
        let out = self.try_alloc(x.dtype, len)?;
        copy_to(self, x, &out);
        // A copy that was not launched has written nothing.
        self.0.queued_error()?;
        read(self, out.address(), x.dtype, len)
    }

    fn copy(&self, x: View<'_, Storage>) -> Storage {
        let out = self.alloc("copy", x.dtype, x.layout.numel());
        copy_to(self, x, &out);
        out
    }

    fn write(&self, to: &mut Storage, at: &Layout, x: View<'_, Storage>) {
        let [at, layout] = Layout::merge([*at, *x.layout]);
        let to = (&*to, x.dtype, &at);
        self.elementwise(name!("copy_{}", x.dtype.size()), to, [View { layout: &layout, ..x }], [0.0; 2]);
    }

    fn fill(&self, to: &mut Storage, at: &Layout, dtype: DType, value: f64) {
        let [at] = Layout::merge([*at]);
        fill(self, (to, dtype, &at), value);
    }

    fn cast(&self, x: View<'_, Storage>, to: DType) -> Storage {
        if x.dtype == to {
            return self.copy(x);
        }
        self.elementwise_new(("cast", to), name!("copy_{}_{}", suffix(x.dtype), suffix(to)), [x], [0.0; 2])
    }
}

fn fill(device: &Cuda, (to, dtype, at): (&Storage, DType, &Layout), value: f64) {
    let value = match dtype {
        DType::I32 => value as i32 as f64, // the kernel's conversion is defined for i32 values only
        DType::Bool => (value != 0.0) as u8 as f64,
        DType::F16 | DType::F32 | DType::F64 => value,
    };
    device.elementwise(name!("copy_fill_{}", suffix(dtype)), (to, dtype, at), [], [value, 0.0]);
}

fn upload(device: &Cuda, data: HostSlice<'_>) -> Result<Storage> {
    let out = device.try_alloc(data.dtype(), data.len())?;
    if data.is_empty() {
        return Ok(out);
    }
    let bytes = match data {
        HostSlice::F16(_) => unreachable!("core asks `supports` first"),
        HostSlice::F32(data) => bytes_of(data),
        HostSlice::F64(data) => bytes_of(data),
        HostSlice::I32(data) => bytes_of(data),
        HostSlice::Bool(data) => bytes_of(data), // one byte each, 0 or 1
    };
    // SAFETY: `try_alloc` allocated the buffer for this many elements of this type.
    match unsafe { device.0.driver.upload(out.address(), bytes) } {
        Ok(()) => Ok(out),
        Err(failure) => Err(device.0.first_error("upload", bytes.len(), failure)),
    }
}

fn bytes_of<T: minitorch_core::Element>(data: &[T]) -> &[u8] {
    // SAFETY: `Element` is implemented for numbers and bool alone, which have no padding: every byte is initialised.
    unsafe { std::slice::from_raw_parts(data.as_ptr().cast(), size_of_val(data)) }
}

fn read(device: &Cuda, from: u64, dtype: DType, len: usize) -> Result<HostData> {
    let mut bytes = Vec::new();
    if len.checked_mul(dtype.size()).is_none_or(|size| bytes.try_reserve_exact(size).is_err()) {
        return Err(device.0.error(format!("download: the host has no memory for {len} elements of {dtype}")));
    }
    bytes.resize(len * dtype.size(), 0);
    if len > 0 {
        // SAFETY: `download`, the only caller, passes the address of this many elements of a storage that it holds.
        let result = unsafe { device.0.driver.download(from, &mut bytes) };
        result.map_err(|failure| device.0.first_error("download", bytes.len(), failure))?;
    }
    Ok(match dtype {
        DType::F16 => unreachable!("core asks `supports` first"),
        DType::F32 => HostData::F32(bytes.as_chunks().0.iter().map(|&b| f32::from_ne_bytes(b)).collect()),
        DType::F64 => HostData::F64(bytes.as_chunks().0.iter().map(|&b| f64::from_ne_bytes(b)).collect()),
        DType::I32 => HostData::I32(bytes.as_chunks().0.iter().map(|&b| i32::from_ne_bytes(b)).collect()),
        DType::Bool => HostData::Bool(bytes.into_iter().map(|b| b != 0).collect()),
    })
}

/// Copies x, in row-major order, to a buffer of as many elements.
fn copy_to(device: &Cuda, x: View<'_, Storage>, out: &Storage) {
    let [layout] = Layout::merge([*x.layout]);
    let contiguous = Layout::contiguous(*layout.shape());
    let x = View { layout: &layout, ..x };
    if !transpose(device, x, out) {
        let to = (out, x.dtype, &contiguous);
        device.elementwise(name!("copy_{}", x.dtype.size()), to, [x], [0.0; 2]);
    }
}

/// Copies matrices with contiguous columns, tile by tile. Returns false, and copies nothing, for any other layout.
fn transpose(device: &Cuda, x: View<'_, Storage>, out: &Storage) -> bool {
    const TILE: usize = 32;
    let (batch, [rows, columns], strides) = match (&x.layout.shape()[..], x.layout.strides()) {
        (&[rows, columns], &[1, stride]) => (1, [rows, columns], [0, 1, stride]),
        (&[batch, rows, columns], &[batch_stride, 1, stride]) => (batch, [rows, columns], [batch_stride, 1, stride]),
        _ => return false,
    };
    // In small matrices most of a tile is empty, which costs more than uncoalesced reads.
    if rows < 8 || columns < 8 || batch > MAX_GRID_YZ || columns.div_ceil(TILE) > MAX_GRID_YZ {
        return false;
    }
    let layout = Layout::new([batch, rows, columns], &strides, x.layout.offset());
    let contiguous = Layout::contiguous([batch, rows, columns]);
    let params = ElementwiseParams {
        walk: Walk::new(contiguous.shape()),
        out: out.tensor_ref(x.dtype, &contiguous),
        r#in: [x.storage.tensor_ref(x.dtype, &layout), TensorRef::NONE, TensorRef::NONE],
        a: 0.0,
        b: 0.0,
    };
    let grid = [rows.div_ceil(TILE), columns.div_ceil(TILE), batch];
    device.0.launch(name!("copy_transposed_{}", x.dtype.size()), grid, [TILE, 8, 1], &params);
    true
}
