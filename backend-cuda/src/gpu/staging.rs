//! Host memory that the card reads and writes by itself, so that an upload returns before the card has seen the data.

use super::calls::check;
use crate::driver::{Address, Failure};
use cudarc::driver::sys::{self, CUevent, CUstream};
use std::ffi::c_void;
use std::ptr;

/// Bytes of a chunk, and chunks of the ring. While one is filled, the others are on their way.
const CHUNK: usize = 256 << 10;
const CHUNKS: usize = 4;

/// Copies start at multiples of this, which suits the card's reads.
const ALIGNMENT: usize = 256;

/// Page-locked host memory.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) pointer: *mut u8,
}

// SAFETY: it is plain memory with one owner, and the driver frees it from any thread.
unsafe impl Send for Pinned {}

impl Pinned {
    pub(super) fn new(bytes: usize) -> Result<Self, Failure> {
        let mut pointer: *mut c_void = ptr::null_mut();
        // SAFETY: the call sets the pointer, and a context is bound.
        check("cuMemHostAlloc", unsafe { sys::cuMemHostAlloc(&mut pointer, bytes, 0) })?;
        Ok(Pinned { pointer: pointer.cast() })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // SAFETY: it came from cuMemHostAlloc, and the owner has waited for the stream that uses it. A failure means
        // that the context is broken, and its memory goes with it.
        let _ = unsafe { sys::cuMemFreeHost(self.pointer.cast()) };
    }
}

/// A mark in the stream.
#[derive(Debug)]
struct Event(CUevent);

// SAFETY: an event is a handle that the driver takes from any thread.
unsafe impl Send for Event {}

impl Event {
    fn new() -> Result<Self, Failure> {
        let mut event = ptr::null_mut();
        let flags = sys::CUevent_flags_enum::CU_EVENT_DISABLE_TIMING as u32;
        // SAFETY: the call sets the handle, and a context is bound.
        check("cuEventCreate", unsafe { sys::cuEventCreate(&mut event, flags) })?;
        Ok(Event(event))
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: it came from cuEventCreate and is destroyed once; a failure has no remedy.
        let _ = unsafe { sys::cuEventDestroy_v2(self.0) };
    }
}

/// A ring of pinned chunks. Uploads fill a chunk one after another; when it is full an event marks its last copy in the
/// stream, and the chunk is filled again once that event has come.
#[derive(Debug)]
pub(super) struct Ring {
    pinned: Pinned,
    events: Vec<Event>,
    /// The chunk that is being filled, and how far.
    chunk: usize,
    used: usize,
}

impl Ring {
    pub(super) fn new() -> Result<Self, Failure> {
        let events = (0..CHUNKS).map(|_| Event::new()).collect::<Result<_, _>>()?;
        Ok(Ring { pinned: Pinned::new(CHUNK * CHUNKS)?, events, chunk: 0, used: 0 })
    }

    /// Queues a copy. Data larger than a chunk go piece by piece, each being filled while those before are on their way.
    ///
    /// # Safety
    /// At the address is allocated memory of at least as many bytes, and the stream is always the same.
    pub(super) unsafe fn upload(&mut self, stream: CUstream, to: Address, data: &[u8]) -> Result<(), Failure> {
        // What fits into a chunk is not cut for being late in one.
        if CHUNK - self.used < data.len().min(CHUNK) {
            self.next_chunk(stream)?;
        }
        let mut done = 0;
        while done < data.len() {
            if self.used == CHUNK {
                self.next_chunk(stream)?;
            }
            let piece = &data[done..data.len().min(done + CHUNK - self.used)];
            // SAFETY: chunk and used stay within the ring, and no copy that is on its way reads behind `used`.
            let source = unsafe { self.pinned.pointer.add(self.chunk * CHUNK + self.used) };
            // SAFETY: the piece fits into the chunk's rest, and pinned memory is no part of a caller's slice.
            unsafe { ptr::copy_nonoverlapping(piece.as_ptr(), source, piece.len()) };
            // SAFETY: the caller answers for the address; the source stays as it is until the chunk's event has come.
            let result = unsafe { sys::cuMemcpyHtoDAsync_v2(to + done as u64, source.cast(), piece.len(), stream) };
            check("cuMemcpyHtoDAsync", result)?;
            self.used = (self.used + piece.len()).next_multiple_of(ALIGNMENT);
            done += piece.len();
        }
        Ok(())
    }

    /// Closes the chunk and waits until the next one is free: until the stream has passed what was queued when that one
    /// was closed, some uploads ago.
    fn next_chunk(&mut self, stream: CUstream) -> Result<(), Failure> {
        // SAFETY: event and stream are alive and of one context.
        check("cuEventRecord", unsafe { sys::cuEventRecord(self.events[self.chunk].0, stream) })?;
        self.chunk = (self.chunk + 1) % CHUNKS;
        self.used = CHUNK; // until it is known to be free
        // SAFETY: the event is alive. One that was never recorded counts as passed.
        check("cuEventSynchronize", unsafe { sys::cuEventSynchronize(self.events[self.chunk].0) })?;
        self.used = 0;
        Ok(())
    }
}
