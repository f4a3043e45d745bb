//! The peak rates of a device, measured before the rows, whose shares are relative to them.
//!
//! On the CPU: fused multiply-adds in registers on all threads; and the fastest of reading, writing and copying the
//! same number of bytes, on one thread or on all, in whichever cache they fit. On a GPU: a large matrix product, and
//! copies of the same number of bytes.

use crate::backends::About;
use crate::fma::fma;
use crate::measure::{Budget, measure};
use minitorch::launch::Extent;
use minitorch::launches;
use minitorch::prelude::*;
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Barrier;
use std::time::Instant;

/// Below this number of bytes, which fit registers and the L1 cache, moving them is no lower bound of the time.
const MIN_BYTES: usize = 4096;

/// The seconds that it takes to move a number of bytes.
type Move<'a> = Box<dyn Fn(usize) -> Result<f64> + 'a>;

pub(crate) struct Ceilings<'a> {
    /// Floating-point operations per second.
    pub(crate) flops: f64,
    /// How they were measured.
    pub(crate) flops_by: String,
    /// Bytes read and written per second by moving [`Ceilings::LARGE`].
    pub(crate) copy: f64,
    pub(crate) copy_by: &'static str,
    seconds: HashMap<usize, f64>,
    moves: Move<'a>,
}

impl<'a> Ceilings<'a> {
    /// More bytes than any cache of a CPU holds.
    const LARGE: usize = 256 << 20;

    pub(crate) fn measure<B: Backend>(device: &'a B, about: &About, budget: Budget) -> Result<Self> {
        if about.name == "cpu" {
            let threads = threads(device);
            let flops = (0..5).map(|_| multiply_adds(threads)).fold(0.0, f64::max);
            let copy = host_rate(Ceilings::LARGE, threads);
            let moves: Move<'a> = Box::new(move |bytes| Ok(bytes as f64 / host_rate(bytes, threads)));
            let flops_by = format!("fused multiply-adds in registers, {threads} threads");
            let copy_by = "the fastest of reading, writing and copying 256 MiB";
            return Ok(Ceilings { flops, flops_by, copy, copy_by, seconds: HashMap::new(), moves });
        }
        let (side, large, copy_by) = match about.is_emulated {
            true => (64, 64 << 10, "copying 64 KiB"),
            false => (4096, Ceilings::LARGE, "copying 256 MiB"),
        };
        let [a, b] = [0, 1].map(|_| Tensor::rand([side, side], device) - 0.5);
        let once = measure(device, budget, &mut || drop(a.matmul(&b)))?.seconds;
        let moves: Move<'a> = Box::new(move |bytes| {
            // A copy reads and writes each of its bytes.
            let x = Tensor::ones([(bytes / 8).max(1)], device);
            Ok(measure(device, budget, &mut || drop(device.copy(x.view())))?.seconds)
        });
        let copy = large as f64 / moves(large)?;
        Ok(Ceilings {
            flops: 2.0 * (side * side * side) as f64 / once,
            flops_by: format!("the product of two matrices of {side} x {side}"),
            copy,
            copy_by,
            seconds: HashMap::new(),
            moves,
        })
    }

    /// The minimal time in seconds to move `bytes`, the sum of reads and writes.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn memory(&mut self, bytes: usize) -> Result<f64> {
        if bytes < MIN_BYTES {
            return Ok(0.0);
        }
        // Sizes within an eighth share a measurement.
        let step = (bytes.next_power_of_two() / 16).max(1);
        let size = bytes.div_ceil(step) * step;
        let measured = match self.seconds.get(&size) {
            Some(&measured) => measured,
            None => {
                let measured = (self.moves)(size)?;
                self.seconds.insert(size, measured);
                measured
            }
        };
        Ok(measured * bytes as f64 / size as f64)
    }
}

/// The number of threads of a large operation.
fn threads<B: Backend>(device: &B) -> usize {
    let x = Tensor::zeros([1 << 22], device);
    let (_, launches) = launches(|| &x + &x);
    let used = launches.iter().map(|launch| match launch.extent {
        Extent::Threads { threads, .. } => threads as usize,
        _ => 1,
    });
    used.max().unwrap_or(1)
}

/// The best rate in bytes per second of reading, writing or copying `bytes`, on one thread or on all.
fn host_rate(bytes: usize, threads: usize) -> f64 {
    let of = |threads: usize| {
        [read as fn(&mut [f32]), write, copy].into_iter().map(|f| rate(bytes, threads, f)).fold(0.0, f64::max)
    };
    of(1).max(of(threads))
}

/// The best rate of `f` in bytes per second. Each thread calls it on its share of the bytes.
fn rate(bytes: usize, threads: usize, f: fn(&mut [f32])) -> f64 {
    // Enough calls per measurement to make the overhead of the clock negligible.
    let (calls, rounds) = ((32 << 20) / bytes.max(1) + 1, 6);
    let barrier = Barrier::new(threads);
    let run = || {
        let mut share = vec![1f32; bytes.div_ceil(4 * threads)];
        let mut best = f64::INFINITY;
        for _ in 0..rounds {
            barrier.wait();
            let start = Instant::now();
            (0..calls).for_each(|_| f(black_box(&mut share)));
            barrier.wait();
            best = best.min(start.elapsed().as_secs_f64());
        }
        best
    };
    let best = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let own = run();
        others.into_iter().filter_map(|other| other.join().ok()).fold(own, f64::max)
    });
    (calls * bytes) as f64 / best
}

fn read(share: &mut [f32]) {
    // Additions of integers, which the compiler vectorises.
    black_box(share.iter().fold(0u32, |sum, x| sum.wrapping_add(x.to_bits())));
}

fn write(share: &mut [f32]) {
    share.fill(black_box(2.0));
}

fn copy(share: &mut [f32]) {
    let (from, to) = share.split_at_mut(share.len() / 2);
    to[..from.len()].copy_from_slice(from);
}

/// The rate of fused multiply-adds in registers, in floating-point operations per second.
fn multiply_adds(threads: usize) -> f64 {
    const STEPS: usize = 4_000_000;
    let start = Instant::now();
    let lanes: usize = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(|| fma(STEPS))).collect();
        let own = fma(STEPS);
        own + others.into_iter().filter_map(|other| other.join().ok()).sum::<usize>()
    });
    2.0 * (STEPS * lanes) as f64 / start.elapsed().as_secs_f64()
}
