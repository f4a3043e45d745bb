//! One body, compiled for every vector unit the machine may have, chosen once at run time.
//!
//! A [`Kernel`] is ordinary Rust over slices and fixed-size arrays. [`Level::dispatch`] calls it from inside a function
//! that carries the right `target_feature`s, so LLVM turns the same loops into AVX-512, AVX2 + FMA or baseline code.
//!
//! * An [`Isa`] token ([`Avx512`], [`Avx2`], [`Baseline`]) can only be made by [`Level::supported`], after the CPU was
//!   asked: whoever holds one may run its code. Everything above this file is therefore safe.
//! * Token constants are compile-time facts. `I::FMA` matters most: a fused multiply-add that the target lacks becomes
//!   a call into libm, about 50 times slower than a multiply and an addition.
//! * `Kernel::run` must be `#[inline(always)]`, and so must whatever it calls per element: code that is not inlined
//!   keeps the features of the function it was compiled in, which is the baseline.
//!
//! `MINITORCH_ISA=baseline|avx2|avx512` caps the level, for measurements and bug reports.

mod vector;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::memory::AnyBits;
use crate::settings;
use std::sync::OnceLock;
pub use vector::Vector;

/// Compile-time facts about one instruction set.
pub trait Isa: Copy + Send + Sync + 'static {
    const NAME: &'static str;
    /// Whether `mul_add` is one instruction.
    const FMA: bool;
    /// Bytes in one vector register.
    const VECTOR_BYTES: usize;
    /// One register.
    type F32: Vector<f32>;
    /// One register.
    type F64: Vector<f64>;

    /// `lanes += x`, each as f64. From the plain loop LLVM makes half vectors, a factor of two in sums.
    #[inline(always)]
    fn add_wide(lanes: &mut [f64; LANES], x: &[f32; LANES]) {
        for i in 0..LANES {
            lanes[i] += x[i] as f64;
        }
    }

    /// `to = from`, past the caches where the instruction set can: `to` is then not read before it is written.
    ///
    /// # Safety
    /// `to` begins at a multiple of 32 bytes, and [`Isa::fence`] is called before another thread may read it.
    #[inline(always)]
    unsafe fn stream<T: AnyBits>(to: &mut [T; BLOCK], from: &[T; BLOCK]) {
        *to = *from;
    }

    /// What was [streamed](Isa::stream) is visible to others before anything that follows.
    #[inline(always)]
    fn fence() {}
}

/// Elements that are streamed at once: whole cache lines of any type.
pub const BLOCK: usize = 64;

/// Lanes of a sum: what eight vectors of f64 hold, so that no addition waits for the one before.
pub const LANES: usize = 32;

/// What every CPU of the compilation target has: SSE2 on x86-64, NEON on Arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Baseline(());

/// AVX2 with FMA: 16 registers of 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2(());

/// AVX-512 F, BW, DQ, VL (x86-64-v4): 32 registers of 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512(());

impl Isa for Baseline {
    const NAME: &'static str = "baseline";
    const FMA: bool = cfg!(any(target_feature = "fma", target_arch = "aarch64"));
    const VECTOR_BYTES: usize = 16;
    type F32 = [f32; 4];
    type F64 = [f64; 2];
}

/// The methods that both levels of x86-64 have in instructions.
macro_rules! in_instructions_of_x86 {
    ($add_wide:ident) => {
        #[cfg(target_arch = "x86_64")]
        #[inline(always)]
        fn add_wide(lanes: &mut [f64; LANES], x: &[f32; LANES]) {
            // SAFETY: the token exists only if `Level::supported` found the instructions of its level.
            unsafe { x86::$add_wide(lanes, x) }
        }

        // SAFETY: what the caller promises is what `x86::stream` asks for.
        #[cfg(target_arch = "x86_64")]
        #[inline(always)]
        unsafe fn stream<T: AnyBits>(to: &mut [T; BLOCK], from: &[T; BLOCK]) {
            // SAFETY: as above; the rest is the caller's promise.
            unsafe { x86::stream(to, from) }
        }

        #[cfg(target_arch = "x86_64")]
        #[inline(always)]
        fn fence() {
            x86::fence();
        }
    };
}

impl Isa for Avx2 {
    const NAME: &'static str = "avx2";
    const FMA: bool = true;
    const VECTOR_BYTES: usize = 32;
    type F32 = vector::F32x8;
    type F64 = vector::F64x4;

    in_instructions_of_x86!(add_wide);
}

impl Isa for Avx512 {
    const NAME: &'static str = "avx512";
    const FMA: bool = true;
    const VECTOR_BYTES: usize = 64;
    type F32 = vector::F32x16;
    type F64 = vector::F64x8;

    in_instructions_of_x86!(add_wider);
}

/// A computation that can be compiled for any [`Isa`].
pub trait Kernel {
    type Output;
    /// The body. Implementations are `#[inline(always)]`.
    fn run<I: Isa>(self, isa: I) -> Self::Output;
}

/// The instruction set chosen at run time; each variant carries the proof that the machine has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Baseline(Baseline),
    Avx2(Avx2),
    Avx512(Avx512),
}

impl Level {
    /// All levels of this machine, weakest first. The baseline is always there.
    pub fn supported() -> Vec<Level> {
        let mut levels = vec![Level::Baseline(Baseline(()))];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                levels.push(Level::Avx2(Avx2(())));
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                {
                    levels.push(Level::Avx512(Avx512(())));
                }
            }
        }
        levels
    }

    /// The strongest level, capped by `MINITORCH_ISA`; looked up once per process.
    pub fn best() -> Level {
        static BEST: OnceLock<Level> = OnceLock::new();
        *BEST.get_or_init(|| {
            const NAMES: [&str; 3] = [Baseline::NAME, Avx2::NAME, Avx512::NAME];
            let rank = |name: &str| NAMES.iter().position(|known| *known == name);
            let cap = settings::variable("MINITORCH_ISA").and_then(|name| {
                let known = rank(&name);
                if known.is_none() {
                    let name = settings::shown(&name);
                    settings::warn(&format!("MINITORCH_ISA: {name} is none of {NAMES:?}; it is ignored"));
                }
                known
            });
            let cap = cap.unwrap_or(NAMES.len());
            let mut levels = Level::supported();
            levels.retain(|level| rank(level.name()) <= Some(cap));
            levels[levels.len() - 1]
        })
    }

    /// The name of the instruction set, as `MINITORCH_ISA` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Baseline(_) => Baseline::NAME,
            Level::Avx2(_) => Avx2::NAME,
            Level::Avx512(_) => Avx512::NAME,
        }
    }

    /// Runs `kernel` compiled for this level. The call is not inlined: dispatch around a loop, not inside it.
    pub fn dispatch<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Avx512` exists only if `Level::supported` found avx512f, bw, dq, vl, avx2 and fma.
            Level::Avx512(isa) => unsafe { x86::run_avx512(kernel, isa) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: an `Avx2` exists only if `Level::supported` found avx2 and fma.
            Level::Avx2(isa) => unsafe { x86::run_avx2(kernel, isa) },
            #[cfg(target_arch = "x86_64")]
            Level::Baseline(isa) => kernel.run(isa),
            // The other tokens are never made on other architectures.
            #[cfg(not(target_arch = "x86_64"))]
            _ => kernel.run(Baseline(())),
        }
    }
}

/// Runs `kernel` for this machine, with vectors of at most 32 bytes. Most loops over elements are bound by memory, where wider
/// vectors gain nothing; and each level is one more copy of every loop to compile.
pub fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    match Level::best() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an `Avx2` or an `Avx512` exists only if `Level::supported` found avx2 and fma.
        Level::Avx2(_) | Level::Avx512(_) => unsafe { x86::run_avx2(kernel, Avx2(())) },
        Level::Baseline(isa) => kernel.run(isa),
        // The other tokens are never made on other architectures.
        #[cfg(not(target_arch = "x86_64"))]
        _ => kernel.run(Baseline(())),
    }
}

/// Element types, and which vectors their loops are compiled for. F32 is what networks compute with; for the others each
/// further level would be one more copy of every loop to compile, a third of this crate.
pub trait Wide: Copy {
    /// Runs a loop over elements of this type.
    fn dispatch<K: Kernel>(kernel: K) -> K::Output {
        kernel.run(Baseline(()))
    }

    /// Runs a loop over elements of this type that is bound by arithmetic, such as exponentials: with the widest vectors.
    fn compute<K: Kernel>(kernel: K) -> K::Output {
        Self::dispatch(kernel)
    }
}

impl Wide for f32 {
    fn dispatch<K: Kernel>(kernel: K) -> K::Output {
        dispatch(kernel)
    }

    fn compute<K: Kernel>(kernel: K) -> K::Output {
        Level::best().dispatch(kernel)
    }
}
impl Wide for f64 {}
impl Wide for i32 {}
impl Wide for u8 {}

/// A 4 x 4 block of f32, rows and columns exchanged. From plain array code LLVM makes sixteen scalar stores or eight
/// shuffles, depending on what surrounds it, a factor of three in packing; hence these shuffles, part of every x86-64.
#[inline(always)]
pub fn transpose_f32(block: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
    #[cfg(target_arch = "x86_64")]
    return x86::transpose_f32(block);
    #[cfg(not(target_arch = "x86_64"))]
    std::array::from_fn(|i| block.map(|row| row[i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Name;

    impl Kernel for Name {
        type Output = &'static str;
        #[inline(always)]
        fn run<I: Isa>(self, _: I) -> Self::Output {
            I::NAME
        }
    }

    #[test]
    fn transposes() {
        let block = [[0., 1., 2., 3.], [4., 5., 6., 7.], [8., 9., 10., 11.], [12., 13., 14., 15.]];
        let turned = [[0., 4., 8., 12.], [1., 5., 9., 13.], [2., 6., 10., 14.], [3., 7., 11., 15.]];
        assert_eq!(transpose_f32(block), turned);
    }

    /// Numbers counted from 0, interleaved with those from 100 and taken apart again.
    struct Shuffles;

    impl Kernel for Shuffles {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self, _: I) {
            fn check<T: Copy + From<u8> + PartialEq + std::fmt::Debug, V: Vector<T>>() {
                let (low, high): (Vec<T>, Vec<T>) = (0..16).map(|i| (T::from(i), T::from(100 + i))).unzip();
                let mut got = vec![T::from(0); 4 * V::LANES];
                // SAFETY: no register has more than 16 lanes, and `got` has room for four.
                unsafe {
                    let mixed = V::load(low.as_ptr()).interleave(V::load(high.as_ptr()));
                    let apart = mixed[0].deinterleave(mixed[1]);
                    for (number, register) in mixed.into_iter().chain(apart).enumerate() {
                        register.store(got.as_mut_ptr().add(number * V::LANES));
                    }
                }
                let mixed: Vec<T> = low.iter().zip(&high).flat_map(|(&a, &b)| [a, b]).take(2 * V::LANES).collect();
                assert_eq!(got[..2 * V::LANES], mixed);
                assert_eq!(got[2 * V::LANES..], [&low[..V::LANES], &high[..V::LANES]].concat());
            }
            check::<f32, I::F32>();
            check::<f64, I::F64>();
        }
    }

    #[test]
    fn registers_interleave() {
        Level::supported().into_iter().for_each(|level| level.dispatch(Shuffles));
    }

    #[test]
    fn every_level_runs_its_own_code() {
        for level in Level::supported() {
            assert_eq!(level.dispatch(Name), level.name());
        }
        assert!(Level::supported().contains(&Level::best()));
    }
}
