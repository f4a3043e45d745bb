//! Creation, transfer, copies and casts. Cost: bytes read plus bytes written.
//!
//! ```text
//! copy:  merge dimensions; if the columns of the last two dimensions are contiguous: transpose, else out[i] = x[i]
//! ```
//! A transpose goes in blocks of 16 x 16 elements, so that a cache line of the source is used completely before it is evicted.

use crate::Cpu;
use crate::element::{Element, with_element};
use crate::elementwise::{map0, map1};
use crate::launch::{self, report};
use crate::memory::{self, AlignedBuffer, OutOfMemory, Storage};
use crate::parallel;
use crate::simd::{Isa, Kernel};
use crate::view::{Rows, Source, position, source};
use minitorch_core::backend::{CopyOps, Device, View};
use minitorch_core::{DType, HostData, HostSlice, Layout, Result};

impl CopyOps for Cpu {
    fn full(&self, dtype: DType, len: usize, value: f64) -> Result<Storage> {
        with_element!(dtype, T => {
            let mut out = self.try_alloc::<T>(len)?;
            let value = T::from_f64(value);
            map0(1, &mut out, move |_| value);
            Ok(T::wrap(out))
        })
    }

    fn upload(&self, data: HostSlice<'_>) -> Result<Storage> {
        fn from<T: Element>(device: &Cpu, data: &[T]) -> Result<Storage> {
            let mut out = device.try_alloc::<T>(data.len())?;
            parallel::split(&mut out, 1, 1, |at, out| out.copy_from_slice(&data[at..at + out.len()]));
            Ok(T::wrap(out))
        }
        match data {
            HostSlice::F16(_) => unreachable!("core checks `supports`"),
            HostSlice::F32(data) => from(self, data),
            HostSlice::F64(data) => from(self, data),
            HostSlice::I32(data) => from(self, data),
            HostSlice::Bool(data) => {
                let mut out = self.try_alloc::<u8>(data.len())?;
                out.iter_mut().zip(data).for_each(|(out, &x)| *out = x as u8);
                Ok(Storage::Bool(out))
            }
        }
    }

    fn download(&self, x: View<'_, Storage>) -> Result<HostData> {
        fn to<T: Element>(device: &Cpu, x: View<'_, Storage>) -> Result<Vec<T>> {
            if x.storage.is_missing() {
                // The operation that lacked the memory has queued its error; this error names the bytes of the tensor.
                return Err(
                    device.out_of_memory(OutOfMemory { bytes: x.layout.numel().saturating_mul(size_of::<T>()) })
                );
            }
            let x = source::<T>(x);
            let mut out = memory::zeros(x.layout.numel()).map_err(|error| device.out_of_memory(error))?;
            copy_into(&mut out, x);
            Ok(out)
        }
        self.synchronize()?;
        Ok(match x.dtype {
            DType::F16 => unreachable!("core checks `supports`"),
            DType::F32 => HostData::F32(to(self, x)?),
            DType::F64 => HostData::F64(to(self, x)?),
            DType::I32 => HostData::I32(to(self, x)?),
            DType::Bool => HostData::Bool(to::<u8>(self, x)?.into_iter().map(|x| x != 0).collect()),
        })
    }

    fn copy(&self, x: View<'_, Storage>) -> Storage {
        if x.storage.is_missing() {
            return Storage::Missing(x.dtype);
        }
        with_element!(x.dtype, T => T::wrap(contiguous(self, source::<T>(x))))
    }

    fn write(&self, to: &mut Storage, at: &Layout, x: View<'_, Storage>) {
        if at.numel() == 0 || to.is_missing() {
            return; // the layout of an empty view may reach beyond the storage
        }
        if x.storage.is_missing() {
            *to = Storage::Missing(x.dtype);
            return;
        }
        with_element!(x.dtype, T => write(T::write(to), at, source::<T>(x)));
    }

    fn fill(&self, to: &mut Storage, at: &Layout, dtype: DType, value: f64) {
        if at.numel() == 0 || to.is_missing() {
            return;
        }
        with_element!(dtype, T => fill(T::write(to), at, T::from_f64(value)));
    }

    fn cast(&self, x: View<'_, Storage>, to: DType) -> Storage {
        fn convert<T: Element, U: Element>(
            device: &Cpu,
            x: View<'_, Storage>,
            f: impl Fn(T) -> U + Copy + Sync,
        ) -> Storage {
            let mut out = device.output::<U>(x.layout.numel(), &[x.storage]);
            if let Some(out) = &mut out {
                map1(1, out, source::<T>(x), f);
            }
            U::wrap(out)
        }
        use DType::{Bool, F16, F32, F64, I32};
        match (x.dtype, to) {
            (F32, F64) => convert(self, x, |x: f32| x as f64),
            (F32, I32) => convert(self, x, |x: f32| x as i32),
            (F32, Bool) => convert(self, x, |x: f32| (x != 0.0) as u8),
            (F64, F32) => convert(self, x, |x: f64| x as f32),
            (F64, I32) => convert(self, x, |x: f64| x as i32),
            (F64, Bool) => convert(self, x, |x: f64| (x != 0.0) as u8),
            (I32, F32) => convert(self, x, |x: i32| x as f32),
            (I32, F64) => convert(self, x, |x: i32| x as f64),
            (I32, Bool) => convert(self, x, |x: i32| (x != 0) as u8),
            (Bool, F32) => convert(self, x, |x: u8| x as f32),
            (Bool, F64) => convert(self, x, |x: u8| x as f64),
            (Bool, I32) => convert(self, x, |x: u8| x as i32),
            (F16, _) | (_, F16) => unreachable!("core checks `supports`"),
            (F32, F32) | (F64, F64) | (I32, I32) | (Bool, Bool) => self.copy(x),
        }
    }
}

/// The elements in row-major order. `None` if there is no memory.
pub(crate) fn contiguous<T: Element>(device: &Cpu, x: Source<T>) -> Option<AlignedBuffer<T>> {
    let mut out = device.workspace::<T>(x.layout.numel())?;
    copy_into(&mut out, x);
    Some(out)
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

/// Copies matrices with contiguous columns: element (row, column) is at `row + column * stride`.
fn transpose<T: Element>(out: &mut [T], x: Source<T>, [rows, columns]: [usize; 2], stride: usize) {
    let rank = x.layout.shape().len();
    let matrices = x.layout.remove(rank - 1).remove(rank - 2);
    report(|| {
        let launch = launch::split::<T>("transpose", out.len(), BAND.min(rows) * columns, 2);
        launch.path("blocks").tile([BLOCK, BLOCK])
    });
    parallel::split(out, BAND.min(rows) * columns, 2, |at, out| {
        let (mut row, mut matrix, mut out) = (at / columns % rows, at / columns / rows, out);
        while !out.is_empty() {
            let count = (rows - row).min(out.len() / columns);
            let (part, rest) = out.split_at_mut(count * columns);
            let x = &x.data[position(&matrices, matrix) + row..];
            T::dispatch(Transpose { out: part, x, rows: count, columns, stride });
            (row, matrix, out) = (0, matrix + 1, rest);
        }
    });
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
        let (block_rows, block_columns) = (rows / BLOCK * BLOCK, columns / BLOCK * BLOCK);
        for column in (0..block_columns).step_by(BLOCK) {
            for row in (0..block_rows).step_by(BLOCK) {
                let out = &mut out[row * columns..][..BLOCK * columns];
                // Columns are often a power of two apart and then map to the same cache set. So each cache line is read at once, and
                // each of the result is written at once, before it can be evicted.
                let block: [&[T; BLOCK]; BLOCK] = std::array::from_fn(|i| {
                    let column = &x[(column + i) * stride + row..];
                    column.first_chunk().expect("a block within the matrix")
                });
                let block = block.map(|column| *column);
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
        rest(0..block_rows, block_columns..columns);
        rest(block_rows..rows, 0..columns);
    }
}

/// Rows and columns of a block: a cache line of f32 each.
const BLOCK: usize = 16;

/// Rows of a band, the unit of a thread: the length of the contiguous runs in which the source is read.
const BAND: usize = 128;

/// Calls `body(first element, slice, layout)` for parts of the elements that `at` selects in `to`. If the entries of the outermost
/// dimension occupy disjoint ranges and the work suffices, each entry is a part and all threads run; else there is one part.
fn split_outer<T: Element>(to: &mut [T], at: &Layout, body: impl Fn(usize, &mut [T], &Layout) + Sync) {
    let Some(grain) = outer_grain(at) else { return body(0, to, at) };
    let (each, stride) = (at.numel() / at.shape()[0], at.strides()[0]);
    let inner = at.remove(0);
    let inner = Layout::new(*inner.shape(), inner.strides(), 0);
    let to = &mut to[at.offset()..at.end()];
    parallel::each_chunk(to, grain * stride, |chunk, to| {
        for (i, to) in (chunk * grain..).zip(to.chunks_mut(stride)) {
            body(i * each, to, &inner);
        }
    });
}

/// The entries of the outermost dimension that a thread of [`split_outer`] takes at once; `None` for a single part.
fn outer_grain(at: &Layout) -> Option<usize> {
    let (&[count, ..], &[stride, ..]) = (&at.shape()[..], at.strides()) else { return None };
    let numel = at.numel();
    let disjoint = numel >= parallel::MIN_PARALLEL_WORK && count > 1 && {
        let inner = at.remove(0);
        Layout::new(*inner.shape(), inner.strides(), 0).end() <= stride
    };
    disjoint.then(|| parallel::CHUNK_WORK.div_ceil(numel / count))
}

/// The number of chunks of [`split_outer`].
fn outer_chunks(at: &Layout) -> usize {
    outer_grain(at).map_or(1, |grain| at.shape()[0].div_ceil(grain))
}

/// Panics unless the elements that a layout selects, each once, lie within `len` elements.
fn check_target(op: &str, len: usize, at: &Layout) {
    assert!(at.end() <= len && at.numel() <= len, "{op}: {at:?} does not fit {len} elements");
}

fn write<T: Element>(to: &mut [T], at: &Layout, Source { data, layout }: Source<T>) {
    check_target("write", to.len(), at);
    if at.is_contiguous() {
        let to = &mut to[at.offset()..][..at.numel()];
        return copy_into(to, Source { data, layout });
    }
    report(|| launch::on::<T>("write", outer_chunks(at)).path("rows to rows"));
    split_outer(to, at, |first, to, at| {
        let range = first..first + at.numel();
        // The part has a layout of its own; the source is one layout for all parts.
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
}

fn fill<T: Element>(to: &mut [T], at: &Layout, value: T) {
    check_target("fill", to.len(), at);
    if at.is_contiguous() {
        return map0(1, &mut to[at.offset()..][..at.numel()], move |_| value);
    }
    report(|| launch::on::<T>("fill", outer_chunks(at)).path("rows"));
    split_outer(to, at, |_, to, at| {
        let mut rows = Rows::new([at], 0..at.numel());
        let [stride] = rows.inner;
        while let Some((place, [start])) = rows.next() {
            for i in 0..place.len() {
                to[start + i * stride] = value;
            }
        }
    });
}
