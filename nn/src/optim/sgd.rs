//! Gradient descent.

use super::checked;
use super::memory::Memory;
use minitorch_core::Backend;
use minitorch_core::backend::{SgdConfig, StepRule};

/// Stochastic gradient descent with momentum (Polyak's, or Nesterov's) and L2 penalty. PyTorch: `optim.SGD`.
///
/// The formula is at [`SgdConfig`]. `Sgd::new(0.1).momentum(0.9).nesterov(true).weight_decay(5e-4)`.
pub struct Sgd<B: Backend> {
    pub(super) memory: Memory<B>,
    pub(super) config: SgdConfig,
}

impl<B: Backend> Sgd<B> {
    /// Plain descent with this learning rate.
    ///
    /// # Panics
    /// If the rate is negative or not finite.
    #[track_caller]
    pub fn new(lr: f64) -> Self {
        Sgd { memory: Memory::new(checked("Sgd: the learning rate", lr)), config: SgdConfig::default() }
    }

    /// With momentum; before the first step.
    ///
    /// # Panics
    /// If it is negative or not finite, or a step was taken.
    #[track_caller]
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.memory.before_the_first_step("Sgd: the momentum");
        self.config.momentum = checked("Sgd: the momentum", momentum);
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

    /// With or without Nesterov's look ahead, which wants momentum and no dampening: a step without panics.
    pub fn nesterov(mut self, nesterov: bool) -> Self {
        self.config.nesterov = nesterov;
        self
    }

    #[track_caller]
    pub(super) fn rule(&self) -> StepRule {
        assert!(
            !self.config.nesterov || (self.config.momentum > 0.0 && self.config.dampening == 0.0),
            "Sgd: Nesterov's step wants momentum above 0 and dampening 0, not {} and {}",
            self.config.momentum,
            self.config.dampening
        );
        StepRule::Sgd(self.config)
    }
}
