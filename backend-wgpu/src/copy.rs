//! Allocation with values, transfers, copies and conversions (`shaders/copy.wgsl`, `shaders/transpose.wgsl`).

use crate::device::Wgpu;
use crate::map::bits;
use crate::memory::Storage;
use crate::params::{MapParams, Strides, Walk};
use crate::shader::{Form, Shader};
use bytemuck::Zeroable;
use minitorch_core::backend::{CopyOps, Device, View, ViewOf};
use minitorch_core::{DType, HostData, HostSlice, Layout, Result, f16};

fn shader(entry: &'static str, read: DType, write: DType) -> Shader {
    Shader::new("copy", entry).form(Form::of(read, write))
}

impl CopyOps for Wgpu {
    fn full(&self, dtype: DType, len: usize, value: f64) -> Result<Storage> {
        let mut out = self.try_alloc(dtype, len)?;
        self.fill(&mut out, &Layout::contiguous([len]), dtype, value);
        Ok(out)
    }

    fn upload(&self, data: HostSlice<'_>) -> Result<Storage> {
        let out = self.try_alloc(data.dtype(), data.len())?;
        if data.is_empty() {
            return Ok(out);
        }
        let write = |bytes: &[u8]| self.0.stream.write(out.buffer(), bytes);
        match data {
            HostSlice::F16(data) => match data.as_chunks() {
                (pairs, []) => write(bytemuck::cast_slice::<[f16; 2], u8>(pairs)),
                // Padded to a multiple of 4 bytes.
                _ => write(bytemuck::cast_slice(&[data, &[f16::ZERO]].concat())),
            },
            HostSlice::F32(data) => write(bytemuck::cast_slice(data)),
            HostSlice::I32(data) => write(bytemuck::cast_slice(data)),
            HostSlice::Bool(data) => {
                let words: Vec<u32> = data.iter().map(|&x| x as u32).collect();
                write(bytemuck::cast_slice(&words));
            }
            HostSlice::F64(_) => unreachable!("core checks `supports` first"),
        }
        Ok(out)
    }

    fn download(&self, x: ViewOf<'_, Self>) -> Result<HostData> {
        self.synchronize()?;
        if x.storage.is_missing() {
            return Err(self.0.context.error("the tensor was never computed: there was no memory for it"));
        }
        Ok(match x.dtype {
            DType::F16 => {
                let mut halves = read(self, x)?;
                halves.truncate(x.layout.numel());
                HostData::F16(halves)
            }
            DType::I32 => HostData::I32(read(self, x)?),
            DType::Bool => HostData::Bool(read(self, x)?.into_iter().map(|word: u32| word != 0).collect()),
            DType::F32 | DType::F64 => HostData::F32(read(self, x)?),
        })
    }

    fn copy(&self, x: ViewOf<'_, Self>) -> Storage {
        let out = self.alloc("copy", x.dtype, x.layout.numel());
        copy_to(self, &out, x);
        out
    }

    fn write(&self, to: &mut Storage, at: &Layout, x: ViewOf<'_, Self>) {
        let [at, layout] = Layout::merge([*at, *x.layout]);
        copy_merged(self, to, &at, View { layout: &layout, ..x });
    }

    fn fill(&self, to: &mut Storage, at: &Layout, dtype: DType, value: f64) {
        let [at] = Layout::merge([*at]);
        // Rounded to F16 here: through F32, the shader would round twice.
        let value = if dtype == DType::F16 { f16::from_f64(value).to_f64() } else { value };
        self.map(shader("fill", dtype, dtype), to, &at, [], [bits(dtype, value), 0]);
    }

    fn cast(&self, x: ViewOf<'_, Self>, to: DType) -> Storage {
        let entry = match (x.dtype, to) {
            (DType::F16 | DType::F32, DType::I32) => "cast_f32_i32",
            (DType::F16 | DType::F32, DType::Bool) => "cast_f32_bool",
            (DType::I32 | DType::Bool, DType::F16 | DType::F32) => "cast_i32_f32",
            (DType::I32, DType::Bool) => "cast_i32_bool",
            // A copy converts between F16 and F32, and a bool is the I32 0 or 1.
            _ => "copy",
        };
        self.map_new(("cast", to), shader(entry, x.dtype, to), [x], [0; 2])
    }
}

/// The elements, and one more if their bytes are no multiple of 4.
fn read<T: bytemuck::Pod>(device: &Wgpu, x: View<'_, Storage>) -> Result<Vec<T>> {
    let (len, element) = (x.layout.numel() as u64, x.storage.element());
    if len == 0 {
        return Ok(Vec::new());
    }
    let (first, bytes) = (x.layout.offset() as u64 * element, (len * element).next_multiple_of(4));
    if x.layout.is_contiguous() && first.is_multiple_of(4) {
        return device.0.stream.read(x.storage.buffer(), first, bytes);
    }
    // Returned and not queued if there is no memory.
    let contiguous = device.try_alloc(x.dtype, x.layout.numel())?;
    copy_to(device, &contiguous, x);
    device.0.context.queued_error()?;
    device.0.stream.read(contiguous.buffer(), 0, bytes)
}

/// Copies x, in row-major order, to a buffer of as many elements.
fn copy_to(device: &Wgpu, out: &Storage, x: View<'_, Storage>) {
    let [layout] = Layout::merge([*x.layout]);
    copy_merged(device, out, &Layout::contiguous(*layout.shape()), View { layout: &layout, ..x });
}

/// Copies between merged layouts of one shape.
fn copy_merged(device: &Wgpu, out: &Storage, at: &Layout, x: View<'_, Storage>) {
    if !transpose(device, out, at, x) {
        device.map(shader("copy", x.dtype, x.dtype), out, at, [x], [0; 2]);
    }
}

/// Sizes of a matrix from which tiles are used.
const MIN_TILED: usize = 16;

/// Copies with transpose.wgsl if the two tensors have stride 1 along different dimensions and each fits a binding; returns whether.
fn transpose(device: &Wgpu, out: &Storage, at: &Layout, x: View<'_, Storage>) -> bool {
    let rank = at.shape().len();
    let long = |d: usize| at.shape()[d] >= MIN_TILED;
    let inner = (0..rank).rev().find(|&d| x.layout.strides()[d] == 1 && long(d));
    let Some(inner) = inner.filter(|&d| d + 1 < rank && long(rank - 1) && at.strides()[rank - 1] == 1) else {
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
    // The dimension along which x is contiguous becomes the last but one.
    let order: Vec<usize> = (0..rank - 1).filter(|&d| d != inner).chain([inner, rank - 1]).collect();
    let (to, from) = (device.window(out, at), device.window(x.storage, x.layout));
    let [at, layout] = [to.within(at), from.within(x.layout)].map(|layout| layout.permute(&order));
    let tiles = |d: usize| at.shape()[d].div_ceil(32);
    let planes: usize = at.shape()[..rank - 2].iter().product();
    let params = MapParams {
        walk: Walk::new(at.shape()),
        out: Strides::new(&at),
        x: Strides::new(&layout),
        ..MapParams::zeroed()
    };
    let shader = Shader::new("transpose", "transpose").form(Form::of(x.dtype, x.dtype));
    let groups = device.folded(planes * tiles(rank - 1) * tiles(rank - 2));
    device.dispatch(shader, groups, &params, &[to.write(), from.read()]);
    true
}
