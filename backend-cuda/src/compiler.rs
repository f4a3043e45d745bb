//! From the kernels' text to machine code, file by file: by NVRTC, or from the cache on disk.

use crate::cache::{Cache, Entry, Key};
use crate::device::Cuda;
use crate::nvrtc::{Architecture, Nvrtc, first_error};
use crate::sources::{HEADERS, SOURCES};
use minitorch_core::{Error, Result};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A file's name and text.
pub(crate) type Source<'a> = (&'a str, &'a str);

/// What compiles kernel files for an architecture.
#[derive(Debug)]
pub(crate) struct Compiler<'a> {
    nvrtc: Nvrtc,
    cache: Cache,
    architecture: Architecture,
    /// Those of the compiler, with the architecture among them.
    options: Vec<String>,
    sources: &'a [Source<'a>],
    headers: &'a [Source<'a>],
}

/// The machine code of a kernel file.
#[derive(Debug, PartialEq)]
pub(crate) struct Image {
    pub(crate) cubin: Vec<u8>,
    /// Whether it comes from the cache.
    pub(crate) kept: bool,
}

impl<'a> Compiler<'a> {
    pub(crate) fn new(
        nvrtc: Nvrtc,
        cache: Cache,
        architecture: Architecture,
        sources: &'a [Source<'a>],
        headers: &'a [Source<'a>],
    ) -> Self {
        let options = nvrtc.options(architecture);
        Compiler { nvrtc, cache, architecture, options, sources, headers }
    }

    /// The stem of each file, in the order of their numbers.
    pub(crate) fn stems(&self) -> impl Iterator<Item = &'a str> {
        self.sources.iter().map(|(name, _)| stem(name))
    }

    /// "sm_90 by NVRTC 13.0 (libnvrtc.so.13)".
    pub(crate) fn describe(&self) -> String {
        format!("{} by {}", self.architecture, self.nvrtc)
    }

    /// The machine code of a file by its number: from the cache, or else compiled and kept there.
    pub(crate) fn image(&self, file: usize) -> std::result::Result<Image, String> {
        match self.cache.read(&self.entry(file)) {
            Some(cubin) => Ok(Image { cubin, kept: true }),
            None => self.anew(file),
        }
    }

    /// Compiles a file whatever the cache holds, and replaces what it holds.
    pub(crate) fn anew(&self, file: usize) -> std::result::Result<Image, String> {
        let cubin = self.compile(file)?;
        // A cache that cannot be written is slow and not wrong, so the failure has no reader.
        let _ = self.cache.write(&self.entry(file), &cubin);
        Ok(Image { cubin, kept: false })
    }

    fn compile(&self, file: usize) -> std::result::Result<Vec<u8>, String> {
        let (name, source) = self.sources[file];
        match self.nvrtc.compile(name, source, self.headers, &self.options) {
            Ok(compiled) => Ok(compiled.cubin),
            Err(log) => Err(format!("kernels/{name} does not compile for {}: {}", self.describe(), first_error(&log))),
        }
    }

    /// Sees to it that the cache holds a file's machine code.
    fn keep(&self, file: usize) -> std::result::Result<KernelFile, String> {
        let (start, entry) = (Instant::now(), self.entry(file));
        let name = self.sources[file].0;
        let (kept, cubin) = match self.cache.read(&entry) {
            Some(cubin) => (true, cubin),
            None => {
                let cubin = self.compile(file)?;
                let folder = self.cache.folder().unwrap_or(Path::new("no folder")).display();
                let error = |why| format!("kernels/{name} is compiled and cannot be kept in {folder}: {why}");
                self.cache.write(&entry, &cubin).map_err(error)?;
                (false, cubin)
            }
        };
        Ok(KernelFile { name: name.to_owned(), bytes: cubin.len(), elapsed: start.elapsed(), kept })
    }

    /// Removes a file's machine code from the cache.
    pub(crate) fn discard(&self, file: usize) {
        self.cache.discard(&self.entry(file));
    }

    /// A file's place in the cache. The key is of all that the machine code depends on: the version of the compiler, its
    /// options, the file, and every header.
    fn entry(&self, file: usize) -> Entry {
        let (name, source) = self.sources[file];
        let version = format!("{}.{}", self.nvrtc.version().0, self.nvrtc.version().1);
        let own = [env!("CARGO_PKG_VERSION"), &version, name, source].into_iter();
        let included = self.headers.iter().flat_map(|(name, text)| [*name, *text]);
        let key = Key::of(own.chain(included).chain(self.options.iter().map(String::as_str)));
        Entry::new(stem(name), self.architecture, key)
    }

    /// Sees to it that the cache holds every file, several at once; `done` hears of each as it comes.
    fn keep_all(&self, mut done: impl FnMut(KernelFile)) -> std::result::Result<(), String> {
        let next = &AtomicUsize::new(0);
        let work = |results: mpsc::Sender<_>| {
            while let Some(file) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&file| file < self.sources.len())
            {
                // Nobody listens after an error.
                if results.send(self.keep(file)).is_err() {
                    return;
                }
            }
        };
        std::thread::scope(|scope| {
            let (sender, results) = mpsc::channel();
            let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(self.sources.len());
            for _ in 0..threads {
                let sender = sender.clone();
                std::thread::Builder::new()
                    .name("nvrtc".to_owned())
                    .spawn_scoped(scope, move || work(sender))
                    .map_err(|why| format!("no thread to compile in: {why}"))?;
            }
            drop(sender);
            results.into_iter().try_for_each(|result| result.map(&mut done))
        })
    }
}

/// The stem of a file's name, with which the names of its kernels begin.
fn stem(name: &str) -> &str {
    name.strip_suffix(".cu").unwrap_or(name)
}

/// A kernel file that [`Cuda::compile_kernels`] has compiled.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KernelFile {
    /// As in `kernels/`.
    pub name: String,
    /// The size of its machine code.
    pub bytes: usize,
    /// How long it took.
    pub elapsed: Duration,
    /// Whether it was found in the cache.
    pub kept: bool,
}

impl Cuda {
    /// Compiles all kernels for a GPU that need not be here, such as `sm_90`, and keeps them where a start on one finds them: in
    /// the folder `MINITORCH_CACHE_DIR`, or the user's cache. The folder may be copied to another machine; its NVRTC must be
    /// of the same version, or it compiles again. Needs NVRTC and no driver. `done` hears of every file as it comes; the result
    /// names the compiler and the folder in a line.
    ///
    /// # Errors
    /// If the architecture is none or NVRTC does not know it, if there is no NVRTC, a kernel does not compile, or the folder
    /// cannot be written: [`Error::Device`] with one line.
    pub fn compile_kernels(architecture: &str, done: impl FnMut(KernelFile)) -> Result<String> {
        let error = |reason| Error::Device { device: "Cuda".to_owned(), reason };
        compile_kernels(architecture, Cache::open(), done).map_err(error)
    }
}

fn compile_kernels(
    architecture: &str,
    cache: Cache,
    done: impl FnMut(KernelFile),
) -> std::result::Result<String, String> {
    let architecture: Architecture = architecture.parse()?;
    let plain = Architecture::new(architecture.number());
    if architecture != plain {
        return Err(format!("a GPU of {architecture} is given code for {plain}, which is what to compile for"));
    }
    let nvrtc = Nvrtc::find(None, Some(plain.capability()))?;
    // An older architecture's code would do, and is what a start with this compiler looks for.
    let nearest = nvrtc.architecture(plain.capability())?;
    if nearest != plain {
        return Err(format!("{nvrtc} does not know {plain}; such a GPU is given code for {nearest}"));
    }
    let none = "there is no folder to keep compiled kernels in; MINITORCH_CACHE_DIR names one";
    let folder = cache.folder().ok_or(none)?.to_owned();
    let compiler = Compiler::new(nvrtc, cache, plain, SOURCES, HEADERS);
    compiler.keep_all(done)?;
    Ok(format!("{} files for {}, in {}", SOURCES.len(), compiler.describe(), folder.display()))
}

#[cfg(test)]
#[path = "compiler_tests.rs"]
mod tests;
