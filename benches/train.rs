//! Whole training steps: forward, backward and Adam.

use crate::{Bench, Floor};
use minitorch::prelude::*;

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
        // 2 x 416,520 multiply-adds an image forward, the same twice backward but for the first layer's input.
        bench.time(&format!("lenet adam step, batch {batch}"), Floor::Items(batch), || {
            let loss = lenet.forward(&x).cross_entropy(&target);
            adam.step(&mut lenet, &loss.backward());
        });
    }
}
