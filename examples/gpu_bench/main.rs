//! Times a fixed list of work on the GPU backends of this build: matrix products, convolutions, element-wise functions,
//! reductions, norms, an optimizer, and whole training steps.
//!
//! ```text
//! cargo run --release --example gpu_bench --features cuda,wgpu -- --json ours.json
//! cargo run --release --example gpu_bench --features cuda -- --rows "matmul 4096" --once    # for a profiler
//! ```
//!
//! A row queues as many calls as fill a fiftieth of a second, waits for the device, and divides: the time of a call in a
//! stream of calls, host and device overlapped, which is what a training loop sees. The median of seven such turns counts.
//! Inputs rotate through more memory than an L2 cache holds where a row says that memory bounds it. `scripts/torch_gpu.py`
//! times the same rows in PyTorch by the same method; `scripts/gpu_table.py` lays both side by side.

#[path = "../common/backends.rs"]
mod backends;
#[path = "../mnist/model.rs"]
mod lenet;
#[path = "../resnet/model.rs"]
mod resnet;
mod rows;

use backends::{BACKENDS, backend};
use clap::Parser;
use minitorch::nn::state::replace_file;
use minitorch::prelude::*;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// Seconds that a turn takes at the least.
const TURN: f64 = 0.02;
/// Turns of a row; the median counts.
const TURNS: usize = 7;

/// Times a fixed list of work on GPU backends.
#[derive(Parser)]
struct Args {
    /// The backends; by default the GPUs of this build
    #[arg(long, value_name = "NAME", value_parser = backend, value_delimiter = ',')]
    backend: Vec<String>,

    /// Only rows whose name holds this text
    #[arg(long, value_name = "TEXT", default_value = "")]
    rows: String,

    /// Where the figures go, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Sizes for an emulator or a GPU in software
    #[arg(long)]
    toy: bool,

    /// Call each row once after one call that warms it up, and time nothing
    #[arg(long)]
    once: bool,
}

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

/// The figures so far: a run that is cut off leaves them.
struct Report<'a> {
    path: Option<&'a Path>,
    backends: Vec<Value>,
}

impl Report<'_> {
    fn add(&mut self, row: Value) -> Result<()> {
        let Some(Value::Array(rows)) = self.backends.last_mut().and_then(|backend| backend.get_mut("rows")) else {
            unreachable!("rows are measured on a backend, which has a list of them");
        };
        rows.push(row);
        let Some(path) = self.path else { return Ok(()) };
        let text = serde_json::to_string_pretty(&json!({ "framework": "minitorch", "backends": self.backends }))
            .map_err(|error| Error::Invalid(error.to_string()))?;
        replace_file(path, |file| writeln!(file, "{text}"))
    }
}

/// What a call does at the least.
#[derive(Clone, Copy, Default)]
struct Work {
    /// Bytes read plus bytes written, each once.
    bytes: usize,
    /// Multiplications plus additions.
    flops: usize,
}

/// The rows of one backend as they are measured.
struct Bench<'a, 'r, B: Backend> {
    name: &'a str,
    device: B,
    args: &'a Args,
    /// Kernels launched since the start, where the backend counts them.
    launches: &'a dyn Fn() -> Option<u64>,
    report: &'a mut Report<'r>,
}

impl<B: Backend> Bench<'_, '_, B> {
    /// Numbers in -0.5..0.5.
    fn rand(&self, shape: impl Into<minitorch::Shape>) -> Tensor<B> {
        Tensor::rand(shape.into(), &self.device) - 0.5
    }

    /// Full size, or the small one under `--toy`.
    fn size(&self, full: usize, toy: usize) -> usize {
        if self.args.toy { toy } else { full }
    }

    /// Inputs of `bytes` each, so many that together they exceed an L2 cache: a call finds its input in memory.
    fn rotating<T>(&self, bytes: usize, make: impl Fn() -> T) -> Vec<T> {
        const L2: usize = 128 << 20;
        let count = if self.args.toy { 1 } else { (2 * L2).div_ceil(bytes.max(1)).clamp(1, 64) };
        (0..count).map(|_| make()).collect()
    }

    /// Times a row, whose inputs `prepare` makes: rows that were not asked for take no memory.
    fn row<F: FnMut(usize)>(&mut self, name: &str, work: Work, prepare: impl FnOnce(&Self) -> F) -> Result<()> {
        if !name.contains(&self.args.rows) {
            return Ok(());
        }
        let mut f = prepare(self);
        let mut next = 0;
        let mut queue = |calls: usize| {
            let begin = Instant::now();
            for _ in 0..calls {
                f(next);
                next += 1;
            }
            let queued = begin.elapsed().as_secs_f64();
            self.device.synchronize()?;
            Ok::<_, Error>((queued, begin.elapsed().as_secs_f64()))
        };
        queue(1)?;
        let before = (self.launches)();
        queue(1)?;
        let launches = before.zip((self.launches)()).map(|(before, after)| after - before);
        if self.args.once {
            return Ok(());
        }
        let (mut calls, mut once) = (1, queue(1)?.1);
        // Short calls overlap once several are queued, so that the number of a turn is found in steps.
        for _ in 0..4 {
            let wanted = (TURN / once.max(1e-9)).ceil().clamp(1.0, 20_000.0) as usize;
            if wanted <= calls {
                break;
            }
            calls = wanted.min(8 * calls);
            once = queue(calls)?.1 / calls as f64;
        }
        let mut turns = Vec::with_capacity(TURNS);
        for _ in 0..if self.args.toy { 1 } else { TURNS } {
            let (queued, done) = queue(calls)?;
            turns.push((done / calls as f64, queued / calls as f64));
        }
        turns.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (seconds, host) = turns[turns.len() / 2];
        let spread = (turns[turns.len() - 1].0 - turns[0].0) / 2.0 / seconds;
        println!(
            "{:<9} {name:<42} {:>11.2} us  host {:>8.2} us  {:>8.1} GB/s  {:>9.1} GFLOP/s  {:>4} launches  (±{:.0} %)",
            self.name,
            1e6 * seconds,
            1e6 * host,
            work.bytes as f64 / seconds / 1e9,
            work.flops as f64 / seconds / 1e9,
            launches.map_or_else(|| "-".to_owned(), |n| n.to_string()),
            100.0 * spread,
        );
        self.report.add(json!({
            "name": name, "us": 1e6 * seconds, "host_us": 1e6 * host, "spread": spread,
            "bytes": work.bytes, "flops": work.flops, "launches": launches,
        }))
    }
}
