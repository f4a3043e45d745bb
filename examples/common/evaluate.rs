//! The result of a classifier on a set of examples.

use minitorch::prelude::*;
use std::fmt::Write;

/// What the labels mean.
#[derive(Clone, Copy)]
pub(crate) struct Classes {
    /// What a class is called: digit, class.
    pub(crate) kind: &'static str,
    /// Their names, by label.
    pub(crate) names: &'static [&'static str],
}

/// An example that the model classifies wrongly.
pub(crate) struct Mistake {
    /// Its position in the set.
    pub(crate) example: usize,
    pub(crate) label: usize,
    pub(crate) predicted: usize,
    /// The probability of the predicted class.
    pub(crate) confidence: f64,
}

/// A model's result on a set.
pub(crate) struct Score {
    pub(crate) classes: Classes,
    /// The mean cross-entropy.
    pub(crate) loss: f64,
    /// Per class: examples that were classified correctly, and all examples.
    pub(crate) counts: Vec<(usize, usize)>,
    /// The mistakes, the most confident first.
    pub(crate) mistakes: Vec<Mistake>,
}

impl Score {
    /// The score of no examples.
    pub(crate) fn new(classes: Classes) -> Self {
        Score { classes, loss: 0.0, counts: vec![(0, 0); classes.names.len()], mistakes: Vec::new() }
    }

    /// Adds the next examples of the set: logits `[n, classes]`, labels `[n]`.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn add<B: Backend>(&mut self, logits: &Tensor<B>, labels: &Tensor<B>) -> Result<()> {
        let log_probabilities: Vec<f32> = logits.detach().log_softmax(-1).to_vec()?;
        let (first, count) = (self.len(), self.counts.len());
        for (i, (row, label)) in log_probabilities.chunks_exact(count).zip(labels.to_vec::<i32>()?).enumerate() {
            let label = label as usize;
            // Ties: the first class, as argmax; NaN is never the largest.
            let predicted = (1..count).fold(0, |best, class| if row[class] > row[best] { class } else { best });
            self.loss -= row[label] as f64;
            self.counts[label].1 += 1;
            if predicted == label {
                self.counts[label].0 += 1;
            } else {
                let confidence = (row[predicted] as f64).exp();
                self.mistakes.push(Mistake { example: first + i, label, predicted, confidence });
            }
        }
        Ok(())
    }

    /// After the last example: makes the sum of the losses a mean, and sorts the mistakes.
    pub(crate) fn finish(mut self) -> Self {
        self.loss /= self.len() as f64;
        self.mistakes.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        self
    }

    fn len(&self) -> usize {
        self.counts.iter().map(|&(_, all)| all).sum()
    }

    /// The share of examples that were classified correctly.
    pub(crate) fn accuracy(&self) -> f64 {
        let right: usize = self.counts.iter().map(|&(right, _)| right).sum();
        right as f64 / self.len() as f64
    }

    /// The accuracy per class, one line each; `example` is what an example is called.
    pub(crate) fn table(&self, example: &str) -> String {
        let Classes { kind, names } = self.classes;
        let width = names.iter().map(|name| name.len()).fold(kind.len(), usize::max);
        let mut table = format!("{kind:width$}  accuracy");
        for (name, &(right, all)) in names.iter().zip(&self.counts) {
            // Writing to a String cannot fail.
            let _ = match all {
                0 => write!(table, "\n{name:width$}  {:>8} (no such {example})", "-"),
                _ => write!(table, "\n{name:width$}  {:7.2} %  ({right} of {all})", 100.0 * right as f64 / all as f64),
            };
        }
        table
    }
}
