//! Sums and products split into the hundreds of parts that a GPU of 132 multiprocessors gets, on more elements than the conformance
//! suite gives to an emulator, against the CPU in f64.

use crate::held;
use minitorch::prelude::*;

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

/// Results with their names.
struct Cases<'a, B: Backend> {
    on: (&'a B, DType),
    out: Vec<(String, Vec<f64>)>,
}

impl<B: Backend> Cases<'_, B> {
    fn push(&mut self, about: String, x: &Tensor<B>) {
        let values = x.cast(DType::F64).to_vec::<f64>().unwrap_or_else(|error| panic!("{about}: {error}"));
        self.out.push((about, values));
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
        let x = x.requires_grad();
        let loss = x.cross_entropy(&target);
        cases.push(format!("cross_entropy of [{n}, {c}]"), &loss);
        cases.push(format!("cross_entropy of [{n}, {c}], gradient"), &loss.backward()[&x]);
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

fn results<B: Backend>(device: &B, dtype: DType, family: fn(&mut Cases<'_, B>)) -> Vec<(String, Vec<f64>)> {
    let mut cases = Cases { on: (device, dtype), out: Vec::new() };
    family(&mut cases);
    cases.out
}

/// One body on the CPU in f64, and in both dtypes on an emulator with an H100's number of multiprocessors and on GPU 0. Bounds are
/// relative to the largest element of a result.
fn agree(on_cpu: fn(&mut Cases<'_, Cpu>), on_cuda: fn(&mut Cases<'_, Cuda>)) {
    let want = results(&Cpu::new(), DType::F64, on_cpu);
    let devices = held::devices(vec![
        #[cfg(feature = "cuda-emu")]
        Cuda::emulated(minitorch_cuda::EmulatorOptions {
            order: minitorch_cuda::Order::Shuffled(9),
            multiprocessors: 132,
            shared_memory: 227 << 10,
        }),
    ]);
    for device in devices {
        for (dtype, bound) in [(DType::F32, 1e-4), (DType::F64, 1e-11)] {
            let got = results(&*device, dtype, on_cuda);
            assert_eq!(want.len(), got.len());
            for ((about, want), (_, got)) in want.iter().zip(&got) {
                assert_eq!(want.len(), got.len(), "{about}");
                let scale = want.iter().fold(1e-3f64, |a, x| a.max(x.abs()));
                for (i, (want, got)) in want.iter().zip(got).enumerate() {
                    let off = (want - got).abs();
                    assert!(off <= bound * scale, "{:?}: {about}, element {i}: {got}, on the CPU {want}", *device);
                }
            }
        }
    }
}

#[test]
fn sums_split_over_blocks() {
    agree(split_sums, split_sums);
}

#[test]
fn products_split_over_blocks() {
    agree(split_products, split_products);
}
