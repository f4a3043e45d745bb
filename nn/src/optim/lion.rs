//! Lion.

use super::optimizer::RuleOptimizer;
use super::rule::{Rule, StepAt, decay, decayed};
use crate::check::below_one;
use minitorch_core::backend::StepRule;
use minitorch_core::{Backend, Tensor};

/// Lion: the sign of an average of gradients, so that every element moves by the rate. Chen et al., "Symbolic discovery
/// of optimization algorithms", 2023. PyTorch has none.
///
/// The formula is at [`LionConfig`]. `Lion::new(1e-4).weight_decay(0.1)`. The paper advises a rate of a third to a tenth
/// of AdamW's, and a weight decay that is larger by the same factor.
pub type Lion<B> = RuleOptimizer<B, LionConfig>;

/// As in the paper: `p *= 1 - lr weight_decay`; `p -= lr sign(beta1 m + (1 - beta1) g)`;
/// `m = beta2 m + (1 - beta2) g`. The sign of 0 is 0. State: m.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LionConfig {
    /// The share of the average in the direction of a step.
    pub beta1: f64,
    /// Decay of the average.
    pub beta2: f64,
    /// The factor of the penalty, which applies to the parameter directly.
    pub weight_decay: f64,
}

impl Rule for LionConfig {
    const NAME: &'static str = "Lion";

    fn kernel(&self) -> Option<StepRule> {
        None
    }

    fn update<B: Backend>(&self, at: StepAt, param: Tensor<B>, grad: Tensor<B>, state: &mut [Tensor<B>]) -> Tensor<B> {
        let LionConfig { beta1, beta2, weight_decay } = *self;
        let [m] = state else { unreachable!("Lion: one average") };
        let (param, grad) = decayed(param, grad, weight_decay, Some(at));
        let direction = (&*m * beta1 + &grad * (1.0 - beta1)).sign();
        decay(m, &grad, beta2);
        param - direction * at.lr
    }

    fn state_names(&self) -> &'static [&'static str] {
        &["exp_avg"]
    }

    fn weight_decay_mut(&mut self) -> &mut f64 {
        &mut self.weight_decay
    }
}

impl<B: Backend> RuleOptimizer<B, LionConfig> {
    /// Betas (0.9, 0.99), no weight decay: the paper's defaults.
    ///
    /// # Panics
    /// If the rate is negative or not finite.
    #[track_caller]
    pub fn new(lr: f64) -> Self {
        RuleOptimizer::with_settings(lr, LionConfig { beta1: 0.9, beta2: 0.99, weight_decay: 0.0 })
    }

    /// Sets the share of the average in the direction of a step, and the decay rate of the average.
    ///
    /// # Panics
    /// If either is outside [0, 1).
    #[track_caller]
    pub fn betas(mut self, beta1: f64, beta2: f64) -> Self {
        self.settings.beta1 = below_one("Lion", "a beta", beta1);
        self.settings.beta2 = below_one("Lion", "a beta", beta2);
        self
    }
}
