//! The networks in Burn's layers.

use crate::data::parameter;
use burn::module::Param;
use burn::nn::conv::{Conv1d, Conv1dConfig, Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::prelude::*;
use burn::tensor::activation::relu;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;

/// Creates the parameters of a network, in PyTorch's order.
pub(super) struct Params<'a> {
    count: usize,
    pub(super) device: &'a Device,
}

impl<'a> Params<'a> {
    pub(super) fn new(device: &'a Device) -> Self {
        Params { count: 0, device }
    }

    fn next<const N: usize>(&mut self, name: &str, shape: [usize; N]) -> Tensor<N> {
        self.count += 1;
        let values = parameter(self.count - 1, name, &shape);
        Tensor::from_data(TensorData::new(values, shape), self.device)
    }

    fn linear(&mut self, inputs: usize, outputs: usize) -> Linear {
        let mut layer = LinearConfig::new(inputs, outputs).init(self.device);
        let weight = self.next("weight", [outputs, inputs]).transpose().into_data();
        layer.weight = Param::from_tensor(Tensor::from_data(weight, self.device));
        layer.bias = Some(Param::from_tensor(self.next("bias", [outputs])));
        layer
    }

    fn conv(&mut self, [outputs, inputs, kernel]: [usize; 3], stride: usize, padding: usize, bias: bool) -> Conv2d {
        let mut layer = Conv2dConfig::new([inputs, outputs], [kernel; 2])
            .with_stride([stride; 2])
            .with_padding(PaddingConfig2d::Explicit(padding, padding, padding, padding))
            .with_bias(bias)
            .init(self.device);
        layer.weight = Param::from_tensor(self.next("weight", [outputs, inputs, kernel, kernel]));
        if bias {
            layer.bias = Some(Param::from_tensor(self.next("bias", [outputs])));
        }
        layer
    }

    fn norm(&mut self, channels: usize) -> BatchNorm {
        let mut layer = BatchNormConfig::new(channels).init(self.device);
        layer.gamma = Param::from_tensor(self.next("weight", [channels]));
        layer.beta = Param::from_tensor(self.next("bias", [channels]));
        layer
    }
}

fn pool(x: Tensor<4>) -> Tensor<4> {
    max_pool2d(x, MaxPoolOptions::new([2, 2]))
}

#[derive(Module, Debug)]
pub(super) struct Lenet {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

impl Lenet {
    pub(super) fn new(params: &mut Params) -> Self {
        Lenet {
            conv1: params.conv([6, 1, 5], 1, 2, true),
            conv2: params.conv([16, 6, 5], 1, 0, true),
            fc1: params.linear(400, 120),
            fc2: params.linear(120, 84),
            fc3: params.linear(84, 10),
        }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = pool(relu(self.conv1.forward(x)));
        let x = pool(relu(self.conv2.forward(x))).flatten(1, 3);
        let x = relu(self.fc1.forward(x));
        self.fc3.forward(relu(self.fc2.forward(x)))
    }
}

#[derive(Module, Debug)]
pub(super) struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    pub(super) fn new(sizes: &[usize], params: &mut Params) -> Self {
        Mlp { layers: sizes.windows(2).map(|pair| params.linear(pair[0], pair[1])).collect() }
    }

    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let mut layers = self.layers.iter();
        let first = layers.next().map_or(x.clone(), |layer| layer.forward(x));
        layers.fold(first, |x, layer| layer.forward(relu(x)))
    }
}

#[derive(Module, Debug)]
pub(super) struct Kim {
    convs: Vec<Conv1d>,
    fc: Linear,
}

impl Kim {
    pub(super) fn new(params: &mut Params) -> Self {
        let conv = |words| {
            let mut layer = Conv1dConfig::new(128, 100, words).init(params.device);
            layer.weight = Param::from_tensor(params.next("weight", [100, 128, words]));
            layer.bias = Some(Param::from_tensor(params.next("bias", [100])));
            layer
        };
        Kim { convs: [3, 4, 5].map(conv).into(), fc: params.linear(300, 2) }
    }

    pub(super) fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        let maxima = |conv: &Conv1d| relu(conv.forward(x.clone())).max_dim(2).flatten(1, 2);
        self.fc.forward(Tensor::cat(self.convs.iter().map(maxima).collect(), 1))
    }
}

#[derive(Module, Debug)]
struct Block {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
    downsample: Option<Conv2d>,
    norm: Option<BatchNorm>,
}

#[derive(Module, Debug)]
pub(super) struct Resnet {
    conv1: Conv2d,
    bn1: BatchNorm,
    blocks: Vec<Block>,
    fc: Linear,
}

impl Resnet {
    pub(super) fn new(params: &mut Params) -> Self {
        let (conv1, bn1) = (params.conv([16, 3, 3], 1, 1, false), params.norm(16));
        let mut blocks = Vec::new();
        for (i, (inputs, outputs)) in [(16, 16), (16, 32), (32, 64)].into_iter().enumerate() {
            for j in 0..3 {
                let (inputs, stride) = if j == 0 { (inputs, if i == 0 { 1 } else { 2 }) } else { (outputs, 1) };
                let changes = inputs != outputs;
                blocks.push(Block {
                    conv1: params.conv([outputs, inputs, 3], stride, 1, false),
                    bn1: params.norm(outputs),
                    conv2: params.conv([outputs, outputs, 3], 1, 1, false),
                    bn2: params.norm(outputs),
                    downsample: changes.then(|| params.conv([outputs, inputs, 1], stride, 0, false)),
                    norm: changes.then(|| params.norm(outputs)),
                });
            }
        }
        Resnet { conv1, bn1, blocks, fc: params.linear(64, 10) }
    }

    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = relu(self.bn1.forward(self.conv1.forward(x)));
        let x = self.blocks.iter().fold(x, |x, block| {
            let y = relu(block.bn1.forward(block.conv1.forward(x.clone())));
            let y = block.bn2.forward(block.conv2.forward(y));
            let shortcut = match (&block.downsample, &block.norm) {
                (Some(conv), Some(norm)) => norm.forward(conv.forward(x)),
                _ => x,
            };
            relu(y + shortcut)
        });
        self.fc.forward(x.mean_dims(&[2, 3]).flatten(1, 3))
    }
}
