//! safetensors: named tensors, and a header with their names, dtypes, shapes and offsets.

use super::host::HostTensor;
use crate::files::{open, read_up_to, replace_file};
use crate::text::{said, shown, shown_shape};
use minitorch_core::{DType, Error, HostData, MAX_RANK, Result, f16};
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, HashSet};
use std::io::{BufWriter, Write};
use std::path::Path;

/// The content of a safetensors file.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Tensors {
    /// The tensors by name.
    pub tensors: BTreeMap<String, HostTensor>,
    /// The `__metadata__` of the header.
    pub metadata: BTreeMap<String, String>,
}

/// Writes named tensors, and metadata into the header, as safetensors. The order of the tensors does not matter.
///
/// # Errors
/// [`Error::Io`] if the file system fails; an existing file is then unchanged. [`Error::Invalid`] if a name occurs
/// twice or is the reserved `__metadata__`, or the number of elements of a tensor is not that of its shape.
pub fn write_tensors(
    path: impl AsRef<Path>,
    tensors: &[(String, HostTensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let mut names = HashSet::new();
    for (name, tensor) in tensors {
        tensor.check_consistent(&format!("write_tensors: {}", shown(name)))?;
        if name == "__metadata__" || !names.insert(name) {
            let name = shown(name);
            return Err(Error::Invalid(format!(
                "a safetensors file cannot hold a tensor called {name}, or two of them"
            )));
        }
    }
    // The order of the safetensors crate: by descending element size, which aligns all tensors, then by name.
    let mut ordered: Vec<&(String, HostTensor)> = tensors.iter().collect();
    ordered.sort_by(|(a, x), (b, y)| dtype_of(y).cmp(&dtype_of(x)).then(a.cmp(b)));
    let header = header(&ordered, metadata).map_err(|error| Error::Invalid(format!("write_tensors: {error}")))?;
    replace_file(path, |file| {
        let mut file = BufWriter::with_capacity(1 << 20, file);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        for (_, tensor) in ordered {
            file.write_all(&tensor.bytes())?;
        }
        file.flush()
    })
}

/// The header of a file with these tensors in this order, padded with blanks to a multiple of 8 bytes.
fn header(
    tensors: &[&(String, HostTensor)],
    metadata: &BTreeMap<String, String>,
) -> std::result::Result<String, String> {
    let mut end = 0;
    let info = |(name, tensor): &&(String, HostTensor)| {
        let data_offsets = (end, end + tensor.bytes_len());
        end = data_offsets.1;
        (name.clone(), TensorInfo { dtype: dtype_of(tensor), shape: tensor.shape.clone(), data_offsets })
    };
    let infos = tensors.iter().map(info).collect();
    let metadata = (!metadata.is_empty()).then(|| metadata.clone().into_iter().collect());
    let header = Metadata::new(metadata, infos).map_err(said)?;
    let mut text = serde_json::to_string(&header).map_err(said)?;
    if text.len() > LONGEST_HEADER {
        return Err(format!("names and texts of {} bytes are more than a safetensors file can hold", text.len()));
    }
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    Ok(text)
}

/// The longest header that the safetensors crate reads.
const LONGEST_HEADER: usize = 100_000_000;

fn dtype_of(tensor: &HostTensor) -> Dtype {
    match tensor.dtype() {
        DType::F16 => Dtype::F16,
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
        DType::I32 => Dtype::I32,
        DType::Bool => Dtype::BOOL,
    }
}

/// Reads a safetensors file. I64, the dtype of PyTorch's counters, becomes I32.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read or is not a regular file. [`Error::Format`] if it is not complete and valid
/// safetensors, a name occurs twice, a tensor has a dtype that minitorch lacks (such as BF16) or more than [`MAX_RANK`]
/// dimensions, or an I64 does not fit I32.
pub fn read_tensors(path: impl AsRef<Path>) -> Result<Tensors> {
    let path = path.as_ref();
    let read = || {
        let (mut file, length) = open(path)?;
        read_up_to(&mut file, usize::try_from(length).unwrap_or(usize::MAX))
    };
    let bytes = read().map_err(|e| Error::io(path, e))?;
    parse(&bytes).map_err(|reason| Error::format(path, reason))
}

fn parse(bytes: &[u8]) -> std::result::Result<Tensors, String> {
    let names = check_header(bytes)?;
    let invalid = |error| format!("not a valid safetensors file: {}", said(error));
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(invalid)?;
    let file = SafeTensors::deserialize(bytes).map_err(invalid)?;
    if names != file.len() + header.metadata().is_some() as usize {
        return Err("not a valid safetensors file: a name in its header occurs twice or has no value".into());
    }
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let shape = view.shape().to_vec();
        // With a size of 0 the product is 0, whatever the other sizes are: they are checked without it.
        let elements = shape.iter().filter(|&&size| size != 0).try_fold(1usize, |n, &size| n.checked_mul(size));
        if shape.len() > MAX_RANK || elements.is_none_or(|n| n > isize::MAX as usize / 8) {
            let (name, shape) = (shown(name), shown_shape(&shape));
            return Err(format!("{name}: the shape {shape} is beyond {MAX_RANK} dimensions or the address space"));
        }
        let data = decode(view.dtype(), view.data()).map_err(|reason| format!("{}: {reason}", shown(name)))?;
        tensors.insert(name.to_string(), HostTensor { shape, data });
    }
    let metadata = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    Ok(Tensors { tensors, metadata })
}

/// Counts the names at the top level of the header, and refuses numbers of more than 15 digits in it. The safetensors
/// crate checks shapes and offsets, with two gaps: it adds the last offset to the length of the header, which overflows
/// for offsets near 2^64, and it silently drops one of two tensors with the same name.
fn check_header(bytes: &[u8]) -> std::result::Result<usize, String> {
    let length = bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    let header = bytes.iter().skip(8).take(usize::try_from(length).unwrap_or(usize::MAX));
    let (mut in_text, mut escaped, mut digits, mut depth, mut names) = (false, false, 0, 0usize, 0);
    for &byte in header {
        digits = if byte.is_ascii_digit() && !in_text { digits + 1 } else { 0 };
        if digits > 15 {
            return Err("not a valid safetensors file: a size or offset of 10^15 or more".into());
        }
        match byte {
            _ if in_text => {}
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b':' if depth == 1 => names += 1,
            _ => {}
        }
        in_text ^= byte == b'"' && !escaped;
        escaped = in_text && byte == b'\\' && !escaped;
    }
    Ok(names)
}

fn decode(dtype: Dtype, bytes: &[u8]) -> std::result::Result<HostData, String> {
    fn numbers<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks().0.iter().map(|&chunk| read(chunk)).collect()
    }
    Ok(match dtype {
        Dtype::F16 => HostData::F16(numbers(bytes, f16::from_le_bytes)),
        Dtype::F32 => HostData::F32(numbers(bytes, f32::from_le_bytes)),
        Dtype::F64 => HostData::F64(numbers(bytes, f64::from_le_bytes)),
        Dtype::I32 => HostData::I32(numbers(bytes, i32::from_le_bytes)),
        Dtype::I64 => {
            let narrow = |x: i64| i32::try_from(x).map_err(|_| format!("the I64 value {x} does not fit I32"));
            let narrowed: std::result::Result<_, String> =
                numbers(bytes, i64::from_le_bytes).into_iter().map(narrow).collect();
            HostData::I32(narrowed?)
        }
        Dtype::BOOL => HostData::Bool(bytes.iter().map(|&byte| byte != 0).collect()),
        other => return Err(format!("the dtype {other:?} is not supported; F16, F32, F64, I32, I64 and BOOL are")),
    })
}

#[cfg(test)]
#[path = "safetensors_tests.rs"]
mod tests;
