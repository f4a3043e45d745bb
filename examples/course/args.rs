//! The command line of the lessons that train.

use crate::backends::backend;
use crate::cli::{positive, rate};
use crate::data::{BATCH, Method, Plan, Task};
use std::path::PathBuf;

/// The options of all of them.
#[derive(clap::Args)]
pub(crate) struct Training {
    /// What to learn: simple, diag, split, xor, circle or spiral
    #[arg(long, value_name = "NAME", default_value = "xor", value_parser = Task::named)]
    task: Task,

    /// How many points to learn from
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = |text: &str| at_most(100_000, text))]
    points: usize,

    /// Units in each of the two hidden layers [default: enough for the task]
    #[arg(long, value_name = "N", value_parser = |text: &str| at_most(4096, text))]
    hidden: Option<usize>,

    /// Learning rate of the first epoch; it falls to 0 [default: the task's]
    #[arg(long, value_name = "X", value_parser = rate)]
    lr: Option<f64>,

    /// Passes over the points [default: enough for the task]
    #[arg(long, value_name = "N", value_parser = positive)]
    epochs: Option<usize>,

    /// Seed of the points, of their order and of the initial weights
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Output folder of the picture
    #[arg(long, value_name = "DIR", default_value = "runs/course")]
    out: PathBuf,
}

/// The options of a lesson that trains on any device.
#[derive(clap::Args)]
pub(crate) struct Anywhere {
    #[command(flatten)]
    pub(crate) training: Training,

    #[command(flatten)]
    pub(crate) device: Device,

    /// Points per step
    #[arg(long, value_name = "N", default_value_t = BATCH, value_parser = positive)]
    pub(crate) batch_size: usize,
}

/// The options of a lesson that runs on any device.
#[derive(clap::Args)]
pub(crate) struct Device {
    /// cpu, cuda, wgpu, or cuda-emu for tests
    #[arg(long, value_name = "NAME", default_value = "cpu", value_parser = backend)]
    pub(crate) backend: String,
}

/// The options of a lesson that writes pictures.
#[derive(clap::Args)]
pub(crate) struct Pictures {
    #[command(flatten)]
    pub(crate) device: Device,

    /// Output folder of the pictures
    #[arg(long, value_name = "DIR", default_value = "runs/course")]
    pub(crate) out: PathBuf,
}

impl Training {
    /// The run of these options; the defaults are the recipe of the task and the method.
    pub(crate) fn plan(self, method: Method) -> Plan {
        let recipe = method.recipe(self.task);
        Plan {
            method,
            task: self.task,
            points: self.task.points(self.points, self.seed),
            hidden: self.hidden.unwrap_or(recipe.hidden),
            lr: self.lr.unwrap_or(recipe.lr),
            epochs: self.epochs.unwrap_or(recipe.epochs),
            seed: self.seed,
            out: self.out,
        }
    }
}

fn at_most(max: usize, text: &str) -> Result<usize, String> {
    positive(text).and_then(|n| if n > max { Err(format!("must be at most {max}")) } else { Ok(n) })
}
