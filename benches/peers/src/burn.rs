//! Burn on its burn-flex backend, with the layers and optimizers of burn-nn. `backward` takes no output gradient, so a gradient g of y is
//! expressed as the backward pass of `sum(y g)`. A linear layer stores its weight as `[inputs, outputs]`.

mod epoch;
mod nets;

use crate::data::fill;
use crate::rows::{Net, Work};
use crate::serve::Prepared;
use burn::module::Param;
use burn::nn::BatchNormConfig;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer, SgdConfig};
use burn::prelude::*;
use burn::tensor::activation::{log_softmax, relu, sigmoid, softmax};
use burn::tensor::module::{conv1d, conv2d, layer_norm, max_pool2d};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use nets::{Kim, Lenet, Mlp, Params, Resnet};
use std::hint::black_box;
use std::rc::Rc;

fn make<const N: usize>(shape: [usize; N], seed: u32, device: &Device) -> Tensor<N> {
    Tensor::from_data(TensorData::new(fill(shape.iter().product(), seed), shape), device)
}

fn numbers<const N: usize>(x: Tensor<N>) -> Vec<f32> {
    x.into_data().try_to_vec().expect("f32")
}

/// Results, flattened.
type Output = Vec<Tensor<1>>;

fn plain(f: impl Fn() -> Output + 'static) -> Option<Prepared> {
    let f = Rc::new(f);
    let again = f.clone();
    Some(Prepared {
        run: Box::new(move || drop(black_box(f()))),
        result: Box::new(move || again().into_iter().flat_map(numbers).collect()),
    })
}

/// Flattens a result; this is a view.
fn flat<const N: usize>(x: Tensor<N>) -> Tensor<1> {
    x.flatten(0, N - 1)
}

fn unary<const N: usize>(x: Tensor<N>, f: impl Fn(Tensor<N>) -> Tensor<N> + 'static) -> Option<Prepared> {
    plain(move || vec![flat(f(x.clone()))])
}

fn binary<const N: usize, const M: usize, const O: usize>(
    a: Tensor<N>,
    b: Tensor<M>,
    f: impl Fn(Tensor<N>, Tensor<M>) -> Tensor<O> + 'static,
) -> Option<Prepared> {
    plain(move || vec![flat(f(a.clone(), b.clone()))])
}

pub fn prepare(work: &Work) -> Option<Prepared> {
    let device = Device::flex();
    let recording = Device::flex().autodiff();
    match work.clone() {
        Work::Matmul { batch, m, k, n, transposed } => {
            if batch > 0 {
                let a = make([batch, m, k], 1, &device);
                return binary(a, make([batch, k, n], 2, &device), |a, b| a.matmul(b));
            }
            let a = if transposed { make([k, m], 1, &device).transpose() } else { make([m, k], 1, &device) };
            binary(a, make([k, n], 2, &device), |a, b| a.matmul(b))
        }
        Work::MatVec { m, k } => binary(make([m, k], 1, &device), make([k, 1], 2, &device), |a, b| a.matmul(b)),
        Work::Add { n } => binary(make([n], 1, &device), make([n], 2, &device), |a, b| a + b),
        Work::Unary { name, n } => {
            let x = make([n], 1, &device);
            match name.as_str() {
                "exp" => unary(x, |x| x.exp()),
                "tanh" => unary(x, |x| x.tanh()),
                _ => unary(x, relu),
            }
        }
        Work::Chain { n } => binary(make([n], 1, &device), make([n], 2, &device), |a, b| relu((a * b + 0.5).tanh())),
        Work::BiasAdd { rows, columns } => {
            binary(make([rows, columns], 1, &device), make([1, columns], 2, &device), |a, b| a + b)
        }
        Work::Sum { rows, columns, dim } => {
            let x = make([rows, columns], 1, &device);
            if dim < 0 { plain(move || vec![x.clone().sum()]) } else { unary(x, move |x| x.sum_dim(dim as usize)) }
        }
        Work::MaxIndex { rows, columns } => {
            let x = make([rows, columns], 1, &device);
            let f = Rc::new(move || x.clone().max_dim_with_indices(1));
            let again = f.clone();
            Some(Prepared {
                run: Box::new(move || drop(black_box(f()))),
                result: Box::new(move || {
                    let (max, index) = again();
                    [numbers(max), numbers(index.float())].concat()
                }),
            })
        }
        Work::Softmax { rows, columns, log } => {
            let x = make([rows, columns], 1, &device);
            if log { unary(x, |x| log_softmax(x, 1)) } else { unary(x, |x| softmax(x, 1)) }
        }
        Work::LayerNorm { rows, columns } => {
            let (w, b) = (make([columns], 2, &device), make([columns], 3, &device));
            unary(make([rows, columns], 1, &device), move |x| layer_norm(x, w.clone(), Some(b.clone()), 1e-5))
        }
        Work::BatchNorm { shape } => {
            let mut layer = BatchNormConfig::new(shape[1]).init(&recording);
            layer.gamma = Param::from_tensor(make([shape[1]], 2, &recording));
            layer.beta = Param::from_tensor(make([shape[1]], 3, &recording));
            let x = make(shape, 1, &recording).require_grad();
            let (g, gamma, beta) = (make(shape, 4, &recording), layer.gamma.val(), layer.beta.val());
            forward_backward((x.clone(), gamma, beta), g, move || layer.forward(x.clone()))
        }
        Work::Transpose { rows, columns } => {
            // A transpose is a view; a reshape forces the copy.
            let x = make([rows, columns], 1, &device);
            unary(x, |x| x.transpose().reshape([1, -1]))
        }
        Work::Conv2d { x, w, stride, padding, backward } => {
            let options = move || ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1);
            let device = if backward { recording } else { device };
            let (x, w, b) = (make(x, 1, &device), make(w, 2, &device), make([w[0]], 3, &device));
            if !backward {
                return unary(x, move |x| conv2d(x, w.clone(), Some(b.clone()), options()));
            }
            let g = make(conv2d(x.clone(), w.clone(), None, options()).dims(), 4, &device);
            let (x, w, b) = (x.require_grad(), w.require_grad(), b.require_grad());
            let leaves = (x.clone(), w.clone(), b.clone());
            forward_backward(leaves, g, move || conv2d(x.clone(), w.clone(), Some(b.clone()), options()))
        }
        Work::Conv1d { x, w, backward } => {
            let options = move || ConvOptions::new([1], [0], [1], 1);
            let device = if backward { recording } else { device };
            let (x, w, b) = (make(x, 1, &device), make(w, 2, &device), make([w[0]], 3, &device));
            if !backward {
                return unary(x, move |x| conv1d(x, w.clone(), Some(b.clone()), options()));
            }
            let g = make(conv1d(x.clone(), w.clone(), None, options()).dims(), 4, &device);
            let (x, w, b) = (x.require_grad(), w.require_grad(), b.require_grad());
            let leaves = (x.clone(), w.clone(), b.clone());
            forward_backward(leaves, g, move || conv1d(x.clone(), w.clone(), Some(b.clone()), options()))
        }
        Work::MaxPool { x, backward } => {
            let pool = |x| max_pool2d(x, MaxPoolOptions::new([2, 2]));
            if !backward {
                return unary(make(x, 1, &device), pool);
            }
            let x = make(x, 1, &recording).require_grad();
            let g = make(pool(x.clone()).dims(), 4, &recording);
            plain(move || {
                let y = pool(x.clone());
                let grads = (y.clone() * g.clone()).sum().backward();
                vec![flat(y.inner()), flat(x.grad(&grads).expect("x is a leaf"))]
            })
        }
        Work::Infer { batch } => {
            let model = Lenet::new(&mut Params::new(&device));
            unary(make([batch, 1, 28, 28], 1, &device), move |x| {
                let [batch, ..] = x.dims();
                model.forward(x).reshape([batch, 10, 1, 1])
            })
        }
        Work::Epoch => epoch::prepare(recording, device),
        Work::Train { net, batch } => train_net(net, batch, &mut Params::new(&recording)),
    }
}

/// y and the gradients of x, weight and bias.
fn forward_backward<const N: usize, const W: usize>(
    (x, w, b): (Tensor<N>, Tensor<W>, Tensor<1>),
    g: Tensor<N>,
    f: impl Fn() -> Tensor<N> + 'static,
) -> Option<Prepared> {
    plain(move || {
        let y = f();
        let grads = (y.clone() * g.clone()).sum().backward();
        let all = "every leaf has a gradient";
        vec![
            flat(y.inner()),
            flat(x.grad(&grads).expect(all)),
            flat(w.grad(&grads).expect(all)),
            b.grad(&grads).expect(all),
        ]
    })
}

fn train_net(net: Net, batch: usize, params: &mut Params) -> Option<Prepared> {
    let device = params.device;
    let adam = || AdamConfig::new().with_epsilon(1e-8).init();
    let classify = |classes| {
        let target: Vec<i32> = (0..batch as i32).map(|i| i % classes).collect();
        let target: Tensor<1, Int> = Tensor::from_data(TensorData::new(target, [batch]), device);
        let loss = CrossEntropyLossConfig::new().init(device);
        move |logits: Tensor<2>| loss.forward(logits, target.clone())
    };
    match net {
        Net::Lenet => {
            let x = make([batch, 1, 28, 28], 1, device);
            train(Lenet::new(params), adam(), 1e-3, move |m| m.forward(x.clone()), classify(10))
        }
        Net::Mlp => {
            let x = make([batch, 784], 1, device);
            train(Mlp::new(&[784, 256, 128, 10], params), adam(), 1e-3, move |m| m.forward(x.clone()), classify(10))
        }
        Net::Kim => {
            let x = make([batch, 128, 40], 1, device);
            train(Kim::new(params), adam(), 1e-3, move |m| m.forward(x.clone()), classify(2))
        }
        Net::Resnet20 => {
            let x = make([batch, 3, 32, 32], 1, device);
            let momentum = MomentumConfig::new().with_momentum(0.9).with_dampening(0.0);
            let sgd = SgdConfig::new().with_momentum(Some(momentum)).init();
            train(Resnet::new(params), sgd, 0.01, move |m| m.forward(x.clone()), classify(10))
        }
        Net::Xor => {
            let points = fill(2 * batch, 1);
            let labels: Vec<f32> = points.chunks(2).map(|p| (p[0] * p[1] < 0.0) as u8 as f32).collect();
            let x = Tensor::<2>::from_data(TensorData::new(points, [batch, 2]), device);
            let y = Tensor::<2>::from_data(TensorData::new(labels, [batch, 1]), device);
            let not_y: Tensor<2> = 1.0 - y.clone();
            let loss = move |p: Tensor<2>| -> Tensor<1> {
                let likelihood: Tensor<2> = p.clone() * y.clone() + (1.0 - p) * not_y.clone();
                -likelihood.log().mean()
            };
            let forward = move |m: &Mlp| sigmoid(m.forward(x.clone()));
            train(Mlp::new(&[2, 10, 10, 1], params), SgdConfig::new().init(), 0.5, forward, loss)
        }
    }
}

fn train<M: Module + 'static>(
    model: M,
    mut optimizer: ModuleOptimizer,
    lr: f64,
    forward: impl Fn(&M) -> Tensor<2> + 'static,
    loss: impl Fn(Tensor<2>) -> Tensor<1> + 'static,
) -> Option<Prepared> {
    let mut model = Some(model);
    let mut step = move || {
        let current = model.take().expect("every step puts it back");
        let loss = loss(forward(&current));
        let grads = GradientsParams::from_grads(loss.backward(), &current);
        model = Some(optimizer.step(lr, current, grads));
        loss.inner()
    };
    let first: Vec<f32> = (0..3).flat_map(|_| numbers(step())).collect();
    Some(Prepared { run: Box::new(move || drop(black_box(step()))), result: Box::new(move || first.clone()) })
}
