//! Lazily loaded modules: the machine code of a kernel file is loaded when one of its kernels is first launched.

use super::calls::check;
use super::table::Table;
use crate::compiler::{Compiler, Image};
use crate::driver::Failure;
use cudarc::driver::sys::{self, CUfunction, CUmodule, CUresult};
use std::ffi::{CStr, CString};
use std::fmt::Debug;
use std::ptr;
use std::sync::{Mutex, PoisonError};

/// The driver's module functions, in the current context. Tests have another implementation.
pub(super) trait Calls: Debug + Send + Sync {
    /// Loads a CUBIN.
    fn load(&self, cubin: &[u8]) -> Result<CUmodule, Refusal>;

    /// Unloads a module of `load`, at most once, while no kernel of it runs.
    fn unload(&self, module: CUmodule);

    /// A kernel of a loaded module.
    fn function(&self, module: CUmodule, name: &CStr) -> Result<CUfunction, Refusal>;
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
    /// The kernels that have been launched.
    functions: Table<CUfunction>,
}

// SAFETY: modules and functions are handles, which the driver API accepts from any thread in which the context is current.
unsafe impl<C: Calls> Send for Modules<C> {}
// SAFETY: as for Send; mutable state is behind a lock, or atomic.
unsafe impl<C: Calls> Sync for Modules<C> {}

impl<C: Calls> Modules<C> {
    pub(super) fn new(calls: C, compiler: Compiler<'static>) -> Self {
        let files = compiler.stems().map(|_| Mutex::default()).collect();
        Modules { calls, compiler, files, functions: Table::default() }
    }

    /// A kernel that has been launched: a lookup without a lock or a driver call.
    pub(super) fn known(&self, name: &str) -> Option<CUfunction> {
        self.functions.get(name).copied()
    }

    /// Finds a kernel for its first launch. The context is current.
    #[cold]
    pub(super) fn prepare(&self, name: &str) -> Result<CUfunction, Failure> {
        let function = self.find(name)?;
        // Without space in the table each launch looks the kernel up again.
        Ok(self.functions.insert(name, function).copied().unwrap_or(function))
    }

    fn find(&self, name: &str) -> Result<CUfunction, Failure> {
        let Some(index) = owner(self.compiler.stems(), name) else {
            return Err(Failure::Other(format!("no kernel file has a name that {name} begins with")));
        };
        let c_name = CString::new(name).map_err(|_| Failure::Other(format!("{name:?} is no kernel's name")))?;
        let mut file = self.files[index].lock().unwrap_or_else(PoisonError::into_inner);
        let module = match file.modules.last() {
            Some(&module) => module,
            None => self.load(index, &mut file)?,
        };
        let function = match self.calls.function(module, &c_name) {
            Err(refusal) if refusal.code && file.cached => {
                let module = self.reload(index, &mut file)?;
                self.calls.function(module, &c_name)
            }
            found => found,
        };
        // The caller adds the name of the kernel.
        function.map_err(|refusal| at(&self.title(index), refusal.failure))
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
