//! Training of a classifier, generic over model, data and backend. It is the loop of `examples/mnist/train.rs` with an
//! optional validation set, which chooses the epoch whose weights are kept.

use super::args::Options;
use super::backends::{Program, run_on};
use super::evaluate::{Classes, Score};
use super::example::{Example, Labelled, Task};
use super::run::{Outcome, Run, Setup, report};
use minitorch::module::{Entry, EntryMut, Path};
use minitorch::nn::data::{Loader, Split};
use minitorch::prelude::*;
use std::process::ExitCode;

/// Runs an example on the backend that its options name, and returns the code to exit with.
pub(crate) fn start<E: Example>(example: &E, options: &Options) -> ExitCode {
    report(run_on(options.backend.as_deref(), Train { example, options }), E::Data::KIND)
}

struct Train<'a, E> {
    example: &'a E,
    options: &'a Options,
}

impl<E: Example> Program for Train<'_, E> {
    type Output = Outcome;

    fn run<B: Backend>(self, device: &B) -> Result<Outcome> {
        train(self.example, self.options, device)
    }
}

/// Trains an example's model, or evaluates it with `--eval`; writes weights, metrics and the example's own files.
///
/// # Errors
/// If data, device or file system fail, or the loss is no longer finite.
fn train<B: Backend, E: Example>(example: &E, options: &Options, device: &B) -> Result<Outcome> {
    device.rng().seed(options.seed);
    let Task { name, mut model, mut optimizer, schedule, classes } = example.task(device);
    let limit = options.limit.unwrap_or(usize::MAX);
    let test = example.data(Split::Test)?.take(limit);
    if let Some(weights) = &options.eval {
        model.load(weights)?;
        let score = evaluate(&mut model, &test, classes, || false, device)?;
        return Ok(score.map_or(Outcome::Interrupted, Outcome::Finished));
    }
    let train = example.data(Split::Train)?.take(limit);
    let validation = example.validation()?.map(|set| set.take(limit));
    let setup = Setup {
        model: (name, model.num_parameters()),
        kind: E::Data::KIND,
        train: train.len(),
        validation: validation.as_ref().map(|set| set.len()),
        test: test.len(),
        files: E::FILES,
        metadata: example.metadata(),
    };
    let mut run = Run::start(options, setup, device)?;

    let loader = Loader::new(&train, options.batch_size).shuffle(options.seed).prefetch(2);
    let schedule = schedule(options.lr, loader.len().saturating_mul(options.epochs));
    let mut score = None;
    let mut best: Option<Best<B>> = None;
    for epoch in 1..=options.epochs {
        model.train();
        for batch in loader.epoch(epoch as u64, device) {
            let (inputs, labels) = E::Data::pair(batch?);
            optimizer.set_lr(schedule.lr(run.steps()));
            let logits = model.forward(&inputs);
            let loss = logits.cross_entropy(&labels);
            optimizer.step(&mut model, &loss.backward());
            if !run.after_step(&model, optimizer.lr(), (&loss, &logits, &labels))? {
                return Ok(Outcome::Interrupted);
            }
        }
        let set = validation.as_ref().unwrap_or(&test);
        let Some(evaluated) = evaluate(&mut model, set, classes, || run.interrupted(), device)? else {
            run.stop(&model)?;
            return Ok(Outcome::Interrupted);
        };
        run.after_epoch(&model, &evaluated)?;
        // Of equally good epochs the first is kept.
        if validation.is_some() && best.as_ref().is_none_or(|best| evaluated.accuracy() > best.accuracy) {
            best = Some(Best { epoch, accuracy: evaluated.accuracy(), weights: weights(&model) });
        }
        score = Some(evaluated);
    }
    if let Some(Best { epoch, weights, .. }) = best {
        restore(&mut model, weights);
        let note = format!("the weights are those of epoch {epoch}, the best one on the validation set");
        run.finish(&model, Some(&note))?;
        score = evaluate(&mut model, &test, classes, || run.interrupted(), device)?;
        if score.is_none() {
            run.say_stopped();
            return Ok(Outcome::Interrupted);
        }
    } else {
        run.finish(&model, None)?;
    }
    let Some(score) = score else { return Err(Error::Invalid("there was no epoch to train".into())) };
    run.draw_curves()?;
    example.show(&model, &score, &test, run.output(), device)?;
    Ok(run.outcome(score))
}

/// The result on a set, or `None` if `stop` returned true.
fn evaluate<B: Backend, D: Labelled>(
    model: &mut impl Layer<B>,
    set: &D,
    classes: Classes,
    stop: impl Fn() -> bool,
    device: &B,
) -> Result<Option<Score>> {
    model.eval();
    let mut score = Score::new(classes);
    for batch in set.batches(D::EVALUATED_AT_ONCE, device) {
        if stop() {
            return Ok(None);
        }
        let (inputs, labels) = D::pair(batch?);
        score.add(&no_grad(|| model.forward(&inputs)), &labels)?;
    }
    Ok((!stop()).then(|| score.finish()))
}

/// The best epoch so far.
struct Best<B: Backend> {
    epoch: usize,
    accuracy: f64,
    weights: Vec<Tensor<B>>,
}

/// Parameters and buffers in the order of the walk. They share storage with the model until the next step writes it.
fn weights<B: Backend>(model: &impl Module<B>) -> Vec<Tensor<B>> {
    let mut weights = Vec::new();
    model.visit(&mut Path::default(), &mut |_, entry| match entry {
        Entry::Param(param) => weights.push(param.detach()),
        Entry::Buffer(buffer) => weights.push(buffer.get()),
        Entry::Training(_) => {}
    });
    weights
}

/// Puts back what [`weights`] took from the same model.
fn restore<B: Backend>(model: &mut impl Module<B>, weights: Vec<Tensor<B>>) {
    let mut weights = weights.into_iter();
    let mut next = || weights.next().unwrap_or_else(|| unreachable!("two walks of one model have one length"));
    model.visit_mut(&mut Path::default(), &mut |_, entry| match entry {
        EntryMut::Param(param) => param.set(next()),
        EntryMut::Buffer(buffer) => buffer.set(next()),
        EntryMut::Training(_) => {}
    });
}
