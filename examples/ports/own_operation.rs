//! An operation of one's own, differentiated twice, in code that runs on any backend. Its second derivative trains a
//! network with a gradient penalty: Gulrajani et al., "Improved training of Wasserstein GANs", 2017.

use crate::twin::{noise, same_weights, show, show_tensor};
use minitorch::prelude::*;

/// `x sigmoid(beta x)` with a trained beta. Ramachandran, Zoph and Le, "Searching for activation functions", 2017.
struct Swish;

impl<B: Backend> Function<Tensor<B>, 2> for Swish {
    const NAME: &'static str = "swish";

    fn forward(&self, [x, beta]: [&Tensor<B>; 2]) -> Tensor<B> {
        x * (x * beta).sigmoid()
    }

    fn backward(&self, grad: &Tensor<B>, [x, beta]: [&Tensor<B>; 2], y: &Tensor<B>) -> [Option<Tensor<B>>; 2] {
        let sigmoid = (x * beta).sigmoid();
        let slope = y * (1.0 - &sigmoid); // of y with respect to beta x
        let of_beta = (grad * x * &slope).sum_to_shape(beta.shape());
        [Some(grad * (sigmoid + slope * beta)), Some(of_beta)]
    }
}

#[derive(Module)]
struct Critic<B: Backend> {
    hidden: Linear<B>,
    beta: Param<B>,
    out: Linear<B>,
}

impl<B: Backend> Critic<B> {
    fn new(device: &B) -> Self {
        let beta = Param::new(Tensor::ones([], device));
        let mut critic = Critic { hidden: Linear::new(2, 16, device), beta, out: Linear::new(16, 1, device) };
        same_weights(&mut critic);
        critic
    }

    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        self.out.forward(&Swish.apply([&self.hidden.forward(x), &self.beta]))
    }
}

/// Trains a critic to tell two clouds of points apart with gradients of norm 1 between them; the losses.
fn train<B: Backend>(device: &B) -> Result<Vec<f64>> {
    let mut critic = Critic::new(device);
    let mut optimizer = RmsProp::new(5e-3);
    let mut losses = Vec::new();
    for step in 0..20 {
        let (real, fake) = (noise(2 * step, [32, 2], device) + 1.0, noise(2 * step + 1, [32, 2], device));
        let between = ((&real + &fake) * 0.5).requires_grad();
        let [slope] = critic.forward(&between).grad([&between]);
        let penalty = (slope.norm(2.0, 1) - 1.0).square().mean(..);
        let loss = critic.forward(&fake).mean(..) - critic.forward(&real).mean(..) + penalty * 10.0;
        optimizer.step(&mut critic, &loss.backward());
        losses.push(loss.item()?);
    }
    Ok(losses)
}

pub(crate) fn run<B: Backend>(device: &B) -> Result<()> {
    let x = Tensor::linspace(-3.0, 3.0, 7, device).requires_grad();
    let y = Swish.apply([&x, &Tensor::full([], 1.5, device)]);
    let [slope] = y.grad([&x]);
    let [curvature] = slope.grad([&x]);
    show_tensor("swish", &y)?;
    show_tensor("its derivative", &slope)?;
    show_tensor("its second derivative", &curvature)?;
    let (losses, on_cpu) = (train(device)?, train(&Cpu::default())?);
    show("losses", &[losses[0], losses[1], losses[10], losses[19]]);
    show("on the CPU", &[on_cpu[0], on_cpu[1], on_cpu[10], on_cpu[19]]);
    Ok(())
}
