//! The operations of a course on deep learning, in shapes that take different code paths.

use minitorch::prelude::*;
use minitorch::{PoolOptions, Shape};

/// The minimal work of a call.
#[derive(Clone, Copy)]
pub(crate) struct Work {
    /// Bytes read plus bytes written, each once.
    pub(crate) bytes: usize,
    /// Multiplications plus additions; 0 for operations that are bound by memory.
    pub(crate) flops: usize,
}

/// An operation with its inputs.
pub(crate) struct Prepared {
    /// Shapes.
    pub(crate) operands: String,
    pub(crate) work: Work,
    pub(crate) call: Box<dyn FnMut()>,
}

/// Creates inputs on a device.
pub(crate) struct Maker<'a, B> {
    pub(crate) device: &'a B,
    pub(crate) toy: bool,
}

type Prepare<B> = fn(&Maker<'_, B>) -> Prepared;

/// All operations, by name.
pub(crate) fn list<B: Backend>() -> Vec<(&'static str, Prepare<B>)> {
    let mut list: Vec<(&'static str, Prepare<B>)> = Vec::new();
    elementwise(&mut list);
    reductions(&mut list);
    products(&mut list);
    convolutions(&mut list);
    layers(&mut list);
    moves(&mut list);
    list
}

/// Bytes of `count` F32.
const fn f32s(count: usize) -> usize {
    4 * count
}

fn prepared(operands: impl Into<String>, bytes: usize, flops: usize, call: impl FnMut() + 'static) -> Prepared {
    Prepared { operands: operands.into(), work: Work { bytes, flops }, call: Box::new(call) }
}

impl<B: Backend> Maker<'_, B> {
    /// Numbers in -0.5..0.5.
    fn rand(&self, shape: impl Into<Shape>) -> Tensor<B> {
        Tensor::rand(shape.into(), self.device) - 0.5
    }

    /// Full size, or the small one.
    fn size(&self, full: usize, toy: usize) -> usize {
        if self.toy { toy } else { full }
    }

    /// The matrix that element-wise operations and reductions work on.
    fn matrix(&self) -> [usize; 2] {
        [self.size(1024, 24), self.size(1024, 40)]
    }

    /// Indices that are spread over a range.
    fn indices(&self, count: usize, bound: usize) -> Tensor<B> {
        let indices = (0..count).map(|i| (i * 2_654_435_761 % bound) as i32).collect();
        Tensor::from_vec(indices, count, self.device)
    }

    /// A function of the matrix and of another operand of this shape, which is broadcast.
    fn zip(&self, shape: &[usize], f: impl Fn(&Tensor<B>, &Tensor<B>) -> Tensor<B> + 'static) -> Prepared {
        let size = self.matrix();
        let (n, x, y) = (size[0] * size[1], self.rand(size), self.rand(shape));
        let bytes = f32s(2 * n + y.numel());
        prepared(format!("{size:?}, {shape:?}"), bytes, n, move || drop(f(&x, &y)))
    }

    /// A function of the matrix, with the number of results and the arithmetic per element.
    fn fold(
        &self,
        results: fn([usize; 2]) -> usize,
        flops: usize,
        f: impl Fn(&Tensor<B>) -> Tensor<B> + 'static,
    ) -> Prepared {
        let size = self.matrix();
        let (n, x) = (size[0] * size[1], self.rand(size));
        prepared(format!("{size:?}"), f32s(n + results(size)), flops * n, move || drop(f(&x)))
    }

    /// A function of the matrix with a result of the same size, bound by memory.
    fn map(&self, f: impl Fn(&Tensor<B>) -> Tensor<B> + 'static) -> Prepared {
        self.fold(|[rows, columns]| rows * columns, 0, f)
    }

    fn product(&self, a: Tensor<B>, b: Tensor<B>) -> Prepared {
        let (rank, flops) = (a.rank(), 2 * a.numel() * b.shape()[b.rank() - 1]);
        let out = a.numel() / a.shape()[rank - 1] * b.shape()[rank - 1];
        let bytes = f32s(a.numel() + b.numel() + out);
        prepared(format!("{:?} x {:?}", a.shape(), b.shape()), bytes, flops, move || drop(a.matmul(&b)))
    }

    fn conv(&self, x: [usize; 4], w: [usize; 4], options: Conv2dOptions, both_ways: bool) -> Prepared {
        let (x, w) = match self.toy {
            true => ([1, x[1].min(8), x[2].min(10), x[3].min(10)], [w[0].min(8), w[1].min(8), w[2], w[3]]),
            false => (x, w),
        };
        // The number of groups follows from the channels, which `toy` reduces.
        let options = options.groups(x[1] / w[1]);
        let size = options.output_size([x[2], x[3]], [w[2], w[3]]).unwrap_or_default();
        let pixels = x[0] * w[0] * size[0] * size[1];
        let ways = if both_ways { 3 } else { 1 };
        let bytes = ways * f32s(x.iter().product::<usize>() + w.iter().product::<usize>() + pixels);
        let flops = ways * 2 * pixels * w[1] * w[2] * w[3];
        let (text, g) = (format!("{x:?} * {w:?}"), self.rand([x[0], w[0], size[0], size[1]]));
        let [mut x, mut w, mut b] = [self.rand(x), self.rand(w), self.rand([w[0]])];
        if both_ways {
            [x, w, b] = [x, w, b].map(|x| x.requires_grad());
        }
        prepared(text, bytes, flops, move || {
            let y = x.conv2d(&w, Some(&b), options);
            if both_ways {
                drop(y.backward_with(&g));
            }
        })
    }

    /// The image that pools work on.
    fn image(&self) -> [usize; 4] {
        [self.size(16, 1), self.size(64, 4), self.size(56, 12), self.size(56, 12)]
    }

    fn pool(&self, options: PoolOptions<2>, f: fn(&Tensor<B>, PoolOptions<2>) -> Tensor<B>) -> Prepared {
        let size = self.image();
        let (x, out) = (self.rand(size), options.output_size([size[2], size[3]]).unwrap_or_default());
        let bytes = f32s(x.numel() + size[0] * size[1] * out[0] * out[1]);
        prepared(format!("{size:?}"), bytes, 0, move || drop(f(&x, options)))
    }
}

fn elementwise<B: Backend>(list: &mut Vec<(&'static str, Prepare<B>)>) {
    list.push(("map exp", |m| m.map(Tensor::exp)));
    list.push(("map relu", |m| m.map(Tensor::relu)));
    list.push(("map sin", |m| m.map(Tensor::sin)));
    list.push(("map + 1, in place", |m| {
        let size = m.matrix();
        let (mut x, empty) = (m.rand(size), m.rand([0]));
        let n = x.numel();
        prepared(format!("{size:?}"), f32s(2 * n), n, move || {
            let owned = std::mem::replace(&mut x, empty.clone());
            x = owned + 1.0;
        })
    }));
    list.push(("add, one element", |m| {
        let (x, y) = (m.rand([1]), m.rand([1]));
        prepared("[1], [1]", f32s(3), 1, move || drop(&x + &y))
    }));
    list.push(("add, equal shapes", |m| m.zip(&m.matrix(), |x, y| x + y)));
    list.push(("add, row broadcast", |m| m.zip(&[m.matrix()[1]], |x, y| x + y)));
    list.push(("add, column broadcast", |m| m.zip(&[m.matrix()[0], 1], |x, y| x + y)));
    list.push(("add, transposed operand", |m| {
        let [rows, columns] = m.matrix();
        m.zip(&[columns, rows], |x, y| x + y.t())
    }));
    list.push(("add, in place", |m| {
        let size = m.matrix();
        let (mut x, y, empty) = (m.rand(size), m.rand(size), m.rand([0]));
        let n = y.numel();
        prepared(format!("{size:?}, {size:?}"), f32s(3 * n), n, move || {
            let owned = std::mem::replace(&mut x, empty.clone());
            x = owned + &y;
        })
    }));
    list.push(("less than", |m| {
        let size = m.matrix();
        let (x, y) = (m.rand(size), m.rand(size));
        let n = y.numel();
        prepared(format!("{size:?}, {size:?}"), f32s(2 * n) + n, 0, move || drop(x.lt(&y)))
    }));
    list.push(("where", |m| {
        let size = m.matrix();
        let (x, y) = (m.rand(size), m.rand(size));
        let (n, c) = (y.numel(), x.lt(&y));
        prepared(format!("{size:?} three times"), f32s(3 * n) + n, 0, move || drop(Tensor::where_cond(&c, &x, &y)))
    }));
}

fn reductions<B: Backend>(list: &mut Vec<(&'static str, Prepare<B>)>) {
    list.push(("sum over the last", |m| m.fold(|[rows, _]| rows, 1, |x| x.sum(-1))));
    list.push(("sum over the first", |m| m.fold(|[_, columns]| columns, 1, |x| x.sum(0))));
    list.push(("sum over all", |m| m.fold(|_| 1, 1, |x| x.sum(..))));
    list.push(("max over the last", |m| m.fold(|[rows, _]| rows, 0, |x| x.max(-1))));
    list.push(("argmax over the last", |m| m.fold(|[rows, _]| rows, 0, |x| x.argmax(-1))));
    list.push(("cumsum along the last", |m| m.fold(|[r, c]| r * c, 1, |x| x.cumsum(-1))));
}

fn products<B: Backend>(list: &mut Vec<(&'static str, Prepare<B>)>) {
    list.push(("matmul, small", |m| m.product(m.rand([32, 32]), m.rand([32, 32]))));
    list.push(("matmul, square", |m| {
        let n = m.size(1024, 48);
        m.product(m.rand([n, n]), m.rand([n, n]))
    }));
    list.push(("matmul, transposed", |m| {
        let [rows, k, columns] = [m.size(1024, 33), m.size(512, 40), m.size(768, 24)];
        m.product(m.rand([k, rows]).t(), m.rand([columns, k]).t())
    }));
    list.push(("matmul, batched", |m| {
        let [batch, rows, k] = [m.size(16, 2), m.size(128, 20), m.size(64, 16)];
        m.product(m.rand([batch, rows, k]), m.rand([batch, k, rows]))
    }));
    list.push(("matmul, long k", |m| {
        let k = m.size(16384, 600);
        m.product(m.rand([64, k]), m.rand([k, 64]))
    }));
    list.push(("matmul, matrix x vector", |m| {
        let n = m.size(2048, 64);
        m.product(m.rand([n, n]), m.rand([n, 1]))
    }));
    list.push(("linear with relu", |m| {
        let [rows, k, columns] = [m.size(64, 8), m.size(784, 40), m.size(128, 16)];
        let (x, w, b) = (m.rand([rows, k]), m.rand([columns, k]), m.rand([columns]));
        let bytes = f32s(x.numel() + w.numel() + b.numel() + rows * columns);
        prepared(format!("[{rows}, {k}], [{columns}, {k}]"), bytes, 2 * rows * k * columns, move || {
            drop(x.linear_activated(&w, Some(&b), Activation::Relu));
        })
    }));
}

fn convolutions<B: Backend>(list: &mut Vec<(&'static str, Prepare<B>)>) {
    list.push(("conv1d, 3 words", |m| {
        let (n, maps) = (m.size(50, 2), m.size(100, 4));
        let (x, w, b) = (m.rand([n, 128, 40]), m.rand([maps, 128, 3]), m.rand([maps]));
        let pixels = n * maps * 38;
        let bytes = f32s(x.numel() + w.numel() + pixels);
        prepared(format!("[{n}, 128, 40] * [{maps}, 128, 3]"), bytes, 2 * pixels * 128 * 3, move || {
            drop(x.conv1d(&w, Some(&b), Conv1dOptions::default()));
        })
    }));
    list.push(("conv2d 5 x 5, few channels", |m| {
        m.conv([64, 1, 28, 28], [6, 1, 5, 5], Conv2dOptions::default().padding(2), false)
    }));
    list.push(("conv2d 5 x 5", |m| m.conv([64, 6, 14, 14], [16, 6, 5, 5], Conv2dOptions::default(), false)));
    list.push(("conv2d 1 x 1", |m| m.conv([8, 256, 14, 14], [512, 256, 1, 1], Conv2dOptions::default(), false)));
    list.push(("conv2d 3 x 3", |m| {
        m.conv([8, 64, 56, 56], [64, 64, 3, 3], Conv2dOptions::default().padding(1), false)
    }));
    list.push(("conv2d 3 x 3, small images", |m| {
        m.conv([64, 16, 14, 14], [96, 16, 3, 3], Conv2dOptions::default().padding(1), false)
    }));
    list.push(("conv2d 3 x 3, stride 2", |m| {
        m.conv([8, 64, 56, 56], [128, 64, 3, 3], Conv2dOptions::default().stride(2).padding(1), false)
    }));
    list.push(("conv2d 3 x 3, depthwise", |m| {
        m.conv([8, 64, 56, 56], [64, 1, 3, 3], Conv2dOptions::default().padding(1), false)
    }));
    list.push(("conv2d 3 x 3, both ways", |m| {
        m.conv([8, 64, 56, 56], [64, 64, 3, 3], Conv2dOptions::default().padding(1), true)
    }));
    list.push(("max pool 2 x 2", |m| m.pool(Pool2dOptions::new(2), |x, options| x.max_pool2d(options))));
    list.push(("max pool 3 x 3, stride 2", |m| {
        m.pool(Pool2dOptions::new(3).stride(2), |x, options| x.max_pool2d(options))
    }));
    list.push(("avg pool 2 x 2", |m| m.pool(Pool2dOptions::new(2), |x, options| x.avg_pool2d(options))));
}

fn layers<B: Backend>(list: &mut Vec<(&'static str, Prepare<B>)>) {
    list.push(("softmax, last", |m| m.map(|x| x.softmax(-1))));
    list.push(("softmax, first", |m| m.map(|x| x.softmax(0))));
    list.push(("log-softmax, last", |m| m.map(|x| x.log_softmax(-1))));
    list.push(("layer norm", |m| {
        let [_, columns] = m.matrix();
        let (w, b) = (m.rand([columns]), m.rand([columns]));
        m.map(move |x| x.layer_norm([columns], Some(&w), Some(&b), 1e-5))
    }));
    list.push(("batch norm, training", |m| {
        let size = m.image();
        let (x, layer) = (m.rand(size), BatchNorm2d::new(size[1], m.device));
        prepared(format!("{size:?}"), f32s(2 * x.numel()), 0, move || drop(layer.forward(&x)))
    }));
    list.push(("cross-entropy", |m| {
        let (rows, classes) = (m.size(1024, 24), m.size(1000, 10));
        let (x, target) = (m.rand([rows, classes]), m.indices(rows, classes));
        prepared(format!("[{rows}, {classes}], [{rows}]"), f32s(x.numel()), 0, move || drop(x.cross_entropy(&target)))
    }));
    list.push(("dropout", |m| m.fold(|[r, c]| r * c, 1, |x| x.dropout(0.5))));
    list.push(("Adam step", |m| {
        let [inputs, outputs] = m.matrix();
        let mut model = Linear::new(inputs, outputs, m.device).without_bias();
        let grads = model.forward(&m.rand([1, inputs])).sum(..).backward();
        let (mut adam, n) = (Adam::new(1e-3), inputs * outputs);
        prepared(format!("[{outputs}, {inputs}]"), f32s(7 * n), 0, move || adam.step(&mut model, &grads))
    }));
    list.push(("SGD step", |m| {
        let [inputs, outputs] = m.matrix();
        let mut model = Linear::new(inputs, outputs, m.device).without_bias();
        let grads = model.forward(&m.rand([1, inputs])).sum(..).backward();
        let (mut sgd, n) = (Sgd::new(1e-6), inputs * outputs);
        prepared(format!("[{outputs}, {inputs}]"), f32s(3 * n), 2 * n, move || sgd.step(&mut model, &grads))
    }));
}

fn moves<B: Backend>(list: &mut Vec<(&'static str, Prepare<B>)>) {
    list.push(("gather, last", |m| {
        let [rows, columns] = m.matrix();
        let (x, index) = (m.rand([rows, columns]), m.indices(rows * columns, columns).reshape([rows, columns]));
        prepared(format!("[{rows}, {columns}] at as many"), f32s(3 * x.numel()), 0, move || drop(x.gather(-1, &index)))
    }));
    list.push(("embedding", |m| {
        let [tokens, words, width] = [m.size(2000, 60), m.size(100_000, 200), m.size(100, 5)];
        let (table, index) = (m.rand([words, width]), m.indices(tokens, words));
        prepared(format!("[{words}, {width}] at [{tokens}]"), f32s(2 * tokens * width + tokens), 0, move || {
            drop(table.index_select(0, &index));
        })
    }));
    list.push(("scatter-add", |m| {
        let [count, bins] = [m.size(1 << 18, 300), m.size(1000, 10)];
        let (zeros, index, x) = (Tensor::zeros([bins], m.device), m.indices(count, bins), m.rand([count]));
        prepared(format!("[{count}] to [{bins}]"), f32s(2 * count), count, move || {
            drop(zeros.scatter_add(0, &index, &x))
        })
    }));
    list.push(("sort, last", |m| m.map(|x| x.sort(-1, false).0)));
    list.push(("cat, first", |m| {
        let size = m.matrix();
        let parts = [m.rand(size), m.rand(size)];
        let bytes = f32s(4 * parts[0].numel());
        prepared(format!("{size:?} twice"), bytes, 0, move || drop(Tensor::cat(&parts, 0)))
    }));
    list.push(("cat, last", |m| {
        let size = m.matrix();
        let parts = [m.rand(size), m.rand(size)];
        let bytes = f32s(4 * parts[0].numel());
        prepared(format!("{size:?} twice"), bytes, 0, move || drop(Tensor::cat(&parts, 1)))
    }));
    list.push(("transposing copy", |m| m.map(|x| x.t().contiguous())));
    list.push(("copy of every second", |m| {
        let size = [m.matrix()[0], 2 * m.matrix()[1]];
        let (x, n) = (m.rand(size), size[0] * size[1]);
        prepared(format!("{size:?}"), f32s(n + n / 2), 0, move || {
            drop(x.reshape([size[0], size[1] / 2, 2]).narrow(2, 0, 1).contiguous());
        })
    }));
}
