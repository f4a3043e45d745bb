//! Training and evaluation of a network on MNIST.

use crate::args::Args;
use crate::common::evaluate::Score;
use crate::common::run::{Outcome, Run, Setup};
use crate::images::{self, DIGITS};
use crate::network::Network;
use minitorch::nn::data::{ImageDataset, Loader, Split, mnist};
use minitorch::prelude::*;

/// Trains a network with Adam and a one-cycle learning rate, or with `--eval` only evaluates it.
pub(crate) fn train<B: Backend, N: Network<B>>(args: &Args, device: &B) -> Result<Outcome> {
    let options = &args.options;
    device.rng().seed(options.seed);
    let mut model = N::new(device);
    let limit = options.limit.unwrap_or(usize::MAX);
    let test = mnist(args.data_folder(), Split::Test)?.take(limit);
    if let Some(weights) = &options.eval {
        model.load(weights)?;
        let score = evaluate(&mut model, &test, || false, device)?;
        return Ok(score.map_or(Outcome::Interrupted, Outcome::Finished));
    }
    let train = mnist(args.data_folder(), Split::Train)?.take(limit);
    let setup = Setup {
        model: (N::NAME, model.num_parameters()),
        kind: "image",
        train: train.len(),
        validation: None,
        test: test.len(),
        files: images::PICTURES,
        metadata: Default::default(),
    };
    let mut run = Run::start(options, setup, device)?; // progress, metrics, weights, Ctrl-C

    let loader = Loader::new(&train, options.batch_size).shuffle(options.seed).prefetch(2);
    let schedule = OneCycle::new(options.lr, loader.len().saturating_mul(options.epochs));
    let mut optimizer = Adam::new(options.lr);
    let mut score = Score::new(DIGITS);
    for epoch in 1..=options.epochs {
        model.train();
        for batch in loader.epoch(epoch as u64, device) {
            let (images, labels) = batch?;
            optimizer.set_lr(schedule.lr(run.steps()));
            let logits = model.forward(&images);
            let loss = logits.cross_entropy(&labels);
            optimizer.step(&mut model, &loss.backward());
            if !run.after_step(&model, optimizer.lr(), (&loss, &logits, &labels))? {
                return Ok(Outcome::Interrupted);
            }
        }
        let Some(result) = evaluate(&mut model, &test, || run.interrupted(), device)? else {
            run.stop(&model)?;
            return Ok(Outcome::Interrupted);
        };
        run.after_epoch(&model, &result)?;
        score = result;
    }
    run.finish(&model, None)?;
    run.draw_curves()?;
    images::show(&score, &test, run.output(), device, |image| model.feature_maps(image))?;
    Ok(run.outcome(score))
}

/// The result on the test set, or `None` if `stop` returned true.
fn evaluate<B: Backend>(
    model: &mut impl Layer<B>,
    test: &ImageDataset,
    stop: impl Fn() -> bool,
    device: &B,
) -> Result<Option<Score>> {
    model.eval();
    let mut score = Score::new(DIGITS);
    for batch in test.batches(1000, device) {
        if stop() {
            return Ok(None);
        }
        let (images, labels) = batch?;
        score.add(&no_grad(|| model.forward(&images)), &labels)?;
    }
    Ok((!stop()).then(|| score.finish()))
}
