//! The network of the MiniTorch course: two small convolutions of unchanged image size, one average pool, two linear
//! layers.

use minitorch::prelude::*;

/// 26,138 parameters.
///
/// The convolutions are padded by one pixel on each side. The course pads by two at the right and the bottom, which
/// shifts the output by one pixel. Unlike the course's, this dropout scales the remaining elements and is off in
/// evaluation.
#[derive(Module)]
pub(crate) struct CourseNet<B: Backend> {
    conv1: Conv2d<B>,
    conv2: Conv2d<B>,
    fc1: Linear<B>,
    dropout: Dropout,
    fc2: Linear<B>,
}

impl<B: Backend> CourseNet<B> {
    /// Initial weights from the device's random state.
    pub(crate) fn new(device: &B) -> Self {
        let same = Conv2dOptions::default().padding(1);
        CourseNet {
            conv1: Conv2d::with_options(1, 4, 3, same, device),
            conv2: Conv2d::with_options(4, 8, 3, same, device),
            fc1: Linear::new(8 * 7 * 7, 64, device),
            dropout: Dropout::new(0.25),
            fc2: Linear::new(64, 10, device),
        }
    }

    /// The output of both convolutions: `[n, 4, 28, 28]` and `[n, 8, 28, 28]`.
    pub(crate) fn features(&self, x: &Tensor<B>) -> [Tensor<B>; 2] {
        let first = self.conv1.forward_activated(x, Activation::Relu);
        let second = self.conv2.forward_activated(&first, Activation::Relu);
        [first, second]
    }
}

impl<B: Backend> Layer<B> for CourseNet<B> {
    /// Images `[n, 1, 28, 28]` to logits `[n, 10]`.
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let [_, x] = self.features(x);
        let x = x.avg_pool2d(4).flatten(1..); // [n, 8 * 7 * 7]
        let x = self.dropout.forward(&self.fc1.forward_activated(&x, Activation::Relu));
        self.fc2.forward(&x)
    }
}
