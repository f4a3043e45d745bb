//! A global allocator that counts: allocations, and the bytes that a thread holds.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

thread_local! {
    /// The allocations of this thread.
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    /// The bytes that this thread holds, and their peak.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}
/// Allocations of at least [`LARGE`] bytes, on any thread.
static LARGE_ONES: AtomicUsize = AtomicUsize::new(0);
/// The smallest activation of a LeNet step on 64 images has 84 x 64 floats: tensor data are larger than this, other allocations smaller.
const LARGE: usize = 16 << 10;

/// The system allocator with counters.
struct Counting;

// SAFETY: every call is forwarded unchanged to the system allocator; counting touches only thread-local cells without
// destructor and an atomic.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: the caller keeps `alloc`'s contract, which is the system allocator's.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: forwarded with the caller's layout.
        unsafe { System.alloc(layout) }
    }
    // SAFETY: the caller keeps `alloc_zeroed`'s contract, which is the system allocator's.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: forwarded with the caller's layout.
        unsafe { System.alloc_zeroed(layout) }
    }
    // SAFETY: the caller keeps `dealloc`'s contract, which is the system allocator's.
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let (held, peak) = HELD.get();
        HELD.set((held - layout.size() as isize, peak));
        // SAFETY: the pointer came from the system allocator with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn count(size: usize) {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
    let (held, peak) = HELD.get();
    let held = held + size as isize;
    HELD.set((held, peak.max(held)));
    if size >= LARGE {
        LARGE_ONES.fetch_add(1, Relaxed);
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The allocations of this thread.
pub(crate) fn allocations() -> usize {
    ALLOCATIONS.get()
}

/// The allocations of all threads that are as large as tensor data.
pub(crate) fn large_allocations() -> usize {
    LARGE_ONES.load(Relaxed)
}

/// The result of a call, and the peak of the bytes that this thread held during it, beyond those that it held before.
pub(crate) fn peak<T>(call: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get().0;
    HELD.set((before, before));
    let result = call();
    (result, (HELD.get().1 - before) as usize)
}
