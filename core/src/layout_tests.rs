//! Layout arithmetic against the definition: element `[i..]` lies at `offset + sum of i * stride`.

use super::*;
use crate::index::resolve_reshape;
use crate::shape::{misfit, misfit_to};

/// All positions, by the definition.
fn positions(layout: &Layout) -> Vec<usize> {
    let mut all = vec![layout.offset()];
    for (&size, &stride) in layout.shape().iter().zip(layout.strides()) {
        all = all.iter().flat_map(|&at| (0..size).map(move |i| at + i * stride)).collect();
    }
    if layout.numel() == 0 { Vec::new() } else { all }
}

#[test]
fn positions_enumerate_in_row_major_order() {
    for layout in [
        Layout::contiguous([2, 3, 4]),
        Layout::contiguous([2, 3, 4]).permute(&[2, 0, 1]),
        Layout::contiguous([3, 1]).expand(Shape::from([2, 3, 4])),
        Layout::contiguous([]),
        Layout::contiguous([2, 0, 3]),
        Layout::new([2, 2], &[1, 1], 5),
    ] {
        assert_eq!(layout.positions().collect::<Vec<_>>(), positions(&layout), "{layout:?}");
        assert_eq!(layout.positions().len(), layout.numel());
        assert_eq!(layout.end(), positions(&layout).iter().max().map_or(0, |&at| at + 1), "{layout:?}");
    }
}

#[test]
fn contiguity_ignores_dimensions_of_size_one() {
    assert!(Layout::contiguous([2, 1, 3]).transpose(0, 1).is_contiguous());
    assert!(Layout::new([3, 1], &[1, 77], 4).is_contiguous());
    assert!(!Layout::contiguous([2, 3]).transpose(0, 1).is_contiguous());
    assert!(!Layout::contiguous([1]).expand(Shape::from([3])).is_contiguous());
    assert!(Layout::new([0, 3], &[7, 7], 0).is_contiguous());
}

#[test]
fn slices_pick_what_the_axes_say() {
    let layout = Layout::contiguous([4, 5]);
    let pick = |axes: &[Axis]| layout.slice(axes).map(|l| positions(&l));
    assert_eq!(pick(&[Axis::Index(1)]), Ok(vec![5, 6, 7, 8, 9]));
    assert_eq!(pick(&[Axis::Range(0, None), Axis::Index(-1)]), Ok(vec![4, 9, 14, 19]));
    assert_eq!(pick(&[Axis::Range(-2, None), Axis::Range(1, Some(-2))]), Ok(vec![11, 12, 16, 17]));
    assert_eq!(pick(&[Axis::Range(4, None)]), Ok(vec![]));
    for bad in [Axis::Index(4), Axis::Index(-5), Axis::Range(3, Some(2)), Axis::Range(0, Some(6))] {
        assert!(pick(&[bad]).is_err(), "{bad}");
    }
    assert!(pick(&[Axis::Index(0), Axis::Index(0), Axis::Index(0)]).is_err());
}

#[test]
fn reshape_is_a_view_exactly_when_the_order_allows_it() {
    let cases: [(Layout, &[usize], bool); 9] = [
        (Layout::contiguous([2, 3, 4]), &[6, 4], true),
        (Layout::contiguous([2, 3, 4]), &[4, 6], true),
        (Layout::contiguous([2, 3, 4]).transpose(0, 1), &[3, 2, 2, 2], true),
        (Layout::contiguous([2, 3, 4]).transpose(0, 1), &[6, 4], false),
        (Layout::contiguous([2, 3, 4]).transpose(1, 2), &[2, 12], false),
        (Layout::contiguous([4, 6]).narrow(1, 1, 4), &[4, 2, 2], true),
        (Layout::contiguous([4, 6]).narrow(1, 1, 4), &[16], false),
        (Layout::contiguous([3, 1]).expand(Shape::from([3, 4])), &[3, 2, 1, 2], true),
        (Layout::contiguous([1, 5, 1]), &[5], true),
    ];
    for (layout, to, view) in cases {
        let to = Shape::new(to);
        let reshaped = layout.reshape(to);
        assert_eq!(reshaped.is_some(), view, "{layout:?} to {to:?}");
        if let Some(reshaped) = reshaped {
            assert_eq!(positions(&reshaped), positions(&layout), "{layout:?} to {to:?}");
        }
    }
}

#[test]
fn reshape_sizes_resolve_or_say_why() {
    let from = Shape::from([2, 6]);
    assert_eq!(resolve_reshape(from, &[3, -1]), Ok(Shape::from([3, 4])));
    assert_eq!(resolve_reshape(from, &[-1]), Ok(Shape::from([12])));
    for bad in [&[5, -1][..], &[-1, -1], &[13], &[-2, 6], &[0, -1], &[isize::MAX, 4]] {
        assert!(resolve_reshape(from, bad).is_err(), "{bad:?}");
    }
    assert_eq!(resolve_reshape(Shape::from([0, 3]), &[3, -1]), Ok(Shape::from([3, 0])));
}

#[test]
fn merging_keeps_every_operand_in_step() {
    let shape = Shape::from([2, 3, 4, 5]);
    let operands = [
        Layout::contiguous(shape),
        Layout::contiguous([4, 5]).expand(shape),
        Layout::contiguous([2, 1, 1, 1]).expand(shape),
    ];
    let merged = Layout::merge(operands);
    assert_eq!(merged[0].shape(), &Shape::from([2, 3, 20])); // 3 joins neither: the row repeats over it
    for (before, after) in operands.iter().zip(&merged) {
        assert_eq!(positions(before), positions(after));
    }
    let [whole] = Layout::merge([Layout::contiguous([2, 1, 3])]);
    assert_eq!(whole.shape(), &Shape::from([6]));
    let [scalar] = Layout::merge([Layout::contiguous([1, 1])]);
    assert_eq!((scalar.shape().len(), scalar.numel()), (0, 1));
}

#[test]
fn windows_show_every_window() {
    // 1 x 4 image, kernel 2, stride 1, dilation 2: windows (0, 2) and (1, 3).
    let windows = Layout::contiguous([1, 4]).windows([1, 2], [1, 2], [1, 1], [1, 2]);
    assert_eq!(positions(&windows), [0, 2, 1, 3]);
}

#[test]
fn unfold_and_diagonal_are_stride_arithmetic() {
    let x = Layout::contiguous([2, 5]);
    let unfolded = x.unfold(1, 2, 3, 2);
    assert_eq!(unfolded.shape(), &Shape::from([2, 2, 3]));
    assert_eq!(positions(&unfolded), [0, 1, 2, 2, 3, 4, 5, 6, 7, 7, 8, 9]);
    assert_eq!(positions(&x.diagonal(0, 0, 1)), [0, 6]);
    assert_eq!(positions(&x.diagonal(3, 0, 1)), [3, 9]);
    assert_eq!(positions(&x.diagonal(-1, 0, 1)), [5]);
    assert_eq!(positions(&x.diagonal(-1, 1, 0)), [1, 7]);
    assert_eq!(x.diagonal(5, 0, 1).end(), 0);
}

#[test]
fn output_sizes_never_wrap() {
    use crate::{ConvOptions, PoolOptions};
    let one = ConvOptions::<1>::default();
    assert_eq!(one.output_size([5], [3]), Some([3]));
    assert_eq!(one.output_size([2], [3]), None);
    assert_eq!(one.output_size([5], [0]), None);
    assert_eq!(one.padding(1 << 63).output_size([5], [3]), None);
    assert_eq!(one.dilation(usize::MAX).output_size([5], [3]), None);
    assert_eq!(one.stride(0).output_size([5], [3]), None);
    assert_eq!(PoolOptions::<1>::new(2).stride(0).output_size([5]), None);
}

/// The limit is 2^60 - 1 elements.
#[test]
fn shapes_keep_their_products_in_bounds() {
    let most = isize::MAX as usize / 8;
    assert_eq!(Shape::new(&[most, 0, 1]).numel(), 0);
    let refused = |f: &dyn Fn() -> Shape| std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).is_err();
    assert!(refused(&|| Shape::new(&[most + 1])) && refused(&|| Shape::new(&[0, 1 << 30, 1 << 30])));
    let (wide, tall) = (Shape::from([1, 1 << 33]), Shape::from([1 << 33, 1]));
    assert_eq!(wide.broadcast(&tall), None);
    assert_eq!(misfit([("a", &wide), ("b", &tall)]), "broadcast to too many elements");
    assert!(refused(&|| wide.with(0, 1 << 33)) && refused(&|| wide.insert(1, 1 << 33)));
    // A size that decreases, also to 0, needs no check; one that increases from 0 does.
    assert_eq!(wide.with(1, 0).with(1, 5).numel(), 5);
    assert!(refused(&|| Shape::from([0, 1 << 33]).with(0, 1 << 33)));
    assert!(wide.equals_but_for(0, &Shape::from([9, 1 << 33])) && !wide.equals_but_for(1, &tall));
    // No intermediate product of a permutation exceeds the limit.
    let layout = Layout::contiguous([2, 1 << 29, 1 << 29]).permute(&[1, 2, 0]);
    assert_eq!((layout.shape(), layout.strides()), (&Shape::from([1 << 29, 1 << 29, 2]), &[1 << 29, 1, 1 << 58][..]));
}

#[test]
fn the_end_of_an_overflowing_layout_saturates() {
    for layout in [
        Layout::new([3], &[0xAAAA_AAAA_AAAA_AAAB], 0),
        Layout::new([2, 2], &[usize::MAX, 1], 1),
        Layout::new([1], &[1], usize::MAX),
    ] {
        assert_eq!(layout.end(), usize::MAX, "{layout:?}");
    }
    assert_eq!(Layout::new([1, 0], &[usize::MAX; 2], usize::MAX).end(), 0);
    assert_eq!(Layout::new([1, 2], &[usize::MAX, 3], 4).end(), 8);
}

#[test]
fn the_step_of_a_single_entry_is_ignored() {
    let image = Layout::contiguous([4, 4]);
    assert_eq!(image.windows([1, 1], [4, 1], [usize::MAX; 2], [1, usize::MAX]).end(), 13);
    assert_eq!(image.unfold(1, 1, 4, usize::MAX).end(), 16);
    assert!(image.slice(&[Axis::Index(isize::MAX)]).is_err() && image.slice(&[Axis::Index(isize::MIN)]).is_err());
}

/// The message lists every dimension, and whether it fits.
#[test]
fn a_broadcast_error_lists_the_dimensions() {
    let shapes = |a: &[usize], b: &[usize]| misfit([("left", &Shape::new(a)), ("right", &Shape::new(b))]);
    assert_eq!(
        shapes(&[2, 3, 4], &[3, 15]),
        "do not broadcast\n  dimension   -3   -2   -1\n  left         2    3    4\n  right        -    3   15\n  \
         fits       yes  yes   NO\n  sizes fit if they are equal or 1, from the last dimension on"
    );
    fn fits(text: &str) -> Option<Vec<&str>> {
        text.lines().find(|line| line.contains("fits ")).map(|line| line.split_whitespace().skip(1).collect())
    }
    assert_eq!(fits(&shapes(&[5, 7, 5, 1], &[1, 5, 1, 5])), Some(vec!["yes", "NO", "yes", "yes"]));
    assert_eq!(fits(&shapes(&[5, 2], &[5])), Some(vec!["yes", "NO"]));
    assert_eq!(fits(&shapes(&[0, 3], &[2, 1])), Some(vec!["NO", "yes"]));
    // Of three, every pair counts, and 1 fits all.
    let three = misfit([("c", &Shape::from([2])), ("a", &Shape::from([1])), ("b", &Shape::from([3]))]);
    assert_eq!(fits(&three), Some(vec!["NO"]));
    // To a given shape: only what is broadcast may be 1.
    assert_eq!(fits(&misfit_to(&Shape::from([2, 1]), &Shape::from([1, 3]))), Some(vec!["NO", "yes"]));
    assert!(misfit_to(&Shape::from([1, 3]), &Shape::from([3])).contains("more dimensions"));
}
