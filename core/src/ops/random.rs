//! Random tensors and dropout. Each call takes one draw of the device's random state.

use crate::backend::{Backend, Device};
use crate::create::{from_f64, from_vec, i32_range, on_host};
use crate::dtype::DType;
use crate::index::Int;
use crate::random::Draw;
use crate::shape::Shape;
use crate::tensor::fused::linear_map;
use crate::tensor::{Placement, Tensor};
use std::iter::repeat_with;
use std::ops::Range;

/// How an element's 32 random bits become its value.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum RandomOp {
    /// The bits themselves, as I32.
    Bits,
    /// [`unit_f32`](crate::random::unit_f32) of the bits: uniform in [0, 1). Floats; an F64 has 24 random bits too, so
    /// that all dtypes see the same numbers.
    Uniform,
    /// True if the bits, as an unsigned number, are at least [`threshold`]`(p)`: false with probability p. Bool.
    Keep(f64),
}

/// Random elements and dropout. See the [contract](crate::backend).
pub trait RandomOps: Device {
    /// `len` random elements of one draw; element i takes word `i % 4` of Philox block `i / 4`.
    fn random(&self, op: RandomOp, dtype: DType, len: usize, draw: Draw) -> Self::Storage;

    /// `x / (1 - p)` where the draw's 32 bits are at least `p 2^32`, else 0; the same call on a gradient is its gradient.
    fn dropout(&self, x: &Tensor<Self>, p: f64, draw: Draw) -> Tensor<Self>
    where
        Self: Backend,
    {
        composed::dropout(x, p, draw)
    }
}

/// `p 2^32`, rounded: an element is dropped if its bits are below it. At p = 1 all are, at p = 0 none.
pub fn threshold(p: f64) -> u64 {
    (p * 4_294_967_296.0).round() as u64
}

impl<B: Backend> Tensor<B> {
    fn random(op: RandomOp, dtype: DType, shape: Shape, device: &B) -> Self {
        let storage = device.random(op, dtype, shape.numel(), device.rng().draw());
        Tensor::from_storage(device, storage, dtype, shape)
    }

    /// Uniform numbers in [0, 1); in F16 multiples of 2^-11. The same seed gives the same numbers on every backend. PyTorch:
    /// `rand`.
    ///
    /// # Panics
    /// If the placement's dtype is not a float.
    #[track_caller]
    pub fn rand(shape: impl Into<Shape>, place: impl Placement<B>) -> Self {
        let (device, dtype) = place.place("rand");
        assert!(dtype.is_float(), "rand: wants a float dtype, not {dtype}");
        if dtype == DType::F16 {
            // Rounded down: the nearest F16 might be 1.
            let steps = Self::random(RandomOp::Uniform, DType::F32, shape.into(), &device) * 2048.0;
            return (steps.floor() * (1.0 / 2048.0)).cast(DType::F16);
        }
        Self::random(RandomOp::Uniform, dtype, shape.into(), &device)
    }

    /// Standard normal numbers, computed on the host in f64 (Box and Muller) and rounded once, so that every backend
    /// gets the same. PyTorch: `randn`.
    ///
    /// # Panics
    /// If the placement's dtype is not a float.
    #[track_caller]
    pub fn randn(shape: impl Into<Shape>, place: impl Placement<B>) -> Self {
        let (device, dtype) = place.place("randn");
        assert!(dtype.is_float(), "randn: wants a float dtype, not {dtype}");
        let shape = shape.into();
        let mut generator = device.rng().draw().generator();
        let pairs = (0..shape.numel().div_ceil(2)).flat_map(|_| generator.normal_pair());
        from_f64("randn", pairs.take(shape.numel()), shape, &device, dtype)
    }

    /// [`rand`](Self::rand) of this tensor's shape, dtype and device. PyTorch: `rand_like`.
    ///
    /// # Panics
    /// If the dtype is not a float.
    #[track_caller]
    pub fn rand_like(&self) -> Self {
        assert!(self.dtype().is_float(), "rand_like: wants a float dtype, not {}", self.dtype());
        Tensor::rand(*self.shape(), (self.device(), self.dtype()))
    }

    /// [`randn`](Self::randn) of this tensor's shape, dtype and device. PyTorch: `randn_like`.
    ///
    /// # Panics
    /// If the dtype is not a float.
    #[track_caller]
    pub fn randn_like(&self) -> Self {
        assert!(self.dtype().is_float(), "randn_like: wants a float dtype, not {}", self.dtype());
        Tensor::randn(*self.shape(), (self.device(), self.dtype()))
    }

    /// Integers of a range, all with the same probability, as I32; computed on the host, so that every backend gets the same.
    /// PyTorch: `randint`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let dice = Tensor::randint(1..7, [100], &device);
    /// assert!(dice.ge(1).logical_and(&dice.le(6)).all(..).item()? == 1.0);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If the range is empty and the shape is not, an end of the range does not fit I32, or there is no memory.
    #[track_caller]
    pub fn randint(range: Range<impl Int>, shape: impl Into<Shape>, device: &B) -> Self {
        let (range, shape) = (i32_range("randint", range), shape.into());
        let mut generator = device.rng().draw().generator();
        assert!(!range.is_empty() || shape.numel() == 0, "randint: the range {range:?} is empty");
        let count = (range.end as i64 - range.start as i64).max(0) as u32;
        let draw = || (range.start as i64 + generator.below(count) as i64) as i32;
        from_vec("randint", on_host("randint", repeat_with(draw).take(shape.numel()), shape.numel()), shape, device)
    }

    /// 32 random bits per element, as I32.
    #[track_caller]
    pub fn rand_bits(shape: impl Into<Shape>, device: &B) -> Self {
        Self::random(RandomOp::Bits, DType::I32, shape.into(), device)
    }

    /// True with probability `p`. PyTorch: `bernoulli` of a constant.
    ///
    /// # Panics
    /// If `p` is not in [0, 1].
    #[track_caller]
    pub fn rand_bool(shape: impl Into<Shape>, p: f64, device: &B) -> Self {
        assert!((0.0..=1.0).contains(&p), "rand_bool: the probability {p} is not in [0, 1]");
        Self::random(RandomOp::Keep(1.0 - p), DType::Bool, shape.into(), device)
    }

    /// Sets each element to 0 with probability `p` and divides the others by `1 - p`, which preserves the mean. NaN and infinite
    /// elements become 0 too, where PyTorch gives NaN. The mask is one draw of the device; the backward pass computes it again
    /// instead of storing it. PyTorch: `dropout(training=True)`.
    ///
    /// # Panics
    /// If `p` is not in [0, 1] or the tensor is not of a float dtype.
    #[track_caller]
    pub fn dropout(&self, p: f64) -> Self {
        assert!((0.0..=1.0).contains(&p), "dropout: the probability {p} is not in [0, 1]");
        assert!(self.dtype().is_float(), "dropout: wants a float dtype, not {}", self.dtype());
        if p == 0.0 {
            return self.clone();
        }
        dropout(self, p, self.device().rng().draw())
    }

    /// [`dropout`](Self::dropout) of whole channels of `[n, c, ..]`: all elements of a channel of one image are kept or dropped
    /// together. PyTorch: `dropout2d`.
    ///
    /// # Panics
    /// If `p` is not in [0, 1], the rank is below 2 or the tensor is not of a float dtype.
    #[track_caller]
    pub fn dropout2d(&self, p: f64) -> Self {
        assert!((0.0..=1.0).contains(&p), "dropout2d: the probability {p} is not in [0, 1]");
        assert!(self.dtype().is_float(), "dropout2d: wants a float dtype, not {}", self.dtype());
        assert!(self.rank() >= 2, "dropout2d: wants a tensor [n, c, ..], not {:?}", self.shape());
        if p == 0.0 {
            return self.clone();
        }
        let channels = (2..self.rank()).fold(*self.shape(), |shape, d| shape.with(d, 1));
        let factor = self.scalar_like(1.0).expand(channels).dropout(p);
        // Selected, not multiplied: 0 times infinity or NaN would be NaN.
        (self * &factor).masked_fill(&factor.eq(0.0), 0.0)
    }
}

/// Linear in x for a given draw: the gradient is the same map.
fn dropout<B: Backend>(x: &Tensor<B>, p: f64, draw: Draw) -> Tensor<B> {
    linear_map("dropout", x, |x| x.device().dropout(x, p, draw), move |g| dropout(g, p, draw))
}

/// The default implementation.
pub mod composed {
    use super::*;

    /// [`RandomOps::dropout`] as tensor operations.
    pub fn dropout<B: Backend>(x: &Tensor<B>, p: f64, draw: Draw) -> Tensor<B> {
        let keep = x.device().random(RandomOp::Keep(p), DType::Bool, x.numel(), draw);
        let keep = Tensor::from_storage(x.device(), keep, DType::Bool, *x.shape());
        let scale = if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 };
        // Selected, not multiplied: 0 times infinity or NaN would be NaN.
        Tensor::where_cond(&keep, &(x * scale), &x.scalar_like(0.0))
    }
}
