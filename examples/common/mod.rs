//! What the training examples share: a classifier of images is trained, judged and shown. A model, its data and its recipe
//! come from the example, as a [`Task`]; [`start`] does the rest.
//!
//! `train.rs` is the loop; `evaluate.rs` judges; `args.rs` is the part of the command line that all have; `cli.rs` reads
//! it; `output.rs`, `progress.rs`, `charts.rs`, `canvas.rs` and `maps.rs` show what happened.

pub(crate) mod args;
mod backends;
mod canvas;
mod charts;
mod cli;
mod evaluate;
mod maps;
mod output;
mod progress;
mod train;

use args::Options;
use backends::{Program, run_on};
use cli::{complain, say};
use evaluate::Score;
pub(crate) use maps::Maps;
use minitorch::nn::data::{ImageDataset, Split};
use minitorch::prelude::*;
use std::process::ExitCode;

/// One example: what it trains, on any backend.
pub(crate) trait Example {
    /// The model: images `[n, channels, height, width]` to logits `[n, classes]`.
    type Model<B: Backend>: Layer<B>;

    /// The model as it is at first, from the device's random state, and how to train it.
    fn task<B: Backend>(&self, device: &B) -> Task<Self::Model<B>, B>;

    /// The images, and how those of the training set are changed at random.
    ///
    /// # Errors
    /// If they cannot be read.
    fn images(&self, split: Split) -> Result<ImageDataset>;

    /// What layers of the model compute from an image `[1, channels, height, width]`, for `feature-maps.svg`. Where there is
    /// nothing to show, as by default, no such file is written.
    fn feature_maps<B: Backend>(&self, model: &Self::Model<B>, image: &Tensor<B>) -> Vec<Maps<B>> {
        let _ = (model, image);
        Vec::new()
    }
}

/// A model and how to train it.
pub(crate) struct Task<M, B: Backend> {
    /// The model's name, for people.
    pub(crate) name: &'static str,
    pub(crate) model: M,
    pub(crate) optimizer: Box<dyn Optimizer<B>>,
    /// Makes the schedule, from the highest learning rate and the number of steps.
    pub(crate) schedule: fn(f64, usize) -> Box<dyn Schedule>,
    pub(crate) classes: Classes,
}

/// What the images show.
#[derive(Clone, Copy)]
pub(crate) struct Classes {
    /// What a class is called: digit, class.
    pub(crate) kind: &'static str,
    /// Their names, by label.
    pub(crate) names: &'static [&'static str],
}

/// The ten digits.
pub(crate) const DIGITS: Classes =
    Classes { kind: "digit", names: &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"] };

/// How a run ended.
enum Outcome {
    /// With this result on the test set.
    Finished(Score, Classes),
    /// By Ctrl-C, after the weights were saved.
    Interrupted,
}

/// Runs an example; its result is the last line on stdout, a failure one line on stderr.
pub(crate) fn start(example: &impl Example, options: &Options) -> ExitCode {
    match run(example, options) {
        Ok(Outcome::Finished(score, classes)) => {
            say(&score.table(classes));
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

fn run(example: &impl Example, options: &Options) -> Result<Outcome> {
    run_on(options.backend.as_deref(), Run { example, options })
}

/// A run of an example, for the backend that its options name.
struct Run<'a, E> {
    example: &'a E,
    options: &'a Options,
}

impl<E: Example> Program for Run<'_, E> {
    type Output = Outcome;

    fn run<B: Backend>(self, device: &B) -> Result<Outcome> {
        work(self.example, self.options, device)
    }
}

/// Everything after the choice of a device: nothing from here on names a backend.
fn work<B: Backend>(example: &impl Example, options: &Options, device: &B) -> Result<Outcome> {
    device.rng().seed(options.seed);
    let mut task = example.task(device);
    let limit = options.limit.unwrap_or(usize::MAX);
    let test = example.images(Split::Test)?.take(limit);
    if let Some(weights) = &options.eval {
        task.model.load(weights)?;
        let score = evaluate::score(&mut task.model, &test, task.classes, || false, device)?;
        return Ok(score.map_or(Outcome::Interrupted, |score| Outcome::Finished(score, task.classes)));
    }
    let train = example.images(Split::Train)?.take(limit);
    let output = output::Output::create(&options.out)?;
    train::train(example, options, task, &train, &test, output, device)
}
