//! NumPy's `.npy`, one array:
//!
//! ```text
//! \x93NUMPY | major minor | length of the header, u16 or u32 | header | data
//! header = {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
//! ```

use super::elements::{Kind, unsupported};
use super::failure::Failure;
use super::host::{HostTensor, check_shape, gather};
use crate::files::{open, read_up_to, replace_file};
use crate::text::shown;
use minitorch_core::{Error, Result};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Enough for every array of numbers; the format allows 4 GiB, for records with many fields.
const LONGEST_HEADER: usize = 1 << 16;

/// Reads an array that NumPy's `save` wrote, format versions 1.0, 2.0 and 3.0, little- or big-endian, row- or
/// column-major (`fortran_order`), of floats, integers or bool, which keep their type.
///
/// ```
/// use minitorch::prelude::*;
/// use minitorch::nn::state::{HostTensor, read_npy, write_npy};
///
/// # let path = std::env::temp_dir().join(format!("minitorch-doc-{}.npy", std::process::id()));
/// write_npy(&path, &HostTensor::new([2, 1], vec![1.0f32, 2.0]))?;
/// assert_eq!(read_npy(&path)?.shape, [2, 1]); // a tensor of it: HostTensor::to_tensor
/// # std::fs::remove_file(&path).unwrap();
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] if the file cannot be read or is not a regular file. [`Error::Format`] if it is not `.npy`, is shorter
/// or longer than its header says, or has another element type or more dimensions than tensors have.
pub fn read_npy(path: impl AsRef<Path>) -> Result<HostTensor> {
    let path = path.as_ref();
    let (file, length) = open(path).map_err(|e| Error::io(path, e))?;
    parse(&mut BufReader::new(file), length).map_err(|failure| failure.at(path))
}

/// Writes an array that NumPy's `load` reads: format version 1.0, little-endian, row-major.
///
/// # Errors
/// [`Error::Io`] if the file system fails; an existing file is then unchanged. [`Error::Invalid`] if the number of
/// elements is not that of the shape, or they are bfloat16, which NumPy does not have.
pub fn write_npy(path: impl AsRef<Path>, tensor: &HostTensor) -> Result<()> {
    check_writable(tensor, "the tensor")?;
    replace_file(path, |file| {
        let mut writer = BufWriter::new(file);
        write_array(&mut writer, tensor)?;
        writer.flush()
    })
}

/// An error that begins with `what` unless NumPy can read the tensor.
pub(super) fn check_writable(tensor: &HostTensor, what: &str) -> Result<()> {
    tensor.check_consistent(what)?;
    match descr_of(tensor.data.kind()) {
        Some(_) => Ok(()),
        None => Err(Error::Invalid(format!("{what} is {tensor}, which NumPy does not have; convert it to float32"))),
    }
}

/// Parses an array from a reader of `length` bytes, to its end.
pub(super) fn parse(reader: &mut impl Read, length: u64) -> std::result::Result<HostTensor, Failure> {
    let start = read_up_to(reader, 8)?;
    let Some(&[magic @ .., major, minor]) = start.first_chunk::<8>() else {
        return Err(Failure::Foreign("cut short: the file ends before the .npy header".into()));
    };
    if &magic != MAGIC {
        return Err(Failure::Foreign(format!("not a .npy file: it begins with {magic:02x?}")));
    }
    let (head, before) = match (major, minor) {
        (1, 0) => (u16::from_le_bytes(array(reader)?) as usize, 10),
        (2 | 3, 0) => (u32::from_le_bytes(array(reader)?) as usize, 12),
        _ => {
            let reason = format!(".npy of version {major}.{minor}; 1.0, 2.0 and 3.0 are supported");
            return Err(Failure::Foreign(reason));
        }
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
        return Err(Failure::Foreign(format!("not a header of one plain array: {}", shown(text.trim_end()))));
    };
    let (kind, big_endian) = parse_descr(&descr).ok_or_else(|| Failure::Foreign(unsupported(&descr)))?;
    check_shape(&shape).map_err(Failure::Foreign)?;
    // Below the address space, as the number of elements is an eighth of it at most.
    let claimed = shape.iter().product::<usize>() * kind.size();
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
    if big_endian {
        data.chunks_exact_mut(kind.size()).for_each(<[u8]>::reverse);
    }
    if fortran_order {
        let strides: Vec<usize> = (0..shape.len()).map(|dim| shape[..dim].iter().product()).collect();
        data = gather(&data, kind, &shape, &strides, 0);
    }
    Ok(HostTensor { shape, data: kind.decode(&data) })
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

/// Parses `<f4`, `>i8`, `|b1`, ..; true for big-endian.
fn parse_descr(descr: &str) -> Option<(Kind, bool)> {
    let &[order @ (b'<' | b'>' | b'|' | b'='), ref kind @ ..] = descr.as_bytes() else { return None };
    let kind = match kind {
        b"f2" => Kind::F16,
        b"f4" => Kind::F32,
        b"f8" => Kind::F64,
        b"u1" => Kind::U8,
        b"i1" => Kind::I8,
        b"u2" => Kind::U16,
        b"i2" => Kind::I16,
        b"u4" => Kind::U32,
        b"i4" => Kind::I32,
        b"u8" => Kind::U64,
        b"i8" => Kind::I64,
        b"b1" => Kind::Bool,
        _ => return None,
    };
    // `=` is the native order of the reader; NumPy itself writes `<` or `>`.
    let big_endian = order == b'>' || (order == b'=' && cfg!(target_endian = "big"));
    (order != b'|' || kind.size() == 1).then_some((kind, big_endian))
}

fn descr_of(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::BF16 => return None,
        Kind::F16 => "<f2",
        Kind::F32 => "<f4",
        Kind::F64 => "<f8",
        Kind::U8 => "|u1",
        Kind::I8 => "|i1",
        Kind::U16 => "<u2",
        Kind::I16 => "<i2",
        Kind::U32 => "<u4",
        Kind::I32 => "<i4",
        Kind::U64 => "<u8",
        Kind::I64 => "<i8",
        Kind::Bool => "|b1",
    })
}

/// Magic, version, header and data.
pub(super) fn write_array(writer: &mut impl Write, tensor: &HostTensor) -> io::Result<()> {
    let unsupported = || io::Error::new(io::ErrorKind::InvalidInput, "NumPy has no such element type");
    let descr = descr_of(tensor.data.kind()).ok_or_else(unsupported)?;
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
    writer.write_all(&tensor.data.bytes())
}

#[cfg(test)]
#[path = "npy_tests.rs"]
mod tests;
