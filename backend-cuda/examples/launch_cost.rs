//! The host's overhead per launch: nanoseconds from the call of an operation until it is queued.
//!
//! ```text
//! cargo run --release -p minitorch-cuda --example launch_cost
//! ```
//!
//! A sample queues 200 calls, which is less than a GPU's queue holds, and is not timed while it waits for the device; the median
//! of the samples is printed. `fill` and `relu in place` are a launch and nothing else, `relu of a buffer` also takes a buffer
//! from the pool and returns it, and the others are calls of a program. With a driver whose launches do nothing
//! (`scripts/fake-driver`) the times are those of the crate alone; on a GPU they include the driver's.

use minitorch_core::backend::{CopyOps, Device, UnaryOp, UnaryOps, View};
use minitorch_core::{DType, Layout, Result, Tensor};
use minitorch_cuda::Cuda;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

/// Calls per sample.
const CALLS: usize = 200;
/// The number of samples.
const SAMPLES: usize = 301;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let device = Cuda::new(0)?;
    println!("{}", device.describe());
    let layout = Layout::contiguous([4, 16]);
    let mut storage = device.full(DType::F32, 64, 1.0)?;
    let relu = UnaryOp::Relu;
    time(&device, "fill", || device.fill(&mut storage, &layout, DType::F32, 2.0))?;
    time(&device, "relu in place", || device.unary_mut(relu, &mut storage, &layout, DType::F32))?;
    let x = View { storage: &storage, layout: &layout, dtype: DType::F32 };
    time(&device, "relu of a buffer", || device.unary(relu, x))?;
    let a = Tensor::ones([64, 64], &device);
    let b = Tensor::ones([64, 64], &device);
    time(&device, "x.relu()", || a.relu())?;
    time(&device, "a + b", || &a + &b)?;
    time(&device, "a.matmul(b)", || a.matmul(&b))?;
    time(&device, "x.sum(1)", || a.sum(1))?;
    time(&device, "x.softmax(1)", || a.softmax(1))
}

fn time<T>(device: &Cuda, name: &str, mut call: impl FnMut() -> T) -> Result<()> {
    let (before, mut samples) = (device.launches(), Vec::with_capacity(SAMPLES));
    for _ in 0..SAMPLES {
        let start = Instant::now();
        for _ in 0..CALLS {
            black_box(call());
        }
        samples.push(start.elapsed());
        device.synchronize()?;
    }
    samples.sort();
    let [median, least] = [samples[SAMPLES / 2], samples[0]].map(|sample| sample.as_nanos() as f64 / CALLS as f64);
    let launches = (device.launches() - before) as f64 / (SAMPLES * CALLS) as f64;
    println!("{name:<20} {median:>7.0} ns ({least:.0} at the least), {launches:.0} launch");
    Ok(())
}
