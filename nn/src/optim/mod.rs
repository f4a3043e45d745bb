//! Optimizers. One step is one call of the backend over all parameters of a group; learning rates and step counts live on
//! the device.

mod adagrad;
mod adam;
mod memory;
mod rms_prop;
mod rows;
mod saved;
mod sgd;

pub use adagrad::Adagrad;
pub use adam::{Adam, AdamW};
pub use rms_prop::RmsProp;
pub use sgd::Sgd;

use crate::module::Module;
use minitorch_core::{Backend, Gradients, Result, Tensor};
use std::path::Path;

/// What all optimizers do: `optimizer.step(&mut model, &loss.backward())`.
pub trait Optimizer<B: Backend> {
    /// Changes every parameter of the model that has a gradient. The others stay as they are, and a step in which a
    /// parameter had no gradient, or its model was not the one given, does not count for it.
    ///
    /// # Panics
    /// If parameters differ in dtype or device, or a gradient does not fit its parameter.
    fn step(&mut self, model: &mut dyn Module<B>, grads: &Gradients<Tensor<B>>);

    /// The learning rate.
    fn lr(&self) -> f64;

    /// Sets the learning rate of the next steps: what a schedule does.
    fn set_lr(&mut self, lr: f64);

    /// Writes what is remembered of the model's parameters, and the learning rate, as safetensors; the file is whole or
    /// not there. Under `<parameter>/step` are the steps that the parameter took part in (I32), under
    /// `<parameter>/<state>` the state tensors by the names that PyTorch gives them, such as `exp_avg`.
    ///
    /// # Errors
    /// If the device or the file system fails.
    fn save(&self, model: &dyn Module<B>, path: &Path) -> Result<()>;

    /// Reads what [`save`](Optimizer::save) wrote, for the parameters of the same names, and the learning rate; other
    /// settings and groups are as this optimizer was built. Training goes on bit for bit as if it had not been interrupted.
    ///
    /// # Errors
    /// If the file cannot be read, is not safetensors or does not fit: one line then lists missing, unexpected and mis-shaped
    /// names, at most 40 of each. Nothing is changed then.
    fn load(&mut self, model: &dyn Module<B>, path: &Path) -> Result<()>;
}

/// How the parameters of a group differ from the rest: `Group::new().weight_decay(0.0).lr_scale(0.1)`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Group {
    weight_decay: Option<f64>,
    lr_scale: f64,
    lazy: bool,
}

impl Group {
    /// No difference.
    pub fn new() -> Self {
        Group { weight_decay: None, lr_scale: 1.0, lazy: false }
    }

    /// With a weight decay of their own.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn weight_decay(mut self, weight_decay: f64) -> Self {
        self.weight_decay = Some(checked("Group: the weight decay", weight_decay));
        self
    }

    /// With the optimizer's learning rate times this number.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn lr_scale(mut self, lr_scale: f64) -> Self {
        self.lr_scale = checked("Group: the scale of the learning rate", lr_scale);
        self
    }

    /// With steps of embeddings ([`Gradients::rows`]) that leave out the rows that were not read: momentum, averages and weight
    /// decay act on a row only in the steps that read it, and a step takes the time of those rows, whatever the size of the table.
    /// Bias corrections count the parameter's steps, and no row is fresh: the first velocity of SGD is dampened too. A gradient
    /// that is whole (of a table that is used otherwise too, or after [`Gradients::map`]) makes a step of the whole table.
    ///
    /// Rules that ignore zero gradients (SGD without momentum, Adagrad; both without weight decay) do this without being asked
    /// where the rows are few: it changes no number but for rounding. PyTorch: the nearest is `optim.SparseAdam`.
    ///
    /// ```
    /// # use minitorch_conformance::doc::*;
    /// use minitorch_nn::{Adam, Group};
    /// let optimizer: Adam<Plain> = Adam::new(1e-3).group(|name, _| name == "embedding.weight", Group::new().lazy());
    /// ```
    pub fn lazy(mut self) -> Self {
        self.lazy = true;
        self
    }
}

impl Default for Group {
    fn default() -> Self {
        Group::new()
    }
}

/// What every optimizer has, given `memory`, `config` and `rule()`.
macro_rules! optimizers {
    ($($name:ident),*) => { $(
        impl<B: Backend> $name<B> {
            /// With this weight decay, where no group has another.
            ///
            /// # Panics
            /// If it is negative or not finite.
            #[track_caller]
            pub fn weight_decay(mut self, weight_decay: f64) -> Self {
                self.config.weight_decay = checked(concat!(stringify!($name), ": the weight decay"), weight_decay);
                self
            }

            /// With a group of the parameters for which `belongs(name, value)` is true, unless an earlier group has them;
            /// before the first step. A parameter is asked about once, when it is first met. PyTorch: a list of
            /// dictionaries as the first argument.
            ///
            /// ```
            #[doc = concat!("use minitorch_nn::{Group, ", stringify!($name), "};")]
            /// # use minitorch_conformance::doc::*;
            /// // Biases and scales are not decayed; the pretrained part moves slowly.
            #[doc = concat!("let optimizer: ", stringify!($name), "<Plain> = ", stringify!($name), "::new(0.1)")]
            ///     .weight_decay(5e-4)
            ///     .group(|name, _| name.starts_with("encoder."), Group::new().lr_scale(0.1))
            ///     .group(|_, param| param.rank() <= 1, Group::new().weight_decay(0.0));
            /// ```
            ///
            /// # Panics
            /// If a step was taken.
            #[track_caller]
            pub fn group(
                mut self,
                belongs: impl Fn(&str, &Tensor<B>) -> bool + Send + Sync + 'static,
                group: Group,
            ) -> Self {
                self.memory.before_the_first_step(concat!(stringify!($name), ": a group"));
                self.memory.add_group(Box::new(belongs), group);
                self
            }

            /// See [`Optimizer::step`].
            #[track_caller]
            pub fn step(&mut self, model: &mut dyn Module<B>, grads: &Gradients<Tensor<B>>) {
                let rule = self.rule();
                self.memory.step(rule, model, grads);
            }

            /// The learning rate.
            pub fn lr(&self) -> f64 {
                self.memory.lr
            }

            /// Sets the learning rate of the next steps.
            ///
            /// # Panics
            /// If it is negative or not finite.
            #[track_caller]
            pub fn set_lr(&mut self, lr: f64) {
                self.memory.lr = checked(concat!(stringify!($name), ": the learning rate"), lr);
            }

            /// Writes the optimizer's state of a model; see [`Optimizer::save`].
            ///
            /// # Errors
            /// If the device or the file system fails.
            pub fn save(&self, model: &dyn Module<B>, path: impl AsRef<Path>) -> Result<()> {
                self.memory.save(stringify!($name), self.rule(), model, path.as_ref())
            }

            /// Reads the optimizer's state of a model; see [`Optimizer::load`].
            ///
            /// # Errors
            /// If the file cannot be read or does not fit; nothing is changed then.
            pub fn load(&mut self, model: &dyn Module<B>, path: impl AsRef<Path>) -> Result<()> {
                let rule = self.rule();
                self.memory.load(stringify!($name), rule, model, path.as_ref())
            }
        }

        impl<B: Backend> Optimizer<B> for $name<B> {
            fn step(&mut self, model: &mut dyn Module<B>, grads: &Gradients<Tensor<B>>) {
                self.step(model, grads);
            }
            fn lr(&self) -> f64 {
                self.lr()
            }
            fn set_lr(&mut self, lr: f64) {
                self.set_lr(lr);
            }
            fn save(&self, model: &dyn Module<B>, path: &Path) -> Result<()> {
                self.save(model, path)
            }
            fn load(&mut self, model: &dyn Module<B>, path: &Path) -> Result<()> {
                self.load(model, path)
            }
        }
    )* };
}
optimizers!(Sgd, Adam, AdamW, RmsProp, Adagrad);

#[track_caller]
fn checked(what: &str, value: f64) -> f64 {
    assert!(value.is_finite() && value >= 0.0, "{what} must be a finite number of at least 0, not {value}");
    value
}

/// A share of something that is kept from step to step.
#[track_caller]
fn checked_share(what: &str, value: f64) -> f64 {
    assert!((0.0..1.0).contains(&value), "{what} of {value} is outside [0, 1)");
    value
}
