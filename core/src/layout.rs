//! `Layout`: shape, strides and offset. Views are layout arithmetic, written once for all backends.

use crate::index::Axis;
use crate::shape::{MAX_RANK, Shape};

/// Shape, strides and offset, all counted in elements; inline and `Copy`.
///
/// Element `[i0, i1, ..]` lies at `offset + i0 * strides[0] + i1 * strides[1] + ..`. Strides are never negative; a
/// stride of 0 repeats an element (broadcasting).
///
/// The product of the sizes is bounded, see [`Shape`]; strides and offset may have any value. If [`end`](Self::end) is at most
/// the length of a storage, the layout lies within it, and no sum or product of its parts overflows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Layout {
    shape: Shape,
    strides: [usize; MAX_RANK],
    offset: usize,
}

impl Layout {
    /// The row-major layout of a shape.
    pub fn contiguous(shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        let (mut strides, mut step) = ([0; MAX_RANK], 1);
        for d in (0..shape.len()).rev() {
            strides[d] = step;
            step *= shape[d];
        }
        Layout { shape, strides, offset: 0 }
    }

    /// The result of [`merge`](Self::merge) for contiguous layouts of `size` elements: one dimension, or none for a single
    /// element. `size` is the number of elements of some shape.
    fn merged(size: usize) -> Self {
        if size == 1 {
            return Layout::default();
        }
        let mut layout = Layout { shape: Shape::flat(size), ..Layout::default() };
        layout.strides[0] = 1;
        layout
    }

    /// The same layout at another offset.
    fn at(mut self, offset: usize) -> Self {
        self.offset = offset;
        self
    }

    /// A layout from its parts.
    ///
    /// # Panics
    /// If there is not one stride per dimension.
    #[track_caller]
    pub fn new(shape: impl Into<Shape>, strides: &[usize], offset: usize) -> Self {
        let shape = shape.into();
        assert!(strides.len() == shape.len(), "layout: {} strides for the shape {shape:?}", strides.len());
        let mut layout = Layout { shape, strides: [0; MAX_RANK], offset };
        layout.strides[..strides.len()].copy_from_slice(strides);
        layout
    }

    /// The sizes.
    #[inline]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Elements between neighbours, one per dimension.
    #[inline]
    pub fn strides(&self) -> &[usize] {
        &self.strides[..self.shape.len()]
    }

    /// The storage position of the first element.
    #[inline]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The number of elements that the layout shows, repetitions included.
    #[inline]
    pub fn numel(&self) -> usize {
        self.shape.numel()
    }

    /// Whether the elements lie in row-major order without gaps, at any offset. Strides of dimensions of size 1 do not matter,
    /// and an empty layout is contiguous.
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        let mut step = 1;
        for d in (0..self.shape.len()).rev() {
            if self.shape[d] != 1 && self.strides[d] != step {
                return self.numel() == 0;
            }
            step *= self.shape[d];
        }
        true
    }

    /// One past the largest storage position that the layout reaches; 0 if it has no elements. If the position overflows it is
    /// `usize::MAX`, which is larger than the length of any storage.
    #[inline]
    pub fn end(&self) -> usize {
        if self.numel() == 0 {
            return 0;
        }
        let reach = |end: usize, (&n, &s): (&usize, &usize)| end.saturating_add((n - 1).saturating_mul(s));
        self.shape.iter().zip(self.strides()).fold(self.offset.saturating_add(1), reach)
    }

    /// Exchanges two dimensions.
    pub fn transpose(mut self, a: usize, b: usize) -> Self {
        self.shape = self.shape.swap(a, b);
        self.strides.swap(a, b);
        self
    }

    /// Dimension `d` of the result is dimension `order[d]` of this layout. The caller has checked the order.
    #[track_caller]
    pub fn permute(&self, order: &[usize]) -> Self {
        let (mut dims, mut strides) = ([0; MAX_RANK], [0; MAX_RANK]);
        for (d, &from) in order.iter().enumerate() {
            (dims[d], strides[d]) = (self.shape[from], self.strides[from]);
        }
        Layout { shape: Shape::new(&dims[..order.len()]), strides, offset: self.offset }
    }

    /// This layout broadcast to a shape, with stride 0 where it repeats. The caller has checked that it broadcasts.
    pub fn expand(&self, to: Shape) -> Self {
        if self.shape == to {
            return *self;
        }
        let mut out = Layout { shape: to, strides: [0; MAX_RANK], offset: self.offset };
        let pad = to.len() - self.shape.len();
        for d in 0..self.shape.len() {
            out.strides[d + pad] = if self.shape[d] == to[d + pad] { self.strides[d] } else { 0 };
        }
        out
    }

    /// Inserts a dimension of size 1 before `dim`.
    #[track_caller]
    pub fn unsqueeze(&self, dim: usize) -> Self {
        let mut out = Layout { shape: self.shape.insert(dim, 1), ..*self };
        out.strides.copy_within(dim..MAX_RANK - 1, dim + 1);
        out.strides[dim] = 0;
        out
    }

    /// Selects the first entry of dimension `dim`, and removes the dimension.
    #[track_caller]
    pub fn remove(&self, dim: usize) -> Self {
        let mut out = Layout { shape: self.shape.remove(dim), ..*self };
        out.strides.copy_within(dim + 1..MAX_RANK, dim);
        out.strides[MAX_RANK - 1] = 0;
        out
    }

    /// This layout with another size and stride of dimension `dim`.
    pub fn with_dim(&self, dim: usize, size: usize, stride: usize) -> Self {
        let mut out = Layout { shape: self.shape.with(dim, size), ..*self };
        out.strides[dim] = stride;
        out
    }

    /// Entries `start..start + len` of dimension `dim`. The caller has checked the range.
    pub fn narrow(&self, dim: usize, start: usize, len: usize) -> Self {
        let mut out = Layout { shape: self.shape.with(dim, len), ..*self };
        out.offset += if len == 0 { 0 } else { start * self.strides[dim] };
        out
    }

    /// Applies one [`Axis`] per leading dimension; an index drops its dimension, a range keeps it.
    pub fn slice(&self, axes: &[Axis]) -> Result<Layout, String> {
        if axes.len() > self.shape.len() {
            return Err(format!("{} axes were given for the shape {:?}", axes.len(), self.shape));
        }
        let (mut out, mut dim) = (*self, 0);
        for (d, axis) in axes.iter().enumerate() {
            let size = self.shape[d] as isize;
            let wrap = |i: isize| if i < 0 { i + size } else { i };
            let (start, end) = match *axis {
                Axis::Index(i) => (wrap(i), wrap(i).saturating_add(1)), // of `isize::MAX`, which is outside of every dimension
                Axis::Range(a, b) => (wrap(a), b.map_or(size, wrap)),
            };
            if !(0 <= start && start <= end && end <= size) {
                return Err(format!("{axis} is outside dimension {d} of {:?}", self.shape));
            }
            out = out.narrow(dim, start as usize, (end - start) as usize);
            match axis {
                Axis::Index(_) => out = out.remove(dim),
                Axis::Range(..) => dim += 1,
            }
        }
        Ok(out)
    }

    /// The same elements under another shape; `None` if that needs a copy. The caller has checked that the shapes have the same
    /// number of elements.
    pub fn reshape(&self, to: Shape) -> Option<Layout> {
        debug_assert_eq!(self.numel(), to.numel());
        if self.is_contiguous() {
            return Some(Layout { offset: self.offset, ..Layout::contiguous(to) });
        }
        // Walk both shapes from the left in groups of equal products. The old dimensions of a group must merge into one.
        let mut out = Layout { shape: to, strides: [0; MAX_RANK], offset: self.offset };
        let (mut i, mut j) = (0, 0);
        while i < self.shape.len() || j < to.len() {
            let (start_i, start_j) = (i, j);
            let (mut have, mut want) = (1, 1);
            loop {
                if have <= want && i < self.shape.len() {
                    have *= self.shape[i];
                    i += 1;
                } else if j < to.len() {
                    want *= to[j];
                    j += 1;
                } else {
                    return None; // the numbers of elements differ
                }
                if have == want {
                    break;
                }
            }
            let mut inner = None; // (stride, size) of the merged dimensions, from the right
            for d in (start_i..i).rev().filter(|&d| self.shape[d] != 1) {
                inner = match inner {
                    None => Some((self.strides[d], self.shape[d])),
                    Some((stride, size)) if self.strides[d] == stride * size => Some((stride, size * self.shape[d])),
                    Some(_) => return None,
                };
            }
            let mut step = inner.map_or(0, |(stride, _)| stride);
            for d in (start_j..j).rev() {
                out.strides[d] = step;
                step *= to[d];
            }
        }
        Some(out)
    }

    /// All windows of a sliding kernel over the last two dimensions: `[.., h, w]` becomes `[.., oh, ow, kh, kw]`,
    /// a view in which neighbouring windows share elements. The caller has checked that the windows fit.
    #[track_caller]
    pub fn windows(&self, out: [usize; 2], kernel: [usize; 2], stride: [usize; 2], dilation: [usize; 2]) -> Self {
        let lead = self.shape.len() - 2;
        let mut dims = [0; MAX_RANK + 2];
        dims[..lead].copy_from_slice(&self.shape[..lead]);
        dims[lead..lead + 4].copy_from_slice(&[out[0], out[1], kernel[0], kernel[1]]);
        let mut layout = Layout { shape: Shape::new(&dims[..lead + 4]), ..*self };
        for d in 0..2 {
            layout.strides[lead + d] = spaced(self.strides[lead + d], stride[d], out[d]);
            layout.strides[lead + 2 + d] = spaced(self.strides[lead + d], dilation[d], kernel[d]);
        }
        layout
    }

    /// Windows of `size` entries along `dim`, `step` apart: `[.., n, ..]` becomes `[.., count, .., size]`, a view in which
    /// windows overlap if `step < size`. The caller has checked that they fit.
    #[track_caller]
    pub fn unfold(&self, dim: usize, count: usize, size: usize, step: usize) -> Self {
        let last = self.shape.len();
        let mut out = Layout { shape: self.shape.with(dim, count).insert(last, size), ..*self };
        out.strides[last] = self.strides[dim];
        out.strides[dim] = spaced(self.strides[dim], step, count);
        out
    }

    /// The elements whose index in dimension `b` is that in `a` plus `offset`, as a new last dimension; a and b are removed. The
    /// caller has checked that a and b differ.
    pub fn diagonal(&self, offset: isize, a: usize, b: usize) -> Self {
        let (down, right) = if offset < 0 { (offset.unsigned_abs(), 0) } else { (0, offset as usize) };
        let len = self.shape[a].saturating_sub(down).min(self.shape[b].saturating_sub(right));
        let mut out = self.remove(a.max(b)).remove(a.min(b));
        let last = out.shape.len();
        out.shape = out.shape.insert(last, len);
        out.strides[last] = self.strides[a] + self.strides[b];
        out.offset += if len == 0 { 0 } else { down * self.strides[a] + right * self.strides[b] };
        out
    }

    /// Storage positions in row-major order of the shape.
    pub fn positions(&self) -> Positions<'_> {
        Positions { layout: self, index: [0; MAX_RANK], at: self.offset, left: self.numel() }
    }

    /// Layouts that broadcast to a shape, expanded to it and [merged](Self::merge).
    pub(crate) fn aligned<const N: usize>(layouts: [&Layout; N], shape: &Shape) -> [Layout; N] {
        if layouts.iter().all(|l| l.shape == *shape && l.is_contiguous()) {
            // The fast path of `merge`, without the copies of `expand`.
            let numel = shape.numel();
            return layouts.map(|l| Layout::merged(numel).at(l.offset));
        }
        Layout::merge(layouts.map(|l| l.expand(*shape)))
    }

    /// Removes dimensions of size 1 and merges neighbouring dimensions that are contiguous with each other in every layout. So a
    /// backend sees the smallest rank: two contiguous operands have rank 1. All layouts have one shape.
    pub fn merge<const N: usize>(layouts: [Layout; N]) -> [Layout; N] {
        let shape = layouts[0].shape;
        debug_assert!(layouts.iter().all(|l| l.shape == shape));
        if layouts.iter().all(Layout::is_contiguous) {
            // A fast path for the common case.
            let merged = Layout::merged(shape.numel());
            return layouts.map(|l| merged.at(l.offset));
        }
        let (mut dims, mut strides) = ([0; MAX_RANK], [[0; MAX_RANK]; N]);
        let mut rank = 0;
        for d in (0..shape.len()).rev().filter(|&d| shape[d] != 1) {
            // `dims` grows from the innermost dimension outwards, and is reversed at the end.
            let merges = rank > 0 && (0..N).all(|n| layouts[n].strides[d] == strides[n][rank - 1] * dims[rank - 1]);
            if merges {
                dims[rank - 1] *= shape[d];
            } else {
                dims[rank] = shape[d];
                for n in 0..N {
                    strides[n][rank] = layouts[n].strides[d];
                }
                rank += 1;
            }
        }
        dims[..rank].reverse();
        let mut merged = layouts;
        for n in 0..N {
            strides[n][..rank].reverse();
            merged[n] = Layout { shape: Shape::new(&dims[..rank]), strides: strides[n], offset: layouts[n].offset };
        }
        merged
    }
}

/// The number of windows of a kernel per dimension: `(size + 2 padding - dilation (kernel - 1) - 1) / stride + 1`; `None` when
/// the kernel does not fit, is empty, or the stride is 0.
pub(crate) fn output_size<const N: usize>(
    size: [usize; N],
    kernel: [usize; N],
    stride: [usize; N],
    padding: [usize; N],
    dilation: [usize; N],
) -> Option<[usize; N]> {
    let mut out = [0; N];
    for d in 0..N {
        let reach = dilation[d].checked_mul(kernel[d].checked_sub(1)?)?.checked_add(1)?;
        let padded = padding[d].checked_mul(2)?.checked_add(size[d])?;
        out[d] = padded.checked_sub(reach)?.checked_div(stride[d])?.checked_add(1)?;
    }
    Some(out)
}

/// The stride of every `step`-th entry of a dimension, `count` in total. For a single entry it is 0, so that any step is valid.
fn spaced(stride: usize, step: usize, count: usize) -> usize {
    if count > 1 { stride.saturating_mul(step) } else { 0 }
}

/// Iterator over the storage positions of a [`Layout`].
#[derive(Clone)]
pub struct Positions<'a> {
    layout: &'a Layout,
    index: [usize; MAX_RANK],
    at: usize,
    left: usize,
}

impl Iterator for Positions<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let here = self.at;
        for d in (0..self.layout.shape.len()).rev() {
            self.index[d] += 1;
            self.at += self.layout.strides[d];
            if self.index[d] < self.layout.shape[d] {
                break;
            }
            self.at -= self.layout.strides[d] * self.layout.shape[d];
            self.index[d] = 0;
        }
        Some(here)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Positions<'_> {}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
