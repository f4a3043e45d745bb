//! Tokens: values that prove that the CPU has an instruction set.
//!
//! # The safety contract of `simd`
//!
//! An [`Avx2`] or [`Avx512`] exists only on a CPU with its instructions: [`Avx2::detect`] and [`Avx512::detect`] are the only
//! constructors, and the fields are private to this file. A function of this crate that executes an instruction beyond the
//! compilation target takes either a token or a register ([`Vector`](super::Vector)), which cannot be created without a token. So
//! safe code cannot execute an instruction that the CPU lacks. The SAFETY comments of intrinsics refer to this.

/// What every CPU of the compilation target has: SSE2 on x86-64, NEON on Arm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Baseline;

/// AVX2 and FMA: 16 registers of 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2(());

/// AVX-512 F, BW, DQ, VL (x86-64-v4): 32 registers of 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512(());

impl Avx2 {
    /// The token, if the CPU has the instructions.
    pub fn detect() -> Option<Avx2> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Some(Avx2(()));
        }
        None
    }
}

impl Avx512 {
    /// The token, if the CPU has the instructions. It includes [`Avx2`].
    pub fn detect() -> Option<Avx512> {
        #[cfg(target_arch = "x86_64")]
        if Avx2::detect().is_some()
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
        {
            return Some(Avx512(()));
        }
        None
    }

    /// A CPU with AVX-512 has AVX2 and FMA: [`detect`](Avx512::detect) checks for them.
    pub fn avx2(self) -> Avx2 {
        Avx2(())
    }
}
