//! The tile size and the split-k factor of a matrix product (`kernels/gemm.cuh`), chosen by a cost model.

use crate::device::Cuda;
use crate::state::COUNTERS;
use minitorch_core::DType;
use std::cell::RefCell;

/// Partial products that one block sums, as in gemm.cuh.
const GEMM_GROUP: usize = 16;

/// The size of a product's tiles, and the number of blocks over which each tile is split along k.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tiling {
    pub(crate) size: usize,
    pub(crate) splits: usize,
}

/// Tile sizes, and the throughput of a multiprocessor with each: thousands of multiply-adds per microsecond. These and the
/// constants below are calibrated on an H100; only their ratios matter.
const TILES: [(usize, f64); 3] = [(128, 152.0), (64, 107.0), (32, 58.0)];

/// The fraction of that throughput that a block reaches which has a multiprocessor to itself.
const ALONE: f64 = 0.75;

/// Microseconds to sum the partial products, in one group and in several.
const SUM_LATENCY: [f64; 2] = [2.0, 4.0];
/// Kilobytes of partial products that are written or read per microsecond.
const PARTIAL_BANDWIDTH: f64 = 2500.0;

/// The candidate split-k factors.
const SPLITS: [usize; 16] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256];

/// The minimum length of a split along k.
const MIN_SPLIT_K: usize = 48;

/// The maximum size of the partial products in bytes.
const MAX_PARTIAL_BYTES: usize = 64 << 20;

/// A product and the constraints on its tiling.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Problem {
    multiprocessors: usize,
    dtype: DType,
    /// m, n, k
    sizes: [usize; 3],
    batch: usize,
    /// The longest chain of additions along k in one block, if the split-k factor can be that large.
    max_k: usize,
    /// Whether k may be split.
    split: bool,
}

impl Tiling {
    /// The fastest tile size and split-k factor. A block adds at most `max_k` products, as far as counters and memory allow.
    pub(crate) fn new(device: &Cuda, dtype: DType, sizes: [usize; 3], batch: usize, max_k: usize) -> Self {
        let multiprocessors = device.0.multiprocessors();
        Problem { multiprocessors, dtype, sizes, batch, max_k, split: true }.cached()
    }

    /// The fastest tile size without splitting k.
    pub(crate) fn unsplit(device: &Cuda, dtype: DType, sizes: [usize; 3], batch: usize) -> Self {
        let multiprocessors = device.0.multiprocessors();
        Problem { multiprocessors, dtype, sizes, batch, max_k: usize::MAX, split: false }.cached()
    }
}

impl Problem {
    /// [`fastest`](Self::fastest), cached: the products of a training step repeat.
    fn cached(self) -> Tiling {
        const SLOTS: usize = 64;
        thread_local! {
            static CACHE: RefCell<[Option<(Problem, Tiling)>; SLOTS]> = const { RefCell::new([None; SLOTS]) };
        }
        let [m, n, k] = self.sizes;
        let hash = [n, k, self.batch].iter().fold(m, |hash, &x| hash.wrapping_mul(31).wrapping_add(x));
        CACHE.with_borrow_mut(|cache| {
            let slot = &mut cache[hash % SLOTS];
            match slot {
                Some((problem, tiling)) if *problem == self => *tiling,
                _ => slot.insert((self, self.fastest())).1,
            }
        })
    }

    /// The candidate with the least modelled time: that of the multiprocessor with the most blocks, plus the sum of the partial
    /// products.
    fn fastest(self) -> Tiling {
        let Problem { multiprocessors, dtype, sizes: [m, n, k], batch, max_k, split } = self;
        let mut best = (f64::INFINITY, Tiling { size: 32, splits: 1 });
        for (size, rate) in TILES {
            // Padding of a tile costs as much as results. The largest size exists for f32 only.
            if (size > 32 && m.min(n) <= size / 2) || (size == 128 && dtype != DType::F32) {
                continue;
            }
            let tiles = m.div_ceil(size) * n.div_ceil(size) * batch;
            let partial = size * size * dtype.size();
            let max = max_splits(tiles).min(k / MIN_SPLIT_K).min(MAX_PARTIAL_BYTES / (tiles * partial).max(1)).max(1);
            let max = if split { max } else { 1 };
            let min = k.div_ceil(max_k).clamp(1, max);
            let splits = SPLITS.iter().copied().filter(|splits| (min..=max).contains(splits));
            for splits in splits.chain([min]) {
                let blocks = (tiles * splits).div_ceil(multiprocessors);
                let rate = if blocks == 1 { rate * ALONE } else { rate };
                let work = (blocks * size * size) as f64 * k.div_ceil(splits) as f64 / (1000.0 * rate);
                let moved = 2.0 * (tiles * splits * partial) as f64 / 1000.0;
                let groups = SUM_LATENCY[(splits > GEMM_GROUP) as usize];
                let sum = if splits > 1 { groups + moved / PARTIAL_BANDWIDTH } else { 0.0 };
                if work + sum < best.0 {
                    best = (work + sum, Tiling { size, splits });
                }
            }
        }
        best.1
    }
}

/// The largest split-k factor for this many tiles: each tile needs a counter, and one for every group of its partial products.
fn max_splits(tiles: usize) -> usize {
    ((COUNTERS / tiles.max(1)).saturating_sub(1) * GEMM_GROUP).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiling(sizes: [usize; 3], max_k: usize) -> Tiling {
        Problem { multiprocessors: 132, dtype: DType::F32, sizes, batch: 1, max_k, split: true }.cached()
    }

    /// Each choice is the fastest, or within a few per cent of it, on an H100 (132 multiprocessors).
    #[test]
    fn size_and_splits_are_chosen_together() {
        for (sizes, size, splits) in [
            ([512, 512, 512], 64, 3..=4),
            ([1024, 1024, 1024], 128, 2..=4),
            ([1536, 1536, 1536], 128, 3..=6),
            ([2048, 2048, 2048], 128, 1..=1),
            ([128, 4096, 4096], 128, 8..=8),
            ([64, 120, 400], 32, 6..=8),
            ([64, 10, 84], 32, 1..=1),
            ([256, 784, 64], 32, 1..=1),
        ] {
            let chosen = tiling(sizes, usize::MAX);
            assert!(chosen.size == size && splits.contains(&chosen.splits), "{sizes:?}: {chosen:?}");
            assert_eq!(chosen, tiling(sizes, usize::MAX), "from the cache");
        }
    }

    #[test]
    fn splits_stay_within_counters_and_memory() {
        for m in [1, 6, 33, 64, 130, 1000, 5000] {
            for n in [1, 25, 128, 2304, 100_000] {
                for k in [0, 1, 47, 511, 513, 50_176, 3_000_000] {
                    let Tiling { size, splits } = tiling([m, n, k], 512);
                    let tiles = m.div_ceil(size) * n.div_ceil(size);
                    assert!(splits == 1 || tiles * (1 + splits.div_ceil(GEMM_GROUP)) <= COUNTERS, "{m} {n} {k}");
                    assert!(splits == 1 || tiles * splits * size * size * 4 <= MAX_PARTIAL_BYTES, "{m} {n} {k}");
                    let max = max_splits(tiles).min(MAX_PARTIAL_BYTES / (tiles * size * size * 4)).max(1);
                    assert!(
                        k.div_ceil(splits) <= 512 || splits == max.min(k / MIN_SPLIT_K).max(1),
                        "{m} {n} {k}: {splits}"
                    );
                }
            }
        }
    }
}
