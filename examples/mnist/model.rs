//! LeNet-5 as it is taught today, with ReLU and max pooling: LeCun, Bottou, Bengio and Haffner, "Gradient-based
//! learning applied to document recognition", 1998.

use minitorch::prelude::*;

/// 61,706 parameters, with the names of the PyTorch model in `scripts/goldens.py`.
#[derive(Module)]
pub(crate) struct LeNet<B: Backend> {
    conv1: Conv2d<B>,
    conv2: Conv2d<B>,
    fc1: Linear<B>,
    fc2: Linear<B>,
    fc3: Linear<B>,
}

impl<B: Backend> LeNet<B> {
    /// Initial weights from the device's random state.
    pub(crate) fn new(device: &B) -> Self {
        LeNet {
            conv1: Conv2d::with_options(1, 6, 5, Conv2dOptions::default().padding(2), device),
            conv2: Conv2d::new(6, 16, 5, device),
            fc1: Linear::new(16 * 5 * 5, 120, device),
            fc2: Linear::new(120, 84, device),
            fc3: Linear::new(84, 10, device),
        }
    }

    /// The output of both convolutions: `[n, 6, 28, 28]` and `[n, 16, 10, 10]`. ReLU is fused into them.
    pub(crate) fn features(&self, x: &Tensor<B>) -> [Tensor<B>; 2] {
        let first = self.conv1.forward_activated(x, Activation::Relu);
        let second = self.conv2.forward_activated(&first.max_pool2d(2), Activation::Relu);
        [first, second]
    }
}

impl<B: Backend> Layer<B> for LeNet<B> {
    /// Images `[n, 1, 28, 28]` to logits `[n, 10]`.
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let [_, x] = self.features(x);
        let x = x.max_pool2d(2).flatten(1..); // [n, 16 * 5 * 5]
        let x = self.fc1.forward_activated(&x, Activation::Relu);
        let x = self.fc2.forward_activated(&x, Activation::Relu);
        self.fc3.forward(&x)
    }
}
