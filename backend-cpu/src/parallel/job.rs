//! A parallel loop in which the calling thread takes part.
//!
//! ```text
//! caller:  wake workers; while an index is left at the front: body(index); close the job; wait until the active workers leave
//! worker:  unless the job is closed: join; while an index is left at the back: body(index); leave
//! ```
//! Rayon's own loops run on its workers alone: a caller outside the pool sleeps until a worker has woken, run the loop and woken
//! the caller. Many loops are shorter than that. Here the caller starts at once, and a worker that wakes too late finds the job
//! closed.
//!
//! The caller takes indices from the front and the workers from the back. Successive loops often visit the same data, as one
//! reads what the last wrote. So every other job runs in the opposite direction, from the middle to the ends: each thread starts
//! with the data that is still in its cache.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, Thread};

/// In [`Job::active`]: the caller is waiting for the end of the job, and no worker may join.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// In [`Job::claimed`]: the unit of the upper half, one index claimed from the back.
const BACK: u64 = 1 << 32;

/// Whether the next job runs from the middle to the ends.
static FROM_MIDDLE: AtomicBool = AtomicBool::new(false);

/// How often the caller polls for the last worker before it parks its thread.
const SPINS: usize = 400;

struct Job {
    /// The function of an index. Its lifetime is that of [`run`]'s call; a worker uses it only between `join` and `leave`.
    body: &'static (dyn Fn(usize) + Sync),
    count: usize,
    /// How many indices are claimed: the caller's from the front, plus [`BACK`] times the workers' from the back.
    claimed: AtomicU64,
    from_middle: bool,
    /// The number of workers that may be using `body`, plus the flag [`CLOSED`].
    active: AtomicUsize,
    /// The number of workers that may join, at most.
    workers: usize,
    caller: Thread,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Calls `body(0)` ... `body(count - 1)`, each once, on this thread and on those of the current rayon pool that wake in time.
/// Propagates the first panic of `body`.
pub(super) fn run(count: usize, body: &(dyn Fn(usize) + Sync)) {
    let workers = (rayon::current_num_threads() - 1).min(count.saturating_sub(1));
    let from_middle = count > 1 && FROM_MIDDLE.fetch_xor(true, Ordering::Relaxed);
    if workers == 0 {
        // One thread alternates between ascending and descending order, for the same reason.
        return if from_middle { (0..count).rev().for_each(body) } else { (0..count).for_each(body) };
    }
    // Each thread claims one index too many before it stops; neither half of `claimed` may overflow.
    assert!((count as u64) < BACK / 2, "a loop of {count} chunks");
    // SAFETY: only the lifetime changes. This thread calls `body` below, and workers call it between `join` and `leave`.
    // `WaitForWorkers` keeps this function from returning or unwinding until all of them have left and no other can join.
    let body = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(body) };
    let job = Arc::new(Job {
        body,
        count,
        claimed: AtomicU64::new(0),
        from_middle,
        active: AtomicUsize::new(0),
        workers,
        caller: thread::current(),
        panic: Mutex::new(None),
    });
    let wait = WaitForWorkers(&job);
    job.wake(1);
    job.work(1);
    drop(wait);
    let panic = job.panic.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
    if let Some(payload) = panic {
        resume_unwind(payload);
    }
}

impl Job {
    /// Wakes worker `id`, if the job has that many and work is left. Each worker wakes two more, as in a binary heap.
    fn wake(self: &Arc<Self>, id: usize) {
        if id > self.workers || self.index(self.claimed.load(Ordering::Relaxed), 1).is_none() {
            return;
        }
        let job = self.clone();
        rayon::spawn(move || {
            if job.join() {
                job.wake(2 * id);
                job.wake(2 * id + 1);
                if let Err(payload) = catch_unwind(AssertUnwindSafe(|| job.work(BACK))) {
                    job.cancel();
                    job.panic.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(payload);
                }
            }
            job.leave();
        });
    }

    /// Calls the body while indices are left. `end` is 1 to claim them from the front, [`BACK`] from the back.
    fn work(&self, end: u64) {
        while let Some(index) = self.index(self.claimed.fetch_add(end, Ordering::Relaxed), end) {
            (self.body)(index);
        }
    }

    /// The index that is next at one end, if `claimed` are claimed.
    fn index(&self, claimed: u64, end: u64) -> Option<usize> {
        let (front, back) = ((claimed % BACK) as usize, (claimed / BACK) as usize);
        let left = front + back < self.count;
        left.then(|| {
            let place = if end == BACK { self.count - 1 - back } else { front };
            // From the middle: the front descends from the middle, the back ascends from there.
            if self.from_middle { (self.count / 2 + self.count - 1 - place) % self.count } else { place }
        })
    }

    /// Claims all indices.
    fn cancel(&self) {
        self.claimed.store(self.count as u64, Ordering::Relaxed);
    }

    /// Whether the job is still open. If so, the caller waits for this worker's `leave`.
    fn join(&self) -> bool {
        self.active.fetch_add(1, Ordering::AcqRel) & CLOSED == 0
    }

    fn leave(&self) {
        if self.active.fetch_sub(1, Ordering::AcqRel) == CLOSED + 1 {
            self.caller.unpark();
        }
    }
}

/// Closes the job and waits for its workers, when dropped.
struct WaitForWorkers<'a>(&'a Job);

impl Drop for WaitForWorkers<'_> {
    fn drop(&mut self) {
        let job = self.0;
        // Indices are left only if `body` panicked on this thread.
        job.cancel();
        job.active.fetch_or(CLOSED, Ordering::AcqRel);
        let mut spins = 0;
        while job.active.load(Ordering::Acquire) != CLOSED {
            if spins < SPINS {
                spins += 1;
                std::hint::spin_loop();
            } else {
                thread::park();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::testing::on_threads;
    use std::time::Duration;

    /// How often each index was visited.
    fn visits(count: usize, body: impl Fn(usize) + Sync) -> Vec<usize> {
        let visits: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
        run(count, &|i| {
            visits[i].fetch_add(1, Ordering::Relaxed);
            body(i);
        });
        visits.into_iter().map(AtomicUsize::into_inner).collect()
    }

    #[test]
    fn every_index_is_visited_once() {
        for threads in [1, 2, 3, 8] {
            on_threads(threads, || {
                // Counts occur twice, once for each direction.
                for count in [0, 1, 2, 2, 5, 5, 100, 100] {
                    assert_eq!(visits(count, |_| {}), vec![1; count]);
                }
            });
        }
    }

    #[test]
    fn workers_join() {
        on_threads(4, || {
            // Each index waits for all others: one thread alone would not end.
            let arrived = AtomicUsize::new(0);
            run(4, &|_| {
                arrived.fetch_add(1, Ordering::AcqRel);
                while arrived.load(Ordering::Acquire) < 4 {
                    thread::yield_now();
                }
            });
        });
    }

    #[test]
    fn loops_nest() {
        on_threads(3, || assert_eq!(visits(10, |_| assert_eq!(visits(7, |_| {}), [1; 7])), [1; 10]));
    }

    /// A worker that wakes after the end of its job runs nothing, neither of that job nor of the next.
    #[test]
    fn many_short_loops() {
        on_threads(4, || (0..20_000).for_each(|i| assert_eq!(visits(2 + i % 3, |_| {}), vec![1; 2 + i % 3])));
    }

    #[test]
    fn a_panic_cancels_the_loop_and_reaches_the_caller() {
        on_threads(3, || {
            for at in [0, 1, 57, 99] {
                let running = AtomicUsize::new(0);
                let result = catch_unwind(AssertUnwindSafe(|| {
                    run(100, &|i| {
                        running.fetch_add(1, Ordering::AcqRel);
                        thread::sleep(Duration::from_micros(20));
                        running.fetch_sub(1, Ordering::AcqRel);
                        assert!(i != at, "chunk {at}");
                    })
                }));
                let payload = result.expect_err("the loop panics");
                assert_eq!(payload.downcast_ref::<String>(), Some(&format!("chunk {at}")));
                assert_eq!(running.load(Ordering::Acquire), 0, "a worker outlives the loop");
            }
        });
    }
}
