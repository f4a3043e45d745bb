//! Learning rates over time, for [`Optimizer::set_lr`](crate::Optimizer::set_lr).

mod cosine;
mod plateau;
mod steps;
#[cfg(test)]
mod tests;

pub use cosine::{Cosine, CosineRestarts, OneCycle};
pub use plateau::Plateau;
pub use steps::{Constant, ExponentialLr, MultiStepLr, StepLr, WarmUp};

/// A learning rate for each step: `optimizer.set_lr(schedule.lr(step))` before the step. A "step" is whatever the caller
/// counts, batches or epochs. Being a function of the step, a schedule has nothing to save.
///
/// ```
/// use minitorch_nn::{Cosine, Schedule, WarmUp};
/// let schedule = WarmUp::new(10, 0.1, Cosine::new(0.3, 100));
/// assert!((schedule.lr(0) - 0.03).abs() < 1e-12);
/// assert!((schedule.lr(10) - 0.3).abs() < 1e-12);
/// ```
pub trait Schedule {
    /// The rate of step `step`, counted from 0.
    fn lr(&self, step: usize) -> f64;
}

impl<S: Schedule + ?Sized> Schedule for Box<S> {
    fn lr(&self, step: usize) -> f64 {
        (**self).lr(step)
    }
}

/// A rate, or a factor of one.
#[track_caller]
fn checked(what: &str, value: f64) -> f64 {
    assert!(value.is_finite() && value >= 0.0, "{what} must be a finite number of at least 0, not {value}");
    value
}
