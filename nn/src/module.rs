//! `Module`: one ordered walk over parameters, buffers and training flags. Optimizers, checkpoints, `train` and `eval` are
//! functions over that walk.

mod param;

pub use param::{Buffer, Param};

use minitorch_core::{Backend, Result, Tensor};

/// Whether a module is being trained or used: a field of the modules that behave differently. New modules train.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Training(pub bool);

impl Training {
    /// Whether to behave as in training: the mode, unless a [`summary`](crate::summary) is being made, which must leave
    /// statistics and random state as they are.
    pub fn is_on(self) -> bool {
        self.0 && !crate::summary::in_progress()
    }
}

impl Default for Training {
    fn default() -> Self {
        Training(true)
    }
}

/// The dotted name of the entry that a walk is at, grown and cut in place.
#[derive(Default, Debug)]
pub struct Path {
    name: String,
}

impl Path {
    /// Runs `f` one level deeper.
    pub fn enter(&mut self, name: &str, f: impl FnOnce(&mut Path)) {
        let mark = self.name.len();
        if mark > 0 {
            self.name.push('.');
        }
        self.name.push_str(name);
        f(self);
        self.name.truncate(mark);
    }

    /// The name so far, such as `conv1.weight`.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// [`enter`](Path::enter) the i-th of a list.
    fn enter_index(&mut self, index: usize, f: impl FnOnce(&mut Path)) {
        use std::fmt::Write;
        let mark = self.name.len();
        let dot = if mark > 0 { "." } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(self.name, "{dot}{index}");
        f(self);
        self.name.truncate(mark);
    }
}

/// What a walk meets.
pub enum Entry<'m, B: Backend> {
    /// A module, before what is inside it: the name of its type, and where it lies.
    Module {
        /// Such as `Conv2d`.
        kind: &'static str,
        /// Tells one from another of its type, unless they hold no data.
        address: usize,
    },
    /// A trained tensor.
    Param(&'m Param<B>),
    /// A saved tensor.
    Buffer(&'m Buffer<B>),
    /// A mode.
    Training(&'m Training),
}

/// What a changing walk meets.
pub enum EntryMut<'m, B: Backend> {
    /// A trained tensor.
    Param(&'m mut Param<B>),
    /// A saved tensor.
    Buffer(&'m mut Buffer<B>),
    /// A mode.
    Training(&'m mut Training),
}

/// The function that a walk calls with each entry and its dotted name.
pub type Visit<'f, 'm, B> = &'f mut dyn FnMut(&str, Entry<'m, B>);
/// The function that a changing walk calls with each entry and its dotted name.
pub type VisitMut<'f, 'm, B> = &'f mut dyn FnMut(&str, EntryMut<'m, B>);

/// Something with parameters. Derive it:
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
/// A field that is neither a module nor plain data does not compile, so that no layer stays untrained by oversight:
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
/// The walk goes through the fields in order, with dotted names (`conv.weight`, `head.bias`). `'m` ties what is met to the
/// module, so that a caller may collect `&mut Param`s.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a Module",
    note = "derive(Module) on it, or mark the field #[module(skip)] if it holds no parameters"
)]
pub trait Module<B: Backend> {
    /// Calls `f` with every entry, in order.
    fn visit<'m>(&'m self, path: &mut Path, f: Visit<'_, 'm, B>);

    /// Calls `f` with every entry, in order, for changing.
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

    /// The parameters with their names, in order, for changing: `param.set(value)`.
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

    /// Switches every part to training (dropout drops).
    fn train(&mut self) {
        set_training(self, true);
    }

    /// Switches every part to evaluation (dropout does nothing).
    fn eval(&mut self) {
        set_training(self, false);
    }

    /// [Freezes](Param::freeze) every parameter: `model.encoder.freeze()` before fine-tuning the rest. Running statistics are no
    /// parameters: [`eval`](Module::eval) holds them still.
    fn freeze(&mut self) {
        each_parameter(self, Param::freeze);
    }

    /// [Unfreezes](Param::unfreeze) every parameter.
    fn unfreeze(&mut self) {
        each_parameter(self, Param::unfreeze);
    }

    /// Writes parameters and buffers as safetensors under their dotted names; the file is whole or not there.
    ///
    /// # Errors
    /// If a device or the file system fails.
    fn save(&self, path: impl AsRef<std::path::Path>) -> Result<()>
    where
        Self: Sized,
    {
        crate::state::save(self, path)
    }

    /// Reads parameters and buffers from safetensors, PyTorch's too. Strict: on a missing, unexpected or mis-shaped name
    /// nothing is changed, and the error lists them all.
    ///
    /// # Errors
    /// If the file cannot be read, is not safetensors or does not fit.
    fn load(&mut self, path: impl AsRef<std::path::Path>) -> Result<()>
    where
        Self: Sized,
    {
        crate::state::load(self, path)
    }
}

fn set_training<B: Backend, M: Module<B> + ?Sized>(module: &mut M, on: bool) {
    module.visit_mut(&mut Path::default(), &mut |_, entry| {
        if let EntryMut::Training(training) = entry {
            training.0 = on;
        }
    });
}

fn each_parameter<B: Backend, M: Module<B> + ?Sized>(module: &mut M, f: impl Fn(&mut Param<B>)) {
    module.visit_mut(&mut Path::default(), &mut |_, entry| {
        if let EntryMut::Param(param) = entry {
            f(param);
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

/// Plain data in a module. Listed, so that a forgotten derive on something with parameters is an error and not an
/// untrained layer.
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

/// A module that maps a tensor to a tensor. Object-safe: [`Sequential`](crate::Sequential) boxes layers.
pub trait Layer<B: Backend>: Module<B> + Send + Sync {
    /// The map.
    fn forward(&self, x: &Tensor<B>) -> Tensor<B>;
}

impl<B: Backend, L: Layer<B> + ?Sized> Layer<B> for Box<L> {
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        (**self).forward(x)
    }
}
