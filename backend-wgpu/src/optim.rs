//! Optimizer steps.

use crate::device::Wgpu;
use crate::memory::Storage;
use minitorch_core::backend::{StepRule, StepSlot};
use minitorch_core::ops::composed;

pub(crate) fn optimizer_step(device: &Wgpu, rule: &StepRule, slots: &mut [StepSlot<'_, Wgpu>], scalars: &mut Storage) {
    composed::optimizer_step(device, rule, slots, scalars);
}
