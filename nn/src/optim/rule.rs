//! What distinguishes one optimizer from another.

use minitorch_core::backend::StepRule;

/// The settings of an update rule, such as [`SgdConfig`](minitorch_core::backend::SgdConfig): all that distinguishes
/// one [`RuleOptimizer`](crate::RuleOptimizer) from another.
pub trait Rule: Copy {
    /// The optimizer's name, in messages and in the files of saved state.
    const NAME: &'static str;

    /// The rule as the backend computes it.
    ///
    /// # Panics
    /// If the settings contradict each other.
    #[track_caller]
    fn step_rule(&self) -> StepRule;

    /// The setting that a [`Group`](crate::Group) can replace.
    fn weight_decay_mut(&mut self) -> &mut f64;
}
