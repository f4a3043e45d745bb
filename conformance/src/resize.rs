//! Interpolation and adaptive pooling against their definitions on the host.

use crate::arrange::moves;
use crate::check::{assert_values, with_grads};
use crate::close::{EXACT, eps, read};
use crate::on::Lay;
use crate::{On, Suite};
use minitorch_core::Pool2dOptions;
use minitorch_core::backend::Backend;

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.floats("nearest", 1000, nearest);
    suite.floats("bilinear", 1000, bilinear);
    suite.floats("bilinear_takes_only_its_four_pixels", 100, pixels_without_weight);
    suite.floats("adaptive_pooling", 1000, adaptive);
    suite.floats("adaptive_max_ties_and_nan", 100, ties);
    suite.floats("layouts", 1000, |on| {
        for lay in Lay::all(4) {
            agree!(on, eps(16.0), "{lay:?}", |d| {
                let x = || [d.laid(lay, -1.0, 1.0, [2, 2, 4, 5])];
                let mut all = with_grads(d, x(), |[x]| x.interpolate_bilinear([7, 3], false));
                all.extend(with_grads(d, x(), |[x]| x.interpolate_bilinear([2, 9], true)));
                all.extend(with_grads(d, x(), |[x]| x.adaptive_avg_pool2d([3, 2])));
                all.extend(with_grads(d, x(), |[x]| x.adaptive_avg_pool2d([2, 5])));
                all.extend(with_grads(d, x(), |[x]| x.adaptive_max_pool2d([3, 2])));
                all.extend(with_grads(d, x(), |[x]| x.adaptive_max_pool2d([2, 5])));
                all
            });
        }
    });
    suite.alone("shrinking_by_whole_numbers_takes_no_memory", 100, |on| {
        let x = on.mixed([1, 2, 6, 8]);
        let live = on.device.memory().live;
        let y = x.interpolate_nearest([2, 4]);
        assert!(on.device.memory().live == live, "every so many-th pixel is a view");
        drop(y);
    });
    suite.f32("panics", 10, panics);
    check!(suite, "nearest", 2, |d| [d.uniform(-1.0, 1.0, [1, 2, 2, 3])], |[x]| {
        x.square().interpolate_nearest([4, 6]) + x.interpolate_nearest([1, 5]).sum(..) * x.interpolate_nearest([4, 6])
    });
    check!(suite, "bilinear", 2, |d| [d.uniform(-1.0, 1.0, [1, 2, 3, 2])], |[x]| {
        x.square().interpolate_bilinear([5, 4], false) * x.interpolate_bilinear([5, 4], true)
    });
    check!(suite, "adaptive_avg", 2, |d| [d.uniform(-1.0, 1.0, [1, 2, 5, 4])], |[x]| {
        x.square().adaptive_avg_pool2d([3, 2]) * x.adaptive_avg_pool2d([1, 2])
    });
    check!(suite, "adaptive_max", 2, |d| [d.uniform(-1.0, 1.0, [1, 2, 5, 4])], |[x]| {
        x.square().adaptive_max_pool2d([3, 2]) * x.adaptive_max_pool2d([1, 2])
    });
    check!(suite, "adaptive_1d", 2, |d| [d.uniform(-1.0, 1.0, [2, 1, 7])], |[x]| {
        x.square().adaptive_avg_pool1d(3) * x.adaptive_max_pool1d(3)
    });
}

fn nearest<B: Backend>(on: &On<B>) {
    // Both sizes grow by an integer, one does; both shrink; neither; unchanged; one pixel.
    for (from, to) in [
        ([2, 3], [4, 9]),
        ([2, 3], [6, 3]),
        ([2, 3], [2, 6]),
        ([6, 4], [2, 2]),
        ([5, 7], [7, 3]),
        ([4, 6], [8, 3]),
        ([3, 3], [3, 3]),
        ([1, 1], [2, 3]),
        ([5, 4], [1, 1]),
    ] {
        moves(on, &[2, 2, from[0], from[1]], &[2, 2, to[0], to[1]], &|x| x.interpolate_nearest(to), &|i| {
            Some(vec![i[0], i[1], i[2] * from[0] / to[0], i[3] * from[1] / to[1]])
        });
    }
    moves(on, &[0, 2, 2, 3], &[0, 2, 4, 5], &|x| x.interpolate_nearest([4, 5]), &|_| None);
    moves(on, &[1, 1, 2, 2], &[1, 1, 4, 4], &|x| x.interpolate_nearest(4), &|i| Some(vec![0, 0, i[2] / 2, i[3] / 2]));
}

/// The definition.
fn mixed(x: &[f64], [h, w]: [usize; 2], [oh, ow]: [usize; 2], align_corners: bool) -> Vec<f64> {
    let place = |i: usize, from: usize, to: usize| {
        let (i, from, to) = (i as f64, from as f64, to as f64);
        match align_corners {
            true if to == 1.0 => 0.0,
            true => i * ((from - 1.0) / (to - 1.0)),
            false => ((i + 0.5) * (from / to) - 0.5).max(0.0),
        }
    };
    let mut out = Vec::new();
    for plane in x.chunks(h * w) {
        let at = |r: f64, c: f64| plane[(r as usize).min(h - 1) * w + (c as usize).min(w - 1)];
        for i in 0..oh {
            for j in 0..ow {
                let (r, c) = (place(i, h, oh), place(j, w, ow));
                let (r0, c0) = (r.floor(), c.floor());
                let row = |r| at(r, c0) * (1.0 - (c - c0)) + at(r, c0 + 1.0) * (c - c0);
                out.push(row(r0) * (1.0 - (r - r0)) + row(r0 + 1.0) * (r - r0));
            }
        }
    }
    out
}

fn bilinear<B: Backend>(on: &On<B>) {
    for align_corners in [false, true] {
        for (from, to) in [
            ([2, 3], [4, 6]),
            ([3, 2], [7, 5]),
            ([6, 8], [3, 2]),
            ([5, 7], [2, 9]),
            ([4, 4], [4, 4]),
            ([4, 3], [4, 7]),
            ([1, 1], [3, 2]),
            ([1, 5], [2, 1]),
            ([5, 4], [1, 1]),
        ] {
            let x = on.mixed([2, 3, from[0], from[1]]);
            let y = x.interpolate_bilinear(to, align_corners);
            assert!(y.dims() == [2, 3, to[0], to[1]]);
            assert_values(&y, &mixed(&read(&x).data, from, to, align_corners), eps(16.0));
        }
    }
    assert!(on.mixed([0, 2, 3, 3]).interpolate_bilinear([5, 2], false).dims() == [0, 2, 5, 2]);
    assert!(on.mixed([2, 0, 3, 3]).interpolate_bilinear(2, true).dims() == [2, 0, 2, 2]);
}

/// A pixel of weight 0 does not contribute to an output pixel, even if it is infinite, and neither does its gradient.
fn pixels_without_weight<B: Backend>(on: &On<B>) {
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    let x = on.list(&[inf, 1.0, 2.0, nan], [1, 1, 1, 4]).requires_grad();
    let y = x.interpolate_bilinear([1, 7], true); // every second output coincides with an input pixel
    assert_values(&y, &[inf, inf, 1.0, 1.5, 2.0, nan, nan], EXACT);
    let x = on.list(&[1.0, nan, 2.0, inf, 4.0, inf], [1, 1, 2, 3]);
    assert_values(&x.interpolate_bilinear([3, 2], true), &[1.0, 2.0, inf, inf, inf, inf], EXACT);
    // Coordinates before the centre of the first pixel are clamped to it.
    let x = on.list(&[inf, 3.0, inf], [1, 1, 1, 3]);
    assert_values(&x.interpolate_bilinear([1, 1], false), &[3.0], EXACT);
    assert_values(
        &on.list(&[inf, nan], [1, 1, 1, 2]).interpolate_bilinear([1, 4], false),
        &[inf, nan, nan, nan],
        EXACT,
    );
    let x = on.list(&[5.0, 6.0], [1, 1, 1, 2]).requires_grad();
    let g = on.list(&[1.0, 2.0, inf], [1, 1, 1, 3]);
    assert_values(&x.interpolate_bilinear([1, 3], true).backward_with(&g)[&x], &[2.0, inf], EXACT);
}

/// Rows or columns of region i.
fn region(i: usize, from: usize, to: usize) -> std::ops::Range<usize> {
    i * from / to..((i + 1) * from).div_ceil(to)
}

/// The elements of each region, as flat indices in row-major order.
fn regions(planes: usize, [h, w]: [usize; 2], [oh, ow]: [usize; 2]) -> Vec<Vec<usize>> {
    let mut out = Vec::new();
    for plane in 0..planes {
        for (i, j) in (0..oh).flat_map(|i| (0..ow).map(move |j| (i, j))) {
            let cells = region(i, h, oh).flat_map(|r| region(j, w, ow).map(move |c| (plane * h + r) * w + c));
            out.push(cells.collect());
        }
    }
    out
}

const SIZES: [([usize; 2], [usize; 2]); 9] = [
    ([4, 6], [2, 3]),
    ([7, 5], [3, 2]),
    ([5, 6], [2, 4]),
    ([3, 2], [5, 3]),
    ([5, 4], [1, 1]),
    ([6, 5], [3, 3]),
    ([1, 7], [1, 4]),
    ([4, 4], [4, 4]),
    ([2, 3], [4, 3]),
];

fn adaptive<B: Backend>(on: &On<B>) {
    for (from, to) in SIZES {
        let x = on.mixed([2, 2, from[0], from[1]]).requires_grad();
        let (values, regions) = (read(&x).data, regions(4, from, to));
        let y = x.adaptive_avg_pool2d(to);
        assert!(y.dims() == [2, 2, to[0], to[1]]);
        let mean = |cells: &Vec<usize>| cells.iter().map(|&c| values[c]).sum::<f64>() / cells.len() as f64;
        assert_values(&y, &regions.iter().map(mean).collect::<Vec<_>>(), eps(16.0));
        let g = on.whole(-9, 9, *y.shape());
        let mut want = vec![0.0; values.len()];
        for (cells, g) in regions.iter().zip(read(&g).data) {
            cells.iter().for_each(|&c| want[c] += g / cells.len() as f64);
        }
        assert_values(&y.backward_with(&g)[&x], &want, eps(64.0));
    }
    // An infinity outside a region has no effect: 5 in 2 regions are 0..3 and 2..5, 5 in 3 are 0..2, 1..4 and 3..5.
    let x = on.list(&[f64::INFINITY, 1.0, 2.0, 3.0, f64::NAN], [1, 1, 5]);
    assert_values(&x.adaptive_avg_pool1d(3), &[f64::INFINITY, 2.0, f64::NAN], eps(4.0));
    assert_values(&x.adaptive_max_pool1d(3), &[f64::INFINITY, 3.0, f64::NAN], EXACT);
    assert_values(&x.slice((.., .., 1..4)).adaptive_avg_pool1d(2), &[1.5, 2.5], EXACT);
    assert!(on.mixed([0, 2, 3, 5]).adaptive_avg_pool2d(2).dims() == [0, 2, 2, 2]);
    assert!(on.mixed([2, 0, 3, 5]).adaptive_max_pool2d(2).dims() == [2, 0, 2, 2]);
}

fn ties<B: Backend>(on: &On<B>) {
    for (from, to) in SIZES {
        let x = on.whole(0, 3, [1, 3, from[0], from[1]]).requires_grad();
        let values = read(&x).data;
        // The first maximum in row-major order.
        let first =
            |cells: Vec<usize>| cells.iter().fold(cells[0], |best, &c| if values[c] > values[best] { c } else { best });
        let winners: Vec<usize> = regions(3, from, to).into_iter().map(first).collect();
        let y = x.adaptive_max_pool2d(to);
        assert_values(&y, &winners.iter().map(|&c| values[c]).collect::<Vec<_>>(), EXACT);
        let g = on.whole(-9, 9, *y.shape());
        let mut want = vec![0.0; values.len()];
        winners.iter().zip(read(&g).data).for_each(|(&c, g)| want[c] += g);
        assert_values(&y.backward_with(&g)[&x], &want, EXACT);
    }
    let lowest = on.list(&[f64::NEG_INFINITY; 15], [1, 1, 3, 5]).requires_grad();
    let y = lowest.adaptive_max_pool2d([2, 2]);
    assert_values(&y, &[f64::NEG_INFINITY; 4], EXACT);
    // Rows 0..2 and 1..3, columns 0..3 and 2..5: the first element of each region.
    let want = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    assert_values(&y.sum(..).backward()[&lowest], &want, EXACT);
    // If the sizes divide, core calls the fused pooling.
    let x = on.mixed([1, 2, 4, 6]);
    assert_values(&x.adaptive_max_pool2d([2, 2]), &read(&x.max_pool2d(Pool2dOptions::new([2, 3]))).data, EXACT);
}

fn panics<B: Backend>(on: &On<B>) {
    let x = on.mixed([1, 2, 3, 4]);
    let ints = on.ints(0, 9, [1, 2, 3, 4]);
    panics!("interpolate_nearest", "rank 4", "[2, 3, 4]"; x.slice(0).interpolate_nearest(2));
    panics!("interpolate_nearest", "size 0", "[0, 2]"; x.interpolate_nearest([0, 2]));
    panics!("interpolate_bilinear", "size 0", "[1, 2, 0, 4]"; x.slice((.., .., ..0)).interpolate_bilinear(2, false));
    panics!("interpolate_bilinear", "int32"; ints.interpolate_bilinear(2, false));
    panics!("adaptive_avg_pool2d", "int32"; ints.adaptive_avg_pool2d(2));
    panics!("adaptive_avg_pool2d", "size 0"; x.adaptive_avg_pool2d([1, 0]));
    panics!("adaptive_max_pool2d", "rank 4"; x.slice(0).adaptive_max_pool2d(1));
    panics!("adaptive_max_pool1d", "rank 3"; x.adaptive_max_pool1d(1));
    panics!("adaptive_avg_pool1d", "rank 3"; x.adaptive_avg_pool1d(1));
}
