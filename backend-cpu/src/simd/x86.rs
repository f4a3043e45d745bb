//! Loops in x86-64 intrinsics, where the code that the compiler generates is slower. `token.rs` states why they are safe.

use std::arch::x86_64::{
    __m128, __m256, __m256d, __m512d, _mm_movehl_ps, _mm_movelh_ps, _mm_sfence, _mm_unpackhi_ps, _mm_unpacklo_ps,
    _mm256_add_pd, _mm256_cvtps_pd, _mm256_loadu_si256, _mm256_stream_si256, _mm512_add_pd, _mm512_cvtps_pd,
};
use std::mem::transmute;

use super::token::{Avx2, Avx512};
use crate::memory::AnyBits;

/// `lanes += x`, each as f64; `N` is a multiple of 4.
#[inline(always)]
pub(super) fn add_wide_avx2<const N: usize>(_: Avx2, lanes: &mut [f64; N], x: &[f32; N]) {
    let (lanes, _) = lanes.as_chunks_mut::<4>();
    for (lanes, x) in lanes.iter_mut().zip(x.as_chunks::<4>().0) {
        // SAFETY: four f32 are an __m128 and four f64 an __m256d, of any bits; the token proves AVX.
        unsafe {
            let sum = _mm256_add_pd(
                transmute::<[f64; 4], __m256d>(*lanes),
                _mm256_cvtps_pd(transmute::<[f32; 4], __m128>(*x)),
            );
            *lanes = transmute::<__m256d, [f64; 4]>(sum);
        }
    }
}

/// `lanes += x`, each as f64; `N` is a multiple of 8.
#[inline(always)]
pub(super) fn add_wide_avx512<const N: usize>(_: Avx512, lanes: &mut [f64; N], x: &[f32; N]) {
    let (lanes, _) = lanes.as_chunks_mut::<8>();
    for (lanes, x) in lanes.iter_mut().zip(x.as_chunks::<8>().0) {
        // SAFETY: eight f32 are an __m256 and eight f64 an __m512d, of any bits; the token proves AVX-512.
        unsafe {
            let sum = _mm512_add_pd(
                transmute::<[f64; 8], __m512d>(*lanes),
                _mm512_cvtps_pd(transmute::<[f32; 8], __m256>(*x)),
            );
            *lanes = transmute::<__m512d, [f64; 8]>(sum);
        }
    }
}

/// `to = from` by non-temporal stores.
///
/// # Safety
/// `to` begins at a multiple of 32 bytes, and [`fence`] is called before another thread may read it.
#[inline(always)]
pub(super) unsafe fn stream<T: AnyBits, const N: usize>(_: Avx2, to: &mut [T; N], from: &[T; N]) {
    const { assert!(size_of::<[T; N]>().is_multiple_of(32)) };
    for at in (0..size_of::<[T; N]>()).step_by(32) {
        // SAFETY: both arrays are a multiple of 32 bytes long, so the vectors lie within them; the caller has aligned `to`; the
        // token proves AVX.
        unsafe {
            let vector = _mm256_loadu_si256(from.as_ptr().byte_add(at).cast());
            _mm256_stream_si256(to.as_mut_ptr().byte_add(at).cast(), vector);
        }
    }
}

/// Orders the stores of [`stream`] before all that follow.
#[inline(always)]
pub(super) fn fence() {
    // SAFETY: the instruction belongs to SSE, which every x86-64 CPU has.
    unsafe { _mm_sfence() }
}

/// `result[i][j] = block[j][i]`
#[inline(always)]
pub(super) fn transpose_f32(block: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
    // SAFETY: four f32 and one __m128 have the same size, and all bit patterns are valid in both.
    let [a, b, c, d]: [__m128; 4] = unsafe { transmute(block) };
    // SAFETY: these instructions belong to SSE, which every x86-64 CPU has.
    let transposed = unsafe {
        let (ab_low, cd_low) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
        let (ab_high, cd_high) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
        [
            _mm_movelh_ps(ab_low, cd_low),
            _mm_movehl_ps(cd_low, ab_low),
            _mm_movelh_ps(ab_high, cd_high),
            _mm_movehl_ps(cd_high, ab_high),
        ]
    };
    // SAFETY: the sizes are equal, and all bit patterns are valid in both.
    unsafe { transmute(transposed) }
}
