//! The choice among the libraries that are found: one that suits the driver and supports the GPU.

use super::search::{Environment, Search};
use super::{Architecture, Nvrtc, first_error};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The minimum major version, that of the oldest supported driver.
const MIN_VERSION: u32 = 12;

/// What a compiler has to support; `None` stands for anything.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Requirements {
    /// The driver's version of CUDA, major and minor.
    pub(super) driver: Option<(u32, u32)>,
    /// The GPU's compute capability, major and minor.
    pub(super) capability: Option<(u32, u32)>,
}

/// The results for the candidates so far.
#[derive(Default)]
struct Tried {
    best: Option<Nvrtc>,
    /// The libraries that were loaded.
    files: Vec<PathBuf>,
    /// A message for each library that was not chosen.
    unfit: Vec<String>,
}

impl Nvrtc {
    /// The best compiler for a driver and a GPU of this compute capability: one that supports the GPU and has the driver's major
    /// version, or else an older one. The driver cannot load the code of a newer one. Without a driver or a GPU there is no such
    /// requirement.
    ///
    /// # Errors
    /// If there is none: one line with all places that were searched, and the reason for each library that was not used.
    pub fn find(driver: Option<(u32, u32)>, capability: Option<(u32, u32)>) -> Result<Self, String> {
        let variable = |name: &str| std::env::var_os(name);
        let search = Search::new(&Environment { variable: &variable, local: Path::new("/usr/local") });
        Self::search(search, Requirements { driver, capability })
    }

    pub(super) fn search(mut search: Search, required: Requirements) -> Result<Self, String> {
        // One search at a time: the loader would find a library that another search has loaded without its builtins.
        static SEARCH: Mutex<()> = Mutex::new(());
        let _guard = SEARCH.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tried = Tried::default();
        tried.add(&search.candidates, search.chosen, required);
        if tried.best.is_none() {
            let known = search.candidates.len();
            search.query_python();
            tried.add(&search.candidates[known..], search.chosen, required);
        }
        let Tried { best, unfit, .. } = tried;
        best.ok_or_else(|| missing(&search.places, &unfit, required.driver))
    }

    /// Checks that the driver can load its code, that it supports the GPU, and that it compiles.
    fn suits(&self, required: Requirements, chosen: bool) -> Result<(), String> {
        let major = self.version.0;
        match required.driver {
            _ if chosen => {}
            _ if major < MIN_VERSION => return Err(format!("is older than {MIN_VERSION}.0")),
            Some((ours, minor)) if major > ours => {
                return Err(format!("is newer than the driver's CUDA {ours}.{minor}"));
            }
            _ => {}
        }
        let architecture = match required.capability {
            Some(capability) => self.nearest(capability)?,
            None => self.architectures()?.into_iter().min().ok_or("knows no architecture")?,
        };
        self.load_builtins();
        // An empty file: a library without its builtins fails here, where another one can still be chosen.
        let compiled = self.compile("nothing.cu", "", &[], &self.options(architecture));
        compiled.map(|_| ()).map_err(|log| format!("does not work: {}", first_error(&log)))
    }

    /// The architecture to compile for: the GPU's own, or else the newest older one of the same major version, whose code the GPU
    /// runs too.
    pub fn architecture(&self, capability: (u32, u32)) -> Result<Architecture, String> {
        self.nearest(capability).map_err(|why| format!("{self} {why}"))
    }

    /// As [`architecture`](Self::architecture), with an error that does not name the library.
    fn nearest(&self, (major, minor): (u32, u32)) -> Result<Architecture, String> {
        let known = self.architectures()?;
        let fits = |known: &&Architecture| known.capability().0 == major && known.capability().1 <= minor;
        known.iter().filter(fits).max().copied().ok_or_else(|| {
            let names: Vec<String> = known.iter().map(Architecture::to_string).collect();
            format!("does not know compute capability {major}.{minor} (it knows {})", names.join(", "))
        })
    }

    /// All architectures that it supports, without suffixes: it supports `sm_90a` if it supports `sm_90`.
    fn architectures(&self) -> Result<Vec<Architecture>, String> {
        let mut count = 0;
        // SAFETY: the pointer is to a local integer, which outlives the call.
        self.check("nvrtcGetNumSupportedArchs", unsafe { (self.api.num_supported_archs)(&mut count) })?;
        let mut known = vec![0; usize::try_from(count).unwrap_or(0)];
        // SAFETY: the vector has as many integers as nvrtcGetNumSupportedArchs returned.
        self.check("nvrtcGetSupportedArchs", unsafe { (self.api.supported_archs)(known.as_mut_ptr()) })?;
        Ok(known.into_iter().map(|number| Architecture::new(number as u32)).collect())
    }
}

impl Tried {
    /// Tries candidates until one is optimal.
    fn add(&mut self, candidates: &[PathBuf], chosen: bool, required: Requirements) {
        for path in candidates {
            if self.files.contains(path) {
                continue;
            }
            let nvrtc = match Nvrtc::load(path) {
                Ok(nvrtc) => nvrtc,
                Err(why) => {
                    // Most bare names do not exist; a file that exists and does not load is reported.
                    if !does_not_exist(path, &why) {
                        self.unfit.push(format!("{}: {why}", path.display()));
                    }
                    continue;
                }
            };
            // Two bare names may be one file.
            if self.files.contains(&nvrtc.path) {
                continue;
            }
            self.files.push(nvrtc.path.clone());
            match nvrtc.suits(required, chosen) {
                Ok(()) => {
                    let optimal = chosen || required.driver.is_none_or(|(major, _)| major == nvrtc.version.0);
                    if self.best.as_ref().is_none_or(|best| best.version < nvrtc.version) {
                        self.best = Some(nvrtc);
                    }
                    if optimal {
                        break;
                    }
                }
                Err(why) => self.unfit.push(format!("{nvrtc}, which {why}")),
            }
        }
    }
}

/// Whether the loader found no library of this bare name. If it found one that lacks a dependency, the message begins with the
/// name of the dependency.
fn does_not_exist(name: &Path, why: &str) -> bool {
    let bare = name.parent().is_none_or(|folder| folder.as_os_str().is_empty());
    bare && (cfg!(windows) || why.starts_with("cannot open shared object file"))
}

/// The message for a machine without a suitable compiler.
fn missing(places: &[String], unfit: &[String], driver: Option<(u32, u32)>) -> String {
    let package = match driver {
        Some((12, _)) => "nvidia-cuda-nvrtc-cu12",
        _ => "nvidia-cuda-nvrtc",
    };
    let found = if unfit.is_empty() { "nothing".to_owned() } else { unfit.join("; ") };
    format!(
        "no NVRTC library that fits (`pip install {package}`, or set MINITORCH_NVRTC to the file or its folder); \
         looked at: {}; found: {found}",
        places.join(", ")
    )
}

#[cfg(all(test, target_os = "linux"))]
#[path = "choose_tests.rs"]
mod tests;
