//! Invalid arguments panic at the caller's line (`#[track_caller]`), with a message that names the operation, what it got and what it
//! expects.

use crate::{On, Suite};
use minitorch_core::backend::Backend;
use minitorch_core::{Conv2dOptions, CrossEntropyOptions, DType, Indexing, PadMode, Pool2dOptions, Tensor};

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.f32("shapes", 100, shapes);
    suite.f32("dtypes", 100, dtypes);
    suite.f32("views", 100, views);
    suite.f32("layers", 100, layers);
    suite.f32("vocabulary", 100, vocabulary);
    suite.f32("options", 100, options);
    suite.f32("sizes", 100, sizes);
    suite.f32("steps", 100, steps);
    suite.f32("numbers", 100, |on| {
        let x = on.mixed([3]);
        panics!("clamp", "2", "1"; x.clamp(2.0, 1.0));
        panics!("dropout", "1.5"; x.dropout(1.5));
        panics!("rand_bool", "-0.1"; Tensor::rand_bool([3], -0.1, &on.device));
        panics!("item", "[3]"; x.item());
        panics!("to_vec", "float32", "int32"; x.to_vec::<i32>());
        panics!("dims", "2", "[3]"; x.dims::<2>());
        panics!("from_slice", "3", "[2, 2]"; Tensor::from_slice(&[1.0f32, 2.0, 3.0], [2, 2], &on.device));
        panics!("from_vec", "3", "[2, 2]"; Tensor::from_vec(vec![1.0f32, 2.0, 3.0], [2, 2], &on.device));
        panics!("7 dimensions", "6"; Tensor::zeros([1, 1, 1, 1, 1, 1, 1], &on.device));
        panics!("negative size -3", "[2, -3]"; Tensor::zeros((2, -3), &on.device));
        panics!("arange", "I32", "3000000000"; Tensor::arange(0..3_000_000_000u32, &on.device));
        panics!("randint", "5..5"; Tensor::randint(5..5, 1, &on.device));
        panics!("new", "[1] has 1 elements", "have 2"; Tensor::new(vec![vec![1.0, 2.0], vec![3.0]], &on.device));
        let ragged = vec![vec![vec![1], vec![2]], vec![vec![3], vec![4, 5]]];
        panics!("new", "[1][1] has 2 elements", "have 1"; Tensor::new(&ragged, &on.device));
        panics!("new", "I32", "3000000000 at [0][1]"; Tensor::new([[1, 3_000_000_000u64]], &on.device));
        let i = on.ints(0, 9, [3]);
        panics!("mul", "int32", "3000000000"; &i * 3_000_000_000i64);
        panics!("sub", "int32", "-3000000000"; -3_000_000_000.0 - &i);
        panics!("add", "9007199254740993", "2^53"; &x + 9_007_199_254_740_993u64);
        panics!("lt", "-9007199254740993", "2^53"; x.lt(-9_007_199_254_740_993i64));
        panics!("isclose", "-1"; x.isclose(&x, 0.0, -1.0));
        panics!("isclose", "int32"; i.isclose(&i, 0.0, 0.0));
        if on.device.supports(DType::F16) {
            panics!("add", "65520", "float16"; x.cast(DType::F16) + 65_520);
        }
    });
    let make = suite.make.clone();
    suite.f32("devices", 10, move |on| {
        let other = make();
        if other == on.device {
            // One handle per GPU, and one GPU: there is no second device.
            println!("skipped: {:?} is the only device", on.device);
            return;
        }
        let (a, b) = (on.mixed([2, 2]), Tensor::zeros([2, 2], &other));
        let (here, there) = (format!("{:?}", on.device), format!("{other:?}"));
        assert!(here != there, "two devices print alike: {here}");
        panics!("add".into(), here.clone(), there.clone(); &a + &b);
        panics!("matmul".into(), here.clone(), there.clone(); a.matmul(&b));
        panics!("eq".into(), here.clone(), there.clone(); a.eq(&b));
        panics!("cat".into(), here.clone(), there.clone(); Tensor::cat(&[a.clone(), b.clone()], 0));
        panics!("where".into(), here.clone(), there.clone(); Tensor::where_cond(&a.gt(0.0), &b, &b));
        panics!("linear".into(), here.clone(), there.clone(); a.linear(&b, None));
        panics!("gather".into(), here, there; a.gather(0, &b.cast(DType::I32)));
    });
    suite.f32("unsupported_dtype", 10, |on| {
        for dtype in DType::ALL {
            if on.device.supports(dtype) {
                assert!(Tensor::zeros([2], (&on.device, dtype)).dtype() == dtype);
            } else {
                let (device, dtype_name) = (format!("{:?}", on.device), dtype.to_string());
                panics!("zeros".into(), device.clone(), dtype_name.clone(); Tensor::zeros([2], (&on.device, dtype)));
                panics!("cast".into(), device, dtype_name; on.mixed([2]).cast(dtype));
            }
        }
        assert!(on.device.supports(DType::F32) && on.device.supports(DType::I32) && on.device.supports(DType::Bool));
    });
}

fn shapes<B: Backend>(on: &On<B>) {
    let (a, b) = (on.mixed([2, 3]), on.mixed([4, 5]));
    panics!("matmul", "[2, 3]", "[4, 5]", "3 and 4"; a.matmul(&b));
    panics!("matmul", "batch", "[2, 1, 3]"; on.mixed([2, 1, 3]).matmul(&on.mixed([3, 3, 1])));
    panics!("matmul", "[]"; on.mixed([]).matmul(&a));
    panics!("add", "[2, 3]", "[4, 5]"; &a + &b);
    panics!("sub", "[2, 3]", "[2]"; a.clone() - on.mixed([2]));
    panics!("maximum", "[2, 3]", "[4, 5]"; a.maximum(&b));
    panics!("lt", "[2, 3]", "[4, 5]"; a.lt(&b));
    panics!("where", "[2]", "[2, 3]"; Tensor::where_cond(&on.mask([2]), &a, &a));
    panics!("linear", "[2, 3]", "[4, 5]"; a.linear(&b, None));
    panics!("linear", "bias", "[3]"; a.linear(&on.mixed([7, 3]), Some(&on.mixed([3]))));
    panics!("cat", "[2, 3]", "[4, 5]", "0"; Tensor::cat(&[a.clone(), b.clone()], 0));
    panics!("cat", "no tensors"; Tensor::<B>::cat(&[], 0));
    panics!("stack", "[2, 3]", "[4, 5]"; Tensor::stack(&[a.clone(), b.clone()], 0));
    panics!("gather", "[2, 3]", "[3, 3]"; a.gather(1, &on.ints(0, 1, [3, 3])));
    panics!("scatter_add", "[2, 2]", "[2, 3]"; a.scatter_add(1, &on.ints(0, 1, [2, 2]), &a));
    panics!("cross_entropy", "[2, 3]", "[3]"; a.cross_entropy(&on.ints(0, 1, [3])));
    panics!("mse_loss", "[2, 3]", "[4, 5]"; a.mse_loss(&b));
    panics!("sum_to_shape", "[2]", "[2, 3]"; a.sum_to_shape([2]));
    panics!("max", "[0]"; on.mixed([0]).max(..));
    panics!("argmax", "[2, 0]"; on.mixed([2, 0]).argmax(1));
    panics!("sum", "dimension 2", "rank 2"; a.sum(2));
    panics!("sum", "twice"; a.sum([0, -2]));
    panics!("softmax", "-3"; a.softmax(-3));
}

fn dtypes<B: Backend>(on: &On<B>) {
    let (x, i, m) = (on.mixed([2, 2]), on.ints(0, 2, [2, 2]), on.mask([2, 2]));
    panics!("mul", "float32", "int32"; &x * &i);
    panics!("matmul", "float32", "int32"; x.matmul(&i));
    panics!("matmul", "int32"; i.matmul(&i));
    panics!("div", "int32"; &i / &i.t());
    panics!("exp", "int32"; i.exp());
    panics!("add", "bool"; &m + &m);
    panics!("not", "float32"; x.logical_not());
    panics!("logical_and", "float32"; x.logical_and(&x));
    panics!("mean", "int32"; i.mean(..));
    panics!("sum", "bool"; m.sum(..));
    panics!("lt", "bool"; m.lt(&m));
    panics!("where", "float32"; Tensor::where_cond(&x, &x, &x));
    panics!("gather", "float32"; x.gather(0, &x));
    panics!("scatter_add", "bool"; m.scatter_add(0, &i, &m));
    panics!("one_hot", "float32"; x.one_hot(3, DType::F32));
    panics!("cross_entropy", "float32"; x.cross_entropy(&x.slice(0)));
    panics!("softmax", "int32"; i.softmax(0));
    panics!("conv2d", "int32"; on.ints(0, 2, [1, 1, 3, 3]).conv2d(&on.ints(0, 2, [1, 1, 1, 1]), None, Conv2dOptions::default()));
    panics!("argmax", "bool"; m.argmax(0));
    panics!("any", "float32"; x.any(..));
    panics!("rand", "int32"; Tensor::rand([2], (&on.device, DType::I32)));
}

fn views<B: Backend>(on: &On<B>) {
    let x = on.mixed([2, 3]);
    panics!("slice", "2", "[2, 3]"; x.slice(2));
    panics!("slice", "1..5", "dimension 1"; x.slice((.., 1..5)));
    panics!("slice", "3 axes"; x.slice((0, 0, 0)));
    panics!("slice", "-3"; x.slice(-3));
    panics!("narrow", "[2, 3]", "dimension 1"; x.narrow(1, 2, 2));
    panics!("reshape", "[2, 3]", "[4, 2]"; x.reshape([4, 2]));
    panics!("reshape", "-1"; x.reshape([4, -1]));
    panics!("reshape", "only one"; x.reshape([-1, -1]));
    panics!("permute", "twice"; x.permute([0, 0]));
    panics!("permute", "3 dimensions"; x.permute([0, 1, 2]));
    panics!("transpose", "2"; x.transpose(0, 2));
    panics!("t:", "[2]"; on.mixed([2]).t());
    panics!("expand", "[2, 3]", "[2, 4]"; x.expand([2, 4]));
    panics!("squeeze", "[2, 3]"; x.squeeze(0));
    panics!("unsqueeze", "4"; x.unsqueeze(4));
    panics!("pad", "3 pairs"; x.pad([(0, 0), (1, 1), (1, 1)], 0.0));
    panics!("pad", "too large"; x.pad([(usize::MAX, 1)], 0.0));
    panics!("pad_with", "too large"; x.pad_with([(usize::MAX, 0)], PadMode::Replicate));
    panics!("index_select", "[1, 2]"; x.index_select(0, &on.ints(0, 1, [1, 2])));
}

fn layers<B: Backend>(on: &On<B>) {
    let x = on.mixed([1, 3, 5, 5]);
    let o = Conv2dOptions::default();
    panics!("conv2d", "4 input channels", "has 3", "[2, 4, 3, 3]"; x.conv2d(&on.mixed([2, 4, 3, 3]), None, o));
    panics!("conv2d", "groups"; x.conv2d(&on.mixed([3, 1, 3, 3]), None, o.groups(2)));
    panics!("conv2d", "[7, 7]", "[5, 5]"; x.conv2d(&on.mixed([2, 3, 7, 7]), None, o));
    panics!("conv2d", "bias", "[3]"; x.conv2d(&on.mixed([2, 3, 3, 3]), Some(&on.mixed([3])), o));
    panics!("conv2d", "stride"; x.conv2d(&on.mixed([2, 3, 3, 3]), None, o.stride(0)));
    panics!("conv2d", "rank 4", "[3, 5, 5]"; x.slice(0).conv2d(&on.mixed([2, 3, 3, 3]), None, o));
    panics!("conv1d", "rank 3"; x.conv1d(&on.mixed([2, 3, 3]), None, Default::default()));
    panics!("max_pool2d", "[6, 6]", "[5, 5]"; x.max_pool2d(6));
    panics!("max_pool2d", "padding", "half"; x.max_pool2d(Pool2dOptions::new(2).padding(2)));
    panics!("avg_pool2d", "dilation"; x.avg_pool2d(Pool2dOptions::new(2).dilation(2)));
    panics!("avg_pool2d", "rank 4"; x.slice(0).avg_pool2d(2));
    panics!("max_pool1d", "rank 3"; x.max_pool1d(2));
}

/// Options that are NaN, or infinite where they must be finite.
fn options<B: Backend>(on: &On<B>) {
    let (x, w) = (on.mixed([2, 3]), on.mixed([3]));
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let shown = bad.to_string();
        panics!("elu: alpha".to_string(), shown.clone(); x.elu(bad));
        panics!("leaky_relu: the slope".to_string(), shown.clone(); x.leaky_relu(bad));
        panics!("var: the correction".to_string(), shown.clone(); x.var(1, bad));
        panics!("std: the correction".to_string(), shown.clone(); x.std(.., bad));
        panics!("layer_norm: eps".to_string(), shown.clone(); x.layer_norm(3, None, None, bad));
        panics!("group_norm: eps".to_string(), shown.clone(); x.group_norm(3, None, None, bad));
        panics!("batch_norm: eps".to_string(), shown.clone(); x.batch_norm(None, None, bad));
        panics!("batch_norm_with: eps".to_string(), shown.clone(); x.batch_norm_with([&w, &w], None, None, bad));
        panics!("dropout".to_string(), shown.clone(); x.dropout(bad));
        panics!("dropout2d".to_string(), shown.clone(); x.dropout2d(bad));
        panics!("rand_bool".to_string(), shown.clone(); Tensor::rand_bool([3], bad, &on.device));
        panics!("cross_entropy".to_string(), shown.clone(); {
            let options = CrossEntropyOptions::default().label_smoothing(bad);
            x.cross_entropy_with(&on.ints(0, 3, [2]), &options)
        });
        panics!("arange_step".to_string(), shown; Tensor::arange_step(0.0, 1.0, bad, &on.device));
    }
    panics!("layer_norm: eps", "-1"; x.layer_norm(3, None, None, -1.0));
    panics!("huber_loss", "NaN"; x.huber_loss(&x, f64::NAN));
    panics!("clamp", "NaN"; x.clamp(f64::NAN, 1.0));
    panics!("clamp", "NaN"; x.clamp(0.0, f64::NAN));
    let gradients = || x.clone().requires_grad().square().sum(..).backward();
    panics!("clip_norm", "NaN"; gradients().clip_norm(f64::NAN));
    panics!("clip_value", "NaN"; gradients().clip_value(f64::NAN));
    // Bounds and distances may be infinite; operands may be any number.
    let _ =
        (x.clamp(f64::NEG_INFINITY, f64::INFINITY), x.huber_loss(&x, f64::INFINITY), x.powf(f64::NAN), &x + f64::NAN);
}

fn vocabulary<B: Backend>(on: &On<B>) {
    let (x, i, m) = (on.mixed([2, 3]), on.ints(0, 2, [2, 3]), on.mask([2, 3]));
    panics!("cumsum", "bool"; m.cumsum(0));
    panics!("cumsum", "2"; x.cumsum(2));
    panics!("sort", "bool"; m.sort(0, false));
    panics!("topk", "4", "[2, 3]"; x.topk(4, 1, true));
    panics!("scatter", "[2, 2]", "[2, 3]"; x.scatter(1, &on.ints(0, 1, [2, 2]), &x));
    panics!("scatter", "float32", "I32"; x.scatter(1, &x, &x));
    panics!("remainder", "[2, 3]", "[4]"; x.remainder(on.mixed([4])));
    panics!("remainder", "bool"; m.remainder(1.0));
    panics!("isinf", "int32"; i.isinf());
    panics!("add", "int32", "0.5"; &i + 0.5);
    panics!("mul", "int32", "2.5"; &i * 2.5);
    panics!("clamp", "int32", "1.5"; i.clamp(1.5, 3.0));
    panics!("masked_fill", "int32", "0.5"; i.masked_fill(&m, 0.5));
    panics!("remainder", "int32", "1.5"; i.remainder(1.5));
    panics!("backward", "nothing"; x.sum(..).backward());
    panics!("logical_xor", "float32"; x.logical_xor(&x));
    panics!("norm", "NaN"; x.norm(f64::NAN, ..));
    panics!("batch_norm", "[3]", "[2]"; x.batch_norm(Some(&on.mixed([2])), None, 1e-5));
    panics!("batch_norm", "[n, c, ..]", "[3]"; on.mixed([3]).batch_norm(None, None, 1e-5));
    panics!("batch_norm", "bias", "weight"; x.batch_norm(None, Some(&on.mixed([3])), 1e-5));
    panics!("batch_norm", "no element"; on.mixed([0, 3]).batch_norm(None, None, 1e-5));
    panics!("batch_norm", "[2]", "3 channels"; x.batch_norm_with([&on.mixed([2]), &on.mixed([3])], None, None, 1e-5));
    panics!("layer_norm", "[2, 3]", "[2]"; x.layer_norm(2, None, None, 1e-5));
    panics!("layer_norm", "int32"; i.layer_norm(3, None, None, 1e-5));
    panics!("group_norm", "3 channels", "2"; x.group_norm(2, None, None, 1e-5));
    panics!("dropout2d", "[3]"; on.mixed([3]).dropout2d(0.5));
    panics!("dropout2d", "-1"; x.dropout2d(-1.0));
    panics!("l1_loss", "[2, 3]", "[3]"; x.l1_loss(&on.mixed([3])));
    panics!("huber_loss", "0"; x.huber_loss(&x, 0.0));
    panics!("kl_div_loss", "rank 0"; x.sum(..).kl_div_loss(&x.sum(..)));
    let (target, plain) = (on.ints(0, 3, [2]), CrossEntropyOptions::default());
    panics!("cross_entropy", "1.5"; x.cross_entropy_with(&target, &plain.clone().label_smoothing(1.5)));
    panics!("cross_entropy", "[4]", "3 classes"; x.cross_entropy_with(&target, &plain.clone().weight(&on.mixed([4]))));
    panics!("cross_entropy", "[3]", "[2, 3]"; x.cross_entropy_with(&on.ints(0, 3, [3]), &plain));
    panics!("cross_entropy", "ignore"; x.cross_entropy_with(&x, &plain.ignore_index(1)));
    let images = on.mixed([1, 3, 5, 5]);
    let o = Conv2dOptions::default().stride(2);
    panics!("conv_transpose2d", "3 input channels", "[2, 3, 3, 3]"; images.conv_transpose2d(&on.mixed([2, 3, 3, 3]), None, o, 0));
    panics!("conv_transpose2d", "output padding", "stride"; images.conv_transpose2d(&on.mixed([3, 2, 3, 3]), None, o, 2));
    panics!("conv_transpose2d", "bias", "[3]"; images.conv_transpose2d(&on.mixed([3, 2, 3, 3]), Some(&on.mixed([3])), o, 0));
    panics!("conv_transpose2d", "no output"; images.conv_transpose2d(&on.mixed([3, 2, 1, 1]), None, o.padding(5), 0));
}

/// Sizes whose product overflows, or beyond any memory, are rejected before an allocation.
fn sizes<B: Backend>(on: &On<B>) {
    let one = on.mixed([1]);
    // 2^66 elements, which wrap to 0, and 2^64 + 1, which wrap to 1.
    for [m, n] in [[1usize << 33, 1 << 33], [274_177, 67_280_421_310_721]] {
        let (a, b) = (one.expand([m, 1]), one.expand([1, n]));
        panics!("add", "too many elements"; &a + &b);
        panics!("lt", "too many elements"; a.lt(&b));
        panics!("where", "too many elements"; Tensor::where_cond(&on.mask([1]).expand([m, 1]), &a, &b));
        panics!("matmul", "too many elements"; a.matmul(&b));
        panics!("outer", "too many elements"; a.reshape([m]).outer(&b.reshape([n])));
        panics!("linear", "too many elements"; a.linear(&b.t(), None));
        panics!("shape", "too many elements"; one.expand([m, n]));
        panics!("broadcast_tensors", "too many elements"; Tensor::broadcast_tensors(&[a.clone(), b.clone()]));
        panics!("meshgrid", "too many"; Tensor::meshgrid(&[a.reshape([m]), b.reshape([n])], Indexing::Ij));
    }
    let long = one.expand([1usize << 59]);
    panics!("cat", "too many elements"; Tensor::cat(&[long.clone(), long.clone()], 0));
    panics!("stack", "too many elements"; Tensor::stack(&[long.clone(), long.clone()], 0));
    panics!("pad", "too large"; long.pad([(1 << 59, 0)], 0.0));
    panics!("repeat_interleave", "too many elements"; long.repeat_interleave(2, 0));
    panics!("one_hot", "too many elements"; on.ints(0, 1, [8]).one_hot(1 << 60, DType::F32));
    panics!("matmul", "2^56"; one.expand([2, 1usize << 58]).matmul(&one.expand([1usize << 58, 2])));
    panics!("sum", "2^56"; long.sum(..));
    panics!("flip", "I32"; long.flip(0));
    panics!("tril", "I32"; one.expand([1usize << 40, 2]).tril(0));
    panics!("split", "no memory"; long.split(1, 0));
    panics!("unbind", "no memory"; long.unbind(0));
    panics!("pad_with", "no memory"; on.mixed([3]).pad_with([(1 << 45, 0)], PadMode::Replicate));
    panics!("arange_step", "no memory"; Tensor::arange_step(0.0, 1e18, 1.0, &on.device));
    panics!("linspace", "no memory"; Tensor::linspace(0.0, 1.0, 1 << 58, &on.device));
    panics!("randperm", "I32"; Tensor::randperm(1 << 58, &on.device));
    panics!("randn", "no memory"; Tensor::randn([1 << 58], &on.device));
    let image = on.mixed([1, 1, 3, 3]);
    panics!("interpolate_nearest", "I32"; image.interpolate_nearest([1 << 40, 2]));
    panics!("interpolate_bilinear", "I32"; image.interpolate_bilinear([1 << 40, 2], false));
    panics!("adaptive_avg_pool2d", "I32"; image.adaptive_avg_pool2d([1 << 40, 2]));
    panics!("adaptive_max_pool2d", "I32"; image.adaptive_max_pool2d([1 << 40, 2]));
    let tap = on.mixed([1, 1, 1, 1]);
    panics!("conv2d", "too many elements"; image.conv2d(&tap, None, Conv2dOptions::default().padding(1 << 40)));
    panics!("conv2d", "groups"; image.conv2d(&tap, None, Conv2dOptions::default().groups(usize::MAX)));
    let far = Conv2dOptions::default().stride(usize::MAX);
    panics!("conv_transpose2d", "too large"; image.conv_transpose2d(&tap, None, far, 0));
    let wide = Conv2dOptions::default().stride(1 << 40);
    panics!("conv_transpose2d", "too many elements"; image.conv_transpose2d(&tap, None, wide, 0));
    panics!("slice", "9223372036854775807"; one.slice(isize::MAX));
    panics!("slice", "9223372036854775807"; one.slice(..=isize::MAX));
    // Functions that return a `Result` return this as an error.
    assert!(one.expand([1usize << 58]).to_vec::<f32>().is_err(), "2^58 elements were read");
    assert!(Tensor::try_full([1 << 58], 0.0, &on.device).is_err(), "2^58 elements were made");
    assert!(on.device.synchronize().is_ok(), "an error that was returned is not queued");
}

/// Strides and dilations have no effect on a single window or tap, and none on empty tensors, however large they are.
fn steps<B: Backend>(on: &On<B>) {
    let x = on.mixed([1, 2, 4, 4]);
    let w = on.mixed([3, 2, 4, 4]);
    for far in [1 << 40, isize::MAX as usize, usize::MAX] {
        let o = Conv2dOptions::default();
        same(&x.conv2d(&w, None, o.stride(far)), &x.conv2d(&w, None, o));
        let w = w.narrow(2, 0, 1).narrow(3, 0, 1);
        same(&x.conv2d(&w, None, o.stride(4).dilation(far)), &x.conv2d(&w, None, o.stride(4)));
        let pool = Pool2dOptions::new(4);
        same(&x.max_pool2d(pool.stride(far)), &x.max_pool2d(pool));
        same(&x.avg_pool2d(pool.stride(far)), &x.avg_pool2d(pool));
        same(&x.unfold(3, 4, far), &x.unsqueeze(3));
    }
    // A copy of a view without elements is the view.
    let empty = on.mixed([2, 3, 4]).transpose(0, 1).narrow(2, 0, 0);
    same(&empty.linear(&on.mixed([5, 0]), None), &empty.sum_keepdim(2).expand([3, 2, 5]));
    let bias = on.mixed([5]);
    same(&empty.linear(&on.mixed([5, 0]), Some(&bias)), &bias.expand([3, 2, 5]));
    same(
        &on.mixed([2, 0, 3, 3]).conv2d(&on.mixed([5, 0, 2, 2]), Some(&bias), Conv2dOptions::default()),
        &bias.reshape([5, 1, 1]).expand([2, 5, 2, 2]),
    );
}

#[track_caller]
fn same<B: Backend>(a: &Tensor<B>, b: &Tensor<B>) {
    assert!(a.shape() == b.shape(), "{:?} and {:?}", a.shape(), b.shape());
    let apart = (a - b).abs().max(..).item();
    assert!(apart.as_ref().is_ok_and(|&apart| apart < 1e-5), "{apart:?} apart");
}
