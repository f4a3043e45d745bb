//! Rearrangement: assignment to parts (`assign.rs`), splitting, concatenation, permutation, repetition, padding (`pad.rs`), windows
//! and triangles. All are composed of the other families' views, writes and gathers; none has a kernel of its own.

mod assign;
mod pad;

pub use pad::PadMode;

use crate::autodiff::{parents, record};
use crate::backend::Backend;
use crate::create::on_host;
use crate::error::must;
use crate::index::{DimSet, Dims, Int, IntList, wrap_dim};
use crate::layout::Layout;
use crate::shape::{MAX_RANK, Shape, misfit};
use crate::tensor::Tensor;

/// Which of [`Tensor::meshgrid`]'s dimensions the first tensor varies along.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Indexing {
    /// The first along dimension 0, the second along dimension 1: rows, then columns, as a matrix is indexed.
    Ij,
    /// The first along dimension 1, the second along dimension 0: x to the right, y down, as a picture is drawn.
    Xy,
}

// ---- splitting ----
impl<B: Backend> Tensor<B> {
    /// Chunks of `size` entries along one dimension, the last one smaller if `size` does not divide the dimension; views. A
    /// dimension of size 0 gives one empty chunk. PyTorch: `split(size)`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let chunks = Tensor::arange(0..5, &device).split(2, 0);
    /// assert_eq!(chunks.len(), 3);
    /// assert_eq!(chunks[2].to_vec::<i32>()?, [4]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If the dimension is out of range, `size` is 0 and the dimension's is not, or there is no memory for so many chunks.
    #[track_caller]
    pub fn split(&self, size: usize, dim: impl Int) -> Vec<Self> {
        let d = must(wrap_dim("split", dim, self.rank()));
        let whole = self.shape()[d];
        assert!(size > 0 || whole == 0, "split: chunks of size 0 do not fill dimension {d} of {:?}", self.shape());
        if whole == 0 {
            return vec![self.clone()];
        }
        let chunks = (0..whole).step_by(size).map(|start| self.narrow(dim, start, size.min(whole - start)));
        on_host("split", chunks, whole.div_ceil(size))
    }

    /// Chunks of these sizes along one dimension; views. PyTorch: `split(sizes)`, `split_with_sizes`.
    ///
    /// # Panics
    /// If the dimension is out of range, or the sizes do not add up to its size.
    #[track_caller]
    pub fn split_sizes(&self, sizes: &[usize], dim: impl Int) -> Vec<Self> {
        let d = must(wrap_dim("split_sizes", dim, self.rank()));
        let sum = sizes.iter().try_fold(0usize, |sum, &size| sum.checked_add(size));
        assert!(
            sum == Some(self.shape()[d]),
            "split_sizes: {sizes:?} do not add up to dimension {d} of {:?}",
            self.shape()
        );
        let mut start = 0;
        let mut chunks = Vec::with_capacity(sizes.len());
        for &size in sizes {
            chunks.push(self.narrow(dim, start, size));
            start += size;
        }
        chunks
    }

    /// At most `n` chunks of `ceil(size / n)` entries, the last one smaller; views. There are fewer than n if fewer fill the
    /// dimension: 5 entries in 4 chunks are 2 + 2 + 1. A dimension of size 0 gives n empty chunks. PyTorch: `chunk`.
    ///
    /// # Panics
    /// If `n` is 0, the dimension is out of range, or there is no memory for so many chunks.
    #[track_caller]
    pub fn chunk(&self, n: usize, dim: impl Int) -> Vec<Self> {
        let d = must(wrap_dim("chunk", dim, self.rank()));
        assert!(n > 0, "chunk: wants at least one chunk, not 0");
        match self.shape()[d] {
            0 => on_host("chunk", std::iter::repeat_n(self, n).cloned(), n),
            size => self.split(size.div_ceil(n), dim),
        }
    }

    /// The entries of one dimension, each without that dimension; views. PyTorch: `unbind`.
    ///
    /// # Panics
    /// If the dimension is out of range, or there is no memory for so many entries.
    #[track_caller]
    pub fn unbind(&self, dim: impl Int) -> Vec<Self> {
        let d = must(wrap_dim("unbind", dim, self.rank()));
        let size = self.shape()[d];
        on_host("unbind", (0..size).map(|i| self.narrow(dim, i, 1).squeeze(dim)), size)
    }

    /// The tensors expanded to the shape that all of them broadcast to; views. PyTorch: `broadcast_tensors`.
    ///
    /// # Panics
    /// If they do not broadcast.
    #[track_caller]
    pub fn broadcast_tensors(tensors: &[Self]) -> Vec<Self> {
        let mut shape = Shape::default();
        for x in tensors {
            let Some(joint) = shape.broadcast(x.shape()) else {
                let why = misfit([("before", &shape), ("this", x.shape())]);
                panic!("broadcast_tensors: {:?} and {shape:?} of those before it {why}", x.shape())
            };
            shape = joint;
        }
        tensors.iter().map(|x| x.expand(shape)).collect()
    }

    /// The coordinates of a grid: for each vector a tensor that holds it along a dimension of its own and is constant along the
    /// others; views. A tensor of rank 0 counts as one entry. PyTorch: `meshgrid`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let (y, x) = (Tensor::arange(0..2, &device), Tensor::arange(0..3, &device));
    /// let grid = Tensor::meshgrid(&[y, x], Indexing::Ij);
    /// assert_eq!(grid[0].to_vec::<i32>()?, [0, 0, 0, 1, 1, 1]);
    /// assert_eq!(grid[1].to_vec::<i32>()?, [0, 1, 2, 0, 1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If there are no tensors or more than [`MAX_RANK`], one has a rank above 1, dtypes or devices differ, or the grid has too
    /// many elements.
    #[track_caller]
    pub fn meshgrid(tensors: &[Self], indexing: Indexing) -> Vec<Self> {
        let n = tensors.len();
        assert!((1..=MAX_RANK).contains(&n), "meshgrid: wants 1 to {MAX_RANK} vectors, not {n}");
        for x in tensors {
            tensors[0].check_same("meshgrid", x);
            assert!(x.rank() <= 1, "meshgrid: wants vectors, not {:?}", x.shape());
        }
        let ones = Shape::new(&[1; MAX_RANK][..n]);
        let grow = |shape: Shape, (d, x): (usize, &Self)| shape.try_with(d, x.numel());
        let Some(shape) = tensors.iter().enumerate().try_fold(ones, grow) else {
            let sizes: Vec<usize> = tensors.iter().map(Tensor::numel).collect();
            panic!("meshgrid: vectors of {sizes:?} elements make a grid of too many")
        };
        let grid = |(d, x): (usize, &Self)| {
            let along = x.reshape(ones.with(d, x.numel())).expand(shape);
            if indexing == Indexing::Xy && n > 1 { along.transpose(0, 1) } else { along }
        };
        tensors.iter().enumerate().map(grid).collect()
    }
}

// ---- concatenation ----
impl<B: Backend> Tensor<B> {
    /// Concatenates tensors along an existing dimension. PyTorch: `cat`.
    ///
    /// # Panics
    /// If there are none, shapes (except in `dim`), dtypes or devices differ, or the result has too many elements.
    #[track_caller]
    pub fn cat(tensors: &[Self], dim: impl Int) -> Self {
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
        // A rule has a fixed number of inputs. So one node per tensor is recorded: the tensor written into the result so far.
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

    /// Concatenates tensors of one shape along a new dimension. PyTorch: `stack`.
    ///
    /// # Panics
    /// If there are none, or shapes, dtypes or devices differ.
    #[track_caller]
    pub fn stack(tensors: &[Self], dim: impl Int) -> Self {
        let Some(first) = tensors.first() else { panic!("stack: no tensors were given") };
        for x in tensors {
            assert!(x.shape() == first.shape(), "stack: the shapes {:?} and {:?} differ", first.shape(), x.shape());
            first.check_same("stack", x);
        }
        assert!(first.rank() < MAX_RANK, "stack: {:?} has no room for another dimension", first.shape());
        let (at, count) = (must(wrap_dim("stack", dim, first.rank() + 1)), tensors.len());
        if first.shape().insert(at, 1).try_with(at, count).is_none() {
            panic!("stack: {count} tensors like {:?} have too many elements", first.shape());
        }
        let rows: Vec<_> = tensors.iter().map(|x| x.unsqueeze(dim)).collect();
        Tensor::cat(&rows, dim)
    }
}

// ---- permutation ----
impl<B: Backend> Tensor<B> {
    /// Dimension `from` moved to position `to`; the others keep their order. A view. PyTorch: `movedim`.
    ///
    /// # Panics
    /// If either is out of range.
    #[track_caller]
    pub fn movedim(&self, from: impl Int, to: impl Int) -> Self {
        let (from, to) = (must(wrap_dim("movedim", from, self.rank())), must(wrap_dim("movedim", to, self.rank())));
        let mut order: Vec<usize> = (0..self.rank()).filter(|&d| d != from).collect();
        order.insert(to, from);
        self.permute_dims(&order)
    }

    /// The entries of some dimensions in reverse order: `x.flip(0)`, `x.flip([0, -1])`, `x.flip(..)`. A copy, as
    /// strides are not negative. PyTorch: `flip`.
    ///
    /// # Panics
    /// If a dimension is out of range or named twice.
    #[track_caller]
    pub fn flip(&self, dims: impl Dims) -> Self {
        self.flip_dims(must(dims.resolve("flip", self.rank())))
    }

    #[track_caller]
    fn flip_dims(&self, dims: DimSet) -> Self {
        let mut out = self.detach();
        for &d in dims.iter().filter(|&&d| self.shape()[d] > 1) {
            let size = self.shape()[d];
            out = out.select_computed("flip", d, (0..size).rev(), size);
        }
        out.recorded("flip", parents([self]), move |g| g.flip_dims(dims))
    }

    /// Shifts the entries of one dimension cyclically by `shift` positions towards the end, or towards the start if it is negative.
    /// PyTorch: `roll`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let x = Tensor::arange(0..5, &device);
    /// assert_eq!(x.roll(2, 0).to_vec::<i32>()?, [3, 4, 0, 1, 2]);
    /// assert_eq!(x.roll(-1, 0).to_vec::<i32>()?, [1, 2, 3, 4, 0]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If the dimension is out of range.
    #[track_caller]
    pub fn roll(&self, shift: isize, dim: impl Int) -> Self {
        let d = must(wrap_dim("roll", dim, self.rank()));
        let size = self.shape()[d];
        let shift = if size == 0 { 0 } else { shift.rem_euclid(size as isize) as usize };
        if shift == 0 {
            return self.clone();
        }
        let x = self.detach();
        let out = Tensor::cat(&[x.narrow(dim, size - shift, shift), x.narrow(dim, 0, size - shift)], dim);
        out.recorded("roll", parents([self]), move |g| g.roll(-(shift as isize), d as isize))
    }
}

// ---- repetition ----

/// How often each dimension is repeated.
fn counts(op: &str, repeats: impl IntList) -> Result<Vec<usize>, String> {
    repeats.with(|repeats| {
        if repeats.len() > MAX_RANK {
            return Err(format!("{op}: {} repeats; at most {MAX_RANK} dimensions are supported", repeats.len()));
        }
        let count =
            |&n: &isize| usize::try_from(n).map_err(|_| format!("{op}: {repeats:?} has the negative count {n}"));
        repeats.iter().map(count).collect()
    })
}

impl<B: Backend> Tensor<B> {
    /// The tensor concatenated with itself `repeats[d]` times along each dimension d. More repeats than dimensions add leading
    /// dimensions; 0 empties a dimension. A view if only dimensions of size 1 are repeated. PyTorch: `repeat`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let x = Tensor::new([1, 2], &device);
    /// assert_eq!(x.repeat([2, 2]).to_vec::<i32>()?, [1, 2, 1, 2, 1, 2, 1, 2]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If there are fewer repeats than dimensions or more than [`MAX_RANK`], one is negative, or the result has too many
    /// elements.
    #[track_caller]
    pub fn repeat(&self, repeats: impl IntList) -> Self {
        let repeats = must(counts("repeat", repeats));
        assert!(
            repeats.len() >= self.rank(),
            "repeat: {} repeats for the shape {:?}; one per dimension are wanted, at most {MAX_RANK}",
            repeats.len(),
            self.shape()
        );
        self.repeat_dims("repeat", &repeats)
    }

    /// [`repeat`](Self::repeat) that also takes fewer repeats than dimensions, which apply to the last dimensions. PyTorch:
    /// `tile`.
    ///
    /// # Panics
    /// If there are more repeats than [`MAX_RANK`], one is negative, or the result has too many elements.
    #[track_caller]
    pub fn tile(&self, repeats: impl IntList) -> Self {
        let repeats = must(counts("tile", repeats));
        let mut all = vec![1; self.rank().saturating_sub(repeats.len())];
        all.extend(repeats);
        self.repeat_dims("tile", &all)
    }

    /// At least one count per dimension, and at most [`MAX_RANK`].
    #[track_caller]
    fn repeat_dims(&self, op: &str, repeats: &[usize]) -> Self {
        let mut x = self.reshape((self.rank()..repeats.len()).fold(*self.shape(), |shape, _| shape.insert(0, 1)));
        let sizes = x.shape().iter().zip(repeats).map(|(size, count)| size.checked_mul(*count));
        let Some(to) = sizes.collect::<Option<Vec<usize>>>().and_then(|sizes| Shape::try_new(&sizes)) else {
            panic!("{op}: {:?} repeated {repeats:?} times has too many elements", self.shape())
        };
        // In ascending order of repeats: the first copies are small, and after a 0 there is nothing to copy. Dimensions of size 1
        // need no copy.
        let mut order: Vec<usize> = (0..repeats.len()).filter(|&d| x.shape()[d] != 1).collect();
        order.sort_by_key(|&d| repeats[d]);
        x = order.into_iter().fold(x, |x, d| x.repeated(op, d, d, repeats[d]));
        x.expand(to)
    }

    /// Every entry of one dimension `n` times in a row. PyTorch: `repeat_interleave`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let x = Tensor::new([[1, 2], [3, 4]], &device);
    /// assert_eq!(x.repeat_interleave(2, 1).to_vec::<i32>()?, [1, 1, 2, 2, 3, 3, 4, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If the dimension is out of range, or the result has too many elements.
    #[track_caller]
    pub fn repeat_interleave(&self, n: usize, dim: impl Int) -> Self {
        let d = must(wrap_dim("repeat_interleave", dim, self.rank()));
        self.repeated("repeat_interleave", d, d + 1, n)
    }

    /// Repeats the block of dimensions from `inner` on along dimension `d`: for `inner = d` the whole dimension, for `d + 1` each
    /// entry. Computed in three dimensions, so that any rank has room for the new one.
    #[track_caller]
    fn repeated(&self, op: &str, d: usize, inner: usize, times: usize) -> Self {
        if times == 1 {
            return self.clone();
        }
        let shape = *self.shape();
        let Some(size) = shape[d].checked_mul(times) else {
            panic!("{op}: dimension {d} of {shape:?} has too many elements {times} times")
        };
        let Some(to) = shape.try_with(d, size) else {
            panic!("{op}: {shape:?} with dimension {d} {times} times has too many elements")
        };
        let [outside, inside] = [&shape[..inner], &shape[inner..]].map(|sizes| sizes.iter().product::<usize>());
        self.reshape([outside, 1, inside]).expand([outside, times, inside]).reshape(to)
    }
}

// ---- windows, diagonals and triangles ----
impl<B: Backend> Tensor<B> {
    /// Windows of `size` entries along `dim`, `step` apart: `[.., n, ..]` becomes `[.., (n - size) / step + 1, .., size]`. A
    /// view in which windows share elements; the gradient of an element is the sum over its windows. PyTorch: `Tensor.unfold`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let x = Tensor::arange(0..5, &device).unfold(0, 3, 1);
    /// assert_eq!(x.to_vec::<i32>()?, [0, 1, 2, 1, 2, 3, 2, 3, 4]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If the dimension is out of range, a window is larger than it, `step` is 0, or the rank is [`MAX_RANK`].
    #[track_caller]
    pub fn unfold(&self, dim: impl Int, size: usize, step: usize) -> Self {
        let d = must(wrap_dim("unfold", dim, self.rank()));
        let shape = *self.shape();
        assert!(step > 0, "unfold: the step must not be 0");
        assert!(size <= shape[d], "unfold: a window of {size} does not fit dimension {d} of {shape:?}");
        assert!(shape.len() < MAX_RANK, "unfold: {shape:?} has no room for another dimension");
        let out = self.with_layout(self.layout().unfold(d, (shape[d] - size) / step + 1, size, step));
        out.recorded("unfold", parents([self]), move |g| g.add_windows(shape, d, step))
    }

    /// Zeros of `shape` plus windows along `d`, each added at the place that [`unfold`](Self::unfold) reads it from. The two
    /// operations are each other's gradient.
    fn add_windows(&self, shape: Shape, d: usize, step: usize) -> Self {
        let last = self.rank() - 1;
        let (count, size) = (self.shape()[d], self.shape()[last]);
        let (x, mut out) = (self.detach(), self.zeros_of(shape));
        let windows = Layout::contiguous(shape).unfold(d, count, size, step);
        // Neither `step` neighbouring taps of all windows nor all taps of one window overlap. One write covers either; the way
        // with fewer writes is taken.
        let (along, all, block) = if size.div_ceil(step) <= count { (last, size, step) } else { (d, count, 1) };
        for start in (0..all).step_by(block) {
            let len = block.min(all - start);
            let (at, part) = (windows.narrow(along, start, len), x.narrow(along as isize, start, len));
            let sum = if start == 0 { part } else { out.with_layout(at) + part };
            out.write_at(at, &sum);
        }
        out.recorded("fold", parents([self]), move |g| g.unfold(d as isize, size, step))
    }

    /// The elements whose index in `dim2` is that in `dim1` plus `offset`, as a new last dimension in place of the two; a
    /// view. Empty where the diagonal lies outside. PyTorch: `diagonal`.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let x = Tensor::arange(0..6, &device).reshape([2, 3]);
    /// assert_eq!(x.diagonal(1, 0, 1).to_vec::<i32>()?, [1, 5]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Panics
    /// If a dimension is out of range, or both are the same.
    #[track_caller]
    pub fn diagonal(&self, offset: isize, dim1: impl Int, dim2: impl Int) -> Self {
        let (a, b) = (must(wrap_dim("diagonal", dim1, self.rank())), must(wrap_dim("diagonal", dim2, self.rank())));
        assert!(a != b, "diagonal: wants two dimensions of {:?}, not {a} twice", self.shape());
        self.part(move |layout| layout.diagonal(offset, a, b))
    }

    /// The last two dimensions' elements on and below the `k`-th diagonal (0 is the main one, positive ones lie above it),
    /// zeros (false) elsewhere, also in place of NaN and infinity. PyTorch: `tril`.
    ///
    /// # Panics
    /// If the rank is below 2.
    #[track_caller]
    pub fn tril(&self, k: isize) -> Self {
        let lower = self.triangle("tril", k);
        Tensor::where_cond(&lower, self, &self.scalar_like(0.0))
    }

    /// The last two dimensions' elements on and above the `k`-th diagonal, zeros elsewhere; see [`tril`](Self::tril).
    /// PyTorch: `triu`.
    ///
    /// # Panics
    /// If the rank is below 2.
    #[track_caller]
    pub fn triu(&self, k: isize) -> Self {
        let below = self.triangle("triu", k.saturating_sub(1));
        Tensor::where_cond(&below, &self.scalar_like(0.0), self)
    }

    /// True on and below the k-th diagonal of the last two dimensions: `column <= row + k`.
    #[track_caller]
    fn triangle(&self, op: &str, k: isize) -> Self {
        assert!(self.rank() >= 2, "{op}: wants matrices, not {:?}", self.shape());
        let [rows, columns] = [self.rank() - 2, self.rank() - 1].map(|d| self.shape()[d]);
        // A diagonal's number is a sum of two indices.
        assert!(
            rows.max(columns) <= i32::MAX as usize / 2,
            "{op}: matrices of {rows} x {columns} are larger than I32 numbers their diagonals"
        );
        let [rows, columns] = [rows, columns].map(|size| size as i32);
        // Beyond the corners k makes no difference.
        let k = k.clamp(-rows as isize, columns as isize) as i32;
        let last = Tensor::arange(k..k + rows, self.device()).unsqueeze(1);
        last.ge(Tensor::arange(0..columns, self.device()))
    }
}
