//! Files of named tensors: safetensors read into and written from host memory.

use crate::files::{open, read_up_to, replace_file};
use crate::text::{said, shown, shown_shape};
use minitorch_core::{Backend, DType, Error, HostData, MAX_RANK, Result, Tensor, f16};
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io::{BufWriter, Write};
use std::path::Path;

/// A tensor in host memory, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    /// The sizes.
    pub shape: Vec<usize>,
    /// The elements, as many as the sizes say.
    pub data: HostData,
}

impl HostTensor {
    /// A tensor of this shape and data.
    ///
    /// # Panics
    /// If the number of elements is not the shape's.
    #[track_caller]
    pub fn new(shape: impl Into<Vec<usize>>, data: HostData) -> Self {
        let tensor = HostTensor { shape: shape.into(), data };
        assert!(tensor.is_whole(), "HostTensor: {} elements for the shape {:?}", tensor.len(), tensor.shape);
        tensor
    }

    /// A copy of a tensor. Waits for the device.
    ///
    /// # Errors
    /// If the device fails.
    pub fn read<B: Backend>(tensor: &Tensor<B>) -> Result<Self> {
        let data = tensor.device().download(tensor.view())?;
        Ok(HostTensor { shape: tensor.shape().to_vec(), data })
    }

    /// A copy on a device.
    ///
    /// # Errors
    /// If the device fails or has no memory for it. [`Error::Invalid`] if it does not support the dtype, the elements are not
    /// as many as the shape says, or there are more than [`MAX_RANK`] dimensions: a file may say so.
    pub fn to_tensor<B: Backend>(&self, device: &B) -> Result<Tensor<B>> {
        self.check_whole("to_tensor: the tensor")?;
        let (shape, dtype) = (self.shape.as_slice(), self.dtype());
        if shape.len() > MAX_RANK {
            return Err(Error::Invalid(format!("to_tensor: {} is beyond {MAX_RANK} dimensions", shown_shape(shape))));
        }
        if !device.supports(dtype) {
            return Err(Error::Invalid(format!("to_tensor: {device:?} does not support {dtype}")));
        }
        match &self.data {
            HostData::F16(v) => Tensor::try_from_slice(v, shape, device),
            HostData::F32(v) => Tensor::try_from_slice(v, shape, device),
            HostData::F64(v) => Tensor::try_from_slice(v, shape, device),
            HostData::I32(v) => Tensor::try_from_slice(v, shape, device),
            HostData::Bool(v) => Tensor::try_from_slice(v, shape, device),
        }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.data.as_slice().dtype()
    }

    fn len(&self) -> usize {
        self.data.as_slice().len()
    }

    /// Whether there are as many elements as the shape says.
    fn is_whole(&self) -> bool {
        let claimed = self.shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
        claimed == Some(self.len())
    }

    /// That there are, or an error that begins with `what`.
    pub(super) fn check_whole(&self, what: &str) -> Result<()> {
        let (len, shape) = (self.len(), &self.shape);
        let reason = || Error::Invalid(format!("{what} has {len} elements for the shape {shape:?}"));
        self.is_whole().then_some(()).ok_or_else(reason)
    }

    /// The elements, little-endian.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match &self.data {
            HostData::F16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            HostData::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            HostData::F64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            HostData::I32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            HostData::Bool(v) => v.iter().map(|&x| x as u8).collect(),
        }
    }

    /// The number of them.
    pub(super) fn bytes_len(&self) -> usize {
        self.len() * self.dtype().size()
    }

    /// Whether shape and dtype are those of a tensor.
    pub(crate) fn fits<B: Backend>(&self, tensor: &Tensor<B>) -> bool {
        self.shape == **tensor.shape() && self.dtype() == tensor.dtype()
    }
}

/// Shape and dtype, such as `[2, 3] float32`.
impl fmt::Display for HostTensor {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:?} {}", self.shape, self.dtype())
    }
}

/// What a safetensors file holds.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Tensors {
    /// The tensors by name.
    pub tensors: BTreeMap<String, HostTensor>,
    /// The header's own texts.
    pub metadata: BTreeMap<String, String>,
}

/// Writes named tensors, and texts into the header, as safetensors. The order of the names does not matter.
///
/// # Errors
/// [`Error::Io`] if the file system fails; what was there before is then as it was. [`Error::Invalid`] if a name occurs
/// twice or is the format's own `__metadata__`, or a tensor's elements are not as many as its shape says.
pub fn write_tensors(
    path: impl AsRef<Path>,
    tensors: &[(String, HostTensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let mut names = HashSet::new();
    for (name, tensor) in tensors {
        tensor.check_whole(&format!("write_tensors: {}", shown(name)))?;
        if name == "__metadata__" || !names.insert(name) {
            let name = shown(name);
            return Err(Error::Invalid(format!(
                "a safetensors file cannot hold a tensor called {name}, or two of them"
            )));
        }
    }
    // The order of the safetensors crate: wide elements first, so that all are aligned, then by name.
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

/// The header of a file that holds these tensors one after the other, filled up with blanks to a multiple of 8 bytes.
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

/// Reads a safetensors file. I64, what PyTorch counts in, becomes I32.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read or is none (a FIFO, a device). [`Error::Format`] if it is not whole and valid
/// safetensors, a name occurs twice, a tensor has a dtype that minitorch lacks (BF16 among them) or more than [`MAX_RANK`] dimensions, or an I64 is beyond I32.
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
        // A size of 0 hides any other from the check against the number of bytes.
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

/// Refuses numbers in the header that no real file needs, and counts the names at its top. The safetensors crate checks
/// shapes and offsets well, but adds the last offset to the header's length unchecked, and offsets near 2^64 overflow there; and
/// of two tensors of one name it takes one.
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
#[path = "file_tests.rs"]
mod tests;
