//! Learning rates over time: functions of the step, for [`Optimizer::set_lr`](crate::Optimizer::set_lr).

use std::f64::consts::PI;

/// One cycle: the rate rises from `peak / 25` to `peak` along half a cosine over the first 30 % of the steps, then falls
/// along another to `peak / 250,000`. Smith and Topin, "Super-convergence", 2017. PyTorch: `OneCycleLR` (which also
/// cycles the momentum unless told not to).
///
/// ```
/// # use minitorch_nn::OneCycle;
/// let cycle = OneCycle::new(4e-3, 1000);
/// let close = |a: f64, b: f64| (a - b).abs() < 1e-12;
/// assert!(close(cycle.lr(0), 4e-3 / 25.0));
/// assert!(close(cycle.lr(299), 4e-3));
/// assert!(close(cycle.lr(999), 4e-3 / 250_000.0));
/// ```
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct OneCycle {
    peak: f64,
    steps: usize,
}

impl OneCycle {
    /// A cycle of so many steps.
    pub fn new(peak: f64, steps: usize) -> Self {
        OneCycle { peak, steps }
    }

    /// The rate of step `step`, counted from 0; after the last step, the last rate.
    pub fn lr(&self, step: usize) -> f64 {
        let (start, end) = (self.peak / 25.0, self.peak / 25.0 / 1e4);
        let rise = (0.3 * self.steps as f64 - 1.0).max(0.0);
        let fall = (self.steps as f64 - 1.0 - rise).max(1.0);
        let step = step as f64;
        if step <= rise {
            cosine(start, self.peak, if rise > 0.0 { step / rise } else { 1.0 })
        } else {
            cosine(self.peak, end, ((step - rise) / fall).min(1.0))
        }
    }
}

/// From `a` at 0 to `b` at 1 along half a cosine.
fn cosine(a: f64, b: f64, share: f64) -> f64 {
    b + (a - b) * (1.0 + (PI * share).cos()) / 2.0
}
