//! Buffers are aligned, initialised, exclusive and reused.

use super::*;

/// Serialises the tests that read the process-wide counters.
static COUNTERS: Mutex<()> = Mutex::new(());

fn lock_counters() -> MutexGuard<'static, ()> {
    COUNTERS.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[test]
fn a_class_fits_and_wastes_at_most_a_quarter() {
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
    let _guard = lock_counters();
    let len = 999_983; // no other test has this size, so the second buffer is the first one's block
    let mut first = AlignedBuffer::<f32>::new(len).unwrap();
    assert!(first.iter().all(|&x| x == 0.0), "fresh memory is zeroed");
    assert_eq!(first.as_ptr().align_offset(ALIGNMENT), 0);
    first.fill(7.0);
    let address = first.as_ptr() as usize;
    drop(first);
    let again = AlignedBuffer::<i32>::new(len).unwrap();
    assert_eq!(again.as_ptr() as usize, address);
    assert_eq!(again[0], 7.0f32.to_bits() as i32, "contents are stale");
}

#[test]
fn counters_count_live_and_reserved_bytes() {
    let _guard = lock_counters();
    let before = stats();
    let buffer = AlignedBuffer::<f64>::new(8 << 20).unwrap();
    let during = stats();
    // Other tests allocate meanwhile, but nothing of this size.
    assert!(during.live >= before.live.saturating_sub(32 << 20) + (64 << 20) && during.peak >= during.live);
    drop(buffer);
    assert!(stats().reserved >= 64 << 20);
    release();
    assert!(stats().reserved < during.reserved);
}

#[test]
fn an_empty_buffer_has_no_block() {
    let mut empty = AlignedBuffer::<f64>::new(0).unwrap();
    assert!(empty.is_empty() && empty.iter_mut().next().is_none());
    assert_eq!(empty.as_ptr().align_offset(ALIGNMENT), 0);
}

#[test]
fn impossible_sizes_are_an_error() {
    assert!(AlignedBuffer::<f64>::new(usize::MAX / 2).is_err());
    assert!(AlignedBuffer::<f64>::new(1 << 58).is_err());
}

#[test]
fn threads_do_not_share_buffers() {
    std::thread::scope(|scope| {
        for mark in 0..8 {
            scope.spawn(move || {
                for len in 1..2000 {
                    let mut buffer = AlignedBuffer::<i32>::new(len).unwrap();
                    buffer.fill(mark);
                    std::thread::yield_now();
                    assert!(buffer.iter().all(|&x| x == mark));
                }
            });
        }
    });
}

/// Prints the time of a warm allocation: `cargo test --release -- --ignored`.
#[test]
#[ignore = "prints a time"]
fn time_of_a_warm_allocation() {
    drop(AlignedBuffer::<f32>::new(1000));
    let start = std::time::Instant::now();
    let rounds = 1_000_000;
    for _ in 0..rounds {
        std::hint::black_box(AlignedBuffer::<f32>::new(std::hint::black_box(1000)).unwrap());
    }
    println!("{:.1} ns", start.elapsed().as_nanos() as f64 / rounds as f64);
}
