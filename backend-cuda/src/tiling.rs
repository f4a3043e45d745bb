//! How a product is cut into the work of blocks: the size of its tiles, and its splits along k (`kernels/gemm.cuh`).

use crate::device::{COUNTERS, Cuda};
use minitorch_core::DType;
use std::cell::RefCell;

/// Parts that one block adds, as in gemm.cuh.
const GEMM_GROUP: usize = 16;

/// The size of the tiles of a product, and over how many blocks each is split along k.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tiling {
    pub(crate) size: usize,
    pub(crate) splits: usize,
}

/// A tile, and how many multiply-adds a multiprocessor does in a microsecond with tiles of this size, in thousands. Measured on an
/// H100, as are the numbers below; what decides is their ratio.
const TILES: [(usize, f64); 3] = [(128, 152.0), (64, 107.0), (32, 58.0)];

/// The share of that which is left to a block that has a multiprocessor to itself.
const ALONE: f64 = 0.75;

/// Microseconds that a join takes, of one group of parts and of several, and kilobytes of parts that are written or read in one.
const JOIN: [f64; 2] = [2.0, 4.0];
const JOINED: f64 = 2500.0;

/// Into how many parts a sum is split.
const SPLITS: [usize; 16] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256];

/// Products of a part at the least.
const SHORTEST: usize = 48;

/// Bytes of parts at the most.
const PARTS: usize = 64 << 20;

/// A product to be cut: m, n and k, how many there are, and the most products that a block may add one after another.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Question {
    multiprocessors: usize,
    dtype: DType,
    sizes: [usize; 3],
    batch: usize,
    longest: usize,
    split: bool,
}

impl Tiling {
    /// The fastest size and splits. A block adds at most `longest` products, as far as parts can be counted.
    pub(crate) fn new(device: &Cuda, dtype: DType, sizes: [usize; 3], batch: usize, longest: usize) -> Self {
        let multiprocessors = device.0.multiprocessors();
        Question { multiprocessors, dtype, sizes, batch, longest, split: true }.answer()
    }

    /// The fastest size without splits.
    pub(crate) fn whole(device: &Cuda, dtype: DType, sizes: [usize; 3], batch: usize) -> Self {
        let multiprocessors = device.0.multiprocessors();
        Question { multiprocessors, dtype, sizes, batch, longest: usize::MAX, split: false }.answer()
    }
}

impl Question {
    /// [`fastest`](Self::fastest), or what it was when it was last asked: a training step asks the same again and again.
    fn answer(self) -> Tiling {
        const KEPT: usize = 64;
        thread_local! {
            static ANSWERS: RefCell<[Option<(Question, Tiling)>; KEPT]> = const { RefCell::new([None; KEPT]) };
        }
        let [m, n, k] = self.sizes;
        let mixed = [n, k, self.batch].iter().fold(m, |mixed, &x| mixed.wrapping_mul(31).wrapping_add(x));
        ANSWERS.with_borrow_mut(|answers| {
            let kept = &mut answers[mixed % KEPT];
            match kept {
                Some((question, tiling)) if *question == self => *tiling,
                _ => kept.insert((self, self.fastest())).1,
            }
        })
    }

    /// The best of all sizes and splits by a model of the time that they take: that of the multiprocessor with the most blocks, and of
    /// the join.
    fn fastest(self) -> Tiling {
        let Question { multiprocessors, dtype, sizes: [m, n, k], batch, longest, split } = self;
        let mut best = (f64::INFINITY, Tiling { size: 32, splits: 1 });
        for (size, rate) in TILES {
            // The empty half of a tile costs what the other does; the largest is of f32 alone.
            if (size > 32 && m.min(n) <= size / 2) || (size == 128 && dtype != DType::F32) {
                continue;
            }
            let tiles = m.div_ceil(size) * n.div_ceil(size) * batch;
            let part = size * size * dtype.size();
            let most = most_splits(tiles).min(k / SHORTEST).min(PARTS / (tiles * part).max(1)).max(1);
            let most = if split { most } else { 1 };
            let least = k.div_ceil(longest).clamp(1, most);
            let splits = SPLITS.iter().copied().filter(|splits| (least..=most).contains(splits));
            for splits in splits.chain([least]) {
                let blocks = (tiles * splits).div_ceil(multiprocessors);
                let rate = if blocks == 1 { rate * ALONE } else { rate };
                let work = (blocks * size * size) as f64 * k.div_ceil(splits) as f64 / (1000.0 * rate);
                let moved = 2.0 * (tiles * splits * part) as f64 / 1000.0;
                let join = if splits > 1 { JOIN[(splits > GEMM_GROUP) as usize] + moved / JOINED } else { 0.0 };
                if work + join < best.0 {
                    best = (work + join, Tiling { size, splits });
                }
            }
        }
        best.1
    }
}

/// Over how many blocks each of so many tiles may be split: it needs a counter, and one for every group of its parts.
fn most_splits(tiles: usize) -> usize {
    ((COUNTERS / tiles.max(1)).saturating_sub(1) * GEMM_GROUP).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(sizes: [usize; 3], longest: usize) -> Tiling {
        Question { multiprocessors: 132, dtype: DType::F32, sizes, batch: 1, longest, split: true }.answer()
    }

    /// As measured on an H100 with 132 multiprocessors, where each was the fastest or within a few per cent of it.
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
            let chosen = ask(sizes, usize::MAX);
            assert!(chosen.size == size && splits.contains(&chosen.splits), "{sizes:?}: {chosen:?}");
            assert_eq!(chosen, ask(sizes, usize::MAX), "asked again");
        }
    }

    #[test]
    fn parts_are_counted_bounded_and_short() {
        for m in [1, 6, 33, 64, 130, 1000, 5000] {
            for n in [1, 25, 128, 2304, 100_000] {
                for k in [0, 1, 47, 511, 513, 50_176, 3_000_000] {
                    let Tiling { size, splits } = ask([m, n, k], 512);
                    let tiles = m.div_ceil(size) * n.div_ceil(size);
                    assert!(splits == 1 || tiles * (1 + splits.div_ceil(GEMM_GROUP)) <= COUNTERS, "{m} {n} {k}");
                    assert!(splits == 1 || tiles * splits * size * size * 4 <= PARTS, "{m} {n} {k}");
                    let most = most_splits(tiles).min(PARTS / (tiles * size * size * 4)).max(1);
                    assert!(
                        k.div_ceil(splits) <= 512 || splits == most.min(k / SHORTEST).max(1),
                        "{m} {n} {k}: {splits}"
                    );
                }
            }
        }
    }
}
