//! LeNet-5 learns to read handwritten digits: about 99 % right on MNIST's test set after five epochs.
//!
//! ```text
//! cargo run --release --example mnist
//! cargo run --release --example mnist -- --epochs 1 --limit 5000
//! cargo run --release --example mnist -- --net minitorch
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
//! | `feature-maps.svg` | what both convolutions compute from the first test image |
//!
//! Files are replaced whole. Exit codes: 0, 1 when the world fails (a file, a device, a loss that is no number), 2 for a
//! wrong command line, 130 after Ctrl-C.
//!
//! `--net minitorch` trains the network of the MiniTorch course instead.
//!
//! Where to read: `model.rs` is LeNet-5, `course.rs` the course's network, `main.rs` their recipe, `args.rs` the command line. The training loop and all
//! that shows what happened are in `../common`, which other examples use too.

mod args;
#[path = "../common/mod.rs"]
mod common;
mod course;
#[path = "../common/images.rs"]
mod images;
mod model;

use args::{Args, Net};
use common::{End, Example, Task};
use course::CourseNet;
use images::{DIGITS, Maps};
use minitorch::nn::data::{ImageDataset, Split, mnist};
use minitorch::prelude::*;
use model::LeNet;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Args::from_command_line() {
        Ok(args) => match args.net {
            Net::LeNet => common::start(&TrainLeNet(&args), &args.options),
            Net::Course => common::start(&TrainCourseNet(&args), &args.options),
        },
        Err(code) => code,
    }
}

struct TrainLeNet<'a>(&'a Args);

impl Example for TrainLeNet<'_> {
    type Data = ImageDataset;
    type Model<B: Backend> = LeNet<B>;

    const FILES: &'static [&'static str] = images::PICTURES;

    fn task<B: Backend>(&self, device: &B) -> Task<LeNet<B>, B> {
        self.0.task("LeNet-5", LeNet::new(device))
    }

    fn data(&self, split: Split) -> Result<ImageDataset> {
        mnist(self.0.data_folder(), split)
    }

    fn show<B: Backend>(&self, model: &LeNet<B>, end: &End<ImageDataset>, device: &B) -> Result<()> {
        images::show(end, device, |image| {
            let first = model.first(image);
            let second = model.second(&first);
            vec![
                Maps { title: "first convolution, after ReLU", values: first },
                Maps { title: "second convolution, after ReLU and of the pooled first", values: second },
            ]
        })
    }
}

struct TrainCourseNet<'a>(&'a Args);

impl Example for TrainCourseNet<'_> {
    type Data = ImageDataset;
    type Model<B: Backend> = CourseNet<B>;

    const FILES: &'static [&'static str] = images::PICTURES;

    fn task<B: Backend>(&self, device: &B) -> Task<CourseNet<B>, B> {
        self.0.task("the course's network", CourseNet::new(device))
    }

    fn data(&self, split: Split) -> Result<ImageDataset> {
        mnist(self.0.data_folder(), split)
    }

    fn show<B: Backend>(&self, model: &CourseNet<B>, end: &End<ImageDataset>, device: &B) -> Result<()> {
        images::show(end, device, |image| {
            let first = model.first(image);
            let second = model.second(&first);
            vec![
                Maps { title: "first convolution, after ReLU", values: first },
                Maps { title: "second convolution, after ReLU", values: second },
            ]
        })
    }
}

impl Args {
    /// The recipe of both networks: Adam under a one-cycle learning rate.
    fn task<M, B: Backend>(&self, name: &'static str, model: M) -> Task<M, B> {
        Task {
            name,
            model,
            optimizer: Box::new(Adam::new(self.options.lr)),
            schedule: |peak, steps| Box::new(OneCycle::new(peak, steps)),
            classes: DIGITS,
        }
    }
}
