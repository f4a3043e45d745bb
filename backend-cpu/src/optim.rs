//! Optimizer steps, one pass over each parameter. Cost: SGD reads p and g and writes p; momentum adds one read and one
//! write, Adam two of each.
//!
//! The formulas are at `SgdConfig` and `AdamConfig`. Numbers of a step (bias corrections, step size) are computed once in
//! f64, from the learning rate that `scalars` holds in the parameters' type, and rounded to that type.

use crate::copy::contiguous;
use crate::element::{Element, Real, source};
use crate::memory::{Buffer, Storage};
use crate::simd::{Isa, Kernel, dispatch};
use crate::{Cpu, parallel};
use minitorch_core::backend::{AdamConfig, SgdConfig, StepSlot, ViewOf};

/// A gradient's elements: in place if contiguous, else copied.
enum Gradient<'a, T: Element> {
    InPlace(&'a [T]),
    Copied(Buffer<T>),
}

impl<'a, T: Element> Gradient<'a, T> {
    fn new(device: &Cpu, grad: ViewOf<'a, Cpu>) -> Self {
        let layout = grad.layout;
        if layout.numel() == 0 {
            Gradient::InPlace(&[])
        } else if layout.is_contiguous() {
            Gradient::InPlace(&T::read(grad.storage)[layout.offset()..][..layout.numel()])
        } else {
            Gradient::Copied(contiguous(device, source::<T>(grad)))
        }
    }

    fn elements(&self) -> &[T] {
        match self {
            Gradient::InPlace(elements) => elements,
            Gradient::Copied(buffer) => buffer,
        }
    }
}

/// Learning rate and finished steps; counts this one.
fn begin(scalars: &mut Storage) -> (f64, f64) {
    match scalars {
        Storage::F32(s) => {
            s[1] += 1.0;
            (s[0] as f64, s[1] as f64)
        }
        Storage::F64(s) => {
            s[1] += 1.0;
            (s[0], s[1])
        }
        other => unreachable!("parameters are floats, not {}", other.dtype()),
    }
}

pub(crate) fn sgd_step(device: &Cpu, slots: &mut [StepSlot<'_, Cpu>], scalars: &mut Storage, config: &SgdConfig) {
    let (lr, _) = begin(scalars);
    for slot in slots {
        match slot.param {
            Storage::F32(_) => sgd::<f32>(device, slot, lr, config),
            _ => sgd::<f64>(device, slot, lr, config),
        }
    }
}

fn sgd<T: Real>(device: &Cpu, slot: &mut StepSlot<'_, Cpu>, lr: f64, config: &SgdConfig) {
    let gradient = Gradient::<T>::new(device, slot.grad);
    let (g, p) = (gradient.elements(), T::write(slot.param));
    let decay = T::of(config.weight_decay);
    let lr = T::of(lr);
    let Some(v) = slot.state.first_mut() else {
        return parallel::pieces(p, 1, 1, |at, p| dispatch(Sgd { p, g: &g[at..], lr, decay }));
    };
    let (keep, share) = if slot.fresh { (0.0, 1.0) } else { (config.momentum, 1.0 - config.dampening) };
    let (ahead, own) = if config.nesterov { (config.momentum, 1.0) } else { (1.0, 0.0) };
    let [keep, share, ahead, own] = [keep, share, ahead, own].map(T::of);
    parallel::pieces2((p, T::write(v)), 2, |at, p, v| {
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
            // Without decay `0 p` would turn an infinite parameter into NaN.
            let g = if decay == T::ZERO { g } else { g + decay * *p };
            *v = if keep == T::ZERO { share * g } else { keep * *v + share * g };
            *p = *p - lr * if own == T::ZERO { *v } else { g + ahead * *v };
        }
    }
}

pub(crate) fn adam_step(device: &Cpu, slots: &mut [StepSlot<'_, Cpu>], scalars: &mut Storage, config: &AdamConfig) {
    let (lr, t) = begin(scalars);
    for slot in slots {
        match slot.param {
            Storage::F32(_) => adam::<f32>(device, slot, [lr, t], config),
            _ => adam::<f64>(device, slot, [lr, t], config),
        }
    }
}

fn adam<T: Real>(device: &Cpu, slot: &mut StepSlot<'_, Cpu>, [lr, t]: [f64; 2], config: &AdamConfig) {
    let gradient = Gradient::<T>::new(device, slot.grad);
    let (g, p) = (gradient.elements(), T::write(slot.param));
    let [m, v] = &mut slot.state[..] else { unreachable!("adam_step: a slot has two moments") };
    let (m, v) = (T::write(m), T::write(v));
    let steps = t - slot.missed as f64;
    // 1 - beta^steps without cancellation; at beta = 0 the logarithm is -inf and the correction 1.
    let correction = |beta: f64| -(steps * beta.ln()).exp_m1();
    let (coupled, kept) =
        if config.decoupled { (0.0, 1.0 - lr * config.weight_decay) } else { (config.weight_decay, 1.0) };
    let step = Adam {
        p,
        m,
        v,
        g,
        size: T::of(lr / correction(config.beta1)),
        root: T::of(1.0 / correction(config.beta2).sqrt()),
        eps: T::of(config.eps),
        coupled: T::of(coupled),
        kept: T::of(kept),
        beta1: [config.beta1, 1.0 - config.beta1].map(T::of),
        beta2: [config.beta2, 1.0 - config.beta2].map(T::of),
    };
    step.split();
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
    /// The penalty that enters the gradient.
    coupled: T,
    /// What is left of a parameter before the step.
    kept: T,
    /// beta and 1 - beta
    beta1: [T; 2],
    beta2: [T; 2],
}

impl<T: Real> Adam<'_, T> {
    /// In halves, on all threads, until a piece is small; every element is computed alone, so the cuts change no bit.
    fn split(self) {
        let half = self.p.len() / 2;
        if 4 * self.p.len() < parallel::PARALLEL {
            return dispatch(self);
        }
        let ((p, p2), (m, m2)) = (self.p.split_at_mut(half), self.m.split_at_mut(half));
        let ((v, v2), (g, g2)) = (self.v.split_at_mut(half), self.g.split_at(half));
        let Adam { size, root, eps, coupled, kept, beta1, beta2, .. } = self;
        let part = |p, m, v, g| Adam { p, m, v, g, size, root, eps, coupled, kept, beta1, beta2 };
        let (a, b) = (part(p, m, v, g), part(p2, m2, v2, g2));
        rayon::join(|| a.split(), || b.split());
    }
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
