//! Training: parameter groups, frozen and tied parameters, saved and resumed optimizers, averaged weights.

use minitorch_conformance::doc::*;
use minitorch_conformance::panic_message;
use minitorch_nn::state::{HostTensor, StateDict, Strict};
use minitorch_nn::{
    Adagrad, Adam, AdamW, BatchNorm1d, Buffer, Ema, Embedding, Group, Linear, Lion, Module, NAdam, Optimizer, Param,
    RAdam, RmsProp, Sgd,
};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

// derive(Module) generates paths through the facade.
extern crate minitorch_nn as minitorch;

#[derive(Module)]
struct Net {
    body: Linear<Plain>,
    scale: Param<Plain>,
    head: Linear<Plain>,
    seen: Buffer<Plain>,
}

impl Net {
    /// Deterministic weights.
    fn new() -> Self {
        let device = Plain::new();
        let ramp = |n: usize, shape: &[usize]| {
            Tensor::from_vec((0..n).map(|i| (i as f32 * 0.7).sin()).collect(), shape, &device)
        };
        let mut net = Net {
            body: Linear::new(3, 4, &device),
            scale: Param::new(ramp(4, &[4])),
            head: Linear::new(4, 2, &device),
            seen: Buffer::new(Tensor::zeros([], &device)),
        };
        net.body.weight.set(ramp(12, &[4, 3]));
        net.head.weight.set(ramp(8, &[2, 4]));
        for bias in [&mut net.body.bias, &mut net.head.bias].into_iter().flatten() {
            bias.update(|b| b * 0.0);
        }
        net
    }

    fn grads(&self, step: usize) -> Gradients<Tensor<Plain>> {
        let device = self.scale.device();
        let x: Vec<f32> = (0..15).map(|i| ((i + 7 * step) as f32).cos()).collect();
        let x = Tensor::from_slice(&x, [5, 3], device);
        // Every third step does not use the scale, so the step counts of parameters differ.
        let hidden = self.body.forward(&x).tanh();
        let hidden = if step % 3 == 1 { hidden } else { hidden * &self.scale };
        (self.head.forward(&hidden).square().mean(..)).backward()
    }

    fn learn(&mut self, optimizer: &mut dyn Optimizer<Plain>, step: usize) {
        let grads = self.grads(step);
        optimizer.step(self, &grads);
    }

    fn bits(&self) -> Vec<(String, Vec<u32>)> {
        self.named_parameters()
            .into_iter()
            .map(|(name, p)| (name, p.to_vec::<f32>().unwrap().into_iter().map(f32::to_bits).collect()))
            .collect()
    }
}

fn file(name: &str) -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("minitorch-training-{}-{number}-{name}.safetensors", std::process::id()))
}

/// A name, and a constructor of an optimizer.
type Make = (&'static str, fn() -> Box<dyn Optimizer<Plain>>);

/// Every optimizer with every kind of state.
const ALL: [Make; 14] = [
    ("sgd", || Box::new(Sgd::new(0.1).weight_decay(0.1).group(small, undecayed()))),
    ("sgd with momentum", || Box::new(Sgd::new(0.1).momentum(0.9).dampening(0.3).group(small, undecayed()))),
    ("nesterov", || Box::new(Sgd::new(0.1).momentum(0.9).nesterov(true))),
    ("adam", || Box::new(Adam::new(0.01).weight_decay(0.1).group(small, undecayed()))),
    ("adamw", || Box::new(AdamW::new(0.01).betas(0.8, 0.9))),
    ("rmsprop", || Box::new(RmsProp::new(0.01).weight_decay(0.1).group(small, undecayed()))),
    ("rmsprop with all", || Box::new(RmsProp::new(0.01).alpha(0.9).centered(true).momentum(0.5))),
    ("adagrad", || Box::new(Adagrad::new(0.1))),
    ("adagrad with all", || {
        Box::new(Adagrad::new(0.1).lr_decay(0.3).initial_accumulator(0.2).group(small, undecayed()))
    }),
    ("amsgrad", || Box::new(AdamW::new(0.01).amsgrad(true).group(small, undecayed()))),
    ("nadam", || Box::new(NAdam::new(0.01).weight_decay(0.1).group(small, undecayed()))),
    ("nadam, decoupled", || Box::new(NAdam::new(0.01).weight_decay(0.1).decoupled(true).momentum_decay(0.1))),
    ("radam", || Box::new(RAdam::new(0.01).weight_decay(0.1).decoupled(true).group(small, undecayed()))),
    ("lion", || Box::new(Lion::new(0.01).weight_decay(0.1).group(small, undecayed()))),
];

fn small(_: &str, param: &Tensor<Plain>) -> bool {
    param.rank() <= 1
}

fn undecayed() -> Group {
    Group::new().weight_decay(0.0).lr_scale(0.1)
}

#[test]
fn a_resumed_run_is_bit_identical() -> Result<()> {
    for (name, make) in ALL {
        let (mut whole, mut optimizer) = (Net::new(), make());
        let (model_file, optimizer_file) = (file("model"), file("optimizer"));
        for step in 0..10 {
            if step == 5 {
                whole.save(&model_file)?;
                optimizer.save(&whole, &optimizer_file)?;
            }
            whole.learn(&mut *optimizer, step);
            optimizer.set_lr(optimizer.lr() * 0.9);
        }
        assert_ne!(whole.bits(), Net::new().bits(), "{name}");
        let end = whole.bits();
        // Load into new objects, into used ones, and into the ones that were saved.
        let mut used = (Net::new(), make());
        used.0.learn(&mut *used.1, 2);
        for (mut model, mut optimizer) in [(Net::new(), make()), used, (whole, optimizer)] {
            model.load(&model_file)?;
            optimizer.load(&model, &optimizer_file)?;
            for step in 5..10 {
                model.learn(&mut *optimizer, step);
                optimizer.set_lr(optimizer.lr() * 0.9);
            }
            assert_eq!(model.bits(), end, "{name}");
        }
        for path in [model_file, optimizer_file] {
            std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
        }
    }
    Ok(())
}

#[test]
fn optimizer_files_have_pytorchs_names_and_mismatches_change_nothing() -> Result<()> {
    let (path, mut net) = (file("names"), Net::new());
    let mut adam = Adam::new(0.01);
    for step in [0, 1] {
        net.learn(&mut adam, step);
    }
    adam.save(&net, &path)?;
    let saved = StateDict::read(&path)?;
    assert_eq!(saved, adam.state(&net)?);
    let names: Vec<&str> = saved.names().filter(|name| name.starts_with("scale")).collect();
    assert_eq!(names, ["scale/exp_avg", "scale/exp_avg_sq", "scale/step"]);
    assert_eq!(saved["scale/step"].to_vec::<i32>()?, [1], "the scale took part in one step of two");
    assert_eq!(saved["head.weight/step"].to_vec::<i32>()?, [2]);

    let message = AdamW::new(0.01).load(&net, &path).unwrap_err().to_string();
    assert!(message.ends_with("does not fit the optimizer: it holds the state of Adam, not of AdamW"), "{message}");

    let mut broken = saved.clone();
    broken.remove("head.weight/exp_avg");
    broken.insert("head.bias/exp_avg", HostTensor::new([3], vec![0.0f32; 3]));
    broken.insert("body.bias/step", HostTensor::new([], vec![-1]));
    broken.insert("tail/step", HostTensor::new([], vec![1]));
    broken.write(&path)?;
    let mut other = Adam::new(0.5);
    let message = other.load(&net, &path).unwrap_err().to_string();
    let expected = "does not fit the optimizer: 6 differences: missing: head.weight/exp_avg [2, 4]; unexpected: \
                    body.bias/exp_avg [4], body.bias/exp_avg_sq [4] and 1 more; mis-shaped: head.bias/exp_avg ([3] in \
                    the file, [2] in the model); refused: body.bias/step ([] int32 in the file; one integer of at least \
                    0 is wanted)";
    assert!(message.ends_with(expected), "{message}");
    assert_eq!(other.lr(), 0.5, "nothing was changed");
    let mut twin = Net::new();
    let mut copy = Adam::new(0.5);
    net = Net::new();
    net.learn(&mut other, 0);
    twin.learn(&mut copy, 0);
    assert_eq!(net.bits(), twin.bits(), "nothing was changed");

    for (metadata, said) in [(BTreeMap::new(), "nothing"), ([("optimizer", "Adam"), ("lr", "-1")].into(), "rate is -1")]
    {
        broken.metadata = metadata.into_iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        broken.write(&path)?;
        let message = other.load(&net, &path).unwrap_err().to_string();
        assert!(message.contains(said), "{message}");
    }
    std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))
}

/// A group that was added takes its parameters with their state; parameters that were added start afresh.
#[test]
fn added_groups_and_parameters_are_understood() -> Result<()> {
    #[derive(Module)]
    struct Grown {
        net: Net,
        extra: Param<Plain>,
    }
    let mut net = Net::new();
    let mut adam = Adam::new(0.01);
    (0..3).for_each(|step| net.learn(&mut adam, step));
    let state = StateDict::from_bytes(&adam.state(&net)?.to_bytes()?)?;
    let mut grouped = Adam::new(0.5).group(|name, _| name == "scale", Group::new().lr_scale(2.0));
    assert_eq!(grouped.load_state(&net, &state, Strict::Yes)?, Default::default());
    assert_eq!((grouped.state(&net)?, grouped.lr()), (state.clone(), 0.01));

    let extra = Param::new(Tensor::new([1.0], net.scale.device()));
    let mut grown = Grown { net, extra };
    let state = state.add_prefix("net.");
    let message = grouped.load_state(&grown, &state, Strict::Yes).unwrap_err().to_string();
    let expected = "does not fit the optimizer: 1 difference: missing: extra/step []; load_state with Strict::No starts \
                    parameters afresh that were added since it was saved";
    assert_eq!(message, expected);
    let mut more = state.clone();
    more.insert("gone/step", HostTensor::new([], vec![1]));
    let mut adam = Adam::new(0.5).betas(0.0, 0.999);
    let mismatch = adam.load_state(&grown, &more, Strict::No)?;
    assert_eq!(
        (mismatch.missing, mismatch.unexpected),
        (vec!["extra/step".to_string()], vec!["gone/step".to_string()])
    );
    // The first step of Adam moves by the learning rate.
    let grads = (&*grown.extra * 3.0).sum(..).backward();
    adam.step(&mut grown, &grads);
    assert!((grown.extra.item()? - 0.99).abs() < 1e-6);
    assert_eq!(adam.state(&grown)?["net.scale/step"].to_vec::<i32>()?, [2]);
    // An incomplete state is an error even so.
    more.remove("net.scale/exp_avg");
    let message = adam.load_state(&grown, &more, Strict::No).unwrap_err().to_string();
    assert_eq!(message, "does not fit the optimizer: 1 difference: missing: net.scale/exp_avg [4]");
    Ok(())
}

/// A network of PyTorch with tied weights, and its Adam with an added group, from one checkpoint.
#[derive(Module)]
struct FromTorch {
    embedding: Embedding<Plain>,
    norm: BatchNorm1d<Plain>,
    head: Head,
}

/// Its weight is that of the embedding.
#[derive(Module)]
struct Head {
    bias: Param<Plain>,
}

#[test]
fn training_of_pytorch_is_resumed() -> Result<()> {
    let device = device();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/torch");
    let checkpoint = StateDict::read(folder.join("checkpoint.pt"))?;
    let mut net = FromTorch {
        embedding: Embedding::new(3, 2, &device),
        norm: BatchNorm1d::new(2, &device),
        head: Head { bias: Param::new(Tensor::zeros([3], &device)) },
    };
    net.load_state(&checkpoint.clone().subset("state_dict."), Strict::Yes)?;

    // PyTorch numbers the parameters of an optimizer: `optimizer.state.0.exp_avg`.
    let names: Vec<String> = net.named_parameters().into_iter().map(|(name, _)| name).collect();
    let mut state = checkpoint.subset("optimizer.state.").rename(|name| match name.split_once('.') {
        Some((number, key)) => format!("{}/{key}", names[number.parse::<usize>().unwrap()]),
        None => name.to_string(),
    })?;
    state.metadata = [("optimizer", "Adam"), ("lr", "0.1")].map(|(key, text)| (key.into(), text.into())).into();
    let mut adam = Adam::new(0.0).betas(0.5, 0.75).group(|name, _| name == "head.bias", Group::new().lr_scale(0.1));
    adam.load_state(&net, &state, Strict::Yes)?;

    let x = net.norm.forward(&net.embedding.forward(&Tensor::new([0, 2, 1], &device)));
    let loss = (x.matmul(&net.embedding.weight.t()) + &net.head.bias).square().sum(..);
    adam.step(&mut net, &loss.backward());
    let (ours, theirs) = (net.state()?, StateDict::read(folder.join("resumed.safetensors"))?);
    for (name, tensor) in ours.iter() {
        for (got, want) in tensor.to_vec::<f32>()?.into_iter().zip(theirs[name].to_vec::<f32>()?) {
            assert!((got - want).abs() <= 1e-6 * (1.0 + want.abs()), "{name}: {got}, PyTorch's {want}");
        }
    }
    Ok(())
}

#[test]
fn a_group_behaves_as_a_separate_optimizer() {
    // The reference is one optimizer per group.
    let (mut grouped, mut apart) = (Net::new(), Net::new());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    let mut one = AdamW::new(0.1)
        .weight_decay(0.5)
        .group(
            move |name, param| {
                log.lock().unwrap().push(name.to_string());
                param.rank() <= 1
            },
            Group::new().weight_decay(0.0).lr_scale(0.25),
        )
        .group(|_, _| false, Group::new())
        .group(|name, _| name.ends_with("bias") || name.starts_with("head"), Group::new().lr_scale(0.5));
    let mut vectors = AdamW::new(0.025).weight_decay(0.0);
    let mut head = AdamW::new(0.05).weight_decay(0.5);
    let mut rest = AdamW::new(0.1).weight_decay(0.5);
    for step in 0..5 {
        grouped.learn(&mut one, step);
        let grads = apart.grads(step);
        if grads.get(&apart.scale).is_some() {
            vectors.step(&mut Only(&mut apart.scale), &grads);
        }
        for bias in [&mut apart.body.bias, &mut apart.head.bias].into_iter().flatten() {
            vectors.step(&mut Only(bias), &grads);
        }
        head.step(&mut Only(&mut apart.head.weight), &grads);
        rest.step(&mut Only(&mut apart.body.weight), &grads);
    }
    for ((name, got), (_, want)) in grouped.bits().into_iter().zip(apart.bits()) {
        let values = |bits: Vec<u32>| bits.into_iter().map(f32::from_bits).collect::<Vec<f32>>();
        for (got, want) in values(got).into_iter().zip(values(want)) {
            assert!((got - want).abs() < 1e-6, "{name}: {got}, not {want}");
        }
    }
    // Called once per parameter in five steps.
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked, ["body.weight", "body.bias", "scale", "head.weight", "head.bias"]);
    let message = panic_message(|| drop(one.group(|_, _| true, Group::new())));
    assert!(message.contains("before the first step"), "{message}");
    assert!(panic_message(|| assert_ne!(Group::new().lr_scale(-1.0), Group::new())).contains("-1"));
}

/// A model of one borrowed parameter.
struct Only<'a>(&'a mut Param<Plain>);

impl Module<Plain> for Only<'_> {
    fn visit<'m>(&'m self, path: &mut minitorch_nn::module::Path, f: minitorch_nn::module::Visit<'_, 'm, Plain>) {
        self.0.visit(path, f);
    }
    fn visit_mut<'m>(
        &'m mut self,
        path: &mut minitorch_nn::module::Path,
        f: minitorch_nn::module::VisitMut<'_, 'm, Plain>,
    ) {
        self.0.visit_mut(path, f);
    }
}

#[test]
fn a_frozen_part_does_not_change_and_keeps_its_identity() -> Result<()> {
    let (path, mut net) = (file("frozen"), Net::new());
    let mut optimizer = Sgd::new(0.1).momentum(0.9).weight_decay(0.1);
    let early = net.grads(0);
    let (before, id) = (net.bits(), net.body.weight.id());
    net.body.freeze();
    assert!(net.body.weight.is_frozen() && !net.head.weight.is_frozen() && !net.body.weight.is_tracked());
    assert_eq!(format!("{:?}", net.body.weight), "Param([4, 3], float32, frozen)");
    assert_eq!(net.grads(0).len(), 3, "scale and head");
    optimizer.step(&mut net, &early);
    net.learn(&mut optimizer, 0);
    assert_eq!(net.bits()[..2], before[..2], "even with an earlier gradient");
    assert_ne!(net.bits()[2..], before[2..]);

    // Values can be set and loaded; a clone of a frozen parameter is frozen.
    net.body.weight.update(|w| w * 2.0);
    assert!(net.body.weight.is_frozen() && net.body.weight.clone().is_frozen());
    net.save(&path)?;
    let mut other = Net::new();
    other.freeze();
    other.load(&path)?;
    assert_eq!(other.bits(), net.bits());
    assert!(other.head.weight.is_frozen(), "loading does not unfreeze");
    std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;

    net.unfreeze();
    assert_eq!(net.body.weight.id(), id);
    let frozen = net.bits();
    net.learn(&mut optimizer, 0);
    assert!(net.bits().iter().zip(&frozen).all(|(now, then)| now != then), "all move again");
    Ok(())
}

#[derive(Module)]
struct Tied {
    shared: Param<Plain>,
}

impl Tied {
    fn forward(&self, x: &Tensor<Plain>) -> Tensor<Plain> {
        x.matmul(&self.shared).tanh().matmul(&self.shared.t())
    }
}

#[test]
fn a_tied_weight_sums_its_gradients_and_is_stepped_and_saved_once() -> Result<()> {
    let device = device();
    let mut tied = Tied { shared: Param::new(Tensor::new([[0.5, -1.0], [0.25, 2.0]], &device)) };
    let x = Tensor::new([[1.0, -2.0], [0.5, 0.75]], &device);
    let loss = |a: &Tensor<Plain>, b: &Tensor<Plain>| x.matmul(a).tanh().matmul(&b.t()).square().sum(..);
    let [first, second] = [0, 1].map(|_| tied.shared.detach().requires_grad());
    let grads = loss(&first, &second).backward();
    let sum = (&grads[&first] + &grads[&second]).to_vec::<f32>()?;
    let grads = tied.forward(&x).square().sum(..).backward();
    assert_eq!(grads.len(), 1);
    for (got, want) in grads[&tied.shared].to_vec::<f32>()?.into_iter().zip(&sum) {
        assert!((got - want).abs() <= 1e-5 * (1.0 + want.abs()), "{got}, not {want}");
    }
    let expected = (tied.shared.detach() - &grads[&tied.shared] * 0.01).to_vec::<f32>()?;
    Sgd::new(0.01).step(&mut tied, &grads);
    assert_eq!(tied.shared.to_vec::<f32>()?, expected);
    assert_eq!(tied.state()?.len(), 1);
    Ok(())
}

/// The gradient of a weight that is used transposed is a transposed view; the backend gets it row by row.
#[test]
fn gradients_are_contiguous_in_a_step() -> Result<()> {
    let device = Plain::new();
    let mut layer = Linear::new(3, 2, &device).without_bias();
    layer.weight.set(Tensor::zeros([2, 3], &device));
    let factors = Tensor::new([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], &device);
    let grads = (layer.weight.t() * &factors).sum(..).backward();
    assert!(grads.get(&layer.weight).is_some_and(|g| !g.layout().is_contiguous()));
    Sgd::new(1.0).step(&mut layer, &grads);
    assert_eq!(layer.weight.to_vec::<f32>()?, [-1.0, -3.0, -5.0, -2.0, -4.0, -6.0]);
    Ok(())
}

#[test]
fn averages_follow_the_formula_and_swap_twice() -> Result<()> {
    let mut net = Net::new();
    let ids: Vec<u64> = net.named_parameters().iter().map(|(_, p)| p.id()).collect();
    let (mut ema, mut sgd) = (Ema::new(&net, 0.75), Sgd::new(0.1));
    let mut host: Vec<f64> = net.head.weight.to_vec::<f32>()?.into_iter().map(f64::from).collect();
    for step in 0..6 {
        net.learn(&mut sgd, step);
        net.seen.set(net.seen.get() + 1.0);
        ema.update(&net);
        for (average, now) in host.iter_mut().zip(net.head.weight.to_vec::<f32>()?) {
            *average = 0.75 * *average + 0.25 * now as f64;
        }
    }
    let trained = net.bits();
    net.seen.set(net.seen.get() + 1.0);
    ema.swap(&mut net);
    assert!(ema.is_swapped());
    for (got, want) in net.head.weight.to_vec::<f32>()?.into_iter().zip(&host) {
        assert!((got as f64 - want).abs() < 1e-6, "{got}, not {want}");
    }
    assert_ne!(net.bits(), trained);
    assert_eq!(net.seen.get().item()?, 6.0, "the buffer as it was at the last update");
    let message = panic_message(|| ema.update(&net));
    assert!(message.contains("swap back"), "{message}");
    ema.swap(&mut net);
    assert_eq!((net.bits(), net.seen.get().item()?), (trained, 7.0));
    assert_eq!(net.named_parameters().iter().map(|(_, p)| p.id()).collect::<Vec<u64>>(), ids);
    let message = panic_message(|| ema.update(&Net::new()));
    assert!(message.contains("body.weight is not of the averaged model"), "{message}");
    let message = panic_message(|| ema.update(&net.scale));
    assert!(message.contains("not of the averaged model"), "{message}");
    Ok(())
}
