//! Optimizer steps, one pass over each parameter. Cost: SGD reads p and g and writes p; momentum adds one read and one write, Adam two
//! of each, RMSprop one to three of each, Adagrad one.
//!
//! The formulas are at the configs of [`StepRule`]. The scalars of a step (bias corrections, step size) are computed in f64 from the
//! learning rate in `scalars`, then rounded to the type of the parameters.

use crate::element::Real;
use crate::launch::{self, report};
use crate::memory::Storage;
use crate::simd::{Isa, Kernel, dispatch};
use crate::view::contiguous_elements;
use crate::{Cpu, parallel};
use minitorch_core::backend::{AdagradConfig, AdamConfig, OptimOps, RmsPropConfig, SgdConfig, StepRule, StepSlot};

impl OptimOps for Cpu {
    fn optimizer_step(&self, rule: &StepRule, slots: &mut [StepSlot<'_, Cpu>], scalars: &mut Storage) {
        let scalars = begin(scalars);
        for slot in slots {
            match &*slot.param {
                Storage::F32(_) => step::<f32>(rule, slot, scalars),
                Storage::F64(_) => step::<f64>(rule, slot, scalars),
                Storage::Missing(_) => {}
                other => unreachable!("core admits float parameters only, not {}", other.dtype()),
            }
        }
    }
}

/// The learning rate, and the number of steps including this one.
fn begin(scalars: &mut Storage) -> [f64; 2] {
    match scalars {
        Storage::F32(s) => {
            s[1] += 1.0;
            [s[0] as f64, s[1] as f64]
        }
        Storage::F64(s) => {
            s[1] += 1.0;
            [s[0], s[1]]
        }
        other => unreachable!("core uploads the scalars as floats, not {}", other.dtype()),
    }
}

/// Steps one parameter. If its gradient or state is missing, the parameter and its state stay as they are.
fn step<T: Real>(rule: &StepRule, slot: &mut StepSlot<'_, Cpu>, [lr, t]: [f64; 2]) {
    if slot.grad.storage.is_missing() || slot.state.iter().any(|state| state.is_missing()) {
        return;
    }
    let g = contiguous_elements::<T>(slot.grad);
    match rule {
        StepRule::Sgd(config) => sgd(slot, g, lr, config),
        StepRule::Adam(config) => adam(slot, g, [lr, t], config),
        StepRule::RmsProp(config) => rms_prop(slot, g, lr, config),
        StepRule::Adagrad(config) => adagrad(slot, g, [lr, t], config),
    }
}

/// Runs an update of slices of equal length, or empty ones, on all threads. Elements are updated independently, so results do not
/// depend on the division.
fn split<T: Real, const N: usize>(
    rule: &str,
    slices: [&mut [T]; N],
    work: usize,
    update: impl Fn(usize, [&mut [T]; N]) + Sync,
) {
    report(|| launch::split::<T>(&format!("step_{rule}"), slices[0].len(), 1, work).path("in place"));
    parallel::split_slices(slices, work, update);
}

fn sgd<T: Real>(slot: &mut StepSlot<'_, Cpu>, g: &[T], lr: f64, config: &SgdConfig) {
    let p = T::write(slot.param);
    let decay = T::of(config.weight_decay);
    let lr = T::of(lr);
    let Some(v) = slot.state.first_mut() else {
        return split("sgd", [p], 1, |at, [p]| dispatch(Sgd { p, g: &g[at..], lr, decay }));
    };
    let (keep, share) = if slot.fresh { (0.0, 1.0) } else { (config.momentum, 1.0 - config.dampening) };
    let (ahead, own) = if config.nesterov { (config.momentum, 1.0) } else { (1.0, 0.0) };
    let [keep, share, ahead, own] = [keep, share, ahead, own].map(T::of);
    split("momentum", [p, T::write(v)], 2, |at, [p, v]| {
        dispatch(Momentum { p, v, g: &g[at..], lr, decay, keep, share, ahead, own });
    });
}

struct Sgd<'a, T> {
    p: &'a mut [T],
    g: &'a [T],
    lr: T,
    decay: T,
}

impl<T: Real> Kernel for Sgd<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let Sgd { p, g, lr, decay } = self;
        if decay == T::ZERO {
            p.iter_mut().zip(g).for_each(|(p, &g)| *p = *p - lr * g);
        } else {
            p.iter_mut().zip(g).for_each(|(p, &g)| *p = *p - lr * (g + decay * *p));
        }
    }
}

/// `v = keep v + share g`, then `p -= lr (own g + ahead v)`.
struct Momentum<'a, T> {
    p: &'a mut [T],
    v: &'a mut [T],
    g: &'a [T],
    lr: T,
    decay: T,
    keep: T,
    share: T,
    ahead: T,
    own: T,
}

impl<T: Real> Kernel for Momentum<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let Momentum { p, v, g, lr, decay, keep, share, ahead, own } = self;
        for ((p, v), &g) in p.iter_mut().zip(v).zip(g) {
            // Not `g + 0 p`: that is NaN for an infinite parameter.
            let g = if decay == T::ZERO { g } else { g + decay * *p };
            *v = if keep == T::ZERO { share * g } else { keep * *v + share * g };
            *p = *p - lr * if own == T::ZERO { *v } else { g + ahead * *v };
        }
    }
}

fn adam<T: Real>(slot: &mut StepSlot<'_, Cpu>, g: &[T], [lr, t]: [f64; 2], config: &AdamConfig) {
    let p = T::write(slot.param);
    let [m, v] = &mut slot.state[..] else { unreachable!("core gives Adam two moments") };
    let steps = t - slot.missed as f64;
    // 1 - beta^steps without cancellation. At beta = 0 the logarithm is -inf and the correction 1.
    let correction = |beta: f64| -(steps * beta.ln()).exp_m1();
    let (coupled, kept) =
        if config.decoupled { (0.0, 1.0 - lr * config.weight_decay) } else { (config.weight_decay, 1.0) };
    let size = T::of(lr / correction(config.beta1));
    let root = T::of(1.0 / correction(config.beta2).sqrt());
    let [eps, coupled, kept] = [config.eps, coupled, kept].map(T::of);
    let [beta1, beta2] = [config.beta1, config.beta2].map(|beta| [beta, 1.0 - beta].map(T::of));
    split("adam", [p, T::write(m), T::write(v)], 4, |at, [p, m, v]| {
        dispatch(Adam { p, m, v, g: &g[at..], size, root, eps, coupled, kept, beta1, beta2 });
    });
}

struct Adam<'a, T> {
    p: &'a mut [T],
    m: &'a mut [T],
    v: &'a mut [T],
    g: &'a [T],
    /// `lr / (1 - beta1^t)`
    size: T,
    /// `1 / sqrt(1 - beta2^t)`
    root: T,
    eps: T,
    /// The weight decay that is added to the gradient; 0 if it is decoupled.
    coupled: T,
    /// The factor of a parameter before the step, `1 - lr weight_decay` if the decay is decoupled.
    kept: T,
    /// beta and 1 - beta.
    beta1: [T; 2],
    beta2: [T; 2],
}

impl<T: Real> Kernel for Adam<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let Adam { p, m, v, g, size, root, eps, coupled, kept, beta1, beta2 } = self;
        for (((p, m), v), &g) in p.iter_mut().zip(m).zip(v).zip(g) {
            let g = if coupled == T::ZERO { g } else { g + coupled * *p };
            *m = beta1[0] * *m + beta1[1] * g;
            *v = beta2[0] * *v + beta2[1] * (g * g);
            *p = *p * kept - size * *m / (v.sqrt() * root + eps);
        }
    }
}

fn rms_prop<T: Real>(slot: &mut StepSlot<'_, Cpu>, g: &[T], lr: f64, config: &RmsPropConfig) {
    let mut state = slot.state.iter_mut().map(|state| T::write(state));
    let mut take = |wanted: bool| if wanted { state.next().unwrap_or_default() } else { Default::default() };
    let (v, a, b) = (take(true), take(config.centered), take(config.momentum != 0.0));
    let [lr, decay, eps, momentum] = [lr, config.weight_decay, config.eps, config.momentum].map(T::of);
    let alpha = [config.alpha, 1.0 - config.alpha].map(T::of);
    split("rmsprop", [T::write(slot.param), v, a, b], 4, |at, [p, v, a, b]| {
        dispatch(RmsProp { p, v, a, b, g: &g[at..], lr, decay, alpha, eps, momentum });
    });
}

struct RmsProp<'a, T> {
    p: &'a mut [T],
    v: &'a mut [T],
    /// The average gradient; empty unless centered.
    a: &'a mut [T],
    /// The velocity; empty without momentum.
    b: &'a mut [T],
    g: &'a [T],
    lr: T,
    decay: T,
    /// alpha and 1 - alpha
    alpha: [T; 2],
    eps: T,
    momentum: T,
}

impl<T: Real> RmsProp<'_, T> {
    /// One loop per combination of states: a branch within the loop would prevent vectorisation.
    #[inline(always)]
    fn sweep<const CENTERED: bool, const MOMENTUM: bool>(self) {
        let RmsProp { p, v, a, b, g, lr, decay, alpha, eps, momentum } = self;
        let len = p.len();
        // Slices of equal length: no bounds checks in the loop.
        let (v, g) = (&mut v[..len], &g[..len]);
        let a = if CENTERED { &mut a[..len] } else { a };
        let b = if MOMENTUM { &mut b[..len] } else { b };
        for i in 0..len {
            let g = if decay == T::ZERO { g[i] } else { g[i] + decay * p[i] };
            v[i] = alpha[0] * v[i] + alpha[1] * (g * g);
            let mut square = v[i];
            if CENTERED {
                a[i] = alpha[0] * a[i] + alpha[1] * g;
                square = square - a[i] * a[i];
                square = if square < T::ZERO { T::ZERO } else { square };
            }
            let mut step = g / (square.sqrt() + eps);
            if MOMENTUM {
                b[i] = momentum * b[i] + step;
                step = b[i];
            }
            p[i] = p[i] - lr * step;
        }
    }
}

impl<T: Real> Kernel for RmsProp<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        match (self.a.is_empty(), self.b.is_empty()) {
            (true, true) => self.sweep::<false, false>(),
            (true, false) => self.sweep::<false, true>(),
            (false, true) => self.sweep::<true, false>(),
            (false, false) => self.sweep::<true, true>(),
        }
    }
}

fn adagrad<T: Real>(slot: &mut StepSlot<'_, Cpu>, g: &[T], [lr, t]: [f64; 2], config: &AdagradConfig) {
    let [sum] = &mut slot.state[..] else { unreachable!("core gives Adagrad one sum") };
    let before = t - 1.0 - slot.missed as f64;
    let lr = T::of(lr / (1.0 + before * config.lr_decay));
    let (decay, eps) = (T::of(config.weight_decay), T::of(config.eps));
    split("adagrad", [T::write(slot.param), T::write(sum)], 3, |at, [p, s]| {
        dispatch(Adagrad { p, s, g: &g[at..], lr, decay, eps });
    });
}

struct Adagrad<'a, T> {
    p: &'a mut [T],
    s: &'a mut [T],
    g: &'a [T],
    lr: T,
    decay: T,
    eps: T,
}

impl<T: Real> Kernel for Adagrad<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let Adagrad { p, s, g, lr, decay, eps } = self;
        for ((p, s), &g) in p.iter_mut().zip(s).zip(g) {
            let g = if decay == T::ZERO { g } else { g + decay * *p };
            *s += g * g;
            *p = *p - lr * g / (s.sqrt() + eps);
        }
    }
}
