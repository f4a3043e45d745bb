//! What can be split into batches: the trait, and images with labels.

use super::{Epoch, Loader};
use minitorch_core::random::Draw;
use minitorch_core::{Backend, Tensor};
use rand::seq::SliceRandom;
use std::sync::Arc;

/// Keeps the draws that split a set apart from those of shuffles and of devices with the same seed.
const SPLIT_STREAM: u64 = 0x73_706C_6974;

/// Examples in memory that can be gathered into batches.
///
/// Making a batch has two halves. [`collate`](Dataset::collate) works on the host, on any thread, into buffers that are
/// used again; [`upload`](Dataset::upload) makes tensors of them on the thread that trains. Neither can fail: what can
/// has failed when the data were read. A dataset is a handle: cloning shares the examples.
pub trait Dataset: Clone + Send + Sync + 'static {
    /// Host memory for one batch, used again for later ones.
    type Host: Default + Send + 'static;
    /// One batch on a device: a tensor or a tuple of tensors.
    type Batch<B: Backend>;

    /// The number of examples.
    fn len(&self) -> usize;

    /// Whether there are no examples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `host` with these examples in this order, over whatever it held.
    ///
    /// # Panics
    /// If an index is not below [`len`](Dataset::len).
    fn collate(&self, indices: &[usize], host: &mut Self::Host);

    /// The batch that `host` holds, on a device.
    fn upload<B: Backend>(&self, host: &Self::Host, device: &B) -> Self::Batch<B>;

    /// A set of these examples in this order; repeats are welcome.
    ///
    /// # Panics
    /// If an index is not below [`len`](Dataset::len).
    fn select(&self, indices: &[usize]) -> Self;

    /// The first `n` examples, or all if there are fewer.
    fn take(&self, n: usize) -> Self {
        let indices: Vec<usize> = (0..n.min(self.len())).collect();
        self.select(&indices)
    }

    /// Two sets of all examples: a random `fraction` of them (rounded to a whole number) and the rest, each in the order
    /// of this set. The same seed makes the same sets.
    ///
    /// # Panics
    /// If the fraction is not between 0 and 1.
    #[track_caller]
    fn split(&self, fraction: f64, seed: u64) -> (Self, Self) {
        assert!((0.0..=1.0).contains(&fraction), "split: a fraction of {fraction} is not between 0 and 1");
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.shuffle(&mut Draw { seed: seed ^ SPLIT_STREAM, index: 0 }.generator());
        let (first, rest) = order.split_at_mut((fraction * self.len() as f64).round() as usize);
        first.sort_unstable();
        rest.sort_unstable();
        (self.select(first), self.select(rest))
    }

    /// Batches of `size` in order, the last one smaller if need be: `for (x, y) in train.batches(64, &device)`. A
    /// [`Loader`] shuffles and works ahead.
    ///
    /// # Panics
    /// If the size is 0.
    #[track_caller]
    fn batches<B: Backend>(&self, size: usize, device: &B) -> Epoch<Self, B> {
        Loader::new(self, size).epoch(0, device)
    }
}

/// Images of bytes, each with the number of its class. Batches are images `[n, channels, height, width]` as F32, scaled to
/// 0..1 and normalised, and labels `[n]` as I32.
///
/// ```
/// # use minitorch_conformance::doc::*;
/// use minitorch_nn::data::{Dataset, ImageDataset};
/// let set = ImageDataset::new(vec![0, 255, 51, 102], vec![7, 3], [1, 1, 2]).normalize(0.5, 0.5);
/// for (images, labels) in set.batches(64, &device()) {
///     assert_eq!(images.dims(), [2, 1, 1, 2]);
///     assert_eq!(labels.to_vec::<i32>()?, [7, 3]);
/// }
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ImageDataset {
    pixels: Arc<Vec<u8>>,
    labels: Arc<Vec<u8>>,
    shape: [usize; 3],
    mean: f32,
    std: f32,
}

/// The host memory of a batch of an [`ImageDataset`].
#[derive(Default, Debug)]
pub struct ImageBatch {
    pixels: Vec<f32>,
    labels: Vec<i32>,
}

impl ImageDataset {
    /// Images one after the other, each channel by channel, row by row; one label each. Not normalised: mean 0, std 1.
    ///
    /// # Panics
    /// If the number of pixels is not that of labels times `channels * height * width`.
    #[track_caller]
    pub fn new(pixels: Vec<u8>, labels: Vec<u8>, [channels, height, width]: [usize; 3]) -> Self {
        let shape = [channels, height, width];
        assert!(
            pixels.len() == labels.len() * channels * height * width,
            "ImageDataset: {} pixels are not {} images of {shape:?}",
            pixels.len(),
            labels.len()
        );
        ImageDataset { pixels: Arc::new(pixels), labels: Arc::new(labels), shape, mean: 0.0, std: 1.0 }
    }

    /// With pixels normalised as `(x / 255 - mean) / std`.
    ///
    /// # Panics
    /// If `std` is not above 0.
    #[track_caller]
    pub fn normalize(mut self, mean: f32, std: f32) -> Self {
        assert!(std > 0.0, "ImageDataset: a standard deviation of {std} is not above 0");
        (self.mean, self.std) = (mean, std);
        self
    }

    /// `[channels, height, width]` of every image.
    pub fn image_shape(&self) -> [usize; 3] {
        self.shape
    }

    /// The bytes of one image.
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
        &self.labels
    }

    fn image_size(&self) -> usize {
        self.shape.iter().product()
    }
}

impl Dataset for ImageDataset {
    type Host = ImageBatch;
    type Batch<B: Backend> = (Tensor<B>, Tensor<B>);

    fn len(&self) -> usize {
        self.labels.len()
    }

    fn collate(&self, indices: &[usize], host: &mut ImageBatch) {
        // A byte has 256 values: their floats are computed once a batch and looked up.
        let float: [f32; 256] = std::array::from_fn(|byte| (byte as f32 / 255.0 - self.mean) / self.std);
        host.pixels.clear();
        host.labels.clear();
        for &index in indices {
            host.pixels.extend(self.image(index).iter().map(|&byte| float[byte as usize]));
            host.labels.push(self.labels[index] as i32);
        }
    }

    fn upload<B: Backend>(&self, host: &ImageBatch, device: &B) -> (Tensor<B>, Tensor<B>) {
        let n = host.labels.len();
        let [channels, height, width] = self.shape;
        let images = Tensor::from_slice(&host.pixels, [n, channels, height, width], device);
        (images, Tensor::from_slice(&host.labels, [n], device))
    }

    fn select(&self, indices: &[usize]) -> Self {
        let mut pixels = Vec::with_capacity(indices.len() * self.image_size());
        indices.iter().for_each(|&index| pixels.extend_from_slice(self.image(index)));
        let labels = indices.iter().map(|&index| self.labels[index]).collect();
        ImageDataset { pixels: Arc::new(pixels), labels: Arc::new(labels), ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(n: u8) -> ImageDataset {
        ImageDataset::new((0..n).flat_map(|i| [i, 255 - i]).collect(), (0..n).collect(), [1, 1, 2])
    }

    #[test]
    fn pixels_are_normalised_and_buffers_reused() {
        let set = numbered(10).normalize(0.1307, 0.3081);
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
    fn split_is_a_partition_by_seed() {
        let set = numbered(100);
        let (a, b) = set.split(0.3, 5);
        assert_eq!((a.len(), b.len()), (30, 70));
        let mut all = [a.labels(), b.labels()].concat();
        assert!(a.labels().is_sorted() && b.labels().is_sorted());
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<u8>>());
        assert_eq!(set.split(0.3, 5).0.labels(), a.labels());
        assert_ne!(set.split(0.3, 6).0.labels(), a.labels());
        assert_eq!(a.image(0), [a.labels()[0], 255 - a.labels()[0]], "pixels go with their labels");
        assert!(set.split(0.0, 1).0.is_empty() && set.split(1.0, 1).1.is_empty());
    }

    #[test]
    fn take_stops_at_the_end() {
        assert_eq!(numbered(5).take(3).labels(), [0, 1, 2]);
        assert_eq!(numbered(5).take(9).len(), 5);
    }
}
