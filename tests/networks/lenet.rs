//! LeNet-5 against PyTorch, and the backends against each other.

#[path = "../common/lenet.rs"]
mod model;

use crate::golden::{Golden, assert_close, golden_path};
use minitorch::prelude::*;
use minitorch_conformance::Plain;
use model::{LeNet, follows_the_cpu, twenty_steps};
use std::path::PathBuf;

fn weights_from_pytorch_give_its_logits_and_gradients<B: Backend>(device: &B) -> Result<()> {
    let golden = Golden::read("lenet.safetensors")?;
    let mut model = LeNet::new(0.0, device);
    model.load(golden_path("lenet-torch.safetensors"))?;
    let (x, target) = (golden.tensor("x", device), golden.tensor("target", device));
    let logits = model.forward(&x);
    assert_close("logits", &logits.to_vec::<f32>()?, golden.f32("logits"), 1e-4);
    let loss = logits.cross_entropy(&target);
    assert_close("loss", &loss.to_vec::<f32>()?, golden.f32("loss"), 1e-5);
    golden.assert_gradients(&model, &loss.backward())
}

fn ten_steps_follow_pytorch<B: Backend>(device: &B) -> Result<()> {
    let golden = Golden::read("lenet.safetensors")?;
    let (x, target) = (golden.tensor("x", device), golden.tensor("target", device));
    let optimizers: [(&str, Box<dyn Optimizer<B>>); 2] =
        [("sgd_losses", Box::new(Sgd::new(0.05).momentum(0.9))), ("adam_losses", Box::new(Adam::new(1e-3)))];
    for (name, mut optimizer) in optimizers {
        let mut model = LeNet::new(0.0, device);
        model.load(golden_path("lenet-torch.safetensors"))?;
        let mut losses = Vec::new();
        for _ in 0..10 {
            losses.push(model.step(&mut *optimizer, &x, &target).item()? as f32);
        }
        assert_close(name, &losses, golden.f32(name), 1e-3);
    }
    Ok(())
}

/// The reverse direction: weights of this framework, and the logits that PyTorch computed from them.
fn weights_of_ours_gave_pytorch_these_logits<B: Backend>(device: &B) -> Result<()> {
    let x = Golden::read("lenet.safetensors")?.tensor("x", device);
    let theirs = Golden::read("lenet-minitorch-logits.safetensors")?;
    let mut model = LeNet::new(0.0, device);
    model.load(golden_path("lenet-minitorch.safetensors"))?;
    assert_close("logits", &model.forward(&x).to_vec::<f32>()?, theirs.f32("logits"), 1e-4);
    Ok(())
}

#[test]
fn pytorch_weights_on_cpu() -> Result<()> {
    weights_from_pytorch_give_its_logits_and_gradients(&Cpu::new())
}

#[test]
fn pytorch_weights_on_plain() -> Result<()> {
    weights_from_pytorch_give_its_logits_and_gradients(&Plain::new())
}

#[test]
fn pytorch_steps_on_cpu() -> Result<()> {
    ten_steps_follow_pytorch(&Cpu::new())
}

#[test]
fn our_weights_in_pytorch() -> Result<()> {
    weights_of_ours_gave_pytorch_these_logits(&Cpu::new())
}

#[test]
fn saving_reproduces_the_golden_file() -> Result<()> {
    // Equal bytes: PyTorch was checked with a file that `save` still writes.
    let mut model = LeNet::new(0.0, &Cpu::new());
    model.load(golden_path("lenet-minitorch.safetensors"))?;
    let folder = tempfile::tempdir().map_err(|e| Error::io("a temporary folder", e))?;
    let path = folder.path().join("again.safetensors");
    model.save(&path)?;
    let read = |path: PathBuf| std::fs::read(&path).map_err(|e| Error::io(path, e));
    assert_eq!(read(path)?, read(golden_path("lenet-minitorch.safetensors"))?);
    Ok(())
}

#[test]
fn twenty_steps_agree_between_backends_and_repeat() -> Result<()> {
    follows_the_cpu([Plain::new()])?;
    assert_eq!(twenty_steps(&Cpu::new())?, twenty_steps(&Cpu::new())?, "the same seed gives the same bits");
    Ok(())
}
