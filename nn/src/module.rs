//! Modules: one ordered walk over parameters, buffers and training flags.
//!
//! Everything else is a function of that walk: optimizers, `train` and `eval`, saved state, averages, summaries.

mod param;
mod walk;

pub use param::{Buffer, Param};
pub use walk::{Entry, EntryMut, Path, Training, Visit, VisitMut};

use crate::formats::{HostTensor, read_tensors, write_tensors};
use crate::text::{name_mismatch, shown};
use minitorch_core::{Backend, Error, Result, Tensor};
use std::collections::{BTreeMap, HashMap};
use std::path::Path as FilePath;

/// A model or a part of one: parameters, buffers and submodules. PyTorch: `nn.Module`. Derive it:
///
/// ```
/// use minitorch_nn::{Conv2d, Linear, Module};
/// # extern crate minitorch_nn as minitorch;
/// use minitorch_core::{Backend, Tensor};
///
/// #[derive(Module)]
/// struct Net<B: Backend> {
///     conv: Conv2d<B>,
///     head: Linear<B>,
///     classes: usize, // plain data needs no attribute; other types want #[module(skip)]
/// }
/// ```
///
/// A field that is neither a module nor plain data does not compile, so that no layer remains untrained by oversight:
///
/// ```compile_fail
/// # use minitorch_nn::{Linear, Module};
/// # extern crate minitorch_nn as minitorch;
/// # use minitorch_core::Backend;
/// #[derive(Module)]
/// struct Net<B: Backend> {
///     heads: std::collections::HashMap<String, Linear<B>>,
/// }
/// ```
///
/// The walk visits the fields in order, with dotted names (`conv.weight`, `head.bias`). `'m` is the borrow of the
/// module, so a caller can collect `&mut Param`s.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a Module",
    note = "derive(Module) on it, or mark the field #[module(skip)] if it holds no parameters"
)]
pub trait Module<B: Backend> {
    /// Calls `f` with every entry, in order.
    fn visit<'m>(&'m self, path: &mut Path, f: Visit<'_, 'm, B>);

    /// Calls `f` with a mutable reference to every entry, in order.
    fn visit_mut<'m>(&'m mut self, path: &mut Path, f: VisitMut<'_, 'm, B>);

    /// The parameters with their names, in order.
    fn named_parameters(&self) -> Vec<(String, &Param<B>)> {
        let mut found = Vec::new();
        self.visit(&mut Path::default(), &mut |name, entry| {
            if let Entry::Param(param) = entry {
                found.push((name.to_string(), param));
            }
        });
        found
    }

    /// Mutable references to the parameters with their names, in order: `param.set(value)`.
    fn named_parameters_mut(&mut self) -> Vec<(String, &mut Param<B>)> {
        let mut found = Vec::new();
        self.visit_mut(&mut Path::default(), &mut |path, entry| {
            if let EntryMut::Param(param) = entry {
                found.push((path.to_string(), param));
            }
        });
        found
    }

    /// The number of elements in all parameters.
    fn num_parameters(&self) -> usize {
        self.named_parameters().iter().map(|(_, param)| param.numel()).sum()
    }

    /// Switches the module and its submodules to training mode (dropout is active).
    fn train(&mut self) {
        set_training(self, true);
    }

    /// Switches the module and its submodules to evaluation mode (dropout is inactive).
    fn eval(&mut self) {
        set_training(self, false);
    }

    /// [Freezes](Param::freeze) every parameter: `model.encoder.freeze()` before fine-tuning the rest. Running
    /// statistics are not parameters: [`eval`](Module::eval) stops their updates.
    fn freeze(&mut self) {
        self.named_parameters_mut().into_iter().for_each(|(_, param)| param.freeze());
    }

    /// [Unfreezes](Param::unfreeze) every parameter.
    fn unfreeze(&mut self) {
        self.named_parameters_mut().into_iter().for_each(|(_, param)| param.unfreeze());
    }

    /// Writes parameters and buffers as safetensors under their dotted names, atomically: on an error an existing file
    /// is unchanged. PyTorch: `state_dict` and `save_file`.
    ///
    /// # Errors
    /// If a device or the file system fails.
    fn save(&self, path: impl AsRef<std::path::Path>) -> Result<()>
    where
        Self: Sized,
    {
        save(self, path)
    }

    /// Reads parameters and buffers from safetensors, also from PyTorch's. Strict, as `load_state_dict` is by default:
    /// on a missing or unexpected name or a wrong shape nothing is changed, and the error lists all of them.
    /// [`load_with`] can ignore names.
    ///
    /// # Errors
    /// If the file cannot be read, is not safetensors or does not fit.
    fn load(&mut self, path: impl AsRef<std::path::Path>) -> Result<()>
    where
        Self: Sized,
    {
        load(self, path)
    }
}

/// A module that maps a tensor to a tensor. Dyn-compatible: [`Sequential`](crate::Sequential) boxes layers. There, a
/// layer is `Clone` and `Debug` too: `#[derive(Module, Clone, Debug)]`.
pub trait Layer<B: Backend>: Module<B> + Send + Sync {
    /// Applies the layer.
    fn forward(&self, x: &Tensor<B>) -> Tensor<B>;
}

impl<B: Backend, L: Layer<B> + ?Sized> Layer<B> for Box<L> {
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        (**self).forward(x)
    }
}

fn set_training<B: Backend, M: Module<B> + ?Sized>(module: &mut M, on: bool) {
    module.visit_mut(&mut Path::default(), &mut |_, entry| {
        if let EntryMut::Training(training) = entry {
            training.0 = on;
        }
    });
}

macro_rules! entries {
    ($($type:ty => $variant:ident),*) => { $(impl<B: Backend> Module<B> for $type {
        fn visit<'m>(&'m self, path: &mut Path, f: Visit<'_, 'm, B>) {
            f(path.as_str(), Entry::$variant(self));
        }
        fn visit_mut<'m>(&'m mut self, path: &mut Path, f: VisitMut<'_, 'm, B>) {
            f(path.as_str(), EntryMut::$variant(self));
        }
    })* };
}
entries!(Param<B> => Param, Buffer<B> => Buffer, Training => Training);

macro_rules! lists {
    ($([$($generics:tt)*] $type:ty),*) => { $(impl<B: Backend, $($generics)*> Module<B> for $type {
        fn visit<'m>(&'m self, path: &mut Path, f: Visit<'_, 'm, B>) {
            for (i, module) in self.iter().enumerate() {
                path.enter_index(i, |path| module.visit(path, f));
            }
        }
        fn visit_mut<'m>(&'m mut self, path: &mut Path, f: VisitMut<'_, 'm, B>) {
            for (i, module) in self.iter_mut().enumerate() {
                path.enter_index(i, |path| module.visit_mut(path, f));
            }
        }
    })* };
}
lists!([M: Module<B>] Vec<M>, [M: Module<B>, const N: usize] [M; N]);

impl<B: Backend, M: Module<B>> Module<B> for Option<M> {
    fn visit<'m>(&'m self, path: &mut Path, f: Visit<'_, 'm, B>) {
        if let Some(module) = self {
            module.visit(path, f);
        }
    }
    fn visit_mut<'m>(&'m mut self, path: &mut Path, f: VisitMut<'_, 'm, B>) {
        if let Some(module) = self {
            module.visit_mut(path, f);
        }
    }
}

impl<B: Backend, M: Module<B> + ?Sized> Module<B> for Box<M> {
    fn visit<'m>(&'m self, path: &mut Path, f: Visit<'_, 'm, B>) {
        (**self).visit(path, f);
    }
    fn visit_mut<'m>(&'m mut self, path: &mut Path, f: VisitMut<'_, 'm, B>) {
        (**self).visit_mut(path, f);
    }
}

/// Plain data in a module. An explicit list, so that a forgotten derive on something with parameters is an error and
/// not an untrained layer.
macro_rules! plain {
    ($([$($generics:tt)*] $type:ty),*) => { $(impl<B: Backend, $($generics)*> Module<B> for $type {
        fn visit<'m>(&'m self, _: &mut Path, _: Visit<'_, 'm, B>) {}
        fn visit_mut<'m>(&'m mut self, _: &mut Path, _: VisitMut<'_, 'm, B>) {}
    })* };
}
plain!(
    [] (), [] bool, [] u8, [] u32, [] u64, [] usize, [] i32, [] i64, [] isize, [] f32, [] f64, [] String,
    [] &'static str, [] minitorch_core::Shape, [const N: usize] minitorch_core::ConvOptions<N>, [const N: usize] minitorch_core::PoolOptions<N>
);

/// Whether names must match exactly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strict {
    /// Model and file have the same names.
    Yes,
    /// Common names are loaded. Their shapes and dtypes must still fit.
    No,
}

/// The names that only a file or only a model has, sorted.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Mismatch {
    /// In the model, not in the file.
    pub missing: Vec<String>,
    /// In the file, not in the model; long names and unusual characters are quoted, escaped and truncated.
    pub unexpected: Vec<String>,
}

/// Copies the parameters and buffers of a module to the host, with their names, in the order of the walk: its state
/// dict.
///
/// # Errors
/// If a device fails, or two entries have one name ([`Error::Invalid`]).
pub fn tensors<B: Backend>(module: &(impl Module<B> + ?Sized)) -> Result<Vec<(String, HostTensor)>> {
    let mut found: Vec<(String, Tensor<B>)> = Vec::new();
    module.visit(&mut Path::default(), &mut |name, entry| match entry {
        Entry::Param(param) => found.push((name.to_string(), param.detach())),
        Entry::Buffer(buffer) => found.push((name.to_string(), buffer.get())),
        Entry::Training(_) => {}
    });
    found.into_iter().map(|(name, tensor)| Ok((name, HostTensor::read(&tensor)?))).collect()
}

/// Writes the parameters and buffers of a module.
///
/// # Errors
/// If a device or the file system fails; an existing file is then unchanged.
pub fn save<B: Backend>(module: &(impl Module<B> + ?Sized), path: impl AsRef<FilePath>) -> Result<()> {
    write_tensors(path, &tensors(module)?, &BTreeMap::new())
}

/// Reads the parameters and buffers of a module: [`load_with`] and [`Strict::Yes`].
///
/// # Errors
/// As [`load_with`].
pub fn load<B: Backend>(module: &mut (impl Module<B> + ?Sized), path: impl AsRef<FilePath>) -> Result<()> {
    load_with(module, path, Strict::Yes).map(|_| ())
}

/// Reads the parameters and buffers of a module, and returns the names that only the file or only the module has.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, [`Error::Format`] if it is not safetensors, holds a dtype that minitorch
/// does not have, or does not fit: the message then lists missing and unexpected names and those with a wrong shape, at
/// most 40 of each. [`Error::Device`] or [`Error::OutOfMemory`] if the device cannot hold the values. On any error the
/// module is unchanged.
pub fn load_with<B: Backend>(
    module: &mut (impl Module<B> + ?Sized),
    path: impl AsRef<FilePath>,
    strict: Strict,
) -> Result<Mismatch> {
    let path = path.as_ref();
    let mut file = read_tensors(path)?.tensors;

    // Everything that can fail comes before the first change.
    let mut mismatch = Mismatch::default();
    let mut misshaped = Vec::new();
    let mut values: HashMap<String, Tensor<B>> = HashMap::new();
    let mut outcome = Ok(());
    module.visit(&mut Path::default(), &mut |name, entry| {
        let old = match entry {
            Entry::Param(param) => param.detach(),
            Entry::Buffer(buffer) => buffer.get(),
            Entry::Training(_) => return,
        };
        match file.remove(name) {
            None if values.contains_key(name) => {} // a tied name: both entries get the value
            None => mismatch.missing.push(name.to_string()),
            Some(new) if new.fits(&old) => match new.to_tensor(old.device()) {
                Ok(tensor) => drop(values.insert(name.to_string(), tensor)),
                Err(error) if outcome.is_ok() => outcome = Err(error),
                Err(_) => {}
            },
            Some(new) => {
                misshaped.push(format!("{name} ({new} in the file, {:?} {} in the model)", old.shape(), old.dtype()))
            }
        }
    });
    mismatch.missing.sort();
    mismatch.unexpected = file.into_keys().map(|name| shown(&name)).collect();
    let (missing, unexpected) = match strict {
        Strict::Yes => (mismatch.missing.clone(), mismatch.unexpected.clone()),
        Strict::No => Default::default(),
    };
    if let Some(why) = name_mismatch(missing, unexpected, misshaped) {
        return Err(Error::format(path, format!("does not fit the model: {why}")));
    }
    outcome?;

    module.visit_mut(&mut Path::default(), &mut |name, entry| match (entry, values.get(name)) {
        (EntryMut::Param(param), Some(value)) => param.set(value.clone()),
        (EntryMut::Buffer(buffer), Some(value)) => buffer.set(value.clone()),
        _ => {}
    });
    Ok(mismatch)
}

#[cfg(test)]
mod tests;
