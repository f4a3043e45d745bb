//! Lesson 01: what a derivative is, and how a tape finds it.
//!
//! What you learn:
//! - a derivative can be measured: change one input a little in both directions and divide the difference (central
//!   difference);
//! - it can be computed: each operation knows its own derivative, a tape records the operations, and the chain rule
//!   multiplies the derivatives backward;
//! - the gradients of all uses of a value are added;
//! - the derivative itself consists of operations, so it can be differentiated again;
//! - the tape is walked from the latest operation to the earliest, in which order every gradient is complete before it
//!   is passed on.

use crate::cli::say;
use minitorch::autodiff::Value;
use minitorch::{Result, Scalar};

/// The function of this lesson, once for floats ...
fn f(x: f64, y: f64) -> f64 {
    x * y + (-x * x).exp()
}

/// ... and once for values that record how they were computed. Operators work on both; `exp` is a method of both.
fn f_taped(x: &Scalar, y: &Scalar) -> Scalar {
    x * y + (-x * x).exp()
}

/// The derivative of `g` at `x`, measured. The error of the quotient is proportional to the square of `h`.
fn central_difference(g: impl Fn(f64) -> f64, x: f64, h: f64) -> f64 {
    (g(x + h) - g(x - h)) / (2.0 * h)
}

pub(crate) fn run((): ()) -> Result<()> {
    measured_and_computed();
    chain_rule();
    used_twice();
    second_derivative();
    order_of_the_tape();
    Ok(())
}

fn measured_and_computed() {
    say("f(x, y) = x y + exp(-x²) at x = 0.5, y = 3\n");
    let (x, y) = (Scalar::variable(0.5), Scalar::variable(3.0));
    let grads = f_taped(&x, &y).backward(); // both derivatives in one walk
    let by_tape = grads[&x].value();
    say(&format!("  df/dx by the tape             {by_tape:.12}"));
    for h in [0.1, 1e-3, 1e-5, 1e-8, 1e-12] {
        let measured = central_difference(|x| f(x, 3.0), 0.5, h);
        say(&format!("  df/dx by differences, h {h:<5e} {measured:.12}   off by {:.0e}", (measured - by_tape).abs()));
    }
    say("  A smaller h is better until the difference is lost in rounding.");
    let measured = central_difference(|y| f(0.5, y), 3.0, 1e-5);
    say(&format!("  df/dy by the tape {:.6}, by differences {measured:.6}\n", grads[&y].value()));
}

fn chain_rule() {
    say("Chain rule: z = exp(u), u = -v, v = x². On the way back each step multiplies by its own derivative.\n");
    let x = Scalar::variable(0.5);
    let v = &x * &x;
    let u = -&v;
    let z = u.exp();
    let (dz_du, du_dv, dv_dx) = (u.value().exp(), -1.0, 2.0 * x.value());
    say(&format!("  by hand  dz/du du/dv dv/dx = {dz_du:.6} * {du_dv} * {dv_dx} = {:.6}", dz_du * du_dv * dv_dx));
    let [along_u, along_v, along_x] = z.grad([&u, &v, &x]);
    say(&format!("  the tape dz/du = {along_u:.6}, dz/dv = {along_v:.6}, dz/dx = {along_x:.6}\n"));
}

fn used_twice() {
    let x = Scalar::variable(3.0);
    let (a, b) = (2.0 * &x, &x * &x);
    let [slope] = (&a + &b).grad([&x]);
    say("Used twice: z = a + b, a = 2 x, b = x² at x = 3. The answers of both paths are added.\n");
    say(&format!("  2 + 2 x = 2 + 6 = {slope}\n"));
}

fn second_derivative() {
    let (x, y) = (Scalar::variable(0.5), Scalar::variable(3.0));
    let [first] = f_taped(&x, &y).grad([&x]); // `grad` records its own operations; `backward` does not
    let [second] = first.grad([&x]);
    let formula = (4.0 * 0.25 - 2.0) * (-0.25f64).exp(); // (4 x² - 2) exp(-x²)
    let measured = central_difference(|x| central_difference(|x| f(x, 3.0), x, 1e-3), 0.5, 1e-3);
    say("The derivative of the derivative: d²f/dx² = (4 x² - 2) exp(-x²)\n");
    say(&format!("  the tape {second:.6}, the formula {formula:.6}, differences of differences {measured:.6}\n"));
}

fn order_of_the_tape() {
    say("Order: an operation's number is larger than those of its inputs, so counting down visits results first.\n");
    let (x, y) = (Scalar::variable(0.5), Scalar::variable(3.0));
    let product = &x * &y;
    let square = &x * &x;
    let bell = (-&square).exp();
    let sum = &product + &bell;
    let mut steps = [("x", &x), ("y", &y), ("x y", &product), ("x²", &square), ("exp(-x²)", &bell), ("sum", &sum)];
    let [dx, dy, dproduct, dsquare, dbell] = sum.grad([&x, &y, &product, &square, &bell]);
    let slopes = [("x", dx), ("y", dy), ("x y", dproduct), ("x²", dsquare), ("exp(-x²)", dbell), ("sum", 1.0.into())];
    let number = |value: &Scalar| value.node().map_or(0, |node| node.id());
    let first = number(&x);
    steps.sort_by_key(|(_, value)| std::cmp::Reverse(number(value)));
    for (name, value) in steps {
        let slope = slopes.iter().find(|(of, _)| *of == name).map_or(0.0, |(_, slope)| slope.value());
        let number = number(value) - first;
        say(&format!("  {number:>2}  {name:<9} = {:>7.4}   d sum / d {name:<9} = {slope:>7.4}", value.value()));
    }
}
