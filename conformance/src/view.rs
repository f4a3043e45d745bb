//! Views: every kind against index arithmetic on the host, and their gradients.

use crate::check::{assert_values, with_grads};
use crate::close::{EXACT, eps, multi_index, read};
use crate::on::Lay;
use crate::{On, Suite};
use minitorch_core::backend::Backend;
use minitorch_core::{Shape, Tensor};

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.f32("permute_and_transpose", 200, permute);
    suite.f32("slice", 200, slice);
    suite.f32("expand", 200, |on| {
        let x = counted(on, &[3, 1, 2]);
        maps(&x.expand([4, 3, 5, 2]), &[4, 3, 5, 2], |i| i[1] * 2 + i[3]);
        maps(&x.expand([3, 0, 2]), &[3, 0, 2], |_| 0);
        maps(&counted(on, &[]).expand([2, 2]), &[2, 2], |_| 0);
        maps(&x.t3().expand([2, 7, 3]), &[2, 7, 3], |i| i[2] * 2 + i[0]);
    });
    suite.f32("reshape", 500, reshape);
    suite.alone("reshape_copies_only_when_it_must", 100, |on| {
        // A transposed matrix with its rows split stays a view; with its columns merged it is a copy.
        let x = counted(on, &[4, 6]);
        let live = on.device.memory().live;
        let split = x.t().reshape([3, 2, 4]);
        assert!(on.device.memory().live == live, "splitting a dimension needs no copy");
        maps(&split, &[3, 2, 4], |i| i[2] * 6 + i[0] * 2 + i[1]);
        let merged = x.t().reshape([24]);
        assert!(on.device.memory().live > live, "merging these needs one");
        maps(&merged, &[24], |i| (i[0] % 4) * 6 + i[0] / 4);
    });
    suite.f32("squeeze_unsqueeze_flatten", 100, |on| {
        let x = counted(on, &[2, 1, 3]);
        maps(&x.squeeze(1), &[2, 3], |i| i[0] * 3 + i[1]);
        maps(&x.squeeze(-2).unsqueeze(0), &[1, 2, 3], |i| i[1] * 3 + i[2]);
        maps(&x.unsqueeze(-1), &[2, 1, 3, 1], |i| i[0] * 3 + i[2]);
        maps(&x.unsqueeze(3), &[2, 1, 3, 1], |i| i[0] * 3 + i[2]);
        let y = counted(on, &[2, 3, 4]);
        maps(&y.flatten(..), &[24], |i| i[0]);
        maps(&y.flatten(1..), &[2, 12], |i| i[0] * 12 + i[1]);
        maps(&y.flatten(0..=1), &[6, 4], |i| i[0] * 4 + i[1]);
        maps(&y.flatten(-2..), &[2, 12], |i| i[0] * 12 + i[1]);
        maps(&y.transpose(0, 2).flatten(1..), &[4, 6], |i| (i[1] % 2) * 12 + i[1] / 2 * 4 + i[0]);
        maps(&counted(on, &[]).flatten(..), &[1], |_| 0);
        let six = counted(on, &[1, 2, 1, 3, 1, 2]);
        maps(&six.squeeze(0).squeeze(1).squeeze(-2), &[2, 3, 2], |i| i[0] * 6 + i[1] * 2 + i[2]);
    });
    suite.floats("gradients", 500, gradients);
    suite.floats("gradient_of_a_part_inside_a_whole", 100, |on| {
        // The gradient of a slice is recorded as a write into zeros. Its own gradient arrives here as a view with an offset.
        let (x, v) = (on.mixed([3, 4]).requires_grad(), on.mixed([2, 4]).requires_grad());
        let [written] = x.slice(1..).grad_with(&v, [&x]);
        let all = Tensor::cat(&[on.mixed([3, 4]), written], 0);
        let g = on.mixed([6, 4]);
        let grads = all.backward_with(&g);
        assert_values(&grads[&v], &read(&g).data[16..], EXACT);
    });
    suite.floats("gradients_of_parts_are_added_in_place_unseen", 100, |on| {
        // Both operands of a sum share one gradient tensor, which is in use while further gradients are added to one of them.
        let (x, w) = (on.mixed([2, 3]).requires_grad(), on.mixed([2, 3]).requires_grad());
        let loss = || (&x + &w).sum(..) + x.slice(0).sum(..) * 2.0 + x.slice((1, 1..)).sum(..) * 4.0;
        for _ in 0..2 {
            let [gx, gw] = loss().grad([&x, &w]);
            assert_values(&gx, &[3.0, 3.0, 3.0, 1.0, 5.0, 5.0], EXACT);
            assert_values(&gw, &[1.0; 6], EXACT);
        }
        let grads = loss().backward();
        assert_values(&grads[&x], &[3.0, 3.0, 3.0, 1.0, 5.0, 5.0], EXACT);
        assert_values(&grads[&w], &[1.0; 6], EXACT);
        // The gradient that was given is the caller's.
        let (whole, g) = (&x * 1.0, on.list(&[1.0; 6], [2, 3]));
        let both = Tensor::cat(&[whole.clone(), whole.narrow(0, 1, 1)], 0);
        let seed = Tensor::cat(&[g.clone(), g.narrow(0, 0, 1)], 0);
        assert_values(&both.backward_with(&seed)[&x], &[1.0, 1.0, 1.0, 2.0, 2.0, 2.0], EXACT);
        assert_values(&seed, &[1.0; 9], EXACT);
        assert_values(&g, &[1.0; 6], EXACT);
    });
    suite.floats("views_of_views", 500, |on| {
        agree!(on, EXACT, |d| {
            let x = d.mixed([4, 6, 5]);
            let y = x.slice((1.., .., ..4)).permute([2, 0, 1]).slice((.., 1, 2..)).unsqueeze(1).expand([4, 3, 4]);
            [y.clone(), y.reshape([6, 8]), y.transpose(0, 2).reshape((-1, 6)), y.contiguous().t3(), y.narrow(1, 1, 2)]
        })
    });
}

trait Turn {
    fn t3(&self) -> Self;
}
impl<B: Backend> Turn for Tensor<B> {
    /// First and last of three dimensions exchanged.
    fn t3(&self) -> Self {
        self.transpose(0, 2)
    }
}

/// 0, 1, 2, .. in row-major order: the value of an element is its position.
pub(crate) fn counted<B: Backend>(on: &On<B>, shape: &[usize]) -> Tensor<B> {
    let shape = Shape::new(shape);
    Tensor::arange(0..shape.numel() as i32, &on.device).reshape(shape)
}

/// The view has this shape, and its element at an index is the base's element at `place(index)`.
#[track_caller]
pub(crate) fn maps<B: Backend>(view: &Tensor<B>, shape: &[usize], place: impl Fn(&[usize]) -> usize) {
    assert!(view.shape()[..] == *shape, "the shape is {:?}, not {shape:?}", view.shape());
    let want: Vec<f64> = (0..view.numel()).map(|i| place(&multi_index(i, view.shape())) as f64).collect();
    assert_values(view, &want, EXACT);
    assert_values(&view.contiguous(), &want, EXACT);
}

fn permute<B: Backend>(on: &On<B>) {
    let x = counted(on, &[2, 3, 4]);
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let shape = order.map(|d| [2, 3, 4][d]);
        let strides = order.map(|d| [12, 4, 1][d]);
        maps(&x.permute(order), &shape, |i| (0..3).map(|d| i[d] * strides[d]).sum());
    }
    maps(&x.permute([-1, 0, 1]), &[4, 2, 3], |i| i[1] * 12 + i[2] * 4 + i[0]);
    maps(&x.transpose(-1, 0), &[4, 3, 2], |i| i[2] * 12 + i[1] * 4 + i[0]);
    maps(&x.transpose(1, 1), &[2, 3, 4], |i| i[0] * 12 + i[1] * 4 + i[2]);
    maps(&counted(on, &[3, 5]).t(), &[5, 3], |i| i[1] * 5 + i[0]);
    maps(&counted(on, &[1, 2, 3, 2, 2, 2]).permute([5, 4, 3, 2, 1, 0]), &[2, 2, 2, 3, 2, 1], |i| {
        i[4] * 24 + i[3] * 8 + i[2] * 4 + i[1] * 2 + i[0]
    });
}

fn slice<B: Backend>(on: &On<B>) {
    let x = counted(on, &[4, 5, 6]);
    let at = |i: usize, j: usize, k: usize| i * 30 + j * 6 + k;
    maps(&x.slice(2), &[5, 6], |i| at(2, i[0], i[1]));
    maps(&x.slice(-1), &[5, 6], |i| at(3, i[0], i[1]));
    maps(&x.slice(1..3), &[2, 5, 6], |i| at(1 + i[0], i[1], i[2]));
    maps(&x.slice((.., -1)), &[4, 6], |i| at(i[0], 4, i[1]));
    maps(&x.slice((.., .., 2..=4)), &[4, 5, 3], |i| at(i[0], i[1], 2 + i[2]));
    maps(&x.slice((1, 2, 3)), &[], |_| at(1, 2, 3));
    let last = -1; // a literal `1..-1` reads to clippy like an empty range
    maps(&x.slice((..-1, 1..last, -2..)), &[3, 3, 2], |i| at(i[0], 1 + i[1], 4 + i[2]));
    maps(&x.slice([0..2, 1..3]), &[2, 2, 6], |i| at(i[0], 1 + i[1], i[2]));
    maps(&x.slice(4..), &[0, 5, 6], |_| 0);
    maps(&x.slice((.., 0..=last, 3usize..)), &[4, 5, 3], |i| at(i[0], i[1], 3 + i[2]));
    maps(&x.narrow(1, 2, 3), &[4, 3, 6], |i| at(i[0], 2 + i[1], i[2]));
    maps(&x.narrow(-1, 6, 0), &[4, 5, 0], |_| 0);
    maps(&x.narrow(0, 0, 4), &[4, 5, 6], |i| at(i[0], i[1], i[2]));
    maps(&x.t3().slice((2..4, 1)), &[2, 4], |i| at(i[1], 1, 2 + i[0]));
    maps(&x.slice((1.., 1..)).slice((1.., 1..)), &[2, 3, 6], |i| at(2 + i[0], 2 + i[1], i[2]));
}

/// A reshape is the row-major order under another shape, whether it is a view or a copy.
fn reshape<B: Backend>(on: &On<B>) {
    let targets: [&[isize]; 9] =
        [&[24], &[2, 12], &[-1, 4], &[6, 4], &[2, 3, 4], &[4, 3, 2], &[2, 1, -1, 2, 1, 2], &[1, 24, 1], &[3, 8]];
    for lay in [
        Lay::Whole,
        Lay::Reversed,
        Lay::Sliced,
        Lay::Stepped,
        Lay::Broadcast(0),
        Lay::Broadcast(1),
        Lay::Broadcast(2),
        Lay::Constant,
    ] {
        let x = lay.view([2, 3, 4].into(), |s| counted(on, &s));
        let flat = read(&x).data;
        for to in targets {
            let y = match *to {
                [a] => x.reshape([a]),
                [a, b] => x.reshape((a, b)),
                [a, b, c] => x.reshape([a, b, c]),
                [a, b, c, d, e, f] => x.reshape([a, b, c, d, e, f]),
                _ => unreachable!("the targets above"),
            };
            assert!(
                to.iter().zip(y.shape().iter()).all(|(&t, &s)| t == -1 || t == s as isize),
                "{:?} for {to:?}",
                y.shape()
            );
            assert_values(&y, &flat, EXACT);
        }
    }
    maps(&counted(on, &[0, 3]).reshape([3, 0, 2]), &[3, 0, 2], |_| 0);
    maps(&counted(on, &[1, 1]).reshape([] as [i32; 0]), &[], |_| 0);
    maps(&counted(on, &[]).reshape([1, 1, 1]), &[1, 1, 1], |_| 0);
}

fn gradients<B: Backend>(on: &On<B>) {
    agree!(on, eps(8.0), |d| {
        let x = || [d.mixed([3, 4, 5])];
        let mut all = with_grads(d, x(), |[x]| x.permute([2, 0, 1]));
        all.extend(with_grads(d, x(), |[x]| x.transpose(0, -1)));
        all.extend(with_grads(d, x(), |[x]| x.slice((1.., 2, ..-1))));
        all.extend(with_grads(d, x(), |[x]| x.slice(1)));
        all.extend(with_grads(d, x(), |[x]| x.narrow(1, 1, 2)));
        all.extend(with_grads(d, x(), |[x]| x.unsqueeze(1).expand([3, 2, 4, 5])));
        all.extend(with_grads(d, x(), |[x]| x.transpose(0, 1).reshape([20, 3])));
        all.extend(with_grads(d, x(), |[x]| x.flatten(1..)));
        all.extend(with_grads(d, x(), |[x]| x.slice((.., 1..2)).squeeze(1)));
        all.extend(with_grads(d, x(), |[x]| x.t3().contiguous()));
        // Read twice, overlapping: gradients add up.
        all.extend(with_grads(d, x(), |[x]| x.slice(..2) * 2.0 + x.slice(1..)));
        all.extend(with_grads(d, x(), |[x]| x.slice(3..)));
        all
    });
}
