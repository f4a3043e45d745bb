//! Reuse of freed buffers, and `MINITORCH_EXACT=1`, on the emulator.

use super::*;
use crate::Cuda;
use crate::emulator::{Emulator, Order};
use minitorch_core::Tensor;
use minitorch_core::backend::Device;

fn device(exact: bool) -> Cuda {
    let mut device = DeviceState::new("Cuda(test)".into(), Box::new(Emulator::new(Order::Forward))).expect("a device");
    device.exact = exact;
    Cuda(Arc::new(device))
}

/// A sum, which takes a buffer for the result and one for partial results.
fn work(device: &Cuda) -> Vec<f32> {
    let x = Tensor::<Cuda>::ones([5000], device);
    (&x + 1.0).sum(0).to_vec::<f32>().expect("a sum")
}

#[test]
fn freed_buffers_are_reused() {
    let device = device(false);
    assert_eq!(work(&device), [10_000.0]);
    let (allocations, reserved) = (device.allocations(), device.memory().reserved);
    assert_eq!(work(&device), [10_000.0]);
    assert_eq!((device.allocations(), device.memory().reserved), (allocations, reserved));
    device.release_memory();
    assert_eq!((device.memory().live, device.memory().reserved), (0, 0));
}

#[test]
fn exact_buffers_are_freed_when_they_are_dropped() {
    let device = device(true);
    for round in 1..4 {
        assert_eq!(work(&device), [10_000.0]);
        assert_eq!((device.memory().live, device.memory().reserved), (0, 0), "nothing is cached");
        // The ones, the tensor plus one, the sum and its partial results.
        assert!(device.allocations() >= 3 * round, "{} in {round} rounds", device.allocations());
    }
    let x = Tensor::<Cuda>::ones([7], &device);
    assert_eq!((device.memory().live, device.memory().reserved), (28, 28));
    let y = x.clone();
    drop(x);
    assert_eq!(device.memory().live, 28, "the clone holds it");
    assert_eq!(y.to_vec::<f32>().expect("ones"), [1.0; 7]);
}
