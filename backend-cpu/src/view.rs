//! Strided operands: a slice and the layout that selects its elements.
//!
//! ```text
//! element (i, j, ..) of a source = data[offset + i * strides[0] + j * strides[1] + ..]
//! ```
//! Loops iterate over operands by [`Rows`]: an odometer advances the outer dimensions by additions, and each row is given by an
//! offset and a stride.

use crate::Tensor;
use crate::element::Element;
use crate::memory::Storage;
use minitorch_core::backend::View;
use minitorch_core::{Layout, MAX_RANK};
use std::ops::Range;

/// A slice and the layout that selects its elements.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) layout: &'a Layout,
}

/// A view as slice and layout.
pub(crate) fn source<'a, T: Element>(view: View<'a, Storage>) -> Source<'a, T> {
    Source { data: T::read(view.storage), layout: view.layout }
}

/// All elements of a view's storage, after a check that the layout lies within them. The matrix products, which do not check each
/// access, rely on it.
///
/// # Panics
/// If the layout reaches beyond the storage.
pub(crate) fn in_bounds<'a, T: Element>(op: &str, view: View<'a, Storage>) -> &'a [T] {
    let data = T::read(view.storage);
    assert!(view.layout.end() <= data.len(), "{op}: {:?} reaches beyond {} elements", view.layout, data.len());
    data
}

/// The elements of a contiguous tensor.
pub(crate) fn elements<T: Element>(x: &Tensor) -> &[T] {
    contiguous_elements(x.view())
}

/// The elements of a contiguous view.
pub(crate) fn contiguous_elements<'a, T: Element>(View { storage, layout, .. }: View<'a, Storage>) -> &'a [T] {
    debug_assert!(layout.is_contiguous());
    // The offset of an empty view may lie beyond the storage.
    if layout.numel() == 0 { &[] } else { &T::read(storage)[layout.offset()..][..layout.numel()] }
}

/// The storage position of element `index` of a layout, numbered in row-major order.
pub(crate) fn position(layout: &Layout, mut index: usize) -> usize {
    let mut at = layout.offset();
    for (&size, &stride) in layout.shape().iter().zip(layout.strides()).rev() {
        at += index % size.max(1) * stride;
        index /= size.max(1);
    }
    at
}

/// An iterator over the rows of several layouts of one shape, in row-major order. A row is a run along the last dimension.
pub(crate) struct Rows<'a, const N: usize> {
    layouts: [&'a Layout; N],
    /// The number of dimensions before the last.
    outer: usize,
    /// The current row's index in each outer dimension, and its offset in each layout.
    index: [usize; MAX_RANK],
    starts: [usize; N],
    /// The first element of the current row that is in range; 0 after the first row.
    column: usize,
    /// Elements of the range that are left.
    left: usize,
    /// The size of the last dimension.
    width: usize,
    /// The position within the range.
    at: usize,
    /// The strides of the last dimension.
    pub(crate) inner: [usize; N],
}

impl<'a, const N: usize> Rows<'a, N> {
    /// The elements `range` of the layouts, numbered in row-major order.
    ///
    /// # Panics
    /// If the layouts have no elements and the range has.
    #[inline(never)] // independent of the element type and the operation: one copy per N is enough
    pub(crate) fn new(layouts: [&'a Layout; N], range: Range<usize>) -> Self {
        let shape = layouts[0].shape();
        let outer = shape.len().saturating_sub(1);
        let width = shape.last().copied().unwrap_or(1);
        assert!(width > 0 || range.is_empty(), "elements {range:?} of the shape {shape:?}");
        let mut rows = Rows {
            layouts,
            outer,
            index: [0; MAX_RANK],
            starts: layouts.map(Layout::offset),
            column: 0,
            left: range.len(),
            width,
            at: 0,
            inner: layouts.map(|l| l.strides().last().copied().unwrap_or(0)),
        };
        if range.start != 0 {
            rows.column = range.start % width;
            let mut row = range.start / width;
            for d in (0..outer).rev() {
                rows.index[d] = row % shape[d];
                row /= shape[d];
                for n in 0..N {
                    rows.starts[n] += rows.index[d] * layouts[n].strides()[d];
                }
            }
        }
        rows
    }

    /// The next row, or the part of it that is in the range: the positions of its elements within the range, and the offset of
    /// the first in each layout.
    #[inline(never)]
    pub(crate) fn next(&mut self) -> Option<(Range<usize>, [usize; N])> {
        if self.left == 0 {
            return None;
        }
        let len = (self.width - self.column).min(self.left);
        let place = self.at..self.at + len;
        let mut starts = self.starts;
        for n in 0..N {
            starts[n] += self.column * self.inner[n];
        }
        (self.at, self.left, self.column) = (place.end, self.left - len, 0);
        for d in (0..self.outer).rev() {
            self.index[d] += 1;
            for n in 0..N {
                self.starts[n] += self.layouts[n].strides()[d];
            }
            let size = self.layouts[0].shape()[d];
            if self.index[d] < size {
                break;
            }
            for n in 0..N {
                self.starts[n] -= self.layouts[n].strides()[d] * size;
            }
            self.index[d] = 0;
        }
        Some((place, starts))
    }
}
