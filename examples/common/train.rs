//! The training loop, generic over the backend.
//!
//! The loss is not read at every step: that would make a GPU wait for the host. Sums of losses and of right answers stay
//! on the device and are read every [`READ_EVERY`] steps.

use super::args::Options;
use super::output::{Output, Row};
use super::progress::Progress;
use super::{Example, Outcome, Task, charts, evaluate, maps};
use minitorch::nn::data::{ImageDataset, Loader};
use minitorch::nn::state::replace_file;
use minitorch::prelude::*;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Steps between two looks at the loss.
const READ_EVERY: usize = 50;

/// Trains; writes weights, metrics and pictures.
pub(super) fn train<B: Backend, E: Example>(
    example: &E,
    options: &Options,
    task: Task<E::Model<B>, B>,
    train: &ImageDataset,
    test: &ImageDataset,
    mut output: Output,
    device: &B,
) -> Result<Outcome> {
    let Task { name, mut model, mut optimizer, schedule, classes } = task;
    let interrupted = watch_for_interrupt()?;
    let loader = Loader::new(train, options.batch_size).shuffle(options.seed).prefetch(2);
    let steps = loader.len().saturating_mul(options.epochs);
    let schedule = schedule(options.lr, steps);
    let mut progress = Progress::new(options.epochs, train.len());
    progress.line(&format!(
        "{name}, {} parameters, {} training and {} test images, on {device:?}; writing to {}",
        model.num_parameters(),
        train.len(),
        test.len(),
        options.out.display()
    ));

    let started = Instant::now();
    let mut step = 0;
    let mut score = None;
    for epoch in 1..=options.epochs {
        model.train();
        let mut recent = Tally::new(device);
        let mut whole = Means::default();
        let batches = loader.len();
        for (i, batch) in loader.epoch(epoch as u64, device).enumerate() {
            let (images, labels) = batch?;
            optimizer.set_lr(schedule.lr(step));
            let logits = model.forward(&images);
            let loss = logits.cross_entropy(&labels);
            recent.add(&loss, &logits, &labels);
            optimizer.step(&mut model, &loss.backward());
            step += 1;
            progress.advance(labels.numel());

            let stop = interrupted();
            if stop || step % READ_EVERY == 0 || i + 1 == batches {
                let means = recent.read()?;
                if !means.loss().is_finite() {
                    progress.finish();
                    output.write_metrics()?;
                    return Err(diverged(step, options.lr));
                }
                whole.merge(&means);
                progress.report(epoch, means.loss(), means.accuracy());
                output.record(Row {
                    epoch,
                    step,
                    at: epoch as f64 - 1.0 + (i + 1) as f64 / batches as f64,
                    lr: schedule.lr(step - 1),
                    train: (means.loss(), means.accuracy()),
                    test: None,
                    seconds: started.elapsed().as_secs_f64(),
                });
            }
            if stop {
                progress.finish();
                save(&output, "last.safetensors", &model, step, options.lr)?;
                output.write_metrics()?;
                return Ok(stopped(&progress, &output, step));
            }
        }
        let Some(judged) = evaluate::score(&mut model, test, classes, interrupted, device)? else {
            progress.finish();
            save(&output, "last.safetensors", &model, step, options.lr)?;
            output.write_metrics()?;
            return Ok(stopped(&progress, &output, step));
        };
        output.record(Row {
            epoch,
            step,
            at: epoch as f64,
            lr: schedule.lr(step - 1),
            train: (whole.loss(), whole.accuracy()),
            test: Some((judged.loss, judged.accuracy())),
            seconds: started.elapsed().as_secs_f64(),
        });
        save(&output, "last.safetensors", &model, step, options.lr)?;
        output.write_metrics()?;
        progress.epoch(epoch, whole.loss(), whole.accuracy(), judged.accuracy());
        score = Some(judged);
    }
    progress.finish();
    let Some(score) = score else { return Err(Error::Invalid("there was no epoch to train".into())) };
    save(&output, "model.safetensors", &model, step, options.lr)?;
    charts::curves(output.rows(), options.epochs).save(&output.path("curves.png"))?;
    charts::mistakes(&score, test, classes).save(&output.path("mistakes.png"))?;
    if let Some(first) = test.take(1).batches(1, device).next() {
        let maps = no_grad(|| Ok(example.feature_maps(&model, &first?.0)))?;
        if !maps.is_empty() {
            let picture = maps::picture(&maps, (test, 0), classes, &score)?;
            replace_file(output.path("feature-maps.svg"), |file| file.write_all(picture.as_bytes()))?;
        }
    }
    // Whoever interrupts a run is told that it was, even where nothing is lost.
    Ok(if interrupted() { stopped(&progress, &output, step) } else { Outcome::Finished(score, classes) })
}

/// How an interrupted run ends, whose weights were saved.
fn stopped(progress: &Progress, output: &Output, step: usize) -> Outcome {
    let kept = output.path("last.safetensors");
    progress.line(&format!("interrupted after step {step}; the weights are in {}", kept.display()));
    Outcome::Interrupted
}

/// Sums over some steps, on the device.
struct Tally<B: Backend> {
    loss: Tensor<B>,
    right: Tensor<B>,
    images: usize,
}

impl<B: Backend> Tally<B> {
    fn new(device: &B) -> Self {
        Tally { loss: Tensor::zeros([], device), right: Tensor::zeros([], device), images: 0 }
    }

    fn add(&mut self, loss: &Tensor<B>, logits: &Tensor<B>, labels: &Tensor<B>) {
        let n = labels.numel();
        self.loss += loss.detach() * n as f64; // the loss is a mean
        self.right += logits.detach().argmax(-1).eq(labels).cast(DType::F32).sum(..);
        self.images += n;
    }

    /// Waits for the device, and starts again at 0.
    fn read(&mut self) -> Result<Means> {
        let means = Means { loss: self.loss.item()?, right: self.right.item()?, images: self.images as f64 };
        let device = self.loss.device().clone();
        *self = Tally::new(&device);
        Ok(means)
    }
}

/// The same sums on the host, in f64: those of an epoch are too long for f32.
#[derive(Default)]
struct Means {
    loss: f64,
    right: f64,
    images: f64,
}

impl Means {
    fn merge(&mut self, more: &Means) {
        self.loss += more.loss;
        self.right += more.right;
        self.images += more.images;
    }
    fn loss(&self) -> f64 {
        self.loss / self.images
    }
    fn accuracy(&self) -> f64 {
        self.right / self.images
    }
}

/// Writes the weights, unless one of them is no finite number: the step after the last loss may have made it so.
fn save<B: Backend>(output: &Output, name: &str, model: &impl Layer<B>, step: usize, lr: f64) -> Result<()> {
    use minitorch::HostData;
    use minitorch::nn::state::{tensors, write_tensors};
    let tensors = tensors(model)?;
    let finite = |data: &HostData| !matches!(data, HostData::F32(v) if v.iter().any(|x| !x.is_finite()));
    if !tensors.iter().all(|(_, tensor)| finite(&tensor.data)) {
        return Err(diverged(step, lr));
    }
    write_tensors(output.path(name), &tensors, &Default::default())
}

fn diverged(step: usize, lr: f64) -> Error {
    Error::Invalid(format!(
        "the loss or a weight is no longer a finite number after step {step}; the weights were not saved; \
         weight files in the folder are from before; a learning rate below --lr {lr:e} may help"
    ))
}

/// Whether Ctrl-C was pressed since; a second Ctrl-C ends the program at once.
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
