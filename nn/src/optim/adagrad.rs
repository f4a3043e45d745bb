//! Adagrad.

use super::checked;
use super::memory::Memory;
use minitorch_core::Backend;
use minitorch_core::backend::{AdagradConfig, StepRule};

/// Adagrad: gradients over the root of the sum of all their squares. Duchi, Hazan and Singer, "Adaptive subgradient methods
/// for online learning and stochastic optimization", 2011. PyTorch: `optim.Adagrad`.
///
/// The formula is at [`AdagradConfig`]. `Adagrad::new(0.01).lr_decay(1e-4)`.
pub struct Adagrad<B: Backend> {
    pub(super) memory: Memory<B>,
    pub(super) config: AdagradConfig,
}

impl<B: Backend> Adagrad<B> {
    /// No decay of rate or weights, sums that start at 0, eps 1e-10, as PyTorch's.
    ///
    /// # Panics
    /// If the rate is negative or not finite.
    #[track_caller]
    pub fn new(lr: f64) -> Self {
        let config = AdagradConfig { lr_decay: 0.0, eps: 1e-10, initial: 0.0, weight_decay: 0.0 };
        Adagrad { memory: Memory::new(checked("Adagrad: the learning rate", lr)), config }
    }

    /// With a rate that falls as `lr / (1 + (n - 1) lr_decay)` in a parameter's n-th step.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn lr_decay(mut self, lr_decay: f64) -> Self {
        self.config.lr_decay = checked("Adagrad: the decay of the rate", lr_decay);
        self
    }

    /// With this number beside the root.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn eps(mut self, eps: f64) -> Self {
        self.config.eps = checked("Adagrad: eps", eps);
        self
    }

    /// With sums that start at this number; before the first step. PyTorch: `initial_accumulator_value`.
    ///
    /// # Panics
    /// If it is negative or not finite, or a step was taken.
    #[track_caller]
    pub fn initial_accumulator(mut self, initial: f64) -> Self {
        self.memory.before_the_first_step("Adagrad: the initial accumulator");
        self.config.initial = checked("Adagrad: the initial accumulator", initial);
        self
    }

    pub(super) fn rule(&self) -> StepRule {
        StepRule::Adagrad(self.config)
    }
}
