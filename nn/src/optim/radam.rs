//! RAdam.

use super::optimizer::RuleOptimizer;
use super::rule::{Rule, StepAt, decay, decayed};
use crate::check::{below_one, non_negative};
use minitorch_core::backend::StepRule;
use minitorch_core::{Backend, Tensor};

/// RAdam: Adam whose adaptive rate starts only when enough gradients were seen to estimate it. Liu et al., "On the
/// variance of the adaptive learning rate and beyond", 2019. PyTorch: `optim.RAdam`.
///
/// The formula is at [`RAdamConfig`]. `RAdam::new(1e-3).weight_decay(0.01).decoupled(true)`.
pub type RAdam<B> = RuleOptimizer<B, RAdamConfig>;

/// As PyTorch's `RAdam`, at a parameter's step number n >= 1:
/// `g += weight_decay p`, or `p *= 1 - lr weight_decay` if decoupled; `m = beta1 m + (1 - beta1) g`;
/// `v = beta2 v + (1 - beta2) g²`; `R = 2 / (1 - beta2) - 1`, the length of the average in the limit, and
/// `r = R - 2 n beta2^n / (1 - beta2^n)`, its length so far; where r > 5,
/// `p -= lr m / (1 - beta1^n) sqrt(1 - beta2^n) / (sqrt(v) + eps) sqrt((r - 4) (r - 2) R / ((R - 4) (R - 2) r))`, else
/// `p -= lr m / (1 - beta1^n)`. State: m, v.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RAdamConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the denominator, the root of the second moment.
    pub eps: f64,
    /// The factor of the penalty.
    pub weight_decay: f64,
    /// Whether the penalty applies to the parameter directly, not to the gradient.
    pub decoupled: bool,
}

impl RAdamConfig {
    /// The factor of the adaptive rate; `None` if too few gradients were seen.
    fn rectification(&self, at: StepAt) -> Option<f64> {
        let limit = 2.0 / (1.0 - self.beta2) - 1.0;
        let n = at.step as f64;
        let r = limit - 2.0 * n * self.beta2.powf(n) / at.bias_correction(self.beta2);
        let square = (r - 4.0) * (r - 2.0) * limit / ((limit - 4.0) * (limit - 2.0) * r);
        (r > 5.0).then_some(square.sqrt())
    }
}

impl Rule for RAdamConfig {
    const NAME: &'static str = "RAdam";

    fn kernel(&self) -> Option<StepRule> {
        None
    }

    fn update<B: Backend>(&self, at: StepAt, param: Tensor<B>, grad: Tensor<B>, state: &mut [Tensor<B>]) -> Tensor<B> {
        let RAdamConfig { beta1, beta2, eps, weight_decay, decoupled } = *self;
        let [m, v] = state else { unreachable!("RAdam: two averages") };
        let (param, grad) = decayed(param, grad, weight_decay, decoupled.then_some(at));
        decay(m, &grad, beta1);
        decay(v, &grad.square(), beta2);
        let size = at.lr / at.bias_correction(beta1);
        match self.rectification(at) {
            Some(factor) => {
                let size = size * factor * at.bias_correction(beta2).sqrt();
                param - &*m / (v.sqrt() + eps) * size
            }
            None => param - &*m * size,
        }
    }

    fn state_names(&self) -> &'static [&'static str] {
        &["exp_avg", "exp_avg_sq"]
    }

    fn weight_decay_mut(&mut self) -> &mut f64 {
        &mut self.weight_decay
    }
}

impl<B: Backend> RuleOptimizer<B, RAdamConfig> {
    /// Betas (0.9, 0.999), eps 1e-8, no weight decay: PyTorch's defaults.
    ///
    /// # Panics
    /// If the rate is negative or not finite.
    #[track_caller]
    pub fn new(lr: f64) -> Self {
        let config = RAdamConfig { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, decoupled: false };
        RuleOptimizer::with_settings(lr, config)
    }

    /// Sets the decay rates of the moments.
    ///
    /// # Panics
    /// If either is outside [0, 1).
    #[track_caller]
    pub fn betas(mut self, beta1: f64, beta2: f64) -> Self {
        self.settings.beta1 = below_one("RAdam", "a beta", beta1);
        self.settings.beta2 = below_one("RAdam", "a beta", beta2);
        self
    }

    /// Sets the number that is added to the denominator, the root of the second moment.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn eps(mut self, eps: f64) -> Self {
        self.settings.eps = non_negative("RAdam", "eps", eps);
        self
    }

    /// Sets whether weight decay scales the weights directly, as in AdamW. PyTorch: `decoupled_weight_decay`.
    pub fn decoupled(mut self, decoupled: bool) -> Self {
        self.settings.decoupled = decoupled;
        self
    }
}
