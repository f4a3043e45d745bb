//! Peak arithmetic of the CPU: independent fused multiply-adds on registers. `benches/peers` includes this file.

use std::hint::black_box;

/// Runs `steps` rounds of independent fused multiply-adds on one thread; returns the number of multiply-adds per round.
#[cfg(target_arch = "x86_64")]
pub(crate) fn fma(steps: usize) -> usize {
    use std::arch::x86_64::{_mm256_fmadd_ps, _mm256_set1_ps, _mm512_fmadd_ps, _mm512_set1_ps};
    // Twelve chains: more than latency times throughput of any x86-64 core so far, and few enough to stay in registers.
    #[target_feature(enable = "avx512f")]
    fn avx512(steps: usize) -> usize {
        let (mut sums, x, y) =
            ([_mm512_set1_ps(0.0); 12], _mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(0.25)));
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, x, y);
            }
        }
        black_box(sums);
        12 * 16
    }
    #[target_feature(enable = "avx2,fma")]
    fn avx2(steps: usize) -> usize {
        let (mut sums, x, y) =
            ([_mm256_set1_ps(0.0); 12], _mm256_set1_ps(black_box(0.5)), _mm256_set1_ps(black_box(0.25)));
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, x, y);
            }
        }
        black_box(sums);
        12 * 8
    }
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: `avx512` requires AVX-512F, detected above.
        unsafe { avx512(steps) }
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: `avx2` requires AVX2 and FMA, detected above.
        unsafe { avx2(steps) }
    } else {
        portable(steps)
    }
}

/// The same without intrinsics.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn fma(steps: usize) -> usize {
    portable(steps)
}

fn portable(steps: usize) -> usize {
    let (mut sums, x, y) = ([0f32; 32], black_box(0.5), black_box(0.25));
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = *sum * x + y;
        }
    }
    black_box(sums);
    32
}
