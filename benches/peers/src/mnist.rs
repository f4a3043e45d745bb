//! A reader of MNIST for the peers without one, and the result of an epoch.

use crate::serve::Prepared;
use std::io::Read;
use std::rc::Rc;

/// Images per step.
pub const BATCH: usize = 64;

/// Images per step of the evaluation.
pub const TEST_BATCH: usize = 1000;

/// Where the source tree has the data.
pub const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/mnist");

/// The images of one split and their labels.
pub struct Images {
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

impl Images {
    /// Reads the files that begin with `split`: `train` or `t10k`.
    pub fn read(split: &str) -> Self {
        let unpacked = |name: &str, header: usize| {
            let file = std::fs::File::open(format!("{FOLDER}/{split}-{name}-ubyte.gz")).expect("data/mnist is there");
            let mut bytes = Vec::new();
            flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).expect("data/mnist is whole");
            bytes.split_off(header)
        };
        Images { pixels: unpacked("images-idx3", 16), labels: unpacked("labels-idx1", 8) }
    }

    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// The normalised pixels and the labels of these images.
    pub fn batch(&self, images: impl Iterator<Item = usize> + Clone) -> (Vec<f32>, Vec<u32>) {
        let normal = |&pixel: &u8| (pixel as f32 / 255.0 - 0.1307) / 0.3081;
        let pixels = images.clone().flat_map(|i| self.pixels[i * 784..][..784].iter().map(normal)).collect();
        (pixels, images.map(|i| self.labels[i] as u32).collect())
    }

    /// The batches of an epoch, in a fixed permutation.
    pub fn shuffled(&self) -> impl Iterator<Item = (Vec<f32>, Vec<u32>)> {
        let n = self.len();
        (0..n).step_by(BATCH).map(move |first| self.batch((first..n.min(first + BATCH)).map(move |i| i * 7919 % n)))
    }

    /// The batches of an evaluation.
    pub fn in_order(&self) -> impl Iterator<Item = (Vec<f32>, Vec<u32>)> {
        (0..self.len()).step_by(TEST_BATCH).map(|first| self.batch(first..self.len().min(first + TEST_BATCH)))
    }
}

/// The number of rows of `logits` (ten classes) whose largest element is at their label.
pub fn correct(logits: &[f32], labels: &[u32]) -> usize {
    let best = |row: &[f32]| (0..10).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("ten classes");
    logits.chunks_exact(10).zip(labels).filter(|(row, label)| best(row) == **label as usize).count()
}

/// Wraps an epoch, which returns the number of correct test images. The result to compare is 1 from 95 % on: peers shuffle differently,
/// so their counts differ.
pub fn prepared(epoch: impl Fn() -> usize + 'static) -> Option<Prepared> {
    let epoch = Rc::new(epoch);
    let again = epoch.clone();
    Some(Prepared {
        run: Box::new(move || {
            std::hint::black_box(epoch());
        }),
        result: Box::new(move || {
            let correct = again();
            vec![if correct >= 9500 { 1.0 } else { correct as f32 }]
        }),
    })
}
