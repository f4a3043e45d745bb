//! Optimizer steps with row-sparse gradients.

use minitorch_conformance::doc::*;
use minitorch_nn::{Adagrad, Adam, AdamW, Group, Lion, Module, NAdam, Optimizer, Param, RAdam, RmsProp, Sgd};

// derive(Module) generates paths through the facade.
extern crate minitorch_nn as minitorch;

const ROWS: usize = 20_000;
const WIDTH: usize = 4;

type Make = fn(Group) -> Box<dyn Optimizer<Plain>>;

macro_rules! made {
    ($optimizer:expr) => {
        |group| Box::new($optimizer.group(|_, _| true, group))
    };
}

/// Rules that update rows without a gradient too.
const STATEFUL: [(&str, Make); 10] = [
    ("adam", made!(Adam::new(0.1))),
    ("adam with decay", made!(Adam::new(0.1).weight_decay(0.1))),
    ("adamw", made!(AdamW::new(0.1))),
    ("rmsprop", made!(RmsProp::new(0.1).momentum(0.9).centered(true))),
    ("momentum", made!(Sgd::new(0.1).momentum(0.9).nesterov(true))),
    ("adagrad with decay", made!(Adagrad::new(0.1).weight_decay(0.1))),
    ("amsgrad", made!(Adam::new(0.1).amsgrad(true))),
    ("nadam", made!(NAdam::new(0.1).weight_decay(0.1))),
    ("radam", made!(RAdam::new(0.1).decoupled(true).weight_decay(0.1))),
    ("lion", made!(Lion::new(0.1).weight_decay(0.1))),
];

#[derive(Module)]
struct Net {
    table: Param<Plain>,
    bias: Param<Plain>,
}

impl Net {
    fn new(table: Tensor<Plain>) -> Self {
        Net { bias: Param::new(Tensor::zeros([WIDTH], table.device())), table: Param::new(table) }
    }

    fn grads(&self, index: &[i32]) -> Gradients<Tensor<Plain>> {
        let index = Tensor::from_vec(index.to_vec(), index.len(), self.bias.device());
        let y = self.table.index_select(0, &index) + &self.bias;
        // Different gradients for each occurrence of a row.
        let factors = Tensor::arange(1..(y.numel() + 1) as i32, y.device()).cast(DType::F32).reshape(*y.shape());
        (y.square() * factors).sum(..).backward()
    }

    fn learn(&mut self, optimizer: &mut dyn Optimizer<Plain>, index: &[i32]) {
        let grads = self.grads(index);
        assert!(self.table.shape()[0] < ROWS || grads.rows(&self.table).is_some());
        optimizer.step(self, &grads);
    }

    /// The same with a dense gradient.
    fn learn_dense(&mut self, optimizer: &mut dyn Optimizer<Plain>, index: &[i32]) {
        let grads = self.grads(index).map(|g| g);
        assert!(grads.rows(&self.table).is_none());
        optimizer.step(self, &grads);
    }

    fn table(&self) -> Vec<f32> {
        self.table.to_vec().unwrap()
    }
}

fn numbers(rows: usize) -> Tensor<Plain> {
    let data = (0..rows * WIDTH).map(|i| (i as f32 * 0.7).sin()).collect();
    Tensor::from_vec(data, [rows, WIDTH], &device())
}

#[test]
fn rules_that_skip_zeros_give_the_same_results_by_rows() {
    let rules: [(&str, Make); 3] = [
        ("sgd", made!(Sgd::new(0.01))),
        ("adagrad", made!(Adagrad::new(0.1))),
        ("adagrad with an initial value", made!(Adagrad::new(0.1).initial_accumulator(0.3).lr_decay(0.1))),
    ];
    for (name, make) in rules {
        let [mut by_rows, mut whole] = [(); 2].map(|()| Net::new(numbers(ROWS)));
        let [mut a, mut b] = [(); 2].map(|()| make(Group::new()));
        for index in [&[7, 0, 7, 19_999][..], &[7, 3], &[4, 3, 3, 3]] {
            by_rows.learn(&mut *a, index);
            whole.learn_dense(&mut *b, index);
            assert_eq!(by_rows.table(), whole.table(), "{name}");
        }
    }
}

#[test]
fn steps_by_rows_do_not_read_other_rows() {
    // Without eps a dense step divides zeros by zeros.
    let mut net = Net::new(numbers(ROWS));
    let mut adagrad = Adagrad::new(0.1).eps(0.0);
    net.learn(&mut adagrad, &[7, 3, 7]);
    assert!(net.table().iter().all(|x| x.is_finite()));
    let mut whole = Net::new(numbers(ROWS));
    let mut adagrad = Adagrad::new(0.1).eps(0.0);
    whole.learn_dense(&mut adagrad, &[7, 3, 7]);
    assert!(whole.table().iter().any(|x| x.is_nan()));
}

#[test]
fn sparse_and_dense_steps_can_alternate() {
    let make = || Adagrad::new(0.1).initial_accumulator(0.3).lr_decay(0.1);
    let ([mut a, mut b], [mut mixed, mut whole]) =
        ([(); 2].map(|()| make()), [(); 2].map(|()| Net::new(numbers(ROWS))));
    for (step, index) in [[7, 0, 7], [3, 7, 2], [0, 0, 3], [7, 1, 1]].iter().enumerate() {
        if step % 2 == 0 {
            mixed.learn(&mut a, index)
        } else {
            mixed.learn_dense(&mut a, index)
        }
        whole.learn_dense(&mut b, index);
        assert_eq!(mixed.table(), whole.table(), "step {step}");
    }
}

#[test]
fn lazy_steps_equal_those_of_a_table_of_the_rows_that_were_read() {
    for (name, make) in STATEFUL {
        // Rows 5 and 19,999 of the large table are rows 0 and 1 of the small one.
        let large = numbers(ROWS);
        let before: Vec<f32> = large.to_vec().unwrap();
        let used = Tensor::new([5, 19_999], &device());
        let (mut large, mut small) = (Net::new(large.clone()), Net::new(large.index_select(0, &used)));
        let (mut a, mut b) = (make(Group::new().lazy()), make(Group::new()));
        for _ in 0..3 {
            large.learn(&mut *a, &[5, 19_999, 5]);
            small.learn(&mut *b, &[0, 1, 0]);
        }
        let read = large.table.index_select(0, &used).to_vec::<f32>().unwrap();
        assert_eq!(read, small.table(), "{name}");
        assert_eq!(large.bias.to_vec::<f32>().unwrap(), small.bias.to_vec::<f32>().unwrap(), "{name}");
        let moved = large.table().iter().zip(&before).filter(|(now, before)| now != before).count();
        assert_eq!(moved, 2 * WIDTH, "{name}: other rows moved");
    }
}

#[test]
fn by_default_rows_without_a_gradient_are_updated_as_in_pytorch() {
    for (name, make) in STATEFUL {
        let [mut by_rows, mut whole] = [(); 2].map(|()| Net::new(numbers(ROWS)));
        let [mut a, mut b] = [(); 2].map(|()| make(Group::new()));
        for index in [[5, 6], [6, 7]] {
            by_rows.learn(&mut *a, &index);
            whole.learn_dense(&mut *b, &index);
        }
        assert_eq!(by_rows.table(), whole.table(), "{name}");
    }
}

#[test]
fn lazy_steps_resume_from_saved_state() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("optimizer.safetensors");
    let make = || Adam::<Plain>::new(0.1).group(|name, _| name == "table", Group::new().lazy());
    let (mut net, mut adam) = (Net::new(numbers(ROWS)), make());
    net.learn(&mut adam, &[1, 2]);
    adam.save(&net, &path).unwrap();
    let (mut again, mut resumed) = (Net::new(net.table.detach()), make());
    again.bias.set(net.bias.detach());
    resumed.load(&again, &path).unwrap();
    net.learn(&mut adam, &[2, 3]);
    again.learn(&mut resumed, &[2, 3]);
    assert_eq!(net.table(), again.table());
}
