//! Where elements live: one buffer per tensor, from a list of freed ones.

use crate::device::DeviceState;
use minitorch_core::backend::MemoryStats;
use minitorch_core::{DType, Error, Layout, Result};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The elements of a tensor: 32 bits each, of whatever dtype, but F16, which takes 16.
pub struct Storage {
    device: Arc<DeviceState>,
    /// Bytes of an element.
    element: u64,
    /// `None` if there are no elements, or no memory for them.
    buffer: Option<Buffer>,
    /// Whether the elements were never computed, for want of memory.
    missing: AtomicBool,
}

/// A buffer and the name under which bind groups remember it.
#[derive(Clone, Debug)]
pub(crate) struct Buffer {
    pub(crate) id: u64,
    pub(crate) raw: wgpu::Buffer,
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Storage({:?})", self.buffer)
    }
}

impl Storage {
    /// A buffer of `len` elements with any contents.
    pub(crate) fn new(device: &Arc<DeviceState>, dtype: DType, len: usize) -> Result<Self> {
        let element = if dtype == DType::F16 { 2 } else { 4 };
        let buffer = match len {
            0 => None,
            len => Some(device.take(len as u64 * element)?),
        };
        Ok(Storage { device: device.clone(), element, buffer, missing: AtomicBool::new(false) })
    }

    /// What stands for elements that there was no memory for.
    pub(crate) fn missing(device: &Arc<DeviceState>) -> Self {
        Storage { device: device.clone(), element: 4, buffer: None, missing: AtomicBool::new(true) }
    }

    pub(crate) fn is_missing(&self) -> bool {
        self.missing.load(Ordering::Relaxed)
    }

    /// Says that what should have been written here was not.
    pub(crate) fn miss(&self) {
        self.missing.store(true, Ordering::Relaxed);
    }

    pub(crate) fn element(&self) -> u64 {
        self.element
    }

    /// Bytes of the buffer.
    pub(crate) fn bytes(&self) -> u64 {
        self.buffer.as_ref().map_or(0, |buffer| buffer.raw.size())
    }

    /// Panics unless all elements that a layout shows lie within the buffer, if there was memory for it: sums of strides do not
    /// overflow then.
    pub(crate) fn check(&self, layout: &Layout) {
        let end = (layout.end() as u64).saturating_mul(self.element);
        assert!(
            self.is_missing() || end <= self.bytes(),
            "{layout:?} reaches beyond a storage of {} bytes",
            self.bytes()
        );
    }

    /// The buffer; asked for only where there are elements.
    pub(crate) fn buffer(&self) -> &Buffer {
        match &self.buffer {
            Some(buffer) => buffer,
            None => unreachable!("nothing is done with no elements"),
        }
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.device.give(buffer);
        }
    }
}

/// The freed buffers of a device, by size, and what is in use.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// Of each size by id: the lowest is taken first, so that equal training steps find equal buffers, and with them their bind
    /// groups.
    free: HashMap<u64, BTreeMap<u64, wgpu::Buffer>>,
    stats: MemoryStats,
    made: u64,
}

/// The smallest size class.
const SMALLEST: u64 = 256;

/// The next of four steps per power of two, so that at most a quarter is wasted.
fn size_class(bytes: u64) -> u64 {
    if bytes <= SMALLEST {
        return SMALLEST;
    }
    bytes.next_multiple_of((1 << (bytes - 1).ilog2()) / 4)
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl DeviceState {
    fn take(&self, bytes: u64) -> Result<Buffer> {
        let limit = self.limits.max_buffer_size;
        // What one binding reaches is not rounded up to more than that.
        let whole = self.largest_binding();
        let class = size_class(bytes).min(if bytes <= whole { whole } else { limit } & !15);
        if bytes > class {
            return Err(
                self.error(format!("a tensor of {bytes} bytes is over the adapter's limit of {limit} per buffer"))
            );
        }
        let cached = self.pool().free.get_mut(&class).and_then(BTreeMap::pop_first);
        let buffer = match cached {
            Some((id, raw)) => Buffer { id, raw },
            None => self.make(class).or_else(|_| {
                // What is free in other sizes may do.
                self.release();
                self.make(class)
            })?,
        };
        let mut pool = self.pool();
        pool.stats.live += class;
        pool.stats.peak = pool.stats.peak.max(pool.stats.live);
        Ok(buffer)
    }

    fn make(&self, bytes: u64) -> Result<Buffer> {
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let descriptor = wgpu::BufferDescriptor { label: None, size: bytes, usage, mapped_at_creation: false };
        let raw = self.device.create_buffer(&descriptor);
        if pollster::block_on(scope.pop()).is_some() {
            let MemoryStats { live, reserved, .. } = self.memory();
            return Err(Error::OutOfMemory { device: format!("{self:?}"), bytes, live, reserved });
        }
        let mut pool = self.pool();
        pool.stats.reserved += bytes;
        pool.made += 1;
        Ok(Buffer { id: NEXT.fetch_add(1, Ordering::Relaxed), raw })
    }

    fn give(&self, buffer: Buffer) {
        let mut pool = self.pool();
        let class = buffer.raw.size();
        pool.stats.live -= class;
        pool.free.entry(class).or_default().insert(buffer.id, buffer.raw);
    }

    pub(crate) fn memory(&self) -> MemoryStats {
        self.pool().stats
    }

    pub(crate) fn reset_peak(&self) {
        let mut pool = self.pool();
        pool.stats.peak = pool.stats.live;
    }

    /// Buffers made since the start.
    pub(crate) fn allocations(&self) -> u64 {
        self.pool().made
    }

    /// Lets go of all freed buffers, and of the bind groups that would keep them.
    pub(crate) fn release(&self) {
        self.flush();
        self.forget_bind_groups();
        let freed: u64 = self.pool().free.drain().map(|(class, list)| class * list.len() as u64).sum();
        self.pool().stats.reserved -= freed;
    }
}
