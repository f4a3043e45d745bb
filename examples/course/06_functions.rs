//! Lesson 06: custom functions, and the tape as a graph.
//!
//! What you learn:
//! - `custom` takes a forward and a backward; backward consists of differentiable operations, so second derivatives
//!   work too;
//! - a gradient can be a choice: the straight-through estimator rounds forward and is the identity backward;
//! - `loss.graph()` shows the operations between leaves and loss; `Graph::trace` also shows their values and gradients;
//! - `backward` visits the nodes of the graph from the bottom up, each after all nodes that use it.
//!
//! ```text
//! cargo run --release --example course -- 06
//! ```

use crate::args::Pictures;
use crate::backends::{Program, run_on};
use crate::cli::say;
use crate::lenet::LeNet;
use crate::show::write;
use minitorch::prelude::*;
use std::path::PathBuf;

/// `x^2 y`, with its derivatives by hand.
struct SquareTimes;

impl Function<Scalar, 2> for SquareTimes {
    const NAME: &'static str = "square_times";

    fn forward(&self, [x, y]: [&Scalar; 2]) -> Scalar {
        x * x * y
    }

    fn backward(&self, grad: &Scalar, [x, y]: [&Scalar; 2], _output: &Scalar) -> [Option<Scalar>; 2] {
        [Some(2 * x * y * grad), Some(x * x * grad)]
    }
}

pub(crate) fn run(options: Pictures) -> Result<()> {
    let (x, y) = (Scalar::variable(3.0), Scalar::variable(5.0));
    let z = SquareTimes.apply([&x, &y]);
    let [dx] = z.grad([&x]);
    let [dxy] = dx.grad([&y]);
    say(&format!("x^2 y at 3 and 5 is {z}, its derivative in x {dx}, and that one's in y {dxy}"));
    let worst = derivative_check(|inputs| SquareTimes.apply(inputs), [3.0, 5.0], 1e-6);
    say(&format!("differences agree: {worst}\n"));
    assert!(worst.error <= 1.0);

    // Every node with its value and its gradient.
    let graph = Graph::trace(|| (&x * &y + x.sin()).square()).name(&x, "x").name(&y, "y");
    say(&format!("(x y + sin x)^2, in the order of computation; backward goes up the list:\n\n{graph}"));
    write(&options.out.join("06-scalars.svg"), &graph.to_svg())?;

    run_on(Some(&options.device.backend), OnTensors { out: options.out })
}

struct OnTensors {
    out: PathBuf,
}

impl Program for OnTensors {
    type Output = ();

    fn run<B: Backend>(self, device: &B) -> Result<()> {
        // The derivative of rounding is 0, so nothing before it would train. The straight-through estimator passes
        // gradients on.
        let x = Tensor::new([0.4, 1.6], device).requires_grad();
        let through = |x: &Tensor<B>| custom("round_through", [x], |[x]| x.round(), |grad, _, _| [Some(grad.clone())]);
        say(&format!("Rounded to {}", x.round()));
        say(&format!("  gradient of round         {}", x.round().sum(..).backward()[&x]));
        say(&format!("  gradient straight through {}\n", through(&x).sum(..).backward()[&x]));
        assert_eq!(through(&x).sum(..).backward()[&x].to_vec::<f32>()?, [1.0, 1.0]);

        // The network of lesson 05, on four points.
        device.rng().seed(1);
        let linear = |inputs, outputs| Linear::new(inputs, outputs, device);
        let net = Sequential::new().push(linear(2, 10)).push(Relu).push(linear(10, 10)).push(Relu).push(linear(10, 1));
        let points = Tensor::new([[0.1, 0.2], [0.8, 0.1], [0.3, 0.9], [0.7, 0.8]], device);
        let classes = Tensor::new([[0.0], [1.0], [1.0], [0.0]], device);
        let graph = Graph::trace(|| net.forward(&points).bce_with_logits_loss(&classes));
        let graph = graph.names(net.named_parameters());
        say(&format!("The tape of a network for Xor:\n\n{graph}"));
        write(&self.out.join("06-xor.svg"), &graph.to_svg())?;

        let lenet = LeNet::new(device);
        let images = Tensor::zeros([64, 1, 28, 28], device);
        let digits = Tensor::zeros([64], (device, DType::I32));
        let loss = lenet.forward(&images).cross_entropy(&digits);
        let graph = loss.graph().names(lenet.named_parameters());
        say(&format!("The tape of LeNet-5 for 64 images:\n\n{graph}"));
        write(&self.out.join("06-lenet.svg"), &graph.to_svg())
    }
}
