//! Zip archives that hold tensors: NumPy's `.npz` and PyTorch's `.pt`.

use super::failure::Failure;
use crate::text::said;
use std::io::{Read, Seek};
use zip::ZipArchive;
use zip::result::ZipError;

/// Opens an archive whose members have distinct names and do not overlap. Overlapping members can expand to any amount
/// of data.
pub(super) fn open_archive<R: Read + Seek>(reader: R) -> Result<ZipArchive<R>, Failure> {
    let mut archive = ZipArchive::new(reader).map_err(invalid)?;
    if archive.has_duplicate_names() {
        return Err(Failure::Format("not a valid zip archive: two members have one name".into()));
    }
    if archive.has_overlapping_entries().map_err(invalid)? {
        return Err(Failure::Format("not a valid zip archive: its members overlap".into()));
    }
    Ok(archive)
}

pub(super) fn invalid(error: ZipError) -> Failure {
    match error {
        ZipError::Io(source) => source.into(),
        other => Failure::Format(format!("not a valid zip archive: {}", said(other))),
    }
}
