//! Pooling and its gradients: overlaps, gaps, padding, dilation, ties, NaN and windows of nothing but -inf.

use crate::check::{assert_values, with_grads};
use crate::close::{EXACT, Values, assert_close, eps, read};
use crate::on::Lay;
use crate::{On, Suite};
use minitorch_core::backend::{Backend, PoolOps};
use minitorch_core::ops::composed;
use minitorch_core::{DType, Pool1dOptions, Pool2dOptions};

const SIZE: [usize; 2] = [9, 11];

fn grid() -> Vec<Pool2dOptions> {
    let mut all = Vec::new();
    for kernel in [[1, 1], [2, 2], [3, 3], [3, 2], [4, 1]] {
        for stride in [[1, 1], [2, 2], [3, 1], [5, 4]] {
            for padding in [[0, 0], [1, 1], [1, 0]] {
                for dilation in [[1, 1], [2, 2], [1, 3]] {
                    let o = Pool2dOptions::new(kernel).stride(stride).padding(padding).dilation(dilation);
                    if padding[0] <= kernel[0] / 2 && padding[1] <= kernel[1] / 2 && o.output_size(SIZE).is_some() {
                        all.push(o);
                    }
                }
            }
        }
    }
    all
}

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.f32("max_grid", 1200, |on| grid().iter().for_each(|o| max(on, o)));
    suite.f32("avg_grid", 1200, |on| grid().iter().filter(|o| o.dilation == [1, 1]).for_each(|o| avg(on, o)));
    suite.f64("f64", 1200, |on| {
        for o in grid().iter().step_by(5) {
            max(on, o);
            if o.dilation == [1, 1] {
                avg(on, o);
            }
        }
    });
    suite.floats("layouts", 1200, layouts);
    suite.floats("max_special_values", 50, special);
    suite.f32("large", 300_000, |on| {
        agree!(on, eps(8.0), |d| {
            with_grads(d, [d.uniform(-1.0, 1.0, [70, 30, 8, 8])], |[x]| x.max_pool2d(2) + x.avg_pool2d(2))
        });
        agree!(on, eps(8.0), |d| with_grads(d, [d.uniform(-1.0, 1.0, [1, 1, 400, 300])], |[x]| x.max_pool2d(3)));
    });
    suite.floats("wide_windows", 4000, |on| {
        let whole_plane = Pool2dOptions::new([24, 40]);
        let overlapping = Pool2dOptions::new([20, 17]).stride([3, 5]).padding([2, 8]);
        for o in [whole_plane, overlapping, overlapping.count_include_pad(false), Pool2dOptions::new([1, 33])] {
            agree!(on, eps(8.0).terms(340), "{o:?}", |d| {
                with_grads(d, [d.mixed([2, 2, 24, 40])], |[x]| x.max_pool2d(o) + x.avg_pool2d(o))
            });
            // Ties and NaN: the index of the first.
            agree!(on, EXACT, |d| {
                let x = d.whole(-20, 20, [2, 2, 24, 40]);
                [x.masked_fill(&x.eq(19.0), f64::NAN).max_pool2d_with_indices(o).1, x.max_pool2d_with_indices(o).1]
            });
        }
    });
    suite.floats("long_rows", 4000, |on| {
        // Rows of several registers, for strides that may have a loop of their own.
        for o in [
            Pool2dOptions::new(5).stride(1).padding(2),
            Pool2dOptions::new(3).stride(2).padding(1),
            Pool2dOptions::new([3, 2]).stride(3).padding(1),
            Pool2dOptions::new([3, 4]).stride([3, 4]).padding([1, 2]),
            Pool2dOptions::new([3, 2]).stride([2, 1]).padding(1).dilation([2, 3]),
        ] {
            agree!(on, EXACT, "{o:?}", |d| {
                let (y, at) = d.whole(-4, 4, [2, 3, 13, 41]).max_pool2d_with_indices(o);
                [y, at]
            });
        }
    });
    suite.f32("many_terms", 120_000, |on| {
        // Terms near 1, of which a running f32 sum would lose digits; against sums in f64.
        for (size, kernel) in [([300, 400], [300, 400]), ([20_000, 2], [20_000, 2]), ([1, 50_000], [1, 25_000])] {
            let x = on.uniform(0.5, 1.5, [1, 1, size[0], size[1]]);
            let values = read(&x).data;
            let want: Vec<f64> =
                values.chunks(kernel[0] * kernel[1]).map(|w| w.iter().sum::<f64>() / w.len() as f64).collect();
            assert_values(&x.avg_pool2d(kernel), &want, eps(2.0));
            let [oh, ow] = [size[0] / kernel[0], size[1] / kernel[1]];
            assert_values(&x.adaptive_avg_pool2d([oh, ow]), &want, eps(2.0));
        }
        // An element in the middle lies in 2500 windows.
        let (n, k) = (120, 50);
        for include in [true, false] {
            let o = Pool2dOptions::new(k).stride(1).padding(1).count_include_pad(include);
            let x = on.uniform(0.5, 1.5, [1, 1, n, n]).requires_grad();
            let y = x.avg_pool2d(o);
            let m = y.shape()[3];
            let g = on.uniform(0.5, 1.5, [1, 1, m, m]);
            let of_g = read(&g).data;
            let mut want = vec![0.0; n * n];
            let inside = |i: usize| i.saturating_sub(1)..(i + k - 1).min(n);
            for (at, g) in of_g.iter().enumerate() {
                let (rows, columns) = (inside(at / m), inside(at % m));
                let count = if include { k * k } else { rows.len() * columns.len() };
                for row in rows {
                    columns.clone().for_each(|column| want[row * n + column] += g / count as f64);
                }
            }
            assert_values(&y.backward_with(&g)[&x], &want, eps(4.0));
        }
    });
    suite.floats("pool1d", 200, |on| {
        let o = Pool1dOptions::new(3).stride(2).padding(1);
        agree!(on, eps(8.0), |d| with_grads(d, [d.mixed([2, 3, 17])], |[x]| x.max_pool1d(o) + x.avg_pool1d(o)));
        agree!(on, eps(8.0), |d| [d.mixed([2, 3, 17]).max_pool1d(o.dilation(3)), d.mixed([0, 3, 17]).avg_pool1d(2)]);
    });
}

/// The elements of a window that are inside the plane, as indices in row-major order.
fn cells(o: &Pool2dOptions, oy: usize, ox: usize, [h, w]: [usize; 2]) -> Vec<usize> {
    let mut inside = Vec::new();
    for i in 0..o.kernel[0] {
        for j in 0..o.kernel[1] {
            let y = (oy * o.stride[0] + i * o.dilation[0]).wrapping_sub(o.padding[0]);
            let x = (ox * o.stride[1] + j * o.dilation[1]).wrapping_sub(o.padding[1]);
            if y < h && x < w {
                inside.push(y * w + x);
            }
        }
    }
    inside
}

/// For every plane and window: the plane's elements and the window's cells.
fn definition(x: &Values, o: &Pool2dOptions, mut f: impl FnMut(&[f64], &[usize])) -> [usize; 2] {
    let size = [x.shape[2], x.shape[3]];
    let Some([oh, ow]) = o.output_size(size) else { panic!("the grid holds only windows that fit: {o:?}") };
    for plane in x.data.chunks(size[0] * size[1]) {
        for oy in 0..oh {
            for ox in 0..ow {
                f(plane, &cells(o, oy, ox, size));
            }
        }
    }
    [oh, ow]
}

/// The index of the maximum: of the first of equal elements, or of the first NaN.
fn first_largest(plane: &[f64], cells: &[usize]) -> usize {
    let mut best = cells[0];
    for &cell in cells {
        if !plane[best].is_nan() && (plane[cell] > plane[best] || plane[cell].is_nan()) {
            best = cell;
        }
    }
    best
}

fn max<B: Backend>(on: &On<B>, o: &Pool2dOptions) {
    // Integers, so that many windows have ties: the first element has the index and the gradient.
    let x = on.whole(-4, 4, [2, 3, SIZE[0], SIZE[1]]);
    let host = read(&x);
    let (mut values, mut at) = (Vec::new(), Vec::new());
    let [oh, ow] = definition(&host, o, |plane, cells| {
        let best = first_largest(plane, cells);
        values.push(plane[best]);
        at.push(best as f64);
    });
    let shape = [2, 3, oh, ow];
    let about = format!("max_pool2d, {o:?} (seed {:#x})", on.seed);
    let (y, indices) = x.max_pool2d_with_indices(*o);
    assert_close(&about, &y, &Values::new(shape, on.dtype, values), EXACT);
    assert_close(&format!("{about}, indices"), &indices, &Values::new(shape, DType::I32, at), EXACT);
    let g = on.uniform(-1.0, 1.0, shape);
    let fused = on.device.max_pool2d_grad(&g, &indices, SIZE, o);
    let composed = composed::max_pool2d_grad(&g, &indices, SIZE);
    assert_close(&format!("{about}, gradient"), &fused, &composed, eps(8.0));
    agree!(on, eps(8.0), "max_pool2d, {o:?}", |d| {
        with_grads(d, [d.mixed([2, 3, SIZE[0], SIZE[1]])], |[x]| x.max_pool2d(*o))
    });
}

fn avg<B: Backend>(on: &On<B>, o: &Pool2dOptions) {
    for o in [*o, o.count_include_pad(false)] {
        let x = on.mixed([2, 3, SIZE[0], SIZE[1]]);
        let mut values = Vec::new();
        let [oh, ow] = definition(&read(&x), &o, |plane, cells| {
            let count = if o.count_include_pad { o.kernel[0] * o.kernel[1] } else { cells.len() };
            values.push(cells.iter().map(|&cell| plane[cell]).sum::<f64>() / count as f64);
        });
        let shape = [2, 3, oh, ow];
        let about = format!("avg_pool2d, {o:?} (seed {:#x})", on.seed);
        assert_close(&about, &x.avg_pool2d(o), &Values::new(shape, on.dtype, values), eps(8.0));
        let g = on.uniform(-1.0, 1.0, shape);
        let pairs = [
            (on.device.avg_pool2d(&x, &o), composed::avg_pool2d(&x, &o)),
            (on.device.avg_pool2d_grad(&g, SIZE, &o), composed::avg_pool2d_grad(&g, SIZE, &o)),
        ];
        for (fused, composed) in pairs {
            assert_close(&format!("{about}, fused against composed"), &fused, &composed, eps(8.0));
        }
        agree!(on, eps(8.0), "avg_pool2d, {o:?}", |d| {
            with_grads(d, [d.mixed([2, 3, SIZE[0], SIZE[1]])], |[x]| x.avg_pool2d(o))
        });
    }
}

fn layouts<B: Backend>(on: &On<B>) {
    let o = Pool2dOptions::new(3).stride(2).padding(1);
    for lay in Lay::all(4) {
        agree!(on, eps(8.0), "pooling of {lay:?}", |d| {
            let x = d.laid(lay, -1.0, 1.0, [2, 3, 7, 8]);
            let g = d.laid(lay, -1.0, 1.0, [2, 3, 4, 4]);
            let (y, indices) = d.device.max_pool2d(&x, &o);
            let max_grad = d.device.max_pool2d_grad(&g, &indices, [7, 8], &o);
            [y, max_grad, d.device.avg_pool2d(&x, &o), d.device.avg_pool2d_grad(&g, [7, 8], &o)]
        });
        agree!(on, EXACT, "indices of {lay:?}", |d| d.device.max_pool2d(&d.laid(lay, -1.0, 1.0, [2, 3, 7, 8]), &o).1);
    }
    agree!(on, EXACT, |d| d.mixed([0, 3, 7, 8]).max_pool2d(o));
    agree!(on, EXACT, |d| d.mixed([2, 0, 7, 8]).avg_pool2d(o));
}

fn special<B: Backend>(on: &On<B>) {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    // All -inf, with padding: the maximum is -inf at the first element inside.
    let x = on.list(&[-inf; 9], [1, 1, 3, 3]);
    let (y, at) = x.max_pool2d_with_indices(Pool2dOptions::new(2).padding(1).stride(2));
    assert_values(&y, &[-inf; 4], EXACT);
    assert_values(&at, &[0.0, 1.0, 3.0, 4.0], EXACT);
    // Adjacent 2 x 2 windows, which may have a loop of their own: NaN, ties and -inf.
    let x = [1.0, nan, 3.0, 3.0, -inf, -inf, nan, 2.0, 3.0, 1.0, -inf, -inf];
    let (y, at) = on.list(&x, [1, 1, 2, 6]).max_pool2d_with_indices(2);
    assert_values(&y, &[nan, 3.0, -inf], EXACT);
    assert_values(&at, &[1.0, 2.0, 4.0], EXACT);
    // The maximum is the first NaN, which has the gradient.
    let x = on.list(&[1.0, nan, 9.0, 4.0, nan, inf, 7.0, 8.0, 2.0], [1, 1, 3, 3]).requires_grad();
    let (y, at) = x.max_pool2d_with_indices(Pool2dOptions::new(2).stride(1));
    assert_values(&y, &[nan, nan, nan, nan], EXACT);
    assert_values(&at, &[1.0, 1.0, 4.0, 4.0], EXACT);
    let grad = &y.sum(..).backward()[&x];
    assert_values(grad, &[0.0, 2.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0], EXACT);
    // The same with dilation.
    let dilated = Pool2dOptions::new(2).dilation(3).stride(1).padding(1);
    let values: Vec<f64> = (0..128)
        .map(|i| {
            if i < 64 {
                -inf
            } else if i == 100 {
                nan
            } else {
                (i * 7 % 16) as f64
            }
        })
        .collect();
    let host = Values::new([1, 2, 8, 8], on.dtype, values);
    let (mut largest, mut at) = (Vec::new(), Vec::new());
    definition(&host, &dilated, |plane, cells| {
        let best = first_largest(plane, cells);
        largest.push(plane[best]);
        at.push(best as f64);
    });
    let (y, indices) = on.list(&host.data, host.shape).max_pool2d_with_indices(dilated);
    assert_values(&y, &largest, EXACT);
    assert_values(&indices, &at, EXACT);
    // Padding is never the maximum, also of negative numbers.
    let x = on.list(&[-5.0, -6.0, -7.0, -8.0], [1, 1, 2, 2]);
    assert_values(&x.max_pool2d(Pool2dOptions::new(2).padding(1)), &[-5.0, -6.0, -7.0, -8.0], EXACT);
}
