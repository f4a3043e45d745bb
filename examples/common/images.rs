//! What the image classifiers share: their data, and the pictures of a finished run.

mod maps;

use crate::common::canvas::{Canvas, LETTER};
use crate::common::evaluate::{Classes, Score};
use crate::common::example::Labelled;
use crate::common::output::Output;
pub(crate) use maps::Maps;
use minitorch::nn::data::ImageDataset;
use minitorch::nn::state::replace_file;
use minitorch::prelude::*;
use std::io::Write;

/// The ten digits.
pub(crate) const DIGITS: Classes =
    Classes { kind: "digit", names: &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"] };

/// What [`show`] writes.
pub(crate) const PICTURES: &[&str] = &["mistakes.png", "feature-maps.svg"];

const BLACK: (u8, u8, u8) = (0, 0, 0);

impl Labelled for ImageDataset {
    const KIND: &'static str = "image";
    const EVALUATED_AT_ONCE: usize = 1000;

    fn pair<B: Backend>(batch: Self::Batch<B>) -> (Tensor<B>, Tensor<B>) {
        batch
    }
}

/// Writes `mistakes.png`, and `feature-maps.svg` if `feature_maps` of the first test image `[1, channels, height,
/// width]` returns any.
///
/// # Errors
/// If the device or the file system fails.
pub(crate) fn show<B: Backend>(
    score: &Score,
    test: &ImageDataset,
    output: &Output,
    device: &B,
    feature_maps: impl FnOnce(&Tensor<B>) -> Vec<Maps<B>>,
) -> Result<()> {
    mistakes(score, test).save(&output.path("mistakes.png"))?;
    if let Some(first) = test.take(1).batches(1, device).next() {
        let (images, _) = first?;
        let maps = no_grad(|| feature_maps(&images));
        if !maps.is_empty() {
            let picture = maps::picture(&maps, test, 0, score)?;
            replace_file(output.path("feature-maps.svg"), |file| file.write_all(picture.as_bytes()))?;
        }
    }
    Ok(())
}

/// The most confident mistakes, each with its class and the predicted one.
fn mistakes(score: &Score, test: &ImageDataset) -> Canvas {
    const COLUMNS: usize = 8;
    const SHOWN: usize = 40;
    const PIXEL: i32 = 3; // the side of an enlarged pixel
    const TOP: i32 = 48;
    let [channels, height, width] = test.image_shape();
    let cell = (width as i32 * PIXEL + 28, height as i32 * PIXEL + 48);
    let shown = &score.mistakes[..score.mistakes.len().min(SHOWN)];
    let rows = shown.len().div_ceil(COLUMNS).max(1) as i32;
    let mut canvas = Canvas::new((COLUMNS as i32 * cell.0 + 16) as u32, (TOP + rows * cell.1) as u32);
    let all = test.len();
    let title = match shown.len() {
        0 => format!("no mistakes in {all} images"),
        n => format!("{n} of {} mistakes in {all} images: true > read as, and how sure", score.mistakes.len()),
    };
    canvas.text(&title, (16, 16), 1, BLACK);
    for (i, mistake) in shown.iter().enumerate() {
        let (x, y) = (16 + (i % COLUMNS) as i32 * cell.0, TOP + (i / COLUMNS) as i32 * cell.1);
        let image = test.image(mistake.example);
        let plane = height * width;
        for at in 0..plane {
            let corner = (x + (at % width) as i32 * PIXEL, y + (at / width) as i32 * PIXEL);
            let ink = 255 - image[at];
            let color =
                if channels == 3 { (image[at], image[plane + at], image[2 * plane + at]) } else { (ink, ink, ink) };
            canvas.square(corner, PIXEL, color);
        }
        let below = y + height as i32 * PIXEL + 4;
        let [label, predicted] = [mistake.label, mistake.predicted].map(|class| score.classes.names[class]);
        if label.len() + predicted.len() <= 2 {
            canvas.text(&format!("{label} > {predicted}"), (x, below), 2, BLACK);
        } else {
            canvas.text(label, (x, below), 1, BLACK);
            canvas.text(&format!("> {predicted}"), (x, below + LETTER), 1, BLACK);
        }
        let sure = format!("{:.1} %", 100.0 * mistake.confidence);
        canvas.text(&sure, (x, below + 2 * LETTER + 4), 1, (110, 110, 110));
    }
    canvas
}
