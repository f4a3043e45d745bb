//! Every instruction set finds the same maxima. The conformance suite tests values and gradients at the best one.

use super::*;
use crate::kernels::testing::numbers;
use crate::simd::Level;

fn pool(
    [h, w]: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
) -> Pool2d {
    let out = |axis: usize, size: usize| {
        (size + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1) / stride[axis] + 1
    };
    Pool2d { planes: 3, h, w, kernel, stride, padding, dilation, oh: out(0, h), ow: out(1, w) }
}

#[test]
fn every_level_finds_the_same_maxima() {
    for g in [
        pool([8, 10], [2, 2], [2, 2], [0, 0], [1, 1]),
        pool([28, 28], [3, 3], [2, 2], [1, 1], [1, 1]),
        pool([6, 40], [5, 5], [1, 1], [2, 2], [1, 1]),
        pool([6, 41], [3, 4], [3, 4], [1, 2], [1, 1]),
        pool([7, 50], [3, 2], [3, 3], [1, 1], [1, 1]),
        pool([12, 35], [3, 2], [2, 1], [1, 1], [2, 3]),
    ] {
        // Few distinct values, so that ties are common.
        let x: Vec<f64> = numbers(1, g.planes * g.h * g.w).into_iter().map(|x| (x * 4.0).round()).collect();
        let results = |level| {
            let len = g.planes * g.oh * g.ow;
            let (mut y, mut indices) = (vec![7.0; len], vec![7; len]);
            max::max_pool2d_at(level, &g, &x, &mut y, &mut indices);
            (y, indices)
        };
        let best = results(Level::best());
        for level in Level::supported() {
            assert!(results(level) == best, "{} differs in {g:?}", level.name());
        }
    }
}
