//! Datasets, and the loader that decides which examples form a batch, in which order, and how far ahead.
//!
//! ```text
//! order of an epoch = the sampler's, a function of (seed, epoch)
//! worker w of n:      collate batches w, w + n, w + 2n, .. into host buffers -> its bounded channel
//! training thread:    the channels in turn -> upload -> buffer back to the pool
//! ```
//!
//! - Order and augmentation are functions of the seed and the number of the epoch, so any epoch can be repeated alone,
//!   and neither prefetching nor the number of workers changes anything but the time.
//! - Of k batches ahead per worker, k - 1 are in its channel and one is at the worker; one more is being uploaded. So
//!   there are at most that many host buffers, which the pool keeps between epochs.

use super::sampler::Sampler;
use minitorch_core::random::Draw;
use minitorch_core::{Backend, Result};
use rand::seq::SliceRandom;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

// Each use of a seed has a stream of its own, so that a split, an order and a device's initial weights of one seed have
// nothing in common.
const SPLIT_STREAM: u64 = 0x73_706C_6974;
const AUGMENT_STREAM: u64 = 0x61_7567_6D65_6E74;
const BUCKET_STREAM: u64 = 0x62_7563_6B65_7473;
/// Batches whose examples are sorted by size together.
const BUCKET_RUN: usize = 50;

/// Examples in memory that can be gathered into batches.
///
/// A batch is made in two steps. [`collate`](Dataset::collate) runs on the host, on any thread, fills reused buffers
/// and cannot fail: errors in the data were reported when it was read. [`upload`](Dataset::upload) runs on the training
/// thread, turns the buffers into tensors and fails as the device does. A dataset is a handle: cloning shares the
/// examples.
pub trait Dataset: Clone + Send + Sync + 'static {
    /// Host buffers of one batch, reused for later ones.
    type Host: Default + Send + 'static;
    /// One batch on a device: a tensor or a tuple of tensors.
    type Batch<B: Backend>;

    /// The number of examples.
    fn len(&self) -> usize;

    /// Whether there are no examples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The size of example `i` within a batch, such as the number of words of a sentence; 1 by default.
    /// [`Loader::buckets`] puts examples of similar size into one batch.
    ///
    /// # Panics
    /// If `i` is not below [`len`](Dataset::len) and the sizes differ.
    fn size(&self, i: usize) -> usize {
        let _ = i;
        1
    }

    /// Replaces the content of `host` by these examples in this order.
    ///
    /// # Panics
    /// If an index is not below [`len`](Dataset::len).
    fn collate(&self, indices: &[usize], host: &mut Self::Host);

    /// [`collate`](Dataset::collate) with random augmentation, such as shifted images; a [`Loader`] that shuffles calls
    /// it. By default nothing is augmented.
    ///
    /// `first` is the position of the first of these examples in the epoch. The random numbers of an example depend
    /// only on `draw` and its position (`draw.block(position)`), so batch size and prefetching do not change the
    /// results.
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

    /// A set of these examples in this order; an index may occur several times.
    ///
    /// # Panics
    /// If an index is not below [`len`](Dataset::len).
    fn select(&self, indices: &[usize]) -> Self;

    /// The first `n` examples, or all if there are fewer.
    fn take(&self, n: usize) -> Self {
        let indices: Vec<usize> = (0..n.min(self.len())).collect();
        self.select(&indices)
    }

    /// Splits the examples into a random `fraction` of them (rounded to an integer) and the rest, each in the order of
    /// this set. The split depends on the seed only.
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

    /// Batches of `size` in order, the last one smaller if `size` does not divide the number of examples:
    /// `for batch in train.batches(64, &device)` with `let (x, y) = batch?`. A [`Loader`] shuffles and prefetches.
    ///
    /// # Panics
    /// If the size is 0.
    #[track_caller]
    fn batches<B: Backend>(&self, size: usize, device: &B) -> Epoch<Self, B> {
        Loader::new(self, size).epoch(0, device)
    }
}

/// Iterates over a dataset in batches, epoch by epoch. PyTorch: `DataLoader`.
///
/// Which examples an epoch has, in which order, and their augmentation depend on the seed and the number of the epoch
/// only.
///
/// ```
/// use minitorch::prelude::*;
/// use minitorch::nn::data::ImageDataset;
///
/// let device = Cpu::default();
/// let set = ImageDataset::new((0..10).collect(), (0..10).collect(), [1, 1, 1]);
/// let loader = Loader::new(&set, 4).shuffle(42).prefetch(2);
/// for epoch in 0..2 {
///     for batch in loader.epoch(epoch, &device) {
///         let (images, labels) = batch?;
///         assert_eq!(images.shape()[0], labels.numel());
///     }
/// }
/// # Ok::<(), Error>(())
/// ```
#[must_use]
#[derive(Clone)]
pub struct Loader<D: Dataset> {
    dataset: D,
    batch_size: usize,
    /// `None`: in the order of the dataset.
    sampler: Option<Sampler>,
    drop_last: bool,
    buckets: bool,
    prefetch: usize,
    workers: usize,
    pool: Arc<Mutex<Pool<D>>>,
}

/// Buffers for reuse by later batches and epochs.
struct Pool<D: Dataset> {
    hosts: Vec<D::Host>,
    orders: Vec<Vec<usize>>,
}

impl<D: Dataset> Loader<D> {
    /// Batches in the order of the dataset, the last one smaller if `batch_size` does not divide the number of
    /// examples. No prefetching.
    ///
    /// # Panics
    /// If the size is 0.
    #[track_caller]
    pub fn new(dataset: &D, batch_size: usize) -> Self {
        assert!(batch_size > 0, "Loader: a batch holds at least one example");
        let pool = Arc::new(Mutex::new(Pool { hosts: Vec::new(), orders: Vec::new() }));
        Loader {
            dataset: dataset.clone(),
            batch_size,
            sampler: None,
            drop_last: false,
            buckets: false,
            prefetch: 0,
            workers: 0,
            pool,
        }
    }

    /// Shuffles the examples anew in each epoch, and applies [`Dataset::augment`].
    pub fn shuffle(mut self, seed: u64) -> Self {
        self.sampler = Some(Sampler::shuffled(seed));
        self
    }

    /// Draws the examples of each epoch by a sampler, such as [`Sampler::weighted`], in place of
    /// [`shuffle`](Loader::shuffle), and applies [`Dataset::augment`].
    ///
    /// # Panics
    /// If it has not one weight or label per example, or has more samples without replacement than can be drawn.
    #[track_caller]
    pub fn sample(mut self, sampler: Sampler) -> Self {
        sampler.check(self.dataset.len());
        self.sampler = Some(sampler);
        self
    }

    /// Sets whether a smaller last batch is dropped. PyTorch: `drop_last`.
    pub fn drop_last(mut self, drop_last: bool) -> Self {
        self.drop_last = drop_last;
        self
    }

    /// Puts examples of similar [`size`](Dataset::size) into one batch, which needs less padding: the shuffled order is
    /// cut into runs of 50 batches, each run is sorted by size and cut into batches, and the batches are shuffled. A
    /// smaller last batch stays last and is not sorted. Without [`shuffle`](Loader::shuffle) or
    /// [`sample`](Loader::sample) this has no effect.
    pub fn buckets(mut self) -> Self {
        self.buckets = true;
        self
    }

    /// Prepares up to `batches` batches ahead on a worker thread, or on several [`workers`](Loader::workers), for which
    /// it is rounded up to a multiple; 0 means no thread, or two batches per worker. The batches are bit-identical.
    pub fn prefetch(mut self, batches: usize) -> Self {
        self.prefetch = batches;
        self
    }

    /// Prepares batches on `n` threads, each at least one batch ahead. Order and batches are those without threads, bit
    /// for bit. PyTorch: `num_workers`.
    ///
    /// Useful where [`Dataset::collate`] takes longer than a step, as with a
    /// [`FnDataset`](super::FnDataset) that decodes files.
    pub fn workers(mut self, n: usize) -> Self {
        self.workers = n;
        self
    }

    /// The number of batches in an epoch.
    pub fn len(&self) -> usize {
        let n = self.samples();
        if self.drop_last { n / self.batch_size } else { n.div_ceil(self.batch_size) }
    }

    /// The number of examples in an epoch.
    fn samples(&self) -> usize {
        let n = self.dataset.len();
        self.sampler.as_ref().map_or(n, |sampler| sampler.len(n))
    }

    /// Whether an epoch has no batches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batches of one epoch. Without [`shuffle`](Loader::shuffle) or [`sample`](Loader::sample) all epochs are equal.
    ///
    /// # Panics
    /// The iterator propagates a panic of [`Dataset::collate`] or [`Dataset::augment`].
    pub fn epoch<B: Backend>(&self, epoch: u64, device: &B) -> Epoch<D, B> {
        let mut order = lock(&self.pool).orders.pop().unwrap_or_default();
        match &self.sampler {
            Some(sampler) => {
                sampler.draw(epoch, self.dataset.len(), &mut order);
                if self.buckets {
                    self.sort_into_buckets(&mut order, Draw { seed: sampler.seed() ^ BUCKET_STREAM, index: epoch });
                }
            }
            None => {
                order.clear();
                order.extend(0..self.dataset.len());
            }
        }
        order.truncate(self.len().saturating_mul(self.batch_size));
        let augment = self.sampler.as_ref().map(|sampler| Draw { seed: sampler.seed() ^ AUGMENT_STREAM, index: epoch });
        let (dataset, pool) = (self.dataset.clone(), self.pool.clone());
        let plan = Plan { dataset, batch_size: self.batch_size, order, augment, pool };
        let (dataset, pool) = (self.dataset.clone(), self.pool.clone());
        let source = match (self.workers, self.prefetch) {
            (0, 0) => Source::Inline { plan, next: 0 },
            (workers, 0) => plan.start(workers, workers.saturating_mul(2)),
            (workers, ahead) => plan.start(workers.max(1), ahead),
        };
        Epoch { dataset, device: device.clone(), left: self.len(), source, pool }
    }

    /// Sorts runs of a shuffled order by size and shuffles the full batches.
    fn sort_into_buckets(&self, order: &mut [usize], draw: Draw) {
        let batches = order.len() / self.batch_size;
        let full = &mut order[..batches * self.batch_size];
        for run in full.chunks_mut(self.batch_size.saturating_mul(BUCKET_RUN)) {
            run.sort_by_key(|&i| self.dataset.size(i));
        }
        let mut sequence: Vec<usize> = (0..batches).collect();
        sequence.shuffle(&mut draw.generator());
        let sorted = full.to_vec();
        let parts = full.chunks_exact_mut(self.batch_size);
        for (part, from) in parts.zip(sequence) {
            part.copy_from_slice(&sorted[from * self.batch_size..][..self.batch_size]);
        }
    }
}

/// What determines the batches of an epoch.
struct Plan<D: Dataset> {
    dataset: D,
    batch_size: usize,
    order: Vec<usize>,
    /// The random numbers of the augmentation, if there is one.
    augment: Option<Draw>,
    pool: Arc<Mutex<Pool<D>>>,
}

impl<D: Dataset> Plan<D> {
    /// Batch `i` in host memory.
    fn collate(&self, i: usize) -> D::Host {
        let mut host = lock(&self.pool).hosts.pop().unwrap_or_default();
        let from = i * self.batch_size;
        let to = (from + self.batch_size).min(self.order.len());
        let indices = &self.order[from..to];
        match self.augment {
            Some(draw) => self.dataset.augment(indices, draw, from, &mut host),
            None => self.dataset.collate(indices, &mut host),
        }
        host
    }

    /// Collates on worker threads until the batches end or the receivers are dropped.
    fn start(self, workers: usize, ahead: usize) -> Source<D> {
        let count = self.order.len().div_ceil(self.batch_size);
        let workers = workers.min(count);
        let plan = Arc::new(self);
        let start = |first: usize| {
            // One finished batch waits at the worker, the others in the channel. A capacity beyond the number of batches
            // would only cost memory.
            let (send, batches) = sync_channel((ahead.div_ceil(workers) - 1).min(count));
            let plan = plan.clone();
            let work = move || {
                for i in (first..count).step_by(workers) {
                    if send.send(plan.collate(i)).is_err() {
                        break;
                    }
                }
            };
            Worker { batches: Some(batches), thread: Some(std::thread::spawn(work)) }
        };
        Source::Threads { workers: (0..workers).map(start).collect(), next: 0 }
    }
}

impl<D: Dataset> Drop for Plan<D> {
    fn drop(&mut self) {
        lock(&self.pool).orders.push(std::mem::take(&mut self.order));
    }
}

enum Source<D: Dataset> {
    Inline { plan: Plan<D>, next: usize },
    Threads { workers: Vec<Worker<D>>, next: usize },
}

/// A thread that collates every n-th batch.
struct Worker<D: Dataset> {
    batches: Option<Receiver<D::Host>>,
    thread: Option<JoinHandle<()>>,
}

impl<D: Dataset> Source<D> {
    fn next(&mut self) -> Option<D::Host> {
        match self {
            Source::Inline { plan, next } => {
                *next += 1;
                Some(plan.collate(*next - 1))
            }
            Source::Threads { workers, next } => {
                let at = *next % workers.len().max(1);
                *next += 1;
                workers.get_mut(at)?.next()
            }
        }
    }

    /// Stops the workers: the next send of each fails, at most one batch later. All are told before the first is waited
    /// for.
    fn stop(&mut self) {
        if let Source::Threads { workers, .. } = self {
            workers.iter_mut().for_each(|worker| drop(worker.batches.take()));
            for worker in workers {
                // A panic of the worker was propagated by `next`, or its batches are no longer of interest.
                let _ = worker.thread.take().map(JoinHandle::join);
            }
        }
    }
}

impl<D: Dataset> Worker<D> {
    fn next(&mut self) -> Option<D::Host> {
        let host = self.batches.as_ref()?.recv().ok();
        if host.is_none()
            && let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
        {
            std::panic::resume_unwind(panic);
        }
        host
    }
}

impl<D: Dataset> Drop for Source<D> {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The batches of one epoch: an iterator over the results of [`Dataset::upload`] that ends after the first error.
/// Dropping it early stops the worker threads.
#[must_use]
pub struct Epoch<D: Dataset, B: Backend> {
    dataset: D,
    device: B,
    left: usize,
    source: Source<D>,
    pool: Arc<Mutex<Pool<D>>>,
}

impl<D: Dataset, B: Backend> Iterator for Epoch<D, B> {
    type Item = Result<D::Batch<B>>;

    fn next(&mut self) -> Option<Result<D::Batch<B>>> {
        let left = self.left.checked_sub(1)?;
        self.left = 0; // a panic of a worker ends the epoch
        let host = self.source.next()?;
        self.left = left;
        let batch = self.dataset.upload(&host, &self.device);
        lock(&self.pool).hosts.push(host);
        if batch.is_err() {
            self.left = 0;
        }
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<D: Dataset, B: Backend> ExactSizeIterator for Epoch<D, B> {}

/// A panic while the pool is locked leaves it valid, so poisoning is ignored.
fn lock<D: Dataset>(pool: &Mutex<Pool<D>>) -> MutexGuard<'_, Pool<D>> {
    pool.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
#[path = "batches_tests.rs"]
mod tests;
