//! C: an exclusive view of a row-major matrix that is cut into blocks for several threads.
//!
//! The rows of two blocks interleave in memory, so slices cannot express them. An [`Output`] holds a pointer; the caller of
//! [`Output::block`] guarantees that blocks in use do not overlap.

use std::marker::PhantomData;
use std::ops::Range;

use crate::kernels::end_of;

/// What is done to each block of C once it is complete, on the thread that computed it and while it is in that core's caches.
pub type Epilogue<'a, T> = &'a (dyn Fn(&mut Output<T>) + Sync);

/// An exclusive view of a row-major matrix, `rows x columns` with `stride` elements from one row to the next.
#[derive(Debug)]
pub struct Output<'a, T> {
    first: *mut T,
    rows: usize,
    columns: usize,
    stride: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: an `Output` stands for the `&mut [T]` that it was made from, which is `Send`.
unsafe impl<T: Send> Send for Output<'_, T> {}
// SAFETY: `&Output` gives access to elements only through the unsafe `block`, whose caller promises disjoint blocks.
unsafe impl<T: Send> Sync for Output<'_, T> {}

impl<'a, T> Output<'a, T> {
    /// Views the front of `data` as a matrix.
    pub fn new(data: &'a mut [T], rows: usize, columns: usize, stride: usize) -> Self {
        assert!(columns <= stride || rows <= 1, "rows of {columns} elements, {stride} apart, overlap");
        let needed = if rows == 0 || columns == 0 { 0 } else { end_of([(rows - 1, stride)], columns) };
        assert!(needed <= data.len(), "{rows} rows of {columns}, {stride} apart, exceed {} elements", data.len());
        Output { first: data.as_mut_ptr(), rows, columns, stride, owner: PhantomData }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Columns `columns` of row `row`.
    #[inline(always)]
    pub fn row(&mut self, row: usize, columns: Range<usize>) -> &mut [T] {
        assert!(row < self.rows && columns.start <= columns.end && columns.end <= self.columns);
        // SAFETY: `new` or `block` has checked that `rows x columns` lies within the memory of this view, and the assertion
        // that the part lies within `rows x columns`; `&mut self` makes the borrow exclusive.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.first.add(row * self.stride + columns.start),
                columns.end - columns.start,
            )
        }
    }

    /// A pointer to the first element of the part `rows x columns`, valid for writing all of it, and the stride of its rows.
    #[inline(always)]
    pub(super) fn part(&mut self, rows: Range<usize>, columns: Range<usize>) -> (*mut T, usize) {
        assert!(rows.start < rows.end && rows.end <= self.rows);
        assert!(columns.start < columns.end && columns.end <= self.columns);
        // SAFETY: the part is not empty and lies within this view, hence so does its first element.
        (unsafe { self.first.add(rows.start * self.stride + columns.start) }, self.stride)
    }

    /// The part `rows x columns` as a view of its own.
    ///
    /// # Safety
    /// While the block lives, none of its elements is accessed through another block or through `self`.
    pub unsafe fn block(&self, rows: Range<usize>, columns: Range<usize>) -> Output<'_, T> {
        assert!(rows.start <= rows.end && rows.end <= self.rows);
        assert!(columns.start <= columns.end && columns.end <= self.columns);
        let first = if rows.is_empty() || columns.is_empty() {
            self.first
        } else {
            // SAFETY: the block is not empty and lies within this view, hence so does its first element.
            unsafe { self.first.add(rows.start * self.stride + columns.start) }
        };
        Output { first, rows: rows.len(), columns: columns.len(), stride: self.stride, owner: PhantomData }
    }
}
