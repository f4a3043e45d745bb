//! Cosine annealing.

use super::Schedule;
use crate::check::non_negative;
use std::f64::consts::PI;

/// One cycle: the rate rises from `peak / 25` to `peak` along half a cosine over the first 30 % of the steps, then
/// falls along another to `peak / 250,000`. Cycles of up to 3 steps only fall. Smith and Topin, "Super-convergence",
/// 2017. PyTorch: `OneCycleLR` with `cycle_momentum=False`.
///
/// ```
/// use minitorch::prelude::*;
///
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
    /// A cycle of `steps` steps.
    ///
    /// # Panics
    /// If the rate is negative or not finite.
    #[track_caller]
    pub fn new(peak: f64, steps: usize) -> Self {
        OneCycle { peak: non_negative("OneCycle", "the peak", peak), steps }
    }

    /// The rate of a step, counted from 0; after the last step, the last rate.
    pub fn lr(&self, step: usize) -> f64 {
        let (start, end) = (self.peak / 25.0, self.peak / 25.0 / 1e4);
        // The step of the peak; negative in a cycle of up to 3 steps.
        let rise = 0.3 * self.steps as f64 - 1.0;
        let fall = self.steps as f64 - 1.0 - rise;
        let step = step as f64;
        if step <= rise {
            cosine(start, self.peak, step / rise)
        } else {
            cosine(self.peak, end, ((step - rise) / fall).min(1.0))
        }
    }
}

impl Schedule for OneCycle {
    fn lr(&self, step: usize) -> f64 {
        self.lr(step)
    }
}

/// From `lr` at step 0 to `eta_min` at step `steps` along half a cosine, and `eta_min` from there on. PyTorch:
/// `CosineAnnealingLR`, which rises again after `T_max`.
#[must_use]
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Cosine {
    lr: f64,
    steps: usize,
    eta_min: f64,
}

impl Cosine {
    /// From `lr` to 0 in `steps` steps.
    ///
    /// # Panics
    /// If the rate is negative or not finite, or there are no steps.
    #[track_caller]
    pub fn new(lr: f64, steps: usize) -> Self {
        assert!(steps > 0, "Cosine: wants at least 1 step");
        Cosine { lr: non_negative("Cosine", "the rate", lr), steps, eta_min: 0.0 }
    }

    /// Sets the final rate.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn eta_min(mut self, eta_min: f64) -> Self {
        self.eta_min = non_negative("Cosine", "eta_min", eta_min);
        self
    }
}

impl Schedule for Cosine {
    fn lr(&self, step: usize) -> f64 {
        cosine(self.lr, self.eta_min, (step as f64 / self.steps as f64).min(1.0))
    }
}

/// [`Cosine`] again and again, each cycle `factor` times as long as the one before: within a cycle of length T, t steps
/// after its start, `eta_min + (lr - eta_min) (1 + cos(pi t / T)) / 2`. Loshchilov and Hutter, "SGDR: stochastic
/// gradient descent with warm restarts", 2016. PyTorch: `CosineAnnealingWarmRestarts`.
#[must_use]
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CosineRestarts {
    lr: f64,
    first: usize,
    factor: usize,
    eta_min: f64,
}

impl CosineRestarts {
    /// From `lr` to 0 in each cycle. The first cycle has `first` steps (`T_0`), every next one `factor` (`T_mult`)
    /// times as many.
    ///
    /// # Panics
    /// If the rate is negative or not finite, or `first` or `factor` is 0.
    #[track_caller]
    pub fn new(lr: f64, first: usize, factor: usize) -> Self {
        assert!(
            first > 0 && factor > 0,
            "CosineRestarts: the first cycle and the factor must be at least 1, not {first} and {factor}"
        );
        CosineRestarts { lr: non_negative("CosineRestarts", "the rate", lr), first, factor, eta_min: 0.0 }
    }

    /// Sets the final rate.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn eta_min(mut self, eta_min: f64) -> Self {
        self.eta_min = non_negative("CosineRestarts", "eta_min", eta_min);
        self
    }
}

impl Schedule for CosineRestarts {
    fn lr(&self, step: usize) -> f64 {
        let (mut at, mut length) = (step, self.first);
        if self.factor == 1 {
            at %= length;
        }
        // Cycles grow geometrically, so there are few iterations.
        while at >= length {
            at -= length;
            length = length.saturating_mul(self.factor);
        }
        cosine(self.lr, self.eta_min, at as f64 / length as f64)
    }
}

/// From `a` at 0 to `b` at 1 along half a cosine.
fn cosine(a: f64, b: f64, share: f64) -> f64 {
    b + (a - b) * (1.0 + (PI * share).cos()) / 2.0
}
