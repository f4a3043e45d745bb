//! Queued errors: the first one fails every read and `synchronize` of the device, on every thread, until it is taken.

use crate::check::{BadIndex, assert_values, attempt, on_a_thread};
use crate::close::EXACT;
use crate::{On, Plain, Suite};
use minitorch_core::backend::Backend;
use minitorch_core::{Error, Result, Tensor, custom};

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    suite.f32("out_of_memory", 10, out_of_memory);
    suite.f32("out_of_memory_in_backward", 10, |on| {
        let (x, healthy) = (on.mixed([1, 1]).requires_grad(), on.list(&[0.5], [1]));
        let y = custom("greedy", [&x], |[x]| x * 1.0, |g, _, _| [Some(huge(g).sum_keepdim(..))]);
        let grads = y.backward();
        stays(&[&grads[&x], &healthy], is_out_of_memory);
        assert!(is_out_of_memory(&grads[&x].to_vec::<f32>().map(drop)), "it was never computed");
        drop((y, grads));
        assert_values(&(healthy + 1.0), &[1.5], EXACT);
    });
    suite.f32("out_of_memory_on_another_thread", 10, |on| {
        let x = on.list(&[0.5], [1, 1]);
        let missing = std::thread::scope(|scope| match scope.spawn(|| huge(&x)).join() {
            Ok(missing) => missing,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        stays(&[&x], is_out_of_memory);
        drop(missing);
        assert_values(&(&x + 1.0), &[1.5], EXACT);
    });
    suite.f32("bad_index_in_backward", 10, |on| {
        let x = on.mixed([3]).requires_grad();
        let index = Tensor::new([0, 3, 1], &on.device);
        let wrong = custom("wrong", [&x], |[x]| x * 1.0, move |g, _, _| [Some(g.gather(0, &index))]);
        let here = line!() - 1;
        let wanted = BadIndex { op: "gather", bad: &[3], bound: 3, here: (file!(), here) };
        let loss = wrong.sum(..);
        let _ = crate::check::reports(&on.device, wanted, attempt(|| loss.backward()));
    });
    suite.f32("bad_index_fails_every_read", 20, bad_index);
}

/// 2^50 copies of an element: more than any device has. A device may have a lower limit of one buffer, and report that.
fn huge<B: Backend>(x: &Tensor<B>) -> Tensor<B> {
    x.expand([1 << 25, 1 << 25]).contiguous()
}

fn is_out_of_memory(outcome: &Result<()>) -> bool {
    matches!(outcome, Err(Error::OutOfMemory { .. } | Error::Device { .. }))
}

/// Every way to read these tensors, the last of which is healthy, returns one and the same error on this thread and on another, until it
/// is taken.
#[track_caller]
fn stays<B: Backend>(tensors: &[&Tensor<B>], is_expected: fn(&Result<()>) -> bool) {
    let Some((healthy, device)) = tensors.last().map(|x| (x, x.device())) else { unreachable!("a healthy tensor") };
    let first = device.synchronize();
    assert!(is_expected(&first), "{first:?}");
    let text = first.map_err(|error| error.to_string());
    let same = |outcome: Result<()>| {
        assert_eq!(outcome.map_err(|error| error.to_string()), text);
    };
    let reads = || {
        for x in tensors {
            let one = x.flatten(..).narrow(0, 0, 1);
            same(one.to_vec::<f32>().map(drop));
            same(one.item().map(drop));
            same(one.to(&Plain::new()).map(drop));
            same(device.synchronize());
            let (reason, printed) = (text.clone().err().unwrap_or_default(), one.to_string());
            assert!(printed.contains(&reason), "{printed:?} does not contain {reason:?}");
        }
    };
    reads();
    on_a_thread(reads);
    same(device.take_error().map_or(Ok(()), Err));
    assert!(device.take_error().is_none() && device.synchronize().is_ok(), "a taken error is gone");
    assert!(healthy.to_vec::<f32>().is_ok(), "a healthy tensor is not read");
}

fn out_of_memory<B: Backend>(on: &On<B>) {
    let x = on.list(&[0.5], [1, 1]);
    let large = huge(&x);
    stays(&[&large, &x], is_out_of_memory);
    // What was never computed cannot be read, nor what is computed from it, and the device has no error of its own.
    for tensor in [large.slice((..1, ..1)), large.sum(..)] {
        assert!(is_out_of_memory(&tensor.item().map(drop)));
    }
    drop(on.device.take_error()); // a kernel that was not launched may have queued one
    drop(large);
    // The next one is reported as the first was.
    let large = huge(&x);
    stays(&[&x], is_out_of_memory);
    drop(large);
    assert_values(&(&x + 1.0), &[1.5], EXACT);
}

fn bad_index<B: Backend>(on: &On<B>) {
    let x = on.list(&[1.0, 2.0], [2]);
    let [seven, four] = [[7, 0], [-4, 1]].map(|index| Tensor::new(index, &on.device));
    let Ok(y) = attempt(|| x.gather(0, &seven)) else { return }; // the call panics; see index.rs
    // Another one is dropped.
    let z = x.gather(0, &four);
    let is_the_first =
        |outcome: &Result<()>| matches!(outcome, Err(Error::IndexOutOfRange { op: "gather", index: 7, .. }));
    stays(&[&x, &y, &z], is_the_first);
    assert_values(&y, &[0.0, 1.0], EXACT);
    assert_values(&z, &[0.0, 2.0], EXACT);
    // It is found anew by the next kernel that reads the index.
    drop(x.scatter(0, &four, &y));
    stays(&[&x], |outcome| matches!(outcome, Err(Error::IndexOutOfRange { op: "scatter", index: -4, .. })));
}
