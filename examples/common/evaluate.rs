//! Judges a model by a set of examples.

use super::{Classes, Labelled};
use minitorch::prelude::*;
use std::fmt::Write;

/// An example that the model classifies wrongly.
pub(crate) struct Mistake {
    /// Which one of the set.
    pub(crate) example: usize,
    /// What it is.
    pub(crate) truth: usize,
    /// What the model says.
    pub(crate) predicted: usize,
    /// The probability that the model gives to that.
    pub(crate) confidence: f64,
}

/// A model's result on a set.
pub(crate) struct Score {
    /// The mean cross-entropy.
    pub(crate) loss: f64,
    /// Per class: how many examples were classified rightly, and how many there are.
    pub(crate) classes: Vec<(usize, usize)>,
    /// The mistakes, the most confident first.
    pub(crate) mistakes: Vec<Mistake>,
}

impl Score {
    /// The share of examples that were classified rightly.
    pub(crate) fn accuracy(&self) -> f64 {
        let (right, all) = self.classes.iter().fold((0, 0), |sum, class| (sum.0 + class.0, sum.1 + class.1));
        right as f64 / all as f64
    }

    /// The accuracy for each class, in lines; `example` is what an example is called.
    pub(crate) fn table(&self, Classes { kind, names }: Classes, example: &str) -> String {
        let width = names.iter().map(|name| name.len()).fold(kind.len(), usize::max);
        let mut table = format!("{kind:width$}  accuracy");
        for (name, &(right, all)) in names.iter().zip(&self.classes) {
            // Writing to a String cannot fail.
            let _ = match all {
                0 => write!(table, "\n{name:width$}  {:>8} (no such {example})", "-"),
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
pub(crate) fn score<B: Backend, D: Labelled>(
    model: &mut impl Layer<B>,
    set: &D,
    classes: Classes,
    stop: impl Fn() -> bool,
    device: &B,
) -> Result<Option<Score>> {
    model.eval();
    let count = classes.names.len();
    let mut score = Score { loss: 0.0, classes: vec![(0, 0); count], mistakes: Vec::new() };
    for (batch, uploaded) in set.batches(D::JUDGED_AT_ONCE, device).enumerate() {
        if stop() {
            return Ok(None);
        }
        let (inputs, _) = D::pair(uploaded?);
        let log_probabilities: Vec<f32> = no_grad(|| model.forward(&inputs).log_softmax(-1)).to_vec()?;
        for (i, row) in log_probabilities.chunks_exact(count).enumerate() {
            let example = batch * D::JUDGED_AT_ONCE + i;
            let truth = set.labels()[example] as usize;
            // The first of equals, as argmax; NaN never wins.
            let predicted = (1..count).fold(0, |best, class| if row[class] > row[best] { class } else { best });
            score.loss -= row[truth] as f64;
            score.classes[truth].1 += 1;
            if predicted == truth {
                score.classes[truth].0 += 1;
            } else {
                let confidence = (row[predicted] as f64).exp();
                score.mistakes.push(Mistake { example, truth, predicted, confidence });
            }
        }
    }
    score.loss /= set.len() as f64;
    score.mistakes.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    // A stop during the last batch counts as well.
    Ok((!stop()).then_some(score))
}
