//! `Loader`: which examples, in which order, prepared how far ahead.
//!
//! The order of an epoch and the random changes to its examples are functions of the seed and the epoch's number alone: any
//! epoch can be run again by itself, and the number of batches prepared ahead changes nothing but the time.
//!
//! A worker thread collates into host buffers and hands them over through a bounded channel; the training thread uploads
//! and gives the buffer back to a pool that outlives the epoch. At most `prefetch + 1` buffers exist:
//! `prefetch - 1` in the channel, one in the worker's hand, one being uploaded.

use super::Dataset;
use minitorch_core::random::Draw;
use minitorch_core::{Backend, Result};
use rand::seq::SliceRandom;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

/// Keeps the draws that shuffle apart from those of a device with the same seed: initial weights and the order of the
/// examples should have nothing in common.
const SHUFFLE_STREAM: u64 = 0x73_6875_6666_6C65;
/// The same for the draws that change examples.
const AUGMENT_STREAM: u64 = 0x61_7567_6D65_6E74;
/// And for the order of batches of similar sizes.
const BUCKET_STREAM: u64 = 0x62_7563_6B65_7473;
/// The examples of so many batches are sorted by size together.
const BUCKET_RUN: usize = 50;

/// Makes batches of a dataset, epoch after epoch.
///
/// ```
/// # use minitorch_conformance::doc::*;
/// use minitorch_nn::data::{ImageDataset, Loader};
/// let set = ImageDataset::new((0..10).collect(), (0..10).collect(), [1, 1, 1]);
/// let loader = Loader::new(&set, 4).shuffle(42).prefetch(2);
/// for epoch in 0..2 {
///     for batch in loader.epoch(epoch, &device()) {
///         let (images, labels) = batch?;
///         assert_eq!(images.shape()[0], labels.numel());
///     }
/// }
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct Loader<D: Dataset> {
    dataset: D,
    batch_size: usize,
    seed: Option<u64>,
    drop_last: bool,
    buckets: bool,
    prefetch: usize,
    pool: Arc<Mutex<Pool<D>>>,
}

/// Memory that the next batch or the next epoch uses again.
struct Pool<D: Dataset> {
    hosts: Vec<D::Host>,
    orders: Vec<Vec<usize>>,
}

impl<D: Dataset> Loader<D> {
    /// Batches in the order of the dataset, the last one smaller if need be, made when they are asked for.
    ///
    /// # Panics
    /// If the size is 0.
    #[track_caller]
    pub fn new(dataset: &D, batch_size: usize) -> Self {
        assert!(batch_size > 0, "Loader: a batch holds at least one example");
        let pool = Arc::new(Mutex::new(Pool { hosts: Vec::new(), orders: Vec::new() }));
        Loader { dataset: dataset.clone(), batch_size, seed: None, drop_last: false, buckets: false, prefetch: 0, pool }
    }

    /// In an order drawn anew for each epoch, and with the random changes of [`Dataset::augment`] if the dataset has any;
    /// both from the seed and the epoch's number alone.
    pub fn shuffle(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// With or without a last batch that is smaller than the others.
    pub fn drop_last(mut self, drop_last: bool) -> Self {
        self.drop_last = drop_last;
        self
    }

    /// With examples of similar [`size`](Dataset::size) in one batch, which takes less padding: the shuffled order is cut
    /// into runs of 50 batches, each run is sorted by size and cut into batches, and all batches are shuffled. The last batch
    /// of an epoch stays last, of whatever sizes, if it is smaller than the others. Changes nothing without
    /// [`shuffle`](Loader::shuffle).
    pub fn buckets(mut self) -> Self {
        self.buckets = true;
        self
    }

    /// Prepares so many batches ahead on a thread of its own; 0 means no thread. The batches are the same, bit for bit.
    pub fn prefetch(mut self, batches: usize) -> Self {
        self.prefetch = batches;
        self
    }

    /// The number of batches in an epoch.
    pub fn len(&self) -> usize {
        let n = self.dataset.len();
        if self.drop_last { n / self.batch_size } else { n.div_ceil(self.batch_size) }
    }

    /// Whether an epoch has no batches.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The batches of one epoch. Without [`shuffle`](Loader::shuffle) all epochs are equal.
    ///
    /// # Panics
    /// The iterator passes a panic of [`Dataset::collate`] or [`Dataset::augment`] on.
    pub fn epoch<B: Backend>(&self, epoch: u64, device: &B) -> Epoch<D, B> {
        let mut order = lock(&self.pool).orders.pop().unwrap_or_default();
        order.clear();
        order.extend(0..self.dataset.len());
        if let Some(seed) = self.seed {
            order.shuffle(&mut Draw { seed: seed ^ SHUFFLE_STREAM, index: epoch }.generator());
            if self.buckets {
                self.sort_into_buckets(&mut order, Draw { seed: seed ^ BUCKET_STREAM, index: epoch });
            }
        }
        order.truncate(self.len() * self.batch_size);
        let changes = self.seed.map(|seed| Draw { seed: seed ^ AUGMENT_STREAM, index: epoch });
        let (dataset, pool) = (self.dataset.clone(), self.pool.clone());
        let plan = Plan { dataset, batch_size: self.batch_size, order, changes, pool };
        let (dataset, pool) = (self.dataset.clone(), self.pool.clone());
        let source = if self.prefetch == 0 { Source::Here { plan, next: 0 } } else { plan.start(self.prefetch) };
        Epoch { dataset, device: device.clone(), left: self.len(), source, pool }
    }
}

impl<D: Dataset> Loader<D> {
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

/// What an epoch's batches are made of.
struct Plan<D: Dataset> {
    dataset: D,
    batch_size: usize,
    order: Vec<usize>,
    /// Where random changes come from.
    changes: Option<Draw>,
    pool: Arc<Mutex<Pool<D>>>,
}

impl<D: Dataset> Plan<D> {
    /// Batch `i` in host memory, on whatever thread.
    fn collate(&self, i: usize) -> D::Host {
        let mut host = lock(&self.pool).hosts.pop().unwrap_or_default();
        let from = i * self.batch_size;
        let to = (from + self.batch_size).min(self.order.len());
        let indices = &self.order[from..to];
        match self.changes {
            Some(draw) => self.dataset.augment(indices, draw, from, &mut host),
            None => self.dataset.collate(indices, &mut host),
        }
        host
    }

    /// Collates on a thread of its own until the batches or the listener end.
    fn start(self, ahead: usize) -> Source<D> {
        // The channel holds the finished batches but for the one that waits in the worker's hand; more places than batches
        // would only cost memory.
        let count = self.order.len().div_ceil(self.batch_size);
        let (send, batches) = sync_channel((ahead - 1).min(count));
        let work = move || {
            for i in 0..count {
                if send.send(self.collate(i)).is_err() {
                    break;
                }
            }
        };
        Source::Thread { batches: Some(batches), worker: Some(std::thread::spawn(work)) }
    }
}

impl<D: Dataset> Drop for Plan<D> {
    fn drop(&mut self) {
        lock(&self.pool).orders.push(std::mem::take(&mut self.order));
    }
}

enum Source<D: Dataset> {
    Here { plan: Plan<D>, next: usize },
    Thread { batches: Option<Receiver<D::Host>>, worker: Option<JoinHandle<()>> },
}

impl<D: Dataset> Source<D> {
    fn next(&mut self) -> Option<D::Host> {
        match self {
            Source::Here { plan, next } => {
                *next += 1;
                Some(plan.collate(*next - 1))
            }
            Source::Thread { batches, worker } => {
                let host = batches.as_ref()?.recv().ok();
                if host.is_none()
                    && let Some(Err(panic)) = worker.take().map(JoinHandle::join)
                {
                    std::panic::resume_unwind(panic);
                }
                host
            }
        }
    }
}

impl<D: Dataset> Drop for Source<D> {
    /// Ends the worker: its next hand-over fails, and it is at most one batch away from that.
    fn drop(&mut self) {
        if let Source::Thread { batches, worker } = self {
            drop(batches.take());
            // A worker's panic was passed on, or nobody waits for its batches any more.
            let _ = worker.take().map(JoinHandle::join);
        }
    }
}

/// The batches of one epoch: an iterator of what [`Dataset::upload`] makes, which ends after the first error. Dropping it early
/// stops the worker thread.
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
        self.left = self.left.checked_sub(1)?;
        let host = self.source.next()?;
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

/// The pool stays whole whatever panics while it is locked.
fn lock<D: Dataset>(pool: &Mutex<Pool<D>>) -> MutexGuard<'_, Pool<D>> {
    pool.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;
