//! Convolutions with a fused activation, and each of their gradients alone.

use super::Setup;
use crate::check::{assert_same, assert_values, with_grads};
use crate::close::{assert_close, eps, read};
use crate::matmul::{ACTIVATIONS, after};
use crate::{On, Suite};
use minitorch_core::backend::Backend;
use minitorch_core::{Activation, Conv2dOptions, Tensor};

pub(super) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.floats("conv2d_activated", 20_000, |on| {
        let o = Conv2dOptions::default();
        for f in ACTIVATIONS {
            activated(on, &Setup { n: 2, ci: 1, co: 6, size: [9, 8], kernel: [5, 5], o: o.padding(2) }, f);
            activated(on, &Setup { n: 3, ci: 6, co: 16, size: [8, 7], kernel: [3, 3], o: o.stride([2, 1]) }, f);
            activated(on, &Setup { n: 40, ci: 9, co: 10, size: [8, 8], kernel: [3, 3], o: o.padding(1) }, f);
            activated(on, &Setup { n: 2, ci: 32, co: 34, size: [8, 9], kernel: [3, 3], o: o.padding(1).groups(2) }, f);
            activated(on, &Setup { n: 3, ci: 5, co: 10, size: [7, 7], kernel: [3, 3], o: o.groups(5) }, f);
            activated(on, &Setup { n: 0, ci: 2, co: 3, size: [5, 5], kernel: [3, 3], o }, f);
            activated(on, &Setup { n: 2, ci: 3, co: 0, size: [5, 5], kernel: [3, 3], o }, f);
        }
        // NaN passes forward and backward.
        let x = on.list(&[f64::NAN, -1.0, 2.0, -f64::INFINITY], [1, 1, 2, 2]).requires_grad();
        let y = x.conv2d_activated(&on.list(&[1.0], [1, 1, 1, 1]), None, o, Activation::Relu);
        let got = read(&y).data;
        assert!(got[0].is_nan() && got[1..] == [0.0, 2.0, 0.0], "relu of a convolution: {got:?}");
        assert_values(&y.sum(..).backward()[&x], &[1.0, 0.0, 1.0, 0.0], eps(0.0));
    });
    check!(suite, "conv2d_tanh", 2, |d| of_conv(d), |[x, w, b]| {
        x.conv2d_activated(w, Some(b), Conv2dOptions::default().padding(1).stride([1, 2]), Activation::Tanh)
    });
}

fn of_conv<B: Backend>(d: &On<B>) -> [Tensor<B>; 3] {
    [d.mixed([2, 2, 3, 4]), d.mixed([3, 2, 2, 3]), d.mixed([3])]
}

/// The fused result is bit-identical to the activation of the convolution; gradients may differ by the order of sums.
fn activated<B: Backend>(on: &On<B>, s: &Setup, f: Activation) {
    let results = |fused: bool| {
        let place = on.again();
        let inputs = [place.mixed(s.x()), place.mixed(s.w()), place.mixed([s.co])];
        with_grads(&place, inputs, |[x, w, b]| match fused {
            true => x.conv2d_activated(w, Some(b), s.o, f),
            false => after(f, &x.conv2d(w, Some(b), s.o)),
        })
    };
    let (fused, separate) = (results(true), results(false));
    let about = format!("conv2d of {s:?} and {f:?}");
    assert_same(&about, &fused[0], &separate[0]);
    for (fused, separate) in fused.iter().zip(&separate).skip(1) {
        assert_close(&format!("a gradient of the {about}"), fused, separate, eps(4.0).terms(s.terms()));
    }
    // Each gradient alone: the others are not asked for.
    for only in 0..3 {
        let place = on.again();
        let mut inputs = [place.mixed(s.x()), place.mixed(s.w()), place.mixed([s.co])];
        inputs[only] = inputs[only].requires_grad();
        let [x, w, b] = &inputs;
        let y = x.conv2d_activated(w, Some(b), s.o, f);
        let grads = y.backward_with(&place.uniform(-1.0, 1.0, *y.shape()));
        let about = format!("gradient {only} alone of the {about}");
        assert_close(&about, &grads[&inputs[only]], &fused[1 + only], eps(4.0).terms(s.terms()));
    }
}
