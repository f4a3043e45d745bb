//! A variational autoencoder of digits. Kingma and Welling, "Auto-encoding variational Bayes", 2013.

use crate::twin::{normal, same_weights, show};
use minitorch::prelude::*;

#[derive(Module)]
struct Vae<B: Backend> {
    encoder: Linear<B>,
    mean: Linear<B>,
    log_variance: Linear<B>,
    decoder: Sequential<B>,
}

impl<B: Backend> Vae<B> {
    fn new(device: &B) -> Self {
        Vae {
            encoder: Linear::new(784, 32, device),
            mean: Linear::new(32, 4, device),
            log_variance: Linear::new(32, 4, device),
            decoder: Sequential::new().push(Linear::new(4, 32, device)).push(Relu).push(Linear::new(32, 784, device)),
        }
    }

    /// The logits of the pixels, and the mean and logarithmic variance of the code, which is sampled with the normal
    /// numbers `eps`: the sample is differentiable with respect to both.
    fn forward(&self, x: &Tensor<B>, eps: &Tensor<B>) -> (Tensor<B>, Tensor<B>, Tensor<B>) {
        let h = self.encoder.forward(x).relu();
        let (mean, log_variance) = (self.mean.forward(&h), self.log_variance.forward(&h));
        let code = &mean + (&log_variance * 0.5).exp() * eps;
        (self.decoder.forward(&code), mean, log_variance)
    }
}

pub(crate) fn run<B: Backend>(device: &B) -> Result<()> {
    let digits = mnist("data/mnist", Split::Test)?.normalize(0.0, 1.0).take(128);
    let mut model = Vae::new(device);
    same_weights(&mut model);
    let mut optimizer = Adam::new(3e-3);
    let (mut losses, mut divergences) = (Vec::new(), Vec::new());
    for epoch in 0..4 {
        for (number, batch) in (0..).zip(digits.batches(32, device)) {
            let x = batch?.0.flatten(1..);
            let n = x.shape()[0];
            let (logits, mean, log_variance) = model.forward(&x, &normal(10 * epoch + number, [n, 4], device));
            let reconstruction = logits.bce_with_logits_loss(&x) * 784.0; // the sum over an image
            let divergence = (mean.square() + log_variance.exp() - &log_variance - 1.0).sum(..) / (2.0 * n as f64);
            let loss = reconstruction + &divergence;
            optimizer.step(&mut model, &loss.backward());
            losses.push(loss.item()?);
            divergences.push(divergence.item()?);
        }
    }
    show("losses", &[losses[0], losses[1], losses[8], losses[15]]);
    show("divergences", &[divergences[0], divergences[8], divergences[15]]);

    let samples = no_grad(|| model.decoder.forward(&normal(99, [16, 4], device))).sigmoid();
    show("samples", &[samples.mean(..).item()?, samples.std(0, 1.0).mean(..).item()?]);
    Ok(())
}
