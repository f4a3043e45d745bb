//! Why a file of tensors could not be read.

use crate::text::said;
use minitorch_core::Error;
use std::io;
use std::path::Path;

pub(super) enum Failure {
    /// The system failed.
    Io(io::Error),
    /// The content is damaged or forged.
    Format(String),
    /// The content is of a kind that is not read, such as text or objects.
    Foreign(String),
}

impl Failure {
    /// The error that names the file.
    pub(super) fn at(self, path: &Path) -> Error {
        match self {
            Failure::Io(source) => Error::io(path, source),
            Failure::Format(reason) | Failure::Foreign(reason) => Error::format(path, reason),
        }
    }

    /// The failure with a text before its reason.
    pub(super) fn within(self, what: &str) -> Failure {
        match self {
            Failure::Io(source) => Failure::Io(source),
            Failure::Format(reason) => Failure::Format(format!("{what}: {reason}")),
            Failure::Foreign(reason) => Failure::Foreign(format!("{what}: {reason}")),
        }
    }
}

impl From<io::Error> for Failure {
    /// An error without an OS error code comes from a decoder: the file is damaged.
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            None if error.kind() != io::ErrorKind::OutOfMemory => Failure::Format(format!("damaged: {}", said(error))),
            _ => Failure::Io(error),
        }
    }
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Failure::Format(reason)
    }
}
