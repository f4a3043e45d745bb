//! The interface of optimizers, and its one implementation.

use super::group::Group;
use super::rule::Rule;
use super::state::State;
use crate::check::non_negative;
use crate::files::of_file;
use crate::formats::StateDict;
use crate::module::{Mismatch, Module, Strict};
use minitorch_core::{Backend, Gradients, Result, Tensor};
use std::path::Path;

/// What all optimizers do: `optimizer.step(&mut model, &loss.backward())`.
pub trait Optimizer<B: Backend> {
    /// Updates every parameter of the model that has a gradient. Others are left as they are: a step in which a
    /// parameter has no gradient, or in which another model is stepped, does not count for it. Gradients of variables
    /// outside of the model are ignored.
    ///
    /// # Panics
    /// If nothing would change: no gradient is of a parameter of the model, or all parameters are
    /// [frozen](crate::Param::freeze). If parameters differ in dtype or device, or a gradient does not fit its
    /// parameter.
    fn step(&mut self, model: &mut dyn Module<B>, grads: &Gradients<Tensor<B>>);

    /// The learning rate.
    fn lr(&self) -> f64;

    /// Sets the learning rate of the next steps, for use with a [`Schedule`](crate::Schedule).
    fn set_lr(&mut self, lr: f64);

    /// The optimizer state of the model's parameters on the host, with the learning rate as metadata.
    /// `<parameter>/step` is the number of steps of the parameter (I32), and `<parameter>/<state>` its state tensors
    /// under PyTorch's names, such as `exp_avg`.
    ///
    /// # Errors
    /// If the device fails.
    fn state(&self, model: &dyn Module<B>) -> Result<StateDict>;

    /// Copies what [`state`](Optimizer::state) returned, for the parameters of the same names, and the learning rate;
    /// the other settings and the groups are those of this optimizer. Training continues bit for bit as if it had not
    /// been interrupted.
    ///
    /// With [`Strict::No`], parameters that the state does not know start afresh, as those of PyTorch's
    /// `add_param_group` do, and the state of other parameters is ignored; both are returned. A group that was added
    /// takes its parameters with their state.
    ///
    /// # Errors
    /// [`Error::Invalid`](minitorch_core::Error::Invalid) if it does not fit: the message has the first five
    /// differences and their number. Other errors are those of the device. On any error nothing is changed.
    fn load_state(&mut self, model: &dyn Module<B>, state: &StateDict, strict: Strict) -> Result<Mismatch>;

    /// Writes [`state`](Optimizer::state) as safetensors, atomically.
    ///
    /// # Errors
    /// If the device or the file system fails.
    fn save(&self, model: &dyn Module<B>, path: &Path) -> Result<()> {
        self.state(model)?.write(path)
    }

    /// Reads what [`save`](Optimizer::save) wrote: [`load_state`](Optimizer::load_state) with [`Strict::Yes`].
    ///
    /// # Errors
    /// If the file cannot be read or does not fit. On any error nothing is changed.
    fn load(&mut self, model: &dyn Module<B>, path: &Path) -> Result<()> {
        let state = StateDict::read(path)?;
        self.load_state(model, &state, Strict::Yes).map_err(|error| of_file(path, error))?;
        Ok(())
    }
}

/// An optimizer: the settings of an update rule, and the state of the parameters. [`Sgd`](crate::Sgd),
/// [`Adam`](crate::Adam) and the others are type aliases of it, with constructors of their own.
#[must_use]
pub struct RuleOptimizer<B: Backend, R> {
    pub(super) settings: R,
    pub(super) state: State<B>,
}

impl<B: Backend, R: Rule> RuleOptimizer<B, R> {
    #[track_caller]
    pub(super) fn with_settings(lr: f64, settings: R) -> Self {
        RuleOptimizer { settings, state: State::new(non_negative(R::NAME, "the learning rate", lr)) }
    }

    /// Sets the weight decay of all groups that have none of their own.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn weight_decay(mut self, weight_decay: f64) -> Self {
        *self.settings.weight_decay_mut() = non_negative(R::NAME, "the weight decay", weight_decay);
        self
    }

    /// Adds a parameter group: the parameters for which `belongs(name, value)` is true and that are in no earlier
    /// group. Call it before the first step. `belongs` is called once per parameter, at its first step. PyTorch: a list
    /// of dictionaries as the first argument.
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// // Biases and scales are not decayed; the pretrained part learns slowly.
    /// let optimizer: Sgd<Cpu> = Sgd::new(0.1)
    ///     .weight_decay(5e-4)
    ///     .group(|name, _| name.starts_with("encoder."), Group::new().lr_scale(0.1))
    ///     .group(|_, param| param.rank() <= 1, Group::new().weight_decay(0.0));
    /// ```
    ///
    /// # Panics
    /// If a step has been taken.
    #[track_caller]
    pub fn group(mut self, belongs: impl Fn(&str, &Tensor<B>) -> bool + Send + Sync + 'static, group: Group) -> Self {
        self.state.assert_before_first_step(R::NAME, "a group");
        self.state.add_group(Box::new(belongs), group);
        self
    }

    /// See [`Optimizer::step`].
    ///
    /// # Panics
    /// As [`Optimizer::step`].
    #[track_caller]
    pub fn step(&mut self, model: &mut dyn Module<B>, grads: &Gradients<Tensor<B>>) {
        self.state.step(self.settings, model, grads);
    }

    /// The learning rate.
    pub fn lr(&self) -> f64 {
        self.state.lr
    }

    /// Sets the learning rate of the next steps.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn set_lr(&mut self, lr: f64) {
        self.state.lr = non_negative(R::NAME, "the learning rate", lr);
    }

    /// The optimizer's state of a model; see [`Optimizer::state`].
    ///
    /// # Errors
    /// If the device fails.
    pub fn state(&self, model: &dyn Module<B>) -> Result<StateDict> {
        self.state.dict(R::NAME, self.settings.state_names(), model)
    }

    /// Copies the optimizer's state of a model; see [`Optimizer::load_state`].
    ///
    /// # Errors
    /// If it does not fit; nothing is changed then.
    pub fn load_state(&mut self, model: &dyn Module<B>, state: &StateDict, strict: Strict) -> Result<Mismatch> {
        self.state.load_dict(R::NAME, self.settings.state_names(), model, state, strict)
    }

    /// Writes the optimizer's state of a model; see [`Optimizer::save`].
    ///
    /// # Errors
    /// If the device or the file system fails.
    pub fn save(&self, model: &dyn Module<B>, path: impl AsRef<Path>) -> Result<()> {
        Optimizer::save(self, model, path.as_ref())
    }

    /// Reads the optimizer's state of a model; see [`Optimizer::load`].
    ///
    /// # Errors
    /// If the file cannot be read or does not fit; nothing is changed then.
    pub fn load(&mut self, model: &dyn Module<B>, path: impl AsRef<Path>) -> Result<()> {
        Optimizer::load(self, model, path.as_ref())
    }
}

impl<B: Backend, R: Rule> Optimizer<B> for RuleOptimizer<B, R> {
    #[track_caller]
    fn step(&mut self, model: &mut dyn Module<B>, grads: &Gradients<Tensor<B>>) {
        self.step(model, grads);
    }
    fn lr(&self) -> f64 {
        self.lr()
    }
    fn set_lr(&mut self, lr: f64) {
        self.set_lr(lr);
    }
    fn state(&self, model: &dyn Module<B>) -> Result<StateDict> {
        self.state(model)
    }
    fn load_state(&mut self, model: &dyn Module<B>, state: &StateDict, strict: Strict) -> Result<Mismatch> {
        self.load_state(model, state, strict)
    }
}
