//! Trains ResNet-20 to classify images: digits (about 99.6 % test accuracy after five epochs), clothes, or CIFAR-10's
//! animals and vehicles.
//!
//! ```text
//! cargo run --release --example resnet                                    # MNIST, which is in the repository
//! cargo run --release --example resnet -- --data cifar10 --epochs 60      # after scripts/fetch-cifar10
//! cargo run --release --example resnet -- --eval runs/resnet/model.safetensors
//! ```
//!
//! SGD with Nesterov momentum 0.9 and weight decay 5e-4; cosine annealing of the learning rate to 0. Training images
//! are shifted at random by up to 2 pixels (4 for CIFAR-10), and mirrored unless they are digits.
//!
//! Output, files in `--out` (default `runs/resnet`) and exit codes are those of the mnist example.
//!
//! Where to read: `model.rs` is the network, `main.rs` its recipe, `data.rs` the choice of images, `args.rs` the
//! command line, `../common/train.rs` the training loop.

mod args;
#[path = "../common/mod.rs"]
mod common;
mod data;
#[path = "../common/images.rs"]
mod images;
mod model;

use args::Args;
use common::evaluate::Score;
use common::example::{Example, Task};
use common::output::Output;
use minitorch::nn::data::{ImageDataset, Split};
use minitorch::prelude::*;
use model::ResNet20;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Args::from_command_line() {
        Ok(args) => common::train::start(&args, &args.options),
        Err(code) => code,
    }
}

impl Example for Args {
    type Data = ImageDataset;
    type Model<B: Backend> = ResNet20<B>;

    const FILES: &'static [&'static str] = images::PICTURES;

    fn task<B: Backend>(&self, device: &B) -> Task<ResNet20<B>, B> {
        let classes = self.data.classes();
        Task {
            name: "ResNet-20",
            model: ResNet20::new(self.data.channels(), classes.names.len(), device),
            optimizer: Box::new(Sgd::new(self.options.lr).momentum(0.9).nesterov(true).weight_decay(5e-4)),
            schedule: |peak, steps| Box::new(Cosine::new(peak, steps)),
            classes,
        }
    }

    fn data(&self, split: Split) -> Result<ImageDataset> {
        self.data.read(split)
    }

    fn show<B: Backend>(
        &self,
        _: &ResNet20<B>,
        score: &Score,
        test: &ImageDataset,
        output: &Output,
        device: &B,
    ) -> Result<()> {
        images::show(score, test, output, device, |_| Vec::new())
    }
}
