//! Modules, layers and networks: against PyTorch's results (`conformance/goldens`), one backend against another, and the networks
//! of examples.

mod golden;
mod layers;
mod lazy;
mod lenet;
// Where the sentiment example's files look for it.
#[path = "../../examples/sentiment/model.rs"]
mod model;
mod modules;
mod optimizers;
#[cfg(feature = "wgpu")]
#[path = "../common/require.rs"]
mod require;
mod resnet;
mod sentiment;
mod sequential;
