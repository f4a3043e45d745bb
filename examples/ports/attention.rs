//! Causal multi-head attention from its equations, in a transformer of one block that continues arithmetic progressions
//! modulo 11. Vaswani et al., "Attention is all you need", 2017.

use crate::twin::{same_weights, show, show_tensor};
use minitorch::prelude::*;

#[derive(Module)]
struct Transformer<B: Backend> {
    tokens: Embedding<B>, // of the input and, transposed, of the output
    positions: Param<B>,
    norm1: LayerNorm<B>,
    qkv: Linear<B>,
    projection: Linear<B>,
    norm2: LayerNorm<B>,
    mlp: Sequential<B>,
    heads: usize,
}

impl<B: Backend> Transformer<B> {
    fn new(vocabulary: usize, length: usize, dim: usize, heads: usize, device: &B) -> Self {
        let mlp = Sequential::new().push(Linear::new(dim, 4 * dim, device)).push(Gelu);
        Transformer {
            tokens: Embedding::new(vocabulary, dim, device),
            positions: Param::new(Tensor::zeros([length, dim], device)),
            norm1: LayerNorm::new(dim, device),
            qkv: Linear::new(dim, 3 * dim, device),
            projection: Linear::new(dim, dim, device),
            norm2: LayerNorm::new(dim, device),
            mlp: mlp.push(Linear::new(4 * dim, dim, device)),
            heads,
        }
    }

    /// `[n, t, dim]` to `[n, t, dim]`; step i attends to the steps up to i.
    fn attention(&self, x: &Tensor<B>) -> Tensor<B> {
        let [n, t, dim] = x.dims();
        let size = dim / self.heads;
        let qkv = self.qkv.forward(x).reshape([n, t, 3, self.heads, size]).permute([2, 0, 3, 1, 4]);
        let [q, k, v] = [0, 1, 2].map(|i| qkv.slice(i)); // [n, heads, t, size]
        let scores = q.matmul(&k.transpose(-2, -1)) / (size as f64).sqrt();
        let future = Tensor::ones([t, t], (x.device(), DType::Bool)).triu(1);
        let weights = scores.masked_fill(&future, f64::NEG_INFINITY).softmax(-1);
        self.projection.forward(&weights.matmul(&v).transpose(1, 2).reshape([n, t, dim]))
    }

    /// Tokens `[n, t]` to the logits of the next ones, `[n, t, vocabulary]`.
    fn forward(&self, tokens: &Tensor<B>) -> Tensor<B> {
        let x = self.tokens.forward(tokens) + self.positions.slice(..tokens.shape()[1]);
        let x = &x + self.attention(&self.norm1.forward(&x));
        let x = &x + self.mlp.forward(&self.norm2.forward(&x));
        x.linear(&self.tokens.weight, None)
    }
}

pub(crate) fn run<B: Backend>(device: &B) -> Result<()> {
    let mut model = Transformer::new(11, 12, 32, 4, device);
    same_weights(&mut model);
    let start = Tensor::arange(0..33, device).unsqueeze(1);
    let step = start.remainder(3) + 1;
    let sequences = (start + step * Tensor::arange(0..13, device)).remainder(11); // [33, 13]
    let (x, next) = (sequences.slice((.., ..12)), sequences.slice((.., 1..)));
    let mut optimizer = AdamW::new(0.01).weight_decay(0.01);
    let mut losses = Vec::new();
    for _ in 0..40 {
        let loss = model.forward(&x).flatten(..2).cross_entropy(&next.flatten(..));
        optimizer.step(&mut model, &loss.backward());
        losses.push(loss.item()?);
    }
    show("losses", &[losses[0], losses[1], losses[10], losses[39]]);
    let accuracy = no_grad(|| model.forward(&x)).argmax(-1).eq(&next).cast(DType::F32).mean(..);
    show_tensor("accuracy", &accuracy)?;
    let mut tokens = Tensor::new([[4, 7, 10]], device);
    for _ in 0..6 {
        let best = no_grad(|| model.forward(&tokens)).slice((.., -1)).argmax(-1);
        tokens = Tensor::cat(&[tokens, best.unsqueeze(1)], 1);
    }
    show_tensor("continuation of 4 7 10", &tokens.cast(DType::F32))
}
