//! The measurement of an operation: its launches, its time, and its share of the peak rates.

use crate::ceilings::Ceilings;
use crate::measure::{Budget, measure};
use crate::ops::{Prepared, Work};
use minitorch::prelude::*;
use minitorch::{Launch, launches};

/// The lower bound of the time of an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bound {
    Memory,
    Arithmetic,
}

/// The effort of a measurement; on a slow device a repetition is a single call.
pub(crate) fn budget(slow: bool) -> Budget {
    if slow { Budget { seconds: 0.0, repeats: 3 } } else { Budget { seconds: 0.01, repeats: 5 } }
}

/// The measurement of an operation.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Shapes.
    pub(crate) operands: String,
    pub(crate) work: Work,
    pub(crate) launches: Vec<Launch>,
    pub(crate) seconds: f64,
    /// `max(bytes / peak bandwidth, flops / peak rate) / seconds`; `None` if the peak rates are not known.
    pub(crate) share: Option<f64>,
    pub(crate) bound: Bound,
}

/// Measures an operation.
///
/// # Errors
/// If the device fails.
pub(crate) fn row<B: Backend>(
    device: &B,
    name: &'static str,
    prepared: Prepared,
    budget: Budget,
    ceilings: Option<&mut Ceilings<'_>>,
) -> Result<Row> {
    let Prepared { operands, work, mut call } = prepared;
    // A warm-up call: the launches of later ones do not change.
    call();
    device.synchronize()?;
    let ((), launches) = launches(&mut call);
    let seconds = measure(device, budget, &mut *call)?.seconds;
    let floor = match ceilings {
        Some(ceilings) => Some((ceilings.memory(work.bytes)?, work.flops as f64 / ceilings.flops)),
        None => None,
    };
    let is_arithmetic = floor.map_or(work.flops > work.bytes, |(memory, arithmetic)| arithmetic > memory);
    let bound = if is_arithmetic { Bound::Arithmetic } else { Bound::Memory };
    let share = floor.map(|(memory, arithmetic)| memory.max(arithmetic) / seconds);
    Ok(Row { name, operands, work, launches, seconds, share, bound })
}
