//! What a launch costs the host: nanoseconds from the call of an operation until it is queued.
//!
//! ```text
//! cargo run --release -p minitorch-cuda --example launch_cost
//! ```
//!
//! A turn queues 200 calls, which is less than a GPU's queue holds, and waits for the device outside of the time; the median
//! of the turns counts. `fill` and `relu in place` are a launch and nothing else, `relu of a buffer` takes memory from the
//! pool and gives it back, and the rest is what a program calls. With a driver whose launches do nothing (`scripts/fake-driver`) the
//! figures are the crate's own cost; on a GPU they include the driver's.

use minitorch_core::backend::{CopyOps, Device, UnaryOp, UnaryOps, View};
use minitorch_core::{DType, Layout, Result, Tensor};
use minitorch_cuda::Cuda;
use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

/// Calls of a turn.
const CALLS: usize = 200;
/// Turns; the median counts.
const TURNS: usize = 301;

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
    let (before, mut turns) = (device.launches(), Vec::with_capacity(TURNS));
    for _ in 0..TURNS {
        let start = Instant::now();
        for _ in 0..CALLS {
            black_box(call());
        }
        turns.push(start.elapsed());
        device.synchronize()?;
    }
    turns.sort();
    let [median, least] = [turns[TURNS / 2], turns[0]].map(|turn| turn.as_nanos() as f64 / CALLS as f64);
    let launches = (device.launches() - before) as f64 / (TURNS * CALLS) as f64;
    println!("{name:<20} {median:>7.0} ns ({least:.0} at the least), {launches:.0} launch");
    Ok(())
}
