//! Files of tensors: their format is recognised by the content.

use super::archive::open_archive;
use super::dict::StateDict;
use super::failure::Failure;
use super::{npz, pytorch, safetensors};
use crate::files::{open, read_up_to, replace_file};
use minitorch_core::{Error, Result};
use std::io::{BufReader, BufWriter, Cursor, Read, Seek, SeekFrom, Write};
use std::path::Path;

impl StateDict {
    /// Reads a file, whose format is recognised by its content, not by its name:
    ///
    /// - **safetensors**;
    /// - **PyTorch's `.pt` and `.pth`**, as `torch.save` writes them since version 1.6: a state dict, a dictionary that
    ///   contains one, such as `{"model": .., "optimizer": .., "epoch": 5}`, a list of tensors, or one tensor, which is
    ///   then called `tensor`. Nested names are concatenated with dots; numbers and texts in dictionaries become
    ///   [`metadata`](StateDict::metadata). No code of the file is run: what is no tensor, number, text, list or
    ///   dictionary is refused by its name;
    /// - **NumPy's `.npz`**. Arrays of text and objects, and other files, are [skipped](StateDict::skipped).
    ///
    /// Element types are those of the file. PyTorch's aliases of tied weights are understood; see [`StateDict`].
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be read or is not a regular file. [`Error::Format`] if it is of another format,
    /// incomplete, damaged or forged, or holds objects that are not read.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        StateDict::read_where(path, |_| true)
    }

    /// Reads those tensors of a file whose names `wanted` accepts: of a large file, only a part needs memory.
    ///
    /// # Errors
    /// As [`read`](StateDict::read).
    pub fn read_where(path: impl AsRef<Path>, mut wanted: impl FnMut(&str) -> bool) -> Result<Self> {
        let path = path.as_ref();
        let (file, length) = open(path).map_err(|e| Error::io(path, e))?;
        parse(BufReader::new(file), length, &mut wanted).map_err(|failure| failure.at(path))
    }

    /// Reads the content of a file, such as `include_bytes!("model.safetensors")`; see [`read`](StateDict::read).
    ///
    /// # Errors
    /// [`Error::Invalid`] where [`read`](StateDict::read) returns [`Error::Format`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        parse(Cursor::new(bytes), bytes.len() as u64, &mut |_| true).map_err(|failure| match failure {
            Failure::Io(error) => Error::Invalid(error.to_string()),
            Failure::Format(reason) | Failure::Foreign(reason) => Error::Invalid(reason),
        })
    }

    /// Writes safetensors, atomically: on an error an existing file is unchanged. PyTorch:
    /// `safetensors.torch.load_file` reads it.
    ///
    /// # Errors
    /// [`Error::Io`] if the file system fails. [`Error::Invalid`] if a name is the reserved `__metadata__`, or the number
    /// of elements of a tensor is not that of its shape.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let output = safetensors::Output::new(self)?;
        replace_file(path, |file| {
            let mut writer = BufWriter::with_capacity(1 << 20, file);
            output.write(&mut writer)?;
            writer.flush()
        })
    }

    /// The bytes that [`write`](StateDict::write) writes.
    ///
    /// # Errors
    /// As [`write`](StateDict::write), but for those of the file system.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let output = safetensors::Output::new(self)?;
        let mut bytes = Vec::new();
        // Writing to memory does not fail.
        output.write(&mut bytes).map_err(|error| Error::Invalid(error.to_string()))?;
        Ok(bytes)
    }

    /// Writes an uncompressed `.npz`, as NumPy's `savez` does, atomically; `numpy.load(path)["name"]` reads an array.
    /// Metadata is not written.
    ///
    /// # Errors
    /// [`Error::Io`] if the file system fails; an existing file is then unchanged. [`Error::Invalid`] if a name is empty,
    /// too long for an archive or contains a null, a tensor is of bfloat16, which NumPy does not have, or the number of
    /// elements of a tensor is not that of its shape.
    pub fn write_npz(&self, path: impl AsRef<Path>) -> Result<()> {
        npz::check_all_writable(self)?;
        replace_file(path, |file| npz::write_arrays(self, BufWriter::new(file)))
    }
}

/// Recognises the format by the first bytes, and a checkpoint of PyTorch among zip archives by its pickle.
fn parse(
    mut reader: impl Read + Seek,
    length: u64,
    wanted: &mut dyn FnMut(&str) -> bool,
) -> std::result::Result<StateDict, Failure> {
    let start = read_up_to(&mut reader, 9)?;
    reader.seek(SeekFrom::Start(0))?;
    match start[..] {
        // The header of safetensors follows its length, which can be any number.
        [_, _, _, _, _, _, _, _, b'{'] => safetensors::parse(reader, length, wanted),
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => {
            let mut archive = open_archive(reader)?;
            match pytorch::folder(&archive) {
                Some(folder) => pytorch::parse(&mut archive, &folder, wanted),
                None => npz::parse(&mut archive, wanted),
            }
        }
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => {
            Err("one array of NumPy, without a name; state::read_npy reads it".to_string().into())
        }
        [0x80, 2..=5, ..] => {
            let reason =
                "a pickle, such as torch.save wrote before version 1.6; torch.save it again, or as safetensors";
            Err(reason.to_string().into())
        }
        _ => {
            let reason = "not a valid safetensors file, and no zip archive of PyTorch (.pt) or NumPy (.npz)";
            Err(reason.to_string().into())
        }
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
