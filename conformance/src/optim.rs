//! Optimizer steps: the device's fused step, its composition on the same device, and the formula on the host.

use crate::close::{Values, assert_close, eps, read_storage};
use crate::{On, Suite};
use minitorch_core::DType;
use minitorch_core::backend::{AdagradConfig, AdamConfig, Backend, RmsPropConfig, SgdConfig, StepRule, StepSlot};
use minitorch_core::ops::composed;

/// A parameter of the step: its length, and the steps that it missed.
const SLOTS: [(usize, u64); 5] = [(6, 0), (1, 0), (35, 2), (4097, 1), (0, 0)];
const STEPS: usize = 4;
const LR: f64 = 0.0625;

/// The formulas of the rules' documentation, in f64 on the host. `step` counts from 1.
fn on_the_host(rule: StepRule, p: &mut f64, state: &mut [f64], mut g: f64, step: i32, fresh: bool) {
    match rule {
        StepRule::Sgd(c) => {
            g += c.weight_decay * *p;
            let mut direction = g;
            if let [v] = state {
                *v = if fresh { g } else { c.momentum * *v + (1.0 - c.dampening) * g };
                direction = if c.nesterov { g + c.momentum * *v } else { *v };
            }
            *p -= LR * direction;
        }
        StepRule::Adam(c) => {
            if c.decoupled {
                *p *= 1.0 - LR * c.weight_decay;
            } else {
                g += c.weight_decay * *p;
            }
            let [m, v] = state else { panic!("Adam has two moments") };
            *m = c.beta1 * *m + (1.0 - c.beta1) * g;
            *v = c.beta2 * *v + (1.0 - c.beta2) * g * g;
            let correct = |beta: f64| 1.0 - beta.powi(step);
            *p -= LR / correct(c.beta1) * *m / (v.sqrt() / correct(c.beta2).sqrt() + c.eps);
        }
        StepRule::RmsProp(c) => {
            g += c.weight_decay * *p;
            let (v, rest) = state.split_first_mut().unwrap_or_else(|| panic!("RMSprop has a mean square"));
            *v = c.alpha * *v + (1.0 - c.alpha) * g * g;
            let mut square = *v;
            if c.centered {
                rest[0] = c.alpha * rest[0] + (1.0 - c.alpha) * g;
                square = (square - rest[0] * rest[0]).max(0.0);
            }
            let mut direction = g / (square.sqrt() + c.eps);
            if c.momentum != 0.0 {
                let b = &mut rest[c.centered as usize];
                *b = c.momentum * *b + direction;
                direction = *b;
            }
            *p -= LR * direction;
        }
        StepRule::Adagrad(c) => {
            g += c.weight_decay * *p;
            state[0] += g * g;
            *p -= LR / (1.0 + (step - 1) as f64 * c.lr_decay) * g / (state[0].sqrt() + c.eps);
        }
    }
}

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    let sgd = SgdConfig::default();
    let adam = AdamConfig { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, decoupled: false };
    let rms = RmsPropConfig { alpha: 0.99, eps: 1e-8, momentum: 0.0, centered: false, weight_decay: 0.0 };
    let adagrad = AdagradConfig { lr_decay: 0.0, eps: 1e-10, initial: 0.0, weight_decay: 0.0 };
    let rules = [
        ("sgd", StepRule::Sgd(sgd)),
        ("sgd_decay", StepRule::Sgd(SgdConfig { weight_decay: 0.1, ..sgd })),
        ("sgd_momentum", StepRule::Sgd(SgdConfig { momentum: 0.9, ..sgd })),
        ("sgd_nesterov", StepRule::Sgd(SgdConfig { momentum: 0.9, nesterov: true, weight_decay: 0.01, ..sgd })),
        ("sgd_dampening", StepRule::Sgd(SgdConfig { momentum: 0.8, dampening: 0.3, weight_decay: 0.1, ..sgd })),
        ("adam", StepRule::Adam(adam)),
        ("adam_decay", StepRule::Adam(AdamConfig { weight_decay: 0.1, ..adam })),
        ("adamw", StepRule::Adam(AdamConfig { weight_decay: 0.1, decoupled: true, ..adam })),
        ("adam_betas", StepRule::Adam(AdamConfig { beta1: 0.5, beta2: 0.9, eps: 1e-3, ..adam })),
        ("adam_without_momentum", StepRule::Adam(AdamConfig { beta1: 0.0, ..adam })),
        ("rmsprop", StepRule::RmsProp(rms)),
        ("rmsprop_decay", StepRule::RmsProp(RmsPropConfig { weight_decay: 0.1, alpha: 0.9, eps: 1e-3, ..rms })),
        ("rmsprop_momentum", StepRule::RmsProp(RmsPropConfig { momentum: 0.9, ..rms })),
        ("rmsprop_centered", StepRule::RmsProp(RmsPropConfig { centered: true, alpha: 0.9, ..rms })),
        ("rmsprop_all", StepRule::RmsProp(RmsPropConfig { centered: true, momentum: 0.5, weight_decay: 0.1, ..rms })),
        ("adagrad", StepRule::Adagrad(adagrad)),
        ("adagrad_decays", StepRule::Adagrad(AdagradConfig { lr_decay: 0.5, weight_decay: 0.1, ..adagrad })),
        ("adagrad_initial", StepRule::Adagrad(AdagradConfig { initial: 0.25, eps: 1e-3, ..adagrad })),
    ];
    for (name, rule) in rules {
        suite.floats(name, 5000, move |on| follow(on, rule));
    }
    suite.floats("many_parameters", 20_000, move |on| many(on, StepRule::Adam(adam)));
    suite.floats("rmsprop_of_a_constant", 1, constant_gradient);
    suite.f32("without_parameters", 2, |on| {
        // No slots: no work and no error.
        if let Ok(mut scalars) = on.device.full(DType::F32, 2, 1.0) {
            on.device.optimizer_step(&StepRule::Sgd(SgdConfig::default()), &mut [], &mut scalars);
        }
        assert!(on.device.synchronize().is_ok());
    });
}

/// The variance of a constant gradient falls to 0; by rounding alone it could be negative, and its root NaN.
fn constant_gradient<B: Backend>(on: &On<B>) {
    let config = RmsPropConfig { alpha: 0.5, eps: 1.0, momentum: 0.0, centered: true, weight_decay: 0.0 };
    let device = &on.device;
    let upload = |values: &[f64]| device.copy(on.list(values, [values.len()]).view());
    let values: Vec<f64> = (1..=64).map(|i| i as f64 / 7.0).collect();
    let (mut param, mut scalars) = (upload(&[0.0; 64]), upload(&[LR, 0.0]));
    let mut state = [upload(&[0.0; 64]), upload(&[0.0; 64])];
    let grad = on.list(&values, [64]);
    for step in 0..80 {
        let state = state.iter_mut().collect();
        let slot = StepSlot { param: &mut param, state, grad: grad.view(), missed: 0, fresh: step == 0 };
        device.optimizer_step(&StepRule::RmsProp(config), &mut [slot], &mut scalars);
    }
    let got = read_storage(device, &param, on.dtype, 64);
    assert!(got.iter().all(|p| p.is_finite() && *p < 0.0), "{got:?}");
}

/// More parameters than a device takes at once, of all sizes: two steps, fused and composed.
fn many<B: Backend>(on: &On<B>, rule: StepRule) {
    let device = &on.device;
    let lens: Vec<usize> = (0..150).map(|i| if i == 70 { 5001 } else { i * 7 % 100 }).collect();
    let copies = |values: Vec<f64>| [0, 1].map(|_| device.copy(on.list(&values, [values.len()]).view()));
    let mut params: Vec<_> =
        lens.iter().map(|&len| copies(crate::close::read(&on.uniform(-1.0, 1.0, [len])).data)).collect();
    let mut states: Vec<Vec<_>> =
        lens.iter().map(|&len| (0..rule.states()).map(|_| copies(vec![0.0; len])).collect()).collect();
    let mut scalars = copies(vec![LR, 0.0]);
    for step in 0..2 {
        let grads: Vec<_> = lens.iter().map(|&len| on.uniform(-1.0, 1.0, [len])).collect();
        for which in [0, 1] {
            let parts = params.iter_mut().zip(&mut states).zip(&grads);
            let mut slots: Vec<StepSlot<'_, B>> = parts
                .map(|((param, state), grad)| StepSlot {
                    param: &mut param[which],
                    state: state.iter_mut().map(|state| &mut state[which]).collect(),
                    grad: grad.view(),
                    missed: 0,
                    fresh: step == 0,
                })
                .collect();
            match which {
                0 => device.optimizer_step(&rule, &mut slots, &mut scalars[0]),
                _ => composed::optimizer_step(device, &rule, &mut slots, &mut scalars[1]),
            }
        }
    }
    for (i, (param, &len)) in params.iter().zip(&lens).enumerate() {
        let [fused, composed] =
            [0, 1].map(|which| Values::new([len], on.dtype, read_storage(device, &param[which], on.dtype, len)));
        assert_close(&format!("parameter {i} of {len} elements"), &fused, &composed, eps(48.0));
    }
    assert!(read_storage(device, &scalars[0], on.dtype, 2) == [LR, 2.0], "the steps were counted");
}

/// Four steps by the fused method, by the composed one and on the host, compared after each.
fn follow<B: Backend>(on: &On<B>, rule: StepRule) {
    let device = &on.device;
    let make = |len: usize, low: f64, high: f64| on.uniform(low, high, [len]);
    let start: Vec<Vec<f64>> = SLOTS.map(|(len, _)| crate::close::read(&make(len, -1.0, 1.0)).data).to_vec();
    let initial = rule.initial_state();
    let mut host: Vec<Vec<(f64, [f64; 3])>> =
        start.iter().map(|p| p.iter().map(|&p| (p, [initial; 3])).collect()).collect();
    let upload = |values: &[f64]| device.copy(on.list(values, [values.len()]).view());
    // Two copies of everything: [fused, composed].
    let mut params: [Vec<B::Storage>; 2] = [0, 1].map(|_| start.iter().map(|p| upload(p)).collect());
    let state = |len: usize| upload(&vec![initial; len]);
    let mut states: [Vec<Vec<B::Storage>>; 2] =
        [0, 1].map(|_| SLOTS.iter().map(|&(len, _)| (0..rule.states()).map(|_| state(len)).collect()).collect());
    // t counts finished steps: 3 at the start, as in a resumed run, so that a parameter can have missed some.
    let mut scalars: [B::Storage; 2] = [0, 1].map(|_| upload(&[LR, 3.0]));
    for step in 0..STEPS {
        let fresh = step == 0 && initial == 0.0;
        // A gradient may be a contiguous part of a larger tensor.
        let grads: Vec<_> =
            SLOTS.iter().map(|&(len, _)| on.uniform(-1.0, 1.0, [3, len]).narrow(0, 1, 1).reshape([len])).collect();
        let values: Vec<Vec<f64>> = grads.iter().map(|g| crate::close::read(g).data).collect();
        for which in [0, 1] {
            let mut slots: Vec<StepSlot<'_, B>> = Vec::new();
            for (i, (param, state)) in params[which].iter_mut().zip(&mut states[which]).enumerate() {
                slots.push(StepSlot {
                    param,
                    state: state.iter_mut().collect(),
                    grad: grads[i].view(),
                    missed: SLOTS[i].1,
                    fresh,
                });
            }
            match which {
                0 => device.optimizer_step(&rule, &mut slots, &mut scalars[0]),
                _ => composed::optimizer_step(device, &rule, &mut slots, &mut scalars[1]),
            }
        }
        for (i, &(_, missed)) in SLOTS.iter().enumerate() {
            let own_step = 3 + step as i32 + 1 - missed as i32;
            for ((p, state), &g) in host[i].iter_mut().zip(&values[i]) {
                on_the_host(rule, p, &mut state[..rule.states()], g, own_step, fresh);
            }
        }
        for (which, name) in ["fused", "composed"].into_iter().enumerate() {
            for (i, &(len, _)) in SLOTS.iter().enumerate() {
                let about =
                    |what: &str| format!("{name} {what} of slot {i} after step {step}, {rule:?} (seed {:#x})", on.seed);
                let values = |data| Values::new([len], on.dtype, data);
                let got = values(read_storage(device, &params[which][i], on.dtype, len));
                let want = values(host[i].iter().map(|h| h.0).collect());
                // A few roundings per step. In Adam, 1 - beta2^t by subtraction has a relative error of eps / (1 - beta2) =
                // 1000 eps; half of it remains in the root, times a step of lr: 32 eps.
                assert_close(&about("parameter"), &got, &want, eps(48.0));
                for (s, state) in states[which][i].iter().enumerate() {
                    let got = values(read_storage(device, state, on.dtype, len));
                    let want = values(host[i].iter().map(|h| h.1[s]).collect());
                    // RMSprop's velocity sums quotients of up to 1 / sqrt(1 - alpha) = 10, which may cancel.
                    let bound = if matches!(rule, StepRule::RmsProp(_)) { eps(64.0) } else { eps(16.0) };
                    assert_close(&about("state"), &got, &want, bound);
                }
            }
            let scalars = read_storage(device, &scalars[which], on.dtype, 2);
            assert!(scalars == [LR, 4.0 + step as f64], "{name}: the scalars are {scalars:?} after step {step}");
        }
    }
}
