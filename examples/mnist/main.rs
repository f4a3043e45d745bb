//! LeNet-5 learns to read handwritten digits: about 99 % right on MNIST's test set after five epochs.
//!
//! ```text
//! cargo run --release --example mnist
//! cargo run --release --example mnist -- --epochs 1 --limit 5000
//! cargo run --release --example mnist -- --eval runs/mnist/model.safetensors
//! ```
//!
//! The last line on stdout is the figure, `test accuracy: 99.12 %`; the same seed gives the same one. In `--out` (default
//! `runs/mnist`):
//!
//! | file | holds |
//! |---|---|
//! | `model.safetensors` | the weights at the end; PyTorch loads them |
//! | `last.safetensors` | the weights after the latest epoch, or where Ctrl-C stopped |
//! | `metrics.csv` | loss and accuracy, every 50 steps and every epoch |
//! | `curves.png` | the same as a picture |
//! | `mistakes.png` | the test images that the model gets most confidently wrong |
//!
//! Files are replaced whole. Exit codes: 0, 1 when the world fails (a file, a device, a loss that is no number), 2 for a
//! wrong command line, 130 after Ctrl-C.
//!
//! Where to read: `model.rs` is the network, `train.rs` the loop; `evaluate.rs` judges, `args.rs` is the command line, and
//! `output.rs`, `progress.rs`, `charts.rs` and `canvas.rs` show what happened.

mod args;
mod canvas;
mod charts;
mod evaluate;
mod model;
mod output;
mod progress;
mod train;

use args::Args;
use minitorch::nn::data::{Split, mnist};
use minitorch::prelude::*;
use model::LeNet;
use std::io::Write;
use std::process::ExitCode;
use train::Outcome;

/// The backends of this build, the preferred one first. A further backend is a line here and an arm in [`run`].
const BACKENDS: &[&str] = &["cpu"];

fn main() -> ExitCode {
    let args = match Args::from_command_line() {
        Ok(args) => args,
        Err(code) => return code,
    };
    match run(&args) {
        Ok(Outcome::Finished(score)) => {
            say(&score.table());
            say(&format!("test accuracy: {:.2} %", 100.0 * score.accuracy()));
            ExitCode::SUCCESS
        }
        Ok(Outcome::Interrupted) => ExitCode::from(130),
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<Outcome> {
    match args.backend.as_deref().unwrap_or(BACKENDS[0]) {
        "cpu" => work(args, &Cpu::default()),
        // `Args` has refused every name that is not in BACKENDS.
        other => Err(Error::Invalid(format!("the backend {other} is listed and not started"))),
    }
}

/// Everything after the choice of a device: nothing from here on names a backend.
fn work<B: Backend>(args: &Args, device: &B) -> Result<Outcome> {
    device.rng().seed(args.seed);
    let mut model = LeNet::new(device);
    let limit = args.limit.unwrap_or(usize::MAX);
    let folder = args.data_folder();
    let test = mnist(&folder, Split::Test)?.take(limit);
    if let Some(weights) = &args.eval {
        model.load(weights)?;
        return Ok(Outcome::Finished(evaluate::score(&model, &test, device)?));
    }
    let train = mnist(&folder, Split::Train)?.take(limit);
    let output = output::Output::create(&args.out)?;
    train::train(args, &mut model, &train, &test, output, device)
}

/// A line on stdout. A reader that went away is no reason to stop.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// One line on stderr.
fn complain(reason: &str) {
    let _ = writeln!(std::io::stderr(), "error: {}", reason.replace('\n', " "));
}
