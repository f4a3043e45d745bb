//! Optimizer steps (`kernels/optim.cu`): a multi-tensor launch over a table of parameters.

use crate::device::{Cuda, name, suffix};
use crate::driver::Address;
use crate::grid::THREADS;
use crate::memory::Storage;
use crate::params::params;
use minitorch_core::Layout;
use minitorch_core::backend::{CopyOps, OptimOps, StepRule, StepSlot};

/// The slots of one launch; more of them take several launches.
const SLOTS: usize = 62;

params! {
    /// One parameter of the model.
    SlotParams in "optim.cu" {
        param: Address,
        grad: Address,
        state: [Address; 3],
        numel: u64,
        missed: u64,
        block: u32,
        flags: u32,
    }
}

params! {
    /// The parameters of the kernels of optim.cu.
    OptimParams in "optim.cu" {
        scalars: Address,
        counter: Address,
        chunk: u64,
        decay: f64,
        eps: f64,
        first: [f64; 2],
        second: [f64; 2],
        logs: [f64; 2],
        momentum: f64,
        lr_decay: f64,
        initial: f64,
        nesterov: u32,
        decoupled: u32,
        count: u32,
        last: u32,
        slots: [SlotParams; SLOTS],
    }
}

// The flags of a slot, as in optim.cu.
const FRESH: u32 = 1;
const ALIGNED: u32 = 2;

const NO_SLOT: SlotParams =
    SlotParams { param: 0, grad: 0, state: [0; 3], numel: 0, missed: 0, block: 0, flags: ALIGNED };

const DEFAULT: OptimParams = OptimParams {
    scalars: 0,
    counter: 0,
    chunk: 0,
    decay: 0.0,
    eps: 0.0,
    first: [0.0; 2],
    second: [0.0; 2],
    logs: [0.0; 2],
    momentum: 0.0,
    lr_decay: 0.0,
    initial: 0.0,
    nesterov: 0,
    decoupled: 0,
    count: 0,
    last: 0,
    slots: [NO_SLOT; SLOTS],
};

/// The kernel of a rule, and the parameters that depend on the rule alone.
fn kernel(rule: &StepRule) -> (&'static str, OptimParams) {
    match *rule {
        StepRule::Sgd(config) => {
            let kernel = if config.momentum == 0.0 { "sgd" } else { "momentum" };
            let first = [config.momentum, 1.0 - config.dampening];
            let nesterov = config.nesterov as u32;
            (kernel, OptimParams { decay: config.weight_decay, first, nesterov, ..DEFAULT })
        }
        StepRule::Adam(config) => {
            let params = OptimParams {
                decay: config.weight_decay,
                eps: config.eps,
                first: [config.beta1, 1.0 - config.beta1],
                second: [config.beta2, 1.0 - config.beta2],
                logs: [config.beta1.ln(), config.beta2.ln()],
                decoupled: config.decoupled as u32,
                ..DEFAULT
            };
            ("adam", params)
        }
        StepRule::RmsProp(config) => {
            let kernel = match (config.centered, config.momentum != 0.0) {
                (false, false) => "rmsprop00",
                (false, true) => "rmsprop01",
                (true, false) => "rmsprop10",
                (true, true) => "rmsprop11",
            };
            let params = OptimParams {
                decay: config.weight_decay,
                eps: config.eps,
                first: [config.alpha, 1.0 - config.alpha],
                momentum: config.momentum,
                ..DEFAULT
            };
            (kernel, params)
        }
        StepRule::Adagrad(config) => {
            let params = OptimParams {
                decay: config.weight_decay,
                eps: config.eps,
                lr_decay: config.lr_decay,
                initial: config.initial,
                ..DEFAULT
            };
            ("adagrad", params)
        }
    }
}

impl OptimOps for Cuda {
    fn optimizer_step(&self, rule: &StepRule, slots: &mut [StepSlot<'_, Self>], scalars: &mut Storage) {
        let Some(dtype) = slots.first().map(|slot| slot.grad.dtype) else { return };
        let total: usize = slots.iter().map(|slot| slot.grad.layout.numel()).sum();
        let (kernel, mut params) = kernel(rule);
        params.scalars = scalars.address();
        params.counter = self.0.counters();
        // About one wave of blocks: each block computes the learning rates once, whatever the length of its chunk.
        let chunk = total.div_ceil(8 * self.0.multiprocessors()).next_multiple_of(4 * THREADS).max(4 * THREADS);
        params.chunk = chunk as u64;
        let mut blocks = 0;
        // Copies of gradients that are not contiguous, which live until the last launch is queued.
        let mut copies = Vec::new();
        for slot in slots.iter().filter(|slot| slot.grad.layout.numel() > 0) {
            let layout = slot.grad.layout;
            let grad = if layout.is_contiguous() {
                slot.grad.storage.tensor_ref(dtype, layout).data
            } else {
                let copy = self.copy(slot.grad);
                let address = copy.address();
                copies.push(copy);
                address
            };
            if params.count as usize == SLOTS {
                self.0.launch(name!("optim_{kernel}_{}", suffix(dtype)), [blocks, 1, 1], [THREADS, 1, 1], &params);
                (params.count, blocks) = (0, 0);
            }
            let mut state = [0; 3];
            let contiguous = Layout::contiguous(*layout.shape());
            for (to, from) in state.iter_mut().zip(&slot.state) {
                *to = from.tensor_ref(dtype, &contiguous).data;
            }
            let param = slot.param.tensor_ref(dtype, &contiguous).data;
            let aligned = state.iter().chain([&param, &grad]).all(|address| address.is_multiple_of(16));
            params.slots[params.count as usize] = SlotParams {
                param,
                grad,
                state,
                numel: layout.numel() as u64,
                missed: slot.missed,
                block: blocks as u32,
                flags: if slot.fresh { FRESH } else { 0 } | if aligned { ALIGNED } else { 0 },
            };
            params.count += 1;
            blocks += layout.numel().div_ceil(chunk);
        }
        // The last launch counts the step, so it takes place even without elements.
        params.last = 1;
        self.0.launch(name!("optim_{kernel}_{}", suffix(dtype)), [blocks.max(1), 1, 1], [THREADS, 1, 1], &params);
    }
}
