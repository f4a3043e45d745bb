//! Splits, orders, samplers, buckets, reused buffers, and workers that stop.

use super::super::images::ImageDataset;
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
            for workers in [1, 2, 3, 64] {
                let several = loader.clone().workers(workers);
                assert_eq!(labels(several.epoch(e, &device)), first[e as usize], "{workers} workers, epoch {e}");
                assert_eq!(labels(several.prefetch(0).epoch(e, &device)), first[e as usize], "{workers} workers");
            }
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
fn a_sampler_gives_the_order_of_an_epoch() {
    let (set, device) = (numbered(20), device());
    let weights: Vec<f64> = (0..20).map(|i| f64::from(i % 2)).collect();
    let loader = Loader::new(&set, 6).sample(Sampler::weighted(weights.clone(), 3).samples(50));
    assert_eq!((loader.len(), loader.clone().drop_last(true).len()), (9, 8));
    let first = labels(loader.epoch(0, &device));
    assert_eq!(first.iter().map(Vec::len).collect::<Vec<_>>(), [6, 6, 6, 6, 6, 6, 6, 6, 2]);
    assert!(first.concat().iter().all(|label| label % 2 == 1));
    assert_eq!(labels(loader.clone().workers(3).epoch(0, &device)), first);
    assert_ne!(labels(loader.epoch(1, &device)), first);
    let once = Loader::new(&set, 6).sample(Sampler::weighted(weights, 3).without_replacement());
    let mut odd = labels(once.epoch(0, &device)).concat();
    odd.sort_unstable();
    assert_eq!(odd, (0..20).filter(|i| i % 2 == 1).collect::<Vec<i32>>());
}

#[test]
#[should_panic(expected = "Sampler: 2 weights for a set of 20 examples")]
fn a_sampler_of_another_set_is_refused() {
    let _ = Loader::new(&numbered(20), 6).sample(Sampler::weighted([1.0, 2.0], 3));
}

/// Examples whose size is their number modulo 100.
#[derive(Clone)]
struct Sized(usize);
impl Dataset for Sized {
    type Host = Vec<i32>;
    type Batch<B: Backend> = Vec<i32>;
    fn len(&self) -> usize {
        self.0
    }
    fn size(&self, i: usize) -> usize {
        i % 100
    }
    fn collate(&self, indices: &[usize], host: &mut Vec<i32>) {
        *host = indices.iter().map(|&i| i as i32).collect();
    }
    fn upload<B: Backend>(&self, host: &Vec<i32>, _: &B) -> Result<Vec<i32>> {
        Ok(host.clone())
    }
    fn select(&self, _: &[usize]) -> Self {
        self.clone()
    }
}

#[test]
fn buckets_hold_similar_sizes_in_no_order() {
    let device = device();
    let batches = |loader: &Loader<Sized>, epoch| -> Vec<Vec<i32>> {
        loader.epoch(epoch, &device).map(|batch| batch.unwrap()).collect()
    };
    // Two runs of 50 batches, another of 10, and 3 examples more.
    let loader = Loader::new(&Sized(1103), 10).shuffle(5).buckets();
    let first = batches(&loader, 0);
    let counts: Vec<usize> = first.iter().map(Vec::len).collect();
    assert_eq!((counts.len(), counts[..110].iter().all(|&n| n == 10), counts[110]), (111, true, 3));
    let mut all = first.concat();
    all.sort_unstable();
    assert_eq!(all, (0..1103).collect::<Vec<i32>>(), "every example once");
    let range = |batch: &Vec<i32>| {
        let sizes = batch.iter().map(|i| i % 100);
        sizes.clone().max().unwrap_or(0) - sizes.min().unwrap_or(0)
    };
    let total: i32 = first[..110].iter().map(range).sum();
    let plain: i32 = batches(&Loader::new(&Sized(1103), 10).shuffle(5), 0)[..110].iter().map(range).sum();
    assert!(total * 10 < plain, "sizes within a batch differ by {total} in sum, by {plain} without buckets");
    // The means of batches rise in a sorted run; shuffled, they rise about as often as they fall.
    let mean = |batch: &Vec<i32>| batch.iter().map(|i| i % 100).sum::<i32>();
    let rises = first[..110].windows(2).filter(|pair| mean(&pair[0]) < mean(&pair[1])).count();
    assert!((35..75).contains(&rises), "{rises} of 109 means rise");

    assert_eq!(batches(&loader, 0), first);
    assert_eq!(batches(&loader.clone().prefetch(3), 0), first);
    assert_ne!(batches(&loader, 1), first);
    assert_ne!(batches(&loader.clone().shuffle(6), 0), first);
    assert_eq!(batches(&loader.clone().drop_last(true), 0), first[..110]);
    let ordered = batches(&Loader::new(&Sized(23), 10).buckets(), 0);
    assert_eq!(ordered.concat(), (0..23).collect::<Vec<i32>>(), "nothing changes without a seed");
    for (n, size) in [(0, 3), (2, 3), (5, usize::MAX)] {
        assert_eq!(batches(&Loader::new(&Sized(n), size).shuffle(1).buckets(), 0).concat().len(), n);
    }
}

#[test]
fn odd_sizes() {
    let device = device();
    for (ahead, workers) in [(0, 0), (2, 0), (0, 4), (1, 2)] {
        let loader = |n, size| Loader::new(&numbered(n), size).prefetch(ahead).workers(workers);
        let count = |n, size| labels(loader(n, size).epoch(0, &device)).len();
        assert_eq!([count(0, 3), count(1, 3), count(6, 3), count(7, 100)], [0, 1, 2, 1]);
        let mut epoch = loader(7, 3).epoch(0, &device);
        assert_eq!(epoch.len(), 3);
        let _ = epoch.by_ref().last();
        assert!(epoch.next().is_none() && epoch.next().is_none() && epoch.len() == 0);
    }
}

/// Counts the batches that are collated; panics and fails when asked to.
#[derive(Clone, Default)]
struct Probe {
    collated: Arc<AtomicUsize>,
    bad: Option<usize>,
    no_room_for: Option<usize>,
}
#[derive(Default)]
struct Host(Vec<usize>);
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
    let buffers = lock(&loader.pool).hosts.len();
    assert!(buffers <= 3, "{buffers} buffers");

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

    for workers in [1, 3] {
        let loader = Loader::new(&Probe { bad: Some(7), ..probe.clone() }, 1).prefetch(3).workers(workers);
        let (mut seen, mut epoch) = (0, loader.epoch(0, &device));
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| epoch.by_ref().for_each(|_| seen += 1)));
        let message = panic.map_err(|panic| panic.downcast_ref::<&str>().map(|text| text.to_string()));
        assert_eq!((message, seen), (Err(Some("a bad example".into())), 7), "after all batches before it");
        assert!(epoch.next().is_none() && epoch.len() == 0, "the epoch has ended");
    }
    assert_eq!(Arc::strong_count(&probe.collated), 2, "no worker is left: only probe and the first loader");
}

#[test]
fn several_workers_have_bounded_memory_and_stop() {
    let device = device();
    let probe = Probe::default();
    let loader = Loader::new(&probe, 1).workers(4).prefetch(8);
    let mut consumed = 0;
    for batch in loader.epoch(0, &device) {
        assert!(batch.is_ok());
        consumed += 1;
        std::thread::yield_now();
        // Four workers of two batches each: one in the channel, one at the worker.
        let ahead = probe.collated.load(Ordering::SeqCst) - consumed;
        assert!(ahead <= 8, "{ahead} batches ahead");
    }
    assert_eq!((consumed, lock(&loader.pool).hosts.len() <= 9), (1000, true));

    probe.collated.store(0, Ordering::SeqCst);
    let mut epoch = loader.epoch(0, &device);
    assert!(epoch.next().is_some());
    drop(epoch); // joins the workers
    let done = probe.collated.load(Ordering::SeqCst);
    assert!(done <= 13, "{done} batches were made for one that was wanted");
    assert_eq!(Arc::strong_count(&probe.collated), 2, "the workers are gone: only probe and loader are left");
}

/// Images of two pixels, `i` and `255 - i`.
fn pairs(n: u8) -> ImageDataset {
    ImageDataset::new((0..n).flat_map(|i| [i, 255 - i]).collect(), (0..n).collect(), [1, 1, 2])
}

#[test]
fn split_is_a_partition_by_seed() {
    let set = pairs(100);
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
    assert_eq!(pairs(5).take(3).labels(), [0, 1, 2]);
    assert_eq!(pairs(5).take(9).len(), 5);
}
