//! Parameter groups: how the settings of some parameters differ from the optimizer's.

use crate::check::non_negative;

/// The settings of a parameter group that differ from the optimizer's: `Group::new().weight_decay(0.0).lr_scale(0.1)`.
#[must_use]
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Group {
    pub(super) weight_decay: Option<f64>,
    pub(super) lr_scale: f64,
    pub(super) lazy: bool,
}

impl Group {
    /// No difference.
    pub fn new() -> Self {
        Group { weight_decay: None, lr_scale: 1.0, lazy: false }
    }

    /// Replaces the optimizer's weight decay.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn weight_decay(mut self, weight_decay: f64) -> Self {
        self.weight_decay = Some(non_negative("Group", "the weight decay", weight_decay));
        self
    }

    /// Multiplies the optimizer's learning rate.
    ///
    /// # Panics
    /// If it is negative or not finite.
    #[track_caller]
    pub fn lr_scale(mut self, lr_scale: f64) -> Self {
        self.lr_scale = non_negative("Group", "the scale of the learning rate", lr_scale);
        self
    }

    /// Updates only the rows of an embedding that the batch has read, where the gradient is row-sparse
    /// ([`Gradients::rows`](minitorch_core::Gradients::rows)). PyTorch: the nearest is `optim.SparseAdam`.
    ///
    /// Momentum, running averages and weight decay then act on a row only in the steps that read it, and the cost of a
    /// step is proportional to these rows, not to the table. Bias corrections count the steps of the parameter, not of
    /// the row. SGD dampens the first velocity of a row too. A dense gradient (the table has other uses, or
    /// [`Gradients::map`] was called) updates the whole table.
    ///
    /// Rules to which a zero gradient makes no difference (SGD without momentum, Adagrad; both without weight decay)
    /// update rows only, without this setting, where the rows are few. Results then differ by rounding at most.
    ///
    /// [`Gradients::map`]: minitorch_core::Gradients::map
    ///
    /// ```
    /// use minitorch::prelude::*;
    ///
    /// let optimizer: Adam<Cpu> = Adam::new(1e-3).group(|name, _| name == "embedding.weight", Group::new().lazy());
    /// ```
    pub fn lazy(mut self) -> Self {
        self.lazy = true;
        self
    }
}

impl Default for Group {
    fn default() -> Self {
        Group::new()
    }
}
