//! A loop that several threads run, the caller at once and the others as they wake.
//!
//! Waking a thread takes 10 to 50 us, as long as many a loop. Rayon's own loops run on its workers alone, so that a caller outside the
//! pool sleeps until one has woken, run everything and woken it in turn. Here the caller takes pieces from the first moment; a
//! worker that wakes takes what is left, and one that wakes too late finds the loop closed and touches nothing of it.
//!
//! The caller and its helpers take pieces from two ends: in one loop they begin at the ends and meet in the middle, in the
//! next they begin in the middle. Loops often follow each other over the same data, one reading what another wrote, and so
//! each thread begins with what its own cache still holds: adding 10^6 numbers again and again, six times more than a second
//! cache, takes 0.8 of the time.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, Thread};

/// In [`Team::inside`]: the caller has run out of pieces and lets nobody in.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// In [`Team::taken`]: one index from the back.
const BACK: u64 = 1 << 32;

/// Whether the next loop begins in the middle; on one thread, at the end.
static OUTWARD: AtomicBool = AtomicBool::new(false);

/// Looks at a helper that still works on its last piece, before the caller goes to sleep.
const SPINS: usize = 400;

struct Team {
    /// What each index is given to. Lives as long as [`run`], which a helper must be inside of to call it.
    body: &'static (dyn Fn(usize) + Sync),
    count: usize,
    /// Indices taken: from the front, and [`BACK`] times those from the back.
    taken: AtomicU64,
    /// Whether this loop begins in the middle.
    outward: bool,
    /// Helpers that may call `body`, and whether more may come.
    inside: AtomicUsize,
    helpers: usize,
    owner: Thread,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Calls `body(0)` ... `body(count - 1)`, each once, on this thread and on those of the current rayon pool that come in time.
/// Panics as the first `body` that did.
pub(super) fn run(count: usize, body: &(dyn Fn(usize) + Sync)) {
    let helpers = (rayon::current_num_threads() - 1).min(count.saturating_sub(1));
    let outward = count > 1 && OUTWARD.fetch_xor(true, Ordering::Relaxed);
    if helpers == 0 {
        return if outward { (0..count).rev().for_each(body) } else { (0..count).for_each(body) };
    }
    // Every thread takes one too many before it stops.
    assert!((count as u64) < BACK / 2, "a loop of {count} pieces");
    // SAFETY: only the lifetime changes. `body` is called by this thread below, and by helpers between `enter` and `leave`; `Closing`
    // does not let this function end, not even by a panic, before all of them have left and no other can enter.
    let body = unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(body) };
    let team = Arc::new(Team {
        body,
        count,
        taken: AtomicU64::new(0),
        outward,
        inside: AtomicUsize::new(0),
        helpers,
        owner: thread::current(),
        panic: Mutex::new(None),
    });
    let closing = Closing(&team);
    team.call(1);
    team.work(1);
    drop(closing);
    let panic = team.panic.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
    if let Some(payload) = panic {
        resume_unwind(payload);
    }
}

impl Team {
    /// Wakes helper `id`, if there is one. Every helper wakes two more, so that many are awake soon.
    fn call(self: &Arc<Self>, id: usize) {
        if id > self.helpers || self.next_of(self.taken.load(Ordering::Relaxed), 1).is_none() {
            return;
        }
        let team = self.clone();
        rayon::spawn(move || {
            if team.enter() {
                team.call(2 * id);
                team.call(2 * id + 1);
                if let Err(payload) = catch_unwind(AssertUnwindSafe(|| team.work(BACK))) {
                    team.stop();
                    team.panic.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).get_or_insert(payload);
                }
            }
            team.leave();
        });
    }

    /// Calls the body as long as there are indices; `end` is 1 for those from the front, or [`BACK`].
    fn work(&self, end: u64) {
        while let Some(index) = self.next_of(self.taken.fetch_add(end, Ordering::Relaxed), end) {
            (self.body)(index);
        }
    }

    /// The index that comes next at one end after those that were taken.
    fn next_of(&self, taken: u64, end: u64) -> Option<usize> {
        let (front, back) = ((taken % BACK) as usize, (taken / BACK) as usize);
        let left = front + back < self.count;
        left.then(|| {
            let place = if end == BACK { self.count - 1 - back } else { front };
            // From the middle down to 0 and on from the last one, the other way round for helpers.
            if self.outward { (self.count / 2 + self.count - 1 - place) % self.count } else { place }
        })
    }

    /// Takes all indices.
    fn stop(&self) {
        self.taken.store(self.count as u64, Ordering::Relaxed);
    }

    /// Whether the caller waits for this thread's `leave`.
    fn enter(&self) -> bool {
        self.inside.fetch_add(1, Ordering::AcqRel) & CLOSED == 0
    }

    fn leave(&self) {
        if self.inside.fetch_sub(1, Ordering::AcqRel) == CLOSED + 1 {
            self.owner.unpark();
        }
    }
}

/// Closes the team and waits until nobody is inside, when dropped.
struct Closing<'a>(&'a Team);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let team = self.0;
        // After a panic of the caller's there is nothing left to do.
        team.stop();
        team.inside.fetch_or(CLOSED, Ordering::AcqRel);
        let mut spins = 0;
        while team.inside.load(Ordering::Acquire) != CLOSED {
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
                // Twice, for either direction.
                for count in [0, 1, 2, 2, 5, 5, 100, 100] {
                    assert_eq!(visits(count, |_| {}), vec![1; count]);
                }
            });
        }
    }

    #[test]
    fn helpers_come() {
        on_threads(4, || {
            // Each waits for another: alone none would end.
            let met = AtomicUsize::new(0);
            run(4, &|_| {
                met.fetch_add(1, Ordering::AcqRel);
                while met.load(Ordering::Acquire) < 4 {
                    thread::yield_now();
                }
            });
        });
    }

    #[test]
    fn loops_within_loops() {
        on_threads(3, || assert_eq!(visits(10, |_| assert_eq!(visits(7, |_| {}), [1; 7])), [1; 10]));
    }

    /// Helpers that wake when all is over find nothing to do, and the next loop is not theirs either.
    #[test]
    fn many_short_loops() {
        on_threads(4, || (0..20_000).for_each(|i| assert_eq!(visits(2 + i % 3, |_| {}), vec![1; 2 + i % 3])));
    }

    #[test]
    fn a_panic_ends_the_loop_and_reaches_the_caller() {
        on_threads(3, || {
            for at in [0, 1, 57, 99] {
                let within = AtomicUsize::new(0);
                let result = catch_unwind(AssertUnwindSafe(|| {
                    run(100, &|i| {
                        within.fetch_add(1, Ordering::AcqRel);
                        thread::sleep(Duration::from_micros(20));
                        within.fetch_sub(1, Ordering::AcqRel);
                        assert!(i != at, "piece {at}");
                    })
                }));
                let payload = result.expect_err("it panics");
                assert_eq!(payload.downcast_ref::<String>(), Some(&format!("piece {at}")));
                assert_eq!(within.load(Ordering::Acquire), 0, "somebody still runs a body that is gone");
            }
        });
    }
}
