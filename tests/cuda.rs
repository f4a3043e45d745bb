//! Properties of the CUDA backend beyond the conformance suite: the number of kernels per training step, no allocations in a warm
//! step, the same dropout masks and losses as on the CPU. On the emulator, and on GPU 0 if there is one; `MINITORCH_REQUIRE=cuda`
//! fails without one.

mod common;
#[path = "common/cuda.rs"]
mod cuda;

use common::LeNet;
use cuda::Held;
use minitorch::prelude::*;

/// All CUDA devices; no other test uses them concurrently.
fn devices() -> impl Iterator<Item = Held> {
    cuda::devices(vec![
        #[cfg(feature = "cuda-emu")]
        Cuda::emulated(minitorch_cuda::Order::Forward),
    ])
}

#[test]
fn twenty_steps_with_dropout_follow_the_cpu() -> Result<()> {
    let held: Vec<Held> = devices().collect();
    common::follows_the_cpu(held.iter().map(|device| Cuda::clone(device)).collect())
}

/// The number of kernels that `f` launches.
fn launches<T>(device: &Cuda, f: impl FnOnce() -> T) -> u64 {
    let before = device.launches();
    f();
    device.launches() - before
}

#[test]
fn a_step_launches_few_kernels_and_allocates_nothing() -> Result<()> {
    for held in devices() {
        let device = &*held;
        let mut model = LeNet::new(0.5, device);
        let mut optimizer = Adam::new(1e-3);
        let x = Tensor::randn([8, 1, 28, 28], device);
        let target = Tensor::new([3, 1, 4, 1, 5, 9, 2, 6], device);
        let mut step = || {
            let loss = model.forward(&x).cross_entropy(&target);
            optimizer.step(&mut model, &loss.backward());
        };
        step();
        step();
        let allocations = device.allocations();
        let kernels = launches(device, &mut step);
        device.synchronize()?;
        println!("{device:?}: {kernels} kernels in a LeNet step with dropout and Adam");
        assert!(kernels <= 26, "{device:?}: a LeNet step launches {kernels} kernels");
        assert_eq!(device.allocations(), allocations, "{device:?}: a warm step allocated memory");
    }
    Ok(())
}

#[test]
fn fused_operations_are_few_kernels() {
    for held in devices() {
        let device = &*held;
        let x = Tensor::randn([4, 3, 12, 12], device).requires_grad();
        let w = Tensor::randn([8, 3, 3, 3], device).requires_grad();
        let b = Tensor::randn([8], device).requires_grad();
        let y = x.conv2d(&w, Some(&b), Conv2dOptions::default().padding(1));
        let g = Tensor::randn(*y.shape(), device);
        let forward = launches(device, || x.conv2d(&w, Some(&b), Conv2dOptions::default().padding(1)));
        let backward = launches(device, || y.backward_with(&g));
        assert!(forward <= 1 && backward <= 2, "{device:?}: conv2d takes {forward} kernels and {backward} backward");

        let relu = Activation::Relu;
        let y = x.conv2d_activated(&w, Some(&b), Conv2dOptions::default().padding(1), relu);
        let options = Conv2dOptions::default().padding(1);
        let forward = launches(device, || x.conv2d_activated(&w, Some(&b), options, relu));
        let backward = launches(device, || y.backward_with(&g));
        assert!(forward <= 1 && backward <= 2, "{device:?}: with relu {forward} kernels and {backward} backward");

        let leaves = [[9, 12], [7, 12]].map(|shape| Tensor::randn(shape, device).requires_grad());
        let [rows, weight] = &leaves;
        let bias = Tensor::randn([7], device).requires_grad();
        let forward = launches(device, || rows.linear_activated(weight, Some(&bias), relu));
        let y = rows.linear_activated(weight, Some(&bias), relu);
        let g = Tensor::randn([9, 7], device);
        let backward = launches(device, || y.backward_with(&g));
        assert!(forward <= 1 && backward <= 2, "{device:?}: linear takes {forward} kernels and {backward} backward");

        // The statistics, y, the running statistics, and the number of batches.
        let layer = BatchNorm2d::new(3, device);
        let forward = launches(device, || layer.forward(&x));
        assert!(forward <= 4, "{device:?}: batch norm takes {forward} kernels");

        let logits = Tensor::randn([64, 10], device).requires_grad();
        let target = Tensor::arange(0..64, device).remainder(10);
        // One each, and one for the initial gradient 1 of backward.
        let start = launches(device, || Tensor::full([], 1.0, device));
        let kernels = launches(device, || logits.cross_entropy(&target).backward()) - start;
        assert!(kernels <= 2, "{device:?}: cross-entropy with its gradient takes {kernels} kernels");
    }
}

/// Values repeat, which tests stability; 77 stands for NaN, which is greater than all numbers.
fn check_long_sort(device: &Cuda, [rows, n]: [usize; 2], across: bool, dtype: DType) -> Result<()> {
    let numbers: Vec<i32> = (0..rows * n).map(|i| (i as i32).wrapping_mul(0x9E37_79B1u32 as i32) >> 22).collect();
    let (shape, dim) = if across { ([n, rows], 0) } else { ([rows, n], 1) };
    let offset = |row: usize, i: usize, n: usize| if across { i * rows + row } else { row * n + i };
    let at = |row: usize, i: usize| offset(row, i, n);
    let integers = Tensor::from_slice(&numbers, shape, device);
    let x = if dtype == DType::I32 {
        integers.clone()
    } else {
        integers.cast(dtype).masked_fill(&integers.eq(77.0), f64::NAN)
    };
    let key = |row: usize, i: usize| match numbers[at(row, i)] {
        77 if dtype != DType::I32 => i32::MAX,
        number => number,
    };
    for descending in [false, true] {
        let order = x.argsort(dim, descending).to_vec::<i32>()?;
        let first = x.topk(9, dim, descending).1.to_vec::<i32>()?;
        for row in 0..rows {
            let mut want: Vec<i32> = (0..n as i32).collect();
            match descending {
                false => want.sort_by_key(|&i| key(row, i as usize)),
                true => want.sort_by_key(|&i| std::cmp::Reverse(key(row, i as usize))),
            }
            let about = format!("row {row} of {shape:?} along {dim}, {dtype}, descending {descending}, {device:?}");
            assert!((0..n).all(|i| order[at(row, i)] == want[i]), "{about}");
            assert!((0..9).all(|i| first[offset(row, i, 9)] == want[i]), "the first nine of {about}");
        }
    }
    Ok(())
}

/// Rows that are longer than a block's tile. The conformance suite has none, since its reference compares all pairs.
#[test]
fn long_rows_are_sorted() -> Result<()> {
    for device in devices() {
        for dtype in [DType::F32, DType::F64, DType::I32] {
            for (shape, across) in [([2, 10_001], false), ([3, 5000], true), ([1, 2049], false), ([2, 2048], true)] {
                check_long_sort(&device, shape, across, dtype)?;
            }
        }
        check_long_sort(&device, [1, 100_003], false, DType::F32)?;
    }
    Ok(())
}
