//! Layouts, indices, broadcasting and views.
//!
//! Where the course's view of a permuted tensor is an error, `reshape` copies; where its views are written through, nothing that
//! shares a storage can be seen to change.

use super::host::{Array, equals};
use crate::Suite;
use crate::close::{EXACT, eps, read};
use crate::on::Lay;
use minitorch_core::{Backend, DType, Layout, Shape, Tensor};

pub(super) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.f32("test_layout", 15, |on| {
        let x = on.mixed([3, 5]);
        assert!(x.layout().is_contiguous() && x.layout().strides() == [5, 1]);
        assert!(!x.t().layout().is_contiguous() && x.t().layout().strides() == [1, 5]);
        assert_eq!((position(x.layout(), &[1, 0]), position(x.layout(), &[1, 2])), (5, 7));
        assert_eq!(Layout::contiguous([4, 2, 2]).strides(), [4, 2, 1]);
        // Strides of dimensions of size 1 do not matter: the memory is in order both ways.
        let row = on.mixed([1, 3]);
        assert!(row.layout().is_contiguous() && row.t().layout().is_contiguous());
    });
    suite.f32("test_layout_bad", 15, |_| {
        panics!("layout", "1 strides", "[3, 5]"; Layout::new([3, 5], &[6], 0));
    });
    suite.f32("test_enumeration", 60, |on| {
        for (shape, lay) in shapes_and_lays() {
            let layout = *on.laid(lay, -1.0, 1.0, shape).layout();
            let mut seen: Vec<usize> = layout.positions().collect();
            assert!(seen.len() == layout.numel() && seen.iter().all(|&at| at < layout.end()), "{layout:?}");
            let by_index = Array::by(shape, |index| position(&layout, index) as f64);
            assert!(by_index.data.iter().zip(&seen).all(|(&want, &at)| want == at as f64), "{layout:?}");
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), layout.numel(), "{layout:?} shows an element twice");
        }
    });
    suite.f32("test_index", 60, |on| {
        for (shape, lay) in shapes_and_lays() {
            let x = on.laid(lay, -1.0, 1.0, shape);
            let host = Array::of(&x);
            let last: Vec<usize> = shape.iter().map(|n| n - 1).collect();
            let one = shape.iter().enumerate().fold(x.clone(), |x, (d, _)| x.narrow(d as isize, last[d], 1));
            equals("an element", &one.reshape([1]), &Array { shape: vec![1], data: vec![host.at(&last)] }, EXACT);
        }
        let x = on.list(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3]);
        assert_eq!(read(&x.slice((1, 2))).data, [6.0]);
        // Negative indices count from the end, and fewer indices than dimensions take a part.
        assert_eq!(read(&x.slice((-1, -3))).data, [4.0]);
        assert_eq!(read(&x.slice(1)).data, [4.0, 5.0, 6.0]);
        panics!("slice", "50", "[2, 3]"; x.slice((50, 2)));
        panics!("slice", "-3"; x.slice((-3, 0)));
        panics!("slice", "3 axes"; x.slice((0, 0, 0)));
    });
    suite.floats("test_permute", 60, |on| {
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1]] {
            for lay in [Lay::Whole, Lay::Reversed, Lay::Sliced] {
                let x = on.laid(lay, -1.0, 1.0, [2, 3, 4]).requires_grad();
                let host = Array::of(&x);
                let y = x.permute(order);
                equals("permute", &y, &host.permuted(&order), EXACT);
                for (at, own) in [([1, 2, 3], order), ([0, 1, 2], order)] {
                    let of_y: Vec<usize> = own.iter().map(|&d| at[d]).collect();
                    assert_eq!(position(y.layout(), &of_y), position(x.layout(), &at), "one place, two indices");
                }
                let weights = on.uniform(0.5, 1.5, *y.shape());
                let mut back = [0; 3];
                order.iter().enumerate().for_each(|(to, &from)| back[from] = to);
                let want = Array::of(&weights).permuted(&back);
                equals("gradient of permute", &y.backward_with(&weights)[&x], &want, EXACT);
            }
        }
        let x = on.mixed([2, 3, 4]);
        assert_eq!(x.permute([2, 1, 0]).permute([2, 1, 0]).layout(), x.layout());
        panics!("permute", "twice"; x.permute([0, 0, 1]));
    });
    suite.f32("test_shape_broadcast", 700, |on| {
        for (a, b, want) in [
            (&[1][..], &[5, 5][..], &[5, 5][..]),
            (&[5, 5], &[1], &[5, 5]),
            (&[1, 5, 5], &[5, 5], &[1, 5, 5]),
            (&[5, 1, 5, 1], &[1, 5, 1, 5], &[5, 5, 5, 5]),
            (&[2, 5], &[5], &[2, 5]),
            (&[2, 3, 1], &[7, 2, 1, 5], &[7, 2, 3, 5]),
        ] {
            let (x, y) = (on.whole(-9, 9, a), on.whole(-9, 9, b));
            let (hx, hy) = (Array::of(&x), Array::of(&y));
            let sum = Array::by(want, |index| hx.spread(index) + hy.spread(index));
            equals(&format!("{a:?} and {b:?}"), &(&x + &y), &sum, EXACT);
            assert_eq!(Shape::new(a).broadcast(&Shape::new(b)), Some(Shape::new(want)));
        }
        panics!("add", "[5, 7, 5, 1]", "[1, 5, 1, 5]"; on.mixed([5, 7, 5, 1]) + on.mixed([1, 5, 1, 5]));
        panics!("add", "[5, 2]", "[5]"; on.mixed([5, 2]) + on.mixed([5]));
    });
    suite.f32("test_string", 6, |on| {
        let x = on.list(&[1.0, -2.5, 3.0, 4.0, 0.25, 100.0], [2, 3]);
        let lines = "tensor([[  1.00,  -2.50,   3.00],\n        [  4.00,   0.25, 100.00]])";
        assert_eq!(format!("{x:.2}"), lines);
        assert_eq!(format!("{:.1}", x.t().slice(1)), "tensor([-2.5,  0.2])");
        assert_eq!(format!("{:.0}", x.slice((0, 0))), "tensor(1.)");
    });
    suite.floats("test_create", 3, |on| {
        for values in [&[][..], &[1.5], &[-100.0, 0.0, 100.0], &[0.1f32 as f64, f64::INFINITY, f64::NAN]] {
            let x = on.list(values, [values.len()]);
            equals("created", &x, &Array { shape: vec![values.len()], data: values.to_vec() }, EXACT);
        }
        equals("zeros", &Tensor::zeros([2, 3], (&on.device, on.dtype)), &Array::by(&[2, 3], |_| 0.0), EXACT);
        let x = Tensor::rand([1000], (&on.device, on.dtype));
        let values = read(&x).data;
        assert!(values.iter().all(|x| (0.0..1.0).contains(x)) && !x.is_tracked(), "uniform, and a constant");
        let mean = values.iter().sum::<f64>() / 1000.0;
        assert!((mean - 0.5).abs() < 0.05, "the mean of 1000 uniform numbers is {mean}"); // five deviations
    });
    suite.f32("test_fromlist", 6, |on| {
        let x = Tensor::new([[2.0, 3.0, 4.0], [4.0, 5.0, 7.0]], &on.device);
        equals("two rows", &x, &Array { shape: vec![2, 3], data: vec![2.0, 3.0, 4.0, 4.0, 5.0, 7.0] }, EXACT);
        let x = Tensor::new([[[2, 3, 4], [4, 5, 7]]], &on.device);
        assert!(x.dtype() == DType::I32);
        equals("one block", &x, &Array { shape: vec![1, 2, 3], data: vec![2.0, 3.0, 4.0, 4.0, 5.0, 7.0] }, EXACT);
    });
    suite.f32("test_fromnumpy", 24, |on| {
        // Row-major elements there and back, also of a tensor that is not row-major itself.
        let x = on.mixed([2, 3, 4]);
        for x in [x.clone(), x.permute([2, 0, 1]), x.narrow(1, 1, 2)] {
            let values: Vec<f32> = x.to_vec().unwrap_or_default();
            equals("there and back", &Tensor::from_slice(&values, *x.shape(), &on.device), &Array::of(&x), EXACT);
        }
    });
    suite.floats("test_view", 6, |on| {
        let x = on.list(&[2.0, 3.0, 4.0, 4.0, 5.0, 7.0], [2, 3]);
        let shapes = [Shape::new(&[6]), Shape::new(&[1, 6]), Shape::new(&[6, 1]), Shape::new(&[2, 3])];
        let mut y = x.clone();
        for shape in shapes {
            y = y.reshape(shape);
            assert!(y.layout().is_contiguous() && y.shares_storage(&x));
            equals("a view", &y, &Array { shape: shape.to_vec(), data: Array::of(&x).data }, EXACT);
        }
        // A write through one of them is not seen by the other.
        y += 1.0;
        equals("what was viewed", &x, &Array { shape: vec![2, 3], data: vec![2.0, 3.0, 4.0, 4.0, 5.0, 7.0] }, EXACT);
        equals("the view", &y, &Array::of(&x).map(|x| x + 1.0), EXACT);
        let column = x.t();
        let written = column.clone() * 2.0;
        equals("the other layout", &column, &Array::of(&x).permuted(&[1, 0]), EXACT);
        equals("written", &written, &Array::of(&x).permuted(&[1, 0]).map(|x| x * 2.0), EXACT);
        panics!("reshape", "[2, 3]", "[4, 2]"; x.reshape([4, 2]));
    });
    suite.floats("test_back_view", 24, |on| {
        let x = on.uniform(-1.0, 1.0, [2, 3, 4]).requires_grad();
        let flat = on.uniform(0.5, 1.5, [24]);
        let want = Array { shape: vec![2, 3, 4], data: Array::of(&flat).data };
        equals("of a view", &x.contiguous().reshape([24]).backward_with(&flat)[&x], &want, EXACT);
        // A gradient that arrives in another order than row-major.
        let weights = on.uniform(0.5, 1.5, [4, 6]);
        let y = x.reshape([6, 4]).permute([1, 0]);
        let want = Array { shape: vec![2, 3, 4], data: Array::of(&weights).permuted(&[1, 0]).data };
        equals("of a permuted view", &y.backward_with(&weights)[&x], &want, EXACT);
    });
    suite.floats("test_permute_view", 24, |on| {
        let x = on.uniform(-1.0, 1.0, [2, 3, 4]).requires_grad();
        let y = x.permute([2, 0, 1]).reshape([8, 3]);
        assert!(x.permute([2, 0, 1]).shares_storage(&x) && !y.shares_storage(&x));
        let permuted = Array::of(&x).permuted(&[2, 0, 1]);
        equals("a view of a permuted tensor", &y, &Array { shape: vec![8, 3], data: permuted.data }, EXACT);
        let weights = on.uniform(0.5, 1.5, [8, 3]);
        let of_weights = Array { shape: vec![4, 2, 3], data: Array::of(&weights).data };
        equals("its gradient", &y.backward_with(&weights)[&x], &of_weights.permuted(&[1, 2, 0]), EXACT);
    });
    suite.floats("test_grad_size", 2, |on| {
        let (a, b) = (on.list(&[3.0], [1]).requires_grad(), on.list(&[5.0, 7.0], [1, 2]).requires_grad());
        let c = (&a * &b).sum_keepdim(1).reshape([1]);
        equals("c", &c, &Array { shape: vec![1], data: vec![36.0] }, EXACT);
        let grads = c.backward();
        equals("of a", &grads[&a], &Array { shape: vec![1], data: vec![12.0] }, EXACT);
        equals("of b", &grads[&b], &Array { shape: vec![1, 2], data: vec![3.0, 3.0] }, EXACT);
        // A second backward through its own tape gives its own gradients: nothing accumulates in a leaf.
        let again = ((&a * &b).sum(..) * 2.0).backward();
        equals("of a alone", &again[&a], &Array { shape: vec![1], data: vec![24.0] }, eps(1.0));
    });
}

/// The place of an index, by the definition of strides.
fn position(layout: &Layout, index: &[usize]) -> usize {
    layout.offset() + index.iter().zip(layout.strides()).map(|(i, stride)| i * stride).sum::<usize>()
}

/// The course's random tensors: up to four dimensions of up to three, in any order.
fn shapes_and_lays() -> impl Iterator<Item = (&'static [usize], Lay)> {
    let shapes: [&[usize]; 6] = [&[1], &[3], &[2, 3], &[3, 1, 2], &[3, 2, 3, 1], &[2, 3, 1, 2]];
    shapes.into_iter().flat_map(|shape| [Lay::Whole, Lay::Reversed, Lay::Sliced].map(|lay| (shape, lay)))
}
