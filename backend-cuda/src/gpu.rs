//! A GPU through CUDA's driver API. Every problem of the machine is an error of one line, never a panic.

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
use staging::{Pinned, UploadRing};
use std::cell::Cell;
use std::ffi::CStr;
use std::fmt;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The minimum compute capability, that of Volta: warps of older GPUs have no independent thread scheduling, which the kernels'
/// masked shuffles rely on.
const MIN_CAPABILITY: (u32, u32) = (7, 0);

/// The size of the pinned buffer for downloads. Into pageable memory the driver itself copies through a pinned buffer, which is
/// slower for small sizes.
const DOWNLOAD_BUFFER: usize = 64 << 10;

/// The smallest size class of allocations.
const MIN_CLASS: usize = 512;

/// A GPU. Its kernels are loaded when they are first launched.
pub(crate) struct Gpu {
    ordinal: usize,
    info: Info,
    // Dropped in this order.
    modules: Modules,
    uploads: Mutex<UploadRing>,
    download: Mutex<Pinned>,
    stream: Stream,
    context: Context,
}

impl Gpu {
    /// The GPU with this ordinal, with a compiler for it.
    pub(crate) fn new(ordinal: usize) -> minitorch_core::Result<Self> {
        Self::open(ordinal).map_err(|reason| Error::Device { device: format!("Cuda({ordinal})"), reason })
    }

    /// The number of GPUs that the driver sees.
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
        if info.capability < MIN_CAPABILITY {
            let ((major, minor), name) = (info.capability, &info.name);
            return Err(format!(
                "{name} has compute capability {major}.{minor}; {}.{} (Volta) or newer is needed",
                MIN_CAPABILITY.0, MIN_CAPABILITY.1
            ));
        }
        let nvrtc = Nvrtc::find(Some(driver), Some(info.capability))?;
        let architecture = nvrtc.architecture(info.capability)?;
        let compiler = Compiler::new(nvrtc, Cache::open(), architecture, SOURCES, HEADERS);
        // If a later step fails, drops undo the earlier ones in reverse order.
        let context = Context::retain(device).map_err(reason)?;
        context.bind().map_err(reason)?;
        let stream = Stream::new().map_err(reason)?;
        let download = Mutex::new(Pinned::new(DOWNLOAD_BUFFER).map_err(reason)?);
        let uploads = Mutex::new(UploadRing::new().map_err(reason)?);
        let modules = Modules::new(modules::DriverCalls, compiler);
        Ok(Gpu { ordinal, info, modules, uploads, download, stream, context })
    }
}

/// The number of devices, at least 1.
fn count() -> Result<usize, String> {
    let mut count = 0;
    // SAFETY: the pointer is to a local integer, which outlives the call.
    check("cuDeviceGetCount", unsafe { sys::cuDeviceGetCount(&mut count) }).map_err(reason)?;
    usize::try_from(count).ok().filter(|count| *count > 0).ok_or_else(no_device)
}

/// The handle and the properties of a device that exists.
fn describe(ordinal: usize, driver: (u32, u32)) -> Result<(CUdevice, Info), String> {
    let mut device = 0;
    // SAFETY: the pointer is to a local handle, which outlives the call.
    check("cuDeviceGet", unsafe { sys::cuDeviceGet(&mut device, ordinal as i32) }).map_err(reason)?;
    let mut name = [0; 256];
    // SAFETY: the buffer holds the given number of characters; the device comes from cuDeviceGet.
    let result = unsafe { sys::cuDeviceGetName(name.as_mut_ptr(), name.len() as i32 - 1, device) };
    check("cuDeviceGetName", result).map_err(reason)?;
    let mut memory = 0;
    // SAFETY: the pointer is to a local integer, which outlives the call; the device comes from cuDeviceGet.
    check("cuDeviceTotalMem", unsafe { sys::cuDeviceTotalMem_v2(&mut memory, device) }).map_err(reason)?;
    let attribute = |which| {
        let mut value = 0;
        // SAFETY: the pointer is to a local integer, which outlives the call; the device comes from cuDeviceGet.
        let result = unsafe { sys::cuDeviceGetAttribute(&mut value, which, device) };
        check("cuDeviceGetAttribute", result).map_err(reason)?;
        Ok::<_, String>(u32::try_from(value).unwrap_or(0))
    };
    let info = Info {
        // SAFETY: the call writes at most all characters but the last, which is 0.
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

/// Rounds a size up to a size class: four per power of two, so at most a quarter is added.
fn size_class(bytes: usize) -> usize {
    if bytes <= MIN_CLASS {
        return MIN_CLASS;
    }
    // A quarter of the largest power of two below `bytes`: 512 for both 513 and 1024.
    let step = (1 << (bytes - 1).ilog2()) / 4;
    // A size that cannot be rounded up cannot be allocated either.
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
        // SAFETY: the pointer is to a local address, which outlives the call; `bind` made the context current.
        check("cuMemAlloc", unsafe { sys::cuMemAlloc_v2(&mut address, bytes) })?;
        Ok(address)
    }

    // SAFETY: the precondition is that of the trait.
    unsafe fn free(&self, address: Address, _bytes: usize) {
        // The driver does not guarantee to wait for a stream before it frees. A failure is that of earlier work, which the next
        // synchronize returns too, or of a context that is gone with its memory.
        let _ = self.synchronize();
        // SAFETY: the caller guarantees that `allocate` returned the address and that only queued work uses it, for which
        // synchronize waited above; it also made the context current.
        let _ = unsafe { sys::cuMemFree_v2(address) };
    }

    // SAFETY: the precondition is that of the trait.
    unsafe fn upload(&self, to: Address, data: &[u8]) -> Result<(), Failure> {
        self.context.bind()?;
        let mut ring = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the caller guarantees the memory at the address, and a Gpu has one stream.
        unsafe { ring.upload(self.stream.0, to, data) }
    }

    // SAFETY: the precondition is that of the trait.
    unsafe fn download(&self, from: Address, data: &mut [u8]) -> Result<(), Failure> {
        self.context.bind()?;
        if data.len() > DOWNLOAD_BUFFER {
            // SAFETY: the caller guarantees the memory at the address; the slice outlives the copy, since the stream is
            // synchronized below. If that fails, the context is broken and no copy runs any more.
            let result =
                unsafe { sys::cuMemcpyDtoHAsync_v2(data.as_mut_ptr().cast(), from, data.len(), self.stream.0) };
            let copied = check("cuMemcpyDtoHAsync", result);
            let waited = self.stream.synchronize();
            return copied.and(waited);
        }
        if data.is_empty() {
            return Ok(());
        }
        let buffer = self.download.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the caller guarantees the memory at the address; the pinned buffer has DOWNLOAD_BUFFER bytes, and the lock
        // makes the access exclusive.
        let result = unsafe { sys::cuMemcpyDtoHAsync_v2(buffer.pointer.cast(), from, data.len(), self.stream.0) };
        check("cuMemcpyDtoHAsync", result)?;
        self.stream.synchronize()?;
        // SAFETY: synchronize waited for the copy of these bytes; the pinned buffer and the caller's slice are different
        // allocations.
        unsafe { ptr::copy_nonoverlapping(buffer.pointer, data.as_mut_ptr(), data.len()) };
        Ok(())
    }

    // SAFETY: the precondition is that of the trait.
    unsafe fn set(&self, at: Address, value: u8, bytes: usize) -> Result<(), Failure> {
        if bytes == 0 {
            return Ok(());
        }
        self.context.bind()?;
        // SAFETY: the caller guarantees the memory at the address; `bind` made the context current.
        check("cuMemsetD8Async", unsafe { sys::cuMemsetD8Async(at, value, bytes, self.stream.0) })
    }

    // SAFETY: the precondition is that of the trait.
    unsafe fn launch(&self, launch: &Launch<'_>) -> Result<(), Failure> {
        let function = match self.modules.known(launch.kernel) {
            Some(function) => {
                self.context.expect_bound()?;
                function
            }
            None => {
                self.context.bind()?;
                self.modules.prepare(launch.kernel)?
            }
        };
        let ([gx, gy, gz], [bx, by, bz]) = (launch.grid, launch.block);
        let mut params = [launch.params.cast_mut()];
        let mut call = || {
            // SAFETY: the caller guarantees that the pointer is to the struct that the kernel takes; the driver copies it before
            // it returns and writes nothing through it. `modules` returned the function of a module that stays loaded.
            unsafe {
                let params = params.as_mut_ptr();
                sys::cuLaunchKernel(function, gx, gy, gz, bx, by, bz, 0, self.stream.0, params, ptr::null_mut())
            }
        };
        let mut result = call();
        if result == CUresult::CUDA_ERROR_INVALID_CONTEXT || result == CUresult::CUDA_ERROR_INVALID_HANDLE {
            // Another library has made its own context current in this thread, and nothing was launched.
            self.context.bind()?;
            result = call();
        }
        if result == CUresult::CUDA_SUCCESS {
            return Ok(());
        }
        let Launch { kernel, grid, block, .. } = launch;
        check(&format!("launch of {kernel}, grid {grid:?}, block {block:?}"), result)
    }

    fn synchronize(&self) -> Result<(), Failure> {
        self.context.bind()?;
        self.stream.synchronize()
    }
}

impl Drop for Gpu {
    /// The drops of the fields need the context current and the stream idle. If that fails, they fail too and are ignored: the
    /// driver frees everything with the context.
    fn drop(&mut self) {
        let _ = self.synchronize();
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpu").field("ordinal", &self.ordinal).field("info", &self.info).finish_non_exhaustive()
    }
}

/// A reference to the device's primary context, which all libraries of the process share.
struct Context {
    device: CUdevice,
    raw: CUcontext,
    /// Unique within the process, unlike the handle, which may be reused.
    id: u64,
}

thread_local! {
    /// The id of the context that this crate last made current in this thread, 0 for none.
    static BOUND: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: a context is a handle, which the driver API accepts from any thread.
unsafe impl Send for Context {}
// SAFETY: as for Send; the driver synchronizes concurrent calls.
unsafe impl Sync for Context {}

impl Context {
    fn retain(device: CUdevice) -> Result<Self, Failure> {
        let mut raw = ptr::null_mut();
        // SAFETY: the device comes from cuDeviceGet; the pointer is to a local handle, which outlives the call.
        check("cuDevicePrimaryCtxRetain", unsafe { sys::cuDevicePrimaryCtxRetain(&mut raw, device) })?;
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Ok(Context { device, raw, id: NEXT.fetch_add(1, Ordering::Relaxed) })
    }

    /// Makes the context current in the calling thread.
    fn bind(&self) -> Result<(), Failure> {
        // SAFETY: `retain` holds a reference to the context until the drop.
        check("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(self.raw) })?;
        BOUND.set(self.id);
        Ok(())
    }

    /// As [`bind`](Self::bind), but without a driver call if this crate last made this context current in this thread. Another
    /// library may have made another one current since: use it only before a call that fails then, not before one that allocates
    /// or loads.
    fn expect_bound(&self) -> Result<(), Failure> {
        if BOUND.get() == self.id { Ok(()) } else { self.bind() }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: `retain` took the reference, and it is released once, here. A failure has no remedy.
        let _ = unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.device) };
    }
}

/// The stream of all work. It does not synchronize with the default stream, which other libraries of the process use.
struct Stream(CUstream);

// SAFETY: a stream is a handle, which the driver API accepts from any thread.
unsafe impl Send for Stream {}
// SAFETY: as for Send; the driver synchronizes concurrent calls.
unsafe impl Sync for Stream {}

impl Stream {
    fn new() -> Result<Self, Failure> {
        let mut stream = ptr::null_mut();
        let flags = sys::CUstream_flags_enum::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: the pointer is to a local handle, which outlives the call; the caller made a context current.
        check("cuStreamCreate", unsafe { sys::cuStreamCreate(&mut stream, flags) })?;
        Ok(Stream(stream))
    }

    fn synchronize(&self) -> Result<(), Failure> {
        // SAFETY: the stream is destroyed in the drop only; the caller made its context current.
        check("cuStreamSynchronize", unsafe { sys::cuStreamSynchronize(self.0) })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: `new` created the stream, and it is destroyed once, here. A failure has no remedy.
        let _ = unsafe { sys::cuStreamDestroy_v2(self.0) };
    }
}

#[cfg(test)]
mod tests;
