//! Named tensors in host memory.

use super::host::HostTensor;
use crate::text::shown;
use minitorch_core::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::ops::Index;
use std::sync::Arc;

/// Names and tensors in host memory, independent of any backend, in order: the state of a model or an optimizer, or the
/// content of a file. PyTorch: the dictionary that `state_dict()` and `torch.load` return.
///
/// ```
/// use minitorch::prelude::*;
///
/// let device = Cpu::default();
/// let trained = Sequential::new().push(Linear::new(3, 2, &device));
/// let state = trained.state()?;
/// assert_eq!(state.names().collect::<Vec<_>>(), ["0.weight", "0.bias"]);
///
/// // Other names, and some of the tensors only.
/// let mut state = state.rename(|name| name.replacen("0.", "head.", 1))?.subset("head.");
/// state.remove("bias");
/// let mut linear = Linear::new(3, 2, &device);
/// let mismatch = linear.load_state(&state, Strict::No)?;
/// assert_eq!(mismatch.missing, ["bias"]);
/// assert_eq!(linear.weight.to_vec::<f32>()?, state["weight"].to_vec::<f32>()?);
/// # Ok::<(), Error>(())
/// ```
///
/// **Files.** [`read`](StateDict::read) recognises safetensors, PyTorch's `.pt` and NumPy's `.npz` by their content.
/// [`write`](StateDict::write) writes safetensors. Between the two no value changes: a tensor keeps the element type of
/// its file, and is rounded, once, when a model of another dtype loads it.
///
/// **Tied weights.** Two names of a PyTorch model can share one tensor. Both are listed here and share memory; a file
/// holds the tensor once. A model that has one of the names loads it, and the other is not unexpected.
///
/// Two dictionaries are equal if they have equal metadata and equal tensors of equal names, in any order.
#[derive(Clone, Default, Debug)]
pub struct StateDict {
    entries: Vec<(String, Arc<HostTensor>)>,
    /// The position in `entries`.
    positions: HashMap<String, usize>,
    /// Texts: the `__metadata__` of safetensors; the numbers and texts of a `.pt` file, under their dotted names.
    pub metadata: BTreeMap<String, String>,
    skipped: BTreeMap<String, String>,
}

impl StateDict {
    /// No tensors.
    pub fn new() -> Self {
        StateDict::default()
    }

    /// The number of names.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.positions.contains_key(name)
    }

    /// The tensor of this name. `state[name]` panics if there is none.
    pub fn get(&self, name: &str) -> Option<&HostTensor> {
        self.shared(name).map(|tensor| &**tensor)
    }

    /// The tensor of this name, to change it. Names that shared it keep the old one.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut HostTensor> {
        self.positions.get(name).map(|&at| Arc::make_mut(&mut self.entries[at].1))
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is none, or the file has an entry of this name that was [skipped](Self::skipped).
    pub fn tensor(&self, name: &str) -> Result<&HostTensor> {
        self.get(name).ok_or_else(|| {
            Error::Invalid(match self.skipped.get(name) {
                Some(why) => format!("{}: {why}", shown(name)),
                None => format!("there is no tensor called {}", shown(name)),
            })
        })
    }

    /// Adds a tensor at the end, or replaces the one of this name in its place and returns it.
    pub fn insert(&mut self, name: impl Into<String>, tensor: HostTensor) -> Option<HostTensor> {
        self.insert_shared(name.into(), Arc::new(tensor)).map(Arc::unwrap_or_clone)
    }

    /// Removes a tensor, and returns it. The order of the others does not change.
    pub fn remove(&mut self, name: &str) -> Option<HostTensor> {
        let at = self.positions.remove(name)?;
        let (_, tensor) = self.entries.remove(at);
        self.positions.values_mut().filter(|position| **position > at).for_each(|position| *position -= 1);
        Some(Arc::unwrap_or_clone(tensor))
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(name, _)| name.as_str())
    }

    /// Names and tensors, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &HostTensor)> {
        self.entries.iter().map(|(name, tensor)| (name.as_str(), &**tensor))
    }

    /// The names that share the tensor of an earlier name, with that name.
    pub fn aliases(&self) -> Vec<(&str, &str)> {
        let (mut first, mut found) = (HashMap::new(), Vec::new());
        for (name, tensor) in &self.entries {
            match first.get(&Arc::as_ptr(tensor)) {
                Some(&earlier) => found.push((name.as_str(), earlier)),
                None => drop(first.insert(Arc::as_ptr(tensor), name.as_str())),
            }
        }
        found
    }

    /// The entries of a file that were not read, by name, each with the reason: arrays of text or objects, and other
    /// files, in `.npz`; element types without a conversion, such as 8-bit floats; more dimensions than tensors have.
    pub fn skipped(&self) -> &BTreeMap<String, String> {
        &self.skipped
    }

    /// The same tensors under other names.
    ///
    /// # Errors
    /// [`Error::Invalid`] if two get one name.
    pub fn rename<S: Into<String>>(self, mut f: impl FnMut(&str) -> S) -> Result<Self> {
        let mut renamed = StateDict { metadata: self.metadata, ..Default::default() };
        for (name, tensor) in self.entries {
            let new: String = f(&name).into();
            if renamed.contains(&new) {
                return Err(Error::Invalid(format!("rename: two tensors would be called {}", shown(&new))));
            }
            renamed.insert_shared(new, tensor);
        }
        renamed.skipped = self.skipped.into_iter().map(|(name, why)| (f(&name).into(), why)).collect();
        Ok(renamed)
    }

    /// Removes a prefix, such as `module.`, from the names that have it. PyTorch:
    /// `consume_prefix_in_state_dict_if_present`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if two tensors get one name.
    pub fn strip_prefix(self, prefix: &str) -> Result<Self> {
        self.rename(|name| name.strip_prefix(prefix).unwrap_or(name).to_string())
    }

    /// Adds a prefix, such as `backbone.`, to all names.
    pub fn add_prefix(self, prefix: &str) -> Self {
        self.keep(|name| Some(format!("{prefix}{name}")))
    }

    /// The tensors whose names have a prefix, such as `model.` or `state_dict.`, without it.
    pub fn subset(self, prefix: &str) -> Self {
        self.keep(|name| name.strip_prefix(prefix).map(str::to_string))
    }

    /// The tensors for which `f` returns a name; `f` returns no name twice.
    fn keep(self, f: impl Fn(&str) -> Option<String>) -> Self {
        let mut kept = StateDict { metadata: self.metadata, ..Default::default() };
        for (name, tensor) in self.entries {
            if let Some(name) = f(&name) {
                kept.insert_shared(name, tensor);
            }
        }
        kept.skipped = self.skipped.into_iter().filter_map(|(name, why)| Some((f(&name)?, why))).collect();
        kept
    }

    /// The tensor of this name; names that share it have the same pointer.
    pub(crate) fn shared(&self, name: &str) -> Option<&Arc<HostTensor>> {
        self.positions.get(name).map(|&at| &self.entries[at].1)
    }

    pub(super) fn insert_shared(&mut self, name: String, tensor: Arc<HostTensor>) -> Option<Arc<HostTensor>> {
        match self.positions.get(&name) {
            Some(&at) => Some(std::mem::replace(&mut self.entries[at].1, tensor)),
            None => {
                self.positions.insert(name.clone(), self.entries.len());
                self.entries.push((name, tensor));
                None
            }
        }
    }

    pub(super) fn skip(&mut self, name: String, why: String) {
        self.skipped.insert(name, why);
    }
}

impl PartialEq for StateDict {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.metadata == other.metadata
            && self.iter().all(|(name, tensor)| other.get(name) == Some(tensor))
    }
}

/// Panics with the message of [`StateDict::tensor`] if there is no such name.
impl Index<&str> for StateDict {
    type Output = HostTensor;
    #[track_caller]
    fn index(&self, name: &str) -> &HostTensor {
        match self.tensor(name) {
            Ok(tensor) => tensor,
            Err(error) => panic!("{error}"),
        }
    }
}

impl<S: Into<String>> FromIterator<(S, HostTensor)> for StateDict {
    fn from_iter<I: IntoIterator<Item = (S, HostTensor)>>(tensors: I) -> Self {
        let mut state = StateDict::new();
        state.extend(tensors);
        state
    }
}

impl<S: Into<String>> Extend<(S, HostTensor)> for StateDict {
    fn extend<I: IntoIterator<Item = (S, HostTensor)>>(&mut self, tensors: I) {
        for (name, tensor) in tensors {
            self.insert(name, tensor);
        }
    }
}

impl<'s> IntoIterator for &'s StateDict {
    type Item = (&'s str, &'s HostTensor);
    type IntoIter = std::vec::IntoIter<Self::Item>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter().collect::<Vec<_>>().into_iter()
    }
}

impl IntoIterator for StateDict {
    type Item = (String, HostTensor);
    type IntoIter = std::vec::IntoIter<(String, HostTensor)>;
    /// Names and tensors, in order. A tensor of two names is copied.
    fn into_iter(self) -> Self::IntoIter {
        let own = |(name, tensor)| (name, Arc::unwrap_or_clone(tensor));
        self.entries.into_iter().map(own).collect::<Vec<_>>().into_iter()
    }
}
