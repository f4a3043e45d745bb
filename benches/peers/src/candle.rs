//! candle, with the layers and optimizers of candle-nn. `backward` takes no output gradient, so a gradient g of y is expressed as the
//! backward pass of `sum(y g)`. Its SGD has no momentum; that is written out here.

mod epoch;

use crate::data::{fill, parameter};
use crate::rows::{Net, Work};
use crate::serve::Prepared;
use candle_core::backprop::GradStore;
use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::{AdamW, BatchNorm, Conv1d, Conv1dConfig, Conv2d, Conv2dConfig, Linear, Module, Optimizer, ParamsAdamW};
use std::hint::black_box;
use std::rc::Rc;

const DEVICE: Device = Device::Cpu;

fn make(shape: &[usize], seed: u32) -> Tensor {
    Tensor::from_vec(fill(shape.iter().product(), seed), shape, &DEVICE).expect("the length fits the shape")
}

fn numbers(x: &Tensor) -> Result<Vec<f32>> {
    x.flatten_all()?.to_dtype(DType::F32)?.to_vec1()
}

fn plain(f: impl Fn() -> Result<Vec<Tensor>> + 'static) -> Option<Prepared> {
    let f = Rc::new(f);
    let again = f.clone();
    Some(Prepared {
        run: Box::new(move || drop(black_box(f().expect("candle runs")))),
        result: Box::new(move || {
            let tensors = again().expect("candle runs");
            tensors.iter().flat_map(|x| numbers(x).expect("candle reads")).collect()
        }),
    })
}

/// y and the gradients of the leaves, with an output gradient of seed 4.
fn forward_backward(leaves: Vec<Var>, f: impl Fn(&[Var]) -> Result<Tensor> + 'static) -> Result<Option<Prepared>> {
    let g = make(f(&leaves)?.dims(), 4);
    Ok(plain(move || {
        let y = f(&leaves)?;
        let grads = (&y * &g)?.sum_all()?.backward()?;
        let of = |leaf: &Var| grads.get(leaf).cloned().expect("every leaf has a gradient");
        Ok([y].into_iter().chain(leaves.iter().map(of)).collect())
    }))
}

pub fn prepare(work: &Work) -> Option<Prepared> {
    prepare_row(work.clone()).expect("candle prepares")
}

fn prepare_row(work: Work) -> Result<Option<Prepared>> {
    Ok(match work {
        Work::Matmul { batch, m, k, n, transposed } => {
            let shape = |a, b| if batch == 0 { vec![a, b] } else { vec![batch, a, b] };
            let a = if transposed { make(&shape(k, m), 1).t()? } else { make(&shape(m, k), 1) };
            let b = make(&shape(k, n), 2);
            plain(move || Ok(vec![a.matmul(&b)?]))
        }
        Work::MatVec { m, k } => {
            let (a, b) = (make(&[m, k], 1), make(&[k], 2).unsqueeze(1)?);
            plain(move || Ok(vec![a.matmul(&b)?]))
        }
        Work::Add { n } => {
            let (a, b) = (make(&[n], 1), make(&[n], 2));
            plain(move || Ok(vec![(&a + &b)?]))
        }
        Work::Unary { name, n } => {
            let x = make(&[n], 1);
            plain(move || {
                Ok(vec![match name.as_str() {
                    "exp" => x.exp()?,
                    "tanh" => x.tanh()?,
                    _ => x.relu()?,
                }])
            })
        }
        Work::Chain { n } => {
            let (a, b) = (make(&[n], 1), make(&[n], 2));
            plain(move || Ok(vec![((&a * &b)? + 0.5)?.tanh()?.relu()?]))
        }
        Work::BiasAdd { rows, columns } => {
            let (a, b) = (make(&[rows, columns], 1), make(&[columns], 2));
            plain(move || Ok(vec![a.broadcast_add(&b)?]))
        }
        Work::Sum { rows, columns, dim } => {
            let x = make(&[rows, columns], 1);
            plain(move || Ok(vec![if dim < 0 { x.sum_all()? } else { x.sum(dim as usize)? }]))
        }
        Work::MaxIndex { rows, columns } => {
            let x = make(&[rows, columns], 1);
            plain(move || Ok(vec![x.max(1)?, x.argmax(1)?]))
        }
        Work::Softmax { rows, columns, log } => {
            let x = make(&[rows, columns], 1);
            plain(move || {
                Ok(vec![if log { candle_nn::ops::log_softmax(&x, 1)? } else { candle_nn::ops::softmax_last_dim(&x)? }])
            })
        }
        Work::LayerNorm { rows, columns } => {
            let (x, w, b) = (make(&[rows, columns], 1), make(&[columns], 2), make(&[columns], 3));
            plain(move || Ok(vec![candle_nn::ops::layer_norm(&x, &w, &b, 1e-5)?]))
        }
        Work::BatchNorm { shape } => {
            let c = shape[1];
            let leaves = vec![
                Var::from_tensor(&make(&shape, 1))?,
                Var::from_tensor(&make(&[c], 2))?,
                Var::from_tensor(&make(&[c], 3))?,
            ];
            let layer = batch_norm(c, &leaves[1], &leaves[2])?;
            forward_backward(leaves, move |leaves| layer.forward_train(&leaves[0]))?
        }
        Work::Transpose { rows, columns } => {
            let x = make(&[rows, columns], 1);
            plain(move || Ok(vec![x.t()?.contiguous()?]))
        }
        Work::Conv2d { x, w, stride, padding, backward } => {
            let config = Conv2dConfig { stride, padding, ..Default::default() };
            let leaves = [make(&x, 1), make(&w, 2), make(&[w[0]], 3)];
            conv(leaves, backward, move |w, b| Conv2d::new(w, Some(b), config))?
        }
        Work::Conv1d { x, w, backward } => {
            let leaves = [make(&x, 1), make(&w, 2), make(&[w[0]], 3)];
            conv(leaves, backward, |w, b| Conv1d::new(w, Some(b), Conv1dConfig::default()))?
        }
        Work::MaxPool { x, backward } => {
            let x = make(&x, 1);
            if !backward {
                return Ok(plain(move || Ok(vec![x.max_pool2d(2)?])));
            }
            forward_backward(vec![Var::from_tensor(&x)?], |leaves| leaves[0].max_pool2d(2))?
        }
        Work::Infer { batch } => {
            let model = Lenet::new(&mut Params::constant())?;
            let x = make(&[batch, 1, 28, 28], 1);
            plain(move || Ok(vec![model.forward(&x)?]))
        }
        Work::Epoch => epoch::prepare(),
        Work::Train { net, batch } => {
            let mut params = Params::default();
            match net {
                Net::Lenet => {
                    let model = Lenet::new(&mut params)?;
                    classify(model, params.adam()?, &[batch, 1, 28, 28], 10)?
                }
                Net::Mlp => {
                    let sizes = [784, 256, 128, 10];
                    let mut model = candle_nn::seq();
                    for (i, size) in sizes.windows(2).enumerate() {
                        model = model.add(params.linear(size[0], size[1])?);
                        if i < 2 {
                            model = model.add(Tensor::relu);
                        }
                    }
                    classify(model, params.adam()?, &[batch, 784], 10)?
                }
                Net::Kim => {
                    let model = Kim::new(&mut params)?;
                    classify(model, params.adam()?, &[batch, 128, 40], 2)?
                }
                Net::Resnet20 => {
                    let model = Resnet::new(&mut params)?;
                    classify(model, params.momentum(0.01, 0.9)?, &[batch, 3, 32, 32], 10)?
                }
                Net::Xor => {
                    let model = candle_nn::seq()
                        .add(params.linear(2, 10)?)
                        .add(Tensor::relu)
                        .add(params.linear(10, 10)?)
                        .add(Tensor::relu)
                        .add(params.linear(10, 1)?)
                        .add_fn(candle_nn::ops::sigmoid);
                    let points = fill(2 * batch, 1);
                    let labels: Vec<f32> = points.chunks(2).map(|p| (p[0] * p[1] < 0.0) as u8 as f32).collect();
                    let x = Tensor::from_vec(points, (batch, 2), &DEVICE)?;
                    let y = Tensor::from_vec(labels, (batch, 1), &DEVICE)?;
                    let not_y = (1.0 - &y)?;
                    let mut sgd = candle_nn::SGD::new(params.vars, 0.5)?;
                    let loss = move |p: &Tensor| ((p * &y)? + ((1.0 - p)? * &not_y)?)?.log()?.mean_all()?.neg();
                    train(model, move |grads| sgd.step(grads), x, loss)?
                }
            }
        }
    })
}

fn conv<L: Module>(
    leaves: [Tensor; 3],
    backward: bool,
    layer: impl Fn(Tensor, Tensor) -> L + 'static,
) -> Result<Option<Prepared>> {
    if !backward {
        let [x, w, b] = leaves;
        return Ok(plain(move || Ok(vec![layer(w.clone(), b.clone()).forward(&x)?])));
    }
    let leaves = leaves.iter().map(Var::from_tensor).collect::<Result<Vec<_>>>()?;
    forward_backward(leaves, move |l| layer(l[1].as_tensor().clone(), l[2].as_tensor().clone()).forward(&l[0]))
}

fn batch_norm(channels: usize, weight: &Tensor, bias: &Tensor) -> Result<BatchNorm> {
    let zero = Var::zeros(channels, DType::F32, &DEVICE)?;
    let one = Var::ones(channels, DType::F32, &DEVICE)?;
    let (mean, var) = (zero.as_tensor().clone(), one.as_tensor().clone());
    BatchNorm::new_with_momentum(channels, mean, var, weight.clone(), bias.clone(), 1e-5, 0.1)
}

/// The parameters of a network, in PyTorch's order.
#[derive(Default)]
struct Params {
    vars: Vec<Var>,
    count: usize,
    /// For inference: no `Var`s, so nothing is recorded.
    constant: bool,
}

impl Params {
    fn constant() -> Self {
        Params { constant: true, ..Default::default() }
    }

    fn next(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let value = Tensor::from_vec(parameter(self.count, name, shape), shape, &DEVICE)?;
        self.count += 1;
        if self.constant {
            return Ok(value);
        }
        let var = Var::from_tensor(&value)?;
        let tensor = var.as_tensor().clone();
        self.vars.push(var);
        Ok(tensor)
    }

    fn linear(&mut self, inputs: usize, outputs: usize) -> Result<Linear> {
        Ok(Linear::new(self.next("weight", &[outputs, inputs])?, Some(self.next("bias", &[outputs])?)))
    }

    fn conv(&mut self, shape: [usize; 4], stride: usize, padding: usize, bias: bool) -> Result<Conv2d> {
        let weight = self.next("weight", &shape)?;
        let bias = if bias { Some(self.next("bias", &shape[..1])?) } else { None };
        Ok(Conv2d::new(weight, bias, Conv2dConfig { stride, padding, ..Default::default() }))
    }

    fn norm(&mut self, channels: usize) -> Result<BatchNorm> {
        let (weight, bias) = (self.next("weight", &[channels])?, self.next("bias", &[channels])?);
        batch_norm(channels, &weight, &bias)
    }

    fn adam(self) -> Result<impl FnMut(&GradStore) -> Result<()>> {
        let mut adam = AdamW::new(self.vars, ParamsAdamW { lr: 1e-3, weight_decay: 0.0, ..Default::default() })?;
        Ok(move |grads: &GradStore| adam.step(grads))
    }

    fn momentum(self, lr: f64, momentum: f64) -> Result<impl FnMut(&GradStore) -> Result<()>> {
        let mut velocities = self.vars.iter().map(|var| var.zeros_like()).collect::<Result<Vec<_>>>()?;
        let vars = self.vars;
        Ok(move |grads: &GradStore| {
            for (var, velocity) in vars.iter().zip(&mut velocities) {
                let Some(grad) = grads.get(var) else { continue };
                *velocity = ((&*velocity * momentum)? + grad)?;
                var.set(&(var.as_tensor() - (&*velocity * lr)?)?)?;
            }
            Ok(())
        })
    }
}

struct Lenet {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
    fc3: Linear,
}

impl Lenet {
    fn new(params: &mut Params) -> Result<Self> {
        Ok(Lenet {
            conv1: params.conv([6, 1, 5, 5], 1, 2, true)?,
            conv2: params.conv([16, 6, 5, 5], 1, 0, true)?,
            fc1: params.linear(400, 120)?,
            fc2: params.linear(120, 84)?,
            fc3: params.linear(84, 10)?,
        })
    }
}

impl Module for Lenet {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.conv1.forward(x)?.relu()?.max_pool2d(2)?;
        let x = self.conv2.forward(&x)?.relu()?.max_pool2d(2)?.flatten_from(1)?;
        let x = self.fc1.forward(&x)?.relu()?;
        self.fc3.forward(&self.fc2.forward(&x)?.relu()?)
    }
}

struct Kim {
    convs: [Conv1d; 3],
    fc: Linear,
}

impl Kim {
    fn new(params: &mut Params) -> Result<Self> {
        let mut conv = |words| -> Result<Conv1d> {
            let (weight, bias) = (params.next("weight", &[100, 128, words])?, params.next("bias", &[100])?);
            Ok(Conv1d::new(weight, Some(bias), Conv1dConfig::default()))
        };
        Ok(Kim { convs: [conv(3)?, conv(4)?, conv(5)?], fc: params.linear(300, 2)? })
    }
}

impl Module for Kim {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let maxima = self.convs.iter().map(|conv| conv.forward(x)?.relu()?.max(2)).collect::<Result<Vec<_>>>()?;
        self.fc.forward(&Tensor::cat(&maxima, 1)?)
    }
}

struct Block {
    conv1: Conv2d,
    bn1: BatchNorm,
    conv2: Conv2d,
    bn2: BatchNorm,
    downsample: Option<(Conv2d, BatchNorm)>,
}

struct Resnet {
    conv1: Conv2d,
    bn1: BatchNorm,
    blocks: Vec<Block>,
    fc: Linear,
}

impl Resnet {
    fn new(params: &mut Params) -> Result<Self> {
        let (conv1, bn1) = (params.conv([16, 3, 3, 3], 1, 1, false)?, params.norm(16)?);
        let mut blocks = Vec::new();
        for (i, (inputs, outputs)) in [(16, 16), (16, 32), (32, 64)].into_iter().enumerate() {
            for j in 0..3 {
                let (inputs, stride) = if j == 0 { (inputs, if i == 0 { 1 } else { 2 }) } else { (outputs, 1) };
                blocks.push(Block {
                    conv1: params.conv([outputs, inputs, 3, 3], stride, 1, false)?,
                    bn1: params.norm(outputs)?,
                    conv2: params.conv([outputs, outputs, 3, 3], 1, 1, false)?,
                    bn2: params.norm(outputs)?,
                    downsample: if inputs != outputs {
                        Some((params.conv([outputs, inputs, 1, 1], stride, 0, false)?, params.norm(outputs)?))
                    } else {
                        None
                    },
                });
            }
        }
        Ok(Resnet { conv1, bn1, blocks, fc: params.linear(64, 10)? })
    }
}

impl Module for Resnet {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = self.bn1.forward_train(&self.conv1.forward(x)?)?.relu()?;
        for block in &self.blocks {
            let y = block.bn1.forward_train(&block.conv1.forward(&x)?)?.relu()?;
            let y = block.bn2.forward_train(&block.conv2.forward(&y)?)?;
            let shortcut = match &block.downsample {
                Some((conv, norm)) => norm.forward_train(&conv.forward(&x)?)?,
                None => x,
            };
            x = (y + shortcut)?.relu()?;
        }
        self.fc.forward(&x.mean((D::Minus2, D::Minus1))?)
    }
}

fn classify(
    model: impl Module + 'static,
    step: impl FnMut(&GradStore) -> Result<()> + 'static,
    x: &[usize],
    classes: u32,
) -> Result<Option<Prepared>> {
    let target = Tensor::from_vec((0..x[0] as u32).map(|i| i % classes).collect::<Vec<_>>(), x[0], &DEVICE)?;
    train(model, step, make(x, 1), move |logits| candle_nn::loss::cross_entropy(logits, &target))
}

fn train(
    model: impl Module + 'static,
    mut update: impl FnMut(&GradStore) -> Result<()> + 'static,
    x: Tensor,
    loss: impl Fn(&Tensor) -> Result<Tensor> + 'static,
) -> Result<Option<Prepared>> {
    let mut step = move || -> Result<Tensor> {
        let loss = loss(&model.forward(&x)?)?;
        update(&loss.backward()?)?;
        Ok(loss)
    };
    let first = (0..3).map(|_| step()?.to_scalar()).collect::<Result<Vec<f32>>>()?;
    Ok(Some(Prepared {
        run: Box::new(move || drop(black_box(step().expect("candle runs")))),
        result: Box::new(move || first.clone()),
    }))
}
