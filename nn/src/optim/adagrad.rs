//! Adagrad.

use super::optimizer::RuleOptimizer;
use super::rule::Rule;
use crate::check::non_negative;
use minitorch_core::Backend;
use minitorch_core::backend::{AdagradConfig, StepRule};

/// Adagrad: gradients divided by the root of the sum of all their squares. Duchi, Hazan and Singer, "Adaptive
/// subgradient methods for online learning and stochastic optimization", 2011. PyTorch: `optim.Adagrad`.
///
/// The formula is at [`AdagradConfig`]. `Adagrad::new(0.01).lr_decay(1e-4)`.
pub type Adagrad<B> = RuleOptimizer<B, AdagradConfig>;

impl Rule for AdagradConfig {
    const NAME: &'static str = "Adagrad";

    fn kernel(&self) -> Option<StepRule> {
        Some(StepRule::Adagrad(*self))
    }

    fn weight_decay_mut(&mut self) -> &mut f64 {
        &mut self.weight_decay
    }
}

impl<B: Backend> RuleOptimizer<B, AdagradConfig> {
    /// No decay of rate or weights, sums that start at 0, eps 1e-10: PyTorch's defaults.
    ///
    /// # Panics
    /// If the rate is negative or not finite.
    #[track_caller]
    pub fn new(lr: f64) -> Self {
        let config = AdagradConfig { lr_decay: 0.0, eps: 1e-10, initial: 0.0, weight_decay: 0.0 };
        RuleOptimizer::with_settings(lr, config)
    }

    /// Sets the decay of the rate, which is `lr / (1 + (n - 1) lr_decay)` in a parameter's n-th step.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn lr_decay(mut self, lr_decay: f64) -> Self {
        self.settings.lr_decay = non_negative("Adagrad", "the decay of the rate", lr_decay);
        self
    }

    /// Sets the number that is added to the denominator.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn eps(mut self, eps: f64) -> Self {
        self.settings.eps = non_negative("Adagrad", "eps", eps);
        self
    }

    /// Sets the initial value of the sums. Call it before the first step. PyTorch: `initial_accumulator_value`.
    ///
    /// # Panics
    /// If it is negative or not finite, or a step has been taken.
    #[track_caller]
    pub fn initial_accumulator(mut self, initial: f64) -> Self {
        self.state.assert_before_first_step("Adagrad", "the initial accumulator");
        self.settings.initial = non_negative("Adagrad", "the initial accumulator", initial);
        self
    }
}
