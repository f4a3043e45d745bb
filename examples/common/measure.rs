//! The time of a call in a stream of calls.

use minitorch::prelude::*;
use std::time::Instant;

/// The effort of a measurement.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    /// The minimal seconds of a repetition; with 0 it is a single call.
    pub(crate) seconds: f64,
    /// Repetitions; the median is reported.
    pub(crate) repeats: usize,
}

/// A call that takes more seconds is not repeated.
const LONG: f64 = 1.0;

/// Times per call, in seconds.
#[derive(Clone, Copy)]
pub(crate) struct Timing {
    /// Until the device is done.
    pub(crate) seconds: f64,
    /// Until all calls are queued.
    pub(crate) host: f64,
    /// Half the difference of the longest and the shortest repetition, relative to `seconds`.
    pub(crate) spread: f64,
}

/// The times of a call in a stream of calls, host and device overlapped: those of the median repetition, after a warm-up.
///
/// # Errors
/// If the device fails.
pub(crate) fn measure<B: Backend>(device: &B, budget: Budget, call: &mut dyn FnMut()) -> Result<Timing> {
    let mut time = |calls: usize| {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        let queued = start.elapsed().as_secs_f64();
        device.synchronize()?;
        let done = start.elapsed().as_secs_f64();
        Ok::<_, Error>(Timing { seconds: done / calls as f64, host: queued / calls as f64, spread: 0.0 })
    };
    // The first call compiles kernels and allocates memory from the OS.
    time(1)?;
    let mut once = time(1)?;
    if once.seconds > LONG {
        return Ok(once);
    }
    let mut calls = 1;
    // Calls overlap once several are queued, so their number is found in steps.
    for _ in 0..4 {
        let wanted = (budget.seconds / once.seconds.max(1e-9)).ceil().clamp(1.0, 50_000.0) as usize;
        if wanted <= calls {
            break;
        }
        calls = wanted.min(16 * calls);
        once = time(calls)?;
    }
    let mut timings = (0..budget.repeats).map(|_| time(calls)).collect::<Result<Vec<_>>>()?;
    timings.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let median = timings[timings.len() / 2];
    let range = timings[timings.len() - 1].seconds - timings[0].seconds;
    Ok(Timing { spread: range / 2.0 / median.seconds, ..median })
}
