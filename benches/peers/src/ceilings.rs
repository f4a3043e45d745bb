//! What the machine can do at best, measured before the rows: the yardstick of their floors.

use rayon::prelude::*;
use std::hint::black_box;
use std::time::Instant;

#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// Floating-point operations per second of all threads.
    pub flops: f64,
    /// Bytes read plus bytes written per second, from and to memory.
    pub bandwidth: f64,
}

pub fn measure() -> Ceilings {
    Ceilings { flops: best(flops), bandwidth: best(bandwidth) }
}

fn best(f: fn() -> f64) -> f64 {
    (0..5).map(|_| f()).fold(0.0, f64::max)
}

/// A copy of 256 MiB by all threads.
fn bandwidth() -> f64 {
    let from = vec![1f32; 64 << 20];
    let mut to = vec![2f32; 64 << 20];
    let start = Instant::now();
    to.par_chunks_mut(1 << 20).zip(from.par_chunks(1 << 20)).for_each(|(to, from)| to.copy_from_slice(from));
    black_box(&to);
    8.0 * from.len() as f64 / start.elapsed().as_secs_f64()
}

/// Fused multiply-adds in registers, on all threads.
fn flops() -> f64 {
    const STEPS: usize = 20_000_000;
    let threads = rayon::current_num_threads();
    let start = Instant::now();
    let lanes: usize = (0..threads).into_par_iter().map(|_| fma(STEPS)).sum();
    2.0 * (STEPS * lanes) as f64 / start.elapsed().as_secs_f64()
}

/// Runs `steps` rounds of independent fused multiply-adds; returns the numbers of one round.
#[cfg(target_arch = "x86_64")]
fn fma(steps: usize) -> usize {
    use std::arch::x86_64::*;
    #[target_feature(enable = "avx512f")]
    fn wide(steps: usize) -> usize {
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
    fn narrow(steps: usize) -> usize {
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
        // SAFETY: the processor has the instructions.
        unsafe { wide(steps) }
    } else if is_x86_feature_detected!("fma") {
        // SAFETY: the processor has the instructions.
        unsafe { narrow(steps) }
    } else {
        plain(steps)
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn fma(steps: usize) -> usize {
    plain(steps)
}

fn plain(steps: usize) -> usize {
    let (mut sums, x, y) = ([0f32; 32], black_box(0.5), black_box(0.25));
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = *sum * x + y;
        }
    }
    black_box(sums);
    32
}
