//! One call of every operation, with operands of a [`Place`]'s dtype.

use crate::traced::Traced;
use minitorch_core::{Activation, CrossEntropyOptions, DType, Indexing, PadMode};
use std::cell::{Cell, RefCell};

pub(crate) type Tensor = minitorch_core::Tensor<Traced>;

/// The shape of an operand, from the number of those before it and the shape that the operation accepts.
pub(crate) type ShapeOf = fn(usize, &[usize]) -> Vec<usize>;

/// The source of a probe's operands.
pub(crate) struct Place {
    pub(crate) device: Traced,
    pub(crate) dtype: DType,
    /// Whether the call took an operand, or a placement, of the dtype.
    pub(crate) used: Cell<bool>,
    /// The leaves that the operands are; `None` for constants.
    pub(crate) leaves: Option<RefCell<Vec<Tensor>>>,
    /// The number of operands so far.
    pub(crate) count: Cell<usize>,
    /// The shapes of the operands.
    pub(crate) shape: ShapeOf,
}

impl Place {
    pub(crate) fn new(dtype: DType, leaves: Option<RefCell<Vec<Tensor>>>) -> Self {
        let shape = |_, shape: &[usize]| shape.to_vec();
        Place { device: Traced::new(), dtype, leaves, used: Cell::new(false), count: Cell::new(0), shape }
    }

    /// The shape of the next operand.
    fn next(&self, shape: &[usize]) -> Vec<usize> {
        (self.shape)(self.count.replace(self.count.get() + 1), shape)
    }

    /// Numbers in (0, 1) of the dtype; integers from 0 to 3 for I32.
    fn of(&self, shape: &[usize]) -> Tensor {
        self.numbers(&self.next(shape))
    }

    fn numbers(&self, shape: &[usize]) -> Tensor {
        self.used.set(true);
        self.device.quietly(|| {
            let n: usize = shape.iter().product();
            let spread = |i: usize| (0.37 + i as f64 * 0.618_034).fract();
            let x = match self.dtype {
                DType::F16 | DType::F32 | DType::F64 => {
                    let values: Vec<f64> = (0..n).map(|i| 0.05 + 0.9 * spread(i)).collect();
                    Tensor::from_slice(&values, shape, &self.device).cast(self.dtype)
                }
                DType::I32 => self.integers(4, shape),
                DType::Bool => {
                    let values: Vec<bool> = (0..n).map(|i| spread(i) > 0.5).collect();
                    Tensor::from_slice(&values, shape, &self.device)
                }
            };
            match &self.leaves {
                Some(leaves) if self.dtype.is_float() => {
                    let x = x.requires_grad();
                    leaves.borrow_mut().push(x.clone());
                    x
                }
                _ => x,
            }
        })
    }

    fn matrix(&self) -> Tensor {
        self.of(&[3, 4])
    }

    /// A constant matrix, other than [`matrix`](Place::matrix).
    fn target(&self) -> Tensor {
        self.device.quietly(|| {
            let x = self.of(&[3, 4]).detach();
            if x.rank() == 0 { x } else { x.flip(0).contiguous() }
        })
    }

    fn vector(&self) -> Tensor {
        self.of(&[4])
    }

    fn images(&self) -> Tensor {
        self.of(&[2, 4, 6, 6])
    }

    /// I32 in `0..bound`.
    fn ints(&self, bound: i32, shape: &[usize]) -> Tensor {
        self.integers(bound, &self.next(shape))
    }

    fn integers(&self, bound: i32, shape: &[usize]) -> Tensor {
        self.device.quietly(|| {
            let n: usize = shape.iter().product();
            let values: Vec<i32> = (0..n as i32).map(|i| (i * 7 + 1) % bound).collect();
            Tensor::from_slice(&values, shape, &self.device)
        })
    }

    fn mask(&self, shape: &[usize]) -> Tensor {
        self.device.quietly(|| self.ints(2, shape).cast(DType::Bool))
    }

    fn place(&self) -> (&Traced, DType) {
        self.used.set(true);
        (&self.device, self.dtype)
    }
}

/// A probe: the name of the operation's method, and a call of it.
pub(crate) type Probe = (&'static str, fn(&Place) -> Tensor);

/// Operators, which are not methods, and PyTorch's names for them.
pub(crate) const OPERATORS: [(&str, &str); 6] =
    [("+", "add"), ("-", "sub"), ("*", "mul"), ("/", "div"), ("-x", "neg"), ("!x", "logical_not")];

macro_rules! probes {
    ($($name:literal |$p:ident| $call:expr;)*) => {
        pub(crate) const PROBES: &[Probe] = &[$(($name, |$p| $call)),*];

        /// The source of each probe's call.
        pub(crate) const SOURCES: &[&str] = &[$(stringify!($call)),*];
    };
}

probes! {
    "+" |p| p.matrix() + p.vector();
    "-" |p| p.matrix() - p.vector();
    "*" |p| p.matrix() * p.vector();
    "/" |p| p.matrix() / p.vector();
    "-x" |p| -p.matrix();
    "!x" |p| !p.matrix();
    "abs" |p| p.matrix().abs();
    "sign" |p| p.matrix().sign();
    "square" |p| p.matrix().square();
    "recip" |p| p.matrix().recip();
    "powf" |p| p.matrix().powf(2.5);
    "sqrt" |p| p.matrix().sqrt();
    "rsqrt" |p| p.matrix().rsqrt();
    "exp" |p| p.matrix().exp();
    "expm1" |p| p.matrix().expm1();
    "log" |p| p.matrix().log();
    "log1p" |p| p.matrix().log1p();
    "log2" |p| p.matrix().log2();
    "sin" |p| p.matrix().sin();
    "cos" |p| p.matrix().cos();
    "tan" |p| p.matrix().tan();
    "atan" |p| p.matrix().atan();
    "sinh" |p| p.matrix().sinh();
    "cosh" |p| p.matrix().cosh();
    "tanh" |p| p.matrix().tanh();
    "erf" |p| p.matrix().erf();
    "sigmoid" |p| p.matrix().sigmoid();
    "relu" |p| p.matrix().relu();
    "leaky_relu" |p| p.matrix().leaky_relu(0.1);
    "elu" |p| p.matrix().elu(1.0);
    "gelu" |p| p.matrix().gelu();
    "gelu_tanh" |p| p.matrix().gelu_tanh();
    "silu" |p| p.matrix().silu();
    "hardswish" |p| p.matrix().hardswish();
    "softplus" |p| p.matrix().softplus();
    "floor" |p| p.matrix().floor();
    "ceil" |p| p.matrix().ceil();
    "round" |p| p.matrix().round();
    "trunc" |p| p.matrix().trunc();
    "clamp" |p| p.matrix().clamp(0.2, 0.8);
    "logical_not" |p| p.matrix().logical_not();
    "pow" |p| p.matrix().pow(&p.vector());
    "remainder" |p| p.matrix().remainder(p.vector());
    "maximum" |p| p.matrix().maximum(&p.vector());
    "minimum" |p| p.matrix().minimum(&p.vector());
    "logical_and" |p| p.matrix().logical_and(&p.vector());
    "logical_or" |p| p.matrix().logical_or(&p.vector());
    "logical_xor" |p| p.matrix().logical_xor(&p.vector());
    "eq" |p| p.matrix().eq(p.vector());
    "ne" |p| p.matrix().ne(p.vector());
    "lt" |p| p.matrix().lt(p.vector());
    "le" |p| p.matrix().le(p.vector());
    "gt" |p| p.matrix().gt(p.vector());
    "ge" |p| p.matrix().ge(p.vector());
    "isnan" |p| p.matrix().isnan();
    "isinf" |p| p.matrix().isinf();
    "isfinite" |p| p.matrix().isfinite();
    "isclose" |p| p.matrix().isclose(&p.vector(), 1e-5, 1e-8);
    "where_cond" |p| Tensor::where_cond(&p.mask(&[3, 4]), &p.matrix(), &p.vector());
    "masked_fill" |p| p.matrix().masked_fill(&p.mask(&[3, 4]), 1.0);
    "sum" |p| p.matrix().sum(0);
    "mean" |p| p.matrix().mean(0);
    "prod" |p| p.matrix().prod(0);
    "max" |p| p.matrix().max(0);
    "min" |p| p.matrix().min(0);
    "argmax" |p| p.matrix().argmax(0);
    "argmin" |p| p.matrix().argmin(0);
    "max_with_index" |p| p.matrix().max_with_index(0).0;
    "min_with_index" |p| p.matrix().min_with_index(0).0;
    "any" |p| p.matrix().any(0);
    "all" |p| p.matrix().all(0);
    "sum_to_shape" |p| p.matrix().sum_to_shape([4]);
    "var" |p| p.matrix().var(0, 1.0);
    "std" |p| p.matrix().std(0, 1.0);
    "norm" |p| p.matrix().norm(2.0, 0);
    "logsumexp" |p| p.matrix().logsumexp(0);
    "cumsum" |p| p.matrix().cumsum(0);
    "sort" |p| p.matrix().sort(0, false).0;
    "argsort" |p| p.matrix().argsort(0, false);
    "topk" |p| p.matrix().topk(2, 0, true).0;
    "matmul" |p| p.matrix().matmul(&p.of(&[4, 2]));
    "linear" |p| p.matrix().linear(&p.of(&[2, 4]), Some(&p.of(&[2])));
    "linear_activated" |p| p.matrix().linear_activated(&p.of(&[2, 4]), Some(&p.of(&[2])), Activation::Tanh);
    "dot" |p| p.vector().dot(&p.vector());
    "outer" |p| p.vector().outer(&p.vector());
    "mv" |p| p.matrix().mv(&p.vector());
    "mm" |p| p.matrix().mm(&p.of(&[4, 2]));
    "bmm" |p| p.of(&[2, 3, 4]).bmm(&p.of(&[2, 4, 5]));
    "einsum" |p| Tensor::einsum("bij,bjk->bik", &[&p.of(&[2, 3, 4]), &p.of(&[2, 4, 5])]);
    "conv2d" |p| p.images().conv2d(&p.of(&[3, 4, 3, 3]), Some(&p.of(&[3])), Default::default());
    "conv2d_activated" |p| p.images().conv2d_activated(&p.of(&[3, 4, 3, 3]), Some(&p.of(&[3])), Default::default(), Activation::Tanh);
    "conv1d" |p| p.of(&[2, 4, 6]).conv1d(&p.of(&[3, 4, 3]), None, Default::default());
    "conv_transpose2d" |p| p.images().conv_transpose2d(&p.of(&[4, 3, 3, 3]), None, Default::default(), 0);
    "max_pool2d" |p| p.images().max_pool2d(2);
    "max_pool2d_with_indices" |p| p.images().max_pool2d_with_indices(2).0;
    "max_pool1d" |p| p.of(&[2, 4, 6]).max_pool1d(2);
    "avg_pool2d" |p| p.images().avg_pool2d(2);
    "avg_pool1d" |p| p.of(&[2, 4, 6]).avg_pool1d(2);
    "adaptive_avg_pool2d" |p| p.images().adaptive_avg_pool2d(2);
    "adaptive_avg_pool1d" |p| p.of(&[2, 4, 6]).adaptive_avg_pool1d(2);
    "adaptive_max_pool2d" |p| p.images().adaptive_max_pool2d(2);
    "adaptive_max_pool1d" |p| p.of(&[2, 4, 6]).adaptive_max_pool1d(2);
    "interpolate_nearest" |p| p.images().interpolate_nearest(9);
    "interpolate_bilinear" |p| p.images().interpolate_bilinear(9, false);
    "batch_norm_tracked" |p| {
        let [y, ..] = p.images().batch_norm_tracked(None, None, 1e-5, [&p.vector(), &p.vector()], 0.1);
        y
    };
    "batch_norm" |p| p.images().batch_norm(Some(&p.vector()), Some(&p.vector()), 1e-5)[0].clone();
    "batch_norm_with" |p| p.images().batch_norm_with([&p.vector(), &p.vector()], None, None, 1e-5);
    "layer_norm" |p| p.matrix().layer_norm(4, Some(&p.vector()), Some(&p.vector()), 1e-5);
    "group_norm" |p| p.images().group_norm(2, Some(&p.vector()), Some(&p.vector()), 1e-5);
    "softmax" |p| p.matrix().softmax(1);
    "log_softmax" |p| p.matrix().log_softmax(1);
    "cross_entropy" |p| p.matrix().cross_entropy(&p.ints(4, &[3]));
    "cross_entropy_with" |p| p.matrix().cross_entropy_with(
        &p.ints(4, &[3]), &CrossEntropyOptions::default().label_smoothing(0.1)
    );
    "nll_loss" |p| p.matrix().nll_loss(&p.ints(4, &[3]));
    "mse_loss" |p| p.matrix().mse_loss(&p.target());
    "l1_loss" |p| p.matrix().l1_loss(&p.target());
    "huber_loss" |p| p.matrix().huber_loss(&p.target(), 1.0);
    "kl_div_loss" |p| p.matrix().kl_div_loss(&p.matrix());
    "bce_loss" |p| p.matrix().bce_loss(&p.target());
    "bce_with_logits_loss" |p| p.matrix().bce_with_logits_loss(&p.matrix());
    "gather" |p| p.matrix().gather(0, &p.ints(3, &[2, 4]));
    "scatter_add" |p| p.matrix().scatter_add(0, &p.ints(3, &[2, 4]), &p.of(&[2, 4]));
    "scatter" |p| p.matrix().scatter(0, &p.ints(3, &[2, 4]), &p.of(&[2, 4]));
    "index_select" |p| p.matrix().index_select(0, &p.ints(3, &[5]));
    "embedding" |p| p.matrix().embedding(&p.ints(3, &[2, 5]));
    "one_hot" |p| p.ints(3, &[5]).one_hot(3, p.place().1);
    "set" |p| {
        let mut x = p.matrix();
        x.set((1.., 2), p.of(&[2]));
        x
    };
    "cat" |p| Tensor::cat(&[p.matrix(), p.matrix()], 0);
    "stack" |p| Tensor::stack(&[p.matrix(), p.matrix()], 0);
    "pad" |p| p.matrix().pad([(1, 2)], 0.0);
    "pad_with" |p| p.matrix().pad_with([(1, 2)], PadMode::Reflect);
    "split" |p| p.matrix().split(2, 1)[0].clone();
    "split_sizes" |p| p.matrix().split_sizes(&[1, 3], 1)[0].clone();
    "chunk" |p| p.matrix().chunk(2, 1)[0].clone();
    "unbind" |p| p.matrix().unbind(1)[0].clone();
    "broadcast_tensors" |p| Tensor::broadcast_tensors(&[p.matrix(), p.vector()])[1].clone();
    "meshgrid" |p| Tensor::meshgrid(&[p.vector(), p.vector()], Indexing::Ij)[0].clone();
    "movedim" |p| p.matrix().movedim(0, 1);
    "flip" |p| p.matrix().flip(0);
    "roll" |p| p.matrix().roll(1, 0);
    "repeat" |p| p.matrix().repeat([2, 2]);
    "tile" |p| p.matrix().tile([2]);
    "repeat_interleave" |p| p.matrix().repeat_interleave(2, 0);
    "unfold" |p| p.matrix().unfold(1, 2, 1);
    "diagonal" |p| p.matrix().diagonal(0, 0, 1);
    "tril" |p| p.matrix().tril(0);
    "triu" |p| p.matrix().triu(0);
    "contiguous" |p| p.matrix().t().contiguous();
    "reshape" |p| p.matrix().reshape([2, 6]);
    "flatten" |p| p.matrix().flatten(..);
    "permute" |p| p.matrix().permute([1, 0]);
    "transpose" |p| p.matrix().transpose(0, 1);
    "t" |p| p.matrix().t();
    "expand" |p| p.vector().expand([3, 4]);
    "slice" |p| p.matrix().slice((1.., 0..2));
    "narrow" |p| p.matrix().narrow(0, 1, 2);
    "unsqueeze" |p| p.matrix().unsqueeze(0);
    "squeeze" |p| p.of(&[1, 3]).squeeze(0);
    "cast" |p| p.matrix().cast(if p.dtype == DType::F64 { DType::F32 } else { DType::F64 });
    "dropout" |p| p.matrix().dropout(0.5);
    "dropout2d" |p| p.images().dropout2d(0.5);
    "rand" |p| Tensor::rand([3], p.place());
    "randn" |p| Tensor::randn([3], p.place());
    "rand_like" |p| p.matrix().rand_like();
    "randn_like" |p| p.matrix().randn_like();
    "rand_bool" |p| Tensor::rand_bool([3], 0.5, &p.device);
    "randint" |p| Tensor::randint(0..4, [3], &p.device);
    "randperm" |p| Tensor::randperm(3, &p.device);
    "new" |p| Tensor::new([1.0, 2.0], &p.device);
    "from_slice" |p| Tensor::from_slice(&[1.0, 2.0], [2], &p.device);
    "full" |p| Tensor::full([3], 1.0, p.place());
    "zeros" |p| Tensor::zeros([3], p.place());
    "ones" |p| Tensor::ones([3], p.place());
    "full_like" |p| p.matrix().full_like(2.0);
    "zeros_like" |p| p.matrix().zeros_like();
    "ones_like" |p| p.matrix().ones_like();
    "arange" |p| Tensor::arange(0..4, &p.device);
    "arange_step" |p| Tensor::arange_step(0.0, 4.0, 1.0, p.place());
    "linspace" |p| Tensor::linspace(0.0, 1.0, 5, p.place());
    "eye" |p| Tensor::eye(3, p.place());
    "detach" |p| p.matrix().detach();
}
