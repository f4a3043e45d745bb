//! F16, on devices that have it: `f16(f(f32(x)))`, the operation in F32 with each result rounded once.

use crate::close::{EXACT, Tolerance, Values, assert_close, read};
use crate::on::Lay;
use crate::{On, Suite};
use minitorch_core::backend::{
    AdamConfig, Backend, BinaryOp, CompareOp, ReduceOp, SgdConfig, StepRule, StepSlot, UnaryOp, View,
};
use minitorch_core::ops::unary::Saves;
use minitorch_core::{Conv2dOptions, CrossEntropyOptions, DType, HostSlice, Layout, Pool2dOptions, Tensor, f16};

/// One ulp of F16: Plain rounds from F64, a device from F32, which may round to the adjacent number.
const NEIGHBOUR: Tolerance = Tolerance { atol: 6.103515625e-5, rtol: 1.0 };

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.f16("host", 1003, host);
    suite.f16("casts", 70_000, casts);
    suite.f16("copies", 1000, copies);
    for (op, low, high) in crate::unary::ops() {
        suite.f16(format!("unary_{op}"), 600, move |on| unary(on, op, [low, high]));
    }
    suite.f16("binary", 600, binary);
    suite.f16("compare", 600, compare);
    suite.f16("reduce", 150_000, reduce);
    suite.f16("parts_are_not_rounded", 70_000, parts);
    suite.f16("matmul", 70_000, matmul);
    suite.f16("index", 5000, index);
    suite.f16("fused", 3000, fused);
    suite.f16("normalized", 3000, normalized);
    suite.f16("optimizer_step", 300, optimizer_step);
    suite.f16("random", 10_000, random);
}

/// `f` of tensors of F16, and of the same numbers in F32: results agree when rounded.
#[track_caller]
fn rounds<B: Backend, const N: usize>(
    about: &str,
    inputs: [Tensor<B>; N],
    f: impl Fn(&[Tensor<B>; N]) -> Vec<Tensor<B>>,
) {
    agree(about, inputs, f, false);
}

/// The same of the gradients, for operations whose gradient is one operation.
#[track_caller]
fn rounds_both_ways<B: Backend, const N: usize>(
    about: &str,
    inputs: [Tensor<B>; N],
    f: impl Fn(&[Tensor<B>; N]) -> Vec<Tensor<B>>,
) {
    agree(about, inputs, f, true);
}

#[track_caller]
fn agree<B: Backend, const N: usize>(
    about: &str,
    inputs: [Tensor<B>; N],
    f: impl Fn(&[Tensor<B>; N]) -> Vec<Tensor<B>>,
    backward: bool,
) {
    let run = |inputs: &[Tensor<B>; N]| -> Vec<Values> {
        let leaves = inputs.each_ref().map(|x| if backward { x.clone().requires_grad() } else { x.clone() });
        let outs = f(&leaves);
        let mut results: Vec<Values> = outs.iter().map(read).collect();
        for out in outs.iter().filter(|out| out.is_tracked()) {
            // The gradient of the output is a number of F16 too.
            let g = Tensor::from_f64((0..out.numel()).map(|i| 1.0 - i as f64 % 3.0), *out.shape(), out.device());
            results.extend(out.grad_with(&g.cast(out.dtype()), leaves.each_ref()).iter().map(read));
        }
        results
    };
    let (halves, wide) = (run(&inputs), run(&inputs.each_ref().map(|x| x.cast(DType::F32))));
    assert_eq!(halves.len(), wide.len(), "{about}");
    for (i, (half, wide)) in halves.iter().zip(&wide).enumerate() {
        let kind = if wide.dtype == DType::F32 { DType::F16 } else { wide.dtype };
        assert!(half.dtype == kind, "{about}, result {i}: the dtype is {}", half.dtype);
        let tolerance = if kind == DType::F16 { NEIGHBOUR } else { EXACT };
        assert_close(&format!("{about}, result {i}"), half, wide, tolerance);
    }
}

/// Odd lengths and odd offsets: byte counts that are not multiples of 4.
fn host<B: Backend>(on: &On<B>) {
    for len in [0usize, 1, 2, 3, 17, 1003] {
        let values: Vec<f16> = (0..len).map(|i| f16::from_bits((i * 31) as u16)).collect();
        let x = Tensor::from_slice(&values, [len], &on.device);
        assert!(x.dtype() == DType::F16 && x.to_vec::<f16>().is_ok_and(|v| v == values), "{len}");
        for start in (0..len).take(4) {
            let rest = x.narrow(0, start, len - start).to_vec::<f16>();
            assert!(rest.is_ok_and(|v| v == values[start..]), "{len} from {start}");
        }
        let storage = on.device.upload(HostSlice::F16(&values));
        assert!(storage.is_ok(), "{len}");
    }
    assert!(on.list(&[0.1], []).item().is_ok_and(|v| v == f16::from_f64(0.1).to_f64()));
    assert_eq!(on.list(&[1.5, 2.0], [2]).to_string(), "tensor([1.5000, 2.0000], dtype=float16)");
}

fn casts<B: Backend>(on: &On<B>) {
    // Every F16, there and back.
    let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).filter(|x| !x.is_nan()).collect();
    let x = Tensor::from_slice(&all, [all.len()], &on.device);
    let wide: Vec<f32> = all.iter().map(|x| x.to_f32()).collect();
    assert!(x.cast(DType::F32).to_vec::<f32>().is_ok_and(|v| v == wide));
    assert!(x.cast(DType::F32).cast(DType::F16).to_vec::<f16>().is_ok_and(|v| v == all));
    let whole: Vec<i32> = wide.iter().map(|&x| x as i32).collect();
    assert!(x.cast(DType::I32).to_vec::<i32>().is_ok_and(|v| v == whole));
    let nonzero: Vec<bool> = wide.iter().map(|&x| x != 0.0).collect();
    assert!(x.cast(DType::Bool).to_vec::<bool>().is_ok_and(|v| v == nonzero));
    // Halfway between neighbours, and a little to both sides: nearest, and to even on ties.
    let mut between = Vec::new();
    for pair in all.windows(2).filter(|pair| pair[0].is_finite() && pair[1].is_finite()).step_by(7) {
        let middle = (pair[0].to_f32() + pair[1].to_f32()) / 2.0;
        between.extend([middle, middle.next_up(), middle.next_down()]);
    }
    between.extend([65504.0, 65519.996, 65520.0, -65520.0, 1e9, 2f32.powi(-25), 3e-8, 1e-9, -1e-9, f32::INFINITY]);
    let rounded: Vec<f16> = between.iter().map(|&x| f16::from_f32(x)).collect();
    let x = Tensor::from_slice(&between, [between.len()], &on.device).cast(DType::F16);
    let got = x.to_vec::<f16>().unwrap_or_default();
    for ((got, want), from) in got.iter().zip(&rounded).zip(&between) {
        assert!(got.to_bits() == want.to_bits(), "{from:e} becomes {got:?}, not {want:?}");
    }
    assert!(got.len() == rounded.len());
    let nan = Tensor::from_slice(&[f32::NAN], [1], &on.device).cast(DType::F16);
    assert!(nan.to_vec::<f16>().is_ok_and(|v| v[0].is_nan()));
    assert!(nan.cast(DType::I32).to_vec::<i32>().is_ok_and(|v| v == [0]));
    let ints = Tensor::from_slice(&[2049, -3, 70_000], [3], &on.device).cast(DType::F16);
    assert!(ints.to_vec::<f16>().is_ok_and(|v| v == [2048.0, -3.0, f32::INFINITY].map(f16::from_f32)));
    let bools = Tensor::from_slice(&[true, false], [2], &on.device).cast(DType::F16);
    assert!(bools.to_vec::<f16>().is_ok_and(|v| v == [f16::ONE, f16::ZERO]));
}

fn copies<B: Backend>(on: &On<B>) {
    for lay in Lay::all(2) {
        let x = on.laid(lay, -3.0, 3.0, [9, 7]);
        rounds_both_ways(&format!("contiguous of {lay:?}"), [x.clone()], |[x]| {
            vec![x.contiguous(), x.transpose(0, 1).contiguous()]
        });
        rounds_both_ways(&format!("cat of {lay:?}"), [x.clone(), on.mixed([9, 4])], |[x, y]| {
            vec![Tensor::cat(&[x.clone(), y.clone()], 1)]
        });
        rounds(&format!("where of {lay:?}"), [x, on.mixed([9, 7])], |[x, y]| {
            vec![Tensor::where_cond(&x.gt(0.5), x, y), x.masked_fill(&y.lt(0.0), 0.1)]
        });
    }
    // Elements beside the written part stay, although two elements share a 32-bit word.
    let mut x = Tensor::full([5, 3], 0.1, (&on.device, DType::F16));
    let part = Layout::contiguous([5, 3]).narrow(1, 1, 1);
    let (device, storage) = x.storage_mut();
    device.fill(storage, &part, DType::F16, 1e-7);
    let (tenth, tiny) = (f16::from_f64(0.1), f16::from_f64(1e-7));
    assert!(x.to_vec::<f16>().is_ok_and(|v| v == [[tenth, tiny, tenth]; 5].concat()));
}

fn unary<B: Backend>(on: &On<B>, op: UnaryOp, [low, high]: [f64; 2]) {
    for lay in Lay::all(2) {
        let x = on.laid(lay, low, high, [17, 11]);
        rounds(&format!("{op} of {lay:?}"), [x.clone()], |[x]| vec![crate::unary::family(op, &x.detach())]);
        if op.saves() == Saves::Nothing {
            continue;
        }
        let g = on.mixed([17, 11]);
        let saved = if op.saves() == Saves::Output { crate::unary::family(op, &x) } else { x };
        rounds(&format!("gradient of {op}, {lay:?}"), [saved, g], |[s, g]| {
            vec![s.device().unary_grad(op, &s.detach(), &g.detach())]
        });
    }
    let x = on.uniform(low, high, [33]);
    let mut inside = x.device().copy(x.view());
    x.device().unary_mut(op, &mut inside, x.layout(), DType::F16);
    let inside = Tensor::from_storage(x.device(), inside, DType::F16, [33]);
    assert_close(&format!("{op} in place"), &inside, &crate::unary::family(op, &x), EXACT);
}

fn binary<B: Backend>(on: &On<B>) {
    use BinaryOp::*;
    for lay in Lay::all(2) {
        let (a, b) = (on.laid(lay, 0.3, 3.0, [17, 11]), on.uniform(0.4, 2.0, [17, 11]));
        rounds(&format!("binary of {lay:?}"), [a, b], |[a, b]| {
            vec![a + b, a - b, a * b, a / b, a.pow(b), a.remainder(b), a.maximum(b), a.minimum(b)]
        });
    }
    rounds("broadcast", [on.mixed([4, 1, 3]), on.mixed([5, 1])], |[a, b]| vec![a * b, a - b]);
    for op in [Add, Mul, Maximum] {
        let (a, b) = (on.mixed([33]), on.mixed([33]));
        let mut inside = a.device().copy(a.view());
        a.device().binary_mut(op, &mut inside, a.layout(), b.view());
        let inside = Tensor::from_storage(a.device(), inside, DType::F16, [33]);
        let fresh = Tensor::from_storage(a.device(), a.device().binary(op, a.view(), b.view()), DType::F16, [33]);
        assert_close(&format!("{op} in place"), &inside, &fresh, EXACT);
    }
}

fn compare<B: Backend>(on: &On<B>) {
    let (a, b) = (on.whole(-3, 4, [17, 11]), on.whole(-3, 4, [17, 11]));
    rounds("compare", [a.clone(), b], |[a, b]| vec![a.eq(b), a.ne(b), a.lt(b), a.le(b), a.gt(b), a.ge(b)]);
    rounds("compare_scalar", [a], |[a]| vec![a.eq(2.0), a.ne(2.0), a.lt(0.5), a.le(-1.0), a.gt(1.5), a.ge(3.0)]);
    // The scalar is rounded to F16 first, so an element of 0.1 equals it.
    let tenth = on.list(&[0.1, f64::NAN, f64::INFINITY], [3]);
    for (op, want) in [(CompareOp::Eq, [true, false, false]), (CompareOp::Ge, [true, false, true])] {
        let got = on.device.compare_scalar(op, tenth.view(), 0.1);
        let got = Tensor::from_storage(&on.device, got, DType::Bool, [3]);
        assert!(got.to_vec::<bool>().is_ok_and(|v| v == want), "{op}");
    }
    assert!(tenth.isnan().to_vec::<bool>().is_ok_and(|v| v == [false, true, false]));
}

fn reduce<B: Backend>(on: &On<B>) {
    for shape in [vec![7, 5, 9], vec![3, 700], vec![700, 3], vec![3, 50_000], vec![50_000, 3], vec![0, 4], vec![4, 0]] {
        let x = on.uniform(0.9, 1.1, shape.as_slice());
        for dim in 0..shape.len() as isize {
            let about = format!("{shape:?} over {dim}");
            rounds(&about, [x.clone()], |[x]| {
                let mut results = vec![x.sum(dim), x.mean(dim), x.prod(dim)];
                if x.shape()[dim as usize] > 0 {
                    results.extend([x.max(dim), x.min(dim), x.argmax(dim), x.argmin(dim)]);
                }
                results
            });
        }
        rounds_both_ways(&format!("{shape:?}"), [x], |[x]| vec![x.sum(..), x.mean(..)]);
    }
    let edges = on.list(&[1.0, f64::NAN, -0.0, f64::INFINITY, 0.0, -2.0], [2, 3]);
    rounds("edges", [edges], |[x]| vec![x.max(1), x.min(1), x.argmax(1), x.argmin(0), x.sum(0)]);
}

/// Sums that exceed 65,504, the largest F16, on the way to results that do not.
fn parts<B: Backend>(on: &On<B>) {
    for shape in [vec![1, 60_000], vec![60_000, 1], vec![2, 30_000], vec![30_000, 2]] {
        let x = Tensor::full(shape.as_slice(), 1000.0, (&on.device, DType::F16));
        let long = if shape[0] > shape[1] { 0 } else { 1 };
        assert!(read(&x.mean(long)).data.iter().all(|&mean| mean == 1000.0), "{shape:?}");
        // A sum that is rounded to F16 after each term stops growing.
        let sum = Tensor::full(shape.as_slice(), 0.9, (&on.device, DType::F16)).sum(long);
        let want = f16::from_f64(f16::from_f64(0.9).to_f64() * shape[long as usize] as f64).to_f64();
        assert!(read(&sum).data.iter().all(|&sum| sum == want), "{shape:?}: {:?}, not {want}", read(&sum).data);
    }
    let device = &on.device;
    let fold = |op| {
        let x = Tensor::full([4096], 1000.0, (device, DType::F16));
        let out = device.reduce(op, View { layout: x.layout(), ..x.view() }, &[0]);
        read(&Tensor::from_storage(device, out, DType::F16, [1])).data[0]
    };
    assert!(fold(ReduceOp::Sum) == f64::INFINITY && fold(ReduceOp::Mean) == 1000.0);
}

fn matmul<B: Backend>(on: &On<B>) {
    for [m, k, n] in
        [[1, 1, 1], [5, 3, 7], [64, 64, 64], [33, 100, 65], [1, 300, 9], [9, 300, 1], [8, 4096, 8], [3, 0, 2]]
    {
        let (a, b) = (on.mixed([m, k]), on.mixed([k, n]));
        rounds_both_ways(&format!("[{m}, {k}] x [{k}, {n}]"), [a, b], |[a, b]| vec![a.matmul(b)]);
        let (a, b) = (on.mixed([k, m]), on.mixed([n, k]));
        rounds_both_ways(&format!("transposed, {m} {k} {n}"), [a, b], |[a, b]| {
            vec![a.transpose(0, 1).matmul(&b.transpose(0, 1))]
        });
    }
    let (a, b) = (on.mixed([3, 1, 5, 4]), on.mixed([2, 4, 6]));
    rounds("batches", [a, b], |[a, b]| vec![a.matmul(b)]);
    let (x, w, b) = (on.mixed([2, 6, 5]), on.mixed([3, 5]), on.mixed([3]));
    rounds_both_ways("linear", [x.clone(), w.clone(), b], |[x, w, b]| vec![x.linear(w, Some(b))]);
    rounds_both_ways("linear without bias", [x, w], |[x, w]| vec![x.linear(w, None)]);
}

fn index<B: Backend>(on: &On<B>) {
    let (x, more) = (on.mixed([9, 6]), on.mixed([40, 6]));
    let rows = on.ints(0, 9, [40]);
    rounds_both_ways("index_select", [x.clone()], |[x]| vec![x.index_select(0, &rows)]);
    let index = on.ints(0, 9, [40, 6]);
    rounds_both_ways("gather", [x.clone()], |[x]| vec![x.gather(0, &index)]);
    // Few and many terms per element; a sum that is rounded to F16 after each term differs.
    rounds("scatter", [x.clone(), more.clone()], |[x, y]| vec![x.scatter(0, &index, y)]);
    let few = on.ints(0, 9, [4, 6]);
    rounds("scatter of short lines", [x.clone(), on.mixed([4, 6])], |[x, y]| vec![x.scatter(0, &few, y)]);
    let exact = |low, high, shape: [usize; 2]| on.whole(low, high, shape);
    let many = on.ints(0, 2, [400, 3]);
    rounds("scatter_add", [exact(-3, 4, [9, 6]), exact(-3, 4, [40, 6])], |[x, y]| vec![x.scatter_add(0, &index, y)]);
    rounds("scatter_add of many", [exact(-3, 4, [2, 3]), exact(-3, 4, [400, 3])], |[x, y]| {
        vec![x.scatter_add(0, &many, y)]
    });
}

fn fused<B: Backend>(on: &On<B>) {
    let x = on.mixed([6, 21]);
    rounds_both_ways("softmax", [x.clone()], |[x]| vec![x.softmax(1), x.softmax(0), x.log_softmax(1)]);
    rounds_both_ways("cumsum", [x.clone()], |[x]| vec![x.cumsum(1), x.cumsum(0)]);
    rounds("sort", [x.clone()], |[x]| {
        let ((sorted, places), (top, at)) = (x.sort(1, true), x.topk(3, 1, false));
        vec![sorted, places, top, at, x.argsort(0, false)]
    });
    let target = on.ints(0, 21, [6]);
    rounds_both_ways("cross_entropy", [x.clone()], |[x]| vec![x.cross_entropy(&target)]);
    rounds_both_ways("cross_entropy_with", [x.clone(), on.uniform(0.5, 2.0, [21])], |[x, w]| {
        vec![x.cross_entropy_with(&target, &CrossEntropyOptions::default().weight(w).label_smoothing(0.1))]
    });
    rounds_both_ways("logsumexp", [x.clone()], |[x]| vec![x.logsumexp(1), x.logsumexp(..)]);
    // Squares beyond F16, whose mean is not.
    rounds_both_ways("losses", [on.uniform(-300.0, 300.0, [6, 21]), on.uniform(0.0, 1.0, [6, 21])], |[x, t]| {
        vec![x.mse_loss(t), x.l1_loss(t), x.huber_loss(t, 0.5), x.bce_with_logits_loss(t)]
    });
    rounds_both_ways(
        "losses of probabilities",
        [on.uniform(0.1, 0.9, [6, 21]), on.uniform(0.0, 1.0, [6, 21])],
        |[p, t]| vec![p.bce_loss(t), p.kl_div_loss(t)],
    );
    let (x, w, b) = (on.mixed([2, 4, 9, 8]), on.mixed([6, 2, 3, 3]), on.mixed([6]));
    let options = Conv2dOptions::default().padding(1).stride(2).groups(2);
    rounds_both_ways("conv2d", [x.clone(), w, b], |[x, w, b]| {
        vec![x.conv2d(w, Some(b), options), x.conv2d(w, None, options)]
    });
    let (w, b) = (on.mixed([4, 2, 3, 3]), on.mixed([4]));
    rounds_both_ways("conv_transpose2d", [x.clone(), w, b], |[x, w, b]| {
        vec![x.conv_transpose2d(w, Some(b), options, 1)]
    });
    rounds_both_ways("pools", [x], |[x]| {
        let (max, places) = x.max_pool2d_with_indices(Pool2dOptions::new(3).stride(2).padding(1));
        vec![max, places, x.avg_pool2d(2)]
    });
    let x = on.uniform(0.5, 1.0, [1000]);
    let kept = |x: &Tensor<B>| {
        x.device().rng().seed(11);
        vec![x.dropout(0.3)]
    };
    rounds_both_ways("dropout", [x], |[x]| kept(x));
}

fn normalized<B: Backend>(on: &On<B>) {
    let (x, w, b) = (on.mixed([5, 4, 3, 2]), on.mixed([4]), on.mixed([4]));
    rounds_both_ways("batch_norm", [x.clone(), w.clone(), b.clone()], |[x, w, b]| {
        let [y, mean, var] = x.batch_norm(Some(w), Some(b), 1e-5);
        vec![y, mean.detach(), var.detach()]
    });
    rounds_both_ways("group_norm", [x.clone(), w, b], |[x, w, b]| vec![x.group_norm(2, Some(w), Some(b), 1e-5)]);
    rounds_both_ways("layer_norm", [x, on.mixed([2]), on.mixed([2])], |[x, w, b]| {
        vec![x.layer_norm([2], Some(w), Some(b), 1e-5)]
    });
}

fn optimizer_step<B: Backend>(on: &On<B>) {
    let device = &on.device;
    let adam = AdamConfig { beta1: 0.9, beta2: 0.999, eps: 1e-4, weight_decay: 0.1, decoupled: true };
    for rule in [StepRule::Sgd(SgdConfig { momentum: 0.9, ..SgdConfig::default() }), StepRule::Adam(adam)] {
        let (start, grad) = (on.mixed([17, 9]), on.mixed([17, 9]));
        let step = |start: &Tensor<B>, grad: &Tensor<B>| -> Vec<Values> {
            let dtype = start.dtype();
            let mut param = device.copy(start.view());
            let zeros = Tensor::zeros([17, 9], (device, dtype));
            let mut states: Vec<_> = (0..rule.states()).map(|_| device.copy(zeros.view())).collect();
            // More steps than the integers of F16.
            let scalars = Tensor::from_slice(&[0.1f32, 3001.0], [2], device);
            let mut scalars = device.copy(scalars.view());
            let state = states.iter_mut().collect();
            let slot = StepSlot { param: &mut param, state, grad: grad.view(), missed: 3000, fresh: true };
            device.optimizer_step(&rule, &mut [slot], &mut scalars);
            let counted = Tensor::from_storage(device, scalars, DType::F32, [2]);
            assert!(read(&counted).data[1] == 3002.0);
            states.insert(0, param);
            states.into_iter().map(|state| read(&Tensor::from_storage(device, state, dtype, [17, 9]))).collect()
        };
        let halves = step(&start, &grad);
        let wide = step(&start.cast(DType::F32), &grad.cast(DType::F32));
        for (i, (half, wide)) in halves.iter().zip(&wide).enumerate() {
            assert_close(&format!("{rule:?}, {i}"), half, wide, NEIGHBOUR);
        }
    }
}

fn random<B: Backend>(on: &On<B>) {
    let place = (&on.device, DType::F16);
    let x = Tensor::rand([10_000], place);
    let values = read(&x).data;
    assert!(x.dtype() == DType::F16 && values.iter().all(|&v| (0.0..1.0).contains(&v) && (v * 2048.0).fract() == 0.0));
    let mean = values.iter().sum::<f64>() / 1e4;
    assert!((mean - 0.4998).abs() < 0.015, "{mean}");
    assert!(read(&Tensor::randn([1000], place)).data.iter().any(|v| v.abs() > 2.0));
}
