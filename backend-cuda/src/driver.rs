//! What the backend asks of the machine below it: a card through CUDA's driver (`card.rs`), or the emulator (`emulator.rs`).
//!
//! All work of a device goes to one stream: it takes effect in the order of the calls, from whichever thread they come.

use std::ffi::c_void;
use std::fmt::Debug;

/// An address in the device's memory; 0 is none.
pub(crate) type Address = u64;

/// Why the machine did not do what it was asked, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There is no memory of that size.
    OutOfMemory,
    /// The device is of no more use to this process: a kernel failed, and every later call fails too.
    Lost(String),
    /// Anything else.
    Other(String),
}

/// What is known of a device.
#[derive(Clone, Debug)]
pub(crate) struct Info {
    /// As its maker calls it.
    pub(crate) name: String,
    /// Compute capability, major and minor.
    pub(crate) capability: (u32, u32),
    /// Bytes of memory.
    pub(crate) memory: u64,
    /// Streaming multiprocessors.
    pub(crate) multiprocessors: u32,
    /// Bytes of shared memory that a block may have, static and dynamic together.
    pub(crate) shared_memory: u32,
    /// The version of the driver, major and minor; none of an emulator.
    pub(crate) driver: Option<(u32, u32)>,
}

/// One call of a kernel. Every kernel takes one struct by value.
pub(crate) struct Launch<'a> {
    /// The kernel's name, as in `extern "C" __global__`.
    pub(crate) kernel: &'a str,
    /// Blocks.
    pub(crate) grid: [u32; 3],
    /// Threads of a block.
    pub(crate) block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub(crate) shared: u32,
    /// The kernel's argument.
    pub(crate) params: *const c_void,
}

/// A machine that holds memory and runs kernels.
pub(crate) trait Driver: Debug + Send + Sync {
    /// What it is.
    fn info(&self) -> &Info;

    /// How many bytes an allocation of this many should have, so that it can serve others later.
    fn round_up(&self, bytes: usize) -> usize;

    /// Memory with any contents; `bytes` is not 0. The address is a multiple of 256 on a card, of 16 on an emulator.
    fn allocate(&self, bytes: usize) -> Result<Address, Failure>;

    /// Gives memory back, after the work that was queued before.
    ///
    /// # Safety
    /// The address came from [`allocate`](Driver::allocate) of this driver with this many bytes, and nothing uses it.
    unsafe fn free(&self, address: Address, bytes: usize);

    /// Told when memory changes its owner without having been freed: an emulator makes its contents unusable.
    ///
    /// # Safety
    /// The memory is allocated, has this many bytes and no owner.
    unsafe fn recycle(&self, address: Address, bytes: usize) {
        let _ = (address, bytes);
    }

    /// Told where blocks of kernels count themselves in, to find out who is last: an emulator checks that what they wrote is
    /// visible to the last.
    fn counters(&self, address: Address, bytes: usize) {
        let _ = (address, bytes);
    }

    /// Copies to the device. The data may be changed as soon as the call returns.
    ///
    /// # Safety
    /// At the address is allocated memory of at least as many bytes.
    unsafe fn upload(&self, to: Address, data: &[u8]) -> Result<(), Failure>;

    /// Copies from the device, after the work that was queued before; returns when the data are there.
    ///
    /// # Safety
    /// At the address is allocated memory of at least as many bytes.
    unsafe fn download(&self, from: Address, data: &mut [u8]) -> Result<(), Failure>;

    /// Sets every byte.
    ///
    /// # Safety
    /// At the address is allocated memory of at least as many bytes.
    unsafe fn set(&self, at: Address, value: u8, bytes: usize) -> Result<(), Failure>;

    /// Queues a kernel.
    ///
    /// # Safety
    /// `params` points to the struct that the kernel takes, and the addresses in it hold what the kernel says.
    unsafe fn launch(&self, launch: &Launch<'_>) -> Result<(), Failure>;

    /// Waits for all work; an error of any of it that was not reported yet.
    fn synchronize(&self) -> Result<(), Failure>;
}
