//! A generative adversarial network that learns points on a circle. Goodfellow et al., "Generative adversarial nets",
//! 2014.

use crate::twin::{noise, normal, same_weights, show, show_tensor};
use minitorch::prelude::*;
use std::f64::consts::PI;

fn network<B: Backend>(inputs: usize, outputs: usize, device: &B) -> Sequential<B> {
    let slope = LeakyRelu { slope: 0.2 };
    let mut network = Sequential::new()
        .push(Linear::new(inputs, 24, device))
        .push(slope)
        .push(Linear::new(24, 24, device))
        .push(slope)
        .push(Linear::new(24, outputs, device));
    same_weights(&mut network);
    network
}

/// Points on a circle of radius 2, `[n, 2]`.
fn circle<B: Backend>(seed: u32, n: usize, device: &B) -> Tensor<B> {
    let angles = noise(seed, n, device) * PI;
    Tensor::stack(&[angles.cos(), angles.sin()], 1) * 2.0
}

pub(crate) fn run<B: Backend>(device: &B) -> Result<()> {
    let (mut generator, mut discriminator) = (network(4, 2, device), network(2, 1, device));
    let (mut generators, mut discriminators) = (Adam::new(2e-3).betas(0.5, 0.999), Adam::new(2e-3).betas(0.5, 0.999));
    let (real, fake) = (Tensor::ones([32, 1], device), Tensor::zeros([32, 1], device));
    let (mut generator_losses, mut discriminator_losses) = (Vec::new(), Vec::new());
    for step in 0..60 {
        // The discriminator learns to tell the points apart; no gradient reaches the generator.
        let points = generator.forward(&normal(step, [32, 4], device));
        let loss = discriminator.forward(&circle(step, 32, device)).bce_with_logits_loss(&real)
            + discriminator.forward(&points.detach()).bce_with_logits_loss(&fake);
        discriminators.step(&mut discriminator, &loss.backward());
        discriminator_losses.push(loss.item()?);

        // The generator learns to mislead it; the gradients of the discriminator are not used.
        let loss = discriminator.forward(&points).bce_with_logits_loss(&real);
        generators.step(&mut generator, &loss.backward());
        generator_losses.push(loss.item()?);
    }
    show("losses of the discriminator", &[discriminator_losses[0], discriminator_losses[1], discriminator_losses[59]]);
    show("losses of the generator", &[generator_losses[0], generator_losses[1], generator_losses[59]]);
    let points = no_grad(|| generator.forward(&normal(99, [64, 4], device)));
    show_tensor("mean of the points", &points.mean(0))?;
    show_tensor("their mean radius", &points.norm(2.0, 1).mean(..))
}
