//! The bits of a result do not depend on the number of threads.

mod common;

use common::{T, numbers, read, tensor};
use minitorch_core::backend::{
    AdagradConfig, AdamConfig, LossOps, OptimOps, RandomOps, RmsPropConfig, SgdConfig, StepRule, StepSlot,
};
use minitorch_core::random::Draw;
use minitorch_core::{Conv2dOptions, DType, Pool2dOptions};
use minitorch_cpu::Cpu;

/// Large enough for every parallel road.
fn everything(dtype: DType) -> Vec<Vec<u64>> {
    let device = Cpu::new();
    let irregular = |shape: &[usize], seed| {
        let values: Vec<f64> = numbers(shape.iter().product(), seed).iter().map(|x| x / 3.0).collect();
        tensor(&values, shape, dtype, &device)
    };
    let (flat, wide) = (irregular(&[1_000_003], 1), irregular(&[1003, 517], 2));
    let index: Vec<f64> = (0..200_000).map(|i| (i * 7919 % 1003) as f64).collect();
    let index = tensor(&index, [200_000], DType::I32, &device);
    let (images, weights) = (irregular(&[8, 6, 30, 31], 3), irregular(&[10, 6, 3, 3], 4));
    let target = tensor(&(0..1003).map(|i| (i % 517) as f64).collect::<Vec<_>>(), [1003], DType::I32, &device);
    let (loss, statistics) = device.cross_entropy(&wide, &target);
    let mut out = vec![
        flat.sum(..),
        flat.mean(..),
        flat.max(..),
        flat.exp(),
        &flat * &flat,
        wide.sum(0),
        wide.sum(1),
        wide.t().sum(0),
        wide.sum(..),
        wide.reshape([59, 17, 517]).sum([0, 2]),
        wide.softmax(1),
        wide.log_softmax(0),
        wide.matmul(&wide.t()),
        wide.t().contiguous(),
        wide.linear(&wide, None),
        T::zeros([1003, 4], (&device, dtype)).scatter_add(
            0,
            &index.unsqueeze(1).expand([200_000, 4]),
            &flat.narrow(0, 0, 800_000).reshape([200_000, 4]),
        ),
        wide.index_select(0, &index.narrow(0, 0, 2000)),
        images.conv2d(&weights, None, Conv2dOptions::default().padding(1)),
        images.max_pool2d(2),
        images.avg_pool2d(Pool2dOptions::new(3).padding(1)),
        device.dropout(&flat, 0.5, Draw { seed: 1, index: 2 }),
        loss,
        statistics,
    ];
    let rules = [
        StepRule::Sgd(SgdConfig { momentum: 0.9, ..SgdConfig::default() }),
        StepRule::Adam(AdamConfig { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1, decoupled: true }),
        StepRule::RmsProp(RmsPropConfig { alpha: 0.9, eps: 1e-8, momentum: 0.5, centered: true, weight_decay: 0.1 }),
        StepRule::RmsProp(RmsPropConfig { alpha: 0.9, eps: 1e-8, momentum: 0.0, centered: false, weight_decay: 0.1 }),
        StepRule::Adagrad(AdagradConfig { lr_decay: 0.1, eps: 1e-10, initial: 0.5, weight_decay: 0.1 }),
    ];
    for rule in rules {
        let (mut param, mut scalars) = (flat.clone(), tensor(&[0.1, 0.0], [2], dtype, &device));
        let mut state: Vec<T> = (0..rule.states()).map(|_| flat.zeros_like()).collect();
        let slot = StepSlot {
            param: param.storage_mut().1,
            state: state.iter_mut().map(|s| s.storage_mut().1).collect(),
            grad: flat.view(),
            missed: 0,
            fresh: true,
        };
        device.optimizer_step(&rule, &mut [slot], scalars.storage_mut().1);
        out.push(param);
        out.extend(state);
    }
    out.iter().map(|x| read(x).into_iter().map(f64::to_bits).collect()).collect()
}

#[test]
fn bits_do_not_depend_on_threads() {
    let run = |threads, dtype| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| everything(dtype))
    };
    for dtype in [DType::F32, DType::F64] {
        let one = run(1, dtype);
        for threads in [2, 5] {
            for (i, (many, one)) in run(threads, dtype).iter().zip(&one).enumerate() {
                assert!(many == one, "result {i} in {dtype} differs with {threads} threads");
            }
        }
    }
}
