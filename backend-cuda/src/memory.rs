//! `Storage`: a buffer of device memory.
//!
//! An allocation takes a freed buffer of the same size from the pool, and a drop returns it; see `state.rs`. All work is queued
//! on one stream, so work on a buffer's old contents precedes work on the new, and a buffer can be reused without
//! synchronization.
//!
//! With `MINITORCH_EXACT=1` there is no pool: a buffer has exactly the requested size, and a drop waits for the stream and frees
//! the buffer, so that `compute-sanitizer` sees an access past the end or after the drop. Slow.
//!
//! # Out of memory
//!
//! `upload` and `full` return [`Error::OutOfMemory`](minitorch_core::Error). Any other operation queues the error, which each
//! read and `synchronize` returns until it is taken, and its result is a **missing** storage: it has a size and no buffer. While a missing storage
//! exists the device is halted: it launches no kernel, and every other result is missing too. So no kernel accesses memory that
//! does not exist, and no read returns elements that were not computed: reading a missing storage is an error each time. Dropping
//! all missing storages resumes the device. A lost device (a failed kernel) stays halted.

use crate::Tensor;
use crate::driver::Address;
use crate::params::TensorRef;
use crate::state::DeviceState;
use minitorch_core::{DType, Layout, Result};
use std::sync::Arc;

/// The elements of a tensor on a CUDA device; a bool takes one byte.
pub struct Storage {
    device: Arc<DeviceState>,
    address: Address,
    /// The size of the buffer, which may exceed that of the elements; 0 for a storage without elements.
    bytes: usize,
}

/// The address of a storage without a buffer.
const NULL: Address = 0;

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Storage({} bytes on {:?})", self.bytes, self.device)
    }
}

impl Storage {
    /// The address of the first element.
    pub(crate) fn address(&self) -> Address {
        self.address
    }

    /// The elements that a layout shows, as kernels take them.
    ///
    /// # Panics
    /// If the layout reaches beyond the storage.
    pub(crate) fn tensor_ref(&self, dtype: DType, layout: &Layout) -> TensorRef {
        self.check(dtype, layout);
        TensorRef::new(self.address, dtype, layout)
    }

    /// Panics unless all elements of this type that a layout shows lie within the buffer: kernels do no bounds checks.
    pub(crate) fn check(&self, dtype: DType, layout: &Layout) {
        assert!(
            layout.end().saturating_mul(dtype.size()) <= self.bytes,
            "{layout:?} of {dtype} reaches beyond a storage of {} bytes",
            self.bytes
        );
    }

    /// A buffer with unspecified contents.
    pub(crate) fn new(device: &Arc<DeviceState>, dtype: DType, len: usize) -> Result<Self> {
        let Some(bytes) = len.checked_mul(dtype.size()).filter(|&bytes| bytes <= isize::MAX as usize) else {
            return Err(device.out_of_memory(u64::MAX));
        };
        if bytes == 0 {
            return Ok(Storage { device: device.clone(), address: NULL, bytes: 0 });
        }
        let bytes = if device.exact { bytes } else { device.driver.round_up(bytes) };
        let address = device.allocate(bytes)?;
        Ok(Storage { device: device.clone(), address, bytes })
    }

    /// A storage of this size without a buffer.
    pub(crate) fn missing(device: &Arc<DeviceState>, dtype: DType, len: usize) -> Self {
        let bytes = len.saturating_mul(dtype.size());
        if bytes > 0 {
            device.halt();
        }
        Storage { device: device.clone(), address: NULL, bytes }
    }

    /// Whether it has elements and no buffer.
    pub(crate) fn is_missing(&self) -> bool {
        self.bytes > 0 && self.address == NULL
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        if self.is_missing() {
            self.device.resume();
        } else if self.bytes > 0 {
            // SAFETY: `new` allocated the buffer with this size, and this storage is its only owner.
            unsafe { self.device.deallocate(self.address, self.bytes) };
        }
    }
}

/// A tensor's elements, as kernels take them.
pub(crate) fn tensor_ref(x: &Tensor) -> TensorRef {
    let view = x.view();
    view.storage.tensor_ref(view.dtype, view.layout)
}

/// The address of the first element of a contiguous tensor; unspecified if the tensor is empty.
pub(crate) fn data(x: &Tensor) -> Address {
    tensor_ref(x).data
}

#[cfg(all(test, feature = "emulator"))]
#[path = "memory_tests.rs"]
mod tests;
