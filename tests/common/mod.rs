//! LeNet-5 as the tests use it: PyTorch's names, dropout on request.

use minitorch::prelude::*;

#[derive(Module)]
pub(crate) struct LeNet<B: Backend> {
    pub(crate) conv1: Conv2d<B>,
    pub(crate) conv2: Conv2d<B>,
    pub(crate) fc1: Linear<B>,
    pub(crate) fc2: Linear<B>,
    pub(crate) fc3: Linear<B>,
    pub(crate) dropout: Dropout,
}

impl<B: Backend> LeNet<B> {
    pub(crate) fn new(dropout: f64, device: &B) -> Self {
        LeNet {
            conv1: Conv2d::with_options(1, 6, 5, Conv2dOptions::default().padding(2), device),
            conv2: Conv2d::new(6, 16, 5, device),
            fc1: Linear::new(400, 120, device),
            fc2: Linear::new(120, 84, device),
            fc3: Linear::new(84, 10, device),
            dropout: Dropout::new(dropout),
        }
    }

    pub(crate) fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let x = self.conv1.forward(x).relu().max_pool2d(2);
        let x = self.conv2.forward(&x).relu().max_pool2d(2).flatten(1..);
        let x = self.dropout.forward(&self.fc1.forward(&x).relu());
        let x = self.dropout.forward(&self.fc2.forward(&x).relu());
        self.fc3.forward(&x)
    }
}
