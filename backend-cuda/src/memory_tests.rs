//! What the list of freed buffers does, and what `MINITORCH_EXACT=1` does without it, on the emulator.

use super::*;
use crate::emulator::{Emulator, Order};
use minitorch_core::Tensor;
use minitorch_core::backend::Device;

fn device(exact: bool) -> Cuda {
    let mut device = DeviceState::new("Cuda(test)".into(), Box::new(Emulator::new(Order::Forward))).expect("a device");
    device.exact = exact;
    Cuda(Arc::new(device))
}

/// Sums of a tensor, which take a buffer for the result and one for the parts of the split.
fn work(device: &Cuda) -> Vec<f32> {
    let x = Tensor::<Cuda>::ones([5000], device);
    (&x + 1.0).sum(0).to_vec::<f32>().expect("a sum")
}

#[test]
fn a_freed_buffer_serves_the_next_of_its_size() {
    let device = device(false);
    assert_eq!(work(&device), [10_000.0]);
    let (made, reserved) = (device.allocations(), device.memory().reserved);
    assert_eq!(work(&device), [10_000.0]);
    assert_eq!((device.allocations(), device.memory().reserved), (made, reserved));
    device.release_memory();
    assert_eq!((device.memory().live, device.memory().reserved), (0, 0));
}

#[test]
fn exact_buffers_are_freed_where_they_are_dropped() {
    let device = device(true);
    for round in 1..4 {
        assert_eq!(work(&device), [10_000.0]);
        assert_eq!((device.memory().live, device.memory().reserved), (0, 0), "nothing is kept");
        // The ones, what follows them, the sum and its parts.
        assert!(device.allocations() >= 3 * round, "{} in {round} rounds", device.allocations());
    }
    let x = Tensor::<Cuda>::ones([7], &device);
    assert_eq!((device.memory().live, device.memory().reserved), (28, 28));
    let y = x.clone();
    drop(x);
    assert_eq!(device.memory().live, 28, "the clone holds it");
    assert_eq!(y.to_vec::<f32>().expect("ones"), [1.0; 7]);
}
