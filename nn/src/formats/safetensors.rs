//! safetensors: named tensors, and a header with their names, dtypes, shapes and offsets.

use super::dict::StateDict;
use super::elements::{Elements, Kind, unsupported};
use super::failure::Failure;
use super::host::{HostTensor, check_shape};
use crate::files::read_up_to;
use crate::text::{said, shown};
use minitorch_core::{Error, Result};
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

/// A file that is ready to be written. Tied weights are written once; the metadata maps the other names to the one that
/// was written, as `save_model` of PyTorch's safetensors does.
pub(super) struct Output<'s> {
    header: String,
    tensors: Vec<(&'s str, &'s HostTensor)>,
}

impl<'s> Output<'s> {
    /// # Errors
    /// [`Error::Invalid`] if a name is the reserved `__metadata__`, an alias is also the name of a text, or the number
    /// of elements of a tensor is not that of its shape.
    pub(super) fn new(state: &'s StateDict) -> Result<Self> {
        let aliases: HashMap<&str, &str> = state.aliases().into_iter().collect();
        let mut metadata = state.metadata.clone();
        for (alias, name) in &aliases {
            if metadata.insert(alias.to_string(), name.to_string()).is_some() {
                let alias = shown(alias);
                return Err(Error::Invalid(format!("the metadata cannot hold a text called {alias}, a tied tensor")));
            }
        }
        let mut tensors: Vec<_> = state.iter().filter(|(name, _)| !aliases.contains_key(name)).collect();
        for (name, tensor) in &tensors {
            tensor.check_consistent(&shown(name))?;
            if *name == "__metadata__" {
                return Err(Error::Invalid("a safetensors file cannot hold a tensor called __metadata__".into()));
            }
        }
        // The order of the safetensors crate: by descending element size, which aligns all tensors, then by name.
        tensors.sort_by(|(a, x), (b, y)| dtype_of(y).cmp(&dtype_of(x)).then(a.cmp(b)));
        let header = header(&tensors, metadata).map_err(Error::Invalid)?;
        Ok(Output { header, tensors })
    }

    pub(super) fn write(&self, writer: &mut impl Write) -> io::Result<()> {
        writer.write_all(&(self.header.len() as u64).to_le_bytes())?;
        writer.write_all(self.header.as_bytes())?;
        self.tensors.iter().try_for_each(|(_, tensor)| writer.write_all(&tensor.data.bytes()))
    }
}

/// The header of a file with these tensors in this order, padded with blanks to a multiple of 8 bytes. The same state
/// gives the same bytes.
fn header(tensors: &[(&str, &HostTensor)], metadata: BTreeMap<String, String>) -> std::result::Result<String, String> {
    let quoted = |name: &str| serde_json::to_string(name).map_err(said);
    let (mut entries, mut end) = (Vec::with_capacity(tensors.len() + 1), 0);
    if !metadata.is_empty() {
        entries.push(format!(r#""__metadata__":{}"#, serde_json::to_string(&metadata).map_err(said)?));
    }
    for (name, tensor) in tensors {
        let (name, dtype, start) = (quoted(name)?, dtype_of(tensor), end);
        let shape = serde_json::to_string(&tensor.shape).map_err(said)?;
        end += tensor.bytes_len();
        entries.push(format!(r#"{name}:{{"dtype":"{dtype:?}","shape":{shape},"data_offsets":[{start},{end}]}}"#));
    }
    let mut text = format!("{{{}}}", entries.join(","));
    if text.len() > LONGEST_HEADER {
        return Err(format!("names and texts of {} bytes are more than a safetensors file can hold", text.len()));
    }
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    Ok(text)
}

/// The longest header that the safetensors crate reads.
const LONGEST_HEADER: usize = 100_000_000;

fn dtype_of(tensor: &HostTensor) -> Dtype {
    match &tensor.data {
        Elements::F16(_) => Dtype::F16,
        Elements::BF16(_) => Dtype::BF16,
        Elements::F32(_) => Dtype::F32,
        Elements::F64(_) => Dtype::F64,
        Elements::U8(_) => Dtype::U8,
        Elements::I8(_) => Dtype::I8,
        Elements::U16(_) => Dtype::U16,
        Elements::I16(_) => Dtype::I16,
        Elements::U32(_) => Dtype::U32,
        Elements::I32(_) => Dtype::I32,
        Elements::U64(_) => Dtype::U64,
        Elements::I64(_) => Dtype::I64,
        Elements::Bool(_) => Dtype::BOOL,
    }
}

fn kind_of(dtype: Dtype) -> Option<Kind> {
    Some(match dtype {
        Dtype::F16 => Kind::F16,
        Dtype::BF16 => Kind::BF16,
        Dtype::F32 => Kind::F32,
        Dtype::F64 => Kind::F64,
        Dtype::U8 => Kind::U8,
        Dtype::I8 => Kind::I8,
        Dtype::U16 => Kind::U16,
        Dtype::I16 => Kind::I16,
        Dtype::U32 => Kind::U32,
        Dtype::I32 => Kind::I32,
        Dtype::U64 => Kind::U64,
        Dtype::I64 => Kind::I64,
        Dtype::BOOL => Kind::Bool,
        _ => return None,
    })
}

/// Reads the header of a file of `length` bytes, and the tensors that `wanted` names, in the order of their data.
pub(super) fn parse(
    mut reader: impl Read + Seek,
    length: u64,
    wanted: &mut dyn FnMut(&str) -> bool,
) -> std::result::Result<StateDict, Failure> {
    let invalid = |reason: String| Failure::Format(format!("not a valid safetensors file: {reason}"));
    let start = read_up_to(&mut reader, 8)?;
    let claimed = start.first_chunk().map_or(u64::MAX, |length| u64::from_le_bytes(*length));
    let size = match usize::try_from(claimed) {
        Ok(size) if size <= LONGEST_HEADER && claimed <= length.saturating_sub(8) => size,
        _ => return Err(invalid("cut short, or longer than a header can be".into())),
    };
    let bytes = read_up_to(&mut reader, size)?;
    let names = check_header(&bytes)?;
    let header: Metadata = serde_json::from_slice(&bytes).map_err(|error| invalid(said(error)))?;
    let data = header.data_len() as u64;
    if 8 + claimed + data != length {
        let follow = length - 8 - claimed;
        return Err(invalid(format!("its tensors have {data} bytes, {follow} follow the header")));
    }
    // Tensors without elements can have the same place.
    let mut stored: Vec<(usize, String)> =
        header.offset_keys().into_iter().filter_map(|name| Some((header.info(&name)?.data_offsets.0, name))).collect();
    stored.sort();
    if names != stored.len() + header.metadata().is_some() as usize {
        return Err(invalid("a name in its header occurs twice or has no value".into()));
    }
    let mut state = StateDict::new();
    // The names of tied weights, by the name under which each is stored.
    let mut aliases: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (key, text) in header.metadata().iter().flatten() {
        match header.info(key).is_none() && header.info(text).is_some() {
            true => aliases.entry(text).or_default().push(key),
            false => drop(state.metadata.insert(key.clone(), text.clone())),
        }
    }
    let mut at = 0;
    for (start, stored) in stored {
        let Some(info) = header.info(&stored) else { continue };
        let mut others = aliases.remove(&*stored).unwrap_or_default();
        others.sort_unstable();
        let mut names = vec![stored.clone()];
        names.extend(others.into_iter().map(str::to_string));
        names.retain(|name| wanted(name));
        if names.is_empty() {
            continue;
        }
        let refused = match (kind_of(info.dtype), check_shape(&info.shape)) {
            (Some(kind), Ok(())) => {
                if at != start {
                    reader.seek(SeekFrom::Start(8 + claimed + start as u64))?;
                }
                let size = info.data_offsets.1 - start;
                let bytes = read_up_to(&mut reader, size)?;
                if bytes.len() < size {
                    return Err(invalid("cut short".into()));
                }
                at = start + size;
                let tensor = Arc::new(HostTensor { shape: info.shape.clone(), data: kind.decode(&bytes) });
                names.into_iter().for_each(|name| drop(state.insert_shared(name, tensor.clone())));
                continue;
            }
            (None, _) => unsupported(&format!("{:?}", info.dtype)),
            (_, Err(reason)) => reason,
        };
        names.into_iter().for_each(|name| state.skip(name, refused.clone()));
    }
    Ok(state)
}

/// Counts the names at the top level of the header, and refuses numbers of more than 15 digits in it, whose sums could
/// overflow. The safetensors crate checks shapes and offsets, but silently drops one of two tensors with the same name.
fn check_header(header: &[u8]) -> std::result::Result<usize, String> {
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

#[cfg(test)]
#[path = "safetensors_tests.rs"]
mod tests;
