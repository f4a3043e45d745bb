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
mod tests {
    use super::*;
    use std::sync::Barrier;

    const CUBIN: &[u8] = b"\x7fELF and then the code";

    fn entry(key: Key) -> Entry {
        Entry::new("reduce", Architecture::new(90), key)
    }

    /// What the cache gives, and whether it had to be built.
    fn get(cache: &Cache, key: Key) -> (Vec<u8>, bool) {
        cache.read(&entry(key)).map_or_else(
            || {
                let _ = cache.write(&entry(key), CUBIN);
                (CUBIN.to_vec(), true)
            },
            |content| (content, false),
        )
    }

    fn only_file(folder: &Path) -> PathBuf {
        let files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    }

    #[test]
    fn what_was_built_once_is_found() {
        let folder = tempfile::tempdir().unwrap();
        // The folder itself is made when it is first needed.
        let cache = Cache::at(folder.path().join("a/b"));
        let key = Key::of(["source", "options"]);
        assert_eq!(get(&cache, key), (CUBIN.to_vec(), true));
        assert_eq!(get(&cache, key), (CUBIN.to_vec(), false));
        let name = only_file(&folder.path().join("a/b")).file_name().unwrap().to_owned().into_string().unwrap();
        assert!(name.starts_with("reduce-sm_90-") && name.ends_with(".cubin") && name.len() == 13 + 16 + 6, "{name}");
    }

    #[test]
    fn another_source_is_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        for key in [Key::of(["ab", "c"]), Key::of(["a", "bc"]), Key::of(["ab", "c", ""]), Key::of([])] {
            assert!(get(&cache, key).1);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
    }

    #[test]
    fn a_file_that_is_damaged_anywhere_is_built_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let key = Key::of(["source"]);
        get(&cache, key);
        let path = only_file(folder.path());
        let good = fs::read(&path).unwrap();
        let truncated = (0..good.len()).map(|length| good[..length].to_vec());
        let flipped = (0..good.len() * 8).map(|bit| {
            let mut file = good.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            file
        });
        let longer = [good.clone(), vec![0]].concat();
        for bad in truncated.chain(flipped).chain([longer]) {
            fs::write(&path, bad).unwrap();
            assert_eq!(get(&cache, key), (CUBIN.to_vec(), true));
            assert_eq!(fs::read(&path).unwrap(), good, "the bad file was not replaced");
        }
    }

    #[test]
    fn a_good_file_under_anothers_name_is_foreign() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let (key, other) = (Key(7 << 64 | 1), Key(7 << 64 | 2));
        get(&cache, other);
        assert!(get(&cache, key).1, "the names agree and the keys do not");
        only_file(folder.path());
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_no_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        // Nobody, root included, can make a folder below a file.
        for cache in [Cache::at(file.path().join("cache")), Cache { folder: None }] {
            assert!(get(&cache, Key(1)).1);
            assert!(get(&cache, Key(1)).1);
        }
    }

    #[test]
    fn what_is_discarded_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        get(&cache, Key(1));
        get(&cache, Key(2 << 64));
        cache.discard(&entry(Key(1)));
        assert_eq!((cache.read(&entry(Key(1))), cache.read(&entry(Key(2 << 64)))), (None, Some(CUBIN.to_vec())));
        cache.discard(&entry(Key(1))); // nothing there is no error
        Cache { folder: None }.discard(&entry(Key(1)));
    }

    #[test]
    fn many_at_once_do_not_disturb_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let barrier = Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    // A cache each, as processes have.
                    let cache = Cache::at(folder.path());
                    barrier.wait();
                    for round in 0..50 {
                        assert_eq!(get(&cache, Key(round << 64)).0, CUBIN);
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 50, "temporary files are left");
    }

    #[test]
    #[cfg(unix)]
    fn the_folder_is_its_owners_alone() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        let cache = Cache::at(&folder);
        get(&cache, Key(1));
        assert_eq!((mode(&folder), mode(&only_file(&folder))), (0o700, 0o600));
        for (permissions, used) in [(0o720, false), (0o702, false), (0o777, false), (0o1777, false), (0o755, true)] {
            fs::set_permissions(&folder, fs::Permissions::from_mode(permissions)).unwrap();
            assert_eq!(get(&cache, Key(1)).1, !used, "{permissions:o}: what is there is not read");
            get(&cache, Key(2 << 64));
            assert_eq!(
                fs::read_dir(&folder).unwrap().count(),
                1 + used as usize,
                "{permissions:o}: nothing is written"
            );
        }
        // A link to a folder is judged by the folder.
        let link = root.path().join("link");
        symlink(&folder, &link).unwrap();
        assert!(!get(&Cache::at(&link), Key(1)).1);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o733)).unwrap();
        assert!(get(&Cache::at(&link), Key(1)).1);
    }

    /// Only an administrator can make a folder of somebody else's; the tests of a container often run as one.
    #[test]
    #[cfg(unix)]
    fn a_folder_of_somebody_elses_is_not_used() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("theirs");
        get(&Cache::at(&folder), Key(1));
        if std::os::unix::fs::chown(&folder, Some(12345), None).is_ok() {
            let cache = Cache::at(&folder);
            assert!(get(&cache, Key(1)).1 && get(&cache, Key(2 << 64)).1);
            only_file(&folder);
        }
    }

    #[test]
    fn planted_and_forgotten_temporary_files_are_harmless() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let (dead, young) = (folder.path().join(".minitorch-dead.tmp"), folder.path().join(".minitorch-young.tmp"));
        fs::write(&young, "").unwrap();
        let file = fs::File::create(&dead).unwrap();
        file.set_modified(std::time::SystemTime::now() - 2 * ABANDONED).unwrap();
        get(&cache, Key(1));
        assert!(!dead.exists() && young.exists());
    }

    #[test]
    #[cfg(all(unix, not(target_os = "macos")))]
    fn the_folder_follows_the_environment() {
        let with = |variables: &[(&str, &str)]| {
            folder(&|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value)))
        };
        let home = ("HOME", "/home/ada");
        assert_eq!(with(&[]), None);
        assert_eq!(with(&[home]), Some("/home/ada/.cache/minitorch".into()));
        assert_eq!(with(&[home, ("XDG_CACHE_HOME", "")]), Some("/home/ada/.cache/minitorch".into()));
        assert_eq!(with(&[home, ("XDG_CACHE_HOME", "relative")]), Some("/home/ada/.cache/minitorch".into()));
        assert_eq!(with(&[home, ("XDG_CACHE_HOME", "/big")]), Some("/big/minitorch".into()));
        assert_eq!(with(&[home, ("MINITORCH_CACHE_DIR", "here")]), Some("here".into()));
    }
}
