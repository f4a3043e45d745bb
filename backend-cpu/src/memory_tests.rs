//! The pool hands out aligned, initialised, exclusive memory and takes it back.

use super::*;

/// The pool is the process's; tests that look at its counters take turns.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[test]
fn classes_fit_and_waste_at_most_a_quarter() {
    let mut last = 0;
    for bytes in (1..5000).chain((13..40).flat_map(|e| [(1 << e) - 1, 1 << e, (1 << e) + 1])) {
        let class = class_of(bytes);
        assert!(class >= last && class_bytes(class) >= bytes, "{bytes} bytes in class {class}");
        assert!(class == 0 || class_bytes(class - 1) < bytes, "{bytes} bytes fit the class below {class}");
        assert!(class_bytes(class) <= bytes.max(64) * 5 / 4 + 1, "{bytes} bytes in {}", class_bytes(class));
        last = class;
    }
    assert_eq!(class_bytes(CLASSES - 1), 1 << 62);
    assert_eq!(class_of(1 << 62), CLASSES - 1);
}

#[test]
fn buffers_are_aligned_and_reused() {
    let _turn = turn();
    let len = 999_983; // a size of this test alone, so that the buffer below must be the one above
    let mut first = Buffer::<f32>::new(len).unwrap();
    assert!(first.iter().all(|&x| x == 0.0), "fresh memory is zeroed");
    assert_eq!(first.as_ptr().align_offset(ALIGNMENT), 0);
    first.fill(7.0);
    let address = first.as_ptr() as usize;
    drop(first);
    let again = Buffer::<i32>::new(len).unwrap();
    assert_eq!(again.as_ptr() as usize, address);
    assert_eq!(again[0], 7.0f32.to_bits() as i32, "stale, not undefined");
}

#[test]
fn counters_follow() {
    let _turn = turn();
    let before = stats();
    let buffer = Buffer::<f64>::new(8 << 20).unwrap();
    let during = stats();
    // Other tests allocate meanwhile, but nothing of this size.
    assert!(during.live >= before.live.saturating_sub(32 << 20) + (64 << 20) && during.peak >= during.live);
    drop(buffer);
    assert!(stats().reserved >= 64 << 20);
    release();
    assert!(stats().reserved < during.reserved);
}

#[test]
fn nothing_needs_no_memory() {
    let mut none = Buffer::<f64>::new(0).unwrap();
    assert!(none.is_empty() && none.iter_mut().next().is_none());
    assert_eq!(none.as_ptr().align_offset(ALIGNMENT), 0);
}

#[test]
fn absurd_sizes_are_an_error() {
    assert!(Buffer::<f64>::new(usize::MAX / 2).is_err());
    assert!(Buffer::<f64>::new(1 << 58).is_err());
}

#[test]
fn threads_do_not_share_buffers() {
    std::thread::scope(|scope| {
        for mark in 0..8 {
            scope.spawn(move || {
                for len in 1..2000 {
                    let mut buffer = Buffer::<i32>::new(len).unwrap();
                    buffer.fill(mark);
                    std::thread::yield_now();
                    assert!(buffer.iter().all(|&x| x == mark));
                }
            });
        }
    });
}

/// Not a check of speed on a busy machine: prints what a warm allocation costs. `cargo test --release -- --ignored`
#[test]
#[ignore = "prints a time"]
fn time_of_a_warm_allocation() {
    drop(Buffer::<f32>::new(1000));
    let start = std::time::Instant::now();
    let rounds = 1_000_000;
    for _ in 0..rounds {
        std::hint::black_box(Buffer::<f32>::new(std::hint::black_box(1000)).unwrap());
    }
    println!("{:.1} ns", start.elapsed().as_nanos() as f64 / rounds as f64);
}
