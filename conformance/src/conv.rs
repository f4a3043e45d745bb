//! Convolutions and their gradients over a grid of options, against the definition and against the composed form.

mod activated;

use crate::check::{assert_values, with_grads};
use crate::close::{EXACT, Values, assert_close, eps, read};
use crate::on::{Lay, pairs};
use crate::{On, Suite};
use minitorch_core::backend::{Backend, ConvOps};
use minitorch_core::ops::composed;
use minitorch_core::{Conv1dOptions, Conv2dOptions, DType, Tensor};

/// One convolution: batch, channels in, channels out, size, kernel, options.
#[derive(Clone, Copy, Debug)]
struct Setup {
    n: usize,
    ci: usize,
    co: usize,
    size: [usize; 2],
    kernel: [usize; 2],
    o: Conv2dOptions,
}

impl Setup {
    fn x(&self) -> [usize; 4] {
        [self.n, self.ci, self.size[0], self.size[1]]
    }

    fn w(&self) -> [usize; 4] {
        [self.co, self.ci / self.o.groups, self.kernel[0], self.kernel[1]]
    }

    /// The terms of the longest sum: a weight's gradient sums over the batch and all windows, an input's over output channels and taps.
    fn terms(&self) -> usize {
        let [h, w] = self.out();
        (self.n * h * w).max(self.co * self.kernel[0] * self.kernel[1]).max(1)
    }

    fn out(&self) -> [usize; 2] {
        match self.o.output_size(self.size, self.kernel) {
            Some(out) => out,
            None => panic!("the grid holds only kernels that fit: {self:?}"),
        }
    }
}

fn grid() -> Vec<Setup> {
    let mut all = Vec::new();
    for (kernel, size) in [([1, 1], [5, 4]), ([3, 3], [7, 6]), ([3, 2], [8, 9]), ([5, 5], [9, 9]), ([1, 3], [1, 17])] {
        for stride in [[1, 1], [2, 2], [3, 1], [4, 5]] {
            for padding in [[0, 0], [1, 1], [2, 0]] {
                for dilation in [[1, 1], [2, 1], [2, 2]] {
                    for (ci, co, groups) in [(1, 1, 1), (2, 3, 1), (4, 6, 2), (3, 3, 3), (2, 6, 2)] {
                        let o =
                            Conv2dOptions::default().stride(stride).padding(padding).dilation(dilation).groups(groups);
                        let fits = o.output_size(size, kernel).is_some();
                        // A third of the grid, spread evenly, bounds the run time.
                        let pick =
                            (stride[0] + 2 * padding[0] + padding[1] + dilation[0] * 3 + dilation[1] + ci + kernel[1])
                                % 3;
                        if fits && pick == 0 {
                            all.push(Setup { n: 1 + co % 2, ci, co, size, kernel, o });
                        }
                    }
                }
            }
        }
    }
    all
}

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    activated::cases(suite);
    suite.floats("padding_is_multiplied", 20_000, |on| {
        // A NaN in a corner beside padding: in the weight it reaches every output, in the gradient every tap of its channel.
        for (c, groups, size, kernel) in [(1, 1, 6, 3), (8, 1, 8, 3), (16, 1, 12, 3), (4, 4, 8, 3), (2, 1, 9, 5)] {
            for stride in [1, 2] {
                let o = Conv2dOptions::default().padding(kernel / 2).stride(stride).groups(groups);
                let corner = |shape: [usize; 4]| {
                    let mut values = vec![1.0; shape.iter().product()];
                    values[0] = f64::NAN;
                    on.list(&values, shape)
                };
                let x = on.uniform(0.5, 1.5, [2, c, size, size]);
                let shape = [c, c / groups, kernel, kernel];
                let y = x.conv2d(&corner(shape), None, o);
                let of_channel = |t: &Tensor<B>, channel: usize| read(&t.isnan().narrow(1, channel, 1)).data;
                assert!(of_channel(&y, 0).iter().all(|&nan| nan == 1.0), "{o:?} of {c}: an output without the NaN");
                assert!(
                    c == 1 || of_channel(&y, 1).iter().all(|&nan| nan == 0.0),
                    "{o:?} of {c}: NaN in another channel"
                );
                let w = on.uniform(0.5, 1.5, shape).requires_grad();
                let y = x.conv2d(&w, None, o);
                let gw = y.backward_with(&corner([2, c, y.shape()[2], y.shape()[3]]))[&w].isnan().cast(on.dtype);
                let want = (c / groups * kernel * kernel) as f64;
                assert!(read(&gw.narrow(0, 0, 1).sum(..)).data == [want], "{o:?} of {c}: a tap without the NaN");
                assert!(read(&gw.sum(..)).data == [want], "{o:?} of {c}: NaN in another channel");
            }
        }
    });
    for (part, name) in ["grid_1x1", "grid_3x3", "grid_3x2", "grid_5x5", "grid_1x3"].into_iter().enumerate() {
        let kernel = [[1, 1], [3, 3], [3, 2], [5, 5], [1, 3]][part];
        suite.f32(format!("{name}_against_the_definition"), 1000, move |on| {
            grid().iter().filter(|s| s.kernel == kernel).for_each(|s| against_definition(on, s));
        });
        suite.f32(format!("{name}_gradients"), 1000, move |on| {
            grid().iter().filter(|s| s.kernel == kernel).for_each(|s| gradients(on, s));
        });
    }
    suite.f64("f64", 1000, |on| {
        grid().iter().step_by(7).for_each(|s| values_and_gradients(on, s));
    });
    suite.floats("layouts", 2000, layouts);
    suite.f32("odd_sizes", 30_000, |on| {
        let o = Conv2dOptions::default();
        let setups = [
            Setup { n: 3, ci: 17, co: 33, size: [9, 11], kernel: [3, 3], o: o.padding(1) },
            Setup { n: 2, ci: 3, co: 16, size: [33, 31], kernel: [5, 5], o: o.stride(2).padding(2) },
            Setup { n: 1, ci: 32, co: 1, size: [14, 14], kernel: [1, 1], o },
            Setup { n: 5, ci: 16, co: 16, size: [10, 10], kernel: [3, 3], o: o.padding(1).groups(16) },
            Setup { n: 2, ci: 2, co: 2, size: [3, 3], kernel: [3, 3], o },
            Setup { n: 1, ci: 1, co: 1, size: [1, 1], kernel: [1, 1], o: o.stride(3).padding(2) },
            Setup { n: 0, ci: 2, co: 3, size: [5, 5], kernel: [3, 3], o },
            Setup { n: 700, ci: 1, co: 1, size: [10, 10], kernel: [3, 3], o },
            Setup { n: 17, ci: 6, co: 16, size: [14, 14], kernel: [5, 5], o },
            // Channel counts that are multiples of a tile, groups, strides.
            Setup { n: 2, ci: 32, co: 33, size: [9, 11], kernel: [3, 3], o: o.padding(1) },
            Setup { n: 3, ci: 16, co: 40, size: [13, 12], kernel: [3, 2], o: o.padding([0, 1]) },
            Setup { n: 5, ci: 8, co: 72, size: [12, 11], kernel: [2, 3], o },
            Setup {
                n: 2,
                ci: 64,
                co: 64,
                size: [9, 10],
                kernel: [3, 4],
                o: o.padding(3).stride(2).dilation(2).groups(2),
            },
        ];
        setups.iter().for_each(|s| values_and_gradients(on, s));
    });
    // Strides and dilations with enough channels for implicit GEMM: a backend may compute each phase of a stride separately, and some
    // phases have no tap.
    suite.f32("strided_channels", 10_000, |on| {
        let o = Conv2dOptions::default();
        let setups = [
            Setup {
                n: 2,
                ci: 12,
                co: 10,
                size: [9, 11],
                kernel: [3, 2],
                o: Conv2dOptions { stride: [2, 3], ..o.padding(1) },
            },
            Setup { n: 2, ci: 16, co: 12, size: [10, 7], kernel: [1, 1], o: o.stride(3) },
            Setup { n: 1, ci: 10, co: 9, size: [13, 12], kernel: [3, 4], o: o.stride(2).dilation(2).padding(3) },
            Setup {
                n: 2,
                ci: 20,
                co: 22,
                size: [11, 14],
                kernel: [4, 3],
                o: o.stride(3).dilation(2).padding(2).groups(2),
            },
            Setup {
                n: 1,
                ci: 9,
                co: 33,
                size: [8, 17],
                kernel: [5, 2],
                o: Conv2dOptions { stride: [4, 3], dilation: [1, 6], ..o.padding(2) },
            },
        ];
        setups.iter().for_each(|s| values_and_gradients(on, s));
    });
    suite.floats("conv_transpose2d", 1000, |on| {
        let setups = [
            ([1, 1], [0, 0], [0, 0], [1, 1], 1),
            ([2, 3], [1, 0], [1, 2], [1, 2], 2),
            ([3, 2], [2, 1], [0, 1], [2, 1], 4),
        ];
        for (stride, padding, extra, dilation, groups) in setups {
            let o = Conv2dOptions { stride, padding, dilation, groups };
            agree!(on, eps(16.0).terms(36), "conv_transpose2d of {o:?}, output padding {extra:?}", |d| {
                let x = d.laid(Lay::Reversed, -1.0, 1.0, [2, 4, 5, 3]);
                let inputs = [x, d.uniform(-1.0, 1.0, [4, 2, 3, 2]), d.uniform(-1.0, 1.0, [2 * groups])];
                with_grads(d, inputs, |[x, w, b]| x.conv_transpose2d(w, Some(b), o, extra))
            });
        }
        // An output padding below the dilation, with values from PyTorch: no input contributes to the last rows. In the last setup the
        // output has no element without the output padding.
        let (x, w) = (on.list(&[1.0, 2.0, 3.0, 4.0], [1, 1, 2, 2]), on.list(&[1.0, -1.0, 2.0, 0.5], [1, 1, 2, 2]));
        let (x, w, b) = (x.requires_grad(), w.requires_grad(), on.list(&[0.5], [1]));
        let o = Conv2dOptions::default().dilation(3).padding(1);
        let y = x.conv_transpose2d(&w, Some(&b), o, 2);
        let mut want = [0.5; 25];
        for (at, value) in
            [(0, 4.5), (2, -2.5), (3, -3.5), (10, 4.5), (12, 1.0), (13, 1.5), (15, 8.5), (17, 2.0), (18, 2.5)]
        {
            want[at] = value;
        }
        assert_values(&y, &want, EXACT);
        let weights: Vec<f64> = (1..=25).map(f64::from).collect();
        let grads = y.backward_with(&on.list(&weights, [1, 1, 5, 5]));
        assert_values(&grads[&x], &[6.5, 29.0, 6.0, 38.5], EXACT);
        assert_values(&grads[&w], &[4.0, 25.0, 86.0, 171.0], EXACT);
        let o = Conv2dOptions::default().stride([1, 2]).dilation([3, 1]).padding([2, 0]);
        let y = x.conv_transpose2d(&w, Some(&b), o, [2, 1]);
        let want = [0.5, 0.5, 0.5, 0.5, 0.5, 2.5, 1.0, 4.5, 1.5, 0.5, 6.5, 2.0, 8.5, 2.5, 0.5];
        assert_values(&y, &want, EXACT);
        assert!(y.shape()[..] == [1, 1, 3, 5]);
        let o = Conv2dOptions::default().dilation([3, 1]).padding([2, 0]);
        let (x, w) = (on.list(&[1.0, 2.0, 3.0], [1, 1, 3, 1]), on.list(&[10.0], [1, 1, 1, 1]));
        assert_values(&x.conv_transpose2d(&w, None, o, [2, 0]), &[30.0], EXACT);
        // It is the adjoint of the convolution: <conv(x), g> = <x, transposed(g)>.
        let o = Conv2dOptions::default().stride(2).padding(1);
        let (x, w) = (on.uniform(-1.0, 1.0, [1, 2, 6, 6]), on.uniform(-1.0, 1.0, [3, 2, 3, 3]));
        let y = x.conv2d(&w, None, o);
        let g = on.uniform(-1.0, 1.0, *y.shape());
        let (left, right) = ((&y * &g).sum(..), (&x * g.conv_transpose2d(&w, None, o, 1)).sum(..));
        assert_close("the adjoint", &left, &right, eps(256.0));
    });
    suite.floats("conv1d", 1000, |on| {
        for (k, o) in [
            (1, Conv1dOptions::default()),
            (3, Conv1dOptions::default().padding(1)),
            (3, Conv1dOptions::default().stride(2).dilation(2).padding(2)),
            (5, Conv1dOptions::default().stride(3).groups(2)),
            (2, Conv1dOptions::default().stride(4).groups(4)),
        ] {
            agree!(on, eps(4.0).terms(60), "conv1d, kernel {k}, {o:?}", |d| {
                let w = d.uniform(-1.0, 1.0, [4, 4 / o.groups, k]);
                with_grads(d, [d.uniform(-1.0, 1.0, [2, 4, 17]), w, d.uniform(-1.0, 1.0, [4])], |[x, w, b]| {
                    x.conv1d(w, Some(b), o)
                })
            });
        }
    });
    suite.floats("sequences", 20_000, |on| {
        // Embedded words, channels last, then a maximum over time: its gradient has one nonzero element per channel.
        for (t, k) in [(20, 3), (23, 1), (9, 5), (7, 4)] {
            agree!(on, eps(8.0).terms(64 * k), "{t} words, windows of {k}", |d| {
                let [x, w] = [[5, t, 64], [18, 64, k]].map(|shape| d.uniform(-1.0, 1.0, shape));
                with_grads(d, [x, w, d.uniform(-1.0, 1.0, [18])], |[x, w, b]| {
                    x.transpose(1, 2).conv1d(w, Some(b), Conv1dOptions::default()).max(2)
                })
            });
        }
        // A zero gradient times an infinite input is NaN.
        agree!(on, eps(8.0).terms(200), "an infinite word that no window of the result saw", |d| {
            let x = d.uniform(-1.0, 1.0, [3, 20, 64]);
            let at = Tensor::new([7], &d.device);
            let spike = d.list(&[f64::INFINITY], [1, 1]).expand([1, 64]);
            let x0 = x.narrow(0, 0, 1).squeeze(0).scatter(0, &at.reshape([1, 1]).expand([1, 64]), &spike);
            let x = Tensor::cat(&[x0.unsqueeze(0), x.narrow(0, 1, 2)], 0);
            with_grads(d, [x, d.uniform(0.5, 1.0, [20, 64, 3])], |[x, w]| {
                x.transpose(1, 2).conv1d(w, None, Conv1dOptions::default()).narrow(2, 17, 1)
            })
        });
    });
}

/// The definition, on the host:
/// `out[n, co, oy, ox] = b[co] + sum over c, i, j of x[n, c, oy stride + i dilation - padding, ..] w[co, c, i, j]`.
fn definition(x: &[f64], w: &[f64], b: &[f64], s: &Setup) -> Vec<f64> {
    let ([h, width], [kh, kw], [oh, ow]) = (s.size, s.kernel, s.out());
    let (c_group, per_group) = (s.ci / s.o.groups, s.co / s.o.groups);
    let mut out = Vec::new();
    for n in 0..s.n {
        for co in 0..s.co {
            for oy in 0..oh {
                for ox in 0..ow {
                    let mut sum = b[co];
                    for c in 0..c_group {
                        for i in 0..kh {
                            for j in 0..kw {
                                let y = (oy * s.o.stride[0] + i * s.o.dilation[0]).wrapping_sub(s.o.padding[0]);
                                let xx = (ox * s.o.stride[1] + j * s.o.dilation[1]).wrapping_sub(s.o.padding[1]);
                                if y < h && xx < width {
                                    let channel = co / per_group * c_group + c;
                                    sum += x[((n * s.ci + channel) * h + y) * width + xx]
                                        * w[((co * c_group + c) * kh + i) * kw + j];
                                }
                            }
                        }
                    }
                    out.push(sum);
                }
            }
        }
    }
    out
}

fn values_and_gradients<B: Backend>(on: &On<B>, s: &Setup) {
    against_definition(on, s);
    gradients(on, s);
}

fn against_definition<B: Backend>(on: &On<B>, s: &Setup) {
    let (x, w, b) = (on.uniform(-1.0, 1.0, s.x()), on.uniform(-1.0, 1.0, s.w()), on.uniform(-1.0, 1.0, [s.co]));
    let terms = s.w()[1..].iter().product();
    let shape = [s.n, s.co, s.out()[0], s.out()[1]];
    let host = |bias: &[f64]| Values::new(shape, on.dtype, definition(&read(&x).data, &read(&w).data, bias, s));
    let about = format!("conv2d of {s:?} (seed {:#x})", on.seed);
    assert_close(&about, &x.conv2d(&w, Some(&b), s.o), &host(&read(&b).data), eps(4.0).terms(terms));
    assert_close(&about, &x.conv2d(&w, None, s.o), &host(&vec![0.0; s.co]), eps(4.0).terms(terms));
    on.advance();
}

fn gradients<B: Backend>(on: &On<B>, s: &Setup) {
    let ([oh, ow], terms) = (s.out(), s.terms());
    agree!(on, eps(4.0).terms(terms), "conv2d and its gradients, {s:?}", |d| {
        let inputs = [d.uniform(-1.0, 1.0, s.x()), d.uniform(-1.0, 1.0, s.w()), d.uniform(-1.0, 1.0, [s.co])];
        with_grads(d, inputs, |[x, w, b]| x.conv2d(w, Some(b), s.o))
    });
    // The fused methods against the composed ones on the same device.
    let place = on.again();
    let (x, w) = (place.uniform(-1.0, 1.0, s.x()), place.uniform(-1.0, 1.0, s.w()));
    let g = place.uniform(-1.0, 1.0, [s.n, s.co, oh, ow]);
    let d = &on.device;
    let pairs = [
        (d.conv2d(&x, &w, None, &s.o, None), composed::conv2d(&x, &w, None, &s.o, None)),
        (d.conv2d_grad_input(&g, &w, s.size, &s.o), composed::conv2d_grad_input(&g, &w, s.size, &s.o)),
        (d.conv2d_grad_weight(&x, &g, s.kernel, &s.o), composed::conv2d_grad_weight(&x, &g, s.kernel, &s.o)),
    ];
    for (i, (fused, composed)) in pairs.iter().enumerate() {
        let about = format!("fused against composed, method {i}, {s:?} (seed {:#x})", on.seed);
        assert_close(&about, fused, composed, eps(4.0).terms(terms));
    }
}

/// Every operand in every kind of layout, the gradient too: that of a sum is broadcast.
fn layouts<B: Backend>(on: &On<B>) {
    let o = Conv2dOptions::default().stride([2, 1]).padding(1).groups(2);
    for lay in Lay::all(4) {
        agree!(on, eps(4.0).terms(120), "conv2d of {lay:?} operands", |d| {
            let x = d.laid(lay, -1.0, 1.0, [2, 4, 7, 6]);
            let w = d.laid(lay, -1.0, 1.0, [6, 2, 3, 3]);
            let b = d.laid(Lay::Stepped, -1.0, 1.0, [6]);
            let g = d.laid(lay, -1.0, 1.0, [2, 6, 4, 6]);
            let device = &d.device;
            [
                device.conv2d(&x, &w, Some(&b), &o, None),
                device.conv2d_grad_input(&g, &w, [7, 6], &o),
                device.conv2d_grad_weight(&x, &g, [3, 3], &o),
            ]
        });
    }
    // x and w in different layouts; with strides whose windows do not reach the last pixels.
    let setups = [
        ([2, 3, 7, 8], [4, 3, 3, 3], Conv2dOptions::default()),
        ([1, 4, 9, 9], [6, 2, 3, 2], Conv2dOptions::default().groups(2).stride(2).padding(1)),
        ([2, 4, 9, 7], [4, 1, 3, 3], Conv2dOptions::default().groups(4).padding([1, 2])),
        ([2, 2, 10, 11], [3, 2, 2, 3], Conv2dOptions::default().dilation([2, 3]).stride([3, 1])),
        ([2, 2, 8, 8], [2, 2, 2, 2], Conv2dOptions::default().stride(3)),
    ];
    for (x_shape, w_shape, o) in setups {
        for (of_x, of_w) in pairs([Lay::Whole, Lay::Reversed, Lay::Sliced, Lay::Stepped]) {
            agree!(on, eps(4.0).terms(160), "conv2d of {of_x:?} {x_shape:?} and {of_w:?} {w_shape:?}, {o:?}", |d| {
                let (x, w) = (d.laid(of_x, -1.0, 1.0, x_shape), d.laid(of_w, -1.0, 1.0, w_shape));
                let y = d.device.conv2d(&x, &w, None, &o, None);
                let (g, [_, _, h, width], [.., kh, kw]) = (d.uniform(-1.0, 1.0, *y.shape()), x_shape, w_shape);
                let grad_input = d.device.conv2d_grad_input(&g, &w, [h, width], &o);
                [y, grad_input, d.device.conv2d_grad_weight(&x, &g, [kh, kw], &o)]
            });
        }
    }
    if on.dtype == DType::F32 {
        let x = on.uniform(-1.0, 1.0, [2, 4, 7, 6]).requires_grad();
        let w = on.uniform(-1.0, 1.0, [6, 2, 3, 3]);
        let grad = x.conv2d(&w, None, o).sum(..).backward();
        assert!(grad[&x].shape() == x.shape(), "a gradient has its variable's shape");
    }
}
