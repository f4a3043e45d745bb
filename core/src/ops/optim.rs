//! Optimizer steps over many parameters, as family calls: the defaults of the fused methods.

use crate::backend::{AdamConfig, Backend, BinaryOp, SgdConfig, StepSlot, UnaryOp, View, ViewOf};
use crate::dtype::DType;
use crate::layout::Layout;

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
}

/// Element `at` of `[lr, t]`, repeated to a shape.
fn scalar(at: usize, len: usize) -> Layout {
    Layout::new([len], &[0], at)
}

/// t += 1, after the step.
fn count_step<B: Backend>(device: &B, scalars: &mut B::Storage, dtype: DType) {
    let t = Layout::new([1], &[1], 1);
    let next = device.unary(UnaryOp::Add(1.0), View { storage: scalars, layout: &t, dtype });
    device.write(scalars, &t, View { storage: &next, layout: &Layout::contiguous([1]), dtype });
}

/// [`Backend::sgd_step`] as family calls.
pub(crate) fn sgd_step<B: Backend>(
    device: &B,
    slots: &mut [StepSlot<'_, B>],
    scalars: &mut B::Storage,
    config: &SgdConfig,
) {
    let Some(dtype) = slots.first().map(|slot| slot.grad.dtype) else { return };
    for slot in slots {
        let len = slot.grad.layout.numel();
        let flat = Flat { device, layout: Layout::contiguous([len]), dtype };
        let mut step = device.copy(slot.grad);
        if config.weight_decay != 0.0 {
            let penalty = flat.scaled(slot.param, config.weight_decay);
            flat.binary(BinaryOp::Add, &mut step, flat.view(&penalty));
        }
        if let [velocity] = &mut slot.state[..] {
            let share = if slot.fresh { 1.0 } else { 1.0 - config.dampening };
            flat.unary(UnaryOp::Mul(config.momentum), velocity);
            let entering = flat.scaled(&step, share);
            flat.binary(BinaryOp::Add, velocity, flat.view(&entering));
            if config.nesterov {
                let ahead = flat.scaled(velocity, config.momentum);
                flat.binary(BinaryOp::Add, &mut step, flat.view(&ahead));
            } else {
                step = device.copy(flat.view(velocity));
            }
        }
        let lr = scalar(0, len);
        flat.binary(BinaryOp::Mul, &mut step, View { storage: scalars, layout: &lr, dtype });
        flat.binary(BinaryOp::Sub, slot.param, flat.view(&step));
    }
    count_step(device, scalars, dtype);
}

/// [`Backend::adam_step`] as family calls.
pub(crate) fn adam_step<B: Backend>(
    device: &B,
    slots: &mut [StepSlot<'_, B>],
    scalars: &mut B::Storage,
    config: &AdamConfig,
) {
    let Some(dtype) = slots.first().map(|slot| slot.grad.dtype) else { return };
    let (lr, t) = (scalar(0, 1), scalar(1, 1));
    let one = Flat { device, layout: Layout::contiguous([1]), dtype };
    for slot in slots {
        let len = slot.grad.layout.numel();
        let flat = Flat { device, layout: Layout::contiguous([len]), dtype };
        let wide = scalar(0, len);
        let mut grad = device.copy(slot.grad);
        if config.weight_decay != 0.0 {
            if config.decoupled {
                let mut keep =
                    device.unary(UnaryOp::Mul(-config.weight_decay), View { storage: scalars, layout: &lr, dtype });
                one.unary(UnaryOp::Add(1.0), &mut keep);
                flat.binary(BinaryOp::Mul, slot.param, View { storage: &keep, layout: &wide, dtype });
            } else {
                let penalty = flat.scaled(slot.param, config.weight_decay);
                flat.binary(BinaryOp::Add, &mut grad, flat.view(&penalty));
            }
        }
        let [m, v] = &mut slot.state[..] else { unreachable!("adam_step: a slot has two moments") };
        flat.unary(UnaryOp::Mul(config.beta1), m);
        let entering = flat.scaled(&grad, 1.0 - config.beta1);
        flat.binary(BinaryOp::Add, m, flat.view(&entering));
        flat.unary(UnaryOp::Mul(config.beta2), v);
        flat.unary(UnaryOp::Square, &mut grad);
        flat.unary(UnaryOp::Mul(1.0 - config.beta2), &mut grad);
        flat.binary(BinaryOp::Add, v, flat.view(&grad));

        // 1 - beta^n = -expm1(n log beta), where n = t + 1 - missed counts this parameter's own steps.
        let correction = |beta: f64| {
            let mut c =
                device.unary(UnaryOp::Add(1.0 - slot.missed as f64), View { storage: scalars, layout: &t, dtype });
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

        let mut size = device.unary(UnaryOp::Mul(1.0), View { storage: scalars, layout: &lr, dtype });
        let bias = correction(config.beta1);
        one.binary(BinaryOp::Div, &mut size, one.view(&bias));
        let mut step = device.binary(BinaryOp::Div, flat.view(m), flat.view(&denominator));
        flat.binary(BinaryOp::Mul, &mut step, View { storage: &size, layout: &wide, dtype });
        flat.binary(BinaryOp::Sub, slot.param, flat.view(&step));
    }
    count_step(device, scalars, dtype);
}
