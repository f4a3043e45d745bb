//! Pinned (page-locked) staging buffers: the GPU copies from them asynchronously, so an upload returns once the data are staged.

use super::calls::check;
use crate::driver::{Address, Failure};
use cudarc::driver::sys::{self, CUevent, CUstream};
use std::ffi::c_void;
use std::ptr;

/// The size and the number of the ring's chunks. While one is filled, the others are in flight.
const CHUNK: usize = 256 << 10;
const CHUNKS: usize = 4;

/// The alignment of staged copies, which suits the GPU's reads.
const ALIGNMENT: usize = 256;

/// Pinned host memory.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) pointer: *mut u8,
}

// SAFETY: it is plain memory with one owner, and the driver API frees it from any thread.
unsafe impl Send for Pinned {}

impl Pinned {
    pub(super) fn new(bytes: usize) -> Result<Self, Failure> {
        let mut pointer: *mut c_void = ptr::null_mut();
        // SAFETY: the pointer is to a local variable, which outlives the call; the caller made a context current.
        check("cuMemHostAlloc", unsafe { sys::cuMemHostAlloc(&mut pointer, bytes, 0) })?;
        Ok(Pinned { pointer: pointer.cast() })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: `new` got it from cuMemHostAlloc, and the drop of `Gpu` has synchronized the stream that uses it. A failure
        // means that the context is broken, and its memory is freed with it.
        let _ = unsafe { sys::cuMemFreeHost(self.pointer.cast()) };
    }
}

/// A CUDA event.
#[derive(Debug)]
struct Event(CUevent);

// SAFETY: an event is a handle, which the driver API accepts from any thread.
unsafe impl Send for Event {}

impl Event {
    fn new() -> Result<Self, Failure> {
        let mut event = ptr::null_mut();
        let flags = sys::CUevent_flags_enum::CU_EVENT_DISABLE_TIMING as u32;
        // SAFETY: the pointer is to a local handle, which outlives the call; the caller made a context current.
        check("cuEventCreate", unsafe { sys::cuEventCreate(&mut event, flags) })?;
        Ok(Event(event))
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: `new` got it from cuEventCreate, and it is destroyed once, here. A failure has no remedy.
        let _ = unsafe { sys::cuEventDestroy_v2(self.0) };
    }
}

/// A ring of pinned chunks. Uploads fill the current chunk in sequence; when it is full, an event is recorded after its last
/// copy, and the chunk is reused after that event has completed.
#[derive(Debug)]
pub(super) struct UploadRing {
    pinned: Pinned,
    events: Vec<Event>,
    /// The current chunk, and how many of its bytes are used.
    chunk: usize,
    used: usize,
}

impl UploadRing {
    pub(super) fn new() -> Result<Self, Failure> {
        let events = (0..CHUNKS).map(|_| Event::new()).collect::<Result<_, _>>()?;
        Ok(UploadRing { pinned: Pinned::new(CHUNK * CHUNKS)?, events, chunk: 0, used: 0 })
    }

    /// Queues a copy. Data larger than a chunk are copied chunk by chunk: one is filled while the previous ones are in flight.
    ///
    /// # Safety
    /// The memory at the address is allocated and has at least this many bytes. All calls pass the same stream.
    pub(super) unsafe fn upload(&mut self, stream: CUstream, to: Address, data: &[u8]) -> Result<(), Failure> {
        // Data that fit into one chunk are not split.
        if CHUNK - self.used < data.len().min(CHUNK) {
            self.next_chunk(stream)?;
        }
        let mut done = 0;
        while done < data.len() {
            if self.used == CHUNK {
                self.next_chunk(stream)?;
            }
            let part = &data[done..data.len().min(done + CHUNK - self.used)];
            // SAFETY: `chunk < CHUNKS` and `used < CHUNK`, so the address is within the buffer of `new`.
            let source = unsafe { self.pinned.pointer.add(self.chunk * CHUNK + self.used) };
            // SAFETY: the part fits into the rest of the chunk, which no copy in flight reads: `next_chunk` waited for the
            // chunk's event. The pinned buffer and the caller's slice are different allocations.
            unsafe { ptr::copy_nonoverlapping(part.as_ptr(), source, part.len()) };
            // SAFETY: the caller guarantees the memory at the address; `next_chunk` keeps the source unchanged until its event
            // completes.
            let result = unsafe { sys::cuMemcpyHtoDAsync_v2(to + done as u64, source.cast(), part.len(), stream) };
            check("cuMemcpyHtoDAsync", result)?;
            self.used = (self.used + part.len()).next_multiple_of(ALIGNMENT);
            done += part.len();
        }
        Ok(())
    }

    /// Records the event of the current chunk and waits for that of the next one.
    fn next_chunk(&mut self, stream: CUstream) -> Result<(), Failure> {
        // SAFETY: the events and, as the caller guarantees, the stream exist and belong to one context.
        check("cuEventRecord", unsafe { sys::cuEventRecord(self.events[self.chunk].0, stream) })?;
        self.chunk = (self.chunk + 1) % CHUNKS;
        self.used = CHUNK; // until its event has completed
        // SAFETY: the event exists. One that was never recorded counts as completed.
        check("cuEventSynchronize", unsafe { sys::cuEventSynchronize(self.events[self.chunk].0) })?;
        self.used = 0;
        Ok(())
    }
}
