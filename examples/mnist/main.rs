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
//! Where to read: `model.rs` is the network, `main.rs` its recipe, `args.rs` the command line. The training loop and all
//! that shows what happened are in `../common`, which other examples use too.

mod args;
#[path = "../common/mod.rs"]
mod common;
mod model;

use args::Args;
use common::{DIGITS, Example, Task};
use minitorch::nn::data::{ImageDataset, Split, mnist};
use minitorch::prelude::*;
use model::LeNet;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Args::from_command_line() {
        Ok(args) => common::start(&args, &args.options),
        Err(code) => code,
    }
}

impl Example for Args {
    type Model<B: Backend> = LeNet<B>;

    /// Adam under a one-cycle learning rate.
    fn task<B: Backend>(&self, device: &B) -> Task<LeNet<B>, B> {
        Task {
            name: "LeNet-5",
            model: LeNet::new(device),
            optimizer: Box::new(Adam::new(self.options.lr)),
            schedule: |peak, steps| Box::new(OneCycle::new(peak, steps)),
            classes: DIGITS,
        }
    }

    fn images(&self, split: Split) -> Result<ImageDataset> {
        mnist(self.data_folder(), split)
    }
}
