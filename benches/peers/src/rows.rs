//! The rows of the table: a closed list. Every peer is told a row as JSON and prepares the same work from it.

use serde::{Deserialize, Serialize};

/// What is computed. Numbers come from [`fill`](crate::data::fill) with the seed that is named here.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Work {
    /// `[batch, m, k] x [batch, k, n]` (batch 0: matrices), seeds 1 and 2. Transposed: a is the transpose of a `[k, m]` in memory.
    Matmul { batch: usize, m: usize, k: usize, n: usize, transposed: bool },
    /// `[m, k] x [k]`, seeds 1 and 2.
    MatVec { m: usize, k: usize },
    /// `x + y` of n elements, seeds 1 and 2.
    Add { n: usize },
    /// `exp`, `tanh` or `relu` of n elements, seed 1.
    Unary { name: String, n: usize },
    /// `relu(tanh(x y + 0.5))` of n elements, seeds 1 and 2.
    Chain { n: usize },
    /// `[rows, columns] + [columns]`, seeds 1 and 2.
    BiasAdd { rows: usize, columns: usize },
    /// The sum of `[rows, columns]`, seed 1, over a dimension (-1: over both).
    Sum { rows: usize, columns: usize, dim: i64 },
    /// The maximum along the last dimension of `[rows, columns]`, seed 1, and where it is. Results: the maxima, then the places.
    MaxIndex { rows: usize, columns: usize },
    /// `softmax` or `log_softmax` along the last dimension of `[rows, columns]`, seed 1.
    Softmax { rows: usize, columns: usize, log: bool },
    /// Layer norm over the last dimension of `[rows, columns]`, seed 1; weight and bias of seeds 2 and 3; eps 1e-5.
    LayerNorm { rows: usize, columns: usize },
    /// Batch norm in training of `[n, c, h, w]`, seed 1, with weight and bias of seeds 2 and 3, eps 1e-5, running statistics kept with
    /// momentum 0.1, forward and backward under a gradient of seed 4. Results: y, gradients in x, weight, bias.
    BatchNorm { shape: [usize; 4] },
    /// The transpose of `[rows, columns]`, seed 1, in row-major order.
    Transpose { rows: usize, columns: usize },
    /// Convolution of x, seed 1, with w, seed 2, and a bias, seed 3. Backward: under a gradient of seed 4; results are then y and the
    /// gradients in x, w and the bias.
    Conv2d { x: [usize; 4], w: [usize; 4], stride: usize, padding: usize, backward: bool },
    /// The same of one dimension.
    Conv1d { x: [usize; 3], w: [usize; 3], backward: bool },
    /// Maxima of 2 x 2 windows of x, seed 1. Backward: under a gradient of seed 4; results are then y and the gradient in x.
    MaxPool { x: [usize; 4], backward: bool },
    /// Training steps. Results: the losses of three.
    Train { net: Net, batch: usize },
    /// LeNet forward, without gradients. Results: the logits.
    Infer { batch: usize },
    /// MNIST read from its four files, LeNet trained for an epoch of shuffled batches of 64 (Adam 1e-3) and tested. Results: 1 if 95 % of
    /// the test images are read rightly.
    Epoch,
}

/// Networks. Parameter i, counted in PyTorch's order, is of seed 100 + i, times 1 / sqrt(fan in) (elements per entry of the first
/// dimension); of one dimension it is 1 if it is a norm's weight, else 0. Inputs are of seed 1, target i is class `i % classes`.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Net {
    /// LeNet-5 on `[batch, 1, 28, 28]` (examples/mnist/model.rs), 10 classes, cross-entropy, Adam 1e-3.
    Lenet,
    /// 784-256-128-10 with ReLU, cross-entropy, Adam 1e-3.
    Mlp,
    /// Kim's text CNN on embedded words `[batch, 128, 40]`: convolutions of 3, 4 and 5 words to 100 maps each, ReLU, maximum over time,
    /// a linear layer to 2 classes, cross-entropy, Adam 1e-3.
    Kim,
    /// ResNet-20 on `[batch, 3, 32, 32]` (examples/resnet/model.rs), 10 classes, cross-entropy, SGD 0.01 with momentum 0.9.
    Resnet20,
    /// 2-10-10-1 with ReLU and a sigmoid at the end on `[batch, 2]`; the label is 1 where the product of both inputs is negative;
    /// `-mean(log(p y + (1 - p) (1 - y)))`, SGD 0.5.
    Xor,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    Gemm,
    Elementwise,
    Reduce,
    Conv,
    Train,
    Inference,
}

impl Group {
    pub const ALL: [Group; 6] =
        [Group::Gemm, Group::Elementwise, Group::Reduce, Group::Conv, Group::Train, Group::Inference];

    pub fn name(self) -> &'static str {
        match self {
            Group::Gemm => "GEMM",
            Group::Elementwise => "element-wise",
            Group::Reduce => "reduce and norm",
            Group::Conv => "conv",
            Group::Train => "train",
            Group::Inference => "inference",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Row {
    pub group: Group,
    pub name: String,
    pub work: Work,
    /// Multiplications plus additions at the least.
    pub flops: f64,
    /// Bytes read plus bytes written, each once.
    pub bytes: f64,
}

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |group, name: String, work, flops: f64, bytes: f64| {
        rows.push(Row { group, name, work, flops, bytes });
    };
    let matmul = |batch: usize, [m, k, n]: [usize; 3], transposed| {
        let b = batch.max(1) as f64;
        let (m_, k_, n_) = (m as f64, k as f64, n as f64);
        let bytes = 4.0 * b * (m_ * k_ + k_ * n_ + m_ * n_);
        (Work::Matmul { batch, m, k, n, transposed }, 2.0 * b * m_ * k_ * n_, bytes)
    };
    for n in [32, 64, 256, 512, 1024, 2048] {
        let (work, flops, bytes) = matmul(0, [n; 3], false);
        add(Group::Gemm, format!("{n} x {n} x {n}"), work, flops, bytes);
    }
    let (work, flops, bytes) = matmul(0, [64, 784, 128], false);
    add(Group::Gemm, "64 x 784 x 128".into(), work, flops, bytes);
    let (work, flops, bytes) = matmul(0, [1024, 512, 768], true);
    add(Group::Gemm, "1024 x 512 x 768, transposed".into(), work, flops, bytes);
    let (work, flops, bytes) = matmul(16, [128, 64, 128], false);
    add(Group::Gemm, "16 of 128 x 64 x 128".into(), work, flops, bytes);
    add(
        Group::Gemm,
        "matrix-vector 2048".into(),
        Work::MatVec { m: 2048, k: 2048 },
        2.0 * 2048f64.powi(2),
        4.0 * 2048f64.powi(2),
    );

    for (n, name) in [(1usize, "1"), (10_000, "10^4"), (1_000_000, "10^6"), (10_000_000, "10^7")] {
        add(Group::Elementwise, format!("add, {name}"), Work::Add { n }, n as f64, 12.0 * n as f64);
    }
    let n = 10_000_000;
    for name in ["exp", "tanh", "relu"] {
        let work = Work::Unary { name: name.into(), n };
        add(Group::Elementwise, format!("{name}, 10^7"), work, 0.0, 8.0 * n as f64);
    }
    add(Group::Elementwise, "relu(tanh(x y + 0.5)), 10^7".into(), Work::Chain { n }, 0.0, 12.0 * n as f64);
    let (rows_, columns) = (4096, 1024);
    let numel = (rows_ * columns) as f64;
    add(
        Group::Elementwise,
        "bias to 4096 rows of 1024".into(),
        Work::BiasAdd { rows: rows_, columns },
        numel,
        8.0 * numel,
    );

    for (dim, name) in [(0, "over rows"), (1, "over columns"), (-1, "of all")] {
        add(
            Group::Reduce,
            format!("sum {name}, 4096 x 1024"),
            Work::Sum { rows: rows_, columns, dim },
            numel,
            4.0 * numel,
        );
    }
    add(Group::Reduce, "max with index".into(), Work::MaxIndex { rows: rows_, columns }, 0.0, 4.0 * numel);
    add(Group::Reduce, "softmax".into(), Work::Softmax { rows: rows_, columns, log: false }, 0.0, 8.0 * numel);
    add(Group::Reduce, "log-softmax".into(), Work::Softmax { rows: rows_, columns, log: true }, 0.0, 8.0 * numel);
    add(Group::Reduce, "layer norm".into(), Work::LayerNorm { rows: rows_, columns }, 0.0, 8.0 * numel);
    let shape = [64, 32, 28, 28];
    let pixels = shape.iter().product::<usize>() as f64;
    // x and g are read, y and a gradient written.
    add(Group::Reduce, "batch norm, training, both ways".into(), Work::BatchNorm { shape }, 0.0, 16.0 * pixels);
    add(Group::Reduce, "transposing copy".into(), Work::Transpose { rows: rows_, columns }, 0.0, 8.0 * numel);

    let conv = |x: [usize; 4], w: [usize; 4], stride: usize, padding: usize| {
        let out = |size: usize, kernel: usize| (size + 2 * padding - kernel) / stride + 1;
        let places = x[0] * w[0] * out(x[2], w[2]) * out(x[3], w[3]);
        let direct = 2.0 * (places * w[1] * w[2] * w[3]) as f64;
        // Winograd's F(2 x 2, 3 x 3) needs 16 multiplications where a direct convolution needs 36, and any implementation may use it.
        let flops = if w[2..] == [3, 3] && stride == 1 { direct * 16.0 / 36.0 } else { direct };
        let bytes = 4.0 * (x.iter().product::<usize>() + w.iter().product::<usize>() + places) as f64;
        (flops, bytes)
    };
    for (name, x, w, stride, padding) in [
        ("LeNet 1 to 6, 5 x 5", [64, 1, 28, 28], [6, 1, 5, 5], 1, 2),
        ("LeNet 6 to 16, 5 x 5", [64, 6, 14, 14], [16, 6, 5, 5], 1, 0),
        ("64 channels, 3 x 3", [16, 64, 56, 56], [64, 64, 3, 3], 1, 1),
        ("256 channels, 3 x 3", [16, 256, 14, 14], [256, 256, 3, 3], 1, 1),
        ("64 to 128, 3 x 3, stride 2", [16, 64, 56, 56], [128, 64, 3, 3], 2, 1),
        ("256 to 1024, 1 x 1", [16, 256, 14, 14], [1024, 256, 1, 1], 1, 0),
    ] {
        let (flops, bytes) = conv(x, w, stride, padding);
        for backward in [false, true] {
            let work = Work::Conv2d { x, w, stride, padding, backward };
            // Both ways every tensor moves once, and its gradient.
            let (name, times, tensors) =
                if backward { (format!("{name}, both ways"), 3.0, 2.0) } else { (name.to_string(), 1.0, 1.0) };
            add(Group::Conv, name, work, times * flops, tensors * bytes);
        }
    }
    for backward in [false, true] {
        let (x, w) = ([50, 128, 40], [100, 128, 3]);
        let times = if backward { 3.0 } else { 1.0 };
        let flops = 2.0 * times * (50 * 38 * 100 * 128 * 3) as f64;
        let name = if backward { "text 128 to 100, 3 words, both ways" } else { "text 128 to 100, 3 words" };
        add(Group::Conv, name.into(), Work::Conv1d { x, w, backward }, flops, 4.0 * times * (50 * 40 * 228) as f64);
    }
    for backward in [false, true] {
        let name = if backward { "max pool 2 x 2, both ways" } else { "max pool 2 x 2" };
        let x = [64, 32, 28, 28];
        let bytes = if backward { 10.0 } else { 5.0 } * pixels;
        add(Group::Conv, name.into(), Work::MaxPool { x, backward }, 0.0, bytes);
    }

    // Multiplications and additions of a LeNet image forward; backward is twice that but for the first layer's input.
    let lenet = 2.0 * 416_520.0;
    for batch in [16, 64, 256] {
        let flops = batch as f64 * (3.0 * lenet - 2.0 * 117_600.0);
        add(Group::Train, format!("LeNet-5, Adam, batch {batch}"), Work::Train { net: Net::Lenet, batch }, flops, 0.0);
    }
    for (net, name, batch, flops) in [
        (Net::Mlp, "MLP 784-256-128-10, Adam", 64, 6.0 * 234_752.0 * 64.0),
        (Net::Kim, "Kim's text CNN, Adam", 50, 4.0 * 50.0 * 128.0 * 100.0 * (38.0 * 3.0 + 37.0 * 4.0 + 36.0 * 5.0)),
        (Net::Resnet20, "ResNet-20, SGD", 32, 6.0 * 40.8e6 * 32.0),
        (Net::Xor, "XOR net of 50 points, SGD", 50, 6.0 * 50.0 * 130.0),
    ] {
        add(Group::Train, format!("{name}, batch {batch}"), Work::Train { net, batch }, flops, 0.0);
    }
    for batch in [1, 1000] {
        add(Group::Inference, format!("LeNet-5, batch {batch}"), Work::Infer { batch }, lenet * batch as f64, 0.0);
    }
    let flops = 60_000.0 * (3.0 * lenet - 2.0 * 117_600.0) + 10_000.0 * lenet;
    add(Group::Inference, "MNIST: read, an epoch of LeNet-5, test".into(), Work::Epoch, flops, 0.0);
    rows
}

impl Row {
    /// Whether a call takes so long that one is a turn, and the runs' only one.
    pub fn is_long(&self) -> bool {
        self.work == Work::Epoch
    }
}
