//! NumPy's `.npy`, one array:
//!
//! ```text
//! \x93NUMPY | major minor | length of the header, u16 or u32 | header | data
//! header = {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
//! ```

use super::host::HostTensor;
use crate::files::{open, read_up_to, replace_file};
use crate::text::{said, shown, shown_shape};
use minitorch_core::{Error, HostData, MAX_RANK, Result, f16};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Enough for every array of numbers; the format allows 4 GiB, for records with many fields.
const LONGEST_HEADER: usize = 1 << 16;

/// Reads an array that NumPy's `save` wrote, format versions 1.0, 2.0 and 3.0, little- or big-endian, row- or
/// column-major (`fortran_order`). The element types become:
///
/// | NumPy | here |
/// |---|---|
/// | `float32`, `float16` | F32, exactly |
/// | `float64` | F64 |
/// | `int8` to `int64`, `uint8` to `uint64` | I32 |
/// | `bool` | Bool |
///
/// ```
/// # use minitorch_nn::state::{HostTensor, read_npy, write_npy};
/// # use minitorch_core::HostData;
/// # let path = std::env::temp_dir().join(format!("minitorch-doc-{}.npy", std::process::id()));
/// write_npy(&path, &HostTensor::new([2, 1], HostData::F32(vec![1.0, 2.0])))?;
/// assert_eq!(read_npy(&path)?.shape, [2, 1]); // a tensor of it: HostTensor::to_tensor
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), minitorch_core::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] if the file cannot be read or is not a regular file. [`Error::Format`] if it is not `.npy`, is shorter
/// or longer than its header says, has another element type or more than [`MAX_RANK`] dimensions, or an integer does
/// not fit I32.
pub fn read_npy(path: impl AsRef<Path>) -> Result<HostTensor> {
    let path = path.as_ref();
    let (file, length) = open(path).map_err(|e| Error::io(path, e))?;
    parse(&mut BufReader::new(file), length).map_err(|failure| failure.at(path))
}

/// Writes an array that NumPy's `load` reads: format version 1.0, little-endian, row-major; F32 as `float32`, F64 as
/// `float64`, F16 as `float16`, I32 as `int32`, Bool as `bool`.
///
/// # Errors
/// [`Error::Io`] if the file system fails; an existing file is then unchanged. [`Error::Invalid`] if the number of
/// elements is not that of the shape.
pub fn write_npy(path: impl AsRef<Path>, tensor: &HostTensor) -> Result<()> {
    tensor.check_consistent("write_npy: the tensor")?;
    replace_file(path, |file| {
        let mut writer = BufWriter::new(file);
        write_array(&mut writer, tensor)?;
        writer.flush()
    })
}

/// Why an array could not be read.
pub(super) enum Failure {
    /// The system failed.
    Io(io::Error),
    /// The content is wrong.
    Format(String),
    /// It does not begin with the magic string.
    NotNpy(String),
}

impl Failure {
    /// The error that names the file.
    pub(super) fn at(self, path: &Path) -> Error {
        match self {
            Failure::Io(source) => Error::io(path, source),
            Failure::Format(reason) | Failure::NotNpy(reason) => Error::format(path, reason),
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

/// Parses an array from a reader of `length` bytes, to its end.
pub(super) fn parse(reader: &mut impl Read, length: u64) -> std::result::Result<HostTensor, Failure> {
    let start = read_up_to(reader, 8)?;
    let Some(&[magic @ .., major, minor]) = start.first_chunk::<8>() else {
        return Err(Failure::NotNpy("cut short: the file ends before the .npy header".into()));
    };
    if &magic != MAGIC {
        return Err(Failure::NotNpy(format!("not a .npy file: it begins with {magic:02x?}")));
    }
    let (head, before) = match (major, minor) {
        (1, 0) => (u16::from_le_bytes(array(reader)?) as usize, 10),
        (2 | 3, 0) => (u32::from_le_bytes(array(reader)?) as usize, 12),
        _ => return Err(format!(".npy of version {major}.{minor}; 1.0, 2.0 and 3.0 are supported").into()),
    };
    if head > LONGEST_HEADER {
        return Err(format!("a header of {head} bytes; no array of numbers needs over {LONGEST_HEADER}").into());
    }
    let header = read_up_to(reader, head)?;
    if header.len() < head {
        return Err("cut short: the file ends inside the header".to_string().into());
    }
    let text = String::from_utf8_lossy(&header);
    let Some(Header { descr, fortran_order, shape }) = Header::parse(&text) else {
        return Err(format!("not a header of one plain array: {}", shown(text.trim_end())).into());
    };
    let kind = Kind::parse(&descr)?;
    // With a size of 0 the product is 0, whatever the other sizes are: they are checked without it.
    let bytes = shape.iter().filter(|&&n| n != 0).try_fold(kind.size, |bytes, &n| bytes.checked_mul(n));
    let claimed = match bytes {
        Some(bytes) if shape.len() <= MAX_RANK && bytes <= isize::MAX as usize / 8 => {
            if shape.contains(&0) {
                0
            } else {
                bytes
            }
        }
        _ => {
            let shape = shown_shape(&shape);
            return Err(format!("the shape {shape} is beyond {MAX_RANK} dimensions or the address space").into());
        }
    };
    let cut_short =
        |follow: u64| format!("cut short: {shape:?} of {descr} is {claimed} bytes, {follow} follow the header");
    let follow = length.saturating_sub(before + head as u64);
    if follow < claimed as u64 {
        return Err(cut_short(follow).into());
    }
    if follow > claimed as u64 {
        return Err(format!("bytes follow the {claimed} that {shape:?} of {descr} is").into());
    }
    let mut data = read_up_to(reader, claimed)?;
    if data.len() < claimed {
        return Err(cut_short(data.len() as u64).into());
    }
    // Reading to the end also makes a decoder verify its checksum.
    if !read_up_to(reader, 1)?.is_empty() {
        return Err(format!("bytes follow the {claimed} that {shape:?} of {descr} is").into());
    }
    if fortran_order {
        data = row_major(&data, kind.size, &shape);
    }
    Ok(HostTensor::new(shape, kind.decode(data)?))
}

/// The next `N` bytes.
fn array<const N: usize>(reader: &mut impl Read) -> std::result::Result<[u8; N], Failure> {
    let bytes = read_up_to(reader, N)?;
    bytes.try_into().map_err(|_| "cut short: the file ends before the .npy header".to_string().into())
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`, the keys in any order.
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    fn parse(text: &str) -> Option<Header> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
        while !rest.is_empty() {
            let (key, after) = quoted(rest)?;
            let value = after.trim_start().strip_prefix(':')?.trim_start();
            let after = match key {
                "descr" => {
                    let (value, after) = quoted(value)?;
                    descr.replace(value.to_string()).is_none().then_some(after)?
                }
                "fortran_order" => {
                    let (value, after) = match value.strip_prefix("True") {
                        Some(after) => (true, after),
                        None => (false, value.strip_prefix("False")?),
                    };
                    fortran_order.replace(value).is_none().then_some(after)?
                }
                "shape" => {
                    let (inside, after) = value.strip_prefix('(')?.split_once(')')?;
                    shape.replace(sizes(inside)?).is_none().then_some(after)?
                }
                _ => return None,
            };
            rest = after.trim_start();
            rest = match rest.strip_prefix(',') {
                Some(rest) => rest.trim_start(),
                None if rest.is_empty() => rest,
                None => return None,
            };
        }
        Some(Header { descr: descr?, fortran_order: fortran_order?, shape: shape? })
    }
}

/// A string in single or double quotes, and the rest after it. Element types contain no escapes.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}

/// The elements of a tuple: ``, `3,`, `3, 4`. Python 2 wrote `3L`.
fn sizes(inside: &str) -> Option<Vec<usize>> {
    let inside = inside.trim();
    if inside.is_empty() {
        return Some(Vec::new());
    }
    let list = inside.strip_suffix(',').unwrap_or(inside);
    let size = |text: &str| {
        let text = text.trim();
        let digits = text.strip_suffix('L').unwrap_or(text);
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    list.split(',').map(size).collect()
}

/// An element type of a file.
struct Kind {
    big_endian: bool,
    letter: u8,
    size: usize,
}

impl Kind {
    /// Parses `<f4`, `>i8`, `|b1`, ..
    fn parse(descr: &str) -> std::result::Result<Kind, String> {
        if let &[order @ (b'<' | b'>' | b'|' | b'='), letter, digit @ b'1'..=b'8'] = descr.as_bytes() {
            let (size, byte_order) = ((digit - b'0') as usize, order != b'|' || digit == b'1');
            let known = match letter {
                b'f' => matches!(size, 2 | 4 | 8),
                b'i' | b'u' => size.is_power_of_two(),
                b'b' => size == 1,
                _ => false,
            };
            if known && byte_order {
                // `=` is the native order of the reader; NumPy itself writes `<` or `>`.
                let big_endian = order == b'>' || (order == b'=' && cfg!(target_endian = "big"));
                return Ok(Kind { big_endian, letter, size });
            }
        }
        let descr = shown(descr);
        Err(format!("the element type {descr} is not supported; floats (f2, f4, f8), integers and b1 are"))
    }

    fn decode(&self, mut bytes: Vec<u8>) -> std::result::Result<HostData, String> {
        fn read<const N: usize, T>(bytes: &[u8], value: impl Fn([u8; N]) -> T) -> Vec<T> {
            bytes.as_chunks().0.iter().map(|&chunk| value(chunk)).collect()
        }
        fn narrow<const N: usize>(
            bytes: &[u8],
            value: impl Fn([u8; N]) -> i128,
        ) -> std::result::Result<HostData, String> {
            let int = |chunk: &[u8; N]| {
                let wide = value(*chunk);
                i32::try_from(wide).map_err(|_| format!("the integer {wide} does not fit I32"))
            };
            let ints: std::result::Result<_, String> = bytes.as_chunks().0.iter().map(int).collect();
            Ok(HostData::I32(ints?))
        }
        if self.big_endian {
            bytes.chunks_exact_mut(self.size).for_each(<[u8]>::reverse);
        }
        let bytes = &bytes[..];
        match (self.letter, self.size) {
            (b'f', 2) => Ok(HostData::F32(read(bytes, |b| f16::from_le_bytes(b).to_f32()))),
            (b'f', 4) => Ok(HostData::F32(read(bytes, f32::from_le_bytes))),
            (b'f', _) => Ok(HostData::F64(read(bytes, f64::from_le_bytes))),
            (b'i', 1) => narrow(bytes, |b| i8::from_le_bytes(b) as i128),
            (b'i', 2) => narrow(bytes, |b| i16::from_le_bytes(b) as i128),
            (b'i', 4) => narrow(bytes, |b| i32::from_le_bytes(b) as i128),
            (b'i', _) => narrow(bytes, |b| i64::from_le_bytes(b) as i128),
            (b'u', 1) => narrow(bytes, |b| u8::from_le_bytes(b) as i128),
            (b'u', 2) => narrow(bytes, |b| u16::from_le_bytes(b) as i128),
            (b'u', 4) => narrow(bytes, |b| u32::from_le_bytes(b) as i128),
            (b'u', _) => narrow(bytes, |b| u64::from_le_bytes(b) as i128),
            _ => Ok(HostData::Bool(bytes.iter().map(|&byte| byte != 0).collect())),
        }
    }
}

/// Converts column-major elements of `size` bytes to row-major order.
fn row_major(data: &[u8], size: usize, shape: &[usize]) -> Vec<u8> {
    let mut rows = Vec::with_capacity(data.len());
    let (mut index, mut at) = ([0; MAX_RANK], 0);
    let mut strides = [size; MAX_RANK];
    for dim in 1..shape.len() {
        strides[dim] = strides[dim - 1] * shape[dim - 1];
    }
    while rows.len() < data.len() {
        rows.extend_from_slice(&data[at..at + size]);
        // Increment the index: the last dimension first, with carry.
        for dim in (0..shape.len()).rev() {
            (index[dim], at) = (index[dim] + 1, at + strides[dim]);
            if index[dim] < shape[dim] {
                break;
            }
            at -= shape[dim] * strides[dim];
            index[dim] = 0;
        }
    }
    rows
}

/// Magic, version, header and data.
pub(super) fn write_array(writer: &mut impl Write, tensor: &HostTensor) -> io::Result<()> {
    let descr = match &tensor.data {
        HostData::F16(_) => "<f2",
        HostData::F32(_) => "<f4",
        HostData::F64(_) => "<f8",
        HostData::I32(_) => "<i4",
        HostData::Bool(_) => "|b1",
    };
    let mut shape: String = tensor.shape.iter().map(|size| format!("{size}, ")).collect();
    if tensor.shape.len() > 1 {
        shape.truncate(shape.len() - 2); // as Python writes tuples: (), (3,), (3, 4)
    }
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", shape.trim_end());
    // The data starts at a multiple of 64, for memory mapping; the header ends with a newline.
    let start = (MAGIC.len() + 4 + header.len() + 1).next_multiple_of(64);
    header.extend(std::iter::repeat_n(' ', start - MAGIC.len() - 4 - header.len() - 1));
    header.push('\n');
    writer.write_all(MAGIC)?;
    writer.write_all(&[1, 0])?;
    // At most 6 sizes of 20 digits: far below 2^16.
    writer.write_all(&(header.len() as u16).to_le_bytes())?;
    writer.write_all(header.as_bytes())?;
    writer.write_all(&tensor.bytes())
}

#[cfg(test)]
#[path = "npy_tests.rs"]
mod tests;
