//! NAdam.

use super::optimizer::RuleOptimizer;
use super::rule::{Rule, StepAt, decay, decayed};
use crate::check::{below_one, non_negative};
use minitorch_core::backend::StepRule;
use minitorch_core::{Backend, Tensor};

/// NAdam: Adam with Nesterov's momentum. Dozat, "Incorporating Nesterov momentum into Adam", 2016. PyTorch:
/// `optim.NAdam`.
///
/// The formula is at [`NAdamConfig`]. `NAdam::new(2e-3).weight_decay(0.01).decoupled(true)`.
pub type NAdam<B> = RuleOptimizer<B, NAdamConfig>;

/// As PyTorch's `NAdam`, at a parameter's step number n >= 1:
/// `g += weight_decay p`, or `p *= 1 - lr weight_decay` if decoupled; `mu_n = beta1 (1 - 0.96^(n momentum_decay) / 2)`;
/// `m = beta1 m + (1 - beta1) g`; `v = beta2 v + (1 - beta2) g²`; `d = sqrt(v / (1 - beta2^n)) + eps`;
/// `p -= lr ((1 - mu_n) / (1 - mu_1 .. mu_n) g + mu_{n+1} / (1 - mu_1 .. mu_{n+1}) m) / d`. State: m, v.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct NAdamConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the denominator, the root of the second moment.
    pub eps: f64,
    /// How fast the momentum reaches beta1.
    pub momentum_decay: f64,
    /// The factor of the penalty.
    pub weight_decay: f64,
    /// Whether the penalty applies to the parameter directly, not to the gradient.
    pub decoupled: bool,
}

impl NAdamConfig {
    /// The momentum of step n.
    fn mu(&self, n: u64) -> f64 {
        self.beta1 * (1.0 - 0.5 * 0.96_f64.powf(n as f64 * self.momentum_decay))
    }

    /// The product of the momenta up to step n. It is recomputed, so that it needs no state: it falls below half an
    /// epsilon of 1, from which it is subtracted, within a few dozen factors.
    fn product(&self, n: u64) -> f64 {
        let mut product = 1.0;
        for mu in (1..=n).map(|n| self.mu(n)) {
            product *= mu;
            if product < f64::EPSILON / 4.0 {
                break;
            }
        }
        product
    }
}

impl Rule for NAdamConfig {
    const NAME: &'static str = "NAdam";

    fn kernel(&self) -> Option<StepRule> {
        None
    }

    fn update<B: Backend>(&self, at: StepAt, param: Tensor<B>, grad: Tensor<B>, state: &mut [Tensor<B>]) -> Tensor<B> {
        let NAdamConfig { beta1, beta2, eps, weight_decay, decoupled, .. } = *self;
        let [m, v] = state else { unreachable!("NAdam: two averages") };
        let (param, grad) = decayed(param, grad, weight_decay, decoupled.then_some(at));
        decay(m, &grad, beta1);
        decay(v, &grad.square(), beta2);
        let root = (&*v / at.bias_correction(beta2)).sqrt() + eps;
        let (product, next) = (self.product(at.step), self.mu(at.step + 1));
        let direction = grad * ((1.0 - self.mu(at.step)) / (1.0 - product)) + &*m * (next / (1.0 - product * next));
        param - direction / root * at.lr
    }

    fn state_names(&self) -> &'static [&'static str] {
        &["exp_avg", "exp_avg_sq"]
    }

    fn weight_decay_mut(&mut self) -> &mut f64 {
        &mut self.weight_decay
    }
}

impl<B: Backend> RuleOptimizer<B, NAdamConfig> {
    /// Betas (0.9, 0.999), eps 1e-8, momentum decay 4e-3, no weight decay: PyTorch's defaults. Its default rate is 2e-3.
    ///
    /// # Panics
    /// If the rate is negative or not finite.
    #[track_caller]
    pub fn new(lr: f64) -> Self {
        let config = NAdamConfig {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            momentum_decay: 4e-3,
            weight_decay: 0.0,
            decoupled: false,
        };
        RuleOptimizer::with_settings(lr, config)
    }

    /// Sets the decay rates of the moments.
    ///
    /// # Panics
    /// If either is outside [0, 1).
    #[track_caller]
    pub fn betas(mut self, beta1: f64, beta2: f64) -> Self {
        self.settings.beta1 = below_one("NAdam", "a beta", beta1);
        self.settings.beta2 = below_one("NAdam", "a beta", beta2);
        self
    }

    /// Sets the number that is added to the denominator, the root of the second moment.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn eps(mut self, eps: f64) -> Self {
        self.settings.eps = non_negative("NAdam", "eps", eps);
        self
    }

    /// Sets how fast the momentum reaches beta1.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn momentum_decay(mut self, momentum_decay: f64) -> Self {
        self.settings.momentum_decay = non_negative("NAdam", "the momentum decay", momentum_decay);
        self
    }

    /// Sets whether weight decay scales the weights directly, as in AdamW. PyTorch: `decoupled_weight_decay`.
    pub fn decoupled(mut self, decoupled: bool) -> Self {
        self.settings.decoupled = decoupled;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_product_of_the_momenta_is_exact_in_the_difference_from_one() {
        for (beta1, momentum_decay) in [(0.9, 4e-3), (0.999, 0.0), (0.9999, 10.0), (0.0, 4e-3)] {
            let config =
                NAdamConfig { beta1, beta2: 0.999, eps: 1e-8, momentum_decay, weight_decay: 0.0, decoupled: false };
            let mut product = 1.0;
            for n in 1..=2000 {
                product *= config.mu(n);
                assert_eq!(1.0 - config.product(n), 1.0 - product, "beta {beta1}, decay {momentum_decay}, step {n}");
            }
        }
    }
}
