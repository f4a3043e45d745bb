//! Convolutions, forward and with both gradients.

use crate::{Bench, Floor};
use minitorch::prelude::*;

pub(crate) fn bench<B: Backend>(bench: &mut Bench<'_, '_, B>) {
    case(bench, "lenet conv1 64x1x28x28", [64, 1, 28, 28], [6, 1, 5, 5], Conv2dOptions::default().padding(2));
    case(bench, "lenet conv2 64x6x14x14", [64, 6, 14, 14], [16, 6, 5, 5], Conv2dOptions::default());
    case(bench, "3x3 16x64x28x28", [16, 64, 28, 28], [64, 64, 3, 3], Conv2dOptions::default().padding(1));
    let depthwise = Conv2dOptions::default().padding(1).groups(64);
    case(bench, "depthwise 16x64x28x28", [16, 64, 28, 28], [64, 1, 3, 3], depthwise);
}

fn case<B: Backend>(bench: &mut Bench<'_, '_, B>, name: &str, x: [usize; 4], w: [usize; 4], options: Conv2dOptions) {
    let (input, weight) = (bench.rand(x), bench.rand(w));
    let Some([oh, ow]) = options.output_size([x[2], x[3]], [w[2], w[3]]) else { unreachable!("the kernel fits") };
    let flops = 2 * x[0] * w.iter().product::<usize>() * oh * ow;
    bench.time(&format!("{name} forward"), Floor::Flops(flops), || input.conv2d(&weight, None, options));
    let (input, weight) = (input.requires_grad(), weight.requires_grad());
    bench.time(&format!("{name} forward + backward"), Floor::Flops(3 * flops), || {
        input.conv2d(&weight, None, options).sum(..).backward()
    });
}
