//! NumPy's `.npz`: a zip archive of `.npy` files, stored (`savez`) or deflated (`savez_compressed`).

use super::host::HostTensor;
use super::npy::{Failure, parse, write_array};
use crate::files::{open, replace_file};
use crate::text::{said, shown};
use minitorch_core::{Error, Result};
use std::collections::{BTreeMap, HashSet};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;
use zip::read::ZipFile;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// The most bytes that one byte of deflated data can expand to.
pub(crate) const MAX_DEFLATE_RATIO: u64 = 1032;

/// Reads the arrays that NumPy's `savez` or `savez_compressed` wrote, by name; element types as in [`read_npy`].
/// Members of the archive that are no arrays are skipped: folders, and files that neither are called `.npy` nor begin
/// with its magic string. An array of another element type (text, objects) is an error; [`read_npz_array`] can read the
/// other arrays.
///
/// [`read_npy`]: super::read_npy
///
/// # Errors
/// [`Error::Io`] if the file cannot be read or is not a regular file. [`Error::Format`] if it is not a complete and
/// valid zip archive, members overlap or share a name, or [`read_npy`] could not read a member called `.npy`; the error
/// names the member.
pub fn read_npz(path: impl AsRef<Path>) -> Result<BTreeMap<String, HostTensor>> {
    let path = path.as_ref();
    let (file, _) = open(path).map_err(|e| Error::io(path, e))?;
    parse_archive(BufReader::new(file)).map_err(|failure| failure.at(path))
}

/// Reads one array by its name, and none of the others.
///
/// # Errors
/// As [`read_npz`], and [`Error::Format`] if there is no array of this name.
pub fn read_npz_array(path: impl AsRef<Path>, name: &str) -> Result<HostTensor> {
    let path = path.as_ref();
    let (file, _) = open(path).map_err(|e| Error::io(path, e))?;
    let read = || -> std::result::Result<HostTensor, Failure> {
        let mut archive = checked_archive(BufReader::new(file))?;
        let index = archive.index_for_name(&format!("{name}.npy")).or_else(|| archive.index_for_name(name));
        let index = index.ok_or_else(|| format!("there is no array called {}", shown(name)))?;
        let mut member = archive.by_index(index).map_err(invalid)?;
        let file = member.name().map_err(invalid)?.into_owned();
        array(&mut member, &file)
    };
    read().map_err(|failure| failure.at(path))
}

/// Writes named arrays, uncompressed, as NumPy's `savez` does; `numpy.load(path)["name"]` reads one. Element types as
/// in [`write_npy`](super::write_npy).
///
/// # Errors
/// [`Error::Io`] if the file system fails; an existing file is then unchanged. [`Error::Invalid`] if a name is empty,
/// occurs twice, is too long for an archive or contains a null, or the number of elements of a tensor is not that of
/// its shape.
pub fn write_npz(path: impl AsRef<Path>, tensors: &[(String, HostTensor)]) -> Result<()> {
    let mut names = HashSet::new();
    for (name, tensor) in tensors {
        tensor.check_consistent(&format!("write_npz: {}", shown(name)))?;
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
                // Sizes from 4 GiB on need wider fields, which are declared before the data.
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
fn parse_archive(reader: impl Read + Seek) -> std::result::Result<BTreeMap<String, HostTensor>, Failure> {
    let mut archive = checked_archive(reader)?;
    let mut tensors = BTreeMap::new();
    for i in 0..archive.len() {
        let Some(file) = archive.name_for_index(i) else { break };
        let file = file.map_err(invalid)?.into_owned();
        // NumPy names an array by its member, without `.npy`.
        let name = file.strip_suffix(".npy").unwrap_or(&file);
        let mut member = match archive.by_index(i) {
            Err(ZipError::UnsupportedArchive(_) | ZipError::CompressionMethodNotSupported(_)) if name == file => {
                continue;
            }
            member => member.map_err(invalid)?,
        };
        let tensor = match array(&mut member, &file) {
            Err(Failure::NotNpy(_)) if name == file => continue,
            other => other?,
        };
        if tensors.insert(name.to_string(), tensor).is_some() {
            return Err(Failure::Format(format!("{} is there twice, with and without .npy", shown(&file))));
        }
    }
    Ok(tensors)
}

/// Opens an archive whose members have distinct names and do not overlap. Overlapping members can expand to any amount
/// of data.
fn checked_archive<R: Read + Seek>(reader: R) -> std::result::Result<ZipArchive<R>, Failure> {
    let mut archive = ZipArchive::new(reader).map_err(invalid)?;
    if archive.has_duplicate_names() {
        return Err(Failure::Format("not a .npz file: two members have one name".into()));
    }
    if archive.has_overlapping_entries().map_err(invalid)? {
        return Err(Failure::Format("not a .npz file: its members overlap".into()));
    }
    Ok(archive)
}

/// Parses a member as an array, unless it claims more bytes than its compressed data can expand to.
fn array(member: &mut ZipFile<'_, impl Read>, name: &str) -> std::result::Result<HostTensor, Failure> {
    let (size, compressed) = (member.size(), member.compressed_size());
    let limit = match member.compression() {
        CompressionMethod::Stored => compressed,
        _ => compressed.saturating_mul(MAX_DEFLATE_RATIO),
    };
    let tensor = if size > limit {
        Err(Failure::Format(format!("{compressed} bytes of the archive cannot hold the {size} that it claims")))
    } else {
        parse(member, size)
    };
    let named = |reason: String| format!("{}: {reason}", shown(name));
    tensor.map_err(|failure| match failure {
        Failure::Format(reason) => Failure::Format(named(reason)),
        Failure::NotNpy(reason) => Failure::NotNpy(named(reason)),
        io => io,
    })
}

fn invalid(error: ZipError) -> Failure {
    match error {
        ZipError::Io(source) => source.into(),
        other => Failure::Format(format!("not a .npz file: {}", said(other))),
    }
}

#[cfg(test)]
#[path = "npz_tests.rs"]
mod tests;
