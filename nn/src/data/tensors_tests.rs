//! Columns, examples of closures, selections, and errors.

use super::*;
use crate::data::Loader;
use minitorch_conformance::doc::{Plain, device};
use minitorch_core::{DType, f16};

fn values(tensor: &Tensor<Plain>) -> Vec<f64> {
    tensor.cast(DType::F64).to_vec().unwrap()
}

fn first<D: Dataset>(set: &D) -> D::Batch<Plain> {
    set.batches(100, &device()).next().expect("a batch").unwrap()
}

fn why<T>(result: Result<T>) -> String {
    result.map(drop).expect_err("it fails").to_string()
}

#[test]
fn columns_of_every_kind_become_tensors() {
    let device = device();
    let halves = Tensor::new([[1.0, 2.0], [3.0, 4.0]], &device).cast(DType::F64);
    let transposed = Tensor::new([[1, 2], [3, 4], [5, 6]], &device).t();
    let set = TensorDataset::new((
        vec![vec![[1.0f32], [2.0]], vec![[3.0], [4.0]]],
        &halves,
        transposed,
        [true, false],
        vec![7u8, 255],
        &[-1i64, 1 << 30][..],
    ))
    .unwrap();
    let (a, b, c, d, e, f) = first(&set);
    assert_eq!((a.dims(), a.dtype(), values(&a)), ([2, 2, 1], DType::F32, vec![1.0, 2.0, 3.0, 4.0]));
    assert_eq!((b.dims(), b.dtype(), values(&b)), ([2, 2], DType::F64, vec![1.0, 2.0, 3.0, 4.0]));
    assert_eq!((c.dims(), c.dtype(), values(&c)), ([2, 3], DType::I32, vec![1.0, 3.0, 5.0, 2.0, 4.0, 6.0]));
    assert_eq!((d.dims(), d.dtype(), values(&d)), ([2], DType::Bool, vec![1.0, 0.0]));
    assert_eq!((e.dtype(), values(&e)), (DType::I32, vec![7.0, 255.0]));
    assert_eq!((f.dtype(), values(&f)), (DType::I32, vec![-1.0, (1 << 30) as f64]));
    assert_eq!(format!("{set:?}"), "TensorDataset(2 examples, 6 columns)");

    let single: Tensor<Plain> = first(&TensorDataset::new(vec![0.5, 1.5]).unwrap());
    assert_eq!((single.dims(), values(&single)), ([2], vec![0.5, 1.5]));
    let empty = TensorDataset::new((Vec::<f32>::new(), Vec::<i32>::new())).unwrap();
    assert!(empty.is_empty() && empty.batches(3, &device).next().is_none());
}

#[test]
fn columns_that_do_not_fit_are_errors() {
    assert_eq!(
        why(TensorDataset::new((vec![1.0, 2.0], vec![1, 2, 3]))),
        "TensorDataset: column 0 has 2 examples, column 1 has 3"
    );
    assert_eq!(
        why(TensorDataset::new((vec![1], 2.0))),
        "TensorDataset: column 1: a single number has no dimension of examples"
    );
    let ragged = why(TensorDataset::new(vec![vec![1.0, 2.0], vec![3.0]]));
    assert!(ragged.starts_with("TensorDataset: a list of 1 beside lists of 2"), "{ragged}");
    let wide = why(TensorDataset::new(vec![1u64 << 31]));
    assert_eq!(wide, "TensorDataset: the integer 2147483648 does not fit I32");
    // F16 is a type that this device does not have.
    let halves = TensorDataset::new(vec![f16::from_f32(1.0)]).unwrap();
    if !minitorch_core::Device::supports(&device(), DType::F16) {
        let error = halves.batches(1, &device()).next().expect("a result");
        assert!(why(error).contains("does not support float16"));
    }
}

#[test]
fn selections_share_the_examples() {
    let set = TensorDataset::new((vec![10, 11, 12, 13, 14], vec![0.0, 1.0, 2.0, 3.0, 4.0])).unwrap();
    let some = set.select(&[4, 2, 2, 0]).select(&[3, 1, 0]);
    let (a, b) = first(&some);
    assert_eq!((values(&a), values(&b)), (vec![10.0, 12.0, 14.0], vec![0.0, 2.0, 4.0]));
    let (train, test) = set.split(0.6, 1);
    assert_eq!((train.len(), test.len(), set.take(2).len()), (3, 2, 2));
    let made = FnDataset::new(5, |i| i * 2).select(&[4, 1]).select(&[1, 1, 0]);
    assert_eq!(values(&first(&made)), [2.0, 2.0, 8.0]);
}

#[test]
#[should_panic(expected = "example 5 of a set of 5")]
fn an_example_that_is_not_there_panics() {
    let set = FnDataset::new(5, |i| i);
    set.collate(&[0, 5], &mut ColumnBatch::default());
}

#[test]
fn a_closure_makes_examples_and_its_errors_are_the_batchs() {
    let device = device();
    let set = FnDataset::new(10, |i| match i {
        7 => Err(Error::Invalid("no seven".into())),
        _ => Ok((vec![i as f32; 3], [[i, i + 1]], i % 2 == 0)),
    });
    let (a, b, c) = set.take(3).batches(10, &device).next().expect("a batch").unwrap();
    assert_eq!((a.dims(), b.dims(), c.dims()), ([3, 3], [3, 1, 2], [3]));
    assert_eq!(values(&b), [0.0, 1.0, 1.0, 2.0, 2.0, 3.0]);
    for workers in [0, 3] {
        let loader = Loader::new(&set, 2).workers(workers);
        let batches: Vec<_> = loader.epoch(0, &device).collect();
        assert_eq!(batches.iter().map(|batch| batch.is_err()).collect::<Vec<_>>(), [false, false, false, true]);
        assert_eq!(why(batches.into_iter().nth(3).expect("four")), "FnDataset: example 7: no seven");
        // The buffer of the failed batch is used again.
        assert_eq!(loader.epoch(0, &device).take(3).filter(|batch| batch.is_ok()).count(), 3);
    }

    let uneven = FnDataset::new(3, |i| vec![0.0; i]);
    let error = why(uneven.batches(3, &device).next().expect("a result"));
    assert_eq!(error, "FnDataset: example 1: a value is [1] of float32, those before it are [0] of float32");
    let mixed =
        FnDataset::new(2, |i| if i == 0 { Tensor::new([1.0], &Plain::new()) } else { Tensor::new([1], &Plain::new()) });
    let error = why(mixed.batches(2, &device).next().expect("a result"));
    assert!(error.contains("int32") && error.contains("float32"), "{error}");
}

#[test]
fn augmentation_depends_on_seed_epoch_and_position_only() {
    let device = device();
    let set = FnDataset::augmented(100, |i, draw| (i, draw.map_or(-1, |draw| (draw.word(5) >> 1) as i32)));
    let numbers = |loader: &Loader<FnDataset<2>>, epoch| -> Vec<(i32, i32)> {
        let batches = loader.epoch(epoch, &device).map(|batch| batch.unwrap());
        batches.flat_map(|(i, n)| i.to_vec().unwrap().into_iter().zip(n.to_vec::<i32>().unwrap())).collect()
    };
    assert!(numbers(&Loader::new(&set, 7), 0).iter().all(|(_, n)| *n == -1), "without a seed nothing is random");
    let one = numbers(&Loader::new(&set, 7).shuffle(3), 1);
    assert_eq!(numbers(&Loader::new(&set, 10).shuffle(3).workers(3), 1), one, "whatever batch size and workers");
    let different: std::collections::HashSet<i32> = one.iter().map(|(_, n)| *n).collect();
    assert!(different.len() > 95, "each example has numbers of its own");
    let of = |all: &[(i32, i32)]| all.iter().map(|(_, n)| *n).collect::<Vec<i32>>();
    assert_ne!(of(&numbers(&Loader::new(&set, 7).shuffle(3), 2)), of(&one));
    assert_ne!(of(&numbers(&Loader::new(&set, 7).shuffle(4), 1)), of(&one));
}
