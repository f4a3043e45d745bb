//! Times a fixed list of operations on the GPU backends of this build: matrix products, convolutions, element-wise
//! functions, reductions, norms, an optimizer, and entire training steps.
//!
//! ```text
//! cargo run --release --example gpu_bench --features cuda,wgpu -- --json ours.json
//! cargo run --release --example gpu_bench --features cuda -- --rows "matmul 4096" --once    # for a profiler
//! ```
//!
//! A row queues calls for a fiftieth of a second, waits for the device, and divides by their number: the time of a call
//! in a stream of calls, host and device overlapped, as in a training loop. The result is the median of seven such
//! measurements. Rows that are bound by memory rotate through more inputs than an L2 cache holds.
//! `scripts/torch_gpu.py` times the same rows in PyTorch by the same method; `scripts/gpu_table.py` compares both.

mod args;
#[path = "../common/backends.rs"]
mod backends;
mod bench;
#[path = "../mnist/model.rs"]
mod lenet;
#[path = "../resnet/model.rs"]
mod resnet;
mod rows;

use args::Args;
use backends::BACKENDS;
use bench::{Bench, Report};
use clap::Parser;
use minitorch::prelude::*;
use serde_json::json;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = Args::parse();
    if args.backend.is_empty() {
        let gpus = BACKENDS.iter().filter(|name| ["cuda", "wgpu"].contains(name));
        args.backend = gpus.map(|&name| name.to_owned()).collect();
    }
    if args.backend.is_empty() {
        eprintln!(
            "error: this build has no GPU backend; --features cuda,wgpu adds them, --backend cpu works without one"
        );
        return ExitCode::from(2);
    }
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let report = &mut Report { path: args.json.as_deref(), backends: Vec::new() };
    for name in &args.backend {
        match name.as_str() {
            #[cfg(feature = "cuda")]
            "cuda" => {
                let device = Cuda::new(0)?;
                let count = device.clone();
                measure(name, &device.describe(), device, args, report, &|| Some(count.launches()))?;
            }
            #[cfg(feature = "wgpu")]
            "wgpu" => {
                let device = Wgpu::new()?;
                let count = device.clone();
                measure(name, &device.describe(), device, args, report, &|| Some(count.dispatches()))?;
            }
            #[cfg(feature = "cuda-emu")]
            "cuda-emu" => {
                let device = Cuda::emulated(minitorch_cuda::Order::Forward);
                let count = device.clone();
                measure(name, &device.describe(), device, args, report, &|| Some(count.launches()))?;
            }
            _ => {
                let device = Cpu::default();
                measure(name, &device.describe(), device, args, report, &|| None)?;
            }
        }
    }
    Ok(())
}

fn measure<B: Backend>(
    name: &str,
    description: &str,
    device: B,
    args: &Args,
    report: &mut Report<'_>,
    launches: &dyn Fn() -> Option<u64>,
) -> Result<()> {
    println!("{name}: {description}");
    report.backends.push(json!({ "backend": name, "device": description, "rows": [] }));
    rows::all(&mut Bench { name, device, args, launches, report })
}
