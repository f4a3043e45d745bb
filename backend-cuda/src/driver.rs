//! The interface to a device: a GPU through CUDA's driver API (`gpu.rs`), or the emulator (`emulator.rs`).
//!
//! A device has one stream: all work takes effect in the order of the calls, whatever threads they come from.

use std::ffi::c_void;
use std::fmt::Debug;

/// An address in device memory; 0 is null.
pub(crate) type Address = u64;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There is no memory of this size.
    OutOfMemory,
    /// A kernel failed, and the process cannot use the device any more: every later call fails too.
    Lost(String),
    /// Anything else.
    Other(String),
}

/// The properties of a device.
#[derive(Clone, Debug)]
pub(crate) struct Info {
    /// The product name.
    pub(crate) name: String,
    /// Compute capability, major and minor.
    pub(crate) capability: (u32, u32),
    /// Bytes of memory.
    pub(crate) memory: u64,
    /// Streaming multiprocessors.
    pub(crate) multiprocessors: u32,
    /// The maximum of shared memory per block in bytes.
    pub(crate) shared_memory: u32,
    /// The version of the driver, major and minor; `None` for an emulator.
    pub(crate) driver: Option<(u32, u32)>,
}

/// A kernel launch. Every kernel takes one struct by value.
pub(crate) struct Launch<'a> {
    /// The kernel's name, as in `extern "C" __global__`.
    pub(crate) kernel: &'a str,
    /// The number of blocks.
    pub(crate) grid: [u32; 3],
    /// The threads of a block.
    pub(crate) block: [u32; 3],
    /// The kernel's argument.
    pub(crate) params: *const c_void,
}

/// A device with memory that runs kernels.
pub(crate) trait Driver: Debug + Send + Sync {
    /// The properties of the device.
    fn info(&self) -> &Info;

    /// The size to allocate for this many bytes, rounded up so that similar requests can reuse the buffer.
    fn round_up(&self, bytes: usize) -> usize;

    /// Allocates memory with unspecified contents; `bytes` is not 0. The address is a multiple of 256 on a GPU, of 16 on an
    /// emulator.
    fn allocate(&self, bytes: usize) -> Result<Address, Failure>;

    /// Frees memory after the work that is queued.
    ///
    /// # Safety
    /// The address came from [`allocate`](Driver::allocate) of this driver with this size, and nothing uses it but queued work.
    unsafe fn free(&self, address: Address, bytes: usize);

    /// Called when a buffer is reused without having been freed: an emulator marks its contents as uninitialized.
    ///
    /// # Safety
    /// The memory is allocated with this size and has no owner.
    unsafe fn recycle(&self, address: Address, bytes: usize) {
        let _ = (address, bytes);
    }

    /// Called with the address of the counters of `last_block` (common.cuh): an emulator checks the fences around them.
    fn counters(&self, address: Address, bytes: usize) {
        let _ = (address, bytes);
    }

    /// Copies to the device. The data may change as soon as the call returns.
    ///
    /// # Safety
    /// The memory at the address is allocated and has at least this many bytes.
    unsafe fn upload(&self, to: Address, data: &[u8]) -> Result<(), Failure>;

    /// Copies from the device after the work that is queued, and waits for the copy.
    ///
    /// # Safety
    /// The memory at the address is allocated and has at least this many bytes.
    unsafe fn download(&self, from: Address, data: &mut [u8]) -> Result<(), Failure>;

    /// Sets every byte of a range.
    ///
    /// # Safety
    /// The memory at the address is allocated and has at least this many bytes.
    unsafe fn set(&self, at: Address, value: u8, bytes: usize) -> Result<(), Failure>;

    /// Queues a kernel.
    ///
    /// # Safety
    /// `params` points to the struct that the kernel takes, and the memory at its addresses is as the kernel documents.
    unsafe fn launch(&self, launch: &Launch<'_>) -> Result<(), Failure>;

    /// Waits for all work, and returns an error of it that no call has returned.
    fn synchronize(&self) -> Result<(), Failure>;
}
