//! Matrix products: against the course's broadcast form and against the definition, with gradients, batches of both operands and the
//! sizes of its GPU exercises.

use super::host::{Array, equals};
use crate::close::eps;
use crate::on::Lay;
use crate::{On, Suite};
use minitorch_core::{Backend, Tensor};

pub(super) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.floats("test_mm", 12, |on| product(on, &[3, 2], &[2, 4], Lay::Whole, Lay::Whole));
    suite.floats("test_mm2", 12, |on| {
        let (a, b) = (on.uniform(-1.0, 1.0, [2, 3]), on.uniform(-1.0, 1.0, [3, 4]));
        let broadcast = (a.reshape([2, 3, 1]) * b.reshape([1, 3, 4])).sum(1);
        equals("a product as broadcasting and a sum", &broadcast, &matmul(&Array::of(&a), &Array::of(&b)), eps(4.0));
        product(on, &[2, 3], &[3, 4], Lay::Whole, Lay::Whole);
        product(on, &[2, 3], &[3, 4], Lay::Reversed, Lay::Reversed);
    });
    suite.floats("test_bmm", 64, |on| {
        for d in 2..=4 {
            for (m, k, n) in [(2, 3, 4), (4, 2, 3), (3, 4, 2)] {
                for (left, right) in [(d, 1), (1, d), (d, d)] {
                    for (a, b) in [(Lay::Whole, Lay::Whole), (Lay::Reversed, Lay::Whole), (Lay::Sliced, Lay::Reversed)]
                    {
                        product(on, &[left, m, k], &[right, k, n], a, b);
                    }
                }
            }
        }
        product(on, &[2, 1, 2, 3], &[3, 3, 4], Lay::Whole, Lay::Whole);
        product(on, &[2, 3], &[4, 3, 2], Lay::Whole, Lay::Whole);
        let (a, b) = (on.mixed([2, 2, 3]), on.mixed([3, 3, 2]));
        panics!("matmul", "batch", "[2, 2, 3]"; a.matmul(&b));
        panics!("matmul", "3 and 2"; a.matmul(&on.mixed([2, 2, 3])));
        panics!("matmul", "[2, 3]", "[4, 5]"; on.mixed([2, 3]).matmul(&on.mixed([4, 5])));
    });
    // The course's first two are its exercise of one tile, the others its kernel.
    suite.f32("test_mul_practice1", 4, |on| square(on, &[2, 2], &[2, 2]));
    suite.f32("test_mul_practice2", 1024, |on| square(on, &[32, 32], &[32, 32]));
    suite.f32("test_mul_practice3", 4, |on| square(on, &[2, 2], &[2, 2]));
    suite.f32("test_mul_practice4", 1100, |on| square(on, &[33, 33], &[33, 33]));
    suite.f32("test_mul_practice5", 2200, |on| square(on, &[2, 33, 33], &[2, 33, 33]));
    suite.f32("test_mul_practice6", 3000, |on| square(on, &[2, 45, 33], &[2, 33, 40]));
}

fn square<B: Backend>(on: &On<B>, a: &[usize], b: &[usize]) {
    product(on, a, b, Lay::Whole, Lay::Whole);
    product(on, a, b, Lay::Reversed, Lay::Sliced);
}

/// The definition, with broadcast batches.
fn matmul(a: &Array, b: &Array) -> Array {
    let rank = a.shape.len().max(b.shape.len());
    let size = |x: &Array, d: usize| (d + x.shape.len()).checked_sub(rank).map_or(1, |d| x.shape[d]);
    let mut shape: Vec<usize> = (0..rank - 2).map(|d| size(a, d).max(size(b, d))).collect();
    shape.extend([a.shape[a.shape.len() - 2], b.shape[b.shape.len() - 1]]);
    Array::by(&shape, |index| each_term(a, b, index).map(|(at, bt)| a.at(&at) * b.at(&bt)).sum())
}

/// For an element of the product, the elements of both factors that are multiplied.
fn each_term(a: &Array, b: &Array, index: &[usize]) -> impl Iterator<Item = (Vec<usize>, Vec<usize>)> {
    let (rank, depth) = (index.len(), a.shape[a.shape.len() - 1]);
    (0..depth).map(move |k| {
        let (mut at, mut bt) = (index.to_vec(), index.to_vec());
        (at[rank - 1], bt[rank - 2]) = (k, k);
        (a.folded(&at), b.folded(&bt))
    })
}

/// Value and gradients of a product of random factors in these layouts.
#[track_caller]
fn product<B: Backend>(on: &On<B>, a: &[usize], b: &[usize], of_a: Lay, of_b: Lay) {
    let (a, b) = (on.laid(of_a, -1.0, 1.0, a).requires_grad(), on.laid(of_b, -1.0, 1.0, b).requires_grad());
    let (ha, hb) = (Array::of(&a), Array::of(&b));
    let about = format!("{:?} by {:?}", a.layout(), b.layout());
    let (out, want) = (a.matmul(&b), matmul(&ha, &hb));
    let depth = ha.shape[ha.shape.len() - 1];
    equals(&about, &out, &want, eps(4.0).terms(depth));

    let weights: Tensor<B> = on.uniform(0.5, 1.5, *out.shape());
    let g = Array::of(&weights);
    let (mut ga, mut gb) = (ha.zeros_like(), hb.zeros_like());
    Array::by(&want.shape, |index| {
        for (at, bt) in each_term(&ha, &hb, index) {
            *ga.at_mut(&at) += g.at(index) * hb.at(&bt);
            *gb.at_mut(&bt) += g.at(index) * ha.at(&at);
        }
        0.0
    });
    let grads = out.backward_with(&weights);
    let terms = want.data.len() * depth;
    equals(&about, &grads[&a], &ga, eps(4.0).terms(terms / ha.data.len()));
    equals(&about, &grads[&b], &gb, eps(4.0).terms(terms / hb.data.len()));
}
