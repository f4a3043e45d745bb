//! What distinguishes one optimizer from another.

use minitorch_core::backend::StepRule;
use minitorch_core::{Backend, Tensor};

/// The settings of an update rule, such as [`SgdConfig`](minitorch_core::backend::SgdConfig): all that distinguishes
/// one [`RuleOptimizer`](crate::RuleOptimizer) from another.
///
/// The backends compute some rules by a kernel of their own, for all parameters of a group at once
/// ([`kernel`](Rule::kernel)). The others are composed of tensor operations, parameter by parameter
/// ([`update`](Rule::update)).
pub trait Rule: Copy {
    /// The optimizer's name, in messages and in the files of saved state.
    const NAME: &'static str;

    /// The rule as the backend computes it; `None` if it is composed.
    ///
    /// # Panics
    /// If the settings contradict each other.
    #[track_caller]
    fn kernel(&self) -> Option<StepRule>;

    /// One step of a composed rule: the new value of a parameter. `state` holds the tensors of
    /// [`state_names`](Rule::state_names), 0 before the first step, and is updated. All have the parameter's shape, and
    /// are F64 if it is, else F32.
    fn update<B: Backend>(&self, at: StepAt, param: Tensor<B>, grad: Tensor<B>, state: &mut [Tensor<B>]) -> Tensor<B> {
        let _ = (at, grad, state);
        unreachable!("{}: a rule without an update has a kernel; the parameter is {:?}", Self::NAME, param.shape())
    }

    /// The names of the state tensors of a parameter, which are those of PyTorch.
    fn state_names(&self) -> &'static [&'static str] {
        self.kernel().map_or(&[], |kernel| kernel.state_names())
    }

    /// The initial value of the state tensors.
    fn initial_state(&self) -> f64 {
        self.kernel().map_or(0.0, |kernel| kernel.initial_state())
    }

    /// Whether a step leaves elements with gradient 0 and their states unchanged, so that it may skip them.
    fn skips_zeros(&self) -> bool {
        self.kernel().is_some_and(|kernel| kernel.skips_zeros())
    }

    /// The setting that a [`Group`](crate::Group) can replace.
    fn weight_decay_mut(&mut self) -> &mut f64;
}

/// The learning rate of a step and its number.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct StepAt {
    /// The learning rate.
    pub lr: f64,
    /// How many steps the parameter has taken, with this one.
    pub step: u64,
}

impl StepAt {
    /// `1 - beta^step`, by which an average of that many values with the decay rate beta, initially 0, is divided.
    pub(super) fn bias_correction(self, beta: f64) -> f64 {
        -(self.step as f64 * beta.ln()).exp_m1()
    }
}

/// `average = keep average + (1 - keep) x`.
pub(super) fn decay<B: Backend>(average: &mut Tensor<B>, x: &Tensor<B>, keep: f64) {
    *average *= keep;
    *average += x * (1.0 - keep);
}

/// `x` with weight decay, decoupled from the gradient (`param *= 1 - lr weight_decay`) or part of it
/// (`grad += weight_decay param`).
pub(super) fn decayed<B: Backend>(
    param: Tensor<B>,
    grad: Tensor<B>,
    weight_decay: f64,
    decoupled: Option<StepAt>,
) -> (Tensor<B>, Tensor<B>) {
    match decoupled {
        // Without decay, `0 param` would turn an infinite parameter into NaN.
        _ if weight_decay == 0.0 => (param, grad),
        Some(at) => (param * (1.0 - at.lr * weight_decay), grad),
        None => {
            let grad = grad + &param * weight_decay;
            (param, grad)
        }
    }
}
