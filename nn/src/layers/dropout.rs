//! Dropout.

use crate::Module;
use crate::module::{Layer, Training};
use crate::summary::observed;
use minitorch_core::{Backend, Tensor};

/// While training, zeroes each element with probability `p` and divides the others by `1 - p`; in evaluation, nothing.
/// Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014. PyTorch: `nn.Dropout`.
#[derive(Module, Clone, Copy, Debug)]
pub struct Dropout {
    /// The probability of a zero.
    pub p: f64,
    /// The mode; set by [`Module::train`] and [`Module::eval`].
    pub training: Training,
}

impl Dropout {
    /// Dropout of probability `p`, training.
    ///
    /// # Panics
    /// If `p` is not in [0, 1].
    #[track_caller]
    pub fn new(p: f64) -> Self {
        assert!((0.0..=1.0).contains(&p), "Dropout: the probability {p} is not in [0, 1]");
        Dropout { p, training: Training(true) }
    }

    /// See [`Tensor::dropout`].
    pub fn forward<B: Backend>(&self, x: &Tensor<B>) -> Tensor<B> {
        observed(self, "Dropout", 0, if self.training.is_on() { x.dropout(self.p) } else { x.clone() })
    }
}

/// While training, zeroes whole channels of `[n, c, ..]`, each with probability `p`, and divides the others by `1 - p`; in
/// evaluation, nothing. Neighbouring pixels say the same, so that dropping one at a time would drop nothing. Tompson et
/// al., "Efficient object localization using convolutional networks", 2015. PyTorch: `nn.Dropout2d`.
#[derive(Module, Clone, Copy, Debug)]
pub struct Dropout2d {
    /// The probability of a channel of zeros.
    pub p: f64,
    /// The mode; set by [`Module::train`] and [`Module::eval`].
    pub training: Training,
}

impl Dropout2d {
    /// Dropout of probability `p`, training.
    ///
    /// # Panics
    /// If `p` is not in [0, 1].
    #[track_caller]
    pub fn new(p: f64) -> Self {
        assert!((0.0..=1.0).contains(&p), "Dropout2d: the probability {p} is not in [0, 1]");
        Dropout2d { p, training: Training(true) }
    }

    /// See [`Tensor::dropout2d`].
    ///
    /// # Panics
    /// If the rank is below 2.
    #[track_caller]
    pub fn forward<B: Backend>(&self, x: &Tensor<B>) -> Tensor<B> {
        observed(self, "Dropout2d", 0, if self.training.is_on() { x.dropout2d(self.p) } else { x.clone() })
    }
}

impl<B: Backend> Layer<B> for Dropout2d {
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        self.forward(x)
    }
}

impl<B: Backend> Layer<B> for Dropout {
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        self.forward(x)
    }
}
