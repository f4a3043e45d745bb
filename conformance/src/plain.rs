//! `Plain`: a complete backend in plain loops, the oracle of the suite and the example of how to write a backend.
//!
//! It implements the methods without a default of every family of [`Backend`](minitorch_core::Backend), and inherits the fused ones
//! but `argsort`. Each method is one walk:
//!
//! ```text
//! unary   out[i] = f(x[i])                       binary   out[i] = f(a[i], b[i])
//! reduce  out[into(i)] = f(out[into(i)], x[i])   matmul   out[i, j] = sum over k of a[i, k] b[k, j]
//! gather  out[i] = x[row(i) + index[i]]          scatter  to[row(i) + index[i]] (+)= x[i]
//! ```
//!
//! * **Elements are read as f64 and rounded once when they are stored.** f16, f32, i32 and bool are exact in f64, so a sum or a function is
//!   more accurate than any f32 backend computes it. (For `+ - * /` and the square root, the f64 result rounded to f32 *is* the
//!   correctly rounded f32 result.)
//! * **Layouts do the index arithmetic.** [`Layout::positions`] lists storage positions in the order of the shape. A stride of 0
//!   repeats an element, so a reduction walks its input beside the output broadcast back to the input's shape.
//! * **Lack of memory is queued.** A storage without elements stands for a result that there was no memory for; what is computed from it
//!   has no elements either, and reading it is an error.

mod math;

use math::{binary, binary_i32, compare, in_dtype, nan_last, unary, unary_i32, with_scalars_of};
use minitorch_core::backend::{
    ArgReduceOp, AtIndex, BinaryOp, BinaryOps, CompareOp, CompareOps, ConvOps, CopyOps, Device, IndexOps, LossOps,
    MatmulOps, MemoryStats, NormOps, OptimOps, OutOfRange, PoolOps, QueuedError, RandomOp, RandomOps, ReduceOp,
    ReduceOps, ScanOps, ScatterOp, SoftmaxOps, SortOps, UnaryOp, UnaryOps, ViewOf,
};
use minitorch_core::ops::random::threshold;
use minitorch_core::random::{DeviceRng, Draw, unit_f32};
use minitorch_core::{DType, Error, HostData, HostSlice, Layout, Result, Tensor, f16};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A device that computes with plain loops. The value is a cheap handle: clones are the same device, `Plain::new()` is another.
#[derive(Clone)]
pub struct Plain(Arc<Shared>);

struct Shared {
    id: u64,
    rng: DeviceRng,
    queued: QueuedError,
    live: AtomicU64,
    peak: AtomicU64,
}

impl Plain {
    /// A new device, with seed 0.
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Plain(Arc::new(Shared {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            rng: DeviceRng::default(),
            queued: QueuedError::default(),
            live: AtomicU64::new(0),
            peak: AtomicU64::new(0),
        }))
    }

    /// Storage of this data, counted as the device's memory until it is dropped.
    fn store(&self, data: HostData) -> Storage {
        let bytes = (data.as_slice().len() * data.as_slice().dtype().size()) as u64;
        let live = self.0.live.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.0.peak.fetch_max(live, Ordering::Relaxed);
        Storage { data, bytes, device: self.0.clone() }
    }

    /// The result of an operation: f64 values, each converted as [`CopyOps::cast`] says. Without memory for them the error is queued,
    /// and the storage has no elements.
    fn make(&self, dtype: DType, values: impl Iterator<Item = f64>) -> Storage {
        self.try_make(dtype, values).unwrap_or_else(|error| {
            self.0.queued.queue(error);
            self.missing(dtype)
        })
    }

    /// A storage without elements, for a result that has some.
    fn missing(&self, dtype: DType) -> Storage {
        self.make(dtype, std::iter::empty())
    }

    fn try_make(&self, dtype: DType, values: impl Iterator<Item = f64>) -> Result<Storage> {
        let size = values.size_hint().0;
        let error = || self.out_of_memory(size, dtype);
        Ok(self.store(match dtype {
            DType::F16 => HostData::F16(collect(values.map(f16::from_f64)).ok_or_else(error)?),
            DType::F32 => HostData::F32(collect(values.map(|v| v as f32)).ok_or_else(error)?), // to nearest
            DType::F64 => HostData::F64(collect(values).ok_or_else(error)?),
            DType::I32 => HostData::I32(collect(values.map(|v| v as i32)).ok_or_else(error)?), // truncated, saturated; NaN is 0
            DType::Bool => HostData::Bool(collect(values.map(|v| v != 0.0)).ok_or_else(error)?), // NaN is true
        }))
    }

    fn out_of_memory(&self, len: usize, dtype: DType) -> Error {
        let (bytes, live) = (len.saturating_mul(dtype.size()) as u64, self.0.live.load(Ordering::Relaxed));
        Error::OutOfMemory { device: format!("{self:?}"), bytes, live, reserved: live }
    }

    /// `len` times the same value, for a method that updates its result element by element; `None` as in [`make`](Self::make).
    fn accumulators<T: Clone>(&self, len: usize, value: T, dtype: DType) -> Option<Vec<T>> {
        let all = collect(std::iter::repeat_n(value, len));
        if all.is_none() {
            self.0.queued.queue(self.out_of_memory(len, dtype));
        }
        all
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

/// A vector of any length, unless there is no memory for it.
fn collect<T>(values: impl Iterator<Item = T>) -> Option<Vec<T>> {
    let mut all = Vec::new();
    all.try_reserve_exact(values.size_hint().0).ok()?;
    all.extend(values);
    Some(all)
}

/// Host data of one dtype, counted as its device's memory.
pub struct Storage {
    data: HostData,
    bytes: u64,
    device: Arc<Shared>,
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.device.live.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Storage {
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

/// Whether a layout's elements are missing from the storage: there was no memory for them.
fn is_missing(storage: &Storage, layout: &Layout) -> bool {
    storage.data.as_slice().len() < layout.end()
}

/// A view's elements in the order of its shape; none if they are missing.
fn read<'a>(x: ViewOf<'a, Plain>) -> impl Iterator<Item = f64> + 'a {
    let count = if is_missing(x.storage, x.layout) { 0 } else { x.layout.numel() };
    x.layout.positions().take(count).map(|at| x.storage.get(at))
}

/// A layout of the same shape whose positions are the indices along `dim`.
fn indices_along(layout: &Layout, dim: usize) -> Layout {
    let mut strides = vec![0; layout.shape().len()];
    strides[dim] = 1;
    Layout::new(*layout.shape(), &strides, 0)
}

/// For each element of `index` the position of the first element along `dim` of the row that it selects from: the strides of
/// `layout`, 0 at `dim`, over the index's shape.
fn rows(layout: &Layout, dim: usize, index: &Layout) -> Layout {
    let mut strides = layout.strides().to_vec();
    strides[dim] = 0;
    Layout::new(*index.shape(), &strides, layout.offset())
}

impl Device for Plain {
    type Storage = Storage;

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

    /// All work is done when its method returns.
    fn synchronize(&self) -> Result<()> {
        self.0.queued.check()
    }

    fn take_error(&self) -> Option<Error> {
        self.0.queued.take()
    }
}

impl CopyOps for Plain {
    fn full(&self, dtype: DType, len: usize, value: f64) -> Result<Storage> {
        self.try_make(dtype, std::iter::repeat_n(value, len))
    }

    fn upload(&self, data: HostSlice<'_>) -> Result<Storage> {
        Ok(self.store(match data {
            HostSlice::F16(v) => HostData::F16(v.to_vec()),
            HostSlice::F32(v) => HostData::F32(v.to_vec()),
            HostSlice::F64(v) => HostData::F64(v.to_vec()),
            HostSlice::I32(v) => HostData::I32(v.to_vec()),
            HostSlice::Bool(v) => HostData::Bool(v.to_vec()),
        }))
    }

    fn download(&self, x: ViewOf<'_, Self>) -> Result<HostData> {
        self.synchronize()?;
        if is_missing(x.storage, x.layout) {
            return Err(self.out_of_memory(x.layout.numel(), x.dtype));
        }
        let mut copy = self.try_make(x.dtype, read(x))?;
        Ok(std::mem::replace(&mut copy.data, HostData::Bool(Vec::new()))) // a field cannot be moved out of a type with a Drop
    }

    fn copy(&self, x: ViewOf<'_, Self>) -> Storage {
        self.make(x.dtype, read(x))
    }

    /// `to` and `x` are different storages: the borrow checker makes sure of it.
    fn write(&self, to: &mut Storage, at: &Layout, x: ViewOf<'_, Self>) {
        if is_missing(to, at) {
            return;
        }
        at.positions().zip(read(x)).for_each(|(at, v)| to.set(at, v));
    }

    fn fill(&self, to: &mut Storage, at: &Layout, _: DType, value: f64) {
        if is_missing(to, at) {
            return;
        }
        at.positions().for_each(|at| to.set(at, value));
    }

    fn cast(&self, x: ViewOf<'_, Self>, to: DType) -> Storage {
        self.make(to, read(x))
    }
}

impl UnaryOps for Plain {
    fn unary(&self, op: UnaryOp, x: ViewOf<'_, Self>) -> Storage {
        let op = with_scalars_of(op, x.dtype);
        match x.dtype {
            DType::I32 => self.make(x.dtype, read(x).map(|x| unary_i32(op, x as i32) as f64)),
            _ => self.make(x.dtype, read(x).map(|x| unary(op, x))),
        }
    }
}

impl BinaryOps for Plain {
    fn binary(&self, op: BinaryOp, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Storage {
        let pairs = read(a).zip(read(b));
        match a.dtype {
            DType::I32 => self.make(a.dtype, pairs.map(|(a, b)| binary_i32(op, a as i32, b as i32) as f64)),
            _ => self.make(a.dtype, pairs.map(|(a, b)| binary(op, a, b))),
        }
    }
}

impl CompareOps for Plain {
    fn compare(&self, op: CompareOp, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Storage {
        self.make(DType::Bool, read(a).zip(read(b)).map(|(a, b)| compare(op, a, b) as u8 as f64))
    }

    fn compare_scalar(&self, op: CompareOp, a: ViewOf<'_, Self>, b: f64) -> Storage {
        let b = if a.dtype == DType::F16 { f16::from_f64(b).to_f64() } else { in_dtype(b, a.dtype) };
        self.make(DType::Bool, read(a).map(|a| compare(op, a, b) as u8 as f64))
    }

    fn where_cond(&self, condition: ViewOf<'_, Self>, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Storage {
        let pairs = read(a).zip(read(b));
        self.make(a.dtype, read(condition).zip(pairs).map(|(c, (a, b))| if c != 0.0 { a } else { b }))
    }
}

impl ReduceOps for Plain {
    fn reduce(&self, op: ReduceOp, x: ViewOf<'_, Self>, dims: &[usize]) -> Storage {
        if is_missing(x.storage, x.layout) {
            return self.missing(x.dtype);
        }
        let shape = *x.layout.shape();
        let kept = dims.iter().fold(shape, |kept, &d| kept.with(d, 1));
        // The output broadcast back: for each input element, where its result lies.
        let into = Layout::contiguous(kept).expand(shape);
        if x.dtype == DType::I32 && matches!(op, ReduceOp::Sum | ReduceOp::Prod) {
            // f64 has no wrapping arithmetic.
            let Some(mut out) = self.accumulators(kept.numel(), (op == ReduceOp::Prod) as i32, x.dtype) else {
                return self.missing(x.dtype);
            };
            for (at, x) in into.positions().zip(read(x)) {
                let op = if op == ReduceOp::Sum { BinaryOp::Add } else { BinaryOp::Mul };
                out[at] = binary_i32(op, out[at], x as i32);
            }
            return self.store(HostData::I32(out));
        }
        // The result over no elements, and the operation with each; core rejects an extreme of no elements.
        let (initial, step) = match op {
            ReduceOp::Sum | ReduceOp::Mean => (0.0, BinaryOp::Add),
            ReduceOp::Prod => (1.0, BinaryOp::Mul),
            ReduceOp::Max => (f64::NEG_INFINITY, BinaryOp::Maximum),
            ReduceOp::Min => (f64::INFINITY, BinaryOp::Minimum),
        };
        let Some(mut out) = self.accumulators(kept.numel(), initial, x.dtype) else { return self.missing(x.dtype) };
        for (at, x) in into.positions().zip(read(x)) {
            out[at] = binary(step, out[at], x);
        }
        let count: usize = dims.iter().map(|&d| shape[d]).product();
        let scale = if op == ReduceOp::Mean { count as f64 } else { 1.0 };
        self.make(x.dtype, out.into_iter().map(|x| x / scale)) // over no elements 0 / 0: NaN
    }

    fn arg_reduce(&self, op: ArgReduceOp, x: ViewOf<'_, Self>, dim: usize) -> Storage {
        let kept = x.layout.shape().with(dim, 1);
        let into = Layout::contiguous(kept).expand(*x.layout.shape());
        if is_missing(x.storage, x.layout) {
            return self.missing(DType::I32);
        }
        let mut best: Vec<Option<(f64, usize)>> = match self.accumulators(kept.numel(), None, DType::I32) {
            Some(best) => best,
            None => return self.missing(DType::I32),
        };
        for ((at, x), k) in into.positions().zip(read(x)).zip(indices_along(x.layout, dim).positions()) {
            let better = match (best[at], op) {
                (None, _) => true,
                (Some((best, _)), _) if best.is_nan() => false, // the first NaN stays
                (Some((best, _)), ArgReduceOp::ArgMax) => x > best || x.is_nan(), // ties: the first index
                (Some((best, _)), ArgReduceOp::ArgMin) => x < best || x.is_nan(),
            };
            if better {
                best[at] = Some((x, k));
            }
        }
        self.make(DType::I32, best.into_iter().map(|best| best.map_or(0.0, |(_, k)| k as f64)))
    }
}

impl MatmulOps for Plain {
    fn matmul(&self, a: ViewOf<'_, Self>, b: ViewOf<'_, Self>) -> Storage {
        let rank = a.layout.shape().len();
        let (m, k, n) = (a.layout.shape()[rank - 2], a.layout.shape()[rank - 1], b.layout.shape()[rank - 1]);
        // Where each matrix of the batch starts.
        let batch = |layout: &Layout| layout.remove(rank - 1).remove(rank - 2);
        let step = |layout: &Layout| [layout.strides()[rank - 2], layout.strides()[rank - 1]];
        let ([a_row, a_column], [b_row, b_column]) = (step(a.layout), step(b.layout));
        if is_missing(a.storage, a.layout) || is_missing(b.storage, b.layout) {
            return self.missing(a.dtype);
        }
        let starts: Vec<(usize, usize)> = batch(a.layout).positions().zip(batch(b.layout).positions()).collect();
        let element = |at: usize| {
            let ((a_at, b_at), i, j) = (starts[at / (m * n)], at / n % m, at % n);
            let term =
                |l| a.storage.get(a_at + i * a_row + l * a_column) * b.storage.get(b_at + l * b_row + j * b_column);
            (0..k).map(term).fold(0.0, |sum, product| sum + product)
        };
        self.make(a.dtype, (0..starts.len() * m * n).map(element))
    }
}

impl IndexOps for Plain {
    fn gather(&self, x: ViewOf<'_, Self>, at: AtIndex<'_, Storage>) -> Result<Storage, OutOfRange> {
        let (bound, stride) = (x.layout.shape()[at.dim], x.layout.strides()[at.dim]);
        if is_missing(x.storage, x.layout) {
            return Ok(self.missing(x.dtype));
        }
        check_indices(at.index, bound)?;
        let rows = rows(x.layout, at.dim, at.index.layout);
        let out = rows.positions().zip(read(at.index)).map(|(row, k)| x.storage.get(row + k as usize * stride));
        Ok(self.make(x.dtype, out))
    }

    fn scatter(
        &self,
        op: ScatterOp,
        to: &mut Storage,
        layout: &Layout,
        AtIndex { dim, index, .. }: AtIndex<'_, Storage>,
        x: ViewOf<'_, Self>,
    ) -> Result<(), OutOfRange> {
        let (bound, stride) = (layout.shape()[dim], layout.strides()[dim]);
        if is_missing(to, layout) || is_missing(index.storage, index.layout) || is_missing(x.storage, x.layout) {
            return Ok(());
        }
        check_indices(index, bound)?;
        // Sums are f64 and rounded once at the end; a sum of i32 numbers is exact.
        let mut sums: Vec<f64> = (0..layout.numel()).map(|at| to.get(at)).collect();
        let rows = rows(layout, dim, index.layout);
        for ((row, k), x) in rows.positions().zip(read(index)).zip(read(x)) {
            let at = row + k as usize * stride;
            match op {
                ScatterOp::Add => sums[at] += x,
                ScatterOp::Set => sums[at] = x, // in row-major order: the last stays
            }
        }
        let wrap = |x: f64| if x.abs() < 9e15 { x as i64 as i32 as f64 } else { x };
        for (at, sum) in sums.into_iter().enumerate() {
            to.set(at, if x.dtype == DType::I32 { wrap(sum) } else { sum });
        }
        Ok(())
    }
}

/// The first index outside of `0..bound`, as an error.
fn check_indices(index: ViewOf<'_, Plain>, bound: usize) -> Result<(), OutOfRange> {
    let bad = read(index).find(|index| !(0.0..bound as f64).contains(index));
    bad.map_or(Ok(()), |index| Err(OutOfRange { index: index as i64, bound: bound as u64 }))
}

impl RandomOps for Plain {
    fn random(&self, op: RandomOp, dtype: DType, len: usize, draw: Draw) -> Storage {
        let value = |bits: u32| match op {
            RandomOp::Bits => bits as i32 as f64,
            RandomOp::Uniform => unit_f32(bits) as f64,
            RandomOp::Keep(p) => (bits as u64 >= threshold(p)) as u8 as f64,
        };
        self.make(dtype, (0..len as u64).map(|i| value(draw.word(i))))
    }
}

/// The default compares all pairs: too many for long rows.
impl SortOps for Plain {
    fn argsort(&self, x: &Tensor<Self>, dim: usize, descending: bool, k: usize) -> Tensor<Self> {
        let (storage, layout, shape) = (x.view().storage, x.layout(), x.shape().with(dim, k));
        let out = Layout::contiguous(shape);
        let result = |storage| Tensor::from_storage(self, storage, DType::I32, shape);
        if is_missing(storage, layout) {
            return result(self.missing(DType::I32));
        }
        let Some(mut indices) = self.accumulators(shape.numel(), 0, DType::I32) else {
            return result(self.missing(DType::I32));
        };
        for (from, to) in layout.remove(dim).positions().zip(out.remove(dim).positions()) {
            let element = |i: usize| storage.get(from + i * layout.strides()[dim]);
            let mut order: Vec<usize> = (0..x.shape()[dim]).collect();
            // A stable sort: equal elements stay in order, descending too.
            order.sort_by(|&a, &b| match descending {
                false => nan_last(element(a), element(b)),
                true => nan_last(element(b), element(a)),
            });
            for (i, &index) in order[..k].iter().enumerate() {
                indices[to + i * out.strides()[dim]] = index as i32;
            }
        }
        result(self.store(HostData::I32(indices)))
    }
}

// Families of fused methods: the defaults compose the families above.
impl ConvOps for Plain {}
impl PoolOps for Plain {}
impl SoftmaxOps for Plain {}
impl NormOps for Plain {}
impl ScanOps for Plain {}
impl LossOps for Plain {}
impl OptimOps for Plain {}
