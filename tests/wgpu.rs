//! Properties of the wgpu backend beyond the conformance suite: the number of dispatches of a training step, no driver objects created
//! in a warm step, memory that is reused, the CPU's dropout masks and losses, errors instead of panics. On the best adapter, if
//! there is one.
#![cfg(feature = "wgpu")]

#[path = "common/lenet.rs"]
mod lenet;
#[path = "common/require.rs"]
mod require;

use lenet::LeNet;
use minitorch::prelude::*;
use minitorch_wgpu::{Adapter, Options};

/// A device that no other test uses, as tests compare counters; none if there is no adapter and none is required.
fn device() -> Option<Wgpu> {
    let best = Wgpu::new().map_err(|error| require::absent("wgpu", &error.to_string()));
    best.ok().map(|_| Wgpu::open(&Options::default()).expect("the adapter exists"))
}

#[test]
fn twenty_steps_with_dropout_follow_the_cpu() -> Result<()> {
    lenet::follows_the_cpu(device())
}

/// Shaders dispatched by `f`.
fn dispatches<T>(device: &Wgpu, f: impl FnOnce() -> T) -> u64 {
    let before = device.dispatches();
    f();
    device.dispatches() - before
}

#[test]
fn a_warm_step_creates_no_driver_objects() -> Result<()> {
    for options in
        [Options::default(), Options { subgroups: false, immediates: false, many_buffers: false, ..Options::default() }]
    {
        if device().is_some() {
            check_warm_step(&Wgpu::open(&options)?)?;
        }
    }
    Ok(())
}

fn check_warm_step(device: &Wgpu) -> Result<()> {
    let mut model = LeNet::new(0.5, device);
    let mut optimizer = Adam::new(1e-3);
    let x = Tensor::randn([8, 1, 28, 28], device);
    let target = Tensor::new([3, 1, 4, 1, 5, 9, 2, 6], device);
    let mut step = || drop(model.step(&mut optimizer, &x, &target));
    for _ in 0..3 {
        step();
        device.synchronize()?;
    }
    let (buffers, objects) = (device.allocations(), device.pipelines_and_bind_groups());
    let live = device.memory().live;
    let count = dispatches(device, &mut step);
    println!("{device:?}: {count} dispatches in a LeNet step with dropout and Adam");
    assert!(count <= 50, "a LeNet step dispatches {count} shaders");
    for _ in 0..200 {
        step();
    }
    device.synchronize()?;
    assert_eq!(device.allocations(), buffers, "a warm step created buffers");
    assert_eq!(device.pipelines_and_bind_groups(), objects, "a warm step created pipelines or bind groups");
    assert_eq!(device.memory().live, live, "200 steps leaked memory");
    Ok(())
}

/// One dispatch of an optimizer step updates as many parameters as the adapter can bind the buffers of; the weights are bit-identical
/// for any number.
#[test]
fn an_optimizer_step_batches_parameters() -> Result<()> {
    /// The weights after two steps, the dispatches of the second, and the buffers of a parameter.
    fn steps(device: &Wgpu, rule: &str) -> Result<(Vec<f32>, u64, usize)> {
        device.rng().seed(3);
        let mut model = LeNet::new(0.0, device);
        let x = Tensor::randn([2, 1, 28, 28], device);
        let target = Tensor::new([3, 1], device);
        let gradients = model.forward(&x).cross_entropy(&target).backward();
        let (mut sgd, mut momentum) = (Sgd::new(0.1), Sgd::new(0.1).momentum(0.9).dampening(0.5));
        let (mut adam, mut adagrad) = (Adam::new(1e-2), Adagrad::new(1e-2).initial_accumulator(0.1));
        let mut rms_prop = RmsProp::new(1e-2).momentum(0.5).centered(true);
        let mut step = |model: &mut LeNet<Wgpu>| match rule {
            "sgd" => sgd.step(model, &gradients),
            "momentum" => momentum.step(model, &gradients),
            "adam" => adam.step(model, &gradients),
            "adagrad" => adagrad.step(model, &gradients),
            _ => rms_prop.step(model, &gradients),
        };
        step(&mut model);
        let count = dispatches(device, || step(&mut model));
        let mut weights = Vec::new();
        for (_, parameter) in model.named_parameters() {
            weights.extend(parameter.to_vec::<f32>()?);
        }
        let states = ["sgd", "momentum", "adam", "rms_prop"].iter().position(|name| *name == rule).unwrap_or(1);
        Ok((weights, count, 2 + states))
    }
    let Some(device) = device() else { return Ok(()) };
    let least = Wgpu::open(&Options { many_buffers: false, ..Options::default() })?;
    assert_eq!(least.storage_buffers(), 8);
    for rule in ["sgd", "momentum", "adam", "adagrad", "rms_prop"] {
        let [many, few] = [&device, &least].map(|device| steps(device, rule));
        let (many, few) = (many?, few?);
        assert!(many.0 == few.0, "{rule}: the weights depend on how many parameters a dispatch takes");
        for (device, (_, count, buffers)) in [(&device, many), (&least, few)] {
            // At most 8 parameters per dispatch; one more dispatch counts the step.
            let slots = ((device.storage_buffers() - 1) / buffers).clamp(1, 8);
            let expected = 10u64.div_ceil(slots as u64) + 1;
            assert_eq!(count, expected, "{rule} with {} buffers", device.storage_buffers());
        }
    }
    Ok(())
}

#[test]
fn fused_operations_take_few_dispatches() -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    let x = Tensor::randn([4, 3, 12, 12], &device).requires_grad();
    let w = Tensor::randn([8, 3, 3, 3], &device).requires_grad();
    let b = Tensor::randn([8], &device).requires_grad();
    let y = x.conv2d(&w, Some(&b), Conv2dOptions::default().padding(1));
    let g = Tensor::randn(*y.shape(), &device);
    let forward = dispatches(&device, || x.conv2d(&w, Some(&b), Conv2dOptions::default().padding(1)));
    let backward = dispatches(&device, || y.grad_with(&g, [&x, &w, &b]));
    assert!(forward <= 1 && backward <= 3, "conv2d takes {forward} dispatches and {backward} backward");

    let logits = Tensor::randn([64, 10], &device).requires_grad();
    let target = Tensor::arange(0..64, &device).remainder(10);
    // One each way, not counting the initial gradient of 1.
    let start = dispatches(&device, || Tensor::full([], 1.0, &device));
    let count = dispatches(&device, || logits.cross_entropy(&target).backward()) - start;
    assert!(count <= 2, "cross-entropy with its gradient takes {count} dispatches");
    device.synchronize()
}

fn moved(x: &Tensor<Cpu>, device: &Wgpu) -> Result<Tensor<Wgpu>> {
    Ok(Tensor::from_vec(x.to_vec::<f32>()?, *x.shape(), device))
}

/// The largest difference of two results, relative to the largest magnitude of the CPU's.
fn difference(ours: &Tensor<Wgpu>, cpu: &Tensor<Cpu>) -> Result<f32> {
    let (ours, cpu) = (ours.to_vec::<f32>()?, cpu.to_vec::<f32>()?);
    let largest = cpu.iter().fold(0f32, |most, x| most.max(x.abs()));
    Ok(ours.iter().zip(&cpu).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / largest)
}

/// Products of 500 rows and more, for which another framework's wgpu backend returned zeros.
#[test]
fn products_of_many_rows_match_the_cpu() -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    let cpu = Cpu::new();
    for (shape_a, shape_b) in [
        (vec![499, 64], vec![64, 33]),
        (vec![500, 1024], vec![1024, 256]),
        (vec![1000, 17], vec![17, 65]),
        (vec![2049, 32], vec![32, 3]),
        // A long k, which is split.
        (vec![20, 700], vec![700, 30]),
        (vec![1, 8, 512, 512], vec![1, 8, 512, 32]),
    ] {
        let (a, b) = (Tensor::randn(shape_a.as_slice(), &cpu), Tensor::randn(shape_b.as_slice(), &cpu));
        let product = moved(&a, &device)?.matmul(&moved(&b, &device)?);
        let off = difference(&product, &a.matmul(&b))?;
        assert!(off < 1e-5, "{shape_a:?} by {shape_b:?} is off by {off}");
    }
    Ok(())
}

/// Gradients of convolutions on small images, for which another framework's wgpu backend took seconds.
#[test]
fn convolution_gradients_of_small_images_take_few_dispatches() -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    let cpu = Cpu::new();
    for size in [10, 18, 30] {
        let (x, w) = (Tensor::randn([1, 3, size, size], &cpu), Tensor::randn([64, 3, 3, 3], &cpu));
        let o = Conv2dOptions::default().padding(1);
        let [gx, gw] = {
            let (x, w) = (x.clone().requires_grad(), w.clone().requires_grad());
            let gradients = x.conv2d(&w, None, o).square().sum(..).backward();
            [gradients[&x].clone(), gradients[&w].clone()]
        };
        let (x, w) = (moved(&x, &device)?.requires_grad(), moved(&w, &device)?.requires_grad());
        let y = x.conv2d(&w, None, o);
        let g = &y.detach() * 2.0;
        let mut ours = None;
        let count = dispatches(&device, || ours = Some(y.grad_with(&g, [&x, &w])));
        assert!(count <= 3, "{count} dispatches");
        for (ours, cpu) in ours.iter().flatten().zip([&gx, &gw]) {
            let off = difference(ours, cpu)?;
            assert!(off < 1e-5, "[1, 3, {size}, {size}] is off by {off}");
        }
    }
    Ok(())
}

/// Long reductions are cut into chunks, which a second dispatch reduces: sizes that are read as vec4, and odd ones.
#[test]
fn long_reductions_in_chunks_match_the_cpu() -> Result<()> {
    /// Batch norm of x around 1000 with mean, variance and three gradients; sums over all dimensions, rows and columns.
    fn results<B: Backend>(values: &[Tensor<Cpu>; 4], device: &B) -> Result<Vec<Tensor<B>>> {
        let moved =
            |x: &Tensor<Cpu>| Ok::<_, minitorch::Error>(Tensor::from_vec(x.to_vec::<f32>()?, *x.shape(), device));
        let [x, w, b, g] = [moved(&values[0])?, moved(&values[1])?, moved(&values[2])?, moved(&values[3])?];
        let flat = x.reshape([x.shape()[..3].iter().product(), x.shape()[3]]) - 1000.0;
        let sums = [flat.square().sum(..), flat.sum(0), flat.sum(1), flat.reshape([2, -1]).sum(1)];
        let [x, w, b] = [x, w, b].map(|x| x.requires_grad());
        let [y, mean, var] = x.batch_norm(Some(&w), Some(&b), 1e-5);
        let gradients = y.grad_with(&g, [&x, &w, &b]);
        Ok([y.detach(), mean.detach(), var.detach()].into_iter().chain(gradients).chain(sums).collect())
    }
    let Some(device) = device() else { return Ok(()) };
    let cpu = Cpu::new();
    for size in [[8, 3, 64, 64], [6, 2, 75, 75], [2, 40, 90, 32]] {
        let channels = [size[1]];
        let x = Tensor::randn(size, &cpu) + 1000.0;
        let [w, b] = [0, 1].map(|_| Tensor::randn(channels, &cpu));
        let values = [x, w, b, Tensor::randn(size, &cpu)];
        for (i, (ours, cpu)) in results(&values, &device)?.iter().zip(&results(&values, &cpu)?).enumerate() {
            let off = difference(ours, cpu)?;
            assert!(off < 1e-5, "result {i} of {size:?} is off by {off}");
        }
    }
    Ok(())
}

/// Copies between all permutations, in tiles, as vec4 and one by one, and operands with stride 0 equal the CPU's bit for bit.
#[test]
fn layouts_do_not_change_results() -> Result<()> {
    fn results<B: Backend>(shape: [usize; 3], device: &B) -> Result<Vec<Vec<f32>>> {
        let numel = shape.iter().product::<usize>();
        let x = Tensor::from_vec((0..numel).map(|i| i as f32).collect::<Vec<_>>(), shape, device);
        let mut all = Vec::new();
        for dims in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let permuted = x.permute(dims);
            all.push(permuted.contiguous());
            for dim in 0..3 {
                let one = permuted.narrow(dim, permuted.shape()[dim as usize] - 1, 1);
                all.push(&permuted * &one);
                all.push(&one.expand(*permuted.shape()).contiguous() - &permuted);
                let half = permuted.narrow(dim, permuted.shape()[dim as usize] / 2, permuted.shape()[dim as usize] / 2);
                all.push(&half + 0.5);
                all.push(half.contiguous());
            }
        }
        all.iter().map(Tensor::to_vec::<f32>).collect()
    }
    let Some(device) = device() else { return Ok(()) };
    for shape in [[4, 40, 36], [3, 33, 70], [64, 2, 17], [20, 16, 8], [1, 2, 3]] {
        let (ours, cpu) = (results(shape, &device)?, results(shape, &Cpu::new())?);
        for (i, (ours, cpu)) in ours.iter().zip(&cpu).enumerate() {
            assert!(ours == cpu, "result {i} of {shape:?}");
        }
    }
    Ok(())
}

/// Products of tensors larger than a binding, which is limited to 32 x 32 elements here, halved along every dimension. The conformance
/// suite covers element-wise functions and reductions.
#[test]
fn products_of_large_tensors_are_split() -> Result<()> {
    if device().is_none() {
        return Ok(());
    }
    let small = Wgpu::open(&Options { largest_binding: Some(1 << 12), ..Options::default() })?;
    let cpu = Cpu::new();
    for (shape_a, shape_b) in [
        (vec![70, 5], vec![5, 3]),
        (vec![3, 5], vec![5, 700]),
        (vec![2, 1500], vec![1500, 2]),
        (vec![70, 90], vec![90, 50]),
        (vec![9, 20, 12], vec![9, 12, 15]),
        (vec![3, 2, 40, 30], vec![2, 30, 33]),
    ] {
        let (a, b) = (Tensor::randn(shape_a.as_slice(), &cpu), Tensor::randn(shape_b.as_slice(), &cpu));
        let product = moved(&a, &small)?.matmul(&moved(&b, &small)?);
        let off = difference(&product, &a.matmul(&b))?;
        assert!(off < 1e-5, "{shape_a:?} by {shape_b:?} is off by {off}");
    }
    let (x, w, bias) = (Tensor::randn([33, 40], &cpu), Tensor::randn([50, 40], &cpu), Tensor::randn([50], &cpu));
    let y = moved(&x, &small)?.linear(&moved(&w, &small)?, Some(&moved(&bias, &small)?));
    let off = difference(&y, &x.linear(&w, Some(&bias)))?;
    assert!(off < 1e-5, "linear is off by {off}");
    Ok(())
}

/// Work that would occupy a GPU for long is split into several submissions; short work is one.
#[test]
fn long_work_is_split_into_submissions() -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    // The limit of a discrete GPU is eight times that of others.
    for (numel, times, expected) in [(1 << 20, 400, 1..=20), (1 << 20, 3200, 1..=160), (1 << 10, 1000, 0..=0)] {
        if numel > 1 << 10 && (times > 400) == device.is_software() {
            continue;
        }
        let mut x = Tensor::<Wgpu>::zeros([numel], &device);
        device.synchronize()?;
        let before = device.submissions();
        for _ in 0..times {
            x += 1.0;
        }
        let submitted = device.submissions() - before;
        assert!(expected.contains(&submitted), "{times} times {numel} elements are {submitted} submissions");
        assert_eq!(x.narrow(0, numel - 1, 1).to_vec::<f32>()?, [times as f32]);
    }
    Ok(())
}

/// The remainder of floats is exact for all magnitudes, subnormal numbers included, and its loop ends.
#[test]
fn remainders_are_exact() -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    let (mut a, mut b, mut state) = (Vec::new(), Vec::new(), 1u32);
    for i in 0..4096u32 {
        let mut random = || {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            state >> 8
        };
        let sign = random() << 31;
        // Any magnitude; every fourth divisor is small or subnormal.
        let range = if i % 4 == 0 { 1 << 16 } else { 1 << 24 };
        let divisor = sign | (random() % range * 127 + 1);
        a.push(f32::from_bits((random() << 31) | (random() * 127)));
        b.push(f32::from_bits(divisor));
    }
    let extremes = [f32::MAX, 1.0, f32::MIN_POSITIVE, f32::from_bits(1), f32::from_bits(0x007f_ffff)];
    for x in extremes {
        for y in extremes {
            a.extend([x, -x, x]);
            b.extend([y, y, -y]);
        }
    }
    let [x, y] = [&a, &b].map(|values| Tensor::from_vec(values.clone(), [values.len()], &device));
    let results = x.remainder(&y).to_vec::<f32>()?;
    // A device may flush subnormal numbers to 0 in the addition that gives the result the divisor's sign.
    let keeps_subnormal =
        (Tensor::new([f32::from_bits(1)], &device) + f32::from_bits(1) as f64).to_vec::<f32>()?[0] != 0.0;
    for ((a, b), result) in a.iter().zip(&b).zip(results) {
        let rest = a % b;
        let adds = rest != 0.0 && (rest < 0.0) != (*b < 0.0);
        if adds && !keeps_subnormal && (rest.is_subnormal() || b.is_subnormal() || (rest + b).is_subnormal()) {
            continue;
        }
        let expected = if adds { rest + b } else { rest };
        assert!(result == expected, "{a:e} by {b:e} leaves {expected:e}, not {result:e}");
    }
    Ok(())
}

/// An operation that cannot be split fails with an error that names the limit and the size; its result is missing.
#[test]
fn a_tensor_beyond_the_limit_is_an_error() -> Result<()> {
    if device().is_none() {
        return Ok(());
    }
    let small = Wgpu::open(&Options { largest_binding: Some(1 << 12), ..Options::default() })?;
    let (x, w) = (Tensor::randn([1, 1, 64, 64], &small), Tensor::randn([1, 1, 3, 3], &small));
    small.synchronize()?;
    let y = x.conv2d(&w, None, Conv2dOptions::default());
    let message = y.to_vec::<f32>().expect_err("16 KiB are more than a binding of 4").to_string();
    for part in ["conv", "16384", "4096"] {
        assert!(message.contains(part), "{message} does not name {part}");
    }
    assert_eq!(small.take_error().map(|error| error.to_string()), Some(message));
    assert!(y.to_vec::<f32>().is_err(), "the result was never computed");
    // The device still works.
    assert_eq!((&x * 0.0).sum(..).to_vec::<f32>()?, [0.0]);
    Ok(())
}

/// The result of an operation without memory is missing, and so is everything computed from it; reads return the queued error until it is taken.
#[test]
fn running_out_of_memory_is_an_error() -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    let x = Tensor::<Wgpu>::zeros([1 << 20], &device);
    // 4 TiB.
    let y = (x.expand([1 << 20, 1 << 20]) + 1.0).relu();
    let sum = y.sum(..);
    let error = sum.item().expect_err("no adapter has so much").to_string();
    assert!(error.contains("4398046511104"), "{error}");
    assert!(x.to_vec::<f32>().is_err() && device.take_error().is_some_and(|taken| taken.to_string() == error));
    // What was never computed cannot be read; the device still works.
    assert!(sum.item().is_err() && y.narrow(0, 5, 1).narrow(1, 5, 9).to_vec::<f32>().is_err());
    device.synchronize()?;
    assert_eq!((&x + 1.0).sum(..).to_vec::<f32>()?, [1048576.0]);
    Ok(())
}

#[test]
fn an_unknown_adapter_or_size_is_an_error() {
    let Some(device) = device() else {
        assert!(Wgpu::new().expect_err("no adapter").to_string().contains("no adapter"));
        return;
    };
    let missing = Adapter::Named("an adapter that does not exist".into());
    let error = Wgpu::open(&Options { adapter: missing, ..Options::default() }).expect_err("there is no such adapter");
    assert!(error.to_string().contains("there are"), "{error}");
    let error = Tensor::<Wgpu>::try_full([1 << 40], 1.0, &device).expect_err("4 TiB").to_string();
    assert!(error.contains("4398046511104"), "{error}");
}
