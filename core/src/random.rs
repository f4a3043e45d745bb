//! Counter-based random numbers: Philox4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as
//! 1, 2, 3", SC 2011).
//!
//! ```text
//! element i of a draw = word i % 4 of philox(key = seed, counter = (draw, i / 4))
//! ```
//!
//! A number depends on key and counter only. So every backend computes the same bits in any order, and the backward pass of dropout
//! computes the mask again instead of storing it.

use rand::TryRng;
use std::convert::Infallible;
use std::sync::Mutex;

/// One block: ten rounds over a 128-bit counter under a 64-bit key.
///
/// ```
/// use minitorch::prelude::*;
/// use minitorch::random::philox4x32;
///
/// // Known answers of the reference implementation (Random123).
/// assert_eq!(philox4x32([0; 2], [0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
/// assert_eq!(philox4x32([!0; 2], [!0; 4]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
/// ```
#[inline]
pub fn philox4x32(mut key: [u32; 2], mut counter: [u32; 4]) -> [u32; 4] {
    for _ in 0..10 {
        let a = 0xD251_1F53 * counter[0] as u64;
        let b = 0xCD9E_8D57 * counter[2] as u64;
        counter = [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

/// Identifies one random tensor: the device's seed and the number of draws before it. Element i of the tensor is word
/// `i % 4` of the block with key = seed and counter = (draw, i / 4), low words first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Draw {
    /// The device's seed: Philox's key.
    pub seed: u64,
    /// The draw's number: the counter's low half.
    pub index: u64,
}

impl Draw {
    /// Block `block` of the draw: elements `4 block .. 4 block + 4`.
    #[inline]
    pub fn block(self, block: u64) -> [u32; 4] {
        let halves = |x: u64| [x as u32, (x >> 32) as u32];
        let ([c0, c1], [c2, c3]) = (halves(self.index), halves(block));
        philox4x32(halves(self.seed), [c0, c1, c2, c3])
    }

    /// The 32 bits of one element. For many elements, use [`block`](Self::block).
    pub fn word(self, element: u64) -> u32 {
        self.block(element / 4)[(element % 4) as usize]
    }

    /// The draw as a generator for the `rand` crate: its words in order.
    pub fn generator(self) -> Philox {
        Philox { draw: self, position: 0, block: [0; 4] }
    }
}

/// 32 bits as a float in [0, 1): the upper 24 of them times 2^-24, exact in f32.
#[inline]
pub fn unit_f32(bits: u32) -> f32 {
    (bits >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// The words of one [`Draw`] as a `rand` generator, for shuffles and splits. A stream that is independent of a device:
/// `Draw { seed, index }.generator()`.
#[derive(Clone, Debug)]
pub struct Philox {
    draw: Draw,
    position: u64,
    block: [u32; 4],
}

impl TryRng for Philox {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        if self.position.is_multiple_of(4) {
            self.block = self.draw.block(self.position / 4);
        }
        let word = self.block[(self.position % 4) as usize];
        self.position += 1;
        Ok(word)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let (low, high) = (self.try_next_u32()?, self.try_next_u32()?);
        Ok(low as u64 | (high as u64) << 32)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(4) {
            let word = self.try_next_u32()?.to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}

impl Philox {
    /// Two standard normal numbers by Box and Muller's method, in f64, from two words of 32 bits.
    pub(crate) fn normal_pair(&mut self) -> [f64; 2] {
        let [a, b] = [(); 2].map(|_| match self.try_next_u32() {
            Ok(bits) => (bits as f64 + 0.5) / 4_294_967_296.0, // in (0, 1): the logarithm is finite
        });
        let (radius, angle) = ((-2.0 * a.ln()).sqrt(), std::f64::consts::TAU * b);
        [radius * angle.cos(), radius * angle.sin()]
    }

    /// A number below `count`, all with the same probability; 0 if `count` is 0. Lemire, "Fast random integer generation in an
    /// interval", 2019: the upper half of a product, unless the lower half is one of the first `2^32 mod count`.
    pub(crate) fn below(&mut self, count: u32) -> u32 {
        let surplus = count.wrapping_neg().checked_rem(count).unwrap_or(0);
        loop {
            let product = match self.try_next_u32() {
                Ok(bits) => bits as u64 * count as u64,
            };
            if product as u32 >= surplus {
                return (product >> 32) as u32;
            }
        }
    }
}

/// A device's random state: its seed and the number of the next draw. The same seed and order of draws give the same numbers.
#[derive(Debug)]
pub struct DeviceRng {
    next: Mutex<Draw>,
}

impl DeviceRng {
    /// A state that starts at draw 0 of this seed.
    pub fn new(seed: u64) -> Self {
        DeviceRng { next: Mutex::new(Draw { seed, index: 0 }) }
    }

    /// Starts again at draw 0 of this seed.
    pub fn seed(&self, seed: u64) {
        self.restore(Draw { seed, index: 0 });
    }

    /// Takes the next draw.
    pub fn draw(&self) -> Draw {
        let mut next = self.lock();
        let draw = *next;
        next.index = next.index.wrapping_add(1);
        draw
    }

    /// The next draw, without taking it, for a checkpoint.
    pub fn state(&self) -> Draw {
        *self.lock()
    }

    /// Continues from a saved state.
    pub fn restore(&self, next: Draw) {
        *self.lock() = next;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Draw> {
        self.next.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Default for DeviceRng {
    fn default() -> Self {
        DeviceRng::new(0)
    }
}
