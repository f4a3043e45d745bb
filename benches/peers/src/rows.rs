//! The rows of the table. Every peer receives a row's work as JSON and prepares the same computation from it.

use serde::{Deserialize, Serialize};

/// What is computed. Operands are [`fill`](crate::data::fill)ed from the seeds given here.
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
    /// The maximum along the last dimension of `[rows, columns]`, seed 1, and its index. Results: the maxima, then the indices.
    MaxIndex { rows: usize, columns: usize },
    /// `softmax` or `log_softmax` along the last dimension of `[rows, columns]`, seed 1.
    Softmax { rows: usize, columns: usize, log: bool },
    /// Layer norm over the last dimension of `[rows, columns]`, seed 1; weight and bias of seeds 2 and 3; eps 1e-5.
    LayerNorm { rows: usize, columns: usize },
    /// Batch norm in training mode of `[n, c, h, w]`, seed 1, with weight and bias of seeds 2 and 3, eps 1e-5 and running statistics with
    /// momentum 0.1, forward and backward with an output gradient of seed 4. Results: y and the gradients of x, weight and bias.
    BatchNorm { shape: [usize; 4] },
    /// The transpose of `[rows, columns]`, seed 1, in row-major order.
    Transpose { rows: usize, columns: usize },
    /// Convolution of x, seed 1, with w, seed 2, and a bias, seed 3. `backward`: also its gradients, with an output gradient of seed 4;
    /// results are then y and the gradients of x, w and the bias.
    Conv2d { x: [usize; 4], w: [usize; 4], stride: usize, padding: usize, backward: bool },
    /// The same in one dimension.
    Conv1d { x: [usize; 3], w: [usize; 3], backward: bool },
    /// Maxima of 2 x 2 windows of x, seed 1. `backward`: also the gradient, with an output gradient of seed 4; results are then y and the
    /// gradient of x.
    MaxPool { x: [usize; 4], backward: bool },
    /// A training step. Results: the losses of three steps.
    Train { net: Net, batch: usize },
    /// LeNet's forward pass, without gradients. Results: the logits.
    Infer { batch: usize },
    /// Reads MNIST's four files, trains LeNet for an epoch of shuffled batches of 64 (Adam 1e-3) and evaluates it. Results: 1 if the test
    /// accuracy is at least 95 %.
    Epoch,
}

/// Networks. Parameter i, in PyTorch's order, has seed 100 + i and is scaled by 1 / sqrt(fan in), the fan in being the elements per entry of
/// the first dimension; a parameter of one dimension is 1 if it is a norm's weight, else 0. Inputs have seed 1, target i is class
/// `i % classes`.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Net {
    /// LeNet-5 on `[batch, 1, 28, 28]` (examples/mnist/model.rs), 10 classes, cross-entropy, Adam 1e-3.
    Lenet,
    /// 784-256-128-10 with ReLU, cross-entropy, Adam 1e-3.
    Mlp,
    /// Kim's text CNN on embedded words `[batch, 128, 40]`: convolutions over 3, 4 and 5 words with 100 channels each, ReLU, maximum over
    /// time, a linear layer to 2 classes, cross-entropy, Adam 1e-3.
    Kim,
    /// ResNet-20 on `[batch, 3, 32, 32]` (examples/resnet/model.rs), 10 classes, cross-entropy, SGD 0.01 with momentum 0.9.
    Resnet20,
    /// 2-10-10-1 on `[batch, 2]` with ReLU and a final sigmoid; the label is 1 where the product of the inputs is negative; loss
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

    /// What `--part` calls it.
    pub fn part(self) -> &'static str {
        match self {
            Group::Gemm => "gemm",
            Group::Reduce => "reduce",
            other => other.name(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Row {
    pub group: Group,
    pub name: String,
    pub work: Work,
    pub least: Least,
}

/// The least that any implementation has to do.
#[derive(Clone, Copy, Default, Debug)]
pub struct Least {
    /// Multiplications plus additions.
    pub flops: f64,
    /// Bytes of the distinct operands that are read.
    pub reads: f64,
    /// Bytes of the results.
    pub writes: f64,
}

impl Least {
    /// `flops`, and numbers of f32 elements read and written.
    fn new(flops: usize, reads: usize, writes: usize) -> Self {
        Least { flops: flops as f64, reads: 4.0 * reads as f64, writes: 4.0 * writes as f64 }
    }
}

pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |group, name: String, work, least| rows.push(Row { group, name, work, least });
    gemm(&mut add);
    elementwise(&mut add);
    reduce(&mut add);
    conv(&mut add);
    networks(&mut add);
    rows
}

/// Takes group, name, work and least cost of a row.
type Add<'a> = &'a mut dyn FnMut(Group, String, Work, Least);

fn gemm(add: Add) {
    let mut matmul = |name: String, batch: usize, [m, k, n]: [usize; 3], transposed| {
        let b = batch.max(1);
        let least = Least::new(2 * b * m * k * n, b * (m * k + k * n), b * m * n);
        add(Group::Gemm, name, Work::Matmul { batch, m, k, n, transposed }, least);
    };
    for n in [32, 64, 256, 512, 1024, 2048] {
        matmul(format!("{n} x {n} x {n}"), 0, [n; 3], false);
    }
    matmul("64 x 784 x 128".into(), 0, [64, 784, 128], false);
    matmul("1024 x 512 x 768, transposed".into(), 0, [1024, 512, 768], true);
    matmul("16 of 128 x 64 x 128".into(), 16, [128, 64, 128], false);
    let (m, k) = (2048, 2048);
    add(Group::Gemm, "matrix-vector 2048".into(), Work::MatVec { m, k }, Least::new(2 * m * k, m * k + k, m));
}

/// The matrix of the rows below.
const ROWS: usize = 4096;
const COLUMNS: usize = 1024;

fn elementwise(add: Add) {
    let mut add = |name: String, work, least| add(Group::Elementwise, name, work, least);
    for (n, name) in [(1usize, "1"), (10_000, "10^4"), (1_000_000, "10^6"), (10_000_000, "10^7")] {
        add(format!("add, {name}"), Work::Add { n }, Least::new(n, 2 * n, n));
    }
    let n = 10_000_000;
    for name in ["exp", "tanh", "relu"] {
        add(format!("{name}, 10^7"), Work::Unary { name: name.into(), n }, Least::new(0, n, n));
    }
    add("relu(tanh(x y + 0.5)), 10^7".into(), Work::Chain { n }, Least::new(2 * n, 2 * n, n));
    let numel = ROWS * COLUMNS;
    let least = Least::new(numel, numel + COLUMNS, numel);
    add("bias to 4096 rows of 1024".into(), Work::BiasAdd { rows: ROWS, columns: COLUMNS }, least);
}

fn reduce(add: Add) {
    let mut add = |name: &str, work, least| add(Group::Reduce, name.into(), work, least);
    let (rows, columns, numel) = (ROWS, COLUMNS, ROWS * COLUMNS);
    for (dim, name, results) in [(0, "over rows", columns), (1, "over columns", rows), (-1, "of all", 1)] {
        let least = Least::new(numel, numel, results);
        add(&format!("sum {name}, 4096 x 1024"), Work::Sum { rows, columns, dim }, least);
    }
    add("max with index", Work::MaxIndex { rows, columns }, Least::new(0, numel, 2 * rows));
    for (name, log) in [("softmax", false), ("log-softmax", true)] {
        add(name, Work::Softmax { rows, columns, log }, Least::new(0, numel, numel));
    }
    add("layer norm", Work::LayerNorm { rows, columns }, Least::new(0, numel + 2 * columns, numel));
    let shape = [64, 32, 28, 28];
    let pixels = shape.iter().product::<usize>();
    // Reads x and the gradient of y, writes y and the gradient of x.
    let least = Least::new(0, 2 * pixels, 2 * pixels);
    add("batch norm, training, forward and backward", Work::BatchNorm { shape }, least);
    add("transposing copy", Work::Transpose { rows, columns }, Least::new(0, numel, numel));
}

fn conv(add: Add) {
    let mut add = |name: String, work, least| add(Group::Conv, name, work, least);
    for (name, x, w, stride, padding) in [
        ("LeNet 1 to 6, 5 x 5", [64, 1, 28, 28], [6, 1, 5, 5], 1, 2),
        ("LeNet 6 to 16, 5 x 5", [64, 6, 14, 14], [16, 6, 5, 5], 1, 0),
        ("64 channels, 3 x 3", [16, 64, 56, 56], [64, 64, 3, 3], 1, 1),
        ("256 channels, 3 x 3", [16, 256, 14, 14], [256, 256, 3, 3], 1, 1),
        ("64 to 128, 3 x 3, stride 2", [16, 64, 56, 56], [128, 64, 3, 3], 2, 1),
        ("256 to 1024, 1 x 1", [16, 256, 14, 14], [1024, 256, 1, 1], 1, 0),
    ] {
        for backward in [false, true] {
            let work = Work::Conv2d { x, w, stride, padding, backward };
            add(both(name, backward), work, conv_least(x, w, stride, padding, backward));
        }
    }
    for backward in [false, true] {
        let least = conv_least([50, 128, 1, 40], [100, 128, 1, 3], 1, 0, backward);
        let work = Work::Conv1d { x: [50, 128, 40], w: [100, 128, 3], backward };
        add(both("text 128 to 100, 3 words", backward), work, least);
    }
    for backward in [false, true] {
        let x = [64, 32, 28, 28];
        let (input, output) = (x.iter().product::<usize>(), x.iter().product::<usize>() / 4);
        let least = match backward {
            false => Least::new(0, input, output),
            true => Least::new(0, input + output, output + input),
        };
        add(both("max pool 2 x 2", backward), Work::MaxPool { x, backward }, least);
    }
}

fn both(name: &str, backward: bool) -> String {
    format!("{name}{}", if backward { ", forward and backward" } else { "" })
}

fn conv_least(x: [usize; 4], w: [usize; 4], stride: usize, padding: usize, backward: bool) -> Least {
    let out = |i: usize| (x[i] + 2 * padding - w[i]) / stride + 1;
    let output = x[0] * w[0] * out(2) * out(3);
    let direct = 2 * output * w[1] * w[2] * w[3];
    // Winograd's F(2 x 2, 3 x 3) takes 16 multiplications where a direct convolution takes 36, and every implementation may use it.
    let flops = if w[2..] == [3, 3] && stride == 1 { direct * 16 / 36 } else { direct };
    let (input, weight) = (x.iter().product::<usize>(), w.iter().product::<usize>());
    match backward {
        false => Least::new(flops, input + weight + w[0], output),
        // Reads the gradient of y too, and writes the gradients of x, w and the bias.
        true => Least::new(3 * flops, input + weight + w[0] + output, output + input + weight + w[0]),
    }
}

/// Rows of networks have a floor by arithmetic only: how many bytes must move depends on what an implementation fuses.
fn networks(add: Add) {
    let mut add = |group, name: String, work, flops: f64| add(group, name, work, Least { flops, ..Least::default() });
    // Multiply-adds per example of the forward pass, and those of the first layer, whose input needs no gradient.
    let step = |batch: usize, forward: f64, first: f64| 2.0 * batch as f64 * (3.0 * forward - first);
    let lenet = (416_520.0, 117_600.0);
    // The convolutions of 3 x 3 and stride 1 by Winograd, as above.
    let winograd = |direct: f64| direct * 16.0 / 36.0;
    let resnet = (winograd(38_191_104.0) + 2_622_080.0, winograd(442_368.0));
    let kim = 128.0 * 100.0 * (38.0 * 3.0 + 37.0 * 4.0 + 36.0 * 5.0);
    for (net, name, batch, (forward, first)) in [
        (Net::Lenet, "LeNet-5, Adam", 16, lenet),
        (Net::Lenet, "LeNet-5, Adam", 64, lenet),
        (Net::Lenet, "LeNet-5, Adam", 256, lenet),
        (Net::Mlp, "MLP 784-256-128-10, Adam", 64, (234_752.0, 200_704.0)),
        (Net::Kim, "Kim's text CNN, Adam", 50, (kim + 600.0, kim)),
        (Net::Resnet20, "ResNet-20, SGD", 32, resnet),
        (Net::Xor, "XOR net, SGD", 50, (130.0, 20.0)),
    ] {
        let flops = step(batch, forward, first);
        add(Group::Train, format!("{name}, batch {batch}"), Work::Train { net, batch }, flops);
    }
    for batch in [1, 1000] {
        add(Group::Inference, format!("LeNet-5, batch {batch}"), Work::Infer { batch }, 2.0 * lenet.0 * batch as f64);
    }
    let flops = step(60_000, lenet.0, lenet.1) + 10_000.0 * 2.0 * lenet.0;
    add(Group::Inference, "MNIST: read, an epoch of LeNet-5, test".into(), Work::Epoch, flops);
}

impl Row {
    /// Whether one call per run is enough, because a call takes seconds.
    pub fn is_long(&self) -> bool {
        self.work == Work::Epoch
    }
}
