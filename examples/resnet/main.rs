//! ResNet-20 learns to tell images apart: digits (about 99.6 % right after five epochs), clothes or CIFAR-10's animals and
//! vehicles.
//!
//! ```text
//! cargo run --release --example resnet                                    # MNIST, which is in the repository
//! cargo run --release --example resnet -- --data cifar10 --epochs 60      # after scripts/fetch-cifar10
//! cargo run --release --example resnet -- --eval runs/resnet/model.safetensors
//! ```
//!
//! SGD with Nesterov's momentum 0.9 and weight decay 5e-4, the learning rate along half a cosine from its peak to 0. The
//! training images are shifted at random, by up to 2 pixels or, those of CIFAR-10, up to 4; clothes, animals and vehicles are
//! mirrored as well.
//!
//! What it prints, writes to `--out` (default `runs/resnet`) and exits with is what the mnist example does.
//!
//! Where to read: `model.rs` is the network, `main.rs` its recipe, `data.rs` the choice of images, `args.rs` the command
//! line. The training loop and all that shows what happened are in `../common`.

mod args;
#[path = "../common/mod.rs"]
mod common;
mod data;
#[path = "../common/images.rs"]
mod images;
mod model;

use args::Args;
use common::{End, Example, Task};
use minitorch::nn::data::{ImageDataset, Split};
use minitorch::prelude::*;
use model::ResNet20;
use std::process::ExitCode;

fn main() -> ExitCode {
    match Args::from_command_line() {
        Ok(args) => common::start(&args, &args.options),
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

    fn show<B: Backend>(&self, _: &ResNet20<B>, end: &End<ImageDataset>, device: &B) -> Result<()> {
        images::show(end, device, |_| Vec::new())
    }
}
