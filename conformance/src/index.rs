//! Gather, scatter and index_select, their gradients, and indices out of range.

use crate::check::{assert_same, assert_values, with_grads};
use crate::close::{EXACT, eps, read};
use crate::on::{Lay, pairs};
use crate::{On, Suite};
use minitorch_core::backend::Backend;
use minitorch_core::{CrossEntropyOptions, DType, Error, Shape, Tensor};

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.floats("gather", 2000, gather);
    suite.floats("scatter_add", 2000, scatter_add);
    suite.floats("scatter", 2000, scatter);
    suite.floats("index_select", 2000, |on| {
        for dim in [0, 1, -1] {
            agree!(on, eps(8.0), "index_select along {dim}", |d| {
                let index = d.ints(0, 3, [17]);
                with_grads(d, [d.mixed([4, 5, 3])], |[x]| x.index_select(dim, &index))
            });
        }
        agree!(on, EXACT, |d| [
            d.mixed([0, 3]).index_select(1, &d.ints(0, 3, [5])),
            d.mixed([4, 3]).index_select(0, &d.ints(0, 1, [0]))
        ]);
    });
    suite.f32("large", 300_000, |on| {
        agree!(on, eps(4.0).terms(1000), "an embedding of many rows", |d| {
            let index = d.ints(0, 100, [70_001]);
            with_grads(d, [d.mixed([100, 3])], |[x]| x.index_select(0, &index))
        });
        agree!(on, eps(4.0).terms(100_000), "many on one", |d| {
            let zeros = Tensor::zeros([2], (&d.device, d.dtype));
            zeros.scatter_add(0, &d.ints(0, 2, [100_003]), &d.uniform(-1.0, 1.0, [100_003]))
        });
        agree!(on, EXACT, |d| d.mixed([2, 100_003]).gather(1, &d.ints(0, 100_003, [2, 40])));
    });
    suite.floats("rows", 5000, |on| {
        // Rows selected by one index each: few and many, of widths that are and are not multiples of 16 bytes.
        for lines in [3, 33, 50] {
            for width in [64, 63, 4] {
                // One result per comparison: their sum would cancel.
                agree!(on, eps(8.0), "{lines} rows of {width} set", |d| {
                    let (index, inputs) = shared_rows(d, lines, width);
                    with_grads(d, inputs, |[to, x]| to.scatter(0, &index, x))
                });
                agree!(on, eps(8.0), "{lines} rows of {width} gathered", |d| {
                    let (index, inputs) = shared_rows(d, lines, width);
                    with_grads(d, inputs, |[to, _]| to.gather(0, &index).sum_keepdim(0))
                });
                agree!(on, eps(8.0), "{lines} rows of {width} added", |d| {
                    let (index, inputs) = shared_rows(d, lines, width);
                    with_grads(d, inputs, |[to, x]| to.scatter_add(0, &index, x))
                });
                agree!(on, EXACT, |d| {
                    let index = d.ints(0, 7, [lines]).reshape([lines, 1]).expand([lines, width]);
                    let (to, x) = (d.mask([7, width]), d.mask([lines, width]));
                    // Offset by one element: unaligned.
                    let ints = d.ints(-9, 9, [7 * width + 1]).narrow(0, 1, 7 * width).reshape([7, width]);
                    [to.scatter(0, &index, &x), to.gather(0, &index), ints.gather(0, &index)]
                });
            }
        }
    });
    suite.floats("exact_sums", 5000, exact_sums);
    suite.f32("integers_and_bool", 200, |on| {
        agree!(on, EXACT, |d| {
            let index = d.ints(0, 6, [4, 9]);
            let ints = d.ints(i32::MIN, i32::MAX, [4, 6]);
            [
                ints.gather(1, &index),
                ints.scatter_add(1, &index, &d.ints(i32::MIN, i32::MAX, [4, 9])),
                d.mask([4, 6]).gather(1, &index),
            ]
        });
    });
    suite.floats("one_hot", 200, |on| {
        agree!(on, EXACT, |d| {
            let index = d.ints(0, 7, [3, 5]);
            vec![
                index.one_hot(7, d.dtype),
                index.t().one_hot(9, d.dtype),
                index.one_hot(7, DType::I32),
                d.ints(0, 7, []).one_hot(7, d.dtype),
                d.ints(0, 1, [0]).one_hot(3, d.dtype),
            ]
        })
    });
    suite.f32("bad_index_names_the_operation", 20, names);
    suite.floats("bad_index_gather", 20, |on| {
        let x = on.list(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3]).requires_grad();
        for bad in [-1, 3, i32::MAX, i32::MIN] {
            let index = Tensor::from_slice(&[0, bad, 2, 1], [2, 2], &on.device);
            let Some(y) = bad_index!(on.device, "gather", [bad as i64], 3; x.gather(1, &index)) else { continue };
            assert_values(&y, &[1.0, 0.0, 6.0, 5.0], EXACT);
            // The gradient skips it too. As the error was taken before, it is found again, for the forward call.
            let grads = y.sum(..).backward();
            assert!(matches!(on.device.take_error(), Some(Error::IndexOutOfRange { op: "gather", .. })));
            assert_values(&grads[&x], &[1.0, 0.0, 0.0, 0.0, 1.0, 1.0], EXACT);
        }
    });
    suite.floats("bad_index_of_a_row", 20_000, |on| {
        // Rows are copied in blocks, and the result's memory may hold old values.
        for (shape, dim) in [([5, 7], 0), ([5, 700], 0), ([7, 5], 1)] {
            for bad in [-1, 5, i32::MAX, i32::MIN] {
                let x = on.uniform(1.0, 2.0, shape);
                let index = Tensor::from_slice(&[4, bad, 0], [3], &on.device);
                drop(on.uniform(1.0, 2.0, x.shape().with(dim as usize, 3)));
                let y = bad_index!(on.device, "index_select", [bad as i64], 5; x.index_select(dim, &index));
                let Some(y) = y else { continue };
                assert_values(&y.narrow(dim, 1, 1).abs().max(..), &[0.0], EXACT);
                assert_same("the row before", &y.narrow(dim, 0, 1), &x.narrow(dim, 4, 1));
                assert_same("the row after", &y.narrow(dim, 2, 1), &x.narrow(dim, 0, 1));
            }
        }
    });
    suite.f32("bad_index_among_many", 100_000, |on| {
        // So many indices that several threads or blocks check them. The second bad one is in another part than the first.
        for bad in [-1, 50, i32::MAX, i32::MIN] {
            let at = |i| {
                if i == 77_777 {
                    bad
                } else if i == 88_888 {
                    -9
                } else {
                    i % 50
                }
            };
            let index = Tensor::from_vec((0..100_000).map(at).collect::<Vec<_>>(), [100_000], &on.device);
            let (to, x) = (on.list(&[0.0; 50], [50]), Tensor::ones([100_000], (&on.device, on.dtype)));
            let bad = [bad as i64, -9];
            let sum = bad_index!(on.device, "scatter_add", bad, 50; to.scatter_add(0, &index, &x));
            let set = bad_index!(on.device, "scatter", bad, 50; to.scatter(0, &index, &x));
            let gathered = bad_index!(on.device, "index_select", bad, 50; (&to + 1.0).index_select(0, &index));
            assert_values(&to, &[0.0; 50], EXACT);
            let (Some(sum), Some(set), Some(gathered)) = (sum, set, gathered) else { continue };
            assert_values(&sum.sum(..), &[99_998.0], EXACT);
            assert_values(&set, &[1.0; 50], EXACT);
            assert_values(&gathered.sum(..), &[99_998.0], EXACT);
        }
    });
    suite.f32("bad_index_into_nothing", 6, |on| {
        let (nothing, index) = (on.list(&[], [2, 0]), Tensor::from_slice(&[0, 1, 2, 0, 1, 2], [2, 3], &on.device));
        let x = on.mixed([2, 3]);
        let all = [0, 1, 2];
        let zeros = bad_index!(on.device, "gather", all, 0; nothing.gather(1, &index));
        let added = bad_index!(on.device, "scatter_add", all, 0; nothing.scatter_add(1, &index, &x));
        let set = bad_index!(on.device, "scatter", all, 0; nothing.scatter(1, &index, &x));
        let (Some(zeros), Some(added), Some(set)) = (zeros, added, set) else { return };
        assert_values(&zeros, &[0.0; 6], EXACT);
        assert!(added.numel() == 0 && set.numel() == 0);
    });
    suite.floats("bad_index_scatter_add", 20, |on| {
        for bad in [-1, 3, i32::MAX, i32::MIN] {
            let index = Tensor::from_slice(&[0, bad, 2, 0], [4], &on.device);
            let (to, x) = (on.list(&[10.0, 20.0, 30.0], [3]), on.list(&[1.0, 2.0, 4.0, 8.0], [4]));
            let y = bad_index!(on.device, "scatter_add", [bad as i64], 3; to.scatter_add(0, &index, &x));
            assert_values(&to, &[10.0, 20.0, 30.0], EXACT);
            if let Some(y) = y {
                assert_values(&y, &[19.0, 20.0, 34.0], EXACT);
            }
        }
    });
    suite.floats("bad_index_among_rows", 5000, |on| {
        // Every fifth row has an index out of range.
        for (lines, width) in [(30, 3), (60, 1), (60, 5), (60, 64)] {
            for bad in [-1, 4, i32::MAX, i32::MIN] {
                let indices: Vec<i32> = (0..lines).map(|i| if i % 5 == 0 { bad } else { i % 4 }).collect();
                let index =
                    Tensor::from_slice(&indices, [lines as usize, 1], &on.device).expand([lines as usize, width]);
                let x = Tensor::ones([lines as usize, width], (&on.device, on.dtype));
                let zeros = x.zeros_like().narrow(0, 0, 4).contiguous();
                let sums = bad_index!(on.device, "scatter_add", [bad as i64], 4; zeros.scatter_add(0, &index, &x));
                let Some(sums) = sums else { continue };
                let count = |row: i32| (0..lines).filter(|i| i % 5 != 0 && i % 4 == row).count() as f64;
                let want: Vec<f64> = (0..4).flat_map(|row| std::iter::repeat_n(count(row), width)).collect();
                assert_values(&sums, &want, EXACT);
            }
        }
    });
    suite.floats("bad_index_scatter", 20, |on| {
        for bad in [-1, 3, i32::MAX, i32::MIN] {
            let index = Tensor::from_slice(&[0, bad, 2, 0], [4], &on.device);
            let x = on.list(&[1.0, 2.0, 4.0, 8.0], [4]).requires_grad();
            let to = on.list(&[10.0, 20.0, 30.0], [3]);
            let y = bad_index!(on.device, "scatter", [bad as i64], 3; to.scatter(0, &index, &x));
            assert_values(&to, &[10.0, 20.0, 30.0], EXACT);
            let Some(y) = y else { continue };
            assert_values(&y, &[8.0, 20.0, 4.0], EXACT);
            let grads = y.sum(..).backward();
            assert!(matches!(on.device.take_error(), Some(Error::IndexOutOfRange { op: "scatter", .. })));
            assert_values(&grads[&x], &[0.0, 0.0, 1.0, 1.0], EXACT);
        }
    });
    suite.floats("bad_index_one_hot", 20, |on| {
        for bad in [-1, 3, i32::MAX] {
            let index = Tensor::from_slice(&[2, bad, 0], [3], &on.device);
            let Some(y) = bad_index!(on.device, "one_hot", [bad as i64], 3; index.one_hot(3, on.dtype)) else {
                continue;
            };
            assert_values(&y, &[0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0], EXACT);
        }
    });
}

/// Every operation that reads indices, also composed ones, under its own name; integers, bool and long rows, which other kernels
/// handle.
fn names<B: Backend>(on: &On<B>) {
    let device = &on.device;
    let (table, scores) = (on.mixed([5, 3]), on.mixed([3, 5]));
    let rows = Tensor::new([[0, 7], [4, -2]], device);
    let one = rows.slice(0);
    let class = Tensor::new([0, 4, 5], device);
    let options = CrossEntropyOptions::default;
    let weighted = options().weight(&on.uniform(0.5, 2.0, [5])).label_smoothing(0.1);
    drop(bad_index!(on.device, "embedding", [7, -2], 5; table.embedding(&rows)));
    drop(bad_index!(on.device, "embedding", [7, -2], 5; table.requires_grad().embedding(&rows)));
    drop(bad_index!(on.device, "index_select", [7], 5; table.index_select(0, &one)));
    drop(bad_index!(on.device, "index_select", [7], 5; scores.index_select(-1, &one)));
    drop(bad_index!(on.device, "one_hot", [7, -2], 5; rows.one_hot(5, DType::I32)));
    drop(bad_index!(on.device, "cross_entropy", [5], 5; scores.cross_entropy(&class)));
    drop(bad_index!(on.device, "cross_entropy", [5], 5; scores.requires_grad().cross_entropy(&class)));
    drop(bad_index!(on.device, "nll_loss", [5], 5; scores.nll_loss(&class)));
    drop(bad_index!(on.device, "cross_entropy_with", [5], 5; scores.cross_entropy_with(&class, &options())));
    drop(bad_index!(on.device, "cross_entropy_with", [5], 5; scores.cross_entropy_with(&class, &weighted)));
    // Rows so long that a kernel of their own handles each, and so many that several workgroups do.
    for [n, c] in [[3, 1500], [3, 70], [2000, 40]] {
        let mut classes = vec![1; n];
        classes[n - 1] = c as i32;
        let (x, classes) = (on.mixed([n, c]), Tensor::from_vec(classes, n, device));
        drop(bad_index!(on.device, "cross_entropy", [c as i64], c as u64; x.cross_entropy(&classes)));
    }
    let nothing = Tensor::full([3, 0], 0.0, (device, on.dtype));
    let first = Tensor::new([2, 1, 0], device);
    drop(bad_index!(on.device, "cross_entropy", [2, 1, 0], 0; nothing.cross_entropy(&first)));
    for long in [4, 40] {
        // Short rows and long ones have different kernels.
        let index: Vec<i32> = (0..long).map(|i| if i == long - 1 { 6 } else { i % 6 }).collect();
        let index = Tensor::from_slice(&index, [long as usize], device);
        let (ints, mask) = (on.ints(-9, 9, [6]), on.mask([6]));
        let (more, marks) = (on.ints(-9, 9, [long as usize]), on.mask([long as usize]));
        drop(bad_index!(on.device, "gather", [6], 6; ints.gather(0, &index)));
        drop(bad_index!(on.device, "gather", [6], 6; mask.gather(0, &index)));
        drop(bad_index!(on.device, "scatter_add", [6], 6; ints.scatter_add(0, &index, &more)));
        drop(
            bad_index!(on.device, "scatter_add", [6], 6; on.mixed([6]).scatter_add(0, &index, &on.mixed([long as usize]))),
        );
        drop(bad_index!(on.device, "scatter", [6], 6; ints.scatter(0, &index, &more)));
        drop(bad_index!(on.device, "scatter", [6], 6; mask.scatter(0, &index, &marks)));
    }
}

fn gather<B: Backend>(on: &On<B>) {
    for dim in 0..3usize {
        for lay in Lay::all(3) {
            agree!(on, eps(8.0), "gather along {dim} of {lay:?}", |d| {
                let shape = Shape::from([4, 5, 3]);
                let index_shape = shape.with(dim, 7);
                let bound = shape[dim] as i32;
                let index = lay.view(index_shape, |s| d.ints(0, bound, s));
                with_grads(d, [d.laid(lay, -1.0, 1.0, shape)], |[x]| x.gather(dim as isize, &index))
            });
            // A view against its copy on the same device, which checks Plain too.
            let x = on.laid(lay, -1.0, 1.0, [4, 5, 3]);
            let bound = x.shape()[dim] as i32;
            let index = lay.view(x.shape().with(dim, 7), |s| on.ints(0, bound, s));
            let copied = x.contiguous().gather(dim as isize, &index.contiguous());
            assert_same(&format!("gather of a {lay:?} view"), &x.gather(dim as isize, &index), &copied);
        }
    }
    // x and the index in different layouts; the index may repeat along other dimensions, as an embedding's does.
    for dim in 0..3usize {
        for (of_x, of_index) in pairs(Lay::all(3)) {
            agree!(on, EXACT, "gather along {dim} of {of_x:?} at {of_index:?}", |d| {
                let shape = Shape::from([4, 5, 3]);
                let index = of_index.view(shape.with(dim, 7), |s| d.ints(0, shape[dim] as i32, s));
                d.laid(of_x, -1.0, 1.0, shape).gather(dim as isize, &index)
            });
        }
    }
    agree!(on, EXACT, |d| [
        d.mixed([5]).gather(0, &d.ints(0, 5, [0])),
        d.mixed([0, 5]).gather(1, &d.ints(0, 5, [0, 2]))
    ]);
}

fn scatter_add<B: Backend>(on: &On<B>) {
    for dim in 0..3usize {
        for lay in Lay::all(3) {
            agree!(on, eps(8.0), "scatter_add along {dim} of {lay:?}", |d| {
                let shape = Shape::from([4, 5, 3]);
                let from = shape.with(dim, 9);
                let bound = shape[dim] as i32;
                // Nine indices below five: some repeat.
                let index = lay.view(from, |s| d.ints(0, bound, s));
                let inputs = [d.laid(lay, -1.0, 1.0, shape), d.laid(lay, -1.0, 1.0, from)];
                with_grads(d, inputs, |[to, x]| to.scatter_add(dim as isize, &index, x))
            });
            let (to, x) = (on.mixed([4, 5, 3]), on.laid(lay, -1.0, 1.0, Shape::from([4, 5, 3]).with(dim, 2)));
            // One term per element, so no order of summation.
            let index = lay.view(*x.shape(), |s| on.ints(0, 1, s));
            let at = index.narrow(dim as isize, 0, 1);
            let one = x.narrow(dim as isize, 1, 1);
            let copied = to.scatter_add(dim as isize, &at.contiguous(), &one.contiguous());
            assert_same(&format!("scatter_add of a {lay:?} view"), &to.scatter_add(dim as isize, &at, &one), &copied);
        }
    }
    // The input stays unchanged.
    let (to, index) = (on.list(&[1.0, 2.0], [2]), Tensor::from_slice(&[1, 1], [2], &on.device));
    let sum = to.scatter_add(0, &index, &on.list(&[10.0, 20.0], [2]));
    assert!(read(&sum).data == [1.0, 32.0] && read(&to).data == [1.0, 2.0]);
}

/// Sums of integers are exact in any order, so a term that is lost or added twice shows: few and many terms per element, with indices
/// that differ and that are broadcast along some dimensions.
fn exact_sums<B: Backend>(on: &On<B>) {
    for dim in 0..3usize {
        for line in [20, 40, 150] {
            for lay in Lay::all(3) {
                agree!(on, EXACT, "{line} entries along {dim} of {lay:?}", |d| {
                    let shape = Shape::from([4, 5, 3]);
                    let from = shape.with(dim, line);
                    let index = lay.view(from, |s| d.ints(0, shape[dim] as i32, s));
                    let (to, x) = (d.whole(-9, 9, shape), lay.view(from, |s| d.whole(-9, 9, s)));
                    let plain = d.whole(-9, 9, from);
                    [&x, &plain].map(|x| to.scatter_add(dim as isize, &index, x)).to_vec()
                });
            }
        }
        agree!(on, EXACT, "the gradient of index_select along {dim}", |d| {
            let x = d.mixed([4, 5, 3]).requires_grad();
            let index = d.ints(0, x.shape()[dim] as i32, [1000]);
            let y = x.index_select(dim as isize, &index);
            y.backward_with(&d.whole(-9, 9, *y.shape()))[&x].clone()
        });
    }
}

/// Of repeated indices the last in row-major order is stored, and has the gradient.
fn scatter<B: Backend>(on: &On<B>) {
    for dim in 0..3usize {
        for lay in Lay::all(3) {
            agree!(on, EXACT, "scatter along {dim} of {lay:?}", |d| {
                let shape = Shape::from([4, 5, 3]);
                let from = shape.with(dim, 9);
                let index = lay.view(from, |s| d.ints(0, shape[dim] as i32, s));
                let inputs = [d.laid(lay, -1.0, 1.0, shape), d.laid(lay, -1.0, 1.0, from)];
                with_grads(d, inputs, |[to, x]| to.scatter(dim as isize, &index, x))
            });
        }
    }
    agree!(on, EXACT, |d| {
        // 30,000 indices below 10.
        let index = d.ints(0, 10, [30_000]);
        let one = d.mixed([10]).scatter(0, &index, &d.uniform(-1.0, 1.0, [30_000]));
        let rows = d.mixed([7, 600]).scatter(0, &d.ints(0, 7, [50, 600]), &d.uniform(-1.0, 1.0, [50, 600]));
        [one, rows, d.mixed([3]).scatter(0, &d.ints(0, 3, [0]), &d.mixed([0]))]
    });
    let [to, x] = [on.list(&[1.0, 2.0, 3.0], [3]), on.list(&[10.0, 20.0, 30.0], [3])].map(|x| x.requires_grad());
    let index = Tensor::from_slice(&[2, 0, 2], [3], &on.device);
    let y = to.scatter(0, &index, &x);
    assert_values(&y, &[20.0, 2.0, 30.0], EXACT);
    let grads = (y * on.list(&[5.0, 6.0, 7.0], [3])).sum(..).backward();
    assert_values(&grads[&to], &[0.0, 6.0, 0.0], EXACT);
    assert_values(&grads[&x], &[0.0, 5.0, 7.0], EXACT);
    let mask = on.mask([4]);
    let on_all = Tensor::from_slice(&[0, 1, 2, 3], [4], &on.device);
    assert_values(&mask.scatter(0, &on_all, &!&mask), &read(&!&mask).data, EXACT);
}

/// An index with repeats, broadcast over rows; a tensor to index into; and one row per index.
fn shared_rows<B: Backend>(d: &On<B>, lines: usize, width: usize) -> (Tensor<B>, [Tensor<B>; 2]) {
    let index = d.ints(0, 7, [lines]).reshape([lines, 1]).expand([lines, width]);
    (index, [d.mixed([7, width]), d.uniform(-1.0, 1.0, [lines, width])])
}
