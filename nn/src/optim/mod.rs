//! Optimizers. One [`RuleOptimizer`] implements all of them; a rule adds its settings. A step is one call of the
//! backend for all parameters of a group, or tensor operations for each parameter.

mod adagrad;
mod adam;
mod group;
mod lion;
mod nadam;
mod optimizer;
mod radam;
mod rms_prop;
mod rows;
mod rule;
mod saved;
mod sgd;
mod state;

pub use adagrad::Adagrad;
pub use adam::{Adam, AdamSettings, AdamW};
pub use group::Group;
pub use lion::{Lion, LionConfig};
pub use nadam::{NAdam, NAdamConfig};
pub use optimizer::{Optimizer, RuleOptimizer};
pub use radam::{RAdam, RAdamConfig};
pub use rms_prop::RmsProp;
pub use rule::{Rule, StepAt};
pub use sgd::Sgd;
