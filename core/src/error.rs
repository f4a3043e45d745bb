//! What can go wrong in the world. A programmer's error (shapes, dtypes, devices that do not fit) panics instead, with
//! a message that names the operation, what it got and what it expected.

use std::{fmt, path::PathBuf};

/// `Result` with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// A failure that correct programs can meet.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device, its driver or one of its kernels failed.
    #[error("{device}: {reason}")]
    Device {
        /// The device as its `Debug` prints it.
        device: String,
        /// What failed.
        reason: String,
    },

    /// An allocation failed even after the device's cached memory was released.
    #[error("out of memory on {device}: {bytes} bytes were asked for ({live} live, {reserved} reserved)")]
    OutOfMemory {
        /// The device as its `Debug` prints it.
        device: String,
        /// Bytes asked for.
        bytes: u64,
        /// Bytes held by tensors.
        live: u64,
        /// Bytes held by tensors and by the device's cache.
        reserved: u64,
    },

    /// An index tensor held a value outside the dimension that it indexes. The access was skipped.
    #[error("{op}: index {index} is outside a dimension of size {bound}")]
    IndexOutOfRange {
        /// The operation.
        op: &'static str,
        /// The first bad index that was seen.
        index: i64,
        /// The size of the dimension.
        bound: u64,
    },

    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },

    /// A file's content is not what it should be.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },

    /// A value that a user gave is unusable.
    #[error("{0}")]
    Invalid(String),
}

/// As `Display`: what `main() -> Result<()>` prints is meant for people.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error {
    /// A file that could not be read or written.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Error::Io { path: path.into(), source }
    }

    /// A file whose content is wrong.
    pub fn format(path: impl Into<PathBuf>, reason: impl fmt::Display) -> Self {
        Error::Format { path: path.into(), reason: reason.to_string() }
    }
}

/// Misuse that pure code (layouts, arguments) found comes back as a message and panics here, in a `#[track_caller]`
/// method, so that the panic names the user's line.
#[track_caller]
pub(crate) fn must<T, E: fmt::Display>(result: std::result::Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(why) => panic!("{why}"),
    }
}
