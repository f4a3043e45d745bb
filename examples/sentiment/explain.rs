//! The difference of the network's logits as an exact sum over the words and the biases.
//!
//! A feature m, the maximum of a map after ReLU, adds `v = W[1, m] - W[0, m]` times its value to the difference. If it
//! is positive, its value is the bias of the map plus one product per word of the window with the maximum: the word at
//! position k of a window that starts at word j contributes `v * sum over d of w[m, d, k] x[d, j + k]`.

use crate::model::{MAPS, SHORTEST, TextCnn, WIDTHS};
use minitorch::prelude::*;

/// The logit of positive minus that of negative, and its summands.
pub(crate) struct Explanation {
    /// As computed by the network.
    pub(crate) difference: f64,
    /// The contribution of each word.
    pub(crate) words: Vec<f64>,
    /// The contribution of the biases: those of the linear layer, and of the maps with a positive maximum.
    pub(crate) biases: f64,
}

/// Explains the decision on one sentence. The model must be in evaluation mode.
///
/// # Errors
/// If the device fails.
pub(crate) fn explain<B: Backend>(model: &TextCnn<B>, sentence: &[i32], device: &B) -> Result<Explanation> {
    let t = sentence.len().max(SHORTEST);
    let mut padded = sentence.to_vec();
    padded.resize(t, 0);
    let ids = Tensor::from_vec(padded, [1, t], device);
    no_grad(|| {
        let logits: Vec<f32> = model.forward(&ids).to_vec()?;
        let difference = logits[1] as f64 - logits[0] as f64;
        let linear: Vec<f32> = model.linear.weight.to_vec()?; // [2, features]
        let mut biases = 0.0;
        if let Some(bias) = &model.linear.bias {
            let bias: Vec<f32> = bias.to_vec()?;
            biases = bias[1] as f64 - bias[0] as f64;
        }

        let x = model.embed(&ids);
        let [_, _, dim] = x.dims();
        let vectors: Vec<f32> = x.to_vec()?; // [1, t, dim]
        let mut words = vec![0.0; t];
        for (branch, width) in WIDTHS.into_iter().enumerate() {
            let (maxima, starts) = model.responses(branch, &x, &ids).max_with_index(1);
            let (maxima, starts): (Vec<f32>, Vec<i32>) = (maxima.to_vec()?, starts.to_vec()?);
            let conv = &model.convs[branch];
            let kernels: Vec<f32> = conv.weight.to_vec()?; // [maps, dim, width]
            let bias: Vec<f32> = conv.bias.as_ref().map_or(Ok(vec![0.0; MAPS]), |bias| bias.to_vec())?;
            for map in (0..MAPS).filter(|&map| maxima[map] > 0.0) {
                let feature = branch * MAPS + map;
                let v = linear[WIDTHS.len() * MAPS + feature] as f64 - linear[feature] as f64;
                biases += v * bias[map] as f64;
                for k in 0..width {
                    let word = starts[map] as usize + k;
                    let product =
                        |d: usize| kernels[(map * dim + d) * width + k] as f64 * vectors[word * dim + d] as f64;
                    words[word] += v * (0..dim).map(product).sum::<f64>();
                }
            }
        }
        words.truncate(sentence.len()); // padding is zeros and contributes nothing
        Ok(Explanation { difference, words, biases })
    })
}
