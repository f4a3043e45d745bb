//! RMSprop.

use super::memory::Memory;
use super::{checked, checked_share};
use minitorch_core::Backend;
use minitorch_core::backend::{RmsPropConfig, StepRule};

/// RMSprop: gradients over the root of their running mean square. Tieleman and Hinton, "Lecture 6.5: rmsprop", 2012; the
/// centered variant: Graves, "Generating sequences with recurrent neural networks", 2013. PyTorch: `optim.RMSprop`.
///
/// The formula is at [`RmsPropConfig`]. `RmsProp::new(0.01).momentum(0.9)`.
pub struct RmsProp<B: Backend> {
    pub(super) memory: Memory<B>,
    pub(super) config: RmsPropConfig,
}

impl<B: Backend> RmsProp<B> {
    /// Alpha 0.99, eps 1e-8, no momentum, not centered, no weight decay, as PyTorch's.
    ///
    /// # Panics
    /// If the rate is negative or not finite.
    #[track_caller]
    pub fn new(lr: f64) -> Self {
        let config = RmsPropConfig { alpha: 0.99, eps: 1e-8, momentum: 0.0, centered: false, weight_decay: 0.0 };
        RmsProp { memory: Memory::new(checked("RmsProp: the learning rate", lr)), config }
    }

    /// With this decay of the averages.
    ///
    /// # Panics
    /// If it is outside [0, 1).
    #[track_caller]
    pub fn alpha(mut self, alpha: f64) -> Self {
        self.config.alpha = checked_share("RmsProp: an alpha", alpha);
        self
    }

    /// With this number beside the root.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn eps(mut self, eps: f64) -> Self {
        self.config.eps = checked("RmsProp: eps", eps);
        self
    }

    /// With momentum; before the first step.
    ///
    /// # Panics
    /// If it is negative or not finite, or a step was taken.
    #[track_caller]
    pub fn momentum(mut self, momentum: f64) -> Self {
        self.memory.before_the_first_step("RmsProp: the momentum");
        self.config.momentum = checked("RmsProp: the momentum", momentum);
        self
    }

    /// Whether gradients are divided by their deviation and not their root mean square; before the first step.
    ///
    /// # Panics
    /// If a step was taken.
    #[track_caller]
    pub fn centered(mut self, centered: bool) -> Self {
        self.memory.before_the_first_step("RmsProp: centered");
        self.config.centered = centered;
        self
    }

    pub(super) fn rule(&self) -> StepRule {
        StepRule::RmsProp(self.config)
    }
}
