//! NumPy's `.npz`: a zip archive of `.npy` files, stored (`savez`) or deflated (`savez_compressed`).

use super::archive::invalid;
use super::dict::StateDict;
use super::failure::Failure;
use super::host::HostTensor;
use super::npy::{check_writable, parse as parse_array, write_array};
use crate::text::{said, shown};
use minitorch_core::{Error, Result};
use std::io::{self, Read, Seek, Write};
use std::sync::Arc;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// The most bytes that one byte of deflated data can expand to.
pub(crate) const MAX_DEFLATE_RATIO: u64 = 1032;

/// An error unless NumPy can read the tensors, and an archive can hold their names.
pub(super) fn check_all_writable(state: &StateDict) -> Result<()> {
    for (name, tensor) in state.iter() {
        check_writable(tensor, &shown(name))?;
        if name.is_empty() || name.len() > 60_000 || name.contains('\0') {
            return Err(Error::Invalid(format!("a .npz file cannot hold an array called {}", shown(name))));
        }
    }
    Ok(())
}

pub(super) fn write_arrays(state: &StateDict, writer: impl Write + Seek) -> io::Result<()> {
    let write = || -> std::result::Result<(), ZipError> {
        let mut archive = ZipWriter::new(writer);
        for (name, tensor) in state.iter() {
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
}

/// The arrays that `wanted` names, in the order of the archive. Other members are skipped; damaged ones are errors.
pub(super) fn parse<R: Read + Seek>(
    archive: &mut ZipArchive<R>,
    wanted: &mut dyn FnMut(&str) -> bool,
) -> std::result::Result<StateDict, Failure> {
    let mut state = StateDict::new();
    for i in 0..archive.len() {
        let Some(file) = archive.name_for_index(i) else { break };
        let file = file.map_err(invalid)?.into_owned();
        // NumPy names an array by its member, without `.npy`.
        let name = file.strip_suffix(".npy").unwrap_or(&file).to_string();
        if file.ends_with('/') || !wanted(&name) {
            continue;
        }
        match member(archive, i) {
            Ok(_) if state.contains(&name) => {
                return Err(Failure::Format(format!("{} is there twice, with and without .npy", shown(&file))));
            }
            Ok(tensor) => drop(state.insert_shared(name, Arc::new(tensor))),
            Err(Failure::Foreign(reason)) => state.skip(name, reason),
            Err(failure) => return Err(failure.within(&shown(&file))),
        }
    }
    Ok(state)
}

/// Parses a member as an array, unless it claims more bytes than its compressed data can expand to.
fn member<R: Read + Seek>(archive: &mut ZipArchive<R>, index: usize) -> std::result::Result<HostTensor, Failure> {
    let mut member = match archive.by_index(index) {
        Err(error @ (ZipError::UnsupportedArchive(_) | ZipError::CompressionMethodNotSupported(_))) => {
            return Err(Failure::Foreign(said(error)));
        }
        member => member.map_err(invalid)?,
    };
    let (size, compressed) = (member.size(), member.compressed_size());
    let limit = match member.compression() {
        CompressionMethod::Stored => compressed,
        _ => compressed.saturating_mul(MAX_DEFLATE_RATIO),
    };
    if size > limit {
        let reason = format!("{compressed} bytes of the archive cannot hold the {size} that it claims");
        return Err(Failure::Format(reason));
    }
    let parsed = parse_array(&mut member, size);
    if let Err(Failure::Foreign(_)) = parsed {
        // Reading to the end verifies the checksum: a damaged array is not taken for a foreign member.
        io::copy(&mut member, &mut io::sink())?;
    }
    parsed
}

#[cfg(test)]
#[path = "npz_tests.rs"]
mod tests;
