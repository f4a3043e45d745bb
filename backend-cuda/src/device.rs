//! `Cuda`, the device handle, and the names of kernels.

use crate::compiler::{KernelFile, compile_kernels};
use crate::driver::Info;
#[cfg(feature = "emulator")]
use crate::emulator::{Emulator, EmulatorOptions};
use crate::gpu::Gpu;
use crate::memory::Storage;
use crate::state::DeviceState;
use minitorch_core::backend::{Device, MemoryStats};
use minitorch_core::random::DeviceRng;
use minitorch_core::{DType, Error, Result};
use std::collections::BTreeMap;
use std::fmt;
#[cfg(feature = "emulator")]
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A CUDA device: a cheap handle. [`Cuda::new`] returns the process-wide handle of a GPU; with the feature `emulator`,
/// `Cuda::emulated` creates a device that runs the same kernels on the CPU. Tensors of unequal devices do not mix.
#[derive(Clone)]
pub struct Cuda(pub(crate) Arc<DeviceState>);

impl Device for Cuda {
    type Storage = Storage;

    fn supports(&self, dtype: DType) -> bool {
        dtype != DType::F16
    }

    fn rng(&self) -> &DeviceRng {
        self.0.rng()
    }

    fn memory(&self) -> MemoryStats {
        self.0.memory()
    }

    fn reset_peak_memory(&self) {
        self.0.reset_peak_memory();
    }

    fn synchronize(&self) -> Result<()> {
        self.0.synchronize()
    }

    fn take_error(&self) -> Option<Error> {
        self.0.take_error()
    }
}

impl Cuda {
    /// The process-wide handle of a GPU. A kernel file is compiled, or loaded from the cache on disk, when one of its kernels is
    /// first launched. If that fails, the error is queued, and each read and `synchronize` returns it.
    ///
    /// # Errors
    /// If there is no driver, no such GPU or no NVRTC: [`Error::Device`] says which, where it was searched for and what helps.
    pub fn new(ordinal: usize) -> Result<Self> {
        static DEVICES: Mutex<BTreeMap<usize, Cuda>> = Mutex::new(BTreeMap::new());
        let mut devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(device) = devices.get(&ordinal) {
            return Ok(device.clone());
        }
        let state = DeviceState::new(format!("Cuda({ordinal})"), Box::new(Gpu::new(ordinal)?))?;
        let device = Cuda(Arc::new(state));
        devices.insert(ordinal, device.clone());
        Ok(device)
    }

    /// The number of GPUs.
    ///
    /// # Errors
    /// If there is no driver, or it does not answer.
    pub fn count() -> Result<usize> {
        Gpu::count()
    }

    /// A new device that runs the same kernels on the CPU, thread by thread. It reports errors that a GPU may not: accesses
    /// outside a buffer, reads of uninitialized memory, barriers that not all threads reach. Slow; for tests. `options` are
    /// [`EmulatorOptions`], or the `Order` in which threads run.
    ///
    /// # Panics
    /// If the machine is out of memory, or the options ask for more shared memory than the emulator has.
    #[cfg(feature = "emulator")]
    pub fn emulated(options: impl Into<EmulatorOptions>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("Cuda(emulated {})", NEXT.fetch_add(1, Ordering::Relaxed));
        let state = DeviceState::new(name, Box::new(Emulator::new(options)));
        state.map_or_else(|error| panic!("{error}"), |state| Cuda(Arc::new(state)))
    }

    /// Compiles all kernels for a GPU that need not be present, such as `sm_90`, into the cache: the folder
    /// `MINITORCH_CACHE_DIR`, or the user's cache. The folder may be copied to another machine; if the NVRTC there has another
    /// version, kernels are compiled again. Needs NVRTC and no driver. Calls `done` after each file. Returns one line that names
    /// the compiler and the folder.
    ///
    /// # Errors
    /// If the architecture is unknown, there is no NVRTC, a kernel does not compile, or the folder cannot be written:
    /// [`Error::Device`] with one line.
    pub fn compile_kernels(architecture: &str, done: impl FnMut(KernelFile)) -> Result<String> {
        let error = |reason| Error::Device { device: "Cuda".to_owned(), reason };
        compile_kernels(architecture, done).map_err(error)
    }

    /// Frees the cached buffers that no tensor uses.
    pub fn release_memory(&self) {
        self.0.release_memory();
    }

    /// The number of kernels launched since the start: a measure of the cost of a training step that needs no timer.
    pub fn launches(&self) -> u64 {
        self.0.launches()
    }

    /// The number of allocations from the driver since the start; a warm training step makes none.
    pub fn allocations(&self) -> u64 {
        self.0.allocations()
    }

    /// The device in one line: name, compute capability, memory, multiprocessors, driver.
    pub fn describe(&self) -> String {
        let Info { name, capability: (major, minor), memory, multiprocessors, shared_memory, driver } =
            self.0.driver.info();
        let driver = driver.map(|(major, minor)| format!(", driver for CUDA {major}.{minor}")).unwrap_or_default();
        let (gib, kib) = (*memory as f64 / (1u64 << 30) as f64, shared_memory / 1024);
        format!(
            "{name}: compute capability {major}.{minor}, {gib:.1} GiB, {multiprocessors} multiprocessors, {kib} KiB of shared \
             memory per block{driver}"
        )
    }

    /// A buffer with unspecified contents for a result that a kernel will write. If there is no memory for it, the error is
    /// queued and the storage is missing; see `memory.rs`.
    pub(crate) fn alloc(&self, op: &str, dtype: DType, len: usize) -> Storage {
        if self.0.is_halted() {
            return Storage::missing(&self.0, dtype, len);
        }
        self.try_alloc(dtype, len).unwrap_or_else(|error| {
            self.0.queue_error(match error {
                Error::Device { device, reason } => Error::Device { device, reason: format!("{op}: {reason}") },
                other => other,
            });
            Storage::missing(&self.0, dtype, len)
        })
    }

    /// A buffer with unspecified contents.
    ///
    /// # Errors
    /// If there is no memory for it, or the device is lost.
    pub(crate) fn try_alloc(&self, dtype: DType, len: usize) -> Result<Storage> {
        Storage::new(&self.0, dtype, len)
    }
}

/// Two handles are equal if they are the same device.
impl PartialEq for Cuda {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A kernel's name, formatted without a heap allocation.
pub(crate) struct Name {
    text: [u8; 48],
    len: usize,
}

impl Name {
    pub(crate) fn new(text: fmt::Arguments<'_>) -> Self {
        let mut name = Name { text: [0; 48], len: 0 };
        if fmt::write(&mut name, text).is_err() {
            unreachable!("a kernel's name is shorter than 48 bytes: {text}");
        }
        name
    }
}

impl fmt::Write for Name {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let end = self.len + part.len();
        self.text.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(part.as_bytes());
        self.len = end;
        Ok(())
    }
}

impl std::ops::Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.text[..self.len]).unwrap_or_default()
    }
}

/// `name!("reduce_{}_{}", op, suffix(dtype))`
macro_rules! name {
    ($($part:tt)*) => { &*$crate::device::Name::new(format_args!($($part)*)) };
}
pub(crate) use name;

/// The suffix of kernels for an element type.
pub(crate) fn suffix(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => unreachable!("core asks `supports` first"),
        DType::F32 => "f32",
        DType::F64 => "f64",
        DType::I32 => "i32",
        DType::Bool => "bool",
    }
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
