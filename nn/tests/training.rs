//! Training: parameter groups, frozen and tied parameters, saved and resumed optimizers, averaged weights.

use minitorch_conformance::doc::*;
use minitorch_conformance::panic_message;
use minitorch_nn::state::{HostTensor, read_tensors, tensors, write_tensors};
use minitorch_nn::{
    Adagrad, Adam, AdamW, Buffer, Ema, Group, Linear, Lion, Module, NAdam, Optimizer, Param, RAdam, RmsProp, Sgd,
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
    let saved = read_tensors(&path)?;
    let names: Vec<&str> = saved.tensors.keys().map(String::as_str).filter(|name| name.starts_with("scale")).collect();
    assert_eq!(names, ["scale/exp_avg", "scale/exp_avg_sq", "scale/step"]);
    assert_eq!(saved.tensors["scale/step"].data, HostData::I32(vec![1]), "the scale took part in one step of two");
    assert_eq!(saved.tensors["head.weight/step"].data, HostData::I32(vec![2]));

    let message = AdamW::new(0.01).load(&net, &path).unwrap_err().to_string();
    assert!(message.ends_with("does not fit the optimizer: it holds the state of Adam, not of AdamW"), "{message}");

    let mut file = saved.tensors.clone();
    file.remove("head.weight/exp_avg");
    file.insert("head.bias/exp_avg".into(), HostTensor::new([3], HostData::F32(vec![0.0; 3])));
    file.insert("body.bias/step".into(), HostTensor::new([], HostData::I32(vec![-1])));
    file.insert("tail/step".into(), HostTensor::new([], HostData::I32(vec![1])));
    let broken: Vec<(String, HostTensor)> = file.into_iter().collect();
    write_tensors(&path, &broken, &saved.metadata)?;
    let mut other = Adam::new(0.5);
    let message = other.load(&net, &path).unwrap_err().to_string();
    let expected = "does not fit the optimizer: missing: head.weight/exp_avg; unexpected: body.bias/exp_avg, \
                    body.bias/exp_avg_sq, tail/step; mis-shaped: body.bias/step ([] int32 in the file; one int32 of at \
                    least 0 is wanted), head.bias/exp_avg ([3] float32 in the file, [2] float32 in the model)";
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
        let metadata = metadata.into_iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        write_tensors(&path, &broken, &metadata)?;
        let message = other.load(&net, &path).unwrap_err().to_string();
        assert!(message.contains(said), "{message}");
    }
    std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))
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
    assert_eq!(tensors(&tied)?.len(), 1);
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
