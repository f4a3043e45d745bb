//! Dropout.

use crate::Module;
use crate::module::Training;
use crate::observe::observe;
use crate::place;
use minitorch_core::{Backend, Tensor};

/// In training mode, zeroes each element with probability `p` and divides the others by `1 - p`; in evaluation, the
/// identity. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting", 2014. PyTorch:
/// `nn.Dropout`.
#[derive(Module, Clone, Copy)]
pub struct Dropout {
    /// The probability that an element is zeroed.
    pub p: f64,
    /// The mode; set by [`Module::train`] and [`Module::eval`].
    pub training: Training,
}

impl Dropout {
    /// Dropout with probability `p`, in training mode.
    ///
    /// # Panics
    /// If `p` is not in [0, 1].
    #[track_caller]
    pub fn new(p: f64) -> Self {
        assert!((0.0..=1.0).contains(&p), "Dropout: the probability {p} is not in [0, 1]");
        Dropout { p, training: Training(true) }
    }

    /// See [`Tensor::dropout`].
    #[track_caller]
    pub fn forward<B: Backend>(&self, x: &Tensor<B>) -> Tensor<B> {
        let _running = place::layer(self);
        observe(self, if self.training.is_on() { x.dropout(self.p) } else { x.clone() })
    }
}

/// In training mode, zeroes entire channels of `[n, c, ..]`, each with probability `p`, and divides the others by `1 -
/// p`; in evaluation, the identity. Neighbouring pixels are correlated, so dropping single ones would have little
/// effect. Tompson et al., "Efficient object localization using convolutional networks", 2015. PyTorch: `nn.Dropout2d`.
#[derive(Module, Clone, Copy)]
pub struct Dropout2d {
    /// The probability that a channel is zeroed.
    pub p: f64,
    /// The mode; set by [`Module::train`] and [`Module::eval`].
    pub training: Training,
}

impl Dropout2d {
    /// Dropout with probability `p`, in training mode.
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
        let _running = place::layer(self);
        observe(self, if self.training.is_on() { x.dropout2d(self.p) } else { x.clone() })
    }
}
