//! Step-wise decay, and warm-up before another schedule.

use super::Schedule;
use crate::check::non_negative;

/// A constant rate. PyTorch: no scheduler.
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
        Constant { lr: non_negative("Constant", "the rate", lr) }
    }
}

impl Schedule for Constant {
    fn lr(&self, _: usize) -> f64 {
        self.lr
    }
}

/// `lr gamma^floor(step / every)`. PyTorch: `StepLR`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct StepLr {
    lr: f64,
    every: usize,
    gamma: f64,
}

impl StepLr {
    /// Multiplies the rate by `gamma` after every `every` steps.
    ///
    /// # Panics
    /// If `every` is 0, or a number is negative or not finite.
    #[track_caller]
    pub fn new(lr: f64, every: usize, gamma: f64) -> Self {
        assert!(every > 0, "StepLr: the rate falls after every 1 step or more, not 0");
        StepLr { lr: non_negative("StepLr", "the rate", lr), every, gamma: non_negative("StepLr", "gamma", gamma) }
    }
}

impl Schedule for StepLr {
    fn lr(&self, step: usize) -> f64 {
        self.lr * power(self.gamma, step / self.every)
    }
}

/// `lr gamma^n`, n being the number of milestones up to `step`. PyTorch: `MultiStepLR`.
#[derive(Clone, PartialEq, Debug)]
pub struct MultiStepLr {
    lr: f64,
    milestones: Vec<usize>,
    gamma: f64,
}

impl MultiStepLr {
    /// Multiplies the rate by `gamma` at each of these steps, in any order; a step that occurs twice counts twice.
    ///
    /// # Panics
    /// If a number is negative or not finite.
    #[track_caller]
    pub fn new(lr: f64, milestones: impl Into<Vec<usize>>, gamma: f64) -> Self {
        let (lr, gamma) = (non_negative("MultiStepLr", "the rate", lr), non_negative("MultiStepLr", "gamma", gamma));
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
    /// Multiplies the rate by `gamma` after every step.
    ///
    /// # Panics
    /// If a number is negative or not finite.
    #[track_caller]
    pub fn new(lr: f64, gamma: f64) -> Self {
        ExponentialLr {
            lr: non_negative("ExponentialLr", "the rate", lr),
            gamma: non_negative("ExponentialLr", "gamma", gamma),
        }
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

/// Linear warm-up, then another schedule from its step 0. In step `s < steps` the rate is the first rate of that
/// schedule times `start + (1 - start) s / steps`. PyTorch: `SequentialLR` of `LinearLR` and the other. Goyal et al.,
/// "Accurate, large minibatch SGD", 2017.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct WarmUp<S> {
    steps: usize,
    start: f64,
    then: S,
}

impl<S: Schedule> WarmUp<S> {
    /// `steps` steps of warm-up from `start` times the first rate of `then`.
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
