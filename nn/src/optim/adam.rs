//! Adam and AdamW.

use super::optimizer::RuleOptimizer;
use super::rule::{Rule, StepAt, decay, decayed};
use crate::check::{below_one, non_negative};
use minitorch_core::backend::{AdamConfig, StepRule};
use minitorch_core::{Backend, Tensor};

/// Adam: Kingma and Ba, "Adam: a method for stochastic optimization", 2014. Weight decay is added to the gradient.
/// PyTorch: `optim.Adam`.
///
/// The formula is at [`AdamConfig`]. `Adam::new(1e-3).betas(0.9, 0.99)`.
/// [`amsgrad`](RuleOptimizer::amsgrad) is a variant.
pub type Adam<B> = RuleOptimizer<B, AdamSettings<false>>;

/// AdamW: Adam whose weight decay scales the weights directly. Loshchilov and Hutter, "Decoupled weight decay
/// regularization", 2017. PyTorch: `optim.AdamW`.
///
/// The formula is at [`AdamConfig`]. `AdamW::new(1e-3).weight_decay(0.05)`.
pub type AdamW<B> = RuleOptimizer<B, AdamSettings<true>>;

/// The settings of [`Adam`] (weight decay is part of the gradient) or of [`AdamW`] (it is decoupled).
#[derive(Clone, Copy, Debug)]
pub struct AdamSettings<const DECOUPLED: bool> {
    config: AdamConfig,
    amsgrad: bool,
}

impl<const DECOUPLED: bool> Rule for AdamSettings<DECOUPLED> {
    const NAME: &'static str = if DECOUPLED { "AdamW" } else { "Adam" };

    fn kernel(&self) -> Option<StepRule> {
        (!self.amsgrad).then_some(StepRule::Adam(self.config))
    }

    /// AMSGrad.
    fn update<B: Backend>(&self, at: StepAt, param: Tensor<B>, grad: Tensor<B>, state: &mut [Tensor<B>]) -> Tensor<B> {
        let AdamConfig { beta1, beta2, eps, weight_decay, .. } = self.config;
        let [m, v, largest] = state else { unreachable!("AMSGrad: three averages") };
        let (param, grad) = decayed(param, grad, weight_decay, DECOUPLED.then_some(at));
        decay(m, &grad, beta1);
        decay(v, &grad.square(), beta2);
        *largest = largest.maximum(v);
        let root = largest.sqrt() / at.bias_correction(beta2).sqrt() + eps;
        param - &*m / root * (at.lr / at.bias_correction(beta1))
    }

    fn state_names(&self) -> &'static [&'static str] {
        const NAMES: [&str; 3] = ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"];
        if self.amsgrad { &NAMES } else { StepRule::Adam(self.config).state_names() }
    }

    fn weight_decay_mut(&mut self) -> &mut f64 {
        &mut self.config.weight_decay
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
        RuleOptimizer::with_settings(lr, AdamSettings { config, amsgrad: false })
    }

    /// Sets the decay rates of the moments.
    ///
    /// # Panics
    /// If either is outside [0, 1).
    #[track_caller]
    pub fn betas(mut self, beta1: f64, beta2: f64) -> Self {
        let name = AdamSettings::<DECOUPLED>::NAME;
        self.settings.config.beta1 = below_one(name, "a beta", beta1);
        self.settings.config.beta2 = below_one(name, "a beta", beta2);
        self
    }

    /// Sets the number that is added to the denominator, the root of the second moment.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn eps(mut self, eps: f64) -> Self {
        self.settings.config.eps = non_negative(AdamSettings::<DECOUPLED>::NAME, "eps", eps);
        self
    }

    /// AMSGrad: divides by the root of the largest second moment so far, so that the rate of no element rises. Reddi,
    /// Kale and Kumar, "On the convergence of Adam and beyond", 2018. Call it before the first step. PyTorch:
    /// `amsgrad=True`.
    ///
    /// `u = max(u, v)`, then the formula of [`AdamConfig`] with u in place of v in the parameter's update. State: m, v, u.
    ///
    /// # Panics
    /// If a step has been taken.
    #[track_caller]
    pub fn amsgrad(mut self, amsgrad: bool) -> Self {
        self.state.assert_before_first_step(AdamSettings::<DECOUPLED>::NAME, "amsgrad");
        self.settings.amsgrad = amsgrad;
        self
    }
}
