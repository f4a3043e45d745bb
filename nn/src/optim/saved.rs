//! The state of an optimizer as a safetensors file, and back.

use super::state::{Slot, State};
use crate::formats::{HostTensor, read_tensors, write_tensors};
use crate::module::{Entry, Module, Path};
use crate::text::{name_mismatch, shown};
use minitorch_core::{Backend, Error, HostData, Result, Tensor};
use std::collections::BTreeMap;
use std::path::Path as FilePath;

/// PyTorch's name for the number of steps of a parameter.
const STEP: &str = "step";

impl<B: Backend> State<B> {
    pub(super) fn save(
        &self,
        name: &str,
        states: &[&'static str],
        model: &dyn Module<B>,
        path: &FilePath,
    ) -> Result<()> {
        let mut tensors = Vec::new();
        let mut outcome = Ok(());
        model.visit(&mut Path::default(), &mut |param_name, entry| {
            let Entry::Param(param) = entry else { return };
            let entries = self.slot(param.id()).map_or_else(|| Ok(vec![steps(0)?]), |slot| slot.entries(states));
            match entries {
                Ok(entries) => tensors.extend(entries.into_iter().map(|(key, t)| (format!("{param_name}/{key}"), t))),
                Err(error) if outcome.is_ok() => outcome = Err(error),
                Err(_) => {}
            }
        });
        outcome?;
        // `Debug` of a float parses back to the same bits.
        let metadata = [("optimizer", name.to_string()), ("lr", format!("{:?}", self.lr))];
        write_tensors(path, &tensors, &metadata.map(|(key, value)| (key.to_string(), value)).into())
    }

    pub(super) fn load(
        &mut self,
        name: &str,
        states: &[&'static str],
        model: &dyn Module<B>,
        path: &FilePath,
    ) -> Result<()> {
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

        // Everything that can fail comes before the first change.
        let mut reader = Reader { file: file.tensors, missing: Vec::new(), misshaped: Vec::new(), outcome: Ok(()) };
        let mut slots: Vec<(u64, Slot<B>)> = Vec::new();
        model.visit(&mut Path::default(), &mut |name, entry| {
            let Entry::Param(param) = entry else { return };
            let taken = reader.steps(name);
            let names = if taken == 0 { &[] } else { states };
            let state = names.iter().filter_map(|state| reader.state(format!("{name}/{state}"), param)).collect();
            if taken > 0 || self.slot(param.id()).is_some() {
                slots.push((param.id(), Slot { group: self.group_of(name, param), state, taken }));
            }
        });
        let Reader { file, missing, misshaped, outcome } = reader;
        let unexpected = file.into_keys().map(|name| shown(&name)).collect();
        if let Some(why) = name_mismatch(missing, unexpected, misshaped) {
            return Err(unfit(why));
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
        Ok(())
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
        Ok(taken) => Ok((STEP, HostTensor::new([], HostData::I32(vec![taken])))),
        Err(_) => Err(Error::Invalid(format!("an optimizer's state counts steps in I32; {taken} are too many"))),
    }
}

/// Takes tensors out of a file, and collects what is missing or does not fit.
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
            Some(tensor) => self.misshaped.push(format!(
                "{name} ({tensor} in the file, {:?} {} in the model)",
                param.shape(),
                param.dtype()
            )),
        }
        None
    }
}
