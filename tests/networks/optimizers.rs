//! Optimizers against PyTorch over several steps, with weight decay and parameter groups: see
//! `scripts/goldens_optim.py`.

use crate::golden::{Golden, assert_close};
#[cfg(feature = "wgpu")]
use crate::require;
use minitorch::nn::{Group, Lion, NAdam, Optimizer, RAdam};
use minitorch::prelude::*;
use minitorch_conformance::Plain;

/// A case of the golden file: the optimizer with the settings that the script's table gives it.
fn optimizer<B: Backend>(case: &str) -> Box<dyn Optimizer<B>> {
    // The second parameter is in a group of its own.
    let second = |name: &str, _: &Tensor<B>| name == "1";
    let group = Group::new().lr_scale(0.25).weight_decay(0.5);
    match case {
        "amsgrad" => Box::new(Adam::new(0.01).amsgrad(true).group(second, group)),
        "amsgrad_decay" => {
            Box::new(Adam::new(0.01).amsgrad(true).betas(0.5, 0.7).weight_decay(0.1).group(second, group))
        }
        "adamw_amsgrad" => Box::new(AdamW::new(0.01).amsgrad(true).eps(1e-4).weight_decay(0.1).group(second, group)),
        "nadam" => Box::new(NAdam::new(0.01).group(second, group)),
        "nadam_decay" => {
            Box::new(NAdam::new(0.01).betas(0.8, 0.95).momentum_decay(0.05).weight_decay(0.1).group(second, group))
        }
        "nadam_decoupled" => {
            Box::new(NAdam::new(0.01).eps(1e-4).weight_decay(0.1).decoupled(true).group(second, group))
        }
        "radam" => Box::new(RAdam::new(0.01).group(second, group)),
        "radam_decay" => Box::new(RAdam::new(0.01).betas(0.8, 0.9).weight_decay(0.1).group(second, group)),
        "radam_decoupled" => {
            Box::new(RAdam::new(0.01).eps(1e-4).weight_decay(0.1).decoupled(true).group(second, group))
        }
        "lion" => Box::new(Lion::new(0.01).group(second, group)),
        "lion_decay" => Box::new(Lion::new(0.01).betas(0.6, 0.8).weight_decay(0.1).group(second, group)),
        other => panic!("the golden file has a case that this test does not know: {other}"),
    }
}

fn steps_are_pytorchs<B: Backend>(device: &B) -> Result<()> {
    let golden = Golden::read("optim.safetensors")?;
    let names = golden.0.names().filter_map(|name| name.strip_suffix("/0"));
    let cases: Vec<&str> = names.filter(|name| !["start", "grads"].contains(name)).collect();
    assert_eq!(cases.len(), 11, "{cases:?}");
    for case in cases {
        let mut optimizer = optimizer(case);
        let mut params = ["start/0", "start/1"].map(|name| Param::new(golden.tensor(name, device)));
        let grads = ["grads/0", "grads/1"].map(|name| golden.tensor(name, device));
        let wanted = [0, 1].map(|at| golden.f32(&format!("{case}/{at}")));
        for step in 0..grads[0].shape()[0] {
            let row = |at: usize| grads[at].narrow(0, step, 1).squeeze(0);
            // The second parameter has no gradient in the third step, so its own count is one behind.
            let mut loss = (&*params[0] * row(0)).sum(..);
            if step != 2 {
                loss += (&*params[1] * row(1)).sum(..);
            }
            optimizer.step(&mut params, &loss.backward());
            for (at, (param, want)) in params.iter().zip(wanted).enumerate() {
                let n = param.numel();
                let (got, want) = (param.to_vec::<f32>()?, &want[step * n..][..n]);
                assert_close(&format!("{case}: parameter {at} after step {step}"), &got, want, 1e-5);
            }
        }
    }
    Ok(())
}

#[test]
fn on_plain() -> Result<()> {
    steps_are_pytorchs(&Plain::new())
}

#[test]
fn on_cpu() -> Result<()> {
    steps_are_pytorchs(&Cpu::new())
}

#[cfg(feature = "cuda-emu")]
#[test]
fn on_the_emulator() -> Result<()> {
    steps_are_pytorchs(&Cuda::emulated(minitorch_cuda::Order::Shuffled(1)))
}

#[cfg(feature = "wgpu")]
#[test]
fn on_wgpu() -> Result<()> {
    match Wgpu::new() {
        Ok(device) => steps_are_pytorchs(&device),
        Err(error) => {
            require::absent("wgpu", &error.to_string());
            Ok(())
        }
    }
}

/// The composed rules in F64 are the formulas, and halves are rounded once per result.
#[test]
fn a_step_in_half_precision_is_a_rounded_step() {
    let device = Plain::new();
    if !device.supports(DType::F16) {
        println!("skipped: the device has no F16");
        return;
    }
    let half = Tensor::new([0.5, -1.25, 3.0], &device).cast(DType::F16);
    let grad = Tensor::new([0.25, 1.0, -2.0], &device);
    let step = |dtype: DType| -> Option<Vec<f32>> {
        let mut param = Param::new(half.cast(dtype));
        let loss = (&*param * grad.cast(dtype)).sum(..);
        NAdam::new(0.01).step(&mut param, &loss.backward());
        param.cast(DType::F16).cast(DType::F32).to_vec().ok()
    };
    assert_eq!(step(DType::F16), step(DType::F32));
}
