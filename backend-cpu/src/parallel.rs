//! Data-parallel loops: when a loop uses more than one thread, and how its data is divided.
//!
//! ```text
//! split(out, unit, work, body):
//!     if len * work < MIN_PARALLEL_WORK:  body(0, out)                     on the calling thread
//!     else:                               body(first element, chunk)       for chunks of about CHUNK_WORK, on all threads
//! ```
//! `work` is the cost of one element; the unit is an f32 addition on data in the cache. The chunk size depends on `len`, `unit`
//! and `work`, not on the number of threads, so results are bit-identical for any number of them. Loops run on the rayon pool of
//! the calling thread: the global pool, or the one that the caller has installed.

mod job;

use std::marker::PhantomData;

/// The least work for which a loop uses more than one thread: less takes no longer than waking a worker.
pub(crate) const MIN_PARALLEL_WORK: usize = 64 * 1024;

/// Work of one chunk.
pub(crate) const CHUNK_WORK: usize = 32 * 1024;

/// The number of chunks of a long loop: enough to balance the load of many threads, and few enough that each reads memory in a
/// long stream.
const CHUNKS: usize = 128;

/// Calls `body(first element, chunk)` for chunks of `out`, each a multiple of `unit` elements. `work` is the work of one element.
#[inline]
pub(crate) fn split<T: Send>(out: &mut [T], unit: usize, work: usize, body: impl Fn(usize, &mut [T]) + Sync) {
    if out.len() * work >= MIN_PARALLEL_WORK {
        split_on_threads(out, chunk_len(out.len(), unit, work), &body);
    } else if !out.is_empty() {
        body(0, out);
    }
}

/// The parallel case of [`split`]: not generic over the body, so that it is compiled once per element type.
fn split_on_threads<T: Send>(out: &mut [T], chunk: usize, body: &(dyn Fn(usize, &mut [T]) + Sync)) {
    each_chunk(out, chunk, |i, out| body(i * chunk, out));
}

/// [`split`] of several slices of equal length; where one is empty instead, so are its chunks.
pub(crate) fn split_slices<T: Send, const N: usize>(
    slices: [&mut [T]; N],
    work: usize,
    body: impl Fn(usize, [&mut [T]; N]) + Sync,
) {
    let len = slices[0].len();
    if len * work < MIN_PARALLEL_WORK {
        return body(0, slices);
    }
    assert!(slices.iter().all(|slice| slice.len() == len || slice.is_empty()), "slices of equal length");
    let chunk = chunk_len(len, 1, work);
    let slices = slices.map(|slice| Chunks::new(slice, chunk));
    job::run(len.div_ceil(chunk), &|i| {
        // SAFETY: `job::run` calls this once for each index.
        body(i * chunk, slices.each_ref().map(|slice| unsafe { slice.get(i) }));
    });
}

/// [`split`] of rows of `width` elements, each with a record of `fields` elements: calls `body(first row, rows, their records)`.
pub(crate) fn split_rows<T: Send>(
    out: &mut [T],
    width: usize,
    (records, fields): (&mut [T], usize),
    work: usize,
    body: impl Fn(usize, &mut [T], &mut [T]) + Sync,
) {
    if out.len() * work < MIN_PARALLEL_WORK {
        return body(0, out, records);
    }
    let chunk = chunk_len(out.len(), width, work);
    let rows = chunk / width;
    each_chunk2((out, chunk), (records, rows * fields), 1, |i, out, records| body(i * rows, out, records));
}

/// Calls `body(0)` ... `body(count - 1)`, each once, on all threads. A thread takes `grain` consecutive indices at a time.
pub(crate) fn each(count: usize, grain: usize, body: impl Fn(usize) + Sync) {
    let grain = grain.max(1);
    job::run(count.div_ceil(grain), &|i| (i * grain..count.min((i + 1) * grain)).for_each(&body));
}

/// Calls `body(index, chunk)` for the chunks of `data`, on all threads. Chunks have `chunk` elements; the last may have fewer.
pub(crate) fn each_chunk<T: Send>(data: &mut [T], chunk: usize, body: impl Fn(usize, &mut [T]) + Sync) {
    let chunks = Chunks::new(data, chunk);
    // SAFETY: `job::run` calls the body once for each index.
    job::run(chunks.count(), &|i| body(i, unsafe { chunks.get(i) }));
}

/// [`each_chunk`] of two slices with equally many chunks. A thread takes `grain` consecutive chunks at a time.
pub(crate) fn each_chunk2<T: Send, U: Send>(
    (a, a_chunk): (&mut [T], usize),
    (b, b_chunk): (&mut [U], usize),
    grain: usize,
    body: impl Fn(usize, &mut [T], &mut [U]) + Sync,
) {
    let (a, b) = (Chunks::new(a, a_chunk), Chunks::new(b, b_chunk));
    assert_eq!(a.count(), b.count(), "chunks of two slices");
    // SAFETY: `each` calls the body once for each index.
    each(a.count(), grain, |i| unsafe { body(i, a.get(i), b.get(i)) });
}

/// A mutable slice in disjoint chunks, which several threads write at the same time.
struct Chunks<'a, T> {
    start: *mut T,
    len: usize,
    chunk: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: `&Chunks` gives access to elements through `get` alone, whose caller guarantees that no two threads take the same
// chunk; a chunk may move to another thread because `T: Send`.
unsafe impl<T: Send> Sync for Chunks<'_, T> {}

impl<'a, T> Chunks<'a, T> {
    fn new(data: &'a mut [T], chunk: usize) -> Self {
        Chunks { start: data.as_mut_ptr(), len: data.len(), chunk: chunk.max(1), slice: PhantomData }
    }

    fn count(&self) -> usize {
        self.len.div_ceil(self.chunk)
    }

    /// Chunk `index`; empty beyond the last.
    ///
    /// # Safety
    /// `get` is called at most once with each index.
    #[allow(clippy::mut_from_ref)]
    unsafe fn get(&self, index: usize) -> &'a mut [T] {
        let start = index.saturating_mul(self.chunk).min(self.len);
        // SAFETY: the minima keep the chunk within the slice, which `new` borrowed exclusively for 'a. Chunks of different
        // indices are disjoint, and the caller asks for each at most once, so no two references overlap.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), self.chunk.min(self.len - start)) }
    }
}

/// The length of the chunks of `len` elements: about [`CHUNK_WORK`], or the length for [`CHUNKS`] chunks if that is more; a
/// multiple of `unit`.
fn chunk_len(len: usize, unit: usize, work: usize) -> usize {
    let unit = unit.max(1);
    ((CHUNK_WORK / work.max(1)).max(len / CHUNKS) / unit).max(1) * unit
}

/// The number of chunks into which [`split`] divides `len` elements.
pub(crate) fn chunk_count(len: usize, unit: usize, work: usize) -> usize {
    if len.saturating_mul(work) >= MIN_PARALLEL_WORK { len.div_ceil(chunk_len(len, unit, work)) } else { 1 }
}
