//! Out of memory inside an operation: the result is missing, and the error stays queued until it is taken.

use super::*;
use crate::Tensor;
use minitorch_core::Conv2dOptions;
use minitorch_core::backend::{AtIndex, Caller, CopyOps, IndexOps, OptimOps, ScatterOp, SgdConfig, StepRule, StepSlot};

/// More elements than an address space holds.
const HUGE: usize = 1 << 50;

fn is_out_of_memory<T: fmt::Debug>(result: Result<T>) -> bool {
    matches!(result, Err(Error::OutOfMemory { bytes, .. }) if bytes >= HUGE as u64)
}

/// The result of an operation without memory. Its error has been reported.
fn missing(device: &Cpu) -> Tensor {
    let x = Tensor::zeros([1], device).expand([HUGE]) + 1.0;
    assert!(is_out_of_memory(device.take_error().map_or(Ok(()), Err)));
    assert!(x.view().storage.is_missing());
    x
}

#[test]
fn an_operation_without_memory_queues_the_error() {
    let device = Cpu::new();
    let x = Tensor::rand([1], &device).expand([HUGE]);
    let rows = x.reshape([1, HUGE]);
    let index = Tensor::zeros([1], (&device, DType::I32)).expand([HUGE]);
    type Op<'a> = (&'a str, &'a dyn Fn() -> Tensor);
    let ops: [Op<'_>; 16] = [
        ("unary", &|| x.exp()),
        ("slow", &|| x.sin()),
        ("binary", &|| &x + &x),
        ("compare", &|| x.lt(&x)),
        ("compare_scalar", &|| x.lt(0.5)),
        ("where", &|| Tensor::where_cond(&Tensor::zeros([1], (&device, DType::Bool)).expand([HUGE]), &x, &x)),
        ("copy", &|| x.contiguous()),
        ("cast", &|| x.cast(DType::F64)),
        ("softmax", &|| x.softmax(0)),
        ("cumsum", &|| x.cumsum(0)),
        ("argsort", &|| x.argsort(0, false)),
        ("dropout", &|| x.dropout(0.5)),
        ("layer_norm", &|| rows.layer_norm([HUGE], None, None, 1e-5)),
        ("gather", &|| x.gather(0, &index)),
        ("reduce", &|| rows.sum([0])),
        ("random", &|| Tensor::rand([HUGE], &device)),
    ];
    for (name, op) in ops {
        let y = op();
        assert!(y.view().storage.is_missing(), "{name}");
        for _ in 0..2 {
            assert!(is_out_of_memory(device.synchronize()), "{name}");
        }
        assert!(device.take_error().is_some() && device.synchronize().is_ok(), "{name}: a taken error is gone");
    }
}

#[test]
fn operations_on_a_missing_tensor_give_missing_tensors() {
    let device = Cpu::new();
    // A part of reasonable size: no operation below lacks memory of its own.
    let x = missing(&device).narrow(0, 5, 12).reshape([3, 4]);
    let (y, w) = (Tensor::rand([3, 4], &device), Tensor::rand([4], &device));
    let target = Tensor::zeros([3], (&device, DType::I32));
    type Op<'a> = (&'a str, &'a dyn Fn() -> Tensor);
    let ops: [Op<'_>; 26] = [
        ("unary", &|| x.exp()),
        ("unary in place", &|| (&x + 1.0) + 1.0),
        ("binary", &|| &y + &x),
        ("binary in place", &|| (&y + 1.0) + &x),
        ("compare", &|| x.lt(&y)),
        ("compare_scalar", &|| x.lt(0.5)),
        ("where", &|| Tensor::where_cond(&y.lt(&x), &y, &y)),
        ("copy", &|| x.t().contiguous()),
        ("cast", &|| x.cast(DType::F64)),
        ("cat", &|| Tensor::cat(&[y.clone(), x.clone()], 0)),
        ("reduce", &|| x.sum([0])),
        ("mean of all", &|| x.mean(..)),
        ("arg_reduce", &|| x.argmax(1)),
        ("softmax", &|| x.softmax(1)),
        ("cumsum", &|| x.cumsum(0)),
        ("argsort", &|| x.argsort(1, true)),
        ("dropout", &|| x.dropout(0.5)),
        ("layer_norm", &|| x.layer_norm([4], Some(&w), None, 1e-5)),
        ("layer_norm's weight", &|| y.layer_norm([4], Some(&x.narrow(0, 0, 1).reshape([4])), None, 1e-5)),
        ("batch_norm", &|| x.batch_norm(None, None, 1e-5)[0].clone()),
        ("cross_entropy", &|| x.cross_entropy(&target)),
        ("gather", &|| x.gather(1, &Tensor::zeros([3, 4], (&device, DType::I32)))),
        ("matmul", &|| y.matmul(&x.t())),
        ("linear", &|| y.linear(&x, None)),
        ("conv2d", &|| x.reshape([1, 1, 3, 4]).conv2d(&y.reshape([1, 1, 3, 4]), None, Conv2dOptions::default())),
        ("max_pool2d", &|| x.reshape([1, 1, 3, 4]).max_pool2d(2)),
    ];
    for (name, op) in ops {
        let y = op();
        assert!(y.view().storage.is_missing(), "{name}");
        assert!(device.synchronize().is_ok(), "{name}: no error of its own");
        assert!(matches!(device.download(y.view()), Err(Error::OutOfMemory { .. })), "{name}: reading it is an error");
    }
}

#[test]
fn writes_of_missing_tensors() {
    let device = Cpu::new();
    let x = missing(&device).narrow(0, 0, 4);
    let index = Tensor::zeros([4], (&device, DType::I32));
    let storage = || device.copy(Tensor::ones([4], &device).view());
    // What a missing operand is written to is missing as well; a missing destination stays missing.
    let layout = *index.layout();
    let mut to = storage();
    device.write(&mut to, &layout, x.view());
    assert!(to.is_missing());
    device.fill(&mut to, &layout, DType::F32, 1.0);
    device.write(&mut to, &layout, Tensor::ones([4], &device).view());
    assert!(to.is_missing());
    let mut to = storage();
    let at = AtIndex { dim: 0, index: index.view(), caller: Caller::of("scatter_add") };
    assert!(device.scatter(ScatterOp::Add, &mut to, &layout, at, x.view()).is_ok() && to.is_missing());
    // A parameter survives a missing gradient.
    let (mut param, mut scalars) = (storage(), device.copy(Tensor::ones([2], &device).view()));
    let slot = StepSlot { param: &mut param, state: vec![], grad: x.view(), missed: 0, fresh: true };
    device.optimizer_step(&StepRule::Sgd(SgdConfig::default()), &mut [slot], &mut scalars);
    let Storage::F32(param) = &param else { panic!("the parameter is missing") };
    assert_eq!(param[..], [1.0; 4]);
    assert!(device.synchronize().is_ok());
}
