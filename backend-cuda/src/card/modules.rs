//! The kernels of a card: compiled, or read from the cache, and found by their names.

use super::calls::{check, reason};
use crate::cache::{Cache, Key};
use crate::driver::Failure;
use crate::nvrtc::{Architecture, Nvrtc, first_error};
use cudarc::driver::sys::{self, CUfunction, CUfunction_attribute, CUmodule};
use std::collections::HashMap;
use std::ffi::CString;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

/// A kernel file's stem and its machine code.
pub(super) type Image = (String, Vec<u8>);

/// A file's name and text.
type Source<'a> = (&'a str, &'a str);

/// Shared memory that a kernel may have without being asked, static and dynamic together.
const SHARED_MEMORY: u32 = 48 << 10;

/// Compiles every file for an architecture, several at once, or takes it from the cache.
pub(super) fn images(
    nvrtc: &Nvrtc,
    cache: &Cache,
    architecture: Architecture,
    sources: &[Source<'_>],
    headers: &[Source<'_>],
) -> Result<Vec<Image>, String> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(source) = sources.get(next.fetch_add(1, Ordering::Relaxed)) {
            let image = image(nvrtc, cache, architecture, *source, headers);
            done.lock().unwrap_or_else(PoisonError::into_inner).push(image);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(sources.len());
    std::thread::scope(|scope| {
        // A thread that cannot be had is one helper less.
        let helper = |_| std::thread::Builder::new().name("nvrtc".to_owned()).spawn_scoped(scope, work).ok();
        let _helpers: Vec<_> = (1..threads).map(helper).collect();
        work();
    });
    let mut images = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Of several errors always the same one is reported.
    images.sort();
    images.into_iter().collect()
}

fn image(
    nvrtc: &Nvrtc,
    cache: &Cache,
    architecture: Architecture,
    (name, source): Source<'_>,
    headers: &[Source<'_>],
) -> Result<Image, String> {
    let stem = Path::new(name).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let options = nvrtc.options(architecture);
    let version = format!("{}.{}", nvrtc.version().0, nvrtc.version().1);
    let own = [env!("CARGO_PKG_VERSION"), &version, name, source].into_iter();
    let included = headers.iter().flat_map(|(name, text)| [*name, *text]);
    let key = Key::of(own.chain(included).chain(options.iter().map(String::as_str)));
    let compile = || match nvrtc.compile(name, source, headers, &options) {
        Ok(compiled) => Ok(compiled.cubin),
        Err(log) => {
            Err(format!("kernels/{name} does not compile for {architecture} with {nvrtc}: {}", first_error(&log)))
        }
    };
    Ok((stem.clone(), cache.get(&stem, architecture, key, compile)?))
}

/// A loaded kernel file.
#[derive(Debug)]
struct Module {
    stem: String,
    raw: CUmodule,
}

impl Drop for Module {
    fn drop(&mut self) {
        // SAFETY: it was loaded, is unloaded once, and nothing runs in it: the card has waited. A failure means that
        // the context is broken, and its modules go with it.
        let _ = unsafe { sys::cuModuleUnload(self.raw) };
    }
}

/// A kernel that was called before.
#[derive(Clone, Copy, Debug)]
struct Function {
    raw: CUfunction,
    /// Bytes of static shared memory.
    fixed: u32,
    /// Bytes of dynamic shared memory that it may be launched with.
    allowed: u32,
}

/// All kernels of a card.
#[derive(Debug)]
pub(super) struct Modules {
    modules: Vec<Module>,
    functions: RwLock<HashMap<String, Function>>,
    /// Bytes of shared memory that a block of this card may have.
    shared_memory: u32,
}

// SAFETY: modules and functions are handles that the driver takes from any thread with the context bound.
unsafe impl Send for Modules {}
// SAFETY: as above; the map of functions has a lock.
unsafe impl Sync for Modules {}

impl Modules {
    /// Loads the machine code into the bound context.
    pub(super) fn load(images: &[Image], shared_memory: u32) -> Result<Self, String> {
        let mut modules = Vec::new();
        for (stem, cubin) in images {
            let mut raw = ptr::null_mut();
            // SAFETY: the image is a whole CUBIN, which says its own length, and lives through the call.
            let result = unsafe { sys::cuModuleLoadData(&mut raw, cubin.as_ptr().cast()) };
            check(&format!("cuModuleLoadData of kernels/{stem}.cu"), result).map_err(reason)?;
            modules.push(Module { stem: stem.clone(), raw });
        }
        Ok(Modules { modules, functions: RwLock::default(), shared_memory })
    }

    /// A kernel, ready to be launched with this much dynamic shared memory.
    pub(super) fn function(&self, name: &str, shared: u32) -> Result<CUfunction, Failure> {
        let known = self.functions.read().unwrap_or_else(PoisonError::into_inner).get(name).copied();
        match known {
            Some(function) if shared <= function.allowed => Ok(function.raw),
            known => self.prepare(name, shared, known),
        }
    }

    /// What is done at a kernel's first launch, and at its first one with more shared memory than any kernel may have
    /// unasked.
    #[cold]
    fn prepare(&self, name: &str, shared: u32, known: Option<Function>) -> Result<CUfunction, Failure> {
        let mut function = match known {
            Some(function) => function,
            None => self.find(name)?,
        };
        if shared > function.allowed {
            let most = self.shared_memory.saturating_sub(function.fixed);
            if shared > most {
                let fixed = function.fixed;
                let why = format!(
                    "{name}: {shared} bytes of dynamic shared memory and {fixed} static ones; a block has {}",
                    self.shared_memory
                );
                return Err(Failure::Other(why));
            }
            let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function is of a loaded module.
            let result = unsafe { sys::cuFuncSetAttribute(function.raw, attribute, most as i32) };
            check(&format!("cuFuncSetAttribute of {name}"), result)?;
            function.allowed = most;
        }
        // Two threads may do this at once, and do the same.
        self.functions.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), function);
        Ok(function.raw)
    }

    fn find(&self, name: &str) -> Result<Function, Failure> {
        let stems = self.modules.iter().map(|module| module.stem.as_str());
        let Some(index) = owner(stems, name) else {
            return Err(Failure::Other(format!("no kernel file has a name that {name} begins with")));
        };
        let module = &self.modules[index];
        let c_name = CString::new(name).map_err(|_| Failure::Other(format!("{name:?} is no kernel's name")))?;
        let mut raw = ptr::null_mut();
        // SAFETY: the module is loaded, the name ends in zero, and the call sets the handle.
        let result = unsafe { sys::cuModuleGetFunction(&mut raw, module.raw, c_name.as_ptr()) };
        check(&format!("kernel {name} of kernels/{}.cu", module.stem), result)?;
        let mut fixed = 0;
        let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES;
        // SAFETY: the pointer is to an integer that lives through the call, and the function is of a loaded module.
        check("cuFuncGetAttribute", unsafe { sys::cuFuncGetAttribute(&mut fixed, attribute, raw) })?;
        let fixed = fixed as u32;
        Ok(Function { raw, fixed, allowed: SHARED_MEMORY.saturating_sub(fixed) })
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
mod tests {
    use super::*;
    use crate::nvrtc::tests::nvrtc;
    use crate::sources::HEADERS;

    #[test]
    fn a_kernel_belongs_to_the_longest_stem() {
        let stems = ["conv", "conv_grad", "convert"];
        let of = |name| owner(stems.into_iter(), name).map(|index| stems[index]);
        assert_eq!(of("conv_forward"), Some("conv"));
        assert_eq!(of("conv_grad_input"), Some("conv_grad"));
        assert_eq!(of("convert_f32"), Some("convert"));
        assert_eq!(of("conv"), None);
        assert_eq!(of("reduce_sum"), None);
    }

    #[test]
    fn of_several_files_the_broken_one_is_named_in_one_line() {
        let Some(nvrtc) = nvrtc() else { return };
        let folder = tempfile::tempdir().unwrap();
        let good = |stem: &str| {
            format!("#include \"common.cuh\"\nextern \"C\" __global__ void {stem}_k(u32 *x) {{ *x = 1; }}")
        };
        let (one, two) = (good("one"), good("two"));
        let cache = Cache::at(folder.path());
        let images = |sources: &[Source<'_>]| images(&nvrtc, &cache, Architecture::new(80), sources, HEADERS);
        let ok = images(&[("one.cu", &one), ("two.cu", &two)]).unwrap();
        assert_eq!(ok.iter().map(|(stem, _)| stem.as_str()).collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "kept on disk");
        assert_eq!(images(&[("one.cu", &one), ("two.cu", &two)]).unwrap(), ok, "and read from there");
        let why = images(&[("one.cu", &one), ("bad.cu", "\nint f() { return x; }"), ("two.cu", &two)]).unwrap_err();
        assert!(why.starts_with("kernels/bad.cu does not compile for sm_80 with NVRTC"), "{why}");
        assert!(why.contains("bad.cu(2): error: ") && why.lines().count() == 1, "{why}");
    }
}
