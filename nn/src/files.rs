//! Files on disk: written so that they appear whole or not at all, opened without being blocked by what is no file, and read
//! without believing what they claim.

use minitorch_core::{Error, Result};
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::{Builder, NamedTempFile};

/// The name of a temporary file is `.minitorch-`, random letters and digits, `.tmp`.
const PREFIX: &str = ".minitorch-";
const SUFFIX: &str = ".tmp";
const RANDOM: usize = 16;

/// A temporary file that nobody has locked is of a process that was killed once it has not been written to for so long; a
/// younger one may be about to be locked.
const ABANDONED: Duration = Duration::from_secs(60);

/// Bytes that are read before memory for more is asked for.
const FIRST: usize = 1 << 16;

/// Replaces a file by what `write` writes. The new content goes to a temporary file in the same folder, which is
/// synchronised and then takes the name: whoever looks at `path`, even after a crash, sees the whole old file or the whole new
/// one.
///
/// - The temporary file has a name of its own that cannot be foreseen and is made anew: a link planted there is not followed.
/// - An existing file's permissions are kept, and its owner and group if the system allows it. A new file has those of any file.
/// - A symbolic link to a file is followed: the file that it points to is replaced in the folder that it is in, and the link
///   stays, as it does where a shell redirects to one. Other hard links to the file keep the old content.
/// - Temporary files that killed processes left in that folder are removed.
///
/// # Errors
/// [`Error::Io`] if `write` fails or the file system does, or if `path` is a folder, a FIFO, a device or a link to one or to
/// nothing. What was there before is then as it was, and the temporary file is gone.
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
    // Says that somebody is at work, as long as the file is open. Where locks are not supported, nothing is removed either.
    let _ = temporary.as_file().try_lock();
    write(temporary.as_file_mut())?;
    if let Some(old) = old {
        keep_permissions(temporary.as_file(), &old)?;
    }
    temporary.as_file().sync_all()?;
    temporary.persist(&path).map_err(|e| e.error)?;
    // The name reaches the disk with the folder; where folders cannot be opened, that is up to the system.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// The file that is to be replaced, and what is known of it if it exists.
fn destination(path: &Path) -> io::Result<(PathBuf, Option<Metadata>)> {
    let link = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.is_symlink(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((path.into(), None)),
        Err(error) => return Err(error),
    };
    // The system follows the link and not `canonicalize` alone: it may refuse to, where another user left it in a shared folder.
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => io::Error::new(ErrorKind::NotFound, "a symbolic link to a file that does not exist"),
        _ => error,
    })?;
    check_regular(&metadata)?;
    Ok((if link { fs::canonicalize(path)? } else { path.into() }, Some(metadata)))
}

/// That it is a file, and not a folder, a FIFO, a socket or a device.
fn check_regular(metadata: &Metadata) -> io::Result<()> {
    match (metadata.is_file(), metadata.is_dir()) {
        (true, _) => Ok(()),
        (_, true) => Err(ErrorKind::IsADirectory.into()),
        _ => Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file")),
    }
}

/// A file of a new name, made and not found.
fn create(folder: &Path) -> io::Result<NamedTempFile> {
    let create_new = |path: &Path| File::options().read(true).write(true).create_new(true).open(path);
    Builder::new().prefix(PREFIX).suffix(SUFFIX).rand_bytes(RANDOM).make_in(folder, create_new)
}

/// Gives a file the permissions of another and, if the system allows it, its owner and group.
#[cfg(unix)]
fn keep_permissions(file: &File, old: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
    let new = file.metadata()?;
    let mut mode = old.mode() & 0o777;
    if new.uid() != old.uid() {
        // Only an administrator may.
        let _ = fchown(file, Some(old.uid()), None);
    }
    if new.gid() != old.gid() && fchown(file, None, Some(old.gid())).is_err() {
        // What the old group might do, the new one may do only if everybody might.
        mode = mode & 0o707 | (mode & 0o007) << 3;
    }
    file.set_permissions(fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn keep_permissions(file: &File, old: &Metadata) -> io::Result<()> {
    file.set_permissions(old.permissions())
}

/// Removes the temporary files of processes that did not live to do it. What fails is left for the next time.
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
        // For writing, which another user's file does not let us.
        let file = File::options().read(true).write(true).open(path)?;
        if file.try_lock().is_ok() {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Opens a file to be read, and tells its length. A FIFO could block for ever and a device never end: they are refused.
pub(crate) fn open(path: &Path) -> io::Result<(File, u64)> {
    check_regular(&fs::metadata(path)?)?;
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    check_regular(&metadata)?;
    Ok((file, metadata.len()))
}

/// The next `count` bytes, or all there are if they are fewer. The memory is at most twice what arrives, and never more than
/// `count`.
pub(crate) fn read_up_to(reader: &mut impl Read, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < count {
        let (had, more) = (bytes.len(), bytes.len().max(FIRST).min(count - bytes.len()));
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
