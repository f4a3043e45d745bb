//! Functions of one tensor.

use super::{ARITHMETIC, Rows, Source, Store};
use crate::launch::{self, report};
use crate::memory::AnyBits;
use crate::parallel;
use crate::simd::{BLOCK, Isa, Kernel, Wide};

/// `out = f(x)`; `out` is row-major of x's shape.
#[inline(always)] // `work` is a constant, which decides what is compiled
pub(crate) fn map1<T: AnyBits + Wide, U: AnyBits>(
    work: usize,
    out: &mut [U],
    x: Source<T>,
    f: impl Fn(T) -> U + Copy + Sync,
) {
    let store = Store::of(out, work);
    report(|| launch::map::<T>("map1", &[x.layout], (out.len(), BLOCK, work), store == Store::NonTemporal));
    parallel::pieces(out, BLOCK, work, |at, out| {
        let kernel = Map1 { at, out, x, f, store };
        if work < ARITHMETIC { T::dispatch(kernel) } else { T::compute(kernel) }
    });
}

pub(super) struct Map1<'a, T, U, F> {
    pub(super) at: usize,
    pub(super) out: &'a mut [U],
    pub(super) x: Source<'a, T>,
    pub(super) f: F,
    pub(super) store: Store,
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
                        let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
                        let (x_blocks, x_rest) = x.as_chunks::<BLOCK>();
                        for (out, x) in blocks.iter_mut().zip(x_blocks) {
                            let mut block = [f(x[0]); BLOCK];
                            for i in 0..BLOCK {
                                block[i] = f(x[i]);
                            }
                            // SAFETY: the first block is aligned, so all are; the fence follows.
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

/// `out = f(out, x)`; `out` is row-major of x's shape.
#[inline(always)] // `work` is a constant, which decides what is compiled
pub(crate) fn update1<T: AnyBits + Wide, U: AnyBits>(
    work: usize,
    out: &mut [U],
    x: Source<T>,
    f: impl Fn(U, T) -> U + Copy + Sync,
) {
    report(|| launch::in_place(launch::map::<T>("update1", &[x.layout], (out.len(), BLOCK, work), false)));
    parallel::pieces(out, BLOCK, work, |at, out| {
        let kernel = Update1 { at, out, x, f };
        if work < ARITHMETIC { T::dispatch(kernel) } else { T::compute(kernel) }
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
