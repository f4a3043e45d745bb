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
//! Large results are written with non-temporal stores; see [`Store`].

mod one;
mod rows;
mod two;

use crate::caches::Caches;
use crate::launch::{self, report};
use crate::memory::AnyBits;
use crate::parallel;
use crate::simd::{Isa, Kernel, Wide};
use minitorch_core::Layout;
pub(crate) use one::{map1, update1};
pub(crate) use rows::Rows;
pub(crate) use two::map2;

/// Elements seen through a layout.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) layout: &'a Layout,
}

/// Work per element from which on arithmetic hides memory.
const ARITHMETIC: usize = 8;

/// How a result is written, by its size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Store {
    /// Ordinary stores, through the caches.
    Cached,
    /// Non-temporal: the caches would not hold the result, and its lines need not be read before they are written.
    NonTemporal,
}

impl Store {
    fn of<U>(out: &[U], work: usize) -> Store {
        let (bytes, last) = (size_of_val(out), Caches::get().llc);
        if work >= ARITHMETIC || bytes <= last { Store::Cached } else { Store::NonTemporal }
    }

    /// Whether `out` is to be [streamed](Isa::stream), and can be.
    #[inline(always)]
    fn streams<U>(self, out: &[U]) -> bool {
        self == Store::NonTemporal && out.as_ptr().addr().is_multiple_of(32)
    }
}

/// `out = f(x)` for functions that call into the maths library: nothing to vectorise, so one plain loop.
pub(crate) fn slow1<T: AnyBits, U: AnyBits>(work: usize, out: &mut [U], x: Source<T>, f: impl Fn(T) -> U + Sync) {
    report(|| launch::map::<T>("slow1", &[x.layout], (out.len(), 1, work), false));
    parallel::pieces(out, 1, work, |at, out| {
        let mut rows = Rows::new([x.layout], at..at + out.len());
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
    report(|| launch::map::<A>("slow2", &[a.layout, b.layout], (out.len(), 1, work), false));
    parallel::pieces(out, 1, work, |at, out| {
        let mut rows = Rows::new([a.layout, b.layout], at..at + out.len());
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
    report(|| launch::pieces::<U>("map0", out.len(), 1, work).path("in place"));
    parallel::pieces(out, 1, work, |_, out| U::dispatch(Map0(out, f)));
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
    report(|| launch::map::<A>("map3", &[c.layout, a.layout, b.layout], (out.len(), 1, work), false));
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
        let mut rows = Rows::new([c.layout, a.layout, b.layout], at..at + out.len());
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

#[cfg(test)]
mod tests;
