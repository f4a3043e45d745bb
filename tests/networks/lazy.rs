//! Lazy optimizer steps of an embedding: every backend against the reference backend.

use minitorch::prelude::*;
use minitorch_conformance::Plain;

const ROWS: usize = 20_000;
const WIDTH: usize = 6;

/// The rows that each step reads, with repeats; the last step reads none.
const STEPS: [&[i32]; 4] = [&[5, 19_999, 5, 0], &[0, 7, 7, 7, 5], &[19_999], &[]];

fn numbers(n: usize, factor: f32) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * factor).sin()).collect()
}

/// The table after the steps of one optimizer.
fn steps<B: Backend>(mut optimizer: impl Optimizer<B>, device: &B) -> Result<Vec<f32>> {
    let table = Tensor::from_vec(numbers(ROWS * WIDTH, 0.7), [ROWS, WIDTH], device);
    let mut embedding = Embedding::from_vectors(table);
    for index in STEPS {
        let ids = Tensor::from_vec(index.to_vec(), index.len(), device);
        let factors = Tensor::from_vec(numbers(index.len() * WIDTH, 0.3), [index.len(), WIDTH], device);
        let grads = (embedding.forward(&ids) * factors).sum(..).backward();
        let (grads, _) = grads.clip_norm(2.0);
        assert!(grads.rows(&embedding.weight).is_some());
        optimizer.step(&mut embedding, &grads);
    }
    embedding.weight.to_vec()
}

fn all<B: Backend>(device: &B) -> Result<Vec<(&'static str, Vec<f32>)>> {
    let lazy = || Group::new().lazy();
    Ok(vec![
        ("adam", steps(Adam::new(0.1).group(|_, _| true, lazy()), device)?),
        ("adamw", steps(AdamW::new(0.1).group(|_, _| true, lazy()), device)?),
        ("momentum", steps(Sgd::new(0.1).momentum(0.9).group(|_, _| true, lazy()), device)?),
        ("rmsprop", steps(RmsProp::new(0.1).momentum(0.5).centered(true).group(|_, _| true, lazy()), device)?),
        ("sgd", steps(Sgd::new(0.1), device)?),
        ("adagrad", steps(Adagrad::new(0.1).initial_accumulator(0.3), device)?),
    ])
}

fn agrees_with_the_reference<B: Backend>(device: &B) -> Result<()> {
    let before = numbers(ROWS * WIDTH, 0.7);
    let read: Vec<usize> = STEPS.concat().iter().map(|&row| row as usize).collect();
    for ((name, got), (_, want)) in all(device)?.into_iter().zip(all(&Plain::new())?) {
        for (i, (&got, &want)) in got.iter().zip(&want).enumerate() {
            let (row, column) = (i / WIDTH, i % WIDTH);
            assert!((got - want).abs() <= 2e-5, "{name}: row {row}, column {column} is {got}, not {want}");
            assert!(read.contains(&row) || got == before[i], "{name}: row {row} was not read, and moved");
        }
        assert!(got.iter().zip(&before).any(|(got, before)| got != before), "{name}: nothing moved");
    }
    Ok(())
}

#[test]
fn on_the_cpu() -> Result<()> {
    agrees_with_the_reference(&Cpu::default())
}

#[cfg(feature = "cuda-emu")]
#[test]
fn on_the_emulator() -> Result<()> {
    agrees_with_the_reference(&Cuda::emulated(minitorch_cuda::Order::Shuffled(1)))
}

#[cfg(feature = "wgpu")]
#[test]
fn on_wgpu() -> Result<()> {
    match Wgpu::new() {
        Ok(device) => agrees_with_the_reference(&device),
        Err(error) => {
            crate::require::absent("wgpu", &error.to_string());
            Ok(())
        }
    }
}
