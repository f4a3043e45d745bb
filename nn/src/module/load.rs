//! The state of a module in host memory, and back.

use super::walk::{Entry, EntryMut, Path};
use super::{Mismatch, Module, Strict};
use crate::differences::Differences;
use crate::formats::{HostTensor, StateDict};
use crate::text::shown;
use minitorch_core::{Backend, Error, Result, Tensor};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Parameters and buffers, in the order of the walk, and the name of the last parameter.
type Entries<B> = (Vec<(String, Tensor<B>)>, Option<String>);

fn entries<B: Backend, M: Module<B> + ?Sized>(module: &M) -> Entries<B> {
    let (mut found, mut last) = (Vec::new(), None);
    module.visit(&mut Path::default(), &mut |name, entry| match entry {
        Entry::Param(param) => {
            last = Some(name.to_string());
            found.push((name.to_string(), param.detach()));
        }
        Entry::Buffer(buffer) => found.push((name.to_string(), buffer.get())),
        Entry::Training(_) => {}
    });
    (found, last)
}

/// See [`Module::state`].
pub(super) fn state<B: Backend, M: Module<B> + ?Sized>(module: &M) -> Result<StateDict> {
    let mut state = StateDict::new();
    for (name, tensor) in entries(module).0 {
        if state.contains(&name) {
            let name = shown(&name);
            return Err(Error::Invalid(format!("state: two parameters or buffers of the model are called {name}")));
        }
        state.insert(name, HostTensor::read(&tensor)?);
    }
    Ok(state)
}

/// See [`Module::load_state`].
pub(super) fn load_state<B: Backend, M: Module<B> + ?Sized>(
    module: &mut M,
    state: &StateDict,
    strict: Strict,
) -> Result<Mismatch> {
    let (entries, last) = entries(module);
    let mut differences = Differences { last, ..Default::default() };
    let mut used: HashSet<*const HostTensor> = HashSet::new();
    let names: HashSet<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
    for (name, old) in &entries {
        let shape = old.shape().to_vec();
        match state.shared(name) {
            None => differences.missing.push((name.clone(), shape, state.skipped().get(name).cloned())),
            Some(new) => {
                differences.common += 1;
                used.insert(Arc::as_ptr(new));
                if new.shape != shape {
                    differences.misshaped.push((name.clone(), new.shape.clone(), shape));
                }
            }
        }
    }
    for (name, tensor) in state.names().filter_map(|name| Some((name, state.shared(name)?))) {
        // The other name of a tied weight that the model has under one name.
        if !names.contains(name) && !used.contains(&Arc::as_ptr(tensor)) {
            differences.unexpected.push((name.to_string(), tensor.shape.clone()));
        }
    }
    let mismatch = accept(&mut differences, strict);
    if let Some(why) = differences.describe() {
        return Err(Error::Invalid(format!("does not fit the model: {why}")));
    }

    // Everything that can fail comes before the first change.
    let mut values: HashMap<&str, Tensor<B>> = HashMap::new();
    for (name, old) in &entries {
        if let Some(new) = state.get(name) {
            let value = new.to_tensor_of(old.dtype(), old.device()).map_err(|error| match error {
                Error::Invalid(reason) => Error::Invalid(format!("{name}: {reason}")),
                other => other,
            })?;
            values.insert(name, value);
        }
    }
    module.visit_mut(&mut Path::default(), &mut |name, entry| match (entry, values.get(name)) {
        (EntryMut::Param(param), Some(value)) => param.set(value.clone()),
        (EntryMut::Buffer(buffer), Some(value)) => buffer.set(value.clone()),
        _ => {}
    });
    Ok(mismatch)
}

/// The names that only one side has; [`Strict::No`] removes them from the differences.
pub(crate) fn accept(differences: &mut Differences, strict: Strict) -> Mismatch {
    let mut mismatch = Mismatch {
        missing: differences.missing.iter().map(|(name, ..)| name.clone()).collect(),
        unexpected: differences.unexpected.iter().map(|(name, _)| shown(name)).collect(),
    };
    mismatch.missing.sort();
    mismatch.unexpected.sort();
    if strict == Strict::No {
        differences.missing.clear();
        differences.unexpected.clear();
    }
    mismatch
}
