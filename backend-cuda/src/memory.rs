//! Where elements live: buffers of a device from a list of freed ones.
//!
//! A warm allocation takes a buffer of the same size from its list and a drop puts it back. All work goes to one stream, so
//! what is queued on a buffer's old contents is done before what is queued on the new: nothing waits.
//!
//! With `MINITORCH_EXACT=1` there is no list: a buffer has the size that was asked for, and a drop waits for the stream and gives
//! it back to the driver, so that `compute-sanitizer` sees an access behind the last byte or after the drop. Slow.
//!
//! A result that there is no memory for is a storage without a buffer, and the failure waits for the next read. Until it is
//! dropped no kernel is launched and every other result is such a storage too, so that nothing reads or writes where no
//! buffer is and nothing that was not computed is ever read. A lost device does the same until the end.

use crate::device::{Cuda, DeviceState};
use crate::driver::{Address, Failure};
use minitorch_core::backend::MemoryStats;
use minitorch_core::{DType, Error, Layout, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// The elements of a tensor on a CUDA device; bool takes a byte each.
pub struct Storage {
    device: Arc<DeviceState>,
    address: Address,
    /// Of the buffer, which may be longer than the elements; 0 if there are none.
    bytes: usize,
}

/// The address of a storage without a buffer.
const NOWHERE: Address = 0;

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Storage({} bytes on {:?})", self.bytes, self.device)
    }
}

impl Storage {
    /// Where the first element lies.
    pub(crate) fn address(&self) -> Address {
        self.address
    }

    /// Panics unless all elements of this type that a layout shows lie within the buffer: kernels check no access.
    pub(crate) fn check(&self, dtype: DType, layout: &Layout) {
        assert!(
            layout.end().saturating_mul(dtype.size()) <= self.bytes,
            "{layout:?} of {dtype} reaches beyond a storage of {} bytes",
            self.bytes
        );
    }

    /// A buffer with any contents.
    pub(crate) fn new(device: &Arc<DeviceState>, dtype: DType, len: usize) -> Result<Self> {
        let Some(bytes) = len.checked_mul(dtype.size()).filter(|&bytes| bytes <= isize::MAX as usize) else {
            return Err(device.out_of_memory(u64::MAX));
        };
        Storage::of_bytes(device, bytes)
    }

    /// A buffer with any contents.
    pub(crate) fn of_bytes(device: &Arc<DeviceState>, bytes: usize) -> Result<Self> {
        if bytes == 0 {
            return Ok(Storage { device: device.clone(), address: NOWHERE, bytes: 0 });
        }
        let bytes = if device.exact { bytes } else { device.driver.round_up(bytes) };
        let address = device.take(bytes)?;
        Ok(Storage { device: device.clone(), address, bytes })
    }

    /// What stands for `bytes` that there is no buffer for.
    fn missing(device: &Arc<DeviceState>, bytes: usize) -> Self {
        if bytes > 0 {
            device.failures.halt();
        }
        Storage { device: device.clone(), address: NOWHERE, bytes }
    }

    /// Whether it has elements and no buffer.
    pub(crate) fn is_missing(&self) -> bool {
        self.bytes > 0 && self.address == NOWHERE
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        if self.is_missing() {
            self.device.failures.resume();
        } else if self.bytes > 0 {
            self.device.give(self.address, self.bytes);
        }
    }
}

impl Cuda {
    /// A buffer with any contents for a result that a kernel will write. Where there is no memory, that is kept for the next
    /// report, and the storage is missing.
    pub(crate) fn alloc(&self, op: &str, dtype: DType, len: usize) -> Storage {
        if self.0.is_halted() {
            return Storage::missing(&self.0, len.saturating_mul(dtype.size()));
        }
        self.try_alloc(dtype, len).unwrap_or_else(|error| {
            self.0.keep(match error {
                Error::Device { device, reason } => Error::Device { device, reason: format!("{op}: {reason}") },
                other => other,
            });
            Storage::missing(&self.0, len.saturating_mul(dtype.size()))
        })
    }

    /// A buffer with any contents.
    ///
    /// # Errors
    /// If there is no memory for it, or the device has failed.
    pub(crate) fn try_alloc(&self, dtype: DType, len: usize) -> Result<Storage> {
        Storage::new(&self.0, dtype, len)
    }
}

/// The freed buffers of a device, by size, and what is in use.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: HashMap<usize, Vec<Address>>,
    stats: MemoryStats,
    /// Buffers that were asked of the driver since the start.
    made: u64,
}

impl DeviceState {
    fn take(&self, bytes: usize) -> Result<Address> {
        if let Some(lost) = self.lost() {
            return Err(lost);
        }
        let mut pool = self.pool();
        let cached = pool.free.get_mut(&bytes).and_then(Vec::pop);
        let address = match cached {
            Some(address) => {
                // SAFETY: a buffer on the list is allocated, of this size, and nobody's.
                unsafe { self.driver.recycle(address, bytes) };
                address
            }
            None => {
                let made = self.driver.allocate(bytes).or_else(|failure| {
                    // What is free in other sizes may do, once nothing that is under way uses it.
                    if failure != Failure::OutOfMemory {
                        return Err(failure);
                    }
                    self.driver.synchronize()?;
                    self.release_from(&mut pool);
                    self.driver.allocate(bytes)
                });
                match made {
                    Ok(address) => {
                        pool.stats.reserved += bytes as u64;
                        pool.made += 1;
                        address
                    }
                    Err(Failure::OutOfMemory) => {
                        let MemoryStats { live, reserved, .. } = pool.stats;
                        let device = format!("{self:?}");
                        return Err(Error::OutOfMemory { device, bytes: bytes as u64, live, reserved });
                    }
                    Err(failure) => return Err(self.first("allocation", bytes, failure)),
                }
            }
        };
        pool.stats.live += bytes as u64;
        pool.stats.peak = pool.stats.peak.max(pool.stats.live);
        Ok(address)
    }

    fn give(&self, address: Address, bytes: usize) {
        let mut pool = self.pool();
        pool.stats.live -= bytes as u64;
        if !self.exact {
            return pool.free.entry(bytes).or_default().push(address);
        }
        pool.stats.reserved -= bytes as u64;
        drop(pool);
        // SAFETY: the storage that is dropped had it from `allocate` with this size, and nobody else has it.
        unsafe { self.driver.free(address, bytes) };
    }

    pub(crate) fn memory(&self) -> MemoryStats {
        self.pool().stats
    }

    pub(crate) fn reset_peak(&self) {
        let mut pool = self.pool();
        pool.stats.peak = pool.stats.live;
    }

    /// Buffers that were asked of the driver since the start.
    pub(crate) fn allocations(&self) -> u64 {
        self.pool().made
    }

    /// Gives all freed buffers back to the driver.
    pub(crate) fn release(&self) {
        self.release_from(&mut self.pool());
    }

    fn release_from(&self, pool: &mut Pool) {
        for (bytes, list) in pool.free.drain() {
            for address in list {
                pool.stats.reserved -= bytes as u64;
                // SAFETY: a buffer on the list came from `allocate` with this size, and nobody has it.
                unsafe { self.driver.free(address, bytes) };
            }
        }
    }
}

#[cfg(all(test, feature = "emulator"))]
#[path = "memory_tests.rs"]
mod tests;
