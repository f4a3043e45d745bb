//! What ran, and how long it took.

use crate::ceilings::Ceilings;
use crate::ops::{Prepared, Work};
use minitorch::prelude::*;
use minitorch::{Launch, launches};
use std::time::Instant;

/// How much time a measurement may take.
#[derive(Clone, Copy)]
pub(crate) struct Budget {
    /// Seconds of a turn at the least.
    turn: f64,
    /// Turns, of which the median counts.
    turns: usize,
}

impl Budget {
    /// For a slow device a call is a turn.
    pub(crate) fn new(slow: bool) -> Self {
        if slow { Budget { turn: 0.0, turns: 3 } } else { Budget { turn: 0.01, turns: 5 } }
    }
}

/// Seconds beyond which one call is not repeated.
const LONG: f64 = 1.0;

/// Seconds of a call in a stream of calls, the device waited for: the median of several turns, after calls that warm up.
///
/// # Errors
/// What the device met.
pub(crate) fn seconds<B: Backend>(device: &B, budget: Budget, call: &mut dyn FnMut()) -> Result<f64> {
    let mut turn = |calls: usize| {
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        device.synchronize()?;
        Ok::<_, Error>(start.elapsed().as_secs_f64() / calls as f64)
    };
    // The first call compiles kernels and takes memory from the system.
    turn(1)?;
    let mut once = turn(1)?;
    if once > LONG {
        return Ok(once);
    }
    let mut calls = 1;
    // Calls overlap once several are queued, so that their number is found in steps.
    for _ in 0..4 {
        let wanted = (budget.turn / once.max(1e-9)).ceil().clamp(1.0, 50_000.0) as usize;
        if wanted <= calls {
            break;
        }
        calls = wanted.min(16 * calls);
        once = turn(calls)?;
    }
    let mut turns = (0..budget.turns).map(|_| turn(calls)).collect::<Result<Vec<_>>>()?;
    turns.sort_by(f64::total_cmp);
    Ok(turns[turns.len() / 2])
}

/// What bounds an operation from below.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bound {
    Memory,
    Arithmetic,
}

/// An operation as it ran.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Shapes.
    pub(crate) operands: String,
    pub(crate) work: Work,
    pub(crate) launches: Vec<Launch>,
    pub(crate) seconds: f64,
    /// The larger of the times that the bytes and the arithmetic take at the ceilings, as a share of the time; none without ceilings.
    pub(crate) share: Option<f64>,
    pub(crate) bound: Bound,
}

/// Runs an operation.
///
/// # Errors
/// What the device met.
pub(crate) fn row<B: Backend>(
    device: &B,
    name: &'static str,
    prepared: Prepared,
    budget: Budget,
    ceilings: Option<&mut Ceilings<'_>>,
) -> Result<Row> {
    let Prepared { operands, work, mut call } = prepared;
    // Warm, so that the launches are those of every later call.
    call();
    device.synchronize()?;
    let ((), launches) = launches(&mut call);
    let seconds = seconds(device, budget, &mut *call)?;
    let floor = match ceilings {
        Some(ceilings) => Some((ceilings.memory(work.bytes)?, work.flops as f64 / ceilings.flops)),
        None => None,
    };
    let is_arithmetic = floor.map_or(work.flops > work.bytes, |(memory, arithmetic)| arithmetic > memory);
    let bound = if is_arithmetic { Bound::Arithmetic } else { Bound::Memory };
    let share = floor.map(|(memory, arithmetic)| memory.max(arithmetic) / seconds);
    Ok(Row { name, operands, work, launches, seconds, share, bound })
}
