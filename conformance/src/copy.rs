//! Creation, upload and download, copies, casts, writes, concatenation and padding.

use crate::arrange::moves;
use crate::check::{assert_same, assert_values, with_grads};
use crate::close::{EXACT, read, read_storage};
use crate::on::{Lay, pairs};
use crate::{On, Suite};
use minitorch_core::backend::{Backend, CopyOps, View};
use minitorch_core::{DType, HostSlice, Layout, PadMode, Tensor, f16};

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.floats("layouts", 600, layouts);
    suite.f32("upload_download", 100, upload);
    suite.f32("full_and_fill", 100, full);
    suite.f32("cast", 100, cast);
    suite.floats("write", 200, write);
    suite.floats("cat_and_stack", 500, cat);
    suite.floats("pad", 500, pad);
    suite.floats("pad_modes", 500, pad_modes);
    suite.f32("sequences", 100, sequences);
    suite.f32("identities_and_likes", 100, identities);
    check!(suite, "pad_modes", 2, |d| [d.uniform(-1.0, 1.0, [3, 4])], |[x]| {
        let around = [(1, 2), (0, 3)];
        let mirrored = x.square().pad_with(around, PadMode::Reflect);
        mirrored * x.pad_with(around, PadMode::Replicate) + x.square().pad_with(around, PadMode::Circular)
    });
    suite.f32("large", 600_000, |on| {
        agree!(on, EXACT, |d| {
            let x = d.mixed([70_001, 3]);
            [x.t().contiguous(), Tensor::cat(&[x.slice(..40_000), x.slice(40_000..)], 0), x.pad([(1, 1), (0, 2)], 0.5)]
        });
        agree!(on, EXACT, |d| d.mixed([501, 33, 35]).permute([2, 0, 1]).contiguous());
    });
    suite.f32("to_another_device_and_back", 100, |on| {
        let plain = crate::Plain::new();
        for x in [on.mixed([3, 4]).t(), on.ints(-9, 9, [5]), on.mask([2, 3]), on.mixed([0, 2]), on.mixed([])] {
            let there = x.to(&plain);
            let back = there.as_ref().ok().and_then(|x| x.to(&on.device).ok());
            let Some(back) = back else { panic!("to: a device failed") };
            assert_same("there and back", &back, &x);
        }
    });
    suite.alone("memory_is_released", 10_000, |on| {
        let before = on.device.memory();
        let x = on.uniform(0.0, 1.0, [100, 100]);
        let bytes = (10_000 * on.dtype.size()) as u64;
        // A device may round up to a size class.
        let live = on.device.memory().live - before.live;
        assert!((bytes..3 * bytes).contains(&live), "{live} live bytes for a tensor of {bytes}");
        let views = [x.t(), x.slice(3..), x.reshape([10_000]), x.expand([5, 100, 100]), x.clone()];
        assert!(on.device.memory().live - before.live == live, "a view takes no memory");
        on.device.reset_peak_memory();
        drop(&x + 1.0);
        let after = on.device.memory();
        assert!(
            after.peak >= after.live + bytes && after.reserved >= after.live,
            "the peak includes what was freed: {after:?}"
        );
        drop((x, views));
        assert!(on.device.memory().live == before.live, "all is released");
    });
}

fn layouts<B: Backend>(on: &On<B>) {
    let shapes: [&[usize]; 7] = [&[], &[17], &[0], &[7, 33], &[2, 3, 5], &[2, 1, 3, 1, 2], &[2, 3, 1, 2, 3, 2]];
    for shape in shapes {
        for lay in Lay::all(shape.len()) {
            agree!(on, EXACT, "a copy of {lay:?} {shape:?}", |d| {
                let x = d.laid(lay, -1.0, 1.0, shape);
                // The method of the trait, and a download of the view.
                [Tensor::from_storage(&d.device, d.device.copy(x.view()), d.dtype, shape), x.contiguous(), x]
            });
            agree!(on, EXACT, "ints, {lay:?} {shape:?}", |d| {
                lay.view(shape.into(), |s| d.ints(-99, 99, s)).contiguous()
            });
            agree!(on, EXACT, "bool, {lay:?} {shape:?}", |d| lay.view(shape.into(), |s| d.mask(s)).contiguous());
        }
    }
    // Overlapping windows repeat elements.
    agree!(on, EXACT, |d| {
        let x = d.mixed([2, 6, 7]);
        let layout = x.layout().windows([4, 3], [3, 3], [1, 2], [1, 1]);
        let storage = d.device.copy(View { layout: &layout, ..x.view() });
        Tensor::from_storage(&d.device, storage, d.dtype, [2, 4, 3, 3, 3])
    });
}

fn upload<B: Backend>(on: &On<B>) {
    let ints = [i32::MIN, -1, 0, 16_777_217, i32::MAX];
    assert!(Tensor::from_slice(&ints, [5], &on.device).to_vec::<i32>().is_ok_and(|v| v == ints));
    let floats = [f32::MIN_POSITIVE, f32::MAX, -0.0, f32::INFINITY, f32::EPSILON, 0.1];
    let back = Tensor::from_slice(&floats, [6], &on.device).to_vec::<f32>();
    assert!(back.is_ok_and(|v| v.iter().zip(&floats).all(|(a, b)| a.to_bits() == b.to_bits())), "f32 keeps its bits");
    let bools = [true, false, false, true, true];
    assert!(Tensor::from_slice(&bools, [5], &on.device).to_vec::<bool>().is_ok_and(|v| v == bools));
    assert!(Tensor::from_slice::<f32>(&[], [0, 3], &on.device).to_vec::<f32>().is_ok_and(|v| v.is_empty()));
    if crate::check::has_f64(&on.device) {
        let wide = [0.1, 1e300, f64::MIN_POSITIVE, 1.0 + f64::EPSILON];
        assert!(Tensor::from_slice(&wide, [4], &on.device).to_vec::<f64>().is_ok_and(|v| v == wide));
    }
    for value in [-3.5, 0.0, 7.0] {
        assert!(Tensor::full([], value, &on.device).item().is_ok_and(|v| v == value));
    }
    assert!(Tensor::new(true, &on.device).item().is_ok_and(|v| v == 1.0));
    assert!(Tensor::new([[1, 2], [3, 4]], &on.device).slice((1, 0)).item().is_ok_and(|v| v == 3.0));
}

fn full<B: Backend>(on: &On<B>) {
    for dtype in DType::ALL.into_iter().filter(|&dtype| on.device.supports(dtype)) {
        for len in [0, 1, 3, 17, 1000] {
            for value in [0.0, 1.0, -2.0, 3.7, f64::NAN, 3e9, f64::INFINITY] {
                // Converted as by a cast.
                let want = match dtype {
                    DType::I32 => value as i32 as f64,
                    DType::Bool => (value != 0.0) as u8 as f64,
                    DType::F16 => f16::from_f64(value).to_f64(),
                    DType::F32 => value as f32 as f64,
                    DType::F64 => value,
                };
                assert_values(&Tensor::full([len], value, (&on.device, dtype)), &vec![want; len], EXACT);
            }
        }
        let mut x = Tensor::zeros([4, 5], (&on.device, dtype));
        let at = Layout::contiguous([4, 5]).narrow(0, 1, 2).narrow(1, 1, 3);
        let (device, storage) = x.storage_mut();
        device.fill(storage, &at, dtype, 1.0);
        let want: Vec<f64> =
            (0..20).map(|i| ((5..15).contains(&i) && (1..4).contains(&(i % 5))) as u8 as f64).collect();
        assert_values(&x, &want, EXACT);
    }
    assert_values(&Tensor::arange(-2..3, &on.device), &[-2.0, -1.0, 0.0, 1.0, 2.0], EXACT);
}

/// Every pair of dtypes, at the limits of their ranges.
fn cast<B: Backend>(on: &On<B>) {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let edges =
        [0.0, -0.0, 1.0, -1.0, 2.7, -2.7, 0.5, -0.5, 3e9, -3e9, 2_147_483_520.0, 16_777_217.0, 1e-30, inf, -inf, nan];
    let supported = || DType::ALL.into_iter().filter(|&dtype| on.device.supports(dtype));
    for from in supported() {
        for to in supported() {
            // Uploaded in `from` by way of the oracle, so that the device converts once.
            agree!(on, EXACT, "{from} to {to}", |d| {
                let plain = crate::Plain::new();
                let x = Tensor::from_slice(&edges, [16], &plain).cast(from);
                let Ok(x) = x.to(&d.device) else { panic!("to: the device failed") };
                [x.cast(to), x.reshape([4, 4]).t().cast(to), x.slice(3..10).cast(to), x.slice(2).expand([5]).cast(to)]
            });
        }
    }
    for (from, to) in pairs(supported()) {
        for lay in Lay::all(2) {
            agree!(on, EXACT, "{from} to {to}, {lay:?}", |d| {
                lay.view([17, 33].into(), |s| d.ints(-9, 9, s).cast(from)).cast(to)
            });
        }
    }
    if crate::check::has_f64(&on.device) {
        let x = on.list(&[1.0, 2.0], [2]).requires_grad();
        let grads = (x.cast(DType::F64) * 1.5).cast(DType::F32).sum(..).backward();
        assert!(grads[&x].dtype() == DType::F32);
        assert_values(&grads[&x], &[1.5, 1.5], EXACT);
    }
}

fn write<B: Backend>(on: &On<B>) {
    for lay in Lay::all(2) {
        for (r, c) in [(0, 0), (1, 2), (2, 3)] {
            agree!(on, EXACT, "{lay:?} written at {r}, {c}", |d| {
                let mut to = d.mixed([6, 8]);
                let x = d.laid(lay, -1.0, 1.0, [3, 4]);
                let at = Layout::contiguous([6, 8]).narrow(0, r, 3).narrow(1, c, 4);
                let (device, storage) = to.storage_mut();
                device.write(storage, &at, x.view());
                // A transposed destination.
                let transposed = Layout::contiguous([6, 8]).narrow(0, 0, 4).narrow(1, 5, 3).transpose(0, 1);
                device.write(storage, &transposed, x.view());
                to
            });
        }
    }
    // Destinations of every layout that repeats no element; other elements of the storage stay.
    for shape in [&[7][..], &[17, 33], &[2, 3, 4, 5]] {
        for at in [Lay::Whole, Lay::Reversed, Lay::Sliced, Lay::Stepped] {
            let at = *at.view(shape.into(), |s| Tensor::<crate::Plain>::zeros(s, &crate::Plain::new())).layout();
            for lay in Lay::all(shape.len()) {
                let (x, len) = (on.laid(lay, -1.0, 1.0, shape), at.end() + 5);
                let nines = || on.device.full(on.dtype, len, -9.0).unwrap_or_else(|error| panic!("full: {error}"));
                let (mut written, mut filled) = (nines(), nines());
                on.device.write(&mut written, &at, x.view());
                on.device.fill(&mut filled, &at, on.dtype, 2.5);
                let (mut want, mut want_filled) = (vec![-9.0; len], vec![-9.0; len]);
                for (position, value) in at.positions().zip(read(&x).data) {
                    (want[position], want_filled[position]) = (value, 2.5);
                }
                assert!(read_storage(&on.device, &written, on.dtype, len) == want, "{lay:?} written to {at:?}");
                assert!(read_storage(&on.device, &filled, on.dtype, len) == want_filled, "{at:?} filled");
            }
        }
    }
    // Copy on write: other holders of the storage do not observe it.
    let held = on.list(&[1.0, 2.0, 3.0], [3]);
    let mut x = held.clone();
    let one = match on.device.upload(HostSlice::F32(&[9.0])) {
        Ok(storage) if on.dtype == DType::F32 => Tensor::from_storage(&on.device, storage, DType::F32, [1]),
        _ => on.list(&[9.0], [1]),
    };
    let (device, storage) = x.storage_mut();
    device.write(storage, &Layout::new([1], &[1], 1), one.view());
    assert!(read(&x).data == [1.0, 9.0, 3.0] && read(&held).data == [1.0, 2.0, 3.0]);
    let dtype = x.dtype();
    let (device, storage) = x.storage_mut();
    assert!(read_storage(&device, storage, dtype, 3) == [1.0, 9.0, 3.0]);
}

fn cat<B: Backend>(on: &On<B>) {
    for dim in [0, 1, -1] {
        agree!(on, EXACT, "cat and stack along {dim}", |d| {
            let x = d.mixed([2, 3, 4]);
            let sizes = |n: usize| {
                let d = if dim < 0 { 2 } else { dim as usize };
                minitorch_core::Shape::from([2, 3, 4]).with(d, n)
            };
            let parts = [
                x.detach(),
                d.laid(Lay::Reversed, -1.0, 1.0, sizes(1)),
                d.mixed(sizes(0)),
                d.laid(Lay::Sliced, -1.0, 1.0, sizes(5)),
            ];
            let mut all = with_grads(d, parts, |parts| Tensor::cat(&parts.map(Tensor::clone), dim));
            all.extend(with_grads(d, [x, d.mixed([2, 3, 4])], |parts| Tensor::stack(&parts.map(Tensor::clone), dim)));
            all
        });
    }
    agree!(on, EXACT, |d| {
        let x = d.mixed([3]);
        // The same tensor twice, one tensor alone, rank 0, ints and bool.
        vec![
            Tensor::cat(&[x.clone(), x.clone()], 0),
            Tensor::cat(std::slice::from_ref(&x), 0),
            Tensor::stack(&[d.mixed([]), d.mixed([])], 0),
            Tensor::cat(&[d.ints(-9, 9, [2, 2]), d.ints(-9, 9, [2, 3])], 1),
            Tensor::cat(&[d.mask([2]), d.mask([5])], 0),
            Tensor::stack(&[x.clone(), x], -1),
        ]
    });
}

fn pad<B: Backend>(on: &On<B>) {
    agree!(on, EXACT, |d| with_grads(d, [d.mixed([3, 4])], |[x]| x.pad([(1, 2)], 0.0)));
    agree!(on, EXACT, |d| with_grads(d, [d.mixed([3, 4])], |[x]| x.pad([(1, 2), (0, 3)], -1.5)));
    agree!(on, EXACT, |d| {
        with_grads(d, [d.laid(Lay::Reversed, -1.0, 1.0, [2, 3, 4])], |[x]| x.pad([(2, 0), (0, 0)], 0.5))
    });
    agree!(on, EXACT, |d| {
        let x = d.mixed([2, 0]);
        vec![
            x.pad([(1, 1)], 7.0),
            x.pad([(0, 0)], 7.0),
            d.ints(0, 9, [3]).pad([(2, 2)], -1.0),
            d.mask([3]).pad([(1, 0)], 1.0),
        ]
    });
}

fn pad_modes<B: Backend>(on: &On<B>) {
    // The index within 0..n that an index outside of it reads.
    let mirrored = |at: isize, n: isize| {
        if at < 0 {
            -at
        } else if at < n {
            at
        } else {
            2 * (n - 1) - at
        }
    };
    let nearest = |at: isize, n: isize| at.clamp(0, n - 1);
    let around_again = |at: isize, n: isize| (at + n) % n;
    type Source<'a> = &'a dyn Fn(isize, isize) -> isize;
    let modes: [(PadMode, Source<'_>); 3] =
        [(PadMode::Reflect, &mirrored), (PadMode::Replicate, &nearest), (PadMode::Circular, &around_again)];
    for (mode, source) in modes {
        for (rows, columns) in [((1, 2), (3, 0)), ((0, 0), (0, 1)), ((2, 2), (3, 3))] {
            let to = [2, 3 + rows.0 + rows.1, 4 + columns.0 + columns.1];
            let place = |i: usize, before: usize, n: isize| source(i as isize - before as isize, n) as usize;
            moves(on, &[2, 3, 4], &to, &|x| x.pad_with([rows, columns], mode), &|i| {
                Some(vec![i[0], place(i[1], rows.0, 3), place(i[2], columns.0, 4)])
            });
        }
        let six = [1, 2, 1, 2, 1, 2];
        moves(on, &six, &[1, 2, 1, 2, 1, 3], &|x| x.pad_with([(0, 1)], mode), &|i| {
            Some([&i[..5], &[source(i[5] as isize, 2) as usize]].concat())
        });
        moves(on, &[0, 3], &[0, 4], &|x| x.pad_with([(0, 0), (1, 0)], mode), &|_| None);
        moves(on, &[0], &[0], &|x| x.pad_with([(0, 0)], mode), &|_| None);
        let x = on.mixed([2]);
        panics!("pad_with", "2 pairs", "[2]"; x.pad_with([(0, 0), (1, 1)], mode));
    }
    moves(on, &[1], &[5], &|x| x.pad_with([(1, 3)], PadMode::Replicate), &|_| Some(vec![0]));
    moves(on, &[2, 2], &[2, 6], &|x| x.pad_with([(2, 2)], PadMode::Circular), &|i| Some(vec![i[0], i[1] % 2]));
    agree!(on, EXACT, |d| with_grads(d, [d.mixed([3, 4])], |[x]| x.pad_with([(1, 2)], PadMode::Constant(-1.5))));
    let x = on.mixed([3, 2]);
    panics!("pad_with", "Reflect", "(0, 2)", "dimension 1", "[3, 2]", "smaller"; x.pad_with([(0, 2)], PadMode::Reflect));
    panics!("pad_with", "Circular", "(4, 0)", "dimension 0"; x.pad_with([(4, 0), (0, 0)], PadMode::Circular));
    panics!("pad_with", "Replicate", "[0]"; on.mixed([0]).pad_with([(0, 1)], PadMode::Replicate));
    panics!("pad_with:", "3 pairs"; x.pad_with([(0, 0); 3], PadMode::Constant(0.0)));
}

fn sequences<B: Backend>(on: &On<B>) {
    let device = &on.device;
    for dtype in [DType::F32, DType::F64].into_iter().filter(|&dtype| device.supports(dtype)) {
        let place = (device, dtype);
        assert_values(&Tensor::linspace(-1.0, 2.0, 7, place), &[-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0], EXACT);
        assert_values(&Tensor::linspace(3.0, 1.0, 2, place), &[3.0, 1.0], EXACT);
        assert_values(&Tensor::linspace(3.0, 1.0, 1, place), &[3.0], EXACT);
        assert_values(&Tensor::linspace(3.0, 1.0, 0, place), &[], EXACT);
        // Both ends are exact, and the sequence is symmetric; a sum of steps would drift.
        let thirds = read(&Tensor::linspace(-0.1, 0.1, 31, place)).data;
        let ends = read(&Tensor::full([1], 0.1, place)).data[0];
        assert!(
            thirds[0] == -ends && thirds[30] == ends && (0..31).all(|i| thirds[i] == -thirds[30 - i]),
            "{thirds:?}"
        );
        assert_values(&Tensor::arange_step(0.0, 1.0, 0.25, place), &[0.0, 0.25, 0.5, 0.75], EXACT);
        assert_values(&Tensor::arange_step(0.0, 1.01, 0.25, place), &[0.0, 0.25, 0.5, 0.75, 1.0], EXACT);
        assert_values(&Tensor::arange_step(2.0, 0.5, -0.5, place), &[2.0, 1.5, 1.0], EXACT);
        assert_values(&Tensor::arange_step(2.0, 2.0, 3.0, place), &[], EXACT);
        // Multiples of the step, not sums of it.
        let multiples: Vec<f64> = (0..1000).map(|i| i as f64 * 0.1).collect();
        assert_values(&Tensor::arange_step(0.0, 99.95, 0.1, place), &multiples, EXACT);
    }
    let ints = (device, DType::I32);
    assert_values(&Tensor::arange_step(5.0, -2.0, -3.0, ints), &[5.0, 2.0, -1.0], EXACT);
    assert_values(
        &Tensor::arange_step(2_147_483_645.0, 2_147_483_647.0, 1.0, ints),
        &[2147483645.0, 2147483646.0],
        EXACT,
    );
    panics!("arange_step", "0.5"; Tensor::arange_step(0.0, 2.0, 0.5, ints));
    panics!("arange_step", "steps of 0"; Tensor::arange_step(0.0, 1.0, 0.0, device));
    panics!("arange_step", "steps of -1"; Tensor::arange_step(0.0, 1.0, -1.0, device));
    panics!("arange_step", "NaN"; Tensor::arange_step(f64::NAN, 1.0, 1.0, device));
    panics!("arange_step", "bool"; Tensor::arange_step(0.0, 1.0, 1.0, (device, DType::Bool)));
    panics!("linspace", "int32"; Tensor::linspace(0.0, 1.0, 3, ints));
}

fn identities<B: Backend>(on: &On<B>) {
    let device = &on.device;
    for dtype in DType::ALL.into_iter().filter(|&dtype| device.supports(dtype)) {
        for [n, m] in [[3, 3], [2, 4], [4, 2], [1, 1], [0, 2], [0, 0]] {
            let x = Tensor::eye([n, m], (device, dtype));
            let want: Vec<f64> = (0..n * m).map(|i| (i / m == i % m) as u8 as f64).collect();
            assert!(x.dtype() == dtype && x.dims() == [n, m]);
            assert_values(&x, &want, EXACT);
        }
        let x = Tensor::eye(3, (device, dtype)).slice((.., ..2));
        let like = x.full_like(1.0);
        assert!(like.dtype() == dtype && like.dims() == [3, 2]);
        assert_values(&like, &[1.0; 6], EXACT);
    }
    let x = Tensor::zeros([2, 3], device);
    for (like, plain) in [
        (
            Tensor::rand_like as fn(&Tensor<B>) -> Tensor<B>,
            Tensor::rand([2, 3], {
                device.rng().seed(9);
                device
            }),
        ),
        (
            Tensor::randn_like,
            Tensor::randn([2, 3], {
                device.rng().seed(9);
                device
            }),
        ),
    ] {
        device.rng().seed(9);
        assert_same("the same draw", &like(&x), &plain);
    }
    let ints = Tensor::eye(2, (device, DType::I32));
    panics!("rand", "int32"; ints.rand_like());
    panics!("randn", "int32"; ints.randn_like());
}
