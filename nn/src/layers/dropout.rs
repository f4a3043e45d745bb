//! Dropout.

use crate::Module;
use crate::module::{Layer, Training};
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
        if self.training.0 { x.dropout(self.p) } else { x.clone() }
    }
}

impl<B: Backend> Layer<B> for Dropout {
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        self.forward(x)
    }
}
