//! The element-wise engine: `out[i] = f(..)` over operands of any layout.
//!
//! ```text
//! for each row of the shape:                  (its last dimension; the others are walked by additions)
//!     out[row] = f(a[row], b[row])            inner strides 1 or 0: a loop that vectorises
//!                                             others: a strided loop
//! ```
//! Layouts arrive merged to the smallest rank, so contiguous operands are a single row, a bias is a row of stride 1 or 0,
//! and nothing here is special about either. Each piece of the output is one call of `simd::dispatch`; `f` is a closure of
//! its own type per operation, so no loop contains a `match`.
//!
//! `f` also gets the element that `out` holds, for operations in place. One that ignores it costs no load.

use crate::memory::AnyBits;
use crate::parallel;
use crate::simd::{Isa, Kernel, Wide};
use minitorch_core::{Layout, MAX_RANK};
use std::ops::Range;

/// Elements seen through a layout.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) layout: Layout,
}

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

/// `out = f(x)` for functions that call into the maths library: nothing to vectorise, so one plain loop.
pub(crate) fn slow1<T: AnyBits, U: AnyBits>(work: usize, out: &mut [U], x: Source<T>, f: impl Fn(T) -> U + Sync) {
    parallel::pieces(out, 1, work, |at, out| {
        let mut rows = Rows::new([&x.layout], at..at + out.len());
        let [stride] = rows.inner;
        while let Some((place, [start])) = rows.next() {
            for (i, out) in out[place].iter_mut().enumerate() {
                *out = f(x.data[start + i * stride]);
            }
        }
    });
}

/// [`slow1`] of two operands.
pub(crate) fn slow2<A: AnyBits, B: AnyBits, U: AnyBits>(
    work: usize,
    out: &mut [U],
    a: Source<A>,
    b: Source<B>,
    f: impl Fn(A, B) -> U + Sync,
) {
    parallel::pieces(out, 1, work, |at, out| {
        let mut rows = Rows::new([&a.layout, &b.layout], at..at + out.len());
        let [sa, sb] = rows.inner;
        while let Some((place, [pa, pb])) = rows.next() {
            for (i, out) in out[place].iter_mut().enumerate() {
                *out = f(a.data[pa + i * sa], b.data[pb + i * sb]);
            }
        }
    });
}

/// `out = f(out)`. `work` per element as in [`parallel`].
#[inline]
pub(crate) fn map0<U: AnyBits + Wide>(work: usize, out: &mut [U], f: impl Fn(U) -> U + Copy + Sync) {
    struct Map0<'a, U, F>(&'a mut [U], F);
    impl<U: AnyBits, F: Fn(U) -> U> Kernel for Map0<'_, U, F> {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self, _: I) {
            self.0.iter_mut().for_each(|out| *out = (self.1)(*out));
        }
    }
    parallel::pieces(out, 1, work, |_, out| U::dispatch(Map0(out, f)));
}

/// `out = f(out, x)`; `out` is row-major of x's shape.
#[inline]
pub(crate) fn map1<T: AnyBits + Wide, U: AnyBits>(
    work: usize,
    out: &mut [U],
    x: Source<T>,
    f: impl Fn(U, T) -> U + Copy + Sync,
) {
    parallel::pieces(out, 1, work, |at, out| T::dispatch(Map1 { at, out, x, f }));
}

struct Map1<'a, T, U, F> {
    at: usize,
    out: &'a mut [U],
    x: Source<'a, T>,
    f: F,
}

impl<T: AnyBits, U: AnyBits, F: Fn(U, T) -> U> Kernel for Map1<'_, T, U, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let Map1 { at, out, x: Source { data, layout }, f } = self;
        let mut rows = Rows::new([&layout], at..at + out.len());
        let [stride] = rows.inner;
        while let Some((place, [start])) = rows.next() {
            let out = &mut out[place];
            match stride {
                _ if out.len() == 1 => out[0] = f(out[0], data[start]),
                1 => {
                    let x = &data[start..][..out.len()];
                    for i in 0..x.len() {
                        out[i] = f(out[i], x[i]);
                    }
                }
                0 => {
                    let x = data[start];
                    for out in out {
                        *out = f(*out, x);
                    }
                }
                stride => {
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = f(*out, data[start + i * stride]);
                    }
                }
            }
        }
    }
}

/// `out = f(a, b)`; `out` is row-major of their shape.
#[inline]
pub(crate) fn map2<A: AnyBits + Wide, B: AnyBits, U: AnyBits>(
    work: usize,
    out: &mut [U],
    a: Source<A>,
    b: Source<B>,
    f: impl Fn(A, B) -> U + Copy + Sync,
) {
    parallel::pieces(out, 1, work, |at, out| A::dispatch(Map2 { at, out, a, b, f }));
}

struct Map2<'a, A, B, U, F> {
    at: usize,
    out: &'a mut [U],
    a: Source<'a, A>,
    b: Source<'a, B>,
    f: F,
}

impl<A: AnyBits, B: AnyBits, U: AnyBits, F: Fn(A, B) -> U> Kernel for Map2<'_, A, B, U, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let Map2 { at, out, a, b, f } = self;
        let mut rows = Rows::new([&a.layout, &b.layout], at..at + out.len());
        let (a, b, [sa, sb]) = (a.data, b.data, rows.inner);
        while let Some((place, [pa, pb])) = rows.next() {
            let out = &mut out[place];
            let n = out.len();
            match (sa, sb) {
                _ if n == 1 => out[0] = f(a[pa], b[pb]),
                (1, 1) => {
                    let (a, b) = (&a[pa..][..n], &b[pb..][..n]);
                    for i in 0..n {
                        out[i] = f(a[i], b[i]);
                    }
                }
                (1, 0) => {
                    let (a, b) = (&a[pa..][..n], b[pb]);
                    for i in 0..n {
                        out[i] = f(a[i], b);
                    }
                }
                (0, 1) => {
                    let (a, b) = (a[pa], &b[pb..][..n]);
                    for i in 0..n {
                        out[i] = f(a, b[i]);
                    }
                }
                _ => {
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = f(a[pa + i * sa], b[pb + i * sb]);
                    }
                }
            }
        }
    }
}

/// `out = f(c, a, b)`; `out` is row-major of their shape.
#[inline]
pub(crate) fn map3<C: AnyBits, A: AnyBits + Wide, U: AnyBits>(
    work: usize,
    out: &mut [U],
    c: Source<C>,
    [a, b]: [Source<A>; 2],
    f: impl Fn(C, A, A) -> U + Copy + Sync,
) {
    parallel::pieces(out, 1, work, |at, out| A::dispatch(Map3 { at, out, c, a, b, f }));
}

struct Map3<'a, C, A, U, F> {
    at: usize,
    out: &'a mut [U],
    c: Source<'a, C>,
    a: Source<'a, A>,
    b: Source<'a, A>,
    f: F,
}

impl<C: AnyBits, A: AnyBits, U: AnyBits, F: Fn(C, A, A) -> U> Kernel for Map3<'_, C, A, U, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let Map3 { at, out, c, a, b, f } = self;
        let mut rows = Rows::new([&c.layout, &a.layout, &b.layout], at..at + out.len());
        let (c, a, b, [sc, sa, sb]) = (c.data, a.data, b.data, rows.inner);
        while let Some((place, [pc, pa, pb])) = rows.next() {
            let out = &mut out[place];
            let n = out.len();
            match (sc, sa, sb) {
                _ if n == 1 => out[0] = f(c[pc], a[pa], b[pb]),
                (1, 1, 1) => {
                    let (c, a, b) = (&c[pc..][..n], &a[pa..][..n], &b[pb..][..n]);
                    for i in 0..n {
                        out[i] = f(c[i], a[i], b[i]);
                    }
                }
                (1, 1, 0) => {
                    let (c, a, b) = (&c[pc..][..n], &a[pa..][..n], b[pb]);
                    for i in 0..n {
                        out[i] = f(c[i], a[i], b);
                    }
                }
                (1, 0, 1) => {
                    let (c, a, b) = (&c[pc..][..n], a[pa], &b[pb..][..n]);
                    for i in 0..n {
                        out[i] = f(c[i], a, b[i]);
                    }
                }
                _ => {
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = f(c[pc + i * sc], a[pa + i * sa], b[pb + i * sb]);
                    }
                }
            }
        }
    }
}
