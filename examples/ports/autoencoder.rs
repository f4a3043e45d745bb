//! A convolutional autoencoder: digits of 28 x 28 pixels to codes of 8 x 7 x 7 numbers and back.

use crate::twin::{same_weights, show};
use minitorch::prelude::*;

#[derive(Module)]
struct Autoencoder<B: Backend> {
    encoder: Sequential<B>,
    decoder: Sequential<B>,
}

impl<B: Backend> Autoencoder<B> {
    fn new(device: &B) -> Self {
        let double = Conv2dOptions::default().stride(2);
        let half = double.padding(1);
        Autoencoder {
            encoder: Sequential::new()
                .push(Conv2d::with_options(1, 4, 3, half, device))
                .push(Relu)
                .push(Conv2d::with_options(4, 8, 3, half, device))
                .push(Relu),
            decoder: Sequential::new()
                .push(ConvTranspose2d::with_options(8, 4, 2, double, device))
                .push(Relu)
                .push(ConvTranspose2d::with_options(4, 1, 2, double, device))
                .push(Sigmoid),
        }
    }
}

pub(crate) fn run<B: Backend>(device: &B) -> Result<()> {
    let digits = mnist("data/mnist", Split::Test)?.normalize(0.0, 1.0).take(64);
    let mut model = Autoencoder::new(device);
    same_weights(&mut model);
    let mut optimizer = Adam::new(0.01);
    let mut losses = Vec::new();
    for _ in 0..5 {
        for batch in digits.batches(16, device) {
            let (images, _) = batch?;
            let loss = model.decoder.forward(&model.encoder.forward(&images)).mse_loss(&images);
            optimizer.step(&mut model, &loss.backward());
            losses.push(loss.item()?);
        }
    }
    show("losses", &[losses[0], losses[1], losses[10], losses[19]]);

    let Some(batch) = digits.batches(8, device).next() else { return Ok(()) };
    let (images, _) = batch?;
    let codes = no_grad(|| model.encoder.forward(&images));
    let [n, channels, height, width] = codes.dims();
    show(
        "code",
        &[n as f64, channels as f64, height as f64, width as f64, codes.mean(..).item()?, codes.max(..).item()?],
    );
    let error = no_grad(|| model.decoder.forward(&codes)).mse_loss(&images).item()?;
    show("peak signal-to-noise ratio in dB", &[-10.0 * error.log10()]);
    Ok(())
}
