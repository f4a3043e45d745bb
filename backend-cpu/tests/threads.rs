//! Results are bit-identical for any number of threads: every family on sizes above its threshold for threads, with 1, 2 and 5 of
//! them.

use minitorch_core::backend::{
    AdagradConfig, AdamConfig, Caller, CopyOps, LossOps, OptimOps, RandomOps, RmsPropConfig, SgdConfig, StepRule,
    StepSlot,
};
use minitorch_core::random::{Draw, unit_f32};
use minitorch_core::{Conv2dOptions, DType, HostData, Pool2dOptions, Shape};
use minitorch_cpu::Cpu;

type Tensor = minitorch_core::Tensor<Cpu>;

/// The bits of the elements.
fn bits(x: &Tensor) -> Vec<u64> {
    match x.device().download(x.view()).unwrap() {
        HostData::F32(v) => v.into_iter().map(|x| x.to_bits().into()).collect(),
        HostData::F64(v) => v.into_iter().map(f64::to_bits).collect(),
        other => panic!("the results are floats, not {other:?}"),
    }
}

/// The results of every family whose work is shared among threads.
fn results(dtype: DType) -> Vec<Vec<u64>> {
    let device = Cpu::new();
    // Thirds of numbers in [-4, 4): sums of them round.
    let uniform = |shape: &[usize], seed| {
        let (draw, shape) = (Draw { seed, index: 0 }, Shape::new(shape));
        let number = |i| (8.0 * unit_f32(draw.word(i)) - 4.0) as f64 / 3.0;
        Tensor::from_f64((0..shape.numel() as u64).map(number), shape, (&device, dtype))
    };
    let indices = |len: usize, bound: usize| {
        let indices: Vec<i32> = (0..len).map(|i| (i * 7919 % bound) as i32).collect();
        Tensor::from_slice(&indices, [len], &device)
    };
    let (flat, wide) = (uniform(&[1_000_003], 1), uniform(&[1003, 517], 2));
    let (images, weights) = (uniform(&[8, 6, 30, 31], 3), uniform(&[10, 6, 3, 3], 4));
    let index = indices(200_000, 1003);
    let leaf = images.detach().requires_grad();
    let pooled = Pool2dOptions::new(3).stride(2).padding(1);
    let pools = (leaf.max_pool2d(pooled) + leaf.avg_pool2d(pooled)).square().sum(..);
    let (loss, statistics) =
        device.cross_entropy(&wide, &indices(1003, 517), Caller::of("cross_entropy")).expect("good targets");
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
        Tensor::zeros([1003, 4], (&device, dtype)).scatter_add(
            0,
            &index.unsqueeze(1).expand([200_000, 4]),
            &flat.narrow(0, 0, 800_000).reshape([200_000, 4]),
        ),
        wide.index_select(0, &index.narrow(0, 0, 2000)),
        images.conv2d(&weights, None, Conv2dOptions::default().padding(1)),
        images.max_pool2d(2),
        images.avg_pool2d(Pool2dOptions::new(3).padding(1)),
        pools.backward()[&leaf].clone(),
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
        let (mut param, mut scalars) = (flat.clone(), Tensor::from_f64([0.1, 0.0], [2], (&device, dtype)));
        let initial = rule.initial_state();
        let mut state: Vec<Tensor> =
            (0..rule.states()).map(|_| Tensor::full(*flat.shape(), initial, (&device, dtype))).collect();
        let slot = StepSlot {
            param: param.storage_mut().1,
            state: state.iter_mut().map(|s| s.storage_mut().1).collect(),
            grad: flat.view(),
            missed: 0,
            fresh: initial == 0.0,
        };
        device.optimizer_step(&rule, &mut [slot], scalars.storage_mut().1);
        out.push(param);
        out.extend(state);
    }
    out.iter().map(bits).collect()
}

#[test]
fn results_are_bit_identical_for_any_number_of_threads() {
    let run = |threads, dtype| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| results(dtype))
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
