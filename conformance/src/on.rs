//! The place where a body runs: a device, the dtype of its float inputs, and a stream of deterministic inputs in every layout.

use crate::plain::Plain;
use minitorch_core::random::{Draw, unit_f32};
use minitorch_core::{Backend, DType, MAX_RANK, Shape, Tensor};
use std::cell::Cell;

/// The device that a body runs on. Each input takes the next draw of the case's stream, so two runs of a body have equal inputs.
/// Inputs are exact in f32 whatever the dtype.
pub struct On<B: Backend> {
    /// The device.
    pub device: B,
    /// The dtype of float inputs.
    pub dtype: DType,
    /// The seed of the inputs, which failures print.
    pub seed: u64,
    next: Cell<u64>,
}

impl<B: Backend> On<B> {
    /// The start of a seed's stream.
    pub fn new(device: B, dtype: DType, seed: u64) -> Self {
        On { device, dtype, seed, next: Cell::new(0) }
    }

    /// The same device at the same position of the stream.
    pub fn again(&self) -> On<B> {
        On { next: self.next.clone(), ..On::new(self.device.clone(), self.dtype, self.seed) }
    }

    /// The oracle at the same position of the stream: Plain, in f64 whatever dtype is under test.
    pub fn oracle(&self) -> On<Plain> {
        On { next: self.next.clone(), ..On::new(Plain::new(), DType::F64, self.seed) }
    }

    /// Skips the draws that a body may have taken on a copy of this place.
    pub fn advance(&self) {
        self.next.set((self.next.get() / 1000 + 1) * 1000);
    }

    /// The words of the next draw.
    pub fn words(&self, len: usize) -> impl Iterator<Item = u32> {
        let draw = Draw { seed: self.seed, index: self.next.replace(self.next.get() + 1) };
        (0..len.div_ceil(4) as u64).flat_map(move |block| draw.block(block)).take(len)
    }

    /// A float tensor of this place's dtype with these elements.
    #[track_caller]
    pub fn list(&self, values: &[f64], shape: impl Into<Shape>) -> Tensor<B> {
        Tensor::from_f64(values.iter().copied(), shape, (&self.device, self.dtype))
    }

    /// A vector that repeats these values. A long one reaches a backend's full SIMD registers and its remainder loop.
    #[track_caller]
    pub fn cycle(&self, values: &[f64], len: usize) -> Tensor<B> {
        let values: Vec<f64> = values.iter().copied().cycle().take(len).collect();
        self.list(&values, len)
    }

    /// Uniform numbers in `low..high`.
    #[track_caller]
    pub fn uniform(&self, low: f64, high: f64, shape: impl Into<Shape>) -> Tensor<B> {
        let shape = shape.into();
        let scale = |word: u32| (low + (high - low) * unit_f32(word) as f64) as f32 as f64;
        let values: Vec<f64> = self.words(shape.numel()).map(scale).collect();
        self.list(&values, shape)
    }

    /// Uniform numbers in [-3, 3), of which about one in sixteen is replaced by zero.
    #[track_caller]
    pub fn mixed(&self, shape: impl Into<Shape>) -> Tensor<B> {
        let shape = shape.into();
        let value = |word: u32| if word.is_multiple_of(16) { 0.0 } else { (6.0 * unit_f32(word) - 3.0) as f64 };
        let values: Vec<f64> = self.words(shape.numel()).map(value).collect();
        self.list(&values, shape)
    }

    /// Integers in `low..high` in this place's float dtype: values repeat, so extremes tie.
    #[track_caller]
    pub fn whole(&self, low: i32, high: i32, shape: impl Into<Shape>) -> Tensor<B> {
        let shape = shape.into();
        let values: Vec<f64> = self.integers(low, high, shape.numel()).into_iter().map(f64::from).collect();
        self.list(&values, shape)
    }

    /// I32 numbers in `low..high`.
    #[track_caller]
    pub fn ints(&self, low: i32, high: i32, shape: impl Into<Shape>) -> Tensor<B> {
        let shape = shape.into();
        Tensor::from_slice(&self.integers(low, high, shape.numel()), shape, &self.device)
    }

    fn integers(&self, low: i32, high: i32, len: usize) -> Vec<i32> {
        let span = (high as i64 - low as i64) as u64;
        self.words(len).map(|word| (low as i64 + ((word as u64 * span) >> 32) as i64) as i32).collect()
    }

    /// Booleans, half of them true.
    #[track_caller]
    pub fn mask(&self, shape: impl Into<Shape>) -> Tensor<B> {
        let shape = shape.into();
        let values: Vec<bool> = self.words(shape.numel()).map(|word| word % 2 == 0).collect();
        Tensor::from_slice(&values, shape, &self.device)
    }

    /// [`uniform`](On::uniform) numbers in a layout of this kind.
    #[track_caller]
    pub fn laid(&self, lay: Lay, low: f64, high: f64, shape: impl Into<Shape>) -> Tensor<B> {
        lay.view(shape.into(), |shape| self.uniform(low, high, shape))
    }
}

/// Every ordered pair of these items.
pub(crate) fn pairs<T: Copy>(of: impl IntoIterator<Item = T>) -> impl Iterator<Item = (T, T)> {
    let all: Vec<T> = of.into_iter().collect();
    (0..all.len() * all.len()).map(move |i| (all[i / all.len()], all[i % all.len()]))
}

/// A kind of layout: how a tensor of a given shape may lie in its storage.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Lay {
    /// Contiguous from offset 0.
    Whole,
    /// Column-major: all dimensions reversed.
    Reversed,
    /// A block within a larger tensor: an offset and gaps.
    Sliced,
    /// Every second element: an innermost stride of 2.
    Stepped,
    /// This dimension is broadcast: stride 0.
    Broadcast(usize),
    /// All dimensions are broadcast: one element.
    Constant,
}

impl Lay {
    /// Every kind that a tensor of this rank can have.
    pub fn all(rank: usize) -> Vec<Lay> {
        let mut all = vec![Lay::Whole, Lay::Reversed, Lay::Sliced, Lay::Constant];
        if rank < MAX_RANK {
            all.push(Lay::Stepped);
        }
        all.extend((0..rank).map(Lay::Broadcast));
        all
    }

    /// A tensor of this shape in this layout; `make` returns the tensor that it is a view of.
    pub fn view<B: Backend>(self, shape: Shape, make: impl FnOnce(Shape) -> Tensor<B>) -> Tensor<B> {
        let rank = shape.len();
        let reversed = |x: Tensor<B>| (0..rank / 2).fold(x, |x, d| x.transpose(d as isize, (rank - 1 - d) as isize));
        match self {
            Lay::Whole => make(shape),
            Lay::Reversed => {
                let sizes: Vec<usize> = shape.iter().rev().copied().collect();
                reversed(make(Shape::new(&sizes)))
            }
            Lay::Sliced => {
                let larger: Vec<usize> = shape.iter().map(|n| n + 3).collect();
                let base = make(Shape::new(&larger));
                (0..rank).fold(base, |x, d| x.narrow(d as isize, 1 + d % 2, shape[d]))
            }
            Lay::Stepped => make(shape.insert(rank, 2)).narrow(-1, 1, 1).squeeze(-1),
            Lay::Broadcast(d) => make(shape.with(d, 1)).expand(shape),
            Lay::Constant => make(Shape::default()).expand(shape),
        }
    }
}
