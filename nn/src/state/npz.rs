//! NumPy's `.npz`: a zip archive of `.npy` files, stored (`savez`) or deflated (`savez_compressed`).

use super::npy::{Wrong, parse, write_array};
use super::{HostTensor, replace_file};
use minitorch_core::{Error, Result};
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// Reads the arrays that NumPy's `savez` or `savez_compressed` wrote, by name; element types as [`read_npy`] has them.
///
/// [`read_npy`]: super::read_npy
///
/// # Errors
/// [`Error::Io`] if the file cannot be read. [`Error::Format`] if it is no whole and valid zip archive, or a member is no
/// array that [`read_npy`] reads; the error names the member.
pub fn read_npz(path: impl AsRef<Path>) -> Result<BTreeMap<String, HostTensor>> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    parse_archive(BufReader::new(file)).map_err(|wrong| match wrong {
        Wrong::Io(source) => Error::io(path, source),
        Wrong::Format(reason) => Error::format(path, reason),
    })
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
        tensor.check_whole(&format!("write_npz: {name}"))?;
        if name.is_empty() || name.len() > 60_000 || name.contains('\0') || !names.insert(name) {
            let name = name.escape_debug();
            return Err(Error::Invalid(format!("a .npz file cannot hold an array called \"{name}\", or two of them")));
        }
    }
    replace_file(path, |temporary| {
        let write = || -> std::result::Result<(), ZipError> {
            let mut archive = ZipWriter::new(BufWriter::new(File::create(temporary)?));
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
            ZipError::Io(source) => Error::io(temporary, source),
            other => Error::format(temporary, other),
        })
    })
}

/// All members of an archive.
fn parse_archive(reader: impl Read + std::io::Seek) -> std::result::Result<BTreeMap<String, HostTensor>, Wrong> {
    let mut archive = ZipArchive::new(reader).map_err(invalid)?;
    let mut tensors = BTreeMap::new();
    for i in 0..archive.len() {
        let mut member = archive.by_index(i).map_err(invalid)?;
        let file = member.name().map_err(invalid)?.into_owned();
        // NumPy's name of the array is that of the member without `.npy`.
        let name = file.strip_suffix(".npy").unwrap_or(&file).to_string();
        let shown = file.escape_debug();
        let tensor = parse(&mut member).map_err(|wrong| match wrong {
            Wrong::Format(reason) => Wrong::Format(format!("{shown}: {reason}")),
            io => io,
        })?;
        if tensors.insert(name, tensor).is_some() {
            return Err(Wrong::Format(format!("{shown} is there twice, with and without .npy")));
        }
    }
    Ok(tensors)
}

fn invalid(error: ZipError) -> Wrong {
    match error {
        ZipError::Io(source) => source.into(),
        other => Wrong::Format(format!("not a .npz file: {other}").replace('\n', " ")),
    }
}

#[cfg(test)]
#[path = "npz_tests.rs"]
mod tests;
