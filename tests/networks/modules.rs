//! Modules: the derived walk, identity of parameters, modes, optimizers of parts of a model.

use minitorch::prelude::*;
use minitorch_conformance::{Plain, panic_message};

#[derive(Module)]
struct Block<B: Backend, M, const N: usize = 2>
where
    M: Clone,
{
    inner: M,
    scale: Option<Param<B>>,
    absent: Option<Linear<B>>,
    pub(crate) rate: f64,
    #[module(skip)]
    #[allow(dead_code)]
    notes: std::collections::HashMap<String, usize>,
    r#type: [usize; N],
}

#[derive(Module)]
struct Net<B: Backend> {
    blocks: Vec<Block<B, Linear<B>>>,
    boxed: Vec<Box<dyn Layer<B>>>,
    /// A documented field.
    head: Head<Linear<B>>,
    pair: (),
}

/// No Backend parameter: a module for every backend that its field is a module for.
#[derive(Module)]
struct Head<M>(M, usize);

/// A module for one backend.
#[derive(Module)]
struct OnlyCpu {
    fc: Linear<Cpu>,
    kernel: [usize; 2],
}

#[derive(Module)]
struct Empty;

fn net(device: &Cpu) -> Net<Cpu> {
    let block = || Block {
        inner: Linear::new(2, 2, device),
        scale: Some(Param::new(Tensor::new([1.0], device))),
        absent: None,
        rate: 0.5,
        notes: Default::default(),
        r#type: [1, 2],
    };
    Net {
        blocks: vec![block(), block()],
        boxed: vec![Box::new(Linear::new(2, 3, device)), Box::new(Relu)],
        head: Head(Linear::new(1, 1, device).without_bias(), 3),
        pair: (),
    }
}

fn names<B: Backend>(module: &dyn Module<B>) -> Vec<String> {
    module.named_parameters().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn the_walk_visits_fields_in_order_with_dotted_names() {
    let device = Cpu::new();
    let mut net = net(&device);
    let expected = [
        "blocks.0.inner.weight",
        "blocks.0.inner.bias",
        "blocks.0.scale",
        "blocks.1.inner.weight",
        "blocks.1.inner.bias",
        "blocks.1.scale",
        "boxed.0.weight",
        "boxed.0.bias",
        "head.0.weight",
    ];
    assert_eq!(names(&net), expected);
    assert_eq!(net.num_parameters(), 2 * 7 + 9 + 1);
    let mut changing = Vec::new();
    net.visit_mut(&mut Default::default(), &mut |name, _| changing.push(name.to_string()));
    assert_eq!(changing, expected);
    assert!(net.blocks[0].rate == 0.5 && net.blocks[0].r#type == [1, 2] && net.head.1 == 3);
    assert!(net.blocks[0].absent.is_none());
    let () = net.pair;
    let only = OnlyCpu { fc: Linear::new(2, 2, &device), kernel: [3, 3] };
    assert_eq!((only.num_parameters(), only.kernel), (6, [3, 3]));
    assert_eq!(Module::<Plain>::num_parameters(&Empty), 0);
}

#[test]
fn updates_keep_the_identity_and_clones_get_a_new_one() {
    let device = Cpu::new();
    let mut param = Param::new(Tensor::new([1.0, 2.0], &device));
    let id = param.id();
    param.update(|w| w * 3.0);
    assert_eq!((param.id(), param.to_vec::<f32>().ok()), (id, Some(vec![3.0, 6.0])));
    let copy = param.clone();
    assert_ne!(copy.id(), id);
    let grads = (&*param * 2.0).sum(..).backward();
    assert!(grads.get(&param).is_some() && grads.get(&copy).is_none());
    let message = panic_message(|| param.set(Tensor::new([1.0], &device)));
    assert!(message.contains("[2]") && message.contains("[1]"), "{message}");
    let message = panic_message(|| param.set(Tensor::new([1.0, 2.0], &Cpu::new())));
    assert!(message.contains("Cpu("), "{message}");
}

#[test]
fn train_and_eval_reach_every_part() {
    let device = Cpu::new();
    let mut model = Sequential::new().push(Linear::new(4, 64, &device)).push(Dropout::new(0.5)).push(Relu);
    let x = Tensor::ones([8, 4], &device);
    let run = |model: &Sequential<Cpu>| model.forward(&x).to_vec::<f32>().unwrap_or_default();
    assert_ne!(run(&model), run(&model), "dropout draws anew");
    model.eval();
    assert_eq!(run(&model), run(&model));
    model.train();
    assert_ne!(run(&model), run(&model));
}

#[test]
fn a_step_updates_parameters_with_gradients_and_copies_storage_that_a_tape_holds() -> Result<()> {
    let device = Cpu::new();
    let mut layers = [Linear::new(3, 2, &device), Linear::new(3, 2, &device)];
    let x = Tensor::ones([4, 3], &device);
    let before = layers.each_ref().map(|l| l.weight.to_vec::<f32>().unwrap_or_default());
    let kept = layers[0].forward(&x).square().sum(..);
    let [gradient_before] = kept.grad([&layers[0].weight]);
    let loss = layers[0].forward(&x).square().sum(..);
    let mut optimizer = Sgd::new(0.1);
    optimizer.step(&mut layers, &loss.backward());
    assert_ne!(layers[0].weight.to_vec::<f32>()?, before[0]);
    assert_eq!(layers[1].weight.to_vec::<f32>()?, before[1], "no gradient, no change");
    // The tape holds the old weights; the step wrote to a copy.
    let [gradient_after] = kept.grad([&layers[0].weight]);
    assert_eq!(gradient_before.to_vec::<f32>()?, gradient_after.to_vec::<f32>()?);
    Ok(())
}

#[test]
fn a_parameter_counts_its_own_steps() -> Result<()> {
    // The first step of a parameter with Adam moves it by lr.
    let device = Cpu::new();
    let mut params = [Param::new(Tensor::new([1.0], &device)), Param::new(Tensor::new([1.0], &device))];
    let mut adam = Adam::new(0.1);
    for used in [0, 0, 0, 1, 0, 1] {
        let loss = (&*params[used] * 5.0).sum(..);
        adam.step(&mut params, &loss.backward());
    }
    let value = |p: &Param<Cpu>| p.item();
    // A constant gradient moves by lr each step.
    assert!((value(&params[0])? - 0.6).abs() < 1e-5, "{}", value(&params[0])?);
    assert!((value(&params[1])? - 0.8).abs() < 1e-5, "{}", value(&params[1])?);
    adam.set_lr(0.0);
    let loss = (&*params[0] * 5.0).sum(..);
    adam.step(&mut params, &loss.backward());
    assert!((value(&params[0])? - 0.6).abs() < 1e-5, "a learning rate of 0 changes nothing");
    Ok(())
}

#[test]
fn steps_without_a_gradient_do_not_count_for_a_parameter() -> Result<()> {
    let device = Cpu::new();
    let new = || Param::new(Tensor::new([1.0], &device));
    let (mut a, mut b, mut idle) = (new(), new(), new());
    // With beta1 = 0 and a constant gradient every step of Adam moves by lr, if the step count is right.
    let mut adam = Adam::new(0.1).betas(0.0, 0.999);
    for step in 1..=4 {
        for param in [&mut a, &mut b] {
            // One optimizer for two models in turn, as in a GAN, and steps without any gradient.
            let grads = (&**param * 5.0).sum(..).backward();
            adam.step(param, &grads);
            // A refused step does not count either.
            let message = panic_message(|| adam.step(&mut idle, &grads));
            assert!(message.contains("none of the 1 gradients"), "{message}");
        }
        for param in [&a, &b] {
            let expected = 1.0 - 0.1 * step as f64;
            assert!((param.item()? - expected).abs() < 1e-5, "step {step}: {} instead of {expected}", param.item()?);
        }
    }
    assert_eq!(idle.item()?, 1.0);
    Ok(())
}

#[test]
fn a_refused_step_changes_nothing() {
    let device = Cpu::new();
    let single = Param::new(Tensor::new([1.0], &device));
    let double = Param::new(Tensor::new([1.0], &device).cast(DType::F64));
    let mut pair = [single, double];
    let mut adam = Adam::new(0.1);
    let grads = (pair[0].cast(DType::F64) * &pair[1]).sum(..).backward();
    let message = panic_message(|| adam.step(&mut pair, &grads));
    assert!(message.contains("1 is of float64") && message.contains("float32"), "{message}");
    assert_eq!(pair[0].to_vec::<f32>().ok(), Some(vec![1.0]));
    assert_eq!(pair[1].to_vec::<f64>().ok(), Some(vec![1.0]));
}

#[test]
fn a_step_that_would_change_nothing_says_why() {
    let device = Cpu::new();
    let mut model = Sequential::new().push(Linear::new(2, 3, &device)).push(Relu).push(Linear::new(3, 1, &device));
    let x = Tensor::ones([4, 2], &device);
    let mut sgd = Sgd::new(0.1);
    let message = |sgd: &mut Sgd<Cpu>, model: &mut Sequential<Cpu>, grads: &Gradients<Tensor<Cpu>>| {
        panic_message(|| sgd.step(model, grads))
    };

    let grads = model.forward(&x).square().mean(..).backward();
    let mut copy = model.clone();
    assert_eq!(
        message(&mut sgd, &mut copy, &grads),
        "step: none of the 4 gradients is of one of the model's 4 parameters: they are of another model, such as one that \
         this is a clone of"
    );
    assert!(message(&mut sgd, &mut model, &Gradients::default()).starts_with("step: there are no gradients"));
    assert!(message(&mut sgd, &mut Sequential::new().push(Relu), &grads).contains("the model has no parameters"));

    model[0].freeze();
    let head = model.get::<Linear<_>>(2).expect("the head").weight.to_vec::<f32>().ok();
    sgd.step(&mut model, &grads); // a partial match is a step
    assert_ne!(model.get::<Linear<_>>(2).expect("the head").weight.to_vec::<f32>().ok(), head);
    let only_frozen = grads.get(&model.get::<Linear<_>>(0).expect("a layer").weight).is_none();
    assert!(only_frozen, "a frozen parameter is no variable");
    model.freeze();
    assert_eq!(
        message(&mut sgd, &mut model, &grads),
        "step: all parameters of the model are frozen (4), so nothing would change; unfreeze some"
    );
    model.unfreeze();
    sgd.step(&mut model, &grads);
}

#[test]
fn adamw_is_a_type_and_shrinks_without_moments() -> Result<()> {
    struct Trainer<B: Backend> {
        optimizer: AdamW<B>,
    }
    let device = Cpu::new();
    let mut param = Param::new(Tensor::new([2.0], &device));
    let mut trainer = Trainer { optimizer: AdamW::new(0.1).weight_decay(0.5) };
    let grads = (&*param * 5.0).sum(..).backward();
    trainer.optimizer.step(&mut param, &grads);
    assert!((param.item()? - (2.0 * 0.95 - 0.1)).abs() < 1e-6, "{}", param.item()?);
    Ok(())
}

#[test]
fn invalid_settings_panic_with_the_reason() {
    assert!(panic_message(|| drop(Sgd::<Cpu>::new(f64::NAN))).contains("learning rate"));
    assert!(panic_message(|| drop(Adam::<Cpu>::new(0.1).betas(1.0, 0.5))).contains("beta"));
    assert!(panic_message(|| assert_eq!(Dropout::new(1.5).p, 1.5)).contains("1.5"));
    let device = Cpu::new();
    let options = Conv2dOptions::default().groups(3);
    assert!(panic_message(|| drop(Conv2d::with_options(4, 6, 3, options, &device))).contains("3 groups"));
    let message = panic_message(|| {
        let mut param = Param::new(Tensor::new([1.0], &device));
        let mut sgd = Sgd::new(0.1);
        let grads = param.sum(..).backward();
        sgd.step(&mut param, &grads);
        drop(sgd.momentum(0.9));
    });
    assert!(message.contains("before the first step"), "{message}");
    let message = panic_message(|| {
        let mut param = Param::new(Tensor::new([1.0], &device));
        let loss = param.sum(..);
        Sgd::new(0.1).nesterov(true).step(&mut param, &loss.backward());
    });
    assert!(message.contains("momentum"), "{message}");
}
