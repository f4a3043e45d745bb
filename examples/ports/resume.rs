//! A dataset of one's own, and a training that is saved, loaded and continued as if it had not been interrupted.

use crate::twin::{same_weights, show};
use minitorch::prelude::*;
use std::{env, fs, ops::Range, process, sync::Arc};

/// Points of two spirals, of class 0 and 1, by their numbers.
#[derive(Clone)]
struct Spirals(Arc<Vec<usize>>);

impl Dataset for Spirals {
    type Host = (Vec<f32>, Vec<i32>);
    type Batch<B: Backend> = (Tensor<B>, Tensor<B>);

    fn len(&self) -> usize {
        self.0.len()
    }
    fn collate(&self, indices: &[usize], (points, classes): &mut Self::Host) {
        points.clear();
        classes.clear();
        for &i in indices {
            let (t, class) = (self.0[i] as f32 / 24.0, (self.0[i] % 2) as i32);
            let radius = if class == 0 { t } else { -t };
            points.extend([radius * t.cos(), radius * t.sin()]);
            classes.push(class);
        }
    }
    fn upload<B: Backend>(&self, (points, classes): &Self::Host, device: &B) -> Result<Self::Batch<B>> {
        let n = classes.len();
        Ok((Tensor::try_from_slice(points, [n, 2], device)?, Tensor::try_from_slice(classes, n, device)?))
    }
    fn select(&self, indices: &[usize]) -> Self {
        Spirals(Arc::new(indices.iter().map(|&i| self.0[i]).collect()))
    }
}

type Run<B> = (Sequential<B>, Adam<B>);

fn start<B: Backend>(dropout: f64, device: &B) -> Run<B> {
    let model = Sequential::new().push(Linear::new(2, 32, device)).push(BatchNorm1d::new(32, device)).push(Tanh);
    let mut model = model.push(Dropout::new(dropout)).push(Linear::new(32, 2, device));
    same_weights(&mut model);
    (model, Adam::new(0.02))
}

pub(crate) fn run<B: Backend>(device: &B) -> Result<()> {
    // The losses of some epochs. Shuffling and dropout depend on the number of the epoch alone.
    let train = |(model, optimizer): &mut Run<B>, data: &Loader<Spirals>, epochs: Range<u64>| -> Result<Vec<f64>> {
        let mut losses = Vec::new();
        for epoch in epochs {
            device.rng().seed(epoch);
            for batch in data.epoch(epoch, device) {
                let (x, classes) = batch?;
                let loss = model.forward(&x).cross_entropy(&classes);
                optimizer.step(model, &loss.backward());
                losses.push(loss.item()?);
            }
        }
        Ok(losses)
    };
    let data = Loader::new(&Spirals(Arc::new((0..96).collect())), 16);
    show("losses in order, without dropout", &train(&mut start(0.0, device), &data, 0..2)?);
    let data = data.shuffle(7);
    let undisturbed = train(&mut start(0.3, device), &data, 0..6)?;

    let file = |name: &str| env::temp_dir().join(format!("{}-{name}.safetensors", process::id()));
    let mut half = start(0.3, device);
    train(&mut half, &data, 0..3)?;
    half.0.save(file("model"))?;
    half.1.save(&half.0, file("optimizer"))?;

    let (mut model, mut optimizer) = start(0.3, device);
    model.load(file("model"))?;
    optimizer.load(&model, file("optimizer"))?;
    let resumed = train(&mut (model, optimizer), &data, 3..6)?;
    show("as if undisturbed", &[f64::from(resumed == undisturbed[18..])]);
    fs::remove_file(file("model"))?;
    Ok(fs::remove_file(file("optimizer"))?)
}
