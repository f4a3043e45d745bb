//! Optimizer steps: entries and numbers for `shaders/optim.wgsl`. A dispatch per parameter (eight buffers are all that a shader
//! may bind), and one that counts the step.

use crate::copy;
use crate::device::Wgpu;
use crate::memory::Storage;
use crate::stream::{Bind, Shader};
use bytemuck::{Pod, Zeroable};
use minitorch_core::backend::{StepRule, StepSlot};

/// What optim.wgsl takes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct OptimParams {
    first: [f32; 2],
    second: [f32; 2],
    logs: [f32; 2],
    decay: f32,
    decoupled: f32,
    eps: f32,
    momentum: f32,
    lr_decay: f32,
    start: f32,
    missed: f32,
    nesterov: u32,
    numel: u32,
    offset: u32,
}

/// What a weighted mean keeps, and what enters it.
fn shares(keep: f64) -> [f32; 2] {
    [keep as f32, (1.0 - keep) as f32]
}

/// The entry of a rule, and the rule's numbers.
fn parts(rule: &StepRule, fresh: bool) -> (&'static str, OptimParams) {
    let nothing = OptimParams::zeroed();
    match *rule {
        StepRule::Sgd(config) => {
            let params = OptimParams {
                first: if fresh { [0.0, 1.0] } else { [config.momentum as f32, (1.0 - config.dampening) as f32] },
                decay: config.weight_decay as f32,
                momentum: config.momentum as f32,
                nesterov: config.nesterov as u32,
                ..nothing
            };
            (if config.momentum == 0.0 { "sgd" } else { "momentum" }, params)
        }
        StepRule::Adam(config) => {
            let decay = config.weight_decay as f32;
            // At beta = 0 the logarithm is infinite, which WGSL need not know; e to this is 0 too.
            let log = |beta: f64| beta.ln().max(-1e6) as f32;
            let params = OptimParams {
                first: shares(config.beta1),
                second: shares(config.beta2),
                logs: [log(config.beta1), log(config.beta2)],
                decay: if config.decoupled { 0.0 } else { decay },
                decoupled: if config.decoupled { decay } else { 0.0 },
                eps: config.eps as f32,
                ..nothing
            };
            ("adam", params)
        }
        StepRule::RmsProp(config) => {
            let entry = match (config.centered, config.momentum != 0.0) {
                (false, false) => "rmsprop",
                (true, false) => "rmsprop_centered",
                (false, true) => "rmsprop_momentum",
                (true, true) => "rmsprop_both",
            };
            let params = OptimParams {
                first: shares(config.alpha),
                decay: config.weight_decay as f32,
                eps: config.eps as f32,
                momentum: config.momentum as f32,
                ..nothing
            };
            (entry, params)
        }
        StepRule::Adagrad(config) => {
            let params = OptimParams {
                decay: config.weight_decay as f32,
                eps: config.eps as f32,
                lr_decay: config.lr_decay as f32,
                start: if fresh { config.initial as f32 } else { 0.0 },
                ..nothing
            };
            ("adagrad", params)
        }
    }
}

pub(crate) fn optimizer_step(device: &Wgpu, rule: &StepRule, slots: &mut [StepSlot<'_, Wgpu>], scalars: &mut Storage) {
    if slots.is_empty() {
        return;
    }
    let shader = |entry| Shader { file: "optim", entry, op: None };
    for slot in slots.iter().filter(|slot| slot.grad.layout.numel() > 0) {
        let layout = slot.grad.layout;
        let copied = (!layout.is_contiguous()).then(|| copy::copy(device, slot.grad));
        let (grad, offset) = match &copied {
            Some(copied) => (copied, 0),
            None => (slot.grad.storage, layout.offset()),
        };
        let (entry, numbers) = parts(rule, slot.fresh);
        let (numel, offset) = (layout.numel() as u32, offset as u32);
        let params = OptimParams { missed: slot.missed as f32, numel, offset, ..numbers };
        let mut binds = vec![Bind::Write(&*slot.param), Bind::Read(grad), Bind::Read(&*scalars)];
        binds.extend(slot.state.iter().map(|state| Bind::Write(state)));
        device.dispatch(shader(entry), device.walk_over(layout.numel()), &params, &binds);
    }
    // Without any element the step still counts.
    device.dispatch(shader("count"), [1; 3], &OptimParams::zeroed(), &[Bind::Write(scalars)]);
}
