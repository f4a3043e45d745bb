//! The tests of the MiniTorch course, of its tensors, networks and GPU kernels, under their own names: each on every backend, and
//! stricter.
//!
//! What the course compares with a second run of its own code, or at one random element, is compared here with a formula that is
//! evaluated on the host in f64, at every element. Its reductions keep the dimension that they reduce; so the cases call
//! `sum_keepdim` and the like. `docs/minitorch-map.md` says which of its tests is where.

mod conv;
mod host;
mod maths;
mod networks;
mod products;
mod reductions;
mod tensors;

use crate::Suite;
use minitorch_core::Backend;

pub(crate) fn cases<B: Backend>(suite: &mut Suite<B>) {
    tensors::cases(suite);
    maths::cases(suite);
    reductions::cases(suite);
    products::cases(suite);
    conv::cases(suite);
    networks::cases(suite);
}
