//! Every tensor operation with random operands and arguments.

use crate::WRONG;
use crate::operands::{T, device};
use crate::source::Source;
use minitorch_core::backend::Device;
use minitorch_core::{
    Activation, Conv1dOptions, CrossEntropyOptions, DType, Error, Indexing, PadMode, Pool1dOptions, Pool2dOptions,
    Reduction, Tensor,
};

/// One random call, and the use of its result.
pub(crate) fn call(s: &mut Source, named: &mut dyn FnMut(&str)) {
    let (name, op) = s.pick(OPS);
    named(name);
    drop(device().take_error()); // of an earlier call whose result was not read
    for out in op(s) {
        if out.is_tracked() && s.one_in(2) {
            let gradients = out.backward_with(&out.ones_like());
            gradients.values().for_each(read);
        }
        if s.one_in(16) {
            drop(format!("{out} {out:?}"));
        }
        read(&out);
    }
}

fn read(x: &T) {
    let result = match x.dtype() {
        DType::F64 => x.to_vec::<f64>().map(|v| v.len()),
        DType::I32 => x.to_vec::<i32>().map(|v| v.len()),
        DType::Bool => x.to_vec::<bool>().map(|v| v.len()),
        _ => x.to_vec::<f32>().map(|v| v.len()),
    };
    match result {
        Ok(len) => assert!(len == x.numel(), "{WRONG}{len} elements were read of {:?}", x.shape()),
        // No memory for the result of the operation or for an intermediate one.
        Err(Error::OutOfMemory { .. }) => drop(x.device().take_error()),
        Err(error) => panic!("{WRONG}{:?} is not read: {error}", x.shape()),
    }
}

fn all<const N: usize>(outs: [T; N]) -> Vec<T> {
    outs.into()
}

macro_rules! ops {
    ($s:ident: $($name:ident => $body:expr;)*) => { &[$((stringify!($name), |$s: &mut Source| $body)),*] };
}

/// An operation on random arguments.
type Call = fn(&mut Source) -> Vec<T>;

/// One call of each operation; functions of one and of two tensors are lists.
const OPS: &[(&str, Call)] = ops! { s:
    unary => {
        let f: fn(&T) -> T = s.pick(&[
            T::abs, T::sign, T::square, T::recip, T::sqrt, T::rsqrt, T::exp, T::expm1, T::log, T::log1p, T::log2, T::sin, T::cos,
            T::tan, T::atan, T::sinh, T::cosh, T::tanh, T::erf, T::sigmoid, T::relu, T::gelu, T::gelu_tanh, T::silu, T::hardswish,
            T::softplus, T::floor, T::ceil, T::round, T::trunc, T::logical_not, T::isnan, T::isinf, T::isfinite, T::contiguous,
            T::detach, T::zeros_like, T::ones_like, T::rand_like, T::randn_like, |x| -x, |x| !x,
        ]);
        vec![f(&s.x())]
    };
    scalar => {
        let f: fn(&T, f64) -> T = s.pick(&[
            |x, c| x + c, |x, c| x - c, |x, c| x * c, |x, c| x / c, |x, c| c - x, |x, c| c / x, T::powf, T::leaky_relu, T::elu,
            |x, c| x.remainder(c), |x, c| x.eq(c), |x, c| x.ne(c), |x, c| x.lt(c), |x, c| x.le(c), |x, c| x.gt(c), |x, c| x.ge(c),
            T::full_like, |x, c| x.clamp(c, 1.0), T::dropout, T::dropout2d, |x, c| x.norm(c, ..),
        ]);
        let (x, c) = (s.x(), s.float());
        vec![f(&x, c)]
    };
    binary => {
        let f: fn(&T, &T) -> T = s.pick(&[
            |x, y| x + y, |x, y| x - y, |x, y| x * y, |x, y| x / y, T::pow, |x, y| x.remainder(y), T::maximum, T::minimum,
            T::logical_and, T::logical_or, T::logical_xor, |x, y| x.isclose(y, 0.1, 0.1), |x, y| x.eq(y), |x, y| x.lt(y), |x, y| x.ge(y), T::matmul, T::dot,
            T::outer, T::mv, T::mm, T::bmm, T::mse_loss, T::l1_loss, T::kl_div_loss, T::bce_loss, T::bce_with_logits_loss,
            |x, y| x.huber_loss(y, 1.0), |x, y| x.sum_to_shape(*y.shape()), T::cross_entropy, T::nll_loss,
        ]);
        let x = s.x();
        let y = s.with(&x);
        vec![f(&x, &y)]
    };
    assign => {
        let mut x = s.x();
        let y = s.with(&x);
        let (i, j, k) = (s.signed(), s.signed(), s.signed());
        match s.below(8) {
            0 => x += &y,
            1 => x -= y,
            2 => x *= s.float(),
            3 => x /= y,
            4 => x.set(i..j, s.float()),
            5 => x.set((i, j..=k), &y),
            6 => x.set(vec![i..j, j..k], y.slice(0)),
            _ => x.set(.., y),
        }
        vec![x]
    };
    pairs => {
        // Each size is valid, their product is not: 2^66, and 2^64 + 1.
        let [n, m] = s.pick(&[[1 << 33, 1 << 33], [274_177, 67_280_421_310_721], [1 << 58, 3], [1, 1 << 60]]);
        let (a, b) = (s.sized(&[n, 1], DType::F32), s.sized(&[1, m], DType::F32));
        vec![match s.below(7) {
            0 => &a + &b,
            1 => a.matmul(&b),
            2 => a.linear(&b.t(), None),
            3 => Tensor::where_cond(&s.sized(&[n, 1], DType::Bool), &a, &b),
            4 => a.reshape([n]).outer(&b.reshape([m])),
            5 => a.lt(&b),
            _ => b.expand([n, m]),
        }]
    };
    matmul => {
        let [m, k, n] = s.sizes();
        let (a, b) = (s.sized(&[m, k], DType::F32), s.sized(&[k, n], DType::F32));
        vec![if s.one_in(2) { a.matmul(&b) } else { b.t().matmul(&a.t()) }]
    };
    batches => {
        let [p, q, m, k, n] = s.sizes();
        let a = if s.one_in(2) { s.sized(&[p, 1, m, k], DType::F64) } else { s.sized(&[m, k], DType::F64) };
        vec![a.matmul(&s.sized(&[q, k, n], DType::F64))]
    };
    linear => {
        let [p, m, k, n] = s.sizes();
        let (x, w) = (s.sized(&[p, m, k], DType::F32), s.sized(&[n, k], DType::F32));
        let x = if s.one_in(3) { x.transpose(0, 1) } else { x };
        let b = s.sized(&[n], DType::F32);
        let b = s.optional(b);
        vec![match s.pick(&[None, Some(Activation::Relu), Some(Activation::Tanh)]) {
            None => x.linear(&w, b.as_ref()),
            Some(f) => x.linear_activated(&w, b.as_ref(), f),
        }]
    };
    einsum => {
        let equation = s.pick(&["ij,jk->ik", "ii", "ij->ji", "bij,bjk->bik", "i,j->ij", "i,i", "...i,i->...", "ij,ij->", "iij->j"]);
        let operands: Vec<T> = equation.split("->").next().unwrap_or_default().split(',').map(|part| {
            let sizes: Vec<usize> = part.replace("...", "").chars().map(|_| if s.one_in(8) { s.huge() } else { 3 }).collect();
            s.sized(&sizes, DType::F32)
        }).collect();
        vec![Tensor::einsum(equation, &operands.iter().collect::<Vec<_>>())]
    };
    where_cond => {
        let (c, a) = (s.any(DType::Bool), s.x());
        let (c, b) = (if s.one_in(2) { a.isnan() } else { c }, s.with(&a));
        vec![Tensor::where_cond(&c, &a, &b), a.masked_fill(&c, s.float())]
    };
    reduce => {
        let x = s.x();
        let (dim, p, correction) = (s.dim(x.rank()), s.float(), s.float());
        let f: fn(&T, isize, [f64; 2]) -> T = s.pick(&[
            |x, d, _| x.sum(d), |x, d, _| x.mean(d), |x, d, _| x.prod(d), |x, d, _| x.max(d), |x, d, _| x.min(d),
            |x, d, _| x.sum_keepdim(d), |x, d, _| x.argmax(d), |x, d, _| x.argmin(d), |x, d, _| x.any(d), |x, d, _| x.all(d),
            |x, d, _| x.max_with_index(d).0, |x, d, _| x.min_with_index(d).1, |x, d, [_, c]| x.var(d, c), |x, d, [_, c]| x.std(d, c),
            |x, d, [p, _]| x.norm(p, d), |x, d, _| x.logsumexp(d), |x, d, _| x.cumsum(d), |x, d, _| x.softmax(d),
            |x, d, _| x.log_softmax(d), |x, _, _| x.sum(..), |x, _, _| x.mean(..), |x, _, _| x.max(..), |x, d, _| x.sum([d, 0]),
        ]);
        vec![f(&x, dim, [p, correction])]
    };
    sort => {
        let x = s.x();
        let (dim, down, k) = (s.dim(x.rank()), s.one_in(2), s.size());
        match s.below(3) {
            0 => all(x.sort(dim, down).into()),
            1 => vec![x.argsort(dim, down)],
            _ => all(x.topk(k, dim, down).into()),
        }
    };
    conv => {
        let [x, w, b] = s.images(4, false);
        let (b, o) = (s.optional(b), s.conv());
        vec![match s.pick(&[None, Some(Activation::Relu), Some(Activation::Sigmoid)]) {
            None => x.conv2d(&w, b.as_ref(), o),
            Some(f) => x.conv2d_activated(&w, b.as_ref(), o, f),
        }]
    };
    conv1d => {
        let [x, w, b] = s.images(3, false);
        let (b, o) = (s.optional(b), s.conv());
        let _: &Conv1dOptions = &o;
        vec![x.conv1d(&w, b.as_ref(), o)]
    };
    conv_transpose2d => {
        let [x, w, b] = s.images(4, true);
        let (b, o) = (s.optional(b), s.conv());
        let extra = if s.one_in(3) { s.sizes() } else { [0, 0] };
        vec![x.conv_transpose2d(&w, b.as_ref(), o, extra)]
    };
    pool => {
        let (x, o): (T, Pool2dOptions) = (s.f(4), s.pool());
        match s.below(3) {
            0 => vec![x.max_pool2d(o)],
            1 => all(x.max_pool2d_with_indices(o).into()),
            _ => vec![x.avg_pool2d(o)],
        }
    };
    pool1d => {
        let (x, o): (T, Pool1dOptions) = (s.f(3), s.pool());
        vec![if s.one_in(2) { x.max_pool1d(o) } else { x.avg_pool1d(o) }]
    };
    resize => {
        let (x, y, size) = (s.f(4), s.f(3), s.sizes());
        vec![match s.below(6) {
            0 => x.interpolate_nearest(size),
            1 => x.interpolate_bilinear(size, s.one_in(2)),
            2 => x.adaptive_avg_pool2d(size),
            3 => x.adaptive_max_pool2d(size),
            4 => y.adaptive_avg_pool1d(size[0]),
            _ => y.adaptive_max_pool1d(size[0]),
        }]
    };
    norm => {
        let x = s.float_x();
        let c = x.shape().get(1).copied().unwrap_or(1);
        let (w, b, eps) = (s.sized(&[c], x.dtype()), s.sized(&[c], x.dtype()), s.float());
        let (w, b) = (s.optional(w), s.optional(b));
        let skip = s.below(x.rank() + 1);
        let [w, b] = [w.as_ref(), b.as_ref()];
        match s.below(5) {
            0 => all(x.batch_norm(w, b, eps)),
            4 => {
                let [mean, var] = [0, 1].map(|_| s.sized(&[c], x.dtype()));
                let momentum = if s.one_in(4) { s.float() } else { 0.1 };
                all(x.batch_norm_tracked(w, b, eps, [&mean, &var], momentum))
            }
            1 => { let of = s.sized(&[c], x.dtype()); vec![x.batch_norm_with([&of, &of.square()], w, b, eps)] }
            2 => vec![x.layer_norm(&x.shape()[skip..], None, None, eps)],
            _ => { let groups = s.size(); vec![x.group_norm(groups, w, b, eps)] }
        }
    };
    losses => {
        let [n, c] = s.sizes();
        let x = s.sized(&[n, c], DType::F32);
        let target = if n > 64 { Tensor::new([1], &device()).expand([n]) } else { s.ints([n].into(), c) };
        let mut o = CrossEntropyOptions::default().label_smoothing(if s.one_in(3) { s.float() } else { 0.0 });
        o.reduction = s.pick(&[Reduction::Mean, Reduction::Sum, Reduction::None]);
        o.ignore_index = s.pick(&[None, Some(0), Some(i32::MIN)]);
        match s.below(4) {
            0 => vec![x.cross_entropy(&target)],
            1 => vec![x.nll_loss(&target)],
            2 => vec![x.cross_entropy_with(&x.softmax(1), &o)],
            _ => vec![x.cross_entropy_with(&target, &o)],
        }
    };
    index => {
        let x = s.x();
        let dim = s.dim(x.rank());
        let index = s.index(&x, dim);
        let y = s.sized(index.shape(), x.dtype());
        let [n, rows] = [s.small(), s.small()];
        vec![match s.below(5) {
            0 => x.gather(dim, &index),
            1 => x.scatter_add(dim, &index, &y),
            2 => x.scatter(dim, &index, &y),
            3 => x.embedding(&index),
            _ => { let i = s.ints([n].into(), rows); x.index_select(dim, &if s.one_in(8) { s.wide(i, 0) } else { i }) }
        }]
    };
    one_hot => { let x = s.any(DType::I32); let (c, dtype) = (s.size(), s.dtype()); vec![x.one_hot(c, dtype)] };
    join => {
        let (x, dim) = (s.x(), s.signed());
        let mut tensors = vec![x.clone()];
        for _ in 0..s.below(4) {
            tensors.push(if s.one_in(3) { s.with(&x) } else { x.clone() });
        }
        match s.below(3) {
            0 => vec![Tensor::cat(&tensors, dim)],
            1 => vec![Tensor::stack(&tensors, dim)],
            _ => Tensor::broadcast_tensors(&tensors),
        }
    };
    meshgrid => {
        let vectors: Vec<T> = (0..s.below(8)).map(|_| { let rank = s.pick(&[0, 1, 1, 1]); s.ranked(rank, DType::F32) }).collect();
        Tensor::meshgrid(&vectors, s.pick(&[Indexing::Ij, Indexing::Xy]))
    };
    pad => {
        let (x, v) = (s.x(), s.float());
        vec![match s.below(3) { 0 => x.pad(s.pairs::<1>(), v), 1 => x.pad(s.pairs::<2>(), v), _ => x.pad(s.pairs::<3>(), v) }]
    };
    pad_with => {
        let (x, v) = (s.x(), s.float());
        let mode = s.pick(&[PadMode::Constant(v), PadMode::Reflect, PadMode::Replicate, PadMode::Circular]);
        vec![if s.one_in(2) { x.pad_with(s.pairs::<1>(), mode) } else { x.pad_with(s.pairs::<2>(), mode) }]
    };
    split => {
        let x = s.x();
        let (n, dim) = (s.size(), s.dim(x.rank()));
        let mut parts = match s.below(4) {
            0 => x.split(n, dim),
            1 => x.split_sizes(&s.sizes::<3>(), dim),
            2 => x.chunk(n, dim),
            _ => x.unbind(dim),
        };
        parts.truncate(4);
        parts
    };
    arrange => {
        let x = s.x();
        let (a, b, c, n, step) = (s.dim(x.rank()), s.dim(x.rank()), s.signed(), s.size(), s.size());
        vec![match s.below(12) {
            0 => x.movedim(a, b),
            1 => x.flip(a),
            2 => x.roll(c, a),
            3 => x.repeat(s.sizes::<6>()),
            4 => x.tile(s.sizes::<2>()),
            5 => x.repeat_interleave(n, a),
            6 => x.unfold(a, n, step),
            7 => x.diagonal(c, a, b),
            8 => x.tril(c),
            9 => x.triu(c),
            10 => x.flip([a, b]),
            _ => x.repeat(s.sizes::<3>()),
        }]
    };
    view => {
        let x = s.x();
        let (a, b, n, m) = (s.dim(x.rank()), s.dim(x.rank()), s.size(), s.size());
        let (i, j, k) = (s.signed(), s.signed(), s.signed());
        vec![match s.below(19) {
            15 => x.expand((i, j, k)),
            16 => x.flatten(vec![i, j]),
            17 => x.permute((0..n).rev()),
            18 => x.sum(i..j),
            0 => x.reshape([i, j, -1]),
            1 => x.reshape([n, m]),
            2 => x.flatten(a..=b),
            3 => x.flatten(i..),
            4 => x.permute([a, b, i]),
            5 => x.transpose(a, b),
            6 => x.t(),
            7 => x.expand(s.sizes::<4>()),
            8 => x.slice(i),
            9 => x.slice([i..j, k..i]),
            10 => x.slice((i..=j, n..)),
            11 => x.narrow(a, n, m),
            12 => x.unsqueeze(i),
            13 => x.squeeze(a),
            _ => x.narrow(a, 0, 0).transpose(a, b).contiguous(),
        }]
    };
    create => {
        let (device, dtype, [n, m]) = (device(), s.dtype(), s.sizes());
        let (a, b, c) = (s.float(), s.float(), s.float());
        vec![match s.below(14) {
            13 => Tensor::randint(s.signed()..s.signed(), [n, m], &device),
            0 => Tensor::full([n, m], a, (&device, dtype)),
            1 => Tensor::zeros([n, m], (&device, dtype)),
            2 => Tensor::ones([n, m], (&device, dtype)),
            3 => Tensor::eye([n, m], (&device, dtype)),
            4 => { let end = i32::MAX - s.below(9) as i32; Tensor::arange(end..i32::MAX, &device) }
            5 => Tensor::arange_step(a, b, c, (&device, dtype)),
            6 => Tensor::linspace(a, b, n, (&device, dtype)),
            7 => Tensor::rand([n, m], (&device, dtype)),
            8 => Tensor::randn([n, m], (&device, dtype)),
            9 => Tensor::rand_bool([n, m], a, &device),
            10 => Tensor::randperm(n, &device),
            11 => Tensor::from_f64([a, b], [n], (&device, dtype)),
            _ => Tensor::from_slice(&[1.0_f32, 2.0], [n, m], &device),
        }]
    };
    cast => { let x = s.x(); vec![x.cast(s.dtype())] };
};
