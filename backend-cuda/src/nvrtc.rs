//! NVRTC, NVIDIA's run-time compiler: search, loading and calls. Needs no GPU and no driver.

mod architecture;
mod choose;
mod python;
mod search;

pub use architecture::Architecture;

use libloading::Library;
use search::{entries, unusable};
use std::error::Error;
#[cfg(unix)]
use std::ffi::OsStr;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;

/// A loaded NVRTC library. It stays loaded until the process ends, since it has threads of its own.
#[derive(Debug)]
pub struct Nvrtc {
    pub(crate) version: (u32, u32),
    path: PathBuf,
    api: Api,
}

/// The result of a compilation.
#[derive(Debug)]
pub struct Compiled {
    /// The machine code.
    pub cubin: Vec<u8>,
    /// Warnings, and what `--ptxas-options=-v` prints.
    pub log: String,
}

/// The first error in a log, or its first line.
pub fn first_error(log: &str) -> &str {
    let mut lines = log.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.clone().find(|line| line.contains("error")).or_else(|| lines.next()).unwrap_or("no log")
}

impl Nvrtc {
    fn load(path: &Path) -> Result<Self, String> {
        if let Some(why) = unusable(path) {
            return Err(why.to_owned());
        }
        // SAFETY: the file is chosen by name as an NVRTC library, whose initialisers only set up its own state.
        let library = unsafe { Library::new(path) }.map_err(|why| load_error(path, &why))?;
        // Leaked, since its functions are used until the process ends.
        let api = Api::new(Box::leak(Box::new(library)))?;
        // For a bare name, the loader knows the path.
        let file = || file_of(api.version as *const c_void)?.canonicalize().ok();
        let path = if path.is_absolute() { path.to_owned() } else { file().unwrap_or(path.to_owned()) };
        if let Some(why) = unusable(&path) {
            return Err(format!("{} {why}", path.display()));
        }
        let (mut major, mut minor) = (0, 0);
        // SAFETY: both pointers are to local integers, which outlive the call.
        match unsafe { (api.version)(&mut major, &mut minor) } {
            0 => Ok(Nvrtc { version: (major as u32, minor as u32), path, api }),
            status => Err(format!("nvrtcVersion: status {status}")),
        }
    }

    /// NVRTC opens a second library by its bare name when it first compiles. Outside of the system's folders the loader finds it
    /// only if it is loaded already.
    fn load_builtins(&self) {
        let Some(folder) = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return };
        let prefix = if cfg!(windows) { "nvrtc-builtins64_" } else { "libnvrtc-builtins.so" };
        for path in entries(folder, prefix) {
            // SAFETY: the library contains data for NVRTC and runs no code when it is loaded.
            #[cfg(unix)]
            let loaded = unsafe {
                use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
                Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL)
            };
            // SAFETY: the library contains data for NVRTC and runs no code when it is loaded.
            #[cfg(not(unix))]
            let loaded = unsafe { Library::new(&path) };
            // Without it compilations fail with an error; a loaded one must stay loaded.
            if let Ok(library) = loaded {
                std::mem::forget(library);
            }
        }
    }

    /// The options for all kernels. No fast math: a kernel calls an approximation by name.
    pub fn options(&self, architecture: Architecture) -> Vec<String> {
        let mut options =
            vec![format!("--gpu-architecture={architecture}"), "--std=c++17".into(), "--fmad=true".into()];
        // The optimizer and the assembler use all cores. All versions from 13.0 on, and some of 12, have the option.
        if self.version >= (13, 0) {
            options.push("--split-compile=0".into());
        }
        options
    }

    /// The version, major and minor.
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// The file, or the bare name if the path is unknown.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Compiles a file that includes headers by name. The error is the log.
    pub fn compile(
        &self,
        name: &str,
        source: &str,
        headers: &[(&str, &str)],
        options: &[String],
    ) -> Result<Compiled, String> {
        let c_string = |text: &str| CString::new(text).map_err(|_| format!("{name}: the text holds a zero byte"));
        let (source, file) = (c_string(source)?, c_string(name)?);
        let names = headers.iter().map(|(name, _)| c_string(name)).collect::<Result<Vec<_>, _>>()?;
        let texts = headers.iter().map(|(_, text)| c_string(text)).collect::<Result<Vec<_>, _>>()?;
        let options = options.iter().map(|option| c_string(option)).collect::<Result<Vec<_>, _>>()?;
        let pointers = |list: &[CString]| list.iter().map(|text| text.as_ptr()).collect::<Vec<_>>();
        let mut program = Program { raw: ptr::null_mut(), api: &self.api };
        // SAFETY: all strings are C strings, both arrays have `headers.len()` entries, and all of them outlive the call.
        let status = unsafe {
            let (names, texts) = (pointers(&names), pointers(&texts));
            let (source, file, count) = (source.as_ptr(), file.as_ptr(), headers.len() as c_int);
            (self.api.create_program)(&mut program.raw, source, file, count, texts.as_ptr(), names.as_ptr())
        };
        self.check("nvrtcCreateProgram", status)?;
        let list = pointers(&options);
        // SAFETY: the program exists until the drop of `program`; `list` has `list.len()` C strings.
        let status = unsafe { (self.api.compile_program)(program.raw, list.len() as c_int, list.as_ptr()) };
        // SAFETY: the program exists until the drop of `program`, and the two functions are a pair.
        let log = unsafe { self.text(program.raw, self.api.program_log_size, self.api.program_log) };
        let log = String::from_utf8_lossy(log.as_deref().unwrap_or_default()).trim_end_matches('\0').to_owned();
        if let Err(why) = self.check("nvrtcCompileProgram", status) {
            return Err(if log.trim().is_empty() { why } else { log });
        }
        // SAFETY: the program exists until the drop of `program`, is compiled, and the two functions are a pair.
        let cubin = unsafe { self.text(program.raw, self.api.cubin_size, self.api.cubin) }?;
        if cubin.is_empty() {
            return Err(format!("{self} gave no machine code"));
        }
        Ok(Compiled { cubin, log })
    }

    /// The result of a pair of functions, of which one returns the size and the other writes the bytes.
    ///
    /// # Safety
    /// The program exists, and the second function writes as many bytes as the first returns.
    unsafe fn text(&self, program: Handle, size: SizeFn, write: WriteFn) -> Result<Vec<u8>, String> {
        let mut bytes = 0;
        // SAFETY: the caller guarantees the program; the pointer is to a local integer, which outlives the call.
        self.check("the size of NVRTC's answer", unsafe { size(program, &mut bytes) })?;
        let mut answer = vec![0_u8; bytes];
        // SAFETY: the caller guarantees the program, and that the function writes `bytes` bytes.
        self.check("NVRTC's answer", unsafe { write(program, answer.as_mut_ptr().cast()) })?;
        Ok(answer)
    }

    fn check(&self, call: &str, status: c_int) -> Result<(), String> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: nvrtcGetErrorString accepts any integer and returns a C string that is never freed, or null.
        let reason = unsafe {
            let text = (self.api.error_string)(status);
            if text.is_null() { "unknown".into() } else { CStr::from_ptr(text).to_string_lossy() }
        };
        Err(format!("{call}: {reason} (status {status} of {self})"))
    }
}

impl std::fmt::Display for Nvrtc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NVRTC {}.{} ({})", self.version.0, self.version.1, self.path.display())
    }
}

/// The file of the library that contains a function.
#[cfg(unix)]
pub(crate) fn file_of(function: *const c_void) -> Option<PathBuf> {
    // SAFETY: zeros are a valid value of the struct, which consists of pointers.
    let mut found: libc::Dl_info = unsafe { std::mem::zeroed() };
    // SAFETY: dladdr accepts any address, and the pointer is to a local struct, which outlives the call.
    let known = unsafe { libc::dladdr(function, &mut found) != 0 && !found.dli_fname.is_null() };
    // SAFETY: dladdr succeeded and the pointer is not null: it is to a C string that lives as long as the library, which stays
    // loaded.
    let name = known.then(|| unsafe { CStr::from_ptr(found.dli_fname) })?;
    Some(<OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(name.to_bytes()).into())
}

/// The file of the library that contains a function.
#[cfg(not(unix))]
pub(crate) fn file_of(_: *const c_void) -> Option<PathBuf> {
    None
}

/// The loader's error in one line, without the file's name, which callers add.
fn load_error(path: &Path, why: &libloading::Error) -> String {
    let text = why.source().map_or_else(|| why.to_string(), |source| source.to_string());
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&line).to_owned()
}

/// `nvrtcProgram`.
type Handle = *mut c_void;
type Text = *const c_char;
// SAFETY: types of functions; each call site has its own SAFETY comment.
type VersionFn = unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int;
type ErrorFn = unsafe extern "C" fn(c_int) -> Text;
type ArchsFn = unsafe extern "C" fn(*mut c_int) -> c_int;
type CreateFn = unsafe extern "C" fn(*mut Handle, Text, Text, c_int, *const Text, *const Text) -> c_int;
type CompileFn = unsafe extern "C" fn(Handle, c_int, *const Text) -> c_int;
type SizeFn = unsafe extern "C" fn(Handle, *mut usize) -> c_int;
type WriteFn = unsafe extern "C" fn(Handle, *mut c_char) -> c_int;
type DestroyFn = unsafe extern "C" fn(*mut Handle) -> c_int;

/// The functions of nvrtc.h that are used; CUDA 11.2 and later have them.
#[derive(Clone, Copy, Debug)]
struct Api {
    version: VersionFn,
    error_string: ErrorFn,
    num_supported_archs: ArchsFn,
    supported_archs: ArchsFn,
    /// Program, source, its name, the number of headers, their sources, their names.
    create_program: CreateFn,
    compile_program: CompileFn,
    program_log_size: SizeFn,
    program_log: WriteFn,
    cubin_size: SizeFn,
    cubin: WriteFn,
    destroy_program: DestroyFn,
}

impl Api {
    fn new(library: &'static Library) -> Result<Self, String> {
        /// # Safety
        /// `T` is the function's type.
        unsafe fn get<T: Copy>(library: &'static Library, name: &str) -> Result<T, String> {
            // SAFETY: the caller guarantees the type; the library is never unloaded.
            unsafe { library.get::<T>(name.as_bytes()) }.map(|symbol| *symbol).map_err(|_| format!("has no {name}"))
        }
        // SAFETY: the types are those of nvrtc.h, the same in all versions.
        unsafe {
            Ok(Api {
                version: get(library, "nvrtcVersion")?,
                error_string: get(library, "nvrtcGetErrorString")?,
                num_supported_archs: get(library, "nvrtcGetNumSupportedArchs")?,
                supported_archs: get(library, "nvrtcGetSupportedArchs")?,
                create_program: get(library, "nvrtcCreateProgram")?,
                compile_program: get(library, "nvrtcCompileProgram")?,
                program_log_size: get(library, "nvrtcGetProgramLogSize")?,
                program_log: get(library, "nvrtcGetProgramLog")?,
                cubin_size: get(library, "nvrtcGetCUBINSize")?,
                cubin: get(library, "nvrtcGetCUBIN")?,
                destroy_program: get(library, "nvrtcDestroyProgram")?,
            })
        }
    }
}

/// An nvrtcProgram, destroyed when it is dropped.
struct Program<'a> {
    raw: Handle,
    api: &'a Api,
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        if !self.raw.is_null() {
            // SAFETY: nvrtcCreateProgram created the program, and it is destroyed once, here.
            unsafe { (self.api.destroy_program)(&mut self.raw) };
        }
    }
}

/// Compiles a snippet, which may include the kernels' headers, for sm_80: `static_assert` with `offsetof` and `sizeof` compares a
/// struct's layout with Rust's. The error is the log. Without NVRTC nothing is checked, unless `MINITORCH_REQUIRE` contains
/// `nvrtc`.
#[cfg(test)]
pub(crate) fn check(snippet: &str) -> Result<(), String> {
    let Some(nvrtc) = tests::nvrtc() else { return Ok(()) };
    // NVRTC has no stddef.h; its front end has this builtin for constant addresses.
    let offsetof = "#define offsetof(type, member) __INTADDR__(&((type *)0)->member)";
    let source = format!("{offsetof}\n#line 1\n{snippet}");
    nvrtc.compile("check.cu", &source, crate::sources::HEADERS, &nvrtc.options(Architecture::new(80))).map(|_| ())
}

#[cfg(test)]
pub(crate) mod tests;
