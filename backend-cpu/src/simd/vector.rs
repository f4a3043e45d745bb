//! SIMD registers, for loops whose vectorisation cannot be left to the compiler: for the same loops over arrays LLVM emits
//! gathers with AVX-512.
//!
//! The functions that create a register take the token of its instruction set. So a register itself proves that the CPU has the
//! instructions, and arithmetic on registers needs no token (`token.rs`).

#[cfg(target_arch = "x86_64")]
pub use registers::{F32x8, F32x16, F64x4, F64x8};
#[cfg(not(target_arch = "x86_64"))]
pub use unused::{F32x8, F32x16, F64x4, F64x8};

/// One register of `T`s of the instruction set whose token is `I`.
pub trait Vector<T, I>: Copy {
    /// Elements of one register.
    const LANES: usize;

    /// All lanes equal.
    fn splat(isa: I, x: T) -> Self;

    /// The lanes from `from` on.
    ///
    /// # Safety
    /// `from` can be read for [`LANES`](Self::LANES) elements; it need not be aligned to more than one of them.
    unsafe fn load(isa: I, from: *const T) -> Self;

    /// The lower half of the lanes from `low` on, the upper half from `high` on.
    ///
    /// # Safety
    /// Both can be read for half of [`LANES`](Self::LANES) elements.
    unsafe fn load_halves(isa: I, low: *const T, high: *const T) -> Self;

    /// Stores the lanes from `to` on.
    ///
    /// # Safety
    /// `to` can be written for [`LANES`](Self::LANES) elements; it need not be aligned to more than one of them.
    unsafe fn store(self, to: *mut T);

    /// `self + other` per lane.
    fn add(self, other: Self) -> Self;

    /// `self - other` per lane.
    fn sub(self, other: Self) -> Self;

    /// `self * factor + addend` per lane, rounded once where [`Isa::FMA`](super::Isa::FMA) says so.
    fn multiply_add(self, factor: Self, addend: Self) -> Self;

    /// Lane 0 of `self`, lane 0 of `other`, lane 1 of `self` and so on, in two registers.
    fn interleave(self, other: Self) -> [Self; 2];

    /// The inverse of [`interleave`](Self::interleave): the even lanes of the two registers, and the odd ones.
    fn deinterleave(self, other: Self) -> [Self; 2];
}

/// Lanes of the longest register of any type.
pub const MAX_LANES: usize = 16;

/// Whether the compilation target has a fused multiply-add.
pub const TARGET_FMA: bool = cfg!(any(target_feature = "fma", target_arch = "aarch64"));

/// Registers of the compilation target, as arrays that the compiler keeps in registers.
macro_rules! array {
    ($type:ty, $lanes:literal) => {
        impl<I> Vector<$type, I> for [$type; $lanes] {
            const LANES: usize = $lanes;

            #[inline(always)]
            fn splat(_: I, x: $type) -> Self {
                [x; $lanes]
            }

            // SAFETY: as the trait asks.
            #[inline(always)]
            unsafe fn load(_: I, from: *const $type) -> Self {
                // SAFETY: the caller passes a readable pointer; an array is as aligned as its element.
                unsafe { *from.cast() }
            }

            // SAFETY: as the trait asks.
            #[inline(always)]
            unsafe fn load_halves(_: I, low: *const $type, high: *const $type) -> Self {
                const HALF: usize = $lanes / 2;
                // SAFETY: the caller passes two readable pointers.
                std::array::from_fn(|i| unsafe { if i < HALF { *low.add(i) } else { *high.add(i - HALF) } })
            }

            // SAFETY: as the trait asks.
            #[inline(always)]
            unsafe fn store(self, to: *mut $type) {
                // SAFETY: the caller passes a writable pointer; an array is as aligned as its element.
                unsafe { *to.cast() = self }
            }

            #[inline(always)]
            fn add(self, other: Self) -> Self {
                std::array::from_fn(|i| self[i] + other[i])
            }

            #[inline(always)]
            fn sub(self, other: Self) -> Self {
                std::array::from_fn(|i| self[i] - other[i])
            }

            #[inline(always)]
            fn multiply_add(self, factor: Self, addend: Self) -> Self {
                std::array::from_fn(|i| {
                    if TARGET_FMA { self[i].mul_add(factor[i], addend[i]) } else { self[i] * factor[i] + addend[i] }
                })
            }

            #[inline(always)]
            fn interleave(self, other: Self) -> [Self; 2] {
                let lane = |i: usize| if i.is_multiple_of(2) { self[i / 2] } else { other[i / 2] };
                [std::array::from_fn(lane), std::array::from_fn(|i| lane($lanes + i))]
            }

            #[inline(always)]
            fn deinterleave(self, other: Self) -> [Self; 2] {
                let lane = |i: usize| if i < $lanes { self[i] } else { other[i - $lanes] };
                [std::array::from_fn(|i| lane(2 * i)), std::array::from_fn(|i| lane(2 * i + 1))]
            }
        }
    };
}
array!(f32, 4);
array!(f64, 2);

/// Registers of x86-64. The fields are private: only functions that take a token make a register.
#[cfg(target_arch = "x86_64")]
mod registers {
    use super::Vector;
    use crate::simd::token::{Avx2, Avx512};
    use std::arch::x86_64::*;

    macro_rules! register {
        (
            $name:ident, $register:ty, $token:ty, $type:ty, $lanes:literal, $splat:ident, $load:ident, $halves:ident, $store:ident,
            $add:ident, $sub:ident, $fma:ident, $interleave:ident, $deinterleave:ident
        ) => {
            /// One register. It exists only where the instructions do: all its constructors take the token.
            #[derive(Clone, Copy, Debug)]
            #[repr(transparent)]
            pub struct $name($register);

            impl Vector<$type, $token> for $name {
                const LANES: usize = $lanes;

                #[inline(always)]
                fn splat(_: $token, x: $type) -> Self {
                    // SAFETY: the token proves the instruction.
                    Self(unsafe { $splat(x) })
                }

                // SAFETY: as the trait asks.
                #[inline(always)]
                unsafe fn load(_: $token, from: *const $type) -> Self {
                    // SAFETY: the token proves the instruction; the caller passes a readable pointer.
                    Self(unsafe { $load(from) })
                }

                // SAFETY: as the trait asks.
                #[inline(always)]
                unsafe fn load_halves(_: $token, low: *const $type, high: *const $type) -> Self {
                    // SAFETY: the token proves the instructions; the caller passes two readable pointers.
                    Self(unsafe { $halves(low, high) })
                }

                // SAFETY: as the trait asks.
                #[inline(always)]
                unsafe fn store(self, to: *mut $type) {
                    // SAFETY: a register proves the instruction; the caller passes a writable pointer.
                    unsafe { $store(to, self.0) }
                }

                #[inline(always)]
                fn add(self, other: Self) -> Self {
                    // SAFETY: a register proves the instruction.
                    Self(unsafe { $add(self.0, other.0) })
                }

                #[inline(always)]
                fn sub(self, other: Self) -> Self {
                    // SAFETY: a register proves the instruction.
                    Self(unsafe { $sub(self.0, other.0) })
                }

                #[inline(always)]
                fn multiply_add(self, factor: Self, addend: Self) -> Self {
                    // SAFETY: a register proves the instruction; FMA comes with both tokens.
                    Self(unsafe { $fma(self.0, factor.0, addend.0) })
                }

                #[inline(always)]
                fn interleave(self, other: Self) -> [Self; 2] {
                    // SAFETY: a register proves the instructions.
                    let [low, high] = unsafe { $interleave(self.0, other.0) };
                    [Self(low), Self(high)]
                }

                #[inline(always)]
                fn deinterleave(self, other: Self) -> [Self; 2] {
                    // SAFETY: a register proves the instructions.
                    let [even, odd] = unsafe { $deinterleave(self.0, other.0) };
                    [Self(even), Self(odd)]
                }
            }
        };
    }

    macro_rules! halves {
        ($name:ident, $type:ty, $register:ty, |$low:ident, $high:ident| $join:expr) => {
            /// # Safety
            /// The CPU has the instructions, and both halves can be read.
            #[inline(always)]
            unsafe fn $name($low: *const $type, $high: *const $type) -> $register {
                // SAFETY: the caller has the token and passes two readable pointers.
                unsafe { $join }
            }
        };
    }
    halves!(halves_f32x8, f32, __m256, |low, high| _mm256_loadu2_m128(high, low));
    halves!(halves_f64x4, f64, __m256d, |low, high| _mm256_loadu2_m128d(high, low));
    halves!(halves_f32x16, f32, __m512, |low, high| {
        _mm512_insertf32x8::<1>(_mm512_castps256_ps512(_mm256_loadu_ps(low)), _mm256_loadu_ps(high))
    });
    halves!(halves_f64x8, f64, __m512d, |low, high| {
        _mm512_insertf64x4::<1>(_mm512_castpd256_pd512(_mm256_loadu_pd(low)), _mm256_loadu_pd(high))
    });
    macro_rules! shuffles {
        ($interleave:ident, $deinterleave:ident, $register:ty, |$a:ident, $b:ident| $to:expr, $fro:expr) => {
            /// # Safety
            /// The CPU has the instructions.
            #[inline(always)]
            unsafe fn $interleave($a: $register, $b: $register) -> [$register; 2] {
                // SAFETY: the caller has a register, which proves the instructions.
                unsafe { $to }
            }

            /// # Safety
            /// The CPU has the instructions.
            #[inline(always)]
            unsafe fn $deinterleave($a: $register, $b: $register) -> [$register; 2] {
                // SAFETY: the caller has a register, which proves the instructions.
                unsafe { $fro }
            }
        };
    }
    shuffles!(
        interleave_f32x8,
        deinterleave_f32x8,
        __m256,
        |a, b| {
            let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            [_mm256_permute2f128_ps::<0x20>(low, high), _mm256_permute2f128_ps::<0x31>(low, high)]
        },
        {
            let (even, odd) = (_mm256_shuffle_ps::<0x88>(a, b), _mm256_shuffle_ps::<0xDD>(a, b));
            let (even, odd) = (_mm256_castps_pd(even), _mm256_castps_pd(odd));
            let (even, odd) = (_mm256_permute4x64_pd::<0xD8>(even), _mm256_permute4x64_pd::<0xD8>(odd));
            [_mm256_castpd_ps(even), _mm256_castpd_ps(odd)]
        }
    );
    shuffles!(
        interleave_f64x4,
        deinterleave_f64x4,
        __m256d,
        |a, b| {
            let (low, high) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
            [_mm256_permute2f128_pd::<0x20>(low, high), _mm256_permute2f128_pd::<0x31>(low, high)]
        },
        {
            let (even, odd) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
            [_mm256_permute4x64_pd::<0xD8>(even), _mm256_permute4x64_pd::<0xD8>(odd)]
        }
    );
    shuffles!(
        interleave_f32x16,
        deinterleave_f32x16,
        __m512,
        |a, b| {
            let first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let second = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
            [_mm512_permutex2var_ps(a, first, b), _mm512_permutex2var_ps(a, second, b)]
        },
        {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
            [_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b)]
        }
    );
    shuffles!(
        interleave_f64x8,
        deinterleave_f64x8,
        __m512d,
        |a, b| {
            let first = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
            let second = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
            [_mm512_permutex2var_pd(a, first, b), _mm512_permutex2var_pd(a, second, b)]
        },
        {
            let (even, odd) =
                (_mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14), _mm512_setr_epi64(1, 3, 5, 7, 9, 11, 13, 15));
            [_mm512_permutex2var_pd(a, even, b), _mm512_permutex2var_pd(a, odd, b)]
        }
    );
    register!(
        F32x8,
        __m256,
        Avx2,
        f32,
        8,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        halves_f32x8,
        _mm256_storeu_ps,
        _mm256_add_ps,
        _mm256_sub_ps,
        _mm256_fmadd_ps,
        interleave_f32x8,
        deinterleave_f32x8
    );
    register!(
        F64x4,
        __m256d,
        Avx2,
        f64,
        4,
        _mm256_set1_pd,
        _mm256_loadu_pd,
        halves_f64x4,
        _mm256_storeu_pd,
        _mm256_add_pd,
        _mm256_sub_pd,
        _mm256_fmadd_pd,
        interleave_f64x4,
        deinterleave_f64x4
    );
    register!(
        F32x16,
        __m512,
        Avx512,
        f32,
        16,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        halves_f32x16,
        _mm512_storeu_ps,
        _mm512_add_ps,
        _mm512_sub_ps,
        _mm512_fmadd_ps,
        interleave_f32x16,
        deinterleave_f32x16
    );
    register!(
        F64x8,
        __m512d,
        Avx512,
        f64,
        8,
        _mm512_set1_pd,
        _mm512_loadu_pd,
        halves_f64x8,
        _mm512_storeu_pd,
        _mm512_add_pd,
        _mm512_sub_pd,
        _mm512_fmadd_pd,
        interleave_f64x8,
        deinterleave_f64x8
    );
}

/// Other architectures have no tokens for these types; the aliases only make `Isa` compile.
#[cfg(not(target_arch = "x86_64"))]
mod unused {
    pub type F32x8 = [f32; 4];
    pub type F32x16 = [f32; 4];
    pub type F64x4 = [f64; 2];
    pub type F64x8 = [f64; 2];
}
