//! Padding of the last dimensions: by a value, or by elements of the tensor.

use crate::autodiff::parents;
use crate::backend::Backend;
use crate::create::filled;
use crate::layout::Layout;
use crate::tensor::Tensor;

/// How [`Tensor::pad_with`] fills the padding.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum PadMode {
    /// With one value.
    Constant(f64),
    /// Mirrored at the edge entries, which are not repeated: `c b | a b c | b a`.
    Reflect,
    /// With copies of the edge entry: `a a | a b c | c c`.
    Replicate,
    /// From the opposite end: `b c | a b c | a b`.
    Circular,
}

impl<B: Backend> Tensor<B> {
    /// Adds `before` and `after` elements of `value` at the ends of each of the last N dimensions. PyTorch: `pad`, whose list
    /// starts at the last dimension.
    ///
    /// # Panics
    /// If there are more pairs than dimensions, or the result has too many elements.
    #[track_caller]
    pub fn pad<const N: usize>(&self, around: [(usize, usize); N], value: f64) -> Self {
        self.padded("pad", around, value)
    }

    #[track_caller]
    fn padded<const N: usize>(&self, op: &str, around: [(usize, usize); N], value: f64) -> Self {
        assert!(N <= self.rank(), "{op}: {N} pairs for the shape {:?}", self.shape());
        if around.iter().all(|&pair| pair == (0, 0)) {
            return self.clone();
        }
        let first = self.rank() - N;
        let mut shape = *self.shape();
        for (i, pair) in around.into_iter().enumerate() {
            let size = padded(op, self.shape()[first + i], pair);
            let Some(larger) = shape.try_with(first + i, size) else {
                panic!("{op}: {:?} padded by {around:?} has too many elements", self.shape())
            };
            shape = larger;
        }
        let mut at = Layout::contiguous(shape);
        for (i, (before, _)) in around.into_iter().enumerate() {
            at = at.narrow(first + i, before, self.shape()[first + i]);
        }
        let mut out = filled(op, shape, value, (self.device(), self.dtype()));
        out.write_at(at, self);
        out.recorded("pad", parents([self]), move |g| {
            let mut g = g.clone();
            for (i, (before, after)) in around.into_iter().enumerate() {
                let d = first + i;
                g = g.narrow(d as isize, before, g.shape()[d] - before - after);
            }
            g
        })
    }

    /// Adds `before` and `after` elements at the ends of each of the last N dimensions, as the mode says; any dtype. Dimensions
    /// are padded in order, each including the padding of those before it. PyTorch: `pad(mode=..)`, whose list starts at the last
    /// dimension.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let x = Tensor::new([1, 2, 3], &device);
    /// assert_eq!(x.pad_with([(2, 1)], PadMode::Reflect).to_vec::<i32>()?, [3, 2, 1, 2, 3, 2]);
    /// assert_eq!(x.pad_with([(2, 1)], PadMode::Replicate).to_vec::<i32>()?, [1, 1, 1, 2, 3, 3]);
    /// assert_eq!(x.pad_with([(2, 1)], PadMode::Circular).to_vec::<i32>()?, [2, 3, 1, 2, 3, 1]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If there are more pairs than dimensions; or the padding of one side is not smaller than the dimension
    /// (`Reflect`), is larger than it (`Circular`), or has nothing to repeat (`Replicate`); or the result has
    /// too many elements.
    #[track_caller]
    pub fn pad_with<const N: usize>(&self, around: [(usize, usize); N], mode: PadMode) -> Self {
        if let PadMode::Constant(value) = mode {
            return self.padded("pad_with", around, value);
        }
        assert!(N <= self.rank(), "pad_with: {N} pairs for the shape {:?}", self.shape());
        let mut x = self.clone();
        for (i, (before, after)) in around.into_iter().enumerate().filter(|&(_, pair)| pair != (0, 0)) {
            let d = self.rank() - N + i;
            let size = self.shape()[d];
            let (largest, what) = match mode {
                PadMode::Reflect => (size.saturating_sub(1), "smaller than the dimension"),
                PadMode::Circular => (size, "at most the dimension"),
                _ => (if size == 0 { 0 } else { usize::MAX }, "0 where there is nothing to repeat"),
            };
            assert!(
                before.max(after) <= largest,
                "pad_with: {mode:?} padding {:?} of dimension {d} of {:?} must be {what}",
                (before, after),
                self.shape()
            );
            let len = padded("pad_with", size, (before, after));
            let (size, before) = (size as isize, before as isize);
            let source = |at: isize| match mode {
                PadMode::Reflect => (size - 1) - ((size - 1) - at.abs()).abs(),
                PadMode::Circular => at.rem_euclid(size),
                _ => at.clamp(0, size - 1),
            };
            x = x.select_computed("pad_with", d, (0..len).map(|at| source(at as isize - before) as usize), len);
        }
        x
    }

    /// [`pad`](Self::pad) of an image's height and width, equal at both ends.
    pub(crate) fn pad2d(&self, padding: [usize; 2], value: f64) -> Self {
        self.pad(padding.map(|p| (p, p)), value)
    }
}

/// The size of a padded dimension.
#[track_caller]
fn padded(op: &str, size: usize, (before, after): (usize, usize)) -> usize {
    match size.checked_add(before).and_then(|sum| sum.checked_add(after)).filter(|&sum| sum <= isize::MAX as usize / 8)
    {
        Some(sum) => sum,
        None => panic!("{op}: a padding of {before} and {after} makes a dimension of {size} too large"),
    }
}
