//! Optimizer steps, one pass over each parameter. Cost: SGD reads p and g and writes p; momentum adds one read and one
//! write, Adam two of each, RMSprop one to three of each, Adagrad one.
//!
//! The formulas are at the configs of `StepRule`. Numbers of a step (bias corrections, step size) are computed once in
//! f64, from the learning rate that `scalars` holds in the parameters' type, and rounded to that type.

use crate::copy::contiguous;
use crate::element::{Element, Real, source};
use crate::launch::{self, report};
use crate::memory::{Buffer, Storage};
use crate::simd::{Isa, Kernel, dispatch};
use crate::{Cpu, parallel};
use minitorch_core::backend::{AdagradConfig, AdamConfig, RmsPropConfig, SgdConfig, StepRule, StepSlot, ViewOf};

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

/// Learning rate and steps, this one counted.
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
        other => unreachable!("parameters are floats, not {}", other.dtype()),
    }
}

pub(crate) fn optimizer_step(device: &Cpu, rule: &StepRule, slots: &mut [StepSlot<'_, Cpu>], scalars: &mut Storage) {
    let scalars = begin(scalars);
    for slot in slots {
        match slot.param {
            Storage::F32(_) => step::<f32>(device, rule, slot, scalars),
            _ => step::<f64>(device, rule, slot, scalars),
        }
    }
}

fn step<T: Real>(device: &Cpu, rule: &StepRule, slot: &mut StepSlot<'_, Cpu>, [lr, t]: [f64; 2]) {
    match rule {
        StepRule::Sgd(config) => sgd::<T>(device, slot, lr, config),
        StepRule::Adam(config) => adam::<T>(device, slot, [lr, t], config),
        StepRule::RmsProp(config) => rms_prop::<T>(device, slot, lr, config),
        StepRule::Adagrad(config) => adagrad::<T>(device, slot, [lr, t], config),
    }
}

/// A step that can be cut in two; every element is computed alone, so the cuts change no bit.
trait Halve: Kernel<Output = ()> + Sized + Send {
    /// Of a parameter.
    type Elem;
    fn len(&self) -> usize;
    fn halve(self) -> (Self, Self);
}

/// In halves of halves until a piece is small, on all threads.
fn spread<K: Halve>(kernel: K) {
    fn cut<K: Halve>(kernel: K, pieces: &mut Vec<Option<K>>) {
        if 4 * kernel.len() < parallel::PARALLEL {
            return pieces.push(Some(kernel));
        }
        let (a, b) = kernel.halve();
        cut(a, pieces);
        cut(b, pieces);
    }
    if 4 * kernel.len() < parallel::PARALLEL {
        report(|| launch::on::<K::Elem>(&launch::named::<K>("step"), 1).path("in place"));
        return dispatch(kernel);
    }
    let mut pieces = Vec::new();
    cut(kernel, &mut pieces);
    report(|| launch::on::<K::Elem>(&launch::named::<K>("step"), pieces.len()).path("in place"));
    parallel::each_chunk(&mut pieces, 1, |_, piece| piece.iter_mut().filter_map(Option::take).for_each(dispatch));
}

fn sgd<T: Real>(device: &Cpu, slot: &mut StepSlot<'_, Cpu>, lr: f64, config: &SgdConfig) {
    let gradient = Gradient::<T>::new(device, slot.grad);
    let (g, p) = (gradient.elements(), T::write(slot.param));
    let decay = T::of(config.weight_decay);
    let lr = T::of(lr);
    let Some(v) = slot.state.first_mut() else {
        report(|| launch::pieces::<T>("step_sgd", p.len(), 1, 1).path("in place"));
        return parallel::pieces(p, 1, 1, |at, p| dispatch(Sgd { p, g: &g[at..], lr, decay }));
    };
    let (keep, share) = if slot.fresh { (0.0, 1.0) } else { (config.momentum, 1.0 - config.dampening) };
    let (ahead, own) = if config.nesterov { (config.momentum, 1.0) } else { (1.0, 0.0) };
    let [keep, share, ahead, own] = [keep, share, ahead, own].map(T::of);
    report(|| launch::pieces::<T>("step_momentum", p.len(), 1, 2).path("in place"));
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

fn adam<T: Real>(device: &Cpu, slot: &mut StepSlot<'_, Cpu>, [lr, t]: [f64; 2], config: &AdamConfig) {
    let gradient = Gradient::<T>::new(device, slot.grad);
    let (g, p) = (gradient.elements(), T::write(slot.param));
    let [m, v] = &mut slot.state[..] else { unreachable!("Adam: a slot has two moments") };
    let (m, v) = (T::write(m), T::write(v));
    let steps = t - slot.missed as f64;
    // 1 - beta^steps without cancellation; at beta = 0 the logarithm is -inf and the correction 1.
    let correction = |beta: f64| -(steps * beta.ln()).exp_m1();
    let (coupled, kept) =
        if config.decoupled { (0.0, 1.0 - lr * config.weight_decay) } else { (config.weight_decay, 1.0) };
    spread(Adam {
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
    /// The penalty that enters the gradient.
    coupled: T,
    /// What is left of a parameter before the step.
    kept: T,
    /// beta and 1 - beta
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

fn rms_prop<T: Real>(device: &Cpu, slot: &mut StepSlot<'_, Cpu>, lr: f64, config: &RmsPropConfig) {
    let gradient = Gradient::<T>::new(device, slot.grad);
    let mut state = slot.state.iter_mut().map(|state| T::write(state));
    let (centered, momentum) = (config.centered, config.momentum != 0.0);
    let mut take = |wanted: bool| if wanted { state.next().unwrap_or_default() } else { Default::default() };
    let (v, a, b) = (take(true), take(centered), take(momentum));
    let numbers = RmsPropNumbers {
        lr: T::of(lr),
        decay: T::of(config.weight_decay),
        alpha: [config.alpha, 1.0 - config.alpha].map(T::of),
        eps: T::of(config.eps),
        momentum: T::of(config.momentum),
    };
    spread(RmsProp { p: T::write(slot.param), v, a, b, g: gradient.elements(), numbers });
}

#[derive(Clone, Copy)]
struct RmsPropNumbers<T> {
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
    numbers: RmsPropNumbers<T>,
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
        let numbers = self.numbers;
        (RmsProp { p, v, a, b, g, numbers }, RmsProp { p: p2, v: v2, a: a2, b: b2, g: g2, numbers })
    }
}

impl<T: Real> RmsProp<'_, T> {
    /// One loop for each set of states: branches inside would keep it from being vectorised.
    #[inline(always)]
    fn sweep<const CENTERED: bool, const MOMENTUM: bool>(self) {
        let RmsPropNumbers { lr, decay, alpha, eps, momentum } = self.numbers;
        let len = self.p.len();
        // Slices of one known length: no bounds checks in the loop.
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

fn adagrad<T: Real>(device: &Cpu, slot: &mut StepSlot<'_, Cpu>, [lr, t]: [f64; 2], config: &AdagradConfig) {
    let gradient = Gradient::<T>::new(device, slot.grad);
    let g = gradient.elements();
    let [sum] = &mut slot.state[..] else { unreachable!("Adagrad: a slot has one sum") };
    let before = t - 1.0 - slot.missed as f64;
    let lr = T::of(lr / (1.0 + before * config.lr_decay));
    let start = T::of(if slot.fresh { config.initial } else { 0.0 });
    let (decay, eps) = (T::of(config.weight_decay), T::of(config.eps));
    report(|| launch::pieces::<T>("step_adagrad", g.len(), 1, 3).path("in place"));
    parallel::pieces2((T::write(slot.param), T::write(sum)), 3, |at, p, s| {
        dispatch(Adagrad { p, s, g: &g[at..], lr, decay, eps, start });
    });
}

struct Adagrad<'a, T> {
    p: &'a mut [T],
    s: &'a mut [T],
    g: &'a [T],
    lr: T,
    decay: T,
    eps: T,
    /// Enters the sum first.
    start: T,
}

impl<T: Real> Kernel for Adagrad<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        let Adagrad { p, s, g, lr, decay, eps, start } = self;
        for ((p, s), &g) in p.iter_mut().zip(s).zip(g) {
            let g = if decay == T::ZERO { g } else { g + decay * *p };
            *s = *s + start + g * g;
            *p = *p - lr * g / (s.sqrt() + eps);
        }
    }
}
