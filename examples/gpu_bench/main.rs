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
#[path = "../common/measure.rs"]
mod measure;
#[path = "../resnet/model.rs"]
mod resnet;
mod rows;

use args::Args;
use backends::{About, BACKENDS, Visitor, visit};
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
    let mut report = Report { path: args.json.as_deref(), backends: Vec::new() };
    for name in &args.backend {
        visit(name, Measure { args, report: &mut report })??;
    }
    Ok(())
}

/// All rows of one backend.
struct Measure<'a, 'r> {
    args: &'a Args,
    report: &'a mut Report<'r>,
}

impl Visitor for Measure<'_, '_> {
    type Output = Result<()>;

    fn visit<B: Backend>(self, device: &B, about: &About) -> Result<()> {
        let Measure { args, report } = self;
        println!("{}: {}", about.name, about.description);
        report.backends.push(json!({ "backend": about.name, "device": about.description, "rows": [] }));
        rows::all(&mut Bench { about, device: device.clone(), args, report })
    }
}
