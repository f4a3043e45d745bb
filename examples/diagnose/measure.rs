//! The time of a call.

use minitorch::prelude::*;
use std::time::Instant;

/// The effort of a measurement.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    /// The minimal seconds of a repetition.
    seconds: f64,
    /// Repetitions; the median is reported.
    repeats: usize,
}

impl Budget {
    /// On a slow device a repetition is a single call.
    pub(crate) fn new(slow: bool) -> Self {
        if slow { Budget { seconds: 0.0, repeats: 3 } } else { Budget { seconds: 0.01, repeats: 5 } }
    }
}

/// A call that takes more seconds is not repeated.
const LONG: f64 = 1.0;

/// The time of a call in a stream of calls, including the wait for the device: the median of several repetitions, after
/// a warm-up.
///
/// # Errors
/// If the device fails.
pub(crate) fn seconds<B: Backend>(device: &B, budget: Budget, call: &mut dyn FnMut()) -> Result<f64> {
    let mut time = |calls: usize| {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        device.synchronize()?;
        Ok::<_, Error>(start.elapsed().as_secs_f64() / calls as f64)
    };
    // The first call compiles kernels and allocates memory from the OS.
    time(1)?;
    let mut once = time(1)?;
    if once > LONG {
        return Ok(once);
    }
    let mut calls = 1;
    // Calls overlap once several are queued, so their number is found in steps.
    for _ in 0..4 {
        let wanted = (budget.seconds / once.max(1e-9)).ceil().clamp(1.0, 50_000.0) as usize;
        if wanted <= calls {
            break;
        }
        calls = wanted.min(16 * calls);
        once = time(calls)?;
    }
    let mut times = (0..budget.repeats).map(|_| time(calls)).collect::<Result<Vec<_>>>()?;
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
