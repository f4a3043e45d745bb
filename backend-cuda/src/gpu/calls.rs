//! Calls of CUDA's driver API: loading the library, and its result codes.
//!
//! A result is an integer that cudarc declares as an `enum`. A newer driver may return a code that is none of its variants, so
//! code here only compares results and converts them to numbers; it does not match or print variants.

use crate::driver::Failure;
use crate::nvrtc::file_of;
use cudarc::driver::sys::{self, CUresult};
use std::ffi::{CStr, c_void};

/// All functions that are called. The drivers of CUDA 12 and 13 have them; a library without one of them is no driver.
const CALLS: &[&str] = &[
    "cuCtxSetCurrent",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDeviceTotalMem_v2",
    "cuDriverGetVersion",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuInit",
    "cuLaunchKernel",
    "cuMemAlloc_v2",
    "cuMemFree_v2",
    "cuMemFreeHost",
    "cuMemHostAlloc",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleGetFunction",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamSynchronize",
];

/// Loads and initialises the driver; returns its version, major and minor. cudarc's functions panic if the library or a function
/// is missing, so this is called first.
pub(super) fn start() -> Result<(u32, u32), String> {
    // SAFETY: loading the driver's library only runs its own initialisers.
    if !unsafe { sys::is_culib_present() } {
        return Err(if cfg!(target_os = "macos") {
            "CUDA does not exist on macOS".to_owned()
        } else {
            "no NVIDIA driver: its library libcuda was not found".to_owned()
        });
    }
    // SAFETY: `is_culib_present` found the library, so this does not panic; cudarc keeps it loaded.
    let library = unsafe { sys::culib() };
    // SAFETY: the symbols are looked up and not used, so their type does not matter.
    let missing = CALLS.iter().find(|name| unsafe { library.get::<*const ()>(name.as_bytes()) }.is_err());
    if let Some(name) = missing {
        return Err(format!("the library libcuda that was found is not that of an NVIDIA driver: it has no {name}"));
    }
    let mut version = 0;
    // SAFETY: the pointer is to a local integer, which outlives the call. The function needs no cuInit.
    let status = unsafe { sys::cuDriverGetVersion(&mut version) };
    if status == CUresult::CUDA_ERROR_STUB_LIBRARY {
        return Err(stub(library));
    }
    check("cuDriverGetVersion", status).map_err(reason)?;
    let version = version as u32;
    let (major, minor) = (version / 1000, version % 1000 / 10);
    if major < 12 {
        return Err(format!("the NVIDIA driver is too old: it is made for CUDA {major}.{minor}, 12.0 is needed"));
    }
    // SAFETY: the flags must be 0, and are. Repeated calls are allowed.
    let status = unsafe { sys::cuInit(0) };
    if status == CUresult::CUDA_ERROR_NO_DEVICE {
        return Err(no_device());
    }
    check("cuInit", status).map_err(reason)?;
    Ok((major, minor))
}

/// The message for the stub library of a CUDA toolkit, which exists for linking and returns an error from every call.
fn stub(library: &libloading::Library) -> String {
    // SAFETY: the symbol is not used, so its type does not matter.
    let path = unsafe { library.get::<*const c_void>(b"cuInit") }.ok().and_then(|symbol| file_of(*symbol));
    let path = path.map_or("libcuda that was found".to_owned(), |path| path.display().to_string());
    format!(
        "the library {path} is the stub of a CUDA toolkit, made for linking, and no driver (CUDA_ERROR_STUB_LIBRARY); \
         take its folder out of LD_LIBRARY_PATH"
    )
}

/// The message for a driver without a device, which an environment variable often causes.
pub(super) fn no_device() -> String {
    let hidden = match std::env::var("CUDA_VISIBLE_DEVICES") {
        Ok(value) => format!("; CUDA_VISIBLE_DEVICES is {value:?}"),
        Err(_) => String::new(),
    };
    format!("the NVIDIA driver is here but sees no device (CUDA_ERROR_NO_DEVICE{hidden})")
}

/// Converts a result; a failure has the name of the call and the driver's message.
pub(super) fn check(call: &str, result: CUresult) -> Result<(), Failure> {
    if result == CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    if result == CUresult::CUDA_ERROR_OUT_OF_MEMORY {
        return Err(Failure::OutOfMemory);
    }
    let message = format!("{call}: {}", describe(result));
    Err(if is_fatal(result) { Failure::Lost(message) } else { Failure::Other(message) })
}

/// Whether the code means that a kernel failed, after which every call returns this code.
fn is_fatal(result: CUresult) -> bool {
    matches!(result as u32, 700 | 702 | 710 | 714..=719)
}

/// "an illegal memory access was encountered (CUDA_ERROR_ILLEGAL_ADDRESS)".
pub(super) fn describe(result: CUresult) -> String {
    // `get` is cuGetErrorName or cuGetErrorString, whose contract the SAFETY sentence below states.
    let text = |get: unsafe fn(CUresult, *mut *const std::ffi::c_char) -> CUresult| {
        let mut text = std::ptr::null();
        // SAFETY: both functions accept any code, and set the pointer to a C string that is never freed, or leave it null for an
        // unknown code.
        unsafe {
            let known = get(result, &mut text) == CUresult::CUDA_SUCCESS && !text.is_null();
            known.then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
        }
    };
    let code = result as u32;
    let name = text(sys::cuGetErrorName).unwrap_or_else(|| format!("code {code}"));
    let words = text(sys::cuGetErrorString).unwrap_or_else(|| "unknown error".to_owned());
    let note = if is_fatal(result) {
        "; a kernel queued before failed, and the process can use the device no more"
    } else {
        ""
    };
    format!("{words} ({name}){note}")
}

/// The message of a failure, for callers that do not distinguish out of memory.
pub(super) fn reason(failure: Failure) -> String {
    match failure {
        Failure::OutOfMemory => "out of memory (CUDA_ERROR_OUT_OF_MEMORY)".to_owned(),
        Failure::Other(why) | Failure::Lost(why) => why,
    }
}
