//! Element-wise functions of one tensor: every op, every kind of layout, in place, and at the edges.

use crate::check::{assert_same, assert_values, with_grads};
use crate::close::{EXACT, Tolerance, assert_close, eps, read};
use crate::on::Lay;
use crate::{On, Suite};
use minitorch_core::backend::{Backend, UnaryOp, UnaryOps, View};
use minitorch_core::ops::composed;
use minitorch_core::ops::unary::Saves;
use minitorch_core::{DType, Layout, Tensor};

/// The length of a vector of special values: two SIMD registers of 16 lanes, and a remainder.
const LONG: usize = 45;

/// The method of the trait, called as core does: with dimensions merged.
pub(crate) fn family<B: Backend>(op: UnaryOp, x: &Tensor<B>) -> Tensor<B> {
    let [layout] = Layout::merge([*x.layout()]);
    let storage = x.device().unary(op, View { layout: &layout, ..x.view() });
    Tensor::from_storage(x.device(), storage, x.dtype(), *x.shape())
}

/// An op of each kind, with the range of its inputs.
pub(crate) fn ops() -> Vec<(UnaryOp, f64, f64)> {
    use UnaryOp::*;
    let all = [
        Add(0.75),
        Mul(-1.5),
        Rsub(2.25),
        Neg,
        Abs,
        Sign,
        Remainder(1.5),
        Remainder(-0.7),
        Clamp(-1.0, 0.5),
        Div(3.0),
        Rdiv(2.0),
        Square,
        Pow(3.0),
        Pow(-2.0),
        Pow(0.5),
        Pow(0.0),
        Pow(1.0),
        Pow(2.5),
        Sqrt,
        Rsqrt,
        Exp,
        Expm1,
        Log,
        Log1p,
        Log2,
        Sin,
        Cos,
        Tan,
        Atan,
        Sinh,
        Cosh,
        Tanh,
        Erf,
        Sigmoid,
        Relu,
        LeakyRelu(0.1),
        Elu(0.7),
        Gelu,
        GeluTanh,
        Silu,
        Hardswish,
        Softplus,
        Floor,
        Ceil,
        Round,
        Trunc,
    ];
    // Without a wildcard, so that a new op must be added here.
    let range = |op| match op {
        Add(_) | Mul(_) | Rsub(_) | Neg | Abs | Sign | Div(_) | Square | Relu | LeakyRelu(_) | Elu(_) | Clamp(..) => {
            (-3.0, 3.0)
        }
        Pow(c) if c.fract() == 0.0 => (-3.0, 3.0),
        Rdiv(_) | Pow(_) | Sqrt | Rsqrt | Log | Log2 => (0.01, 9.0),
        Exp | Expm1 => (-20.0, 20.0),
        Sinh | Cosh => (-9.0, 9.0),
        Tan => (-1.5, 1.5),
        Atan | Hardswish => (-6.0, 6.0),
        Log1p => (-0.9, 9.0),
        Sin | Cos => (-10.0, 10.0),
        Tanh | Erf | Sigmoid | Gelu | GeluTanh | Silu | Softplus => (-12.0, 12.0),
        Floor | Ceil | Round | Trunc | Remainder(_) => (-9.0, 9.0),
        Not => unreachable!("bool only; it has a case of its own"),
    };
    all.map(|op| (op, range(op).0, range(op).1)).to_vec()
}

/// One rounding or none for most; a few for transcendental functions (CUDA documents 8 ulp for `powf`). The absolute part is for
/// functions with a cancellation: `expm1` and `gelu` near 0.
fn bound(op: UnaryOp) -> Tolerance {
    use UnaryOp::*;
    match op {
        Neg | Abs | Sign | Relu | Floor | Ceil | Round | Trunc | Clamp(..) => EXACT,
        Add(_) | Mul(_) | Rsub(_) | Div(_) | Rdiv(_) | Square | Sqrt | LeakyRelu(_) | Remainder(_) => eps(2.0),
        _ => eps(8.0),
    }
}

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    for (op, low, high) in ops() {
        suite.floats(format!("layouts_{op:?}"), 5000, move |on| layouts(on, op, low, high));
        suite.floats(format!("gradient_kernel_{op:?}"), 100, move |on| gradient_kernel(on, op, low, high));
    }
    suite.floats("in_place_equals_fresh", 100, in_place);
    suite.f32("in_place_reuses_only_unique_storage", 100, shared_storage);
    suite.floats("many_elements", 300_000, |on| {
        agree!(on, eps(8.0), |d| {
            let x = d.uniform(-4.0, 4.0, [300_001]);
            [x.tanh(), x.relu(), x.exp(), x.gelu(), &x * 2.0]
        })
    });
    suite.floats("infinities", 10, infinities);
    suite.floats("nan", 10, nan);
    suite.f32("overflow_and_underflow", 10, extremes);
    suite.f32("integers_wrap", 100, integers);
    suite.f32("not", 100, |on| {
        agree!(on, EXACT, |d| [!&d.mask([3, 33]), d.mask([4, 5]).t().logical_not(), d.mask([0]).logical_not()])
    });
    suite.floats("methods_name_their_ops", 100, methods);
    suite.floats("relu_and_abs_gradient_at_zero", 10, |on| {
        for f in [Tensor::<B>::relu, Tensor::<B>::abs, Tensor::<B>::sign, Tensor::<B>::floor] {
            let x = on.list(&[0.0, -0.0], [2]).requires_grad();
            assert_values(&f(&x).sum(..).backward()[&x], &[0.0, 0.0], EXACT);
        }
    });
    suite.floats("derivatives_at_kinks_and_far_out", 100, |on| {
        use UnaryOp::*;
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        // As documented, by the kernel and by the composed rule, which `grad` records.
        let kinks: [(UnaryOp, &[f64], &[f64]); 7] = [
            (Clamp(-1.0, 1.0), &[-2.0, -1.0, 0.0, 1.0, 2.0, nan], &[0.0, 0.0, 1.0, 0.0, 0.0, 0.0]),
            (Hardswish, &[-3.0, 3.0, -inf, inf, 0.0], &[0.0, 1.0, 0.0, 1.0, 0.5]),
            (LeakyRelu(0.25), &[0.0, -0.0, -inf, inf], &[0.25, 0.25, 0.25, 1.0]),
            (Elu(0.5), &[0.0, -0.0, -inf, inf, 1e4], &[0.5, 0.5, 0.0, 1.0, 1.0]),
            (Relu, &[0.0, -0.0, nan], &[0.0, 0.0, 1.0]),
            (Abs, &[0.0, -0.0, nan], &[0.0, 0.0, nan]),
            (Softplus, &[-inf, inf, 0.0], &[0.0, 1.0, 0.5]),
        ];
        let far: [&[f64]; 2] =
            [&[-inf, -1e20, -1e4, 0.0, 1e4, 1e20, inf, nan], &[0.0, 0.0, 0.0, 0.5, 1.0, 1.0, 1.0, nan]];
        let gates = [Gelu, GeluTanh, Silu].map(|op| (op, far[0], far[1]));
        for (op, at, want) in kinks.into_iter().chain(gates) {
            let x = on.list(at, at.len()).requires_grad();
            assert_values(&by_method(op, &x).sum(..).backward()[&x], want, EXACT);
            let [composed] = by_method(op, &x).sum(..).grad([&x]);
            assert_values(&composed, want, EXACT);
        }
        // x^0 is constant at 0 and NaN too, also with a large gradient.
        let x = on.list(&[0.0, 1e-30, nan], [3]).requires_grad();
        assert_values(&x.powf(0.0).backward_with(&on.list(&[1e20; 3], [3]))[&x], &[0.0; 3], EXACT);
        // The second derivative where the exponential of the other branch is infinite, and where a gate saturates.
        let far = [(Elu(0.5), 1e4), (Elu(0.5), inf), (Gelu, 1e4), (GeluTanh, 1e20), (Silu, -1e4), (Erf, -inf)];
        for (op, at) in far.into_iter().chain([(Atan, inf), (Hardswish, inf), (Hardswish, -inf)]) {
            let x = on.list(&[at], [1]).requires_grad();
            let [first] = by_method(op, &x).sum(..).grad([&x]);
            let [second] = first.sum(..).grad([&x]);
            assert_values(&second, &[0.0], EXACT);
        }
        // The second derivative at NaN is NaN.
        for op in [Gelu, GeluTanh, Silu, Hardswish, Elu(0.5), Softplus, Erf, Tanh, Sigmoid, Atan, Rdiv(2.0)] {
            let x = on.list(&[nan, 0.5], [2]).requires_grad();
            let [first] = by_method(op, &x).sum(..).grad([&x]);
            let [second] = first.sum(..).grad([&x]);
            let second = read(&second).data;
            assert!(second[0].is_nan() && second[1].is_finite(), "{op:?}: {second:?}");
        }
    });
}

fn layouts<B: Backend>(on: &On<B>, op: UnaryOp, low: f64, high: f64) {
    let shapes: [&[usize]; 9] =
        [&[], &[1], &[17], &[0], &[3, 0, 2], &[4, 33], &[2, 3, 5], &[2, 1, 3, 1, 2], &[2, 3, 1, 2, 3, 2]];
    for shape in shapes {
        for lay in Lay::all(shape.len()) {
            agree!(on, bound(op), "{op:?} of {lay:?} {shape:?}", |d| family(op, &d.laid(lay, low, high, shape)));
        }
    }
    // A layout that core has not merged.
    agree!(on, bound(op), |d| {
        let x = d.laid(Lay::Sliced, low, high, [3, 4, 5]);
        let storage = x.device().unary(op, x.view());
        Tensor::from_storage(x.device(), storage, x.dtype(), [3, 4, 5])
    });
    let mut x = on.uniform(low, high, [5, 17]);
    let fresh = family(op, &x);
    let dtype = x.dtype();
    let (device, storage) = x.storage_mut();
    device.unary_mut(op, storage, &Layout::contiguous([85]), dtype);
    assert_same(&format!("{op:?} in place"), &x, &fresh);
}

/// The fused gradient against its composed form on the same device and against the oracle.
fn gradient_kernel<B: Backend>(on: &On<B>, op: UnaryOp, low: f64, high: f64) {
    if op.saves() == Saves::Nothing {
        // Core composes its gradient; there is no kernel.
        agree!(on, eps(4.0), |d| with_grads(d, [d.uniform(low, high, [3, 33])], |[x]| by_method(op, x)));
        return;
    }
    // Every pair of layouts of both operands, with ranks 0 to 3 and no elements.
    let shapes: [&[usize]; 5] = [&[], &[0], &[37], &[5, 8], &[2, 3, 4]];
    for shape in shapes {
        for of_x in Lay::all(shape.len()) {
            for of_g in Lay::all(shape.len()) {
                let (x, g) = (on.laid(of_x, low, high, shape), on.laid(of_g, -1.0, 1.0, shape));
                let saved = if op.saves() == Saves::Output { family(op, &x) } else { x };
                let about = format!("{op:?} gradient of {shape:?}, {of_x:?} and {of_g:?}");
                let fused = on.device.unary_grad(op, &saved, &g);
                assert_close(&about, &fused, &composed::unary_grad(op, &saved, &g), eps(32.0));
            }
        }
    }
    for lay in [Lay::Whole, Lay::Reversed, Lay::Sliced, Lay::Broadcast(0)] {
        // Against the oracle's gradient from the input: the bound includes the rounding of a saved output, such as that of a tanh near
        // 1 in 1 - y².
        agree!(on, eps(32.0), "{op:?} gradient, {lay:?}", |d| {
            let x = d.laid(lay, low, high, [3, 33]);
            let saved = if op.saves() == Saves::Output { family(op, &x) } else { x };
            d.device.unary_grad(op, &saved, &d.laid(lay, -1.0, 1.0, [3, 33]))
        });
    }
}

/// The call by the methods of `Tensor`. Without a wildcard, so that a new op must be added here.
pub(crate) fn by_method<B: Backend>(op: UnaryOp, x: &Tensor<B>) -> Tensor<B> {
    use UnaryOp::*;
    match op {
        Add(c) => x + c,
        Mul(c) => x * c,
        Rsub(c) => c - x,
        Neg => -x,
        Abs => x.abs(),
        Sign => x.sign(),
        Div(c) => x / c,
        Rdiv(c) => c / x,
        Square => x.square(),
        Pow(c) => x.powf(c),
        Sqrt => x.sqrt(),
        Rsqrt => x.rsqrt(),
        Exp => x.exp(),
        Expm1 => x.expm1(),
        Log => x.log(),
        Log1p => x.log1p(),
        Log2 => x.log2(),
        Sin => x.sin(),
        Cos => x.cos(),
        Tan => x.tan(),
        Atan => x.atan(),
        Sinh => x.sinh(),
        Cosh => x.cosh(),
        Tanh => x.tanh(),
        Erf => x.erf(),
        Sigmoid => x.sigmoid(),
        Relu => x.relu(),
        LeakyRelu(slope) => x.leaky_relu(slope),
        Elu(alpha) => x.elu(alpha),
        Gelu => x.gelu(),
        GeluTanh => x.gelu_tanh(),
        Silu => x.silu(),
        Hardswish => x.hardswish(),
        Softplus => x.softplus(),
        Floor => x.floor(),
        Ceil => x.ceil(),
        Round => x.round(),
        Trunc => x.trunc(),
        Remainder(c) => x.remainder(c),
        Clamp(low, high) => x.clamp(low, high),
        Not => x.logical_not(),
    }
}

fn methods<B: Backend>(on: &On<B>) {
    for (op, low, high) in ops() {
        let x = on.uniform(low, high, [3, 17]);
        assert_same(&format!("the method of {op:?}"), &by_method(op, &x), &family(op, &x));
    }
    let x = on.uniform(0.5, 2.0, [17]);
    assert_same("recip", &x.recip(), &family(UnaryOp::Rdiv(1.0), &x));
    assert_same("x - c", &(&x - 0.25), &family(UnaryOp::Add(-0.25), &x));
}

/// Operators on owned operands give the same results as on borrowed ones.
fn in_place<B: Backend>(on: &On<B>) {
    let made = || on.again().mixed([5, 17]);
    let x = made();
    assert_same("x + c", &(made() + 0.3), &(&x + 0.3));
    assert_same("x - c", &(made() - 0.3), &(&x - 0.3));
    assert_same("x * c", &(made() * 0.3), &(&x * 0.3));
    assert_same("x / c", &(made() / 0.3), &(&x / 0.3));
    assert_same("c + x", &(0.3 + made()), &(0.3 + &x));
    assert_same("c - x", &(0.3 - made()), &(0.3 - &x));
    assert_same("c * x", &(0.3 * made()), &(0.3 * &x));
    assert_same("c / x", &(0.3 / (made() + 5.0)), &(0.3 / &(&x + 5.0)));
    assert_same("-x", &-made(), &-&x);
    let mut y = made();
    y += 1.0;
    y *= 2.0;
    y -= 0.5;
    y /= 4.0;
    let sum = &x + 1.0;
    let scaled = &sum * 2.0;
    assert_same("assigning", &y, &(&(&scaled - 0.5) / 4.0));
}

fn shared_storage<B: Backend>(on: &On<B>) {
    let x = on.uniform(-1.0, 1.0, [4, 5]);
    let before = read(&x).data;
    let (held, view, part) = (x.clone(), x.t(), x.slice(1..3));
    let results = [x.clone() * 2.0, -x.t(), x.slice(1..3) + 1.0, 1.0 - x.reshape([20]), x * 3.0];
    drop(results);
    assert_values(&held, &before, EXACT);
    assert_values(&view.t(), &before, EXACT);
    assert_values(&part, &before[5..15], EXACT);
}

fn infinities<B: Backend>(on: &On<B>) {
    use UnaryOp::*;
    for (op, ..) in ops() {
        let values = [0.0, f64::INFINITY, 1.0, f64::NEG_INFINITY];
        let sin = matches!(op, Sin | Cos | Tan);
        let values: Vec<f64> = values.into_iter().filter(|v| !sin || v.is_finite()).collect();
        agree!(on, bound(op), "{op:?} of {values:?}", |d| family(op, &d.cycle(&values, LONG)));
    }
    // Saturated functions, exactly.
    let inf = f64::INFINITY;
    let saturated = [
        (Sigmoid, [1000.0, -1000.0, -inf], [1.0, 0.0, 0.0]),
        (Softplus, [1000.0, -1000.0, -inf], [1000.0, 0.0, 0.0]),
        (Gelu, [1000.0, -1000.0, -inf], [1000.0, 0.0, 0.0]),
        (GeluTanh, [inf, -1000.0, -inf], [inf, 0.0, 0.0]),
        (Silu, [inf, -1000.0, -inf], [inf, 0.0, 0.0]),
        (Round, [0.5, 1.5, -2.5], [0.0, 2.0, -2.0]),
        (Sign, [-3.0, 0.0, 3.0], [-1.0, 0.0, 1.0]),
    ];
    for (op, at, want) in saturated {
        let want: Vec<f64> = want.into_iter().cycle().take(LONG).collect();
        assert_values(&family(op, &on.cycle(&at, LONG)), &want, EXACT);
    }
}

/// NaN stays NaN in every op but `x^0`, which is 1.
fn nan<B: Backend>(on: &On<B>) {
    for (op, ..) in ops() {
        let want = if op == UnaryOp::Pow(0.0) { 1.0 } else { f64::NAN };
        assert_values(&family(op, &on.list(&[f64::NAN; LONG], [LONG])), &[want; LONG], EXACT);
    }
    for bad in [UnaryOp::Sqrt, UnaryOp::Log, UnaryOp::Rsqrt, UnaryOp::Pow(0.5)] {
        assert_values(&family(bad, &on.cycle(&[-1.0, -2.5], LONG)), &[f64::NAN; LONG], EXACT);
    }
}

fn extremes<B: Backend>(on: &On<B>) {
    use UnaryOp::*;
    let far = [-1e4, -200.0, -104.0, -90.0, -88.0, -50.0, 50.0, 88.0, 88.6875, 89.0, 104.0, 200.0, 1e4];
    for op in [Exp, Expm1, Tanh, Atan, Elu(1.0), Hardswish, Erf, Sigmoid, Gelu, GeluTanh, Silu, Softplus, Relu, Square]
    {
        // The error of e^x includes that of its range reduction; subnormal results may be flushed to 0.
        agree!(on, eps(8.0), "{op:?} of {far:?}", |d| family(op, &d.cycle(&far, LONG)));
    }
    let small = [1e-30, -1e-30, 1e-10, -1e-10, 1e-5, -1e-5, 1e-3, -1e-3];
    for op in [Expm1, Log1p, Tanh, Erf, Sin, Tan, Atan, Sinh, Elu(1.0), Hardswish] {
        // A relative bound: no cancellation near 0.
        let relative = Tolerance { atol: 1e-30, rtol: 8.0 };
        agree!(on, relative, "{op:?} of {small:?}", |d| family(op, &d.cycle(&small, LONG)));
    }
    let halves = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 8_388_607.5, 16_777_216.0, -1e30, 1e30];
    for op in [Floor, Ceil, Round, Trunc] {
        agree!(on, EXACT, "{op:?} of {halves:?}", |d| family(op, &d.cycle(&halves, LONG)));
    }
    let wide = [1e-35, 1e-20, 1e20, 1e35];
    for op in [Log, Log2, Sqrt, Rsqrt, Rdiv(1.0), Pow(0.5), Log1p, Atan] {
        agree!(on, Tolerance { atol: 0.0, rtol: 8.0 }, "{op:?} of {wide:?}", |d| family(op, &d.cycle(&wide, LONG)));
    }
}

fn integers<B: Backend>(on: &On<B>) {
    use UnaryOp::*;
    let edges = [i32::MIN, i32::MIN + 1, -7, -1, 0, 1, 7, i32::MAX - 1, i32::MAX];
    let arithmetic = [Add(5.0), Add(-5.0), Mul(3.0), Mul(-1.0), Rsub(2.0), Neg, Abs, Sign];
    let rest = [Remainder(7.0), Remainder(-7.0), Remainder(-1.0), Clamp(-3.0, 5.0), Clamp(f64::NEG_INFINITY, 2.0)];
    for op in arithmetic.into_iter().chain(rest) {
        agree!(on, EXACT, "{op:?} of {edges:?}", |d| {
            family(op, &Tensor::from_slice(&[edges; 5].concat(), 45, &d.device))
        });
        agree!(on, EXACT, "{op:?}", |d| family(op, &d.ints(i32::MIN, i32::MAX, [5, 33]).t()));
        assert!(op.accepts(DType::I32) && !op.accepts(DType::Bool));
    }
}
