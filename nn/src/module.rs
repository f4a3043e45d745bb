//! Modules: one ordered walk over parameters, buffers and training flags.
//!
//! Everything else is a function of that walk: optimizers, `train` and `eval`, saved state, averages, summaries.

mod load;
mod param;
mod walk;

pub(crate) use load::accept;

pub use param::{Buffer, Param};
pub use walk::{Entry, EntryMut, Path, Training, Visit, VisitMut};

use crate::files::of_file;
use crate::formats::StateDict;
use minitorch_core::{Backend, DType, Result, Tensor};

/// A model or a part of one: parameters, buffers and submodules. PyTorch: `nn.Module`. Derive it:
///
/// ```
/// use minitorch::prelude::*;
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
/// use minitorch::prelude::*;
///
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
    label = "neither a module nor plain data",
    note = "a tensor that is trained is a `Param<B>`; one that is only saved, such as a running mean, is a `Buffer<B>`",
    note = "a struct of modules is made one by #[derive(Module)]",
    note = "a field that is neither trained nor saved, such as a device, is marked #[module(skip)]"
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

    /// The buffers with their names, in order.
    fn named_buffers(&self) -> Vec<(String, &Buffer<B>)> {
        let mut found = Vec::new();
        self.visit(&mut Path::default(), &mut |name, entry| {
            if let Entry::Buffer(buffer) = entry {
                found.push((name.to_string(), buffer));
            }
        });
        found
    }

    /// Mutable references to the buffers with their names, in order.
    fn named_buffers_mut(&mut self) -> Vec<(String, &mut Buffer<B>)> {
        let mut found = Vec::new();
        self.visit_mut(&mut Path::default(), &mut |name, entry| {
            if let EntryMut::Buffer(buffer) = entry {
                found.push((name.to_string(), buffer));
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

    /// The parameters and buffers on the host, with their names, in the order of the walk. PyTorch: `state_dict`.
    ///
    /// # Errors
    /// If a device fails, or two entries have one name ([`Error::Invalid`](minitorch_core::Error::Invalid)).
    fn state(&self) -> Result<StateDict> {
        load::state(self)
    }

    /// Copies parameters and buffers from a state dict, and returns the names that only one of the two has. Values are
    /// converted to the model's dtypes, rounded once. Identities of parameters, and what is frozen, do not change.
    /// PyTorch: `load_state_dict`.
    ///
    /// With [`Strict::No`] the names may differ, and the common ones are loaded; their shapes must still be equal.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let device = Cpu::default();
    /// let (trained, mut linear) = (Linear::new(3, 2, &device), Linear::new(3, 2, &device));
    /// linear.load_state(&trained.state()?, Strict::Yes)?;
    /// assert_eq!(linear.weight.to_vec::<f32>()?, trained.weight.to_vec::<f32>()?);
    ///
    /// let other = trained.state()?.add_prefix("module.");
    /// let error = linear.load_state(&other, Strict::Yes).unwrap_err().to_string();
    /// assert_eq!(
    ///     error,
    ///     "does not fit the model: 4 differences: missing: weight [2, 3], bias [2]; unexpected: module.weight [2, 3], \
    ///      module.bias [2]; the file's names begin with module., which StateDict::strip_prefix or StateDict::subset \
    ///      removes"
    /// );
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`](minitorch_core::Error::Invalid) if names or shapes differ: the message has the first five
    /// differences, their number and a likely cause. Also if a value does not fit the model's dtype, as
    /// [`HostTensor::to_dtype`](crate::state::HostTensor::to_dtype) says; the message names the tensor. Other errors are
    /// those of the device. On any error the module is unchanged.
    fn load_state(&mut self, state: &StateDict, strict: Strict) -> Result<Mismatch> {
        load::load_state(self, state, strict)
    }

    /// Writes parameters and buffers as safetensors under their dotted names, atomically: on an error an existing file
    /// is unchanged. [`StateDict::write`] of [`state`](Module::state). PyTorch: `state_dict` and `save_file`.
    ///
    /// # Errors
    /// If a device or the file system fails.
    fn save(&self, path: impl AsRef<std::path::Path>) -> Result<()>
    where
        Self: Sized,
    {
        self.state()?.write(path)
    }

    /// Reads parameters and buffers from a file that [`StateDict::read`] reads: safetensors, PyTorch's `.pt`, NumPy's
    /// `.npz`. Strict, as `load_state_dict` is by default: on a missing or unexpected name or a wrong shape nothing is
    /// changed. For other names or a part of them, [`StateDict::read`] the file and [`load_state`](Module::load_state)
    /// it.
    ///
    /// # Errors
    /// If the file cannot be read or does not fit, as [`load_state`](Module::load_state) says.
    fn load(&mut self, path: impl AsRef<std::path::Path>) -> Result<()>
    where
        Self: Sized,
    {
        let path = path.as_ref();
        let state = StateDict::read(path)?;
        self.load_state(&state, Strict::Yes).map_err(|error| of_file(path, error))?;
        Ok(())
    }

    /// Copies the parameters and buffers of a model of the same names and shapes, on any backend and of any dtypes:
    /// `gpu_model.copy_from(&cpu_model)`. The type `Net<Cuda>` is another one than `Net<Cpu>`, so a model does not move
    /// to another backend; one is constructed there, and copies.
    ///
    /// # Errors
    /// As [`state`](Module::state) and [`load_state`](Module::load_state).
    fn copy_from<C: Backend>(&mut self, other: &(impl Module<C> + ?Sized)) -> Result<()>
    where
        Self: Sized,
    {
        self.load_state(&other.state()?, Strict::Yes)?;
        Ok(())
    }

    /// Casts all parameters and all buffers of floats, in place. PyTorch: `Module.to(dtype)`, `half`, `double`.
    ///
    /// A cast parameter is a new one, for optimizers and averages too: cast before constructing them. It stays frozen.
    ///
    /// # Panics
    /// If the dtype is not a float, or a device does not support it.
    #[track_caller]
    fn to_dtype(&mut self, dtype: DType) {
        assert!(dtype.is_float(), "to_dtype: {dtype} is not a float");
        self.visit_mut(&mut Path::default(), &mut |_, entry| match entry {
            EntryMut::Param(param) if param.dtype() != dtype => {
                let value = param.detach().cast(dtype);
                replace(param, value);
            }
            EntryMut::Buffer(buffer) if buffer.get().dtype().is_float() => buffer.set(buffer.get().cast(dtype)),
            _ => {}
        });
    }

    /// Moves all parameters and buffers to another device of the same backend, in place; the name differs from
    /// [`Tensor::to`], which a `Param` has too. To another backend: [`copy_from`](Module::copy_from). PyTorch:
    /// `Module.to(device)`.
    ///
    /// A moved parameter is a new one, for optimizers and averages too: move before constructing them. It stays frozen.
    ///
    /// # Errors
    /// If a device fails or has no memory; the module is then unchanged.
    ///
    /// # Panics
    /// If the device does not support a dtype of the module.
    #[track_caller]
    fn to_device(&mut self, device: &B) -> Result<()> {
        let mut moved = Vec::new();
        self.visit(&mut Path::default(), &mut |_, entry| {
            let old = match entry {
                Entry::Param(param) => param.detach(),
                Entry::Buffer(buffer) => buffer.get(),
                Entry::Training(_) => return,
            };
            moved.push(if old.device() == device { Ok(None) } else { old.to(device).map(Some) });
        });
        let mut moved = moved.into_iter().collect::<Result<Vec<_>>>()?.into_iter();
        self.visit_mut(&mut Path::default(), &mut |_, entry| match entry {
            EntryMut::Param(param) => moved.next().flatten().into_iter().for_each(|value| replace(param, value)),
            EntryMut::Buffer(buffer) => moved.next().flatten().into_iter().for_each(|value| buffer.set(value)),
            EntryMut::Training(_) => {}
        });
        Ok(())
    }
}

/// Replaces a parameter by a new one with another dtype or device.
fn replace<B: Backend>(param: &mut Param<B>, value: Tensor<B>) {
    let frozen = param.is_frozen();
    *param = Param::new(value);
    if frozen {
        param.freeze();
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
    /// Common names are loaded. Their shapes must still be equal.
    No,
}

/// The names that only a file or only a model has, sorted.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Mismatch {
    /// In the model, not in the file.
    pub missing: Vec<String>,
    /// In the file, not in the model, nor the other name of a tied weight that the model has; long names and unusual
    /// characters are quoted, escaped and truncated.
    pub unexpected: Vec<String>,
}

#[cfg(test)]
mod tests;
