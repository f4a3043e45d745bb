//! Whole training steps: forward, backward and Adam.

use crate::{Bench, Floor};
use minitorch::prelude::*;
use model::TextCnn;

#[path = "../examples/sentiment/model.rs"]
#[allow(dead_code, reason = "the example also explains decisions")]
mod model;

pub(crate) fn bench<B: Backend>(bench: &mut Bench<'_, '_, B>) {
    let device = bench.device.clone();
    let mut lenet = Sequential::new()
        .push(Conv2d::with_options(1, 6, 5, Conv2dOptions::default().padding(2), &device))
        .push(Relu)
        .push(MaxPool2d::new(2))
        .push(Conv2d::new(6, 16, 5, &device))
        .push(Relu)
        .push(MaxPool2d::new(2))
        .push(Flatten)
        .push(Linear::new(400, 120, &device))
        .push(Relu)
        .push(Linear::new(120, 84, &device))
        .push(Relu)
        .push(Linear::new(84, 10, &device));
    for batch in [16, 64, 256] {
        let x = bench.rand([batch, 1, 28, 28]);
        let target = Tensor::from_vec((0..batch as i32).map(|i| i % 10).collect(), batch, &device);
        let mut adam = Adam::new(1e-3);
        bench.time(&format!("lenet adam step, batch {batch}"), Floor::Items(batch), || {
            let loss = lenet.forward(&x).cross_entropy(&target);
            adam.step(&mut lenet, &loss.backward());
        });
    }
    text(bench);
}

/// The sentiment example's network on 50 sentences of 40 words; `scripts/torch_sentiment.py --steps` times the same steps.
fn text<B: Backend>(bench: &mut Bench<'_, '_, B>) {
    const SENTENCES: usize = 50;
    const LENGTH: usize = 40;
    let device = bench.device.clone();
    for (kind, words) in [("static", 18_000), ("tuned", 18_000), ("tuned", 400_000), ("lazy", 400_000)] {
        let ids = (0..SENTENCES * LENGTH).map(|i| (i * 2_654_435_761 % (words - 2) + 2) as i32).collect();
        let ids = Tensor::from_vec(ids, [SENTENCES, LENGTH], &device);
        let target = Tensor::from_vec((0..SENTENCES as i32).map(|i| i % 2).collect(), SENTENCES, &device);
        let mut net = TextCnn::new(Tensor::randn([words, 100], &device), kind != "static", &device);
        let mut adam = Adam::new(1e-3);
        if kind == "lazy" {
            adam = adam.group(|name, _| name.starts_with("embedding."), Group::new().lazy());
        }
        bench.time(&format!("text CNN adam step, {kind}, {words} words"), Floor::Items(SENTENCES), || {
            let loss = net.forward(&ids).cross_entropy(&target);
            adam.step(&mut net, &loss.backward());
        });
    }
}
