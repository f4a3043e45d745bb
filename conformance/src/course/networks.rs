//! Pooling, extremes, softmax and dropout: every cell, gradients and ties.
//!
//! Of equal largest elements the course gives the whole gradient to each. Here a pool gives it to the first, and a maximum shares
//! it out; the cases compute all three.

use super::host::{Array, equals};
use crate::close::{EXACT, eps, read};
use crate::on::Lay;
use crate::{On, Suite};
use minitorch_core::{Backend, Tensor};

/// The course's tiles `[b, c, h / kh, w / kw, kh kw]`: a window's elements in row-major order along the last dimension.
fn tile<B: Backend>(x: &Tensor<B>, [kh, kw]: [usize; 2]) -> Tensor<B> {
    let [b, c, h, w] = x.dims();
    let (rows, columns) = (h / kh, w / kw);
    x.reshape([b, c, rows, kh, columns, kw]).permute([0, 1, 2, 4, 3, 5]).reshape([b, c, rows, columns, kh * kw])
}

/// Each window of one plane of the host's array as the indices of its elements.
fn window(index: &[usize], [kh, kw]: [usize; 2]) -> impl Iterator<Item = [usize; 4]> {
    let &[b, c, y, x] = index else { unreachable!("an index of four") };
    (0..kh).flat_map(move |i| (0..kw).map(move |j| [b, c, y * kh + i, x * kw + j]))
}

const KERNELS: [[usize; 2]; 4] = [[2, 2], [2, 1], [1, 2], [4, 4]];

/// The shape of a pool's result.
fn pooled(x: &Array, [kh, kw]: [usize; 2]) -> Vec<usize> {
    vec![x.shape[0], x.shape[1], x.shape[2] / kh, x.shape[3] / kw]
}

pub(super) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.floats("test_tile", 16, |on| {
        let x = Tensor::from_f64((1..=16).map(f64::from), [1, 1, 4, 4], (&on.device, on.dtype));
        let rows = [[1.0, 2.0, 5.0, 6.0], [3.0, 4.0, 7.0, 8.0], [9.0, 10.0, 13.0, 14.0], [11.0, 12.0, 15.0, 16.0]];
        equals("2 x 2", &tile(&x, [2, 2]), &Array { shape: vec![1, 1, 2, 2, 4], data: rows.concat() }, EXACT);
    });
    suite.floats("test_tile_2", 120, |on| {
        let x = Tensor::from_f64((1..=16).map(f64::from), [1, 1, 4, 4], (&on.device, on.dtype));
        let data = (1..=16).map(f64::from).collect();
        equals("1 x 2", &tile(&x, [1, 2]), &Array { shape: vec![1, 1, 4, 2, 2], data }, EXACT);
        for lay in [Lay::Whole, Lay::Reversed, Lay::Sliced] {
            let x = on.laid(lay, -1.0, 1.0, [2, 3, 4, 6]);
            let host = Array::of(&x);
            let want = Array::by(&[2, 3, 2, 2, 6], |index| {
                let &[b, c, y, x, at] = index else { unreachable!("an index of five") };
                host.at(&[b, c, y * 2 + at / 3, x * 3 + at % 3])
            });
            equals("2 x 3", &tile(&x, [2, 3]), &want, EXACT);
        }
        panics!("reshape", "[1, 1, 4, 4]", "16 elements"; x.reshape([1, 1, 4 / 3, 3, 4, 1]));
    });
    suite.floats("test_avg", 400, |on| {
        for shape in [[1, 1, 4, 4], [2, 3, 8, 4]] {
            for kernel in KERNELS {
                let x = on.uniform(-1.0, 1.0, shape).requires_grad();
                let host = Array::of(&x);
                let n = (kernel[0] * kernel[1]) as f64;
                let want = Array::by(&pooled(&host, kernel), |index| {
                    window(index, kernel).map(|at| host.at(&at)).sum::<f64>() / n
                });
                let weights = on.uniform(0.5, 1.5, want.shape.as_slice());
                let of_weights = Array::of(&weights);
                let spread = Array::by(&host.shape, |at| {
                    of_weights.at(&[at[0], at[1], at[2] / kernel[0], at[3] / kernel[1]]) / n
                });
                for (about, y) in [("pool", x.avg_pool2d(kernel)), ("tiles", tile(&x, kernel).mean(-1))] {
                    equals(about, &y, &want, eps(4.0));
                    equals("gradient", &y.backward_with(&weights)[&x], &spread, eps(2.0));
                }
            }
        }
    });
    suite.floats("test_max_pool", 400, |on| {
        for shape in [[1, 1, 4, 4], [2, 3, 8, 4]] {
            for kernel in KERNELS {
                // Whole numbers of a narrow range: most windows have ties.
                for x in [on.uniform(-1.0, 1.0, shape), on.whole(-2, 2, shape)] {
                    max_pool(on, &x.requires_grad(), kernel);
                }
            }
        }
    });
    suite.floats("test_max", 24, |on| {
        for dim in 0..3 {
            for x in [on.uniform(-1.0, 1.0, [2, 3, 4]), on.whole(0, 2, [2, 3, 4]), on.uniform(-2e9, -1e9, [2, 3, 4])] {
                max(on, &x.requires_grad(), dim);
            }
        }
    });
    suite.floats("test_drop", 20_000, |on| {
        let x = on.uniform(0.5, 1.5, [100, 200]).requires_grad();
        let host = Array::of(&x);
        equals("rate 0", &x.dropout(0.0), &host, EXACT);
        equals("rate 1", &x.dropout(1.0), &host.zeros_like(), EXACT);
        for rate in [0.1, 0.25, 0.5] {
            let y = x.dropout(rate);
            let out = Array::of(&y);
            let kept = out.data.iter().filter(|&&y| y != 0.0).count() as f64 / 20_000.0;
            let deviation = (rate * (1.0 - rate) / 20_000.0).sqrt();
            assert!((kept - (1.0 - rate)).abs() < 5.0 * deviation, "of rate {rate}, {kept} are kept");
            // What stays is scaled, so that the mean stays; times 1 - rate it is the course's unscaled form.
            let mask = out.map(|y| (y != 0.0) as u8 as f64);
            equals("what stays", &y, &host.zip(&mask, |x, m| x * m / (1.0 - rate)), eps(2.0));
            equals("unscaled", &(&y * (1.0 - rate)), &host.zip(&mask, |x, m| x * m), eps(2.0));
            let want = mask.map(|m| 3.0 * m / (1.0 - rate));
            equals("the gradient has the same mask", &(y * 3.0).sum(..).backward()[&x], &want, eps(2.0));
            let pairs = mask.data.chunks(2).filter(|pair| pair[0] == pair[1]).count() as f64 / 10_000.0;
            let alike = rate * rate + (1.0 - rate) * (1.0 - rate);
            assert!((pairs - alike).abs() < 0.025, "neighbours are alike in {pairs}, not {alike}");
        }
    });
    suite.floats("test_softmax", 200, |on| {
        for (dim, shift) in [(0, 0.0), (1, 0.0), (2, 0.0), (3, 0.0), (2, 1000.0), (3, -1000.0)] {
            let x = (on.uniform(-2.0, 2.0, [2, 3, 4, 2]) + shift).requires_grad();
            let want = softmax(&Array::of(&x), dim);
            let y = x.softmax(dim as isize);
            equals("softmax", &y, &want, eps(16.0));
            equals("the sum along it", &y.sum_keepdim(dim as isize), &want.sum(dim).map(|_| 1.0), eps(4.0));
            let weights = on.uniform(0.5, 1.5, [2, 3, 4, 2]);
            let weighted = want.zip(&Array::of(&weights), |s, g| s * g);
            let sums = weighted.sum(dim);
            let grad = Array::by(&want.shape, |at| weighted.at(at) - want.at(at) * sums.spread(at));
            equals("gradient", &y.backward_with(&weights)[&x], &grad, eps(16.0));
        }
    });
    suite.floats("test_log_softmax", 200, |on| {
        for (dim, shift) in [(0, 0.0), (1, 0.0), (2, 0.0), (3, 0.0), (2, 1000.0), (3, -1000.0)] {
            let x = (on.uniform(-2.0, 2.0, [2, 3, 4, 2]) + shift).requires_grad();
            let soft = softmax(&Array::of(&x), dim);
            let y = x.log_softmax(dim as isize);
            equals("log-softmax", &y, &soft.map(f64::ln), eps(16.0));
            equals("its exponential", &y.exp(), &soft, eps(16.0));
            let weights = on.uniform(0.5, 1.5, [2, 3, 4, 2]);
            let g = Array::of(&weights);
            let sums = g.sum(dim);
            let grad = Array::by(&soft.shape, |at| g.at(at) - soft.at(at) * sums.spread(at));
            equals("gradient", &y.backward_with(&weights)[&x], &grad, eps(16.0));
        }
        // Scores so far apart that their exponentials overflow or vanish.
        let x = on.list(&[1e4, 0.0, -1e4], [1, 3]);
        equals("far apart", &x.log_softmax(1), &Array { shape: vec![1, 3], data: vec![0.0, -1e4, -2e4] }, EXACT);
        equals("far apart", &x.softmax(1), &Array { shape: vec![1, 3], data: vec![1.0, 0.0, 0.0] }, EXACT);
    });
}

fn softmax(x: &Array, dim: usize) -> Array {
    let largest = x.fold(dim, f64::NEG_INFINITY, f64::max);
    let powers = Array::by(&x.shape, |at| (x.at(at) - largest.spread(at)).exp());
    let sums = powers.sum(dim);
    Array::by(&x.shape, |at| powers.at(at) / sums.spread(at))
}

/// The pool, the same through tiles, and the gradients of both and of the course's rule.
#[track_caller]
fn max_pool<B: Backend>(on: &On<B>, x: &Tensor<B>, kernel: [usize; 2]) {
    let host = Array::of(x);
    let shape = pooled(&host, kernel);
    let want =
        Array::by(&shape, |index| window(index, kernel).map(|at| host.at(&at)).fold(f64::NEG_INFINITY, f64::max));
    let weights = on.uniform(0.5, 1.5, shape.as_slice());
    let g = Array::of(&weights);
    let (mut first, mut shared, mut each) = (host.zeros_like(), host.zeros_like(), host.zeros_like());
    Array::by(&shape, |index| {
        let ties: Vec<[usize; 4]> = window(index, kernel).filter(|at| host.at(at) == want.at(index)).collect();
        *first.at_mut(&ties[0]) = g.at(index);
        for at in &ties {
            *shared.at_mut(at) = g.at(index) / ties.len() as f64;
            *each.at_mut(at) = g.at(index);
        }
        0.0
    });
    let (pool, tiles) = (x.max_pool2d(kernel), tile(x, kernel).max(-1));
    equals("pool", &pool, &want, EXACT);
    equals("tiles", &tiles, &want, EXACT);
    equals("the first takes the gradient", &pool.backward_with(&weights)[x], &first, EXACT);
    equals("equal ones share the gradient", &tiles.backward_with(&weights)[x], &shared, eps(2.0));
    // The course's rule as a product with the mask of all that equal the maximum.
    let tiles = tile(x, kernel);
    let mask = tiles.detach().eq(tiles.detach().max_keepdim(-1)).cast(x.dtype());
    let masked = (tiles * mask).sum(-1).backward_with(&weights);
    equals("the course: each takes all of it", &masked[x], &each, EXACT);
}

/// The maximum along a dimension, its one-hot argument and the gradients, with and without ties.
#[track_caller]
fn max<B: Backend>(on: &On<B>, x: &Tensor<B>, dim: usize) {
    let host = Array::of(x);
    let want = host.fold(dim, f64::NEG_INFINITY, f64::max);
    let y = x.max_keepdim(dim as isize);
    equals("max", &y, &want, EXACT);

    let ones = Array::by(&host.shape, |at| (host.at(at) == want.spread(at)) as u8 as f64);
    let ties = ones.sum(dim);
    equals("the course's argmax: several ones", &x.eq(&y).cast(x.dtype()), &ones, EXACT);
    let index = x.argmax(dim as isize);
    let first = Array::by(&host.shape, |at| {
        let earlier = (0..at[dim]).any(|i| {
            let mut before = at.to_vec();
            before[dim] = i;
            ones.at(&before) == 1.0
        });
        if earlier { 0.0 } else { ones.at(at) }
    });
    let one_hot = index.one_hot(x.shape()[dim], x.dtype()).movedim(-1, dim as isize);
    equals("ours: the first", &one_hot, &first, EXACT);

    let weights = on.uniform(0.5, 1.5, *y.shape());
    let g = Array::of(&weights);
    let shared = Array::by(&host.shape, |at| ones.at(at) * g.spread(at) / ties.spread(at));
    equals("equal ones share the gradient", &y.backward_with(&weights)[x], &shared, eps(2.0));
    let (with_index, _) = x.max_with_index(dim as isize);
    let alone = Array::by(&host.shape, |at| first.at(at) * g.spread(at));
    equals("one takes the gradient", &with_index.backward_with(&weights.squeeze(dim as isize))[x], &alone, EXACT);
    assert!(read(&y).data.iter().all(|y| y.is_finite()));
}
