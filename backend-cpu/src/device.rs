//! The device: a handle to the random state and the queued error. Threads and memory belong to the process.
//!
//! **Out of memory for the result of an operation**: the operation queues the error and returns a missing storage. An operation
//! on a missing operand does nothing and returns a missing storage. Each `synchronize` or `download` returns the queued error
//! until it is taken, and a `download` of a missing storage is an error even then. Scratch memory of the kernels is different:
//! `kernels/scratch.rs` panics.

use crate::memory::{self, AlignedBuffer, AnyBits, OutOfMemory, Storage};
use crate::settings;
use crate::simd::Level;
use minitorch_core::backend::{Device, MemoryStats, QueuedError};
use minitorch_core::random::DeviceRng;
use minitorch_core::{DType, Error, Result};
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once, OnceLock};

/// The CPU as a device: a cheap handle.
///
/// [`Cpu::default`] is the process-wide device; [`Cpu::new`] creates another. All devices share the machine's threads and one
/// cache of memory, so `memory` counts the whole process; each has its own random numbers and its own queued error. Tensors of
/// unequal devices do not mix.
///
/// ```
/// use minitorch::prelude::*;
///
/// assert_eq!(Cpu::default(), Cpu::default());
/// assert_ne!(Cpu::new(), Cpu::new());
/// assert_eq!(format!("{:?}", Cpu::default()), "Cpu(0)");
/// ```
#[derive(Clone)]
pub struct Cpu(Handle);

/// Every tensor holds a handle. The process-wide device, on which most of them live, needs no reference count.
#[derive(Clone)]
enum Handle {
    Process(&'static Inner),
    Own(Arc<Inner>),
}

impl Deref for Handle {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        match self {
            Handle::Process(inner) => inner,
            Handle::Own(inner) => inner,
        }
    }
}

struct Inner {
    id: usize,
    random: DeviceRng,
    error: QueuedError,
}

impl Inner {
    fn new(id: usize) -> Self {
        static SIZE_POOL: Once = Once::new();
        SIZE_POOL.call_once(settings::size_pool);
        Inner { id, random: DeviceRng::default(), error: QueuedError::default() }
    }
}

impl Device for Cpu {
    type Storage = Storage;

    fn supports(&self, dtype: DType) -> bool {
        dtype != DType::F16
    }

    fn rng(&self) -> &DeviceRng {
        &self.0.random
    }

    fn memory(&self) -> MemoryStats {
        memory::stats()
    }

    fn reset_peak_memory(&self) {
        memory::reset_peak();
    }

    fn synchronize(&self) -> Result<()> {
        self.0.error.check()
    }

    fn take_error(&self) -> Option<Error> {
        self.0.error.take()
    }
}

impl Cpu {
    /// A new device: equal to its clones and to no other.
    pub fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        Cpu(Handle::Own(Arc::new(Inner::new(NEXT.fetch_add(1, Ordering::Relaxed)))))
    }

    /// One line about the device: threads, architecture, instruction set.
    pub fn describe(&self) -> String {
        let (threads, level) = (rayon::current_num_threads(), Level::best().name());
        format!("{} threads on {}, vector unit {level}", threads, std::env::consts::ARCH)
    }

    /// Returns cached memory that is not in use to the OS.
    pub fn release_memory(&self) {
        memory::release();
    }

    /// A buffer for the result of an operation, with unspecified contents. `None` if an operand is missing, or, with the error
    /// queued, if there is no memory.
    #[inline]
    pub(crate) fn output<T: AnyBits>(&self, len: usize, operands: &[&Storage]) -> Option<AlignedBuffer<T>> {
        if operands.iter().any(|operand| operand.is_missing()) {
            return None;
        }
        self.workspace(len)
    }

    /// A buffer for intermediate results, with unspecified contents. `None`, with the error queued, if there is no memory.
    #[inline]
    pub(crate) fn workspace<T: AnyBits>(&self, len: usize) -> Option<AlignedBuffer<T>> {
        AlignedBuffer::new(len).map_err(|error| self.0.error.queue(self.out_of_memory(error))).ok()
    }

    /// A buffer with unspecified contents, for operations that return a `Result`.
    pub(crate) fn try_alloc<T: AnyBits>(&self, len: usize) -> Result<AlignedBuffer<T>> {
        AlignedBuffer::new(len).map_err(|error| self.out_of_memory(error))
    }

    #[cold]
    pub(crate) fn out_of_memory(&self, error: OutOfMemory) -> Error {
        let (stats, bytes) = (memory::stats(), error.bytes as u64);
        Error::OutOfMemory { device: format!("{self:?}"), bytes, live: stats.live, reserved: stats.reserved }
    }
}

impl Default for Cpu {
    /// The process-wide device.
    fn default() -> Self {
        static DEVICE: OnceLock<Inner> = OnceLock::new();
        Cpu(Handle::Process(DEVICE.get_or_init(|| Inner::new(0))))
    }
}

impl PartialEq for Cpu {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl fmt::Debug for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Cpu({})", self.0.id)
    }
}

#[cfg(test)]
mod tests;
