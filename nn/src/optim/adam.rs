//! Adam and AdamW.

use super::optimizer::RuleOptimizer;
use super::rule::Rule;
use crate::check::{below_one, non_negative};
use minitorch_core::Backend;
use minitorch_core::backend::{AdamConfig, StepRule};

/// Adam: Kingma and Ba, "Adam: a method for stochastic optimization", 2014. Weight decay is added to the gradient.
/// PyTorch: `optim.Adam`.
///
/// The formula is at [`AdamConfig`]. `Adam::new(1e-3).betas(0.9, 0.99)`.
pub type Adam<B> = RuleOptimizer<B, AdamSettings<false>>;

/// AdamW: Adam whose weight decay scales the weights directly. Loshchilov and Hutter, "Decoupled weight decay
/// regularization", 2017. PyTorch: `optim.AdamW`.
///
/// The formula is at [`AdamConfig`]. `AdamW::new(1e-3).weight_decay(0.05)`.
pub type AdamW<B> = RuleOptimizer<B, AdamSettings<true>>;

/// The settings of [`Adam`] (weight decay is part of the gradient) or of [`AdamW`] (it is decoupled).
#[derive(Clone, Copy, Debug)]
pub struct AdamSettings<const DECOUPLED: bool>(AdamConfig);

impl<const DECOUPLED: bool> Rule for AdamSettings<DECOUPLED> {
    const NAME: &'static str = if DECOUPLED { "AdamW" } else { "Adam" };

    fn step_rule(&self) -> StepRule {
        StepRule::Adam(self.0)
    }

    fn weight_decay_mut(&mut self) -> &mut f64 {
        &mut self.0.weight_decay
    }
}

impl<B: Backend, const DECOUPLED: bool> RuleOptimizer<B, AdamSettings<DECOUPLED>> {
    /// Betas (0.9, 0.999), eps 1e-8, weight decay 0 for Adam and 0.01 for AdamW: PyTorch's defaults.
    ///
    /// # Panics
    /// If the rate is negative or not finite.
    #[track_caller]
    pub fn new(lr: f64) -> Self {
        let weight_decay = if DECOUPLED { 0.01 } else { 0.0 };
        let config = AdamConfig { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay, decoupled: DECOUPLED };
        RuleOptimizer::with_settings(lr, AdamSettings(config))
    }

    /// Sets the decay rates of the moments.
    ///
    /// # Panics
    /// If either is outside [0, 1).
    #[track_caller]
    pub fn betas(mut self, beta1: f64, beta2: f64) -> Self {
        let name = AdamSettings::<DECOUPLED>::NAME;
        self.settings.0.beta1 = below_one(name, "a beta", beta1);
        self.settings.0.beta2 = below_one(name, "a beta", beta2);
        self
    }

    /// Sets the number that is added to the denominator, the root of the second moment.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn eps(mut self, eps: f64) -> Self {
        self.settings.0.eps = non_negative(AdamSettings::<DECOUPLED>::NAME, "eps", eps);
        self
    }
}
