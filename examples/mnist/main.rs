//! Trains LeNet-5 to read handwritten digits: about 99 % test accuracy on MNIST after five epochs.
//!
//! ```text
//! cargo run --release --example mnist
//! cargo run --release --example mnist -- --epochs 1 --limit 5000
//! cargo run --release --example mnist -- --net minitorch
//! cargo run --release --example mnist -- --eval runs/mnist/model.safetensors
//! ```
//!
//! The last line on stdout is the result, such as `test accuracy: 99.12 %`; it depends on the seed only. In `--out`
//! (default `runs/mnist`):
//!
//! | file | content |
//! |---|---|
//! | `model.safetensors` | the final weights; PyTorch loads them |
//! | `last.safetensors` | the weights after the last epoch, or at Ctrl-C |
//! | `metrics.csv` | loss and accuracy, every 50 steps and every epoch |
//! | `curves.png` | the same as a chart |
//! | `mistakes.png` | the most confident mistakes on the test set |
//! | `feature-maps.svg` | the outputs of both convolutions for the first test image |
//!
//! Files are replaced atomically. Exit codes: 0; 1 if a file or a device fails or the loss is not finite; 2 for a wrong
//! command line; 130 after Ctrl-C.
//!
//! `--net minitorch` trains the network of the MiniTorch course instead.
//!
//! Where to read: `model.rs` is LeNet-5; `train.rs` is the training loop and the evaluation; `course.rs` is the
//! course's network; `args.rs` is the command line. Progress, metrics, pictures and files are in `../common`, which
//! other examples use too.

mod args;
#[path = "../common/mod.rs"]
mod common;
mod course;
#[path = "../common/images.rs"]
mod images;
mod model;
mod network;
mod train;

use args::{Args, Net};
use common::backends::{Program, run_on};
use common::run::{Outcome, report};
use course::CourseNet;
use minitorch::prelude::*;
use model::LeNet;
use std::process::ExitCode;
use train::train;

fn main() -> ExitCode {
    match Args::from_command_line() {
        Ok(args) => report(run_on(args.options.backend.as_deref(), Mnist(&args)), "image"),
        Err(code) => code,
    }
}

struct Mnist<'a>(&'a Args);

impl Program for Mnist<'_> {
    type Output = Outcome;

    fn run<B: Backend>(self, device: &B) -> Result<Outcome> {
        match self.0.net {
            Net::LeNet => train::<B, LeNet<B>>(self.0, device),
            Net::Course => train::<B, CourseNet<B>>(self.0, device),
        }
    }
}
