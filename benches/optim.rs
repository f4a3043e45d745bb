//! Optimizer steps over about as many parameters as LeNet has.

use crate::{Bench, Floor};
use minitorch::prelude::*;

pub(crate) fn bench<B: Backend>(bench: &mut Bench<'_, '_, B>) {
    let device = bench.device.clone();
    let mut model = [400, 120, 84].map(|inputs| Linear::new(inputs, 120, &device));
    let count = model.num_parameters();
    let gradients = |model: &[Linear<B>; 3]| {
        let terms = model.iter().map(|layer| layer.weight.square().sum(..));
        terms.reduce(|a, b| a + b).map(|loss| loss.backward())
    };
    let Some(grads) = gradients(&model) else { unreachable!("three layers") };
    let mut sgd = Sgd::new(1e-3).momentum(0.9);
    bench.time("sgd with momentum, 73k", Floor::Bytes(5 * 4 * count), || sgd.step(&mut model, &grads));
    let mut adam = Adam::new(1e-3);
    bench.time("adam, 73k", Floor::Bytes(7 * 4 * count), || adam.step(&mut model, &grads));
    let mut rms_prop = RmsProp::new(1e-3);
    bench.time("rmsprop, 73k", Floor::Bytes(5 * 4 * count), || rms_prop.step(&mut model, &grads));
    let mut adagrad = Adagrad::new(1e-3);
    bench.time("adagrad, 73k", Floor::Bytes(5 * 4 * count), || adagrad.step(&mut model, &grads));
}
