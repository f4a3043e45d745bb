//! Rates that fall by a factor, and the warm-up before any other.

use super::{Schedule, checked};

/// One rate for ever. PyTorch: no scheduler.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Constant {
    lr: f64,
}

impl Constant {
    /// This rate.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn new(lr: f64) -> Self {
        Constant { lr: checked("Constant: the rate", lr) }
    }
}

impl Schedule for Constant {
    fn lr(&self, _: usize) -> f64 {
        self.lr
    }
}

/// `lr gamma^(step / every)`, the quotient rounded down. PyTorch: `StepLR`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct StepLr {
    lr: f64,
    every: usize,
    gamma: f64,
}

impl StepLr {
    /// From `lr`, times `gamma` after every so many steps.
    ///
    /// # Panics
    /// If `every` is 0, or a number is negative or not finite.
    #[track_caller]
    pub fn new(lr: f64, every: usize, gamma: f64) -> Self {
        assert!(every > 0, "StepLr: the rate falls after every 1 step or more, not 0");
        StepLr { lr: checked("StepLr: the rate", lr), every, gamma: checked("StepLr: gamma", gamma) }
    }
}

impl Schedule for StepLr {
    fn lr(&self, step: usize) -> f64 {
        self.lr * power(self.gamma, step / self.every)
    }
}

/// `lr gamma^n`, n being how many milestones `step` has reached. PyTorch: `MultiStepLR`.
#[derive(Clone, PartialEq, Debug)]
pub struct MultiStepLr {
    lr: f64,
    milestones: Vec<usize>,
    gamma: f64,
}

impl MultiStepLr {
    /// From `lr`, times `gamma` at each of these steps, in any order; one that occurs twice counts twice.
    ///
    /// # Panics
    /// If a number is negative or not finite.
    #[track_caller]
    pub fn new(lr: f64, milestones: impl Into<Vec<usize>>, gamma: f64) -> Self {
        let (lr, gamma) = (checked("MultiStepLr: the rate", lr), checked("MultiStepLr: gamma", gamma));
        MultiStepLr { lr, milestones: milestones.into(), gamma }
    }
}

impl Schedule for MultiStepLr {
    fn lr(&self, step: usize) -> f64 {
        self.lr * power(self.gamma, self.milestones.iter().filter(|&&milestone| milestone <= step).count())
    }
}

/// `lr gamma^step`. PyTorch: `ExponentialLR`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ExponentialLr {
    lr: f64,
    gamma: f64,
}

impl ExponentialLr {
    /// From `lr`, times `gamma` after every step.
    ///
    /// # Panics
    /// If a number is negative or not finite.
    #[track_caller]
    pub fn new(lr: f64, gamma: f64) -> Self {
        ExponentialLr { lr: checked("ExponentialLr: the rate", lr), gamma: checked("ExponentialLr: gamma", gamma) }
    }
}

impl Schedule for ExponentialLr {
    fn lr(&self, step: usize) -> f64 {
        self.lr * power(self.gamma, step)
    }
}

fn power(gamma: f64, n: usize) -> f64 {
    gamma.powf(n as f64)
}

/// A linear rise over the first steps, then another schedule from its own step 0: in step `s < steps` the rate is that
/// schedule's first times `start + (1 - start) s / steps`. PyTorch: `SequentialLR` of `LinearLR` and the other. Goyal et
/// al., "Accurate, large minibatch SGD", 2017.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct WarmUp<S> {
    steps: usize,
    start: f64,
    then: S,
}

impl<S: Schedule> WarmUp<S> {
    /// So many steps up from `start` times the first rate of `then`.
    ///
    /// # Panics
    /// If `start` is outside [0, 1].
    #[track_caller]
    pub fn new(steps: usize, start: f64, then: S) -> Self {
        assert!((0.0..=1.0).contains(&start), "WarmUp: a start of {start} is outside [0, 1]");
        WarmUp { steps, start, then }
    }
}

impl<S: Schedule> Schedule for WarmUp<S> {
    fn lr(&self, step: usize) -> f64 {
        match step.checked_sub(self.steps) {
            Some(after) => self.then.lr(after),
            None => self.then.lr(0) * (self.start + (1.0 - self.start) * step as f64 / self.steps as f64),
        }
    }
}
