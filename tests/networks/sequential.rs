//! Chains of layers: access, changes, clones, printing, closures; and the place of a panic in a model.

use minitorch::prelude::*;
use minitorch_conformance::panic_message as message;

fn device() -> Cpu {
    Cpu::default()
}

fn mlp(device: &Cpu) -> Sequential<Cpu> {
    Sequential::new().push(Linear::new(2, 8, device)).push(Relu).push(Linear::new(8, 1, device))
}

/// The part of a panic's message that says where in the model it was.
fn place(f: impl FnOnce()) -> String {
    let message = message(f);
    message.rsplit_once("; ").map_or(message.clone(), |(_, place)| place.to_string())
}

#[test]
fn layers_are_found_by_index_and_type() {
    let device = device();
    let mut net = mlp(&device);
    let x = Tensor::ones([4, 2], &device);
    assert_eq!((net.len(), net.is_empty(), Sequential::<Cpu>::new().is_empty()), (3, false, true));
    assert_eq!(net[0].forward(&x).dims(), [4, 8]);
    assert_eq!(net.get::<Linear<_>>(2).map(|layer| layer.weight.dims()), Some([1, 8]));
    assert!(net.get::<Relu>(1).is_some() && net.get::<Relu>(0).is_none() && net.get::<Relu>(3).is_none());

    *net.get_mut::<Linear<_>>(2).expect("a linear layer") = Linear::new(8, 5, &device);
    assert_eq!(net.forward(&x).dims(), [4, 5]);
    net[0].freeze();
    assert!(net.get::<Linear<_>>(0).is_some_and(|layer| layer.weight.is_frozen()));

    let mut y = x.clone();
    for layer in &net {
        y = layer.forward(&y);
    }
    assert_eq!(y.to_vec::<f32>().ok(), net.forward(&x).to_vec::<f32>().ok());
    for layer in &mut net {
        layer.unfreeze();
    }
    assert!(net.named_parameters().iter().all(|(_, param)| !param.is_frozen()));
    assert_eq!(net.iter().rev().map(|layer| layer.num_parameters()).collect::<Vec<_>>(), [45, 0, 24]);
    assert_eq!((net.iter().len(), net.iter_mut().len()), (3, 3));
    assert_eq!(message(|| drop(net[3].forward(&x))), "Sequential::index: no layer 3 in a chain of 3");
}

#[test]
fn chains_grow_and_shrink() {
    let device = device();
    let mut net = mlp(&device);
    net.insert(1, BatchNorm1d::new(8, &device));
    net.insert(4, |x: &Tensor<Cpu>| x.exp());
    assert_eq!(format!("{net:?}").lines().count(), 7);
    assert_eq!(net.remove(4).num_parameters(), 0);
    let head = net.split_off(3);
    assert_eq!((net.len(), head.len()), (3, 1));
    net.append(head);
    assert_eq!(net.forward(&Tensor::ones([4, 2], &device)).dims(), [4, 1]);
    let names: Vec<String> = net.named_parameters().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias"]);

    let mut deep: Sequential<_> = (0..3).map(|_| Linear::new(4, 4, &device)).collect();
    deep.extend([Linear::new(4, 2, &device)]);
    assert_eq!(deep.forward(&Tensor::ones([1, 4], &device)).dims(), [1, 2]);
    assert_eq!(message(|| drop(deep.remove(4))), "Sequential::remove: no layer 4 in a chain of 4");
    assert_eq!(message(|| deep.insert(5, Relu)), "Sequential::insert: no layer 5 in a chain of 4");
    let x = Tensor::ones([3], &device);
    assert_eq!(Sequential::new().forward(&x).to_vec::<f32>().ok(), x.to_vec().ok(), "no layers: the identity");
}

#[test]
fn closures_and_methods_are_layers() {
    let device = device();
    let shift = Tensor::new([0.5], &device);
    let net = Sequential::new()
        .push(|x: &Tensor<_>| x * 2.0)
        .push(move |x: &Tensor<_>| x + &shift)
        .push(Tensor::relu)
        .push(Linear::new(2, 1, &device));
    let y = net.forward(&Tensor::new([[1.0, -1.0]], &device));
    let relu = net.iter().take(3).fold(Tensor::new([[1.0, -1.0]], &device), |x, layer| layer.forward(&x));
    assert_eq!(relu.to_vec::<f32>().ok(), Some(vec![2.5, 0.0]));
    assert_eq!(y.dims(), [1, 1]);
    let grads = y.sum(..).backward();
    assert_eq!(grads.len(), 2);
    let summary = summary(&net, |net| net.forward(&Tensor::ones([1, 2], &device)));
    assert_eq!((summary.rows[1].kind, summary.rows[1].calls), ("Closure", 1));
}

#[test]
fn a_clone_is_another_model_with_the_same_values() {
    let device = device();
    let net = mlp(&device).push(|x: &Tensor<_>| x * 2.0);
    let mut copy = net.clone();
    let x = Tensor::ones([4, 2], &device);
    assert_eq!(copy.forward(&x).to_vec::<f32>().ok(), net.forward(&x).to_vec::<f32>().ok());
    let grads = copy.forward(&x).sum(..).backward();
    assert!(net.named_parameters().iter().all(|(_, param)| grads.get(param).is_none()));
    Sgd::new(0.1).step(&mut copy, &grads);
    assert_ne!(copy.forward(&x).to_vec::<f32>().ok(), net.forward(&x).to_vec::<f32>().ok());
}

#[derive(Module, Clone, Debug)]
struct Block<B: Backend> {
    conv1: Conv2d<B>,
    body: Sequential<B>,
    first: Relu,
    second: Relu,
    heads: Vec<Linear<B>>,
    #[module(skip)]
    which: &'static str,
}

impl Block<Cpu> {
    fn new(which: &'static str) -> Self {
        let device = &device();
        Block {
            conv1: Conv2d::new(3, 4, 3, device),
            body: Sequential::new().push(Flatten).push(Linear::new(4 * 36, 5, device)),
            first: Relu,
            second: Relu,
            heads: vec![Linear::new(5, 5, device), Linear::new(5, 5, device)],
            which,
        }
    }
}

impl<B: Backend> Layer<B> for Block<B> {
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        match self.which {
            "conv" => self.conv1.forward(&x.narrow(1, 0, 1)),
            "body" => self.body.forward(&self.conv1.forward(x).narrow(2, 0, 2)),
            "head" => self.heads[1].forward(&x.flatten(1..)),
            "own" => self.second.forward(&self.first.forward(x)) + Tensor::ones([7, 7], x.device()),
            _ => self.heads[0].forward(&self.body.forward(&self.conv1.forward(x))),
        }
    }
}

#[test]
fn layers_print_like_pytorchs() {
    let device = &device();
    let net = Sequential::new()
        .push(Block::new("all"))
        .push(Sequential::new().push(Linear::new(2, 8, device).without_bias()).push(Dropout::new(0.5)))
        .push(|x: &Tensor<_>| x.relu());
    let block = "Block { conv1: Conv2d(3 -> 4, kernel 3), body: Sequential(\n    (0): Flatten\n    (1): Linear(144 -> 5)\n  \
                 ), first: Relu, second: Relu, heads: [Linear(5 -> 5), Linear(5 -> 5)], which: \"all\" }";
    let rest = "(1): Sequential(\n    (0): Linear(2 -> 8, no bias)\n    (1): Dropout(0.5)\n  )\n  (2): Closure\n)";
    assert_eq!(format!("{net:?}"), format!("Sequential(\n  (0): {block}\n  {rest}"));
    assert_eq!(format!("{:?}", Sequential::<Cpu>::new()), "Sequential()");
    assert!(format!("{net:#?}").contains("\n  (0): Block {\n      conv1: Conv2d(3 -> 4, kernel 3),\n"), "{net:#?}");

    let options = Conv2dOptions::default().stride(2).padding([1, 0]).groups(2);
    let pool = Pool2dOptions::new([3, 2]).stride(2).padding(1);
    let mut norm = BatchNorm2d::new(3, device).without_affine();
    norm.momentum = 0.5;
    for (layer, text) in [
        (
            &Conv2d::with_options(4, 6, [3, 2], options, device) as &dyn std::fmt::Debug,
            "Conv2d(4 -> 6, kernel [3, 2], stride 2, padding [1, 0], groups 2)",
        ),
        (&Conv1d::new(4, 6, 3, device).without_bias(), "Conv1d(4 -> 6, kernel 3, no bias)"),
        (
            &ConvTranspose2d::with_options(4, 6, 3, options, device).output_padding(1),
            "ConvTranspose2d(4 -> 6, kernel 3, stride 2, padding [1, 0], groups 2, output padding 1)",
        ),
        (&Embedding::new(100, 8, device), "Embedding(100, 8)"),
        (&BatchNorm1d::new(3, device), "BatchNorm1d(3)"),
        (&norm, "BatchNorm2d(3, momentum 0.5, no affine)"),
        (&LayerNorm::new([3, 4], device), "LayerNorm([3, 4])"),
        (&GroupNorm::new(2, 6, device), "GroupNorm(2 groups, 6 channels)"),
        (&Dropout2d::new(0.25), "Dropout2d(0.25)"),
        (&MaxPool2d::new(2), "MaxPool2d(kernel 2)"),
        (
            &AvgPool2d::new(pool.count_include_pad(false)),
            "AvgPool2d(kernel [3, 2], stride 2, padding 1, padding not counted)",
        ),
        (&MaxPool1d::new(3), "MaxPool1d(kernel 3)"),
        (&AvgPool1d::new(3), "AvgPool1d(kernel 3)"),
        (&AdaptiveAvgPool2d::new([1, 2]), "AdaptiveAvgPool2d([1, 2])"),
        (&AdaptiveMaxPool1d::new(1), "AdaptiveMaxPool1d(1)"),
        (&ZeroPad2d::new([1, 2]), "ZeroPad2d([1, 2])"),
        (&ReflectionPad2d { around: [(1, 0), (0, 0)] }, "ReflectionPad2d(top 1, bottom 0, left 0, right 0)"),
        (&Upsample::scale(2).bilinear(true), "Upsample(scale 2, bilinear, align corners)"),
        (&LeakyRelu::default(), "LeakyRelu(0.01)"),
        (&Elu { alpha: 2.0 }, "Elu(2)"),
        (&Softmax { dim: -1 }, "Softmax(dim -1)"),
        (&Gelu, "Gelu"),
        (&Identity, "Identity"),
    ] {
        assert_eq!(format!("{layer:?}"), text);
    }
}

#[test]
fn a_panic_says_which_layer_and_who_called_the_chain() {
    let device = device();
    let images = Tensor::ones([2, 3, 8, 8], &device);
    let here = |line: u32| format!(" of the Sequential at {}:{line}:", file!());
    let chain = |which| Sequential::new().push(Identity).push(Sequential::new().push(Relu).push(Block::new(which)));

    let net = mlp(&device);
    let line = line!() + 1;
    let text = message(|| drop(net.forward(&Tensor::ones([4, 3], &device))));
    assert!(text.starts_with("linear: "), "the operation's own message comes first: {text}");
    assert!(text.contains(&format!("; in layer 0: Linear{}", here(line))), "{text}");

    // Through a boxed layer nobody knows the caller's line.
    let boxed: Box<dyn Layer<Cpu>> = Box::new(net);
    assert_eq!(place(|| drop(boxed.forward(&Tensor::ones([4, 3], &device)))), "in layer 0: Linear");

    let nested = |which: &'static str| {
        let (net, images) = (chain(which), images.clone());
        move || drop(net.forward(&images))
    };
    let line = line!() - 2;
    for (which, layer) in [
        ("conv", "in layer 1.1.conv1: Conv2d"),
        ("body", "in layer 1.1.body.1: Linear"),
        ("head", "in layer 1.1.heads.1: Linear"),
        ("own", "in layer 1.1: Block"), // an operation of the block itself
    ] {
        let text = place(nested(which));
        assert!(text.starts_with(&format!("{layer}{}", here(line))), "{which}: {text}");
    }
    nested("all")(); // does not panic

    // Outside of a chain the layer's kind is known, and the panic's line is the caller's.
    let block = Block::new("conv");
    assert_eq!(place(|| drop(block.forward(&images))), "in Conv2d");
    // A chain that a closure holds has no name in the outer one.
    let inner = mlp(&device);
    let outer = Sequential::new().push(move |x: &Tensor<_>| inner.forward(x));
    assert!(place(|| drop(outer.forward(&images.narrow(3, 0, 3)))).starts_with("in layer 0.Sequential.0: Linear"));
}

#[test]
fn a_place_ends_with_its_layer_and_follows_changes() {
    let device = device();
    let mut net = Sequential::new().push(Block::new("head"));
    let images = Tensor::ones([2, 3, 8, 8], &device);
    assert!(place(|| drop(net.forward(&images))).starts_with("in layer 0.heads.1: Linear"));
    // A panic outside of a layer, after one inside.
    let text = message(|| drop(&images + Tensor::ones([7], &device)));
    assert!(!text.contains("in layer"), "{text}");
    // The heads move in memory; names are read anew.
    net.get_mut::<Block<_>>(0).expect("a block").heads.resize_with(64, || Linear::new(5, 5, &device));
    assert!(place(|| drop(net.forward(&images))).starts_with("in layer 0.heads.1: Linear"));
    // A clone has names of its own.
    let copy = net.clone();
    drop(net);
    assert!(place(|| drop(copy.forward(&images))).starts_with("in layer 0.heads.1: Linear"));
    // Another thread has a place of its own.
    let result = std::thread::scope(|scope| {
        scope.spawn(|| message(|| drop(Tensor::ones([2], &device) + Tensor::ones([3], &device)))).join()
    });
    assert!(result.is_ok_and(|text| !text.contains("in layer")));
}

#[test]
fn a_layers_own_checks_say_the_place_too() {
    let device = device();
    let net = Sequential::new().push(BatchNorm2d::new(3, &device));
    let text = message(|| drop(net.forward(&Tensor::ones([2, 4, 2, 2], &device))));
    assert!(text.contains("the layer has 3 channels") && text.contains("; in layer 0: BatchNorm2d of the"), "{text}");
    let direct: &dyn Layer<Cpu> = &BatchNorm2d::new(3, &device);
    let text = place(|| drop(direct.forward(&Tensor::ones([2, 4, 2, 2], &device))));
    assert_eq!(text, "in BatchNorm2d");
}
