//! The training loop, generic over the backend.
//!
//! The loss is not read at every step: that would make a GPU wait for the host. Sums of losses and of right answers stay
//! on the device and are read every [`READ_EVERY`] steps.

use super::args::Options;
use super::output::{Output, Row};
use super::progress::Progress;
use super::{End, Example, Labelled, Outcome, Task, charts, evaluate};
use minitorch::module::{Entry, EntryMut, Path};
use minitorch::nn::data::Loader;
use minitorch::prelude::*;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Steps between two looks at the loss.
const READ_EVERY: usize = 50;

/// What a run learns from and is judged by.
pub(super) struct Sets<D> {
    pub(super) train: D,
    /// What judges the epochs, if not the test set.
    pub(super) validation: Option<D>,
    pub(super) test: D,
}

/// Trains; writes weights, metrics and what the example shows.
pub(super) fn train<B: Backend, E: Example>(
    example: &E,
    options: &Options,
    task: Task<E::Model<B>, B>,
    Sets { train, validation, test }: &Sets<E::Data>,
    mut output: Output,
    device: &B,
) -> Result<Outcome> {
    let Task { name, mut model, mut optimizer, schedule, classes } = task;
    let (kind, metadata) = (E::Data::KIND, example.metadata());
    let (judge, judging) = validation.as_ref().map_or(("test", test), |set| ("validation", set));
    let interrupted = watch_for_interrupt()?;
    let loader = Loader::new(train, options.batch_size).shuffle(options.seed).prefetch(2);
    let steps = loader.len().saturating_mul(options.epochs);
    let schedule = schedule(options.lr, steps);
    let mut progress = Progress::new(options.epochs, train.len(), kind);
    let sets = match validation {
        None => format!("{} training and {} test {kind}s", train.len(), test.len()),
        Some(set) => format!("{} training, {} validation and {} test {kind}s", train.len(), set.len(), test.len()),
    };
    progress.line(&format!(
        "{name}, {} parameters, {sets}, on {device:?}; writing to {}",
        model.num_parameters(),
        options.out.display()
    ));

    let started = Instant::now();
    let mut step = 0;
    let mut score = None;
    let mut best: Option<Best<B>> = None;
    for epoch in 1..=options.epochs {
        model.train();
        let mut recent = Tally::new(device);
        let mut whole = Means::default();
        let batches = loader.len();
        for (i, batch) in loader.epoch(epoch as u64, device).enumerate() {
            let (inputs, labels) = E::Data::pair(batch?);
            optimizer.set_lr(schedule.lr(step));
            let logits = model.forward(&inputs);
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
                    output.write_metrics(judge)?;
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
                    judged: None,
                    seconds: started.elapsed().as_secs_f64(),
                });
            }
            if stop {
                progress.finish();
                save(&output, "last.safetensors", &model, &metadata, diverged(step, options.lr))?;
                output.write_metrics(judge)?;
                return Ok(stopped(&progress, &output, step));
            }
        }
        let Some(judged) = evaluate::score(&mut model, judging, classes, interrupted, device)? else {
            progress.finish();
            save(&output, "last.safetensors", &model, &metadata, diverged(step, options.lr))?;
            output.write_metrics(judge)?;
            return Ok(stopped(&progress, &output, step));
        };
        output.record(Row {
            epoch,
            step,
            at: epoch as f64,
            lr: schedule.lr(step - 1),
            train: (whole.loss(), whole.accuracy()),
            judged: Some((judged.loss, judged.accuracy())),
            seconds: started.elapsed().as_secs_f64(),
        });
        save(&output, "last.safetensors", &model, &metadata, diverged(step, options.lr))?;
        output.write_metrics(judge)?;
        progress.epoch(epoch, whole.loss(), whole.accuracy(), (judge, judged.accuracy()));
        // Of equally good epochs the first.
        if validation.is_some() && best.as_ref().is_none_or(|best| judged.accuracy() > best.accuracy) {
            best = Some(Best { epoch, accuracy: judged.accuracy(), weights: weights(&model) });
        }
        score = Some(judged);
    }
    progress.finish();
    let chosen = best.is_some();
    if let Some(best) = best {
        restore(&mut model, best.weights);
        progress.line(&format!("the weights are those of epoch {}, the best one on the {judge} set", best.epoch));
    }
    save(&output, "model.safetensors", &model, &metadata, diverged(step, options.lr))?;
    if chosen {
        score = evaluate::score(&mut model, test, classes, interrupted, device)?;
        if score.is_none() {
            return Ok(stopped(&progress, &output, step));
        }
    }
    let Some(score) = score else { return Err(Error::Invalid("there was no epoch to train".into())) };
    charts::curves(output.rows(), options.epochs, judge).save(&output.path("curves.png"))?;
    example.show(&model, &End { score: &score, test, classes, output: &output }, device)?;
    // Whoever interrupts a run is told that it was, even where nothing is lost.
    Ok(if interrupted() { stopped(&progress, &output, step) } else { Outcome::Finished(score, classes) })
}

/// The best epoch so far.
struct Best<B: Backend> {
    epoch: usize,
    accuracy: f64,
    weights: Vec<Tensor<B>>,
}

/// Parameters and buffers in the order of the walk. They share storage with the model until it is written, so that nothing is
/// copied before the next step.
fn weights<B: Backend>(model: &impl Module<B>) -> Vec<Tensor<B>> {
    let mut weights = Vec::new();
    model.visit(&mut Path::default(), &mut |_, entry| match entry {
        Entry::Param(param) => weights.push(param.detach()),
        Entry::Buffer(buffer) => weights.push(buffer.get()),
        Entry::Module { .. } | Entry::Training(_) => {}
    });
    weights
}

/// Puts back what [`weights`] took from the same model.
fn restore<B: Backend>(model: &mut impl Module<B>, weights: Vec<Tensor<B>>) {
    fn next<T>(weights: &mut impl Iterator<Item = T>) -> T {
        weights.next().unwrap_or_else(|| unreachable!("the walk of one model has one length"))
    }
    let mut weights = weights.into_iter();
    model.visit_mut(&mut Path::default(), &mut |_, entry| match entry {
        EntryMut::Param(param) => param.set(next(&mut weights)),
        EntryMut::Buffer(buffer) => buffer.set(next(&mut weights)),
        EntryMut::Training(_) => {}
    });
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
    count: usize,
}

impl<B: Backend> Tally<B> {
    fn new(device: &B) -> Self {
        Tally { loss: Tensor::zeros([], device), right: Tensor::zeros([], device), count: 0 }
    }

    fn add(&mut self, loss: &Tensor<B>, logits: &Tensor<B>, labels: &Tensor<B>) {
        let n = labels.numel();
        self.loss += loss.detach() * n as f64; // the loss is a mean
        self.right += logits.detach().argmax(-1).eq(labels).cast(DType::F32).sum(..);
        self.count += n;
    }

    /// Waits for the device, and starts again at 0.
    fn read(&mut self) -> Result<Means> {
        let means = Means { loss: self.loss.item()?, right: self.right.item()?, count: self.count as f64 };
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

/// Writes the weights, or fails with `otherwise` if one of them is no finite number: the step after the last loss may have made
/// it so.
fn save<B: Backend>(
    output: &Output,
    name: &str,
    model: &impl Layer<B>,
    metadata: &BTreeMap<String, String>,
    otherwise: Error,
) -> Result<()> {
    use minitorch::HostData;
    use minitorch::nn::state::{tensors, write_tensors};
    let tensors = tensors(model)?;
    let finite = |data: &HostData| !matches!(data, HostData::F32(v) if v.iter().any(|x| !x.is_finite()));
    if !tensors.iter().all(|(_, tensor)| finite(&tensor.data)) {
        return Err(otherwise);
    }
    write_tensors(output.path(name), &tensors, metadata)
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
