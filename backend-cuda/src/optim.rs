//! Optimizer steps.

use crate::device::Cuda;
use crate::memory::Storage;
use minitorch_core::backend::{StepRule, StepSlot};
use minitorch_core::ops::composed;

pub(crate) fn optimizer_step(device: &Cuda, rule: &StepRule, slots: &mut [StepSlot<'_, Cuda>], scalars: &mut Storage) {
    composed::optimizer_step(device, rule, slots, scalars);
}
