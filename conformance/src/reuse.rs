//! Reuse of storage in place has no effect on results: random programs give bit-identical values, gradients and second derivatives with
//! owned operands (moved at their last use) and with borrowed ones.

use crate::check::assert_same;
use crate::{On, Suite};
use minitorch_core::backend::Backend;
use minitorch_core::{Gradients, Tensor};

/// One instruction; its operands are earlier values.
#[derive(Clone, Copy, Debug)]
struct Step {
    op: u32,
    a: usize,
    b: usize,
}

/// Values 0 and 1 are the leaves, 2 a constant; each step appends one.
const INPUTS: usize = 3;
const STEPS: usize = 14;

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.f32("owned_and_borrowed_are_bit_identical", 200, |on| {
        for seed in 0..200 {
            let place = On::new(on.device.clone(), on.dtype, seed);
            compare(&place, &program(&place), seed);
        }
    });
}

fn program<B: Backend>(on: &On<B>) -> Vec<Step> {
    let words: Vec<u32> = on.words(3 * STEPS).collect();
    let pick = |word: u32, at: usize| {
        // Recent values more often than old ones: chains, with some diamonds.
        let back = (word % 7).min(word / 7 % 7) as usize;
        at - 1 - back.min(at - 1)
    };
    (0..STEPS)
        .map(|i| {
            let at = INPUTS + i;
            Step { op: words[3 * i] % 14, a: pick(words[3 * i + 1], at), b: pick(words[3 * i + 2], at) }
        })
        .collect()
}

/// An operand: the value itself if this is its last use and the program runs with owned operands.
fn take<B: Backend>(values: &mut [Option<Tensor<B>>], at: usize, last: bool) -> Tensor<B> {
    let value = if last { values[at].take() } else { values[at].clone() };
    match value {
        Some(value) => value,
        None => unreachable!("a value is taken at its last use"),
    }
}

fn run<B: Backend>(inputs: [Tensor<B>; INPUTS], program: &[Step], owned: bool) -> Tensor<B> {
    // The caller holds the leaves, to take gradients in them; the constant is owned by the program.
    let mut values: Vec<Option<Tensor<B>>> = inputs.into_iter().map(Some).collect();
    for (i, step) in program.iter().enumerate() {
        let later = |v: usize| program[i + 1..].iter().any(|s| s.a == v || s.b == v);
        let last = |v: usize| owned && !later(v);
        let out = if step.op < 6 {
            if step.a == step.b {
                let x = take(&mut values, step.a, false);
                binary(step.op, &x, &x)
            } else {
                let b = take(&mut values, step.b, last(step.b));
                let a = take(&mut values, step.a, last(step.a));
                if owned { binary_owned(step.op, a, b) } else { binary(step.op, &a, &b) }
            }
        } else {
            let a = take(&mut values, step.a, last(step.a));
            if owned { unary_owned(step.op, a) } else { unary(step.op, &a) }
        };
        values.push(Some(out));
    }
    match values.pop().flatten() {
        Some(out) => out,
        None => unreachable!("a program has steps"),
    }
}

fn binary<B: Backend>(op: u32, a: &Tensor<B>, b: &Tensor<B>) -> Tensor<B> {
    match op {
        0 | 1 => a + b,
        2 => a - b,
        3 | 4 => a * b,
        _ => a / &(&b.square() + 2.0), // away from 0
    }
}

fn binary_owned<B: Backend>(op: u32, a: Tensor<B>, b: Tensor<B>) -> Tensor<B> {
    match op {
        0 | 1 => a + b,
        2 => a - b,
        3 | 4 => a * b,
        _ => a / (b.square() + 2.0),
    }
}

fn unary<B: Backend>(op: u32, x: &Tensor<B>) -> Tensor<B> {
    match op {
        6 => -x,
        7 => x * 0.75,
        8 => 1.5 - x,
        9 => x / 1.25,
        10 => x + 0.5,
        11 => x.tanh(), // bounds values
        12 => &x.t() * &x.t(),
        _ => x.sin(),
    }
}

fn unary_owned<B: Backend>(op: u32, mut x: Tensor<B>) -> Tensor<B> {
    match op {
        6 => -x,
        7 => x * 0.75,
        8 => 1.5 - x,
        9 => {
            x /= 1.25;
            x
        }
        10 => {
            x += 0.5;
            x
        }
        11 => x.tanh(),
        12 => x.t() * x.t(),
        _ => x.sin(),
    }
}

fn compare<B: Backend>(on: &On<B>, program: &[Step], seed: u64) {
    let leaves = [0, 1].map(|_| on.uniform(-1.5, 1.5, [4, 4]).requires_grad());
    let constant = on.uniform(-1.5, 1.5, [4, 4]);
    let kept = [leaves[0].detach(), leaves[1].detach(), constant.clone()].map(|x| crate::close::read(&x).data);
    let mut results = Vec::new();
    for owned in [false, true] {
        // A constant with one holder, so that it may be reused.
        let own = on.list(&kept[2], [4, 4]);
        let y = run([leaves[0].clone(), leaves[1].clone(), own], program, owned);
        let loss = y.sin().sum(..);
        let first = loss.grad(leaves.each_ref());
        let squares = if owned {
            let [a, b] = first.clone();
            (a.clone() * a + b.square()).sum(..)
        } else {
            (&first[0] * &first[0] + first[1].square()).sum(..)
        };
        let second = gradients(&squares);
        let second = leaves.each_ref().map(|x| second.get(x).cloned().unwrap_or_else(|| x.detach().zeros_like()));
        // The backward pass consumes the tape, so the program runs again.
        let again = run([leaves[0].clone(), leaves[1].clone(), on.list(&kept[2], [4, 4])], program, owned);
        let plain = gradients(&again.sin().sum(..));
        let plain = leaves.each_ref().map(|x| plain.get(x).cloned().unwrap_or_else(|| x.detach().zeros_like()));
        let mut all = vec![y.detach()];
        all.extend(first.map(|g| g.detach()).into_iter().chain(second).chain(plain));
        results.push(all);
    }
    for (i, (borrowed, owned)) in results[0].iter().zip(&results[1]).enumerate() {
        assert_same(&format!("result {i} of program {seed}: {program:?}"), owned, borrowed);
    }
    let now = [leaves[0].detach(), leaves[1].detach(), constant].map(|x| crate::close::read(&x).data);
    assert!(now == kept, "program {seed} overwrote an input");
}

/// A random program may depend on neither leaf.
fn gradients<B: Backend>(loss: &Tensor<B>) -> Gradients<Tensor<B>> {
    if loss.is_tracked() { loss.backward() } else { Gradients::default() }
}
