//! Files of tensors in host memory. Nothing in a file is trusted: a claim in a header is checked against the length of
//! the file before memory is allocated for it.

mod host;
mod npy;
mod npz;
mod safetensors;

pub use host::HostTensor;
pub use npy::{read_npy, write_npy};
pub(crate) use npz::MAX_DEFLATE_RATIO;
pub use npz::{read_npz, read_npz_array, write_npz};
pub use safetensors::{Tensors, read_tensors, write_tensors};
