//! MNIST for the peers that bring no reader of their own, and what an epoch answers.

use crate::serve::Prepared;
use std::io::Read;
use std::rc::Rc;

/// Images per step.
pub const BATCH: usize = 64;

/// Images per step of the test.
pub const TEST_BATCH: usize = 1000;

/// The folder of the source tree.
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

    /// The normalised pixels of some images, and their labels.
    pub fn batch(&self, images: impl Iterator<Item = usize> + Clone) -> (Vec<f32>, Vec<u32>) {
        let normal = |&pixel: &u8| (pixel as f32 / 255.0 - 0.1307) / 0.3081;
        let pixels = images.clone().flat_map(|i| self.pixels[i * 784..][..784].iter().map(normal)).collect();
        (pixels, images.map(|i| self.labels[i] as u32).collect())
    }

    /// The batches of an epoch, in an order that jumps about.
    pub fn shuffled(&self) -> impl Iterator<Item = (Vec<f32>, Vec<u32>)> {
        let n = self.len();
        (0..n).step_by(BATCH).map(move |first| self.batch((first..n.min(first + BATCH)).map(move |i| i * 7919 % n)))
    }

    /// The batches of a test.
    pub fn in_order(&self) -> impl Iterator<Item = (Vec<f32>, Vec<u32>)> {
        (0..self.len()).step_by(TEST_BATCH).map(|first| self.batch(first..self.len().min(first + TEST_BATCH)))
    }
}

/// How many rows of `logits`, of ten classes each, are largest at their label.
pub fn right(logits: &[f32], labels: &[u32]) -> usize {
    let best = |row: &[f32]| (0..10).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("ten classes");
    logits.chunks_exact(10).zip(labels).filter(|(row, label)| best(row) == **label as usize).count()
}

/// An epoch that returns how many images of the test set it reads rightly. The result is 1 where that is 95 % and more: orders differ,
/// and with them the last digits.
pub fn prepared(epoch: impl Fn() -> usize + 'static) -> Option<Prepared> {
    let epoch = Rc::new(epoch);
    let again = epoch.clone();
    Some(Prepared {
        run: Box::new(move || {
            std::hint::black_box(epoch());
        }),
        result: Box::new(move || {
            let right = again();
            vec![if right >= 9500 { 1.0 } else { right as f32 }]
        }),
    })
}
