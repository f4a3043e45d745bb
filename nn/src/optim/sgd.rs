//! Gradient descent.

use super::optimizer::RuleOptimizer;
use super::rule::Rule;
use crate::check::non_negative;
use minitorch_core::Backend;
use minitorch_core::backend::{SgdConfig, StepRule};

/// Stochastic gradient descent with momentum (Polyak's, or Nesterov's) and L2 penalty. PyTorch: `optim.SGD`.
///
/// The formula is at [`SgdConfig`]. `Sgd::new(0.1).momentum(0.9).nesterov(true).weight_decay(5e-4)`.
pub type Sgd<B> = RuleOptimizer<B, SgdConfig>;

impl Rule for SgdConfig {
    const NAME: &'static str = "Sgd";

    #[track_caller]
    fn kernel(&self) -> Option<StepRule> {
        assert!(
            !self.nesterov || (self.momentum > 0.0 && self.dampening == 0.0),
            "Sgd: Nesterov's step wants momentum above 0 and dampening 0, not {} and {}",
            self.momentum,
            self.dampening
        );
        Some(StepRule::Sgd(*self))
    }

    fn weight_decay_mut(&mut self) -> &mut f64 {
        &mut self.weight_decay
    }
}

impl<B: Backend> RuleOptimizer<B, SgdConfig> {
    /// Gradient descent with this learning rate, without momentum and weight decay.
    ///
    /// # Panics
    /// If the rate is negative or not finite.
    #[track_caller]
    pub fn new(lr: f64) -> Self {
        RuleOptimizer::with_settings(lr, SgdConfig::default())
    }

    /// Sets the momentum. Call it before the first step.
    ///
    /// # Panics
    /// If it is negative or not finite, or a step has been taken.
    #[track_caller]
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.state.assert_before_first_step("Sgd", "the momentum");
        self.settings.momentum = non_negative("Sgd", "the momentum", momentum);
        self
    }

    /// Scales the gradient that enters the velocity by `1 - dampening`.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn dampening(mut self, dampening: f64) -> Self {
        self.settings.dampening = non_negative("Sgd", "the dampening", dampening);
        self
    }

    /// Enables Nesterov momentum. A step panics unless there is momentum and no dampening.
    pub fn nesterov(mut self, nesterov: bool) -> Self {
        self.settings.nesterov = nesterov;
        self
    }
}
