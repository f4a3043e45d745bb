//! Compiles kernel files to machine code with NVRTC, or finds it in the cache on disk.

use crate::cache::{Cache, Entry, Key};
use crate::nvrtc::{Architecture, Nvrtc, first_error};
use crate::sources::{HEADERS, SOURCES};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A file's name and source.
pub(crate) type Source<'a> = (&'a str, &'a str);

/// Compiles kernel files for one architecture.
#[derive(Debug)]
pub(crate) struct Compiler<'a> {
    nvrtc: Nvrtc,
    cache: Cache,
    architecture: Architecture,
    /// NVRTC's options, including the architecture.
    options: Vec<String>,
    sources: &'a [Source<'a>],
    headers: &'a [Source<'a>],
}

/// The machine code of a kernel file.
#[derive(Debug, PartialEq)]
pub(crate) struct Image {
    pub(crate) cubin: Vec<u8>,
    /// Whether it comes from the cache.
    pub(crate) cached: bool,
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

    /// The stem of each file, by index.
    pub(crate) fn stems(&self) -> impl Iterator<Item = &'a str> {
        self.sources.iter().map(|(name, _)| stem(name))
    }

    /// "sm_90 by NVRTC 13.0 (libnvrtc.so.13)".
    pub(crate) fn describe(&self) -> String {
        format!("{} by {}", self.architecture, self.nvrtc)
    }

    /// The machine code of a file by its index: from the cache, or else compiled and cached.
    pub(crate) fn image(&self, file: usize) -> Result<Image, String> {
        match self.cache.read(&self.entry(file)) {
            Some(cubin) => Ok(Image { cubin, cached: true }),
            None => self.recompile(file),
        }
    }

    /// Compiles a file even if it is cached, and replaces the cached machine code.
    pub(crate) fn recompile(&self, file: usize) -> Result<Image, String> {
        let cubin = self.compile(file)?;
        // Without a writable cache the file is compiled again next time, which is no error.
        let _ = self.cache.write(&self.entry(file), &cubin);
        Ok(Image { cubin, cached: false })
    }

    fn compile(&self, file: usize) -> Result<Vec<u8>, String> {
        let (name, source) = self.sources[file];
        match self.nvrtc.compile(name, source, self.headers, &self.options) {
            Ok(compiled) => Ok(compiled.cubin),
            Err(log) => Err(format!("kernels/{name} does not compile for {}: {}", self.describe(), first_error(&log))),
        }
    }

    /// Ensures that the cache holds a file's machine code.
    fn ensure_cached(&self, file: usize) -> Result<KernelFile, String> {
        let (start, entry) = (Instant::now(), self.entry(file));
        let name = self.sources[file].0;
        let (cached, cubin) = match self.cache.read(&entry) {
            Some(cubin) => (true, cubin),
            None => {
                let cubin = self.compile(file)?;
                let folder = self.cache.folder().unwrap_or(Path::new("no folder")).display();
                let error = |why| format!("kernels/{name} is compiled and cannot be kept in {folder}: {why}");
                self.cache.write(&entry, &cubin).map_err(error)?;
                (false, cubin)
            }
        };
        Ok(KernelFile { name: name.to_owned(), bytes: cubin.len(), elapsed: start.elapsed(), kept: cached })
    }

    /// Removes a file's machine code from the cache.
    pub(crate) fn discard(&self, file: usize) {
        self.cache.discard(&self.entry(file));
    }

    /// A file's entry in the cache. The key covers all that the machine code depends on: the version of the compiler, its
    /// options, the file, and every header.
    fn entry(&self, file: usize) -> Entry {
        let (name, source) = self.sources[file];
        let version = format!("{}.{}", self.nvrtc.version().0, self.nvrtc.version().1);
        let own = [env!("CARGO_PKG_VERSION"), &version, name, source].into_iter();
        let included = self.headers.iter().flat_map(|(name, text)| [*name, *text]);
        let key = Key::of(own.chain(included).chain(self.options.iter().map(String::as_str)));
        Entry::new(stem(name), self.architecture, key)
    }

    /// Ensures that the cache holds every file; compiles in parallel and calls `done` after each file.
    fn ensure_all_cached(&self, mut done: impl FnMut(KernelFile)) -> Result<(), String> {
        let next = &AtomicUsize::new(0);
        let work = |results: mpsc::Sender<_>| {
            while let Some(file) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&file| file < self.sources.len())
            {
                // The receiver is gone after the first error.
                if results.send(self.ensure_cached(file)).is_err() {
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

/// The stem of a file's name, the prefix of its kernels' names.
fn stem(name: &str) -> &str {
    name.strip_suffix(".cu").unwrap_or(name)
}

/// A kernel file compiled by [`Cuda::compile_kernels`](crate::Cuda::compile_kernels).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KernelFile {
    /// The file's name in `kernels/`.
    pub name: String,
    /// The size of its machine code.
    pub bytes: usize,
    /// The time that it took.
    pub elapsed: Duration,
    /// Whether the cache held it.
    pub kept: bool,
}

/// Compiles all kernels for an architecture into the user's cache; see [`Cuda::compile_kernels`](crate::Cuda::compile_kernels).
pub(crate) fn compile_kernels(architecture: &str, done: impl FnMut(KernelFile)) -> Result<String, String> {
    compile_into(architecture, Cache::open(), done)
}

fn compile_into(architecture: &str, cache: Cache, done: impl FnMut(KernelFile)) -> Result<String, String> {
    let architecture: Architecture = architecture.parse()?;
    let plain = Architecture::new(architecture.number());
    if architecture != plain {
        return Err(format!("a GPU of {architecture} is given code for {plain}, which is what to compile for"));
    }
    let nvrtc = Nvrtc::find(None, Some(plain.capability()))?;
    // A device with this compiler would look for the code of an older architecture.
    let nearest = nvrtc.architecture(plain.capability())?;
    if nearest != plain {
        return Err(format!("{nvrtc} does not know {plain}; such a GPU is given code for {nearest}"));
    }
    let none = "there is no folder to keep compiled kernels in; MINITORCH_CACHE_DIR names one";
    let folder = cache.folder().ok_or(none)?.to_owned();
    let compiler = Compiler::new(nvrtc, cache, plain, SOURCES, HEADERS);
    compiler.ensure_all_cached(done)?;
    Ok(format!("{} files for {}, in {}", SOURCES.len(), compiler.describe(), folder.display()))
}

#[cfg(test)]
#[path = "compiler_tests.rs"]
mod tests;
