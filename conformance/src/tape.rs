//! The tape: what it records, which values it keeps alive, and what backward consumes.

use crate::check::{assert_values, catch};
use crate::close::{EXACT, eps, read};
use crate::{On, Suite};
use minitorch_core::backend::Backend;
use minitorch_core::{DType, Gradients, Tensor, no_grad, recording};

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.floats("gradients_add_up", 50, accumulation);
    suite.floats("broadcasting_is_undone", 50, |on| {
        let (x, b, s) = (on.mixed([2, 3]).requires_grad(), on.mixed([3]).requires_grad(), on.mixed([]).requires_grad());
        let grads = ((&x + &b) * &s).sum(..).backward();
        assert!(grads[&x].shape()[..] == [2, 3] && grads[&b].shape()[..] == [3] && grads[&s].rank() == 0);
        let (vx, vb, vs) = (read(&x).data, read(&b).data, read(&s).data[0]);
        assert_values(&grads[&x], &[vs; 6], EXACT);
        assert_values(&grads[&b], &[2.0 * vs; 3], eps(2.0));
        let total: f64 = vx.iter().enumerate().map(|(i, v)| v + vb[i % 3]).sum();
        assert_values(&grads[&s], &[total], eps(16.0));
    });
    suite.floats("gradients_are_clipped_and_summed", 300, clipped);
    suite.f32("what_is_recorded", 10, recorded);
    suite.f32("backward_consumes", 10, consumes);
    suite.f32("grad_keeps", 10, |on| {
        let x = on.list(&[2.0, 3.0], [2]).requires_grad();
        let y = x.powf(3.0).sum(..);
        let [g] = y.grad([&x]);
        let [again] = y.grad([&x]);
        assert_values(&g, &[12.0, 27.0], eps(8.0));
        assert_values(&again, &[12.0, 27.0], eps(8.0));
        let [h] = g.sum(..).grad([&x]);
        let [third] = h.sum(..).grad([&x]);
        assert_values(&h, &[12.0, 18.0], eps(8.0));
        assert_values(&third, &[6.0, 6.0], eps(8.0));
        assert_values(&y.backward()[&x], &[12.0, 27.0], eps(8.0));
        // Nodes below the requested value may be gone.
        let (below, top) = (x.square(), on.list(&[5.0], [1]));
        let above = (&below * &top).sum(..);
        drop(below.sum(..).backward());
        let [g] = above.grad([&below]);
        assert_values(&g, &[5.0, 5.0], EXACT);
        // In values that are not leaves, and zeros where nothing depends.
        let a = x.square();
        let z = (&a * &a).sum(..);
        let other = on.list(&[1.0], [1]).requires_grad();
        let [ga, go] = z.grad([&a, &other]);
        assert_values(&ga, &[8.0, 18.0], eps(4.0));
        assert_values(&go, &[0.0], EXACT);
        let [itself] = z.grad([&z]);
        assert_values(&itself, &[1.0], EXACT);
    });
    suite.f32("vector_jacobian_products", 10, |on| {
        let x = on.list(&[1.0, 2.0, 3.0], [3]).requires_grad();
        let v = on.list(&[1.0, 0.0, -2.0], [3]);
        assert_values(&x.square().backward_with(&v)[&x], &[2.0, 0.0, -12.0], EXACT);
        // The given gradient may be on the tape: d/dv of (v . 2x) is 2x.
        let v = v.requires_grad();
        let [g] = x.square().grad_with(&v, [&x]);
        let [dv, dx] = g.sum(..).grad([&v, &x]);
        assert_values(&dv, &[2.0, 4.0, 6.0], EXACT);
        assert_values(&dx, &[2.0, 0.0, -4.0], EXACT);
    });
    suite.f32("million_operations", 1_000_000, |on| {
        // Here `elements` counts operations, so that slow devices skip it.
        let w = on.list(&[1.0], [1]).requires_grad();
        let mut y = on.list(&[1.0], [1]);
        for _ in 0..1_000_000 {
            y = &y * &w;
        }
        assert_values(&y.backward()[&w], &[1e6], eps(0.0));
        // A tape that is dropped without a backward pass.
        let mut y = w.clone();
        for _ in 0..1_000_000 {
            y *= 1.0;
        }
        drop(y);
    });
    suite.f32("deep_graph_on_a_small_stack", 100_000, |on| {
        let device = on.device.clone();
        let thread = std::thread::Builder::new().stack_size(128 * 1024).spawn(move || {
            let w = Tensor::<B>::ones([1], &device).requires_grad();
            let mut y = w.clone();
            for _ in 0..50_000 {
                y = &y + &w;
            }
            let grads = y.grad([&w]); // recorded
            assert_values(&grads[0], &[50_001.0], EXACT);
            drop((y, grads));
        });
        assert!(thread.is_ok_and(|t| t.join().is_ok()), "walk and drop must not recurse");
    });
    suite.alone("keeps_only_what_a_gradient_needs", 100_000, kept);
    suite.alone("unasked_gradients_are_not_computed", 1_000_000, |on| {
        // a [1, 1000] x b [1000, 1000]: b's gradient would take 4 MB, and is not wanted.
        let (a, b) = (on.mixed([1, 1000]).requires_grad(), on.mixed([1000, 1000]));
        let loss = (a.matmul(&b) + a.linear(&b, None)).sum(..);
        assert!(on.device.synchronize().is_ok());
        on.device.reset_peak_memory();
        let before = on.device.memory().live;
        let grads = loss.backward();
        assert!(on.device.synchronize().is_ok());
        let more = on.device.memory().peak - before;
        assert!(grads.len() == 1 && more < 1_000_000, "the backward pass took {more} bytes");
    });
    suite.alone("consumed_tape_gives_memory_back", 100_000, |on| {
        let before = on.device.memory().live;
        let x = on.mixed([10_000]).requires_grad();
        let one = on.device.memory().live - before;
        let loss = x.sin().cos().sin().sum(..);
        let held = on.device.memory().live;
        drop(loss.backward());
        let after = on.device.memory().live;
        // The inputs of cos and of the outer sin.
        assert!(
            after + 2 * one <= held,
            "backward through a shared reference frees what the tape held: {held}, {after}"
        );
        assert!(loss.item().is_ok());
    });
    suite.f32("threads", 100, |on| {
        let x = on.list(&[1.0, 2.0], [2]).requires_grad();
        let y = x.square();
        // A tape may cross threads; `no_grad` holds for its own thread.
        let result =
            no_grad(|| std::thread::scope(|s| s.spawn(|| recording().then(|| (&y * &x).sum(..).backward())).join()));
        let Ok(Some(grads)) = result else { panic!("another thread records") };
        assert_values(&grads[&x], &[3.0, 12.0], EXACT);
    });
}

/// Norm, clipping, scaling and accumulation of gradients of two variables, one of them read through a transposed view.
fn clipped<B: Backend>(on: &On<B>) {
    let (x, y) = (on.mixed([3, 5]).requires_grad(), on.mixed([2]).requires_grad());
    let (gx, gy) = (on.uniform(-3.0, 3.0, [5, 3]), on.uniform(-3.0, 3.0, [2]));
    let (vx, vy) = (read(&gx.t()).data, read(&gy).data);
    let grads = || ((x.t() * &gx).sum(..) + (&y * &gy).sum(..)).backward();
    let times = |values: &[f64], factor: f64| values.iter().map(|v| v * factor).collect::<Vec<f64>>();
    let norm = vx.iter().chain(&vy).map(|v| v * v).sum::<f64>().sqrt();
    assert!(grads().norm().rank() == 0 && norm > 1.0);
    assert_values(&grads().norm(), &[norm], eps(16.0));

    for (max, factor) in [(0.5, 0.5 / (norm + 1e-6)), (2.0 * norm, 1.0), (f64::INFINITY, 1.0), (0.0, 0.0)] {
        let (clipped, before) = grads().clip_norm(max);
        assert_values(&before, &[norm], eps(16.0));
        let bound = if factor == 1.0 { EXACT } else { eps(16.0) };
        assert_values(&clipped[&x], &times(&vx, factor), bound);
        assert_values(&clipped[&y], &times(&vy, factor), bound);
    }
    let clipped = grads().clip_value(1.0);
    assert_values(&clipped[&x], &vx.iter().map(|v| v.clamp(-1.0, 1.0)).collect::<Vec<f64>>(), EXACT);
    assert_values(&grads().scale(-0.5)[&y], &times(&vy, -0.5), EXACT);

    let mut sum = Gradients::default();
    sum += (&y * &gy).sum(..).backward(); // x is missing at first
    assert!(sum.len() == 1 && sum.get(&x).is_none());
    sum += grads();
    sum.accumulate(grads().scale(2.0));
    assert_values(&sum[&x], &times(&vx, 3.0), eps(4.0));
    assert_values(&sum[&y], &times(&vy, 4.0), eps(4.0));

    // NaN stays NaN; invalid arguments panic.
    let bad = || (&y * on.list(&[f64::NAN, 1.0], [2])).sum(..).backward();
    assert!(read(&bad().clip_norm(1.0).0[&y]).data.iter().all(|g| g.is_nan()));
    assert!(read(&bad().clip_value(1.0)[&y]).data[0].is_nan());
    for (caught, said) in [
        (catch(|| drop(Gradients::<Tensor<B>>::default().norm())), "no gradients"),
        (catch(|| drop(grads().clip_norm(-1.0))), "-1"),
        (catch(|| drop(grads().clip_value(f64::NAN))), "NaN"),
    ] {
        assert!(caught.message.contains(said), "{said}: {}", caught.message);
    }
    if on.device.supports(DType::F64) && on.dtype == DType::F32 {
        let z = y.detach().cast(DType::F64).requires_grad();
        let mut both = grads();
        both += z.sum(..).backward();
        assert!(catch(|| drop(both.norm())).message.contains("one dtype"));
    }
}

fn accumulation<B: Backend>(on: &On<B>) {
    let x = on.list(&[3.0, -2.0], [2]).requires_grad();
    // A diamond: z = x² + 2x by two paths, each of which forks again.
    let (a, b) = (&x * &x, &x * 2.0);
    let z = &a + &b;
    assert_values(
        &(&z * &z + &z).sum(..).backward()[&x],
        &[(2.0 * 15.0 + 1.0) * 8.0, (2.0 * 0.0 + 1.0) * -2.0],
        eps(4.0),
    );
    let grads = (&x + &x + &x - &x).sum(..).backward();
    assert_values(&grads[&x], &[2.0, 2.0], EXACT);
    // The loss is a leaf itself.
    let s = on.list(&[5.0], []).requires_grad();
    assert_values(&s.backward()[&s], &[1.0], EXACT);
    // Gradients: map, remove, values.
    let mut grads = x.square().sum(..).backward().map(|g| g * 0.5);
    assert!(grads.len() == 1 && !grads.is_empty() && grads.values().count() == 1);
    let taken = grads.remove(&x);
    assert!(taken.is_some_and(|g| read(&g).data == [3.0, -2.0]) && grads.get(&x).is_none());
}

fn recorded<B: Backend>(on: &On<B>) {
    let x = on.list(&[1.0, 2.0], [2]).requires_grad();
    let c = on.list(&[1.0, 2.0], [2]);
    assert!(x.is_tracked() && !c.is_tracked() && !(&c * 2.0).is_tracked() && (&c * &x).is_tracked());
    assert!(!x.detach().is_tracked() && !(x.detach() * 2.0).is_tracked());
    assert!(no_grad(|| !(&x * &x).is_tracked() && !recording()) && recording());
    // Also when the closure panics.
    catch(|| no_grad(|| panic!("on purpose")));
    assert!(recording(), "a panic must not leave recording off");
    let nested = no_grad(|| {
        no_grad(|| ());
        recording()
    });
    assert!(!nested);
    assert!(!x.gt(0.0).is_tracked() && !x.argmax(0).is_tracked() && !x.cast(DType::I32).is_tracked());
    // Detached values are constants: d/dx of x * detach(x) is x, not 2x.
    assert_values(&(&x * x.detach()).sum(..).backward()[&x], &[1.0, 2.0], EXACT);
    let y = x.square();
    let grads = y.sum(..).backward();
    assert!(grads.len() == 1 && grads.get(&c).is_none() && grads.get(&y).is_none());
    assert!(!grads[&x].is_tracked(), "the gradients of backward are off the tape");
    let caught = catch(|| drop(grads[&c].clone()));
    assert!(caught.message.contains("gradients") && caught.file == file!(), "{}", caught.message);
    assert!(!no_grad(|| x.square().sum(..)).is_tracked());
    // A clone is the same variable; `requires_grad` returns a new one.
    let grads = (x.clone() * 3.0).sum(..).backward();
    assert!(grads.get(&x).is_some() && grads.get(&x.requires_grad()).is_none());
}

fn consumes<B: Backend>(on: &On<B>) {
    let x = on.list(&[2.0], [1]).requires_grad();
    let loss = x.square();
    let held = loss.clone();
    drop(loss.backward());
    panics!("backward", "grad"; loss.backward());
    panics!("backward", "grad"; held.backward());
    panics!("grad"; held.grad([&x]));
    // Also a part that two losses share.
    let shared = x.square();
    let (a, b) = (&shared * 2.0, &shared * 3.0);
    drop(a.backward());
    panics!("backward", "consumed"; b.backward());
    panics!("backward", "one element", "[2]"; on.list(&[1.0, 2.0], [2]).requires_grad().backward());
    panics!("backward_with", "[2]", "[3]"; on.mixed([2]).requires_grad().backward_with(&on.mixed([3])));
    panics!("requires_grad", "int32"; on.ints(0, 3, [2]).requires_grad());
}

/// A product with a constant keeps the constant and frees the other operand.
fn kept<B: Backend>(on: &On<B>) {
    let live = || on.device.memory().live;
    let start = live();
    let x = on.mixed([10_000]).requires_grad();
    let one = live() - start;
    let c = on.mixed([10_000]);
    let before = live();
    // sin keeps its input, x, which is alive; its output is not needed.
    let y = &x.sin() * &c;
    assert!(live() - before < 2 * one, "only the product itself should live: {} bytes do", live() - before);
    drop(y);
    // A chain of linear operations keeps no values.
    let y = (((&x + 1.0) * 2.0 - &c) / 3.0).reshape([100, 100]).t().sum(0);
    assert!(live() - before < one, "a linear chain keeps {} bytes", live() - before);
    drop(y);
    // exp keeps one reference to its output.
    let y = x.exp();
    assert!(live() - before < 2 * one, "exp and its tape hold {} bytes", live() - before);
    drop(y);
    assert!(live() == before, "a dropped tape frees all");
}
