//! The convolutional network for sentences: Kim, "Convolutional neural networks for sentence classification", 2014.

use minitorch::prelude::*;

/// The kernel width of each branch, in words.
pub(crate) const WIDTHS: [usize; 3] = [3, 4, 5];

/// The minimal length of an input, so that every branch has a window.
pub(crate) const SHORTEST: usize = 5;

/// Feature maps of each branch.
pub(crate) const MAPS: usize = 100;

/// The id of padding, at the end of a sentence.
const PADDING: i32 = 0;

/// Three convolutions of different widths over the same word vectors, the maximum of each map over time, dropout, a
/// linear layer: 120,902 parameters for 100-dimensional vectors, not counting the vectors.
///
/// The logits of a sentence do not depend on its padding, and so not on the other sentences of its batch.
#[derive(Module)]
pub(crate) struct TextCnn<B: Backend> {
    pub(crate) embedding: Embedding<B>,
    pub(crate) convs: [Conv1d<B>; 3],
    dropout: Dropout,
    pub(crate) linear: Linear<B>,
}

impl<B: Backend> TextCnn<B> {
    /// A network on word vectors `[words, d]`, of which row 0 is padding. Initial weights from the device's random
    /// state.
    pub(crate) fn new(vectors: Tensor<B>, trained: bool, device: &B) -> Self {
        let [_, dim] = vectors.dims();
        let mut embedding = Embedding::from_vectors(vectors);
        if !trained {
            embedding.weight.freeze();
        }
        TextCnn {
            embedding,
            convs: WIDTHS.map(|width| Conv1d::new(dim, MAPS, width, device)),
            dropout: Dropout::new(0.5),
            linear: Linear::new(WIDTHS.len() * MAPS, 2, device),
        }
    }

    /// Ids `[n, t]` to vectors `[n, t, d]`.
    ///
    /// Padding is masked to zeros, which also removes its gradient: a sentence that is shorter than a window reads it.
    pub(crate) fn embed(&self, ids: &Tensor<B>) -> Tensor<B> {
        self.embedding.forward(ids).masked_fill(&ids.eq(PADDING).unsqueeze(-1), 0.0)
    }

    /// The maps of one branch over time, `[n, t - width + 1, 100]`, from [`embed`](Self::embed)'s result and the ids.
    ///
    /// Outputs of windows that reach into padding are set to -infinity, so that they are never the maximum; except the
    /// first window, the only one of a sentence that is shorter than it.
    pub(crate) fn responses(&self, branch: usize, x: &Tensor<B>, ids: &Tensor<B>) -> Tensor<B> {
        let y = self.convs[branch].forward(&x.transpose(1, 2)).transpose(1, 2);
        let [_, windows, _] = y.dims();
        let last_word = ids.narrow(1, WIDTHS[branch] - 1, windows); // of each window
        let not_first = Tensor::arange(0..windows as i32, ids.device()).gt(0);
        let masked = last_word.eq(PADDING).logical_and(&not_first); // [n, windows]
        // Adding a constant mask has a cheaper gradient than a masked fill.
        let [n, _] = ids.dims();
        let mask = Tensor::zeros([n, windows, 1], ids.device()).masked_fill(&masked.unsqueeze(-1), f64::NEG_INFINITY);
        y + mask
    }

    /// `[n, 300]`: the maximum over time of every map, after ReLU.
    pub(crate) fn features(&self, ids: &Tensor<B>) -> Tensor<B> {
        let x = self.embed(ids);
        let maxima = [0, 1, 2].map(|branch| self.responses(branch, &x, ids).max(1));
        Tensor::cat(&maxima, 1).relu()
    }
}

impl<B: Backend> Layer<B> for TextCnn<B> {
    /// Ids `[n, t]` (I32), t at least [`SHORTEST`], to the logits `[n, 2]` of negative and positive.
    fn forward(&self, ids: &Tensor<B>) -> Tensor<B> {
        self.linear.forward(&self.dropout.forward(&self.features(ids)))
    }
}
