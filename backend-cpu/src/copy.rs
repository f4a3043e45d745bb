//! Making, moving and converting elements. Cost: bytes read plus bytes written.
//!
//! A copy whose rows are not contiguous in memory but whose columns are (a transposed matrix) goes by blocks: 16 columns
//! at a time, so that each cache line of the source is used whole before it is displaced.

use crate::Cpu;
use crate::element::{Element, source, with_element};
use crate::launch::{self, report};
use crate::map::{Rows, Source, map0, map1, map3};
use crate::memory::{self, Buffer, Storage};
use crate::parallel;
use crate::simd::{Isa, Kernel};
use minitorch_core::backend::View;
use minitorch_core::{DType, HostData, HostSlice, Layout, Result};

pub(crate) fn full(device: &Cpu, dtype: DType, len: usize, value: f64) -> Result<Storage> {
    with_element!(dtype, T => {
        let mut out = device.try_alloc::<T>(len)?;
        let value = T::from_f64(value);
        map0(1, &mut out, move |_| value);
        Ok(T::wrap(out))
    })
}

pub(crate) fn upload(device: &Cpu, data: HostSlice<'_>) -> Result<Storage> {
    fn from<T: Element>(device: &Cpu, data: &[T]) -> Result<Storage> {
        let mut out = device.try_alloc::<T>(data.len())?;
        parallel::pieces(&mut out, 1, 1, |at, out| out.copy_from_slice(&data[at..at + out.len()]));
        Ok(T::wrap(out))
    }
    match data {
        HostSlice::F16(_) => unreachable!("core asks `supports` first"),
        HostSlice::F32(data) => from(device, data),
        HostSlice::F64(data) => from(device, data),
        HostSlice::I32(data) => from(device, data),
        HostSlice::Bool(data) => {
            let mut out = device.try_alloc::<u8>(data.len())?;
            out.iter_mut().zip(data).for_each(|(out, &x)| *out = x as u8);
            Ok(Storage::Bool(out))
        }
    }
}

pub(crate) fn download(device: &Cpu, x: View<'_, Storage>) -> Result<HostData> {
    fn to<T: Element>(device: &Cpu, x: View<'_, Storage>) -> Result<Vec<T>> {
        let x = source::<T>(x);
        let mut out = memory::zeros(x.layout.numel()).map_err(|error| device.out_of_memory(error))?;
        copy_into(&mut out, x);
        Ok(out)
    }
    Ok(match x.dtype {
        DType::F16 => unreachable!("core asks `supports` first"),
        DType::F32 => HostData::F32(to(device, x)?),
        DType::F64 => HostData::F64(to(device, x)?),
        DType::I32 => HostData::I32(to(device, x)?),
        DType::Bool => HostData::Bool(to::<u8>(device, x)?.into_iter().map(|x| x != 0).collect()),
    })
}

pub(crate) fn copy(device: &Cpu, x: View<'_, Storage>) -> Storage {
    with_element!(x.dtype, T => T::wrap(contiguous(device, source::<T>(x))))
}

/// The elements in row-major order, in a buffer of their own.
pub(crate) fn contiguous<T: Element>(device: &Cpu, x: Source<T>) -> Buffer<T> {
    let mut out = device.alloc::<T>("copy", x.layout.numel());
    copy_into(&mut out, x);
    out
}

fn copy_into<T: Element>(out: &mut [T], x: Source<T>) {
    let [layout] = Layout::merge([*x.layout]);
    assert!(out.len() == layout.numel(), "copy: {:?} into {} elements", x.layout, out.len());
    let (shape, strides) = (layout.shape(), layout.strides());
    if let ([.., rows, columns], &[.., 1, stride]) = (&shape[..], strides)
        && stride > 1
        && *columns >= 4
    {
        return transpose(out, Source { layout: &layout, ..x }, [*rows, *columns], stride);
    }
    map1(1, out, Source { layout: &layout, ..x }, |x| x);
}

/// Copies matrices whose columns are contiguous: element (row, column) lies at `row + column * stride`.
fn transpose<T: Element>(out: &mut [T], x: Source<T>, [rows, columns]: [usize; 2], stride: usize) {
    let rank = x.layout.shape().len();
    let matrices = x.layout.remove(rank - 1).remove(rank - 2);
    report(|| {
        let launch = launch::pieces::<T>("transpose", out.len(), BAND.min(rows) * columns, 2);
        launch.path("blocks").tile([BLOCK, BLOCK])
    });
    parallel::pieces(out, BAND.min(rows) * columns, 2, |at, out| {
        let (mut row, mut matrix, mut out) = (at / columns % rows, at / columns / rows, out);
        while !out.is_empty() {
            let count = (rows - row).min(out.len() / columns);
            let (part, rest) = out.split_at_mut(count * columns);
            let x = &x.data[start_of(&matrices, matrix) + row..];
            T::dispatch(Transpose { out: part, x, rows: count, columns, stride });
            (row, matrix, out) = (0, matrix + 1, rest);
        }
    });
}

/// Where element `index` of a layout lies, counted in row-major order.
pub(crate) fn start_of(layout: &Layout, mut index: usize) -> usize {
    let mut at = layout.offset();
    for (&size, &stride) in layout.shape().iter().zip(layout.strides()).rev() {
        at += index % size.max(1) * stride;
        index /= size.max(1);
    }
    at
}

struct Transpose<'a, T> {
    out: &'a mut [T],
    x: &'a [T],
    rows: usize,
    columns: usize,
    stride: usize,
}

impl<T: Element> Kernel for Transpose<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let Transpose { out, x, rows, columns, stride } = self;
        let (whole_rows, whole_columns) = (rows / BLOCK * BLOCK, columns / BLOCK * BLOCK);
        for column in (0..whole_columns).step_by(BLOCK) {
            for row in (0..whole_rows).step_by(BLOCK) {
                let out = &mut out[row * columns..][..BLOCK * columns];
                // Lines of the source are a power of two apart as often as not, and then compete for a few places in the cache:
                // each is read at once, and each line of the result written at once.
                let block: [&[T; BLOCK]; BLOCK] = std::array::from_fn(|i| {
                    let line = &x[(column + i) * stride + row..];
                    line.first_chunk().expect("a block within the matrix")
                });
                let block = block.map(|line| *line);
                for (i, out) in out.chunks_exact_mut(columns).enumerate() {
                    let to = out[column..].first_chunk_mut::<BLOCK>().expect("a block within the matrix");
                    *to = std::array::from_fn(|j| block[j][i]);
                }
            }
        }
        let mut rest = |rows: std::ops::Range<usize>, columns_: std::ops::Range<usize>| {
            for row in rows {
                for column in columns_.clone() {
                    out[row * columns + column] = x[row + column * stride];
                }
            }
        };
        rest(0..whole_rows, whole_columns..columns);
        rest(whole_rows..rows, 0..columns);
    }
}

/// Rows and columns that are turned at once: a cache line of f32 each way.
const BLOCK: usize = 16;

/// Rows of one task: the lines of the source are read in runs of as many elements.
const BAND: usize = 128;

/// Calls `body(first element, part of the storage, its layout)` for the parts of a storage that a layout shows: one per
/// entry of the outermost dimension, on all threads, where those lie apart and there is enough to do; else one in all.
fn parts<T: Element>(to: &mut [T], at: &Layout, body: impl Fn(usize, &mut [T], &Layout) + Sync) {
    let Some(grain) = part_grain(at) else { return body(0, to, at) };
    let (each, stride) = (at.numel() / at.shape()[0], at.strides()[0]);
    let inner = at.remove(0);
    let inner = Layout::new(*inner.shape(), inner.strides(), 0);
    let to = &mut to[at.offset()..at.end()];
    parallel::each_chunk(to, grain * stride, |run, to| {
        for (i, to) in (run * grain..).zip(to.chunks_mut(stride)) {
            body(i * each, to, &inner);
        }
    });
}

/// Entries of the outermost dimension that [`parts`] takes at once; `None` if all parts are one.
fn part_grain(at: &Layout) -> Option<usize> {
    let (&[count, ..], &[stride, ..]) = (&at.shape()[..], at.strides()) else { return None };
    let numel = at.numel();
    let apart = numel >= parallel::PARALLEL && count > 1 && {
        let inner = at.remove(0);
        Layout::new(*inner.shape(), inner.strides(), 0).end() <= stride
    };
    apart.then(|| parallel::PIECE.div_ceil(numel / count))
}

/// How many tasks [`parts`] makes.
fn part_count(at: &Layout) -> usize {
    part_grain(at).map_or(1, |grain| at.shape()[0].div_ceil(grain))
}

/// Panics unless what a layout shows, each element once, lies within `len` elements.
fn check_target(op: &str, len: usize, at: &Layout) {
    assert!(at.end() <= len && at.numel() <= len, "{op}: {at:?} does not fit {len} elements");
}

pub(crate) fn write(to: &mut Storage, at: &Layout, x: View<'_, Storage>) {
    with_element!(x.dtype, T => {
        let (to, Source { data, layout }) = (T::write(to), source::<T>(x));
        if at.numel() == 0 {
            return; // an empty part may lie anywhere
        }
        check_target("write", to.len(), at);
        if at.is_contiguous() {
            let to = &mut to[at.offset()..][..at.numel()];
            return copy_into(to, Source { data, layout });
        }
        report(|| launch::on::<T>("write", part_count(at)).path("rows to rows"));
        parts(to, at, |first, to, at| {
            let range = first..first + at.numel();
            // The target's own layout begins anew in each part; the source is walked from `first` on.
            let mut targets = Rows::new([at], 0..range.len());
            let mut sources = Rows::new([layout], range);
            let ([to_stride], [stride]) = (targets.inner, sources.inner);
            while let (Some((place, [start])), Some((_, [from]))) = (targets.next(), sources.next()) {
                let len = place.len();
                if to_stride == 1 && stride == 1 {
                    to[start..][..len].copy_from_slice(&data[from..][..len]);
                } else {
                    for i in 0..len {
                        to[start + i * to_stride] = data[from + i * stride];
                    }
                }
            }
        });
    });
}

pub(crate) fn fill(to: &mut Storage, at: &Layout, dtype: DType, value: f64) {
    with_element!(dtype, T => {
        let (to, value) = (T::write(to), T::from_f64(value));
        if at.numel() == 0 {
            return;
        }
        check_target("fill", to.len(), at);
        if at.is_contiguous() {
            return map0(1, &mut to[at.offset()..][..at.numel()], move |_| value);
        }
        report(|| launch::on::<T>("fill", part_count(at)).path("rows"));
        parts(to, at, |_, to, at| {
            let mut rows = Rows::new([at], 0..at.numel());
            let [stride] = rows.inner;
            while let Some((place, [start])) = rows.next() {
                for i in 0..place.len() {
                    to[start + i * stride] = value;
                }
            }
        });
    });
}

pub(crate) fn cast(device: &Cpu, x: View<'_, Storage>, to: DType) -> Storage {
    fn convert<T: Element, U: Element>(
        device: &Cpu,
        x: View<'_, Storage>,
        f: impl Fn(T) -> U + Copy + Sync,
    ) -> Storage {
        let mut out = device.alloc::<U>("cast", x.layout.numel());
        map1(1, &mut out, source::<T>(x), f);
        U::wrap(out)
    }
    use DType::{Bool, F16, F32, F64, I32};
    match (x.dtype, to) {
        (F32, F64) => convert(device, x, |x: f32| x as f64),
        (F32, I32) => convert(device, x, |x: f32| x as i32),
        (F32, Bool) => convert(device, x, |x: f32| (x != 0.0) as u8),
        (F64, F32) => convert(device, x, |x: f64| x as f32),
        (F64, I32) => convert(device, x, |x: f64| x as i32),
        (F64, Bool) => convert(device, x, |x: f64| (x != 0.0) as u8),
        (I32, F32) => convert(device, x, |x: i32| x as f32),
        (I32, F64) => convert(device, x, |x: i32| x as f64),
        (I32, Bool) => convert(device, x, |x: i32| (x != 0) as u8),
        (Bool, F32) => convert(device, x, |x: u8| x as f32),
        (Bool, F64) => convert(device, x, |x: u8| x as f64),
        (Bool, I32) => convert(device, x, |x: u8| x as i32),
        (F16, _) | (_, F16) => unreachable!("core asks `supports` first"),
        (F32, F32) | (F64, F64) | (I32, I32) | (Bool, Bool) => copy(device, x),
    }
}

pub(crate) fn where_cond(
    device: &Cpu,
    condition: View<'_, Storage>,
    a: View<'_, Storage>,
    b: View<'_, Storage>,
) -> Storage {
    with_element!(a.dtype, T => {
        let mut out = device.alloc::<T>("where", a.layout.numel());
        map3(1, &mut out, source::<u8>(condition), [a, b].map(source::<T>), |c, a, b| if c != 0 { a } else { b });
        T::wrap(out)
    })
}
