//! Lesson 04: the same network on tensors, every step by hand.
//!
//! What you learn:
//! - a layer is a matrix product: `x w + b` computes all units for all points at once, and broadcasting adds the biases
//!   to every row;
//! - the loss of all points is one value, so one `backward` computes the gradients of all weights, as tensors;
//! - an update is arithmetic on tensors; momentum is a running sum of gradients, which accumulates where they agree and
//!   cancels where they alternate.
//!
//! Here a step uses all points: fifty rows of a tensor are little more work than ten.
//!
//! ```text
//! cargo run --release --example course -- 04 --task circle --hidden 10 --lr 0.1 --epochs 1000
//! ```

use crate::args::Training;
use crate::data::Method;
use crate::show::Watch;
use minitorch::prelude::*;

/// The decay factor of the velocity per step.
const MOMENTUM: f64 = 0.9;

/// Weights and biases of 2 -> H -> H -> 1: `w1, b1, w2, b2, w3, b3`. Each is a leaf of the tape, so it gets a gradient.
struct Net<B: Backend> {
    parameters: [Tensor<B>; 6],
}

impl<B: Backend> Net<B> {
    /// Uniform random weights, smaller for more inputs, so that initially all sums have about the same magnitude.
    fn new(hidden: usize, device: &B) -> Self {
        let uniform = |shape: [usize; 2], bound: f64| {
            let unit = Tensor::rand(shape, device); // in 0..1
            ((unit * 2.0 - 1.0) * bound).requires_grad()
        };
        let weight = |inputs: usize, outputs: usize| uniform([inputs, outputs], (6.0 / inputs as f64).sqrt());
        let bias = |inputs: usize, outputs: usize| uniform([1, outputs], 1.0 / (inputs as f64).sqrt());
        let h = hidden;
        Net { parameters: [weight(2, h), bias(2, h), weight(h, h), bias(h, h), weight(h, 1), bias(h, 1)] }
    }

    /// Points `[n, 2]` in the unit square to probabilities of class 1, `[n, 1]`.
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let [w1, b1, w2, b2, w3, b3] = &self.parameters;
        let x = x * 2.0 - 1.0; // centred at 0
        let hidden = (x.matmul(w1) + b1).relu(); // [n, H]
        let hidden = (hidden.matmul(w2) + b2).relu(); // [n, H]
        (hidden.matmul(w3) + b3).sigmoid() // [n, 1]
    }

    /// The probability of class 1 at many points, without a tape.
    fn probabilities(&self, places: &[[f64; 2]], device: &B) -> Result<Vec<f64>> {
        let seen = no_grad(|| self.forward(&matrix(places, device))).to_vec::<f32>()?;
        Ok(seen.into_iter().map(f64::from).collect())
    }
}

/// Points as a matrix `[n, 2]`.
fn matrix<B: Backend>(places: &[[f64; 2]], device: &B) -> Tensor<B> {
    let numbers = places.iter().flatten().map(|&x| x as f32).collect();
    Tensor::from_vec(numbers, [places.len(), 2], device)
}

pub(crate) fn run(options: Training) -> Result<()> {
    let device = &Cpu::default();
    let plan = options.plan(Method::Tensors);
    device.rng().seed(plan.seed);
    let places: Vec<[f64; 2]> = plan.points.iter().map(|point| point.at).collect();
    let x = matrix(&places, device);
    let classes = plan.points.iter().map(|point| point.class as u8 as f32).collect();
    let y = Tensor::from_vec(classes, [plan.points.len(), 1], device);

    let mut net = Net::new(plan.hidden, device);
    let mut velocities = net.parameters.each_ref().map(Tensor::zeros_like);
    let mut watch = Watch::start(&plan)?;
    for epoch in 0..plan.epochs {
        let p = net.forward(&x);
        let of_the_right_class = &p * &y + (1.0 - &p) * (1.0 - &y);
        let loss = -of_the_right_class.log().mean(..);
        let grads = loss.backward();
        for (parameter, velocity) in net.parameters.iter_mut().zip(&mut velocities) {
            *velocity = &*velocity * MOMENTUM + &grads[&*parameter];
            *parameter = (parameter.detach() - &*velocity * plan.rate(epoch)).requires_grad();
        }
        watch.epoch(loss.item()?, |places| net.probabilities(places, device))?;
    }
    watch.finish(|places| net.probabilities(places, device))
}
