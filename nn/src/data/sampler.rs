//! Which examples an epoch has, and in which order: functions of the seed and the number of the epoch.
//!
//! ```text
//! shuffled                        a permutation of all examples
//! weighted, with replacement      P(i) = w_i / sum of w, independently
//! weighted, without               the k smallest of -ln(u_i) / w_i, u_i uniform: Efraimidis and Spirakis,
//!                                 "Weighted random sampling with a reservoir", 2006
//! balanced, with replacement      a class with equal probability, then an example of it
//! balanced, without               as many of each class as the smallest has, shuffled
//! ```

use minitorch_core::random::{Draw, Philox};
use rand::TryRng;
use rand::seq::SliceRandom;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// The random numbers of orders have a stream of their own.
const STREAM: u64 = 0x73_6875_6666_6C65;

/// Draws the examples of each epoch of a [`Loader`](super::Loader), see [`Loader::sample`](super::Loader::sample). The
/// order of an epoch depends only on the seed and the number of the epoch.
///
/// ```
/// use minitorch::prelude::*;
///
/// let device = Cpu::default();
/// let (x, class) = (vec![[0.0; 4]; 6], vec![0, 0, 0, 0, 0, 1]);
/// let sampler = Sampler::balanced(&class, 42).samples(1000);
/// let set = TensorDataset::new((x, class))?;
/// let mut ones = 0.0;
/// for batch in Loader::new(&set, 100).sample(sampler).epoch(0, &device) {
///     ones += batch?.1.sum(..).item()?;
/// }
/// assert!((450.0..550.0).contains(&ones), "about half");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Sampler {
    kind: Kind,
    seed: u64,
    samples: Option<usize>,
    replacement: bool,
}

#[derive(Clone, Debug)]
enum Kind {
    /// All examples once.
    Shuffled,
    /// The weights, and the sums of those up to each.
    Weighted { weights: Arc<[f64]>, sums: Arc<[f64]> },
    /// The examples of each class.
    Balanced { classes: Arc<[Vec<usize>]>, examples: usize },
}

impl Sampler {
    /// All examples once, in random order. [`Loader::shuffle`](super::Loader::shuffle).
    pub(super) fn shuffled(seed: u64) -> Self {
        Sampler { kind: Kind::Shuffled, seed, samples: None, replacement: false }
    }

    /// Example i with a probability proportional to `weights[i]`, with replacement; an epoch has as many samples as there
    /// are examples. PyTorch: `WeightedRandomSampler`.
    ///
    /// # Panics
    /// If a weight is negative or not finite, or all are 0.
    #[track_caller]
    pub fn weighted(weights: impl Into<Vec<f64>>, seed: u64) -> Self {
        let weights: Arc<[f64]> = weights.into().into();
        for (i, weight) in weights.iter().enumerate() {
            let valid = weight.is_finite() && *weight >= 0.0;
            assert!(
                valid,
                "Sampler::weighted: the weight {weight} of example {i} is not a finite number of at least 0"
            );
        }
        let (mut sum, mut sums) = (0.0, Vec::with_capacity(weights.len()));
        for weight in weights.iter() {
            sum += weight;
            sums.push(sum);
        }
        assert!(sum > 0.0 && sum.is_finite(), "Sampler::weighted: the weights sum to {sum}");
        Sampler { kind: Kind::Weighted { weights, sums: sums.into() }, seed, samples: None, replacement: true }
    }

    /// Every class equally often, whatever its number of examples; `labels[i]` is the class of example i. With
    /// replacement: each sample is of a random class, and an epoch has as many samples as there are examples.
    /// PyTorch: `WeightedRandomSampler` with the inverse numbers of examples as weights.
    ///
    /// # Panics
    /// If there are no labels.
    #[track_caller]
    pub fn balanced<L: Eq + Hash>(labels: &[L], seed: u64) -> Self {
        assert!(!labels.is_empty(), "Sampler::balanced: no labels");
        let (mut classes, mut class_of) = (Vec::<Vec<usize>>::new(), HashMap::new());
        for (i, label) in labels.iter().enumerate() {
            let class = *class_of.entry(label).or_insert(classes.len());
            if class == classes.len() {
                classes.push(Vec::new());
            }
            classes[class].push(i);
        }
        let kind = Kind::Balanced { classes: classes.into(), examples: labels.len() };
        Sampler { kind, seed, samples: None, replacement: true }
    }

    /// Sets the number of samples in an epoch.
    pub fn samples(mut self, samples: usize) -> Self {
        self.samples = Some(samples);
        self
    }

    /// Draws no example twice in an epoch. Unless [`samples`](Sampler::samples) is set, a weighted epoch has all examples
    /// whose weight is not 0, likely ones first; a balanced one has as many of each class as the smallest class has.
    pub fn without_replacement(mut self) -> Self {
        self.replacement = false;
        self
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// The number of samples in an epoch over `n` examples.
    pub(super) fn len(&self, n: usize) -> usize {
        self.samples.unwrap_or(if self.replacement { n } else { self.most(n) })
    }

    /// The largest number of samples without replacement.
    fn most(&self, n: usize) -> usize {
        match &self.kind {
            Kind::Shuffled => n,
            Kind::Weighted { weights, .. } => weights.iter().filter(|weight| **weight > 0.0).count(),
            Kind::Balanced { classes, .. } => classes.len() * smallest(classes),
        }
    }

    /// Panics unless it is a sampler of `n` examples.
    #[track_caller]
    pub(super) fn check(&self, n: usize) {
        let (what, given) = match &self.kind {
            Kind::Shuffled => return,
            Kind::Weighted { weights, .. } => ("weights", weights.len()),
            Kind::Balanced { examples, .. } => ("labels", *examples),
        };
        assert!(given == n, "Sampler: {given} {what} for a set of {n} examples");
        let (samples, most) = (self.len(n), self.most(n));
        assert!(
            self.replacement || samples <= most,
            "Sampler: {samples} samples without replacement, where only {most} can be drawn"
        );
    }

    /// Replaces the content of `order` by the examples of an epoch.
    pub(super) fn draw(&self, epoch: u64, n: usize, order: &mut Vec<usize>) {
        let mut random = Draw { seed: self.seed ^ STREAM, index: epoch }.generator();
        let samples = self.len(n);
        order.clear();
        match &self.kind {
            Kind::Shuffled => {
                order.extend(0..n);
                order.shuffle(&mut random);
            }
            Kind::Weighted { sums, .. } if self.replacement => {
                let total = sums.last().copied().unwrap_or_default();
                order.extend((0..samples).map(|_| {
                    let at = unit(&mut random) * total;
                    // The product can round up to the total: then the last example with a weight is drawn.
                    let first_above = |x: f64| sums.partition_point(|sum| *sum <= x);
                    first_above(at).min(sums.partition_point(|sum| *sum < total))
                }));
            }
            Kind::Weighted { weights, .. } => {
                let positive = weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0);
                let mut keyed: Vec<(f64, usize)> =
                    positive.map(|(i, weight)| (-open_unit(&mut random).ln() / weight, i)).collect();
                keyed.sort_by(|(a, _), (b, _)| a.total_cmp(b));
                order.extend(keyed.into_iter().take(samples).map(|(_, i)| i));
            }
            Kind::Balanced { classes, .. } if self.replacement => {
                order.extend((0..samples).map(|_| {
                    let class = &classes[below(&mut random, classes.len())];
                    class[below(&mut random, class.len())]
                }));
            }
            Kind::Balanced { classes, .. } => {
                let (each, mut class) = (smallest(classes), Vec::new());
                for examples in classes.iter() {
                    class.clone_from(examples);
                    class.shuffle(&mut random);
                    order.extend(&class[..each]);
                }
                order.shuffle(&mut random);
                order.truncate(samples);
            }
        }
    }
}

/// The number of examples of the smallest class.
fn smallest(classes: &[Vec<usize>]) -> usize {
    classes.iter().map(Vec::len).min().unwrap_or(0)
}

fn bits(random: &mut Philox) -> u64 {
    let Ok(bits) = random.try_next_u64();
    bits
}

/// Uniform in [0, 1), in steps of 2^-53.
fn unit(random: &mut Philox) -> f64 {
    (bits(random) >> 11) as f64 / (1u64 << 53) as f64
}

/// Uniform in (0, 1): the logarithm is finite and not 0.
fn open_unit(random: &mut Philox) -> f64 {
    ((bits(random) >> 12) as f64 + 0.5) / (1u64 << 52) as f64
}

/// Uniform below n.
fn below(random: &mut Philox, n: usize) -> usize {
    ((bits(random) as u128 * n as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(sampler: &Sampler, epoch: u64, n: usize) -> Vec<usize> {
        sampler.check(n);
        let mut order = vec![99; 3];
        sampler.draw(epoch, n, &mut order);
        assert_eq!(order.len(), sampler.len(n));
        order
    }

    fn counts(order: &[usize], n: usize) -> Vec<usize> {
        (0..n).map(|i| order.iter().filter(|&&drawn| drawn == i).count()).collect()
    }

    #[test]
    fn orders_depend_on_seed_and_epoch_only() {
        let labels = [0, 1, 1, 1, 2, 2, 0, 2, 2, 2];
        let weights = [1.0, 0.0, 2.0, 0.5, 3.0, 1.0, 1.0, 4.0, 0.25, 1.0];
        let samplers = |seed| {
            [
                Sampler::shuffled(seed),
                Sampler::weighted(weights, seed),
                Sampler::weighted(weights, seed).without_replacement(),
                Sampler::balanced(&labels, seed),
                Sampler::balanced(&labels, seed).without_replacement(),
            ]
        };
        for ((one, same), other) in samplers(3).into_iter().zip(samplers(3)).zip(samplers(4)) {
            let second = drawn(&one, 1, 10);
            let first = drawn(&one, 0, 10);
            assert_eq!(first, drawn(&same, 0, 10), "{one:?}");
            assert_eq!(second, drawn(&same, 1, 10));
            assert!(first != second && first != drawn(&other, 0, 10), "{one:?}");
        }
    }

    #[test]
    fn weights_are_probabilities() {
        let weights = [1.0, 0.0, 4.0, 3.0, 0.0];
        let sampler = Sampler::weighted(weights, 5).samples(80_000);
        let counts = counts(&drawn(&sampler, 2, 5), 5);
        assert!(counts[1] == 0 && counts[4] == 0, "{counts:?}");
        // Five standard deviations are below 800.
        for (count, weight) in counts.iter().zip(weights) {
            assert!((*count as f64 - 10_000.0 * weight).abs() < 800.0, "{counts:?}");
        }
    }

    #[test]
    fn without_replacement_the_first_draw_has_the_weights_and_the_second_those_of_the_rest() {
        let weights = [1.0, 2.0, 0.0, 5.0];
        let sampler = Sampler::weighted(weights, 6).without_replacement();
        assert_eq!(sampler.len(4), 3);
        let mut pairs = [[0usize; 4]; 4];
        let epochs = 40_000;
        for epoch in 0..epochs {
            let order = drawn(&sampler, epoch, 4);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 3], "every example with a weight once");
            pairs[order[0]][order[1]] += 1;
        }
        for (i, row) in pairs.iter().enumerate() {
            for (j, &count) in row.iter().enumerate() {
                let p = if i == j { 0.0 } else { weights[i] / 8.0 * weights[j] / (8.0 - weights[i]) };
                let expected = p * epochs as f64;
                assert!((count as f64 - expected).abs() <= 5.0 * expected.sqrt(), "{pairs:?}: ({i}, {j}) {expected}");
            }
        }
    }

    #[test]
    fn classes_are_balanced() {
        let labels: Vec<&str> = (0..100)
            .map(|i| {
                if i < 90 {
                    "a"
                } else if i < 98 {
                    "b"
                } else {
                    "c"
                }
            })
            .collect();
        let of_class =
            |order: &[usize]| ["a", "b", "c"].map(|class| order.iter().filter(|&&i| labels[i] == class).count());
        let random = of_class(&drawn(&Sampler::balanced(&labels, 1).samples(30_000), 0, 100));
        assert!(random.iter().all(|count| (9500..10_500).contains(count)), "{random:?}");
        let each = drawn(&Sampler::balanced(&labels, 1).without_replacement(), 3, 100);
        assert_eq!(of_class(&each), [2, 2, 2]);
        assert!(counts(&each, 100).iter().all(|&count| count <= 1));
        let seen: Vec<usize> = (0..2000)
            .flat_map(|epoch| drawn(&Sampler::balanced(&labels, 1).without_replacement(), epoch, 100))
            .collect();
        assert!(counts(&seen, 100).iter().all(|&count| count > 0), "every example has its epochs");
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let message = |f: &dyn Fn()| {
            let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).expect_err("it panics");
            panic.downcast_ref::<String>().cloned().unwrap_or_default()
        };
        let weighted = |weights: &[f64]| Sampler::weighted(weights, 0);
        assert!(message(&|| drop(weighted(&[1.0, -1.0]))).contains("the weight -1 of example 1"));
        assert!(message(&|| drop(weighted(&[0.0, 0.0]))).contains("sum to 0"));
        assert!(message(&|| weighted(&[1.0, 2.0]).check(3)).contains("2 weights for a set of 3 examples"));
        assert!(message(&|| Sampler::balanced(&[1], 0).check(2)).contains("1 labels for a set of 2"));
        let too_many = weighted(&[1.0, 0.0, 2.0]).without_replacement().samples(3);
        assert!(message(&|| too_many.check(3)).contains("3 samples without replacement, where only 2"));
    }
}
