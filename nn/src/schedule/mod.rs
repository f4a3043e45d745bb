//! Learning rates over time, for [`Optimizer::set_lr`](crate::Optimizer::set_lr).

mod cosine;
mod plateau;
mod steps;
#[cfg(test)]
mod tests;

pub use cosine::{Cosine, CosineRestarts, OneCycle};
pub use plateau::Plateau;
pub use steps::{Constant, ExponentialLr, MultiStepLr, StepLr, WarmUp};

/// A learning rate for each step: `optimizer.set_lr(schedule.lr(step))` before the step. The caller decides what a step
/// is, a batch or an epoch. A schedule is a function of the step, so it has no state to save; except [`Plateau`], which
/// depends on losses and [saves its state](Plateau::save).
///
/// ```
/// use minitorch::prelude::*;
///
/// let schedule = WarmUp::new(10, 0.1, Cosine::new(0.3, 100));
/// assert!((schedule.lr(0) - 0.03).abs() < 1e-12);
/// assert!((schedule.lr(10) - 0.3).abs() < 1e-12);
/// ```
pub trait Schedule {
    /// The rate of a step, counted from 0.
    fn lr(&self, step: usize) -> f64;
}

impl<S: Schedule + ?Sized> Schedule for Box<S> {
    fn lr(&self, step: usize) -> f64 {
        (**self).lr(step)
    }
}
