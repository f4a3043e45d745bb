//! RMSprop.

use super::optimizer::RuleOptimizer;
use super::rule::Rule;
use crate::check::{below_one, non_negative};
use minitorch_core::Backend;
use minitorch_core::backend::{RmsPropConfig, StepRule};

/// RMSprop: gradients divided by the root of their running mean square. Tieleman and Hinton, "Lecture 6.5: rmsprop",
/// 2012; the centered variant: Graves, "Generating sequences with recurrent neural networks", 2013. PyTorch:
/// `optim.RMSprop`.
///
/// The formula is at [`RmsPropConfig`]. `RmsProp::new(0.01).momentum(0.9)`.
pub type RmsProp<B> = RuleOptimizer<B, RmsPropConfig>;

impl Rule for RmsPropConfig {
    const NAME: &'static str = "RmsProp";

    fn kernel(&self) -> Option<StepRule> {
        Some(StepRule::RmsProp(*self))
    }

    fn weight_decay_mut(&mut self) -> &mut f64 {
        &mut self.weight_decay
    }
}

impl<B: Backend> RuleOptimizer<B, RmsPropConfig> {
    /// Alpha 0.99, eps 1e-8, no momentum, not centered, no weight decay: PyTorch's defaults.
    ///
    /// # Panics
    /// If the rate is negative or not finite.
    #[track_caller]
    pub fn new(lr: f64) -> Self {
        let config = RmsPropConfig { alpha: 0.99, eps: 1e-8, momentum: 0.0, centered: false, weight_decay: 0.0 };
        RuleOptimizer::with_settings(lr, config)
    }

    /// Sets the decay rate of the running averages.
    ///
    /// # Panics
    /// If it is outside [0, 1).
    #[track_caller]
    pub fn alpha(mut self, alpha: f64) -> Self {
        self.settings.alpha = below_one("RmsProp", "an alpha", alpha);
        self
    }

    /// Sets the number that is added to the denominator.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn eps(mut self, eps: f64) -> Self {
        self.settings.eps = non_negative("RmsProp", "eps", eps);
        self
    }

    /// Sets the momentum. Call it before the first step.
    ///
    /// # Panics
    /// If it is negative or not finite, or a step has been taken.
    #[track_caller]
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.state.assert_before_first_step("RmsProp", "the momentum");
        self.settings.momentum = non_negative("RmsProp", "the momentum", momentum);
        self
    }

    /// Divides gradients by their running standard deviation instead of their root mean square. Call it before the
    /// first step.
    ///
    /// # Panics
    /// If a step has been taken.
    #[track_caller]
    pub fn centered(mut self, centered: bool) -> Self {
        self.state.assert_before_first_step("RmsProp", "centered");
        self.settings.centered = centered;
        self
    }
}
