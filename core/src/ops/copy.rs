//! Joining and padding: results written piece by piece into one storage.

use crate::autodiff::{parents, record};
use crate::backend::{Backend, Device, ViewOf};
use crate::dtype::{DType, HostData, HostSlice};
use crate::error::{Result, must};
use crate::index::wrap_dim;
use crate::layout::Layout;
use crate::tensor::Tensor;

/// What [`Tensor::pad_with`] lays around a tensor.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum PadMode {
    /// One value.
    Constant(f64),
    /// The tensor mirrored at its edge entries, which are not repeated: `c b | a b c | b a`.
    Reflect,
    /// The edge entries again: `a a | a b c | c c`.
    Replicate,
    /// The tensor again from its other end: `b c | a b c | a b`.
    Circular,
}

/// Allocation, transfers, copies, fills and conversions. See the [contract](crate::backend).
pub trait CopyOps: Device {
    /// A buffer of `len` elements, all `value` (converted as by [`cast`](CopyOps::cast)).
    fn full(&self, dtype: DType, len: usize, value: f64) -> Result<Self::Storage>;

    /// A buffer with the host's data.
    fn upload(&self, data: HostSlice<'_>) -> Result<Self::Storage>;

    /// The view's elements, in the order of its shape; reports failures as [`synchronize`](Device::synchronize) does.
    fn download(&self, x: ViewOf<'_, Self>) -> Result<HostData>;

    /// The view's elements in a buffer of their own.
    fn copy(&self, x: ViewOf<'_, Self>) -> Self::Storage;

    /// Writes `x` into the part of `to` that `at` shows; one dtype, one shape.
    fn write(&self, to: &mut Self::Storage, at: &Layout, x: ViewOf<'_, Self>);

    /// Sets the part of `to` that `at` shows to `value`.
    fn fill(&self, to: &mut Self::Storage, at: &Layout, dtype: DType, value: f64);

    /// Converts. Float to float rounds to nearest; float to integer truncates towards zero and saturates, NaN becomes 0;
    /// to bool is "not equal to 0" (NaN is true); bool becomes 0 or 1.
    fn cast(&self, x: ViewOf<'_, Self>, to: DType) -> Self::Storage;
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

impl<B: Backend> Tensor<B> {
    /// Joins tensors along an existing dimension. PyTorch: `cat`.
    ///
    /// # Panics
    /// If there are none, shapes (but for `dim`), dtypes or devices differ, or the result has too many elements.
    #[track_caller]
    pub fn cat(tensors: &[Self], dim: isize) -> Self {
        let Some(first) = tensors.first() else { panic!("cat: no tensors were given") };
        let d = must(wrap_dim("cat", dim, first.rank()));
        for x in tensors {
            first.check_same("cat", x);
            assert!(
                x.shape().equals_but_for(d, first.shape()),
                "cat: {:?} and {:?} differ in more than dimension {d}",
                first.shape(),
                x.shape()
            );
        }
        if tensors.len() == 1 {
            return first.clone();
        }
        let size = tensors.iter().try_fold(0usize, |sum, x| sum.checked_add(x.shape()[d]));
        let Some(shape) = size.and_then(|size| first.shape().try_with(d, size)) else {
            panic!("cat: {} tensors like {:?} along dimension {d} have too many elements", tensors.len(), first.shape())
        };
        let mut out = first.zeros_of(shape);
        let mut start = 0;
        for x in tensors {
            let at = out.layout().narrow(d, start, x.shape()[d]);
            out.write_at(at, x);
            start += x.shape()[d];
        }
        // Pairwise, so that a rule has a fixed number of inputs: each tensor is recorded as written into the rest.
        let mut recorded = out;
        let mut start = 0;
        for x in tensors {
            let len = x.shape()[d];
            if let Some(parents) = parents([&recorded, x]) {
                recorded = record("cat", recorded, parents, move |g, wants| {
                    [wants[0].then(|| g.clone()), wants[1].then(|| g.narrow(d as isize, start, len))]
                });
            }
            start += len;
        }
        recorded
    }

    /// Joins tensors of one shape along a new dimension. PyTorch: `stack`.
    ///
    /// # Panics
    /// If there are none, or shapes, dtypes or devices differ.
    #[track_caller]
    pub fn stack(tensors: &[Self], dim: isize) -> Self {
        let Some(first) = tensors.first() else { panic!("stack: no tensors were given") };
        for x in tensors {
            assert!(x.shape() == first.shape(), "stack: the shapes {:?} and {:?} differ", first.shape(), x.shape());
        }
        let (at, count) = (must(wrap_dim("stack", dim, first.rank() + 1)), tensors.len());
        if first.shape().insert(at, 1).try_with(at, count).is_none() {
            panic!("stack: {count} tensors like {:?} have too many elements", first.shape());
        }
        let rows: Vec<_> = tensors.iter().map(|x| x.unsqueeze(dim)).collect();
        Tensor::cat(&rows, dim)
    }

    /// Lays `before` and `after` elements of `value` around each of the last N dimensions. PyTorch: `pad`, whose list
    /// starts at the last dimension.
    ///
    /// # Panics
    /// If there are more pairs than dimensions, or the result has too many elements.
    #[track_caller]
    pub fn pad<const N: usize>(&self, around: [(usize, usize); N], value: f64) -> Self {
        assert!(N <= self.rank(), "pad: {N} pairs for the shape {:?}", self.shape());
        if around.iter().all(|&pair| pair == (0, 0)) {
            return self.clone();
        }
        let first = self.rank() - N;
        let mut shape = *self.shape();
        for (i, pair) in around.into_iter().enumerate() {
            let size = padded("pad", self.shape()[first + i], pair);
            let Some(larger) = shape.try_with(first + i, size) else {
                panic!("pad: {:?} padded by {around:?} has too many elements", self.shape())
            };
            shape = larger;
        }
        let mut at = Layout::contiguous(shape);
        for (i, (before, _)) in around.into_iter().enumerate() {
            at = at.narrow(first + i, before, self.shape()[first + i]);
        }
        let mut out = Tensor::full(shape, value, (self.device(), self.dtype()));
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

    /// Lays `before` and `after` elements around each of the last N dimensions, as the mode says; any dtype. In the corners
    /// of several dimensions the mode is applied to what it made of the ones before. PyTorch: `pad(mode=..)`, whose list
    /// starts at the last dimension.
    ///
    /// ```
    /// # use minitorch_conformance::doc::*;
    /// let x = Tensor::new([1, 2, 3], &device());
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
            return self.pad(around, value);
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
            x = x.taken("pad_with", d, (0..len).map(|at| source(at as isize - before) as usize), len);
        }
        x
    }

    /// [`pad`](Self::pad) of an image's height and width, the same on both sides.
    pub(crate) fn pad2d(&self, padding: [usize; 2], value: f64) -> Self {
        self.pad(padding.map(|p| (p, p)), value)
    }

    /// Row `i` is 1 at `self[i]` and 0 elsewhere, in `classes` columns after the tensor's own dimensions. An index outside
    /// `0..classes` gives a row of zeros and is an error at the next read. PyTorch: `one_hot`.
    ///
    /// # Panics
    /// If the tensor is not I32 or the dtype is unsupported.
    #[track_caller]
    pub fn one_hot(&self, classes: usize, dtype: DType) -> Self {
        assert!(self.dtype() == DType::I32, "one_hot: wants I32 indices, not {}", self.dtype());
        let Some(shape) = self.shape().insert(self.rank(), 1).try_with(self.rank(), classes) else {
            panic!("one_hot: {classes} classes for {:?} are too many elements", self.shape())
        };
        let zeros = Tensor::full(shape, 0.0, (self.device(), dtype));
        let ones = Tensor::full([], 1.0, (self.device(), dtype));
        let index = self.unsqueeze(-1);
        zeros.scatter_add(self.rank() as isize, &index, &ones.expand(*index.shape()))
    }
}
