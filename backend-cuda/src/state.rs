//! The state that all handles of a device share: driver, queued error, cache of freed buffers, launches.

use crate::driver::{Address, Driver, Failure, Launch};
use crate::params::{Params, params};
use minitorch_core::backend::{Caller, MemoryStats, OutOfRange, QueuedError};
use minitorch_core::launch;
use minitorch_core::random::DeviceRng;
use minitorch_core::{Error, Result};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The number of counters by which the blocks of a kernel determine the last one to finish; see `last_block` in common.cuh.
pub(crate) const COUNTERS: usize = 1 << 14;

pub(crate) struct DeviceState {
    pub(crate) name: String,
    pub(crate) driver: Box<dyn Driver>,
    pool: Mutex<Pool>,
    random: DeviceRng,
    errors: Errors,
    /// Whether a kernel that checks indices was launched since the record was last read.
    checks_indices: AtomicBool,
    /// Held while the record is read: a thread that finds nothing to read waits until the error is queued.
    checking: Mutex<()>,
    /// A [`BadIndex`] on the device.
    bad_index: Address,
    /// [`COUNTERS`] numbers on the device, all 0 between kernels.
    counters: Address,
    launches: AtomicU64,
    /// `MINITORCH_SYNC=1`: synchronize after every kernel, so that an error names the kernel that caused it.
    synchronous: bool,
    /// `MINITORCH_EXACT=1`: buffers have exactly the requested size and are freed when they are dropped.
    pub(crate) exact: bool,
}

params! {
    /// The first out-of-range index since the record was last read.
    BadIndex in "common.cuh" {
        caller: u32,
        index: i32,
        bound: u64,
    }
}

/// The queued error, and whether kernels may be launched.
#[derive(Debug, Default)]
struct Errors {
    queued: QueuedError,
    /// Why the device is lost: every synchronization queues it.
    lost: OnceLock<String>,
    /// The number of missing storages, plus 1 if the device is lost. Kernels are launched only while it is 0.
    halts: AtomicUsize,
}

/// The cached free buffers by their size, and memory statistics.
#[derive(Debug, Default)]
struct Pool {
    free: HashMap<usize, Vec<Address>>,
    stats: MemoryStats,
    /// The number of allocations from the driver since the start.
    allocations: u64,
}

fn is_set(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| value == "1")
}

impl DeviceState {
    pub(crate) fn new(name: String, driver: Box<dyn Driver>) -> Result<Self> {
        let error = |failure| match failure {
            Failure::OutOfMemory => {
                Error::Device { device: name.clone(), reason: "there is no memory left for the backend itself".into() }
            }
            Failure::Other(reason) | Failure::Lost(reason) => Error::Device { device: name.clone(), reason },
        };
        let zeroed = |bytes| {
            let address = driver.allocate(bytes).map_err(error)?;
            // SAFETY: the line above allocated `bytes` bytes at this address.
            unsafe { driver.set(address, 0, bytes) }.map_err(error)?;
            Ok::<_, Error>(address)
        };
        let (bad_index, counters) = (zeroed(size_of::<BadIndex>())?, zeroed(COUNTERS * size_of::<u32>())?);
        driver.counters(counters, COUNTERS * size_of::<u32>());
        Ok(DeviceState {
            bad_index,
            counters,
            pool: Mutex::default(),
            random: DeviceRng::default(),
            errors: Errors::default(),
            checks_indices: AtomicBool::new(false),
            checking: Mutex::default(),
            launches: AtomicU64::new(0),
            synchronous: is_set("MINITORCH_SYNC"),
            exact: is_set("MINITORCH_EXACT"),
            driver,
            name,
        })
    }

    pub(crate) fn rng(&self) -> &DeviceRng {
        &self.random
    }

    // ---- launches ----

    /// Where a kernel records an out-of-range index. [`launch_checked`](Self::launch_checked) launches it.
    pub(crate) fn bad_index(&self) -> Address {
        self.bad_index
    }

    /// [`COUNTERS`] numbers for `last_block`.
    pub(crate) fn counters(&self) -> Address {
        self.counters
    }

    /// Streaming multiprocessors, at least 1.
    pub(crate) fn multiprocessors(&self) -> usize {
        self.driver.info().multiprocessors.max(1) as usize
    }

    pub(crate) fn launches(&self) -> u64 {
        self.launches.load(Ordering::Relaxed)
    }

    /// [`launch`](Self::launch) of a kernel that checks indices.
    pub(crate) fn launch_checked<P: Params>(&self, kernel: &str, grid: [usize; 3], block: [usize; 3], params: &P) {
        self.launch(kernel, grid, block, params);
        // After the launch: whoever resets the flag reads what the kernel has recorded.
        self.checks_indices.store(true, Ordering::Release);
    }

    /// Launches a kernel. A failure is queued.
    pub(crate) fn launch<P: Params>(&self, kernel: &str, grid: [usize; 3], block: [usize; 3], params: &P) {
        if self.is_halted() {
            return self.queue_error(self.not_launched(kernel));
        }
        self.launches.fetch_add(1, Ordering::Relaxed);
        let [grid, block] = [grid, block].map(|sizes| sizes.map(|size| size as u32));
        launch::report(|| launch::Launch::on_grid(kernel.to_owned(), grid, block, 0));
        let launch = Launch { kernel, grid, block, params: (&raw const *params).cast() };
        // SAFETY: the kernel takes a struct of this type, as `Params` requires. Its addresses come from storages that the
        // caller holds or from the pool's free lists, and memory is freed only after the work that was queued before.
        let result = unsafe { self.driver.launch(&launch) };
        self.queue_failure(result, kernel);
        if self.synchronous {
            self.queue_failure(self.driver.synchronize(), kernel);
        }
    }

    // ---- errors ----

    pub(crate) fn error(&self, reason: impl Into<String>) -> Error {
        Error::Device { device: self.name.clone(), reason: reason.into() }
    }

    pub(crate) fn out_of_memory(&self, bytes: u64) -> Error {
        let MemoryStats { live, reserved, .. } = self.memory();
        Error::OutOfMemory { device: format!("{self:?}"), bytes, live, reserved }
    }

    /// Waits for all work, then returns the queued error, if there is one. It stays queued.
    pub(crate) fn synchronize(&self) -> Result<()> {
        self.finish();
        self.queued_error()
    }

    /// Waits for all work, then removes the queued error and returns it.
    pub(crate) fn take_error(&self) -> Option<Error> {
        self.finish();
        self.errors.queued.take()
    }

    /// Waits for all work, and queues the error that it left.
    fn finish(&self) {
        self.queue_failure(self.driver.synchronize(), "synchronize");
        match self.lost() {
            Some(lost) => self.queue_error(lost),
            None => self.read_bad_index(),
        }
    }

    /// Queues an error if a kernel recorded an out-of-range index, and clears the record.
    fn read_bad_index(&self) {
        let _one = self.checking.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.checks_indices.swap(false, Ordering::AcqRel) {
            return;
        }
        let mut record = [0; size_of::<BadIndex>()];
        // SAFETY: `new` allocated this many bytes at the address, which live as long as the device.
        let read = unsafe { self.driver.download(self.bad_index, &mut record) };
        if read.is_err() {
            self.checks_indices.store(true, Ordering::Release); // the next synchronization reads it
        }
        self.queue_failure(read, "reading the record of bad indices");
        let word = |at: usize| u32::from_ne_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]]);
        if word(0) != 0 {
            // SAFETY: `new` allocated this many bytes at the address, which live as long as the device.
            let cleared = unsafe { self.driver.set(self.bad_index, 0, record.len()) };
            self.queue_failure(cleared, "clearing the record of bad indices");
            let (index, bound) = (word(4) as i32 as i64, word(8) as u64 | (word(12) as u64) << 32);
            self.queue_error(Caller::error_of(word(0), OutOfRange { index, bound }));
        }
    }

    /// Queues an error unless one is queued.
    pub(crate) fn queue_error(&self, error: Error) {
        self.errors.queued.queue(error);
    }

    /// Queues the failure of a driver call, if it is one; `context` says what failed.
    fn queue_failure(&self, result: std::result::Result<(), Failure>, context: &str) {
        result.unwrap_or_else(|failure| self.queue_error(self.failed(context, 0, failure)));
    }

    /// The queued error, if there is one, without waiting for work that may still fail.
    pub(crate) fn queued_error(&self) -> Result<()> {
        self.errors.queued.check()
    }

    /// The error for a driver call that failed: the queued one, which may be its cause, or else its own. `bytes` is the size of
    /// the buffer that the call allocates or transfers, or 0.
    pub(crate) fn first_error(&self, context: &str, bytes: usize, failure: Failure) -> Error {
        let own = self.failed(context, bytes, failure);
        self.queued_error().err().unwrap_or(own)
    }

    fn failed(&self, context: &str, bytes: usize, failure: Failure) -> Error {
        match failure {
            Failure::OutOfMemory => self.out_of_memory(bytes as u64),
            Failure::Other(reason) => self.error(format!("{context}: {reason}")),
            Failure::Lost(reason) => {
                let reason = format!("{context}: {reason}");
                if self.errors.lost.set(reason.clone()).is_ok() {
                    self.halt();
                }
                self.error(reason)
            }
        }
    }

    /// The error of a lost device.
    fn lost(&self) -> Option<Error> {
        self.errors.lost.get().map(|reason| self.error(reason))
    }

    /// Launches no kernel until a matching [`resume`](Self::resume).
    pub(crate) fn halt(&self) {
        self.errors.halts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn resume(&self) {
        self.errors.halts.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether no kernel is launched: a storage is missing, or the device is lost.
    pub(crate) fn is_halted(&self) -> bool {
        self.errors.halts.load(Ordering::Relaxed) > 0
    }

    /// The error for a kernel that a halted device does not launch.
    #[cold]
    fn not_launched(&self, kernel: &str) -> Error {
        let why = "was not launched, as a tensor that there was no memory for is still held";
        self.lost().unwrap_or_else(|| self.error(format!("{kernel} {why}")))
    }

    // ---- memory ----

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A buffer with unspecified contents: a cached one of this size, or else one from the driver.
    pub(crate) fn allocate(&self, bytes: usize) -> Result<Address> {
        if let Some(lost) = self.lost() {
            return Err(lost);
        }
        let mut pool = self.pool();
        let cached = pool.free.get_mut(&bytes).and_then(Vec::pop);
        let address = match cached {
            Some(address) => {
                // SAFETY: a buffer of the free list is allocated with this size, and has no owner since `deallocate`.
                unsafe { self.driver.recycle(address, bytes) };
                address
            }
            None => {
                let allocated = self.driver.allocate(bytes).or_else(|failure| {
                    // Freeing cached buffers of other sizes, once no queued work uses them, may help.
                    if failure != Failure::OutOfMemory {
                        return Err(failure);
                    }
                    self.driver.synchronize()?;
                    self.free_cached(&mut pool);
                    self.driver.allocate(bytes)
                });
                match allocated {
                    Ok(address) => {
                        pool.stats.reserved += bytes as u64;
                        pool.allocations += 1;
                        address
                    }
                    Err(Failure::OutOfMemory) => {
                        drop(pool);
                        return Err(self.out_of_memory(bytes as u64));
                    }
                    Err(failure) => return Err(self.first_error("allocation", bytes, failure)),
                }
            }
        };
        pool.stats.live += bytes as u64;
        pool.stats.peak = pool.stats.peak.max(pool.stats.live);
        Ok(address)
    }

    /// Caches a buffer, or frees it if the device is `exact`.
    ///
    /// # Safety
    /// The address came from [`allocate`](Self::allocate) with this size, and nothing uses it any more but queued work.
    pub(crate) unsafe fn deallocate(&self, address: Address, bytes: usize) {
        let mut pool = self.pool();
        pool.stats.live -= bytes as u64;
        if !self.exact {
            return pool.free.entry(bytes).or_default().push(address);
        }
        pool.stats.reserved -= bytes as u64;
        drop(pool);
        // SAFETY: the caller's precondition is that of `free`, which waits for queued work.
        unsafe { self.driver.free(address, bytes) };
    }

    pub(crate) fn memory(&self) -> MemoryStats {
        self.pool().stats
    }

    pub(crate) fn reset_peak_memory(&self) {
        let mut pool = self.pool();
        pool.stats.peak = pool.stats.live;
    }

    /// The number of allocations from the driver since the start.
    pub(crate) fn allocations(&self) -> u64 {
        self.pool().allocations
    }

    /// Frees all cached buffers.
    pub(crate) fn release_memory(&self) {
        self.free_cached(&mut self.pool());
    }

    fn free_cached(&self, pool: &mut Pool) {
        for (bytes, list) in pool.free.drain() {
            for address in list {
                pool.stats.reserved -= bytes as u64;
                // SAFETY: a buffer of the free list was allocated with this size, and has no owner since `deallocate`.
                unsafe { self.driver.free(address, bytes) };
            }
        }
    }
}

impl Drop for DeviceState {
    fn drop(&mut self) {
        // A device that failed has nothing to wait for.
        let _ = self.driver.synchronize();
        self.release_memory();
        // SAFETY: `new` allocated both with these sizes. No kernel uses them: the device is idle, or has failed.
        unsafe {
            self.driver.free(self.bad_index, size_of::<BadIndex>());
            self.driver.free(self.counters, COUNTERS * size_of::<u32>());
        }
    }
}

impl fmt::Debug for DeviceState {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.name)
    }
}
