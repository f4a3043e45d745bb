//! Variances and norms of numbers whose squares overflow or underflow f32, and of close numbers far from 0.

use crate::Suite;
use crate::check::assert_values;
use crate::close::{EXACT, eps, read};
use minitorch_core::backend::Backend;

pub(super) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.floats("var_and_std_far_from_0_and_1", 20_000, |on| {
        // Differences from the middle element are exact in f64.
        let centred = |x: &[f64]| -> Vec<f64> {
            let around: Vec<f64> = x.iter().map(|value| value - x[x.len() / 2]).collect();
            let mean = around.iter().sum::<f64>() / x.len() as f64;
            around.iter().map(|d| d - mean).collect()
        };
        let fine: Vec<f64> = (0..1000).map(|i| 10_000.0 + 0.001 * (i % 10) as f64).collect();
        let outlier: Vec<f64> =
            (0..10_000).map(|i| if i == 0 { 1e6 } else { ((i * 7919) % 1000) as f64 / 1000.0 }).collect();
        for values in [&[16_777_216.0, 16_777_218.0][..], &fine, &outlier] {
            let x = on.list(values, [values.len()]).requires_grad();
            let (differences, n) = (centred(&read(&x).data), values.len() as f64);
            let var = differences.iter().map(|d| d * d).sum::<f64>() / (n - 1.0);
            let as_matrix = x.reshape([values.len() / 2, 2]);
            for y in [x.var(.., 1.0), as_matrix.var(.., 1.0), x.unsqueeze(1).var(0, 1.0).squeeze(0)] {
                assert_values(&(y / var), &[1.0], eps(64.0));
            }
            assert_values(&(x.std(.., 1.0) / var.sqrt()), &[1.0], eps(64.0));
            let gradient = x.var(.., 1.0).backward()[&x].clone() / var.sqrt();
            let want: Vec<f64> = differences.iter().map(|d| 2.0 * d / (n - 1.0) / var.sqrt()).collect();
            assert_values(&gradient, &want, eps(64.0));
        }
        for scale in [1e20, 1e-25, 1e37, 1e-37] {
            let x = on.list(&[1.0 * scale, 2.0 * scale, 3.0 * scale, 4.0 * scale], [1, 4]).requires_grad();
            let std = x.std(1, 1.0);
            let want = (5.0f64 / 3.0).sqrt();
            assert_values(&(&std / scale), &[want], eps(8.0));
            let want: [f64; 4] = [-1.5, -0.5, 0.5, 1.5].map(|d| d / 3.0 / want);
            assert_values(&std.sum(..).backward()[&x], &want, eps(8.0));
        }
        assert_values(&on.list(&[0.0, 0.0, 1.0, f64::NAN], [2, 2]).std(1, 0.0), &[0.0, f64::NAN], EXACT);
    });
    suite.floats("norm_far_from_1", 200, |on| {
        for scale in [1e20, 1e-30, 1e37] {
            let x = on.list(&[3.0 * scale, -4.0 * scale, 0.0], [3]).requires_grad();
            for (p, norm, gradient) in [
                (2.0, 5.0, [0.6, -0.8, 0.0]),
                (3.0, 91f64.cbrt(), [9.0 / 91f64.powf(2.0 / 3.0), -16.0 / 91f64.powf(2.0 / 3.0), 0.0]),
                (0.5, 7.0 + 48f64.sqrt(), [1.0 + 2.0 / 3f64.sqrt(), -1.0 - 3f64.sqrt() / 2.0, 0.0]),
            ] {
                let y = x.norm(p, ..);
                assert_values(&(&y / scale), &[norm], eps(16.0));
                assert_values(&y.backward()[&x], &gradient, eps(16.0));
            }
            let x = on.list(&[3.0 * scale, -4.0 * scale], [2]).requires_grad();
            let y = x.norm(-2.0, ..);
            assert_values(&(&y / scale), &[2.4], eps(16.0));
            assert_values(&y.backward()[&x], &[0.512, -0.216], eps(16.0));
        }
        let inf = f64::INFINITY;
        let x = on.list(&[1.0, -inf, inf, inf], [2, 2]);
        for p in [0.5, 2.0, 3.0] {
            assert_values(&x.norm(p, 1), &[inf; 2], EXACT);
        }
        assert_values(&x.norm(-2.0, 1), &[1.0, inf], EXACT);
    });
}
