//! Operations that rearrange elements, and their gradients, against each element's source by index arithmetic on the host.

use crate::check::assert_values;
use crate::close::{EXACT, multi_index, read};
use crate::on::Lay;
use crate::view::{counted, maps};
use crate::{On, Suite};
use minitorch_core::backend::Backend;
use minitorch_core::{DType, Indexing, Shape, Tensor, no_grad};

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.floats("set", 300, set);
    suite.f32("set_and_sharing", 20, set_and_sharing);
    suite.f32("split_and_chunk", 100, split);
    suite.f32("split_gradients_add_up", 100, |on| {
        let x = on.mixed([5, 2]).requires_grad();
        let parts = x.split(2, 0);
        let loss = parts[0].sum(..) * 2.0 + parts[2].sum(..) * 3.0 + x.unbind(1)[1].sum(..);
        assert_values(&loss.backward()[&x], &[2.0, 3.0, 2.0, 3.0, 0.0, 1.0, 0.0, 1.0, 3.0, 4.0], EXACT);
    });
    suite.floats("flip", 500, flip);
    suite.floats("roll", 500, roll);
    suite.floats("repeat_and_tile", 500, repeat);
    suite.floats("unfold", 500, unfold);
    suite.floats("diagonal", 500, diagonal);
    suite.floats("triangles", 500, triangles);
    suite.f32("movedim", 100, |on| {
        let x = counted(on, &[2, 3, 4]);
        maps(&x.movedim(0, 2), &[3, 4, 2], |i| i[2] * 12 + i[0] * 4 + i[1]);
        maps(&x.movedim(-1, 0), &[4, 2, 3], |i| i[1] * 12 + i[2] * 4 + i[0]);
        maps(&x.movedim(1, 1), &[2, 3, 4], |i| i[0] * 12 + i[1] * 4 + i[2]);
    });
    suite.f32("grids_and_broadcasting", 100, grids);
    suite.alone("views_take_no_memory", 100, |on| {
        let x = on.mixed([4, 1, 6]);
        let y = on.mixed([6]);
        let live = on.device.memory().live;
        let views = [x.unfold(2, 3, 1), x.diagonal(1, 0, 2), x.movedim(0, 2), x.repeat([1, 3, 1]), x.tile([2, 1])];
        let lists = [x.split(3, 2), x.chunk(2, 0), x.unbind(0), Tensor::broadcast_tensors(&[x.clone(), y.clone()])];
        let grid = Tensor::meshgrid(&[y.clone(), y.clone()], Indexing::Xy);
        assert!(on.device.memory().live == live, "{} bytes", on.device.memory().live - live);
        drop((views, lists, grid));
    });
    suite.f32("panics", 10, panics);
    check!(suite, "set", 2, |d| [d.uniform(-1.0, 1.0, [3, 4]), d.uniform(-1.0, 1.0, [2])], |[x, y]| {
        let mut z = x.square();
        z.set((1.., 1..3), y.square()); // broadcast over two rows
        z.set((0, 3), 0.5);
        z.set((.., 0), z.slice((.., 2)) * x.slice((.., 0))); // of itself
        z.exp() * x
    });
    check!(suite, "flip_roll", 2, |d| [d.uniform(-1.0, 1.0, [3, 4])], |[x]| x.square().flip([0, 1]) * x.roll(-3, 1));
    check!(suite, "repeat", 2, |d| [d.uniform(-1.0, 1.0, [2, 1, 2])], |[x]| {
        (x.square().repeat([2, 2, 3]) * x.repeat_interleave(2, 0).repeat_interleave(3, 2)).sum(1)
    });
    check!(suite, "unfold", 2, |d| [d.uniform(-1.0, 1.0, [2, 7])], |[x]| {
        let windows = x.square().unfold(1, 3, 2);
        windows.square() * x.unfold(-1, 3, 2)
    });
    check!(suite, "unfold_of_wide_windows", 2, |d| [d.uniform(-1.0, 1.0, [7, 2])], |[x]| x.unfold(0, 6, 1).square());
    check!(suite, "diagonal", 2, |d| [d.uniform(-1.0, 1.0, [3, 2, 4])], |[x]| {
        x.square().diagonal(1, 0, 2) * x.diagonal(-1, 2, 0).exp()
    });
    check!(suite, "triangles", 2, |d| [d.uniform(-1.0, 1.0, [2, 3, 3])], |[x]| x.square().tril(0) * x.triu(-1));
}

/// `y[i] = x[source(i)]`, or 0 where there is no source, for every layout and dtype; the gradient in `x[j]` is the sum of the
/// gradients of all `y[i]` with `source(i) = j`.
#[track_caller]
pub(crate) fn moves<B: Backend>(
    on: &On<B>,
    from: &[usize],
    to: &[usize],
    op: &dyn Fn(&Tensor<B>) -> Tensor<B>,
    source: &dyn Fn(&[usize]) -> Option<Vec<usize>>,
) {
    let (from, to) = (Shape::new(from), Shape::new(to));
    let flat = |index: Vec<usize>| index.iter().zip(from.iter()).fold(0, |at, (&i, &n)| at * n + i);
    let sources: Vec<Option<usize>> = (0..to.numel()).map(|i| source(&multi_index(i, &to)).map(flat)).collect();
    let arrives = |x: &Tensor<B>, lay: Lay| {
        let (values, y) = (read(x).data, op(x));
        assert!(*y.shape() == to && y.dtype() == x.dtype(), "{lay:?}: {:?} of {}, not {to:?}", y.shape(), y.dtype());
        let want: Vec<f64> = sources.iter().map(|at| at.map_or(0.0, |at| values[at])).collect();
        assert_values(&y, &want, EXACT);
        y
    };
    for lay in Lay::all(from.len()) {
        drop(arrives(&lay.view(from, |s| on.ints(-99, 99, s)), lay));
        drop(arrives(&lay.view(from, |s| on.mask(s)), lay));
        let x = lay.view(from, |s| on.mixed(s)).requires_grad();
        let y = arrives(&x, lay);
        let lay = if Lay::all(to.len()).contains(&lay) { lay } else { Lay::Reversed };
        let g = lay.view(to, |s| on.whole(-9, 9, s));
        let mut want = vec![0.0; from.numel()];
        for (at, g) in sources.iter().zip(read(&g).data) {
            if let Some(at) = at {
                want[*at] += g;
            }
        }
        assert_values(&y.backward_with(&g)[&x], &want, EXACT);
    }
}

fn split<B: Backend>(on: &On<B>) {
    let sizes = |parts: &[Tensor<B>], dim: usize| -> Vec<usize> { parts.iter().map(|x| x.shape()[dim]).collect() };
    let x = counted(on, &[2, 7, 3]);
    let parts = x.split(3, 1);
    assert!(sizes(&parts, 1) == [3, 3, 1]);
    maps(&parts[1], &[2, 3, 3], |i| i[0] * 21 + (3 + i[1]) * 3 + i[2]);
    maps(&parts[2], &[2, 1, 3], |i| i[0] * 21 + 18 + i[2]);
    assert!(sizes(&x.split(9, -2), 1) == [7] && sizes(&x.split(7, 1), 1) == [7]);
    let parts = x.split_sizes(&[2, 0, 5], 1);
    assert!(sizes(&parts, 1) == [2, 0, 5]);
    maps(&parts[2], &[2, 5, 3], |i| i[0] * 21 + (2 + i[1]) * 3 + i[2]);
    // As PyTorch: equal chunks of the rounded-up size, so there may be fewer than `n`.
    for (n, want) in
        [(1, &[7][..]), (2, &[4, 3]), (3, &[3, 3, 1]), (4, &[2, 2, 2, 1]), (5, &[2, 2, 2, 1]), (9, &[1; 7])]
    {
        assert!(sizes(&x.chunk(n, 1), 1) == want, "{n} chunks");
    }
    maps(&x.chunk(2, 1)[1], &[2, 3, 3], |i| i[0] * 21 + (4 + i[1]) * 3 + i[2]);
    let columns = x.unbind(-1);
    assert!(columns.len() == 3);
    maps(&columns[2], &[2, 7], |i| i[0] * 21 + i[1] * 3 + 2);
    let empty = counted(on, &[0, 2]);
    assert!(sizes(&empty.split(2, 0), 0) == [0] && sizes(&empty.split(0, 0), 0) == [0]);
    assert!(sizes(&empty.chunk(3, 0), 0) == [0, 0, 0] && empty.split_sizes(&[], 0).is_empty());
    assert!(empty.unbind(0).is_empty() && empty.unbind(1).len() == 2);
}

fn flip<B: Backend>(on: &On<B>) {
    for dims in [&[0][..], &[1], &[2], &[0, 2], &[0, 1, 2]] {
        let n = [2, 3, 4];
        let flipped = |i: &[usize]| (0..3).map(|d| if dims.contains(&d) { n[d] - 1 - i[d] } else { i[d] }).collect();
        let op = |x: &Tensor<B>| match *dims {
            [a] => x.flip(a),
            [a, b] => x.flip([a as isize, b as isize - 3]),
            _ => x.flip(..),
        };
        moves(on, &n, &n, &op, &|i| Some(flipped(i)));
    }
    moves(on, &[2, 0], &[2, 0], &|x| x.flip(..), &|i| Some(i.to_vec()));
    moves(on, &[1, 1], &[1, 1], &|x| x.flip(..), &|i| Some(i.to_vec()));
    moves(on, &[], &[], &|x| x.flip(..), &|i| Some(i.to_vec()));
    let n = [1, 2, 3, 2, 1, 2];
    moves(on, &n, &n, &|x| x.flip(..), &|i| Some((0..6).map(|d| n[d] - 1 - i[d]).collect()));
    // Infinities are copied, not multiplied by a mask.
    let x = on.list(&[f64::INFINITY, 1.0, f64::NAN], [3]);
    assert_values(&x.flip(0), &[f64::NAN, 1.0, f64::INFINITY], EXACT);
}

/// Every element after a write is the new value's or the old one, by index arithmetic on the host.
fn set<B: Backend>(on: &On<B>) {
    for lay in Lay::all(3) {
        for dtype in [on.dtype, DType::I32, DType::Bool] {
            let x = lay.view([3, 4, 5].into(), |shape| on.whole(0, 9, shape)).cast(dtype);
            let y = on.whole(0, 9, [3, 1, 3]).cast(dtype);
            let (old, new) = (read(&x).data, read(&y).data);
            let mut z = x.clone();
            z.set((.., 1..3, 2..), &y);
            let want = |i: usize| match multi_index(i, &[3, 4, 5].into())[..] {
                [a, 1 | 2, c @ 2..=4] => new[a * 3 + c - 2],
                _ => old[i],
            };
            assert_values(&z, &(0..60).map(want).collect::<Vec<_>>(), EXACT);
            assert_values(&x, &old, EXACT);
            z.set((-1, .., 0), 1);
            let want = |i: usize| if i / 20 == 2 && i.is_multiple_of(5) { 1.0 } else { want(i) };
            assert_values(&z, &(0..60).map(want).collect::<Vec<_>>(), EXACT);
        }
    }
    let mut x = on.list(&[1.0, 2.0], 2);
    x.set(.., on.list(&[3.0, 4.0], [1, 1, 2])); // leading ones do not matter
    x.set(1.., 0.1);
    x.set(0..0, on.list(&[], 0));
    x.set(0..0, 9);
    let tenth = read(&on.list(&[0.1], 1)).data[0];
    assert_values(&x, &[3.0, tenth], EXACT);
    let mut one = on.list(&[1.0], ());
    one.set((), 2);
    one.set(&[] as &[usize], &one * 4);
    assert_values(&one, &[8.0], EXACT);
}

fn set_and_sharing<B: Backend>(on: &On<B>) {
    let mut x = on.list(&[1.0, 2.0, 3.0, 4.0], [2, 2]);
    let (row, copy) = (x.slice(0), x.clone());
    x.set(0, x.slice(1)); // its own storage
    x.set((.., 1), 9);
    assert_values(&x, &[3.0, 9.0, 3.0, 9.0], EXACT);
    assert_values(&row, &[1.0, 2.0], EXACT);
    assert_values(&copy, &[1.0, 2.0, 3.0, 4.0], EXACT);
    // A value that the tape holds is not overwritten.
    let leaf = on.list(&[1.0, 2.0], 2).requires_grad();
    let mut y = &leaf * 1;
    let loss = y.square().sum(..);
    y.set(0, 5);
    let grads = (loss + (&y * &y).sum(..)).backward();
    assert_values(&grads[&leaf], &[2.0, 8.0], EXACT);
    // A leaf becomes a result, off the tape under no_grad.
    let mut z = leaf.clone();
    z.set(0, &leaf.slice(1) * 3);
    assert_values(&z.sum(..).backward()[&leaf], &[0.0, 4.0], EXACT);
    assert!(
        !no_grad(|| {
            let mut z = leaf.clone();
            z.set(0, 1);
            z
        })
        .is_tracked()
    );
}

fn roll<B: Backend>(on: &On<B>) {
    for shift in [-11, -5, -4, -1, 0, 1, 2, 5, 13] {
        let from = move |i: usize, n: isize| (i as isize - shift).rem_euclid(n) as usize;
        moves(on, &[3, 5, 2], &[3, 5, 2], &|x| x.roll(shift, 1), &|i| Some(vec![i[0], from(i[1], 5), i[2]]));
        moves(on, &[2, 1, 1, 2, 1, 3], &[2, 1, 1, 2, 1, 3], &|x| x.roll(shift, -1), &|i| {
            Some([&i[..5], &[from(i[5], 3)]].concat())
        });
    }
    moves(on, &[0, 2], &[0, 2], &|x| x.roll(3, 0), &|i| Some(i.to_vec()));
    moves(on, &[1], &[1], &|x| x.roll(isize::MIN, 0), &|i| Some(i.to_vec()));
}

fn repeat<B: Backend>(on: &On<B>) {
    moves(on, &[2, 1, 3], &[4, 5, 3], &|x| x.repeat([2, 5, 1]), &|i| Some(vec![i[0] % 2, 0, i[2]]));
    moves(on, &[2, 3], &[3, 2, 2, 9], &|x| x.repeat([3, 2, 1, 3]), &|i| Some(vec![i[2], i[3] % 3]));
    moves(on, &[2, 3], &[4, 6], &|x| x.repeat([2, 2]), &|i| Some(vec![i[0] % 2, i[1] % 3]));
    moves(on, &[], &[2, 3], &|x| x.repeat([2, 3]), &|_| Some(vec![]));
    moves(on, &[], &[], &|x| x.repeat(()), &|_| Some(vec![]));
    moves(on, &[2, 3], &[2, 0], &|x| x.repeat([1, 0]), &|_| None);
    moves(on, &[1, 3], &[0, 3], &|x| x.repeat([0, 1]), &|_| None);
    moves(on, &[2, 0], &[4, 0], &|x| x.repeat([2, 3]), &|_| None);
    assert!(on.mixed([2, 3]).repeat([1usize << 40, 0]).dims() == [2 << 40, 0], "nothing is copied before the 0");
    let six = [1, 2, 1, 3, 1, 2];
    moves(on, &six, &[2, 4, 1, 6, 3, 4], &|x| x.repeat([2, 2, 1, 2, 3, 2]), &|i| {
        Some((0..6).map(|d| i[d] % six[d]).collect())
    });
    moves(on, &[2, 3], &[2, 6], &|x| x.tile([2]), &|i| Some(vec![i[0], i[1] % 3]));
    moves(on, &[2, 3], &[2, 3], &|x| x.tile(()), &|i| Some(i.to_vec()));
    moves(on, &[3], &[2, 2, 3], &|x| x.tile([2, 2, 1]), &|i| Some(vec![i[2]]));
    moves(on, &six, &[1, 2, 1, 3, 2, 6], &|x| x.tile([2, 3]), &|i| Some((0..6).map(|d| i[d] % six[d]).collect()));
    moves(on, &[2, 3], &[2, 9], &|x| x.repeat_interleave(3, 1), &|i| Some(vec![i[0], i[1] / 3]));
    moves(on, &[2, 3], &[4, 3], &|x| x.repeat_interleave(2, -2), &|i| Some(vec![i[0] / 2, i[1]]));
    moves(on, &[2, 3], &[0, 3], &|x| x.repeat_interleave(0, 0), &|_| None);
    moves(on, &six, &[1, 2, 1, 6, 1, 2], &|x| x.repeat_interleave(2, 3), &|i| {
        Some((0..6).map(|d| if d == 3 { i[d] / 2 } else { i[d] }).collect())
    });
}

fn unfold<B: Backend>(on: &On<B>) {
    // Overlapping windows, adjacent ones, gaps, a remainder, one window, windows of one element.
    for (size, step) in [(3, 1), (2, 2), (2, 3), (3, 2), (7, 1), (5, 4), (1, 1), (1, 3), (6, 1), (7, 9)] {
        let count = (7 - size) / step + 1;
        moves(on, &[2, 7, 2], &[2, count, 2, size], &|x| x.unfold(1, size, step), &|i| {
            Some(vec![i[0], i[1] * step + i[3], i[2]])
        });
        moves(on, &[7], &[count, size], &|x| x.unfold(-1, size, step), &|i| Some(vec![i[0] * step + i[1]]));
    }
    moves(on, &[2, 3], &[2, 4, 0], &|x| x.unfold(1, 0, 1), &|_| None);
    moves(on, &[0, 3], &[0, 2, 2], &|x| x.unfold(1, 2, 1), &|_| None);
    moves(on, &[1, 2, 1, 3, 2], &[1, 2, 1, 2, 2, 2], &|x| x.unfold(3, 2, 1), &|i| {
        Some(vec![i[0], i[1], i[2], i[3] + i[5], i[4]])
    });
    // The gradient of its gradient is the same windows again, also of a gradient that is a view.
    let (x, v) = (on.mixed([5]).requires_grad(), on.whole(-9, 9, [3, 3]).requires_grad());
    let [g] = x.unfold(0, 3, 1).grad_with(&v, [&x]);
    let grads = Tensor::cat(&[on.mixed([2]), g], 0).backward_with(&on.list(&[7.0, 8.0, 1.0, 2.0, 3.0, 4.0, 5.0], [7]));
    assert_values(&grads[&v], &[1.0, 2.0, 3.0, 2.0, 3.0, 4.0, 3.0, 4.0, 5.0], EXACT);
}

fn diagonal<B: Backend>(on: &On<B>) {
    let n = [3, 2, 4];
    for offset in -5..=5isize {
        for (a, b) in [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)] {
            let other = 3 - a - b;
            let places: Vec<(usize, usize)> = (0..n[a])
                .flat_map(|i| (0..n[b]).map(move |j| (i, j)))
                .filter(|&(i, j)| j as isize - i as isize == offset)
                .collect();
            let op = |x: &Tensor<B>| x.diagonal(offset, a as isize, b as isize - 3);
            moves(on, &n, &[n[other], places.len()], &op, &|i| {
                let mut from = vec![0; 3];
                (from[other], from[a], from[b]) = (i[0], places[i[1]].0, places[i[1]].1);
                Some(from)
            });
        }
    }
    moves(on, &[0, 3], &[0], &|x| x.diagonal(0, 0, 1), &|_| None);
    moves(on, &[2, 2], &[0], &|x| x.diagonal(isize::MIN, 0, 1), &|_| None);
    moves(on, &[1, 2, 1, 3, 1, 3], &[1, 2, 1, 1, 3], &|x| x.diagonal(0, 3, 5), &|i| {
        Some(vec![i[0], i[1], i[2], i[4], i[3], i[4]])
    });
}

fn triangles<B: Backend>(on: &On<B>) {
    for k in [-9, -4, -3, -1, 0, 1, 2, 4, 9, isize::MAX, isize::MIN] {
        for shape in [&[3, 4][..], &[4, 3], &[2, 3, 3], &[1, 2, 1, 2, 3, 2]] {
            let last = shape.len() - 2;
            let below = |i: &[usize]| i[last + 1] as i128 - i[last] as i128 <= k as i128;
            let on_it = |i: &[usize]| i[last + 1] as i128 - i[last] as i128 == k as i128;
            moves(on, shape, shape, &|x| x.tril(k), &|i| below(i).then(|| i.to_vec()));
            moves(on, shape, shape, &|x| x.triu(k), &|i| (!below(i) || on_it(i)).then(|| i.to_vec()));
        }
    }
    for shape in [[0, 3], [3, 0], [1, 1]] {
        moves(on, &shape, &shape, &|x| x.tril(0), &|i| Some(i.to_vec()));
    }
    // Elements outside are 0 in the value and in the gradient, whatever they were.
    let x = on.list(&[1.0, f64::NAN, f64::INFINITY, 2.0], [2, 2]).requires_grad();
    assert_values(&x.tril(0).triu(0), &[1.0, 0.0, 0.0, 2.0], EXACT);
    let g = on.list(&[3.0, f64::NAN, 4.0, 5.0], [2, 2]);
    assert_values(&x.tril(0).backward_with(&g)[&x], &[3.0, 0.0, 4.0, 5.0], EXACT);
}

fn grids<B: Backend>(on: &On<B>) {
    let vectors = [counted(on, &[2]), counted(on, &[3]), counted(on, &[])];
    for (d, x) in Tensor::meshgrid(&vectors, Indexing::Ij).iter().enumerate() {
        maps(x, &[2, 3, 1], |i| i[d]);
    }
    for (d, x) in Tensor::meshgrid(&vectors, Indexing::Xy).iter().enumerate() {
        maps(x, &[3, 2, 1], |i| i[[1, 0, 2][d]]);
    }
    maps(&Tensor::meshgrid(&vectors[1..2], Indexing::Xy)[0], &[3], |i| i[0]);
    maps(&Tensor::meshgrid(&[counted(on, &[0]), counted(on, &[2])], Indexing::Ij)[1], &[0, 2], |_| 0);
    let both =
        Tensor::broadcast_tensors(&[counted(on, &[2, 1]), counted(on, &[3]), on.mask([]), counted(on, &[1, 1, 1])]);
    maps(&both[0], &[1, 2, 3], |i| i[1]);
    maps(&both[1], &[1, 2, 3], |i| i[2]);
    assert!(both[2].dtype() == DType::Bool && both[2].dims() == [1, 2, 3] && both[3].dims() == [1, 2, 3]);
    assert!(Tensor::<B>::broadcast_tensors(&[]).is_empty());
    let (x, y) = (on.mixed([2]).requires_grad(), on.mixed([3]).requires_grad());
    let grid = Tensor::meshgrid(&[x.clone(), y.clone()], Indexing::Xy);
    let grads = (&grid[0] * 2.0 + &grid[1]).sum(..).backward();
    assert_values(&grads[&x], &[6.0, 6.0], EXACT);
    assert_values(&grads[&y], &[2.0, 2.0, 2.0], EXACT);
}

fn panics<B: Backend>(on: &On<B>) {
    let x = on.mixed([2, 3]);
    let six = on.mixed([1, 1, 1, 1, 1, 2]);
    panics!("set", "2 is outside dimension 0", "[2, 3]"; x.clone().set(2, 0));
    panics!("set", "3 axes"; x.clone().set((0, 0, 0), 0));
    panics!("set", "[2]", "does not broadcast", "[3]"; x.clone().set(0, on.mixed([2])));
    panics!("set", "float32", "int32"; x.clone().set(0, on.ints(0, 9, [3])));
    panics!("set", "int32", "0.5"; on.ints(0, 9, [3]).set(0, 0.5));
    panics!("expand", "[2, 3]", "dimension 0 is new"; x.expand([-1, 2, 3]));
    panics!("expand", "negative", "-2"; x.expand([-2, 3]));
    panics!("flatten", "neighbours", "[0, 2]"; on.mixed([1, 2, 3]).flatten([0, 2]));
    panics!("permute", "3 dimensions", "[2, 3]"; x.permute([0, 1, 2]));
    let first = 1;
    panics!("sum", "reversed"; x.sum(first..0));
    panics!("sum", "dimension 2", "rank 2"; x.sum(2..));
    panics!("repeat", "-1"; x.repeat([1, -1]));
    panics!("split", "size 0", "[2, 3]"; x.split(0, 1));
    panics!("split", "dimension 2", "rank 2"; x.split(1, 2));
    panics!("split_sizes", "[1, 1]", "[2, 3]"; x.split_sizes(&[1, 1], 1));
    panics!("split_sizes", "[2, 3]"; x.split_sizes(&[usize::MAX, 4], 1));
    panics!("chunk", "0"; x.chunk(0, 1));
    panics!("unbind", "rank 0"; on.mixed([]).unbind(0));
    panics!("broadcast_tensors", "[2, 3]", "[4]"; Tensor::broadcast_tensors(&[x.clone(), on.mixed([4])]));
    panics!("meshgrid", "[2, 3]"; Tensor::meshgrid(std::slice::from_ref(&x), Indexing::Ij));
    panics!("meshgrid", "1 to 6", "0"; Tensor::<B>::meshgrid(&[], Indexing::Ij));
    panics!("meshgrid", "float32", "int32"; Tensor::meshgrid(&[on.mixed([2]), on.ints(0, 9, [2])], Indexing::Ij));
    panics!("movedim", "2"; x.movedim(0, 2));
    panics!("flip", "twice"; x.flip([0, -2]));
    panics!("roll", "-3"; x.roll(1, -3));
    panics!("repeat", "1 repeats", "[2, 3]"; x.repeat([2]));
    panics!("repeat", "7 repeats"; x.repeat([1; 7]));
    panics!("repeat", "too many"; x.repeat([1, usize::MAX]));
    panics!("too many"; x.repeat([1, 1usize << 40, 1 << 20]));
    panics!("tile", "7 repeats"; x.tile([1; 7]));
    panics!("repeat_interleave", "dimension 2"; x.repeat_interleave(2, 2));
    panics!("unfold", "window of 4", "[2, 3]"; x.unfold(1, 4, 1));
    panics!("unfold", "step"; x.unfold(1, 2, 0));
    panics!("unfold", "no room"; six.unfold(5, 1, 1));
    panics!("diagonal", "1 twice", "[2, 3]"; x.diagonal(0, 1, -1));
    panics!("diagonal", "-3"; x.diagonal(0, -3, 1));
    panics!("tril", "[3]"; on.mixed([3]).tril(0));
    panics!("triu", "[3]"; on.mixed([3]).triu(0));
}
