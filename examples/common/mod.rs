//! What the training examples share: a classifier is trained, judged and shown. A model, its data and its recipe come from
//! the example, as a [`Task`]; [`start`] does the rest.
//!
//! `train.rs` is the loop; `evaluate.rs` judges; `args.rs` is the part of the command line that all have; `cli.rs` reads
//! it; `output.rs`, `progress.rs`, `charts.rs` and `canvas.rs` show what happened. Classifiers of images add `images.rs`.

pub(crate) mod args;
pub(crate) mod backends;
pub(crate) mod canvas;
mod charts;
pub(crate) mod cli;
pub(crate) mod evaluate;
pub(crate) mod output;
mod progress;
mod train;

use args::Options;
use backends::{Program, run_on};
use cli::{complain, say};
use evaluate::Score;
use minitorch::nn::data::Split;
use minitorch::prelude::*;
use output::Output;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Examples with labels.
pub(crate) trait Labelled: Dataset {
    /// What one of them is called; several with an s.
    const KIND: &'static str;
    /// How many are judged at once. No gradients are kept, so more fit than in training.
    const JUDGED_AT_ONCE: usize;

    /// The label of every example.
    fn labels(&self) -> &[u8];

    /// The model's input, and labels `[n]` (I32).
    fn pair<B: Backend>(batch: Self::Batch<B>) -> (Tensor<B>, Tensor<B>);
}

/// One example: what it trains, on any backend.
pub(crate) trait Example {
    /// What the model learns from and is judged by.
    type Data: Labelled;
    /// The model: inputs `[n, ..]` to logits `[n, classes]`.
    type Model<B: Backend>: Layer<B>;

    /// What a run leaves besides the files that all runs leave.
    const FILES: &'static [&'static str];

    /// The model as it is at first, from the device's random state, and how to train it.
    fn task<B: Backend>(&self, device: &B) -> Task<Self::Model<B>, B>;

    /// The data, and how those of the training set are changed at random.
    ///
    /// # Errors
    /// If they cannot be read.
    fn data(&self, split: Split) -> Result<Self::Data>;

    /// What the epochs are judged by, if not by the test set. The best epoch's weights are then the ones that are kept, and the
    /// test set judges them once, at the end.
    ///
    /// # Errors
    /// If it cannot be read.
    fn validation(&self) -> Result<Option<Self::Data>> {
        Ok(None)
    }

    /// Texts for the header of the weights' files.
    fn metadata(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }

    /// Writes the files of [`FILES`](Example::FILES) after training.
    ///
    /// # Errors
    /// If the device or the file system fails.
    fn show<B: Backend>(&self, model: &Self::Model<B>, end: &End<Self::Data>, device: &B) -> Result<()>;
}

/// The end of a run, for [`Example::show`].
pub(crate) struct End<'a, D> {
    /// The result on the test set.
    pub(crate) score: &'a Score,
    #[allow(dead_code, reason = "an example may have a better source of what it shows than its dataset")]
    pub(crate) test: &'a D,
    pub(crate) classes: Classes,
    /// Where the files go.
    pub(crate) output: &'a Output,
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

/// What the labels mean.
#[derive(Clone, Copy)]
pub(crate) struct Classes {
    /// What a class is called: digit, class.
    pub(crate) kind: &'static str,
    /// Their names, by label.
    pub(crate) names: &'static [&'static str],
}

/// How a run ended.
enum Outcome {
    /// With this result on the test set.
    Finished(Score, Classes),
    /// By Ctrl-C, after the weights were saved.
    Interrupted,
}

/// Runs an example; its result is the last line on stdout, a failure one line on stderr.
pub(crate) fn start<E: Example>(example: &E, options: &Options) -> ExitCode {
    match run_on(options.backend.as_deref(), Run { example, options }) {
        Ok(Outcome::Finished(score, classes)) => {
            say(&score.table(classes, E::Data::KIND));
            say(&format!("test accuracy: {:.2} %", 100.0 * score.accuracy()));
            ExitCode::SUCCESS
        }
        Ok(Outcome::Interrupted) => ExitCode::from(130),
        Err(error) => failed(&error),
    }
}

/// Says why a program cannot go on, and returns the code to exit with.
pub(crate) fn failed(error: &Error) -> ExitCode {
    complain(&error.to_string());
    ExitCode::FAILURE
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
fn work<B: Backend, E: Example>(example: &E, options: &Options, device: &B) -> Result<Outcome> {
    device.rng().seed(options.seed);
    let mut task = example.task(device);
    let limit = options.limit.unwrap_or(usize::MAX);
    let test = example.data(Split::Test)?.take(limit);
    if let Some(weights) = &options.eval {
        task.model.load(weights)?;
        let score = evaluate::score(&mut task.model, &test, task.classes, || false, device)?;
        return Ok(score.map_or(Outcome::Interrupted, |score| Outcome::Finished(score, task.classes)));
    }
    let train = example.data(Split::Train)?.take(limit);
    let validation = example.validation()?.map(|set| set.take(limit));
    let sets = train::Sets { train, validation, test };
    let output = Output::create(&options.out, E::FILES)?;
    train::train(example, options, task, &sets, output, device)
}
