//! Making, moving and converting elements: entries of `shaders/copy.wgsl` and `shaders/transpose.wgsl`.

use crate::device::Wgpu;
use crate::memory::Storage;
use crate::params::{MapParams, Operand, Walk};
use crate::shader::{Form, Shader};
use bytemuck::Zeroable;
use minitorch_core::backend::View;
use minitorch_core::{DType, HostData, HostSlice, Layout, Result, f16};

fn shader(entry: &'static str, read: DType, write: DType) -> Shader {
    Shader::new("copy", entry).form(Form::of(read, write))
}

/// A number as the bits of an element; of an F16 as those of its F32.
pub(crate) fn bits(dtype: DType, value: f64) -> u32 {
    match dtype {
        DType::I32 => value as i32 as u32,
        DType::Bool => (value != 0.0) as u32,
        DType::F16 | DType::F32 | DType::F64 => (value as f32).to_bits(),
    }
}

pub(crate) fn full(device: &Wgpu, dtype: DType, len: usize, value: f64) -> Result<Storage> {
    let out = device.try_alloc(dtype, len)?;
    fill_part(device, &out, &Layout::contiguous([len]), dtype, value);
    Ok(out)
}

pub(crate) fn fill(device: &Wgpu, to: &mut Storage, at: &Layout, dtype: DType, value: f64) {
    let [at] = Layout::merge([*at]);
    fill_part(device, to, &at, dtype, value);
}

/// Fills a storage that nobody has seen.
pub(crate) fn fill_part(device: &Wgpu, to: &Storage, at: &Layout, dtype: DType, value: f64) {
    // Once is how often a number is rounded.
    let value = if dtype == DType::F16 { f16::from_f64(value).to_f64() } else { value };
    device.map(shader("fill", dtype, dtype), to, at, [], [bits(dtype, value), 0]);
}

pub(crate) fn upload(device: &Wgpu, data: HostSlice<'_>) -> Result<Storage> {
    let out = device.try_alloc(data.dtype(), data.len())?;
    if data.is_empty() {
        return Ok(out);
    }
    let buffer = out.buffer();
    match data {
        HostSlice::F16(data) => match data.as_chunks() {
            (pairs, []) => device.0.write(buffer, bytemuck::cast_slice::<[f16; 2], u8>(pairs)),
            // To a multiple of 4 bytes.
            _ => device.0.write(buffer, bytemuck::cast_slice(&[data, &[f16::ZERO]].concat())),
        },
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
    Ok(match x.dtype {
        DType::F16 => {
            let mut halves = read(device, x)?;
            halves.truncate(x.layout.numel());
            HostData::F16(halves)
        }
        DType::I32 => HostData::I32(read(device, x)?),
        DType::Bool => HostData::Bool(read(device, x)?.into_iter().map(|word: u32| word != 0).collect()),
        DType::F32 | DType::F64 => HostData::F32(read(device, x)?),
    })
}

/// The elements, and one more if their bytes are no multiple of 4.
fn read<T: bytemuck::Pod>(device: &Wgpu, x: View<'_, Storage>) -> Result<Vec<T>> {
    let (len, element) = (x.layout.numel() as u64, x.storage.element());
    if len == 0 {
        return Ok(Vec::new());
    }
    let (first, bytes) = (x.layout.offset() as u64 * element, (len * element).next_multiple_of(4));
    match x.layout.is_contiguous() && first.is_multiple_of(4) {
        true => device.0.read(x.storage.buffer(), first, bytes),
        false => {
            let whole = copy(device, x);
            if whole.is_missing() {
                let error = device.0.error(format!("download: there is no memory for {len} elements"));
                return Err(device.0.report().err().unwrap_or(error));
            }
            device.0.read(whole.buffer(), 0, bytes)
        }
    }
}

pub(crate) fn copy(device: &Wgpu, x: View<'_, Storage>) -> Storage {
    let [layout] = Layout::merge([*x.layout]);
    let whole = Layout::contiguous(*layout.shape());
    let out = device.alloc("copy", x.dtype, whole.numel());
    between(device, &out, &whole, View { layout: &layout, ..x });
    out
}

/// Copies between merged layouts of one shape.
fn between(device: &Wgpu, out: &Storage, at: &Layout, x: View<'_, Storage>) {
    if !transpose(device, out, at, x) {
        device.map(shader("copy", x.dtype, x.dtype), out, at, [x], [0; 2]);
    }
}

/// Sizes of a matrix from which on tiles are worth it.
const TILED: usize = 16;

/// The copy by transpose.wgsl, if neighbours of the two lie along different dimensions and each is bound in one piece.
fn transpose(device: &Wgpu, out: &Storage, at: &Layout, x: View<'_, Storage>) -> bool {
    let rank = at.shape().len();
    let long = |d: usize| at.shape()[d] >= TILED;
    let next = (0..rank).rev().find(|&d| x.layout.strides()[d] == 1 && long(d));
    let Some(next) = next.filter(|&d| d + 1 < rank && long(rank - 1) && at.strides()[rank - 1] == 1) else {
        return false;
    };
    if at.numel() == 0
        || out.is_missing()
        || device.too_wide(out, at).is_some()
        || device.too_wide(x.storage, x.layout).is_some()
    {
        return false;
    }
    out.check(at);
    x.storage.check(x.layout);
    // The dimension along which x has its neighbours becomes the last but one.
    let order: Vec<usize> = (0..rank - 1).filter(|&d| d != next).chain([next, rank - 1]).collect();
    let (to, from) = (device.window(out, at), device.window(x.storage, x.layout));
    let [at, layout] = [to.within(at), from.within(x.layout)].map(|layout| layout.permute(&order));
    let tiles = |d: usize| at.shape()[d].div_ceil(32);
    let planes: usize = at.shape()[..rank - 2].iter().product();
    let params = MapParams {
        walk: Walk::new(at.shape()),
        out: Operand::new(&at),
        x: Operand::new(&layout),
        ..MapParams::zeroed()
    };
    let shader = Shader::new("transpose", "transpose").form(Form::of(x.dtype, x.dtype));
    let groups = device.folded(planes * tiles(rank - 1) * tiles(rank - 2));
    device.dispatch(shader, groups, &params, &[to.write(), from.read()]);
    true
}

pub(crate) fn write(device: &Wgpu, to: &mut Storage, at: &Layout, x: View<'_, Storage>) {
    let [at, layout] = Layout::merge([*at, *x.layout]);
    between(device, to, &at, View { layout: &layout, ..x });
}

pub(crate) fn cast(device: &Wgpu, x: View<'_, Storage>, to: DType) -> Storage {
    let entry = match (x.dtype, to) {
        (DType::F16 | DType::F32, DType::I32) => "cast_f32_i32",
        (DType::F16 | DType::F32, DType::Bool) => "cast_f32_bool",
        (DType::I32, DType::F16 | DType::F32) => "cast_i32_f32",
        (DType::I32, DType::Bool) => "cast_i32_bool",
        (DType::Bool, DType::F16 | DType::F32) => "cast_bool_f32",
        (DType::Bool, DType::I32) => "cast_bool_i32",
        // Between F16 and F32 the copy converts.
        _ => "copy",
    };
    let whole = Layout::contiguous(*x.layout.shape());
    let out = device.alloc("cast", to, whole.numel());
    device.map(shader(entry, x.dtype, to), &out, &whole, [x], [0; 2]);
    out
}

pub(crate) fn where_cond(
    device: &Wgpu,
    condition: View<'_, Storage>,
    a: View<'_, Storage>,
    b: View<'_, Storage>,
) -> Storage {
    let whole = Layout::contiguous(*a.layout.shape());
    let out = device.alloc("where", a.dtype, whole.numel());
    device.map(shader("choose", a.dtype, a.dtype), &out, &whole, [condition, a, b], [0; 2]);
    out
}
