//! An epoch of LeNet on MNIST.

use super::{DEVICE, Lenet, Params, numbers};
use crate::mnist::{Images, correct, prepared};
use crate::serve::Prepared;
use candle_core::{Result, Tensor};
use candle_nn::Module;

pub(super) fn prepare() -> Option<Prepared> {
    prepared(|| epoch().expect("candle runs"))
}

fn epoch() -> Result<usize> {
    let (train, test) = (Images::read("train"), Images::read("t10k"));
    let mut params = Params::default();
    let model = Lenet::new(&mut params)?;
    let mut adam = params.adam()?;
    for (pixels, labels) in train.shuffled() {
        let n = labels.len();
        let x = Tensor::from_vec(pixels, (n, 1, 28, 28), &DEVICE)?;
        let target = Tensor::from_vec(labels, n, &DEVICE)?;
        adam(&candle_nn::loss::cross_entropy(&model.forward(&x)?, &target)?.backward()?)?;
    }
    let evaluate = |(pixels, labels): (Vec<f32>, Vec<u32>)| -> Result<usize> {
        let x = Tensor::from_vec(pixels, (labels.len(), 1, 28, 28), &DEVICE)?;
        Ok(correct(&numbers(&model.forward(&x)?.detach())?, &labels))
    };
    test.in_order().map(evaluate).sum()
}
