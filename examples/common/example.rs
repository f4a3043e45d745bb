//! What an example brings for `train.rs`: data, a model and its recipe.

use super::evaluate::{Classes, Score};
use super::output::Output;
use minitorch::nn::data::Split;
use minitorch::prelude::*;
use std::collections::BTreeMap;

/// Examples with labels.
pub(crate) trait Labelled: Dataset {
    /// The noun for one of them; its plural ends in s.
    const KIND: &'static str;
    /// The batch size of an evaluation. No gradients are kept, so more fit than in training.
    const EVALUATED_AT_ONCE: usize;

    /// The model's input, and labels `[n]` (I32).
    fn pair<B: Backend>(batch: Self::Batch<B>) -> (Tensor<B>, Tensor<B>);
}

/// One example, on any backend.
pub(crate) trait Example {
    /// The data sets.
    type Data: Labelled;
    /// The model: inputs `[n, ..]` to logits `[n, classes]`.
    type Model<B: Backend>: Layer<B>;

    /// The files that [`show`](Example::show) writes.
    const FILES: &'static [&'static str];

    /// The untrained model, with weights from the device's random state, and its recipe.
    fn task<B: Backend>(&self, device: &B) -> Task<Self::Model<B>, B>;

    /// A data set, with the augmentation of the training set.
    ///
    /// # Errors
    /// If it cannot be read.
    fn data(&self, split: Split) -> Result<Self::Data>;

    /// The set that evaluates the epochs, if not the test set. The weights of the best epoch are then kept, and the
    /// test set evaluates them once, at the end.
    ///
    /// # Errors
    /// If it cannot be read.
    fn validation(&self) -> Result<Option<Self::Data>> {
        Ok(None)
    }

    /// Texts for the header of the weights' files.
    fn metadata(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// Writes [`FILES`](Example::FILES) after training, from the result on the test set.
    ///
    /// # Errors
    /// If the device or the file system fails.
    fn show<B: Backend>(
        &self,
        model: &Self::Model<B>,
        score: &Score,
        test: &Self::Data,
        output: &Output,
        device: &B,
    ) -> Result<()>;
}

/// A model and its recipe.
pub(crate) struct Task<M, B: Backend> {
    /// The model's name, in messages.
    pub(crate) name: &'static str,
    pub(crate) model: M,
    pub(crate) optimizer: Box<dyn Optimizer<B>>,
    /// Makes the schedule, from the highest learning rate and the number of steps.
    pub(crate) schedule: fn(f64, usize) -> Box<dyn Schedule>,
    pub(crate) classes: Classes,
}
