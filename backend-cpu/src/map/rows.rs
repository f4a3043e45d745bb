//! Walking layouts row by row.

use minitorch_core::{Layout, MAX_RANK};
use std::ops::Range;

/// Rows of several layouts of one shape, in row-major order.
pub(crate) struct Rows<const N: usize> {
    shape: [usize; MAX_RANK],
    strides: [[usize; MAX_RANK]; N],
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

impl<const N: usize> Rows<N> {
    /// Elements `range` of the layouts, counted in row-major order.
    #[inline(never)] // no arithmetic on elements: once per N, not once per operation
    pub(crate) fn new(layouts: [&Layout; N], range: Range<usize>) -> Self {
        let shape = layouts[0].shape();
        let outer = shape.len().saturating_sub(1);
        let mut rows = Rows {
            shape: [1; MAX_RANK],
            strides: [[0; MAX_RANK]; N],
            outer,
            index: [0; MAX_RANK],
            starts: layouts.map(Layout::offset),
            column: 0,
            left: range.len(),
            width: shape.last().copied().unwrap_or(1),
            at: 0,
            inner: layouts.map(|l| l.strides().last().copied().unwrap_or(0)),
        };
        if outer > 0 {
            rows.shape[..outer].copy_from_slice(&shape[..outer]);
            for n in 0..N {
                rows.strides[n][..outer].copy_from_slice(&layouts[n].strides()[..outer]);
            }
        }
        if range.start != 0 {
            rows.column = range.start % rows.width;
            let mut row = range.start / rows.width;
            for d in (0..outer).rev() {
                rows.index[d] = row % rows.shape[d];
                row /= rows.shape[d];
                for n in 0..N {
                    rows.starts[n] += rows.index[d] * rows.strides[n][d];
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
                self.starts[n] += self.strides[n][d];
            }
            if self.index[d] < self.shape[d] {
                break;
            }
            for n in 0..N {
                self.starts[n] -= self.strides[n][d] * self.shape[d];
            }
            self.index[d] = 0;
        }
        Some((place, starts))
    }
}
