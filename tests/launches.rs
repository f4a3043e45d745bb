//! Launch reports: on the CPU the code path that sizes and strides select; on GPUs, emulated and in software too, the names and grids of
//! every operation's kernels.

#[path = "../examples/diagnose/ops.rs"]
#[allow(dead_code, reason = "shapes and bytes are for the example's table")]
mod ops;
#[cfg(feature = "wgpu")]
#[path = "common/require.rs"]
mod require;

use minitorch::launch::Extent;
use minitorch::prelude::*;
use minitorch::{Launch, launches};
use ops::{Maker, Prepared};
use std::panic::{AssertUnwindSafe, catch_unwind};

type X = Tensor<Cpu>;

fn rand(shape: impl Into<minitorch::Shape>) -> X {
    Tensor::rand(shape.into(), &Cpu::default()) - 0.5
}

/// The only launch of an operation.
fn one<R>(f: impl FnOnce() -> R) -> Launch {
    let (_, mut launches) = launches(f);
    assert_eq!(launches.len(), 1, "{launches:?}");
    launches.remove(0)
}

/// Asserts the kernel and the path of an operation's only launch.
fn is<R>(f: impl FnOnce() -> R, kernel: &str, path: &str) {
    let launch = one(f);
    assert_eq!((&*launch.kernel, &*launch.path), (kernel, path), "{launch}");
}

fn chunks(launch: &Launch) -> u64 {
    match launch.extent {
        Extent::Threads { chunks, .. } => chunks,
        other => panic!("the CPU has threads, not {other:?}"),
    }
}

#[test]
fn element_wise_loops_follow_the_layouts() {
    let (x, y, row, column, other) = (rand([60, 80]), rand([60, 80]), rand([80]), rand([60, 1]), rand([80, 60]));
    is(|| &x + &y, "map2_f32", "contiguous");
    is(|| &x + &row, "map2_f32", "row broadcast");
    is(|| &x + &column, "map2_f32", "column broadcast");
    is(|| x.narrow(1, 0, 40) + y.narrow(1, 7, 40), "map2_f32", "rows");
    is(|| &x + other.t(), "map2_f32", "strided");
    is(|| x.exp(), "map1_f32", "contiguous");
    is(|| x.sin(), "slow1_f32", "contiguous");
    is(|| x.lt(&y), "map2_f32", "contiguous");
    is(|| x.cast(DType::I32), "map1_f32", "contiguous");
    is(|| x.t().contiguous(), "transpose_f32", "blocks");

    let owned = &x + 0.0;
    is(|| owned + &y, "update1_f32", "in place, contiguous");
    let (owned, shared) = (&x + 0.0, &x + 0.0);
    let also = shared.clone();
    is(|| owned + 1.0, "map0_f32", "in place");
    is(|| shared + &y, "map2_f32", "contiguous");
    drop(also);

    assert_eq!(chunks(&one(|| &x + &y)), 1, "little work stays on its thread");
    let large = rand([1 << 20]);
    assert!(chunks(&one(|| &large + &large)) > 1);
}

#[test]
fn reductions_fold_rows_or_columns() {
    let x = rand([300, 200]);
    is(|| x.sum(1), "reduce_sum_f32", "rows");
    is(|| x.sum(0), "reduce_sum_f32", "columns");
    is(|| x.max(..), "reduce_max_f32", "rows, split in 4");
    is(|| x.argmax(1), "arg_reduce_max_f32", "rows");
    is(|| x.t().mean(0), "reduce_mean_f32", "rows");
    // Neither kept nor reduced elements are contiguous: a copy comes first.
    let apart = x.reshape([300, 100, 2]).narrow(2, 0, 1).squeeze(2);
    let paths: Vec<_> = launches(|| apart.sum(1)).1.iter().map(|launch| launch.to_string()).collect();
    assert_eq!(paths, ["map1_f32 | strided | 1 thread", "reduce_sum_f32 | rows | 1 thread"]);
}

#[test]
fn products_follow_the_sizes() {
    let square = |n: usize| (rand([n, n]), rand([n, n]));
    let (a, b) = square(32);
    let small = one(|| a.matmul(&b));
    assert_eq!((&*small.kernel, &*small.path, chunks(&small)), ("gemm_f32", "in place", 1));
    assert!(small.tile[0] > 1 && small.tile[1] > 1, "{small}");
    let (a, b) = square(512);
    let large = one(|| a.matmul(&b));
    assert_eq!(&*large.path, "packed");
    assert!(chunks(&large) > 1, "{large}");
    let (vector, tall, wide) = (rand([512, 1]), rand([8192, 16]), rand([16, 8192]));
    let launch = one(|| a.matmul(&vector));
    assert_eq!((&*launch.path, launch.tile), ("matrix x vector", [0, 0]));
    is(|| vector.t().matmul(&a), "gemm_f32", "vector x matrix");
    is(|| wide.matmul(&tall), "gemm_f32", "split k in 4");
    let (a, b) = (rand([5, 20, 30]), rand([5, 30, 20]));
    is(|| a.matmul(&b), "gemm_f32", "batch of 5, in place");
    let (x, w, bias) = (rand([6, 20]), rand([4, 20]), rand([4]));
    assert_eq!(one(|| x.linear_activated(&w, Some(&bias), Activation::Tanh)).kernel, "gemm_f32");
    let doubles = Tensor::<Cpu>::rand([3, 3], &Cpu::default()).cast(DType::F64);
    assert_eq!(one(|| doubles.matmul(&doubles)).kernel, "gemm_f64");
}

#[test]
fn convolutions_follow_the_sizes() {
    let conv = |x: [usize; 4], w: [usize; 4], options: Conv2dOptions| {
        let (x, w) = (rand(x), rand(w));
        one(|| x.conv2d(&w, None, options))
    };
    let plain = Conv2dOptions::default();
    for (x, w, options, path) in [
        ([2, 64, 14, 14], [32, 64, 1, 1], plain, "pointwise, batch of 2, in place"),
        ([2, 16, 20, 20], [16, 1, 3, 3], plain.padding(1).groups(16), "depthwise"),
        ([4, 64, 28, 28], [64, 64, 3, 3], plain.padding(1), "Winograd 2 x 2"),
        ([8, 1, 28, 28], [6, 1, 5, 5], plain.padding(2), "implicit GEMM, with margins"),
        ([4, 8, 32, 32], [16, 8, 3, 3], plain.padding(1), "implicit GEMM, full registers"),
        ([16, 16, 14, 14], [256, 16, 3, 3], plain.padding(1), "implicit GEMM, batched images"),
    ] {
        let launch = conv(x, w, options);
        assert_eq!((&*launch.kernel, &*launch.path), ("conv2d_f32", path), "{x:?} {w:?}");
    }
    // A result that is not finite is computed again without the transforms, which would spread NaN.
    let (mut x, w) = (vec![0.5f32; 4 * 64 * 28 * 28], rand([64, 64, 3, 3]));
    x[0] = f32::INFINITY;
    let x = Tensor::from_vec(x, [4, 64, 28, 28], &Cpu::default());
    let paths: Vec<_> =
        launches(|| x.conv2d(&w, None, plain.padding(1))).1.iter().map(|l| l.path.to_string()).collect();
    assert_eq!(paths.len(), 2, "{paths:?}");
    assert!(paths[0] == "Winograd 2 x 2" && paths[1].starts_with("implicit GEMM"), "{paths:?}");

    let [x, w] = [rand([8, 6, 16, 16]), rand([16, 6, 3, 3])].map(|x| x.requires_grad());
    let loss = x.conv2d(&w, None, plain).sum(..);
    let backward = launches(|| loss.backward()).1;
    let has = |kernel: &str| backward.iter().any(|launch| launch.kernel == kernel);
    assert!(has("conv2d_grad_input_f32") && has("conv2d_grad_weight_f32"), "{backward:?}");
}

/// Words are embedded as `[n, length, channels]`; a convolution over time reads them as `[n, channels, length]`. Behind a maximum over
/// time the gradient is sparse, and its loops read the words as they are.
#[test]
fn gradients_of_text_do_not_copy_the_words() {
    let words = rand([50, 40, 64]);
    let w = rand([64, 64, 3]).requires_grad();
    let loss = words.permute([0, 2, 1]).conv1d(&w, None, Conv1dOptions::default()).max(2).sum(..);
    let backward = launches(|| loss.backward()).1;
    assert!(backward.iter().any(|launch| launch.path == "sparse"), "{backward:?}");
    assert!(!backward.iter().any(|launch| launch.kernel.starts_with("transpose")), "{backward:?}");
}

#[test]
fn what_a_kernel_is_composed_of_is_not_reported_again() {
    // Each of these calls products or loops that report launches too.
    for name in ["softmax, last", "layer norm", "matmul, batched", "conv2d 1 x 1", "linear with relu", "matmul, long k"]
    {
        let mut op = prepared(name, &Cpu::default());
        (op.call)();
        assert_eq!(launches(op.call).1.len(), 1, "{name}");
    }
}

fn prepared<B: Backend>(name: &str, device: &B) -> Prepared {
    let list = ops::list::<B>();
    let (_, prepare) = list.iter().find(|(of, _)| *of == name).expect("an operation of the list");
    prepare(&Maker { device, toy: true })
}

#[test]
fn recording_changes_no_bit() {
    let (x, w) = (rand([4, 64, 28, 28]), rand([64, 64, 3, 3]));
    let run = || {
        let y = x.conv2d(&w, None, Conv2dOptions::default().padding(1)).flatten(1..);
        let z = y.matmul(&y.t()).softmax(-1);
        z.to_vec::<f32>().expect("a tensor of F32")
    };
    let (recorded, launches) = launches(run);
    assert!(launches.len() >= 3, "{launches:?}");
    assert_eq!(recorded, run());
}

#[test]
fn scopes_hear_their_own_thread_and_no_more() {
    let x = rand([1 << 20]);
    let (inner, outer) = launches(|| {
        drop(x.relu());
        // Chunks of another thread's loop that run on this thread must not report here.
        std::thread::scope(|scope| {
            scope.spawn(|| (0..20).for_each(|_| drop(x.exp())));
        });
        launches(|| drop(&x + &x)).1
    });
    assert_eq!((inner.len(), outer.len()), (1, 2), "{inner:?} {outer:?}");
    assert_eq!(inner[0], outer[1]);

    let (vector, matrix) = (rand([3]), rand([2, 2]));
    let fails = || launches(|| &vector + &matrix);
    assert!(catch_unwind(AssertUnwindSafe(fails)).is_err());
    assert!(!minitorch::launch::is_listening());
    assert_eq!(launches(|| x.relu()).1.len(), 1);
}

/// Every operation of the diagnose example reports kernels with a name and an extent that `is_right`.
fn all_report<B: Backend>(device: &B, is_right: fn(Extent) -> bool) {
    for (name, prepare) in ops::list::<B>() {
        let mut call = prepare(&Maker { device, toy: true }).call;
        call();
        device.synchronize().expect("the operation works");
        let ((), launches) = launches(&mut call);
        device.synchronize().expect("the operation works");
        assert!(!launches.is_empty(), "{name} on {device:?} reports nothing");
        for launch in launches {
            assert!(!launch.kernel.is_empty() && is_right(launch.extent), "{name} on {device:?}: {launch}");
        }
    }
}

#[test]
fn every_operation_reports_on_the_cpu() {
    all_report(
        &Cpu::default(),
        |extent| matches!(extent, Extent::Threads { threads, chunks } if threads >= 1 && chunks >= threads as u64),
    );
}

#[cfg(any(feature = "cuda-emu", feature = "wgpu"))]
fn is_grid(extent: Extent) -> bool {
    matches!(extent, Extent::Grid { grid, block, .. } if !grid.contains(&0) && block.iter().product::<u32>() >= 1)
}

#[cfg(feature = "cuda-emu")]
#[test]
fn every_operation_reports_on_emulated_cuda() {
    let device = Cuda::emulated(minitorch_cuda::Order::Forward);
    all_report(&device, is_grid);
    let x = Tensor::ones([1000], &device);
    let (_, launches) = launches(|| x.relu());
    assert_eq!(launches.len(), 1, "{launches:?}");
    assert_eq!(launches[0].kernel, "unary_relu_f32");
    assert_eq!(launches[0].extent, Extent::Grid { grid: [1, 1, 1], block: [256, 1, 1], shared: 0 });
    let before = device.launches();
    let (_, launches) = minitorch::launches(|| x.softmax(0).cumsum(0));
    assert_eq!(device.launches() - before, launches.len() as u64, "as many as the device counts");
}

#[cfg(feature = "wgpu")]
#[test]
fn every_operation_reports_on_wgpu() {
    let device = match Wgpu::new() {
        Ok(device) => device,
        Err(error) => return require::absent("wgpu", &error.to_string()),
    };
    all_report(&device, is_grid);
    let x = Tensor::ones([1000], &device);
    let (_, launches) = launches(|| x.relu());
    assert_eq!(launches.len(), 1, "{launches:?}");
    assert_eq!(launches[0].kernel, "unary/unary_f32");
    assert!(matches!(launches[0].extent, Extent::Grid { block: [256, 1, 1], .. }), "{launches:?}");
}
