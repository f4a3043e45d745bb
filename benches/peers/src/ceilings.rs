//! What the machine can do at best, measured before the rows: the yardstick of their floors.

use rayon::prelude::*;
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Mutex;
use std::time::Instant;

#[derive(Debug)]
pub struct Ceilings {
    /// Floating-point operations per second of all threads.
    pub flops: f64,
    /// Bytes read plus bytes written per second by a copy from and to memory.
    pub copy: f64,
    /// Seconds by bytes, as measured.
    memory: HashMap<u64, f64>,
}

impl Ceilings {
    pub fn measure() -> Self {
        Ceilings { flops: best(5, flops), copy: best(5, || copy(512 << 20)), memory: HashMap::new() }
    }

    /// Seconds that it takes at the least to move so many bytes, in whichever cache so many are held: the fastest of reading them all,
    /// writing them all, and copying one half to the other, by one thread and by all.
    pub fn memory(&mut self, bytes: f64) -> f64 {
        *self.memory.entry(bytes as u64).or_insert_with(|| match bytes as usize {
            ..4096 => 0.0,
            count => {
                let rate = best(1, || read(count)).max(best(1, || write(count))).max(best(1, || copy(count)));
                bytes / rate
            }
        })
    }
}

fn best(times: usize, f: impl Fn() -> f64) -> f64 {
    (0..times).map(|_| f()).fold(0.0, f64::max)
}

/// The best rate in bytes per second of `f`, which handles a share of `bytes` at a time: of one thread, and of all.
fn rate(bytes: usize, threads: usize, f: impl Fn(usize) + Sync) -> f64 {
    // So often that waking threads and reading the clock do not count, and 20 ms altogether.
    let (turns, rounds) = ((64 << 20) / bytes.max(1) + 1, 10);
    let mut best = 0f64;
    for _ in 0..rounds {
        let start = Instant::now();
        (0..threads).into_par_iter().for_each(|thread| (0..turns).for_each(|_| f(thread)));
        best = best.max((turns * bytes) as f64 / start.elapsed().as_secs_f64());
    }
    best
}

/// A buffer of f32 for each of so many threads, `bytes` together.
fn shares(bytes: usize, threads: usize) -> Vec<Mutex<Vec<f32>>> {
    (0..threads).map(|_| Mutex::new(vec![1f32; bytes.div_ceil(4 * threads)])).collect()
}

/// For one thread and for all of them.
fn fastest(f: impl Fn(usize) -> f64) -> f64 {
    f(1).max(f(rayon::current_num_threads()))
}

fn read(bytes: usize) -> f64 {
    fastest(|threads| {
        let shares = shares(bytes, threads);
        rate(bytes, threads, |thread| {
            let share = shares[thread].lock().expect("no thread panics");
            // Additions of integers, which the compiler vectorises.
            black_box(share.iter().fold(0u32, |sum, x| sum.wrapping_add(x.to_bits())));
        })
    })
}

fn write(bytes: usize) -> f64 {
    fastest(|threads| {
        let shares = shares(bytes, threads);
        rate(bytes, threads, |thread| {
            let mut share = shares[thread].lock().expect("no thread panics");
            share.fill(black_box(2.0));
        })
    })
}

fn copy(bytes: usize) -> f64 {
    fastest(|threads| {
        let shares = shares(bytes, threads);
        rate(bytes, threads, |thread| {
            let mut share = shares[thread].lock().expect("no thread panics");
            let half = share.len() / 2;
            let (from, to) = share.split_at_mut(half);
            to[..half].copy_from_slice(from);
            black_box(&mut *share);
        })
    })
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
