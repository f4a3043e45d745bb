//! An NVIDIA card through CUDA's driver. Whatever is wrong with the machine is one line of an error, never a panic.

mod calls;
mod modules;
mod staging;
mod table;

use crate::cache::Cache;
use crate::compiler::Compiler;
use crate::driver::{Address, Driver, Failure, Info, Launch};
use crate::nvrtc::Nvrtc;
use crate::sources::{HEADERS, SOURCES};
use calls::{check, no_device, reason};
use cudarc::driver::sys::{self, CUcontext, CUdevice, CUdevice_attribute, CUresult, CUstream};
use minitorch_core::Error;
use modules::Modules;
use staging::{Pinned, Ring};
use std::cell::Cell;
use std::ffi::CStr;
use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The oldest compute capability: Volta's. Warps before it do not keep their threads' places in a program apart, which
/// the kernels' shuffles with a mask rely on.
const OLDEST: (u32, u32) = (7, 0);

/// Downloads of up to this many bytes go through pinned memory, which saves the driver its own detour.
const LANDING: usize = 64 << 10;

/// The smallest size class of memory.
const SMALLEST: usize = 512;

/// A card of the machine, its kernels loaded when they are first launched.
pub(crate) struct Gpu {
    ordinal: usize,
    info: Info,
    // In the order in which they must go.
    modules: Modules,
    ring: Mutex<Ring>,
    landing: Mutex<Pinned>,
    stream: Stream,
    context: Context,
}

impl Gpu {
    /// A card by its number, and a compiler that knows it.
    pub(crate) fn new(ordinal: usize) -> minitorch_core::Result<Self> {
        Self::open(ordinal).map_err(|reason| Error::Device { device: format!("Cuda({ordinal})"), reason })
    }

    /// How many cards the driver sees.
    pub(crate) fn count() -> minitorch_core::Result<usize> {
        calls::start().and_then(|_| count()).map_err(|reason| Error::Device { device: "Cuda".to_owned(), reason })
    }

    fn open(ordinal: usize) -> Result<Self, String> {
        let driver = calls::start()?;
        let devices = count()?;
        if ordinal >= devices {
            let names = (0..devices).map(|ordinal| Ok(format!("{ordinal}: {}", describe(ordinal, driver)?.1.name)));
            let names = names.collect::<Result<Vec<_>, String>>()?.join(", ");
            return Err(format!("there is no such device; the driver sees {devices} ({names})"));
        }
        let (device, info) = describe(ordinal, driver)?;
        if info.capability < OLDEST {
            let ((major, minor), name) = (info.capability, &info.name);
            return Err(format!(
                "{name} has compute capability {major}.{minor}; {}.{} (Volta) or newer is needed",
                OLDEST.0, OLDEST.1
            ));
        }
        let nvrtc = Nvrtc::find(Some(driver), Some(info.capability))?;
        let architecture = nvrtc.architecture(info.capability)?;
        let compiler = Compiler::new(nvrtc, Cache::open(), architecture, SOURCES, HEADERS);
        // From here on everything undoes itself in reverse order, should a later step fail.
        let context = Context::retain(device).map_err(reason)?;
        context.bind().map_err(reason)?;
        let stream = Stream::new().map_err(reason)?;
        let landing = Mutex::new(Pinned::new(LANDING).map_err(reason)?);
        let ring = Mutex::new(Ring::new().map_err(reason)?);
        let modules = Modules::new(modules::Cuda, compiler, info.shared_memory);
        Ok(Gpu { ordinal, info, modules, ring, landing, stream, context })
    }
}

/// How many devices there are: at least one.
fn count() -> Result<usize, String> {
    let mut count = 0;
    // SAFETY: the pointer is to an integer that lives through the call.
    check("cuDeviceGetCount", unsafe { sys::cuDeviceGetCount(&mut count) }).map_err(reason)?;
    usize::try_from(count).ok().filter(|count| *count > 0).ok_or_else(no_device)
}

/// A device that is known to exist, and what the driver says of it.
fn describe(ordinal: usize, driver: (u32, u32)) -> Result<(CUdevice, Info), String> {
    let mut device = 0;
    // SAFETY: the pointer is to a handle that lives through the call.
    check("cuDeviceGet", unsafe { sys::cuDeviceGet(&mut device, ordinal as i32) }).map_err(reason)?;
    let mut name = [0; 256];
    // SAFETY: there is room for as many characters as said; the device came from cuDeviceGet.
    let result = unsafe { sys::cuDeviceGetName(name.as_mut_ptr(), name.len() as i32 - 1, device) };
    check("cuDeviceGetName", result).map_err(reason)?;
    let mut memory = 0;
    // SAFETY: the pointer is to an integer that lives through the call; the device came from cuDeviceGet.
    check("cuDeviceTotalMem", unsafe { sys::cuDeviceTotalMem_v2(&mut memory, device) }).map_err(reason)?;
    let attribute = |which| {
        let mut value = 0;
        // SAFETY: as above.
        let result = unsafe { sys::cuDeviceGetAttribute(&mut value, which, device) };
        check("cuDeviceGetAttribute", result).map_err(reason)?;
        Ok::<_, String>(u32::try_from(value).unwrap_or(0))
    };
    let info = Info {
        // SAFETY: the last character is still zero, whatever the call has written.
        name: unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned(),
        capability: (
            attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        memory: memory as u64,
        multiprocessors: attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        shared_memory: attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
        driver: Some(driver),
    };
    Ok((device, info))
}

/// The next of four steps per power of two, so that at most a quarter is added.
fn size_class(bytes: usize) -> usize {
    if bytes <= SMALLEST {
        return SMALLEST;
    }
    // The power of two below: 513 and 1024 both lie above 512.
    let step = (1 << (bytes - 1).ilog2()) / 4;
    // What is too large to be rounded is too large to be had.
    bytes.checked_next_multiple_of(step).unwrap_or(bytes)
}

impl Driver for Gpu {
    fn info(&self) -> &Info {
        &self.info
    }

    fn round_up(&self, bytes: usize) -> usize {
        size_class(bytes)
    }

    fn allocate(&self, bytes: usize) -> Result<Address, Failure> {
        self.context.bind()?;
        let mut address = 0;
        // SAFETY: the pointer is to an address that lives through the call, and the context is bound.
        check("cuMemAlloc", unsafe { sys::cuMemAlloc_v2(&mut address, bytes) })?;
        Ok(address)
    }

    // SAFETY: the caller knows that the memory is allocated and no longer used.
    unsafe fn free(&self, address: Address, _bytes: usize) {
        // The driver does not promise to wait for a stream before it frees. Failures are of work queued before, which
        // the next synchronize tells as well, or of a context that is gone with its memory.
        let _ = self.synchronize();
        // SAFETY: the caller says that the address was allocated here and is used no more; the context is bound.
        let _ = unsafe { sys::cuMemFree_v2(address) };
    }

    unsafe fn upload(&self, to: Address, data: &[u8]) -> Result<(), Failure> {
        self.context.bind()?;
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the caller answers for the address, and the card has one stream.
        unsafe { ring.upload(self.stream.0, to, data) }
    }

    unsafe fn download(&self, from: Address, data: &mut [u8]) -> Result<(), Failure> {
        self.context.bind()?;
        if data.len() > LANDING {
            // SAFETY: the caller answers for the address; the slice lives until the stream was waited for below, and
            // where that fails the card writes nothing more.
            let result =
                unsafe { sys::cuMemcpyDtoHAsync_v2(data.as_mut_ptr().cast(), from, data.len(), self.stream.0) };
            let copied = check("cuMemcpyDtoHAsync", result);
            let waited = self.stream.synchronize();
            return copied.and(waited);
        }
        if data.is_empty() {
            return Ok(());
        }
        let landing = self.landing.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the caller answers for the address, and the landing place has room and is ours while it is locked.
        let result = unsafe { sys::cuMemcpyDtoHAsync_v2(landing.pointer.cast(), from, data.len(), self.stream.0) };
        check("cuMemcpyDtoHAsync", result)?;
        self.stream.synchronize()?;
        // SAFETY: the card has written these bytes, and pinned memory is no part of a caller's slice.
        unsafe { ptr::copy_nonoverlapping(landing.pointer, data.as_mut_ptr(), data.len()) };
        Ok(())
    }

    // SAFETY: the caller answers for the bytes at the address.
    unsafe fn set(&self, at: Address, value: u8, bytes: usize) -> Result<(), Failure> {
        if bytes == 0 {
            return Ok(());
        }
        self.context.bind()?;
        // SAFETY: the caller answers for the address, and the context is bound.
        check("cuMemsetD8Async", unsafe { sys::cuMemsetD8Async(at, value, bytes, self.stream.0) })
    }

    unsafe fn launch(&self, launch: &Launch<'_>) -> Result<(), Failure> {
        let function = match self.modules.known(launch.kernel, launch.shared) {
            Some(function) => {
                self.context.expect_bound()?;
                function
            }
            None => {
                self.context.bind()?;
                self.modules.prepare(launch.kernel, launch.shared)?
            }
        };
        let ([gx, gy, gz], [bx, by, bz]) = (launch.grid, launch.block);
        let mut params = [launch.params.cast_mut()];
        let mut call = || {
            // SAFETY: the kernel takes one struct, which the caller's pointer leads to; the driver copies it before it
            // returns and writes nothing through it. The function is of a loaded module.
            unsafe {
                let (shared, params) = (launch.shared, params.as_mut_ptr());
                sys::cuLaunchKernel(function, gx, gy, gz, bx, by, bz, shared, self.stream.0, params, ptr::null_mut())
            }
        };
        let mut result = call();
        if result == CUresult::CUDA_ERROR_INVALID_CONTEXT || result == CUresult::CUDA_ERROR_INVALID_HANDLE {
            // Another library has made its own context current in this thread. Nothing was launched.
            self.context.bind()?;
            result = call();
        }
        if result == CUresult::CUDA_SUCCESS {
            return Ok(());
        }
        let (kernel, grid, block, shared) = (launch.kernel, launch.grid, launch.block, launch.shared);
        check(&format!("launch of {kernel}, grid {grid:?}, block {block:?}, {shared} bytes of shared memory"), result)
    }

    fn synchronize(&self) -> Result<(), Failure> {
        self.context.bind()?;
        self.stream.synchronize()
    }
}

impl Drop for Gpu {
    /// Everything below needs the context bound and the stream idle. Where that fails, what follows fails too and is
    /// ignored: the driver takes everything back with the context.
    fn drop(&mut self) {
        let _ = self.synchronize();
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpu").field("ordinal", &self.ordinal).field("info", &self.info).finish_non_exhaustive()
    }
}

/// A hold on the device's primary context: the one that other libraries of the process share.
struct Context {
    device: CUdevice,
    raw: CUcontext,
    /// No two contexts of a process have the same, unlike their addresses.
    id: u64,
}

thread_local! {
    /// The context that this thread has made current last, 0 for none.
    static BOUND: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: a context is a handle that the driver takes from any thread.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    fn retain(device: CUdevice) -> Result<Self, Failure> {
        let mut raw = ptr::null_mut();
        // SAFETY: the device came from cuDeviceGet, and the call sets the handle.
        check("cuDevicePrimaryCtxRetain", unsafe { sys::cuDevicePrimaryCtxRetain(&mut raw, device) })?;
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Ok(Context { device, raw, id: NEXT.fetch_add(1, Ordering::Relaxed) })
    }

    /// Makes it the calling thread's.
    fn bind(&self) -> Result<(), Failure> {
        // SAFETY: the context is retained.
        check("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(self.raw) })?;
        BOUND.set(self.id);
        Ok(())
    }

    /// As [`bind`](Self::bind), but asks the driver only where this thread has bound no or another context last. Somebody else
    /// may have bound one since: enough for a call that fails then, and not for one that allocates or loads.
    fn expect_bound(&self) -> Result<(), Failure> {
        if BOUND.get() == self.id { Ok(()) } else { self.bind() }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: it was retained and is released once; a failure has no remedy.
        let _ = unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.device) };
    }
}

/// The stream of all work. It does not wait for the default stream, which belongs to others in the process.
struct Stream(CUstream);

// SAFETY: a stream is a handle that the driver takes from any thread.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

impl Stream {
    fn new() -> Result<Self, Failure> {
        let mut stream = ptr::null_mut();
        let flags = sys::CUstream_flags_enum::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: the call sets the handle, and a context is bound.
        check("cuStreamCreate", unsafe { sys::cuStreamCreate(&mut stream, flags) })?;
        Ok(Stream(stream))
    }

    fn synchronize(&self) -> Result<(), Failure> {
        // SAFETY: the stream is alive and its context bound.
        check("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(self.0) })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: it was created and is destroyed once; a failure has no remedy.
        let _ = unsafe { sys::cuStreamDestroy_v2(self.0) };
    }
}

#[cfg(test)]
mod tests;
