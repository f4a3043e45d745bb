//! What the machine can do at best: the floors that rows are compared with.
//!
//! ```text
//! floor(row) = max(flops / peak, replay(bytes read, bytes written))
//! peak       = independent fused multiply-adds on registers, all threads
//! replay     = the fastest sample of a loop that reads and writes so many bytes and computes nothing
//! ```
//!
//! A replay moves what the row has to move: its reads and writes go to separate buffers of the row's sizes, over and over, so that they stay
//! in the cache level in which the row's operands can stay. It tries regular stores, which read the line before they write it, and
//! non-temporal ones, which do not, on one thread and on all, and is sampled between the samples of the peers. The fastest of all
//! its samples counts, whereas a row's time is a median.

use crate::fma::fma;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::hint::black_box;
use std::ops::Range;
use std::sync::Barrier;
use std::time::Instant;

/// Rates per second on all threads.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct Ceilings {
    /// Multiplications plus additions.
    pub flops: f64,
    /// Bytes read plus bytes written, by copying 256 MiB.
    pub copy: f64,
}

impl Ceilings {
    pub fn measure() -> Self {
        Ceilings { flops: peak(), copy: copy_rate() }
    }
}

fn peak() -> f64 {
    const STEPS: usize = 20_000_000;
    let once = || {
        let threads = rayon::current_num_threads();
        let start = Instant::now();
        let lanes: usize = (0..threads).into_par_iter().map(|_| fma(STEPS)).sum();
        2.0 * (STEPS * lanes) as f64 / start.elapsed().as_secs_f64()
    };
    (0..5).map(|_| once()).fold(0.0, f64::max)
}

fn copy_rate() -> f64 {
    let bytes = (256u64 << 20) as f64;
    let mut replay = Replay::new(bytes, bytes).expect("more than the least size");
    (0..5).for_each(|_| replay.sample());
    2.0 * bytes / replay.seconds
}

/// A cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// The memory traffic of a row without its arithmetic.
pub struct Replay {
    reads: Vec<Line>,
    writes: Vec<Line>,
    /// Of the fastest pass.
    pub seconds: f64,
}

impl Replay {
    /// Bytes below which the traffic is no bound: overhead is.
    const LEAST: f64 = 4096.0;
    /// Seconds per sample of one variant.
    const SAMPLE: f64 = 5e-3;

    /// None for less than 4 KiB.
    pub fn new(reads: f64, writes: f64) -> Option<Self> {
        let enough = reads + writes >= Self::LEAST;
        enough.then(|| Replay { reads: lines(reads), writes: lines(writes), seconds: f64::INFINITY })
    }

    /// Times every variant once.
    pub fn sample(&mut self) {
        for threads in [1, rayon::current_num_threads()] {
            for streaming in [false, true] {
                let once = self.time(threads, streaming, 1);
                let passes = (Self::SAMPLE / once.max(1e-9)).ceil() as usize;
                self.seconds = self.seconds.min(self.time(threads, streaming, passes));
            }
        }
    }

    /// Seconds of one pass over both buffers, over `passes` of them.
    fn time(&mut self, threads: usize, streaming: bool, passes: usize) -> f64 {
        let (mut reads, mut writes) = (&self.reads[..], &mut self.writes[..]);
        let mut shares = Vec::new();
        for left in (1..=threads).rev() {
            let (own_reads, other_reads) = reads.split_at(reads.len() / left);
            let (own_writes, other_writes) = writes.split_at_mut(writes.len() / left);
            (reads, writes) = (other_reads, other_writes);
            shares.push((own_reads, own_writes));
        }
        let barrier = Barrier::new(threads);
        let run = |(reads, writes): (&[Line], &mut [Line])| {
            barrier.wait();
            let start = Instant::now();
            for _ in 0..passes {
                pass(black_box(reads), black_box(&mut *writes), streaming);
            }
            start.elapsed().as_secs_f64() / passes as f64
        };
        std::thread::scope(|scope| {
            let own = shares.pop().expect("there is a thread");
            let others: Vec<_> = shares.into_iter().map(|share| scope.spawn(|| run(share))).collect();
            let own = run(own);
            others.into_iter().map(|other| other.join().expect("it does not panic")).fold(own, f64::max)
        })
    }
}

/// A buffer of so many bytes.
fn lines(bytes: f64) -> Vec<Line> {
    let mut lines = Vec::with_capacity((bytes / 64.0).ceil() as usize);
    // Before the first write, which decides the size of a page.
    advise_huge_pages(&mut lines);
    lines.resize(lines.capacity(), Line([1.0; 16]));
    lines
}

/// Calls `read` and `write` with ranges of lines in step: for every 512 bytes of the smaller buffer, as large a share of the other one.
#[inline(always)]
fn in_step(reads: usize, writes: usize, mut read: impl FnMut(Range<usize>), mut write: impl FnMut(Range<usize>)) {
    let smaller = if reads.min(writes) == 0 { reads.max(writes) } else { reads.min(writes) };
    let steps = smaller.div_ceil(8).max(1);
    let (reads_of_step, writes_of_step) = (reads / steps, writes / steps);
    for step in 0..steps {
        read(step * reads_of_step..(step + 1) * reads_of_step);
        write(step * writes_of_step..(step + 1) * writes_of_step);
    }
    read(steps * reads_of_step..reads);
    write(steps * writes_of_step..writes);
}

/// A pass over both buffers with the vectors of one instruction set. It adds what it reads to four independent sums, so that no load
/// waits for an addition.
#[cfg(target_arch = "x86_64")]
macro_rules! pass_with {
    ($name:ident, $feature:literal, $vector:ident, $set1:ident, $load:ident, $add:ident, $store:ident, $stream:ident) => {
        #[target_feature(enable = $feature)]
        fn $name(reads: &[Line], writes: &mut [Line], streaming: bool) {
            use std::arch::x86_64::*;
            const PER_LINE: usize = size_of::<Line>() / size_of::<$vector>();
            let writes_len = writes.len();
            let (mut sums, value) = ([$set1(0); 4], $set1(2));
            let read = |range: Range<usize>| {
                let mut groups = reads[range].chunks_exact(4);
                for group in groups.by_ref() {
                    for (sum, line) in sums.iter_mut().zip(group) {
                        for i in 0..PER_LINE {
                            // SAFETY: it is one of the vectors that a `Line` consists of, aligned as it is.
                            *sum = $add(*sum, unsafe { $load(std::ptr::from_ref(line).cast::<$vector>().add(i)) });
                        }
                    }
                }
                for line in groups.remainder() {
                    for i in 0..PER_LINE {
                        // SAFETY: as above.
                        sums[0] = $add(sums[0], unsafe { $load(std::ptr::from_ref(line).cast::<$vector>().add(i)) });
                    }
                }
            };
            let write = |range: Range<usize>| {
                for line in &mut writes[range] {
                    for i in 0..PER_LINE {
                        let to = std::ptr::from_mut(line).cast::<$vector>().wrapping_add(i);
                        // SAFETY: as above; the borrow of the line is exclusive.
                        unsafe { if streaming { $stream(to, value) } else { $store(to, value) } };
                    }
                }
            };
            in_step(reads.len(), writes_len, read, write);
            black_box(sums);
            _mm_sfence();
        }
    };
}

#[cfg(target_arch = "x86_64")]
fn pass(reads: &[Line], writes: &mut [Line], streaming: bool) {
    pass_with!(
        avx512,
        "avx512f",
        __m512i,
        _mm512_set1_epi32,
        _mm512_load_si512,
        _mm512_add_epi32,
        _mm512_store_si512,
        _mm512_stream_si512
    );
    pass_with!(
        avx2,
        "avx2",
        __m256i,
        _mm256_set1_epi32,
        _mm256_load_si256,
        _mm256_add_epi32,
        _mm256_store_si256,
        _mm256_stream_si256
    );
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: `avx512` requires AVX-512F, detected above.
        unsafe { avx512(reads, writes, streaming) }
    } else if is_x86_feature_detected!("avx2") {
        // SAFETY: `avx2` requires AVX2, detected above.
        unsafe { avx2(reads, writes, streaming) }
    } else {
        portable(reads, writes);
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn pass(reads: &[Line], writes: &mut [Line], _streaming: bool) {
    portable(reads, writes);
}

fn portable(reads: &[Line], writes: &mut [Line]) {
    let writes_len = writes.len();
    let mut sum = Line([0.0; 16]);
    let read = |range: Range<usize>| {
        for line in &reads[range] {
            sum.0.iter_mut().zip(&line.0).for_each(|(sum, x)| *sum += x);
        }
    };
    in_step(reads.len(), writes_len, read, |range| writes[range].fill(Line([2.0; 16])));
    black_box(sum);
}

/// Asks for huge pages, as minitorch does for its buffers: otherwise TLB misses would slow the replay only.
fn advise_huge_pages(lines: &mut Vec<Line>) {
    const PAGE: usize = 4096;
    let (start, bytes) = (lines.as_mut_ptr() as usize, size_of::<Line>() * lines.capacity());
    if bytes < 2 << 20 {
        return;
    }
    let first = start.next_multiple_of(PAGE);
    let len = (start + bytes - first) / PAGE * PAGE;
    // SAFETY: these pages lie within the vector's allocation, and the advice changes no contents. A refusal is harmless.
    let _ = unsafe { rustix::mm::madvise(first as *mut _, len, rustix::mm::Advice::LinuxHugepage) };
}
