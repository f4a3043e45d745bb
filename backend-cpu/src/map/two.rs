//! Functions of two tensors.

use super::{Road, Rows, Source};
use crate::memory::AnyBits;
use crate::parallel;
use crate::simd::{BLOCK, Isa, Kernel, Wide};

/// Elements that one of the quarters gets before the next has its turn: a cache line of f32.
const LINE: usize = 16;

/// `out = f(a, b)`; `out` is row-major of their shape.
#[inline]
pub(crate) fn map2<A: AnyBits + Wide, B: AnyBits, U: AnyBits>(
    work: usize,
    out: &mut [U],
    a: Source<A>,
    b: Source<B>,
    f: impl Fn(A, B) -> U + Copy + Sync,
) {
    let road = Road::of(out, work);
    parallel::pieces(out, BLOCK, work, |at, out| A::dispatch(Map2 { at, out, a, b, f, road }));
}

pub(super) struct Map2<'a, A, B, U, F> {
    pub(super) at: usize,
    pub(super) out: &'a mut [U],
    pub(super) a: Source<'a, A>,
    pub(super) b: Source<'a, B>,
    pub(super) f: F,
    pub(super) road: Road,
}

impl<A: AnyBits, B: AnyBits, U: AnyBits, F: Fn(A, B) -> U + Copy> Kernel for Map2<'_, A, B, U, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let Map2 { mut at, mut out, a, b, f, road } = self;
        if road == Road::Quarters {
            let done = quarters(at, out, &a, &b, f);
            (at, out) = (at + done, &mut out[done..]);
        }
        let mut rows = Rows::new([&a.layout, &b.layout], at..at + out.len());
        let (a, b, [sa, sb]) = (a.data, b.data, rows.inner);
        while let Some((place, [pa, pb])) = rows.next() {
            let out = &mut out[place];
            let n = out.len();
            match (sa, sb) {
                _ if n == 1 => out[0] = f(a[pa], b[pb]),
                (1, 1) => {
                    let (mut out, mut a, mut b) = (out, &a[pa..][..n], &b[pb..][..n]);
                    if road.streams(out) {
                        let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
                        let ((a_blocks, a_rest), (b_blocks, b_rest)) = (a.as_chunks::<BLOCK>(), b.as_chunks::<BLOCK>());
                        for ((out, a), b) in blocks.iter_mut().zip(a_blocks).zip(b_blocks) {
                            let mut block = [f(a[0], b[0]); BLOCK];
                            for i in 0..BLOCK {
                                block[i] = f(a[i], b[i]);
                            }
                            // SAFETY: the first block is aligned, so all are; the fence follows.
                            unsafe { I::stream(out, &block) };
                        }
                        I::fence();
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

/// Fills four parts of `out` in turn, a line of each; returns how many elements that were: the first ones. None if the rows of `a` and
/// `b` are not contiguous, or the parts would have rows of different lengths.
#[inline(always)]
fn quarters<A: AnyBits, B: AnyBits, U: AnyBits>(
    at: usize,
    out: &mut [U],
    a: &Source<A>,
    b: &Source<B>,
    f: impl Fn(A, B) -> U + Copy,
) -> usize {
    let layouts = [&a.layout, &b.layout];
    let width = a.layout.shape().last().copied().unwrap_or(1);
    let part = match out.len() / 4 {
        part if part >= width => part / width * width,
        part if a.layout.shape().len() == 1 => part,
        _ => 0,
    };
    if part == 0 || layouts.iter().any(|layout| layout.strides().last() != Some(&1)) {
        return 0;
    }
    let mut rows: [_; 4] = std::array::from_fn(|i| Rows::new(layouts, at + i * part..at + (i + 1) * part));
    while let [Some(p), Some(q), Some(r), Some(t)] = rows.each_mut().map(Rows::next) {
        let (place, starts) = (p.0, [p.1, q.1, r.1, t.1]);
        let (first, rest) = out.split_at_mut(part);
        let (second, rest) = rest.split_at_mut(part);
        let (third, fourth) = rest.split_at_mut(part);
        let out = [first, second, third, fourth].map(|part| part[place.clone()].as_chunks_mut::<LINE>());
        let a: [_; 4] = std::array::from_fn(|i| a.data[starts[i][0]..][..place.len()].as_chunks::<LINE>());
        let b: [_; 4] = std::array::from_fn(|i| b.data[starts[i][1]..][..place.len()].as_chunks::<LINE>());
        for line in 0..place.len() / LINE {
            for i in 0..4 {
                let (a, b) = (&a[i].0[line], &b[i].0[line]);
                let mut results = [f(a[0], b[0]); LINE];
                for j in 0..LINE {
                    results[j] = f(a[j], b[j]);
                }
                out[i].0[line] = results;
            }
        }
        for i in 0..4 {
            for j in 0..place.len() % LINE {
                out[i].1[j] = f(a[i].1[j], b[i].1[j]);
            }
        }
    }
    4 * part
}
