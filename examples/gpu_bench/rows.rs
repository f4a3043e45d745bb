//! The rows. `scripts/torch_gpu.py` has the same under the same names.

use crate::bench::{Bench, Work};
use crate::lenet::LeNet;
use crate::resnet::ResNet20;
use minitorch::prelude::*;

/// Bytes of `count` f32.
const fn f32s(count: usize) -> usize {
    4 * count
}

pub(crate) fn all<B: Backend>(bench: &mut Bench<'_, '_, B>) -> Result<()> {
    elementwise(bench)?;
    reductions(bench)?;
    indexing(bench)?;
    products(bench)?;
    convolutions(bench)?;
    steps(bench)
}

fn elementwise<B: Backend>(bench: &mut Bench<'_, '_, B>) -> Result<()> {
    let n = bench.size(1 << 24, 1 << 10);
    type Unary<B> = fn(&Tensor<B>) -> Tensor<B>;
    let unary: [(&str, Unary<B>); 4] =
        [("relu", Tensor::relu), ("exp", Tensor::exp), ("tanh", Tensor::tanh), ("gelu", Tensor::gelu)];
    for (name, f) in unary {
        let work = Work { bytes: f32s(2 * n), flops: 0 };
        bench.row(&format!("{name} 2^24"), work, |bench| {
            let x = bench.rotating(f32s(n), || bench.rand([n]));
            move |i| drop(f(&x[i % x.len()]))
        })?;
    }
    bench.row("add 2^24", Work { bytes: f32s(3 * n), flops: n }, |bench| {
        let x = bench.rotating(f32s(2 * n), || (bench.rand([n]), bench.rand([n])));
        move |i| drop(&x[i % x.len()].0 + &x[i % x.len()].1)
    })?;
    bench.row("add 2^10", Work { bytes: f32s(3 << 10), flops: 1 << 10 }, |bench| {
        let (x, y) = (bench.rand([1 << 10]), bench.rand([1 << 10]));
        move |_| drop(&x + &y)
    })?;
    let side = bench.size(4096, 32);
    bench.row("bias to rows, 4096 x 4096", Work { bytes: f32s(2 * side * side), flops: side * side }, |bench| {
        let x = bench.rotating(f32s(side * side), || bench.rand([side, side]));
        let bias = bench.rand([side]);
        move |i| drop(&x[i % x.len()] + &bias)
    })?;
    bench.row("transposing copy, 4096 x 4096", Work { bytes: f32s(2 * side * side), flops: 0 }, |bench| {
        let x = bench.rotating(f32s(side * side), || bench.rand([side, side]));
        move |i| drop(x[i % x.len()].t().contiguous())
    })?;
    bench.row("Adam, 2^24 parameters", Work { bytes: f32s(7 * side * side), flops: 0 }, |bench| {
        let mut model = Linear::new(side, side, &bench.device).without_bias();
        let input = bench.rand([1, side]);
        let grads = model.forward(&input).sum(..).backward();
        let mut adam = Adam::new(1e-3);
        move |_| adam.step(&mut model, &grads)
    })
}

fn reductions<B: Backend>(bench: &mut Bench<'_, '_, B>) -> Result<()> {
    let (rows, columns) = (bench.size(4096, 16), bench.size(4096, 48));
    let n = rows * columns;
    type Reduction<B> = fn(&Tensor<B>) -> Tensor<B>;
    let list: [(&str, usize, Reduction<B>); 6] = [
        ("sum of all", 1, |x| x.sum(..)),
        ("sum of rows", 1, |x| x.sum(1)),
        ("sum of columns", 1, |x| x.sum(0)),
        ("argmax of rows", 1, |x| x.argmax(1)),
        ("softmax", 2, |x| x.softmax(1)),
        ("log-softmax", 2, |x| x.log_softmax(1)),
    ];
    for (name, passes, f) in list {
        bench.row(&format!("{name}, 4096 x 4096"), Work { bytes: f32s(passes * n), flops: 0 }, |bench| {
            let x = bench.rotating(f32s(n), || bench.rand([rows, columns]));
            move |i| drop(f(&x[i % x.len()]))
        })?;
    }
    bench.row("layer norm, 4096 x 4096", Work { bytes: f32s(2 * n), flops: 0 }, |bench| {
        let x = bench.rotating(f32s(n), || bench.rand([rows, columns]));
        let (w, b) = (bench.rand([columns]), bench.rand([columns]));
        move |i| drop(x[i % x.len()].layer_norm([columns], Some(&w), Some(&b), 1e-5))
    })?;
    let shape = [bench.size(128, 2), bench.size(64, 4), bench.size(32, 4), bench.size(32, 4)];
    let pixels: usize = shape.iter().product();
    // Forward reads x and writes y; backward reads x and a gradient and writes one.
    let work = Work { bytes: f32s(5 * pixels), flops: 0 };
    bench.row("batch norm both ways, 128 x 64 x 32 x 32", work, |bench| {
        let x = bench.rotating(f32s(pixels), || bench.rand(shape).requires_grad());
        let layer = BatchNorm2d::new(shape[1], &bench.device);
        let g = bench.rand(shape);
        move |i| drop(layer.forward(&x[i % x.len()]).backward_with(&g))
    })?;
    let classes = bench.size(1000, 10);
    bench.row("cross-entropy both ways, 4096 x 1000", Work { bytes: f32s(3 * rows * classes), flops: 0 }, |bench| {
        let logits = bench.rotating(f32s(rows * classes), || bench.rand([rows, classes]).requires_grad());
        let target = Tensor::from_vec((0..rows as i32).map(|i| i % classes as i32).collect(), rows, &bench.device);
        move |i| drop(logits[i % logits.len()].cross_entropy(&target).backward())
    })
}

fn indexing<B: Backend>(bench: &mut Bench<'_, '_, B>) -> Result<()> {
    let (n, bins) = (bench.size(1 << 20, 300), bench.size(1000, 10));
    // Odd multiples spread over all bins.
    let indices = |n: usize, bound: usize| (0..n).map(|i| (i * 2_654_435_761 % bound) as i32).collect::<Vec<_>>();
    bench.row("scatter_add 2^20 to 1000", Work { bytes: f32s(2 * n), flops: n }, |bench| {
        let (zeros, x) = (Tensor::zeros([bins], &bench.device), bench.rand([n]));
        let index = Tensor::from_vec(indices(n, bins), n, &bench.device);
        move |_| drop(zeros.scatter_add(0, &index, &x))
    })?;
    let [tokens, words, width] = [(2000, 60), (400_000, 200), (100, 5)].map(|(full, toy)| bench.size(full, toy));
    let work = Work { bytes: f32s(words * width + tokens * width), flops: tokens * width };
    bench.row("embedding both ways, 2000 of 400,000 x 100", work, |bench| {
        let table = bench.rand([words, width]).requires_grad();
        let index = Tensor::from_vec(indices(tokens, words), tokens, &bench.device);
        let g = bench.rand([tokens, width]);
        move |_| drop(table.index_select(0, &index).backward_with(&g).remove(&table))
    })?;
    // The rows, their gradients, and both moments before and after.
    let work = Work { bytes: f32s(10 * tokens * width), flops: tokens * width };
    bench.row("embedding both ways and lazy Adam, 2000 of 400,000 x 100", work, |bench| {
        let mut embedding = Embedding::from_vectors(bench.rand([words, width]));
        let index = Tensor::from_vec(indices(tokens, words), tokens, &bench.device);
        let g = bench.rand([tokens, width]);
        let mut adam = Adam::new(1e-3).group(|_, _| true, Group::new().lazy());
        move |_| {
            let grads = embedding.forward(&index).backward_with(&g);
            adam.step(&mut embedding, &grads);
        }
    })
}

fn products<B: Backend>(bench: &mut Bench<'_, '_, B>) -> Result<()> {
    for full in [512, 1024, 2048, 4096, 8192] {
        let n = bench.size(full, full / 64);
        let work = Work { bytes: f32s(3 * n * n), flops: 2 * n * n * n };
        bench.row(&format!("matmul {full}"), work, |bench| {
            let (a, b) = (bench.rand([n, n]), bench.rand([n, n]));
            move |_| drop(a.matmul(&b))
        })?;
    }
    let [m, k, n] = [(1024, 33), (512, 40), (768, 24)].map(|(full, toy)| bench.size(full, toy));
    let work = Work { bytes: f32s(m * k + k * n + m * n), flops: 2 * m * k * n };
    bench.row("matmul 1024 x 512 x 768, transposed", work, |bench| {
        let (a, b) = (bench.rand([k, m]), bench.rand([n, k]));
        move |_| drop(a.t().matmul(&b.t()))
    })?;
    let [batch, m, k] = [(64, 2), (256, 20), (64, 16)].map(|(full, toy)| bench.size(full, toy));
    let work = Work { bytes: f32s(batch * (2 * m * k + m * m)), flops: 2 * batch * m * k * m };
    bench.row("matmul 64 of 256 x 64 x 256", work, |bench| {
        let (a, b) = (bench.rand([batch, m, k]), bench.rand([batch, k, m]));
        move |_| drop(a.matmul(&b))
    })?;
    let [m, k, n] = [(64, 8), (784, 40), (128, 16)].map(|(full, toy)| bench.size(full, toy));
    let work = Work { bytes: f32s(m * k + k * n + m * n), flops: 2 * m * k * n };
    bench.row("linear 64 x 784 x 128", work, |bench| {
        let (x, w, b) = (bench.rand([m, k]), bench.rand([n, k]), bench.rand([n]));
        move |_| drop(x.linear(&w, Some(&b)))
    })
}

fn convolutions<B: Backend>(bench: &mut Bench<'_, '_, B>) -> Result<()> {
    for (name, x, w, stride, padding) in [
        ("LeNet 1 to 6, 5 x 5", [64, 1, 28, 28], [6, 1, 5, 5], 1, 2),
        ("LeNet 6 to 16, 5 x 5", [64, 6, 14, 14], [16, 6, 5, 5], 1, 0),
        ("ResNet 16 of 32 x 32", [128, 16, 32, 32], [16, 16, 3, 3], 1, 1),
        ("ResNet 16 to 32, stride 2", [128, 16, 32, 32], [32, 16, 3, 3], 2, 1),
        ("ResNet 32 of 16 x 16", [128, 32, 16, 16], [32, 32, 3, 3], 1, 1),
        ("ResNet 64 of 8 x 8", [128, 64, 8, 8], [64, 64, 3, 3], 1, 1),
        ("64 of 56 x 56", [16, 64, 56, 56], [64, 64, 3, 3], 1, 1),
        ("256 of 14 x 14", [64, 256, 14, 14], [256, 256, 3, 3], 1, 1),
    ] {
        let x = if bench.args.toy { [1, x[1].min(4), x[2].min(8), x[3].min(8)] } else { x };
        let w = if bench.args.toy { [w[0].min(8), x[1], w[2], w[3]] } else { w };
        let options = Conv2dOptions::default().stride(stride).padding(padding);
        let Some([height, width]) = options.output_size([x[2], x[3]], [w[2], w[3]]) else {
            return Err(Error::Invalid(format!("{name}: the kernel is larger than the image")));
        };
        let pixels = x[0] * w[0] * height * width;
        let one_way = Work {
            bytes: f32s(x.iter().product::<usize>() + w.iter().product::<usize>() + pixels),
            flops: 2 * pixels * w[1] * w[2] * w[3],
        };
        bench.row(&format!("conv {name}"), one_way, |bench| {
            let (x, w, b) = (bench.rand(x), bench.rand(w), bench.rand([w[0]]));
            move |_| drop(x.conv2d(&w, Some(&b), options))
        })?;
        let both = Work { bytes: 3 * one_way.bytes, flops: 3 * one_way.flops };
        bench.row(&format!("conv {name}, both ways"), both, |bench| {
            let [x, w, b] = [bench.rand(x), bench.rand(w), bench.rand([w[0]])].map(|x| x.requires_grad());
            let g = bench.rand([x.shape()[0], w.shape()[0], height, width]);
            move |_| drop(x.conv2d(&w, Some(&b), options).backward_with(&g))
        })?;
    }
    Ok(())
}

/// Kim's text CNN on embedded words `[batch, 128, 40]`.
#[derive(Module)]
struct TextCnn<B: Backend> {
    convs: [Conv1d<B>; 3],
    fc: Linear<B>,
}

impl<B: Backend> Layer<B> for TextCnn<B> {
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let maxima = self.convs.each_ref().map(|conv| conv.forward(x).relu().max(2));
        self.fc.forward(&Tensor::cat(&maxima, 1))
    }
}

fn steps<B: Backend>(bench: &mut Bench<'_, '_, B>) -> Result<()> {
    for full in [64, 256] {
        let batch = bench.size(full, 2);
        step(bench, &format!("step LeNet-5, Adam, batch {full}"), &[batch, 1, 28, 28], 10, |device| {
            (LeNet::new(device), Adam::new(1e-3))
        })?;
    }
    let batch = bench.size(64, 2);
    step(bench, "step MLP 784-256-128-10, Adam, batch 64", &[batch, 784], 10, |device| {
        let mlp = Sequential::new()
            .push(Linear::new(784, 256, device))
            .push(Relu)
            .push(Linear::new(256, 128, device))
            .push(Relu)
            .push(Linear::new(128, 10, device));
        (mlp, Adam::new(1e-3))
    })?;
    let (batch, maps) = (bench.size(50, 2), bench.size(100, 4));
    step(bench, "step text CNN, Adam, batch 50", &[batch, 128, 40], 2, |device| {
        let convs = [3, 4, 5].map(|words| Conv1d::new(128, maps, words, device));
        (TextCnn { convs, fc: Linear::new(3 * maps, 2, device) }, Adam::new(1e-3))
    })?;
    let (batch, side) = (bench.size(128, 1), bench.size(32, 8));
    step(bench, "step ResNet-20, SGD, batch 128", &[batch, 3, side, side], 10, |device| {
        (ResNet20::new(3, 10, device), Sgd::new(0.01).momentum(0.9))
    })
}

fn step<B: Backend, M: Layer<B>, O: Optimizer<B>>(
    bench: &mut Bench<'_, '_, B>,
    name: &str,
    input: &[usize],
    classes: i32,
    make: impl FnOnce(&B) -> (M, O),
) -> Result<()> {
    bench.row(name, Work::default(), |bench| {
        let (mut model, mut optimizer) = make(&bench.device);
        let x = bench.rand(input);
        let target = Tensor::from_vec((0..input[0] as i32).map(|i| i % classes).collect(), input[0], &bench.device);
        move |_| {
            let loss = model.forward(&x).cross_entropy(&target);
            optimizer.step(&mut model, &loss.backward());
        }
    })
}
