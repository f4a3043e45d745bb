//! `Plain`: a whole backend in plain loops. It is the oracle that every other backend is compared with, and the example
//! of how to write one: it implements the methods without a default of each family of [`Backend`](minitorch_core::Backend) and inherits every fused one.
//!
//! Two ideas carry the file:
//!
//! * **All elements are read as f64 and rounded once on the way back.** f32, i32 and bool are exact in f64, so sums are
//!   accumulated and functions computed more exactly than any f32 backend will: what an oracle should do. (Of `+ - * /`
//!   and the square root, the f64 result rounded to f32 *is* the correctly rounded f32 result.)
//! * **Layouts do the index arithmetic.** [`Layout::positions`] lists storage positions in the order of the shape; a
//!   stride of 0 says "the same element again", so a reduction is a walk over the input beside the output broadcast
//!   back to the input's shape.

mod math;

use math::{binary, binary_i32, compare, in_dtype, unary, unary_i32, with_scalars_of};
use minitorch_core::backend::{
    ArgReduceOp, BinaryOp, BinaryOps, CompareOp, CompareOps, ConvOps, CopyOps, Device, IndexOps, LossOps, MatmulOps,
    MemoryStats, NormOps, OptimOps, PoolOps, RandomOp, RandomOps, ReduceOp, ReduceOps, ScanOps, ScatterOp, SoftmaxOps,
    SortOps, UnaryOp, UnaryOps, ViewOf,
};
use minitorch_core::ops::random::threshold;
use minitorch_core::random::{DeviceRng, Draw, unit_f32};
use minitorch_core::{DType, Error, HostData, HostSlice, Layout, Result, f16};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A device that computes with plain loops. The value is a cheap handle; clones are the same device, `Plain::new()` is
/// another one.
#[derive(Clone)]
pub struct Plain(Arc<Shared>);

struct Shared {
    id: u64,
    rng: DeviceRng,
    /// The first failure since the last report.
    failure: Mutex<Option<Error>>,
    live: AtomicU64,
    peak: AtomicU64,
}

impl Plain {
    /// A new device; its random numbers start from seed 0.
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Plain(Arc::new(Shared {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            rng: DeviceRng::default(),
            failure: Mutex::new(None),
            live: AtomicU64::new(0),
            peak: AtomicU64::new(0),
        }))
    }

    /// Every result passes here: `data` becomes a buffer that counts as this device's memory while it lives.
    fn buffer(&self, data: HostData) -> Buffer {
        let bytes = (data.as_slice().len() * data.as_slice().dtype().size()) as u64;
        let live = self.0.live.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.0.peak.fetch_max(live, Ordering::Relaxed);
        Buffer { data, bytes, device: self.0.clone() }
    }

    /// A buffer of a dtype from f64 values, each converted as [`CopyOps::cast`] says.
    fn make(&self, dtype: DType, values: impl Iterator<Item = f64>) -> Buffer {
        self.try_make(dtype, values).unwrap_or_else(|error| panic!("{error}"))
    }

    /// [`make`](Self::make), with an error where there is no memory for so many values.
    fn try_make(&self, dtype: DType, values: impl Iterator<Item = f64>) -> Result<Buffer> {
        let out_of_memory = |len: usize| {
            let bytes = len.saturating_mul(dtype.size()) as u64;
            let live = self.0.live.load(Ordering::Relaxed);
            Error::OutOfMemory { device: format!("{self:?}"), bytes, live, reserved: live }
        };
        fn collected<T>(values: impl Iterator<Item = T>, failure: &impl Fn(usize) -> Error) -> Result<Vec<T>> {
            let (mut out, (len, _)) = (Vec::new(), values.size_hint());
            out.try_reserve_exact(len).map_err(|_| failure(len))?;
            out.extend(values);
            Ok(out)
        }
        Ok(self.buffer(match dtype {
            DType::F16 => HostData::F16(collected(values.map(f16::from_f64), &out_of_memory)?),
            DType::F32 => HostData::F32(collected(values.map(|v| v as f32), &out_of_memory)?), // rounds to nearest
            DType::F64 => HostData::F64(collected(values, &out_of_memory)?),
            DType::I32 => HostData::I32(collected(values.map(|v| v as i32), &out_of_memory)?), // truncates, saturates, NaN is 0
            DType::Bool => HostData::Bool(collected(values.map(|v| v != 0.0), &out_of_memory)?), // NaN is true
        }))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Error>> {
        self.0.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The index as a position along a dimension of size `bound`. A bad one is kept for the next report, if it is the
    /// first, and the access must be skipped.
    fn check_index(&self, op: &'static str, index: f64, bound: usize) -> Option<usize> {
        if (0.0..bound as f64).contains(&index) {
            return Some(index as usize);
        }
        let error = Error::IndexOutOfRange { op, index: index as i64, bound: bound as u64 };
        self.lock().get_or_insert(error);
        None
    }
}

impl Default for Plain {
    fn default() -> Self {
        Plain::new()
    }
}

/// Two handles are equal if they are the same device.
impl PartialEq for Plain {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Plain({})", self.0.id)
    }
}

/// Storage: host data, counted.
pub struct Buffer {
    data: HostData,
    bytes: u64,
    device: Arc<Shared>,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.device.live.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Buffer {
    fn get(&self, at: usize) -> f64 {
        match &self.data {
            HostData::F16(v) => v[at].to_f64(),
            HostData::F32(v) => v[at] as f64,
            HostData::F64(v) => v[at],
            HostData::I32(v) => v[at] as f64,
            HostData::Bool(v) => v[at] as u8 as f64,
        }
    }

    fn set(&mut self, at: usize, value: f64) {
        match &mut self.data {
            HostData::F16(v) => v[at] = f16::from_f64(value),
            HostData::F32(v) => v[at] = value as f32,
            HostData::F64(v) => v[at] = value,
            HostData::I32(v) => v[at] = value as i32,
            HostData::Bool(v) => v[at] = value != 0.0,
        }
    }
}

/// A view's elements in the order of its shape.
fn read<'a>(x: ViewOf<'a, Plain>) -> impl Iterator<Item = f64> + 'a {
    x.layout.positions().map(|at| x.storage.get(at))
}

/// The layout with every stride 0 but that of `dim`: its positions are the indices along `dim`, times `stride`.
fn along(layout: &Layout, dim: usize, stride: usize) -> Layout {
    let mut strides = vec![0; layout.shape().len()];
    strides[dim] = stride;
    Layout::new(*layout.shape(), &strides, 0)
}

/// The start of the line along `dim` that each element of `index` reads from (or adds to): the strides of `layout`, 0 at
/// `dim`, over the index's shape.
fn lines(layout: &Layout, dim: usize, index: &Layout) -> Layout {
    let mut strides = layout.strides().to_vec();
    strides[dim] = 0;
    Layout::new(*index.shape(), &strides, layout.offset())
}

impl Device for Plain {
    type Storage = Buffer;

    fn supports(&self, _: DType) -> bool {
        true
    }

    fn rng(&self) -> &DeviceRng {
        &self.0.rng
    }

    fn memory(&self) -> MemoryStats {
        let live = self.0.live.load(Ordering::Relaxed);
        MemoryStats { live, reserved: live, peak: self.0.peak.load(Ordering::Relaxed) }
    }

    fn reset_peak_memory(&self) {
        self.0.peak.store(self.0.live.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Nothing is ever under way here; what is left to do is the report. `take`: a failure is reported once.
    fn synchronize(&self) -> Result<()> {
        self.lock().take().map_or(Ok(()), Err)
    }

    fn queue_error(&self, error: Error) {
        self.lock().get_or_insert(error);
    }
}

impl CopyOps for Plain {
    fn full(&self, dtype: DType, len: usize, value: f64) -> Result<Buffer> {
        self.try_make(dtype, std::iter::repeat_n(value, len))
    }

    fn upload(&self, data: HostSlice<'_>) -> Result<Buffer> {
        Ok(self.buffer(match data {
            HostSlice::F16(v) => HostData::F16(v.to_vec()),
            HostSlice::F32(v) => HostData::F32(v.to_vec()),
            HostSlice::F64(v) => HostData::F64(v.to_vec()),
            HostSlice::I32(v) => HostData::I32(v.to_vec()),
            HostSlice::Bool(v) => HostData::Bool(v.to_vec()),
        }))
    }

    fn download(&self, x: ViewOf<'_, Self>) -> Result<HostData> {
        self.synchronize()?;
        let mut copy = self.try_make(x.dtype, read(x))?;
        Ok(std::mem::replace(&mut copy.data, HostData::Bool(Vec::new()))) // out of a type with a Drop
    }

    fn copy(&self, x: ViewOf<'_, Self>) -> Buffer {
        self.make(x.dtype, read(x))
    }

    /// `x` is other storage than `to`: the borrow checker says so, and no backend needs to ask.
    fn write(&self, to: &mut Buffer, at: &Layout, x: ViewOf<'_, Self>) {
        at.positions().zip(read(x)).for_each(|(at, v)| to.set(at, v));
    }

    fn fill(&self, to: &mut Buffer, at: &Layout, _: DType, value: f64) {
        at.positions().for_each(|at| to.set(at, value));
    }

    fn cast(&self, x: ViewOf<'_, Self>, to: DType) -> Buffer {
        self.make(to, read(x))
    }
}

impl UnaryOps for Plain {
    fn unary(&self, op: UnaryOp, x: ViewOf<'_, Self>) -> Buffer {
        let op = with_scalars_of(op, x.dtype);
        match x.dtype {
            DType::I32 => self.make(x.dtype, read(x).map(|x| unary_i32(op, x as i32) as f64)),
            _ => self.make(x.dtype, read(x).map(|x| unary(op, x))),
        }
    }
}

impl BinaryOps for Plain {
    fn binary(&self, op: BinaryOp, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Buffer {
        let pairs = read(a).zip(read(b));
        match a.dtype {
            DType::I32 => self.make(a.dtype, pairs.map(|(a, b)| binary_i32(op, a as i32, b as i32) as f64)),
            _ => self.make(a.dtype, pairs.map(|(a, b)| binary(op, a, b))),
        }
    }
}

impl CompareOps for Plain {
    fn compare(&self, op: CompareOp, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Buffer {
        self.make(DType::Bool, read(a).zip(read(b)).map(|(a, b)| compare(op, a, b) as u8 as f64))
    }

    fn compare_scalar(&self, op: CompareOp, a: ViewOf<'_, Self>, b: f64) -> Buffer {
        let b = if a.dtype == DType::F16 { f16::from_f64(b).to_f64() } else { in_dtype(b, a.dtype) };
        self.make(DType::Bool, read(a).map(|a| compare(op, a, b) as u8 as f64))
    }

    fn where_cond(&self, condition: ViewOf<'_, Self>, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Buffer {
        let pairs = read(a).zip(read(b));
        self.make(a.dtype, read(condition).zip(pairs).map(|(c, (a, b))| if c != 0.0 { a } else { b }))
    }
}

impl ReduceOps for Plain {
    fn reduce(&self, op: ReduceOp, x: ViewOf<'_, Self>, dims: &[usize]) -> Buffer {
        let shape = *x.layout.shape();
        let kept = dims.iter().fold(shape, |kept, &d| kept.with(d, 1));
        // The output broadcast back: for each input element, where its result lies.
        let into = Layout::contiguous(kept).expand(shape);
        if x.dtype == DType::I32 && matches!(op, ReduceOp::Sum | ReduceOp::Prod) {
            // Wrapping arithmetic is the one thing that f64 cannot do.
            let mut out = vec![(op == ReduceOp::Prod) as i32; kept.numel()];
            for (at, x) in into.positions().zip(read(x)) {
                let op = if op == ReduceOp::Sum { BinaryOp::Add } else { BinaryOp::Mul };
                out[at] = binary_i32(op, out[at], x as i32);
            }
            return self.buffer(HostData::I32(out));
        }
        // What a reduction of nothing gives; a maximum of nothing is never asked for.
        let (start, step) = match op {
            ReduceOp::Sum | ReduceOp::Mean => (0.0, BinaryOp::Add),
            ReduceOp::Prod => (1.0, BinaryOp::Mul),
            ReduceOp::Max => (f64::NEG_INFINITY, BinaryOp::Maximum),
            ReduceOp::Min => (f64::INFINITY, BinaryOp::Minimum),
        };
        let mut out = vec![start; kept.numel()];
        for (at, x) in into.positions().zip(read(x)) {
            out[at] = binary(step, out[at], x);
        }
        let count: usize = dims.iter().map(|&d| shape[d]).product();
        let scale = if op == ReduceOp::Mean { count as f64 } else { 1.0 };
        self.make(x.dtype, out.into_iter().map(|x| x / scale)) // the mean of nothing: 0 / 0 is NaN
    }

    fn arg_reduce(&self, op: ArgReduceOp, x: ViewOf<'_, Self>, dim: usize) -> Buffer {
        let kept = x.layout.shape().with(dim, 1);
        let into = Layout::contiguous(kept).expand(*x.layout.shape());
        let mut best: Vec<Option<(f64, usize)>> = vec![None; kept.numel()];
        for ((at, x), k) in into.positions().zip(read(x)).zip(along(x.layout, dim, 1).positions()) {
            let wins = match (best[at], op) {
                (None, _) => true,
                (Some((best, _)), _) if best.is_nan() => false, // the first NaN wins over all
                (Some((best, _)), ArgReduceOp::ArgMax) => x > best || x.is_nan(), // not >=: the first of equals stays
                (Some((best, _)), ArgReduceOp::ArgMin) => x < best || x.is_nan(),
            };
            if wins {
                best[at] = Some((x, k));
            }
        }
        self.make(DType::I32, best.into_iter().map(|best| best.map_or(0.0, |(_, k)| k as f64)))
    }
}

impl MatmulOps for Plain {
    fn matmul(&self, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Buffer {
        let rank = a.layout.shape().len();
        let (m, k, n) = (a.layout.shape()[rank - 2], a.layout.shape()[rank - 1], b.layout.shape()[rank - 1]);
        // Where each matrix of the batch starts.
        let batch = |layout: &Layout| layout.remove(rank - 1).remove(rank - 2);
        let step = |layout: &Layout| [layout.strides()[rank - 2], layout.strides()[rank - 1]];
        let ([a_row, a_column], [b_row, b_column]) = (step(a.layout), step(b.layout));
        let mut out = Vec::with_capacity(batch(a.layout).numel() * m * n);
        for (a_at, b_at) in batch(a.layout).positions().zip(batch(b.layout).positions()) {
            for i in 0..m {
                for j in 0..n {
                    let term = |l| {
                        a.storage.get(a_at + i * a_row + l * a_column) * b.storage.get(b_at + l * b_row + j * b_column)
                    };
                    out.push((0..k).map(term).fold(0.0, |sum, product| sum + product));
                }
            }
        }
        self.make(a.dtype, out.into_iter())
    }
}

impl IndexOps for Plain {
    fn gather(&self, x: ViewOf<'_, Self>, dim: usize, index: ViewOf<'_, Self>) -> Buffer {
        let (bound, stride) = (x.layout.shape()[dim], x.layout.strides()[dim]);
        let lines = lines(x.layout, dim, index.layout);
        let out = lines.positions().zip(read(index)).map(|(line, index)| {
            let k = self.check_index("gather", index, bound);
            k.map_or(0.0, |k| x.storage.get(line + k * stride))
        });
        self.make(x.dtype, out)
    }

    fn scatter(
        &self,
        op: ScatterOp,
        to: &mut Buffer,
        layout: &Layout,
        dim: usize,
        index: ViewOf<'_, Self>,
        x: ViewOf<'_, Self>,
    ) {
        let (bound, stride) = (layout.shape()[dim], layout.strides()[dim]);
        let lines = lines(layout, dim, index.layout);
        let name = if op == ScatterOp::Add { "scatter_add" } else { "scatter" };
        // The sums are kept in f64 and rounded once at the end, as everywhere here; an i32 sum of this many is exact.
        let mut sums: Vec<f64> = (0..layout.numel()).map(|at| to.get(at)).collect();
        for ((line, index), x) in lines.positions().zip(read(index)).zip(read(x)) {
            let Some(k) = self.check_index(name, index, bound) else { continue };
            match op {
                ScatterOp::Add => sums[line + k * stride] += x,
                ScatterOp::Set => sums[line + k * stride] = x, // in the order of k: the last stays
            }
        }
        let wrap = |x: f64| if x.abs() < 9e15 { x as i64 as i32 as f64 } else { x };
        for (at, sum) in sums.into_iter().enumerate() {
            to.set(at, if x.dtype == DType::I32 { wrap(sum) } else { sum });
        }
    }
}

impl RandomOps for Plain {
    fn random(&self, op: RandomOp, dtype: DType, len: usize, draw: Draw) -> Buffer {
        let value = |bits: u32| match op {
            RandomOp::Bits => bits as i32 as f64,
            RandomOp::Uniform => unit_f32(bits) as f64,
            RandomOp::Keep(p) => (bits as u64 >= threshold(p)) as u8 as f64,
        };
        self.make(dtype, (0..len as u64).map(|i| value(draw.word(i))))
    }
}

// The defaults serve for the fused methods.
impl ConvOps for Plain {}
impl PoolOps for Plain {}
impl SoftmaxOps for Plain {}
impl NormOps for Plain {}
impl ScanOps for Plain {}
impl SortOps for Plain {}
impl LossOps for Plain {}
impl OptimOps for Plain {}
