//! Derivatives: `f(x + h) - f(x - h)) / 2h` in F64 for the first derivative of every differentiable operation, and for the second of
//! those with more than one term, at points of order 1 away from kinks; F32 gradients against the oracle's F64 ones.

use crate::Suite;
use minitorch_core::backend::{Backend, Device};
use minitorch_core::random::Draw;
use minitorch_core::{Conv1dOptions, Conv2dOptions, CrossEntropyOptions, Pool2dOptions, Tensor};

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    unary(suite);
    binary(suite);
    reductions(suite);
    products(suite);
    layers(suite);
    movement(suite);
}

fn unary<B: Backend>(suite: &mut Suite<B>) {
    check!(suite, "arithmetic", 2, |d| [d.uniform(0.5, 2.0, [7])], |[x]| {
        (2.0 - x) * (x + 1.0) / 3.0 + 1.5 / (x * 2.0) - x
    });
    check!(suite, "neg_abs", 1, |d| [d.uniform(-2.0, -0.1, [7])], |[x]| -x.abs());
    check!(suite, "square", 2, |d| [d.uniform(-2.0, 2.0, [7])], |[x]| x.square());
    check!(suite, "powf", 2, |d| [d.uniform(0.5, 2.0, [7])], |[x]| {
        x.powf(2.5) + x.powf(-1.5) + x.powf(3.0) + x.powf(1.0) + x.powf(0.0)
    });
    check!(suite, "powf_of_negative", 2, |d| [d.uniform(-2.0, -0.5, [7])], |[x]| {
        x.powf(3.0) + x.powf(2.0) + x.powf(-2.0)
    });
    check!(suite, "roots", 2, |d| [d.uniform(0.5, 2.0, [7])], |[x]| x.sqrt() + x.rsqrt() + x.recip());
    check!(suite, "exp", 2, |d| [d.uniform(-2.0, 2.0, [7])], |[x]| x.exp());
    check!(suite, "expm1", 2, |d| [d.uniform(-2.0, 2.0, [7])], |[x]| x.expm1());
    check!(suite, "log", 2, |d| [d.uniform(0.5, 3.0, [7])], |[x]| x.log() + x.log1p() * x.log2());
    check!(suite, "tan_atan", 2, |d| [d.uniform(-1.2, 1.2, [7])], |[x]| x.tan() + x.atan() * 2.0);
    check!(suite, "sinh_cosh", 2, |d| [d.uniform(-1.5, 1.5, [7])], |[x]| x.sinh() * 2.0 + x.cosh());
    check!(suite, "elu", 2, |d| [d.uniform(-2.0, 2.0, [17])], |[x]| x.elu(0.7) * x);
    check!(suite, "hardswish", 2, |d| [d.uniform(-5.0, 5.0, [17])], |[x]| x.hardswish());
    check!(suite, "remainder", 1, |d| [d.uniform(-5.0, 5.0, [7]), d.uniform(1.0, 2.0, [7])], |[a, b]| {
        a.remainder(b) + a.remainder(0.7) - a.trunc()
    });
    check!(suite, "sin_cos", 2, |d| [d.uniform(-3.0, 3.0, [7])], |[x]| x.sin() * 2.0 + x.cos());
    check!(suite, "tanh", 2, |d| [d.uniform(-1.5, 1.5, [7])], |[x]| x.tanh());
    check!(suite, "erf", 2, |d| [d.uniform(-1.5, 1.5, [7])], |[x]| x.erf());
    check!(suite, "sigmoid", 2, |d| [d.uniform(-3.0, 3.0, [7])], |[x]| x.sigmoid());
    check!(suite, "relu", 2, |d| [d.uniform(-2.0, 2.0, [17])], |[x]| {
        x.square().relu() + x.relu() * x + x.leaky_relu(0.2) * x
    });
    check!(suite, "gelu", 2, |d| [d.uniform(-2.0, 2.0, [7])], |[x]| x.gelu());
    check!(suite, "gelu_tanh", 2, |d| [d.uniform(-2.0, 2.0, [7])], |[x]| x.gelu_tanh());
    check!(suite, "silu", 2, |d| [d.uniform(-2.0, 2.0, [7])], |[x]| x.silu());
    check!(suite, "softplus", 2, |d| [d.uniform(-2.0, 2.0, [7])], |[x]| x.softplus());
    check!(suite, "clamp", 2, |d| [d.uniform(-2.0, 2.0, [17])], |[x]| x.clamp(-0.8, 0.9) * x);
}

fn binary<B: Backend>(suite: &mut Suite<B>) {
    check!(suite, "add_sub", 2, |d| [d.uniform(-2.0, 2.0, [3, 4]), d.uniform(-2.0, 2.0, [4])], |[a, b]| {
        (a + b) * (a - b)
    });
    check!(suite, "mul", 2, |d| [d.uniform(-2.0, 2.0, [3, 1]), d.uniform(-2.0, 2.0, [4])], |[a, b]| a * b);
    check!(suite, "div", 2, |d| [d.uniform(-2.0, 2.0, [3, 4]), d.uniform(0.5, 2.0, [4])], |[a, b]| a / b);
    check!(suite, "pow", 2, |d| [d.uniform(0.5, 2.0, [3, 4]), d.uniform(-1.5, 2.0, [4])], |[a, b]| a.pow(b));
    check!(suite, "extremes", 2, |d| [d.uniform(-2.0, 2.0, [3, 4]), d.uniform(-2.0, 2.0, [4])], |[a, b]| {
        a.maximum(b) * a + a.minimum(b) * b
    });
    check!(suite, "where", 2, |d| [d.uniform(-2.0, 2.0, [3, 4]), d.uniform(0.5, 2.0, [4])], |[a, b]| {
        Tensor::where_cond(&a.detach().gt(0.0), &(a * b), &b.square())
    });
    check!(suite, "masked_fill", 2, |d| [d.uniform(-2.0, 2.0, [3, 4])], |[a]| {
        a.square().masked_fill(&a.detach().gt(0.5), 3.0)
    });
}

fn reductions<B: Backend>(suite: &mut Suite<B>) {
    check!(suite, "sum_mean", 2, |d| [d.uniform(-2.0, 2.0, [3, 4, 2])], |[x]| {
        x.square().sum([0, 2]) + x.mean_keepdim(2).sum(0).sum(1) * x.sum(..)
    });
    check!(suite, "prod", 2, |d| [d.uniform(0.5, 1.5, [3, 4])], |[x]| x.prod(1));
    check!(suite, "prod_with_zeros", 2, |d| [d.list(&[0.5, 0.0, 2.0, 1.5, 0.0, 0.0, 1.0, 2.0, 3.0], [3, 3])], |[x]| {
        x.prod(1)
    });
    check!(
        suite,
        "prod_of_two_dims_with_zeros",
        2,
        |d| [d.list(&[0.5, 0.0, 2.0, 1.5, 0.7, 1.1, 1.0, 2.0], [2, 2, 2])],
        |[x]| { x.prod([0, 2]) }
    );
    check!(suite, "max_min", 2, |d| [d.uniform(-2.0, 2.0, [3, 4])], |[x]| {
        x.max(1) * x.min_keepdim([0, 1]).sum(..) + x.square().max(-1)
    });
    check!(suite, "var_std", 2, |d| [d.uniform(-2.0, 2.0, [3, 4])], |[x]| x.var(1, 1.0) + x.std(1, 0.0));
    check!(suite, "logsumexp", 2, |d| [d.uniform(-2.0, 2.0, [3, 4])], |[x]| x.logsumexp(1));
    check!(suite, "norm", 2, |d| [d.uniform(0.5, 2.0, [3, 4])], |[x]| {
        x.norm(2.0, 1)
            + x.norm(1.0, 1)
            + x.norm(3.5, 1)
            + x.norm(0.5, 1)
            + x.norm(-1.0, 1)
            + x.norm(f64::INFINITY, 1)
            + x.norm(f64::NEG_INFINITY, 1)
            + x.norm(0.0, 1)
    });
    check!(suite, "sum_to_shape", 2, |d| [d.uniform(-2.0, 2.0, [3, 4])], |[x]| x.square().sum_to_shape([3, 1]) * x);
}

fn products<B: Backend>(suite: &mut Suite<B>) {
    check!(suite, "matmul", 2, |d| [d.uniform(-1.0, 1.0, [3, 4]), d.uniform(-1.0, 1.0, [4, 2])], |[a, b]| a.matmul(b));
    check!(
        suite,
        "matmul_batched",
        2,
        |d| [d.uniform(-1.0, 1.0, [2, 1, 2, 3]), d.uniform(-1.0, 1.0, [2, 3, 2])],
        |[a, b]| { a.matmul(b) }
    );
    check!(suite, "matmul_flattened", 2, |d| [d.uniform(-1.0, 1.0, [2, 2, 3]), d.uniform(-1.0, 1.0, [3, 2])], |[
        a,
        b,
    ]| a
        .matmul(b));
    check!(suite, "matmul_vectors", 2, |d| [d.uniform(-1.0, 1.0, [3]), d.uniform(-1.0, 1.0, [3, 2])], |[a, b]| {
        a.matmul(b).matmul(&b.t().matmul(a))
    });
    check!(
        suite,
        "linear",
        2,
        |d| [d.uniform(-1.0, 1.0, [3, 4]), d.uniform(-1.0, 1.0, [2, 4]), d.uniform(-1.0, 1.0, [2])],
        |[x, w, b]| { x.linear(w, Some(b)) }
    );
    check!(suite, "linear_batched", 2, |d| [d.uniform(-1.0, 1.0, [2, 2, 3]), d.uniform(-1.0, 1.0, [2, 3])], |[
        x,
        w,
    ]| x
        .linear(w, None));
}

fn layers<B: Backend>(suite: &mut Suite<B>) {
    check!(
        suite,
        "conv2d",
        2,
        |d| [d.uniform(-1.0, 1.0, [2, 2, 4, 3]), d.uniform(-1.0, 1.0, [2, 2, 2, 2]), d.uniform(-1.0, 1.0, [2])],
        |[x, w, b]| { x.conv2d(w, Some(b), Conv2dOptions::default().stride([2, 1]).padding(1)) }
    );
    check!(
        suite,
        "conv2d_grouped",
        2,
        |d| [d.uniform(-1.0, 1.0, [1, 4, 5, 4]), d.uniform(-1.0, 1.0, [2, 2, 2, 2]), d.uniform(-1.0, 1.0, [2])],
        |[x, w, b]| { x.conv2d(w, Some(b), Conv2dOptions::default().dilation([2, 1]).groups(2)) }
    );
    check!(
        suite,
        "conv2d_strided_past_its_kernel",
        2,
        |d| [d.uniform(-1.0, 1.0, [1, 1, 6, 6]), d.uniform(-1.0, 1.0, [1, 1, 2, 1])],
        |[x, w]| { x.conv2d(w, None, Conv2dOptions::default().stride(3)) }
    );
    check!(
        suite,
        "conv1d",
        2,
        |d| [d.uniform(-1.0, 1.0, [2, 2, 7]), d.uniform(-1.0, 1.0, [2, 2, 3]), d.uniform(-1.0, 1.0, [2])],
        |[x, w, b]| { x.conv1d(w, Some(b), Conv1dOptions::default().stride(2).padding(1)) }
    );
    check!(
        suite,
        "conv_transpose2d",
        2,
        |d| [d.uniform(-1.0, 1.0, [1, 2, 3, 2]), d.uniform(-1.0, 1.0, [2, 2, 2, 3]), d.uniform(-1.0, 1.0, [2])],
        |[x, w, b]| { x.conv_transpose2d(w, Some(b), Conv2dOptions::default().stride([2, 1]).padding([0, 1]), [1, 0]) }
    );
    check!(suite, "max_pool2d", 2, |d| [d.uniform(-1.0, 1.0, [1, 2, 4, 5])], |[x]| {
        x.square().max_pool2d(Pool2dOptions::new(3).stride(1).padding(1))
    });
    check!(suite, "avg_pool2d", 2, |d| [d.uniform(-1.0, 1.0, [1, 2, 4, 5])], |[x]| {
        x.square().avg_pool2d(Pool2dOptions::new([2, 3]).stride(2).padding(1).count_include_pad(false))
    });
    check!(suite, "pool1d", 2, |d| [d.uniform(-1.0, 1.0, [1, 2, 7])], |[x]| x.square().max_pool1d(2) * x.avg_pool1d(2));
    check!(suite, "softmax", 2, |d| [d.uniform(-1.0, 1.0, [3, 4])], |[x]| x.softmax(1) + x.softmax(0));
    check!(suite, "log_softmax", 2, |d| [d.uniform(-1.0, 1.0, [3, 4])], |[x]| x.log_softmax(1) + x.log_softmax(0));
    check!(suite, "cross_entropy", 2, |d| [d.uniform(-1.0, 1.0, [3, 4])], |[x]| {
        x.cross_entropy(&Tensor::from_slice(&[2, 0, 3], [3], x.device())) * 3.0
    });
    check!(suite, "nll_loss", 2, |d| [d.uniform(-1.0, 1.0, [3, 4])], |[x]| {
        x.log_softmax(-1).nll_loss(&Tensor::from_slice(&[2, 0, 3], [3], x.device())) * 3.0
    });
    check!(suite, "losses", 2, |d| [d.uniform(0.2, 0.8, [6]), d.uniform(0.1, 0.9, [6])], |[x, t]| {
        x.mse_loss(t) + x.bce_loss(t) + x.bce_with_logits_loss(t)
    });
    check!(suite, "more_losses", 2, |d| [d.uniform(-2.0, 2.0, [6]), d.uniform(0.1, 0.9, [6])], |[x, t]| {
        x.l1_loss(t) * 2.0 + x.huber_loss(t, 0.7) * 3.0 + x.kl_div_loss(t)
    });
    check!(suite, "cross_entropy_with", 2, |d| [d.uniform(-1.0, 1.0, [3, 4]), d.uniform(0.5, 1.5, [4])], |[x, w]| {
        let target = Tensor::from_slice(&[2, -1, 3], [3], x.device());
        let options = CrossEntropyOptions::default().weight(w).ignore_index(-1).label_smoothing(0.2);
        x.cross_entropy_with(&target, &options) * 3.0
    });
    check!(suite, "cross_entropy_soft", 2, |d| [d.uniform(-1.0, 1.0, [3, 4]), d.uniform(0.1, 0.9, [3, 4])], |[
        x,
        t,
    ]| {
        x.cross_entropy_with(t, &CrossEntropyOptions::default().label_smoothing(0.1)) * 3.0
    });
    check!(suite, "dropout", 2, |d| [d.uniform(0.5, 1.0, [17])], |[x]| {
        // The same mask at every evaluation: the function is deterministic.
        x.device().rng().restore(Draw { seed: 3, index: 5 });
        x.square().dropout(0.4)
    });
}

fn movement<B: Backend>(suite: &mut Suite<B>) {
    check!(suite, "slice", 2, |d| [d.uniform(-1.0, 1.0, [3, 4])], |[x]| {
        x.slice((1.., ..-1)).square() * x.slice((0, 1..))
    });
    check!(suite, "parts", 2, |d| [d.uniform(-1.0, 1.0, [4, 4])], |[x]| {
        let (rows, parts) = (x.unbind(0), x.split(3, 1));
        let overlapping = (0..3).map(|i| x.narrow(0, i, 2).square().sum(0)).collect::<Vec<_>>();
        Tensor::stack(&rows, 1) * x
            + Tensor::cat(&parts, 1).exp()
            + rows[1].square() * &rows[2] * x.diagonal(0, 0, 1)
            + Tensor::stack(&overlapping, 0).sum(0)
            + parts[1].tanh() * x.slice((1, 2))
    });
    check!(suite, "permute", 2, |d| [d.uniform(-1.0, 1.0, [2, 3, 4])], |[x]| {
        x.permute([2, 0, 1]).square().transpose(0, 1)
    });
    check!(suite, "reshape_expand", 2, |d| [d.uniform(-1.0, 1.0, [3, 4])], |[x]| {
        x.t().reshape([2, 1, 6]).expand([2, 2, 6]).square().flatten(1..)
    });
    check!(suite, "cat_stack", 2, |d| [d.uniform(-1.0, 1.0, [2, 3]), d.uniform(-1.0, 1.0, [2, 2])], |[a, b]| {
        let all = Tensor::cat(&[a.clone(), b.square(), a * 2.0], 1);
        Tensor::stack(&[all.clone(), all.square()], 0)
    });
    check!(suite, "pad", 2, |d| [d.uniform(-1.0, 1.0, [2, 3])], |[x]| x.pad([(1, 0), (2, 1)], 0.5).square());
    check!(suite, "gather", 2, |d| [d.uniform(-1.0, 1.0, [3, 4])], |[x]| {
        x.gather(1, &Tensor::new([[0, 3], [2, 2], [1, 0]], x.device())).square()
    });
    check!(suite, "index_select", 2, |d| [d.uniform(-1.0, 1.0, [3, 4])], |[x]| {
        x.index_select(0, &Tensor::new([2, 0, 2, 1], x.device())).square()
    });
    check!(suite, "scatter_add", 2, |d| [d.uniform(-1.0, 1.0, [3, 2]), d.uniform(-1.0, 1.0, [4, 2])], |[to, x]| {
        to.square().scatter_add(0, &Tensor::new([[0, 2], [2, 2], [1, 0], [0, 1]], x.device()), &x.square()).square()
    });
    check!(suite, "scatter", 2, |d| [d.uniform(-1.0, 1.0, [3, 2]), d.uniform(-1.0, 1.0, [4, 2])], |[to, x]| {
        to.square().scatter(0, &Tensor::new([[0, 2], [2, 2], [1, 0], [0, 1]], x.device()), &x.square()).square()
    });
    check!(suite, "cast", 1, |d| [d.uniform(-1.0, 1.0, [3])], |[x]| x.square().cast(x.dtype()) * 2.0);
    check!(
        suite,
        "network",
        2,
        |d| [d.uniform(-1.0, 1.0, [1, 1, 6, 6]), d.uniform(-1.0, 1.0, [2, 1, 3, 3]), d.uniform(-1.0, 1.0, [3, 8])],
        |[x, w1, w2]| {
            let h = x.conv2d(w1, None, Conv2dOptions::default()).tanh().avg_pool2d(2).flatten(1..);
            h.linear(w2, None).softplus().cross_entropy(&Tensor::new([1], x.device()))
        }
    );
}
