//! Making, moving and converting elements: entries of `shaders/copy.wgsl`.

use crate::device::Wgpu;
use crate::memory::Storage;
use crate::stream::Shader;
use minitorch_core::backend::View;
use minitorch_core::{DType, HostData, HostSlice, Layout, Result};

fn shader(entry: &'static str) -> Shader {
    Shader::new("copy", entry)
}

/// A number as the bits of an element.
pub(crate) fn bits(dtype: DType, value: f64) -> u32 {
    match dtype {
        DType::I32 => value as i32 as u32,
        DType::Bool => (value != 0.0) as u32,
        DType::F32 | DType::F64 => (value as f32).to_bits(),
    }
}

pub(crate) fn full(device: &Wgpu, dtype: DType, len: usize, value: f64) -> Result<Storage> {
    let out = device.try_alloc(len)?;
    device.map(shader("fill"), &out, &Layout::contiguous([len]), [], [bits(dtype, value), 0]);
    Ok(out)
}

pub(crate) fn fill(device: &Wgpu, to: &mut Storage, at: &Layout, dtype: DType, value: f64) {
    let [at] = Layout::merge([*at]);
    device.map(shader("fill"), to, &at, [], [bits(dtype, value), 0]);
}

pub(crate) fn upload(device: &Wgpu, data: HostSlice<'_>) -> Result<Storage> {
    let out = device.try_alloc(data.len())?;
    if data.is_empty() {
        return Ok(out);
    }
    let buffer = out.buffer();
    match data {
        HostSlice::F32(data) => device.0.write(buffer, bytemuck::cast_slice(data)),
        HostSlice::I32(data) => device.0.write(buffer, bytemuck::cast_slice(data)),
        HostSlice::Bool(data) => {
            let words: Vec<u32> = data.iter().map(|&x| x as u32).collect();
            device.0.write(buffer, bytemuck::cast_slice(&words));
        }
        HostSlice::F64(_) => unreachable!("core asks `supports` first"),
    }
    Ok(out)
}

pub(crate) fn download(device: &Wgpu, x: View<'_, Storage>) -> Result<HostData> {
    device.0.report()?;
    if x.storage.is_missing() {
        return Err(device.0.error("what is read was never computed: there was no memory for it"));
    }
    let len = x.layout.numel();
    let words = if len == 0 {
        Vec::new()
    } else if x.layout.is_contiguous() {
        device.0.read(x.storage.buffer(), x.layout.offset(), len)?
    } else {
        device.0.read(copy(device, x).buffer(), 0, len)?
    };
    Ok(match x.dtype {
        DType::I32 => HostData::I32(bytemuck::cast_vec(words)),
        DType::Bool => HostData::Bool(words.into_iter().map(|word| word != 0).collect()),
        DType::F32 | DType::F64 => HostData::F32(bytemuck::cast_vec(words)),
    })
}

pub(crate) fn copy(device: &Wgpu, x: View<'_, Storage>) -> Storage {
    let [layout] = Layout::merge([*x.layout]);
    let whole = Layout::contiguous(*layout.shape());
    let out = device.alloc("copy", whole.numel());
    device.map(shader("copy"), &out, &whole, [View { layout: &layout, ..x }], [0; 2]);
    out
}

pub(crate) fn write(device: &Wgpu, to: &mut Storage, at: &Layout, x: View<'_, Storage>) {
    let [at, layout] = Layout::merge([*at, *x.layout]);
    device.map(shader("copy"), to, &at, [View { layout: &layout, ..x }], [0; 2]);
}

pub(crate) fn cast(device: &Wgpu, x: View<'_, Storage>, to: DType) -> Storage {
    let entry = match (x.dtype, to) {
        (DType::F32, DType::I32) => "cast_f32_i32",
        (DType::F32, DType::Bool) => "cast_f32_bool",
        (DType::I32, DType::F32) => "cast_i32_f32",
        (DType::I32, DType::Bool) => "cast_i32_bool",
        (DType::Bool, DType::F32) => "cast_bool_f32",
        (DType::Bool, DType::I32) => "cast_bool_i32",
        _ => return copy(device, x),
    };
    let whole = Layout::contiguous(*x.layout.shape());
    let out = device.alloc("cast", whole.numel());
    device.map(shader(entry), &out, &whole, [x], [0; 2]);
    out
}

pub(crate) fn where_cond(
    device: &Wgpu,
    condition: View<'_, Storage>,
    a: View<'_, Storage>,
    b: View<'_, Storage>,
) -> Storage {
    let whole = Layout::contiguous(*a.layout.shape());
    let out = device.alloc("where", whole.numel());
    device.map(shader("choose"), &out, &whole, [condition, a, b], [0; 2]);
    out
}
