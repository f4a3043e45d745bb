//! Which of the libraries that are found is taken: the one that suits the driver and knows the GPU.

use super::search::{Environment, Search};
use super::{Architecture, Nvrtc, first_error};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The oldest major version that is asked to compile: the one that the oldest driver we take came with.
const OLDEST: u32 = 12;

/// What a compiler has to suit; `None` is anything.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    /// The version of CUDA, major and minor, that the driver is made for.
    pub(super) driver: Option<(u32, u32)>,
    /// The GPU's compute capability, major and minor.
    pub(super) capability: Option<(u32, u32)>,
}

/// What became of the candidates so far.
#[derive(Default)]
struct Tried {
    best: Option<Nvrtc>,
    /// Files that were loaded or are there and do not load.
    files: Vec<PathBuf>,
    /// A phrase for each of them that was not taken.
    unfit: Vec<String>,
}

impl Nvrtc {
    /// The compiler that suits a driver and a GPU of this compute capability best: one that knows the GPU, of the driver's
    /// major version, or else of an older one. A newer one writes code that the driver does not read. Without a driver, or
    /// without a GPU, any will do.
    ///
    /// # Errors
    /// If there is none: one line with all places that were searched, and every library that is there with the reason why
    /// it was not used.
    pub fn find(driver: Option<(u32, u32)>, capability: Option<(u32, u32)>) -> Result<Self, String> {
        let variable = |name: &str| std::env::var_os(name);
        let search = Search::new(&Environment { variable: &variable, local: Path::new("/usr/local") });
        Self::search(search, Wanted { driver, capability })
    }

    pub(super) fn search(mut search: Search, wanted: Wanted) -> Result<Self, String> {
        // One at a time: what another search has half loaded answers to its bare name, and does not compile yet.
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tried = Tried::default();
        tried.add(&search.candidates, search.chosen, wanted);
        if tried.best.is_none() {
            let known = search.candidates.len();
            search.ask();
            tried.add(&search.candidates[known..], search.chosen, wanted);
        }
        let Tried { best, unfit, .. } = tried;
        best.ok_or_else(|| missing(&search.places, &unfit, wanted.driver))
    }

    /// Whether the driver reads what it writes, whether it knows the GPU, and whether it compiles at all.
    fn suits(&self, wanted: Wanted, chosen: bool) -> Result<(), String> {
        let major = self.version.0;
        match wanted.driver {
            _ if chosen => {}
            _ if major < OLDEST => return Err(format!("is older than {OLDEST}.0")),
            Some((ours, minor)) if major > ours => {
                return Err(format!("is newer than the driver's CUDA {ours}.{minor}"));
            }
            _ => {}
        }
        let architecture = match wanted.capability {
            Some(capability) => self.nearest(capability)?,
            None => self.architectures()?.into_iter().min().ok_or("knows no architecture")?,
        };
        self.load_builtins();
        // Nothing, compiled: a library that lacks its second one says so here, when another may still be taken.
        let compiled = self.compile("nothing.cu", "", &[], &self.options(architecture));
        compiled.map(|_| ()).map_err(|log| format!("does not work: {}", first_error(&log)))
    }

    /// The architecture to compile for: the GPU's own, or else the nearest older one of the same generation, whose code the
    /// GPU runs as well.
    pub fn architecture(&self, capability: (u32, u32)) -> Result<Architecture, String> {
        self.nearest(capability).map_err(|why| format!("{self} {why}"))
    }

    /// As [`architecture`](Self::architecture); the error is a phrase about the library.
    fn nearest(&self, (major, minor): (u32, u32)) -> Result<Architecture, String> {
        let known = self.architectures()?;
        let fits = |known: &&Architecture| known.capability().0 == major && known.capability().1 <= minor;
        known.iter().filter(fits).max().copied().ok_or_else(|| {
            let names: Vec<String> = known.iter().map(Architecture::to_string).collect();
            format!("does not know compute capability {major}.{minor} (it knows {})", names.join(", "))
        })
    }

    /// All architectures that it knows, without suffixes: what it says of `sm_90` holds for `sm_90a`.
    fn architectures(&self) -> Result<Vec<Architecture>, String> {
        let mut count = 0;
        // SAFETY: the pointer is to an integer that lives through the call.
        self.check("nvrtcGetNumSupportedArchs", unsafe { (self.api.num_supported_archs)(&mut count) })?;
        let mut known = vec![0; usize::try_from(count).unwrap_or(0)];
        // SAFETY: the call writes as many integers as the one before has said.
        self.check("nvrtcGetSupportedArchs", unsafe { (self.api.supported_archs)(known.as_mut_ptr()) })?;
        Ok(known.into_iter().map(|number| Architecture::new(number as u32)).collect())
    }
}

impl Tried {
    /// Tries candidates until one is as good as can be.
    fn add(&mut self, candidates: &[PathBuf], chosen: bool, wanted: Wanted) {
        for path in candidates {
            if self.files.contains(path) {
                continue;
            }
            let nvrtc = match Nvrtc::load(path) {
                Ok(nvrtc) => nvrtc,
                Err(why) => {
                    // A name that leads nowhere is the rule; what is there and does not load is worth a word.
                    if !leads_nowhere(path, &why) {
                        self.unfit.push(format!("{}: {why}", path.display()));
                    }
                    continue;
                }
            };
            // Two of the system's names may be one file.
            if self.files.contains(&nvrtc.path) {
                continue;
            }
            self.files.push(nvrtc.path.clone());
            match nvrtc.suits(wanted, chosen) {
                Ok(()) => {
                    let perfect = chosen || wanted.driver.is_none_or(|(major, _)| major == nvrtc.version.0);
                    if self.best.as_ref().is_none_or(|best| best.version < nvrtc.version) {
                        self.best = Some(nvrtc);
                    }
                    if perfect {
                        break;
                    }
                }
                Err(why) => self.unfit.push(format!("{nvrtc}, which {why}")),
            }
        }
    }
}

/// Whether the system says of a bare name that it has no such library. Of one that is there and lacks another that it needs,
/// it says the other's name first.
fn leads_nowhere(name: &Path, why: &str) -> bool {
    let bare = name.parent().is_none_or(|folder| folder.as_os_str().is_empty());
    bare && (cfg!(windows) || why.starts_with("cannot open shared object file"))
}

/// The sentence for a machine without a compiler that fits.
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
