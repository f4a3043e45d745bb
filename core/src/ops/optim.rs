//! Optimizer steps over many parameters.
//!
//! ```text
//! for each slot (p, state, g):  p, state = rule(p, state, g, lr, t);        then t += 1
//! ```
//!
//! The learning rate and the step count are on the device, so that a step reads nothing from the host.

use crate::backend::{Backend, BinaryOp, Device, UnaryOp, View, ViewOf};
use crate::dtype::DType;
use crate::layout::Layout;

/// What [`OptimOps::optimizer_step`] computes: an optimizer and its hyperparameters, except the learning rate, which is on the
/// device.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum StepRule {
    /// SGD, with or without momentum.
    Sgd(SgdConfig),
    /// Adam and AdamW.
    Adam(AdamConfig),
    /// RMSprop.
    RmsProp(RmsPropConfig),
    /// Adagrad.
    Adagrad(AdagradConfig),
}

impl StepRule {
    /// How many state tensors a slot has, each of the parameter's shape.
    pub fn states(&self) -> usize {
        self.state_names().len()
    }

    /// The state tensors in the order of [`StepSlot::state`], by the names that PyTorch gives them.
    pub fn state_names(&self) -> &'static [&'static str] {
        match self {
            StepRule::Sgd(config) if config.momentum == 0.0 => &[],
            StepRule::Sgd(_) => &["momentum_buffer"],
            StepRule::Adam(_) => &["exp_avg", "exp_avg_sq"],
            StepRule::RmsProp(config) => match (config.centered, config.momentum != 0.0) {
                (false, false) => &["square_avg"],
                (true, false) => &["square_avg", "grad_avg"],
                (false, true) => &["square_avg", "momentum_buffer"],
                (true, true) => &["square_avg", "grad_avg", "momentum_buffer"],
            },
            StepRule::Adagrad(_) => &["sum"],
        }
    }

    /// Whether a step leaves elements with gradient 0 and their states unchanged, so that it may skip them.
    pub fn skips_zeros(&self) -> bool {
        match self {
            StepRule::Sgd(config) => config.momentum == 0.0 && config.weight_decay == 0.0,
            StepRule::Adagrad(config) => config.weight_decay == 0.0,
            StepRule::Adam(_) | StepRule::RmsProp(_) => false,
        }
    }

    /// The value of each state before the first step.
    pub fn initial_state(&self) -> f64 {
        match self {
            StepRule::Adagrad(config) => config.initial,
            _ => 0.0,
        }
    }
}

/// As PyTorch's `SGD`: `g += weight_decay p`; `v = momentum v + (1 - dampening) g` (a fresh v is g); then `p -= lr v`, with
/// Nesterov `p -= lr (g + momentum v)`. Without momentum there is no v and `p -= lr g`. State: v.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct SgdConfig {
    /// The momentum factor: the share of the velocity that is kept.
    pub momentum: f64,
    /// The share of the gradient that does not enter the velocity.
    pub dampening: f64,
    /// The factor of the L2 penalty.
    pub weight_decay: f64,
    /// Whether the step uses Nesterov momentum.
    pub nesterov: bool,
}

/// As PyTorch's `Adam` and `AdamW`, at a parameter's step number n >= 1:
/// `g += weight_decay p` (Adam) or `p *= 1 - lr weight_decay` (decoupled: AdamW);
/// `m = beta1 m + (1 - beta1) g`; `v = beta2 v + (1 - beta2) g²`;
/// `p -= lr / (1 - beta1^n) m / (sqrt(v) / sqrt(1 - beta2^n) + eps)`. State: m, v.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AdamConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the denominator, the root of the second moment.
    pub eps: f64,
    /// The factor of the penalty.
    pub weight_decay: f64,
    /// Whether the penalty applies to the parameter directly, not to the gradient (AdamW).
    pub decoupled: bool,
}

/// As PyTorch's `RMSprop`: `g += weight_decay p`; `v = alpha v + (1 - alpha) g²`; if centered `a = alpha a + (1 - alpha) g`
/// and `d = sqrt(v - a²) + eps`, else `d = sqrt(v) + eps`; then `p -= lr g / d`, or with momentum `b = momentum b + g / d`
/// and `p -= lr b`. Where rounding makes `v - a²` negative it counts as 0 (PyTorch's root is NaN there). State: v, then a
/// if centered, then b if there is momentum.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RmsPropConfig {
    /// Decay of the averages.
    pub alpha: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// The momentum factor: the share of the velocity that is kept.
    pub momentum: f64,
    /// Whether the root is of the variance, not of the mean square.
    pub centered: bool,
    /// The factor of the L2 penalty.
    pub weight_decay: f64,
}

/// As PyTorch's `Adagrad`, at a parameter's step number n >= 1: `g += weight_decay p`; `s += g²`, where s starts at
/// `initial`; `p -= lr / (1 + (n - 1) lr_decay) g / (sqrt(s) + eps)`. State: s.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct AdagradConfig {
    /// How fast the learning rate decays with the steps.
    pub lr_decay: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// The initial sum of squares.
    pub initial: f64,
    /// The factor of the L2 penalty.
    pub weight_decay: f64,
}

/// One parameter of an optimizer's step. All storages have one float dtype and one number of elements, and are row-major.
pub struct StepSlot<'a, B: Backend> {
    /// The value; overwritten.
    pub param: &'a mut B::Storage,
    /// The optimizer's state for it, [`StepRule::states`] tensors; overwritten.
    pub state: Vec<&'a mut B::Storage>,
    /// Its gradient; contiguous.
    pub grad: ViewOf<'a, B>,
    /// The number of steps in which this parameter had no gradient: its own step count is `t - missed`.
    pub missed: u64,
    /// Whether `state` is new and all zeros; false if the rule's [`initial_state`](StepRule::initial_state) is another number.
    pub fresh: bool,
}

/// Optimizer steps. See the [contract](crate::backend).
pub trait OptimOps: Device {
    /// One step of an optimizer over many parameters, at least one, by the formula at the rule's config. `scalars` is
    /// `[lr, t]` of F64 if the parameters are, else of F32: t counts finished steps, and the call leaves it one larger.
    fn optimizer_step(&self, rule: &StepRule, slots: &mut [StepSlot<'_, Self>], scalars: &mut Self::Storage)
    where
        Self: Backend,
    {
        composed::optimizer_step(self, rule, slots, scalars)
    }
}

/// The default implementation.
pub mod composed {
    use super::*;

    /// [`OptimOps::optimizer_step`] as calls of the families.
    pub fn optimizer_step<B: Backend>(
        device: &B,
        rule: &StepRule,
        slots: &mut [StepSlot<'_, B>],
        scalars: &mut B::Storage,
    ) {
        let Some(dtype) = slots.first().map(|slot| slot.grad.dtype) else { return };
        debug_assert!(slots.iter().all(|slot| slot.grad.layout.is_contiguous()), "gradients are contiguous");
        if dtype == DType::F16 {
            return step_of_halves(device, rule, slots, scalars);
        }
        for slot in slots {
            let flat = Flat { device, layout: Layout::contiguous([slot.grad.layout.numel()]), dtype };
            match rule {
                StepRule::Sgd(config) => sgd(&flat, slot, scalars, config),
                StepRule::Adam(config) => adam(&flat, slot, scalars, config),
                StepRule::RmsProp(config) => rms_prop(&flat, slot, scalars, config),
                StepRule::Adagrad(config) => adagrad(&flat, slot, scalars, config),
            }
        }
        let t = Layout::new([1], &[1], 1);
        let next = device.unary(UnaryOp::Add(1.0), View { storage: scalars, layout: &t, dtype });
        device.write(scalars, &t, View { storage: &next, layout: &Layout::contiguous([1]), dtype });
    }
}

/// In-place arithmetic on storages of one length and dtype.
struct Flat<'a, B: Backend> {
    device: &'a B,
    layout: Layout,
    dtype: DType,
}

impl<B: Backend> Flat<'_, B> {
    fn view<'s>(&'s self, storage: &'s B::Storage) -> ViewOf<'s, B> {
        View { storage, layout: &self.layout, dtype: self.dtype }
    }

    fn unary(&self, op: UnaryOp, x: &mut B::Storage) {
        self.device.unary_mut(op, x, &self.layout, self.dtype);
    }

    /// `a = op(a, b)`.
    fn binary(&self, op: BinaryOp, a: &mut B::Storage, b: ViewOf<'_, B>) {
        self.device.binary_mut(op, a, &self.layout, b);
    }

    /// `c x`.
    fn scaled(&self, x: &B::Storage, c: f64) -> B::Storage {
        self.device.unary(UnaryOp::Mul(c), self.view(x))
    }

    /// `a += c x`.
    fn add_scaled(&self, a: &mut B::Storage, x: &B::Storage, c: f64) {
        let more = self.scaled(x, c);
        self.binary(BinaryOp::Add, a, self.view(&more));
    }

    /// `a = keep a + (1 - keep) x`.
    fn average(&self, a: &mut B::Storage, x: &B::Storage, keep: f64) {
        self.unary(UnaryOp::Mul(keep), a);
        self.add_scaled(a, x, 1.0 - keep);
    }

    /// `param -= rate x`, the rate being one number on the device.
    fn descend(&self, param: &mut B::Storage, mut x: B::Storage, rate: &B::Storage) {
        let wide = scalar(0, self.layout.numel());
        self.binary(BinaryOp::Mul, &mut x, View { storage: rate, layout: &wide, dtype: self.dtype });
        self.binary(BinaryOp::Sub, param, self.view(&x));
    }

    /// `op` of an element of `[lr, t]`, as a number on the device.
    fn number(&self, scalars: &B::Storage, at: usize, op: UnaryOp) -> B::Storage {
        self.device.unary(op, View { storage: scalars, layout: &scalar(at, 1), dtype: self.dtype })
    }
}

/// Element `at` of `[lr, t]`, repeated to a shape.
fn scalar(at: usize, len: usize) -> Layout {
    Layout::new([len], &[0], at)
}

/// The step in F16: on F32 copies, so that each result is rounded once.
fn step_of_halves<B: Backend>(device: &B, rule: &StepRule, slots: &mut [StepSlot<'_, B>], scalars: &mut B::Storage) {
    let cast = |storage: &B::Storage, layout: &Layout, dtype, to| device.cast(View { storage, layout, dtype }, to);
    let widened = |storage: &B::Storage, layout: &Layout| cast(storage, layout, DType::F16, DType::F32);
    let layouts: Vec<Layout> = slots.iter().map(|slot| Layout::contiguous([slot.grad.layout.numel()])).collect();
    let copies = |(slot, whole): (&StepSlot<'_, B>, &Layout)| {
        let states: Vec<B::Storage> = slot.state.iter().map(|state| widened(state, whole)).collect();
        (widened(slot.param, whole), states, widened(slot.grad.storage, slot.grad.layout))
    };
    let mut wide: Vec<_> = slots.iter().zip(&layouts).map(copies).collect();
    let mut wide_slots: Vec<StepSlot<'_, B>> = Vec::with_capacity(slots.len());
    for ((slot, layout), (param, states, grad)) in slots.iter().zip(&layouts).zip(&mut wide) {
        let grad = View { storage: &*grad, layout, dtype: DType::F32 };
        let state = states.iter_mut().collect();
        wide_slots.push(StepSlot { param, state, grad, missed: slot.missed, fresh: slot.fresh });
    }
    device.optimizer_step(rule, &mut wide_slots, scalars);
    drop(wide_slots);
    for ((slot, whole), (param, states, _)) in slots.iter_mut().zip(&layouts).zip(&wide) {
        *slot.param = cast(param, whole, DType::F32, DType::F16);
        for (state, wide) in slot.state.iter_mut().zip(states) {
            **state = cast(wide, whole, DType::F32, DType::F16);
        }
    }
}

/// `g + weight_decay p` in a buffer of its own.
fn penalised<B: Backend>(flat: &Flat<'_, B>, slot: &StepSlot<'_, B>, weight_decay: f64) -> B::Storage {
    let mut grad = flat.device.copy(slot.grad);
    // Without decay `0 p` would turn an infinite parameter into NaN.
    if weight_decay != 0.0 {
        flat.add_scaled(&mut grad, slot.param, weight_decay);
    }
    grad
}

fn sgd<B: Backend>(flat: &Flat<'_, B>, slot: &mut StepSlot<'_, B>, scalars: &B::Storage, config: &SgdConfig) {
    let mut step = penalised(flat, slot, config.weight_decay);
    if let [velocity] = &mut slot.state[..] {
        flat.unary(UnaryOp::Mul(config.momentum), velocity);
        flat.add_scaled(velocity, &step, if slot.fresh { 1.0 } else { 1.0 - config.dampening });
        if config.nesterov {
            flat.add_scaled(&mut step, velocity, config.momentum);
        } else {
            step = flat.device.copy(flat.view(velocity));
        }
    }
    flat.descend(slot.param, step, scalars);
}

fn adam<B: Backend>(flat: &Flat<'_, B>, slot: &mut StepSlot<'_, B>, scalars: &B::Storage, config: &AdamConfig) {
    let (device, dtype) = (flat.device, flat.dtype);
    let one = Flat { device, layout: Layout::contiguous([1]), dtype };
    let wide = scalar(0, flat.layout.numel());
    let mut grad = penalised(flat, slot, if config.decoupled { 0.0 } else { config.weight_decay });
    if config.decoupled && config.weight_decay != 0.0 {
        let mut keep = one.number(scalars, 0, UnaryOp::Mul(-config.weight_decay));
        one.unary(UnaryOp::Add(1.0), &mut keep);
        flat.binary(BinaryOp::Mul, slot.param, View { storage: &keep, layout: &wide, dtype });
    }
    let [m, v] = &mut slot.state[..] else { unreachable!("Adam: a slot has two moments") };
    flat.average(m, &grad, config.beta1);
    flat.unary(UnaryOp::Square, &mut grad);
    flat.average(v, &grad, config.beta2);

    // 1 - beta^n = -expm1(n log beta), where n = t + 1 - missed counts this parameter's own steps.
    let correction = |beta: f64| {
        let mut c = one.number(scalars, 1, UnaryOp::Add(1.0 - slot.missed as f64));
        for op in [UnaryOp::Mul(beta.ln()), UnaryOp::Expm1, UnaryOp::Neg] {
            one.unary(op, &mut c);
        }
        c
    };
    let mut root = correction(config.beta2);
    one.unary(UnaryOp::Sqrt, &mut root);
    let mut denominator = device.unary(UnaryOp::Sqrt, flat.view(v));
    flat.binary(BinaryOp::Div, &mut denominator, View { storage: &root, layout: &wide, dtype });
    flat.unary(UnaryOp::Add(config.eps), &mut denominator);

    let mut size = one.number(scalars, 0, UnaryOp::Mul(1.0));
    let bias = correction(config.beta1);
    one.binary(BinaryOp::Div, &mut size, one.view(&bias));
    let step = device.binary(BinaryOp::Div, flat.view(m), flat.view(&denominator));
    flat.descend(slot.param, step, &size);
}

fn rms_prop<B: Backend>(flat: &Flat<'_, B>, slot: &mut StepSlot<'_, B>, scalars: &B::Storage, config: &RmsPropConfig) {
    let device = flat.device;
    let mut step = penalised(flat, slot, config.weight_decay);
    let mut state = slot.state.iter_mut();
    let mut next = || match state.next() {
        Some(state) => &mut **state,
        None => unreachable!("RMSprop: a slot has as many states as its rule says"),
    };
    let v = next();
    let square = device.unary(UnaryOp::Square, flat.view(&step));
    flat.average(v, &square, config.alpha);
    let mut root = device.copy(flat.view(v));
    if config.centered {
        let a = next();
        flat.average(a, &step, config.alpha);
        let square = device.unary(UnaryOp::Square, flat.view(a));
        flat.binary(BinaryOp::Sub, &mut root, flat.view(&square));
        flat.unary(UnaryOp::Relu, &mut root);
    }
    flat.unary(UnaryOp::Sqrt, &mut root);
    flat.unary(UnaryOp::Add(config.eps), &mut root);
    flat.binary(BinaryOp::Div, &mut step, flat.view(&root));
    if config.momentum != 0.0 {
        let b = next();
        flat.unary(UnaryOp::Mul(config.momentum), b);
        flat.binary(BinaryOp::Add, b, flat.view(&step));
        step = device.copy(flat.view(b));
    }
    flat.descend(slot.param, step, scalars);
}

fn adagrad<B: Backend>(flat: &Flat<'_, B>, slot: &mut StepSlot<'_, B>, scalars: &B::Storage, config: &AdagradConfig) {
    let (device, dtype) = (flat.device, flat.dtype);
    let one = Flat { device, layout: Layout::contiguous([1]), dtype };
    let mut step = penalised(flat, slot, config.weight_decay);
    let [sum] = &mut slot.state[..] else { unreachable!("Adagrad: a slot has one sum") };
    let square = device.unary(UnaryOp::Square, flat.view(&step));
    flat.binary(BinaryOp::Add, sum, flat.view(&square));
    let mut root = device.unary(UnaryOp::Sqrt, flat.view(sum));
    flat.unary(UnaryOp::Add(config.eps), &mut root);
    flat.binary(BinaryOp::Div, &mut step, flat.view(&root));

    // t - missed counts this parameter's steps before this one.
    let mut size = one.number(scalars, 1, UnaryOp::Add(-(slot.missed as f64)));
    for op in [UnaryOp::Mul(config.lr_decay), UnaryOp::Add(1.0), UnaryOp::Rdiv(1.0)] {
        one.unary(op, &mut size);
    }
    one.binary(BinaryOp::Mul, &mut size, View { storage: scalars, layout: &scalar(0, 1), dtype });
    flat.descend(slot.param, step, &size);
}
