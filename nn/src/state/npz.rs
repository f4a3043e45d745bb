//! NumPy's `.npz`: a zip archive of `.npy` files, stored (`savez`) or deflated (`savez_compressed`).

use super::npy::{Wrong, parse, write_array};
use super::{HostTensor, replace_file};
use crate::files::open;
use crate::text::{said, shown};
use minitorch_core::{Error, Result};
use std::collections::{BTreeMap, HashSet};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;
use zip::read::ZipFile;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// The bytes that one byte of deflated data can stand for at most.
pub(crate) const INFLATED: u64 = 1032;

/// Reads the arrays that NumPy's `savez` or `savez_compressed` wrote, by name; element types as [`read_npy`] has them.
/// Members of the archive that are no arrays are left out: folders, and what neither is called `.npy` nor begins as such a
/// file does. Of an array of another element type (texts, objects) comes an error; [`read_npz_array`] reads the others.
///
/// [`read_npy`]: super::read_npy
///
/// # Errors
/// [`Error::Io`] if the file cannot be read or is none (a FIFO, a device). [`Error::Format`] if it is no whole and valid zip
/// archive, members overlap or have one name, or a member called `.npy` is no array that [`read_npy`] reads; the error names
/// the member.
pub fn read_npz(path: impl AsRef<Path>) -> Result<BTreeMap<String, HostTensor>> {
    let path = path.as_ref();
    let (file, _) = open(path).map_err(|e| Error::io(path, e))?;
    parse_archive(BufReader::new(file)).map_err(|wrong| wrong.of(path))
}

/// Reads one of the arrays, by its name; the others are not looked at.
///
/// # Errors
/// As [`read_npz`], and [`Error::Format`] if there is no array of this name.
pub fn read_npz_array(path: impl AsRef<Path>, name: &str) -> Result<HostTensor> {
    let path = path.as_ref();
    let (file, _) = open(path).map_err(|e| Error::io(path, e))?;
    let read = || -> std::result::Result<HostTensor, Wrong> {
        let mut archive = checked_archive(BufReader::new(file))?;
        let index = archive.index_for_name(&format!("{name}.npy")).or_else(|| archive.index_for_name(name));
        let index = index.ok_or_else(|| format!("there is no array called {}", shown(name)))?;
        let mut member = archive.by_index(index).map_err(invalid)?;
        let file = member.name().map_err(invalid)?.into_owned();
        array(&mut member, &file)
    };
    read().map_err(|wrong| wrong.of(path))
}

/// Writes named arrays, not compressed, as NumPy's `savez` does; `numpy.load(path)["name"]` reads one. Element types as
/// [`write_npy`](super::write_npy) has them.
///
/// # Errors
/// [`Error::Io`] if the file system fails; what was there before is then as it was. [`Error::Invalid`] if a name is
/// empty, occurs twice, is longer than an archive can hold or has a null in it, or a tensor's elements are not as many as its shape says.
pub fn write_npz(path: impl AsRef<Path>, tensors: &[(String, HostTensor)]) -> Result<()> {
    let mut names = HashSet::new();
    for (name, tensor) in tensors {
        tensor.check_whole(&format!("write_npz: {}", shown(name)))?;
        if name.is_empty() || name.len() > 60_000 || name.contains('\0') || !names.insert(name) {
            let name = shown(name);
            return Err(Error::Invalid(format!("a .npz file cannot hold an array called {name}, or two of them")));
        }
    }
    replace_file(path, |file| {
        let write = || -> std::result::Result<(), ZipError> {
            let mut archive = ZipWriter::new(BufWriter::new(file));
            for (name, tensor) in tensors {
                let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
                // Sizes of 4 GiB and more want wider fields, announced before the data.
                let large = tensor.bytes_len() >= u32::MAX as usize - 4096;
                archive.start_file(format!("{name}.npy"), options.large_file(large))?;
                write_array(&mut archive, tensor)?;
            }
            archive.finish()?.flush()?;
            Ok(())
        };
        write().map_err(|error| match error {
            ZipError::Io(source) => source,
            other => io::Error::other(said(other)),
        })
    })
}

/// All arrays of an archive.
fn parse_archive(reader: impl Read + Seek) -> std::result::Result<BTreeMap<String, HostTensor>, Wrong> {
    let mut archive = checked_archive(reader)?;
    let mut tensors = BTreeMap::new();
    for i in 0..archive.len() {
        let Some(file) = archive.name_for_index(i) else { break };
        let file = file.map_err(invalid)?.into_owned();
        // NumPy's name of the array is that of the member without `.npy`.
        let name = file.strip_suffix(".npy").unwrap_or(&file);
        let mut member = match archive.by_index(i) {
            Err(ZipError::UnsupportedArchive(_) | ZipError::CompressionMethodNotSupported(_)) if name == file => {
                continue;
            }
            member => member.map_err(invalid)?,
        };
        let tensor = match array(&mut member, &file) {
            Err(Wrong::NotNpy(_)) if name == file => continue,
            other => other?,
        };
        if tensors.insert(name.to_string(), tensor).is_some() {
            return Err(Wrong::Format(format!("{} is there twice, with and without .npy", shown(&file))));
        }
    }
    Ok(tensors)
}

/// An archive none of whose bytes belong to two members, which could stand for any amount of data.
fn checked_archive<R: Read + Seek>(reader: R) -> std::result::Result<ZipArchive<R>, Wrong> {
    let mut archive = ZipArchive::new(reader).map_err(invalid)?;
    if archive.has_duplicate_names() {
        return Err(Wrong::Format("not a .npz file: two members have one name".into()));
    }
    if archive.has_overlapping_entries().map_err(invalid)? {
        return Err(Wrong::Format("not a .npz file: its members overlap".into()));
    }
    Ok(archive)
}

/// The array that a member is. Nothing is inflated that its compressed bytes cannot hold.
fn array(member: &mut ZipFile<'_, impl Read>, name: &str) -> std::result::Result<HostTensor, Wrong> {
    let (size, compressed) = (member.size(), member.compressed_size());
    let most = match member.compression() {
        CompressionMethod::Stored => compressed,
        _ => compressed.saturating_mul(INFLATED),
    };
    let tensor = if size > most {
        Err(Wrong::Format(format!("{compressed} bytes of the archive cannot hold the {size} that it claims")))
    } else {
        parse(member, size)
    };
    let named = |reason: String| format!("{}: {reason}", shown(name));
    tensor.map_err(|wrong| match wrong {
        Wrong::Format(reason) => Wrong::Format(named(reason)),
        Wrong::NotNpy(reason) => Wrong::NotNpy(named(reason)),
        io => io,
    })
}

fn invalid(error: ZipError) -> Wrong {
    match error {
        ZipError::Io(source) => source.into(),
        other => Wrong::Format(format!("not a .npz file: {}", said(other))),
    }
}

#[cfg(test)]
#[path = "npz_tests.rs"]
mod tests;
