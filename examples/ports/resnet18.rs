//! ResNet-18 with weights from PyTorch's state dict, by torchvision's names; its width is 64. He et al., "Deep residual
//! learning for image recognition", 2015.

use crate::twin::{noise, show_tensor};
use minitorch::prelude::*;

#[derive(Module)]
struct ResNet18<B: Backend> {
    conv1: Conv2d<B>,
    bn1: BatchNorm2d<B>,
    layer1: [Block<B>; 2],
    layer2: [Block<B>; 2],
    layer3: [Block<B>; 2],
    layer4: [Block<B>; 2],
    fc: Linear<B>,
}

#[derive(Module)]
struct Block<B: Backend> {
    conv1: Conv2d<B>,
    bn1: BatchNorm2d<B>,
    conv2: Conv2d<B>,
    bn2: BatchNorm2d<B>,
    downsample: Option<Sequential<B>>,
}

fn conv<B: Backend>(inputs: usize, outputs: usize, kernel: usize, stride: usize, device: &B) -> Conv2d<B> {
    let options = Conv2dOptions::default().stride(stride).padding(kernel / 2);
    Conv2d::with_options(inputs, outputs, kernel, options, device).without_bias()
}

impl<B: Backend> Block<B> {
    /// A block that doubles the channels halves height and width.
    fn new(from: usize, to: usize, device: &B) -> Self {
        let norm = || BatchNorm2d::new(to, device);
        let shortcut = || Sequential::new().push(conv(from, to, 1, 2, device)).push(norm());
        let (conv1, conv2) = (conv(from, to, 3, to / from, device), conv(to, to, 3, 1, device));
        Block { conv1, bn1: norm(), conv2, bn2: norm(), downsample: (from != to).then(shortcut) }
    }

    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let y = self.bn1.forward(&self.conv1.forward(x)).relu();
        let y = self.bn2.forward(&self.conv2.forward(&y));
        let shortcut = self.downsample.as_ref().map_or(x.clone(), |downsample| downsample.forward(x));
        (y + shortcut).relu()
    }
}

impl<B: Backend> ResNet18<B> {
    fn new(width: usize, classes: usize, device: &B) -> Self {
        let layer = |from, to| [Block::new(from, to, device), Block::new(to, to, device)];
        ResNet18 {
            conv1: conv(3, width, 7, 2, device),
            bn1: BatchNorm2d::new(width, device),
            layer1: layer(width, width),
            layer2: layer(width, 2 * width),
            layer3: layer(2 * width, 4 * width),
            layer4: layer(4 * width, 8 * width),
            fc: Linear::new(8 * width, classes, device),
        }
    }

    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let x = self.bn1.forward(&self.conv1.forward(x)).relu();
        let x = x.max_pool2d(Pool2dOptions::new(3).stride(2).padding(1));
        let blocks = [&self.layer1, &self.layer2, &self.layer3, &self.layer4].into_iter().flatten();
        self.fc.forward(&blocks.fold(x, |x, block| block.forward(&x)).mean([2, 3]))
    }
}

pub(crate) fn run<B: Backend>(device: &B) -> Result<()> {
    let mut model = ResNet18::new(4, 10, device);
    model.load("examples/ports/resnet18.safetensors")?;
    model.eval();
    let logits = no_grad(|| model.forward(&noise(18, [2, 3, 64, 64], device)));
    show_tensor("logits", &logits)?;
    show_tensor("the three best classes", &logits.topk(3, -1, true).1.cast(DType::F32))
}
