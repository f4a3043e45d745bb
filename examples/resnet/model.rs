//! ResNet-20 for small images: He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2015, section
//! 4.2.
//!
//! Where a block halves the image and doubles the channels, its shortcut is a 1 x 1 convolution with batch norm, the
//! paper's option B. The paper's CIFAR networks use option A, zero channels, and have 2,752 fewer weights.

use minitorch::nn::init::{self, Gain};
use minitorch::prelude::*;

/// One convolution, three stages of three blocks of two convolutions, and a fully connected layer: 272,474 parameters
/// for three channels and ten classes, with the names of the PyTorch model in `scripts/goldens_resnet.py`.
#[derive(Module)]
pub(crate) struct ResNet20<B: Backend> {
    conv1: Conv2d<B>,
    bn1: BatchNorm2d<B>,
    layer1: [Block<B>; 3],
    layer2: [Block<B>; 3],
    layer3: [Block<B>; 3],
    fc: Linear<B>,
}

impl<B: Backend> ResNet20<B> {
    /// Initial weights from the device's random state.
    pub(crate) fn new(channels: usize, classes: usize, device: &B) -> Self {
        let stage = |inputs, outputs, stride| {
            [
                Block::new(inputs, outputs, stride, device),
                Block::new(outputs, outputs, 1, device),
                Block::new(outputs, outputs, 1, device),
            ]
        };
        ResNet20 {
            conv1: conv(channels, 16, 3, 1, device),
            bn1: BatchNorm2d::new(16, device),
            layer1: stage(16, 16, 1),
            layer2: stage(16, 32, 2),
            layer3: stage(32, 64, 2),
            fc: Linear::new(64, classes, device),
        }
    }
}

impl<B: Backend> Layer<B> for ResNet20<B> {
    /// Images `[n, channels, h, w]` to logits `[n, classes]`.
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let x = self.bn1.forward(&self.conv1.forward(x)).relu();
        let blocks = self.layer1.iter().chain(&self.layer2).chain(&self.layer3);
        let x = blocks.fold(x, |x, block| block.forward(&x)); // [n, 64, h / 4, w / 4]
        self.fc.forward(&x.mean([2, 3]))
    }
}

/// Two convolutions and a shortcut.
#[derive(Module)]
struct Block<B: Backend> {
    conv1: Conv2d<B>,
    bn1: BatchNorm2d<B>,
    conv2: Conv2d<B>,
    bn2: BatchNorm2d<B>,
    /// The shortcut, where the shape changes.
    downsample: Option<Sequential<B>>,
}

impl<B: Backend> Block<B> {
    fn new(inputs: usize, outputs: usize, stride: usize, device: &B) -> Self {
        let project = || {
            let conv = conv(inputs, outputs, 1, stride, device);
            Sequential::new().push(conv).push(BatchNorm2d::new(outputs, device))
        };
        Block {
            conv1: conv(inputs, outputs, 3, stride, device),
            bn1: BatchNorm2d::new(outputs, device),
            conv2: conv(outputs, outputs, 3, 1, device),
            bn2: BatchNorm2d::new(outputs, device),
            downsample: (stride > 1 || inputs != outputs).then(project),
        }
    }

    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let y = self.bn1.forward(&self.conv1.forward(x)).relu();
        let y = self.bn2.forward(&self.conv2.forward(&y));
        match &self.downsample {
            Some(downsample) => (y + downsample.forward(x)).relu(),
            None => (y + x).relu(),
        }
    }
}

/// A convolution of unchanged image size at stride 1, without bias since batch norm follows; He's initialisation.
fn conv<B: Backend>(inputs: usize, outputs: usize, kernel: usize, stride: usize, device: &B) -> Conv2d<B> {
    let options = Conv2dOptions::default().stride(stride).padding(kernel / 2);
    let weight = init::kaiming_normal([outputs, inputs, kernel, kernel], Gain::Relu, device);
    Conv2d { weight: Param::new(weight), bias: None, options }
}
