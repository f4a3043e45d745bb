//! Judges a model by the test set.

use super::Classes;
use minitorch::nn::data::ImageDataset;
use minitorch::prelude::*;
use std::fmt::Write;

/// Images per step; no gradients, so more fit than in training.
const BATCH: usize = 1000;

/// A test image that was read wrongly.
pub(crate) struct Mistake {
    /// Which image of the test set.
    pub(crate) image: usize,
    /// What it is.
    pub(crate) truth: usize,
    /// What the model says.
    pub(crate) predicted: usize,
    /// The probability that the model gives to that.
    pub(crate) confidence: f64,
}

/// A model's result on the test set.
pub(crate) struct Score {
    /// The mean cross-entropy.
    pub(crate) loss: f64,
    /// Per class: how many images were read rightly, and how many there are.
    pub(crate) classes: Vec<(usize, usize)>,
    /// The mistakes, the most confident first.
    pub(crate) mistakes: Vec<Mistake>,
}

impl Score {
    /// The share of images that were read rightly.
    pub(crate) fn accuracy(&self) -> f64 {
        let (right, all) = self.classes.iter().fold((0, 0), |sum, class| (sum.0 + class.0, sum.1 + class.1));
        right as f64 / all as f64
    }

    /// The accuracy for each class, in lines.
    pub(crate) fn table(&self, Classes { kind, names }: Classes) -> String {
        let width = names.iter().map(|name| name.len()).fold(kind.len(), usize::max);
        let mut table = format!("{kind:width$}  accuracy");
        for (name, &(right, all)) in names.iter().zip(&self.classes) {
            // Writing to a String cannot fail.
            let _ = match all {
                0 => write!(table, "\n{name:width$}  {:>8} (no such image)", "-"),
                _ => write!(table, "\n{name:width$}  {:7.2} %  ({right} of {all})", 100.0 * right as f64 / all as f64),
            };
        }
        table
    }
}

/// Runs the model over the whole set, or until it is told to stop, and then there is no score; leaves it evaluating.
///
/// # Errors
/// If the device fails.
pub(crate) fn score<B: Backend>(
    model: &mut impl Layer<B>,
    test: &ImageDataset,
    classes: Classes,
    stop: impl Fn() -> bool,
    device: &B,
) -> Result<Option<Score>> {
    model.eval();
    let count = classes.names.len();
    let mut score = Score { loss: 0.0, classes: vec![(0, 0); count], mistakes: Vec::new() };
    for (batch, uploaded) in test.batches(BATCH, device).enumerate() {
        if stop() {
            return Ok(None);
        }
        let (images, _) = uploaded?;
        let log_probabilities: Vec<f32> = no_grad(|| model.forward(&images).log_softmax(-1)).to_vec()?;
        for (i, row) in log_probabilities.chunks_exact(count).enumerate() {
            let image = batch * BATCH + i;
            let truth = test.labels()[image] as usize;
            // The first of equals, as argmax; NaN never wins.
            let predicted = (1..count).fold(0, |best, class| if row[class] > row[best] { class } else { best });
            score.loss -= row[truth] as f64;
            score.classes[truth].1 += 1;
            if predicted == truth {
                score.classes[truth].0 += 1;
            } else {
                let confidence = (row[predicted] as f64).exp();
                score.mistakes.push(Mistake { image, truth, predicted, confidence });
            }
        }
    }
    score.loss /= test.len() as f64;
    score.mistakes.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    // A stop during the last batch counts as well.
    Ok((!stop()).then_some(score))
}
