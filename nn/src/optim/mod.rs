//! Optimizers. One [`RuleOptimizer`] implements all of them; a rule adds its settings. A step is one call of the
//! backend for all parameters of a group.

mod adagrad;
mod adam;
mod group;
mod optimizer;
mod rms_prop;
mod rows;
mod rule;
mod saved;
mod sgd;
mod state;

pub use adagrad::Adagrad;
pub use adam::{Adam, AdamSettings, AdamW};
pub use group::Group;
pub use optimizer::{Optimizer, RuleOptimizer};
pub use rms_prop::RmsProp;
pub use rule::Rule;
pub use sgd::Sgd;
