//! Recoverable errors: devices, memory, files, parsing.
//!
//! Arguments that do not fit (shapes, dtypes, devices) panic instead, with a message that names the operation, what it got and
//! what it expected.
//!
//! Text from files and paths is escaped when an error is printed: a message is one line, and has no effect on a terminal.

use std::{fmt, path::PathBuf};

/// `Result` with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// An error that can occur in a correct program.
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
    #[error("out of memory on {device}: {} bytes were asked for ({live} live, {reserved} reserved)", Asked(*bytes))]
    OutOfMemory {
        /// The device as its `Debug` prints it.
        device: String,
        /// Bytes requested; 0 if unknown, as when a kernel could not allocate its own memory.
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
        /// The first such index that was found.
        index: i64,
        /// The size of the dimension.
        bound: u64,
    },

    /// A file could not be read or written.
    #[error("{}: {}", OneLine(path.display()), OneLine(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },

    /// The content of a file is invalid.
    #[error("{}: {}", OneLine(path.display()), OneLine(reason))]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },

    /// A value that the user passed is invalid.
    #[error("{0}")]
    Invalid(String),
}

/// As `Display`, since `main() -> Result<()>` prints the error by `Debug`.
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

    /// A file whose content is invalid.
    pub fn format(path: impl Into<PathBuf>, reason: impl fmt::Display) -> Self {
        Error::Format { path: path.into(), reason: reason.to_string() }
    }
}

/// A number of bytes, where 0 means unknown.
struct Asked(u64);

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.0 {
            0 => f.write_str("more"),
            bytes => bytes.fmt(f),
        }
    }
}

/// A text with control characters, bidirectional marks and invisible characters escaped.
struct OneLine<T>(T);

impl<T: fmt::Display> fmt::Display for OneLine<T> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::write(&mut Escaping(f), format_args!("{}", self.0))
    }
}

struct Escaping<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let hidden =
            |c| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        text.chars().try_for_each(|c| match c.is_control() || hidden(c) {
            true => self.0.write_fmt(format_args!("{}", c.escape_debug())),
            false => fmt::Write::write_char(self.0, c),
        })
    }
}

/// An option that must be a finite number. An unchecked NaN would show much later, as results of NaN.
#[track_caller]
pub(crate) fn finite(what: &str, value: f64) -> f64 {
    assert!(value.is_finite(), "{what} must be a finite number, not {value}");
    value
}

/// An option that must be a finite number of at least 0.
#[track_caller]
pub(crate) fn finite_from_0(what: &str, value: f64) -> f64 {
    assert!(value.is_finite() && value >= 0.0, "{what} must be a finite number of at least 0, not {value}");
    value
}

/// The value, or a panic with the message of `Err`. Layouts and arguments are checked by functions that return a message;
/// `#[track_caller]` methods panic with it, so that the panic names the user's line.
#[track_caller]
pub(crate) fn must<T, E: fmt::Display>(result: std::result::Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(why) => panic!("{why}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_one_line_without_control_characters() {
        let evil = "a\u{1b}[2J\r\n\u{202e}\u{9b}b é \"\\";
        let shown = "a\\u{1b}[2J\\r\\n\\u{202e}\\u{9b}b é \"\\";
        let source = std::io::Error::other(evil);
        for error in [Error::format(evil, evil), Error::io(evil, source)] {
            assert_eq!(error.to_string(), format!("{shown}: {shown}"));
            assert_eq!(format!("{error:?}"), error.to_string());
        }
    }
}
