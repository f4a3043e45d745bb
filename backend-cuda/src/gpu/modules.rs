//! The kernels of a GPU: a file's machine code is loaded when one of its kernels is first launched, and kernels are found by
//! their names.

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

/// Shared memory that a kernel may have without being asked, static and dynamic together.
const SHARED_MEMORY: u32 = 48 << 10;

/// The driver's calls about modules, of the context that is current; a test has its own.
pub(super) trait Calls: Debug + Send + Sync {
    /// Loads machine code, which is a whole CUBIN.
    fn load(&self, cubin: &[u8]) -> Result<CUmodule, Refusal>;

    /// Unloads a module that was loaded here, once. Nothing runs in it.
    fn unload(&self, module: CUmodule);

    /// A kernel of a module that is loaded.
    fn function(&self, module: CUmodule, name: &CStr) -> Result<CUfunction, Refusal>;

    /// Bytes of static shared memory of a kernel.
    fn static_shared(&self, function: CUfunction) -> Result<u32, Failure>;

    /// Lets a kernel be launched with so many bytes of dynamic shared memory.
    fn allow_shared(&self, function: CUfunction, bytes: u32) -> Result<(), Failure>;
}

/// Why the driver did not take machine code, or did not find a kernel in it.
#[derive(Debug)]
pub(super) struct Refusal {
    failure: Failure,
    /// Whether the code is at fault, and not the device or its memory: other code may do.
    code: bool,
}

/// CUDA's driver.
#[derive(Debug)]
pub(super) struct Cuda;

impl Refusal {
    fn check(call: &str, result: CUresult) -> Result<(), Refusal> {
        // Invalid value, invalid image, no binary for the GPU, invalid PTX, unsupported PTX version, invalid source, not found.
        let code = matches!(result as u32, 1 | 200 | 209 | 218 | 222 | 300 | 500);
        check(call, result).map_err(|failure| Refusal { failure, code })
    }
}

impl Calls for Cuda {
    fn load(&self, cubin: &[u8]) -> Result<CUmodule, Refusal> {
        let mut module = ptr::null_mut();
        // SAFETY: a CUBIN says its own length, and the bytes live through the call, which sets the handle.
        Refusal::check("cuModuleLoadData", unsafe { sys::cuModuleLoadData(&mut module, cubin.as_ptr().cast()) })?;
        Ok(module)
    }

    fn unload(&self, module: CUmodule) {
        // SAFETY: it was loaded and is unloaded once, and nothing runs in it. A failure means that the context is broken,
        // and its modules go with it.
        let _ = unsafe { sys::cuModuleUnload(module) };
    }

    fn function(&self, module: CUmodule, name: &CStr) -> Result<CUfunction, Refusal> {
        let mut function = ptr::null_mut();
        // SAFETY: the module is loaded, the name ends in zero, and the call sets the handle.
        let result = unsafe { sys::cuModuleGetFunction(&mut function, module, name.as_ptr()) };
        Refusal::check("cuModuleGetFunction", result)?;
        Ok(function)
    }

    fn static_shared(&self, function: CUfunction) -> Result<u32, Failure> {
        let mut bytes = 0;
        let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES;
        // SAFETY: the pointer is to an integer that lives through the call, and the function is of a loaded module.
        check("cuFuncGetAttribute", unsafe { sys::cuFuncGetAttribute(&mut bytes, attribute, function) })?;
        Ok(bytes as u32)
    }

    fn allow_shared(&self, function: CUfunction, bytes: u32) -> Result<(), Failure> {
        let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        // SAFETY: the function is of a loaded module.
        check("cuFuncSetAttribute", unsafe { sys::cuFuncSetAttribute(function, attribute, bytes as i32) })
    }
}

/// A kernel that was launched before.
#[derive(Debug)]
struct Function {
    raw: CUfunction,
    /// Bytes of static shared memory.
    fixed: u32,
    /// Bytes of dynamic shared memory that it may be launched with.
    allowed: AtomicU32,
}

/// What is loaded of a kernel file.
#[derive(Debug, Default)]
struct File {
    /// The newest last. Kernels of the others may have been launched, so they stay.
    modules: Vec<CUmodule>,
    /// Whether the newest came from the cache, so that the compiler may do better.
    kept: bool,
    /// Why it does not compile, which the compiler is not asked twice.
    broken: Option<String>,
}

/// All kernels of a GPU.
#[derive(Debug)]
pub(super) struct Modules<C: Calls = Cuda> {
    calls: C,
    compiler: Compiler<'static>,
    /// In the order of the compiler's. While one is compiled or loaded, who needs a kernel of it waits.
    files: Vec<Mutex<File>>,
    functions: Table<Function>,
    /// Bytes of shared memory that a block may have.
    shared_memory: u32,
}

// SAFETY: modules and functions are handles that the driver takes from any thread with the context current.
unsafe impl<C: Calls> Send for Modules<C> {}
// SAFETY: as above; what changes has a lock, or is atomic.
unsafe impl<C: Calls> Sync for Modules<C> {}

impl<C: Calls> Modules<C> {
    pub(super) fn new(calls: C, compiler: Compiler<'static>, shared_memory: u32) -> Self {
        let files = compiler.stems().map(|_| Mutex::default()).collect();
        Modules { calls, compiler, files, functions: Table::default(), shared_memory }
    }

    /// A kernel that was launched before and may have this much dynamic shared memory: a look into a table, without a lock or
    /// a call of the driver.
    pub(super) fn known(&self, name: &str, shared: u32) -> Option<CUfunction> {
        let function = self.functions.get(name)?;
        (shared <= function.allowed.load(Ordering::Acquire)).then_some(function.raw)
    }

    /// What is done at a kernel's first launch, and at its first one with more shared memory than any kernel may have
    /// unasked. The context is current.
    #[cold]
    pub(super) fn prepare(&self, name: &str, shared: u32) -> Result<CUfunction, Failure> {
        let unlisted;
        let function = match self.functions.get(name) {
            Some(function) => function,
            None => match self.functions.insert(name, self.find(name)?) {
                Ok(function) => function,
                // The table is full. Then this is slow, and right.
                Err(function) => {
                    unlisted = function;
                    &unlisted
                }
            },
        };
        if shared > function.allowed.load(Ordering::Acquire) {
            let (fixed, most) = (function.fixed, self.shared_memory.saturating_sub(function.fixed));
            if shared > most {
                return Err(Failure::Other(format!(
                    "{shared} bytes of dynamic shared memory and {fixed} static ones; a block has {}",
                    self.shared_memory
                )));
            }
            // Two threads may do this at once, and do the same.
            self.calls.allow_shared(function.raw, most)?;
            function.allowed.store(most, Ordering::Release);
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
            Err(refusal) if refusal.code && file.kept => {
                let module = self.load_anew(index, &mut file)?;
                self.calls.function(module, &c_name)
            }
            found => found,
        };
        // The caller says which kernel.
        let raw = raw.map_err(|refusal| at(&self.title(index), refusal.failure))?;
        let fixed = self.calls.static_shared(raw)?;
        Ok(Function { raw, fixed, allowed: SHARED_MEMORY.saturating_sub(fixed).into() })
    }

    /// Loads a file's machine code, compiled where the cache does not hold it.
    fn load(&self, index: usize, file: &mut File) -> Result<CUmodule, Failure> {
        let image = self.image(index, file, Compiler::image)?;
        match self.calls.load(&image.cubin) {
            Ok(module) => Ok(file.add(module, image.cached)),
            Err(refusal) if refusal.code && image.cached => self.load_anew(index, file),
            Err(refusal) => Err(self.refused(index, refusal)),
        }
    }

    /// Loads a file whose kept machine code the driver does not take, compiled again.
    fn load_anew(&self, index: usize, file: &mut File) -> Result<CUmodule, Failure> {
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
        if let Some(why) = &file.broken {
            return Err(Failure::Other(why.clone()));
        }
        make(&self.compiler, index).map_err(|why| Failure::Other(file.broken.insert(why).clone()))
    }

    /// The failure for machine code fresh from the compiler, which is not worth keeping if it is at fault.
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
    /// The stream has been waited for, and the context is current.
    fn drop(&mut self) {
        for file in &mut self.files {
            let file = file.get_mut().unwrap_or_else(PoisonError::into_inner);
            file.modules.iter().for_each(|module| self.calls.unload(*module));
        }
    }
}

impl File {
    fn add(&mut self, module: CUmodule, kept: bool) -> CUmodule {
        self.modules.push(module);
        self.kept = kept;
        module
    }
}

/// A failure with what it is about; running out of memory stays what it is.
fn at(what: &str, failure: Failure) -> Failure {
    match failure {
        Failure::Other(why) => Failure::Other(format!("{what}: {why}")),
        Failure::Lost(why) => Failure::Lost(format!("{what}: {why}")),
        Failure::OutOfMemory => failure,
    }
}

/// Which file a kernel is in: its name begins with the file's stem and an underscore. Of several stems that fit it is
/// the longest, so that `conv_grad.cu` can stand beside `conv.cu`.
fn owner<'a>(stems: impl Iterator<Item = &'a str>, name: &str) -> Option<usize> {
    let fits = |stem: &str| name.strip_prefix(stem).is_some_and(|rest| rest.starts_with('_'));
    let fitting = stems.enumerate().filter(|(_, stem)| fits(stem));
    fitting.max_by_key(|(_, stem)| stem.len()).map(|(index, _)| index)
}

#[cfg(test)]
#[path = "modules_tests.rs"]
mod tests;
