//! Everything about a training run except the training: progress on stderr, `metrics.csv`, weights, Ctrl-C.
//!
//! The loss is not read at every step, which would make a GPU wait for the host. Sums of losses and of correct
//! predictions stay on the device and are read every [`READ_EVERY`] steps.

use super::args::Options;
use super::charts;
use super::cli::{complain, say};
use super::evaluate::Score;
use super::output::{Output, Row};
use super::progress::Progress;
use minitorch::prelude::*;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Steps between two reads of the loss.
const READ_EVERY: usize = 50;

/// How a run ended.
pub(crate) enum Outcome {
    /// With this result on the test set.
    Finished(Score),
    /// By Ctrl-C, after the weights were saved.
    Interrupted,
}

/// Prints a run's result, the last line on stdout, or one line on stderr that says why there is none. Returns the code
/// to exit with. `kind` is what an example is called.
pub(crate) fn report(outcome: Result<Outcome>, kind: &str) -> ExitCode {
    match outcome {
        Ok(Outcome::Finished(score)) => {
            say(&score.table(kind));
            say(&format!("test accuracy: {:.2} %", 100.0 * score.accuracy()));
            ExitCode::SUCCESS
        }
        Ok(Outcome::Interrupted) => ExitCode::from(130),
        Err(error) => failed(&error),
    }
}

/// Prints why a program cannot go on, and returns the code to exit with.
pub(crate) fn failed(error: &Error) -> ExitCode {
    complain(&error.to_string());
    ExitCode::FAILURE
}

/// What is trained on what.
pub(crate) struct Setup<'a> {
    /// The model's name, and its number of parameters.
    pub(crate) model: (&'a str, usize),
    /// The noun for an example; its plural ends in s.
    pub(crate) kind: &'a str,
    /// The sizes of the sets. Without a validation set, the test set evaluates the epochs.
    pub(crate) train: usize,
    pub(crate) validation: Option<usize>,
    pub(crate) test: usize,
    /// The files that this example writes besides those that all runs write.
    pub(crate) files: &'a [&'a str],
    /// Texts for the header of the weights' files.
    pub(crate) metadata: BTreeMap<String, String>,
}

/// A run in progress.
pub(crate) struct Run<'a, B: Backend> {
    options: &'a Options,
    metadata: BTreeMap<String, String>,
    /// The set that evaluates the epochs.
    evaluated_on: &'static str,
    output: Output,
    progress: Progress,
    interrupted: fn() -> bool,
    started: Instant,
    steps_per_epoch: usize,
    steps: usize,
    lr: f64,
    /// Since the last read.
    recent: Sums<B>,
    /// Of the epoch.
    epoch: Means,
}

impl<'a, B: Backend> Run<'a, B> {
    /// Opens the output folder and prints what is going to happen.
    ///
    /// # Errors
    /// If the folder cannot be written to.
    pub(crate) fn start(options: &'a Options, setup: Setup, device: &B) -> Result<Self> {
        let Setup { model: (name, parameters), kind, train, validation, test, files, metadata } = setup;
        let output = Output::create(&options.out, files)?;
        let interrupted = watch_for_interrupt()?;
        let progress = Progress::new(options.epochs, train, kind);
        let sets = match validation {
            None => format!("{train} training and {test} test {kind}s"),
            Some(validation) => format!("{train} training, {validation} validation and {test} test {kind}s"),
        };
        progress.line(&format!(
            "{name}, {parameters} parameters, {sets}, on {device:?}; writing to {}",
            options.out.display()
        ));
        Ok(Run {
            options,
            metadata,
            evaluated_on: if validation.is_some() { "validation" } else { "test" },
            output,
            progress,
            interrupted,
            started: Instant::now(),
            steps_per_epoch: train.div_ceil(options.batch_size),
            steps: 0,
            lr: options.lr,
            recent: Sums::new(device),
            epoch: Means::default(),
        })
    }

    /// Steps so far.
    pub(crate) fn steps(&self) -> usize {
        self.steps
    }

    /// Whether Ctrl-C was pressed.
    pub(crate) fn interrupted(&self) -> bool {
        (self.interrupted)()
    }

    /// The folder that the run writes to.
    pub(crate) fn output(&self) -> &Output {
        &self.output
    }

    /// Records a step. After Ctrl-C it saves the weights and returns false: training must stop.
    ///
    /// # Errors
    /// If the loss is not finite, or the device or the file system fails.
    pub(crate) fn after_step(
        &mut self,
        model: &impl Layer<B>,
        lr: f64,
        (loss, logits, labels): (&Tensor<B>, &Tensor<B>, &Tensor<B>),
    ) -> Result<bool> {
        self.recent.add(loss, logits, labels);
        self.progress.advance(labels.numel());
        (self.steps, self.lr) = (self.steps + 1, lr);
        let stop = self.interrupted();
        if stop || self.steps.is_multiple_of(READ_EVERY) || self.steps.is_multiple_of(self.steps_per_epoch) {
            let means = self.recent.take()?;
            if !means.loss().is_finite() {
                self.progress.finish();
                self.output.write_metrics(self.evaluated_on)?;
                return Err(self.diverged());
            }
            self.epoch.merge(&means);
            let epoch = self.steps.div_ceil(self.steps_per_epoch);
            self.progress.report(epoch, means.loss(), means.accuracy());
            let of_epoch = self.steps - (epoch - 1) * self.steps_per_epoch;
            let at = epoch as f64 - 1.0 + of_epoch as f64 / self.steps_per_epoch as f64;
            self.record(epoch, at, &means, None);
        }
        if stop {
            self.stop(model)?;
        }
        Ok(!stop)
    }

    /// Saves the weights of a run that Ctrl-C ends.
    ///
    /// # Errors
    /// If a weight is not finite, or the device or the file system fails.
    pub(crate) fn stop(&mut self, model: &impl Layer<B>) -> Result<()> {
        self.progress.finish();
        self.save(model, "last.safetensors")?;
        self.output.write_metrics(self.evaluated_on)?;
        self.say_stopped();
        Ok(())
    }

    /// Records an epoch and its evaluation, and saves the weights.
    ///
    /// # Errors
    /// If a weight is not finite, or the device or the file system fails.
    pub(crate) fn after_epoch(&mut self, model: &impl Layer<B>, score: &Score) -> Result<()> {
        let (epoch, means) = (self.steps / self.steps_per_epoch, std::mem::take(&mut self.epoch));
        self.record(epoch, epoch as f64, &means, Some((score.loss, score.accuracy())));
        self.save(model, "last.safetensors")?;
        self.output.write_metrics(self.evaluated_on)?;
        self.progress.epoch(epoch, means.loss(), means.accuracy(), (self.evaluated_on, score.accuracy()));
        Ok(())
    }

    fn record(&mut self, epoch: usize, at: f64, train: &Means, evaluated: Option<(f64, f64)>) {
        let train = (train.loss(), train.accuracy());
        let seconds = self.started.elapsed().as_secs_f64();
        self.output.record(Row { epoch, step: self.steps, at, lr: self.lr, train, evaluated, seconds });
    }

    /// Saves the weights of a finished training. `note` is printed first.
    ///
    /// # Errors
    /// If a weight is not finite, or the device or the file system fails.
    pub(crate) fn finish(&self, model: &impl Layer<B>, note: Option<&str>) -> Result<()> {
        self.progress.finish();
        note.into_iter().for_each(|note| self.progress.line(note));
        self.save(model, "model.safetensors")
    }

    /// Writes `curves.png`.
    ///
    /// # Errors
    /// If the file system fails.
    pub(crate) fn draw_curves(&self) -> Result<()> {
        let curves = charts::curves(self.output.rows(), self.options.epochs, self.evaluated_on);
        curves.save(&self.output.path("curves.png"))
    }

    /// The end of the run. After Ctrl-C that is an interruption, even if all is written.
    pub(crate) fn outcome(&self, score: Score) -> Outcome {
        if self.interrupted() {
            self.say_stopped();
            return Outcome::Interrupted;
        }
        Outcome::Finished(score)
    }

    /// Says that Ctrl-C has ended the run, and where the weights are.
    pub(crate) fn say_stopped(&self) {
        let (step, path) = (self.steps, self.output.path("last.safetensors"));
        self.progress.line(&format!("interrupted after step {step}; the weights are in {}", path.display()));
    }

    /// Writes the weights if they are finite: the step after the last loss can have made them otherwise.
    fn save(&self, model: &impl Layer<B>, name: &str) -> Result<()> {
        let mut state = model.state()?;
        for (_, tensor) in state.iter().filter(|(_, tensor)| tensor.dtype() == DType::F32) {
            if tensor.to_vec::<f32>()?.iter().any(|x| !x.is_finite()) {
                return Err(self.diverged());
            }
        }
        state.metadata = self.metadata.clone();
        state.write(self.output.path(name))
    }

    fn diverged(&self) -> Error {
        Error::Invalid(format!(
            "the loss or a weight is no longer a finite number after step {}; the weights were not saved; \
             weight files in the folder are from before; a learning rate below --lr {:e} may help",
            self.steps, self.options.lr
        ))
    }
}

/// Sums over some steps, on the device.
struct Sums<B: Backend> {
    loss: Tensor<B>,
    right: Tensor<B>,
    count: usize,
}

impl<B: Backend> Sums<B> {
    fn new(device: &B) -> Self {
        Sums { loss: Tensor::zeros([], device), right: Tensor::zeros([], device), count: 0 }
    }

    fn add(&mut self, loss: &Tensor<B>, logits: &Tensor<B>, labels: &Tensor<B>) {
        let n = labels.numel();
        self.loss += loss.detach() * n as f64; // the loss is a mean
        self.right += logits.detach().argmax(-1).eq(labels).cast(DType::F32).sum(..);
        self.count += n;
    }

    /// Waits for the device, and resets the sums.
    fn take(&mut self) -> Result<Means> {
        let means = Means { loss: self.loss.item()?, right: self.right.item()?, count: self.count as f64 };
        let device = self.loss.device().clone();
        *self = Sums::new(&device);
        Ok(means)
    }
}

/// The same sums on the host, in f64: f32 is too short for those of an epoch.
#[derive(Default)]
struct Means {
    loss: f64,
    right: f64,
    count: f64,
}

impl Means {
    fn merge(&mut self, more: &Means) {
        self.loss += more.loss;
        self.right += more.right;
        self.count += more.count;
    }
    fn loss(&self) -> f64 {
        self.loss / self.count
    }
    fn accuracy(&self) -> f64 {
        self.right / self.count
    }
}

/// Returns whether Ctrl-C was pressed since this call; a second Ctrl-C ends the program at once.
fn watch_for_interrupt() -> Result<fn() -> bool> {
    static INTERRUPTED: AtomicBool = AtomicBool::new(false);
    let handler = || {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(handler).map_err(|error| Error::Invalid(format!("cannot watch for Ctrl-C: {error}")))?;
    Ok(|| INTERRUPTED.load(Ordering::Relaxed))
}
