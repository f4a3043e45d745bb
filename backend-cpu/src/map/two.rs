//! Functions of two tensors.

use super::{ARITHMETIC, Rows, Source, Store};
use crate::launch::{self, report};
use crate::memory::AnyBits;
use crate::parallel;
use crate::simd::{BLOCK, Isa, Kernel, Wide};

/// `out = f(a, b)`; `out` is row-major of their shape.
#[inline(always)] // `work` is a constant, which decides what is compiled
pub(crate) fn map2<A: AnyBits + Wide, B: AnyBits, U: AnyBits>(
    work: usize,
    out: &mut [U],
    a: Source<A>,
    b: Source<B>,
    f: impl Fn(A, B) -> U + Copy + Sync,
) {
    let store = Store::of(out, work);
    report(|| launch::map::<A>("map2", &[a.layout, b.layout], (out.len(), BLOCK, work), store == Store::NonTemporal));
    parallel::pieces(out, BLOCK, work, |at, out| {
        let kernel = Map2 { at, out, a, b, f, store };
        if work < ARITHMETIC { A::dispatch(kernel) } else { A::compute(kernel) }
    });
}

pub(super) struct Map2<'a, A, B, U, F> {
    pub(super) at: usize,
    pub(super) out: &'a mut [U],
    pub(super) a: Source<'a, A>,
    pub(super) b: Source<'a, B>,
    pub(super) f: F,
    pub(super) store: Store,
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
                        let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
                        let ((a_blocks, a_rest), (b_blocks, b_rest)) = (a.as_chunks::<BLOCK>(), b.as_chunks::<BLOCK>());
                        for ((out, a), b) in blocks.iter_mut().zip(a_blocks).zip(b_blocks) {
                            let mut block = [f(a[0], b[0]); BLOCK];
                            for i in 0..BLOCK {
                                block[i] = f(a[i], b[i]);
                            }
                            // SAFETY: the first block is aligned, so all are; the fence follows.
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
