//! Compiled kernels on disk, so that only the first run of a version compiles.
//!
//! A file is `reduce-sm_90-0123456789abcdef.cubin`: a header of [`HEADER`] bytes, then the CUBIN. The header contains the whole
//! key and a checksum; a file that does not match them is compiled again and replaced. If the cache cannot be read or written,
//! kernels are compiled each time, which is no error.
//!
//! Cached code runs on the device with access to the process's data, so the folder is created for its owner only (0700). A folder
//! of another user, or one that others can write to, is not used, and one line on stderr says so.

use crate::nvrtc::Architecture;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::Builder;

/// The name of a temporary file: this prefix, random characters, [`SUFFIX`].
const PREFIX: &str = ".minitorch-";
const SUFFIX: &str = ".tmp";
/// The age after which a temporary file is known to belong to a process that was killed.
const ABANDONED: Duration = Duration::from_secs(3600);

/// The first bytes of every file. Another layout of the header gets another number.
const MAGIC: &[u8; 16] = b"minitorch cubin1";

/// The size of magic, key, length of the content and checksum of the content.
const HEADER: usize = 16 + 16 + 8 + 16;

/// A folder of compiled kernels.
#[derive(Debug)]
pub(crate) struct Cache {
    /// `None`: nothing is cached.
    folder: Option<PathBuf>,
}

/// A hash of everything that the compiled code depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key(u128);

impl Key {
    /// The hash of strings in this order. Lengths are hashed too, which tells ("ab", "c") from ("a", "bc").
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
        match cache.folder.as_deref().map(|folder| (folder, untrusted(folder))) {
            Some((folder, Ok(Some(why)))) => {
                // stderr may be closed.
                let _ = writeln!(io::stderr(), "minitorch: compiled kernels are not cached in {folder:?}: {why}");
                Cache { folder: None }
            }
            _ => cache,
        }
    }

    /// A cache in this folder.
    #[cfg(test)]
    pub(crate) fn at(folder: impl Into<PathBuf>) -> Self {
        Cache { folder: Some(folder.into()) }
    }

    /// The folder, if there is one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// The machine code of an entry, unless its file is missing, damaged, or has another key.
    pub(crate) fn read(&self, entry: &Entry) -> Option<Vec<u8>> {
        let folder = self.trusted()?;
        fs::read(folder.join(&entry.name)).ok().and_then(|file| unpack(file, entry.key))
    }

    /// Stores machine code, and replaces that of the same entry.
    pub(crate) fn write(&self, entry: &Entry, content: &[u8]) -> io::Result<()> {
        let folder =
            self.folder.as_deref().ok_or_else(|| io::Error::other("there is no folder for compiled kernels"))?;
        store(folder, &folder.join(&entry.name), &pack(content, entry.key))
    }

    /// Removes the file of an entry, if there is one.
    pub(crate) fn discard(&self, entry: &Entry) {
        if let Some(folder) = self.trusted() {
            let _ = fs::remove_file(folder.join(&entry.name));
        }
    }

    fn trusted(&self) -> Option<&Path> {
        self.folder.as_deref().filter(|folder| !matches!(untrusted(folder), Ok(Some(_))))
    }
}

/// The name and the key of a file's machine code for an architecture.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Contains half of the key, which suffices to tell versions apart; the header of the file contains all of it.
    name: String,
    key: Key,
}

impl Entry {
    pub(crate) fn new(stem: &str, architecture: Architecture, key: Key) -> Self {
        Entry { name: format!("{stem}-{architecture}-{:016x}.cubin", (key.0 >> 64) as u64), key }
    }
}

/// The folder of the user's cache, from environment variables.
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
        // The XDG specification requires that relative paths are ignored.
        let xdg = path("XDG_CACHE_HOME").filter(|path| path.is_absolute());
        xdg.or_else(|| path("HOME").map(|home| home.join(".cache")))
    };
    caches.map(|caches| caches.join("minitorch"))
}

/// Why an existing folder must not be used.
#[cfg(unix)]
fn untrusted(folder: &Path) -> io::Result<Option<String>> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(folder)?;
    // SAFETY: geteuid has no preconditions.
    let user = unsafe { libc::geteuid() };
    let (owner, mode) = (metadata.uid(), metadata.mode());
    // Root may provide the folder.
    Ok(if owner != user && owner != 0 {
        Some(format!("it belongs to user {owner}, and this is user {user}"))
    } else if mode & 0o022 != 0 {
        Some(format!("others can write to it (mode {:o}); chmod go-w", mode & 0o7777))
    } else {
        None
    })
}

/// On Windows the folder is in the user's profile.
#[cfg(not(unix))]
fn untrusted(_: &Path) -> io::Result<Option<String>> {
    Ok(None)
}

/// Creates the folder, for its owner only.
fn create(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    folder.parent().map_or(Ok(()), fs::create_dir_all)?;
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(folder) {
        // Another process created it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Writes a temporary file with an unpredictable name and renames it, so that readers see a complete file or none.
fn store(folder: &Path, path: &Path, file: &[u8]) -> io::Result<()> {
    create(folder)?;
    if let Some(why) = untrusted(folder)? {
        return Err(io::Error::other(why));
    }
    remove_abandoned(folder)?;
    let mut temporary = Builder::new().prefix(PREFIX).suffix(SUFFIX).rand_bytes(16).tempfile_in(folder)?;
    temporary.write_all(file)?;
    temporary.persist(path)?;
    Ok(())
}

/// Removes the temporary files of processes that were killed.
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

/// The content of a file, if [`pack`] with this key would write the same file.
fn unpack(mut file: Vec<u8>, key: Key) -> Option<Vec<u8>> {
    let content = file.get(HEADER..)?;
    if pack(content, key)[..HEADER] != file[..HEADER] {
        return None;
    }
    file.drain(..HEADER);
    Some(file)
}

// 128-bit FNV-1a for keys and checksums. It detects accidents: each step is a bijection of the state, so inputs that differ in
// one byte have different hashes, and other inputs collide with a probability of about 2^-128. It is not cryptographic: only the
// owner can write to the folder.

const OFFSET: u128 = 0x6c62272e07bb014262b821756295c58d;
const PRIME: u128 = 0x0000000001000000000000000000013b;

fn fnv(hash: u128, bytes: &[u8]) -> u128 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u128::from(*byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
