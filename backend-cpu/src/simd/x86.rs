//! What is written in instructions of x86-64.

use std::arch::x86_64::{
    __m128, __m256, __m256d, __m512d, _mm_movehl_ps, _mm_movelh_ps, _mm_sfence, _mm_unpackhi_ps, _mm_unpacklo_ps,
    _mm256_add_pd, _mm256_cvtps_pd, _mm256_loadu_si256, _mm256_stream_si256, _mm512_add_pd, _mm512_cvtps_pd,
};
use std::mem::transmute;

use super::{AnyBits, Avx2, Avx512, BLOCK, Kernel, LANES};

/// See [`Isa::add_wide`](super::Isa::add_wide).
///
/// # Safety
/// The machine has AVX.
#[inline(always)]
pub(super) unsafe fn add_wide(lanes: &mut [f64; LANES], x: &[f32; LANES]) {
    let (lanes, _) = lanes.as_chunks_mut::<4>();
    for (lanes, x) in lanes.iter_mut().zip(x.as_chunks::<4>().0) {
        // SAFETY: four f32 are an __m128 and four f64 an __m256d, of any bits; the caller answers for AVX.
        unsafe {
            let sum = _mm256_add_pd(
                transmute::<[f64; 4], __m256d>(*lanes),
                _mm256_cvtps_pd(transmute::<[f32; 4], __m128>(*x)),
            );
            *lanes = transmute::<__m256d, [f64; 4]>(sum);
        }
    }
}

/// [`add_wide`] in registers twice as long.
///
/// # Safety
/// The machine has AVX-512.
#[inline(always)]
pub(super) unsafe fn add_wider(lanes: &mut [f64; LANES], x: &[f32; LANES]) {
    let (lanes, _) = lanes.as_chunks_mut::<8>();
    for (lanes, x) in lanes.iter_mut().zip(x.as_chunks::<8>().0) {
        // SAFETY: eight f32 are an __m256 and eight f64 an __m512d, of any bits; the caller answers for AVX-512.
        unsafe {
            let sum = _mm512_add_pd(
                transmute::<[f64; 8], __m512d>(*lanes),
                _mm512_cvtps_pd(transmute::<[f32; 8], __m256>(*x)),
            );
            *lanes = transmute::<__m512d, [f64; 8]>(sum);
        }
    }
}

/// See [`Isa::stream`](super::Isa::stream).
///
/// # Safety
/// The machine has AVX, `to` begins at a multiple of 32 bytes, and [`fence`] is called before another thread may read it.
#[inline(always)]
pub(super) unsafe fn stream<T: AnyBits>(to: &mut [T; BLOCK], from: &[T; BLOCK]) {
    for at in (0..size_of::<[T; BLOCK]>()).step_by(32) {
        // SAFETY: BLOCK elements are a multiple of 32 bytes, so both vectors lie within their array; `to` is aligned.
        unsafe {
            let vector = _mm256_loadu_si256(from.as_ptr().byte_add(at).cast());
            _mm256_stream_si256(to.as_mut_ptr().byte_add(at).cast(), vector);
        }
    }
}

/// See [`Isa::fence`](super::Isa::fence).
#[inline(always)]
pub(super) fn fence() {
    // SAFETY: the instruction belongs to SSE, which every x86-64 CPU has.
    unsafe { _mm_sfence() }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) fn run_avx512<K: Kernel>(kernel: K, isa: Avx512) -> K::Output {
    kernel.run(isa)
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn run_avx2<K: Kernel>(kernel: K, isa: Avx2) -> K::Output {
    kernel.run(isa)
}

#[inline(always)]
pub(super) fn transpose_f32(block: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
    // SAFETY: four f32 and one __m128 have the same size, and all bit patterns are valid in both.
    let [a, b, c, d]: [__m128; 4] = unsafe { transmute(block) };
    // SAFETY: these instructions belong to SSE, which every x86-64 CPU has.
    let turned = unsafe {
        let (ab_low, cd_low) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
        let (ab_high, cd_high) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
        [
            _mm_movelh_ps(ab_low, cd_low),
            _mm_movehl_ps(cd_low, ab_low),
            _mm_movelh_ps(ab_high, cd_high),
            _mm_movehl_ps(cd_high, ab_high),
        ]
    };
    // SAFETY: as for the way in.
    unsafe { transmute(turned) }
}
