//! A program that is generic over the backend, run on two of them: `cargo run --example write_a_backend`.
//!
//! To write a backend, read `conformance/src/plain.rs` next to `core/src/backend.rs`: Plain is a complete backend of
//! simple loops. It implements the required methods (unary, reduce, matmul, ..) and inherits the defaults of all others
//! (convolution, softmax, optimizers, ..), so everything below runs on it. A faster backend then overrides the methods
//! that deserve a kernel, and `minitorch_conformance::cases` checks that the results are the same.

use minitorch_conformance::Plain;
use minitorch_core::{Backend, Result, Tensor};
use minitorch_cpu::Cpu;

fn main() -> Result<()> {
    // A value of a backend type is a device. Only this line names backends.
    let (plain, cpu) = (Plain::new(), Cpu::default());
    first_steps(&plain)?;
    let losses = [train_xor(&plain)?, train_xor(&cpu)?];
    println!("XOR after 500 steps: loss {:.6} on {plain:?}, {:.6} on {cpu:?}", losses[0], losses[1]);
    // With one seed the two trainings differ by rounding only.
    assert!(losses.iter().all(|&loss| loss < 0.02) && (losses[0] - losses[1]).abs() < 1e-4);
    check_a_backend();
    Ok(())
}

/// The test of a backend: one device per case; a case panics if the results differ from those of Plain.
fn check_a_backend() {
    // One family here; without the filter, all of them.
    let softmax = minitorch_conformance::cases(Cpu::new).into_iter().filter(|case| case.name.starts_with("softmax"));
    let count = softmax.map(|case| (case.run)(&Cpu::new())).count();
    println!("{count} conformance cases of softmax agree");
}

/// A tensor program and a gradient.
fn first_steps<B: Backend>(device: &B) -> Result<()> {
    let x = Tensor::new([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], device);
    let centred = &x - x.mean_keepdim(1); // [2, 1] broadcasts over the columns
    println!("rows without their means: {:?}", centred.to_vec::<f32>()?);

    // d/dw of the sum of (x w)² is 2 xᵀ x w.
    let w = Tensor::new([[1.0], [0.0], [-1.0]], device).requires_grad();
    let grads = x.matmul(&w).square().sum(..).backward();
    println!("gradient in w: {:?}", grads[&w].to_vec::<f32>()?);
    assert_eq!(grads[&w].to_vec::<f32>()?, [-20.0, -28.0, -36.0]);
    Ok(())
}

/// Trains a perceptron with one hidden layer on exclusive or by gradient descent; returns the last loss.
fn train_xor<B: Backend>(device: &B) -> Result<f64> {
    device.rng().seed(42);
    let x = Tensor::new([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], device);
    let xor = Tensor::new([0, 1, 1, 0], device);

    // The weights of `linear` are [outputs, inputs]. `requires_grad` makes a tensor a leaf, which gets a gradient.
    let mut parameters = [
        Tensor::randn([8, 2], device).requires_grad(),
        Tensor::zeros([8], device).requires_grad(),
        Tensor::randn([2, 8], device).requires_grad(),
        Tensor::zeros([2], device).requires_grad(),
    ];
    let loss = |[w1, b1, w2, b2]: &[Tensor<B>; 4]| {
        let hidden = x.linear(w1, Some(b1)).tanh();
        hidden.linear(w2, Some(b2)).cross_entropy(&xor)
    };
    for _ in 0..500 {
        let grads = loss(&parameters).backward();
        // The result of the update is a constant; `requires_grad` makes it a leaf of the next tape.
        parameters = parameters.map(|p| (p.detach() - &grads[&p] * 0.5).requires_grad());
    }
    loss(&parameters).item()
}
