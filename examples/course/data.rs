//! The six tasks: points in the plane, each of one of two classes, and the settings that learn them.

use minitorch::random::{Draw, unit_f32};
use std::path::PathBuf;

// Streams of random numbers for the points and for their order, independent of those of the weights for the same seed.
const POINTS: u64 = 0x706F_696E_7473;
const ORDER: u64 = 0x6F_7264_6572;

/// Points per step, in the lessons that take steps within an epoch.
pub(crate) const BATCH: usize = 10;

/// A point, and whether it is of class 1.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Point {
    pub(crate) at: [f64; 2],
    pub(crate) class: bool,
}

/// A classification task.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Task {
    /// Class 1 is left of a vertical line.
    Simple,
    /// Class 1 is the corner below a diagonal.
    Diag,
    /// Class 1 is a strip on the left and one on the right.
    Split,
    /// Class 1 is two opposite quarters: no line separates the classes.
    Xor,
    /// Class 1 is outside of a circle.
    Circle,
    /// Two arms around each other.
    Spiral,
}

impl Task {
    const ALL: [(&str, Task); 6] = [
        ("simple", Task::Simple),
        ("diag", Task::Diag),
        ("split", Task::Split),
        ("xor", Task::Xor),
        ("circle", Task::Circle),
        ("spiral", Task::Spiral),
    ];

    /// A name from the command line.
    pub(crate) fn named(name: &str) -> Result<Task, String> {
        let found = Task::ALL.iter().find(|(known, _)| *known == name);
        let names = || Task::ALL.map(|(name, _)| name).join(", ");
        found.map(|(_, task)| *task).ok_or_else(|| format!("no such task; there are {}", names()))
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        Task::ALL.iter().find(|(_, task)| *task == self).map_or("", |(name, _)| name)
    }

    /// `n` points, uniform in the unit square and determined by the seed; except for the spiral, which is not random.
    /// Of its two arms, the first gets the odd point.
    pub(crate) fn points(self, n: usize, seed: u64) -> Vec<Point> {
        let draw = Draw { seed: seed ^ POINTS, index: 0 };
        let random = |i: usize| unit_f32(draw.word(i as u64)) as f64;
        (0..n)
            .map(|i| match self {
                Task::Spiral => {
                    let first = n.div_ceil(2);
                    if i < first { arm(i, first, false) } else { arm(i - first, n - first, true) }
                }
                _ => {
                    let at = [random(2 * i), random(2 * i + 1)];
                    Point { at, class: self.class(at) }
                }
            })
            .collect()
    }

    fn class(self, [x, y]: [f64; 2]) -> bool {
        match self {
            Task::Simple => x < 0.5,
            Task::Diag => x + y < 0.5,
            Task::Split => !(0.2..=0.8).contains(&x),
            Task::Xor => (x < 0.5) != (y < 0.5),
            Task::Circle => (x - 0.5).powi(2) + (y - 0.5).powi(2) > 0.1,
            Task::Spiral => false, // its points come with their class
        }
    }
}

/// Point `i` of the `n` points of one arm: evenly spaced angles from 2 to 11.6 rad, and a radius proportional to the
/// angle. The second arm is the first one, rotated by 90 degrees.
fn arm(i: usize, n: usize, second: bool) -> Point {
    let angle = 2.0 + 9.6 * i as f64 / (n.max(2) - 1) as f64;
    let [x, y] = [angle.cos(), angle.sin()].map(|part| angle * part / 20.0);
    Point { at: if second { [0.5 + y, 0.5 - x] } else { [0.5 + x, 0.5 + y] }, class: second }
}

/// How a lesson trains.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Method {
    /// Lesson 02: single numbers, plain descent in steps of [`BATCH`] points.
    Scalars,
    /// Lesson 04: tensors, descent with momentum in steps of all points.
    Tensors,
    /// Lesson 05: layers, Adam in steps of [`BATCH`] points.
    Layers,
}

/// The settings of a run.
#[derive(Clone, Copy)]
pub(crate) struct Recipe {
    pub(crate) hidden: usize,
    pub(crate) lr: f64,
    pub(crate) epochs: usize,
}

impl Method {
    /// Settings with which 50 points are classified correctly for any seed.
    pub(crate) fn recipe(self, task: Task) -> Recipe {
        let (hidden, lr, epochs) = match (self, task == Task::Spiral) {
            // With initial weights scaled to the number of inputs, plain descent tolerates a large rate. Its decay to 0
            // settles the points next to the boundary.
            (Method::Scalars, false) => (10, 0.5, 300),
            // The boundary of the spiral has many bends: with 20 units some seeds cut through an arm.
            (Method::Scalars, true) => (24, 0.5, 600),
            // An epoch is a single step here. A momentum of 0.9 makes it effectively ten times as long.
            (Method::Tensors, false) => (10, 0.1, 1000),
            (Method::Tensors, true) => (30, 0.1, 2000),
            // Adam's steps have the magnitude of the rate, independent of the gradient's, so the rate is small compared
            // to a weight. At 0.02 some seeds of the spiral diverge late.
            (Method::Layers, false) => (16, 0.02, 300),
            (Method::Layers, true) => (32, 0.01, 500),
        };
        Recipe { hidden, lr, epochs }
    }

    /// Its name, in file names and titles.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Method::Scalars => "scalars",
            Method::Tensors => "tensors",
            Method::Layers => "layers",
        }
    }
}

/// Everything that determines a run.
pub(crate) struct Plan {
    pub(crate) method: Method,
    pub(crate) task: Task,
    pub(crate) points: Vec<Point>,
    pub(crate) hidden: usize,
    pub(crate) lr: f64,
    pub(crate) epochs: usize,
    pub(crate) seed: u64,
    /// The folder of the picture.
    pub(crate) out: PathBuf,
}

impl Plan {
    /// The learning rate in an epoch, counted from 0: linear decay to 0.
    pub(crate) fn rate(&self, epoch: usize) -> f64 {
        self.lr * (1.0 - epoch as f64 / self.epochs as f64)
    }

    /// The points in the order of an epoch: sorted by random numbers.
    pub(crate) fn shuffled(&self, epoch: usize) -> Vec<Point> {
        let draw = Draw { seed: self.seed ^ ORDER, index: epoch as u64 };
        let mut order: Vec<usize> = (0..self.points.len()).collect();
        order.sort_by_cached_key(|&i| (draw.word(i as u64), i));
        order.into_iter().map(|i| self.points[i]).collect()
    }
}
