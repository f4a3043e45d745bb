//! Random elements and dropout. Cost: one Philox block (ten rounds) per four elements, one write per element.

use crate::element::{Element, with_real};
use crate::launch::{self, report};
use crate::memory::{AnyBits, Storage};
use crate::simd::{Isa, Kernel, dispatch};
use crate::view::elements;
use crate::{Cpu, Tensor, parallel};
use minitorch_core::DType;
use minitorch_core::backend::{RandomOp, RandomOps};
use minitorch_core::ops::random::threshold;
use minitorch_core::random::{Draw, unit_f32};

/// Work of one element's bits.
const WORK: usize = 12;

impl RandomOps for Cpu {
    fn random(&self, op: RandomOp, dtype: DType, len: usize, draw: Draw) -> Storage {
        fn generate<T: Element>(device: &Cpu, len: usize, draw: Draw, f: impl Fn(u32) -> T + Copy + Sync) -> Storage {
            let mut out = device.workspace::<T>(len);
            if let Some(out) = &mut out {
                each("random", out, draw, move |_, bits| f(bits));
            }
            T::wrap(out)
        }
        match (op, dtype) {
            (RandomOp::Bits, _) => generate(self, len, draw, |bits| bits as i32),
            (RandomOp::Keep(p), _) => {
                let threshold = threshold(p);
                generate(self, len, draw, move |bits| (bits as u64 >= threshold) as u8)
            }
            (RandomOp::Uniform, DType::F64) => generate(self, len, draw, |bits| unit_f32(bits) as f64),
            (RandomOp::Uniform, _) => generate(self, len, draw, unit_f32),
        }
    }

    /// `x / (1 - p)` where the element's bits are at least the threshold, else 0.
    fn dropout(&self, x: &Tensor, p: f64, draw: Draw) -> Tensor {
        let (shape, x) = (*x.shape(), x.contiguous());
        let threshold = threshold(p);
        with_real!(x.dtype(), T => {
            let mut out = self.output::<T>(shape.numel(), &[x.view().storage]);
            if let Some(out) = &mut out {
                let x = elements::<T>(&x);
                // At p = 1 every element is 0, but 0 times an infinite factor is not.
                let scale = T::from_f64(if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 });
                each("dropout", out, draw, move |i, bits| {
                    if bits as u64 >= threshold { x[i] * scale } else { 0.0 }
                });
            }
            Tensor::from_storage(self, T::wrap(out), T::DTYPE, shape)
        })
    }
}

/// `out[i] = f(i, bits of element i)`. Chunks are multiples of a Philox block.
fn each<T: AnyBits>(kernel: &str, out: &mut [T], draw: Draw, f: impl Fn(usize, u32) -> T + Copy + Sync) {
    report(|| launch::split::<T>(kernel, out.len(), 4, WORK).path("Philox, 16 blocks at once"));
    parallel::split(out, 4, WORK, |first, out| dispatch(Blocks { first, out, draw, f }));
}

struct Blocks<'a, T, F> {
    first: usize,
    out: &'a mut [T],
    draw: Draw,
    f: F,
}

impl<T: AnyBits, F: Fn(usize, u32) -> T> Kernel for Blocks<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let Blocks { first, out, draw, f } = self;
        let (chunks, rest) = out.as_chunks_mut::<{ 4 * WIDE }>();
        let mut at = first;
        for chunk in chunks {
            let bits = philox(draw, (at / 4) as u64);
            for (i, out) in chunk.iter_mut().enumerate() {
                *out = f(at + i, bits[i]);
            }
            at += 4 * WIDE;
        }
        for out in rest.chunks_mut(4) {
            let bits = draw.block((at / 4) as u64);
            for (i, out) in out.iter_mut().enumerate() {
                *out = f(at + i, bits[i]);
            }
            at += 4;
        }
    }
}

/// Philox blocks that are computed at once.
const WIDE: usize = 16;

/// [`Draw::block`] of blocks `first..first + WIDE`. Each step of a round is a loop over the blocks, which vectorises. The constants
/// are Philox's; see `minitorch_core::random`.
#[inline(always)]
fn philox(draw: Draw, first: u64) -> [u32; 4 * WIDE] {
    let halves = |x: u64| [x as u32, (x >> 32) as u32];
    let (mut key, [draw_low, draw_high]) = (halves(draw.seed), halves(draw.index));
    let (mut c0, mut c1) = ([draw_low; WIDE], [draw_high; WIDE]);
    let (mut c2, mut c3) = ([0; WIDE], [0; WIDE]);
    for i in 0..WIDE {
        [c2[i], c3[i]] = halves(first + i as u64);
    }
    for _ in 0..10 {
        for i in 0..WIDE {
            let a = 0xD251_1F53 * c0[i] as u64;
            let b = 0xCD9E_8D57 * c2[i] as u64;
            c0[i] = (b >> 32) as u32 ^ c1[i] ^ key[0];
            c2[i] = (a >> 32) as u32 ^ c3[i] ^ key[1];
            c1[i] = b as u32;
            c3[i] = a as u32;
        }
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    let mut words = [0; 4 * WIDE];
    for (i, words) in words.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        *words = [c0[i], c1[i], c2[i], c3[i]];
    }
    words
}
