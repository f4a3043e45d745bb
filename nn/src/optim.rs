//! Optimizers. One step is one call of the backend over all parameters; learning rate and step count live on the device.

use crate::module::{EntryMut, Module, Param, Path};
use minitorch_core::backend::{AdamConfig, SgdConfig, StepRule, StepSlot};
use minitorch_core::{Backend, DType, Gradients, Layout, Tensor};
use std::collections::HashMap;

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
    /// Steps that this parameter took part in: the others of the optimizer's count it missed.
    taken: u64,
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
        // All is checked before anything changes; names are written out only for a complaint.
        let mut found: Vec<(&mut Param<B>, Tensor<B>)> = Vec::new();
        let mut first: Option<(B, DType)> = None;
        let mut complaint = None;
        model.visit_mut(&mut Path::default(), &mut |name, entry| {
            let EntryMut::Param(param) = entry else { return };
            let Some(grad) = grads.get(param) else { return };
            let (device, dtype) = first.get_or_insert_with(|| (param.device().clone(), param.dtype()));
            if complaint.is_none() {
                complaint = misfit(name, param, grad, device, *dtype);
            }
            let grad = grad.detach().contiguous();
            found.push((param, grad));
        });
        if let Some(why) = complaint {
            panic!("step: {why}");
        }
        let Some((device, dtype)) = first else { return };
        let mut scalars = self.scalars(&device, dtype);
        let mut memory: Vec<(u64, Slot<B>)> = Vec::with_capacity(found.len());
        for (param, _) in &found {
            let zeros = || Tensor::zeros(*param.shape(), (&device, dtype));
            let fresh = || Slot { state: (0..self.states).map(|_| zeros()).collect(), taken: 0 };
            memory.push((param.id(), self.by_param.remove(&param.id()).unwrap_or_else(fresh)));
        }
        let mut slots: Vec<StepSlot<'_, B>> = Vec::with_capacity(found.len());
        for ((param, grad), (_, slot)) in found.iter_mut().zip(&mut memory) {
            slots.push(StepSlot {
                param: param.storage_mut().1,
                state: slot.state.iter_mut().map(|state| state.storage_mut().1).collect(),
                grad: grad.view(),
                missed: self.steps - slot.taken,
                fresh: slot.taken == 0,
            });
        }
        step(&device, &mut slots, scalars.storage_mut().1);
        drop(slots);
        self.scalars = Some((scalars, self.lr));
        self.steps += 1;
        for (id, mut slot) in memory {
            slot.taken += 1;
            self.by_param.insert(id, slot);
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

/// What keeps a parameter out of a step with the first one.
fn misfit<B: Backend>(name: &str, param: &Param<B>, grad: &Tensor<B>, device: &B, dtype: DType) -> Option<String> {
    if param.dtype() != dtype || param.device() != device {
        return Some(format!(
            "all parameters must be of one dtype on one device; {name} is of {} on {:?}, the first of {dtype} on {device:?}",
            param.dtype(),
            param.device()
        ));
    }
    let fits = grad.shape() == param.shape() && grad.dtype() == dtype && grad.device() == device;
    (!fits).then(|| format!("{name} is {:?}, its gradient {grad:?}", &**param))
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

    /// With momentum; before the first step.
    ///
    /// # Panics
    /// If it is negative or not finite, or a step was taken.
    #[track_caller]
    pub fn momentum(mut self, momentum: f64) -> Self {
        assert!(self.memory.steps == 0, "Sgd: the momentum is set before the first step");
        self.config.momentum = checked("Sgd: the momentum", momentum);
        self.memory.states = (momentum > 0.0) as usize;
        self
    }

    /// With this share of the gradient kept out of the velocity.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn dampening(mut self, dampening: f64) -> Self {
        self.config.dampening = checked("Sgd: the dampening", dampening);
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
        self.memory
            .step(model, grads, |device, slots, scalars| device.optimizer_step(&StepRule::Sgd(config), slots, scalars));
    }
}

/// Adam: Kingma and Ba, "Adam: a method for stochastic optimization", 2014. A weight decay is added to the gradient.
/// PyTorch: `optim.Adam`.
///
/// The formula is at [`AdamConfig`]. `Adam::new(1e-3).betas(0.9, 0.99)`.
pub struct Adam<B: Backend> {
    memory: Memory<B>,
    config: AdamConfig,
}

/// AdamW: Adam whose weight decay shrinks the weights directly. Loshchilov and Hutter, "Decoupled weight decay
/// regularization", 2017. PyTorch: `optim.AdamW`.
///
/// The formula is at [`AdamConfig`]. `AdamW::new(1e-3).weight_decay(0.05)`.
pub struct AdamW<B: Backend> {
    memory: Memory<B>,
    config: AdamConfig,
}

macro_rules! adams {
    ($($name:ident, decoupled = $decoupled:literal, weight_decay = $decay:literal;)*) => { $(
        impl<B: Backend> $name<B> {
            #[doc = concat!("Betas (0.9, 0.999), eps 1e-8, weight decay ", stringify!($decay), ", as PyTorch's.")]
            ///
            /// # Panics
            /// If the rate is negative or not finite.
            #[track_caller]
            pub fn new(lr: f64) -> Self {
                let lr = checked(concat!(stringify!($name), ": the learning rate"), lr);
                let config =
                    AdamConfig { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: $decay, decoupled: $decoupled };
                $name { memory: Memory::new(lr, 2), config }
            }

            /// With these decays of the moments.
            ///
            /// # Panics
            /// If either is outside [0, 1).
            #[track_caller]
            pub fn betas(mut self, beta1: f64, beta2: f64) -> Self {
                for beta in [beta1, beta2] {
                    assert!((0.0..1.0).contains(&beta), "{}: a beta of {beta} is outside [0, 1)", stringify!($name));
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
                self.config.eps = checked(concat!(stringify!($name), ": eps"), eps);
                self
            }

            /// With this weight decay.
            ///
            /// # Panics
            /// If it is negative or not finite.
            #[track_caller]
            pub fn weight_decay(mut self, weight_decay: f64) -> Self {
                self.config.weight_decay = checked(concat!(stringify!($name), ": the weight decay"), weight_decay);
                self
            }

            /// See [`Optimizer::step`].
            #[track_caller]
            pub fn step(&mut self, model: &mut dyn Module<B>, grads: &Gradients<Tensor<B>>) {
                let config = self.config;
                self.memory.step(model, grads, |device, slots, scalars| device.optimizer_step(&StepRule::Adam(config), slots, scalars));
            }
        }
    )* };
}
adams! {
    Adam, decoupled = false, weight_decay = 0.0;
    AdamW, decoupled = true, weight_decay = 0.01;
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
optimizers!(Sgd, Adam, AdamW);

#[track_caller]
fn checked(what: &str, value: f64) -> f64 {
    assert!(value.is_finite() && value >= 0.0, "{what} must be a finite number of at least 0, not {value}");
    value
}
