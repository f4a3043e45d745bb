//! When to use more than one thread.
//!
//! Work goes to rayon in pieces whose size depends on the work alone, so the bits of a result do not depend on the
//! number of threads; and only above a threshold, so small tensors never pay for waking another thread. Both are counted
//! in `work`: one unit is one element of f32 added to another in the cache, about 0.1 ns.
//!
//! Measured on 2 cores of an EPYC 7003 that others were using too, `a + b` of f32: handing work to rayon and waiting for
//! it costs 15 us, `98304` elements take 10 us on one thread, `262144` take 29 us. So work is shared from 26 us on, in pieces
//! of 3 us. An exponential of std takes 3.4 ns, 32 units.

use rayon::prelude::*;
use std::sync::Once;

/// Work below which a call stays on its thread.
pub(crate) const PARALLEL: usize = 256 * 1024;

/// Work of one piece.
pub(crate) const PIECE: usize = 32 * 1024;

/// Calls `body(first element, piece)` for pieces of `out` that are multiples of `unit` elements long. `work` is the work
/// per element.
#[inline]
pub(crate) fn pieces<T: Send>(out: &mut [T], unit: usize, work: usize, body: impl Fn(usize, &mut [T]) + Sync) {
    if out.len() * work >= PARALLEL {
        spread(out, piece_len(unit, work), &body);
    } else if !out.is_empty() {
        body(0, out);
    }
}

/// Behind a `dyn` call per piece: rayon's machinery is compiled once per element type and not once per operation, which
/// halves the time it takes to compile this crate.
#[inline(never)]
fn spread<T: Send>(out: &mut [T], piece: usize, body: &(dyn Fn(usize, &mut [T]) + Sync)) {
    out.par_chunks_mut(piece).enumerate().for_each(|(i, out)| body(i * piece, out));
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
    let piece = piece_len(1, work);
    a.par_chunks_mut(piece).zip(b.par_chunks_mut(piece)).enumerate().for_each(|(i, (a, b))| body(i * piece, a, b));
}

/// [`pieces`] of rows of `width` elements, with two numbers for each row. `work` is the work per element.
pub(crate) fn rows2<T: Send>(
    out: &mut [T],
    width: usize,
    (a, b): (&mut [T], &mut [T]),
    work: usize,
    body: impl Fn(usize, &mut [T], &mut [T], &mut [T]) + Sync,
) {
    if out.len() * work < PARALLEL {
        return body(0, out, a, b);
    }
    let piece = piece_len(width, work);
    let rows = piece / width;
    let numbers = a.par_chunks_mut(rows).zip(b.par_chunks_mut(rows));
    out.par_chunks_mut(piece).zip(numbers).enumerate().for_each(|(i, (out, (a, b)))| body(i * rows, out, a, b));
}

/// The largest multiple of `unit` that is about one piece of work; at least one unit.
fn piece_len(unit: usize, work: usize) -> usize {
    let unit = unit.max(1);
    (PIECE / work.max(1) / unit).max(1) * unit
}

/// Sizes rayon's global pool from `MINITORCH_NUM_THREADS`, once, before the first work.
///
/// The backend uses the pool of the calling thread: rayon's global one unless the caller is inside
/// `ThreadPool::install`. So a program that has its own pool keeps it, and one variable bounds everything.
pub(crate) fn start() {
    static START: Once = Once::new();
    START.call_once(|| {
        let Ok(text) = std::env::var("MINITORCH_NUM_THREADS") else { return };
        match text.trim().parse() {
            // An error means that the program built the global pool itself; its choice stands.
            Ok(threads) => drop(rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()),
            Err(_) => panic!("MINITORCH_NUM_THREADS={text}: expected a number"),
        }
    });
}
