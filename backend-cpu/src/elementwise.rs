//! The element-wise engine: `out[i] = f(a[i], b[i], ..)` for operands of any layout.
//!
//! ```text
//! for each row of the shape:             a row is a run along the last dimension
//!     out[row] = f(a[row], b[row])       strides 1 and 0: loops that vectorise
//!                                        other strides: a strided loop
//! ```
//! Core merges dimensions as far as the strides allow, so contiguous operands are a single row, and a broadcast bias has rows of
//! stride 1 or 0. Each operation has a closure type of its own, so no loop branches on the operation.
//!
//! Results that exceed the LLC are written with non-temporal stores; see [`Store`].

use crate::caches::Caches;
use crate::launch::{self, report};
use crate::memory::AnyBits;
use crate::parallel;
use crate::simd::{Isa, Kernel, STREAM, Wide};
use crate::view::{Rows, Source};

/// The least work per element for which arithmetic, not memory, bounds a loop.
const COMPUTE_BOUND: usize = 8;

/// How a result is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Store {
    /// Ordinary stores.
    Cached,
    /// Non-temporal stores, which do not read a cache line before they write it: for results that exceed the LLC.
    NonTemporal,
}

impl Store {
    fn of<U>(out: &[U], work: usize) -> Store {
        let (bytes, llc) = (size_of_val(out), Caches::get().llc);
        if work >= COMPUTE_BOUND || bytes <= llc { Store::Cached } else { Store::NonTemporal }
    }

    /// Whether to write `out` by [`Isa::stream`], which requires its alignment.
    #[inline(always)]
    fn streams<U>(self, out: &[U]) -> bool {
        self == Store::NonTemporal && out.as_ptr().addr().is_multiple_of(32)
    }
}

/// `out = f(out)`. In this file, `work` is the cost of `f` in the unit of [`parallel`].
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
    report(|| launch::split::<U>("map0", out.len(), 1, work).path("in place"));
    parallel::split(out, 1, work, |_, out| U::dispatch(Map0(out, f)));
}

/// `out = f(x)`; `out` is contiguous in the shape of x.
#[inline(always)] // `work` is a constant at each call, so only one dispatch is compiled
pub(crate) fn map1<T: AnyBits + Wide, U: AnyBits>(
    work: usize,
    out: &mut [U],
    x: Source<T>,
    f: impl Fn(T) -> U + Copy + Sync,
) {
    let store = Store::of(out, work);
    report(|| launch::elementwise::<T>("map1", &[x.layout], (out.len(), STREAM, work), store == Store::NonTemporal));
    parallel::split(out, STREAM, work, |at, out| {
        let kernel = Map1 { at, out, x, f, store };
        if work < COMPUTE_BOUND { T::dispatch(kernel) } else { T::compute(kernel) }
    });
}

struct Map1<'a, T, U, F> {
    at: usize,
    out: &'a mut [U],
    x: Source<'a, T>,
    f: F,
    store: Store,
}

impl<T: AnyBits, U: AnyBits, F: Fn(T) -> U> Kernel for Map1<'_, T, U, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Map1 { at, out, x: Source { data, layout }, f, store } = self;
        let mut rows = Rows::new([layout], at..at + out.len());
        let [stride] = rows.inner;
        while let Some((place, [start])) = rows.next() {
            let out = &mut out[place];
            match stride {
                _ if out.len() == 1 => out[0] = f(data[start]),
                1 => {
                    let mut x = &data[start..][..out.len()];
                    let mut out = out;
                    if store.streams(out) {
                        let (blocks, rest) = out.as_chunks_mut::<STREAM>();
                        let (x_blocks, x_rest) = x.as_chunks::<STREAM>();
                        for (out, x) in blocks.iter_mut().zip(x_blocks) {
                            let mut block = [f(x[0]); STREAM];
                            for i in 0..STREAM {
                                block[i] = f(x[i]);
                            }
                            // SAFETY: `streams` checked that `out` is aligned to 32 bytes, and a block is a multiple of that, so
                            // every block is aligned. `fence` follows, before the loop returns to other threads.
                            unsafe { isa.stream(out, &block) };
                        }
                        isa.fence();
                        (out, x) = (rest, x_rest);
                    }
                    for i in 0..x.len() {
                        out[i] = f(x[i]);
                    }
                }
                0 => out.fill(f(data[start])),
                stride => {
                    for (i, out) in out.iter_mut().enumerate() {
                        *out = f(data[start + i * stride]);
                    }
                }
            }
        }
    }
}

/// `out = f(out, x)`; `out` is contiguous in the shape of x.
#[inline(always)] // `work` is a constant at each call, so only one dispatch is compiled
pub(crate) fn update1<T: AnyBits + Wide, U: AnyBits>(
    work: usize,
    out: &mut [U],
    x: Source<T>,
    f: impl Fn(U, T) -> U + Copy + Sync,
) {
    report(|| launch::in_place(launch::elementwise::<T>("update1", &[x.layout], (out.len(), STREAM, work), false)));
    parallel::split(out, STREAM, work, |at, out| {
        let kernel = Update1 { at, out, x, f };
        if work < COMPUTE_BOUND { T::dispatch(kernel) } else { T::compute(kernel) }
    });
}

struct Update1<'a, T, U, F> {
    at: usize,
    out: &'a mut [U],
    x: Source<'a, T>,
    f: F,
}

impl<T: AnyBits, U: AnyBits, F: Fn(U, T) -> U> Kernel for Update1<'_, T, U, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let Update1 { at, out, x: Source { data, layout }, f } = self;
        let mut rows = Rows::new([layout], at..at + out.len());
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

/// `out = f(a, b)`; `out` is contiguous in their shape.
#[inline(always)] // `work` is a constant at each call, so only one dispatch is compiled
pub(crate) fn map2<A: AnyBits + Wide, B: AnyBits, U: AnyBits>(
    work: usize,
    out: &mut [U],
    a: Source<A>,
    b: Source<B>,
    f: impl Fn(A, B) -> U + Copy + Sync,
) {
    let store = Store::of(out, work);
    report(|| {
        launch::elementwise::<A>("map2", &[a.layout, b.layout], (out.len(), STREAM, work), store == Store::NonTemporal)
    });
    parallel::split(out, STREAM, work, |at, out| {
        let kernel = Map2 { at, out, a, b, f, store };
        if work < COMPUTE_BOUND { A::dispatch(kernel) } else { A::compute(kernel) }
    });
}

struct Map2<'a, A, B, U, F> {
    at: usize,
    out: &'a mut [U],
    a: Source<'a, A>,
    b: Source<'a, B>,
    f: F,
    store: Store,
}

impl<A: AnyBits, B: AnyBits, U: AnyBits, F: Fn(A, B) -> U + Copy> Kernel for Map2<'_, A, B, U, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Map2 { at, out, a, b, f, store } = self;
        let mut rows = Rows::new([a.layout, b.layout], at..at + out.len());
        let (a, b, [sa, sb]) = (a.data, b.data, rows.inner);
        while let Some((place, [pa, pb])) = rows.next() {
            let out = &mut out[place];
            let n = out.len();
            match (sa, sb) {
                _ if n == 1 => out[0] = f(a[pa], b[pb]),
                (1, 1) => {
                    let (mut out, mut a, mut b) = (out, &a[pa..][..n], &b[pb..][..n]);
                    if store.streams(out) {
                        let (blocks, rest) = out.as_chunks_mut::<STREAM>();
                        let ((a_blocks, a_rest), (b_blocks, b_rest)) =
                            (a.as_chunks::<STREAM>(), b.as_chunks::<STREAM>());
                        for ((out, a), b) in blocks.iter_mut().zip(a_blocks).zip(b_blocks) {
                            let mut block = [f(a[0], b[0]); STREAM];
                            for i in 0..STREAM {
                                block[i] = f(a[i], b[i]);
                            }
                            // SAFETY: `streams` checked that `out` is aligned to 32 bytes, and a block is a multiple of that, so
                            // every block is aligned. `fence` follows, before the loop returns to other threads.
                            unsafe { isa.stream(out, &block) };
                        }
                        isa.fence();
                        (out, a, b) = (rest, a_rest, b_rest);
                    }
                    let n = out.len();
                    let (a, b) = (&a[..n], &b[..n]);
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

/// `out = f(c, a, b)`; `out` is contiguous in their shape.
#[inline]
pub(crate) fn map3<C: AnyBits, A: AnyBits + Wide, U: AnyBits>(
    work: usize,
    out: &mut [U],
    c: Source<C>,
    [a, b]: [Source<A>; 2],
    f: impl Fn(C, A, A) -> U + Copy + Sync,
) {
    report(|| launch::elementwise::<A>("map3", &[c.layout, a.layout, b.layout], (out.len(), 1, work), false));
    parallel::split(out, 1, work, |at, out| A::dispatch(Map3 { at, out, c, a, b, f }));
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

/// `out = f(x)` for functions that call the maths library and so do not vectorise: one loop for all instruction sets.
pub(crate) fn slow1<T: AnyBits, U: AnyBits>(work: usize, out: &mut [U], x: Source<T>, f: impl Fn(T) -> U + Sync) {
    report(|| launch::elementwise::<T>("slow1", &[x.layout], (out.len(), 1, work), false));
    parallel::split(out, 1, work, |at, out| {
        let mut rows = Rows::new([x.layout], at..at + out.len());
        let [stride] = rows.inner;
        while let Some((place, [start])) = rows.next() {
            for (i, out) in out[place].iter_mut().enumerate() {
                *out = f(x.data[start + i * stride]);
            }
        }
    });
}

/// `out = f(a, b)`, as [`slow1`].
pub(crate) fn slow2<A: AnyBits, B: AnyBits, U: AnyBits>(
    work: usize,
    out: &mut [U],
    a: Source<A>,
    b: Source<B>,
    f: impl Fn(A, B) -> U + Sync,
) {
    report(|| launch::elementwise::<A>("slow2", &[a.layout, b.layout], (out.len(), 1, work), false));
    parallel::split(out, 1, work, |at, out| {
        let mut rows = Rows::new([a.layout, b.layout], at..at + out.len());
        let [sa, sb] = rows.inner;
        while let Some((place, [pa, pb])) = rows.next() {
            for (i, out) in out[place].iter_mut().enumerate() {
                *out = f(a.data[pa + i * sa], b.data[pb + i * sb]);
            }
        }
    });
}

#[cfg(test)]
mod tests;
