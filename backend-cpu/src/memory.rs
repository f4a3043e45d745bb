//! Where elements live: 64-byte aligned buffers from a process-wide list of freed ones.
//!
//! A warm allocation takes a buffer of the same size class from its list and a drop puts it back: two uncontended locks,
//! no system call, no system allocator. The lists grow only while a buffer is fresh from the system, so a drop never
//! allocates either.
//!
//! Every byte is always initialised: a buffer comes zeroed from the system and keeps, when it is used again, whatever
//! its last owner left. For the element types here (`f32`, `f64`, `i32`, `u8`) any bits are a value, so stale contents
//! are wrong at worst and never undefined. All `unsafe` of tensors' memory lies in this file.
//!
//! Size classes are four steps per power of two (64, 80, 96, 112, 128, 160, ... bytes): at most a quarter is wasted.

use minitorch_core::DType;
use minitorch_core::backend::MemoryStats;
use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};

/// Buffers start on a cache line, so that no vector load crosses two.
const ALIGNMENT: usize = 64;

/// A large page of x86-64 and of most Arm machines. Buffers from this size on start on one and ask for such: 512 times fewer faults
/// when they are fresh, and fewer misses of the address cache ever after.
const HUGE: usize = 2 << 20;

/// The smallest class, as a power of two.
const SMALLEST: u32 = 6;

/// Classes up to 2^62 bytes; the largest are never made, but every size has one.
const CLASSES: usize = 4 * (62 - SMALLEST as usize) + 1;

pub(crate) mod sealed {
    /// # Safety
    /// Any bits are a value of the type, and its alignment is at most that of a buffer.
    pub unsafe trait AnyBits: Copy + Send + Sync + 'static {}
}
pub(crate) use sealed::AnyBits;

// SAFETY: any 8, 32 or 64 bits are a number.
unsafe impl AnyBits for u8 {}
// SAFETY: as above.
unsafe impl AnyBits for i32 {}
// SAFETY: as above; some are NaN.
unsafe impl AnyBits for f32 {}
// SAFETY: as above.
unsafe impl AnyBits for f64 {}

/// The elements of a tensor on the CPU.
#[derive(Debug)]
#[allow(missing_docs)] // the variants are the dtypes
pub enum Storage {
    F32(Buffer<f32>),
    F64(Buffer<f64>),
    I32(Buffer<i32>),
    /// One byte each, 0 or 1.
    Bool(Buffer<u8>),
}

impl Storage {
    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            Storage::F32(_) => DType::F32,
            Storage::F64(_) => DType::F64,
            Storage::I32(_) => DType::I32,
            Storage::Bool(_) => DType::Bool,
        }
    }
}

/// A fixed number of elements in aligned memory, which goes back to the cache when dropped. Dereferences to a slice.
pub struct Buffer<T: AnyBits> {
    start: NonNull<u8>,
    len: usize,
    class: usize,
    elements: PhantomData<T>,
}

// SAFETY: a buffer owns its memory, as a `Vec` does, and its elements are `Send`.
unsafe impl<T: AnyBits> Send for Buffer<T> {}
// SAFETY: shared access is only reading, and the elements are `Sync`.
unsafe impl<T: AnyBits> Sync for Buffer<T> {}

/// The system has no memory left, even after the cache was given back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OutOfMemory {
    pub(crate) bytes: usize,
}

impl<T: AnyBits> Buffer<T> {
    /// A buffer of `len` elements with any contents.
    pub(crate) fn new(len: usize) -> Result<Self, OutOfMemory> {
        if len == 0 {
            // No memory, no class; `Drop` leaves it alone. The address is aligned and not null.
            return Ok(Buffer { start: NonNull::<Line>::dangling().cast(), len, class: 0, elements: PhantomData });
        }
        let bytes = len.checked_mul(size_of::<T>()).filter(|&b| b <= 1 << 62);
        let class = class_of(bytes.ok_or(OutOfMemory { bytes: usize::MAX })?);
        let start = take(class)?;
        Ok(Buffer { start, len, class, elements: PhantomData })
    }
}

/// `vec![0; len]`, with an error where that would end the process.
pub(crate) fn zeros<T: AnyBits>(len: usize) -> Result<Vec<T>, OutOfMemory> {
    let Ok(layout) = Layout::array::<T>(len) else { return Err(OutOfMemory { bytes: usize::MAX }) };
    if layout.size() == 0 {
        return Ok(Vec::new());
    }
    // SAFETY: the layout is not empty.
    let start = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or(OutOfMemory { bytes: layout.size() })?;
    // SAFETY: the global allocator, which is a vector's own, just gave memory for `len` elements in the layout of an array of
    // them; all of its bits are 0, and any bits are a `T`.
    Ok(unsafe { Vec::from_raw_parts(start.as_ptr().cast(), len, len) })
}

#[repr(align(64))]
struct Line;

impl<T: AnyBits> Deref for Buffer<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: `start` is aligned, and unless `len` is 0 it begins a block of at least `len` elements that this
        // buffer alone owns and that was zeroed when it was made; any bits are a `T`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.len) }
    }
}

impl<T: AnyBits> DerefMut for Buffer<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.len) }
    }
}

impl<T: AnyBits> Drop for Buffer<T> {
    fn drop(&mut self) {
        if self.len != 0 {
            give(self.class, self.start);
        }
    }
}

impl<T: AnyBits + std::fmt::Debug> std::fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

/// The smallest class of at least this many bytes: `4 * exponent + quarter` above the smallest.
fn class_of(bytes: usize) -> usize {
    let last = bytes.max(1 << SMALLEST) - 1; // 2^e + q * 2^(e-2) is the last size of its class
    let exponent = last.ilog2();
    if exponent < SMALLEST {
        return 0;
    }
    4 * (exponent - SMALLEST) as usize + ((last >> (exponent - 2)) & 3) + 1
}

/// Bytes of a class: the inverse of [`class_of`].
fn class_bytes(class: usize) -> usize {
    ((4 + class % 4) << (class / 4)) << (SMALLEST - 2)
}

fn class_layout(class: usize) -> Layout {
    // 80 and 112 bytes are no multiple of the alignment, which an allocation's size need not be.
    let bytes = class_bytes(class);
    match Layout::from_size_align(bytes, if bytes < HUGE { ALIGNMENT } else { HUGE }) {
        Ok(layout) => layout,
        Err(_) => unreachable!("size classes end before isize::MAX"),
    }
}

/// The freed buffers of one class.
struct List {
    free: Vec<Block>,
    /// Buffers of this class that exist, free or not; `free` has room for all of them.
    made: usize,
}

/// The start of an owned, initialised allocation of its list's class.
struct Block(NonNull<u8>);

// SAFETY: a block on a list is owned by the list and by nobody else.
unsafe impl Send for Block {}

static LISTS: [Mutex<List>; CLASSES] = [const { Mutex::new(List { free: Vec::new(), made: 0 }) }; CLASSES];
static LIVE: AtomicUsize = AtomicUsize::new(0);
static RESERVED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn lock(class: usize) -> MutexGuard<'static, List> {
    // Nothing panics while a list is locked, except that the system has no memory for the list itself.
    LISTS[class].lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn take(class: usize) -> Result<NonNull<u8>, OutOfMemory> {
    let cached = lock(class).free.pop();
    let start = match cached {
        Some(Block(start)) => start,
        None => make(class)?,
    };
    let live = LIVE.fetch_add(class_bytes(class), Relaxed) + class_bytes(class);
    if live > PEAK.load(Relaxed) {
        PEAK.fetch_max(live, Relaxed);
    }
    Ok(start)
}

/// Asks the system for large pages where whole ones lie within `memory`. It may decline, which costs nothing but time.
pub(crate) fn advise_huge<T>(memory: &mut [MaybeUninit<T>]) {
    #[cfg(target_os = "linux")]
    {
        let whole = memory.as_ptr_range();
        let start = whole.start.addr().next_multiple_of(HUGE);
        let bytes = (whole.end.addr() & !(HUGE - 1)).saturating_sub(start);
        if bytes > 0 {
            // SAFETY: advice about whole pages of memory that this process owns; it does not change what is in it.
            unsafe { libc::madvise(whole.start.with_addr(start).cast_mut().cast(), bytes, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}

/// A fresh allocation, zeroed.
#[cold]
fn make(class: usize) -> Result<NonNull<u8>, OutOfMemory> {
    let layout = class_layout(class);
    let allocate = || {
        // SAFETY: every class has at least 64 bytes.
        let start = NonNull::new(unsafe { alloc(layout) })?;
        if layout.align() == HUGE {
            // SAFETY: the block was just allocated, of this size, and is nobody else's.
            advise_huge(unsafe {
                std::slice::from_raw_parts_mut(start.as_ptr().cast::<MaybeUninit<u8>>(), layout.size())
            });
        }
        // SAFETY: the block was just allocated, of this size.
        unsafe { start.as_ptr().write_bytes(0, layout.size()) };
        Some(start)
    };
    let start = allocate().or_else(|| {
        release();
        allocate()
    });
    let start = start.ok_or(OutOfMemory { bytes: layout.size() })?;
    RESERVED.fetch_add(layout.size(), Relaxed);
    let mut list = lock(class);
    list.made += 1;
    let room = list.made - list.free.len();
    list.free.reserve(room);
    Ok(start)
}

fn give(class: usize, start: NonNull<u8>) {
    LIVE.fetch_sub(class_bytes(class), Relaxed);
    lock(class).free.push(Block(start));
}

/// Gives all freed buffers back to the system.
pub(crate) fn release() {
    for class in 0..CLASSES {
        let mut list = lock(class);
        let layout = class_layout(class);
        while let Some(Block(start)) = list.free.pop() {
            // SAFETY: a block on this list came from `alloc` with this layout, and its owner gave it up.
            unsafe { dealloc(start.as_ptr(), layout) };
            list.made -= 1;
            RESERVED.fetch_sub(layout.size(), Relaxed);
        }
    }
}

/// Bytes in use, size classes rounded up.
pub(crate) fn stats() -> MemoryStats {
    let load = |counter: &AtomicUsize| counter.load(Relaxed) as u64;
    MemoryStats { live: load(&LIVE), reserved: load(&RESERVED), peak: load(&PEAK) }
}

/// Sets the peak to what is live.
pub(crate) fn reset_peak() {
    PEAK.store(LIVE.load(Relaxed), Relaxed);
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
