//! Scratch memory for packed panels, padded images and partial sums, reused from call to call.
//!
//! Each thread has a small pool of buffers. [`Scratch::new`] takes the best fitting one out of the pool and puts it back when
//! dropped, so a warm call allocates nothing. Owning the buffer, instead of borrowing the thread-local, allows nested
//! parallelism: a worker that waits inside one kernel may run another one, which then takes another buffer.

use crate::memory;
use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::thread::LocalKey;

/// Buffers start on a cache line, so that no register load of a panel crosses two lines.
const ALIGNMENT: usize = 64;

type Pool<T> = RefCell<Vec<Vec<T>>>;

/// An element type that has a pool of buffers per thread.
pub trait Pooled: Copy + Default + Send + 'static {
    fn pool() -> &'static LocalKey<Pool<Self>>;
}

macro_rules! pooled {
    ($($type:ty),*) => { $(
        impl Pooled for $type {
            fn pool() -> &'static LocalKey<Pool<Self>> {
                thread_local!(static POOL: Pool<$type> = const { RefCell::new(Vec::new()) });
                &POOL
            }
        }
    )* };
}

pooled!(f32, f64, usize);

/// A buffer of a given length, with arbitrary contents: write before reading.
pub struct Scratch<T: Pooled> {
    buffer: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Pooled> Scratch<T> {
    /// # Panics
    /// If the allocation fails, or the size overflows.
    pub fn new(len: usize) -> Self {
        let needed = len.saturating_add(ALIGNMENT / size_of::<T>());
        let mut buffer = T::pool().with_borrow_mut(|pool| {
            // The smallest buffer that is large enough, else the largest, which then grows.
            let rank = |buffer: &Vec<T>| match buffer.len() {
                fits if fits >= needed => (0, fits),
                short => (1, usize::MAX - short),
            };
            let best = (0..pool.len()).min_by_key(|&index| rank(&pool[index]));
            best.map_or_else(Vec::new, |index| pool.swap_remove(index))
        });
        if buffer.len() < needed {
            if buffer.try_reserve_exact(needed - buffer.len()).is_err() {
                panic!("out of memory: scratch for {len} elements of {} bytes was asked for", size_of::<T>());
            }
            memory::advise_huge(buffer.spare_capacity_mut());
            buffer.resize(needed, T::default());
        }
        let start = buffer.as_ptr().align_offset(ALIGNMENT);
        Scratch { buffer, start, len }
    }
}

impl<T: Pooled> Deref for Scratch<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.buffer[self.start..][..self.len]
    }
}

impl<T: Pooled> DerefMut for Scratch<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.buffer[self.start..][..self.len]
    }
}

impl<T: Pooled> Drop for Scratch<T> {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        // The pool of an exiting thread may be gone; the buffer is then freed.
        let _ = T::pool().try_with(|pool| pool.borrow_mut().push(buffer));
    }
}
