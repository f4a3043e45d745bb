//! PyTorch's checkpoints, as `torch.save` writes them since version 1.6: a zip archive.
//!
//! ```text
//! name/data.pkl     a pickle: dictionaries, and tensors as views of storages
//! name/data/<key>   the elements of a storage, stored
//! name/byteorder    little
//! ```
//!
//! The names of a tensor's dictionaries, concatenated with dots, are its name: `model.conv1.weight` for
//! `{"model": net.state_dict()}`. Numbers and texts in dictionaries become metadata.

use super::archive::invalid;
use super::dict::StateDict;
use super::elements::{Kind, unsupported};
use super::failure::Failure;
use super::host::{HostTensor, check_shape, gather};
use super::pickle::{self, Object, Pickle, Strided, Value};
use crate::files::read_up_to;
use crate::text::shown;
use minitorch_core::MAX_RANK;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{Read, Seek};
use std::sync::Arc;
use zip::{CompressionMethod, ZipArchive};

/// The name of a tensor that is the whole checkpoint.
const LONE: &str = "tensor";

/// The longest pickle: a hundred bytes for each of half a million tensors.
const LONGEST_PICKLE: usize = 1 << 26;

/// The most dictionaries and lists around a tensor.
const DEEPEST: usize = 32;

/// How many times the bytes of a storage its tensors may have together. Views repeat elements: a fused weight and its
/// parts, or an expanded tensor.
const MOST_VIEWS: usize = 16;

/// The folder of a checkpoint in an archive: that of its pickle.
pub(super) fn folder<R: Read + Seek>(archive: &ZipArchive<R>) -> Option<String> {
    let pickle = |name: &[u8]| {
        let folder = std::str::from_utf8(name).ok()?.strip_suffix("/data.pkl")?;
        (!folder.contains('/')).then(|| folder.to_string())
    };
    archive.file_names_raw().find_map(pickle)
}

/// The tensors that `wanted` names, in the order of the dictionaries.
pub(super) fn parse<R: Read + Seek>(
    archive: &mut ZipArchive<R>,
    folder: &str,
    wanted: &mut dyn FnMut(&str) -> bool,
) -> Result<StateDict, Failure> {
    if archive.index_for_name(&format!("{folder}/constants.pkl")).is_some() {
        return Err("a TorchScript archive, which holds code; save model.state_dict() instead".to_string().into());
    }
    if archive.index_for_name(&format!("{folder}/byteorder")).is_some() {
        let order = member(archive, &format!("{folder}/byteorder"), 16)?;
        if order != b"little" {
            let order = shown(&String::from_utf8_lossy(&order));
            return Err(format!("elements in the byte order {order}; only little is read").into());
        }
    }
    let bytes = member(archive, &format!("{folder}/data.pkl"), LONGEST_PICKLE)?;
    let pickle = pickle::parse(&bytes).map_err(|reason| format!("data.pkl: {reason}"))?;
    let found = Walk::over(&pickle, bytes.len()).map_err(|reason| format!("data.pkl: {reason}"))?;
    let mut state = StateDict::new();
    state.metadata = found.texts;

    // Storages are read one at a time, and each view of one is created once: tied weights share it.
    let mut views: Vec<Option<Arc<HostTensor>>> = found.views.iter().map(|_| None).collect();
    let mut skipped: HashMap<usize, String> = HashMap::new();
    let named: Vec<(String, usize)> = found.names.into_iter().filter(|(name, _)| wanted(name)).collect();
    let used: HashSet<usize> = named.iter().map(|&(_, view)| view).collect();
    let mut of_storage: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, view) in found.views.iter().enumerate().filter(|(at, _)| used.contains(at)) {
        match view.kind {
            Ok(_) => of_storage.entry(view.key).or_default().push(at),
            Err(name) => drop(skipped.insert(at, unsupported(name))),
        }
    }
    for (key, used) in of_storage {
        let file = format!("{folder}/data/{key}");
        let data = member(archive, &file, usize::MAX)?;
        let mut left = data.len().saturating_mul(MOST_VIEWS);
        for at in used {
            let view = &found.views[at];
            let Ok(kind) = view.kind else { continue };
            let tensor = view.tensor(kind, &data, &mut left).map_err(|reason| format!("{}: {reason}", shown(&file)))?;
            views[at] = Some(Arc::new(tensor));
        }
    }
    for (name, view) in named {
        match (&views[view], skipped.get(&view)) {
            (Some(tensor), _) => drop(state.insert_shared(name, tensor.clone())),
            (None, Some(reason)) => state.skip(name, reason.clone()),
            (None, None) => {}
        }
    }
    for (name, reason) in found.skipped {
        if wanted(&name) {
            state.skip(name, reason);
        }
    }
    Ok(state)
}

/// The bytes of a member, which PyTorch stores uncompressed.
fn member<R: Read + Seek>(archive: &mut ZipArchive<R>, name: &str, most: usize) -> Result<Vec<u8>, Failure> {
    let damaged = |reason: &str| Failure::Format(format!("{}: {reason}", shown(name)));
    let index = archive.index_for_name(name).ok_or_else(|| damaged("the archive has no such member"))?;
    let mut member = archive.by_index(index).map_err(invalid)?;
    if member.compression() != CompressionMethod::Stored {
        return Err(damaged("compressed; PyTorch stores its tensors uncompressed"));
    }
    let size = usize::try_from(member.size()).unwrap_or(usize::MAX);
    if size > most {
        return Err(damaged(&format!("{size} bytes, at most {most} are read")));
    }
    let bytes = read_up_to(&mut member, size).map_err(|error| Failure::from(error).within(&shown(name)))?;
    if bytes.len() < size {
        return Err(damaged("cut short"));
    }
    // Reading to the end makes the decoder verify the checksum.
    let rest = read_up_to(&mut member, 1).map_err(|error| Failure::from(error).within(&shown(name)))?;
    if !rest.is_empty() {
        return Err(damaged("longer than the archive says"));
    }
    Ok(bytes)
}

/// A tensor as a view of a storage, without the strides of dimensions that have one element.
#[derive(Clone, PartialEq, Eq, Hash)]
struct View<'p> {
    key: &'p str,
    kind: Result<Kind, &'p str>,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl View<'_> {
    /// A copy of the elements. `left` is the number of bytes that the views of the storage may still have.
    fn tensor(&self, kind: Kind, data: &[u8], left: &mut usize) -> Result<HostTensor, String> {
        // Checked by the walk: the number of elements fits the address space.
        let count = self.shape.iter().product::<usize>();
        let bytes = count * kind.size();
        *left = left.checked_sub(bytes).ok_or_else(|| {
            format!("its tensors have more than {MOST_VIEWS} times the {} bytes of the storage", data.len())
        })?;
        let extent = self.shape.iter().zip(&self.strides).try_fold(self.offset, |end, (size, stride)| {
            size.saturating_sub(1).checked_mul(*stride).and_then(|step| end.checked_add(step))
        });
        let elements = data.len() / kind.size();
        if count > 0 && extent.is_none_or(|last| last >= elements) {
            let (shape, strides) = (&self.shape, &self.strides);
            return Err(format!(
                "cut short: {elements} elements do not hold {shape:?} of {kind} with strides {strides:?} from {}",
                self.offset
            ));
        }
        let data = match self.is_contiguous() {
            _ if count == 0 => kind.decode(&[]),
            true => kind.decode(&data[self.offset * kind.size()..][..bytes]),
            false => kind.decode(&gather(data, kind, &self.shape, &self.strides, self.offset)),
        };
        Ok(HostTensor { shape: self.shape.clone(), data })
    }

    fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(&size, &stride)| {
            let fits = size == 1 || stride == expected;
            expected *= size;
            fits
        })
    }
}

/// The tensors, numbers and texts of a checkpoint, by the names of their dictionaries.
struct Walk<'p, 'o> {
    pickle: &'o Pickle<'p>,
    /// Names, each with the position of its view.
    names: Vec<(String, usize)>,
    views: Vec<View<'p>>,
    known: HashMap<View<'p>, usize>,
    texts: BTreeMap<String, String>,
    skipped: Vec<(String, String)>,
    seen: HashSet<String>,
    /// Values that may still be visited, and bytes that names may still have: dictionaries can contain each other many
    /// times.
    visits: usize,
    bytes: usize,
}

/// What a walk has found.
struct Found<'p> {
    names: Vec<(String, usize)>,
    views: Vec<View<'p>>,
    texts: BTreeMap<String, String>,
    skipped: Vec<(String, String)>,
}

impl<'p, 'o> Walk<'p, 'o> {
    fn over(pickle: &'o Pickle<'p>, length: usize) -> Result<Found<'p>, String> {
        let mut walk = Walk {
            pickle,
            names: Vec::new(),
            views: Vec::new(),
            known: HashMap::new(),
            texts: BTreeMap::new(),
            skipped: Vec::new(),
            seen: HashSet::new(),
            visits: length,
            bytes: length.saturating_mul(8).saturating_add(1 << 10),
        };
        walk.visit(&mut String::new(), pickle.value, 0)?;
        let Walk { names, views, texts, skipped, .. } = walk;
        Ok(Found { names, views, texts, skipped })
    }

    fn visit(&mut self, name: &mut String, value: Value<'p>, depth: usize) -> Result<(), String> {
        self.visits = self.visits.checked_sub(1).ok_or("its dictionaries contain each other")?;
        let (Value::Object(at), pickle) = (value, self.pickle) else { return Ok(()) };
        match pickle.objects.get(at) {
            Some(Object::Tensor(tensor)) => self.tensor(if name.is_empty() { LONE } else { name.as_str() }, tensor),
            Some(Object::Dict(_) | Object::List(_) | Object::Tuple(_)) if depth == DEEPEST => {
                Err(format!("more than {DEEPEST} dictionaries and lists in each other"))
            }
            Some(Object::Dict(entries)) => entries.iter().try_for_each(|&(key, value)| {
                let key = match key {
                    Value::Text(key) => key.to_string(),
                    Value::Int(key) => key.to_string(),
                    _ => return Err("a dictionary has a key that is neither text nor an integer".into()),
                };
                self.below(name, &key, |walk, name| match text(value) {
                    Some(text) => walk.text(name, text),
                    None => walk.visit(name, value, depth + 1),
                })
            }),
            Some(Object::List(parts) | Object::Tuple(parts)) => {
                parts.iter().enumerate().try_for_each(|(i, &part)| match part {
                    Value::Object(_) => {
                        self.below(name, &i.to_string(), |walk, name| walk.visit(name, part, depth + 1))
                    }
                    _ => Ok(()),
                })
            }
            Some(Object::Storage(_)) | None => Err("a storage without a tensor is not read".into()),
        }
    }

    /// Runs `f` with the name extended by a key.
    fn below(
        &mut self,
        name: &mut String,
        key: &str,
        f: impl FnOnce(&mut Self, &mut String) -> Result<(), String>,
    ) -> Result<(), String> {
        let length = name.len();
        if length > 0 {
            name.push('.');
        }
        // Before the name grows: a long key that many dictionaries contain would be copied into each name.
        self.bytes = self.bytes.checked_sub(length + key.len()).ok_or("the names of its tensors are too long")?;
        name.push_str(key);
        f(self, name)?;
        name.truncate(length);
        Ok(())
    }

    fn text(&mut self, name: &str, text: String) -> Result<(), String> {
        self.visits = self.visits.checked_sub(1).ok_or("its dictionaries contain each other")?;
        self.bytes = self.bytes.checked_sub(text.len()).ok_or("its texts are too long")?;
        self.texts.insert(name.to_string(), text);
        Ok(())
    }

    fn tensor(&mut self, name: &str, tensor: &Strided<'p>) -> Result<(), String> {
        if !self.seen.insert(name.to_string()) {
            return Err(format!("two tensors are called {}", shown(name)));
        }
        let Strided { key, elements: kind, offset, .. } = *tensor;
        let sizes = |at| self.pickle.sizes(at, MAX_RANK);
        let (shape, mut strides) = match (sizes(tensor.shape), sizes(tensor.strides)) {
            (Some(shape), Some(strides)) if shape.len() == strides.len() => (shape, strides),
            _ => {
                let reason = format!("its shape is beyond {MAX_RANK} dimensions, or damaged");
                self.skipped.push((name.to_string(), reason));
                return Ok(());
            }
        };
        check_shape(&shape).map_err(|reason| format!("{}: {reason}", shown(name)))?;
        shape.iter().zip(&mut strides).filter(|(size, _)| **size <= 1).for_each(|(_, stride)| *stride = 0);
        let view = View { key, kind, offset, shape, strides };
        let next = self.views.len();
        let at = *self.known.entry(view.clone()).or_insert(next);
        if at == next {
            self.views.push(view);
        }
        self.names.push((name.to_string(), at));
        Ok(())
    }
}

/// A number or text, as metadata.
fn text(value: Value) -> Option<String> {
    match value {
        Value::Bool(x) => Some(x.to_string()),
        Value::Int(x) => Some(x.to_string()),
        // `Debug` of a float parses back to the same bits.
        Value::Float(x) => Some(format!("{x:?}")),
        Value::Text(x) => Some(x.to_string()),
        Value::None | Value::LongInt | Value::Bytes | Value::Global(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
#[path = "pytorch_tests.rs"]
mod tests;
