//! Optimizer steps (`shaders/optim.wgsl`). A dispatch updates as many parameters as the adapter can bind the buffers of; one more
//! dispatch counts the step.

use crate::device::Wgpu;
use crate::memory::Storage;
use crate::params::params;
use crate::shader::{Form, RULES, SLOTS, Shader, code};
use crate::stream::Bind;
use bytemuck::Zeroable;
use minitorch_core::DType;
use minitorch_core::backend::{CopyOps, OptimOps, StepRule, StepSlot};
use minitorch_core::ops::composed;

params! {
    /// Mirrors `OptimParams` in optim.wgsl.
    OptimParams in "optim" {
        slots: [Slot; SLOTS],
        first: [f32; 2],
        second: [f32; 2],
        logs: [f32; 2],
        decay: f32,
        decoupled: f32,
        eps: f32,
        momentum: f32,
        lr_decay: f32,
        start: f32,
        nesterov: u32,
        unused: u32,
    }
}

params! {
    /// Mirrors `Slot` in optim.wgsl: one parameter of a dispatch.
    Slot in "optim" {
        numel: u32,
        offset: u32,
        missed: f32,
        fresh: u32,
    }
}

/// The weights of an exponential moving average: of the old value and of the new one.
fn weights(keep: f64) -> [f32; 2] {
    [keep as f32, (1.0 - keep) as f32]
}

/// The name of a rule in [`RULES`], and the parameters that all slots share.
fn rule_params(rule: &StepRule) -> (&'static str, OptimParams) {
    let nothing = OptimParams::zeroed();
    match *rule {
        StepRule::Sgd(config) => {
            let params = OptimParams {
                first: [config.momentum as f32, (1.0 - config.dampening) as f32],
                decay: config.weight_decay as f32,
                momentum: config.momentum as f32,
                nesterov: config.nesterov as u32,
                ..nothing
            };
            (if config.momentum == 0.0 { "SGD" } else { "MOMENTUM" }, params)
        }
        StepRule::Adam(config) => {
            let decay = config.weight_decay as f32;
            // At beta = 0 the logarithm is infinite, which WGSL need not represent; the exponential of this is 0, too.
            let log = |beta: f64| beta.ln().max(-1e6) as f32;
            let params = OptimParams {
                first: weights(config.beta1),
                second: weights(config.beta2),
                logs: [log(config.beta1), log(config.beta2)],
                decay: if config.decoupled { 0.0 } else { decay },
                decoupled: if config.decoupled { decay } else { 0.0 },
                eps: config.eps as f32,
                ..nothing
            };
            ("ADAM", params)
        }
        StepRule::RmsProp(config) => {
            let name = match (config.centered, config.momentum != 0.0) {
                (false, false) => "RMSPROP",
                (true, false) => "RMSPROP_CENTERED",
                (false, true) => "RMSPROP_MOMENTUM",
                (true, true) => "RMSPROP_BOTH",
            };
            let params = OptimParams {
                first: weights(config.alpha),
                decay: config.weight_decay as f32,
                eps: config.eps as f32,
                momentum: config.momentum as f32,
                ..nothing
            };
            (name, params)
        }
        StepRule::Adagrad(config) => {
            let params = OptimParams {
                decay: config.weight_decay as f32,
                eps: config.eps as f32,
                lr_decay: config.lr_decay as f32,
                start: config.initial as f32,
                ..nothing
            };
            ("ADAGRAD", params)
        }
    }
}

impl OptimOps for Wgpu {
    fn optimizer_step(&self, rule: &StepRule, slots: &mut [StepSlot<'_, Self>], scalars: &mut Storage) {
        if slots.is_empty() {
            return;
        }
        if slots[0].grad.dtype == DType::F16 {
            return composed::optimizer_step(self, rule, slots, scalars);
        }
        let (name, numbers) = rule_params(rule);
        let shader = Shader::new("optim", "update").op(code(RULES, name));
        let states = rule.states();
        let max_slots = ((self.storage_buffers() - 1) / (2 + states)).clamp(1, SLOTS);
        let mut full: Vec<_> = slots.iter().filter(|slot| slot.grad.layout.numel() > 0).collect();
        // Parameters of similar size share a dispatch: its grid has as many workgroups for each as the largest needs.
        full.sort_by_key(|slot| slot.grad.layout.numel());
        for slots in full.chunks(max_slots) {
            let copied: Vec<Option<Storage>> =
                slots.iter().map(|slot| (!slot.grad.layout.is_contiguous()).then(|| self.copy(slot.grad))).collect();
            let mut params = numbers;
            let mut binds = vec![Bind::Read(&*scalars)];
            for ((to, slot), copied) in params.slots.iter_mut().zip(slots).zip(&copied) {
                let (grad, offset) = match copied {
                    Some(copied) => (copied, 0),
                    None => (slot.grad.storage, slot.grad.layout.offset()),
                };
                let numel = slot.grad.layout.numel() as u32;
                *to = Slot { numel, offset: offset as u32, missed: slot.missed as f32, fresh: slot.fresh as u32 };
                binds.extend([Bind::Write(&*slot.param), Bind::Read(grad)]);
                binds.extend(slot.state.iter().map(|state| Bind::Write(state)));
            }
            let largest = slots.last().map_or(0, |slot| slot.grad.layout.numel());
            let [x, y, _] = self.grid_over(largest);
            let form = Form { slots: Some((states, slots.len())), ..Form::default() };
            self.dispatch(shader.form(form), [x, y, slots.len() as u32], &params, &binds);
        }
        // A step counts even if no parameter has elements.
        let count = Shader::new("optim", "count").form(Form { slots: Some((0, 1)), ..Form::default() });
        self.dispatch(count, [1; 3], &OptimParams::zeroed(), &[Bind::Write(scalars)]);
    }
}
