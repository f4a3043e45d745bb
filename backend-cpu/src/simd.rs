//! Instruction sets: each loop is written once, compiled for several of them, and selected at run time.
//!
//! A [`Kernel`] is ordinary Rust over slices and fixed-size arrays. [`Level::dispatch`] calls it from inside a function
//! with the right `target_feature`s, so LLVM turns the same loops into AVX-512, AVX2 + FMA or baseline code.
//!
//! * An [`Isa`] token ([`Avx512`], [`Avx2`], [`Baseline`]) proves that the CPU has the instructions; `token.rs` states the
//!   contract. Intrinsics are reached through a token or a register, so kernels are safe code.
//! * Constants of the token are known at compile time. `I::FMA` matters most: `mul_add` on a target without the instruction is a
//!   call of libm.
//! * `Kernel::run` must be `#[inline(always)]`, and so must whatever it calls per element: a function that is not inlined is
//!   compiled for the baseline.
//!
//! `MINITORCH_ISA=baseline|avx2|avx512` caps the level, for measurements and bug reports.

mod token;
mod vector;
#[cfg(target_arch = "x86_64")]
mod x86;

use crate::memory::AnyBits;
use crate::settings;
use std::sync::OnceLock;
pub use token::{Avx2, Avx512, Baseline};
pub use vector::{MAX_LANES, Vector};

/// A token of one instruction set, and compile-time facts about it.
pub trait Isa: Copy + Send + Sync + 'static {
    const NAME: &'static str;
    /// Whether `mul_add` is one instruction.
    const FMA: bool;
    /// Bytes in one SIMD register.
    const VECTOR_BYTES: usize;
    /// A register of f32.
    type F32: Vector<f32, Self>;
    /// A register of f64.
    type F64: Vector<f64, Self>;

    /// `lanes += x`, each as f64. Instruction sets override the loop, for which LLVM uses half of each register.
    #[inline(always)]
    fn add_wide(self, lanes: &mut [f64; LANES], x: &[f32; LANES]) {
        for i in 0..LANES {
            lanes[i] += x[i] as f64;
        }
    }

    /// `to = from`, by non-temporal stores where the instruction set has them: `to` is then not read into a cache first.
    ///
    /// # Safety
    /// `to` begins at a multiple of 32 bytes, and [`Isa::fence`] is called before another thread may read it.
    #[inline(always)]
    unsafe fn stream<T: AnyBits>(self, to: &mut [T; STREAM], from: &[T; STREAM]) {
        *to = *from;
    }

    /// Orders [streamed](Isa::stream) stores before all that follow.
    #[inline(always)]
    fn fence(self) {}
}

/// Elements of one [`Isa::stream`]: a multiple of a cache line for every element type.
pub const STREAM: usize = 64;

/// Independent partial sums of a reduction: eight AVX2 registers of f64, enough to hide the latency of an addition.
pub const LANES: usize = 32;

impl Isa for Baseline {
    const NAME: &'static str = "baseline";
    const FMA: bool = vector::TARGET_FMA;
    const VECTOR_BYTES: usize = 16;
    type F32 = [f32; 4];
    type F64 = [f64; 2];
}

/// The methods of [`Isa`] in x86-64 intrinsics.
macro_rules! x86_intrinsics {
    ($add_wide:ident, |$isa:ident| $avx2:expr) => {
        #[cfg(target_arch = "x86_64")]
        #[inline(always)]
        fn add_wide(self, lanes: &mut [f64; LANES], x: &[f32; LANES]) {
            x86::$add_wide(self, lanes, x);
        }

        // SAFETY: as the trait asks, which is what `x86::stream` asks.
        #[cfg(target_arch = "x86_64")]
        #[inline(always)]
        unsafe fn stream<T: AnyBits>(self, to: &mut [T; STREAM], from: &[T; STREAM]) {
            let $isa = self;
            // SAFETY: the caller promises alignment and fence.
            unsafe { x86::stream($avx2, to, from) }
        }

        #[cfg(target_arch = "x86_64")]
        #[inline(always)]
        fn fence(self) {
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

    x86_intrinsics!(add_wide_avx2, |isa| isa);
}

impl Isa for Avx512 {
    const NAME: &'static str = "avx512";
    const FMA: bool = true;
    const VECTOR_BYTES: usize = 64;
    type F32 = vector::F32x16;
    type F64 = vector::F64x8;

    x86_intrinsics!(add_wide_avx512, |isa| isa.avx2());
}

/// A computation that can be compiled for any [`Isa`].
pub trait Kernel {
    type Output;
    /// The body. Implementations are `#[inline(always)]`.
    fn run<I: Isa>(self, isa: I) -> Self::Output;
}

/// The instruction set selected at run time, with its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Baseline(Baseline),
    Avx2(Avx2),
    Avx512(Avx512),
}

impl Level {
    /// All levels of this CPU, weakest first; the baseline is always among them.
    pub fn supported() -> Vec<Level> {
        let detected = [Avx2::detect().map(Level::Avx2), Avx512::detect().map(Level::Avx512)];
        [Level::Baseline(Baseline)].into_iter().chain(detected.into_iter().flatten()).collect()
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
            // SAFETY: the token proves avx512f, bw, dq, vl, avx2 and fma.
            Level::Avx512(isa) => unsafe { run_avx512(kernel, isa) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the token proves avx2 and fma.
            Level::Avx2(isa) => unsafe { run_avx2(kernel, isa) },
            Level::Baseline(isa) => kernel.run(isa),
            // Other architectures have no other tokens.
            #[cfg(not(target_arch = "x86_64"))]
            _ => kernel.run(Baseline),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn run_avx512<K: Kernel>(kernel: K, isa: Avx512) -> K::Output {
    kernel.run(isa)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<K: Kernel>(kernel: K, isa: Avx2) -> K::Output {
    kernel.run(isa)
}

/// Runs `kernel` for this CPU with registers of at most 32 bytes. Most element-wise loops are bound by memory, where longer
/// registers gain nothing, and each level is one more copy of every loop to compile.
pub fn dispatch<K: Kernel>(kernel: K) -> K::Output {
    let level = match Level::best() {
        Level::Avx512(isa) => Level::Avx2(isa.avx2()),
        level => level,
    };
    match level {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the token proves avx2 and fma.
        Level::Avx2(isa) => unsafe { run_avx2(kernel, isa) },
        // Not `level.dispatch`, which would compile the loop for AVX-512 as well.
        _ => kernel.run(Baseline),
    }
}

/// An element type, and the levels that its loops are compiled for: the baseline, and more for f32, which networks compute with.
/// For the others each further level would be one more copy of every loop to compile.
pub trait Wide: Copy {
    /// Runs a loop over elements of this type.
    fn dispatch<K: Kernel>(kernel: K) -> K::Output {
        kernel.run(Baseline)
    }

    /// Runs a loop over elements of this type that is bound by arithmetic, such as exponentials, at the strongest level.
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

/// The transpose of a 4 x 4 block, by shuffles of SSE. For plain array code LLVM emits sixteen scalar stores or eight shuffles,
/// depending on the context.
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
        let transposed = [[0., 4., 8., 12.], [1., 5., 9., 13.], [2., 6., 10., 14.], [3., 7., 11., 15.]];
        assert_eq!(transpose_f32(block), transposed);
    }

    /// Interleaves the numbers from 0 with those from 100, and deinterleaves the result.
    struct Shuffles;

    impl Kernel for Shuffles {
        type Output = ();
        #[inline(always)]
        fn run<I: Isa>(self, isa: I) {
            fn check<T: Copy + From<u8> + PartialEq + std::fmt::Debug, I: Copy, V: Vector<T, I>>(isa: I) {
                let (low, high): (Vec<T>, Vec<T>) = (0..16).map(|i| (T::from(i), T::from(100 + i))).unzip();
                let mut got = vec![T::from(0); 4 * V::LANES];
                // SAFETY: no register has more than 16 lanes, and `got` has room for four.
                unsafe {
                    let mixed = V::load(isa, low.as_ptr()).interleave(V::load(isa, high.as_ptr()));
                    let apart = mixed[0].deinterleave(mixed[1]);
                    for (number, register) in mixed.into_iter().chain(apart).enumerate() {
                        register.store(got.as_mut_ptr().add(number * V::LANES));
                    }
                }
                let mixed: Vec<T> = low.iter().zip(&high).flat_map(|(&a, &b)| [a, b]).take(2 * V::LANES).collect();
                assert_eq!(got[..2 * V::LANES], mixed);
                assert_eq!(got[2 * V::LANES..], [&low[..V::LANES], &high[..V::LANES]].concat());
            }
            check::<f32, I, I::F32>(isa);
            check::<f64, I, I::F64>(isa);
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
