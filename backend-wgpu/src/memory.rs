//! Buffers of tensors: a caching allocator over wgpu buffers, by size class, and [`Storage`], a tensor's buffer.

use crate::context::{Context, lock};
use minitorch_core::backend::MemoryStats;
use minitorch_core::{DType, Error, Layout, Result};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A tensor's elements: 16 bits each for F16, 32 bits for every other dtype.
pub struct Storage {
    allocator: Arc<Allocator>,
    /// Bytes of an element.
    element: u64,
    /// `None` if there are no elements, or no memory for them.
    buffer: Option<GpuBuffer>,
    /// Whether the elements were never computed, for lack of memory.
    missing: AtomicBool,
}

/// A wgpu buffer with an id, by which bind groups are cached.
#[derive(Clone, Debug)]
pub(crate) struct GpuBuffer {
    pub(crate) id: u64,
    pub(crate) raw: wgpu::Buffer,
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Storage({:?})", self.buffer)
    }
}

impl Storage {
    /// A buffer of `len` elements, uninitialized.
    pub(crate) fn new(allocator: &Arc<Allocator>, dtype: DType, len: usize) -> Result<Self> {
        let element = if dtype == DType::F16 { 2 } else { 4 };
        let buffer = match len {
            0 => None,
            len => Some(allocator.take(len as u64 * element)?),
        };
        Ok(Storage { allocator: allocator.clone(), element, buffer, missing: AtomicBool::new(false) })
    }

    /// The result of an operation that found no memory for it.
    pub(crate) fn missing(allocator: &Arc<Allocator>) -> Self {
        Storage { allocator: allocator.clone(), element: 4, buffer: None, missing: AtomicBool::new(true) }
    }

    pub(crate) fn is_missing(&self) -> bool {
        self.missing.load(Ordering::Relaxed)
    }

    /// Records that the elements were not computed.
    pub(crate) fn mark_missing(&self) {
        self.missing.store(true, Ordering::Relaxed);
    }

    /// Bytes of an element.
    pub(crate) fn element(&self) -> u64 {
        self.element
    }

    /// Bytes of the buffer.
    pub(crate) fn bytes(&self) -> u64 {
        self.buffer.as_ref().map_or(0, |buffer| buffer.raw.size())
    }

    /// Panics unless every element of the layout lies within the buffer, or the storage is missing. Sums of the layout's strides then
    /// do not overflow.
    pub(crate) fn check(&self, layout: &Layout) {
        let end = (layout.end() as u64).saturating_mul(self.element);
        assert!(
            self.is_missing() || end <= self.bytes(),
            "{layout:?} reaches beyond a storage of {} bytes",
            self.bytes()
        );
    }

    /// The buffer. Callers have checked that there are elements and that they are not missing.
    pub(crate) fn buffer(&self) -> &GpuBuffer {
        match &self.buffer {
            Some(buffer) => buffer,
            None => unreachable!("a storage without elements is not bound"),
        }
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.allocator.give_back(buffer);
        }
    }
}

/// A device's allocator: freed buffers are cached by size class.
pub(crate) struct Allocator {
    context: Arc<Context>,
    pool: Mutex<Pool>,
}

#[derive(Debug, Default)]
struct Pool {
    /// Freed buffers by size class, then by id. The lowest id is reused first, so that equal training steps reuse equal buffers, and
    /// with them their cached bind groups.
    free: HashMap<u64, BTreeMap<u64, wgpu::Buffer>>,
    stats: MemoryStats,
    /// Buffers created since the start.
    created: u64,
}

/// The smallest size class.
const SMALLEST: u64 = 256;

/// The size rounded up to one of four steps per power of two: at most a quarter is unused.
fn size_class(bytes: u64) -> u64 {
    if bytes <= SMALLEST {
        return SMALLEST;
    }
    bytes.next_multiple_of((1 << (bytes - 1).ilog2()) / 4)
}

impl Allocator {
    pub(crate) fn new(context: &Arc<Context>) -> Self {
        Allocator { context: context.clone(), pool: Mutex::default() }
    }

    fn take(&self, bytes: u64) -> Result<GpuBuffer> {
        let limit = self.context.limits.max_buffer_size;
        // A size that fits one binding is not rounded up to a class that does not.
        let binding = self.context.largest_binding();
        let class = size_class(bytes).min(if bytes <= binding { binding } else { limit } & !15);
        if bytes > class {
            return Err(self
                .context
                .error(format!("a tensor of {bytes} bytes is over the adapter's limit of {limit} per buffer")));
        }
        let cached = lock(&self.pool).free.get_mut(&class).and_then(BTreeMap::pop_first);
        let buffer = match cached {
            Some((id, raw)) => GpuBuffer { id, raw },
            None => self.create(class)?,
        };
        let stats = &mut lock(&self.pool).stats;
        stats.live += class;
        stats.peak = stats.peak.max(stats.live);
        Ok(buffer)
    }

    fn create(&self, bytes: u64) -> Result<GpuBuffer> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let device = &self.context.device;
        let scope = device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        let descriptor = wgpu::BufferDescriptor { label: None, size: bytes, usage, mapped_at_creation: false };
        let raw = device.create_buffer(&descriptor);
        if pollster::block_on(scope.pop()).is_some() {
            let MemoryStats { live, reserved, .. } = self.stats();
            return Err(Error::OutOfMemory { device: self.context.name.clone(), bytes, live, reserved });
        }
        let mut pool = lock(&self.pool);
        pool.stats.reserved += bytes;
        pool.created += 1;
        Ok(GpuBuffer { id: NEXT.fetch_add(1, Ordering::Relaxed), raw })
    }

    fn give_back(&self, buffer: GpuBuffer) {
        let mut pool = lock(&self.pool);
        let class = buffer.raw.size();
        pool.stats.live -= class;
        pool.free.entry(class).or_default().insert(buffer.id, buffer.raw);
    }

    pub(crate) fn stats(&self) -> MemoryStats {
        lock(&self.pool).stats
    }

    pub(crate) fn reset_peak(&self) {
        let stats = &mut lock(&self.pool).stats;
        stats.peak = stats.live;
    }

    /// Buffers created since the start.
    pub(crate) fn created(&self) -> u64 {
        lock(&self.pool).created
    }

    /// Drops all freed buffers. Bind groups that refer to them keep them alive: those are dropped first.
    pub(crate) fn release(&self) {
        let pool = &mut *lock(&self.pool);
        let freed: u64 = pool.free.drain().map(|(class, buffers)| class * buffers.len() as u64).sum();
        pool.stats.reserved -= freed;
    }
}
