//! Optimizer steps, one pass over each parameter. Cost: SGD reads p and g and writes p; momentum adds one read and one write, Adam two
//! of each, RMSprop one to three of each, Adagrad one.
//!
//! The formulas are at the configs of [`StepRule`]. The scalars of a step (bias corrections, step size) are computed in f64 from the
//! learning rate in `scalars`, then rounded to the type of the parameters.

use crate::copy::contiguous;
use crate::element::{Element, Real};
use crate::launch::{self, report};
use crate::memory::{AlignedBuffer, Storage};
use crate::simd::{Isa, Kernel, dispatch};
use crate::view::source;
use crate::{Cpu, parallel};
use minitorch_core::backend::{
    AdagradConfig, AdamConfig, OptimOps, RmsPropConfig, SgdConfig, StepRule, StepSlot, ViewOf,
};

impl OptimOps for Cpu {
    fn optimizer_step(&self, rule: &StepRule, slots: &mut [StepSlot<'_, Cpu>], scalars: &mut Storage) {
        let scalars = begin(scalars);
        for slot in slots {
            match &*slot.param {
                Storage::F32(_) => step::<f32>(self, rule, slot, scalars),
                Storage::F64(_) => step::<f64>(self, rule, slot, scalars),
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

/// Steps one parameter. If its gradient or state is missing, or there is no memory, the parameter and its state stay as they are.
fn step<T: Real>(device: &Cpu, rule: &StepRule, slot: &mut StepSlot<'_, Cpu>, [lr, t]: [f64; 2]) {
    if slot.state.iter().any(|state| state.is_missing()) {
        return;
    }
    let Some(gradient) = Gradient::<T>::new(device, slot.grad) else { return };
    let g = gradient.elements();
    match rule {
        StepRule::Sgd(config) => sgd::<T>(slot, g, lr, config),
        StepRule::Adam(config) => adam::<T>(slot, g, [lr, t], config),
        StepRule::RmsProp(config) => rms_prop::<T>(slot, g, lr, config),
        StepRule::Adagrad(config) => adagrad::<T>(slot, g, [lr, t], config),
    }
}

/// The elements of a gradient: borrowed if they are contiguous, else copied.
enum Gradient<'a, T: Element> {
    Borrowed(&'a [T]),
    Copied(AlignedBuffer<T>),
}

impl<'a, T: Element> Gradient<'a, T> {
    /// `None` if the gradient is missing or there is no memory.
    fn new(device: &Cpu, grad: ViewOf<'a, Cpu>) -> Option<Self> {
        let layout = grad.layout;
        if grad.storage.is_missing() {
            None
        } else if layout.numel() == 0 {
            Some(Gradient::Borrowed(&[]))
        } else if layout.is_contiguous() {
            Some(Gradient::Borrowed(&T::read(grad.storage)[layout.offset()..][..layout.numel()]))
        } else {
            contiguous(device, source::<T>(grad)).map(Gradient::Copied)
        }
    }

    fn elements(&self) -> &[T] {
        match self {
            Gradient::Borrowed(elements) => elements,
            Gradient::Copied(buffer) => buffer,
        }
    }
}

/// An update of slices that can be divided. Elements are updated independently, so results do not depend on the division.
trait Halve: Kernel<Output = ()> + Sized + Send {
    /// The element type of the parameter.
    type Elem;
    fn len(&self) -> usize;
    fn halve(self) -> (Self, Self);
}

/// Work of an element of a [`Halve`] update.
const WORK: usize = 4;

/// Runs an update on all threads, in halves of halves until a part is below the parallel threshold.
fn split<K: Halve>(update: K) {
    fn divide<K: Halve>(update: K, parts: &mut Vec<Option<K>>) {
        if WORK * update.len() < parallel::MIN_PARALLEL_WORK {
            return parts.push(Some(update));
        }
        let (a, b) = update.halve();
        divide(a, parts);
        divide(b, parts);
    }
    if WORK * update.len() < parallel::MIN_PARALLEL_WORK {
        report(|| launch::on::<K::Elem>(&launch::named::<K>("step"), 1).path("in place"));
        return dispatch(update);
    }
    let mut parts = Vec::new();
    divide(update, &mut parts);
    report(|| launch::on::<K::Elem>(&launch::named::<K>("step"), parts.len()).path("in place"));
    parallel::each_chunk(&mut parts, 1, |_, part| part.iter_mut().filter_map(Option::take).for_each(dispatch));
}

fn sgd<T: Real>(slot: &mut StepSlot<'_, Cpu>, g: &[T], lr: f64, config: &SgdConfig) {
    let p = T::write(slot.param);
    let decay = T::of(config.weight_decay);
    let lr = T::of(lr);
    let Some(v) = slot.state.first_mut() else {
        report(|| launch::split::<T>("step_sgd", p.len(), 1, 1).path("in place"));
        return parallel::split(p, 1, 1, |at, p| dispatch(Sgd { p, g: &g[at..], lr, decay }));
    };
    let (keep, share) = if slot.fresh { (0.0, 1.0) } else { (config.momentum, 1.0 - config.dampening) };
    let (ahead, own) = if config.nesterov { (config.momentum, 1.0) } else { (1.0, 0.0) };
    let [keep, share, ahead, own] = [keep, share, ahead, own].map(T::of);
    report(|| launch::split::<T>("step_momentum", p.len(), 1, 2).path("in place"));
    parallel::split2((p, T::write(v)), 2, |at, p, v| {
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
    let (m, v) = (T::write(m), T::write(v));
    let steps = t - slot.missed as f64;
    // 1 - beta^steps without cancellation. At beta = 0 the logarithm is -inf and the correction 1.
    let correction = |beta: f64| -(steps * beta.ln()).exp_m1();
    let (coupled, kept) =
        if config.decoupled { (0.0, 1.0 - lr * config.weight_decay) } else { (config.weight_decay, 1.0) };
    split(Adam {
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

impl<T: Real> Halve for Adam<'_, T> {
    type Elem = T;

    fn len(&self) -> usize {
        self.p.len()
    }

    fn halve(self) -> (Self, Self) {
        let half = self.p.len() / 2;
        let ((p, p2), (m, m2)) = (self.p.split_at_mut(half), self.m.split_at_mut(half));
        let ((v, v2), (g, g2)) = (self.v.split_at_mut(half), self.g.split_at(half));
        let Adam { size, root, eps, coupled, kept, beta1, beta2, .. } = self;
        let part = |p, m, v, g| Adam { p, m, v, g, size, root, eps, coupled, kept, beta1, beta2 };
        (part(p, m, v, g), part(p2, m2, v2, g2))
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

fn rms_prop<T: Real>(slot: &mut StepSlot<'_, Cpu>, g: &[T], lr: f64, config: &RmsPropConfig) {
    let mut state = slot.state.iter_mut().map(|state| T::write(state));
    let (centered, momentum) = (config.centered, config.momentum != 0.0);
    let mut take = |wanted: bool| if wanted { state.next().unwrap_or_default() } else { Default::default() };
    let (v, a, b) = (take(true), take(centered), take(momentum));
    let factors = RmsPropFactors {
        lr: T::of(lr),
        decay: T::of(config.weight_decay),
        alpha: [config.alpha, 1.0 - config.alpha].map(T::of),
        eps: T::of(config.eps),
        momentum: T::of(config.momentum),
    };
    split(RmsProp { p: T::write(slot.param), v, a, b, g, factors });
}

#[derive(Clone, Copy)]
struct RmsPropFactors<T> {
    lr: T,
    decay: T,
    /// alpha and 1 - alpha
    alpha: [T; 2],
    eps: T,
    momentum: T,
}

struct RmsProp<'a, T> {
    p: &'a mut [T],
    v: &'a mut [T],
    /// The average gradient; empty unless centered.
    a: &'a mut [T],
    /// The velocity; empty without momentum.
    b: &'a mut [T],
    g: &'a [T],
    factors: RmsPropFactors<T>,
}

impl<T: Real> Halve for RmsProp<'_, T> {
    type Elem = T;

    fn len(&self) -> usize {
        self.p.len()
    }

    fn halve(self) -> (Self, Self) {
        let half = self.p.len() / 2;
        let ((p, p2), (v, v2)) = (self.p.split_at_mut(half), self.v.split_at_mut(half));
        let (a, a2) = self.a.split_at_mut(half.min(self.a.len()));
        let (b, b2) = self.b.split_at_mut(half.min(self.b.len()));
        let (g, g2) = self.g.split_at(half);
        let factors = self.factors;
        (RmsProp { p, v, a, b, g, factors }, RmsProp { p: p2, v: v2, a: a2, b: b2, g: g2, factors })
    }
}

impl<T: Real> RmsProp<'_, T> {
    /// One loop per combination of states: a branch within the loop would prevent vectorisation.
    #[inline(always)]
    fn sweep<const CENTERED: bool, const MOMENTUM: bool>(self) {
        let RmsPropFactors { lr, decay, alpha, eps, momentum } = self.factors;
        let len = self.p.len();
        // Slices of equal length: no bounds checks in the loop.
        let (p, v, g) = (self.p, &mut self.v[..len], &self.g[..len]);
        let a = if CENTERED { &mut self.a[..len] } else { self.a };
        let b = if MOMENTUM { &mut self.b[..len] } else { self.b };
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
    let initial = T::of(if slot.fresh { config.initial } else { 0.0 });
    let (decay, eps) = (T::of(config.weight_decay), T::of(config.eps));
    report(|| launch::split::<T>("step_adagrad", g.len(), 1, 3).path("in place"));
    parallel::split2((T::write(slot.param), T::write(sum)), 3, |at, p, s| {
        dispatch(Adagrad { p, s, g: &g[at..], lr, decay, eps, initial });
    });
}

struct Adagrad<'a, T> {
    p: &'a mut [T],
    s: &'a mut [T],
    g: &'a [T],
    lr: T,
    decay: T,
    eps: T,
    /// Added to the sum before the gradient: the initial value, in the first step.
    initial: T,
}

impl<T: Real> Kernel for Adagrad<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let Adagrad { p, s, g, lr, decay, eps, initial } = self;
        for ((p, s), &g) in p.iter_mut().zip(s).zip(g) {
            let g = if decay == T::ZERO { g } else { g + decay * *p };
            *s = *s + initial + g * g;
            *p = *p - lr * g / (s.sqrt() + eps);
        }
    }
}
