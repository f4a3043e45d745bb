//! What can be split into batches.

use super::{Epoch, Loader};
use minitorch_core::random::Draw;
use minitorch_core::{Backend, Result};
use rand::seq::SliceRandom;

/// Keeps the draws that split a set apart from those of shuffles and of devices with the same seed.
const SPLIT_STREAM: u64 = 0x73_706C_6974;

/// Examples in memory that can be gathered into batches.
///
/// Making a batch has two halves. [`collate`](Dataset::collate) works on the host, on any thread, into buffers that are
/// used again, and cannot fail: what can has failed when the data were read. [`upload`](Dataset::upload) makes tensors of them
/// on the thread that trains, and fails as the device does. A dataset is a handle: cloning shares the examples.
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

    /// How much of a batch example `i` takes, such as the number of words of a sentence; 1 by default.
    /// [`Loader::buckets`] puts examples of similar size into one batch.
    ///
    /// # Panics
    /// If `i` is not below [`len`](Dataset::len) and the sizes differ.
    fn size(&self, i: usize) -> usize {
        let _ = i;
        1
    }

    /// Fills `host` with these examples in this order, over whatever it held.
    ///
    /// # Panics
    /// If an index is not below [`len`](Dataset::len).
    fn collate(&self, indices: &[usize], host: &mut Self::Host);

    /// Fills `host` as [`collate`](Dataset::collate) does, with the random changes that a model should not mind, such as
    /// shifted images. What a [`Loader`] that shuffles calls; by default nothing is changed.
    ///
    /// `first` is the position of the first of these examples in the epoch. Whatever is drawn for an example comes from
    /// `draw` and its position alone (`draw.block(position)`), so that batch size and prefetching change nothing.
    ///
    /// # Panics
    /// As [`collate`](Dataset::collate).
    fn augment(&self, indices: &[usize], draw: Draw, first: usize, host: &mut Self::Host) {
        let _ = (draw, first);
        self.collate(indices, host);
    }

    /// The batch that `host` holds, on a device.
    ///
    /// # Errors
    /// If the device fails or has no memory for it.
    fn upload<B: Backend>(&self, host: &Self::Host, device: &B) -> Result<Self::Batch<B>>;

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

    /// Batches of `size` in order, the last one smaller if need be: `for batch in train.batches(64, &device)` with
    /// `let (x, y) = batch?`. A [`Loader`] shuffles and works ahead.
    ///
    /// # Panics
    /// If the size is 0.
    #[track_caller]
    fn batches<B: Backend>(&self, size: usize, device: &B) -> Epoch<Self, B> {
        Loader::new(self, size).epoch(0, device)
    }
}

#[cfg(test)]
mod tests {
    use crate::data::{Dataset, ImageDataset};

    fn numbered(n: u8) -> ImageDataset {
        ImageDataset::new((0..n).flat_map(|i| [i, 255 - i]).collect(), (0..n).collect(), [1, 1, 2])
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
