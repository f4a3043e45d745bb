//! Every family over every kind of layout, against plain loops.

mod common;

use common::{SHAPES, as_dtype, close, read, samples, tensor};
use minitorch_core::backend::{
    ArgReduceOp, BinaryOp, BinaryOps, CompareOp, CompareOps, CopyOps, Device, IndexOps, MatmulOps, ReduceOp, ReduceOps,
    ScatterOp, UnaryOp, UnaryOps, View,
};
use minitorch_core::{DType, Error, Layout, Shape, Tensor};
use minitorch_cpu::{Cpu, Storage};

fn of_storage(device: &Cpu, storage: Storage, dtype: DType, shape: impl Into<Shape>) -> Vec<f64> {
    read(&Tensor::from_storage(device, storage, dtype, shape))
}

#[test]
fn elementwise() {
    let device = Cpu::new();
    for &shape in SHAPES {
        for dtype in [DType::F32, DType::F64, DType::I32] {
            let (left, right) = (samples(shape, dtype, 1, &device), samples(shape, dtype, 100, &device));
            for a in &left {
                let what = format!("{shape:?} {dtype} {}", a.name);
                let [la] = Layout::merge([*a.x.layout()]);
                let got = device.unary(UnaryOp::Rsub(3.0), View { layout: &la, ..a.x.view() });
                let want: Vec<f64> = a.values.iter().map(|x| 3.0 - x).collect();
                close(&of_storage(&device, got, dtype, shape), &want, 0.0, &what);
                close(&read(&a.x), &a.values, 0.0, &what);
                close(&of_storage(&device, device.copy(a.x.view()), dtype, shape), &a.values, 0.0, &what);
                let got = device.compare_scalar(CompareOp::Lt, a.x.view(), 0.5);
                let want: Vec<f64> = a.values.iter().map(|&x| (x < 0.5) as u8 as f64).collect();
                close(&of_storage(&device, got, DType::Bool, shape), &want, 0.0, &what);
                for b in &right {
                    let what = format!("{what} with {}", b.name);
                    let pairs = || a.values.iter().zip(&b.values);
                    let [la, lb] = Layout::merge([*a.x.layout(), *b.x.layout()]);
                    let (va, vb) = (View { layout: &la, ..a.x.view() }, View { layout: &lb, ..b.x.view() });
                    let got = device.binary(BinaryOp::Sub, va, vb);
                    let want: Vec<f64> = pairs().map(|(a, b)| a - b).collect();
                    close(&of_storage(&device, got, dtype, shape), &want, 0.0, &what);
                    let got = device.compare(CompareOp::Ge, va, vb);
                    let want: Vec<f64> = pairs().map(|(a, b)| (a >= b) as u8 as f64).collect();
                    close(&of_storage(&device, got, DType::Bool, shape), &want, 0.0, &what);
                    let mut to = device.copy(a.x.view());
                    let whole = Layout::contiguous(*a.x.shape());
                    device.binary_mut(BinaryOp::Mul, &mut to, &whole, b.x.view());
                    let want: Vec<f64> = pairs().map(|(a, b)| a * b).collect();
                    close(&of_storage(&device, to, dtype, shape), &want, 0.0, &what);
                }
            }
        }
    }
}

#[test]
fn choosing() {
    let device = Cpu::new();
    for &shape in SHAPES {
        let conditions = samples(shape, DType::Bool, 7, &device);
        let (left, right) = (samples(shape, DType::F32, 1, &device), samples(shape, DType::F32, 50, &device));
        for c in &conditions {
            for (a, b) in left.iter().flat_map(|a| right.iter().map(move |b| (a, b))) {
                let got = device.where_cond(c.x.view(), a.x.view(), b.x.view());
                let want: Vec<f64> =
                    (0..a.values.len()).map(|i| if c.values[i] != 0.0 { a.values[i] } else { b.values[i] }).collect();
                let what = format!("{shape:?} {} {} {}", c.name, a.name, b.name);
                close(&of_storage(&device, got, DType::F32, shape), &want, 0.0, &what);
            }
        }
    }
}

#[test]
fn casts() {
    let device = Cpu::new();
    for &shape in SHAPES {
        let all = || DType::ALL.into_iter().filter(|&dtype| device.supports(dtype));
        for from in all() {
            for x in samples(shape, from, 3, &device) {
                for to in all() {
                    let want: Vec<f64> = x.values.iter().map(|&v| as_dtype(v, to)).collect();
                    let got = device.cast(x.x.view(), to);
                    close(
                        &of_storage(&device, got, to, shape),
                        &want,
                        0.0,
                        &format!("{shape:?} {from} to {to} {}", x.name),
                    );
                }
            }
        }
    }
    let odd = Tensor::<Cpu>::from_slice(&[f64::NAN, 1e20, -1e20, -1.9, 1.9, f64::INFINITY], [6], &device);
    close(
        &read(&odd.cast(DType::I32)),
        &[0.0, i32::MAX as f64, i32::MIN as f64, -1.0, 1.0, i32::MAX as f64],
        0.0,
        "i32",
    );
    close(&read(&odd.cast(DType::Bool)), &[1.0; 6], 0.0, "bool");
}

#[test]
fn writing() {
    let device = Cpu::new();
    for &shape in SHAPES {
        for to in
            samples(shape, DType::F32, 11, &device).iter().filter(|s| !["broadcast", "one number"].contains(&s.name))
        {
            for x in samples(shape, DType::F32, 12, &device) {
                let what = format!("{shape:?} {} from {}", to.name, x.name);
                let len = to.x.layout().end() + 5;
                let base = vec![-9.0; len];
                let mut storage = device.upload(minitorch_core::HostSlice::F32(&base)).unwrap();
                device.write(&mut storage, to.x.layout(), x.x.view());
                let mut want = vec![-9.0; len];
                to.x.layout().positions().zip(&x.values).for_each(|(at, &v)| want[at] = v);
                close(&of_storage(&device, storage, DType::F32, [len]), &want, 0.0, &what);
                let mut storage = device.upload(minitorch_core::HostSlice::F32(&base)).unwrap();
                device.fill(&mut storage, to.x.layout(), DType::F32, 2.5);
                let mut want = vec![-9.0; len];
                to.x.layout().positions().for_each(|at| want[at] = 2.5);
                close(&of_storage(&device, storage, DType::F32, [len]), &want, 0.0, &what);
            }
        }
    }
}

/// Every way to write `n` as a set of dimensions.
fn subsets(rank: usize) -> impl Iterator<Item = Vec<usize>> {
    (0..1usize << rank).map(move |bits| (0..rank).filter(|d| bits >> d & 1 == 1).collect())
}

#[test]
fn reductions() {
    let device = Cpu::new();
    for &shape in SHAPES.iter().chain(&[&[3, 2000][..], &[2000, 3]]) {
        for dtype in [DType::F32, DType::F64, DType::I32] {
            for x in samples(shape, dtype, 21, &device) {
                for dims in subsets(shape.len()) {
                    let what = format!("{shape:?} {dtype} {} over {dims:?}", x.name);
                    let kept: Vec<usize> =
                        (0..shape.len()).map(|d| if dims.contains(&d) { 1 } else { shape[d] }).collect();
                    // Where each element goes: the position in the kept shape, its reduced dimensions repeated.
                    let target = Layout::contiguous(kept.as_slice()).expand(Shape::new(shape));
                    let fold = |start: f64, f: &dyn Fn(f64, f64) -> f64| {
                        let mut out = vec![start; kept.iter().product()];
                        target.positions().zip(&x.values).for_each(|(at, &v)| out[at] = f(out[at], v));
                        out
                    };
                    let run = |op| of_storage(&device, device.reduce(op, x.x.view(), &dims), dtype, kept.as_slice());
                    let count: usize = dims.iter().map(|&d| shape[d]).product();
                    let sum = fold(0.0, &|a, b| a + b);
                    close(&run(ReduceOp::Sum), &sum, 1e-6, &what);
                    if dtype.is_float() {
                        let mean: Vec<f64> = sum.iter().map(|s| s / count as f64).collect();
                        close(&run(ReduceOp::Mean), &mean, 1e-6, &what);
                    }
                    if count > 0 {
                        close(&run(ReduceOp::Max), &fold(f64::NEG_INFINITY, &f64::max), 0.0, &what);
                        close(&run(ReduceOp::Min), &fold(f64::INFINITY, &f64::min), 0.0, &what);
                    }
                    if count < 8 && dtype != DType::I32 {
                        close(&run(ReduceOp::Prod), &fold(1.0, &|a, b| a * b), 1e-5, &what);
                    }
                    if let (&[dim], true) = (&dims[..], count > 0) {
                        let want = |better: &dyn Fn(f64, f64) -> bool| {
                            let mut best = vec![(f64::NAN, 0usize, 0usize); kept.iter().product()];
                            for (at, &v) in target.positions().zip(&x.values) {
                                let (top, index, seen) = best[at];
                                let new = seen == 0 || better(v, top);
                                best[at] = (if new { v } else { top }, if new { seen } else { index }, seen + 1);
                            }
                            best.into_iter().map(|(_, index, _)| index as f64).collect::<Vec<_>>()
                        };
                        let arg = |op| {
                            of_storage(&device, device.arg_reduce(op, x.x.view(), dim), DType::I32, kept.as_slice())
                        };
                        close(&arg(ArgReduceOp::ArgMax), &want(&|a, b| a > b), 0.0, &what);
                        close(&arg(ArgReduceOp::ArgMin), &want(&|a, b| a < b), 0.0, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn extremes_with_nan() {
    let device = Cpu::new();
    for len in [1, 5, 40, 100, 5000] {
        for at in [0, len / 2, len - 1] {
            let mut values: Vec<f64> = common::numbers(len, 5);
            values[at] = f64::NAN;
            values[len - 1] = f64::NAN;
            let x = tensor(&values, [len], DType::F32, &device);
            assert!(x.max(..).item().unwrap().is_nan() && x.min(..).item().unwrap().is_nan());
            assert_eq!((x.argmax(0).item().unwrap(), x.argmin(0).item().unwrap()), (at as f64, at as f64));
        }
    }
    let bools = Tensor::<Cpu>::from_slice(&[true, false, true, true, true, true], [2, 3], &device);
    assert_eq!(bools.all(1).to_vec::<bool>().unwrap(), [false, true]);
    assert_eq!(bools.logical_not().any(1).to_vec::<bool>().unwrap(), [true, false]);
}

/// The exact sum, rounded once.
#[test]
fn sums_of_many_stay_accurate() {
    let device = Cpu::new();
    let len = 10_000_000;
    let values: Vec<f32> = (0..len).map(|i| 0.1 + (i % 7) as f32 * 0.01).collect();
    let want: f64 = values.iter().map(|&x| x as f64).sum();
    let x = Tensor::<Cpu>::from_vec(values, [len], &device);
    for x in [x.clone(), x.reshape([len / 10, 10]).sum(0), x.reshape([10, len / 10]).sum(1)] {
        let got = x.sum(..).item().unwrap();
        assert!((got - want).abs() < 3e-7 * want, "{got} is not {want}");
    }
}

#[test]
fn products() {
    let device = Cpu::new();
    for (m, k, n) in
        [(1, 1, 1), (3, 4, 5), (17, 33, 9), (1, 20, 6), (6, 20, 1), (0, 3, 2), (2, 0, 3), (2, 3, 0), (65, 70, 67)]
    {
        for batch in [&[][..], &[3], &[2, 3], &[0]] {
            let shape = |a, b| batch.iter().copied().chain([a, b]).collect::<Vec<_>>();
            for dtype in [DType::F32, DType::F64] {
                for a in samples(&shape(m, k), dtype, 31, &device) {
                    for b in samples(&shape(k, n), dtype, 32, &device) {
                        let got = device.matmul(a.x.view(), b.x.view());
                        let got = of_storage(&device, got, dtype, shape(m, n).as_slice());
                        let batches: usize = batch.iter().product();
                        let mut want = vec![0.0; batches * m * n];
                        for (at, want) in want.iter_mut().enumerate() {
                            let (i, j, p) = (at / n % m, at % n, at / n / m);
                            *want = (0..k).map(|d| a.values[(p * m + i) * k + d] * b.values[(p * k + d) * n + j]).sum();
                        }
                        let what = format!("{batch:?} {m} {k} {n} {dtype} {} x {}", a.name, b.name);
                        close(&got, &want, 1e-5, &what);
                    }
                }
            }
        }
    }
}

#[test]
fn linear() {
    let device = Cpu::new();
    for lead in [&[][..], &[5], &[2, 3], &[0], &[2, 1, 4]] {
        let (k, n) = (7, 11);
        let shape: Vec<usize> = lead.iter().copied().chain([k]).collect();
        for x in samples(&shape, DType::F32, 41, &device) {
            for w in samples(&[n, k], DType::F32, 42, &device) {
                for b in samples(&[n], DType::F32, 43, &device) {
                    for bias in [None, Some(&b)] {
                        let got = device.linear(&x.x, &w.x, bias.map(|b| &b.x), None);
                        let rows: usize = lead.iter().product();
                        let mut want = vec![0.0; rows * n];
                        for (at, want) in want.iter_mut().enumerate() {
                            let sum: f64 = (0..k).map(|d| x.values[at / n * k + d] * w.values[at % n * k + d]).sum();
                            *want = sum + bias.map_or(0.0, |b| b.values[at % n]);
                        }
                        close(&read(&got), &want, 1e-5, &format!("{lead:?} {} {} {}", x.name, w.name, b.name));
                    }
                }
            }
        }
    }
}

#[test]
fn indices() {
    let device = Cpu::new();
    for &shape in &[&[5][..], &[4, 6], &[3, 4, 5], &[1, 7], &[2, 3, 2, 3]] {
        for dim in 0..shape.len() {
            for count in [0, 1, 3, 9] {
                let mut index_shape = shape.to_vec();
                index_shape[dim] = count;
                for index in samples(&index_shape, DType::I32, 51, &device) {
                    // Into range: the samples are -4 ..= 4, so add and wrap by taking absolute values.
                    let bound = shape[dim] as f64;
                    let wrap = |v: f64| v.abs() % bound;
                    let wrapped: Vec<f64> = index.values.iter().map(|&v| wrap(v)).collect();
                    let positions = Layout::contiguous(index_shape.as_slice());
                    let contiguous = tensor(&wrapped, index_shape.as_slice(), DType::I32, &device);
                    // The same indices repeated along the other dimensions, as embeddings have them.
                    let mut column = vec![1; shape.len()];
                    column[dim] = count;
                    let few: Vec<f64> = (0..count).map(|i| (i * 2 % shape[dim]) as f64).collect();
                    let repeated = tensor(&few, column.as_slice(), DType::I32, &device).expand(index_shape.as_slice());
                    for at in [contiguous, repeated] {
                        let at_values: Vec<f64> = read(&at);
                        // For each position of the index: the flat position in a contiguous x.
                        let strides = Layout::contiguous(shape);
                        let flat: Vec<usize> = positions
                            .positions()
                            .map(|p| {
                                let mut rest = p;
                                let mut to = 0;
                                for d in (0..shape.len()).rev() {
                                    let i = if d == dim { at_values[p] as usize } else { rest % index_shape[d] };
                                    rest /= index_shape[d];
                                    to += i * strides.strides()[d];
                                }
                                to
                            })
                            .collect();
                        for x in samples(shape, DType::F32, 52, &device) {
                            let what = format!("{shape:?} dim {dim} count {count} {} at {}", x.name, index.name);
                            let got = device.gather(x.x.view(), dim, at.view());
                            let want: Vec<f64> = flat.iter().map(|&p| x.values[p]).collect();
                            close(&of_storage(&device, got, DType::F32, index_shape.as_slice()), &want, 0.0, &what);
                        }
                        for x in samples(&index_shape, DType::F32, 53, &device) {
                            let what = format!("{shape:?} dim {dim} count {count} {} at {}", x.name, index.name);
                            for op in [ScatterOp::Add, ScatterOp::Set] {
                                let mut to = device.full(DType::F32, shape.iter().product(), 1.0).unwrap();
                                device.scatter(op, &mut to, &Layout::contiguous(shape), dim, at.view(), x.x.view());
                                let mut want = vec![1.0; shape.iter().product()];
                                flat.iter().zip(&x.values).for_each(|(&p, &v)| match op {
                                    ScatterOp::Add => want[p] += v,
                                    ScatterOp::Set => want[p] = v,
                                });
                                close(&of_storage(&device, to, DType::F32, shape), &want, 1e-6, &what);
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn bad_indices_are_reported_once() {
    let device = Cpu::new();
    let x = Tensor::<Cpu>::from_slice(&[1.0f32, 2.0, 3.0], [3], &device);
    let bad = Tensor::<Cpu>::from_slice(&[2, 3, -1, 0], [4], &device);
    let expect = |op: &str, index: i64| match device.synchronize() {
        Err(Error::IndexOutOfRange { op: o, index: i, bound: 3 }) => assert_eq!((o, i), (op, index)),
        other => panic!("{op}: {other:?}"),
    };
    let got = x.gather(0, &bad);
    expect("gather", 3);
    assert_eq!(got.to_vec::<f32>().unwrap(), [3.0, 0.0, 0.0, 1.0]);
    let got = x.scatter_add(0, &bad, &Tensor::<Cpu>::from_slice(&[1.0f32; 4], [4], &device));
    expect("scatter_add", 3);
    assert_eq!(got.to_vec::<f32>().unwrap(), [2.0, 2.0, 4.0]);
    let logits = Tensor::<Cpu>::from_slice(&[0.0f32; 12], [4, 3], &device);
    let loss = logits.cross_entropy(&bad);
    expect("cross_entropy", 3);
    assert!((loss.item().unwrap() - 3f64.ln() / 2.0).abs() < 1e-6);
    assert!(device.synchronize().is_ok() && Cpu::default().synchronize().is_ok());
}
