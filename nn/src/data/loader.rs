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
        Loader { dataset: dataset.clone(), batch_size, seed: None, drop_last: false, prefetch: 0, pool }
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
mod tests {
    use super::super::ImageDataset;
    use super::*;
    use minitorch_conformance::doc::{Plain, device};
    use minitorch_core::{Error, Tensor};
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn numbered(n: u8) -> ImageDataset {
        ImageDataset::new((0..n).collect(), (0..n).collect(), [1, 1, 1])
    }

    fn labels(epoch: Epoch<ImageDataset, Plain>) -> Vec<Vec<i32>> {
        epoch.map(|batch| batch.unwrap().1.to_vec().unwrap()).collect()
    }

    #[test]
    fn order_depends_on_seed_and_epoch_only() {
        let (set, device) = (numbered(23), device());
        let plain = Loader::new(&set, 5);
        assert_eq!(labels(plain.epoch(0, &device)).concat(), (0..23).collect::<Vec<i32>>());
        assert_eq!((plain.len(), plain.clone().drop_last(true).len()), (5, 4));
        let shuffled = |ahead| Loader::new(&set, 5).shuffle(9).prefetch(ahead);
        let first: Vec<_> = (0..3).map(|e| labels(shuffled(0).epoch(e, &device))).collect();
        assert!(first[0] != first[1] && first[1] != first[2]);
        for ahead in [1, 2, 7, usize::MAX] {
            let loader = shuffled(ahead);
            // Backwards, to show that no epoch needs an earlier one.
            for e in (0..3).rev() {
                assert_eq!(labels(loader.epoch(e, &device)), first[e as usize], "prefetch {ahead}, epoch {e}");
            }
        }
        let mut all = first[2].concat();
        all.sort_unstable();
        assert_eq!(all, (0..23).collect::<Vec<i32>>());
        assert_eq!(labels(shuffled(2).drop_last(true).epoch(1, &device)), first[1][..4]);
    }

    #[test]
    fn changes_depend_on_seed_and_epoch_only_and_need_a_seed() {
        let device = device();
        let set = ImageDataset::new((0..200).collect(), (0..8).collect(), [1, 5, 5]).shift(2).flip();
        let pixels = |loader: &Loader<ImageDataset>, epoch| -> Vec<f32> {
            loader.epoch(epoch, &device).flat_map(|batch| batch.unwrap().0.to_vec::<f32>().unwrap()).collect()
        };
        let plain: Vec<f32> = (0..200u8).map(|byte| byte as f32 / 255.0).collect();
        assert_eq!(pixels(&Loader::new(&set, 3), 1), plain, "without a seed the images are as they are");
        let loader = Loader::new(&set, 3).shuffle(4);
        let first = pixels(&loader, 1);
        assert_ne!(first, pixels(&loader, 2));
        assert_ne!(first, pixels(&Loader::new(&set, 3).shuffle(5), 1));
        for ahead in [0, 3] {
            assert_eq!(pixels(&Loader::new(&set, 3).shuffle(4).prefetch(ahead), 1), first);
            assert_eq!(pixels(&Loader::new(&set, 5).shuffle(4).prefetch(ahead), 1), first, "whatever the batch size");
        }
    }

    #[test]
    fn odd_sizes() {
        let device = device();
        for ahead in [0, 2] {
            let count = |n, size| labels(Loader::new(&numbered(n), size).prefetch(ahead).epoch(0, &device)).len();
            assert_eq!([count(0, 3), count(1, 3), count(6, 3), count(7, 100)], [0, 1, 2, 1]);
            let mut epoch = Loader::new(&numbered(7), 3).prefetch(ahead).epoch(0, &device);
            assert_eq!(epoch.len(), 3);
            let _ = epoch.by_ref().last();
            assert!(epoch.next().is_none() && epoch.next().is_none() && epoch.len() == 0);
        }
    }

    /// Counts buffers that are made and batches that are collated; panics and fails when asked to.
    #[derive(Clone, Default)]
    struct Probe {
        collated: Arc<AtomicUsize>,
        bad: Option<usize>,
        no_room_for: Option<usize>,
    }
    static BUFFERS: AtomicUsize = AtomicUsize::new(0);
    struct Host(Vec<usize>);
    impl Default for Host {
        fn default() -> Self {
            BUFFERS.fetch_add(1, Ordering::SeqCst);
            Host(Vec::new())
        }
    }
    impl Dataset for Probe {
        type Host = Host;
        type Batch<B: Backend> = Tensor<B>;
        fn len(&self) -> usize {
            1000
        }
        fn collate(&self, indices: &[usize], host: &mut Host) {
            assert!(!self.bad.is_some_and(|bad| indices.contains(&bad)), "a bad example");
            self.collated.fetch_add(1, Ordering::SeqCst);
            host.0.clear();
            host.0.extend(indices);
        }
        fn upload<B: Backend>(&self, host: &Host, device: &B) -> Result<Tensor<B>> {
            match self.no_room_for {
                Some(example) if host.0.contains(&example) => {
                    Err(Error::Invalid(format!("example {example} does not fit")))
                }
                _ => Tensor::try_full([], host.0[0] as f64, device),
            }
        }
        fn select(&self, _: &[usize]) -> Self {
            self.clone()
        }
    }

    #[test]
    fn buffers_are_recycled_stops_are_quick_and_panics_arrive() {
        let device = device();
        let probe = Probe::default();
        let loader = Loader::new(&probe, 1).prefetch(2);
        assert_eq!(loader.epoch(0, &device).count(), 1000);
        assert_eq!(loader.epoch(1, &device).count(), 1000);
        assert!(BUFFERS.load(Ordering::SeqCst) <= 3, "{} buffers", BUFFERS.load(Ordering::SeqCst));

        probe.collated.store(0, Ordering::SeqCst);
        let mut epoch = loader.epoch(2, &device);
        assert!(epoch.next().is_some());
        drop(epoch); // joins the worker
        let done = probe.collated.load(Ordering::SeqCst);
        assert!(done <= 5, "{done} batches were made for one that was wanted");
        assert_eq!(Arc::strong_count(&probe.collated), 2, "the worker is gone: only probe and loader are left");

        for ahead in [0, 3] {
            let full = Probe { no_room_for: Some(3), ..probe.clone() };
            let batches: Vec<_> = Loader::new(&full, 1).prefetch(ahead).epoch(0, &device).collect();
            let failed: Vec<bool> = batches.iter().map(|batch| batch.is_err()).collect();
            assert_eq!(failed, [false, false, false, true], "the first error is the last item");
        }

        let loader = Loader::new(&Probe { bad: Some(7), ..probe }, 1).prefetch(3);
        let mut seen = 0;
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            loader.epoch(0, &device).for_each(|_| seen += 1);
        }));
        assert!(panic.is_err() && seen == 7, "{seen}");
    }
}
