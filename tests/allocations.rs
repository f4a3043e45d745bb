//! Allocations of an operation and of a training step, counted by a global allocator: a test binary with one test.

mod common;

use common::LeNet;
use minitorch::prelude::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

thread_local! {
    static ON_THIS_THREAD: Cell<usize> = const { Cell::new(0) };
}
/// Allocations of at least [`LARGE`] bytes, on any thread.
static LARGE_ONES: AtomicUsize = AtomicUsize::new(0);
/// The smallest activation of the LeNet step below has 84 x 64 floats: tensor data are larger than this, other allocations smaller.
const LARGE: usize = 16 << 10;

struct Counting;

// SAFETY: every call is forwarded unchanged to the system allocator; counting touches only a thread-local cell without
// destructor and an atomic.
unsafe impl GlobalAlloc for Counting {
    // SAFETY: the caller keeps `alloc`'s contract, which is the system allocator's.
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: forwarded with the caller's layout.
        unsafe { System.alloc(layout) }
    }
    // SAFETY: the caller keeps `alloc_zeroed`'s contract, which is the system allocator's.
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: forwarded with the caller's layout.
        unsafe { System.alloc_zeroed(layout) }
    }
    // SAFETY: the caller keeps `dealloc`'s contract, which is the system allocator's.
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from the system allocator with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn count(size: usize) {
    ON_THIS_THREAD.set(ON_THIS_THREAD.get() + 1);
    if size >= LARGE {
        LARGE_ONES.fetch_add(1, Relaxed);
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of one call, after it has run a few times.
fn per_call(mut f: impl FnMut()) -> usize {
    (0..50).for_each(|_| f());
    let before = ON_THIS_THREAD.get();
    f();
    ON_THIS_THREAD.get() - before
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
    let mut step = || {
        let loss = model.forward(&images).cross_entropy(&labels);
        optimizer.step(&mut model, &loss.backward());
        loss.item()
    };
    for _ in 0..3 {
        step()?;
    }
    let (memory, large) = (device.memory(), LARGE_ONES.load(Relaxed));
    for _ in 0..200 {
        step()?;
    }
    assert_eq!(LARGE_ONES.load(Relaxed), large, "a warm step takes no memory for tensor data from the system");
    assert_eq!(device.memory().reserved, memory.reserved, "the pool does not grow");
    assert_eq!(device.memory().live, memory.live, "every step returns what it took");
    Ok(())
}
