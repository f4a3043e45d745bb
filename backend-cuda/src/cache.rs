//! Compiled kernels on disk, so that only the first run of a version on a machine compiles.
//!
//! A file is `reduce-sm_90-0123456789abcdef.cubin`: a head of [`HEAD`] bytes, then the CUBIN. The head repeats the whole
//! key and carries a checksum, and a file that does not agree with it in every byte is built again and replaced. The
//! cache is a convenience: where it cannot be read or written, kernels are compiled each time and nothing is reported.
//!
//! What is in the cache runs on the device with all of the process's data, so the folder is made for its owner alone (0700), and
//! one that belongs to somebody else or that others can write to is not used, which one line on stderr says.

use crate::nvrtc::Architecture;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::Builder;

/// The name of a temporary file: this, random letters and digits, [`SUFFIX`].
const PREFIX: &str = ".minitorch-";
const SUFFIX: &str = ".tmp";
/// A temporary file of that age is of a process that was killed: writing one takes a moment.
const ABANDONED: Duration = Duration::from_secs(3600);

/// First in every file. Another layout of the head gets another number.
const MAGIC: &[u8; 16] = b"minitorch cubin1";

/// Magic, key, length of the content, checksum of the content.
const HEAD: usize = 16 + 16 + 8 + 16;

/// A folder of compiled kernels.
#[derive(Debug)]
pub(crate) struct Cache {
    /// None: nothing is kept.
    folder: Option<PathBuf>,
}

/// Everything that the compiled code depends on, as one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(u128);

impl Key {
    /// Of texts in this order. Each counts with its length, so that ("ab", "c") is not ("a", "bc").
    pub(crate) fn of<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        let hash = parts.into_iter().fold(OFFSET, |hash, part| {
            let length = (part.len() as u64).to_le_bytes();
            fnv(fnv(hash, &length), part.as_bytes())
        });
        Key(hash)
    }
}

impl Cache {
    /// The user's cache: `MINITORCH_CACHE_DIR`, or the platform's folder for caches.
    pub(crate) fn open() -> Self {
        let cache = Cache { folder: folder(&|name| std::env::var_os(name)) };
        match cache.folder.as_deref().map(|folder| (folder, foreign(folder))) {
            Some((folder, Ok(Some(why)))) => {
                // Nobody may be there to read it.
                let _ = writeln!(io::stderr(), "minitorch: compiled kernels are not kept in {folder:?}: {why}");
                Cache { folder: None }
            }
            _ => cache,
        }
    }

    /// A cache in a folder of one's choice.
    #[cfg(test)]
    pub(crate) fn at(folder: impl Into<PathBuf>) -> Self {
        Cache { folder: Some(folder.into()) }
    }

    /// Where files are kept, if they are.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// What is kept. A file that is damaged, or of another key, is not.
    pub(crate) fn read(&self, entry: &Entry) -> Option<Vec<u8>> {
        let folder = self.trusted()?;
        fs::read(folder.join(&entry.name)).ok().and_then(|file| unpack(file, entry.key))
    }

    /// Keeps machine code, in the place of what was kept before.
    pub(crate) fn write(&self, entry: &Entry, content: &[u8]) -> io::Result<()> {
        let folder =
            self.folder.as_deref().ok_or_else(|| io::Error::other("there is no folder for compiled kernels"))?;
        store(folder, &folder.join(&entry.name), &pack(content, entry.key))
    }

    /// Removes what is kept, if anything is and can be.
    pub(crate) fn discard(&self, entry: &Entry) {
        if let Some(folder) = self.trusted() {
            let _ = fs::remove_file(folder.join(&entry.name));
        }
    }

    fn trusted(&self) -> Option<&Path> {
        self.folder.as_deref().filter(|folder| !matches!(foreign(folder), Ok(Some(_))))
    }
}

/// What is asked of a cache: the machine code of a file for an architecture, of exactly this key.
#[derive(Debug)]
pub(crate) struct Entry {
    /// It holds half of the key, which is enough to tell versions apart; the head of the file holds all of it.
    name: String,
    key: Key,
}

impl Entry {
    pub(crate) fn new(stem: &str, architecture: Architecture, key: Key) -> Self {
        Entry { name: format!("{stem}-{architecture}-{:016x}.cubin", (key.0 >> 64) as u64), key }
    }
}

/// Where the user's caches are. Variables come as a parameter, so that a test can invent them.
fn folder(variable: &dyn Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(chosen) = path("MINITORCH_CACHE_DIR") {
        return Some(chosen);
    }
    let caches = if cfg!(windows) {
        path("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        path("HOME").map(|home| home.join("Library/Caches"))
    } else {
        // The XDG specification says that a relative path is to be ignored.
        let xdg = path("XDG_CACHE_HOME").filter(|path| path.is_absolute());
        xdg.or_else(|| path("HOME").map(|home| home.join(".cache")))
    };
    caches.map(|caches| caches.join("minitorch"))
}

/// Why a folder that exists must not be used.
#[cfg(unix)]
fn foreign(folder: &Path) -> io::Result<Option<String>> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(folder)?;
    // SAFETY: the call has no preconditions and cannot fail.
    let user = unsafe { libc::geteuid() };
    let (owner, mode) = (metadata.uid(), metadata.mode());
    // An administrator may provide it.
    Ok(if owner != user && owner != 0 {
        Some(format!("it belongs to user {owner}, and this is user {user}"))
    } else if mode & 0o022 != 0 {
        Some(format!("others can write to it (mode {:o}); chmod go-w", mode & 0o7777))
    } else {
        None
    })
}

/// Folders of the user's profile are the user's.
#[cfg(not(unix))]
fn foreign(_: &Path) -> io::Result<Option<String>> {
    Ok(None)
}

/// Makes the folder, for its owner alone.
fn make(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    folder.parent().map_or(Ok(()), fs::create_dir_all)?;
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(folder) {
        // Another process was first.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Written under a name that cannot be foreseen and then renamed: a reader sees the whole file or none, whoever else writes.
fn store(folder: &Path, path: &Path, file: &[u8]) -> io::Result<()> {
    make(folder)?;
    if let Some(why) = foreign(folder)? {
        return Err(io::Error::other(why));
    }
    remove_abandoned(folder)?;
    let mut temporary = Builder::new().prefix(PREFIX).suffix(SUFFIX).rand_bytes(16).tempfile_in(folder)?;
    temporary.write_all(file)?;
    temporary.persist(path)?;
    Ok(())
}

/// Removes the temporary files of processes that did not live to do it.
fn remove_abandoned(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
        if ours && entry.metadata()?.modified()?.elapsed().is_ok_and(|age| age >= ABANDONED) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn pack(content: &[u8], key: Key) -> Vec<u8> {
    let length = content.len() as u64;
    let checksum = fnv(OFFSET, content);
    [&MAGIC[..], &key.0.to_le_bytes(), &length.to_le_bytes(), &checksum.to_le_bytes(), content].concat()
}

/// The content, if the file is what [`pack`] made of it under this key.
fn unpack(mut file: Vec<u8>, key: Key) -> Option<Vec<u8>> {
    let content = file.get(HEAD..)?;
    if pack(content, key)[..HEAD] != file[..HEAD] {
        return None;
    }
    file.drain(..HEAD);
    Some(file)
}

// FNV-1a with 128 bits, as both the key and the checksum. Against accidents it suffices: a step is a bijection of the
// state, so two texts that differ in one place never agree, and others do so by a chance of 2^-128. It is no defence
// against malice, and need not be one: the folder is the user's alone.

const OFFSET: u128 = 0x6c62272e07bb014262b821756295c58d;
const PRIME: u128 = 0x0000000001000000000000000000013b;

fn fnv(hash: u128, bytes: &[u8]) -> u128 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
