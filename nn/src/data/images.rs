//! Images with labels: normalised, and augmented for training.

use super::batches::Dataset;
use super::labels::{self, Labels};
use minitorch_core::random::Draw;
use minitorch_core::{Backend, Result, Tensor};
use std::sync::Arc;

/// A part of a data set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Split {
    /// For training.
    Train,
    /// For evaluation.
    Test,
}

/// Images of bytes with class labels. A batch is images `[n, channels, height, width]` (F32), scaled to 0..1 and
/// normalised, and labels `[n]` (I32).
///
/// ```
/// use minitorch::prelude::*;
/// use minitorch::nn::data::ImageDataset;
///
/// let device = Cpu::default();
/// let set = ImageDataset::new(vec![0, 255, 51, 102], vec![7, 3], [1, 1, 2]).normalize(0.5, 0.5);
/// for batch in set.batches(64, &device) {
///     let (images, labels) = batch?;
///     assert_eq!(images.dims(), [2, 1, 1, 2]);
///     assert_eq!(labels.to_vec::<i32>()?, [7, 3]);
/// }
/// # Ok::<(), Error>(())
/// ```
///
/// [`shift`](ImageDataset::shift) and [`flip`](ImageDataset::flip) augment the images at random, only in the batches of
/// a [`Loader`](super::Loader) that shuffles.
#[must_use]
#[derive(Clone, Debug)]
pub struct ImageDataset {
    pixels: Arc<Vec<u8>>,
    labels: Labels,
    shape: [usize; 3],
    /// Per channel.
    mean: Vec<f32>,
    std: Vec<f32>,
    shift: usize,
    flip: bool,
}

/// The host buffers of a batch of an [`ImageDataset`].
#[derive(Default, Debug)]
pub struct ImageBatch {
    pixels: Vec<f32>,
    labels: Vec<i32>,
}

impl ImageDataset {
    /// From the pixels of all images, `[n, channels, height, width]` row-major, and their labels. Not normalised: mean
    /// 0, std 1.
    ///
    /// # Panics
    /// If the number of pixels is not the number of labels times `channels * height * width`.
    #[track_caller]
    pub fn new(pixels: Vec<u8>, labels: Vec<u8>, [channels, height, width]: [usize; 3]) -> Self {
        let shape = [channels, height, width];
        assert!(
            pixels.len() == labels.len() * channels * height * width,
            "ImageDataset: {} pixels are not {} images of {shape:?}",
            pixels.len(),
            labels.len()
        );
        ImageDataset {
            pixels: Arc::new(pixels),
            labels: Labels::new(labels),
            shape,
            mean: vec![0.0; channels],
            std: vec![1.0; channels],
            shift: 0,
            flip: false,
        }
    }

    /// Normalises pixels as `(x / 255 - mean) / std`, the same for all channels.
    ///
    /// # Panics
    /// If `mean` is not finite, or `std` is not finite and above 0.
    #[track_caller]
    pub fn normalize(self, mean: f32, std: f32) -> Self {
        let channels = self.shape[0];
        self.normalize_channels(&vec![mean; channels], &vec![std; channels])
    }

    /// Normalises pixels as `(x / 255 - mean) / std`, by the mean and standard deviation of their channel. PyTorch:
    /// `torchvision.transforms.Normalize`.
    ///
    /// # Panics
    /// If there is not one of each per channel, a mean is not finite, or a deviation is not finite and above 0.
    #[track_caller]
    pub fn normalize_channels(mut self, mean: &[f32], std: &[f32]) -> Self {
        let channels = self.shape[0];
        assert!(
            mean.len() == channels && std.len() == channels,
            "ImageDataset: {} means and {} deviations for {channels} channels",
            mean.len(),
            std.len()
        );
        for (mean, std) in mean.iter().zip(std) {
            assert!(mean.is_finite(), "ImageDataset: a mean of {mean} is not finite");
            assert!(
                *std > 0.0 && std.is_finite(),
                "ImageDataset: a standard deviation of {std} is not finite and above 0"
            );
        }
        (self.mean, self.std) = (mean.to_vec(), std.to_vec());
        self
    }

    /// Augments by shifting every image vertically and horizontally by up to `pixels`, each distance with equal
    /// probability. Pixels from outside the image are 0 before normalisation. PyTorch:
    /// `torchvision.transforms.RandomCrop(size, padding=pixels)`.
    ///
    /// # Panics
    /// If that could shift an image out of sight.
    #[track_caller]
    pub fn shift(mut self, pixels: usize) -> Self {
        let [_, height, width] = self.shape;
        assert!(
            pixels == 0 || pixels < height.min(width),
            "ImageDataset: a shift by {pixels} leaves nothing of {height} x {width} pixels"
        );
        self.shift = pixels;
        self
    }

    /// Augments by mirroring every image left to right with probability 1/2. Not for digits. PyTorch:
    /// `torchvision.transforms.RandomHorizontalFlip`.
    pub fn flip(mut self) -> Self {
        self.flip = true;
        self
    }

    /// `[channels, height, width]` of every image.
    pub fn image_shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The bytes of one image, not normalised.
    ///
    /// # Panics
    /// If there is no such image.
    #[track_caller]
    pub fn image(&self, index: usize) -> &[u8] {
        assert!(index < self.len(), "ImageDataset: image {index} of {}", self.len());
        let size = self.image_size();
        &self.pixels[index * size..][..size]
    }

    /// The label of every image.
    pub fn labels(&self) -> &[u8] {
        self.labels.as_slice()
    }

    fn image_size(&self) -> usize {
        self.shape.iter().product()
    }

    /// Fills `host`; `view(k)` is the augmentation of the k-th image.
    fn gather(&self, indices: &[usize], host: &mut ImageBatch, view: impl Fn(usize) -> View) {
        // A byte has 256 values: their normalised floats are tabulated once per batch.
        let float = |(mean, std): (&f32, &f32)| std::array::from_fn(|byte| (byte as f32 / 255.0 - mean) / std);
        let floats: Vec<[f32; 256]> = self.mean.iter().zip(&self.std).map(float).collect();
        let [_, height, width] = self.shape;
        host.pixels.clear();
        self.labels.gather(indices, &mut host.labels);
        for (k, &index) in indices.iter().enumerate() {
            let view = view(k);
            // An image without pixels has no planes.
            for (plane, float) in self.image(index).chunks_exact((height * width).max(1)).zip(&floats) {
                if view == View::default() {
                    host.pixels.extend(plane.iter().map(|&byte| float[byte as usize]));
                } else {
                    host.pixels.extend(view.of(plane, [height, width]).map(|byte| float[byte as usize]));
                }
            }
        }
    }
}

impl Dataset for ImageDataset {
    type Host = ImageBatch;
    type Batch<B: Backend> = (Tensor<B>, Tensor<B>);

    fn len(&self) -> usize {
        self.labels().len()
    }

    fn collate(&self, indices: &[usize], host: &mut ImageBatch) {
        self.gather(indices, host, |_| View::default());
    }

    fn augment(&self, indices: &[usize], draw: Draw, first: usize, host: &mut ImageBatch) {
        let choices = 2 * self.shift as u64 + 1;
        let distance = |word: u32| ((word as u64 * choices) >> 32) as isize - self.shift as isize;
        self.gather(indices, host, |k| {
            let [down, right, mirror, _] = draw.block((first + k) as u64);
            View { down: distance(down), right: distance(right), flip: self.flip && mirror & 1 == 1 }
        });
    }

    fn upload<B: Backend>(&self, host: &ImageBatch, device: &B) -> Result<(Tensor<B>, Tensor<B>)> {
        let [channels, height, width] = self.shape;
        labels::upload(&host.pixels, &[host.labels.len(), channels, height, width], &host.labels, device)
    }

    fn select(&self, indices: &[usize]) -> Self {
        let mut pixels = Vec::with_capacity(indices.len() * self.image_size());
        indices.iter().for_each(|&index| pixels.extend_from_slice(self.image(index)));
        ImageDataset { pixels: Arc::new(pixels), labels: self.labels.select(indices), ..self.clone() }
    }
}

/// An augmented image: mirrored or not, then the window of the image that starts `down` and `right` of its corner.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
struct View {
    down: isize,
    right: isize,
    flip: bool,
}

impl View {
    /// The bytes of one channel, row-major; 0 outside the image.
    fn of(self, plane: &[u8], [height, width]: [usize; 2]) -> impl Iterator<Item = u8> {
        let pixel = move |at: usize| {
            let inside = |at: usize, by: isize, size: usize| at.checked_add_signed(by).filter(|&at| at < size);
            let y = inside(at / width, self.down, height)?;
            let x = inside(at % width, self.right, width)?;
            plane.get(y * width + if self.flip { width - 1 - x } else { x }).copied()
        };
        (0..height * width).map(move |at| pixel(at).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_are_normalised_and_buffers_reused() {
        let pixels = (0..10).flat_map(|i| [i, 255 - i]).collect();
        let set = ImageDataset::new(pixels, (0..10).collect(), [1, 1, 2]).normalize(0.1307, 0.3081);
        let mut host = ImageBatch::default();
        set.collate(&[7, 2], &mut host);
        let expected = |byte: u8| (byte as f32 / 255.0 - 0.1307) / 0.3081;
        assert_eq!(host.pixels, [7, 248, 2, 253].map(expected));
        assert_eq!(host.labels, [7, 2]);
        let memory = host.pixels.as_ptr();
        set.collate(&[1], &mut host);
        assert_eq!((host.labels.as_slice(), host.pixels.as_ptr()), (&[1][..], memory));
    }

    #[test]
    fn each_channel_has_its_own_mean_and_deviation() {
        let set = ImageDataset::new(vec![0, 51, 102, 255, 0, 51], vec![0], [3, 1, 2]);
        let set = set.normalize_channels(&[0.0, 0.5, 0.2], &[1.0, 0.5, 0.1]);
        let mut host = ImageBatch::default();
        set.collate(&[0], &mut host);
        let expected = [0.0, 0.2, (0.4 - 0.5) / 0.5, 1.0, -0.2 / 0.1, 0.0];
        for (got, want) in host.pixels.iter().zip(expected) {
            assert!((got - want).abs() < 1e-6, "{:?}", host.pixels);
        }
    }

    #[test]
    fn views_move_and_mirror() {
        let plane = [1, 2, 3, 4, 5, 6]; // 2 x 3
        for (down, right, flip, expected) in [
            (0, 0, false, [1, 2, 3, 4, 5, 6]),
            (0, 0, true, [3, 2, 1, 6, 5, 4]),
            (1, 0, false, [4, 5, 6, 0, 0, 0]),
            (-1, 0, false, [0, 0, 0, 1, 2, 3]),
            (0, 1, false, [2, 3, 0, 5, 6, 0]),
            (0, -2, true, [0, 0, 3, 0, 0, 6]),
            (-1, 2, false, [0, 0, 0, 3, 0, 0]),
        ] {
            let view = View { down, right, flip };
            assert_eq!(view.of(&plane, [2, 3]).collect::<Vec<u8>>(), expected, "{view:?}");
        }
    }

    /// Augments `n` copies of an image with one bright pixel, and returns the positions of that pixel.
    fn bright(set: &ImageDataset, n: usize, draw: Draw, first: usize) -> Vec<usize> {
        let mut host = ImageBatch::default();
        set.augment(&vec![0; n], draw, first, &mut host);
        host.pixels.chunks_exact(25).map(|image| image.iter().position(|&x| x == 1.0).unwrap_or(99)).collect()
    }

    #[test]
    fn shifts_and_flips_are_uniform_and_repeatable() {
        let draw = Draw { seed: 3, index: 1 };
        let spot =
            |at: usize| ImageDataset::new((0..25).map(|i| if i == at { 255 } else { 0 }).collect(), vec![0], [1, 5, 5]);
        // From the middle of 5 x 5, a shift by up to 1 leads to nine positions with equal probability.
        let places = bright(&spot(12).shift(1), 9000, draw, 0);
        for y in 1..4 {
            for x in 1..4 {
                let count = places.iter().filter(|&&place| place == y * 5 + x).count();
                assert!((900..1100).contains(&count), "({y}, {x}): {count} of 9000");
            }
        }
        let mirrored = bright(&spot(10).flip(), 1000, draw, 0);
        let count = mirrored.iter().filter(|&&place| place == 14).count();
        assert!((450..550).contains(&count) && mirrored.iter().all(|&at| at == 10 || at == 14), "{count}");

        let set = spot(12).shift(2).flip();
        let whole = bright(&set, 100, draw, 0);
        assert_eq!([bright(&set, 60, draw, 0), bright(&set, 40, draw, 60)].concat(), whole, "by position only");
        assert_ne!(bright(&set, 100, Draw { index: 2, ..draw }, 0), whole);
        let mut plain = ImageBatch::default();
        set.collate(&[0], &mut plain);
        assert_eq!(plain.pixels[12], 1.0, "collate changes nothing");
    }

    #[test]
    #[should_panic(expected = "a shift by 5 leaves nothing of 5 x 6 pixels")]
    fn a_shift_leaves_something() {
        let _ = ImageDataset::new(vec![0; 30], vec![0], [1, 5, 6]).shift(5);
    }

    #[test]
    #[should_panic(expected = "3 means and 1 deviations for 3 channels")]
    fn every_channel_is_normalised() {
        let _ = ImageDataset::new(vec![0; 3], vec![0], [3, 1, 1]).normalize_channels(&[0.0; 3], &[1.0]);
    }
}
