//! Vector registers, for the loops whose shape may not be left to the compiler: from the same loops over arrays LLVM makes whole
//! vectors under AVX2 and gathers of columns under AVX-512, 12 times slower in products of 64 x 64.

/// One register of `T`s.
pub trait Vector<T>: Copy {
    /// Elements of one register.
    const LANES: usize;

    /// All lanes equal.
    fn splat(x: T) -> Self;

    /// The lanes from `from` on.
    ///
    /// # Safety
    /// `from` can be read for [`LANES`](Self::LANES) elements; it need not be aligned to more than one of them.
    unsafe fn load(from: *const T) -> Self;

    /// The first half of the lanes from `low` on, the second from `high` on.
    ///
    /// # Safety
    /// Both can be read for half of [`LANES`](Self::LANES) elements.
    unsafe fn load_halves(low: *const T, high: *const T) -> Self;

    /// The lanes to `to` and on.
    ///
    /// # Safety
    /// `to` can be written for [`LANES`](Self::LANES) elements; it need not be aligned to more than one of them.
    unsafe fn store(self, to: *mut T);

    /// `self + other` per lane.
    fn add(self, other: Self) -> Self;

    /// `self * factor + addend` per lane, rounded once where [`Isa::FMA`](super::Isa::FMA) says so.
    fn multiply_add(self, factor: Self, addend: Self) -> Self;
}

/// The registers of a level below AVX2, as arrays: here the compiler does what it should.
macro_rules! array {
    ($type:ty, $lanes:literal) => {
        impl Vector<$type> for [$type; $lanes] {
            const LANES: usize = $lanes;

            #[inline(always)]
            fn splat(x: $type) -> Self {
                [x; $lanes]
            }

            // SAFETY: the caller answers for what is read.
            #[inline(always)]
            unsafe fn load(from: *const $type) -> Self {
                // SAFETY: as the caller says.
                unsafe { *from.cast() }
            }

            // SAFETY: the caller answers for what is read.
            #[inline(always)]
            unsafe fn load_halves(low: *const $type, high: *const $type) -> Self {
                const HALF: usize = $lanes / 2;
                // SAFETY: as the caller says.
                std::array::from_fn(|i| unsafe { if i < HALF { *low.add(i) } else { *high.add(i - HALF) } })
            }

            // SAFETY: the caller answers for what is written.
            #[inline(always)]
            unsafe fn store(self, to: *mut $type) {
                // SAFETY: as the caller says.
                unsafe { *to.cast() = self }
            }

            #[inline(always)]
            fn add(self, other: Self) -> Self {
                std::array::from_fn(|i| self[i] + other[i])
            }

            #[inline(always)]
            fn multiply_add(self, factor: Self, addend: Self) -> Self {
                std::array::from_fn(|i| {
                    if <super::Baseline as super::Isa>::FMA {
                        self[i].mul_add(factor[i], addend[i])
                    } else {
                        self[i] * factor[i] + addend[i]
                    }
                })
            }
        }
    };
}
array!(f32, 4);
array!(f64, 2);

/// Registers of x86-64. Elsewhere their levels do not exist, and the names stand for what is never used.
#[cfg(target_arch = "x86_64")]
mod registers {
    use super::Vector;
    use std::arch::x86_64::*;

    macro_rules! register {
        ($name:ident, $type:ty, $lanes:literal, $splat:ident, $load:ident, $halves:ident, $store:ident, $add:ident, $fma:ident) => {
            // SAFETY of all functions: the type is named by `Avx2` or `Avx512` alone, whose code runs only where
            // `Level::supported` has found the instructions.
            impl Vector<$type> for $name {
                const LANES: usize = $lanes;

                #[inline(always)]
                fn splat(x: $type) -> Self {
                    // SAFETY: as above.
                    unsafe { $splat(x) }
                }

                // SAFETY: the caller answers for what is read.
                #[inline(always)]
                unsafe fn load(from: *const $type) -> Self {
                    // SAFETY: as above, and as the caller says.
                    unsafe { $load(from) }
                }

                // SAFETY: the caller answers for what is read.
                #[inline(always)]
                unsafe fn load_halves(low: *const $type, high: *const $type) -> Self {
                    // SAFETY: as above, and as the caller says.
                    unsafe { $halves(low, high) }
                }

                // SAFETY: the caller answers for what is written.
                #[inline(always)]
                unsafe fn store(self, to: *mut $type) {
                    // SAFETY: as above, and as the caller says.
                    unsafe { $store(to, self) }
                }

                #[inline(always)]
                fn add(self, other: Self) -> Self {
                    // SAFETY: as above.
                    unsafe { $add(self, other) }
                }

                #[inline(always)]
                fn multiply_add(self, factor: Self, addend: Self) -> Self {
                    // SAFETY: as above.
                    unsafe { $fma(self, factor, addend) }
                }
            }
        };
    }
    pub type F32x8 = __m256;
    pub type F64x4 = __m256d;
    pub type F32x16 = __m512;
    pub type F64x8 = __m512d;
    macro_rules! halves {
        ($name:ident, $type:ty, $register:ty, |$low:ident, $high:ident| $join:expr) => {
            /// # Safety
            /// The machine has the register, and both halves can be read.
            #[inline(always)]
            unsafe fn $name($low: *const $type, $high: *const $type) -> $register {
                // SAFETY: as the caller says.
                unsafe { $join }
            }
        };
    }
    halves!(halves_f32x8, f32, F32x8, |low, high| _mm256_loadu2_m128(high, low));
    halves!(halves_f64x4, f64, F64x4, |low, high| _mm256_loadu2_m128d(high, low));
    halves!(halves_f32x16, f32, F32x16, |low, high| {
        _mm512_insertf32x8::<1>(_mm512_castps256_ps512(_mm256_loadu_ps(low)), _mm256_loadu_ps(high))
    });
    halves!(halves_f64x8, f64, F64x8, |low, high| {
        _mm512_insertf64x4::<1>(_mm512_castpd256_pd512(_mm256_loadu_pd(low)), _mm256_loadu_pd(high))
    });
    register!(
        F32x8,
        f32,
        8,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        halves_f32x8,
        _mm256_storeu_ps,
        _mm256_add_ps,
        _mm256_fmadd_ps
    );
    register!(
        F64x4,
        f64,
        4,
        _mm256_set1_pd,
        _mm256_loadu_pd,
        halves_f64x4,
        _mm256_storeu_pd,
        _mm256_add_pd,
        _mm256_fmadd_pd
    );
    register!(
        F32x16,
        f32,
        16,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        halves_f32x16,
        _mm512_storeu_ps,
        _mm512_add_ps,
        _mm512_fmadd_ps
    );
    register!(
        F64x8,
        f64,
        8,
        _mm512_set1_pd,
        _mm512_loadu_pd,
        halves_f64x8,
        _mm512_storeu_pd,
        _mm512_add_pd,
        _mm512_fmadd_pd
    );
}
#[cfg(not(target_arch = "x86_64"))]
pub use others::{F32x8, F32x16, F64x4, F64x8};
#[cfg(target_arch = "x86_64")]
pub use registers::{F32x8, F32x16, F64x4, F64x8};
#[cfg(not(target_arch = "x86_64"))]
mod others {
    pub type F32x8 = [f32; 4];
    pub type F32x16 = [f32; 4];
    pub type F64x4 = [f64; 2];
    pub type F64x8 = [f64; 2];
}
