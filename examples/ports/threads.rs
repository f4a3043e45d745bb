//! One trained model that several threads evaluate, each on its requests, without copies and locks; and gradients that
//! threads compute for parts of a batch.

use crate::twin::{noise, same_weights, show, show_tensor};
use minitorch::prelude::*;
use std::sync::Arc;
use std::thread;

/// The class of a point is its octant.
fn batch<B: Backend>(seed: u32, device: &B) -> (Tensor<B>, Tensor<B>) {
    let x = noise(seed, [32, 3], device);
    let positive = x.gt(0.0).cast(DType::I32);
    let class = (positive * Tensor::new([1, 2, 4], device)).sum(1);
    (x, class)
}

pub(crate) fn run<B: Backend>(device: &B) -> Result<()> {
    let mut model = Sequential::new()
        .push(Linear::new(3, 32, device))
        .push(BatchNorm1d::new(32, device))
        .push(Silu)
        .push(Linear::new(32, 8, device));
    same_weights(&mut model);
    let mut optimizer = Sgd::new(0.2).momentum(0.9);
    let mut losses = Vec::new();
    for step in 0..40 {
        let (x, class) = batch(step, device);
        let loss = model.forward(&x).cross_entropy(&class);
        optimizer.step(&mut model, &loss.backward());
        losses.push(loss.item()?);
    }
    show("losses", &[losses[0], losses[1], losses[20], losses[39]]);

    model.eval();
    let model = Arc::new(model);
    let (x, class) = batch(99, device);
    let requests = x.split(8, 0);
    let serve = |request: Tensor<B>| {
        let model = Arc::clone(&model);
        thread::spawn(move || no_grad(|| model.forward(&request))) // `no_grad` is per thread
    };
    let workers: Vec<_> = requests.into_iter().map(serve).collect();
    let answers: Vec<_> = workers.into_iter().filter_map(|worker| worker.join().ok()).collect();
    let answers = Tensor::cat(&answers, 0);
    let expected = no_grad(|| model.forward(&x));
    show_tensor("largest difference from one thread", &(&answers - expected).abs().max(..))?;
    show_tensor("accuracy", &answers.argmax(1).eq(&class).cast(DType::F32).mean(..))?;

    // Four threads, a quarter of the batch each; the sum of their gradients is that of the batch.
    let mut grads = Gradients::default();
    thread::scope(|scope| {
        let part = |(x, class): (Tensor<B>, Tensor<B>)| {
            let model = &model;
            scope.spawn(move || (model.forward(&x).cross_entropy(&class) / 4.0).backward())
        };
        let workers: Vec<_> = x.split(8, 0).into_iter().zip(class.split(8, 0)).map(part).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).for_each(|more| grads += more);
    });
    show_tensor("norm of the gradients", &grads.norm())?;
    let Some((_, bias)) = model.named_parameters().pop() else { return Ok(()) };
    show_tensor("gradient of the last bias", &(&grads[bias] * 100.0))
}
