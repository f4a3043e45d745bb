//! When to use more than one thread.
//!
//! Work is cut into pieces whose size depends on the work alone, so the bits of a result do not depend on the number of
//! threads; and only above a threshold, so small tensors never pay for waking another thread. Both are counted in `work`: one
//! unit is one element of f32 added to another in the cache, about 0.1 ns. An exponential of std takes 3.4 ns, 32 units.
//!
//! The caller begins with the first piece and rayon's workers join it (`team.rs`). Measured on 2 cores of an EPYC 7003 that others
//! were using too, `a + b` of f32: 70,000 elements take 14 us on one thread and 6 us on two, 200,000 take 35 us and 20 us. So work
//! is shared from 7 us on, in pieces of 3 us.

mod team;

use std::marker::PhantomData;
use std::sync::Once;

/// Work below which a call stays on its thread.
pub(crate) const PARALLEL: usize = 64 * 1024;

/// Work of one piece.
pub(crate) const PIECE: usize = 32 * 1024;

/// Calls `body(first element, piece)` for pieces of `out` that are multiples of `unit` elements long. `work` is the work
/// per element.
#[inline]
pub(crate) fn pieces<T: Send>(out: &mut [T], unit: usize, work: usize, body: impl Fn(usize, &mut [T]) + Sync) {
    if out.len() * work >= PARALLEL {
        spread(out, piece_len(out.len(), unit, work), &body);
    } else if !out.is_empty() {
        body(0, out);
    }
}

/// [`pieces`] without the question whether.
fn spread<T: Send>(out: &mut [T], piece: usize, body: &(dyn Fn(usize, &mut [T]) + Sync)) {
    each_chunk(out, piece, |i, out| body(i * piece, out));
}

/// [`pieces`] of two slices of one length.
pub(crate) fn pieces2<T: Send>(
    (a, b): (&mut [T], &mut [T]),
    work: usize,
    body: impl Fn(usize, &mut [T], &mut [T]) + Sync,
) {
    if a.len() * work < PARALLEL {
        return body(0, a, b);
    }
    let piece = piece_len(a.len(), 1, work);
    each_chunk2((a, piece), (b, piece), 1, |i, a, b| body(i * piece, a, b));
}

/// [`pieces`] of rows of `width` elements, with a record of `fields` numbers for each row. `work` is the work per element.
pub(crate) fn rows<T: Send>(
    out: &mut [T],
    width: usize,
    (records, fields): (&mut [T], usize),
    work: usize,
    body: impl Fn(usize, &mut [T], &mut [T]) + Sync,
) {
    if out.len() * work < PARALLEL {
        return body(0, out, records);
    }
    let piece = piece_len(out.len(), width, work);
    let rows = piece / width;
    each_chunk2((out, piece), (records, rows * fields), 1, |i, out, records| body(i * rows, out, records));
}

/// Calls `body(0)` ... `body(count - 1)`, each once, on all threads, in runs of `grain`.
pub(crate) fn each(count: usize, grain: usize, body: impl Fn(usize) + Sync) {
    let grain = grain.max(1);
    team::run(count.div_ceil(grain), &|run| (run * grain..count.min((run + 1) * grain)).for_each(&body));
}

/// Calls `body(index, chunk)` for the chunks of `data`, `chunk` elements each but for the last, on all threads.
pub(crate) fn each_chunk<T: Send>(data: &mut [T], chunk: usize, body: impl Fn(usize, &mut [T]) + Sync) {
    let chunks = Chunks::new(data, chunk);
    // SAFETY: each index is visited once.
    team::run(chunks.count(), &|i| body(i, unsafe { chunks.get(i) }));
}

/// [`each_chunk`] of two slices with as many chunks, in runs of `grain`.
pub(crate) fn each_chunk2<T: Send, U: Send>(
    (a, a_chunk): (&mut [T], usize),
    (b, b_chunk): (&mut [U], usize),
    grain: usize,
    body: impl Fn(usize, &mut [T], &mut [U]) + Sync,
) {
    let (a, b) = (Chunks::new(a, a_chunk), Chunks::new(b, b_chunk));
    assert_eq!(a.count(), b.count(), "chunks of two slices");
    // SAFETY: each index is visited once.
    each(a.count(), grain, |i| unsafe { body(i, a.get(i), b.get(i)) });
}

/// A slice in chunks that several threads write at the same time.
struct Chunks<'a, T> {
    first: *mut T,
    len: usize,
    chunk: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: as good as the `&mut [T]` it was made from; shared between threads it allows nothing but the unsafe `get`, whose caller
// sees to it that no two have one chunk.
unsafe impl<T: Send> Sync for Chunks<'_, T> {}

impl<'a, T> Chunks<'a, T> {
    fn new(data: &'a mut [T], chunk: usize) -> Self {
        Chunks { first: data.as_mut_ptr(), len: data.len(), chunk: chunk.max(1), owner: PhantomData }
    }

    fn count(&self) -> usize {
        self.len.div_ceil(self.chunk)
    }

    /// # Safety
    /// No index is asked for twice.
    #[allow(clippy::mut_from_ref)]
    unsafe fn get(&self, index: usize) -> &'a mut [T] {
        assert!(index < self.count());
        let start = index * self.chunk;
        // SAFETY: the chunk lies within the slice, which nobody else sees while this view lives; chunks of different indices lie
        // apart, and the caller asks once for each.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(start), self.chunk.min(self.len - start)) }
    }
}

/// Pieces of much work: enough for many threads to end at about the same time, each long enough to read memory in a stream.
const PIECES: usize = 128;

/// The length of a piece of `len` elements: the largest multiple of `unit` that is about one piece of work; at least one
/// unit.
fn piece_len(len: usize, unit: usize, work: usize) -> usize {
    let unit = unit.max(1);
    ((PIECE / work.max(1)).max(len / PIECES) / unit).max(1) * unit
}

/// How many pieces [`pieces`] makes of `len` elements.
pub(crate) fn piece_count(len: usize, unit: usize, work: usize) -> usize {
    if len.saturating_mul(work) >= PARALLEL { len.div_ceil(piece_len(len, unit, work)) } else { 1 }
}

/// Sizes rayon's global pool from `MINITORCH_NUM_THREADS`, once, before the first work.
///
/// The backend uses the pool of the calling thread: rayon's global one unless the caller is inside
/// `ThreadPool::install`. So a program that has its own pool keeps it, and one variable bounds everything.
pub(crate) fn start() {
    static START: Once = Once::new();
    START.call_once(crate::settings::size_pool);
}
