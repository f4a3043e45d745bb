//! Lesson 02: a network of single numbers learns to classify points.
//!
//! What you learn:
//! - a unit is a weighted sum and a ReLU; a layer is a number of units with the same inputs; a network is a chain of
//!   layers, here 2 -> H -> H -> 1, and a sigmoid turns the last sum into a probability;
//! - binary cross-entropy measures how wrong a probability is: `-log` of the probability of the right class;
//! - training repeats: compute the loss of some points, walk its tape backward, move every weight a little against its
//!   derivative.
//!
//! Every sum and product is a node of the tape of lesson 01. That is slow, but nothing is hidden.
//!
//! ```text
//! cargo run --release --example course -- 02 --task xor --hidden 10 --lr 0.5 --epochs 300
//! ```

use crate::args::Training;
use crate::data::{BATCH, Method, Plan, Point};
use crate::show::Watch;
use minitorch::random::{Draw, unit_f32};
use minitorch::{Result, Scalar, no_grad};

/// A weighted sum of the inputs for each output.
struct Linear {
    /// One row of weights per output.
    weights: Vec<Vec<Scalar>>,
    biases: Vec<Scalar>,
}

impl Linear {
    /// Random weights, smaller for more inputs, so that initially all sums have about the same magnitude.
    fn new(inputs: usize, outputs: usize, draw: Draw) -> Self {
        let mut drawn = 0;
        let mut random = |bound: f64| {
            drawn += 1;
            Scalar::variable(bound * (2.0 * unit_f32(draw.word(drawn)) as f64 - 1.0)) // within -bound..bound
        };
        let n = inputs as f64;
        Linear {
            weights: (0..outputs).map(|_| (0..inputs).map(|_| random((6.0 / n).sqrt())).collect()).collect(),
            biases: (0..outputs).map(|_| random(1.0 / n.sqrt())).collect(),
        }
    }

    fn forward(&self, x: &[Scalar]) -> Vec<Scalar> {
        let sum =
            |(row, bias): (&Vec<Scalar>, &Scalar)| row.iter().zip(x).fold(bias.clone(), |sum, (w, x)| sum + w * x);
        self.weights.iter().zip(&self.biases).map(sum).collect()
    }
}

struct Net {
    layers: [Linear; 3],
}

impl Net {
    fn new(hidden: usize, seed: u64) -> Self {
        let draw = |index| Draw { seed, index };
        let first = Linear::new(2, hidden, draw(0));
        Net { layers: [first, Linear::new(hidden, hidden, draw(1)), Linear::new(hidden, 1, draw(2))] }
    }

    /// The probability of class 1 at a point of the unit square.
    fn forward(&self, at: [f64; 2]) -> Scalar {
        let [first, second, last] = &self.layers;
        let x = at.map(|x| Scalar::from(2.0 * x - 1.0)); // centred at 0
        let relu = |sums: Vec<Scalar>| sums.iter().map(Scalar::relu).collect::<Vec<_>>();
        let hidden = relu(first.forward(&x));
        let hidden = relu(second.forward(&hidden));
        last.forward(&hidden)[0].sigmoid()
    }

    /// Every weight and bias.
    fn parameters(&mut self) -> impl Iterator<Item = &mut Scalar> {
        self.layers.iter_mut().flat_map(|layer| layer.weights.iter_mut().flatten().chain(&mut layer.biases))
    }

    /// The probability of class 1 at many points, without a tape.
    fn probabilities(&self, places: &[[f64; 2]]) -> Result<Vec<f64>> {
        no_grad(|| Ok(places.iter().map(|&at| self.forward(at).value()).collect()))
    }
}

/// The binary cross-entropy of one point.
fn loss(net: &Net, point: &Point) -> Scalar {
    let p = net.forward(point.at);
    if point.class { -p.log() } else { -(1.0 - p).log() }
}

pub(crate) fn run(options: Training) -> Result<()> {
    let plan: Plan = options.plan(Method::Scalars);
    let mut net = Net::new(plan.hidden, plan.seed);
    let mut watch = Watch::start(&plan)?;
    for epoch in 0..plan.epochs {
        let mut total = 0.0;
        for batch in plan.shuffled(epoch).chunks(BATCH) {
            let sum = batch.iter().map(|point| loss(&net, point)).fold(Scalar::from(0.0), |sum, loss| sum + loss);
            total += sum.value();
            let grads = (sum / batch.len() as f64).backward();
            for weight in net.parameters() {
                let slope = grads[&*weight].value();
                *weight = Scalar::variable(weight.value() - plan.rate(epoch) * slope);
            }
        }
        watch.epoch(total / plan.points.len() as f64, |places| net.probabilities(places))?;
    }
    watch.finish(|places| net.probabilities(places))
}
