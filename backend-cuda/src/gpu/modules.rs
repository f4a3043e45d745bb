//! Lazily loaded modules: the machine code of a kernel file is loaded when one of its kernels is first launched.

use super::calls::check;
use super::table::Table;
use crate::compiler::{Compiler, Image};
use crate::driver::Failure;
use cudarc::driver::sys::{self, CUfunction, CUfunction_attribute, CUmodule, CUresult};
use std::ffi::{CStr, CString};
use std::fmt::Debug;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// The shared memory, static and dynamic, that a kernel may use without a change of its attributes.
const DEFAULT_SHARED: u32 = 48 << 10;

/// The driver's module functions, in the current context. Tests have another implementation.
pub(super) trait Calls: Debug + Send + Sync {
    /// Loads a CUBIN.
    fn load(&self, cubin: &[u8]) -> Result<CUmodule, Refusal>;

    /// Unloads a module of `load`, at most once, while no kernel of it runs.
    fn unload(&self, module: CUmodule);

    /// A kernel of a loaded module.
    fn function(&self, module: CUmodule, name: &CStr) -> Result<CUfunction, Refusal>;

    /// The static shared memory of a kernel in bytes.
    fn static_shared(&self, function: CUfunction) -> Result<u32, Failure>;

    /// Sets the maximum of dynamic shared memory of a kernel.
    fn allow_shared(&self, function: CUfunction, bytes: u32) -> Result<(), Failure>;
}

/// Why the driver refused machine code, or did not find a kernel in it.
#[derive(Debug)]
pub(super) struct Refusal {
    failure: Failure,
    /// Whether the cause is the code and not the device or its memory, so recompiling may help.
    code: bool,
}

/// CUDA's driver.
#[derive(Debug)]
pub(super) struct DriverCalls;

impl Refusal {
    fn check(call: &str, result: CUresult) -> Result<(), Refusal> {
        // Invalid value, invalid image, no binary for the GPU, invalid PTX, unsupported PTX version, invalid source, not found.
        let code = matches!(result as u32, 1 | 200 | 209 | 218 | 222 | 300 | 500);
        check(call, result).map_err(|failure| Refusal { failure, code })
    }
}

impl Calls for DriverCalls {
    fn load(&self, cubin: &[u8]) -> Result<CUmodule, Refusal> {
        let mut module = ptr::null_mut();
        // SAFETY: the bytes are a complete CUBIN, which contains its own length: `Compiler` got it from NVRTC, or from the cache,
        // which verifies a checksum. The pointer is to a local handle, which outlives the call.
        Refusal::check("cuModuleLoadData", unsafe { sys::cuModuleLoadData(&mut module, cubin.as_ptr().cast()) })?;
        Ok(module)
    }

    fn unload(&self, module: CUmodule) {
        // SAFETY: the caller guarantees that the module was loaded, is unloaded once, and runs no kernel. A failure means that
        // the context is broken, and its modules are unloaded with it.
        let _ = unsafe { sys::cuModuleUnload(module) };
    }

    fn function(&self, module: CUmodule, name: &CStr) -> Result<CUfunction, Refusal> {
        let mut function = ptr::null_mut();
        // SAFETY: the caller guarantees that the module is loaded; the pointer is to a local handle, which outlives the call.
        let result = unsafe { sys::cuModuleGetFunction(&mut function, module, name.as_ptr()) };
        Refusal::check("cuModuleGetFunction", result)?;
        Ok(function)
    }

    fn static_shared(&self, function: CUfunction) -> Result<u32, Failure> {
        let mut bytes = 0;
        let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES;
        // SAFETY: the pointer is to a local integer, which outlives the call; the caller guarantees that the function's module is
        // loaded.
        check("cuFuncGetAttribute", unsafe { sys::cuFuncGetAttribute(&mut bytes, attribute, function) })?;
        Ok(bytes as u32)
    }

    fn allow_shared(&self, function: CUfunction, bytes: u32) -> Result<(), Failure> {
        let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the caller guarantees that the function's module is loaded.
        check("cuFuncSetAttribute", unsafe { sys::cuFuncSetAttribute(function, attribute, bytes as i32) })
    }
}

/// A kernel that has been launched.
#[derive(Debug)]
struct Function {
    raw: CUfunction,
    /// Bytes of static shared memory.
    static_shared: u32,
    /// The maximum of dynamic shared memory in bytes.
    max_dynamic: AtomicU32,
}

/// The state of a kernel file.
#[derive(Debug, Default)]
struct File {
    /// The newest is last. The others stay loaded, since their kernels may have been launched.
    modules: Vec<CUmodule>,
    /// Whether the newest came from the cache, so recompiling may help.
    cached: bool,
    /// The error of a file that does not compile; it is compiled once.
    error: Option<String>,
}

/// All kernels of a GPU.
#[derive(Debug)]
pub(super) struct Modules<C: Calls = DriverCalls> {
    calls: C,
    compiler: Compiler<'static>,
    /// By the compiler's index. The lock is held while a file is compiled and loaded.
    files: Vec<Mutex<File>>,
    functions: Table<Function>,
    /// Bytes of shared memory that a block may have.
    shared_memory: u32,
}

// SAFETY: modules and functions are handles, which the driver API accepts from any thread in which the context is current.
unsafe impl<C: Calls> Send for Modules<C> {}
// SAFETY: as for Send; mutable state is behind a lock, or atomic.
unsafe impl<C: Calls> Sync for Modules<C> {}

impl<C: Calls> Modules<C> {
    pub(super) fn new(calls: C, compiler: Compiler<'static>, shared_memory: u32) -> Self {
        let files = compiler.stems().map(|_| Mutex::default()).collect();
        Modules { calls, compiler, files, functions: Table::default(), shared_memory }
    }

    /// A kernel that has been launched and may use this much dynamic shared memory: a lookup without a lock or a driver call.
    pub(super) fn known(&self, name: &str, shared: u32) -> Option<CUfunction> {
        let function = self.functions.get(name)?;
        (shared <= function.max_dynamic.load(Ordering::Acquire)).then_some(function.raw)
    }

    /// Prepares a kernel for its first launch, and for its first one with more than the default shared memory. The context is
    /// current.
    #[cold]
    pub(super) fn prepare(&self, name: &str, shared: u32) -> Result<CUfunction, Failure> {
        let unlisted;
        let function = match self.functions.get(name) {
            Some(function) => function,
            None => match self.functions.insert(name, self.find(name)?) {
                Ok(function) => function,
                // The table is full: each launch looks the kernel up again.
                Err(function) => {
                    unlisted = function;
                    &unlisted
                }
            },
        };
        if shared > function.max_dynamic.load(Ordering::Acquire) {
            let (fixed, max) = (function.static_shared, self.shared_memory.saturating_sub(function.static_shared));
            if shared > max {
                return Err(Failure::Other(format!(
                    "{shared} bytes of dynamic shared memory and {fixed} static ones; a block has {}",
                    self.shared_memory
                )));
            }
            // Idempotent, so two threads may do this at once.
            self.calls.allow_shared(function.raw, max)?;
            function.max_dynamic.store(max, Ordering::Release);
        }
        Ok(function.raw)
    }

    fn find(&self, name: &str) -> Result<Function, Failure> {
        let Some(index) = owner(self.compiler.stems(), name) else {
            return Err(Failure::Other(format!("no kernel file has a name that {name} begins with")));
        };
        let c_name = CString::new(name).map_err(|_| Failure::Other(format!("{name:?} is no kernel's name")))?;
        let mut file = self.files[index].lock().unwrap_or_else(PoisonError::into_inner);
        let module = match file.modules.last() {
            Some(&module) => module,
            None => self.load(index, &mut file)?,
        };
        let raw = match self.calls.function(module, &c_name) {
            Err(refusal) if refusal.code && file.cached => {
                let module = self.reload(index, &mut file)?;
                self.calls.function(module, &c_name)
            }
            found => found,
        };
        // The caller adds the name of the kernel.
        let raw = raw.map_err(|refusal| at(&self.title(index), refusal.failure))?;
        let static_shared = self.calls.static_shared(raw)?;
        Ok(Function { raw, static_shared, max_dynamic: DEFAULT_SHARED.saturating_sub(static_shared).into() })
    }

    /// Loads the machine code of a file, from the cache or compiled.
    fn load(&self, index: usize, file: &mut File) -> Result<CUmodule, Failure> {
        let image = self.image(index, file, Compiler::image)?;
        match self.calls.load(&image.cubin) {
            Ok(module) => Ok(file.add(module, image.cached)),
            Err(refusal) if refusal.code && image.cached => self.reload(index, file),
            Err(refusal) => Err(self.refused(index, refusal)),
        }
    }

    /// Recompiles a file whose cached machine code the driver refuses, and loads it.
    fn reload(&self, index: usize, file: &mut File) -> Result<CUmodule, Failure> {
        self.compiler.discard(index);
        let image = self.image(index, file, Compiler::recompile)?;
        match self.calls.load(&image.cubin) {
            Ok(module) => Ok(file.add(module, image.cached)),
            Err(refusal) => Err(self.refused(index, refusal)),
        }
    }

    fn image(
        &self,
        index: usize,
        file: &mut File,
        make: impl Fn(&Compiler<'static>, usize) -> Result<Image, String>,
    ) -> Result<Image, Failure> {
        if let Some(why) = &file.error {
            return Err(Failure::Other(why.clone()));
        }
        make(&self.compiler, index).map_err(|why| Failure::Other(file.error.insert(why).clone()))
    }

    /// The failure for newly compiled machine code, which is removed from the cache if it is the cause.
    fn refused(&self, index: usize, refusal: Refusal) -> Failure {
        if refusal.code {
            self.compiler.discard(index);
        }
        at(&self.title(index), refusal.failure)
    }

    /// "kernels/conv.cu, compiled for sm_90 by NVRTC 13.0 (libnvrtc.so.13)".
    fn title(&self, index: usize) -> String {
        let stem = self.compiler.stems().nth(index).unwrap_or_default();
        format!("kernels/{stem}.cu, compiled for {}", self.compiler.describe())
    }
}

impl<C: Calls> Drop for Modules<C> {
    /// The drop of `Gpu` has synchronized the stream and made the context current.
    fn drop(&mut self) {
        for file in &mut self.files {
            let file = file.get_mut().unwrap_or_else(PoisonError::into_inner);
            file.modules.iter().for_each(|module| self.calls.unload(*module));
        }
    }
}

impl File {
    fn add(&mut self, module: CUmodule, cached: bool) -> CUmodule {
        self.modules.push(module);
        self.cached = cached;
        module
    }
}

/// Adds the subject to the message of a failure; out of memory has none.
fn at(what: &str, failure: Failure) -> Failure {
    match failure {
        Failure::Other(why) => Failure::Other(format!("{what}: {why}")),
        Failure::Lost(why) => Failure::Lost(format!("{what}: {why}")),
        Failure::OutOfMemory => failure,
    }
}

/// The index of a kernel's file: the kernel's name begins with the file's stem and an underscore. The longest such stem counts,
/// which tells `norm_grad.cu` from `norm.cu`.
fn owner<'a>(stems: impl Iterator<Item = &'a str>, name: &str) -> Option<usize> {
    let fits = |stem: &str| name.strip_prefix(stem).is_some_and(|rest| rest.starts_with('_'));
    let fitting = stems.enumerate().filter(|(_, stem)| fits(stem));
    fitting.max_by_key(|(_, stem)| stem.len()).map(|(index, _)| index)
}

#[cfg(test)]
#[path = "modules_tests.rs"]
mod tests;
