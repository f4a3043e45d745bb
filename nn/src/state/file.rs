//! Files of named tensors: safetensors read into and written from host memory.

use minitorch_core::{Backend, DType, Error, HostData, MAX_RANK, Result, Tensor, f16};
use safetensors::{Dtype, SafeTensors, View};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

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
    /// If the device fails or has no memory for it.
    ///
    /// # Panics
    /// If the device does not support the dtype, or the elements are not as many as the shape says.
    #[track_caller]
    pub fn to_tensor<B: Backend>(&self, device: &B) -> Result<Tensor<B>> {
        let shape = self.shape.as_slice();
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

/// How safetensors sees it while it writes: one tensor's bytes at a time.
impl View for &HostTensor {
    fn dtype(&self) -> Dtype {
        match HostTensor::dtype(self) {
            DType::F16 => Dtype::F16,
            DType::F32 => Dtype::F32,
            DType::F64 => Dtype::F64,
            DType::I32 => Dtype::I32,
            DType::Bool => Dtype::BOOL,
        }
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.bytes())
    }
    fn data_len(&self) -> usize {
        self.bytes_len()
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
        tensor.check_whole(&format!("write_tensors: {name}"))?;
        if name == "__metadata__" || !names.insert(name) {
            return Err(Error::Invalid(format!(
                "a safetensors file cannot hold a tensor called {name}, or two of them"
            )));
        }
    }
    let metadata = (!metadata.is_empty()).then(|| metadata.clone().into_iter().collect());
    replace_file(path, |temporary| {
        let views = tensors.iter().map(|(name, tensor)| (name, tensor));
        // The crate makes files that only their owner can read; ours are as readable as any other of the user's.
        let io = |source| Error::io(temporary, source);
        let usual = File::create(temporary).and_then(|file| file.metadata()).map_err(io)?.permissions();
        safetensors::serialize_to_file(views, metadata, temporary).map_err(|error| match error {
            safetensors::SafeTensorError::IoError(source) => io(source),
            other => Error::format(temporary, other),
        })?;
        fs::set_permissions(temporary, usual).map_err(io)
    })
}

/// Reads a safetensors file. I64, what PyTorch counts in, becomes I32.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read. [`Error::Format`] if it is not whole and valid safetensors, a tensor has a
/// dtype that minitorch lacks (BF16 among them) or more than [`MAX_RANK`] dimensions, or an I64 is beyond I32.
pub fn read_tensors(path: impl AsRef<Path>) -> Result<Tensors> {
    let path = path.as_ref();
    let bytes = fs::read(path).map_err(|e| Error::io(path, e))?;
    parse(&bytes).map_err(|reason| Error::format(path, reason))
}

fn parse(bytes: &[u8]) -> std::result::Result<Tensors, String> {
    check_numbers(bytes)?;
    let invalid = |error| format!("not a valid safetensors file: {error}").replace('\n', " ");
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(invalid)?;
    let file = SafeTensors::deserialize(bytes).map_err(invalid)?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        let shape = View::shape(&view).to_vec();
        // A size of 0 hides any other from the check against the number of bytes.
        let elements = shape.iter().filter(|&&size| size != 0).try_fold(1usize, |n, &size| n.checked_mul(size));
        if shape.len() > MAX_RANK || elements.is_none_or(|n| n > isize::MAX as usize / 8) {
            let name = name.escape_debug();
            return Err(format!("{name}: the shape {shape:?} is beyond {MAX_RANK} dimensions or the address space"));
        }
        let data = decode(view.dtype(), view.data()).map_err(|reason| format!("{}: {reason}", name.escape_debug()))?;
        tensors.insert(name.to_string(), HostTensor { shape, data });
    }
    let metadata = header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect();
    Ok(Tensors { tensors, metadata })
}

/// Refuses numbers in the header that no real file needs. The safetensors crate checks shapes and offsets well, but adds
/// the last offset to the header's length unchecked, and offsets near 2^64 overflow there.
fn check_numbers(bytes: &[u8]) -> std::result::Result<(), String> {
    let length = bytes.first_chunk().map_or(0, |length| u64::from_le_bytes(*length));
    let header = bytes.iter().skip(8).take(usize::try_from(length).unwrap_or(usize::MAX));
    let (mut in_text, mut escaped, mut digits) = (false, false, 0);
    for &byte in header {
        digits = if byte.is_ascii_digit() && !in_text { digits + 1 } else { 0 };
        if digits > 15 {
            return Err("not a valid safetensors file: a size or offset of 10^15 or more".into());
        }
        in_text ^= byte == b'"' && !escaped;
        escaped = in_text && byte == b'\\' && !escaped;
    }
    Ok(())
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

/// Writes a file by `write`, which gets another path in the same folder; then synchronises that file and renames it to
/// `path`. Whoever looks at `path`, even after a crash, sees the whole old file or the whole new one.
///
/// # Errors
/// What `write` returns, or [`Error::Io`]; `path` is then as it was, and the other file is gone.
pub fn replace_file(path: impl AsRef<Path>, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let path = path.as_ref();
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    // Unlike any other writer's, in this process or another.
    name.push(format!(".{}-{}.tmp", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)));
    let temporary = Temporary(path.with_file_name(name));
    let synced = |path: &Path| File::options().read(true).write(true).open(path)?.sync_all();
    // The message should name the file that the user knows.
    let named = |error| match error {
        Error::Io { path: at, source } if at == temporary.0 => Error::io(path, source),
        Error::Format { path: at, reason } if at == temporary.0 => Error::format(path, reason),
        other => other,
    };
    write(&temporary.0).map_err(named)?;
    synced(&temporary.0).and_then(|()| fs::rename(&temporary.0, path)).map_err(|e| Error::io(path, e))?;
    // The rename itself reaches the disk with the folder; where folders cannot be opened, that is up to the system.
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty())
        && let Ok(folder) = File::open(folder)
    {
        let _ = folder.sync_all();
    }
    Ok(())
}

/// Removes the file, unless it was renamed and is no longer there.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
