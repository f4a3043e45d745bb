//! Lesson 05: the same network with layers and an optimizer, on any device.
//!
//! What you learn:
//! - a layer owns its weights; `#[derive(Module)]` lets optimizers and files find the weights of all layers;
//! - an optimizer does the update: Adam divides every weight's step by the magnitude of its past gradients;
//! - a `Loader` shuffles the points in each epoch and splits them into mini-batches: many small steps instead of one;
//! - the network is generic over `B: Backend`; `--backend` chooses one.
//!
//! ```text
//! cargo run --release --example course -- 05 --task spiral
//! cargo run --release --example course --features wgpu -- 05 --task spiral --backend wgpu
//! ```

use crate::args::Anywhere;
use crate::backends::{Program, run_on};
use crate::data::{Method, Plan, Point};
use crate::show::Watch;
use minitorch::nn::data::Loader;
use minitorch::prelude::*;

/// 2 -> H -> H -> 1.
#[derive(Module)]
struct Net<B: Backend> {
    fc1: Linear<B>,
    fc2: Linear<B>,
    fc3: Linear<B>,
}

impl<B: Backend> Net<B> {
    fn new(hidden: usize, device: &B) -> Self {
        let linear = |inputs, outputs| Linear::new(inputs, outputs, device);
        Net { fc1: linear(2, hidden), fc2: linear(hidden, hidden), fc3: linear(hidden, 1) }
    }

    /// Points `[n, 2]` in the unit square to logits `[n, 1]`, whose sigmoid is the probability of class 1. The loss
    /// takes logits, because the logarithm of a probability near 0 or 1 is inaccurate.
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let x = x * 2.0 - 1.0; // centred at 0
        let x = self.fc1.forward(&x).relu();
        let x = self.fc2.forward(&x).relu();
        self.fc3.forward(&x)
    }

    /// The probability of class 1 at many points, without a tape.
    fn probabilities(&self, places: &[[f64; 2]], device: &B) -> Result<Vec<f64>> {
        let x = places.iter().flatten().map(|&x| x as f32).collect();
        let x = Tensor::from_vec(x, [places.len(), 2], device);
        let seen = no_grad(|| self.forward(&x).sigmoid()).to_vec::<f32>()?;
        Ok(seen.into_iter().map(f64::from).collect())
    }
}

/// The points as a `Dataset`: gathered into a buffer on the host, then uploaded.
#[derive(Clone)]
struct Points(Vec<Point>);

impl Dataset for Points {
    type Host = (Vec<f32>, Vec<f32>);
    type Batch<B: Backend> = (Tensor<B>, Tensor<B>);

    fn len(&self) -> usize {
        self.0.len()
    }

    fn collate(&self, indices: &[usize], (places, classes): &mut Self::Host) {
        places.clear();
        classes.clear();
        for &index in indices {
            let Point { at, class } = self.0[index];
            places.extend(at.map(|x| x as f32));
            classes.push(class as u8 as f32);
        }
    }

    fn upload<B: Backend>(&self, (places, classes): &Self::Host, device: &B) -> Result<Self::Batch<B>> {
        let n = classes.len();
        Ok((Tensor::try_from_slice(places, [n, 2], device)?, Tensor::try_from_slice(classes, [n, 1], device)?))
    }

    fn select(&self, indices: &[usize]) -> Self {
        Points(indices.iter().map(|&index| self.0[index]).collect())
    }
}

pub(crate) fn run(options: Anywhere) -> Result<()> {
    let lesson = Lesson { plan: options.training.plan(Method::Layers), batch_size: options.batch_size };
    run_on(Some(&options.device.backend), lesson)
}

struct Lesson {
    plan: Plan,
    batch_size: usize,
}

impl Program for Lesson {
    type Output = ();

    fn run<B: Backend>(self, device: &B) -> Result<()> {
        let Lesson { plan, batch_size } = self;
        device.rng().seed(plan.seed);
        let mut net = Net::new(plan.hidden, device);
        let mut optimizer = Adam::new(plan.lr);
        let loader = Loader::new(&Points(plan.points.clone()), batch_size).shuffle(plan.seed);
        let mut watch = Watch::start(&plan)?;
        for epoch in 0..plan.epochs {
            optimizer.set_lr(plan.rate(epoch));
            let mut total = Tensor::zeros([], device);
            for batch in loader.epoch(epoch as u64, device) {
                let (x, y) = batch?;
                let loss = net.forward(&x).bce_with_logits_loss(&y);
                optimizer.step(&mut net, &loss.backward());
                total += loss.detach() * y.numel() as f64; // stays on the device
            }
            watch.epoch(total.item()? / plan.points.len() as f64, |places| net.probabilities(places, device))?;
        }
        watch.finish(|places| net.probabilities(places, device))
    }
}
