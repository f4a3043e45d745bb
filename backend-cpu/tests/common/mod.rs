//! Tensors of one shape in every kind of layout, with their elements known without asking the backend.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]

use minitorch_core::backend::CopyOps;
use minitorch_core::{DType, Shape, Tensor};
use minitorch_cpu::Cpu;

pub type T = Tensor<Cpu>;

/// A tensor and its elements in row-major order.
pub struct Sample {
    pub name: &'static str,
    pub x: T,
    pub values: Vec<f64>,
}

/// Numbers without a pattern, in steps of 1/8 between -4 and 4, so that small sums are exact.
pub fn numbers(len: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) % 65
    };
    (0..len).map(|_| next() as f64 / 8.0 - 4.0).collect()
}

pub fn tensor(values: &[f64], shape: impl Into<Shape>, dtype: DType, device: &Cpu) -> T {
    Tensor::from_slice(values, shape, device).cast(dtype)
}

pub fn as_dtype(value: f64, dtype: DType) -> f64 {
    match dtype {
        DType::F16 | DType::F32 | DType::F64 => value,
        DType::I32 => value.trunc(),
        DType::Bool => (value != 0.0) as u8 as f64,
    }
}

/// Elements read back, as f64.
pub fn read(x: &T) -> Vec<f64> {
    match x.device().download(x.view()).unwrap() {
        minitorch_core::HostData::F16(v) => v.into_iter().map(f64::from).collect(),
        minitorch_core::HostData::F32(v) => v.into_iter().map(f64::from).collect(),
        minitorch_core::HostData::F64(v) => v,
        minitorch_core::HostData::I32(v) => v.into_iter().map(f64::from).collect(),
        minitorch_core::HostData::Bool(v) => v.into_iter().map(|x| x as u8 as f64).collect(),
    }
}

/// The shape as: a contiguous tensor, a transposed one, a slice of a larger one, every second column, and broadcast along
/// each dimension.
pub fn samples(shape: &[usize], dtype: DType, seed: u64, device: &Cpu) -> Vec<Sample> {
    let mut out = Vec::new();
    let mut add = |name, base: Vec<usize>, view: &dyn Fn(T) -> T| {
        let values = numbers(base.iter().product(), seed + out.len() as u64);
        let x = view(tensor(&values, base.as_slice(), dtype, device));
        let values: Vec<f64> = x.layout().positions().map(|at| as_dtype(values[at], dtype)).collect();
        assert_eq!(&x.shape()[..], shape, "{name}");
        out.push(Sample { name, x, values });
    };
    add("contiguous", shape.to_vec(), &|x| x);
    let rank = shape.len();
    if rank == 0 {
        return out;
    }
    if rank >= 2 {
        let mut swapped = shape.to_vec();
        swapped.swap(rank - 1, rank - 2);
        add("transposed", swapped, &|x| x.transpose(-1, -2));
        let reversed: Vec<usize> = shape.iter().rev().copied().collect();
        add("reversed", reversed, &|x| (0..rank / 2).fold(x, |x, d| x.transpose(d as isize, (rank - 1 - d) as isize)));
    }
    let larger: Vec<usize> = shape.iter().map(|n| n + 3).collect();
    add("sliced", larger, &|x| (0..rank).fold(x, |x, d| x.narrow(d as isize, 1 + d % 2, shape[d])));
    let mut pairs = shape.to_vec();
    pairs.push(2);
    if rank < 6 {
        add("every second", pairs, &|x| x.narrow(rank as isize, 1, 1).squeeze(rank as isize));
    }
    for d in 0..rank {
        let mut one = shape.to_vec();
        one[d] = 1;
        add("broadcast", one, &|x| x.expand(shape));
    }
    add("one number", vec![1; rank], &|x| x.expand(shape));
    out
}

/// Shapes that break frameworks, small enough to check element by element.
pub const SHAPES: &[&[usize]] = &[
    &[],
    &[1],
    &[7],
    &[0],
    &[3, 0, 2],
    &[1, 1],
    &[5, 1],
    &[1, 9],
    &[17, 33],
    &[2, 3, 4],
    &[4, 1, 5],
    &[2, 3, 4, 5],
    &[2, 1, 3, 2, 2, 3],
    &[40, 70],
];

#[track_caller]
pub fn close(got: &[f64], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let same = g == w || g.is_nan() && w.is_nan() || (g - w).abs() <= tolerance * (1.0 + w.abs());
        assert!(same, "{what}: element {i} is {g}, not {w}");
    }
}
