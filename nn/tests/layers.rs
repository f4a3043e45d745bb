//! Layers: running statistics, modes, names, and the summary. The conformance suite checks their results.

use minitorch_conformance::doc::{Backend, Plain, Tensor, device};
use minitorch_nn::*;
use std::panic::{AssertUnwindSafe, catch_unwind};

extern crate minitorch_nn as minitorch;

fn close(got: &Tensor<Plain>, want: &[f64]) {
    let got = got.to_vec::<f32>().expect("the device works");
    assert_eq!(got.len(), want.len());
    for (&x, &y) in got.iter().zip(want) {
        assert!((x as f64 - y).abs() <= 1e-5 * (1.0 + y.abs()), "{got:?}, not {want:?}");
    }
}

#[test]
fn batch_norm_updates_running_statistics() {
    let mut norm = BatchNorm1d::new(2, &device());
    let x = Tensor::new([[1.0, 10.0], [2.0, 10.0], [6.0, 40.0]], &device());
    let y = norm.forward(&x);
    // Means 3 and 20, biased variances 14/3 and 200.
    close(&y.sum(0), &[0.0, 0.0]);
    close(&y.square().mean(0), &[1.0, 1.0]);
    // A tenth of the way from 0 and 1 towards the mean and the unbiased variance: 7 and 300.
    close(&norm.running_mean.get(), &[0.3, 2.0]);
    close(&norm.running_var.get(), &[1.6, 30.9]);
    drop(norm.forward(&x));
    close(&norm.running_mean.get(), &[0.57, 3.8]);
    assert_eq!(norm.num_batches_tracked.get().item().ok(), Some(2.0));
    assert!(!norm.running_mean.get().is_tracked(), "statistics are off the tape");

    norm.eval();
    let want = |x: f64, mean: f64, var: f64| (x - mean) / (var + 1e-5_f64).sqrt();
    let before = norm.running_mean.get();
    let y = norm.forward(&Tensor::new([[1.0, 10.0]], &device()));
    close(&y.flatten(..), &[want(1.0, 0.57, 0.9 * 1.6 + 0.7), want(10.0, 3.8, 0.9 * 30.9 + 30.0)]);
    close(
        &norm.running_mean.get(),
        &before.to_vec::<f32>().unwrap_or_default().iter().map(|&x| x as f64).collect::<Vec<_>>(),
    );
    assert_eq!(norm.num_batches_tracked.get().item().ok(), Some(2.0), "evaluation changes nothing");
}

#[test]
fn batch_norm_refuses_single_elements_and_wrong_shapes() {
    let norm = BatchNorm2d::new(3, &device());
    let message = |shape: &[usize]| {
        let run = || norm.forward(&Tensor::zeros(shape, &device()));
        let payload = catch_unwind(AssertUnwindSafe(run)).expect_err("it panics");
        payload.downcast_ref::<String>().cloned().unwrap_or_default()
    };
    assert!(message(&[1, 3, 1, 1]).contains("more than one element"), "{}", message(&[1, 3, 1, 1]));
    assert!(message(&[2, 3, 4]).contains("[n, c, h, w]"));
    assert!(message(&[2, 4, 2, 2]).contains("has 3 channels"));
    assert_eq!(norm.num_batches_tracked.get().item().ok(), Some(0.0), "nothing was counted");
}

#[test]
fn norms_have_gradients_and_pytorchs_names() {
    let device = device();
    let norm = BatchNorm2d::new(3, &device);
    let state = norm.state().expect("readable");
    let names: Vec<&str> = state.names().collect();
    assert_eq!(names, ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]);
    assert!(norm.clone().without_affine().named_parameters().is_empty());

    let x = Tensor::randn([4, 6, 5], &device).requires_grad();
    let (layer, group) = (LayerNorm::new([6, 5], &device), GroupNorm::new(2, 6, &device));
    for (y, weight) in [(layer.forward(&x), &layer.weight), (group.forward(&x), &group.weight)] {
        let grads = y.square().sum(..).backward();
        let weight = weight.as_ref().expect("a weight");
        assert!(grads.get(&x).is_some() && grads.get(weight).is_some_and(|g| g.shape() == weight.shape()));
    }
    assert!(layer.forward(&x).mean([1, 2]).abs().max(..).item().is_ok_and(|m| m < 1e-5));
}

#[test]
fn embedding_sums_the_gradients_of_a_row() {
    let embedding = Embedding::new(5, 3, &device());
    let y = embedding.forward(&Tensor::new([[1, 4], [1, 0]], &device()));
    assert_eq!(y.dims(), [2, 2, 3]);
    close(
        &y.slice((0, 1)),
        &embedding.weight.slice(4).to_vec::<f32>().unwrap_or_default().iter().map(|&x| x as f64).collect::<Vec<_>>(),
    );
    let grads = y.sum(..).backward();
    close(&grads[&*embedding.weight].sum(1), &[3.0, 6.0, 0.0, 0.0, 3.0]);
}

#[test]
fn channel_dropout_follows_the_mode() {
    let mut dropout = Dropout2d::new(0.5);
    let x = Tensor::ones([8, 16, 2, 2], &device());
    assert!(dropout.forward(&x).sum(..).item().is_ok_and(|sum| sum != 512.0));
    Module::<Plain>::eval(&mut dropout);
    close(&dropout.forward(&x).sum(..), &[512.0]);
}

#[derive(Module)]
struct Block<B: Backend> {
    conv: Conv2d<B>,
    norm: BatchNorm2d<B>,
}

#[derive(Module)]
struct Net<B: Backend> {
    blocks: Vec<Block<B>>,
    pool: AdaptiveAvgPool2d,
    first: Relu,
    second: Relu,
    head: Sequential<B>,
}

impl<B: Backend> Net<B> {
    fn forward(&self, x: &Tensor<B>) -> Tensor<B> {
        let mut x = x.clone();
        for block in &self.blocks {
            x = self.first.forward(&block.norm.forward(&block.conv.forward(&x)));
        }
        self.head.forward(&self.pool.forward(&self.second.forward(&x)).flatten(1..))
    }
}

#[test]
fn the_summary_lists_modules_and_their_results() {
    let device = device();
    let conv =
        |from, to| Conv2d::with_options(from, to, 3, minitorch_core::Conv2dOptions::default().padding(1), &device);
    let block = |from, to| Block { conv: conv(from, to), norm: BatchNorm2d::new(to, &device) };
    let mut net = Net {
        blocks: vec![block(1, 4), block(4, 8)],
        pool: AdaptiveAvgPool2d::new(1),
        first: Relu,
        second: Relu,
        head: Sequential::new().push(Linear::new(8, 10, &device)),
    };
    net.blocks[0].freeze();
    let summary = summary(&net, |net| net.forward(&Tensor::zeros([2, 1, 6, 6], &device)));
    let row = |name: &str| summary.rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no row {name}"));
    let parameters = net.num_parameters();
    assert_eq!(net.blocks[0].norm.num_batches_tracked.get().item().ok(), Some(0.0), "a summary changes nothing");
    let root = row("");
    assert_eq!((root.kind, root.parameters, root.frozen), ("Net", parameters, 4 * 9 + 4 + 8));
    let flops = |from: u64, to: u64| 2 * 2 * 36 * 9 * from * to;
    assert_eq!(row("blocks.0.conv").flops, flops(1, 4));
    assert_eq!(root.flops, flops(1, 4) + flops(4, 8) + 2 * 2 * 8 * 10);
    assert_eq!(row("blocks.1").flops, flops(4, 8), "a user's module has the sums of its parts");
    assert_eq!(row("blocks.1.norm").output, Some([2, 8, 6, 6].into()));
    assert_eq!((row("first").calls + row("second").calls, row("pool").output), (3, Some([2, 8, 1, 1].into())));
    assert_eq!((row("head").kind, row("head.0").output), ("Sequential", Some([2, 10].into())));
    assert_eq!(row("head.0").output_bytes, 80);
    // Every float of the state is 4 bytes, and so are the two counters.
    let numel = |t: &state::HostTensor| t.to_tensor(&device).expect("it fits").numel() as u64;
    let state: u64 = net.state().expect("readable").iter().map(|(_, t)| numel(t)).sum();
    assert_eq!(summary.state_bytes, 4 * state);
    assert!(summary.peak_bytes >= 2 * 8 * 36 * 4, "the largest activation was held");

    let text = summary.to_string();
    assert!(text.contains("├─ blocks.0: Block"), "{text}");
    assert!(text.contains("│  └─ norm: BatchNorm2d"), "{text}");
    assert!(text.contains("   └─ 0: Linear"), "{text}");
    assert!(text.lines().all(|line| line == line.trim_end()), "{text}");
    let eval = summary.rows.len();
    assert_eq!(eval, 1 + 2 * 3 + 3 + 2);
}
