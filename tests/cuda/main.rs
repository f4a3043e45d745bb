//! Properties of the CUDA backend beyond the conformance suite: the number of kernels of operations and training steps, no allocations
//! in a warm step, the same dropout masks and losses as on the CPU, long sums in many parts. On the emulator, and on GPU 0 if there is
//! one; `MINITORCH_REQUIRE=cuda` fails without one.

mod held;
#[path = "../common/lenet.rs"]
mod lenet;
mod split;

use held::Held;
use lenet::LeNet;
use minitorch::prelude::*;

/// All CUDA devices; no other test uses them concurrently.
fn devices() -> impl Iterator<Item = Held> {
    held::devices(vec![
        #[cfg(feature = "cuda-emu")]
        Cuda::emulated(minitorch_cuda::Order::Forward),
    ])
}

#[test]
fn twenty_steps_with_dropout_follow_the_cpu() -> Result<()> {
    let held: Vec<Held> = devices().collect();
    lenet::follows_the_cpu(held.iter().map(|device| Cuda::clone(device)))
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
        let mut step = || drop(model.step(&mut optimizer, &x, &target));
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
fn operations_are_few_kernels() {
    for held in devices() {
        let device = &*held;
        let forward = |about: &str, most: u64, f: &dyn Fn() -> Tensor<Cuda>| {
            let kernels = launches(device, f);
            assert!(kernels <= most, "{device:?}: {about} takes {kernels} kernels");
        };
        let both_ways = |about: &str, [most, most_backward]: [u64; 2], f: &dyn Fn() -> Tensor<Cuda>| {
            forward(about, most, f);
            let y = f();
            let g = Tensor::randn(*y.shape(), device);
            let kernels = launches(device, || y.backward_with(&g));
            assert!(kernels <= most_backward, "{device:?}: {about} takes {kernels} kernels backward");
        };
        let leaf = |shape: &[usize]| Tensor::randn(shape, device).requires_grad();
        let (x, w, b) = (leaf(&[4, 3, 12, 12]), leaf(&[8, 3, 3, 3]), leaf(&[8]));
        let options = Conv2dOptions::default().padding(1);
        both_ways("conv2d", [1, 2], &|| x.conv2d(&w, Some(&b), options));
        both_ways("conv2d with relu", [1, 2], &|| x.conv2d_activated(&w, Some(&b), options, Activation::Relu));
        // The statistics, y, the running statistics, and the number of batches.
        let layer = BatchNorm2d::new(3, device);
        forward("batch norm's layer", 4, &|| layer.forward(&x));
        let (x, w, b) = (leaf(&[9, 12]), leaf(&[7, 12]), leaf(&[7]));
        both_ways("linear with relu", [1, 2], &|| x.linear_activated(&w, Some(&b), Activation::Relu));
        let (logits, target) = (leaf(&[64, 10]), Tensor::arange(0..64, device).remainder(10));
        both_ways("cross_entropy", [1, 1], &|| logits.cross_entropy(&target));

        let x = Tensor::randn([4, 6, 50, 50], device);
        forward("sum of channels", 1, &|| x.sum([0, 2, 3]));
        forward("sum of all", 1, &|| x.sum(..));
        forward("sum along 1", 1, &|| x.sum(1));
        forward("sum of planes", 1, &|| x.sum([2, 3]));
        forward("log_softmax of columns", 1, &|| x.log_softmax(1));
        forward("group_norm", 2, &|| x.group_norm(3, None, None, 1e-5));
        forward("batch_norm", 2, &|| {
            let [y, ..] = x.batch_norm(None, None, 1e-5);
            y
        });
        forward("cumsum of rows", 1, &|| x.cumsum(3));
        let (rows, target) = (Tensor::randn([5, 3000], device), Tensor::arange(1..6, device));
        forward("argmax", 1, &|| rows.argmax(1));
        forward("softmax", 1, &|| rows.softmax(1));
        forward("cross_entropy of long rows", 1, &|| rows.cross_entropy(&target));
        forward("layer_norm", 1, &|| rows.layer_norm([3000], None, None, 1e-5));
        forward("cumsum of a long row", 2, &|| rows.reshape([15_000]).cumsum(0));
    }
}
