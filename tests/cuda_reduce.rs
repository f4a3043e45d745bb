//! Reductions, softmax, losses, norms and running sums of the CUDA backend in shapes that reach every kernel and every way of
//! splitting work over blocks, against the CPU in f64; the same and products with the hundreds of parts that a GPU of 132
//! multiprocessors gets; and how many kernels each launches.

#[path = "common/cuda.rs"]
mod cuda;

use cuda::Held;
use minitorch::Shape;
use minitorch::prelude::*;

/// Every CUDA device that there is here, each for this test alone.
fn devices() -> impl Iterator<Item = Held> {
    cuda::devices(vec![
        #[cfg(feature = "cuda-emu")]
        Cuda::emulated(minitorch_cuda::Order::Forward),
        #[cfg(feature = "cuda-emu")]
        Cuda::emulated(minitorch_cuda::Order::Shuffled(5)),
    ])
}

/// As an H100 is, whose launches have more blocks and more parts; and GPU 0.
fn wide_devices() -> impl Iterator<Item = Held> {
    cuda::devices(vec![
        #[cfg(feature = "cuda-emu")]
        Cuda::emulated(minitorch_cuda::EmulatorOptions {
            order: minitorch_cuda::Order::Shuffled(9),
            multiprocessors: 132,
            shared_memory: 227 << 10,
        }),
    ])
}

/// Numbers in -1..1 around `shift`, the same on every device.
fn numbers<B: Backend>(shape: &[usize], shift: f64, on: (&B, DType)) -> Tensor<B> {
    let mut state = 12345u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) as f64
    };
    let values: Vec<f64> = (0..shape.iter().product()).map(|_| ((next() + shift) as f32) as f64).collect();
    Tensor::from_slice(&values, shape, on.0).cast(on.1)
}

type Case = (String, Vec<f64>);

struct Cases<'a, B: Backend> {
    on: (&'a B, DType),
    out: Vec<Case>,
}

impl<B: Backend> Cases<'_, B> {
    fn push(&mut self, about: String, x: &Tensor<B>) {
        let values = x.cast(DType::F64).to_vec::<f64>().unwrap_or_else(|error| panic!("{about}: {error}"));
        self.out.push((about, values));
    }

    /// The result and the gradient of its product with numbers.
    fn with_grad(&mut self, about: String, x: &Tensor<B>, f: impl Fn(&Tensor<B>) -> Tensor<B>) {
        let x = x.detach().requires_grad();
        let y = f(&x);
        // Not linear in x, whose gradient through a norm would be 0.
        let weights = (numbers(y.shape(), 0.0, self.on) * 7.0).sin();
        let grads = (&y * &weights).sum(..).backward();
        self.push(about.clone(), &y);
        self.push(format!("{about}, gradient"), &grads[&x]);
    }
}

/// `x.op(dims)` of a slice.
macro_rules! over {
    ($op:ident, $x:expr, $dims:expr) => {
        match $dims[..] {
            [] => $x.$op([0; 0]),
            [a] => $x.$op(a),
            [a, b] => $x.$op([a, b]),
            [a, b, c] => $x.$op([a, b, c]),
            _ => $x.$op(..),
        }
    };
}

fn reductions<B: Backend>(cases: &mut Cases<'_, B>) {
    let shapes: [(&[usize], &[&[isize]]); 13] = [
        (&[50_003], &[&[0]]),
        (&[3, 20_000], &[&[1], &[0], &[0, 1]]),
        (&[150, 1201], &[&[1], &[0]]),
        (&[40, 700], &[&[1]]),
        (&[1000, 7], &[&[1], &[0]]),
        (&[300, 4], &[&[1], &[]]),
        (&[20_000, 3], &[&[0]]),
        (&[3000, 70], &[&[0]]),
        (&[7, 1000], &[&[0]]),
        (&[8, 16, 20, 20], &[&[0, 2, 3], &[1], &[1, 3], &[0, 2]]),
        (&[8, 5, 7, 7], &[&[0, 2, 3], &[2, 3], &[0]]),
        (&[300, 2, 3], &[&[0, 2], &[1]]),
        (&[200, 6, 4], &[&[0, 2]]),
    ];
    for (shape, sets) in shapes {
        let x = numbers(shape, 0.0, cases.on);
        let coarse = (&x * 8.0).floor();
        // Unaligned, and with gaps.
        let shifted = numbers(&[x.numel() + 3], 0.0, cases.on).narrow(0, 3, x.numel()).reshape(Shape::new(shape));
        let gaps = numbers(&[x.numel(), 2], 0.0, cases.on).slice((.., 1)).reshape(Shape::new(shape));
        for dims in sets {
            for (name, x) in [("", &x), ("shifted ", &shifted), ("gaps ", &gaps)] {
                cases.push(format!("sum of {name}{shape:?} over {dims:?}"), &over!(sum, x, dims));
                cases.push(format!("max of {name}{shape:?} over {dims:?}"), &over!(max, x, dims));
            }
            cases.push(format!("mean of {shape:?} over {dims:?}"), &over!(mean, x, dims));
            let near = (&x * 0.001) + 1.0;
            cases.push(format!("prod of {shape:?} over {dims:?}"), &over!(prod, near, dims));
            cases.push(format!("integer sum of {shape:?} over {dims:?}"), &over!(sum, coarse.cast(DType::I32), dims));
            cases.push(format!("any of {shape:?} over {dims:?}"), &over!(any, x.gt(0.999), dims));
            if let [dim] = **dims {
                cases.push(format!("argmax of {shape:?} along {dim}"), &coarse.argmax(dim));
                cases.push(format!("argmin of {shape:?} along {dim}"), &coarse.argmin(dim));
            }
        }
    }
}

fn softmaxes<B: Backend>(cases: &mut Cases<'_, B>) {
    let shapes: [(&[usize], isize); 13] = [
        (&[300, 10], 1),
        (&[300, 12], 1),
        (&[30, 129], 1),
        (&[30, 500], 1),
        (&[9, 1024], 1),
        (&[9, 1023], 1),
        (&[5, 3000], 1),
        (&[5, 3001], 1),
        (&[4, 300, 6], 1),
        (&[2, 21, 300], 1),
        (&[1500, 3], 0),
        (&[1, 70], 0),
        (&[17, 1], 1),
    ];
    for (shape, dim) in shapes {
        let x = numbers(shape, 0.0, cases.on) * 9.0;
        cases.with_grad(format!("softmax of {shape:?} along {dim}"), &x, |x| x.softmax(dim));
        cases.with_grad(format!("log_softmax of {shape:?} along {dim}"), &x, |x| x.log_softmax(dim));
    }
    for (n, c) in [(700, 10), (1, 3), (20, 1000), (9, 1028), (9, 2001)] {
        let target: Vec<i32> = (0..n).map(|i| (i * 7919 % c) as i32).collect();
        let target = Tensor::from_slice(&target, [n], cases.on.0);
        let x = numbers(&[n, c], 0.0, cases.on) * 5.0;
        cases.with_grad(format!("cross_entropy of [{n}, {c}]"), &x, |x| x.cross_entropy(&target));
    }
}

fn norms<B: Backend>(cases: &mut Cases<'_, B>) {
    let shapes: [(&[usize], usize); 8] = [
        (&[16, 3, 20, 20], 3),
        (&[16, 6, 7, 7], 2),
        (&[2, 8, 10, 10], 2),
        (&[1, 2, 100, 100], 1),
        (&[2000, 6], 1),
        (&[3, 300], 50),
        (&[60, 70], 7),
        (&[1, 1, 40_000], 1),
    ];
    for (shape, groups) in shapes {
        let (x, c) = (numbers(shape, 3.0, cases.on), shape[1]);
        let (w, b) = (numbers(&[c], 0.5, cases.on), numbers(&[c], 0.2, cases.on));
        let leaves = [&w, &b].map(|x| x.detach().requires_grad());
        for (name, leaf) in [("weight", 0), ("bias", 1)] {
            let [w, b] = &leaves;
            let mut sum = x.batch_norm(Some(w), Some(b), 1e-5)[0].square().sum(..);
            cases.push(format!("batch_norm {shape:?}, {name}"), &sum.backward()[&leaves[leaf]]);
            sum = x.group_norm(groups, Some(w), Some(b), 1e-5).square().sum(..);
            cases.push(format!("group_norm {shape:?}, {name}"), &sum.backward()[&leaves[leaf]]);
        }
        for k in 0..3 {
            cases.push(format!("batch_norm {shape:?}, result {k}"), &x.batch_norm(None, None, 1e-5)[k]);
        }
        cases.with_grad(format!("batch_norm {shape:?}"), &x, |x| {
            let [y, ..] = x.batch_norm(Some(&w), Some(&b), 1e-5);
            y
        });
        cases.with_grad(format!("group_norm {shape:?}"), &x, |x| x.group_norm(groups, Some(&w), Some(&b), 1e-5));
        cases.with_grad(format!("bare group_norm {shape:?}"), &x, |x| x.group_norm(groups, None, None, 1e-5));
    }
    for [rows, d] in [[50, 64], [50, 63], [20, 700], [20, 701], [3, 3000], [3, 3001], [2000, 8], [1, 5]] {
        let x = numbers(&[rows, d], 3.0, cases.on);
        let [w, b] = [0.5, 0.2].map(|shift| numbers(&[d], shift, cases.on).requires_grad());
        let y = x.layer_norm([d], Some(&w), Some(&b), 1e-5);
        let grads = (&y * (numbers(&[rows, d], 0.0, cases.on) * 7.0).sin()).sum(..).backward();
        cases.push(format!("layer_norm [{rows}, {d}], weight"), &grads[&w]);
        cases.push(format!("layer_norm [{rows}, {d}], bias"), &grads[&b]);
        let (w, b) = (w.detach(), b.detach());
        cases.with_grad(format!("layer_norm [{rows}, {d}]"), &x, |x| x.layer_norm([d], Some(&w), Some(&b), 1e-5));
    }
}

fn running_sums<B: Backend>(cases: &mut Cases<'_, B>) {
    let shapes: [(&[usize], isize); 8] = [
        (&[50_003], 0),
        (&[50_004], 0),
        (&[3, 20_000], 1),
        (&[5, 900], 1),
        (&[5, 901], 1),
        (&[10_000, 3], 0),
        (&[2, 300, 300], 1),
        (&[40, 2, 7], 0),
    ];
    for (shape, dim) in shapes {
        let x = numbers(shape, 0.1, cases.on);
        cases.with_grad(format!("cumsum of {shape:?} along {dim}"), &x, |x| x.cumsum(dim));
        let whole = (x * 128.0).floor().cast(DType::I32);
        cases.push(format!("integer cumsum of {shape:?} along {dim}"), &whole.cumsum(dim));
    }
}

/// Long sums of every family that splits them: each has 100 to 1,056 parts on 132 multiprocessors.
fn split_sums<B: Backend>(cases: &mut Cases<'_, B>) {
    for shape in [&[1_100_003][..], &[2, 520_000], &[300_000, 3], &[290_001, 1]] {
        let x = numbers(shape, 0.0, cases.on);
        let dim = if shape[0] < 3 { 1 } else { 0 };
        cases.push(format!("sum of {shape:?} along {dim}"), &x.sum(dim));
        cases.push(format!("argmax of {shape:?} along {dim}"), &(&x * 1024.0).floor().argmax(dim));
        cases.push(format!("cumsum of {shape:?} along {dim}"), &x.cumsum(dim));
    }
    for shape in [&[1, 1, 1040, 1020][..], &[540_000, 2]] {
        let x = numbers(shape, 3.0, cases.on);
        let w = numbers(&[shape[1]], 0.5, cases.on).requires_grad();
        let [y, ..] = x.batch_norm(Some(&w), Some(&w), 1e-5);
        cases.push(format!("batch_norm {shape:?}"), &y);
        cases.push(format!("batch_norm {shape:?}, weight and bias"), &y.square().sum(..).backward()[&w]);
    }
    for [n, c] in [[9000, 10], [300, 1028]] {
        let target: Vec<i32> = (0..n).map(|i| (i * 7919 % c) as i32).collect();
        let target = Tensor::from_slice(&target, [n], cases.on.0);
        let x = numbers(&[n, c], 0.0, cases.on) * 5.0;
        cases.with_grad(format!("cross_entropy of [{n}, {c}]"), &x, |x| x.cross_entropy(&target));
    }
}

/// Products of a long k, and a convolution's gradient over many pixels, in 100 to 264 parts.
fn split_products<B: Backend>(cases: &mut Cases<'_, B>) {
    for [m, k, n] in [[3, 70_000, 5], [33, 30_001, 2], [2, 67_585, 40]] {
        let (a, b) = (numbers(&[m, k], 0.1, cases.on), numbers(&[k, n], 0.1, cases.on));
        cases.push(format!("[{m}, {k}] x [{k}, {n}]"), &a.matmul(&b));
        let (a, b) = (numbers(&[k, m], 0.1, cases.on), numbers(&[n, k], 0.1, cases.on));
        cases.push(format!("the transposed [{m}, {k}] x [{k}, {n}]"), &a.t().matmul(&b.t()));
    }
    for (x, w) in [([2, 2, 185, 186], [3, 2, 3, 3]), ([1, 3, 170, 170], [40, 3, 1, 1])] {
        let (x, w) = (numbers(&x, 0.1, cases.on), numbers(&w, 0.0, cases.on).requires_grad());
        let y = x.conv2d(&w, None, Conv2dOptions::default());
        let g = (numbers(y.shape(), 0.1, cases.on) * 7.0).sin();
        let [grad] = y.grad_with(&g, [&w]);
        cases.push(format!("gradient of {:?} with {:?}", x.shape(), w.shape()), &grad);
    }
}

fn all<B: Backend>(device: &B, dtype: DType, family: fn(&mut Cases<'_, B>)) -> Vec<Case> {
    let mut cases = Cases { on: (device, dtype), out: Vec::new() };
    family(&mut cases);
    cases.out
}

/// Values near 1 or their sums: the bound is relative to the largest of a result.
fn compare(want: &[Case], got: &[Case], bound: f64, device: &Cuda) {
    assert_eq!(want.len(), got.len());
    for ((about, want), (_, got)) in want.iter().zip(got) {
        assert_eq!(want.len(), got.len(), "{about}");
        let scale = want.iter().fold(1e-3f64, |a, x| a.max(x.abs()));
        for (i, (want, got)) in want.iter().zip(got).enumerate() {
            let off = (want - got).abs();
            assert!(off <= bound * scale, "{device:?}: {about}, element {i}: {got}, on the CPU {want}");
        }
    }
}

macro_rules! against_the_cpu {
    ($devices:ident: $($family:ident)*) => { $(
        #[test]
        fn $family() {
            let want = all(&Cpu::new(), DType::F64, super::$family);
            for (i, held) in super::$devices().enumerate() {
                let device = &*held;
                compare(&want, &all(device, DType::F32, super::$family), 1e-4, device);
                if i == 0 {
                    compare(&want, &all(device, DType::F64, super::$family), 1e-11, device);
                }
            }
        }
    )* };
}
mod against_the_cpu {
    use super::*;
    against_the_cpu! { devices: reductions softmaxes norms running_sums }
    against_the_cpu! { wide_devices: split_sums split_products }
}

#[test]
fn launches() {
    for held in devices() {
        let device = &*held;
        let on = (device, DType::F32);
        let count = |about: &str, want: u64, f: &dyn Fn() -> Tensor<Cuda>| {
            let before = device.launches();
            let _out = f();
            assert_eq!(device.launches() - before, want, "{about}");
        };
        let x = numbers(&[4, 6, 50, 50], 0.0, on);
        for dims in [&[0isize, 2, 3][..], &[0, 1, 2, 3], &[1], &[2, 3]] {
            count("sum", 1, &|| over!(sum, x, dims));
        }
        let rows = numbers(&[5, 3000], 0.0, on);
        count("argmax", 1, &|| rows.argmax(1));
        count("softmax", 1, &|| rows.softmax(1));
        count("log_softmax of columns", 1, &|| x.log_softmax(1));
        let target = Tensor::from_slice(&[1, 2, 3, 4, 5], [5], device);
        count("cross_entropy", 1, &|| rows.cross_entropy(&target));
        count("layer_norm", 1, &|| rows.layer_norm([3000], None, None, 1e-5));
        count("group_norm", 2, &|| x.group_norm(3, None, None, 1e-5));
        count("batch_norm", 2, &|| {
            let [y, ..] = x.batch_norm(None, None, 1e-5);
            y
        });
        count("cumsum of rows", 1, &|| x.cumsum(3));
        count("cumsum of a long row", 2, &|| rows.reshape([15_000]).cumsum(0));
    }
}
