//! Walking layouts row by row.

use minitorch_core::{Layout, MAX_RANK};
use std::ops::Range;

/// Rows of several layouts of one shape, in row-major order.
pub(crate) struct Rows<'a, const N: usize> {
    layouts: [&'a Layout; N],
    /// Dimensions before the innermost.
    outer: usize,
    index: [usize; MAX_RANK],
    /// Where each layout's row starts.
    starts: [usize; N],
    /// The next element of the row, and how many are left in all.
    column: usize,
    left: usize,
    width: usize,
    at: usize,
    /// The strides within a row.
    pub(crate) inner: [usize; N],
}

impl<'a, const N: usize> Rows<'a, N> {
    /// Elements `range` of the layouts, counted in row-major order.
    ///
    /// # Panics
    /// If rows without elements are to give some: the layouts are of several shapes.
    #[inline(never)] // no arithmetic on elements: once per N, not once per operation
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

    /// The next row or part of one: its place in the range, and where each layout's elements start.
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
