//! Allocations of an operation and of a training step, counted by a global allocator: a test binary with one test.

#[path = "common/counting.rs"]
#[allow(dead_code, reason = "other test programs take the peak of a call")]
mod counting;
#[path = "common/lenet.rs"]
#[allow(dead_code, reason = "other test programs compare the training on several devices")]
mod lenet;

use counting::{allocations, large_allocations};
use lenet::LeNet;
use minitorch::prelude::*;

/// Allocations of one call, after it has run a few times.
fn per_call(mut f: impl FnMut()) -> usize {
    (0..50).for_each(|_| f());
    let before = allocations();
    f();
    allocations() - before
}

/// One test, so that nothing else runs in this process.
#[test]
fn operations_and_training_steps_allocate_little() -> Result<()> {
    // One thread: with several, which of them first needs a kernel's largest scratch buffer varies.
    // SAFETY: this is the only test of the process, before any other thread could read the environment.
    unsafe { std::env::set_var("MINITORCH_NUM_THREADS", "1") };
    let device = Cpu::new();
    let (x, w) = (Tensor::new([1.5], &device), Tensor::new([0.5], &device));
    assert_eq!(per_call(|| drop(&x * &w)), 1, "x * w: the tensor's shared buffer");
    assert_eq!(per_call(|| drop(x.relu())), 1, "relu");
    assert_eq!(per_call(|| drop(x.reshape([1, 1]))), 0, "a view");
    assert_eq!(per_call(|| drop(x.slice(0))), 0, "a slice");
    assert_eq!(per_call(|| drop(x.sum(..))), 1, "sum");
    let mut y = &x + 0.0;
    assert_eq!(per_call(|| y *= 0.5), 0, "in place");
    let p = w.requires_grad();
    assert!(per_call(|| drop(&x * &p)) <= 3, "x * p on the tape: buffer, node, rule");
    assert!(per_call(|| drop(p.exp())) <= 3, "exp on the tape");
    assert!(per_call(|| drop(p.reshape([1, 1]))) <= 2, "a view on the tape");

    let mut model = LeNet::new(0.5, &device);
    let mut optimizer = Adam::new(1e-3);
    let images = Tensor::rand([64, 1, 28, 28], &device);
    let labels = Tensor::from_vec((0..64).map(|i| i % 10).collect(), 64, &device);
    let mut step = || model.step(&mut optimizer, &images, &labels).item();
    for _ in 0..3 {
        step()?;
    }
    let (memory, large) = (device.memory(), large_allocations());
    for _ in 0..200 {
        step()?;
    }
    assert_eq!(large_allocations(), large, "a warm step takes no memory for tensor data from the system");
    assert_eq!(device.memory().reserved, memory.reserved, "the pool does not grow");
    assert_eq!(device.memory().live, memory.live, "every step returns what it took");
    Ok(())
}
