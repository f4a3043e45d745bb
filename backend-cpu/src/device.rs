//! `Cpu`: the device's handle, its random state and the failure it has not reported yet.

use crate::memory::{self, Buffer};
use crate::parallel;
use crate::simd::Level;
use minitorch_core::random::DeviceRng;
use minitorch_core::{Error, Result};
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

/// The CPU as a device: a cheap handle.
///
/// [`Cpu::default`] is the process-wide device; [`Cpu::new`] makes one of its own. All share the machine's threads and
/// one cache of memory, so `memory` counts the whole process; each has its own random numbers and its
/// own pending failure. Tensors of unequal devices do not mix.
///
/// ```
/// use minitorch_cpu::Cpu;
/// assert_eq!(Cpu::default(), Cpu::default());
/// assert_ne!(Cpu::new(), Cpu::new());
/// assert_eq!(format!("{:?}", Cpu::default()), "Cpu(0)");
/// ```
#[derive(Clone)]
pub struct Cpu(Handle);

/// Every tensor holds one, so the process-wide device, which most of them live on, is not counted.
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
    /// Whether `failure` holds one: the only thing that a report without news looks at.
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
}

impl Inner {
    fn new(id: usize) -> Self {
        parallel::start();
        Inner { id, random: DeviceRng::default(), failed: AtomicBool::new(false), failure: Mutex::new(None) }
    }
}

impl Cpu {
    /// A device of its own: equal to its clones and to no other.
    pub fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        Cpu(Handle::Own(Arc::new(Inner::new(NEXT.fetch_add(1, Ordering::Relaxed)))))
    }

    /// What is known of the device, in a line: threads, vector unit.
    pub fn describe(&self) -> String {
        let (threads, level) = (rayon::current_num_threads(), Level::best().name());
        format!("{} threads on {}, vector unit {level}", threads, std::env::consts::ARCH)
    }

    /// Gives the memory that is cached and not in use back to the system.
    pub fn release_memory(&self) {
        memory::release();
    }

    pub(crate) fn random_state(&self) -> &DeviceRng {
        &self.0.random
    }

    /// A buffer with any contents.
    ///
    /// # Panics
    /// If the system has no memory left.
    pub(crate) fn alloc<T: memory::AnyBits>(&self, op: &str, len: usize) -> Buffer<T> {
        match self.try_alloc(len) {
            Ok(buffer) => buffer,
            Err(error) => panic!("{op}: {error}"),
        }
    }

    /// A buffer with any contents.
    pub(crate) fn try_alloc<T: memory::AnyBits>(&self, len: usize) -> Result<Buffer<T>> {
        Buffer::new(len).map_err(|error| self.out_of_memory(error))
    }

    pub(crate) fn out_of_memory(&self, error: memory::OutOfMemory) -> Error {
        let (stats, bytes) = (memory::stats(), error.bytes as u64);
        Error::OutOfMemory { device: format!("{self:?}"), bytes, live: stats.live, reserved: stats.reserved }
    }

    /// Keeps a failure for the next report, unless an earlier one waits.
    #[cold]
    pub(crate) fn fail(&self, error: Error) {
        self.pending().get_or_insert(error);
        self.0.failed.store(true, Ordering::Release);
    }

    /// Keeps an index that is outside its dimension.
    #[cold]
    pub(crate) fn bad_index(&self, op: &'static str, index: i32, bound: usize) {
        self.fail(Error::IndexOutOfRange { op, index: index as i64, bound: bound as u64 });
    }

    /// The failure kept since the last report, once.
    pub(crate) fn report(&self) -> Result<()> {
        if !self.0.failed.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut pending = self.pending();
        self.0.failed.store(false, Ordering::Release);
        pending.take().map_or(Ok(()), Err)
    }

    fn pending(&self) -> MutexGuard<'_, Option<Error>> {
        self.0.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
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
