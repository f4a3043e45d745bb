//! The peak memory of a call, by an allocator that counts per thread; for a test program of its own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// The bytes that this thread holds, and their peak.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// The system allocator with a counter.
struct Counting;

// SAFETY: every call is forwarded unchanged to the system allocator; counting only touches a thread-local cell without
// destructor.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: the contract of `alloc` is that of the system allocator; the caller upholds it.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: forwarded with the caller's layout.
        unsafe { System.alloc(layout) }
    }
    // SAFETY: the contract of `alloc_zeroed` is that of the system allocator; the caller upholds it.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: forwarded with the caller's layout.
        unsafe { System.alloc_zeroed(layout) }
    }
    // SAFETY: the contract of `dealloc` is that of the system allocator; the caller upholds it.
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller guarantees that the pointer came from this allocator, hence from the system, with this
        // layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn count(bytes: isize) {
    let (held, peak) = HELD.get();
    HELD.set((held + bytes, peak.max(held + bytes)));
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The result of a call, and the peak of the bytes that this thread held during it, beyond those that it held before.
pub(crate) fn peak<T>(call: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get().0;
    HELD.set((before, before));
    let result = call();
    (result, (HELD.get().1 - before) as usize)
}
