//! Random shapes and layouts against the oracle, the same ones in every run: the generator is seeded.

use crate::Suite;
use crate::close::{EXACT, eps};
use crate::on::Lay;
use minitorch_core::backend::{Backend, ReduceOp, ReduceOps};
use minitorch_core::{DType, Shape, Tensor};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// A step of a random view.
#[derive(Clone, Copy, Debug)]
enum Move {
    Transpose(usize, usize),
    Narrow(usize, usize, usize),
    Expand(usize),
    Reshape(usize),
}

fn shape(ranks: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<usize>> {
    // Sizes of 0 and 1 at times, odd remainders, at most 6000 elements.
    let size = prop_oneof![1 => Just(0usize), 3 => Just(1usize), 12 => 2usize..8, 2 => Just(9usize)];
    prop::collection::vec(size, ranks).prop_map(|mut dims| {
        while dims.iter().product::<usize>() > 6000 {
            dims.pop();
        }
        dims
    })
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let any = 0usize..16;
    let one = prop_oneof![
        (any.clone(), any.clone()).prop_map(|(a, b)| Move::Transpose(a, b)),
        (any.clone(), any.clone(), any.clone()).prop_map(|(d, a, b)| Move::Narrow(d, a, b)),
        any.clone().prop_map(Move::Expand),
        any.prop_map(Move::Reshape),
    ];
    prop::collection::vec(one, 0..5)
}

/// Applies the steps; their numbers are reduced to what the shape allows.
fn moved<B: Backend>(mut x: Tensor<B>, moves: &[Move]) -> Tensor<B> {
    for &step in moves {
        let rank = x.rank();
        x = match step {
            Move::Transpose(a, b) if rank > 0 => x.transpose((a % rank) as isize, (b % rank) as isize),
            Move::Narrow(d, a, b) if rank > 0 => {
                let size = x.shape()[d % rank];
                let start = a % (size + 1);
                x.narrow((d % rank) as isize, start, b % (size - start + 1))
            }
            Move::Expand(d) if rank < 6 && x.numel() < 3000 => {
                let to = x.shape().insert(d % (rank + 1), 2);
                x.unsqueeze((d % (rank + 1)) as isize).expand(to)
            }
            Move::Reshape(d) if rank > 1 => {
                // Merge two adjacent dimensions: a view if the layout allows it, else a copy.
                let d = d % (rank - 1);
                x.flatten(d as isize..=d as isize + 1)
            }
            _ => x,
        };
    }
    x
}

/// Runs a property `cases` times; a failure shrinks and names the input.
fn property<S: Strategy>(cases: u32, strategy: S, body: &dyn Fn(S::Value))
where
    S::Value: Clone + std::fmt::Debug,
{
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let result = runner.run(&strategy, |value| match catch_unwind(AssertUnwindSafe(|| body(value))) {
        Ok(()) => Ok(()),
        Err(panic) => match panic.downcast_ref::<String>() {
            Some(message) => Err(TestCaseError::fail(message.clone())),
            None => resume_unwind(panic),
        },
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.f32("unary", 6000, |on| {
        property(200, (shape(0..=5), moves()), &|(shape, moves)| {
            agree!(on, eps(8.0), |d| {
                let x = moved(d.mixed(shape.as_slice()), &moves);
                [x.relu(), x.tanh(), &x * 1.5, x.contiguous() + 1.0]
            })
        });
    });
    suite.f32("binary", 6000, |on| {
        property(200, (shape(0..=5), 0usize..64, moves(), 0usize..7, 0usize..7), &|(
            shape,
            ones,
            moves,
            left,
            right,
        )| {
            agree!(on, eps(2.0), |d| {
                // The second operand lacks some leading dimensions and has a size of 1 in others.
                let x = moved(d.mixed(shape.as_slice()), &moves);
                let dims: Vec<usize> = x
                    .shape()
                    .iter()
                    .enumerate()
                    .skip(ones % 3)
                    .map(|(i, &n)| if ones >> i & 1 == 1 { 1 } else { n })
                    .collect();
                let lay = Lay::all(dims.len());
                let y = d.laid(lay[right % lay.len()], -1.0, 1.0, dims.as_slice());
                let z = d.laid(Lay::all(x.rank())[left % x.rank().max(3)], -1.0, 1.0, *x.shape());
                vec![&x + &y, &y - &x, &x * &y, x.maximum(&y), &z * &y, &z - &x]
            })
        });
    });
    suite.f32("reduce", 6000, |on| {
        property(200, (shape(1..=5), moves(), 0usize..64), &|(shape, moves, bits)| {
            agree!(on, eps(8.0).terms(600), |d| {
                let x = moved(d.mixed(shape.as_slice()), &moves);
                let dims: Vec<usize> = (0..x.rank()).filter(|i| bits >> i & 1 == 1).collect();
                let kept = dims.iter().fold(*x.shape(), |s: Shape, &i| s.with(i, 1));
                let nothing = dims.iter().any(|&i| x.shape()[i] == 0);
                let mut all = Vec::new();
                for op in [ReduceOp::Sum, ReduceOp::Max] {
                    if op == ReduceOp::Sum || !nothing {
                        all.push(Tensor::from_storage(&d.device, d.device.reduce(op, x.view(), &dims), d.dtype, kept));
                    }
                }
                all
            })
        });
    });
    suite.f32("matmul", 6000, |on| {
        let sizes = (0usize..20, 0usize..40, 0usize..20, 0usize..3);
        property(200, (sizes, 0usize..8, 0usize..8, 0usize..4), &|((m, k, n, batch), left, right, broadcast)| {
            agree!(on, eps(4.0).terms(k), |d| {
                let lead = &[2, 3][..batch];
                let of = |rows, columns, cut: bool| {
                    let mut dims = if cut { lead[batch.min(1)..].to_vec() } else { lead.to_vec() };
                    dims.extend([rows, columns]);
                    dims
                };
                let (a, b) = (of(m, k, broadcast == 1), of(k, n, broadcast == 2));
                let (la, lb) = (Lay::all(a.len()), Lay::all(b.len()));
                let a = d.laid(la[left % la.len()], -1.0, 1.0, a.as_slice());
                a.matmul(&d.laid(lb[right % lb.len()], -1.0, 1.0, b.as_slice()))
            })
        });
    });
    suite.f32("views_and_copies", 6000, |on| {
        property(200, (shape(0..=5), moves(), moves()), &|(shape, first, second)| {
            agree!(on, EXACT, |d| {
                let x = d.mixed(shape.as_slice());
                let view = moved(x.clone(), &first);
                // The same steps with a copy between them: a copy changes the layout only.
                let copied = moved(view.contiguous(), &second);
                let seen = moved(view.clone(), &second);
                let equal = seen.eq(&copied).cast(DType::I32);
                vec![view.flatten(..), seen.flatten(..), copied, equal]
            })
        });
    });
}
