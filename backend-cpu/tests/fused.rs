//! Every fused method against its composed default, over several layouts.

mod common;

use common::{T, close, numbers, read, samples, tensor};
use minitorch_core::backend::{
    AdagradConfig, AdamConfig, ConvOps, Device, LossOps, OptimOps, PoolOps, RandomOps, RmsPropConfig, SgdConfig,
    SoftmaxOps, StepRule, StepSlot, UnaryOp, UnaryOps,
};
use minitorch_core::ops::composed;
use minitorch_core::random::Draw;
use minitorch_core::{Conv2dOptions, DType, Pool2dOptions};
use minitorch_cpu::{Cpu, Storage};

const FLOATS: [DType; 2] = [DType::F32, DType::F64];

#[track_caller]
fn same(got: &T, want: &T, tolerance: f64, what: &str) {
    assert_eq!((got.shape(), got.dtype()), (want.shape(), want.dtype()), "{what}");
    assert!(got.layout().is_contiguous(), "{what}");
    close(&read(got), &read(want), tolerance, what);
}

#[test]
fn unary_gradients() {
    use UnaryOp::*;
    let device = Cpu::new();
    let ops = [
        Abs,
        Square,
        Pow(0.0),
        Pow(1.0),
        Pow(2.0),
        Pow(3.0),
        Pow(-1.5),
        Rdiv(2.0),
        Log,
        Log1p,
        Sin,
        Cos,
        Erf,
        LeakyRelu(0.1),
        Gelu,
        GeluTanh,
        Silu,
        Softplus,
        Clamp(-1.0, 2.0),
        Sqrt,
        Rsqrt,
        Exp,
        Expm1,
        Tanh,
        Sigmoid,
        Relu,
    ];
    for dtype in FLOATS {
        for shape in [&[][..], &[0], &[37], &[5, 8], &[2, 3, 4]] {
            for s in samples(shape, dtype, 1, &device) {
                for g in samples(shape, dtype, 2, &device) {
                    for op in ops {
                        let got = device.unary_grad(op, &s.x, &g.x);
                        let want = composed::unary_grad(op, &s.x, &g.x);
                        same(&got, &want, 2e-5, &format!("{op:?} {dtype} {shape:?} {} {}", s.name, g.name));
                    }
                }
            }
        }
    }
}

/// (op, x, expected value): saturated and special arguments.
#[test]
fn edges_of_functions() {
    let device = Cpu::new();
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let cases: &[(UnaryOp, f64, f64)] = &[
        (UnaryOp::Sigmoid, 1000.0, 1.0),
        (UnaryOp::Sigmoid, -1000.0, 0.0),
        (UnaryOp::Sigmoid, -inf, 0.0),
        (UnaryOp::Softplus, 1000.0, 1000.0),
        (UnaryOp::Softplus, -1000.0, 0.0),
        (UnaryOp::Softplus, inf, inf),
        (UnaryOp::Softplus, -inf, 0.0),
        (UnaryOp::Gelu, 1000.0, 1000.0),
        (UnaryOp::Gelu, -1000.0, 0.0),
        (UnaryOp::Gelu, -inf, 0.0),
        (UnaryOp::GeluTanh, -1000.0, 0.0),
        (UnaryOp::GeluTanh, inf, inf),
        (UnaryOp::Silu, -1000.0, 0.0),
        (UnaryOp::Silu, -inf, 0.0),
        (UnaryOp::Silu, inf, inf),
        (UnaryOp::Relu, -inf, 0.0),
        (UnaryOp::Round, 0.5, 0.0),
        (UnaryOp::Round, 1.5, 2.0),
        (UnaryOp::Round, -2.5, -2.0),
        (UnaryOp::Sign, -3.0, -1.0),
        (UnaryOp::Sign, 0.0, 0.0),
        (UnaryOp::Pow(0.0), nan, 1.0),
        (UnaryOp::Pow(0.5), -1.0, nan),
        (UnaryOp::Clamp(-1.0, 1.0), -inf, -1.0),
        (UnaryOp::Rsqrt, 0.0, inf),
    ];
    let floats = [
        UnaryOp::Sigmoid,
        UnaryOp::Softplus,
        UnaryOp::Gelu,
        UnaryOp::GeluTanh,
        UnaryOp::Silu,
        UnaryOp::Relu,
        UnaryOp::Round,
        UnaryOp::Sign,
        UnaryOp::Clamp(-1.0, 1.0),
        UnaryOp::Erf,
        UnaryOp::Tanh,
        UnaryOp::LeakyRelu(0.1),
        UnaryOp::Abs,
        UnaryOp::Exp,
    ];
    for dtype in FLOATS {
        for &(op, x, want) in cases.iter().chain(&floats.map(|op| (op, nan, nan))) {
            let x = tensor(&[x; 20], [20], dtype, &device); // enough for the vector loops
            let got = device.unary(op, x.view());
            let got = read(&T::from_storage(&device, got, dtype, [20]));
            close(&got, &[want; 20], 0.0, &format!("{op:?} of {:?} in {dtype}", read(&x)[0]));
        }
    }
}

#[test]
fn softmaxes() {
    let device = Cpu::new();
    for dtype in FLOATS {
        for shape in [&[7][..], &[1], &[0], &[3, 0], &[0, 3], &[4, 17], &[3, 5, 4], &[2, 3, 300], &[2, 40, 3, 2]] {
            for x in samples(shape, dtype, 1, &device) {
                for dim in 0..shape.len() {
                    let what = format!("{dtype} {shape:?} {} along {dim}", x.name);
                    let g = tensor(&numbers(x.values.len(), 9), shape, dtype, &device);
                    same(&device.softmax(&x.x, dim), &composed::softmax(&x.x, dim), 1e-6, &what);
                    same(&device.log_softmax(&x.x, dim), &composed::log_softmax(&x.x, dim), 1e-6, &what);
                    let (got, want) = (device.softmax_grad(&x.x, &g, dim), composed::softmax_grad(&x.x, &g, dim));
                    same(&got, &want, 1e-4, &what);
                    let (got, want) =
                        (device.log_softmax_grad(&g, &x.x, dim), composed::log_softmax_grad(&g, &x.x, dim));
                    same(&got, &want, 1e-4, &what);
                }
            }
        }
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        let rows = [[1e4, -1e4, 0.0], [-inf, 0.0, 0.0], [-inf, -inf, -inf], [nan, 1.0, 2.0], [inf, 0.0, 1.0]];
        let x = tensor(rows.as_flattened(), [5, 3], dtype, &device);
        for (x, dim) in [(x.clone(), 1), (x.t().contiguous(), 0)] {
            let want = [1.0, 0.0, 0.0, 0.0, 0.5, 0.5, nan, nan, nan, nan, nan, nan, nan, nan, nan];
            let got = device.softmax(&x, dim);
            close(&read(&if dim == 0 { got.t() } else { got }), &want, 1e-7, "special rows");
        }
    }
}

#[test]
fn cross_entropies() {
    let device = Cpu::new();
    for dtype in FLOATS {
        for [n, c] in [[1, 1], [5, 3], [64, 10], [0, 4], [3, 1000]] {
            for x in samples(&[n, c], dtype, 1, &device) {
                let target: Vec<f64> = (0..n).map(|i| if i == 2 { -1.0 } else { (i * 7 % c) as f64 }).collect();
                let target = tensor(&target, [n], DType::I32, &device);
                let what = format!("{dtype} {n} {c} {}", x.name);
                let (loss, statistics) = device.cross_entropy(&x.x, &target);
                let bad = device.synchronize().is_err();
                assert_eq!(bad, n > 2, "{what}");
                let (want_loss, want) = composed::cross_entropy(&x.x, &target);
                let _ = device.synchronize();
                same(&loss, &want_loss, 1e-6, &what);
                same(&statistics, &want, 1e-6, &what);
                let g = tensor(&[3.0], [], dtype, &device);
                let got = device.cross_entropy_grad(&g, &x.x, &target, &statistics);
                assert!(device.synchronize().is_ok(), "{what}: reported twice");
                same(&got, &composed::cross_entropy_grad(&g, &x.x, &target, &statistics), 1e-6, &what);
            }
        }
    }
}

#[test]
fn dropout() {
    let device = Cpu::new();
    for dtype in FLOATS {
        for shape in [&[][..], &[0], &[5], &[33, 7], &[3, 4, 100]] {
            for x in samples(shape, dtype, 1, &device) {
                for p in [0.0, 0.3, 1.0] {
                    let draw = Draw { seed: 7, index: 3 };
                    let (got, want) = (device.dropout(&x.x, p, draw), composed::dropout(&x.x, p, draw));
                    same(&got, &want, 0.0, &format!("{dtype} {shape:?} {} {p}", x.name));
                }
            }
        }
    }
    // Element i is word i % 4 of block i / 4, whichever loop made it.
    let draw = Draw { seed: 42, index: 9 };
    let bits = device.random(minitorch_core::backend::RandomOp::Bits, DType::I32, 1003, draw);
    let Storage::I32(bits) = bits else { panic!("bits are I32") };
    assert!(bits.iter().enumerate().all(|(i, &b)| b as u32 == draw.word(i as u64)));
}

#[test]
fn convolutions() {
    let device = Cpu::new();
    let o = Conv2dOptions::default;
    let cases = [
        ([2, 3, 7, 8], [4, 3, 3, 3], o()),
        ([1, 4, 9, 9], [6, 2, 3, 2], o().groups(2).stride(2).padding(1)),
        ([2, 4, 9, 7], [4, 1, 3, 3], o().groups(4).padding([1, 2])),
        ([2, 2, 10, 11], [3, 2, 2, 3], o().dilation([2, 3]).stride([3, 1])),
        ([1, 1, 1, 1], [1, 1, 1, 1], o()),
        ([0, 2, 5, 5], [3, 2, 3, 3], o()),
        ([2, 2, 8, 8], [2, 2, 2, 2], o().stride(3)),
    ];
    for (x_shape, w_shape, options) in cases {
        for x in samples(&x_shape, DType::F32, 1, &device).iter().take(4) {
            for w in samples(&w_shape, DType::F64, 2, &device).iter().take(4) {
                for dtype in FLOATS {
                    let (x, w) = (x.x.cast(dtype), w.x.cast(dtype));
                    let what = format!("{dtype} {x_shape:?} {w_shape:?} {options:?}");
                    let b = tensor(&numbers(w_shape[0], 3), [w_shape[0]], dtype, &device);
                    for bias in [None, Some(&b)] {
                        let want = composed::conv2d(&x, &w, bias, &options, None);
                        same(&device.conv2d(&x, &w, bias, &options, None), &want, 1e-5, &what);
                    }
                    let out = *device.conv2d(&x, &w, None, &options, None).shape();
                    let g = tensor(&numbers(out.numel(), 4), out, dtype, &device);
                    let (size, kernel) = ([x_shape[2], x_shape[3]], [w_shape[2], w_shape[3]]);
                    let got = device.conv2d_grad_input(&g, &w, size, &options);
                    same(&got, &composed::conv2d_grad_input(&g, &w, size, &options), 1e-5, &what);
                    let got = device.conv2d_grad_weight(&x, &g, kernel, &options);
                    same(&got, &composed::conv2d_grad_weight(&x, &g, kernel, &options), 1e-5, &what);
                }
            }
        }
    }
}

#[test]
fn pools() {
    let device = Cpu::new();
    let cases = [
        ([2, 3, 8, 8], Pool2dOptions::new(2)),
        ([1, 2, 7, 9], Pool2dOptions::new(3).stride(2).padding(1)),
        ([2, 1, 9, 5], Pool2dOptions::new([2, 3]).stride([3, 1])),
        ([0, 2, 4, 4], Pool2dOptions::new(2)),
        ([1, 1, 1, 1], Pool2dOptions::new(1)),
        ([1, 2, 6, 6], Pool2dOptions::new(3).stride(1).padding(1).count_include_pad(false)),
    ];
    for (shape, options) in cases {
        let size = [shape[2], shape[3]];
        for dtype in FLOATS {
            for x in samples(&shape, dtype, 1, &device) {
                let what = format!("{dtype} {shape:?} {options:?} {}", x.name);
                let ((out, at), (want, want_at)) =
                    (device.max_pool2d(&x.x, &options), composed::max_pool2d(&x.x, &options));
                same(&out, &want, 0.0, &what);
                same(&at, &want_at, 0.0, &what);
                let g = tensor(&numbers(out.numel(), 5), *out.shape(), dtype, &device);
                let got = device.max_pool2d_grad(&g, &at, size, &options);
                same(&got, &composed::max_pool2d_grad(&g, &at, size), 1e-6, &what);
                same(&device.avg_pool2d(&x.x, &options), &composed::avg_pool2d(&x.x, &options), 1e-6, &what);
                let got = device.avg_pool2d_grad(&g, size, &options);
                same(&got, &composed::avg_pool2d_grad(&g, size, &options), 1e-6, &what);
            }
        }
    }
    // A dilated window, and one that is all -inf or has a NaN.
    let options = Pool2dOptions::new(2).dilation(3).stride(1).padding(1);
    let mut values = numbers(2 * 64, 6);
    values[..64].fill(f64::NEG_INFINITY);
    values[100] = f64::NAN;
    let x = tensor(&values, [1, 2, 8, 8], DType::F32, &device);
    let ((out, at), (want, want_at)) = (device.max_pool2d(&x, &options), composed::max_pool2d(&x, &options));
    same(&out, &want, 0.0, "dilated");
    same(&at, &want_at, 0.0, "dilated");
}

/// Five steps of both implementations from the same start; parameter 1 misses the second step.
fn steps(dtype: DType, rule: &StepRule, fused: bool) -> Vec<Vec<f64>> {
    let device = Cpu::new();
    let sizes = [10, 1000];
    let mut params: Vec<T> = sizes.map(|n| tensor(&numbers(n, 1), [n], dtype, &device)).into();
    let zeros = |n: &usize| tensor(&vec![0.0; *n], [*n], dtype, &device);
    let mut state: Vec<Vec<T>> = sizes.iter().map(|n| (0..rule.states()).map(|_| zeros(n)).collect()).collect();
    let mut scalars = tensor(&[0.01, 0.0], [2], dtype, &device);
    for round in 0..5u64 {
        let grads: Vec<T> = sizes
            .iter()
            // The fused step gets a strided gradient; the values are the same.
            .map(|&n| {
                let wide: Vec<f64> = numbers(n, 50 + round).into_iter().flat_map(|x| [x, 9.0]).collect();
                let view = tensor(&wide, [n, 2], dtype, &device).narrow(1, 0, 1).squeeze(1);
                if fused { view } else { view.contiguous() }
            })
            .collect();
        let mut slots: Vec<StepSlot<'_, Cpu>> = params
            .iter_mut()
            .zip(&mut state)
            .zip(&grads)
            .enumerate()
            .filter(|&(i, _)| (i, round) != (1, 1))
            .map(|(i, ((param, state), grad))| StepSlot {
                param: param.storage_mut().1,
                state: state.iter_mut().map(|s| s.storage_mut().1).collect(),
                grad: grad.view(),
                missed: (i == 1 && round > 1) as u64,
                fresh: round == 0,
            })
            .collect();
        let scalars = scalars.storage_mut().1;
        match fused {
            true => device.optimizer_step(rule, &mut slots, scalars),
            false => composed::optimizer_step(&device, rule, &mut slots, scalars),
        }
    }
    params.iter().chain(state.iter().flatten()).chain([&scalars]).map(read).collect()
}

#[test]
fn optimizer_steps() {
    let sgd = SgdConfig::default();
    let adam = AdamConfig { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, decoupled: false };
    let rms = RmsPropConfig { alpha: 0.99, eps: 1e-8, momentum: 0.0, centered: false, weight_decay: 0.0 };
    let adagrad = AdagradConfig { lr_decay: 0.0, eps: 1e-10, initial: 0.0, weight_decay: 0.0 };
    let rules = [
        StepRule::Sgd(sgd),
        StepRule::Sgd(SgdConfig { weight_decay: 0.1, ..sgd }),
        StepRule::Sgd(SgdConfig { momentum: 0.9, ..sgd }),
        StepRule::Sgd(SgdConfig { momentum: 0.9, dampening: 0.3, weight_decay: 0.1, ..sgd }),
        StepRule::Sgd(SgdConfig { momentum: 0.9, nesterov: true, weight_decay: 0.01, ..sgd }),
        StepRule::Adam(adam),
        StepRule::Adam(AdamConfig { weight_decay: 0.1, ..adam }),
        StepRule::Adam(AdamConfig { weight_decay: 0.1, decoupled: true, ..adam }),
        StepRule::Adam(AdamConfig { beta1: 0.0, ..adam }),
        StepRule::RmsProp(rms),
        StepRule::RmsProp(RmsPropConfig { momentum: 0.9, weight_decay: 0.1, ..rms }),
        StepRule::RmsProp(RmsPropConfig { centered: true, ..rms }),
        StepRule::RmsProp(RmsPropConfig { centered: true, momentum: 0.5, ..rms }),
        StepRule::Adagrad(adagrad),
        StepRule::Adagrad(AdagradConfig { lr_decay: 0.5, initial: 0.1, weight_decay: 0.1, ..adagrad }),
    ];
    for dtype in FLOATS {
        // The rules that divide by a root keep fewer digits.
        let tolerance = if dtype == DType::F32 { 1e-5 } else { 1e-12 };
        for rule in rules {
            let tolerance = if matches!(rule, StepRule::Sgd(_)) { tolerance } else { 10.0 * tolerance };
            let (got, want) = (steps(dtype, &rule, true), steps(dtype, &rule, false));
            for (got, want) in got.iter().zip(&want) {
                close(got, want, tolerance, &format!("{dtype} {rule:?}"));
            }
            assert_eq!(got[got.len() - 1][1], 5.0);
        }
    }
}
