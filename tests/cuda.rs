//! What the CUDA backend promises beyond the conformance suite: how many kernels a training step launches, that a warm step
//! asks the driver for nothing, that it draws the CPU's masks and follows its losses. On the emulator, and on card 0 if there
//! is one.
#![cfg(feature = "cuda")]

mod common;

use common::LeNet;
use minitorch::prelude::*;
use minitorch_conformance::Plain;

/// Every CUDA device that there is here.
fn devices() -> Vec<Cuda> {
    let mut devices = Vec::new();
    #[cfg(feature = "cuda-emu")]
    devices.push(Cuda::emulated(minitorch_cuda::Order::Forward));
    devices.extend(Cuda::new(0));
    devices
}

/// The masks of three draws, and the losses of twenty steps with dropout, from one seed.
fn twenty_steps<B: Backend>(device: &B) -> Result<(Vec<Vec<bool>>, Vec<f32>)> {
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
        let loss = model.forward(&x).cross_entropy(&target);
        optimizer.step(&mut model, &loss.backward());
        losses.push(loss.item()? as f32);
    }
    Ok((masks, losses))
}

#[test]
fn twenty_steps_with_dropout_follow_the_cpu() -> Result<()> {
    let (masks, losses) = twenty_steps(&Cpu::new())?;
    let (plain_masks, _) = twenty_steps(&Plain::new())?;
    assert_eq!(masks, plain_masks);
    assert_ne!(losses[0], losses[19], "the steps changed nothing");
    for device in devices() {
        let (device_masks, device_losses) = twenty_steps(&device)?;
        assert_eq!(masks, device_masks, "{device:?}: the masks differ");
        for (step, (cpu, cuda)) in losses.iter().zip(&device_losses).enumerate() {
            assert!((cpu - cuda).abs() <= 1e-4 * (1.0 + cpu), "{device:?}, step {step}: {cuda}, on the CPU {cpu}");
        }
    }
    Ok(())
}

/// Kernels launched by `f`.
fn launches<T>(device: &Cuda, f: impl FnOnce() -> T) -> u64 {
    let before = device.launches();
    f();
    device.launches() - before
}

#[test]
fn a_step_launches_few_kernels_and_takes_no_memory() -> Result<()> {
    for device in devices() {
        let mut model = LeNet::new(0.5, &device);
        let mut optimizer = Adam::new(1e-3);
        let x = Tensor::randn([8, 1, 28, 28], &device);
        let target = Tensor::new([3, 1, 4, 1, 5, 9, 2, 6], &device);
        let mut step = || {
            let loss = model.forward(&x).cross_entropy(&target);
            optimizer.step(&mut model, &loss.backward());
        };
        step();
        step();
        let allocations = device.allocations();
        let kernels = launches(&device, &mut step);
        device.synchronize()?;
        println!("{device:?}: {kernels} kernels in a LeNet step with dropout and Adam");
        assert!(kernels <= 45, "{device:?}: a LeNet step launches {kernels} kernels");
        assert_eq!(device.allocations(), allocations, "{device:?}: a warm step asked the driver for memory");
    }
    Ok(())
}

#[test]
fn fused_operations_are_few_kernels() {
    for device in devices() {
        let x = Tensor::randn([4, 3, 12, 12], &device).requires_grad();
        let w = Tensor::randn([8, 3, 3, 3], &device).requires_grad();
        let b = Tensor::randn([8], &device).requires_grad();
        let y = x.conv2d(&w, Some(&b), Conv2dOptions::default().padding(1));
        let g = Tensor::randn(*y.shape(), &device);
        let forward = launches(&device, || x.conv2d(&w, Some(&b), Conv2dOptions::default().padding(1)));
        let backward = launches(&device, || y.grad_with(&g, [&x, &w, &b]));
        assert!(forward <= 1 && backward <= 3, "{device:?}: conv2d takes {forward} kernels and {backward} backward");

        let logits = Tensor::randn([64, 10], &device).requires_grad();
        let target = Tensor::arange(0..64, &device).remainder(10);
        let one = Tensor::full([], 1.0, &device);
        let kernels = launches(&device, || logits.cross_entropy(&target).grad_with(&one, [&logits]));
        assert!(kernels <= 2, "{device:?}: cross-entropy with its gradient takes {kernels} kernels");
    }
}
