//! Every level of this machine against one naive product in f64, over sizes around the tile and block edges.

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

/// One product with the given strides (lane, depth) of both sides, at every level.
fn check<T: Float + Into<f64>>(shape: Shape, a_strides: [usize; 2], b_strides: [usize; 2], from: fn(f64) -> T) {
    let Shape { m, n, k } = shape;
    let len =
        |lanes: usize, [lane, depth]: [usize; 2]| lanes.saturating_sub(1) * lane + k.saturating_sub(1) * depth + 1;
    let a_data: Vec<T> = numbers(1, len(m, a_strides)).into_iter().map(from).collect();
    let b_data: Vec<T> = numbers(2, len(n, b_strides)).into_iter().map(from).collect();
    let a = Strided { data: &a_data, lane_stride: a_strides[0], depth_stride: a_strides[1] };
    let b = Strided { data: &b_data, lane_stride: b_strides[0], depth_stride: b_strides[1] };
    let element =
        |x: Strided<T>, lane: usize, d: usize| -> f64 { x.data[lane * x.lane_stride + d * x.depth_stride].into() };
    let product = reference(shape, |i, d| element(a, i, d), |j, d| element(b, j, d));

    let stride = n + 3;
    let before: Vec<T> = numbers(3, m * stride).into_iter().map(from).collect();
    let row_bias: Vec<T> = numbers(4, m).into_iter().map(from).collect();
    let column_bias: Vec<T> = numbers(5, n).into_iter().map(from).collect();
    let epsilon = if size_of::<T>() == 4 { 1e-6 } else { 1e-14 };
    for level in Level::supported() {
        for start in [Start::Zero, Start::Accumulate, Start::RowBias(&row_bias), Start::ColumnBias(&column_bias)] {
            let mut out = before.clone();
            gemm_at(level, shape, &a, &b, &mut Output::new(&mut out, m, n, stride), start);
            for i in 0..m {
                for j in 0..stride {
                    let (got, old) = (out[i * stride + j].into(), before[i * stride + j].into());
                    let expected = match start {
                        _ if j >= n => old,
                        Start::Zero => product[i * n + j],
                        Start::Accumulate => product[i * n + j] + old,
                        Start::RowBias(bias) => product[i * n + j] + bias[i].into(),
                        Start::ColumnBias(bias) => product[i * n + j] + bias[j].into(),
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
            // A different depth for each pair, so that all meet without a third loop.
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
    // Deep and small: the depth is split.
    check_both(Shape { m: 20, n: 33, k: 5000 }, [5000, 1], [1, 33]);
    check_both(Shape { m: 6, n: 25, k: 20_001 }, [1, 6], [1, 25]);
}

#[test]
fn indexed_equals_strided() {
    let (m, n, k) = (19, 70, 45);
    let data: Vec<f32> = numbers(6, 4000).into_iter().map(|x| x as f32).collect();
    // Lanes in runs of 1, 7 and 70; depths in runs of 3 with a jump between.
    for run in [1, 7, 70] {
        let lanes: Vec<usize> = (0..n).map(|lane| lane / run * (run + 4) + lane % run).collect();
        let depths: Vec<usize> = (0..k).map(|d| d / 3 * 50 + d % 3).collect();
        let b = Indexed { data: &data, lanes: &lanes, depths: &depths };
        let mut gathered = Vec::new();
        for &lane in &lanes {
            gathered.extend(depths.iter().map(|&d| data[lane + d]));
        }
        let plain = Strided { data: &gathered, lane_stride: k, depth_stride: 1 };
        let a = Strided { data: &data, lane_stride: k, depth_stride: 1 };
        for level in Level::supported() {
            let shape = Shape { m, n, k };
            let (mut x, mut y) = (vec![0.0; m * n], vec![0.0; m * n]);
            gemm_at(level, shape, &a, &b, &mut Output::new(&mut x, m, n, n), Start::Zero);
            gemm_at(level, shape, &a, &plain, &mut Output::new(&mut y, m, n, n), Start::Zero);
            assert_eq!(x, y, "run {run}, {}", level.name());
        }
    }
}

#[test]
fn batches() {
    let shape = Shape { m: 9, n: 20, k: 31 };
    let a: Vec<f32> = numbers(7, 9 * 31 * 40).into_iter().map(|x| x as f32).collect();
    let b: Vec<f32> = numbers(8, 20 * 31 * 40).into_iter().map(|x| x as f32).collect();
    let left = |i: usize| Strided { data: &a[i * 9 * 31..], lane_stride: 31, depth_stride: 1 };
    let right = |i: usize| Strided { data: &b[i * 20 * 31..], lane_stride: 1, depth_stride: 20 };
    for count in [0, 1, 3, 40] {
        let mut out = vec![0.0; count * 180];
        batched(count, shape, |i| (left(i), right(i)), &mut out, Start::Zero);
        for i in 0..count {
            let mut one = vec![0.0; 180];
            gemm(shape, &left(i), &right(i), &mut one, 20, Start::Zero);
            assert_eq!(one, out[i * 180..][..180]);
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    for [m, n, k] in [[300, 400, 600], [16, 25, 30_000], [2000, 1, 700], [1, 2000, 700], [64, 10, 784]] {
        let a: Vec<f32> = numbers(9, m * k).into_iter().map(|x| x as f32).collect();
        let b: Vec<f32> = numbers(10, n * k).into_iter().map(|x| x as f32).collect();
        let run = || {
            let mut out = vec![0.0; m * n];
            let a = Strided { data: &a, lane_stride: k, depth_stride: 1 };
            let b = Strided { data: &b, lane_stride: 1, depth_stride: n };
            gemm(Shape { m, n, k }, &a, &b, &mut out, n, Start::Zero);
            out
        };
        let one = on_threads(1, run);
        for threads in [2, 3] {
            assert!(one == on_threads(threads, run), "{m} x {n} x {k} on {threads} threads");
        }
    }
}

#[test]
fn bits_do_not_depend_on_caches() {
    assert_eq!([512, 1024, 2048].map(|k| tile::rows_for::<f32>(k << 10)), [120, 252, 504]);
    assert_eq!(tile::rows_for::<f64>(512 << 10), 120);
    assert_eq!([0, 1 << 40].map(tile::rows_for::<f32>), [48, 768]);
    assert_eq!([0, 512, 1024, 2048, 1 << 20].map(|k| columns_for::<f32>(k << 10)), [128, 128, 256, 640, 1024]);
    // Only a right side that is read where it lies is taken in blocks of rows: a padded matrix of `k` rows.
    let Shape { m, n, k } = Shape { m: 500, n: 90, k: 700 };
    let a: Vec<f32> = numbers(11, m * k).into_iter().map(|x| x as f32).collect();
    let data: Vec<f32> = numbers(12, (n + 1) * k).into_iter().map(|x| x as f32).collect();
    let offsets: Vec<usize> = (0..k).map(|d| d * n).collect();
    for level in Level::supported() {
        let tile = Tile::of::<f32>(level);
        let mut left = vec![0.0; (m + tile.rows) * k];
        let a = Strided { data: &a, lane_stride: k, depth_stride: 1 };
        let left = pack(false, &a, m, 0..k, tile.rows, &mut left);
        let right = Windows { data: &data, offsets: &offsets };
        let run = |rows| {
            let mut out = vec![0.0; m * n];
            tile::multiply_in_blocks(level, left, right, &mut Output::new(&mut out, m, n, n), Start::Zero, rows);
            out
        };
        let one = run(768);
        for rows in [48, 96, 192, 384] {
            assert!(one == run(rows), "{} in blocks of {rows} rows", level.name());
        }
    }
}
