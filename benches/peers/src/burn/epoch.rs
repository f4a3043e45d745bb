//! An epoch of LeNet on MNIST.

use super::nets::{Lenet, Params};
use crate::mnist::{Images, correct, prepared};
use crate::serve::Prepared;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamConfig, GradientsParams};
use burn::prelude::*;

pub(super) fn prepare(recording: Device, plain: Device) -> Option<Prepared> {
    prepared(move || {
        let (train, test) = (Images::read("train"), Images::read("t10k"));
        let loss = CrossEntropyLossConfig::new().init(&recording);
        let mut adam = AdamConfig::new().with_epsilon(1e-8).init();
        let mut model = Lenet::new(&mut Params::new(&recording));
        for (pixels, labels) in train.shuffled() {
            let n = labels.len();
            let x = Tensor::<4>::from_data(TensorData::new(pixels, [n, 1, 28, 28]), &recording);
            let labels: Vec<i32> = labels.into_iter().map(|label| label as i32).collect();
            let target = Tensor::<1, Int>::from_data(TensorData::new(labels, [n]), &recording);
            let loss = loss.forward(model.forward(x), target);
            let grads = GradientsParams::from_grads(loss.backward(), &model);
            model = adam.step(1e-3, model, grads);
        }
        let model = model.valid();
        let evaluate = |(pixels, labels): (Vec<f32>, Vec<u32>)| {
            let x = Tensor::<4>::from_data(TensorData::new(pixels, [labels.len(), 1, 28, 28]), &plain);
            correct(&model.forward(x).into_data().try_to_vec::<f32>().expect("f32"), &labels)
        };
        test.in_order().map(evaluate).sum()
    })
}
