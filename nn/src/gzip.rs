//! Errors of files that can be compressed with gzip.

use crate::text::said;
use minitorch_core::Error;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Why a file could not be read: the system failed, or its content is wrong.
pub(crate) enum ReadError {
    Io(io::Error),
    Format(String),
}

impl ReadError {
    /// The error that names the file.
    pub(crate) fn at(self, path: &Path) -> Error {
        match self {
            ReadError::Io(source) => Error::io(path, source),
            ReadError::Format(reason) => Error::format(path, reason),
        }
    }
}

impl From<io::Error> for ReadError {
    /// An error of the decoder is an error in the file, not of the system.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof => ReadError::Format("cut short: the gzip stream does not end".into()),
            ErrorKind::InvalidInput | ErrorKind::InvalidData => {
                ReadError::Format(format!("damaged gzip: {}", said(error)))
            }
            _ => ReadError::Io(error),
        }
    }
}
