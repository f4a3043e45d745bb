//! The state of an optimizer in host memory, and back.

use super::state::{Slot, State};
use crate::differences::Differences;
use crate::formats::{HostTensor, StateDict};
use crate::module::{Entry, Mismatch, Module, Path, Strict, accept};
use crate::text::shown;
use minitorch_core::{Backend, Error, Result, Tensor};
use std::collections::HashSet;

/// PyTorch's name for the number of steps of a parameter.
const STEP: &str = "step";

impl<B: Backend> State<B> {
    pub(super) fn dict(&self, name: &str, states: &[&'static str], model: &dyn Module<B>) -> Result<StateDict> {
        let mut state = StateDict::new();
        let mut outcome = Ok(());
        model.visit(&mut Path::default(), &mut |param_name, entry| {
            let Entry::Param(param) = entry else { return };
            let entries = self.slot(param.id()).map_or_else(|| Ok(vec![steps(0)?]), |slot| slot.entries(states));
            match entries {
                Ok(entries) => state.extend(entries.into_iter().map(|(key, t)| (format!("{param_name}/{key}"), t))),
                Err(error) if outcome.is_ok() => outcome = Err(error),
                Err(_) => {}
            }
        });
        outcome?;
        // `Debug` of a float parses back to the same bits.
        let metadata = [("optimizer", name.to_string()), ("lr", format!("{:?}", self.lr))];
        state.metadata = metadata.map(|(key, value)| (key.to_string(), value)).into();
        Ok(state)
    }

    pub(super) fn load_dict(
        &mut self,
        name: &str,
        states: &[&'static str],
        model: &dyn Module<B>,
        state: &StateDict,
        strict: Strict,
    ) -> Result<Mismatch> {
        let unfit = |why: String| Error::Invalid(format!("does not fit the optimizer: {why}"));
        let of = |key: &str| state.metadata.get(key).map_or("nothing", String::as_str);
        if of("optimizer") != name {
            return Err(unfit(format!("it holds the state of {}, not of {name}", shown(of("optimizer")))));
        }
        let lr = match of("lr").parse::<f64>() {
            Ok(lr) if lr.is_finite() && lr >= 0.0 => lr,
            _ => return Err(unfit(format!("its learning rate is {}", shown(of("lr"))))),
        };

        // Everything that can fail comes before the first change.
        let mut reader = Reader { state, names: HashSet::new(), differences: Differences::default(), outcome: Ok(()) };
        let mut slots: Vec<(u64, Slot<B>)> = Vec::new();
        // Parameters that the file does not know at all: they were added since.
        let mut added = Vec::new();
        model.visit(&mut Path::default(), &mut |name, entry| {
            let Entry::Param(param) = entry else { return };
            let names = || [STEP].iter().chain(states).map(|state| format!("{name}/{state}"));
            let is_new = !names().any(|name| state.contains(&name));
            let taken = if is_new { 0 } else { reader.steps(name) };
            if is_new {
                added.push((format!("{name}/{STEP}"), Vec::new(), None));
            }
            let names = if taken == 0 { &[] } else { states };
            let state = names.iter().filter_map(|state| reader.state(format!("{name}/{state}"), param)).collect();
            if taken > 0 || self.slot(param.id()).is_some() {
                slots.push((param.id(), Slot { group: self.group_of(name, param), state, taken }));
            }
        });
        let Reader { names, mut differences, outcome, .. } = reader;
        let unexpected = state.iter().filter(|(name, _)| !names.contains(*name));
        differences.unexpected = unexpected.map(|(name, tensor)| (name.to_string(), tensor.shape.clone())).collect();
        differences.common = names.len();
        // A parameter's state is complete, or absent: `Strict::No` accepts the latter only.
        let partial = std::mem::replace(&mut differences.missing, added);
        let hint = differences.unexpected.is_empty() && partial.is_empty() && !differences.missing.is_empty();
        let mismatch = accept(&mut differences, strict);
        differences.missing.extend(partial);
        if let Some(why) = differences.describe() {
            let hint = match hint && differences.common > 0 {
                true => "; load_state with Strict::No starts parameters afresh that were added since it was saved",
                false => "",
            };
            return Err(unfit(why + hint));
        }
        outcome?;

        self.lr = lr;
        for (id, slot) in slots {
            // Only the difference of the two counts is used, so any count that is at least each parameter's own will
            // do.
            let group = &mut self.groups[slot.group];
            group.steps = group.steps.max(slot.taken);
            self.set_slot(id, slot);
        }
        for group in &mut self.groups {
            group.scalars = None; // uploaded again at the next step, with the new count and rate
        }
        Ok(mismatch)
    }
}

impl<B: Backend> Slot<B> {
    fn entries(&self, states: &[&'static str]) -> Result<Vec<(&'static str, HostTensor)>> {
        let mut entries = vec![steps(self.taken)?];
        for (&name, state) in states.iter().zip(&self.state) {
            entries.push((name, HostTensor::read(state)?));
        }
        Ok(entries)
    }
}

fn steps(taken: u64) -> Result<(&'static str, HostTensor)> {
    match i32::try_from(taken) {
        Ok(taken) => Ok((STEP, HostTensor::new([], vec![taken]))),
        Err(_) => Err(Error::Invalid(format!("an optimizer's state counts steps in I32; {taken} are too many"))),
    }
}

/// Looks up tensors, and collects what is missing or does not fit.
struct Reader<'s> {
    state: &'s StateDict,
    /// The names that were looked up and are there.
    names: HashSet<String>,
    differences: Differences,
    outcome: Result<()>,
}

impl<'s> Reader<'s> {
    fn get(&mut self, name: &str, shape: &[usize]) -> Option<&'s HostTensor> {
        match self.state.get(name) {
            Some(tensor) => {
                self.names.insert(name.to_string());
                Some(tensor)
            }
            None => {
                let why = self.state.skipped().get(name).cloned();
                self.differences.missing.push((name.to_string(), shape.to_vec(), why));
                None
            }
        }
    }

    fn steps(&mut self, param: &str) -> u64 {
        let name = format!("{param}/{STEP}");
        let Some(tensor) = self.get(&name, &[]) else { return 0 };
        // PyTorch counts in F32.
        let count = tensor.to_vec::<i32>().ok().filter(|_| tensor.shape.is_empty());
        let steps = count.and_then(|count| u64::try_from(*count.first()?).ok());
        if steps.is_none() {
            let told = format!("{name} ({tensor} in the file; one integer of at least 0 is wanted)");
            self.differences.refused.push(told);
        }
        steps.unwrap_or_default()
    }

    fn state<B: Backend>(&mut self, name: String, param: &Tensor<B>) -> Option<Tensor<B>> {
        let tensor = self.get(&name, param.shape())?;
        if tensor.shape != **param.shape() {
            self.differences.misshaped.push((name, tensor.shape.clone(), param.shape().to_vec()));
            return None;
        }
        match tensor.to_tensor_of(param.dtype(), param.device()) {
            Ok(tensor) => return Some(tensor),
            Err(Error::Invalid(reason)) => self.differences.refused.push(format!("{name} ({reason})")),
            Err(error) if self.outcome.is_ok() => self.outcome = Err(error),
            Err(_) => {}
        }
        None
    }
}
