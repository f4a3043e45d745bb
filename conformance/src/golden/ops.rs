//! The call that a golden's name encodes: `conv2d_s2x1_p1x2_d1x1_g2_k3x2_bias`.

use super::Roles;
use super::arrange;
use crate::On;
use crate::close::{Tolerance, Values, assert_close, read_storage};
use minitorch_core::backend::{AdagradConfig, AdamConfig, Backend, RmsPropConfig, SgdConfig, StepRule, StepSlot, View};
use minitorch_core::{
    ConvOptions, CrossEntropyOptions, DType, Layout, Pool1dOptions, Pool2dOptions, Reduction, Tensor,
};
use std::collections::BTreeMap;

/// The attributes in a name: a letter, then numbers separated by x.
pub(crate) struct Options {
    letters: BTreeMap<char, Vec<isize>>,
    words: Vec<String>,
}

impl Options {
    pub(crate) fn parse(name: &str) -> Self {
        let mut options = Options { letters: BTreeMap::new(), words: Vec::new() };
        for token in name.split('_') {
            let mut letters = token.chars();
            let first = letters.next().unwrap_or_default();
            let numbers: Option<Vec<isize>> = letters.as_str().split('x').map(|n| n.parse().ok()).collect();
            match numbers {
                Some(numbers) if first.is_alphabetic() => drop(options.letters.insert(first, numbers)),
                _ => options.words.push(token.into()),
            }
        }
        options
    }

    fn has(&self, word: &str) -> bool {
        self.words.iter().any(|w| w == word)
    }

    /// The numbers after a letter.
    fn all(&self, letter: char) -> &[isize] {
        match self.letters.get(&letter) {
            Some(numbers) => numbers,
            None => panic!("the name has no attribute {letter}"),
        }
    }

    fn sizes<const N: usize>(&self, letter: char) -> [usize; N] {
        let numbers = self.all(letter);
        assert!(numbers.len() == N, "attribute {letter} has {numbers:?}");
        std::array::from_fn(|i| numbers[i] as usize)
    }

    /// The number after d; -1 if there is none.
    fn dim(&self) -> isize {
        self.letters.get(&'d').map_or(-1, |d| d[0])
    }
}

type Inputs<'a, B> = BTreeMap<&'a str, Tensor<B>>;

fn conv_options<const N: usize>(o: &Options) -> ConvOptions<N> {
    ConvOptions { stride: o.sizes('s'), padding: o.sizes('p'), dilation: o.sizes('d'), groups: o.sizes::<1>('g')[0] }
}

/// The call and, for max pooling, its indices.
pub(super) fn apply<B: Backend>(name: &str, o: &Options, inputs: &Inputs<'_, B>) -> (Tensor<B>, Option<Tensor<B>>) {
    let get = |role: &str| match inputs.get(role) {
        Some(x) => x,
        None => panic!("{name} has no {role}"),
    };
    if let Some(y) = arrange::apply(name, inputs) {
        return (y, None);
    }
    let mask = |x: &Tensor<B>| x.cast(DType::Bool);
    let y = match name {
        _ if name.starts_with("conv_transpose2d") => {
            get("x").conv_transpose2d(get("w"), inputs.get("b"), conv_options(o), o.sizes::<2>('e'))
        }
        _ if name.starts_with("conv2d") => get("x").conv2d(get("w"), inputs.get("b"), conv_options(o)),
        _ if name.starts_with("conv1d") => get("x").conv1d(get("w"), inputs.get("b"), conv_options(o)),
        _ if name.starts_with("max_pool2d") => {
            let options = Pool2dOptions::new(o.sizes::<2>('k'))
                .stride(o.sizes::<2>('s'))
                .padding(o.sizes::<2>('p'))
                .dilation(o.sizes::<2>('d'));
            let (y, indices) = get("x").max_pool2d_with_indices(options);
            return (y, Some(indices));
        }
        _ if name.starts_with("max_pool1d") => {
            let options = Pool1dOptions::new(o.sizes::<1>('k'))
                .stride(o.sizes::<1>('s'))
                .padding(o.sizes::<1>('p'))
                .dilation(o.sizes::<1>('d'));
            let flat = Pool2dOptions::new([1, options.kernel[0]])
                .stride([1, options.stride[0]])
                .padding([0, options.padding[0]])
                .dilation([1, options.dilation[0]]);
            let (_, indices) = get("x").unsqueeze(2).max_pool2d_with_indices(flat);
            return (get("x").max_pool1d(options), Some(indices.squeeze(2)));
        }
        _ if name.starts_with("avg_pool2d") => {
            let options = Pool2dOptions::new(o.sizes::<2>('k')).stride(o.sizes::<2>('s')).padding(o.sizes::<2>('p'));
            get("x").avg_pool2d(options.count_include_pad(o.has("include")))
        }
        _ if name.starts_with("avg_pool1d") => {
            let options = Pool1dOptions::new(o.sizes::<1>('k')).stride(o.sizes::<1>('s')).padding(o.sizes::<1>('p'));
            get("x").avg_pool1d(options.count_include_pad(o.has("include")))
        }
        _ if name.starts_with("log_softmax") => get("x").log_softmax(o.dim()),
        _ if name.starts_with("softmax") => get("x").softmax(o.dim()),
        _ if name.starts_with("batch_norm") => {
            let eps = if name.ends_with("1d") { 1e-3 } else { 1e-5 };
            let (w, b) = (inputs.get("w"), inputs.get("b"));
            match inputs.get("mean") {
                Some(mean) => get("x").batch_norm_with([mean, get("var")], w, b, eps),
                None => {
                    let [y, ..] = get("x").batch_norm(w, b, eps);
                    y
                }
            }
        }
        _ if name.starts_with("layer_norm") => {
            let x = get("x");
            x.layer_norm(x.shape()[x.rank() - 1], inputs.get("w"), inputs.get("b"), 1e-5)
        }
        _ if name.starts_with("group_norm") => {
            let groups = if o.has("2") { 2 } else { 6 };
            get("x").group_norm(groups, inputs.get("w"), inputs.get("b"), 1e-5)
        }
        _ if name.starts_with("ce_") => get("x").cross_entropy_with(get("target"), &cross_entropy(name, inputs)),
        "l1" => get("x").l1_loss(get("target")),
        "huber" => get("x").huber_loss(get("target"), 0.7),
        "kl_div" => get("x").kl_div_loss(get("target")),
        _ if name.starts_with("norm_") => {
            let p = [("norm_1", 1.0), ("norm_3", 3.0), ("norm_half", 0.5), ("norm_inf", f64::INFINITY)];
            let p = p.iter().find(|(prefix, _)| name.starts_with(prefix)).map_or(2.0, |&(_, p)| p);
            if o.has("dall") { get("x").norm(p, ..) } else { get("x").norm(p, o.dim()) }
        }
        _ if name.starts_with("cumsum") => get("x").cumsum(o.dim()),
        _ if name.starts_with("sort") => {
            let (values, indices) = get("x").sort(o.dim(), o.has("descending"));
            return (values, Some(indices));
        }
        _ if name.starts_with("topk") => {
            let (values, indices) = get("x").topk(o.sizes::<1>('k')[0], o.dim(), o.has("largest"));
            return (values, Some(indices));
        }
        _ if name.starts_with("scatter_d") => get("x").scatter(o.dim(), get("index"), get("w")),
        _ if name.starts_with("cross_entropy") => get("x").cross_entropy(get("target")),
        _ if name.starts_with("matmul") => get("x").matmul(get("w")),
        _ if name.starts_with("linear") => get("x").linear(get("w"), inputs.get("b")),
        _ if name.starts_with("gather") => get("x").gather(o.dim(), get("index")),
        _ if name.starts_with("scatter_add") => get("x").scatter_add(o.dim(), get("index"), get("w")),
        _ if name.starts_with("index_select") => get("x").index_select(o.dim(), get("index")),
        "nll_loss" => get("x").nll_loss(get("target")),
        "bce" => get("x").bce_loss(get("target")),
        "bce_with_logits" => get("x").bce_with_logits_loss(get("target")),
        "mse" => get("x").mse_loss(get("target")),
        "embedding" => get("w").embedding(get("index")),
        "where" => Tensor::where_cond(&mask(get("mask")), get("x"), get("w")),
        "masked_fill" => get("x").masked_fill(&mask(get("mask")), -2.5),
        "slice" => get("x").slice((1..3, 2..)),
        "slice_last" => get("x").slice((.., .., 3..4)),
        "permute_2x0x1" => get("x").permute([2, 0, 1]),
        "transpose_0x1" => get("x").transpose(0, 1),
        _ if inputs.contains_key("w") => binary(name, get("x"), get("w")),
        _ => match unary(name, get("x")) {
            Some(y) => y,
            None => reduction(name, o, get("x")),
        },
    };
    (y, None)
}

/// The options in the name; the weight is an input.
fn cross_entropy<B: Backend>(name: &str, inputs: &Inputs<'_, B>) -> CrossEntropyOptions<B> {
    let mut options = CrossEntropyOptions::default();
    if let Some(w) = inputs.get("cw") {
        options = options.weight(w);
    }
    if ["ce_ignoring", "ce_all", "ce_sum", "ce_none", "ce_spatial", "ce_spatial_none"].contains(&name) {
        options = options.ignore_index(-100);
    }
    let smoothing = match name {
        "ce_smooth" | "ce_soft" => 0.1,
        "ce_all" | "ce_sum" | "ce_none" | "ce_spatial" => 0.2,
        _ => 0.0,
    };
    let reduction = match name {
        "ce_sum" => Reduction::Sum,
        "ce_none" | "ce_spatial_none" => Reduction::None,
        _ => Reduction::Mean,
    };
    options.label_smoothing(smoothing).reduction(reduction)
}

fn binary<B: Backend>(name: &str, x: &Tensor<B>, w: &Tensor<B>) -> Tensor<B> {
    match name.split('_').next() {
        Some("add") => x + w,
        Some("sub") => x - w,
        Some("mul") => x * w,
        Some("div") => x / w,
        Some("pow") => x.pow(w),
        Some("remainder") => x.remainder(w),
        Some("maximum") => x.maximum(w),
        Some("minimum") => x.minimum(w),
        _ => panic!("an unknown golden: {name}"),
    }
}

fn unary<B: Backend>(name: &str, x: &Tensor<B>) -> Option<Tensor<B>> {
    Some(match name {
        "neg" => -x,
        "abs" => x.abs(),
        "exp" => x.exp(),
        "log" => x.log(),
        "sqrt" => x.sqrt(),
        "rsqrt" => x.rsqrt(),
        "reciprocal" => x.recip(),
        "sin" => x.sin(),
        "cos" => x.cos(),
        "tanh" | "tanh_scalar" => x.tanh(),
        "sigmoid" => x.sigmoid(),
        "relu" | "relu_1" => x.relu(),
        "gelu_erf" => x.gelu(),
        "gelu_tanh" => x.gelu_tanh(),
        "silu" => x.silu(),
        "softplus" => x.softplus(),
        "leaky_relu" => x.leaky_relu(0.01),
        "square" => x.square(),
        "pow3" => x.powf(3.0),
        "erf" => x.erf(),
        "log1p" | "log1p_negative" => x.log1p(),
        "log2" => x.log2(),
        "tan" => x.tan(),
        "atan" => x.atan(),
        "sinh" => x.sinh(),
        "cosh" => x.cosh(),
        "elu" => x.elu(1.0),
        "elu_half" => x.elu(0.5),
        "hardswish" => x.hardswish(),
        "trunc" => x.trunc(),
        "remainder_scalar" => x.remainder(1.5),
        "remainder_negative" => x.remainder(-0.75),
        "clamp" => x.clamp(-1.0, 1.5),
        "expm1" => x.expm1(),
        "floor" => x.floor(),
        "ceil" => x.ceil(),
        "round" => x.round(),
        "sign" => x.sign(),
        _ => return None,
    })
}

/// `amax_d0x2_keepdim`, `var_biased_d1`, `argmin_dall`, `sum_17_d1`, ..
fn reduction<B: Backend>(name: &str, o: &Options, x: &Tensor<B>) -> Tensor<B> {
    let op = o.words[0].as_str();
    let all = o.has("dall");
    let correction = if o.has("biased") { 0.0 } else { 1.0 };
    if op == "argmax" || op == "argmin" {
        let (x, dim) = if all { (x.flatten(..), 0) } else { (x.clone(), o.dim()) };
        let y = if op == "argmax" { x.argmax(dim) } else { x.argmin(dim) };
        return if o.has("keepdim") { y.unsqueeze(dim) } else { y };
    }
    let reduce = |dims: &[isize]| match *dims {
        [a] => one(op, x, a, correction),
        [a, b] => one(op, x, [a, b], correction),
        _ => panic!("{name}: dimensions {dims:?}"),
    };
    let y = if all { one(op, x, .., correction) } else { reduce(o.all('d')) };
    if !o.has("keepdim") {
        return y;
    }
    // The methods with `keepdim` in their names are called as such, and must agree with the others.
    let kept = if all {
        keep(op, x, ..)
    } else if let [a, b] = *o.all('d') {
        keep(op, x, [a, b])
    } else {
        keep(op, x, o.dim())
    };
    match kept {
        Some(kept) => kept,
        None => y.unsqueeze(o.dim()), // var and std have no `keepdim` form
    }
}

fn one<B: Backend>(op: &str, x: &Tensor<B>, dims: impl minitorch_core::Dims, correction: f64) -> Tensor<B> {
    match op {
        "sum" => x.sum(dims),
        "mean" => x.mean(dims),
        "prod" => x.prod(dims),
        "amax" => x.max(dims),
        "amin" => x.min(dims),
        "var" => x.var(dims, correction),
        "std" => x.std(dims, correction),
        "logsumexp" => x.logsumexp(dims),
        _ => panic!("an unknown golden: {op}"),
    }
}

fn keep<B: Backend>(op: &str, x: &Tensor<B>, dims: impl minitorch_core::Dims) -> Option<Tensor<B>> {
    Some(match op {
        "sum" => x.sum_keepdim(dims),
        "mean" => x.mean_keepdim(dims),
        "prod" => x.prod_keepdim(dims),
        "amax" => x.max_keepdim(dims),
        "amin" => x.min_keepdim(dims),
        _ => return None,
    })
}

/// The learning rate and the rule that a golden's name encodes.
fn step_rule(name: &str) -> (f64, StepRule) {
    let sgd = SgdConfig::default();
    let adam = AdamConfig { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.0, decoupled: false };
    let rms = RmsPropConfig { alpha: 0.99, eps: 1e-8, momentum: 0.0, centered: false, weight_decay: 0.0 };
    let adagrad = AdagradConfig { lr_decay: 0.0, eps: 1e-10, initial: 0.0, weight_decay: 0.0 };
    let rule = match name {
        "sgd" => StepRule::Sgd(sgd),
        "sgd_momentum" => StepRule::Sgd(SgdConfig { momentum: 0.9, ..sgd }),
        "sgd_nesterov" => StepRule::Sgd(SgdConfig { momentum: 0.9, nesterov: true, ..sgd }),
        "sgd_decay_dampening" => StepRule::Sgd(SgdConfig { momentum: 0.9, weight_decay: 0.01, dampening: 0.1, ..sgd }),
        "adam" => StepRule::Adam(adam),
        "adam_decay" => StepRule::Adam(AdamConfig { weight_decay: 0.1, ..adam }),
        "adam_betas_eps" => StepRule::Adam(AdamConfig { beta1: 0.8, beta2: 0.99, eps: 1e-6, ..adam }),
        "adamw" => StepRule::Adam(AdamConfig { weight_decay: 0.1, decoupled: true, ..adam }),
        "rmsprop" => StepRule::RmsProp(rms),
        "rmsprop_momentum" => StepRule::RmsProp(RmsPropConfig { momentum: 0.9, ..rms }),
        "rmsprop_centered" => StepRule::RmsProp(RmsPropConfig { alpha: 0.9, centered: true, ..rms }),
        "rmsprop_decay" => StepRule::RmsProp(RmsPropConfig { eps: 1e-4, weight_decay: 0.1, ..rms }),
        "rmsprop_all" => {
            StepRule::RmsProp(RmsPropConfig { alpha: 0.9, momentum: 0.5, centered: true, weight_decay: 0.1, ..rms })
        }
        "adagrad" => StepRule::Adagrad(adagrad),
        "adagrad_decays" => StepRule::Adagrad(AdagradConfig { lr_decay: 0.2, weight_decay: 0.1, ..adagrad }),
        "adagrad_initial" => StepRule::Adagrad(AdagradConfig { initial: 0.5, eps: 1e-4, ..adagrad }),
        _ => panic!("an unknown golden: optim_{name}"),
    };
    let lr = if name.starts_with("sgd") || name.starts_with("adagrad") { 0.1 } else { 0.01 };
    (lr, rule)
}

/// Ten steps of an optimizer on the device, compared after each.
pub(super) fn optimizer<B: Backend>(on: &On<B>, rule: &str, roles: &Roles, bound: Tolerance) {
    let (lr, rule_of_step) = step_rule(rule);
    let device = &on.device;
    let upload = |values: &[f64]| device.copy(on.list(values, [values.len()]).view());
    let mut param = upload(&roles["start"].data);
    let mut scalars = upload(&[lr, 0.0]);
    let initial = rule_of_step.initial_state();
    let mut state: Vec<B::Storage> = (0..rule_of_step.states()).map(|_| upload(&[initial; 7])).collect();
    let layout = Layout::contiguous([7]);
    for (step, (g, want)) in roles["grads"].data.chunks(7).zip(roles["params"].data.chunks(7)).enumerate() {
        let g = upload(g);
        let grad = View { storage: &g, layout: &layout, dtype: on.dtype };
        let fresh = step == 0 && initial == 0.0;
        let mut slots = [StepSlot { param: &mut param, state: state.iter_mut().collect(), grad, missed: 0, fresh }];
        device.optimizer_step(&rule_of_step, &mut slots, &mut scalars);
        let got = Values::new([7], on.dtype, read_storage(device, &param, on.dtype, 7));
        let want = Values::new([7], on.dtype, want.to_vec());
        assert_close(&format!("optim_{rule} after step {step}"), &got, &want, bound);
    }
}
