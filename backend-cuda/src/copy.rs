//! Making, moving and converting elements: geometry and names for `kernels/copy.cu`.

use crate::device::{Cuda, name, suffix};
use crate::memory::Storage;
use crate::params::{MapParams, Operand, Walk};
use minitorch_core::backend::View;
use minitorch_core::{DType, HostData, HostSlice, Layout, Result};

pub(crate) fn full(device: &Cuda, dtype: DType, len: usize, value: f64) -> Result<Storage> {
    if device.0.is_halted() {
        // Part of work whose failure waits for the next read, as the gradient 1 that `backward` begins with.
        return Ok(device.alloc("full", dtype, len));
    }
    let out = device.try_alloc(dtype, len)?;
    fill_at(device, (&out, dtype, &Layout::contiguous([len])), value);
    Ok(out)
}

pub(crate) fn fill(device: &Cuda, to: &mut Storage, at: &Layout, dtype: DType, value: f64) {
    let [at] = Layout::merge([*at]);
    fill_at(device, (to, dtype, &at), value);
}

fn fill_at(device: &Cuda, (to, dtype, at): (&Storage, DType, &Layout), value: f64) {
    let value = match dtype {
        DType::I32 => value as i32 as f64, // the kernel's conversion is for whole numbers only
        DType::Bool => (value != 0.0) as u8 as f64,
        DType::F16 | DType::F32 | DType::F64 => value,
    };
    device.map(name!("copy_fill_{}", suffix(dtype)), (to, dtype, at), [], [value, 0.0]);
}

pub(crate) fn upload(device: &Cuda, data: HostSlice<'_>) -> Result<Storage> {
    match try_upload(device, data) {
        // Part of work whose failure waits for the next read, as in `full`.
        Err(_) if device.0.is_halted() && device.0.is_failing() => Ok(device.alloc("upload", data.dtype(), data.len())),
        uploaded => uploaded,
    }
}

fn try_upload(device: &Cuda, data: HostSlice<'_>) -> Result<Storage> {
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
    // SAFETY: the buffer was made for this many elements of this type.
    match unsafe { device.0.driver.upload(out.address(), bytes) } {
        Ok(()) => Ok(out),
        Err(failure) => Err(device.0.first("upload", bytes.len(), failure)),
    }
}

fn bytes_of<T: minitorch_core::Element>(data: &[T]) -> &[u8] {
    // SAFETY: elements are numbers or bool, without padding: every byte of them is initialised.
    unsafe { std::slice::from_raw_parts(data.as_ptr().cast(), size_of_val(data)) }
}

pub(crate) fn download(device: &Cuda, x: View<'_, Storage>) -> Result<HostData> {
    device.0.report()?;
    let len = x.layout.numel();
    if len > 0 && x.storage.is_missing() {
        return Err(device.0.error("what is read was never computed: there was no memory for it"));
    }
    if len == 0 || x.layout.is_contiguous() {
        return read(device, Operand::of(x.storage, x.dtype, x.layout).data, x.dtype, len);
    }
    let whole = device.try_alloc(x.dtype, len)?;
    copy_to(device, x, &whole);
    // A copy that was not launched has written nothing.
    device.0.kept()?;
    read(device, whole.address(), x.dtype, len)
}

fn read(device: &Cuda, at: u64, dtype: DType, len: usize) -> Result<HostData> {
    let mut bytes = Vec::new();
    if len.checked_mul(dtype.size()).is_none_or(|size| bytes.try_reserve_exact(size).is_err()) {
        return Err(device.0.error(format!("download: the host has no memory for {len} elements of {dtype}")));
    }
    bytes.resize(len * dtype.size(), 0);
    if len > 0 {
        // SAFETY: the storage that the address belongs to has this many elements from there on, and outlives the call.
        let result = unsafe { device.0.driver.download(at, &mut bytes) };
        result.map_err(|failure| device.0.first("download", bytes.len(), failure))?;
    }
    Ok(match dtype {
        DType::F16 => unreachable!("core asks `supports` first"),
        DType::F32 => HostData::F32(bytes.as_chunks().0.iter().map(|&b| f32::from_ne_bytes(b)).collect()),
        DType::F64 => HostData::F64(bytes.as_chunks().0.iter().map(|&b| f64::from_ne_bytes(b)).collect()),
        DType::I32 => HostData::I32(bytes.as_chunks().0.iter().map(|&b| i32::from_ne_bytes(b)).collect()),
        DType::Bool => HostData::Bool(bytes.into_iter().map(|b| b != 0).collect()),
    })
}

pub(crate) fn copy(device: &Cuda, x: View<'_, Storage>) -> Storage {
    let out = device.alloc("copy", x.dtype, x.layout.numel());
    copy_to(device, x, &out);
    out
}

/// Copies to a buffer of as many elements, in their order.
fn copy_to(device: &Cuda, x: View<'_, Storage>, out: &Storage) {
    let [layout] = Layout::merge([*x.layout]);
    let whole = Layout::contiguous(*layout.shape());
    let x = View { layout: &layout, ..x };
    if !turn(device, x, out) {
        let at = (out, x.dtype, &whole);
        device.map(name!("copy_{}", x.dtype.size()), at, [x], [0.0; 2]);
    }
}

/// Copies matrices whose columns are contiguous by tiles; false for any other layout.
fn turn(device: &Cuda, x: View<'_, Storage>, out: &Storage) -> bool {
    const TILE: usize = 32;
    /// Blocks that a grid has at most in its second and third dimension.
    const MOST: usize = 65_535;
    let (batch, [rows, columns], strides) = match (&x.layout.shape()[..], x.layout.strides()) {
        (&[rows, columns], &[1, stride]) => (1, [rows, columns], [0, 1, stride]),
        (&[batch, rows, columns], &[far, 1, stride]) => (batch, [rows, columns], [far, 1, stride]),
        _ => return false,
    };
    // Tiles that are mostly empty lose more than they win.
    if rows < 8 || columns < 8 || batch > MOST || columns.div_ceil(TILE) > MOST {
        return false;
    }
    let layout = Layout::new([batch, rows, columns], &strides, x.layout.offset());
    let whole = Layout::contiguous([batch, rows, columns]);
    let params = MapParams {
        walk: Walk::new(whole.shape()),
        out: Operand::of(out, x.dtype, &whole),
        r#in: [Operand::of(x.storage, x.dtype, &layout), Operand::NONE, Operand::NONE],
        a: 0.0,
        b: 0.0,
    };
    let grid = [rows.div_ceil(TILE), columns.div_ceil(TILE), batch];
    device.0.launch(name!("copy_turned_{}", x.dtype.size()), grid, [TILE, 8, 1], 0, &params);
    true
}

pub(crate) fn write(device: &Cuda, to: &mut Storage, at: &Layout, x: View<'_, Storage>) {
    let [at, layout] = Layout::merge([*at, *x.layout]);
    let to = (&*to, x.dtype, &at);
    device.map(name!("copy_{}", x.dtype.size()), to, [View { layout: &layout, ..x }], [0.0; 2]);
}

pub(crate) fn cast(device: &Cuda, x: View<'_, Storage>, to: DType) -> Storage {
    if x.dtype == to {
        return copy(device, x);
    }
    let whole = Layout::contiguous(*x.layout.shape());
    let out = device.alloc("cast", to, whole.numel());
    let at = (&out, to, &whole);
    device.map(name!("copy_{}_{}", suffix(x.dtype), suffix(to)), at, [x], [0.0; 2]);
    out
}

pub(crate) fn where_cond(
    device: &Cuda,
    condition: View<'_, Storage>,
    a: View<'_, Storage>,
    b: View<'_, Storage>,
) -> Storage {
    let whole = Layout::contiguous(*a.layout.shape());
    let out = device.alloc("where", a.dtype, whole.numel());
    let at = (&out, a.dtype, &whole);
    device.map(name!("copy_where_{}", a.dtype.size()), at, [condition, a, b], [0.0; 2]);
    out
}
