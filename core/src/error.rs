//! What can go wrong in the world. What an error quotes from files and paths is escaped where it is printed, so that a terminal
//! only shows it and a message stays one line. A programmer's error (shapes, dtypes, devices that do not fit) panics instead, with
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
    #[error("out of memory on {device}: {} bytes were asked for ({live} live, {reserved} reserved)", Asked(*bytes))]
    OutOfMemory {
        /// The device as its `Debug` prints it.
        device: String,
        /// Bytes asked for; 0 if that is not known, as when a kernel found no memory to run in.
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
    #[error("{}: {}", OneLine(path.display()), OneLine(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },

    /// A file's content is not what it should be.
    #[error("{}: {}", OneLine(path.display()), OneLine(reason))]
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

/// A number of bytes, where 0 means that it is not known.
struct Asked(u64);

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.0 {
            0 => f.write_str("more"),
            bytes => bytes.fmt(f),
        }
    }
}

/// A text whose control characters, and those that change the direction of the text around them or show nothing, are escaped.
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

/// An option that must be a finite number, which NaN is not: a result of nothing but NaN would say so much later.
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

/// Misuse that pure code (layouts, arguments) found comes back as a message and panics here, in a `#[track_caller]`
/// method, so that the panic names the user's line.
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
    fn a_message_is_one_line_of_what_a_terminal_only_shows() {
        let evil = "a\u{1b}[2J\r\n\u{202e}\u{9b}b é \"\\";
        let shown = "a\\u{1b}[2J\\r\\n\\u{202e}\\u{9b}b é \"\\";
        let source = std::io::Error::other(evil);
        for error in [Error::format(evil, evil), Error::io(evil, source)] {
            assert_eq!(error.to_string(), format!("{shown}: {shown}"));
            assert_eq!(format!("{error:?}"), error.to_string());
        }
    }
}
