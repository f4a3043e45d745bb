//! A gated recurrent unit from its equations, trained through time on the adding problem: of a sequence of numbers with
//! two marks, the sum of the marked numbers. Cho et al., "Learning phrase representations using RNN encoder-decoder",
//! 2014.

use crate::twin::{noise, same_weights, show, show_tensor};
use minitorch::nn::init;
use minitorch::prelude::*;

/// PyTorch: `nn.GRU(inputs, hidden, batch_first=True)`; the rows of the weights are those of reset, update and new.
#[derive(Module)]
struct Gru<B: Backend> {
    weight_ih_l0: Param<B>,
    weight_hh_l0: Param<B>,
    bias_ih_l0: Param<B>,
    bias_hh_l0: Param<B>,
}

impl<B: Backend> Gru<B> {
    fn new(inputs: usize, hidden: usize, device: &B) -> Self {
        let bound = 1.0 / (hidden as f64).sqrt();
        Gru {
            weight_ih_l0: Param::new(init::uniform([3 * hidden, inputs], -bound, bound, device)),
            weight_hh_l0: Param::new(init::uniform([3 * hidden, hidden], -bound, bound, device)),
            bias_ih_l0: Param::new(init::uniform(3 * hidden, -bound, bound, device)),
            bias_hh_l0: Param::new(init::uniform(3 * hidden, -bound, bound, device)),
        }
    }

    /// Sequences `[n, t, inputs]` to the states after each step, `[n, t, hidden]`.
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let mut h = Tensor::zeros([x.shape()[0], self.weight_hh_l0.shape()[1]], x.device());
        let mut states = Vec::new();
        for x in x.unbind(1) {
            let of_x = x.linear(&self.weight_ih_l0, Some(&self.bias_ih_l0)).chunk(3, 1);
            let of_h = h.linear(&self.weight_hh_l0, Some(&self.bias_hh_l0)).chunk(3, 1);
            let reset = (&of_x[0] + &of_h[0]).sigmoid();
            let update = (&of_x[1] + &of_h[1]).sigmoid();
            let new = (&of_x[2] + reset * &of_h[2]).tanh();
            h = (1.0 - &update) * new + update * h;
            states.push(h.clone());
        }
        Tensor::stack(&states, 1)
    }
}

#[derive(Module)]
struct Adder<B: Backend> {
    gru: Gru<B>,
    head: Linear<B>,
}

pub(crate) fn run<B: Backend>(device: &B) -> Result<()> {
    let mut model = Adder { gru: Gru::new(2, 16, device), head: Linear::new(16, 1, device) };
    same_weights(&mut model);
    let first = Tensor::arange(0..24, device).remainder(5);
    let marks = first.one_hot(10, DType::F32) + (first + 5).one_hot(10, DType::F32);
    let mut optimizer = Adam::new(0.01);
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for step in 0..30 {
        let values = noise(step, [24, 10], device);
        let sums = (&values * &marks).sum_keepdim(1);
        let x = Tensor::stack(&[values, marks.clone()], 2).requires_grad();
        let prediction = model.head.forward(&model.gru.forward(&x).slice((.., -1)));
        let loss = prediction.mse_loss(&sums);
        losses.push(loss.item()?);
        let mut grads = loss.backward();
        let Some(of_x) = grads.remove(&x) else { continue };
        let (grads, norm) = grads.clip_norm(0.5); // of the parameters alone
        norms.push(norm.item()?);
        optimizer.step(&mut model, &grads);
        if step == 29 {
            show_tensor("gradient by time", &(of_x.norm(2.0, [0, 2]) * 10.0))?;
        }
    }
    show("losses", &[losses[0], losses[1], losses[10], losses[29]]);
    show("norms of the gradients", &[norms[0], norms[29]]);
    Ok(())
}
