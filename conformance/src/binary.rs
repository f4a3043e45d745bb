//! Element-wise functions of two tensors: every op, every pair of layouts, broadcasting, in place, and at the edges.

use crate::check::{assert_same, assert_values, with_grads};
use crate::close::{EXACT, Tolerance, eps};
use crate::on::{Lay, pairs};
use crate::{On, Suite};
use minitorch_core::backend::{Backend, BinaryOp, BinaryOps, View};
use minitorch_core::{DType, Layout, Tensor, f16};

/// The call by the methods of `Tensor`. Without a wildcard, so that a new op must be added here.
pub(crate) fn apply<B: Backend>(op: BinaryOp, a: &Tensor<B>, b: &Tensor<B>) -> Tensor<B> {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Pow => a.pow(b),
        BinaryOp::Remainder => a.remainder(b),
        BinaryOp::Maximum => a.maximum(b),
        BinaryOp::Minimum => a.minimum(b),
    }
}

/// One rounding; CUDA documents up to 8 ulp for `pow`.
fn bound(op: BinaryOp) -> Tolerance {
    match op {
        BinaryOp::Maximum | BinaryOp::Minimum => EXACT,
        BinaryOp::Pow => eps(8.0),
        _ => eps(2.0),
    }
}

/// The range of the inputs: divisors and bases away from 0.
fn range(op: BinaryOp) -> (f64, f64) {
    if matches!(op, BinaryOp::Div | BinaryOp::Pow | BinaryOp::Remainder) { (0.25, 3.0) } else { (-3.0, 3.0) }
}

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    for op in BinaryOp::ALL {
        suite.floats(format!("layouts_{op}"), 200, move |on| layouts(on, op));
        suite.floats(format!("broadcast_{op}"), 70_000, move |on| broadcast(on, op));
        suite.floats(format!("in_place_{op}"), 2000, move |on| in_place(on, op));
    }
    suite.floats("rows_of_a_wider_tensor", 300, rows);
    suite.floats("numbers_of_every_type", 20, numbers);
    suite.floats("ties_share_the_gradient", 50, |on| {
        agree!(on, eps(2.0), |d| {
            with_grads(d, [d.whole(-2, 2, [5, 7]), d.whole(-2, 2, [5, 7])], |[a, b]| a.maximum(b) - a.minimum(b) * 0.5)
        });
        let [a, b] = [on.list(&[1.0, 2.0, 3.0], [3]), on.list(&[2.0, 2.0, 2.0], [3])].map(|x| x.requires_grad());
        let grads = a.maximum(&b).sum(..).backward();
        assert_values(&grads[&a], &[0.0, 0.5, 1.0], EXACT);
        assert_values(&grads[&b], &[1.0, 0.5, 0.0], EXACT);
        // Beside a NaN both operands have the gradient; where one has all of it, an infinite gradient leaves 0 for the other.
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        for op in [BinaryOp::Maximum, BinaryOp::Minimum] {
            let [a, b] =
                [[nan, 1.0, nan, 1.0, 2.0], [1.0, nan, nan, 2.0, 1.0]].map(|v| on.list(&v, [5]).requires_grad());
            let grads = apply(op, &a, &b).backward_with(&on.list(&[2.0, 2.0, 2.0, inf, inf], [5]));
            let (low, high) = if op == BinaryOp::Maximum { (0.0, inf) } else { (inf, 0.0) };
            assert_values(&grads[&a], &[2.0, 2.0, 2.0, low, high], EXACT);
            assert_values(&grads[&b], &[2.0, 2.0, 2.0, high, low], EXACT);
        }
    });
    suite.floats("nan_and_infinities", 50, special);
    suite.f32("integers_wrap", 200, integers);
    suite.f32("bool", 50, |on| {
        agree!(on, EXACT, |d| {
            let (a, b) = (d.mask([4, 33]), d.mask([33]));
            [a.logical_and(&b), a.logical_or(&b), a.logical_xor(&b), a.maximum(&b), a.minimum(&b), b.logical_or(&a)]
        })
    });
    suite.floats("remainder_signs_and_edges", 30, |on| {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        let a = on.list(&[7.0, -7.0, 7.0, -7.0, 6.0, -6.0, 0.0, 5.0, inf, nan, 1.0], [11]);
        let b = on.list(&[3.0, 3.0, -3.0, -3.0, 3.0, -3.0, -2.0, 0.0, 2.0, 2.0, nan], [11]);
        assert_values(&a.remainder(&b), &[1.0, 2.0, -2.0, -1.0, 0.0, 0.0, 0.0, nan, nan, nan, nan], EXACT);
        assert_values(&on.list(&[5.5, -5.5], [2]).remainder(2.0), &[1.5, 0.5], EXACT);
        let [a, b] = [on.list(&[7.5, -7.5], [2]), on.list(&[2.0, 2.0], [2])].map(|x| x.requires_grad());
        let grads = a.remainder(&b).sum(..).backward();
        assert_values(&grads[&a], &[1.0, 1.0], EXACT);
        assert_values(&grads[&b], &[-3.0, 4.0], EXACT);
        // Divisors of infinity and 0, a dividend of infinity, a quotient that rounds up to an integer, and a large quotient.
        let a = on.list(&[5.0, -5.0, 5.0, -5.0, 0.0, 5.0, -5.0, inf, nan, 0.0], [10]).requires_grad();
        let b = on.list(&[inf, inf, -inf, -inf, inf, 0.0, 0.0, 2.0, 1.0, 0.0], [10]).requires_grad();
        let grads = a.remainder(&b).sum(..).backward();
        assert_values(&grads[&a], &[1.0; 10], EXACT);
        assert_values(&grads[&b], &[0.0, 1.0, 1.0, 0.0, 0.0, -inf, inf, -inf, nan, nan], EXACT);
        let below_3 = if on.dtype == DType::F64 { 3.0 - 4.0 * f64::EPSILON } else { 3.0 - 4.0 * f32::EPSILON as f64 };
        let [a, b] = [on.list(&[below_3 * 0.5, 1e30], [2]), on.list(&[0.5, 3.0], [2])].map(|x| x.requires_grad());
        let grads = a.remainder(&b).sum(..).backward();
        assert_values(&grads[&b], &[-2.0, -1e30 / 3.0], eps(2.0));
        // The quotient does not fit a float; the remainder is exact.
        let far = 2f64.powi(100);
        agree!(on, EXACT, |d| d.list(&[far, -far, 1e7], [3]).remainder(d.list(&[7.0, 7.0, 0.375], [3])));
        let ints = |v: &[i32]| Tensor::from_slice(v, [v.len()], &on.device);
        let rest = ints(&[7, -7, 7, -7, 5, i32::MIN]).remainder(ints(&[3, 3, -3, -3, 0, -1]));
        assert_values(&rest, &[1.0, 2.0, -2.0, -1.0, 0.0, 0.0], EXACT);
    });
    suite.floats("pow_at_zero", 10, |on| {
        let [a, b] = [on.list(&[0.0, 0.0, 2.0, 0.0], [4]), on.list(&[2.0, 0.0, 0.0, 1.0], [4])];
        let (a, b) = (a.requires_grad(), b.requires_grad());
        let y = a.pow(&b);
        assert_values(&y, &[0.0, 1.0, 1.0, 0.0], EXACT);
        let grads = y.sum(..).backward();
        // b a^(b-1), and 0 where b is 0; a^b log a, and 0 where a is 0, as in PyTorch.
        assert_values(&grads[&a], &[0.0, 0.0, 0.0, 1.0], eps(2.0));
        assert_values(&grads[&b], &[0.0, 0.0, std::f64::consts::LN_2, 0.0], eps(2.0));
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        let a = on.list(&[0.0, 0.0, 0.0, 0.0, 2.0, nan, inf, 0.0], [8]).requires_grad();
        let b = on.list(&[-1.0, -0.5, 0.0, 1.0, 0.0, 0.0, 0.0, 2.0], [8]).requires_grad();
        let grads = a.pow(&b).sum(..).backward();
        let ln2 = std::f64::consts::LN_2;
        let (in_a, in_b) = ([-inf, -inf, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0], [-inf, -inf, 0.0, 0.0, ln2, nan, inf, 0.0]);
        assert_values(&grads[&a], &in_a, eps(2.0));
        assert_values(&grads[&b], &in_b, eps(2.0));
        let [ga, gb] = a.pow(&b).sum(..).grad([&a, &b]);
        assert_values(&ga, &in_a, eps(2.0));
        assert_values(&gb, &in_b, eps(2.0));
        // x^0 is constant in x, and 0^x in x above 0; at 2^0 the mixed derivative is 1 / 2, in either order.
        let [aa, ab] = ga.sum(..).grad([&a, &b]);
        let [ba, bb] = gb.sum(..).grad([&a, &b]);
        let at = |x: &Tensor<B>, from: usize, len: usize| crate::close::read(&x.narrow(0, from, len)).data;
        assert_eq!(at(&aa, 2, 3), [0.0; 3]);
        assert_eq!(at(&aa, 7, 1), [2.0]);
        assert_eq!([at(&ab, 2, 1), at(&ba, 2, 1), at(&bb, 2, 1)].concat(), [0.0; 3]);
        assert_values(&ab.narrow(0, 4, 1), &[0.5], eps(4.0));
        assert_values(&ba.narrow(0, 4, 1), &[0.5], eps(4.0));
        assert_values(&bb.narrow(0, 3, 2), &[0.0, ln2 * ln2], eps(4.0));
    });
}

fn layouts<B: Backend>(on: &On<B>, op: BinaryOp) {
    let (low, high) = range(op);
    let shapes: [&[usize]; 6] = [&[], &[17], &[0, 3], &[4, 33], &[2, 3, 4], &[2, 1, 3, 2, 1, 2]];
    for shape in shapes {
        for a in Lay::all(shape.len()) {
            for b in Lay::all(shape.len()) {
                agree!(on, bound(op), "{op} of {a:?} and {b:?} {shape:?}", |d| {
                    apply(op, &d.laid(a, low, high, shape), &d.laid(b, low, high, shape))
                });
            }
        }
    }
    for lay in Lay::all(2) {
        agree!(on, bound(op), "{op} in place with {lay:?}", |d| {
            let (mut a, b) = (d.uniform(low, high, [17, 33]), d.laid(lay, low, high, [17, 33]));
            let (device, storage) = a.storage_mut();
            device.binary_mut(op, storage, &Layout::contiguous([17, 33]), b.view());
            a
        });
    }
    // Layouts that core has not merged.
    agree!(on, bound(op), |d| {
        let (a, b) = (d.laid(Lay::Sliced, low, high, [3, 4, 5]), d.laid(Lay::Broadcast(1), low, high, [3, 4, 5]));
        Tensor::from_storage(&d.device, d.device.binary(op, a.view(), b.view()), d.dtype, [3, 4, 5])
    });
}

/// Values and gradients; the gradient of broadcasting is a sum.
fn broadcast<B: Backend>(on: &On<B>, op: BinaryOp) {
    let (low, high) = range(op);
    let pairs: [(&[usize], &[usize]); 13] = [
        (&[4, 5], &[5]),
        (&[4, 5], &[4, 1]),
        (&[2, 3, 4, 5], &[3, 1, 1]),
        (&[3, 1, 1], &[2, 3, 4, 5]),
        (&[4, 1, 5], &[3, 1]),
        (&[1], &[7]),
        (&[], &[2, 3]),
        (&[2, 3], &[]),
        (&[], &[]),
        (&[0, 3], &[3]),
        (&[1, 3], &[0, 1]),
        (&[2, 1, 2, 1, 2, 1], &[3, 1, 2, 1, 2]),
        (&[67_001, 1], &[1, 1]),
    ];
    for (a, b) in pairs {
        let terms = a.iter().chain(b).product::<usize>().max(1);
        agree!(on, eps(16.0).terms(terms.min(70_000)), "{op} of {a:?} and {b:?}", |d| {
            with_grads(d, [d.uniform(low, high, a), d.uniform(low, high, b)], |[a, b]| apply(op, a, b))
        });
    }
}

/// Rows with lengths and offsets that are and are not multiples of four, for backends with vector loads of four elements; with a row, a
/// column and a scalar broadcast.
fn rows<B: Backend>(on: &On<B>) {
    for width in [1, 2, 3, 4, 5, 8, 13, 32] {
        for (before, after) in [(0, 4), (4, 0), (1, 3), (3, 4), (0, 1)] {
            agree!(on, EXACT, "7 rows of {width}, {before} before and {after} behind them", |d| {
                let part = || d.mixed([7, before + width + after]).narrow(1, before, width);
                let (a, b, column, number) = (part(), part(), d.mixed([7, 1]), d.mixed([1, 1]));
                let row = d.mixed([before + width]).narrow(0, before, width);
                let whole = d.mixed([7, width]);
                let chosen = Tensor::where_cond(&a.gt(&row), &a, &column);
                let counted = a.le(&column).cast(d.dtype);
                let sums = [&a + &b, &a + &row, &row + &column, &column + &a, &whole + &row, &whole + &a];
                let concatenated = Tensor::cat(&[column.clone(), a.clone(), number.expand([7, 3]), b], 1);
                let mut all =
                    vec![&number + &a, chosen, counted, -&a, a.contiguous(), concatenated, a.cast(DType::I32)];
                all.extend(sums);
                all
            });
        }
    }
}

/// Operators on owned operands may reuse their storage: results are the same, and other tensors are unchanged.
fn in_place<B: Backend>(on: &On<B>, op: BinaryOp) {
    let (low, high) = range(op);
    let shapes: [(&[usize], &[usize]); 7] = [
        (&[5, 17], &[5, 17]),
        (&[5, 17], &[17]),
        (&[17], &[5, 17]),
        (&[5, 1], &[17]),
        (&[], &[5]),
        (&[0], &[0]),
        (&[40, 50], &[40, 1]),
    ];
    for (sa, sb) in shapes {
        let make = || (on.again().uniform(low, high, sa), on.again().uniform(low, high, sb));
        let (a, b) = make();
        let want = apply(op, &a, &b);
        let owned = |(a, b): (Tensor<B>, Tensor<B>), left: bool, right: bool| match (op, left, right) {
            (BinaryOp::Add, true, true) => a + b,
            (BinaryOp::Add, true, false) => a + &b,
            (BinaryOp::Add, false, true) => &a + b,
            (BinaryOp::Sub, true, true) => a - b,
            (BinaryOp::Sub, true, false) => a - &b,
            (BinaryOp::Sub, false, true) => &a - b,
            (BinaryOp::Mul, true, true) => a * b,
            (BinaryOp::Mul, true, false) => a * &b,
            (BinaryOp::Mul, false, true) => &a * b,
            (BinaryOp::Div, true, true) => a / b,
            (BinaryOp::Div, true, false) => a / &b,
            (BinaryOp::Div, false, true) => &a / b,
            _ => apply(op, &a, &b),
        };
        for (left, right) in [(true, true), (true, false), (false, true)] {
            assert_same(
                &format!("{op} of {sa:?} and {sb:?}, owned: {left}, {right}"),
                &owned(make(), left, right),
                &want,
            );
        }
        assert_same("the left operand", &a, &make().0);
        assert_same("the right operand", &b, &make().1);
        // The method of the trait: `a` is contiguous, `b` any view of its shape.
        let shape = *want.shape();
        if *a.shape() == shape {
            let mut target = make().0;
            let dtype = target.dtype();
            let expanded = b.expand(shape);
            let (device, storage) = target.storage_mut();
            let view = View { dtype, ..expanded.view() };
            device.binary_mut(op, storage, &Layout::contiguous(shape), view);
            assert_same(&format!("{op} in place"), &target, &want);
        }
    }
    // A tensor that is both operands has two holders.
    let x = on.uniform(low, high, [17]);
    let want = apply(op, &x, &x.clone());
    assert_same("both operands", &apply(op, &x, &x), &want);
}

fn special<B: Backend>(on: &On<B>) {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let values = [0.0, 1.0, -1.0, inf, -inf, nan];
    for op in BinaryOp::ALL {
        // pow(-1, inf) and its like differ between devices.
        let values: Vec<f64> =
            values.into_iter().filter(|v| op != BinaryOp::Pow || v.is_finite() && *v >= 0.0).collect();
        let n = values.len();
        agree!(on, EXACT, "{op} of every pair of {values:?}", |d| {
            let x = d.list(&values, [n]);
            apply(op, &x.reshape([n, 1]), &x)
        });
    }
    // A negative base: integral exponents have a value, others give NaN.
    agree!(on, eps(8.0), |d| d.list(&[-2.0, -1.5, -3.0, -2.0], [4]).pow(&d.list(&[3.0, 2.0, -1.0, 0.0], [4])));
    assert_values(&on.list(&[-2.0], [1]).pow(&on.list(&[0.5], [1])), &[nan], EXACT);
}

/// A number of any type, at either side, is that number.
fn numbers<B: Backend>(on: &On<B>) {
    let x = on.list(&[1.0, 2.0, -4.0], [3]);
    let sums = [
        &x + 3.0,
        &x + 3f32,
        &x + f16::from_f32(3.0),
        &x + 3i8,
        &x + 3u8,
        &x + 3i16,
        &x + 3u16,
        &x + 3,
        &x + 3u32,
        &x + 3i64,
        &x + 3u64,
        &x + 3isize,
        &x + 3usize,
        3.0 + &x,
        3 + &x,
        f16::from_f32(3.0) + &x,
        3 + x.clone(),
        x.clone() + 3u8,
    ];
    for sum in sums {
        assert_values(&sum, &[4.0, 5.0, -1.0], EXACT);
    }
    assert_values(&(8 - &x), &[7.0, 6.0, 12.0], EXACT);
    assert_values(&(8 / x.clone()), &[8.0, 4.0, -2.0], EXACT);
    assert_values(&(&x - 8usize), &[-7.0, -6.0, -12.0], EXACT);
    assert_values(&(&x * -2i8 / 4u64), &[-0.5, -1.0, 2.0], EXACT);
    assert_values(&x.remainder(3u16), &[1.0, 2.0, 2.0], EXACT);
    let mut y = x.clone();
    y += 1u8;
    y *= 2;
    assert_values(&y, &[4.0, 6.0, -6.0], EXACT);
    // Beyond 2^53 an f64 holds multiples of powers of 2; a float dtype takes the nearest element.
    let far = Tensor::zeros([1], (&on.device, DType::F32)) + (1u64 << 60);
    assert_values(&far, &[(1u64 << 60) as f64], EXACT);
    assert_values(&(far - (1u64 << 60) + 16_777_217), &[16_777_216.0], EXACT);
    let i = Tensor::new([5, -7], &on.device);
    assert_values(&(1 - &i), &[-4.0, 8.0], EXACT);
    assert_values(&(&i * 3u64 + 1i64), &[16.0, -20.0], EXACT);
}

fn integers<B: Backend>(on: &On<B>) {
    for op in BinaryOp::ALL.into_iter().filter(|op| op.accepts(DType::I32)) {
        agree!(on, EXACT, "{op}", |d| {
            apply(op, &d.ints(i32::MIN, i32::MAX, [7, 33]), &d.ints(i32::MIN, i32::MAX, [33]))
        });
        for (a, b) in pairs(Lay::all(2)) {
            agree!(on, EXACT, "{op} of {a:?} and {b:?} int32", |d| {
                let lies = |lay: Lay| lay.view([17, 33].into(), |s| d.ints(-99, 99, s));
                apply(op, &lies(a), &lies(b))
            });
        }
        let edges = [i32::MIN, -1, 0, 1, i32::MAX];
        agree!(on, EXACT, "{op} of every pair of {edges:?}", |d| {
            let x = Tensor::from_slice(&edges, [5], &d.device);
            apply(op, &x.reshape([5, 1]), &x)
        });
    }
    // i32::MIN has no negation, and its subtraction must not need one.
    let (x, smallest) = (Tensor::from_slice(&[i32::MIN, -1, 0, 5], [4], &on.device), i32::MIN as f64);
    assert_values(&(&x - i32::MIN), &[0.0, i32::MAX as f64, smallest, smallest + 5.0], EXACT);
    assert_values(&(x.clone() - i32::MIN), &[0.0, i32::MAX as f64, smallest, smallest + 5.0], EXACT);
    panics!("sub", "int32", "0.5"; &x - 0.5);
    panics!("sub", "int32", "2147483648"; &x - 2147483648.0);
    panics!("add", "int32", "2147483648"; &x + 2147483648.0);
}
