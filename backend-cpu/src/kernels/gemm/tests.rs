//! Every level of this CPU against a naive product in f64, over sizes around the tile and block edges.

use super::*;
use crate::kernels::testing::{check_close, numbers, on_threads};

fn reference(shape: Shape, a: impl Fn(usize, usize) -> f64, b: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let mut out = Vec::new();
    for i in 0..shape.m {
        for j in 0..shape.n {
            out.push((0..shape.k).map(|d| a(i, d) * b(j, d)).sum());
        }
    }
    out
}

/// One product with the given strides (row, k) of both operands, at every level.
fn check<T: Float + Into<f64>>(shape: Shape, a_strides: [usize; 2], b_strides: [usize; 2], from: fn(f64) -> T) {
    let Shape { m, n, k } = shape;
    let len = |rows: usize, [row, p]: [usize; 2]| rows.saturating_sub(1) * row + k.saturating_sub(1) * p + 1;
    let a_data: Vec<T> = numbers(1, len(m, a_strides)).into_iter().map(from).collect();
    let b_data: Vec<T> = numbers(2, len(n, b_strides)).into_iter().map(from).collect();
    let a = Strided { data: &a_data, stride: a_strides[0], k_stride: a_strides[1] };
    let b = Strided { data: &b_data, stride: b_strides[0], k_stride: b_strides[1] };
    let element = |x: Strided<T>, row: usize, p: usize| -> f64 { x.data[row * x.stride + p * x.k_stride].into() };
    let product = reference(shape, |i, d| element(a, i, d), |j, d| element(b, j, d));

    let stride = n + 3;
    let before: Vec<T> = numbers(3, m * stride).into_iter().map(from).collect();
    let row_bias: Vec<T> = numbers(4, m).into_iter().map(from).collect();
    let column_bias: Vec<T> = numbers(5, n).into_iter().map(from).collect();
    let epsilon = if size_of::<T>() == 4 { 1e-6 } else { 1e-14 };
    for level in Level::supported() {
        for init in [Init::Zero, Init::Accumulate, Init::RowBias(&row_bias), Init::ColumnBias(&column_bias)] {
            let mut out = before.clone();
            gemm_at(level, shape, &a, &b, &mut Output::new(&mut out, m, n, stride), init, &|_| ());
            for i in 0..m {
                for j in 0..stride {
                    let (got, old) = (out[i * stride + j].into(), before[i * stride + j].into());
                    let expected = match init {
                        _ if j >= n => old,
                        Init::Zero => product[i * n + j],
                        Init::Accumulate => product[i * n + j] + old,
                        Init::RowBias(bias) => product[i * n + j] + bias[i].into(),
                        Init::ColumnBias(bias) => product[i * n + j] + bias[j].into(),
                    };
                    let what = format!("{shape:?} {a_strides:?} {b_strides:?} {} [{i}][{j}]", level.name());
                    check_close(got, expected, epsilon * (k as f64 + 1.0).sqrt(), &what);
                }
            }
        }
    }
}

fn check_both(shape: Shape, a_strides: [usize; 2], b_strides: [usize; 2]) {
    check::<f32>(shape, a_strides, b_strides, |x| x as f32);
    check::<f64>(shape, a_strides, b_strides, |x| x);
}

#[test]
fn sizes_around_the_tiles() {
    let sizes = [0, 1, 2, 5, 6, 7, 12, 13, 15, 16, 17, 31, 32, 33, 100];
    for (index, &m) in sizes.iter().enumerate() {
        for (shift, &n) in sizes.iter().enumerate() {
            // A different k for each pair, which covers the combinations without a third loop.
            let k = [0, 1, 2, 3, 8, 9, 17, 64, 257][(index * 2 + shift) % 9];
            check_both(Shape { m, n, k }, [k, 1], [1, n]);
        }
    }
}

#[test]
fn layouts() {
    for [m, n, k] in [[17, 33, 100], [1, 40, 70], [40, 1, 70], [1, 1, 130], [600, 1, 9], [1, 600, 9], [7, 16, 1]] {
        for a_strides in [[k, 1], [1, m], [0, 1], [1, 0], [2 * k + 1, 2], [0, 0]] {
            for b_strides in [[k, 1], [1, n], [0, 1], [1, 0], [2 * k + 1, 2]] {
                check_both(Shape { m, n, k }, a_strides, b_strides);
            }
        }
    }
}

#[test]
fn beyond_one_block() {
    check_both(Shape { m: 7, n: 5, k: 1000 }, [1000, 1], [1, 5]);
    check_both(Shape { m: 200, n: 530, k: 300 }, [300, 1], [1, 530]);
    check_both(Shape { m: 530, n: 17, k: 257 }, [1, 530], [257, 1]);
    // A small C with a large k, which is split.
    check_both(Shape { m: 20, n: 33, k: 5000 }, [5000, 1], [1, 33]);
    check_both(Shape { m: 6, n: 25, k: 20_001 }, [1, 6], [1, 25]);
}

#[test]
fn indexed_equals_strided() {
    let (m, n, k) = (19, 70, 45);
    let data: Vec<f32> = numbers(6, 4000).into_iter().map(|x| x as f32).collect();
    // Rows in runs of 1, 7 and 70; k in runs of 3 with a gap between.
    for run in [1, 7, 70] {
        let offsets: Vec<usize> = (0..n).map(|i| i / run * (run + 4) + i % run).collect();
        let k_offsets: Vec<usize> = (0..k).map(|p| p / 3 * 50 + p % 3).collect();
        let b = Indexed { data: &data, offsets: &offsets, k_offsets: &k_offsets };
        let mut gathered = Vec::new();
        for &offset in &offsets {
            gathered.extend(k_offsets.iter().map(|&p| data[offset + p]));
        }
        let plain = Strided { data: &gathered, stride: k, k_stride: 1 };
        let a = Strided { data: &data, stride: k, k_stride: 1 };
        for level in Level::supported() {
            let shape = Shape { m, n, k };
            let (mut x, mut y) = (vec![0.0; m * n], vec![0.0; m * n]);
            gemm_at(level, shape, &a, &b, &mut Output::new(&mut x, m, n, n), Init::Zero, &|_| ());
            gemm_at(level, shape, &a, &plain, &mut Output::new(&mut y, m, n, n), Init::Zero, &|_| ());
            assert_eq!(x, y, "run {run}, {}", level.name());
        }
    }
}

#[test]
fn batches() {
    let shape = Shape { m: 9, n: 20, k: 31 };
    let a: Vec<f32> = numbers(7, 9 * 31 * 40).into_iter().map(|x| x as f32).collect();
    let b: Vec<f32> = numbers(8, 20 * 31 * 40).into_iter().map(|x| x as f32).collect();
    let a_of = |i: usize| Strided { data: &a[i * 9 * 31..], stride: 31, k_stride: 1 };
    let b_of = |i: usize| Strided { data: &b[i * 20 * 31..], stride: 1, k_stride: 20 };
    for count in [0, 1, 3, 40] {
        let mut out = vec![0.0; count * 180];
        batched(Level::best(), count, shape, |i| (a_of(i), b_of(i)), &mut out, Init::Zero);
        for i in 0..count {
            let mut one = vec![0.0; 180];
            gemm(shape, &a_of(i), &b_of(i), &mut one, Init::Zero, &|_| ());
            assert_eq!(one, out[i * 180..][..180]);
        }
    }
}

#[test]
fn results_are_bit_identical_for_any_thread_count() {
    for [m, n, k] in [[300, 400, 600], [16, 25, 30_000], [2000, 1, 700], [1, 2000, 700], [64, 10, 784]] {
        let a: Vec<f32> = numbers(9, m * k).into_iter().map(|x| x as f32).collect();
        let b: Vec<f32> = numbers(10, n * k).into_iter().map(|x| x as f32).collect();
        let run = || {
            let mut out = vec![0.0; m * n];
            let a = Strided { data: &a, stride: k, k_stride: 1 };
            let b = Strided { data: &b, stride: 1, k_stride: n };
            gemm(Shape { m, n, k }, &a, &b, &mut out, Init::Zero, &|_| ());
            out
        };
        let one = on_threads(1, run);
        for threads in [2, 3] {
            assert!(one == on_threads(threads, run), "{m} x {n} x {k} on {threads} threads");
        }
    }
}

#[test]
fn results_are_bit_identical_for_any_cache_size() {
    assert_eq!([512, 1024, 2048].map(|k| blocking::mc_for::<f32>(k << 10)), [120, 252, 504]);
    assert_eq!(blocking::mc_for::<f64>(512 << 10), 120);
    assert_eq!([0, 1 << 40].map(blocking::mc_for::<f32>), [48, 768]);
    assert_eq!([0, 512, 1024, 2048, 1 << 20].map(|k| blocking::nc_for::<f32>(k << 10)), [128, 128, 256, 640, 1024]);
    // Only with B in place are blocks cut by rows: a padded matrix of `k` rows.
    let Shape { m, n, k } = Shape { m: 500, n: 90, k: 700 };
    let a: Vec<f32> = numbers(11, m * k).into_iter().map(|x| x as f32).collect();
    let data: Vec<f32> = numbers(12, (n + 1) * k).into_iter().map(|x| x as f32).collect();
    let offsets: Vec<usize> = (0..k).map(|d| d * n).collect();
    for level in Level::supported() {
        let tile = Tile::of::<f32>(level);
        let mut panels = vec![0.0; (m + tile.mr) * k];
        let a = Strided { data: &a, stride: k, k_stride: 1 };
        let a = pack(false, &a, m, 0..k, tile.mr, &mut panels);
        let b = Windows { data: &data, offsets: &offsets };
        let run = |rows| {
            let mut out = vec![0.0; m * n];
            macro_kernel::multiply_by_rows(level, a, b, &mut Output::new(&mut out, m, n, n), Init::Zero, rows);
            out
        };
        let one = run(768);
        for rows in [48, 96, 192, 384] {
            assert!(one == run(rows), "{} in blocks of {rows} rows", level.name());
        }
    }
}
