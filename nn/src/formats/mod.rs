//! Files of tensors in host memory. Nothing in a file is trusted: a claim in a header is checked against the length of
//! the file before memory is allocated for it.

mod archive;
mod dict;
mod elements;
mod failure;
mod file;
mod host;
mod npy;
mod npz;
mod pickle;
mod pytorch;
mod safetensors;

pub use dict::StateDict;
pub use elements::Elements;
pub use host::HostTensor;
pub use npy::{read_npy, write_npy};
pub(crate) use npz::MAX_DEFLATE_RATIO;
