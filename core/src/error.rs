//! Recoverable errors: devices, memory, files, parsing.
//!
//! Arguments that do not fit (shapes, dtypes, devices) panic instead, with a message that names the operation, what it got and
//! what it expected.
//!
//! Text from files and paths is escaped when an error is printed: a message is one line, and has no effect on a terminal.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{fmt, io, panic::Location, path::PathBuf};

/// `Result` with [`Error`]; another error type can be named, as in `Result<(), Box<dyn std::error::Error>>`.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error that can occur in a correct program.
///
/// `?` converts what a program that reads its own files meets: [`std::io::Error`]; the errors of parsing numbers and flags, and of
/// text that is not UTF-8; and a text, which becomes [`Error::Invalid`].
///
/// ```
/// use minitorch::prelude::*;
///
/// fn column(csv: &str) -> Result<Vec<f32>> {
///     let mut heights = Vec::new();
///     for line in csv.lines().skip(1) {
///         let (_, height) = line.split_once(',').ok_or_else(|| format!("no second column in {line:?}"))?;
///         heights.push(height.parse()?);
///     }
///     Ok(heights)
/// }
///
/// fn main() -> Result<()> {
///     assert_eq!(column("name,height\nada,1.65\n")?, [1.65]);
///     assert_eq!(column("name,height\nada,tall\n").unwrap_err().to_string(), "invalid float literal");
///     assert!(matches!(std::fs::read_to_string("no such file").map_err(Error::from), Err(Error::Io { path: None, .. })));
///     Ok(())
/// }
/// ```
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

    /// A kernel found an index outside the dimension that it indexes. The access was skipped.
    #[error("{op} at {location}: {}", OutOfRange { index: *index, bound: *bound })]
    IndexOutOfRange {
        /// The operation as the user called it.
        op: &'static str,
        /// The line that called it.
        location: &'static Location<'static>,
        /// The first such index that was found.
        index: i64,
        /// The size of the dimension.
        bound: u64,
    },

    /// A file could not be read or written, or another input or output failed.
    #[error("{}{}", Of(path), OneLine(source))]
    Io {
        /// The file; `None` where the error came from `std` by `?`, which does not know it.
        path: Option<PathBuf>,
        /// The operating system's reason.
        source: io::Error,
    },

    /// The content of a file is invalid.
    #[error("{}: {}", OneLine(path.display()), OneLine(reason))]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },

    /// A text is not what a parser of `std` reads: a number, a flag or UTF-8.
    #[error("{}", OneLine(source))]
    Parse {
        /// The parser's error.
        source: Box<dyn std::error::Error + Send + Sync>,
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

/// A copy of an [`Error::Io`] has the operating system's code, or else kind and text, of the original's source; one of an
/// [`Error::Parse`] its text.
impl Clone for Error {
    fn clone(&self) -> Self {
        match self {
            Error::Device { device, reason } => Error::Device { device: device.clone(), reason: reason.clone() },
            Error::OutOfMemory { device, bytes, live, reserved } => {
                Error::OutOfMemory { device: device.clone(), bytes: *bytes, live: *live, reserved: *reserved }
            }
            Error::IndexOutOfRange { op, location, index, bound } => {
                Error::IndexOutOfRange { op, location, index: *index, bound: *bound }
            }
            Error::Io { path, source } => {
                let copy = || io::Error::new(source.kind(), source.to_string());
                let source = source.raw_os_error().map_or_else(copy, io::Error::from_raw_os_error);
                Error::Io { path: path.clone(), source }
            }
            Error::Format { path, reason } => Error::Format { path: path.clone(), reason: reason.clone() },
            Error::Parse { source } => Error::Parse { source: source.to_string().into() },
            Error::Invalid(what) => Error::Invalid(what.clone()),
        }
    }
}

impl Error {
    /// A file that could not be read or written.
    pub fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Error::Io { path: Some(path.into()), source }
    }

    /// A file whose content is invalid.
    pub fn format(path: impl Into<PathBuf>, reason: impl fmt::Display) -> Self {
        Error::Format { path: path.into(), reason: reason.to_string() }
    }
}

/// An index outside the dimension that it indexes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfRange {
    /// The index.
    pub index: i64,
    /// The size of the dimension.
    pub bound: u64,
}

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "index {} is outside a dimension of size {}", self.index, self.bound)
    }
}

/// A device's queued error: the first one since it was last taken. Later ones are usually its consequences, and are dropped.
#[derive(Debug, Default)]
pub struct QueuedError {
    error: Mutex<Option<Error>>,
    /// Whether there is one, so that a read without an error takes no lock.
    is_set: AtomicBool,
}

impl QueuedError {
    /// Queues an error, unless one is queued.
    #[cold]
    pub fn queue(&self, error: Error) {
        let mut queued = self.lock();
        queued.get_or_insert(error);
        self.is_set.store(true, Ordering::Release);
    }

    /// Whether an error is queued.
    pub fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    /// The queued error, which stays queued.
    pub fn check(&self) -> Result<()> {
        if !self.is_set() {
            return Ok(());
        }
        self.lock().clone().map_or(Ok(()), Err)
    }

    /// The queued error, which is removed.
    pub fn take(&self) -> Option<Error> {
        let mut queued = self.lock();
        self.is_set.store(false, Ordering::Release);
        queued.take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Error>> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<io::Error> for Error {
    /// [`Error::Io`] without a path; [`Error::io`] names the file.
    fn from(source: io::Error) -> Self {
        Error::Io { path: None, source }
    }
}

macro_rules! parse_errors {
    ($($Source:ty),* $(,)?) => { $(impl From<$Source> for Error {
        fn from(source: $Source) -> Self {
            Error::Parse { source: source.into() }
        }
    })* };
}
parse_errors!(
    std::num::ParseFloatError,
    std::num::ParseIntError,
    std::num::TryFromIntError,
    std::str::ParseBoolError,
    std::char::ParseCharError,
    std::str::Utf8Error,
    std::string::FromUtf8Error,
);

impl From<String> for Error {
    /// [`Error::Invalid`].
    fn from(why: String) -> Self {
        Error::Invalid(why)
    }
}
impl From<&str> for Error {
    /// [`Error::Invalid`].
    fn from(why: &str) -> Self {
        Error::Invalid(why.into())
    }
}

/// A path before what happened to it; nothing for an unknown one.
struct Of<'a>(&'a Option<PathBuf>);

impl fmt::Display for Of<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.0 {
            Some(path) => write!(f, "{}: ", OneLine(path.display())),
            None => Ok(()),
        }
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
pub(crate) fn finite(what: impl fmt::Display, value: f64) -> f64 {
    assert!(value.is_finite(), "{what} must be a finite number, not {value}");
    value
}

/// An option that must be a finite number of at least 0.
#[track_caller]
pub(crate) fn finite_from_0(what: impl fmt::Display, value: f64) -> f64 {
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
    fn the_first_error_stays_until_it_is_taken() {
        let queued = QueuedError::default();
        assert!(queued.check().is_ok() && queued.take().is_none());
        queued.queue(Error::Invalid("first".into()));
        queued.queue(Error::Invalid("second".into()));
        for _ in 0..2 {
            assert_eq!(queued.check().map_err(|e| e.to_string()), Err("first".into()));
        }
        assert_eq!(queued.take().map(|e| e.to_string()).as_deref(), Some("first"));
        assert!(queued.check().is_ok() && !queued.is_set() && queued.take().is_none());
    }

    #[test]
    fn a_clone_says_the_same() {
        let device = || "Cpu(0)".to_string();
        let source = |kind| io::Error::new(kind, "why");
        for error in [
            Error::Device { device: device(), reason: "r".into() },
            Error::OutOfMemory { device: device(), bytes: 1, live: 2, reserved: 3 },
            Error::IndexOutOfRange { op: "gather", location: Location::caller(), index: 7, bound: 5 },
            Error::io("a", source(io::ErrorKind::NotFound)),
            Error::io("a", io::Error::from_raw_os_error(13)),
            Error::format("a", "b"),
            Error::Invalid("c".into()),
        ] {
            let copy = error.clone();
            assert_eq!(copy.to_string(), error.to_string());
            if let (Error::Io { source: a, .. }, Error::Io { source: b, .. }) = (&copy, &error) {
                assert_eq!((a.kind(), a.raw_os_error()), (b.kind(), b.raw_os_error()));
            }
        }
    }

    #[test]
    fn messages_are_one_line_without_control_characters() {
        let evil = "a\u{1b}[2J\r\n\u{202e}\u{9b}b é \"\\";
        let shown = "a\\u{1b}[2J\\r\\n\\u{202e}\\u{9b}b é \"\\";
        let source = io::Error::other(evil);
        for error in [Error::format(evil, evil), Error::io(evil, source)] {
            assert_eq!(error.to_string(), format!("{shown}: {shown}"));
            assert_eq!(format!("{error:?}"), error.to_string());
        }
        assert_eq!(Error::from(std::io::Error::other(evil)).to_string(), shown);
    }

    #[test]
    fn std_errors_convert_and_keep_their_source() {
        let io = || std::io::Error::other("the disk is full");
        assert_eq!(Error::from(io()).to_string(), "the disk is full");
        assert_eq!(Error::io("weights", io()).to_string(), "weights: the disk is full");
        let parsed: Error = "1.5x".parse::<f64>().map_err(Error::from).expect_err("this is no number");
        assert_eq!(parsed.to_string(), "invalid float literal");
        assert!(std::error::Error::source(&parsed).is_some_and(|source| source.is::<std::num::ParseFloatError>()));
        assert_eq!(Error::from(format!("no row {}", 3)).to_string(), "no row 3");
        let boxed: Result<(), Box<dyn std::error::Error>> = Err(Error::from("no rows").into());
        assert_eq!(boxed.map_err(|error| error.to_string()), Err("no rows".into()));
    }
}
