//! Test helpers of the kernels: deterministic numbers, a tolerance, thread pools.

/// `count` numbers in -1 .. 1 from a linear congruential generator.
pub(super) fn numbers(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / (1_u64 << 23) as f64 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Fails unless `|got - expected| <= tolerance * (1 + |expected|)`.
pub(super) fn check_close(got: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((got - expected).abs() <= tolerance * (1.0 + expected.abs()), "{what}: got {got}, expected {expected}");
}

/// Runs `body` in a new pool of this many threads.
pub(crate) fn on_threads<R: Send>(threads: usize, body: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool").install(body)
}
