//! minitorch on its CPU backend.

use crate::data::{fill, parameter};
use crate::mnist::{BATCH, FOLDER, TEST_BATCH};
use crate::rows::{Net, Work};
use crate::serve::Prepared;
use minitorch::nn::data::{Loader, Split, mnist};
use minitorch::prelude::*;
use std::hint::black_box;

#[path = "../../../examples/mnist/model.rs"]
mod lenet;
#[path = "../../../examples/resnet/model.rs"]
#[allow(dead_code)]
mod resnet;

type T = Tensor<Cpu>;

fn numbers(x: &T) -> Vec<f32> {
    x.cast(DType::F32).to_vec().expect("the CPU does not fail")
}

/// Work without gradients.
fn plain(f: impl Fn() -> Vec<T> + Clone + 'static) -> Option<Prepared> {
    let again = f.clone();
    Some(Prepared {
        run: Box::new(move || drop(black_box(f()))),
        result: Box::new(move || again().iter().flat_map(numbers).collect()),
    })
}

pub fn prepare(work: &Work) -> Option<Prepared> {
    let device = Cpu::default();
    let make = |shape: &[usize], seed| Tensor::from_vec(fill(shape.iter().product(), seed), shape, &device);
    match work.clone() {
        Work::Matmul { batch, m, k, n, transposed } => {
            let shape = |a, b| if batch == 0 { vec![a, b] } else { vec![batch, a, b] };
            let a = if transposed { make(&shape(k, m), 1).transpose(-2, -1) } else { make(&shape(m, k), 1) };
            let b = make(&shape(k, n), 2);
            plain(move || vec![a.matmul(&b)])
        }
        Work::MatVec { m, k } => {
            let (a, b) = (make(&[m, k], 1), make(&[k], 2));
            plain(move || vec![a.matmul(&b)])
        }
        Work::Add { n } => {
            let (a, b) = (make(&[n], 1), make(&[n], 2));
            plain(move || vec![&a + &b])
        }
        Work::Unary { name, n } => {
            let x = make(&[n], 1);
            plain(move || {
                vec![match name.as_str() {
                    "exp" => x.exp(),
                    "tanh" => x.tanh(),
                    _ => x.relu(),
                }]
            })
        }
        Work::Chain { n } => {
            let (a, b) = (make(&[n], 1), make(&[n], 2));
            plain(move || vec![(&a * &b + 0.5).tanh().relu()])
        }
        Work::BiasAdd { rows, columns } => {
            let (a, b) = (make(&[rows, columns], 1), make(&[columns], 2));
            plain(move || vec![&a + &b])
        }
        Work::Sum { rows, columns, dim } => {
            let x = make(&[rows, columns], 1);
            plain(move || vec![if dim < 0 { x.sum(..) } else { x.sum(dim as isize) }])
        }
        Work::MaxIndex { rows, columns } => {
            let x = make(&[rows, columns], 1);
            plain(move || <[T; 2]>::from(x.max_with_index(1)).into())
        }
        Work::Softmax { rows, columns, log } => {
            let x = make(&[rows, columns], 1);
            plain(move || vec![if log { x.log_softmax(1) } else { x.softmax(1) }])
        }
        Work::LayerNorm { rows, columns } => {
            let (x, w, b) = (make(&[rows, columns], 1), make(&[columns], 2), make(&[columns], 3));
            plain(move || vec![x.layer_norm([columns], Some(&w), Some(&b), 1e-5)])
        }
        Work::BatchNorm { shape } => {
            let mut layer = BatchNorm2d::new(shape[1], &device);
            for (i, (_, param)) in layer.named_parameters_mut().into_iter().enumerate() {
                param.set(make(&[shape[1]], 2 + i as u32));
            }
            let (x, g) = (make(&shape, 1).requires_grad(), make(&shape, 4));
            plain(move || {
                let y = layer.forward(&x);
                let (Some(w), Some(b)) = (&layer.weight, &layer.bias) else { unreachable!("an affine layer has both") };
                let grads = y.backward_with(&g);
                let [gx, gw, gb] = [&x, w, b].map(|leaf| grads[leaf].clone());
                vec![y, gx, gw, gb]
            })
        }
        Work::Transpose { rows, columns } => {
            let x = make(&[rows, columns], 1);
            plain(move || vec![x.transpose(0, 1).contiguous()])
        }
        Work::Conv2d { x, w, stride, padding, backward } => {
            let options = Conv2dOptions::default().stride(stride).padding(padding);
            let (x, w, b) = (make(&x, 1), make(&w, 2), make(&[w[0]], 3));
            if !backward {
                return plain(move || vec![x.conv2d(&w, Some(&b), options)]);
            }
            let g = make(x.conv2d(&w, None, options).shape(), 4);
            let [x, w, b] = [x, w, b].map(|x| x.requires_grad());
            plain(move || {
                let y = x.conv2d(&w, Some(&b), options);
                let grads = y.backward_with(&g);
                let [gx, gw, gb] = [&x, &w, &b].map(|leaf| grads[leaf].clone());
                vec![y, gx, gw, gb]
            })
        }
        Work::Conv1d { x, w, backward } => {
            let (x, w, b) = (make(&x, 1), make(&w, 2), make(&[w[0]], 3));
            if !backward {
                return plain(move || vec![x.conv1d(&w, Some(&b), Conv1dOptions::default())]);
            }
            let g = make(x.conv1d(&w, None, Conv1dOptions::default()).shape(), 4);
            let [x, w, b] = [x, w, b].map(|x| x.requires_grad());
            plain(move || {
                let y = x.conv1d(&w, Some(&b), Conv1dOptions::default());
                let grads = y.backward_with(&g);
                let [gx, gw, gb] = [&x, &w, &b].map(|leaf| grads[leaf].clone());
                vec![y, gx, gw, gb]
            })
        }
        Work::MaxPool { x, backward } => {
            let x = make(&x, 1);
            if !backward {
                return plain(move || vec![x.max_pool2d(2)]);
            }
            let g = make(x.max_pool2d(2).shape(), 4);
            let x = x.requires_grad();
            plain(move || {
                let y = x.max_pool2d(2);
                let grads = y.backward_with(&g);
                vec![y, grads[&x].clone()]
            })
        }
        Work::Infer { batch } => {
            let mut model = lenet::LeNet::new(&device);
            set_parameters(&mut model, &device);
            let x = make(&[batch, 1, 28, 28], 1);
            let infer = std::rc::Rc::new(move || vec![no_grad(|| model.forward(&x))]);
            plain(move || infer())
        }
        Work::Epoch => crate::mnist::prepared(move || epoch(&device).expect("data/mnist is there")),
        Work::Train { net, batch } => {
            let target = |classes| {
                Tensor::from_vec((0..batch as i32).map(|i| i % classes).collect::<Vec<i32>>(), batch, &device)
            };
            match net {
                Net::Lenet => {
                    let (x, target) = (make(&[batch, 1, 28, 28], 1), target(10));
                    classify(lenet::LeNet::new(&device), Adam::new(1e-3), x, target)
                }
                Net::Resnet20 => {
                    let (x, target) = (make(&[batch, 3, 32, 32], 1), target(10));
                    classify(resnet::ResNet20::new(3, 10, &device), Sgd::new(0.01).momentum(0.9), x, target)
                }
                Net::Mlp => {
                    let mlp = Sequential::new()
                        .push(Linear::new(784, 256, &device))
                        .push(Relu)
                        .push(Linear::new(256, 128, &device))
                        .push(Relu)
                        .push(Linear::new(128, 10, &device));
                    classify(mlp, Adam::new(1e-3), make(&[batch, 784], 1), target(10))
                }
                Net::Kim => {
                    let kim = Kim {
                        convs: [3, 4, 5].map(|words| Conv1d::new(128, 100, words, &device)),
                        fc: Linear::new(300, 2, &device),
                    };
                    classify(kim, Adam::new(1e-3), make(&[batch, 128, 40], 1), target(2))
                }
                Net::Xor => {
                    let xor = Sequential::new()
                        .push(Linear::new(2, 10, &device))
                        .push(Relu)
                        .push(Linear::new(10, 10, &device))
                        .push(Relu)
                        .push(Linear::new(10, 1, &device))
                        .push(Sigmoid);
                    let points = fill(2 * batch, 1);
                    let labels: Vec<f32> = points.chunks(2).map(|p| (p[0] * p[1] < 0.0) as u8 as f32).collect();
                    let (x, y) =
                        (Tensor::from_vec(points, [batch, 2], &device), Tensor::from_vec(labels, [batch, 1], &device));
                    let not_y = 1.0 - &y;
                    let loss = move |out: &T| -(out * &y + (1.0 - out) * &not_y).log().mean(..);
                    train(xor, Sgd::new(0.5), x, loss)
                }
            }
        }
    }
}

fn epoch(device: &Cpu) -> Result<usize> {
    let (train, test) = (mnist(FOLDER, Split::Train)?, mnist(FOLDER, Split::Test)?);
    let mut model = lenet::LeNet::new(device);
    set_parameters(&mut model, device);
    let mut adam = Adam::new(1e-3);
    for batch in Loader::new(&train, BATCH).shuffle(1).prefetch(2).epoch(1, device) {
        let (images, labels) = batch?;
        let loss = model.forward(&images).cross_entropy(&labels);
        adam.step(&mut model, &loss.backward());
    }
    let mut correct = 0.0;
    for batch in Loader::new(&test, TEST_BATCH).prefetch(2).epoch(1, device) {
        let (images, labels) = batch?;
        let logits = no_grad(|| model.forward(&images));
        correct += logits.argmax(-1).eq(&labels).cast(DType::F32).sum(..).item()?;
    }
    Ok(correct as usize)
}

#[derive(Module)]
struct Kim<B: Backend> {
    convs: [Conv1d<B>; 3],
    fc: Linear<B>,
}

impl<B: Backend> Layer<B> for Kim<B> {
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let maxima = self.convs.each_ref().map(|conv| conv.forward(x).relu().max(2));
        self.fc.forward(&Tensor::cat(&maxima, 1))
    }
}

/// Sets the initial values that all peers share.
fn set_parameters(model: &mut dyn Module<Cpu>, device: &Cpu) {
    for (i, (name, param)) in model.named_parameters_mut().into_iter().enumerate() {
        let shape = *param.shape();
        param.set(Tensor::from_vec(parameter(i, &name, &shape), shape, device));
    }
}

fn classify(
    model: impl Layer<Cpu> + 'static,
    optimizer: impl Optimizer<Cpu> + 'static,
    x: T,
    target: T,
) -> Option<Prepared> {
    train(model, optimizer, x, move |logits| logits.cross_entropy(&target))
}

fn train(
    mut model: impl Layer<Cpu> + 'static,
    mut optimizer: impl Optimizer<Cpu> + 'static,
    x: T,
    loss: impl Fn(&T) -> T + 'static,
) -> Option<Prepared> {
    set_parameters(&mut model, x.device());
    let mut step = move || {
        let loss = loss(&model.forward(&x));
        optimizer.step(&mut model, &loss.backward());
        loss
    };
    let first: Vec<f32> = (0..3).map(|_| step().item().expect("the CPU does not fail") as f32).collect();
    Some(Prepared { run: Box::new(move || drop(black_box(step()))), result: Box::new(move || first.clone()) })
}
