//! Tensor memory: 64-byte aligned buffers from a process-wide cache of freed ones.
//!
//! ```text
//! allocate(bytes):  class = smallest size class >= bytes
//!                   pop the free list of the class; if it is empty, ask the allocator for zeroed memory
//! free:             push onto the free list
//! ```
//! A warm allocation or free takes one lock, usually uncontended, and makes no system call. A free list reserves capacity when a
//! block of its class is allocated, so a free never allocates.
//!
//! Size classes are four steps per power of two (64, 80, 96, 112, 128, 160, ... bytes): at most a quarter of a block is unused.
//!
//! Memory is always initialised: a block is zeroed when it is allocated and keeps the contents of its last owner when it is
//! reused. Every bit pattern is a value of the element types (`f32`, `f64`, `i32`, `u8`), so reading a reused block yields stale
//! values and is not undefined behaviour.

use minitorch_core::DType;
use minitorch_core::backend::MemoryStats;
use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};

/// Blocks start on a cache line, so that no aligned SIMD load crosses two.
const ALIGNMENT: usize = 64;

/// A huge page of x86-64 and of most Arm machines. Blocks of at least this size are aligned to it and ask for huge pages: 512
/// times fewer page faults, and fewer TLB misses.
const HUGE_PAGE: usize = 2 << 20;

/// Log2 of the bytes of the smallest class.
const MIN_EXPONENT: u32 = 6;

/// Classes up to 2^62 bytes. No machine can allocate the largest, but every size has a class.
const CLASSES: usize = 4 * (62 - MIN_EXPONENT as usize) + 1;

pub(crate) mod sealed {
    /// # Safety
    /// Every bit pattern is a value of the type, and its alignment is at most [`ALIGNMENT`](super::ALIGNMENT).
    pub unsafe trait AnyBits: Copy + Send + Sync + 'static {}
}
pub(crate) use sealed::AnyBits;

// SAFETY: every bit pattern is a `u8`; the alignment is 1.
unsafe impl AnyBits for u8 {}
// SAFETY: every bit pattern is an `i32`; the alignment is 4.
unsafe impl AnyBits for i32 {}
// SAFETY: every bit pattern is an `f32` (some are NaN); the alignment is 4.
unsafe impl AnyBits for f32 {}
// SAFETY: every bit pattern is an `f64` (some are NaN); the alignment is at most 8.
unsafe impl AnyBits for f64 {}

/// The elements of a tensor on the CPU.
#[derive(Debug)]
#[allow(missing_docs)] // the variants are the dtypes
pub enum Storage {
    F32(AlignedBuffer<f32>),
    F64(AlignedBuffer<f64>),
    I32(AlignedBuffer<i32>),
    /// One byte each, 0 or 1.
    Bool(AlignedBuffer<u8>),
    /// The result of an operation that had no memory for it, or a missing operand. It has no elements, whatever the layout says,
    /// and reading it is an error.
    Missing(DType),
}

impl Storage {
    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            Storage::F32(_) => DType::F32,
            Storage::F64(_) => DType::F64,
            Storage::I32(_) => DType::I32,
            Storage::Bool(_) => DType::Bool,
            Storage::Missing(dtype) => *dtype,
        }
    }

    /// Whether there was no memory for the elements.
    #[inline]
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Storage::Missing(_))
    }
}

/// A slice of fixed length in 64-byte aligned memory, which returns to the cache when it is dropped.
pub struct AlignedBuffer<T: AnyBits> {
    start: NonNull<u8>,
    len: usize,
    class: usize,
    elements: PhantomData<T>,
}

// SAFETY: a buffer owns its memory exclusively, as a `Vec` does, and `AnyBits` implies `Send`.
unsafe impl<T: AnyBits> Send for AlignedBuffer<T> {}
// SAFETY: `&AlignedBuffer` only gives `&[T]`, and `AnyBits` implies `Sync`.
unsafe impl<T: AnyBits> Sync for AlignedBuffer<T> {}

/// The allocator has no memory left, even after the cache was released.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutOfMemory {
    pub(crate) bytes: usize,
}

impl<T: AnyBits> AlignedBuffer<T> {
    /// A buffer of `len` elements with unspecified contents.
    pub(crate) fn new(len: usize) -> Result<Self, OutOfMemory> {
        if len == 0 {
            // No block: `Drop` ignores it. The pointer is aligned and not null, as a slice requires.
            return Ok(AlignedBuffer {
                start: NonNull::<CacheLine>::dangling().cast(),
                len,
                class: 0,
                elements: PhantomData,
            });
        }
        let bytes = len.checked_mul(size_of::<T>()).filter(|&b| b <= 1 << 62);
        let class = class_of(bytes.ok_or(OutOfMemory { bytes: usize::MAX })?);
        let start = allocate(class)?;
        Ok(AlignedBuffer { start, len, class, elements: PhantomData })
    }
}

/// `vec![0; len]`, but running out of memory is an error and does not abort the process.
pub(crate) fn zeros<T: AnyBits>(len: usize) -> Result<Vec<T>, OutOfMemory> {
    let Ok(layout) = Layout::array::<T>(len) else { return Err(OutOfMemory { bytes: usize::MAX }) };
    if layout.size() == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the layout's size is not 0, checked above.
    let start = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(OutOfMemory { bytes: layout.size() })?;
    // SAFETY: `start` was just allocated by the global allocator, which is a `Vec`'s too, with the layout of `[T; len]`; its
    // bytes are zero, which is a `T` by `AnyBits`.
    Ok(unsafe { Vec::from_raw_parts(start.as_ptr().cast(), len, len) })
}

/// The pointee of an empty buffer's dangling pointer, which so has [`ALIGNMENT`].
#[repr(align(64))]
struct CacheLine;

impl<T: AnyBits> Deref for AlignedBuffer<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: `new` set `start` to an aligned pointer and, unless `len` is 0, to a block of at least `len` elements that this
        // buffer owns exclusively until `drop`. `allocate_fresh` initialised the block, and every bit pattern is a `T` by
        // `AnyBits`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.len) }
    }
}

impl<T: AnyBits> DerefMut for AlignedBuffer<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.len) }
    }
}

impl<T: AnyBits> Drop for AlignedBuffer<T> {
    fn drop(&mut self) {
        if self.len != 0 {
            free(self.class, self.start);
        }
    }
}

impl<T: AnyBits + std::fmt::Debug> std::fmt::Debug for AlignedBuffer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

/// The smallest class of at least `bytes`: `4 * (exponent - MIN_EXPONENT) + quarter + 1` for the exponent and the two bits below
/// the leading one of `bytes - 1`.
fn class_of(bytes: usize) -> usize {
    let last = bytes.max(1 << MIN_EXPONENT) - 1; // a class ends at 2^e + q * 2^(e-2) bytes, inclusive
    let exponent = last.ilog2();
    if exponent < MIN_EXPONENT {
        return 0;
    }
    4 * (exponent - MIN_EXPONENT) as usize + ((last >> (exponent - 2)) & 3) + 1
}

/// Bytes of a class: the inverse of [`class_of`].
fn class_bytes(class: usize) -> usize {
    ((4 + class % 4) << (class / 4)) << (MIN_EXPONENT - 2)
}

fn class_layout(class: usize) -> Layout {
    let bytes = class_bytes(class);
    match Layout::from_size_align(bytes, if bytes < HUGE_PAGE { ALIGNMENT } else { HUGE_PAGE }) {
        Ok(layout) => layout,
        Err(_) => unreachable!("size classes end before isize::MAX"),
    }
}

/// The free list of one class.
struct FreeList {
    blocks: Vec<Block>,
    /// Blocks of this class that exist, free or in use; `blocks` has capacity for all of them.
    existing: usize,
}

/// The start of a block of its list's class: allocated, initialised, and unused.
struct Block(NonNull<u8>);

// SAFETY: a block on a free list has no other owner; the allocator's memory belongs to no thread.
unsafe impl Send for Block {}

static FREE_LISTS: [Mutex<FreeList>; CLASSES] =
    [const { Mutex::new(FreeList { blocks: Vec::new(), existing: 0 }) }; CLASSES];
static LIVE: AtomicUsize = AtomicUsize::new(0);
static RESERVED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn lock(class: usize) -> MutexGuard<'static, FreeList> {
    // The only panic under the lock is a failed `reserve`, which leaves the list valid.
    FREE_LISTS[class].lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A block of a class: from the free list, or fresh.
fn allocate(class: usize) -> Result<NonNull<u8>, OutOfMemory> {
    let cached = lock(class).blocks.pop();
    let start = match cached {
        Some(Block(start)) => start,
        None => allocate_fresh(class)?,
    };
    let live = LIVE.fetch_add(class_bytes(class), Relaxed) + class_bytes(class);
    if live > PEAK.load(Relaxed) {
        PEAK.fetch_max(live, Relaxed);
    }
    Ok(start)
}

/// Asks the OS to back `memory` with huge pages, as far as they lie entirely within it. The OS may ignore the advice.
pub(crate) fn advise_huge<T>(memory: &mut [MaybeUninit<T>]) {
    #[cfg(target_os = "linux")]
    {
        let range = memory.as_ptr_range();
        let start = range.start.addr().next_multiple_of(HUGE_PAGE);
        let bytes = (range.end.addr() & !(HUGE_PAGE - 1)).saturating_sub(start);
        if bytes > 0 {
            // SAFETY: `start..start + bytes` lies within `memory`, which the caller has borrowed exclusively, and MADV_HUGEPAGE
            // does not change its contents.
            unsafe { libc::madvise(range.start.with_addr(start).cast_mut().cast(), bytes, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}

/// A zeroed block from the allocator. If that fails, all cached blocks are released and the allocator is asked again.
#[cold]
fn allocate_fresh(class: usize) -> Result<NonNull<u8>, OutOfMemory> {
    let layout = class_layout(class);
    let zeroed = || {
        // SAFETY: the size of a class is at least 64 bytes.
        let start = NonNull::new(unsafe { alloc(layout) })?;
        if layout.align() == HUGE_PAGE {
            // SAFETY: `alloc` just returned `layout.size()` bytes that nothing else refers to.
            advise_huge(unsafe {
                std::slice::from_raw_parts_mut(start.as_ptr().cast::<MaybeUninit<u8>>(), layout.size())
            });
        }
        // SAFETY: `alloc` just returned `layout.size()` bytes that nothing else refers to.
        unsafe { start.as_ptr().write_bytes(0, layout.size()) };
        Some(start)
    };
    let start = zeroed().or_else(|| {
        release();
        zeroed()
    });
    let start = start.ok_or(OutOfMemory { bytes: layout.size() })?;
    RESERVED.fetch_add(layout.size(), Relaxed);
    let mut list = lock(class);
    list.existing += 1;
    let in_use = list.existing - list.blocks.len();
    list.blocks.reserve(in_use);
    Ok(start)
}

fn free(class: usize, start: NonNull<u8>) {
    LIVE.fetch_sub(class_bytes(class), Relaxed);
    lock(class).blocks.push(Block(start));
}

/// Returns all free blocks to the allocator.
pub(crate) fn release() {
    for class in 0..CLASSES {
        let mut list = lock(class);
        let layout = class_layout(class);
        while let Some(Block(start)) = list.blocks.pop() {
            // SAFETY: a block on the list of a class was allocated with the layout of that class, by `allocate_fresh`, and is in
            // nobody's use.
            unsafe { dealloc(start.as_ptr(), layout) };
            list.existing -= 1;
            RESERVED.fetch_sub(layout.size(), Relaxed);
        }
    }
}

/// Bytes in use, rounded up to size classes.
pub(crate) fn stats() -> MemoryStats {
    let load = |counter: &AtomicUsize| counter.load(Relaxed) as u64;
    MemoryStats { live: load(&LIVE), reserved: load(&RESERVED), peak: load(&PEAK) }
}

/// Sets the peak to the bytes in use.
pub(crate) fn reset_peak() {
    PEAK.store(LIVE.load(Relaxed), Relaxed);
}

#[cfg(test)]
mod tests;
