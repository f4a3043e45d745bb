//! Optimizers. One step is one call of the backend over all parameters; learning rate and step count live on the device.

use crate::module::{EntryMut, Module, Param, Path};
use minitorch_core::backend::{AdamConfig, SgdConfig, StepSlot};
use minitorch_core::{Backend, DType, Gradients, Layout, Tensor};
use std::collections::HashMap;

/// What all optimizers do: `optimizer.step(&mut model, &loss.backward())`.
pub trait Optimizer<B: Backend> {
    /// Changes every parameter that has a gradient. The others stay as they are, and a step in which a parameter had no
    /// gradient does not count for it.
    ///
    /// # Panics
    /// If parameters differ in dtype or device, or a gradient does not fit its parameter.
    fn step(&mut self, model: &mut dyn Module<B>, grads: &Gradients<Tensor<B>>);

    /// The learning rate.
    fn lr(&self) -> f64;

    /// Sets the learning rate of the next steps: what a schedule does.
    fn set_lr(&mut self, lr: f64);
}

/// An optimizer's memory: per parameter `states` tensors, and the scalars that a step reads on the device.
struct Memory<B: Backend> {
    lr: f64,
    states: usize,
    steps: u64,
    by_param: HashMap<u64, Slot<B>>,
    /// `[lr, t]`, and the lr that it holds.
    scalars: Option<(Tensor<B>, f64)>,
}

struct Slot<B: Backend> {
    state: Vec<Tensor<B>>,
    missed: u64,
    fresh: bool,
}

impl<B: Backend> Memory<B> {
    fn new(lr: f64, states: usize) -> Self {
        Memory { lr, states, steps: 0, by_param: HashMap::new(), scalars: None }
    }

    /// Gathers parameters, states and gradients, and hands them to the backend's `step`.
    #[track_caller]
    fn step(
        &mut self,
        model: &mut dyn Module<B>,
        grads: &Gradients<Tensor<B>>,
        step: impl FnOnce(&B, &mut [StepSlot<'_, B>], &mut B::Storage),
    ) {
        let mut work: Vec<(&mut Param<B>, Slot<B>, Tensor<B>)> = Vec::new();
        let (by_param, steps, states) = (&mut self.by_param, self.steps, self.states);
        model.visit_mut(&mut Path::default(), &mut |name, entry| {
            let EntryMut::Param(param) = entry else { return };
            let known = by_param.remove(&param.id());
            let Some(grad) = grads.get(param) else {
                if let Some(mut slot) = known {
                    slot.missed += 1;
                    by_param.insert(param.id(), slot);
                }
                return;
            };
            assert!(
                grad.shape() == param.shape(),
                "step: {name} is {:?}, its gradient {:?}",
                param.shape(),
                grad.shape()
            );
            let slot = known.unwrap_or_else(|| {
                let zeros = || Tensor::zeros(*param.shape(), (param.device(), param.dtype()));
                Slot { state: (0..states).map(|_| zeros()).collect(), missed: steps, fresh: true }
            });
            work.push((param, slot, grad.detach().contiguous()));
        });
        let Some((first, ..)) = work.first() else { return };
        let (device, dtype) = (first.device().clone(), first.dtype());
        for (param, ..) in &work {
            assert!(
                param.dtype() == dtype && *param.device() == device,
                "step: all parameters must be of one dtype on one device; {param:?} on {:?} differs from {dtype} on {device:?}",
                param.device()
            );
        }
        let mut scalars = self.scalars(&device, dtype);
        let mut slots: Vec<StepSlot<'_, B>> = Vec::with_capacity(work.len());
        for (param, slot, grad) in &mut work {
            slots.push(StepSlot {
                param: param.storage_mut().1,
                state: slot.state.iter_mut().map(|state| state.storage_mut().1).collect(),
                grad: grad.view(),
                missed: slot.missed,
                fresh: slot.fresh,
            });
        }
        step(&device, &mut slots, scalars.storage_mut().1);
        drop(slots);
        self.scalars = Some((scalars, self.lr));
        self.steps += 1;
        for (param, mut slot, _) in work {
            slot.fresh = false;
            self.by_param.insert(param.id(), slot);
        }
    }

    /// `[lr, t]` on the device, made at the first step and written again when the rate has changed.
    fn scalars(&mut self, device: &B, dtype: DType) -> Tensor<B> {
        match self.scalars.take() {
            Some((mut scalars, held)) => {
                if held != self.lr {
                    let lr = Layout::new([1], &[1], 0);
                    let (device, storage) = scalars.storage_mut();
                    device.fill(storage, &lr, dtype, self.lr);
                }
                scalars
            }
            None => {
                let start = [self.lr, self.steps as f64];
                match dtype {
                    DType::F64 => Tensor::from_slice(&start, [2], device),
                    _ => Tensor::from_slice(&start.map(|x| x as f32), [2], device),
                }
            }
        }
    }
}

/// Stochastic gradient descent with momentum (Polyak's, or Nesterov's) and L2 penalty. PyTorch: `optim.SGD`.
///
/// The formula is at [`SgdConfig`]. `Sgd::new(0.1).momentum(0.9).nesterov(true).weight_decay(5e-4)`.
pub struct Sgd<B: Backend> {
    memory: Memory<B>,
    config: SgdConfig,
}

impl<B: Backend> Sgd<B> {
    /// Plain descent with this learning rate.
    ///
    /// # Panics
    /// If the rate is negative or not finite.
    #[track_caller]
    pub fn new(lr: f64) -> Self {
        Sgd { memory: Memory::new(checked("Sgd: the learning rate", lr), 0), config: SgdConfig::default() }
    }

    /// With momentum.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.config.momentum = checked("Sgd: the momentum", momentum);
        self.memory.states = (momentum > 0.0) as usize;
        self
    }

    /// With this share of the gradient kept out of the velocity.
    pub fn dampening(mut self, dampening: f64) -> Self {
        self.config.dampening = dampening;
        self
    }

    /// With or without Nesterov's look ahead, which wants momentum.
    pub fn nesterov(mut self, nesterov: bool) -> Self {
        self.config.nesterov = nesterov;
        self
    }

    /// With an L2 penalty.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn weight_decay(mut self, weight_decay: f64) -> Self {
        self.config.weight_decay = checked("Sgd: the weight decay", weight_decay);
        self
    }

    /// See [`Optimizer::step`].
    #[track_caller]
    pub fn step(&mut self, model: &mut dyn Module<B>, grads: &Gradients<Tensor<B>>) {
        assert!(
            !self.config.nesterov || (self.config.momentum > 0.0 && self.config.dampening == 0.0),
            "Sgd: Nesterov's step wants momentum above 0 and dampening 0"
        );
        let config = self.config;
        self.memory.step(model, grads, |device, slots, scalars| device.sgd_step(slots, scalars, &config));
    }
}

/// Adam: Kingma and Ba, "Adam: a method for stochastic optimization", 2014. PyTorch: `optim.Adam`, `optim.AdamW`.
///
/// The formula is at [`AdamConfig`]. [`Adam::new`] adds a weight decay to the gradient; [`Adam::decoupled`] makes it
/// AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", 2017), which shrinks the weights directly.
pub struct Adam<B: Backend> {
    memory: Memory<B>,
    config: AdamConfig,
}

impl<B: Backend> Adam<B> {
    /// Betas (0.9, 0.999), eps 1e-8, no weight decay.
    ///
    /// # Panics
    /// If the rate is negative or not finite.
    #[track_caller]
    pub fn new(lr: f64) -> Self {
        let config = AdamConfig { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, decoupled: false };
        Adam { memory: Memory::new(checked("Adam: the learning rate", lr), 2), config }
    }

    /// AdamW with PyTorch's default weight decay of 0.01.
    ///
    /// # Panics
    /// If the rate is negative or not finite.
    #[track_caller]
    pub fn decoupled(lr: f64) -> Self {
        let mut adam = Adam::new(lr);
        (adam.config.weight_decay, adam.config.decoupled) = (0.01, true);
        adam
    }

    /// With these decays of the moments.
    ///
    /// # Panics
    /// If either is outside [0, 1).
    #[track_caller]
    pub fn betas(mut self, beta1: f64, beta2: f64) -> Self {
        for beta in [beta1, beta2] {
            assert!((0.0..1.0).contains(&beta), "Adam: a beta of {beta} is outside [0, 1)");
        }
        (self.config.beta1, self.config.beta2) = (beta1, beta2);
        self
    }

    /// With this number beside the root of the second moment.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn eps(mut self, eps: f64) -> Self {
        self.config.eps = checked("Adam: eps", eps);
        self
    }

    /// With this weight decay.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn weight_decay(mut self, weight_decay: f64) -> Self {
        self.config.weight_decay = checked("Adam: the weight decay", weight_decay);
        self
    }

    /// See [`Optimizer::step`].
    #[track_caller]
    pub fn step(&mut self, model: &mut dyn Module<B>, grads: &Gradients<Tensor<B>>) {
        let config = self.config;
        self.memory.step(model, grads, |device, slots, scalars| device.adam_step(slots, scalars, &config));
    }
}

/// AdamW by its usual name: `AdamW::new(1e-3)` is [`Adam::decoupled`]`(1e-3)`.
pub struct AdamW;

impl AdamW {
    /// [`Adam::decoupled`].
    #[allow(clippy::new_ret_no_self)] // AdamW is a setting of Adam; the name is what users look for
    #[track_caller]
    pub fn new<B: Backend>(lr: f64) -> Adam<B> {
        Adam::decoupled(lr)
    }
}

macro_rules! optimizers {
    ($($name:ident),*) => { $(
        impl<B: Backend> $name<B> {
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
        }
    )* };
}
optimizers!(Sgd, Adam);

#[track_caller]
fn checked(what: &str, value: f64) -> f64 {
    assert!(value.is_finite() && value >= 0.0, "{what} must be a finite number of at least 0, not {value}");
    value
}
