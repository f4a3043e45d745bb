//! Random numbers: the bits of a draw, the distributions derived from them, and dropout.

use crate::check::{assert_same, assert_values};
use crate::close::{EXACT, eps, read};
use crate::{On, Suite};
use minitorch_core::backend::{Backend, Device, RandomOp, RandomOps};
use minitorch_core::ops::composed;
use minitorch_core::ops::random::threshold;
use minitorch_core::random::{Draw, unit_f32};
use minitorch_core::{DType, Tensor, no_grad};

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.f32("bits_are_the_draws_words", 5000, bits);
    suite.floats("uniform_is_the_upper_24_bits", 5000, |on| {
        for len in [0, 1, 3, 4, 17, 5000] {
            on.device.rng().seed(7);
            let draw = on.device.rng().state();
            let x = Tensor::rand([len], (&on.device, on.dtype));
            let want: Vec<f64> = (0..len as u64).map(|i| unit_f32(draw.word(i)) as f64).collect();
            assert_values(&x, &want, EXACT);
        }
    });
    suite.f32("keep_is_the_threshold_rule", 5000, |on| {
        for p in [0.0, 1e-9, 0.1, 0.25, 0.5, 0.9, 1.0 - 1e-9, 1.0] {
            let draw = Draw { seed: 0xDEAD_BEEF_0123, index: 77 };
            let storage = on.device.random(RandomOp::Keep(p), DType::Bool, 4097, draw);
            let mask = Tensor::from_storage(&on.device, storage, DType::Bool, [4097]);
            let want: Vec<f64> = (0..4097).map(|i| (draw.word(i) as u64 >= threshold(p)) as u8 as f64).collect();
            assert_values(&mask, &want, EXACT);
        }
        on.device.rng().seed(1);
        let share = read(&Tensor::rand_bool([10_000], 0.3, &on.device)).data.iter().sum::<f64>();
        // Five standard deviations of a binomial.
        assert!((share - 3000.0).abs() < 5.0 * (10_000.0 * 0.3 * 0.7f64).sqrt(), "{share} of 10000 true at p = 0.3");
    });
    suite.f32("state", 100, state);
    suite.floats("normal", 100_000, normal);
    suite.floats("dropout", 100_000, dropout);
    suite.floats("dropout2d", 1000, |on| {
        on.device.rng().seed(7);
        let inf = f64::INFINITY;
        let x = Tensor::full([20, 30, 2, 2], inf, (&on.device, on.dtype));
        let kept = read(&x.dropout2d(0.3)).data;
        // Channels are kept or dropped as a unit; a dropped infinity is 0, not 0 times infinity.
        assert!(kept.chunks(4).all(|channel| channel == [inf; 4] || channel == [0.0; 4]));
        let dropped = kept.chunks(4).filter(|channel| channel[0] == 0.0).count();
        assert!((130..230).contains(&dropped), "{dropped} of 600 channels at p = 0.3");
        let x = on.uniform(1.0, 2.0, [4, 5, 3]).requires_grad();
        let y = x.dropout2d(0.5);
        let grads = y.sum(..).backward();
        let (y, x_data, g) = (read(&y).data, read(&x).data, read(&grads[&x]).data);
        assert!(y.iter().zip(&x_data).zip(&g).all(|((y, x), g)| if *y == 0.0 {
            *g == 0.0
        } else {
            *g == 2.0 && *y == 2.0 * x
        }));
        assert_same("p = 0", &x.dropout2d(0.0), &x.detach());
        assert_values(&x.dropout2d(1.0).sum(..), &[0.0], EXACT);
    });
    suite.floats("dropout_gradients", 1000, dropout_gradients);
    suite.f32("integers_of_a_range", 6000, |on| {
        on.device.rng().seed(5);
        let x = Tensor::randint(-2..4, [6000], &on.device);
        let values = read(&x).data;
        for value in -2..4 {
            let count = values.iter().filter(|&&v| v == value as f64).count();
            // Five standard deviations of a binomial.
            assert!((count as f64 - 1000.0).abs() < 5.0 * (6000.0 * 5.0 / 36.0f64).sqrt(), "{value}: {count} of 6000");
        }
        assert!(x.dtype() == DType::I32 && values.iter().all(|v| (-2.0..4.0).contains(v)));
        on.device.rng().seed(5);
        assert_same("the same seed", &Tensor::randint(-2i64..4, 6000usize, &on.device), &x);
        // The widest range, and one that 2^32 is not a multiple of.
        let wide = read(&Tensor::randint(i32::MIN..i32::MAX, 2000, &on.device)).data;
        assert!(wide.iter().any(|&v| v < -1.6e9) && wide.iter().any(|&v| v > 1.6e9));
        let half = read(&Tensor::randint(0..3 << 29, 4000, &on.device)).data;
        // Reduced modulo the size of the range, three quarters would lie in the lower two thirds of it.
        let low = half.iter().filter(|&&v| v < f64::from(1 << 30)).count() as f64;
        assert!((low - 4000.0 * 2.0 / 3.0).abs() < 5.0 * (4000.0 * 2.0 / 9.0f64).sqrt(), "{low} of 4000");
        assert!(Tensor::randint(0..0, [0, 3], &on.device).numel() == 0);
    });
    suite.f32("permutation", 1000, |on| {
        on.device.rng().seed(3);
        let x = Tensor::randperm(1000, &on.device);
        let mut order = read(&x).data;
        let fixed = order.iter().enumerate().filter(|&(i, &v)| i as f64 == v).count();
        assert!(fixed < 20, "{fixed} of 1000 stayed; one is expected");
        order.sort_by(f64::total_cmp);
        assert!(order.iter().enumerate().all(|(i, &v)| i as f64 == v), "every number once");
        on.device.rng().seed(3);
        assert_same("the same seed", &Tensor::randperm(1000, &on.device), &x);
    });
}

fn bits<B: Backend>(on: &On<B>) {
    let draws = [
        Draw { seed: 0, index: 0 },
        Draw { seed: 42, index: 1 },
        // All four counter words and both key words are nonzero.
        Draw { seed: 0x0123_4567_89AB_CDEF, index: 0xFEDC_BA98_7654_3210 },
        Draw { seed: u64::MAX, index: u64::MAX },
    ];
    for draw in draws {
        for len in [0, 1, 2, 3, 4, 5, 17, 1023, 5000] {
            let storage = on.device.random(RandomOp::Bits, DType::I32, len, draw);
            let x = Tensor::from_storage(&on.device, storage, DType::I32, [len]);
            let want: Vec<f64> = (0..len as u64).map(|i| draw.word(i) as i32 as f64).collect();
            assert_values(&x, &want, EXACT);
        }
    }
}

/// A seed determines the numbers; a restored state continues where it was saved; each draw differs.
fn state<B: Backend>(on: &On<B>) {
    let rng = on.device.rng();
    rng.seed(42);
    let first = Tensor::rand([33], &on.device);
    let second = Tensor::rand([33], &on.device);
    assert!(read(&first).data != read(&second).data, "two draws differ");
    let saved = rng.state();
    assert!(saved == Draw { seed: 42, index: 2 }, "two draws were taken: {saved:?}");
    let third = Tensor::randn([33], &on.device);
    rng.seed(7);
    let other = Tensor::rand([33], &on.device);
    assert!(read(&other).data != read(&first).data, "another seed, other numbers");
    rng.restore(saved);
    assert_same("restored", &Tensor::randn([33], &on.device), &third);
    rng.seed(42);
    assert_same("the same seed", &Tensor::rand([33], &on.device), &first);
    assert_same("the second draw", &Tensor::rand([33], &on.device), &second);
    // Device and oracle agree from the seed on.
    agree!(on, EXACT, |d| {
        d.device.rng().seed(5);
        vec![
            Tensor::rand_bits([17], &d.device),
            Tensor::rand_bool([17], 0.5, &d.device),
            Tensor::randperm(17, &d.device),
        ]
    });
    agree!(on, EXACT, |d| {
        d.device.rng().seed(5);
        [Tensor::rand([3, 5], &d.device), Tensor::randn([3, 5], &d.device), Tensor::rand([0], &d.device)]
    });
}

fn normal<B: Backend>(on: &On<B>) {
    on.device.rng().seed(11);
    let n = 100_000;
    let x = read(&Tensor::randn([n], (&on.device, on.dtype))).data;
    let moment = |k: i32| x.iter().map(|v| v.powi(k)).sum::<f64>() / n as f64;
    // Of x^k the standard error is sqrt(E[x^2k] - E[x^k]²) / sqrt(n): 1, sqrt 2, sqrt 15, sqrt 96; five of them.
    let error = 5.0 / (n as f64).sqrt();
    for (k, mean, spread) in [(1, 0.0, 1.0), (2, 1.0, 2f64.sqrt()), (3, 0.0, 15f64.sqrt()), (4, 3.0, 96f64.sqrt())] {
        assert!((moment(k) - mean).abs() < error * spread, "E[x^{k}] is {}, not {mean}", moment(k));
    }
    let tail = x.iter().filter(|v| v.abs() > 1.959_964).count() as f64 / n as f64;
    assert!((tail - 0.05).abs() < error * (0.05f64 * 0.95).sqrt(), "{tail} of the numbers are beyond 1.96, not 0.05");
    let lag: f64 = x.windows(2).map(|w| w[0] * w[1]).sum::<f64>() / n as f64;
    assert!(lag.abs() < error, "neighbours correlate by {lag}");
}

fn dropout<B: Backend>(on: &On<B>) {
    let draw = Draw { seed: 9, index: 1 << 40 };
    for p in [0.0, 0.1, 0.5, 0.75, 1.0] {
        for len in [1, 17, 100_000] {
            let x = on.uniform(0.5, 1.0, [len]);
            let y = on.device.dropout(&x, p, draw);
            // Bit for bit: which are kept.
            let kept: Vec<bool> = read(&y).data.iter().map(|&v| v != 0.0).collect();
            let rule: Vec<bool> = (0..len as u64).map(|i| draw.word(i) as u64 >= threshold(p)).collect();
            assert!(kept == rule, "the mask of {len} at p = {p} is not the threshold rule");
            let want: Vec<f64> =
                read(&x).data.iter().zip(&rule).map(|(&x, &keep)| if keep { x / (1.0 - p) } else { 0.0 }).collect();
            assert_values(&y, &want, eps(4.0));
            crate::close::assert_close("fused against composed", &y, &composed::dropout(&x, p, draw), eps(4.0));
            if len > 1000 {
                let share = kept.iter().filter(|&&keep| !keep).count() as f64;
                let spread = 5.0 * (len as f64 * p * (1.0 - p)).sqrt();
                assert!((share - len as f64 * p).abs() <= spread, "{share} of {len} dropped at p = {p}");
            }
        }
    }
    // Elements are numbered in row-major order of the shape, not of the storage.
    agree!(on, eps(4.0), |d| {
        let x = d.uniform(0.5, 1.0, [7, 9]);
        [
            d.device.dropout(&x.t(), 0.4, draw),
            d.device.dropout(&x.slice((1.., 2..)), 0.4, draw),
            d.device.dropout(&x.slice(0).expand([5, 9]), 0.4, draw),
        ]
    });
    // A dropped NaN or infinity is 0.
    let bad = on.list(&[f64::NAN, f64::INFINITY, f64::NAN, 1.0], [4]);
    assert_values(&bad.dropout(1.0), &[0.0; 4], EXACT);
    let before = on.device.rng().state();
    assert_same("p = 0", &bad.dropout(0.0), &bad);
    assert!(on.device.rng().state() == before, "nothing is drawn at p = 0");
}

/// The backward pass uses the mask of the forward pass, also after other draws; the gradient is differentiable.
fn dropout_gradients<B: Backend>(on: &On<B>) {
    on.device.rng().seed(21);
    for p in [0.3, 0.5, 1.0] {
        let x = on.uniform(0.5, 1.0, [10, 100]).requires_grad();
        let y = x.dropout(p);
        let again = no_grad(|| x.dropout(p));
        assert!(p == 1.0 || read(&again).data != read(&y).data, "each call takes a draw of its own");
        let [g] = y.grad([&x]);
        let scale = if p < 1.0 { 1.0 / (1.0 - p) } else { 0.0 };
        let want: Vec<f64> = read(&y).data.iter().map(|&v| if v != 0.0 { scale } else { 0.0 }).collect();
        assert_values(&g, &want, eps(4.0));
        assert_values(&y.backward_with(&y.detach().ones_like())[&x], &want, eps(4.0));
    }
    // d/dx of (dropout(x)²) is 2 dropout(dropout(x)) by one mask, and its derivative 2 scale².
    let x = on.uniform(0.5, 1.0, [50]).requires_grad();
    let y = x.dropout(0.5);
    let [g] = y.square().sum(..).grad([&x]);
    let [h] = g.grad([&x]);
    let want: Vec<f64> = read(&y).data.iter().map(|&v| if v != 0.0 { 8.0 } else { 0.0 }).collect();
    assert_values(&h, &want, eps(8.0));
}
