//! LeNet-5 as the tests use it: PyTorch's names, dropout on request; and a training that is the same on every backend.

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
        let relu = Activation::Relu;
        let x = self.conv1.forward_activated(x, relu).max_pool2d(2);
        let x = self.conv2.forward_activated(&x, relu).max_pool2d(2).flatten(1..);
        let x = self.dropout.forward(&self.fc1.forward_activated(&x, relu));
        let x = self.dropout.forward(&self.fc2.forward_activated(&x, relu));
        self.fc3.forward(&x)
    }

    /// A training step; returns the loss before it.
    pub(crate) fn step(&mut self, optimizer: &mut dyn Optimizer<B>, x: &Tensor<B>, target: &Tensor<B>) -> Tensor<B> {
        let loss = self.forward(x).cross_entropy(target);
        optimizer.step(self, &loss.backward());
        loss
    }
}

/// The masks of several draws, the losses of twenty steps with dropout and that of an evaluation, all from one seed.
pub(crate) fn twenty_steps<B: Backend>(device: &B) -> Result<(Vec<Vec<bool>>, Vec<f32>)> {
    device.rng().seed(7);
    let mut model = LeNet::new(0.5, device);
    let mut optimizer = Sgd::new(0.05);
    let x = Tensor::randn([8, 1, 28, 28], device);
    let target = Tensor::new([3, 1, 4, 1, 5, 9, 2, 6], device);
    let mut masks = Vec::new();
    for p in [0.5, 0.1, 0.9] {
        masks.push(Tensor::full([1003], 1.0, device).dropout(p).ne(0.0).to_vec::<bool>()?);
        masks.push(Tensor::rand_bool([2, 77], p, device).to_vec::<bool>()?);
    }
    let mut losses = Vec::new();
    for _ in 0..20 {
        losses.push(model.step(&mut optimizer, &x, &target).item()? as f32);
    }
    model.eval();
    losses.push(model.forward(&x).cross_entropy(&target).item()? as f32);
    Ok((masks, losses))
}

/// On each device the masks are bit-identical to the CPU's, and the losses close to the CPU's.
pub(crate) fn follows_the_cpu<B: Backend>(devices: impl IntoIterator<Item = B>) -> Result<()> {
    let (masks, losses) = twenty_steps(&Cpu::new())?;
    assert_ne!(losses[0], losses[19], "the steps changed nothing");
    for device in devices {
        let (device_masks, device_losses) = twenty_steps(&device)?;
        assert_eq!(masks, device_masks, "{device:?}: the masks differ");
        for (step, (cpu, ours)) in losses.iter().zip(&device_losses).enumerate() {
            assert!((cpu - ours).abs() <= 1e-4 * (1.0 + cpu), "{device:?}, step {step}: {ours}, on the CPU {cpu}");
        }
    }
    Ok(())
}
