//! The source of random arguments.

use minitorch_core::{DType, Shape};

/// Random numbers (SplitMix64: Steele et al., "Fast splittable pseudorandom number generators", 2014).
pub(crate) struct Source(u64);

/// Sizes beyond any memory, far above the small ones, so that no call needs about as much memory as the machine has.
/// [274177, 1] x [1, 67280421310721] has 2^64 + 1 elements.
const HUGE: [usize; 10] = [
    1 << 58,
    (1 << 60) - 1,
    1 << 60,
    1 << 62,
    isize::MAX as usize,
    1 << 63,
    usize::MAX - 1,
    usize::MAX,
    usize::MAX / 2,
    0xAAAA_AAAA_AAAA_AAAB,
];

impl Source {
    pub(crate) fn new(seed: u64, call: u64) -> Self {
        let mut source = Source(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ call.wrapping_mul(0xD129_0C6E_0B2D_4F35));
        source.next();
        source
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub(crate) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    pub(crate) fn small(&mut self) -> usize {
        self.pick(&[0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 8])
    }

    pub(crate) fn huge(&mut self) -> usize {
        self.pick(&HUGE)
    }

    /// A size, a count or a step.
    pub(crate) fn size(&mut self) -> usize {
        if self.one_in(5) { self.huge() } else { self.small() }
    }

    pub(crate) fn sizes<const N: usize>(&mut self) -> [usize; N] {
        std::array::from_fn(|_| self.size())
    }

    /// An index or a dimension.
    pub(crate) fn signed(&mut self) -> isize {
        match self.below(12) {
            0 => self.pick(&[isize::MIN, isize::MIN + 1, isize::MAX - 1, isize::MAX, 1 << 60, -(1 << 60)]),
            1..3 => -(self.small() as isize),
            _ => self.small() as isize,
        }
    }

    /// A dimension, within this rank in most cases.
    pub(crate) fn dim(&mut self, rank: usize) -> isize {
        if self.one_in(8) || rank == 0 { self.signed() } else { self.below(2 * rank) as isize - rank as isize }
    }

    pub(crate) fn float(&mut self) -> f64 {
        const ODD: [f64; 12] = [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            -0.0,
            1e280,
            -1e280,
            1e-300,
            1e18,
            -1e18,
            f64::MAX,
            5e-324,
            2.5,
        ];
        if self.one_in(4) { self.pick(&ODD) } else { self.pick(&[0.0, 1.0, -1.0, 0.5, 0.1, 2.0, 3.0, -2.0]) }
    }

    pub(crate) fn dtype(&mut self) -> DType {
        self.pick(&[DType::F32, DType::F32, DType::F32, DType::F32, DType::F64, DType::I32, DType::Bool])
    }

    /// Small sizes, at most 4096 elements in all.
    pub(crate) fn shape(&mut self, rank: usize) -> Shape {
        let mut dims: Vec<usize> = (0..rank).map(|_| self.small()).collect();
        while dims.iter().product::<usize>() > 4096 {
            let d = self.below(rank);
            dims[d] = 1;
        }
        Shape::new(&dims)
    }

    /// A shape that broadcasts with another, in most cases.
    pub(crate) fn beside(&mut self, shape: &[usize]) -> Shape {
        let skip = if self.one_in(4) { self.below(shape.len() + 1) } else { 0 };
        let dims: Vec<usize> = shape[skip..]
            .iter()
            .map(|&n| match self.below(16) {
                0..3 => 1,
                3 => self.small(),
                _ => n,
            })
            .collect();
        Shape::new(&dims)
    }
}
