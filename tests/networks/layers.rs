//! Every layer with weights, exchanged with PyTorch: its file loads strictly and gives its outputs; the file of this
//! library has the same names, shapes and values.

use crate::golden::{Golden, assert_close, assert_same_state, golden_path};
use minitorch::nn::state::StateDict;
use minitorch::prelude::*;
use minitorch_conformance::Plain;

/// One layer of each kind, as in `scripts/goldens_layers.py`.
#[derive(Module)]
struct Zoo<B: Backend> {
    linear: Linear<B>,
    bare: Linear<B>,
    conv1: Conv1d<B>,
    conv2: Conv2d<B>,
    up: ConvTranspose2d<B>,
    bn1: BatchNorm1d<B>,
    bn2: BatchNorm2d<B>,
    layer: LayerNorm<B>,
    group: GroupNorm<B>,
    embedding: Embedding<B>,
}

impl<B: Backend> Zoo<B> {
    fn new(device: &B) -> Self {
        let conv1 = Conv1dOptions::default().stride(2).padding(1).groups(2);
        let conv2 = Conv2dOptions::default().padding([1, 0]).dilation([1, 2]).groups(2);
        let up = Conv2dOptions::default().stride(2).padding(1).groups(2);
        Zoo {
            linear: Linear::new(5, 3, device),
            bare: Linear::new(5, 3, device).without_bias(),
            conv1: Conv1d::with_options(4, 6, 3, conv1, device),
            conv2: Conv2d::with_options(4, 6, [3, 2], conv2, device),
            up: ConvTranspose2d::with_options(4, 6, 3, up, device).output_padding(1),
            bn1: BatchNorm1d::new(5, device),
            bn2: BatchNorm2d::new(4, device),
            layer: LayerNorm::new([3, 5], device),
            group: GroupNorm::new(2, 6, device),
            embedding: Embedding::new(7, 4, device),
        }
    }

    fn layers(&self) -> [(&'static str, &dyn Layer<B>); 10] {
        [
            ("linear", &self.linear),
            ("bare", &self.bare),
            ("conv1", &self.conv1),
            ("conv2", &self.conv2),
            ("up", &self.up),
            ("bn1", &self.bn1),
            ("bn2", &self.bn2),
            ("layer", &self.layer),
            ("group", &self.group),
            ("embedding", &self.embedding),
        ]
    }
}

fn pytorchs_weights_give_pytorchs_outputs<B: Backend>(device: &B) -> Result<()> {
    let golden = Golden::read("layers.safetensors")?;
    let mut zoo = Zoo::new(device);
    zoo.load(golden_path("layers-torch.safetensors"))?;
    zoo.eval();
    assert_eq!(zoo.bn1.num_batches_tracked.get().item()?, 3.0, "PyTorch's I64 counter");
    for (name, layer) in zoo.layers() {
        let y = layer.forward(&golden.tensor(&format!("{name}/x"), device));
        assert_close(name, &y.to_vec::<f32>()?, golden.f32(&format!("{name}/y")), 1e-4);
    }
    Ok(())
}

#[test]
fn on_plain() -> Result<()> {
    pytorchs_weights_give_pytorchs_outputs(&Plain::new())
}

#[test]
fn on_cpu() -> Result<()> {
    pytorchs_weights_give_pytorchs_outputs(&Cpu::new())
}

/// A saved file equals PyTorch's, except for its I64 counters, which are I32 here. `scripts/goldens_layers.py --check`
/// checks that PyTorch loads it strictly.
#[test]
fn a_saved_file_equals_pytorchs() -> Result<()> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("layers.safetensors");
    let mut zoo = Zoo::new(&Cpu::new());
    zoo.load(golden_path("layers-torch.safetensors"))?;
    zoo.save(&path)?;
    let (ours, theirs) = (StateDict::read(&path)?, StateDict::read(golden_path("layers-torch.safetensors"))?);
    assert_same_state(&ours, &theirs);
    assert_eq!(zoo.state()?, ours);
    if let Ok(copy) = std::env::var("MINITORCH_LAYERS") {
        std::fs::copy(&path, copy).expect("the copy for the script is written");
    }
    Ok(())
}

/// A file may hold a dtype that the device does not support: wider floats hold the values, else it is an error.
#[test]
fn halves_on_a_device_without_them_are_floats() -> Result<()> {
    use minitorch::nn::state::{HostTensor, bf16};
    let device = Cpu::new();
    for tensor in
        [HostTensor::new([1], vec![minitorch::f16::from_f32(1.5)]), HostTensor::new([1], vec![bf16::from_f32(1.5)])]
    {
        assert_eq!(tensor.to_tensor(&device)?.to_vec::<f32>()?, [1.5], "{tensor}");
    }
    let error = HostTensor::new([1], vec![1u64 << 40]).to_tensor(&device).map(|_| ()).unwrap_err().to_string();
    assert_eq!(error, "the value 1099511627776 of uint64 does not fit int32");
    Ok(())
}

/// One call copies a model to another backend, and to another dtype.
#[test]
fn a_model_is_copied_between_backends() -> Result<()> {
    let mut cpu = Zoo::new(&Cpu::new());
    cpu.load(golden_path("layers-torch.safetensors"))?;
    let mut plain = Zoo::new(&Plain::new());
    plain.copy_from(&cpu)?;
    assert_eq!(plain.state()?, cpu.state()?);
    plain.to_dtype(DType::F64);
    let mut back = Zoo::new(&Cpu::new());
    back.copy_from(&plain)?;
    assert_eq!(back.state()?, cpu.state()?, "F64 holds every F32");
    Ok(())
}
