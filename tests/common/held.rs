//! How much memory a call takes at its most, for a test program of its own: the allocator counts, thread by thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes that this thread holds, and the most it has held.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// The system's allocator, which counts.
struct Counting;

// SAFETY: every call is forwarded unchanged to the system allocator; counting touches only a thread-local cell without
// destructor.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: the caller keeps `alloc`'s contract, which is the system allocator's.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: forwarded with the caller's layout.
        unsafe { System.alloc(layout) }
    }
    // SAFETY: the caller keeps `alloc_zeroed`'s contract, which is the system allocator's.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: forwarded with the caller's layout.
        unsafe { System.alloc_zeroed(layout) }
    }
    // SAFETY: the caller keeps `dealloc`'s contract, which is the system allocator's.
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the pointer came from the system allocator with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn count(bytes: isize) {
    let (held, most) = HELD.get();
    HELD.set((held + bytes, most.max(held + bytes)));
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a function gives back, and the most bytes that this thread held meanwhile beyond those that it held before.
pub(crate) fn most<T>(call: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.get().0;
    HELD.set((before, before));
    let result = call();
    (result, (HELD.get().1 - before) as usize)
}
