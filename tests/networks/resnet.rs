//! ResNet-20 of the example against PyTorch: logits, gradients, ten steps of training, running statistics.

#[path = "../../examples/resnet/model.rs"]
mod model;

use crate::golden::{Golden, assert_close, assert_same_state, golden_path};
use minitorch::nn::state::StateDict;
use minitorch::no_grad;
use minitorch::prelude::*;
use minitorch_conformance::Plain;
use model::ResNet20;

/// The model with PyTorch's weights, and two batches of images and labels.
struct Setup<B: Backend> {
    golden: Golden,
    model: ResNet20<B>,
    batches: [(Tensor<B>, Tensor<B>); 2],
}

fn setup<B: Backend>(device: &B) -> Result<Setup<B>> {
    let golden = Golden::read("resnet20.safetensors")?;
    let mut model = ResNet20::new(1, 10, device);
    model.load(golden_path("resnet20-torch.safetensors"))?;
    let (x, target) = (golden.tensor("x", device), golden.tensor("target", device));
    let batch = |i: isize| (x.slice(i), target.slice(i));
    Ok(Setup { golden, model, batches: [batch(0), batch(1)] })
}

fn logits_are_pytorchs<B: Backend>(device: &B) -> Result<()> {
    let Setup { golden, mut model, batches: [(x, _), _] } = setup(device)?;
    model.eval();
    let logits = no_grad(|| model.forward(&x));
    assert_close("logits", &logits.to_vec::<f32>()?, golden.f32("logits"), 1e-4);
    Ok(())
}

fn gradients_are_pytorchs<B: Backend>(device: &B) -> Result<()> {
    let Setup { golden, model, batches: [(x, target), _] } = setup(device)?;
    golden.assert_gradients(&model, &model.forward(&x).cross_entropy(&target).backward())
}

/// The losses of the first `count` of PyTorch's ten steps, and after the tenth its running statistics.
fn steps_follow_pytorch<B: Backend>(device: &B, count: usize) -> Result<()> {
    let Setup { golden, mut model, batches } = setup(device)?;
    let mut optimizer = Sgd::new(0.005).momentum(0.9).nesterov(true).weight_decay(5e-4);
    for (step, want) in golden.f32("sgd_losses").iter().enumerate().take(count) {
        let (x, target) = &batches[step % 2];
        let loss = model.forward(x).cross_entropy(target);
        if step + 1 < count {
            optimizer.step(&mut model, &loss.backward());
        }
        let loss = loss.item()? as f32;
        // At first rounding of 1e-6; later it flips the sign of inputs of a ReLU that are almost 0.
        let bound = if step < 4 { 1e-5 } else { 1e-3 };
        assert!((loss / want - 1.0).abs() < bound, "step {step}: the loss is {loss}, PyTorch's {want}");
    }
    if count == 10 {
        let state = model.state()?;
        for name in golden.0.names().filter_map(|key| key.strip_prefix("after/")) {
            assert_close(name, &state[name].to_vec::<f32>()?, golden.f32(&format!("after/{name}")), 1e-3);
        }
        assert_eq!(state["bn1.num_batches_tracked"].to_vec::<i32>()?, [60 + 10]);
    }
    Ok(())
}

#[test]
fn logits_on_cpu() -> Result<()> {
    logits_are_pytorchs(&Cpu::new())
}

#[test]
fn logits_on_plain() -> Result<()> {
    logits_are_pytorchs(&Plain::new())
}

#[test]
fn gradients_on_cpu() -> Result<()> {
    gradients_are_pytorchs(&Cpu::new())
}

#[test]
fn ten_steps_on_cpu() -> Result<()> {
    steps_follow_pytorch(&Cpu::new(), 10)
}

/// Two steps, because plain loops are slow: the second loss depends on every gradient of the first step.
#[test]
fn two_steps_on_plain() -> Result<()> {
    steps_follow_pytorch(&Plain::new(), 2)
}

#[test]
fn saving_gives_pytorchs_names_and_shapes() -> Result<()> {
    let model = setup(&Cpu::new())?.model;
    let theirs = StateDict::read(golden_path("resnet20-torch.safetensors"))?;
    assert_same_state(&model.state()?, &theirs);
    assert_eq!(model.num_parameters(), 272_186);
    Ok(())
}
