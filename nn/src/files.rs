//! Files on disk: atomic replacement, opening of regular files only, and reads whose memory is bounded by what arrives.

use minitorch_core::{Error, Result};
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::{Builder, NamedTempFile};

/// The name of a temporary file is `.minitorch-`, 16 random letters and digits, `.tmp`.
const PREFIX: &str = ".minitorch-";
const SUFFIX: &str = ".tmp";
const RANDOM: usize = 16;

/// The age from which an unlocked temporary file counts as left behind by a killed process. A younger one may be about
/// to be locked.
const ABANDONED: Duration = Duration::from_secs(60);

/// The first allocation of [`read_up_to`].
const FIRST_READ: usize = 1 << 16;

/// Replaces a file atomically by what `write` writes. The new content goes to a temporary file in the same folder,
/// which is synchronised and then renamed: `path` is always the complete old or the complete new file, even after a
/// crash.
///
/// - The temporary file has a random name and is created exclusively, so a planted symbolic link is not followed.
/// - Permissions of an existing file are preserved, owner and group if the system allows it. A new file has the default
///   ones.
/// - A symbolic link is followed: its target is replaced, in the folder of the target, as a shell's redirection does.
///   Other hard links to the file keep the old content.
/// - Temporary files that killed processes have left in that folder are removed.
///
/// # Errors
/// [`Error::Io`] if `write` or the file system fails, or if `path` is a folder, a FIFO, a device, a link to one, or a
/// dangling link. An existing file is then unchanged, and the temporary file is removed.
pub fn replace_file(path: impl AsRef<Path>, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
    let path = path.as_ref();
    replace(path, write).map_err(|e| Error::io(path, e))
}

fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let (path, old) = destination(path)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    remove_abandoned(folder);
    let mut temporary = create(folder)?;
    // The lock marks the file as in use while it is open. Without support for locks no file is ever removed as
    // abandoned.
    let _ = temporary.as_file().try_lock();
    write(temporary.as_file_mut())?;
    if let Some(old) = old {
        copy_permissions(temporary.as_file(), &old)?;
    }
    temporary.as_file().sync_all()?;
    temporary.persist(&path).map_err(|e| e.error)?;
    // Synchronising the folder makes the new name durable. Where folders cannot be opened, the system decides.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// The file to replace, with symbolic links resolved, and its metadata if it exists.
fn destination(path: &Path) -> io::Result<(PathBuf, Option<Metadata>)> {
    let link = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.is_symlink(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((path.into(), None)),
        Err(error) => return Err(error),
    };
    // `metadata` makes the system follow the link, which it refuses to if another user has left it in a shared folder;
    // `canonicalize` alone would not.
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => io::Error::new(ErrorKind::NotFound, "a symbolic link to a file that does not exist"),
        _ => error,
    })?;
    check_regular(&metadata)?;
    Ok((if link { fs::canonicalize(path)? } else { path.into() }, Some(metadata)))
}

/// An error unless it is a regular file: no folder, FIFO, socket or device.
fn check_regular(metadata: &Metadata) -> io::Result<()> {
    match (metadata.is_file(), metadata.is_dir()) {
        (true, _) => Ok(()),
        (_, true) => Err(ErrorKind::IsADirectory.into()),
        _ => Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file")),
    }
}

/// Creates a temporary file exclusively.
fn create(folder: &Path) -> io::Result<NamedTempFile> {
    let create_new = |path: &Path| File::options().read(true).write(true).create_new(true).open(path);
    Builder::new().prefix(PREFIX).suffix(SUFFIX).rand_bytes(RANDOM).make_in(folder, create_new)
}

/// Copies permissions to a file and, if the system allows it, owner and group.
#[cfg(unix)]
fn copy_permissions(file: &File, old: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
    let new = file.metadata()?;
    let mut mode = old.mode() & 0o777;
    if new.uid() != old.uid() {
        // Fails without privileges.
        let _ = fchown(file, Some(old.uid()), None);
    }
    if new.gid() != old.gid() && fchown(file, None, Some(old.gid())).is_err() {
        // The new group gets no more rights than everybody.
        mode = mode & 0o707 | (mode & 0o007) << 3;
    }
    file.set_permissions(fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn copy_permissions(file: &File, old: &Metadata) -> io::Result<()> {
    file.set_permissions(old.permissions())
}

/// Removes temporary files of killed processes. Failures are ignored: the next call tries again.
fn remove_abandoned(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let random = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX));
        if random.is_some_and(|random| random.len() == RANDOM && random.bytes().all(|b| b.is_ascii_alphanumeric())) {
            let _ = remove_if_abandoned(&entry.path());
        }
    }
}

fn remove_if_abandoned(path: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_file() && metadata.modified()?.elapsed().is_ok_and(|age| age >= ABANDONED) {
        // Opening for writing fails for the files of other users.
        let file = File::options().read(true).write(true).open(path)?;
        if file.try_lock().is_ok() {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// An error about the content of a file, with the file's name.
pub(crate) fn of_file(path: &Path, error: Error) -> Error {
    match error {
        Error::Invalid(reason) => Error::format(path, reason),
        other => other,
    }
}

/// Opens a file for reading, and returns its length. Anything but a regular file is refused: a FIFO can block, and a
/// device can be endless.
pub(crate) fn open(path: &Path) -> io::Result<(File, u64)> {
    check_regular(&fs::metadata(path)?)?;
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    check_regular(&metadata)?;
    Ok((file, metadata.len()))
}

/// The next `count` bytes, or fewer at the end of the file. The allocation is at most twice what was read, and at most
/// `count`.
pub(crate) fn read_up_to(reader: &mut impl Read, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        let (had, more) = (bytes.len(), bytes.len().max(FIRST_READ).min(count - bytes.len()));
        bytes.try_reserve_exact(more)?;
        reader.by_ref().take(more as u64).read_to_end(&mut bytes)?;
        if bytes.len() < had + more {
            break;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
