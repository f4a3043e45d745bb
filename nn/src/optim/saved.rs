//! An optimizer's memory as a safetensors file, and back.

use super::memory::{Memory, Slot};
use crate::module::{Entry, Module, Path};
use crate::state::{HostTensor, complaints, read_tensors, write_tensors};
use crate::text::shown;
use minitorch_core::backend::StepRule;
use minitorch_core::{Backend, DType, Error, HostData, Result, Shape, Tensor};
use std::collections::BTreeMap;
use std::path::Path as FilePath;

/// The steps that a parameter took part in, as PyTorch calls them.
const STEP: &str = "step";

impl<B: Backend> Memory<B> {
    pub(super) fn save(&self, name: &str, rule: StepRule, model: &dyn Module<B>, path: &FilePath) -> Result<()> {
        let mut tensors = Vec::new();
        let mut outcome = Ok(());
        model.visit(&mut Path::default(), &mut |param_name, entry| {
            let Entry::Param(param) = entry else { return };
            let entries = self.by_param.get(&param.id()).map_or_else(|| Ok(vec![steps(0)?]), |slot| slot.entries(rule));
            match entries {
                Ok(entries) => tensors.extend(entries.into_iter().map(|(key, t)| (format!("{param_name}/{key}"), t))),
                Err(error) if outcome.is_ok() => outcome = Err(error),
                Err(_) => {}
            }
        });
        outcome?;
        // Debug prints a float so that reading it gives the same bits.
        let metadata = [("optimizer", name.to_string()), ("lr", format!("{:?}", self.lr))];
        write_tensors(path, &tensors, &metadata.map(|(key, value)| (key.to_string(), value)).into())
    }

    pub(super) fn load(&mut self, name: &str, rule: StepRule, model: &dyn Module<B>, path: &FilePath) -> Result<()> {
        let file = read_tensors(path)?;
        let unfit = |why: String| Error::format(path, format!("does not fit the optimizer: {why}"));
        let of = |key: &str| file.metadata.get(key).map_or("nothing", String::as_str);
        if of("optimizer") != name {
            return Err(unfit(format!("it holds the state of {}, not of {name}", shown(of("optimizer")))));
        }
        let lr = match of("lr").parse::<f64>() {
            Ok(lr) if lr.is_finite() && lr >= 0.0 => lr,
            _ => return Err(unfit(format!("its learning rate is {}", shown(of("lr"))))),
        };

        // First everything that can go wrong.
        let mut reader = Reader { file: file.tensors, missing: Vec::new(), misshaped: Vec::new(), outcome: Ok(()) };
        let mut slots: Vec<(u64, Option<Slot<B>>)> = Vec::new();
        model.visit(&mut Path::default(), &mut |name, entry| {
            let Entry::Param(param) = entry else { return };
            let taken = reader.steps(name);
            let names = if taken == 0 { &[] } else { rule.state_names() };
            let state = names.iter().filter_map(|state| reader.state(format!("{name}/{state}"), param)).collect();
            let slot = Slot { group: self.group_of(name, param), state, taken };
            slots.push((param.id(), (taken > 0).then_some(slot)));
        });
        let Reader { file, missing, misshaped, outcome } = reader;
        let unexpected = file.into_keys().map(|name| shown(&name)).collect();
        if let Some(why) = complaints(missing, unexpected, misshaped) {
            return Err(unfit(why));
        }
        outcome?;

        self.lr = lr;
        for (id, slot) in slots {
            match slot {
                Some(slot) => {
                    let members = &mut self.groups[slot.group];
                    // Any count that is no smaller than each parameter's own will do: what is used is the difference.
                    members.steps = members.steps.max(slot.taken);
                    self.by_param.insert(id, slot);
                }
                None => drop(self.by_param.remove(&id)),
            }
        }
        for members in &mut self.groups {
            members.scalars = None; // made again at the next step, of the new count and rate
        }
        Ok(())
    }
}

impl<B: Backend> Slot<B> {
    fn entries(&self, rule: StepRule) -> Result<Vec<(&'static str, HostTensor)>> {
        let mut entries = vec![steps(self.taken)?];
        for (name, state) in rule.state_names().iter().zip(&self.state) {
            entries.push((name, HostTensor::read(state)?));
        }
        Ok(entries)
    }
}

fn steps(taken: u64) -> Result<(&'static str, HostTensor)> {
    match i32::try_from(taken) {
        Ok(taken) => Ok((STEP, HostTensor::new([], HostData::I32(vec![taken])))),
        Err(_) => Err(Error::Invalid(format!("an optimizer's state counts steps in I32; {taken} are too many"))),
    }
}

/// Takes tensors out of a file, and notes what is not as it should be.
struct Reader {
    file: BTreeMap<String, HostTensor>,
    missing: Vec<String>,
    misshaped: Vec<String>,
    outcome: Result<()>,
}

impl Reader {
    fn steps(&mut self, param: &str) -> u64 {
        let name = format!("{param}/{STEP}");
        let Some(tensor) = self.file.remove(&name) else {
            self.missing.push(name);
            return 0;
        };
        let steps = match &tensor.data {
            HostData::I32(steps) if tensor.shape.is_empty() => steps.first().and_then(|&s| u64::try_from(s).ok()),
            _ => None,
        };
        if steps.is_none() {
            self.misshaped.push(format!("{name} ({tensor} in the file; one int32 of at least 0 is wanted)"));
        }
        steps.unwrap_or_default()
    }

    fn state<B: Backend>(&mut self, name: String, param: &Tensor<B>) -> Option<Tensor<B>> {
        match self.file.remove(&name) {
            None => self.missing.push(name),
            Some(tensor) if tensor.fits(param) => match tensor.to_tensor(param.device()) {
                Ok(tensor) => return Some(tensor),
                Err(error) if self.outcome.is_ok() => self.outcome = Err(error),
                Err(_) => {}
            },
            Some(tensor) => self.misshaped.push(wanted(&name, &tensor, param.shape(), param.dtype())),
        }
        None
    }
}

fn wanted(name: &str, tensor: &HostTensor, shape: &Shape, dtype: DType) -> String {
    format!("{name} ({tensor} in the file, {shape:?} {dtype} in the model)")
}
